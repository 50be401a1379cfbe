"""Steps on a list of numbers that look at every element: change it, replace it, keep it or not."""

from data.starter.steps import Step, Words


def _change(name: str, code: str, kinds: Words, alone: Words, new_alone: str, then: Words, new_then: str) -> Step:
    return Step(name, "numbers", "numbers", f"[{code} for x in xs]", kinds, alone, (new_alone,), then, (new_then,))


def _keep(name: str, condition: str, kinds: Words, which: str) -> Step:
    return Step(
        name,
        "numbers",
        "numbers",
        f"[x for x in xs if {condition}]",
        kinds,
        (f"keep the numbers of the list that are {which}", f"find the elements of the list which are {which}"),
        (f"keep the elements of the list which are {which}",),
        (f"keep those that are {which}", f"keep the {which} ones" if not kinds else f"keep only those {which}"),
        (f"find those that are {which}",),
        which=which,
    )


CHANGES = (
    _change(
        "add",
        "x + {a}",
        ("shift",),
        ("add {a} to every element of the list", "increase all numbers in the list by {a}"),
        "increase every element of the list by {a}",
        ("add {a} to each", "increase each by {a}"),
        "increase all of them by {a}",
    ),
    _change(
        "subtract",
        "x - {a}",
        ("shift",),
        ("subtract {a} from every element of the list", "decrease all numbers in the list by {a}"),
        "decrease every element of the list by {a}",
        ("subtract {a} from each", "decrease each by {a}"),
        "decrease all of them by {a}",
    ),
    _change(
        "multiply",
        "x * {a}",
        ("factor",),
        ("multiply every element of the list by {a}", "multiply all numbers in the list by {a}"),
        "multiply all elements of the list by {a}",
        ("multiply each by {a}", "multiply all of them by {a}"),
        "multiply every one by {a}",
    ),
    _change(
        "remainder",
        "x % {a}",
        ("divisor",),
        ("find the remainder of every element of the list divided by {a}", "take all numbers in the list modulo {a}"),
        "take every element of the list modulo {a}",
        ("take each modulo {a}", "find the remainder of each divided by {a}"),
        "take all of them modulo {a}",
    ),
    _change(
        "quotient",
        "x // {a}",
        ("divisor",),
        (
            "divide every element of the list by {a} and round down",
            "find the quotient of all numbers in the list and {a}",
        ),
        "divide all numbers in the list by {a} and round down",
        ("divide each by {a} and round down", "find the quotient of each and {a}"),
        "find the quotient of all of them and {a}",
    ),
    _change(
        "cap",
        "min(x, {a})",
        ("bound",),
        ("limit every element of the list to at most {a}", "reduce all numbers in the list above {a} to {a}"),
        "limit all numbers in the list to at most {a}",
        ("limit each to at most {a}", "reduce those above {a} to {a}"),
        "limit all of them to at most {a}",
    ),
    _change(
        "floor",
        "max(x, {a})",
        ("bound",),
        ("limit every element of the list to at least {a}", "raise all numbers in the list below {a} to {a}"),
        "limit all numbers in the list to at least {a}",
        ("limit each to at least {a}", "raise those below {a} to {a}"),
        "limit all of them to at least {a}",
    ),
)

REPLACES = (
    _change(
        "replace",
        "{b} if x == {a} else x",
        ("bound", "bound"),
        ("replace every {a} in the list by {b}", "change all elements of the list that equal {a} to {b}"),
        "change every {a} in the list to {b}",
        ("replace every {a} by {b}", "change every {a} to {b}"),
        "change those that equal {a} to {b}",
    ),
    _change(
        "shift_above",
        "x + {b} if x > {a} else x",
        ("bound", "shift"),
        (
            "add {b} to the numbers in the list greater than {a}",
            "increase those elements of the list greater than {a} by {b}",
        ),
        "increase the numbers in the list greater than {a} by {b}",
        ("add {b} to those greater than {a}", "increase those greater than {a} by {b}"),
        "increase the numbers greater than {a} by {b}",
    ),
)

KEEPS = (
    _keep("greater", "x > {a}", ("bound",), "greater than {a}"),
    _keep("smaller", "x < {a}", ("bound",), "smaller than {a}"),
    _keep("at_least", "x >= {a}", ("bound",), "at least {a}"),
    _keep("at_most", "x <= {a}", ("bound",), "at most {a}"),
    _keep("divisible", "x % {a} == 0", ("divisor",), "divisible by {a}"),
    _keep("indivisible", "x % {a} != 0", ("divisor",), "not divisible by {a}"),
    _keep("different", "x != {a}", ("bound",), "not equal to {a}"),
)
PARITIES = (
    _keep("even", "x % 2 == 0", (), "even"),
    _keep("odd", "x % 2 == 1", (), "odd"),
)
