"""What inline tests ask of pytest, inside the child: `raises`, `warns`, `approx`, `fail`, and marks that do nothing.

Pytest itself would make every fork dearer. Tests that can be taken apart do not come here.
"""

import contextlib
import re
import types
import warnings
from collections.abc import Iterator

from sandbox.approx import Approx


class Raises:
    """`with raises(ValueError, match="...") as info:`; `info.value` is the exception."""

    def __init__(self, kinds: type | tuple[type, ...], match: str | None = None):
        self.kinds, self.pattern = kinds, match
        self.value: BaseException | None = None

    def __enter__(self) -> "Raises":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: object) -> bool:
        if error is None:
            raise AssertionError(f"did not raise {self.kinds}")
        if not isinstance(error, self.kinds):
            return False
        self.keep(error)
        if self.pattern is not None:
            self.match(self.pattern)
        return True

    def keep(self, error: BaseException) -> None:
        """What a test may ask for after the block, by the names of pytest and of unittest."""
        self.value = self.exception = error
        self.type, self.typename = type(error), type(error).__name__

    def exconly(self) -> str:
        return f"{self.typename}: {self.value}" if str(self.value) else self.typename

    def match(self, pattern: str) -> bool:
        """Raises AssertionError where the exception's text does not hold `pattern`."""
        if not re.search(pattern, str(self.value)):
            raise AssertionError(f"{pattern!r} is not in {str(self.value)!r}")
        return True


def raises(expected_exception: type | tuple[type, ...], *call: object, match: str | None = None, **kwargs: object) -> Raises:
    """As pytest's: a context, or at once where a function and its arguments follow."""
    context = Raises(expected_exception, match)
    if call:
        function, *args = call
        with context:
            function(*args, **kwargs)
    return context


@contextlib.contextmanager
def warns(kinds: type | tuple[type, ...] = Warning, match: str | None = None) -> Iterator[list]:
    """Raises AssertionError where none of the block's warnings is of these kinds and holds `match`."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield caught
    if not any(issubclass(one.category, kinds) and re.search(match or "", str(one.message)) for one in caught):
        raise AssertionError(f"did not warn of {kinds}")


def fail(reason: str = "", **kwargs: object) -> None:
    """Raises AssertionError."""
    raise AssertionError(reason)


class _Marks:
    """`@mark.anything` and `@mark.anything(...)` leave a function as it is."""

    def __getattr__(self, name: str):
        return lambda *args, **kwargs: (
            args[0] if len(args) == 1 and callable(args[0]) and not kwargs else lambda function: function
        )


def pytest_like() -> types.ModuleType:
    module = types.ModuleType("pytest")
    module.fixture = _Marks().fixture
    module.raises, module.warns, module.approx, module.fail, module.mark = raises, warns, Approx, fail, _Marks()
    return module
