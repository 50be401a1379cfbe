"""Operators that the judge computes with values that came out of a hostile program, each with a bound on its cost."""

import ast
import operator
import re
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

from sandbox.decoding import MAX_DECIMAL_EXPONENT, MAX_ITEMS

MAX_BITS = 1 << 17


class Refused(Exception):
    """An operation on the returned value that is not plain arithmetic on plain data, or too large."""


def _bits(*values: object) -> int:
    return max((value.bit_length() for value in values if isinstance(value, int)), default=0)


def _power(left: object, right: object) -> object:
    if isinstance(left, int) and isinstance(right, int) and (right > MAX_BITS or left.bit_length() * abs(right) > 1 << 20):
        raise Refused
    is_exact = isinstance(left, (Fraction, Decimal)) or isinstance(right, (Fraction, Decimal))
    if is_exact and (not isinstance(right, (int, float)) or abs(right) > MAX_DECIMAL_EXPONENT):
        raise Refused
    return left**right


def _times(left: object, right: object) -> object:
    for sequence, count in ((left, right), (right, left)):
        if (
            isinstance(sequence, (str, bytes, list, tuple, bytearray))
            and isinstance(count, int)
            and len(sequence) * count > MAX_ITEMS
        ):
            raise Refused
    if _bits(left) + _bits(right) > 1 << 20:
        raise Refused
    return left * right


def _shift(left: int, right: int) -> int:
    if right > MAX_BITS:
        raise Refused
    return left << right


def bounded(function: Callable) -> Callable:
    def call(left: object, right: object) -> object:
        if _bits(left, right) > MAX_BITS or isinstance(left, (bytes, bytearray)):
            raise Refused
        if isinstance(left, str) and UNBOUNDED_FORMAT.search(left):
            raise Refused  # "%999999999d" would be as long as that
        return function(left, right)

    return call


UNBOUNDED_FORMAT = re.compile(r"\d{4}|\*")
BINARY = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: _times,
    ast.Div: bounded(operator.truediv),
    ast.FloorDiv: bounded(operator.floordiv),
    ast.Mod: bounded(operator.mod),
    ast.Pow: _power,
    ast.LShift: _shift,
    ast.RShift: operator.rshift,
    ast.BitOr: operator.or_,
    ast.BitAnd: operator.and_,
    ast.BitXor: operator.xor,
}
UNARY = {ast.Not: operator.not_, ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Invert: operator.invert}
COMPARE = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda left, right: operator.contains(right, left),
    ast.NotIn: lambda left, right: not operator.contains(right, left),
}
