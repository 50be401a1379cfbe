"""Steps on one number, conditions among them; each is a problem of its own."""

from data.starter.steps import Step, Words


def _number(name: str, code: str, kinds: Words, alone: Words, new_alone: str, gives: str = "number") -> Step:
    return Step(name, "number", gives, code, kinds, alone, (new_alone,))


SUMS = (
    _number(
        "add",
        "n + {a}",
        ("shift",),
        ("add {a} to the number", "increase the number by {a}"),
        "increase the given number by {a}",
    ),
    _number(
        "subtract",
        "n - {a}",
        ("shift",),
        ("subtract {a} from the number", "decrease the number by {a}"),
        "decrease the given number by {a}",
    ),
    _number(
        "multiply",
        "n * {a}",
        ("factor",),
        ("multiply the number by {a}", "find the product of the number and {a}"),
        "find the product of the given number and {a}",
    ),
)
DIVISIONS = (
    _number(
        "remainder",
        "n % {a}",
        ("divisor",),
        ("find the remainder of the number divided by {a}", "take the number modulo {a}"),
        "take the given number modulo {a}",
    ),
    _number(
        "quotient",
        "n // {a}",
        ("divisor",),
        ("divide the number by {a} and round down", "find the quotient of the number and {a}"),
        "find the quotient of the given number and {a}",
    ),
    _number(
        "distance",
        "abs(n - {a})",
        ("bound",),
        ("find the distance of the number from {a}", "return the absolute difference of the number and {a}"),
        "return the distance of the number from {a}",
    ),
)
CHECKS = (
    _number(
        "divisible",
        "n % {a} == 0",
        ("divisor",),
        ("check whether the number is divisible by {a}", "check whether {a} divides the number"),
        "check whether the given number is divisible by {a}",
        "flag",
    ),
    _number(
        "exceeds",
        "n > {a}",
        ("bound",),
        ("check whether the number is greater than {a}", "check whether the number is above {a}"),
        "check whether the given number is above {a}",
        "flag",
    ),
)

# name, phrase, code, domain of the parameter
_CONDITIONS = (
    ("above", "greater than {a}", "n > {a}", "bound"),
    ("below", "smaller than {a}", "n < {a}", "bound"),
    ("divisible", "divisible by {a}", "n % {a} == 0", "divisor"),
)


def _default(condition: Words) -> Step:
    name, said, test, kind = condition
    return _number(
        f"default_{name}",
        f"{{b}} if {test} else n",
        (kind, "bound"),
        (
            f"return {{b}} if the number is {said}, otherwise return the number",
            f"return the number, but return {{b}} if it is {said}",
        ),
        f"if the number is {said} return {{b}}, otherwise return the number",
    )


DEFAULTS = tuple(map(_default, _CONDITIONS))
