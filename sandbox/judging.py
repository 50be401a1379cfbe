"""What the judge may compute with values that came out of a hostile program: wrappers, operators and methods, each with a
bound on its cost.

A `Thunk` takes the list of a test's values and gives the value of a (sub)expression of its assert. Whatever a thunk raises
makes the test not pass.
"""

import cmath
import math
import string
import sys
from collections import Counter, OrderedDict
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

from sandbox.approx import Approx, ApproxOutput
from sandbox.child import text_of
from sandbox.decoding import (
    MAX_DECIMAL_EXPONENT,
    MAX_FRACTION_BITS,
    MAX_ITEMS,
    Iterated,
    Length,
    Opaque,
    TooLarge,
    guard_hashing,
)
from sandbox.operators import MAX_BITS, Refused, bounded

Thunk = Callable[[list], object]

MAX_JOINED = 2000


def _length(value: object) -> int:
    return value.length if isinstance(value, Length) else len(value)


def _plain(make: Callable, hashes: bool = False) -> Callable:
    """A wrapper that consumes an iterable: bounded, and safe to hash where it hashes."""

    def call(*args, **kwargs):
        parts = [list(arg) if isinstance(arg, (range, Iterated)) else arg for arg in args]
        if hashes and parts and isinstance(parts[0], (list, tuple)):
            items = [pair[0] for pair in parts[0]] if make in (dict, OrderedDict) else list(parts[0])
            if any(isinstance(item, Opaque) for item in items):
                raise Refused("which objects of the program are equal")
            guard_hashing(items)
        return make(*parts, **kwargs)

    return call


def _int(value: object = 0, /, *args, **base) -> int:
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise Refused
    return int(value, *args, **base)


def _text(make: Callable) -> Callable:
    def call(value: object = "", *args, **encoding) -> str:
        if isinstance(value, Opaque) and value.text is not None:
            return value.text
        if isinstance(value, int) and value.bit_length() > MAX_BITS:
            raise Refused
        return make(value, *args, **encoding)

    return call


def _range(*args) -> range:
    if any(abs(arg) > MAX_ITEMS for arg in args):
        raise Refused
    return range(*args)


def _sum(values: object, start: object = 0) -> object:
    values = list(values)
    if not isinstance(start, (int, float, complex, Decimal, Fraction)) and len(values) > MAX_JOINED:
        raise Refused  # adding lists one by one copies all that came before
    if sum(value.denominator.bit_length() for value in values if isinstance(value, Fraction)) > MAX_BITS:
        raise Refused  # as long as all denominators together
    return sum(values, start)


def _round(number: object, ndigits: int | None = None) -> object:
    if ndigits is not None and abs(ndigits) > MAX_DECIMAL_EXPONENT:
        raise Refused
    return round(number, ndigits)


def _decimal(value: object = 0) -> Decimal:
    if isinstance(value, int) and value.bit_length() > MAX_FRACTION_BITS:
        raise Refused  # the time is quadratic
    made = Decimal(value)
    if made.is_finite() and abs(made.adjusted()) > MAX_DECIMAL_EXPONENT:
        raise Refused  # a number of so many digits where it becomes an int
    return made


def _fraction(value: object = 0, *denominator: int) -> Fraction:
    if isinstance(value, str) and len(value) > MAX_DECIMAL_EXPONENT:
        raise Refused  # read digit by digit
    if isinstance(value, str) and "e" in value.lower():
        _decimal(value)
    if isinstance(value, Decimal) and len(value.as_tuple().digits) > MAX_DECIMAL_EXPONENT:
        raise Refused  # read digit by digit
    return Fraction(value, *denominator)


ITERATING = {
    "len": _length,
    "sorted": _plain(sorted),
    "list": _plain(list),
    "tuple": _plain(tuple),
    "sum": _sum,
    "min": _plain(min),
    "max": _plain(max),
    "any": _plain(any),
    "all": _plain(all),
    "set": _plain(set, hashes=True),
    "frozenset": _plain(frozenset, hashes=True),
    "dict": _plain(dict, hashes=True),
    "Counter": _plain(Counter, hashes=True),
    "OrderedDict": _plain(OrderedDict, hashes=True),
    "reversed": lambda value: Iterated(reversed(list(value))),
    "enumerate": lambda value, start=0: Iterated(enumerate(list(value), start)),
    "zip": lambda *args: Iterated(zip(*map(list, args))),
}
TEXT = {"str": _text(str), "repr": _text(repr)}
SCALAR = {
    "abs": abs,
    "round": _round,
    "int": _int,
    "float": float,
    "bool": bool,
    "complex": complex,
    "ord": ord,
    "chr": chr,
    "divmod": bounded(divmod),
    "hex": hex,
    "bin": bin,
    "oct": oct,
    "bytes": lambda value=b"", *args, **encoding: bytes(value if isinstance(value, str) else list(value), *args, **encoding),
    "type": type,
    "isinstance": isinstance,
    "range": _range,
    "Decimal": _decimal,
    "Fraction": _fraction,
    "approx_output": ApproxOutput,
}
TYPES = {
    "int": int,
    "float": float,
    "str": str,
    "bool": bool,
    "list": list,
    "tuple": tuple,
    "dict": dict,
    "set": set,
    "frozenset": frozenset,
    "bytes": bytes,
    "complex": complex,
    "object": object,
    "len": len,
    "abs": abs,
    "range": range,
}
CALLS = {**ITERATING, **TEXT, **SCALAR}
MODULES = {
    "math": math,
    "cmath": cmath,
    "sys": sys,
    "fractions": {"Fraction": CALLS["Fraction"]},
    "decimal": {"Decimal": CALLS["Decimal"]},
    "collections": {"Counter": CALLS["Counter"], "OrderedDict": CALLS["OrderedDict"]},
    "string": {name: value for name, value in vars(string).items() if isinstance(value, str) and name[0] != "_"},
    "pytest": {"approx": Approx},
}
SLOW_MATH = {"factorial", "comb", "perm", "prod", "lcm", "gcd", "isqrt"}


def module_member(module: str, name: str) -> object | None:
    """A function or constant of a module that the judge may use, or None."""
    members = MODULES.get(module)
    if isinstance(members, dict):
        return members.get(name)
    if module == "sys":
        return {"getsizeof": sys.getsizeof, "maxsize": sys.maxsize}.get(name)
    if members is None or name.startswith("_") or name in SLOW_MATH:
        return None
    return getattr(members, name, None)


TEXT_PREDICATES = {"startswith", "endswith", "isdigit", "isalpha", "isalnum", "isupper", "islower", "isspace", "istitle"}
STRING_METHODS = {"lower", "upper", "strip", "lstrip", "rstrip", "split", "count", "index", "find", "title", "splitlines"}
STRING_METHODS |= TEXT_PREDICATES
DICT_METHODS = {"keys", "values", "items", "get", "copy"}
METHODS = {
    str: STRING_METHODS | {"encode"},
    bytes: STRING_METHODS | {"decode"},
    bytearray: STRING_METHODS | {"decode"},
    range: {"count", "index"},
    list: {"count", "index", "copy"},
    tuple: {"count", "index"},
    dict: DICT_METHODS,
    OrderedDict: DICT_METHODS,
    Counter: DICT_METHODS,
    set: {"issubset", "issuperset", "union", "copy"},
    frozenset: {"issubset", "issuperset", "union", "copy"},
    float: {"is_integer"},
}
METHOD_NAMES = frozenset().union(*METHODS.values())


def call_method(receiver: object, name: str, args: list) -> object:
    if name not in METHODS.get(type(receiver), ()):
        raise Refused(f"{type(receiver).__name__}.{name}")
    if isinstance(receiver, (set, frozenset)):
        args = [guard_hashing(list(arg)) if isinstance(arg, (list, tuple, range, Iterated)) else arg for arg in args]
    return getattr(receiver, name)(*args)


def is_true(value: object) -> bool:
    """Truth of an assert's value. Raises Refused on an object that is not plain data."""
    if isinstance(value, Iterated) or (isinstance(value, Opaque) and value.truth is None):
        raise Refused("not plain data")
    return bool(value)


def outcome(check: Thunk, values: list) -> tuple[str, str]:
    """Status and message of one check. Everything is caught: the values are hostile, and only the sandbox turns failures
    into values.
    """
    try:
        return ("passed", "") if is_true(check(values)) else ("failed", "")
    except (Refused, TooLarge) as error:
        return "failed", str(error) or "the value is too large or not plain data"
    except RecursionError:
        return "failed", "the value is nested too deeply"
    # what `f(x) + 1 == 2` raises where f returned None
    except Exception as error:  # noqa: BLE001 - only the sandbox turns failures into values
        status = "failed" if any(isinstance(value, Opaque) for value in values) else "error"
        return status, f"{type(error).__name__}: {text_of(error)}"
