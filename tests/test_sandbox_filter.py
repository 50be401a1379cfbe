"""The filter's decisions, read by a small interpreter of classic BPF, for both architectures."""

import struct

import pytest

from sandbox.seccomp import ABSENT, ARCHITECTURES, FAIL, GUARDED, KILL, PERMIT, PID_MARK, SYSCALLS, build_filter


def decide(code: bytes, architecture: int, number: int, *arguments: int) -> int:
    """What the filter returns for one system call."""
    arguments = [argument & (1 << 64) - 1 for argument in (*arguments, *[0] * 6)][:6]
    data = struct.pack("<IIQ6Q", number, architecture, 0, *arguments)
    value, at = 0, 0
    while True:
        operation, if_true, if_false, constant = struct.unpack_from("<HBBI", code, 8 * at)
        at += 1
        if operation == 0x06:
            return constant
        if operation == 0x20:
            value = struct.unpack_from("<I", data, constant)[0]
        elif operation == 0x54:
            value &= constant
        else:
            taken = {0x15: value == constant, 0x35: value >= constant}[operation]
            at += if_true if taken else if_false


@pytest.fixture(params=sorted(ARCHITECTURES))
def machine(request):
    return request.param


def call(machine: str, name: str, *arguments: int) -> int:
    column, architecture = ARCHITECTURES[machine]
    number = {**SYSCALLS, **GUARDED}[name][column]
    return decide(build_filter(machine), architecture, number, *arguments)


def test_everything_listed_is_permitted(machine):
    column = ARCHITECTURES[machine][0]
    assert all(call(machine, name) == PERMIT for name, numbers in SYSCALLS.items() if numbers[column] is not None)


def test_everything_else_is_refused(machine):
    column, architecture = ARCHITECTURES[machine]
    known = {numbers[column] for numbers in {**SYSCALLS, **GUARDED, **ABSENT}.values()}
    code = build_filter(machine)
    absent = [numbers[column] for numbers in ABSENT.values() if numbers[column] is not None]
    assert {decide(code, architecture, number) for number in absent} == {FAIL | 2}
    assert {decide(code, architecture, number) for number in range(600) if number not in known} == {FAIL | 1}


def test_another_architecture_is_killed(machine):
    for architecture in (0x40000003, 0x40000028, 0):
        assert decide(build_filter(machine), architecture, 0) == KILL


def test_x32_is_killed():
    assert decide(build_filter("x86_64"), ARCHITECTURES["x86_64"][1], 0x40000000 + 1) == KILL


def test_an_unknown_architecture_is_an_error():
    with pytest.raises(OSError):
        build_filter("riscv64")


@pytest.mark.parametrize(
    ("name", "arguments", "permitted"),
    [
        ("mmap", (0, 4096, 3), True),
        ("mmap", (0, 4096, 4), False),
        ("mmap", (0, 4096, 7), False),
        ("mprotect", (0, 4096, 1), True),
        ("mprotect", (0, 4096, 5), False),
        ("clone", (0x3D0F00,), True),
        ("clone", (17,), False),
        ("clone", (0x3D0F00 | 0x10000000,), False),
        ("clone", (0x3D0F00 & ~0x10000,), False),
        ("fcntl", (3, 3), True),
        ("fcntl", (3, 8, 1), False),
        ("fcntl", (3, 10, 9), False),
        ("fcntl", (3, 1033, 1), False),
        ("fcntl", (3, 8 | 1 << 32, 1), False),
        ("ioctl", (3, 0x5421), True),
        ("ioctl", (3, 0x5412), False),
        ("socketpair", (1, 1), True),
        ("socketpair", (1, 0x80801), True),
        ("socketpair", (1, 2), False),
        ("socketpair", (2, 1), False),
        ("sendto", (3, 0, 0, 0, 0), True),
        ("sendto", (3, 0, 0, 0, 0x7FFF), False),
        ("sendto", (3, 0, 0, 0, 1 << 32), False),
        ("prlimit64", (0, 7), True),
        ("prlimit64", (1, 7), False),
        ("tgkill", (PID_MARK, 5, 6), True),
        ("tgkill", (1, 1, 9), False),
    ],
)
def test_arguments_decide(machine, name, arguments, permitted):
    assert call(machine, name, *arguments) == (PERMIT if permitted else FAIL | 1)


def test_clone3_is_not_implemented(machine):
    assert call(machine, "clone3") == FAIL | 38
