"""Tagged JSON back to values, in the trusted process. The bytes come from a hostile program: every size and shape is checked
here.

Hashing is the dangerous part: integers with one hash make a set of n of them cost n squared steps, so `guard_hashing` looks
at large collections before they are hashed into a table. How many items are accepted at all comes from the size of what the
test expects.
"""

import json
import math
from collections import Counter, OrderedDict
from decimal import Decimal, InvalidOperation
from fractions import Fraction

from sandbox.encoding import CLASSES, MAX_DEPTH

MAX_INT_DIGITS = 20  # the child writes longer ones in hexadecimal, which is linear to read
MAX_DECIMAL_EXPONENT = 5000
MAX_FRACTION_BITS = 1 << 14  # reducing a fraction is quadratic
MAX_ITEMS = 1 << 20
# Comparing an int with a Decimal takes time by the square of its length. All long ones of a test together may take the time of
# one of 262,144 bits, a quarter of a second, unless longer ones are expected; in squares of 1,024 bits.
MAX_INT_SQUARES = 1 << 16
GUARD_FROM = 128
MAX_COLLISIONS = 64


class Malformed(Exception):
    """The bytes are not what `sandbox.encoding` writes."""


class TooLarge(Exception):
    """More items than any right answer has."""


class Opaque:
    """A value that is not plain data. Equal to nothing that a test expects; its text and truth are what the program says."""

    def __init__(self, type_name: str, text: str | None = None, truth: bool | None = None):
        self.type_name = type_name
        self.text = text
        self.truth = truth

    def __bool__(self) -> bool:
        if self.truth is None:
            raise TypeError(f"the truth of {self.type_name}, which is not plain data")
        return self.truth

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = object.__hash__


class Iterated(list):
    """The items of an iterator. A list only where the test's own wrapper makes one of it."""

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = None


class Length:
    """What `len(...)` of the test is told of a value that it does not see. Equal to nothing else."""

    def __init__(self, length: int):
        self.length = length

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = None


def _small_int(text: str) -> int:
    if len(text) > MAX_INT_DIGITS:
        raise Malformed("a long integer in decimal")
    return int(text)


def parse(body: bytes) -> object:
    """JSON of a frame. Raises Malformed."""
    try:
        return json.loads(body, parse_int=_small_int)
    except (ValueError, RecursionError) as error:
        raise Malformed("not JSON") from error


class Decoder:
    """Rebuilds values; one decoder serves one test. Raises Malformed or TooLarge."""

    def __init__(self, max_nodes: int, int_squares: int = MAX_INT_SQUARES):
        self.nodes_left, self.int_squares_left = max_nodes, int_squares

    def decode(self, data: object, depth: int = 0) -> object:
        self.nodes_left -= 1
        if self.nodes_left < 0 or depth > MAX_DEPTH + 2:
            raise TooLarge
        kind = type(data)
        if kind is list:
            return self.items(data, depth)
        if kind is not dict:
            return data
        if not data:
            raise Malformed("an empty tag")
        tag = next(iter(data))
        read = READ.get(tag)
        if read is None:
            raise Malformed("an unknown tag")
        try:
            return read(self, data[tag], data, depth)
        except (TypeError, ValueError, AttributeError, InvalidOperation, ZeroDivisionError, OverflowError) as error:
            raise Malformed(f"tag {tag}") from error

    def items(self, data: object, depth: int) -> list:
        if type(data) is not list:
            raise Malformed("not a list")
        if len(data) > self.nodes_left:
            raise TooLarge
        return [self.decode(item, depth + 1) for item in data]


def guard_hashing(items: list) -> list:
    """The same items. Raises TooLarge where many different ones share a hash, which no honest value does."""
    if len(items) < GUARD_FROM:
        return items
    buckets: dict[int, list] = {}
    for item in items:
        bucket = buckets.setdefault(hash(item), [])
        if item not in bucket:
            if len(bucket) == MAX_COLLISIONS:
                raise TooLarge
            bucket.append(item)
    return items


def _opaque(decoder: Decoder, body: object, data: dict, depth: int) -> Opaque:
    text, truth = data.get("s"), data.get("b")
    return Opaque(str(body)[:100], text if type(text) is str else None, truth if type(truth) is bool else None)


def _decimal(decoder: Decoder, body: object, data: dict, depth: int) -> object:
    value = Decimal(body)
    # int(Decimal("1e999999999")) never ends: such a value takes part in nothing
    return value if not value.is_finite() or abs(value.adjusted()) < MAX_DECIMAL_EXPONENT else Opaque("Decimal")


def _dict(decoder: Decoder, body: object, data: dict, depth: int) -> dict:
    pairs = decoder.items(body, depth)
    guard_hashing([key for key, _ in pairs])
    return {key: item for key, item in pairs}


def _fraction(decoder: Decoder, body: object, data: dict, depth: int) -> object:
    numerator, denominator = decoder.items(body, depth)
    if max(numerator.bit_length(), denominator.bit_length()) > MAX_FRACTION_BITS:
        return Opaque("Fraction")
    return Fraction(numerator, denominator)


def _int(decoder: Decoder, body: object, data: dict, depth: int) -> object:
    decoder.int_squares_left -= (4 * len(body) >> 10) ** 2
    return Opaque("int") if decoder.int_squares_left < 0 else int(body, 16)


def _length(decoder: Decoder, body: object, data: dict, depth: int) -> Length:
    if type(body) is not int or body < 0:
        raise Malformed("not a length")
    return Length(body)


def _class(decoder: Decoder, body: object, data: dict, depth: int) -> type:
    if body not in CLASSES:
        raise Malformed("an unknown class")
    return CLASSES[body]


def _range(decoder: Decoder, body: object, data: dict, depth: int) -> object:
    value = range(*decoder.items(body, depth))
    return Opaque("range") if value[MAX_ITEMS:] else value  # a dozen bytes that `2.5 in` or `math.fsum` would never get through


READ = {
    "t": lambda decoder, body, data, depth: tuple(decoder.items(body, depth)),
    "s": lambda decoder, body, data, depth: set(guard_hashing(decoder.items(body, depth))),
    "f": lambda decoder, body, data, depth: frozenset(guard_hashing(decoder.items(body, depth))),
    "d": _dict,
    "O": lambda decoder, body, data, depth: OrderedDict(_dict(decoder, body, data, depth)),
    "C": lambda decoder, body, data, depth: Counter(_dict(decoder, body, data, depth)),
    "u": lambda decoder, body, data, depth: body.encode("latin-1").decode("utf-8", "surrogatepass"),
    "n": _length,
    "b": lambda decoder, body, data, depth: body.encode("latin-1"),
    "y": lambda decoder, body, data, depth: bytearray(body.encode("latin-1")),
    "i": _int,
    "c": lambda decoder, body, data, depth: complex(*decoder.items(body, depth)),
    "r": _range,
    "D": _decimal,
    "F": _fraction,
    "g": lambda decoder, body, data, depth: Iterated(decoder.items(body, depth)),
    "T": _class,
    "e": lambda decoder, body, data, depth: ...,
    "o": _opaque,
}


def int_squares_of(value: object) -> int:
    """What the ints in a value take off `Decoder.int_squares_left`."""
    if isinstance(value, (list, tuple, set, frozenset)):
        return sum(map(int_squares_of, value))
    if isinstance(value, dict):
        return sum(map(int_squares_of, [*value, *value.values()]))
    return (value.bit_length() >> 10) ** 2 if isinstance(value, int) else 0


def size_of(value: object) -> int:
    """Items in a value. A number counts as itself up to 65,536: `len(f(x)) == 300` expects 300 items."""
    if isinstance(value, (list, tuple, set, frozenset)):
        return 1 + sum(size_of(item) for item in value)
    if isinstance(value, dict):
        return 1 + sum(size_of(item) for pair in value.items() for item in pair)
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return 1 + int(min(abs(value), 65536))
    if isinstance(value, (str, bytes, bytearray, range)):
        return 1 + min(len(value), 65536)
    return 1
