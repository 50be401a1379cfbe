"""What runs inside a child, next to the program. Nothing here is trusted: it only reports values, and the judge asks no more of it.

Everything it needs is bound before the program runs, so that a program that spoils the standard library spoils at most its own values.
"""

import sys
import types

from sandbox.encoding import Encoder, to_json
from sandbox.frames import pack, write_all

LOADED, VALUES, ERROR = b"L", b"v", b"e"
MAX_MESSAGE = 300
type_name = type.__dict__["__name__"].__get__


def send(fd: int, kind: bytes, data: object = None) -> None:
    write_all(fd, pack(kind + to_json(data).encode("ascii")))


def describe(error: BaseException) -> list[str]:
    """Exception type and message, short, and without trusting the exception's own methods."""
    name = str(type_name(type(error)))[:100]
    status = "exited" if isinstance(error, SystemExit) else "memory" if isinstance(error, MemoryError) else "error"
    try:
        message = str(error)[:MAX_MESSAGE]
    except BaseException:
        message = ""
    return [status, f"{name}: {message}" if message else name]


def new_module() -> types.ModuleType:
    """The program as a real module, which dataclasses and pickle look up by name; not `__main__`, so its main block stays quiet."""
    module = types.ModuleType("solution")
    sys.modules["solution"] = module
    return module


class Runner:
    """Runs one program and its tests' operations in order, and sends one frame for each test."""

    def __init__(self, fd: int, max_output_bytes: int):
        self.fd = fd
        self.encoder = Encoder(max_output_bytes)
        self.namespace = new_module().__dict__
        for name in ("random", "numpy.random"):
            if name in sys.modules:
                sys.modules[name].seed()

    def load(self, code: str, setup: str, setup_first: bool) -> bool:
        """Execute the program. An exception ends everything: all tests have its status."""
        try:
            if setup_first:
                exec(compile(setup, "<setup>", "exec"), self.namespace)
            exec(compile(code, "<program>", "exec", dont_inherit=True), self.namespace)
            if setup and not setup_first:
                exec(compile(setup, "<setup>", "exec"), self.namespace)
        except BaseException as error:
            send(self.fd, ERROR, describe(error))
            return False
        send(self.fd, LOADED)
        return True

    def run_test(self, ops: list, nonce: str) -> None:
        values, scope = [], self.namespace
        try:
            for kind, source, mode in ops:
                if kind == "v":
                    values.append(self.encoder.encode(eval(compile(source, "<test>", "eval"), scope), mode))
                elif kind == "n":
                    scope = self.namespace if mode == "end" else dict(self.namespace)
                elif kind == "r":
                    values.append(self.raised(source, scope))
                else:
                    exec(compile(source, "<test>", "exec"), scope)
                    if kind == "i":
                        values.append(nonce)
            frame = VALUES, values
            body = to_json(values).encode("ascii")
        except AssertionError as error:
            status, message = describe(error)
            return send(self.fd, ERROR, ["failed" if ops[0][0] == "i" else status, message])
        except BaseException as error:
            return send(self.fd, ERROR, describe(error))
        write_all(self.fd, pack(frame[0] + body))

    def raised(self, source: str, scope: dict) -> list[str] | None:
        """Names of the classes of the exception that a statement raises."""
        try:
            exec(compile(source, "<test>", "exec"), scope)
        except Exception as error:
            return [type_name(kind) for kind in type(error).__mro__]
        return None
