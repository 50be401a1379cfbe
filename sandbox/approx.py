"""`pytest.approx`, for a judge that has no pytest."""

import math


class Approx:
    """Equal within max(relative × expected, absolute), element by element."""

    def __init__(self, expected: object, rel: float | None = None, abs: float | None = None, nan_ok: bool = False):
        self.expected, self.rel, self.abs, self.nan_ok = expected, rel, abs, nan_ok

    def __eq__(self, other: object) -> bool:
        return self.matches(self.expected, other)

    __hash__ = None

    def matches(self, expected: object, got: object) -> bool:
        if isinstance(expected, dict):
            return (
                isinstance(got, dict)
                and expected.keys() == got.keys()
                and all(self.matches(expected[key], got[key]) for key in expected)
            )
        if isinstance(expected, (list, tuple)):
            return type(got) is type(expected) and len(got) == len(expected) and all(map(self.matches, expected, got))
        if not isinstance(expected, (int, float, complex)) or not isinstance(got, (int, float, complex)):
            return expected == got
        if expected != expected:
            return self.nan_ok and got != got
        relative = (1e-6 if self.abs is None else 0.0) if self.rel is None else self.rel
        return (
            expected == got
            or abs(expected - got) <= max(relative * abs(expected), 1e-12 if self.abs is None else self.abs) < math.inf
        )
