"""Values to tagged JSON, inside the child.

Plain data only, and by exact builtin type: a subclass is sent as its base value, taken with the base type's own methods, so
that what a program overrides on it is never asked. Everything else is opaque: `{"o": type name}`. Lists are JSON arrays;
other containers carry a one-letter tag.

    t tuple   s set   f frozenset   d dict   b bytes   y bytearray   i large int   c complex   r range   D Decimal   F Fraction
    O OrderedDict   C Counter   u text with surrogates   n a length, where `len(...)` of the test asks for no more
    g an iterator that a wrapper such as `list(...)` of the test consumes   T a builtin class   e an ellipsis   o opaque
"""

import contextlib
import json
import re
from collections import ChainMap, Counter, OrderedDict, UserDict, UserList, deque
from decimal import Decimal
from fractions import Fraction
from itertools import islice
from types import MappingProxyType

MAX_DEPTH = 190  # Python's own parser takes 200
JSON_INT = 1 << 53
SURROGATE = re.compile("[\ud800-\udfff]")
mro_of = type.__dict__["__mro__"].__get__  # a metaclass may lie about `cls.__mro__`
to_json = json.JSONEncoder(check_circular=False, separators=(",", ":")).encode


class Unsendable(Exception):
    """The value is too deep or too large to be equal to anything that a test expects."""


class Encoder:
    """Encodes values until `max_nodes` items or `max_bytes` bytes have gone; what does not fit is opaque."""

    def __init__(self, max_bytes: int):
        self.max_bytes = max_bytes
        self.left = max_bytes
        self.is_exact = True  # whether all of the value is plain data, and no subclass

    def encode(self, value: object, mode: str = "") -> object:
        """One value as JSON-ready data. Mode `iter` also expands an iterator, `len` gives the length of a collection alone,
        `str` and `repr` give the text alone of what holds more than plain data, `bool` adds the truth of an opaque object,
        `array` takes an array of numpy's for a list.
        """
        self.left = self.max_bytes
        try:
            if mode == "array" and type(value).__module__ == "numpy" and hasattr(value, "tolist"):
                value = value.tolist()
            if mode == "len" and (length := length_of(value)) is not None:
                return {"n": length}
            if mode == "iter" and not isinstance(value, ORDERED):
                with contextlib.suppress(TypeError):  # a number of numpy's
                    return {"g": self.items(islice(iter(value), self.max_bytes), 0)}
            self.is_exact = True
            data = self.node(value, 0)
            if mode in TEXT and not self.is_exact:
                return {"o": type(value).__name__, "s": TEXT[mode](value)[: self.max_bytes]}
            if mode == "bool" and type(data) is dict and "o" in data:
                data["b"] = bool(value)
            return data
        except (Unsendable, RecursionError):
            return {"o": type(value).__name__ + " (too deep or too large)"}

    def items(self, values, depth: int) -> list:
        return [self.node(item, depth + 1) for item in values]

    def pairs(self, items, depth: int) -> list:
        return [[self.node(key, depth + 1), self.node(item, depth + 1)] for key, item in items]

    def node(self, value: object, depth: int) -> object:
        self.left -= 2
        if self.left < 0 or depth > MAX_DEPTH:
            raise Unsendable
        kind = type(value)
        if value is None or kind is bool:
            return value
        write = ENCODE.get(kind)
        if write is None:
            self.is_exact = False
            write = next((ENCODE[base] for base in mro_of(kind) if base in ENCODE), None)
        if write is not None:
            return write(self, value, depth)
        if kind in EQUAL_TO:
            return self.node(EQUAL_TO[kind](value), depth)
        if value is ...:
            return {"e": 0}
        if kind is type and value in CLASS_NAMES:
            return {"T": CLASS_NAMES[value]}
        if kind.__module__ == "numpy" and hasattr(value, "item") and hasattr(value, "ndim") and value.ndim == 0:
            return self.node(value.item(), depth + 1)
        return {"o": kind.__name__}

    def spend(self, num_bytes: int) -> None:
        self.left -= num_bytes
        if self.left < 0:
            raise Unsendable


def length_of(value: object) -> int | None:
    """Of a builtin collection, a subclass of one by its base value; what an object itself says; None where it has none."""
    base = next((base for base in mro_of(type(value)) if base in SIZED), None)
    if base is None:
        return len(value) if hasattr(type(value), "__len__") else None
    return base.__len__(value)


def _int(encoder: Encoder, value: int, depth: int) -> object:
    value = int.__int__(value)
    if -JSON_INT < value < JSON_INT:
        return value
    encoder.spend(value.bit_length() // 4)
    return {"i": hex(value)}  # past 4,300 digits int() of a decimal text is refused, and slow


def _float(encoder: Encoder, value: float, depth: int) -> object:
    return float.__float__(value)


def _str(encoder: Encoder, value: str, depth: int) -> object:
    encoder.spend(str.__len__(value))
    text = str.__str__(value)
    if not str.isascii(text) and SURROGATE.search(text):  # JSON makes one character of two of them
        return {"u": str.encode(text, "utf-8", "surrogatepass").decode("latin-1")}
    return text


def _bytes(encoder: Encoder, value: bytes, depth: int) -> object:
    encoder.spend(bytes.__len__(value))
    return {"b": b"".join([value]).decode("latin-1")}


def _bytearray(encoder: Encoder, value: bytearray, depth: int) -> object:
    encoder.spend(bytearray.__len__(value))
    return {"y": b"".join([value]).decode("latin-1")}


def _list(encoder: Encoder, value: list, depth: int) -> object:
    return encoder.items(list.__iter__(value), depth)


def _tuple(encoder: Encoder, value: tuple, depth: int) -> object:
    return {"t": encoder.items(tuple.__iter__(value), depth)}


def _set(encoder: Encoder, value: set, depth: int) -> object:
    return {"s": encoder.items(set.__iter__(value), depth)}


def _frozenset(encoder: Encoder, value: frozenset, depth: int) -> object:
    return {"f": encoder.items(frozenset.__iter__(value), depth)}


def _dict(encoder: Encoder, value: dict, depth: int) -> object:
    return {"d": encoder.pairs(dict.items(value), depth)}


def _ordered_dict(encoder: Encoder, value: OrderedDict, depth: int) -> object:
    return {"O": encoder.pairs(OrderedDict.items(value), depth)}  # `dict.items` does not know of `move_to_end`


def _complex(encoder: Encoder, value: complex, depth: int) -> object:
    exact = complex.__add__(value, 0j)
    return {"c": [exact.real, exact.imag]}


def _range(encoder: Encoder, value: range, depth: int) -> object:
    return {"r": [_int(encoder, part, depth) for part in (value.start, value.stop, value.step)]}


def _decimal(encoder: Encoder, value: Decimal, depth: int) -> object:
    encoder.spend(len(Decimal.as_tuple(value).digits))
    return {"D": Decimal.__str__(value)}


def _fraction(encoder: Encoder, value: Fraction, depth: int) -> object:
    return {"F": [_int(encoder, value._numerator, depth), _int(encoder, value._denominator, depth)]}


ENCODE = {
    int: _int,
    float: _float,
    str: _str,
    bytes: _bytes,
    bytearray: _bytearray,
    list: _list,
    tuple: _tuple,
    set: _set,
    frozenset: _frozenset,
    dict: _dict,
    Counter: lambda encoder, value, depth: {"C": encoder.pairs(dict.items(value), depth)},
    OrderedDict: _ordered_dict,
    complex: _complex,
    range: _range,
    Decimal: _decimal,
    Fraction: _fraction,
}
CLASSES = {kind.__name__: kind for kind in (*ENCODE, bool, object, type, type(None))}
CLASS_NAMES = {kind: name for name, kind in CLASSES.items()}
VIEWS = (type({}.keys()), type({}.values()), type({}.items()))
SIZED = frozenset((str, bytes, bytearray, list, tuple, set, frozenset, dict, range, deque, *VIEWS))
PLAIN = (*ENCODE, type(None))
ORDERED = tuple(kind for kind in PLAIN if kind not in (set, frozenset))  # a set's order is its own, and lost when it is sent
TEXT = {"str": str, "repr": repr}
# Containers of the library that are equal to plain ones, and sent as these.
EQUAL_TO = {ChainMap: dict, UserDict: dict, MappingProxyType: dict, UserList: list, VIEWS[0]: set, memoryview: bytes}
