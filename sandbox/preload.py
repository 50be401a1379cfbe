"""The standard library in memory: a child cannot open files, yet its program may import.

The worker gathers the compiled modules into one block before it is locked in; the block is a sealed shared mapping, which a
fork need not copy. C extensions cannot be loaded later and are imported beforehand.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import marshal
import mmap
import os
import struct
import sys

from sandbox.frames import write_all
from sandbox.kernel import check, libc

F_ADD_SEALS, F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE = 1033, 1, 2, 4, 8
SKIPPED = frozenset(
    """
    __pycache__ config dist-packages distutils ensurepip idle_test idlelib lib2to3 pydoc_data site-packages test tests
    tkinter turtledemo venv
    """.split()
)
# What nearly all programs import. A fork of a worker that holds everything below costs twice as much.
LEAN = tuple(
    """
    abc array bisect cmath collections collections.abc contextlib copy dataclasses datetime decimal enum fractions
    functools heapq io itertools json keyword math numbers operator os random re statistics string struct sys textwrap
    time traceback types typing warnings weakref gc errno builtins __future__ unicodedata encodings.ascii
    encodings.latin_1 _codecs_cn _codecs_hk _codecs_iso2022 _codecs_jp _codecs_kr _codecs_tw
    _multibytecodec
    """.split()
)
WIDE = tuple(
    """
    ast asyncio base64 binascii calendar concurrent.futures.thread csv ctypes fcntl grp hashlib locale logging mmap
    pickle platform pprint pwd queue resource secrets select signal socket subprocess threading timeit unittest
    unittest.mock uuid zlib zoneinfo encodings.idna bz2 lzma multiprocessing _multiprocessing _posixshmem _elementtree
    sqlite3 pyexpat _opcode _contextvars _lsprof _queue _uuid termios syslog _crypt
    """.split()
)
SUBMODULES = {
    "numpy": (
        "numpy.linalg",
        "numpy.random",
        "numpy.fft",
        "numpy.polynomial",
        "numpy.ma",
        "numpy.lib.stride_tricks",
        "numpy.testing",
    )
}


def preload(names: tuple[str, ...]) -> list[str]:
    """Import what can be imported; returns the names that cannot."""
    missing = []
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError:
            missing.append(name)
    return missing


def compiled(path: str) -> bytes | None:
    """The marshalled code of a source file: from its cache where that is fresh, compiled otherwise; None where it does not
    compile.
    """
    cache = importlib.util.cache_from_source(path)
    try:
        with open(cache, "rb") as file:
            data = file.read()
        status = os.stat(path)
        if data[:4] == importlib.util.MAGIC_NUMBER and struct.unpack_from("<III", data, 4) == (
            0,
            int(status.st_mtime) & 0xFFFFFFFF,
            status.st_size & 0xFFFFFFFF,
        ):
            return data[16:]
    except OSError:
        pass
    try:
        with open(path, "rb") as file:
            return marshal.dumps(compile(file.read(), path, "exec", dont_inherit=True))
    except (OSError, SyntaxError, ValueError):
        return None


def gather(roots: list[tuple[str, str]]) -> dict[str, tuple[bool, str, bytes]]:
    """Module name → (is package, path, code) of all Python files under `(folder, prefix)` roots."""
    modules = {}
    for folder, prefix in roots:
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            stem = entry.name.removesuffix(".py")
            if entry.is_file() and stem != entry.name and stem.isidentifier():
                is_package = stem == "__init__"
                name = prefix.rstrip(".") if is_package else prefix + stem
                code = compiled(entry.path) if name else None
                if code:
                    modules[name] = (is_package, entry.path, code)
            elif (
                entry.is_dir()
                and entry.name.isidentifier()
                and entry.name not in SKIPPED
                and os.path.exists(entry.path + "/__init__.py")
            ):
                modules.update(gather([(entry.path, prefix + entry.name + ".")]))
    return modules


def sealed(data: bytes) -> mmap.mmap | bytes:
    """The data in memory that children share and that nobody can write again, not even by asking for the right: one
    program must not be able to change what the next one imports. Without sealed memory it is an ordinary object, which
    a fork copies on write.
    """
    try:
        fd = os.memfd_create("library", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            write_all(fd, data)
            check(libc.fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE), "seal")
            return mmap.mmap(fd, len(data), mmap.MAP_SHARED, mmap.PROT_READ)
        finally:
            os.close(fd)
    except (OSError, AttributeError):
        return data


class MemoryImporter(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Finds and loads modules from one block of memory."""

    def __init__(self, modules: dict[str, tuple[bool, str, bytes]]):
        self.index, start = {}, 0
        for name, (is_package, path, code) in modules.items():
            self.index[name] = (is_package, path, start, len(code))
            start += len(code)
        self.block = sealed(b"".join(code for _, _, code in modules.values()))

    def find_spec(self, fullname, path=None, target=None):
        entry = self.index.get(fullname)
        if entry is None:
            return None
        spec = importlib.machinery.ModuleSpec(fullname, self, origin=entry[1], is_package=entry[0])
        spec.has_location = True
        return spec

    def get_code(self, fullname):
        _, _, start, length = self.index[fullname]
        return marshal.loads(self.block[start : start + length])

    def get_source(self, fullname):
        return None

    def is_package(self, fullname):
        return self.index[fullname][0]


def load_everything(is_lean: bool, extra: tuple[str, ...], paths: list[str]) -> list[str]:
    """Import the usual modules and `extra` ones found on `paths`, then replace file imports by memory. Returns the extra
    modules that are missing.
    """
    preload(LEAN if is_lean else LEAN + WIDE)
    sys.path.extend(path for path in paths if extra)
    names = [name for module in extra for name in (module, *SUBMODULES.get(module, ()))]
    missing = [name for name in preload(tuple(names)) if name in extra]
    roots = [(os.path.dirname(os.__file__), "")]
    for name in extra:
        module = sys.modules.get(name.split(".")[0])
        roots += [(folder, module.__name__ + ".") for folder in getattr(module, "__path__", [])]
    importer = MemoryImporter(gather(roots))
    sys.meta_path[:] = [importlib.machinery.BuiltinImporter, importlib.machinery.FrozenImporter, importer]
    sys.path[:] = []
    sys.path_hooks[:] = []
    sys.path_importer_cache.clear()
    return missing
