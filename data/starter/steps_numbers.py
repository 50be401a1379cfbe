"""Steps on one number, conditions on it, and steps on a pair of numbers."""

from itertools import permutations

from data.starter.steps import Step, Words


def _number(
    name: str,
    code: str,
    kinds: Words,
    alone: Words,
    new_alone: str,
    then: Words = (),
    new_then: Words = (),
    gives: str = "number",
) -> Step:
    return Step(name, "number", gives, code, kinds, alone, (new_alone,), then, new_then)


def _pair(name: str, code: str, kinds: Words, alone: Words, new_alone: str) -> Step:
    return Step(name, "pair", "number", code, kinds, alone, (new_alone,))


SUMS = (
    _number(
        "add",
        "n + {a}",
        ("shift",),
        ("add {a} to the number", "increase the number by {a}"),
        "increase the given number by {a}",
        ("add {a}", "increase it by {a}"),
        ("increase the result by {a}",),
    ),
    _number(
        "subtract",
        "n - {a}",
        ("shift",),
        ("subtract {a} from the number", "decrease the number by {a}"),
        "decrease the given number by {a}",
        ("subtract {a}", "decrease it by {a}"),
        ("decrease the result by {a}",),
    ),
    _number(
        "multiply",
        "n * {a}",
        ("factor",),
        ("multiply the number by {a}", "find the product of the number and {a}"),
        "find the product of the given number and {a}",
        ("multiply it by {a}", "multiply the result by {a}"),
        ("find the product of it and {a}",),
    ),
)
DIVISIONS = (
    _number(
        "remainder",
        "n % {a}",
        ("divisor",),
        ("find the remainder of the number divided by {a}", "take the number modulo {a}"),
        "take the given number modulo {a}",
        ("take it modulo {a}", "find the remainder of it divided by {a}"),
        ("take the result modulo {a}",),
    ),
    _number(
        "quotient",
        "n // {a}",
        ("divisor",),
        ("divide the number by {a} and round down", "find the quotient of the number and {a}"),
        "find the quotient of the given number and {a}",
        ("divide it by {a} and round down", "find the quotient of it and {a}"),
        ("find the quotient of the result and {a}",),
    ),
    _number(
        "distance",
        "abs(n - {a})",
        ("bound",),
        ("find the distance of the number from {a}", "return the absolute difference of the number and {a}"),
        "return the distance of the number from {a}",
        ("find its distance from {a}", "return the absolute difference of it and {a}"),
        ("return its distance from {a}",),
    ),
)
CHECKS = (
    _number(
        "divisible",
        "n % {a} == 0",
        ("divisor",),
        ("check whether the number is divisible by {a}", "check whether {a} divides the number"),
        "check whether the given number is divisible by {a}",
        ("check whether it is divisible by {a}", "check whether {a} divides it"),
        ("check whether the result is divisible by {a}",),
        "flag",
    ),
    _number(
        "exceeds",
        "n > {a}",
        ("bound",),
        ("check whether the number is greater than {a}", "check whether the number is above {a}"),
        "check whether the given number is above {a}",
        ("check whether it is greater than {a}", "check whether it is above {a}"),
        ("check whether the result is greater than {a}",),
        "flag",
    ),
)
RANGES = (
    _number(
        "clamp",
        "max({a}, min(n, {b}))",
        ("low", "high"),
        ("limit the number to the range from {a} to {b}", "limit the number to at least {a} and at most {b}"),
        "limit the given number to the range from {a} to {b}",
        ("limit it to the range from {a} to {b}",),
        ("limit it to at least {a} and at most {b}",),
    ),
    _number(
        "between",
        "{a} <= n <= {b}",
        ("low", "high"),
        (
            "check whether the number is in the range from {a} to {b}",
            "check whether the number is at least {a} and at most {b}",
        ),
        "check whether the given number is in the range from {a} to {b}",
        ("check whether it is in the range from {a} to {b}",),
        ("check whether it is at least {a} and at most {b}",),
        "flag",
    ),
    _number(
        "multiples",
        "list(range({a}, n + 1, {a}))",
        ("divisor",),
        ("list the multiples of {a} up to the number", "find all multiples of {a} that are at most the number"),
        "find all multiples of {a} up to the number",
        gives="numbers",
    ),
)

# name, phrase, code, domain of the parameter; {p} is to become {a}, {b} or {c}, {it} is "it" or "the number"
_CONDITIONS = (
    ("above", "greater than {a}", "n > {a}", "bound"),
    ("below", "smaller than {a}", "n < {a}", "bound"),
    ("divisible", "divisible by {a}", "n % {a} == 0", "divisor"),
)
_ACTIONS = (
    ("add", "add {p}", "n + {p}", "shift"),
    ("subtract", "subtract {p}", "n - {p}", "shift"),
    ("multiply", "multiply {it} by {p}", "n * {p}", "factor"),
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


def _guard(condition: Words, action: Words) -> Step:
    name, said, test, kind = condition
    act, do, code, domain = (part.replace("{p}", "{b}") for part in action)
    do_it, do_number = do.replace("{it}", "it"), do.replace("{it}", "the number")
    return _number(
        f"{act}_{name}",
        f"{code} if {test} else n",
        (kind, domain),
        (
            f"if the number is {said} {do_it}, otherwise return the number",
            f"{do_number} if it is {said}, otherwise return the number",
        ),
        f"if the number is {said} {do_it}",
    )


def _branch(condition: Words, action: Words, other: Words) -> Step:
    name, said, test, kind = condition
    act, do, code, domain = (part.replace("{p}", "{b}") for part in action)
    other_act, other_do, other_code, other_domain = (part.replace("{p}", "{c}") for part in other)
    do_it, do_number = do.replace("{it}", "it"), do.replace("{it}", "the number")
    other_do = other_do.replace("{it}", "it")
    return _number(
        f"{act}_{other_act}_{name}",
        f"{code} if {test} else {other_code}",
        (kind, domain, other_domain),
        (
            f"if the number is {said} {do_it}, otherwise {other_do}",
            f"{do_number} if the number is {said}, otherwise {other_do}",
        ),
        f"{do_number} if it is {said}, otherwise {other_do}",
    )


DEFAULTS = tuple(map(_default, _CONDITIONS))
GUARDS = tuple(_guard(condition, action) for condition in _CONDITIONS for action in _ACTIONS)
BRANCHES = tuple(_branch(condition, *two) for condition in _CONDITIONS for two in permutations(_ACTIONS, 2))

PAIRS = (
    _pair(
        "sum_times",
        "(n + m) * {a}",
        ("factor",),
        ("add the two numbers and multiply the result by {a}", "multiply the sum of the two numbers by {a}"),
        "find the product of {a} and the sum of the two numbers",
    ),
    _pair(
        "sum_remainder",
        "(n + m) % {a}",
        ("divisor",),
        (
            "find the remainder of the sum of the two numbers divided by {a}",
            "take the sum of the two numbers modulo {a}",
        ),
        "add the two numbers and take the result modulo {a}",
    ),
    _pair(
        "product_plus",
        "n * m + {a}",
        ("shift",),
        ("multiply the two numbers and add {a}", "add {a} to the product of the two numbers"),
        "increase the product of the two numbers by {a}",
    ),
    _pair(
        "larger_plus",
        "max(n, m) + {a}",
        ("shift",),
        ("add {a} to the largest of the two numbers", "increase the largest of the two numbers by {a}"),
        "find the largest of the two numbers and add {a}",
    ),
    _pair(
        "smaller_times",
        "min(n, m) * {a}",
        ("factor",),
        (
            "multiply the smallest of the two numbers by {a}",
            "find the product of the smallest of the two numbers and {a}",
        ),
        "find the smallest of the two numbers and multiply it by {a}",
    ),
)
