"""The layers around a worker, each put up by doing it: what fails is reported and the rest goes on.

Once per worker: namespaces, an empty root, an unused user, Landlock, limits. Once per child: the CPU limit, the parent-death
signal and the filter.
"""

import os
import resource

from sandbox import kernel

STACK_BYTES = 64 << 20
MAX_FILES = 64
MAX_TASKS = 128
UNUSED_UIDS = (0x60000000, 20000)  # the second for containers that map 65,536 ids only


class Layers:
    """Puts the layers up and remembers how each went. `disabled` is for measuring what a layer costs."""

    def __init__(self, disabled: tuple[str, ...] = ()):
        self.disabled = disabled
        self.report: dict[str, str] = {}

    def put(self, name: str, action, *args) -> object:
        """Run one layer; its report is `ok` or `missing: reason`."""
        if name in self.disabled:
            self.report[name] = "off"
            return None
        try:
            result = action(*args)
            self.report[name] = "ok"
            return result
        except (OSError, ValueError) as error:
            self.report[name] = f"missing: {error.strerror if isinstance(error, OSError) else error}"
            return None

    @property
    def is_seccomp_ok(self) -> bool:
        return self.report.get("seccomp") == "ok"

    def line(self) -> str:
        return ", ".join(f"{name} {state}" for name, state in self.report.items())


def new_namespaces() -> None:
    """Namespaces of its own for this process and, with processes, for its children. Not root: inside a new user namespace."""
    flags = kernel.CLONE_NEWNS | kernel.CLONE_NEWUTS | kernel.CLONE_NEWIPC | kernel.CLONE_NEWPID | kernel.CLONE_NEWNET
    try:
        kernel.unshare(flags)
    except OSError:
        kernel.unshare(flags | kernel.CLONE_NEWUSER)


def redirect_standard_streams() -> None:
    """Input is empty and output goes nowhere: nothing that a program prints is stored or read."""
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)


def writable_folder() -> str:
    """A folder for one that vanishes again at once. Raises OSError."""
    for folder in ("/dev/shm", "/tmp", "/var/tmp"):
        if os.access(folder, os.W_OK | os.X_OK):
            return folder
    raise OSError(30, "no writable folder")


def enter_empty_root() -> None:
    """An empty folder that no longer has a name as the root. Raises OSError without the right to chroot."""
    folder = f"{writable_folder()}/sandbox-{os.getpid()}-{os.urandom(8).hex()}"
    os.mkdir(folder, 0o555)
    try:
        os.chdir(folder)
    finally:
        os.rmdir(folder)
    try:
        os.chroot(".")
    finally:
        os.chdir("/")


def become_nobody() -> None:
    """A user id that nothing else has, so that limits per user and signals concern this worker only. Raises OSError when
    not root.
    """
    if os.geteuid() != 0:
        raise OSError(1, "not root")
    number = os.getpid() if os.getpid() > 1 else int.from_bytes(os.urandom(2), "little")
    for base in UNUSED_UIDS:
        uid = base + (number % 40000 if base == UNUSED_UIDS[1] else int.from_bytes(os.urandom(3), "little"))
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            resource.setrlimit(resource.RLIMIT_NPROC, (MAX_TASKS, MAX_TASKS))
            return
        except OSError as error:
            last = error
    raise last


def own_address_space() -> int:
    """Bytes of address space that this process has."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def set_limits(memory_bytes: int) -> None:
    """Limits that every child inherits. `memory_bytes` counts the worker's own address space too."""
    _lower(resource.RLIMIT_AS, memory_bytes)
    _lower(resource.RLIMIT_FSIZE, 0)
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_NOFILE, MAX_FILES)
    _lower(resource.RLIMIT_MEMLOCK, 0)
    _lower(resource.RLIMIT_MSGQUEUE, 0)
    _lower(resource.RLIMIT_STACK, STACK_BYTES)


def _lower(what: int, value: int) -> None:
    hard = resource.getrlimit(what)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(what, (value, value))


def harden(layers: Layers, memory_bytes: int) -> None:
    """All layers of a worker but the namespaces, which come before its fork, and the filter, which comes after each child's."""
    redirect_standard_streams()
    memory_bytes += own_address_space()
    layers.put("empty_root", enter_empty_root)
    layers.put("limits", set_limits, memory_bytes)
    layers.put("unused_user", become_nobody)
    layers.put("no_capabilities", kernel.drop_capabilities)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    kernel.prctl(kernel.PR_SET_PDEATHSIG, 9)  # after the change of user, which clears it
    layers.put("no_new_privileges", kernel.prctl, kernel.PR_SET_NO_NEW_PRIVS, 1)
    if layers.report.get("namespaces") == layers.report.get("empty_root") == "ok":
        # Nothing is left that it could deny, and it costs each child a fifth of its CPU time.
        layers.report["landlock"] = "not needed"
    else:
        layers.put("landlock", kernel.landlock_deny_all)
