"""The few kernel calls that Python has no name for."""

import ctypes
import os
import struct

libc = ctypes.CDLL(None, use_errno=True)
libc.prctl.argtypes = [ctypes.c_int] + 4 * [ctypes.c_ulong]
libc.syscall.restype = ctypes.c_long

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 4, 24, 36, 38
PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = (
    0x20000,
    0x4000000,
    0x8000000,
    0x10000000,
    0x20000000,
    0x40000000,
)
CAPSET = {"x86_64": 126, "aarch64": 91}
CAPABILITY_VERSION = 0x20080522
LANDLOCK_CREATE_RULESET, LANDLOCK_RESTRICT_SELF, LANDLOCK_CREATE_RULESET_VERSION = 444, 446, 1


raw_fork = ctypes.PyDLL(None).fork
raw_fork.restype = ctypes.c_int


def fork() -> int:
    """`fork` without Python's at-fork handlers, which touch every lock of every module and cost as much as the fork itself.

    Only for a process with one thread. The child has to reseed `random` itself. Raises OSError.
    """
    return check(raw_fork(), "fork")


def check(result: int, what: str) -> int:
    """The result. Raises OSError where the call failed."""
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def prctl(option: int, value: int = 0) -> None:
    check(libc.prctl(option, value, 0, 0, 0), f"prctl {option}")


def unshare(flags: int) -> None:
    check(libc.unshare(flags), "unshare")


def drop_capabilities() -> None:
    """No capability now, none from a later exec. Raises OSError."""
    for capability in range(64):
        if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0:
            break
    libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    header = ctypes.create_string_buffer(struct.pack("<Ii", CAPABILITY_VERSION, 0), 8)
    check(libc.syscall(CAPSET[os.uname().machine], header, ctypes.create_string_buffer(24)), "capset")


def landlock_deny_all() -> int:
    """Deny every access to files, TCP, abstract sockets and signals outwards that this kernel's Landlock knows. Returns
    its version. Raises OSError.
    """
    version = check(
        libc.syscall(LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), LANDLOCK_CREATE_RULESET_VERSION), "landlock"
    )
    num_file_rights = {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)
    fields = [(1 << num_file_rights) - 1, 3, 3][: 1 if version < 4 else 2 if version < 6 else 3]
    attributes = struct.pack(f"<{len(fields)}Q", *fields)
    ruleset = check(
        libc.syscall(
            LANDLOCK_CREATE_RULESET,
            ctypes.create_string_buffer(attributes, len(attributes)),
            ctypes.c_size_t(len(attributes)),
            0,
        ),
        "landlock",
    )
    try:
        check(libc.syscall(LANDLOCK_RESTRICT_SELF, ruleset, 0), "landlock")
    finally:
        os.close(ruleset)
    return version
