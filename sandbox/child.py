"""What runs inside a child, next to the program. Nothing here is trusted: it only reports values, and the judge asks no more
of it.

Everything it needs is bound before the program runs, so that a program that spoils the standard library spoils at most its
own values.
"""

import mmap
import os
import sys
import types

from sandbox.encoding import Encoder, mro_of, to_json
from sandbox.frames import pack, write_all
from sandbox.pytest_like import Raises
from sandbox.script import stdout_of

LOADED, VALUES, ERROR = b"L", b"v", b"e"
OUT_OF_MEMORY = pack(b'e["memory","MemoryError"]')
NONCE_BYTES = 32
MAX_INLINE = 1024  # inline tests of a program, whose nonces have to fit into a pipe
STDOUT_OF = "stdout_of"  # what a test calls to run the program as a script
RESERVE_BYTES = 4 << 20
MAX_MESSAGE = 300
type_name = type.__dict__["__name__"].__get__


def send(fd: int, kind: bytes, data: object = None) -> None:
    write_all(fd, pack(kind + to_json(data).encode("ascii")))


def describe(error: BaseException) -> list[str]:
    """Exception type and message, short, and without trusting the exception's own methods."""
    name = str(type_name(type(error)))[:100]
    status = "exited" if isinstance(error, SystemExit) else "memory" if isinstance(error, MemoryError) else "error"
    message = text_of(error)
    return [status, f"{name}: {message}" if message else name]


def text_of(error: BaseException) -> str:
    """An exception's text, short, or nothing where it has none that can be had."""
    try:
        return str(error)[:MAX_MESSAGE]
    except BaseException:  # noqa: BLE001 - a program may raise anything
        return ""


def new_module(name: str = "solution") -> types.ModuleType:
    """The program as a real module, which dataclasses and pickle look up by name; not `__main__` unless it is a script, so
    its main block stays quiet.
    """
    module = types.ModuleType(name)
    module.__file__ = f"/{name}.py"
    sys.modules[name] = module
    return module


def reseed(code: str) -> None:
    """Every child inherits the same random state; a new one costs 2,500 bytes of the kernel's entropy."""
    if "random" in code:
        for name in ("random", "numpy.random"):
            if name in sys.modules:
                sys.modules[name].seed()


class Runner:
    """Runs one program and its tests' operations in order, and sends one frame for each test."""

    def __init__(self, fd: int, nonce_fd: int, max_output_bytes: int):
        self.fd, self.nonce_fd = fd, nonce_fd
        self.reserve = mmap.mmap(
            -1, RESERVE_BYTES, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        )  # address space only: it is never touched
        self.encoder = Encoder(max_output_bytes)
        self.namespace = new_module().__dict__

    def load(self, code: str, before: str, setup: str, is_imported: bool) -> bool:
        """Execute the program between the two parts of the setup. An exception ends everything: all tests have its status.

        Tests of a program that `is_imported` have names of their own, which do not take the place of the program's.
        """
        try:
            reseed(before + setup + code)
            if before:
                exec(compile(before, "<setup>", "exec"), self.namespace)
            exec(compile(code, "<program>", "exec", dont_inherit=True), self.namespace)
            self.namespace = dict(self.namespace) if is_imported else self.namespace
            if setup:
                exec(compile(setup, "<setup>", "exec"), self.namespace)
        except BaseException as error:  # noqa: BLE001 - a program may raise anything
            self.report(error)
            return False
        send(self.fd, LOADED)
        return True

    def load_script(self, code: str, setup: str) -> bool:
        """Compile the program, which runs when a test calls `stdout_of`. An exception ends everything, as in `load`."""
        try:
            reseed(setup + code)
            setup_code, program = compile(setup, "<setup>", "exec"), compile(code, "<program>", "exec", dont_inherit=True)
        except BaseException as error:  # noqa: BLE001 - source may break the compiler in many ways
            self.report(error)
            return False

        def execute() -> None:
            namespace = new_module("__main__").__dict__
            exec(setup_code, namespace)
            exec(program, namespace)

        self.namespace[STDOUT_OF] = lambda stdin: stdout_of(execute, stdin, self.encoder.max_bytes)
        send(self.fd, LOADED)
        return True

    def report(self, error: BaseException, status: str = "") -> None:
        """Send an exception in place of values. The reserve is for saying that there is no memory left."""
        self.reserve.close()
        if isinstance(error, MemoryError):
            return write_all(self.fd, OUT_OF_MEMORY)
        try:
            described, message = describe(error)
            send(self.fd, ERROR, [status or described, message])
        except MemoryError:
            write_all(self.fd, OUT_OF_MEMORY)

    def run_test(self, ops: list) -> None:
        values, scope = [], self.namespace
        try:
            for kind, source, mode in ops:
                if kind == "v":
                    values.append(self.encoder.encode(eval(compile(source, "<test>", "eval"), scope), mode))
                elif kind == "n":
                    scope = self.namespace if mode == "end" else dict(self.namespace)
                elif kind == "r":
                    values.append(self.raised(source, scope, mode))
                else:
                    exec(compile(source, "<test>", "exec"), scope)
                    if (
                        kind == "i"
                    ):  # the nonce is in a pipe until here, so that no frame or object holds it while the program runs
                        values.append(os.read(self.nonce_fd, NONCE_BYTES).decode("ascii"))
            frame = pack(VALUES + to_json(values).encode("ascii"))
        except AssertionError as error:
            return self.report(error, "failed" if ops[-1][0] == "i" else "")
        except BaseException as error:  # noqa: BLE001 - a program may raise anything
            return self.report(error)
        write_all(self.fd, frame)

    def raised(self, source: str, scope: dict, name: str) -> list | None:
        """Names of the classes of the exception that statements raise, and its text. The test may ask more of it by `name`."""
        try:
            exec(compile(source, "<test>", "exec"), scope)
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001 - a program may raise anything
            if name:
                scope[name] = Raises(type(error))
                scope[name].keep(error)
            return [[type_name(kind) for kind in mro_of(type(error))], text_of(error)]
        return None
