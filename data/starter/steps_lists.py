"""Steps on a list of numbers: change or keep every element, take a part, order the list, reduce it to one number."""

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
        (f"keep those that are {which}", f"keep only those {which}"),
        (f"find those that are {which}",),
        which=which,
    )


def _part(name: str, code: str, alone: Words, new_alone: str, then: Words, new_then: str) -> Step:
    return Step(name, "numbers", "numbers", code, ("count",), alone, (new_alone,), then, (new_then,))


def _order(name: str, code: str, alone: Words, new_alone: str) -> Step:
    return Step(name, "numbers", "numbers", code, alone=alone, new_alone=(new_alone,))


def _reduce(name: str, code: str, noun: str, then: Words, new_then: str) -> Step:
    return Step(name, "numbers", "number", code, then=then, new_then=(new_then,), noun=noun)


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
KEEPS = (
    _keep("greater", "x > {a}", ("bound",), "greater than {a}"),
    _keep("smaller", "x < {a}", ("bound",), "smaller than {a}"),
    _keep("at_least", "x >= {a}", ("bound",), "at least {a}"),
    _keep("at_most", "x <= {a}", ("bound",), "at most {a}"),
    _keep("divisible", "x % {a} == 0", ("divisor",), "divisible by {a}"),
    _keep("indivisible", "x % {a} != 0", ("divisor",), "not divisible by {a}"),
    _keep("different", "x != {a}", ("bound",), "not equal to {a}"),
)
PARTS = (
    _part(
        "first",
        "xs[:{a}]",
        ("return the first {a} elements of the list", "take the first {a} numbers of the list"),
        "return the first {a} numbers of the list",
        ("take the first {a}", "return the first {a} of them"),
        "return the first {a}",
    ),
    _part(
        "last",
        "xs[-{a}:]",
        ("return the last {a} elements of the list", "take the last {a} numbers of the list"),
        "return the last {a} numbers of the list",
        ("take the last {a}", "return the last {a} of them"),
        "return the last {a}",
    ),
    _part(
        "skip",
        "xs[{a}:]",
        ("remove the first {a} elements of the list", "skip the first {a} numbers of the list"),
        "skip the first {a} elements of the list",
        ("remove the first {a}", "skip the first {a} of them"),
        "skip the first {a}",
    ),
    _part(
        "drop_end",
        "xs[:-{a}]",
        ("remove the last {a} elements of the list", "skip the last {a} numbers of the list"),
        "skip the last {a} elements of the list",
        ("remove the last {a}", "skip the last {a} of them"),
        "skip the last {a}",
    ),
)
ORDERS = (
    _order(
        "ascending",
        "sorted(xs)",
        ("sort the list", "sort the numbers of the list in ascending order"),
        "sort the list in ascending order",
    ),
    _order(
        "descending",
        "sorted(xs, reverse=True)",
        ("sort the list in descending order", "sort the numbers of the list in descending order"),
        "sort the elements of the list in descending order",
    ),
    _order(
        "backwards",
        "xs[::-1]",
        ("reverse the list", "reverse the order of the list"),
        "reverse the elements of the list",
    ),
)
REDUCES = (
    _reduce("sum", "sum(xs)", "the sum of the numbers", ("return their sum", "find the sum of them"), "find their sum"),
    _reduce("count", "len(xs)", "the count of the numbers", ("return their count", "count them"), "find their count"),
    _reduce(
        "largest",
        "max(xs)",
        "the largest of the numbers",
        ("return the largest", "find the largest of them"),
        "return the largest of them",
    ),
    _reduce(
        "smallest",
        "min(xs)",
        "the smallest of the numbers",
        ("return the smallest", "find the smallest of them"),
        "return the smallest of them",
    ),
)
