"""Tagged JSON back to values, in the trusted process. The bytes come from a hostile program: every size and shape is checked here.

Hashing is the dangerous part: integers with one hash make a set of n of them cost n squared steps. So the items that go into sets and dicts are
counted apart (`max_hashed`), and the limit comes from the size of what the test expects.
"""

import json
import math
from decimal import Decimal, InvalidOperation
from fractions import Fraction

from sandbox.encoding import MAX_DEPTH

MAX_INT_DIGITS = 20  # the child writes longer ones in hexadecimal, which is linear to read
MAX_DECIMAL_EXPONENT = 5000


class Malformed(Exception):
    """The bytes are not what `sandbox.encoding` writes."""


class TooLarge(Exception):
    """More items than any right answer has."""


class Opaque:
    """A value that is not plain data. Equal to nothing, not even to itself."""

    def __init__(self, type_name: str, text: str | None = None):
        self.type_name = type_name
        self.text = text

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = None


class Iterated(list):
    """The items of an iterator. A list only where the test's own wrapper makes one of it."""

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

    def __init__(self, max_nodes: int, max_hashed: int):
        self.nodes_left = max_nodes
        self.hashed_left = max_hashed

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

    def hashed(self, data: object, depth: int) -> list:
        if type(data) is not list:
            raise Malformed("not a list")
        self.hashed_left -= len(data)
        if self.hashed_left < 0:
            raise TooLarge
        return self.items(data, depth)


def _opaque(decoder: Decoder, body: object, data: dict, depth: int) -> Opaque:
    text = data.get("s")
    return Opaque(str(body)[:100], text if type(text) is str else None)


def _decimal(decoder: Decoder, body: object, data: dict, depth: int) -> object:
    value = Decimal(body)
    # int(Decimal("1e999999999")) never ends: such a value takes part in nothing
    return value if not value.is_finite() or abs(value.adjusted()) < MAX_DECIMAL_EXPONENT else Opaque("Decimal")


def _dict(decoder: Decoder, body: object, data: dict, depth: int) -> dict:
    return {key: item for key, item in decoder.hashed(body, depth)}


def _range(decoder: Decoder, body: object, data: dict, depth: int) -> range:
    return range(*decoder.items(body, depth))


READ = {
    "t": lambda decoder, body, data, depth: tuple(decoder.items(body, depth)),
    "s": lambda decoder, body, data, depth: set(decoder.hashed(body, depth)),
    "f": lambda decoder, body, data, depth: frozenset(decoder.hashed(body, depth)),
    "d": _dict,
    "b": lambda decoder, body, data, depth: body.encode("latin-1"),
    "y": lambda decoder, body, data, depth: bytearray(body.encode("latin-1")),
    "i": lambda decoder, body, data, depth: int(body, 16),
    "c": lambda decoder, body, data, depth: complex(*decoder.items(body, depth)),
    "r": _range,
    "D": _decimal,
    "F": lambda decoder, body, data, depth: Fraction(*decoder.items(body, depth)),
    "g": lambda decoder, body, data, depth: Iterated(decoder.items(body, depth)),
    "o": _opaque,
}


def size_of(value: object) -> tuple[int, int]:
    """Items in a value, and the items of it that are hashed. An integer counts as itself up to 4,096: `len(f(x)) == 300` expects 300 items."""
    if isinstance(value, (list, tuple, set, frozenset)):
        sizes = [size_of(item) for item in value]
        hashed = len(value) if isinstance(value, (set, frozenset)) else 0
    elif isinstance(value, dict):
        sizes = [size_of(item) for pair in value.items() for item in pair]
        hashed = len(value)
    elif isinstance(value, int):
        return 1 + min(abs(value), 4096), 0
    elif isinstance(value, (str, bytes, bytearray)):
        return 1 + len(value), 0
    else:
        return 1 + (4096 if isinstance(value, float) and math.isfinite(value) else 0), 0
    return 1 + sum(size[0] for size in sizes), hashed + sum(size[1] for size in sizes)
