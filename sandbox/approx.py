"""`pytest.approx`, for a judge that has no pytest, and its like for printed text."""

import math
from decimal import Decimal
from fractions import Fraction

TOLERANCE = 1e-6


class Approx:
    """Equal within max(relative × expected, absolute), element by element. Arrays of numpy's are lists."""

    __array_ufunc__ = None  # else an array on the left would compare each of its elements with the whole

    def __init__(self, expected: object, rel: float | None = None, abs: float | None = None, nan_ok: bool = False):
        self.expected, self.rel, self.abs, self.nan_ok = expected, rel, abs, nan_ok

    def __eq__(self, other: object) -> bool:
        return self.matches(self.expected, other)

    __hash__ = None

    def matches(self, expected: object, got: object) -> bool:
        expected, got = _as_list(expected), _as_list(got)
        if isinstance(expected, dict):
            return (
                isinstance(got, dict)
                and expected.keys() == got.keys()
                and all(self.matches(expected[key], got[key]) for key in expected)
            )
        if isinstance(expected, (list, tuple)):
            return isinstance(got, (list, tuple)) and len(got) == len(expected) and all(map(self.matches, expected, got))
        if isinstance(expected, (Decimal, Fraction)) or isinstance(got, (Decimal, Fraction)):
            expected, got = _as_float(expected), _as_float(got)
        if not isinstance(expected, (int, float, complex)) or not isinstance(got, (int, float, complex)):
            return expected == got
        if expected != expected:
            return self.nan_ok and got != got
        relative = (1e-6 if self.abs is None else 0.0) if self.rel is None else self.rel
        return (
            expected == got
            or abs(expected - got) <= max(relative * abs(expected), 1e-12 if self.abs is None else self.abs) < math.inf
        )


def _as_list(value: object) -> object:
    return value.tolist() if type(value).__module__ == "numpy" else value


def _as_float(value: object) -> object:
    try:
        return float(value) if isinstance(value, (Decimal, Fraction, int)) else value
    except (OverflowError, ValueError):
        return value


class ApproxOutput:
    """Equal to a printed text word by word and line by line, where a decimal such as 0.25 may be off by 1e-6, relative or
    absolute. Whole numbers have to be the same.
    """

    def __init__(self, expected: str):
        self.lines = [line.split() for line in expected.split("\n")]

    def __eq__(self, other: object) -> bool:
        if type(other) is not str:
            return False
        lines = [line.split() for line in other.split("\n")]
        return len(lines) == len(self.lines) and all(
            len(expected) == len(got) and all(map(_is_near, expected, got)) for expected, got in zip(self.lines, lines)
        )

    __hash__ = None


def is_decimal(word: str) -> bool:
    """Whether a word is a number with a decimal point or an exponent."""
    try:
        return math.isfinite(float(word)) and not word.lstrip("+-").isdecimal() and "_" not in word
    except ValueError:
        return False


def _is_near(expected: str, got: str) -> bool:
    if expected == got or not is_decimal(expected):
        return expected == got
    try:
        return math.isclose(float(expected), float(got), rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    except ValueError:
        return False
