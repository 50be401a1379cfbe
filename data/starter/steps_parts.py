"""Steps on a list of numbers as a whole: take a part, add to it, order it, look something up, reduce it."""

from data.starter.steps import Step, Words


def _part(
    name: str, code: str, kinds: Words, alone: Words, new_alone: str, then: Words, new_then: str, gives: str = "numbers"
) -> Step:
    return Step(name, "numbers", gives, code, kinds, alone, (new_alone,), then, (new_then,))


def _reduce(name: str, code: str, noun: str, then: Words, new_then: str) -> Step:
    return Step(name, "numbers", "number", code, then=then, new_then=(new_then,), noun=noun)


PARTS = (
    _part(
        "first",
        "xs[:{a}]",
        ("count",),
        ("return the first {a} elements of the list", "take the first {a} numbers of the list"),
        "return the first {a} numbers of the list",
        ("take the first {a}", "return the first {a} of them"),
        "return the first {a}",
    ),
    _part(
        "last",
        "xs[-{a}:]",
        ("count",),
        ("return the last {a} elements of the list", "take the last {a} numbers of the list"),
        "return the last {a} numbers of the list",
        ("take the last {a}", "return the last {a} of them"),
        "return the last {a}",
    ),
    _part(
        "skip",
        "xs[{a}:]",
        ("count",),
        ("remove the first {a} elements of the list", "skip the first {a} numbers of the list"),
        "skip the first {a} elements of the list",
        ("remove the first {a}", "skip the first {a} of them"),
        "skip the first {a}",
    ),
    _part(
        "drop_end",
        "xs[:-{a}]",
        ("count",),
        ("remove the last {a} elements of the list", "skip the last {a} numbers of the list"),
        "skip the last {a} elements of the list",
        ("remove the last {a}", "skip the last {a} of them"),
        "skip the last {a}",
    ),
)
MOVES = (
    _part(
        "append",
        "xs + [{a}]",
        ("bound",),
        ("append {a} to the list", "put {a} at the end of the list"),
        "put {a} after the last element of the list",
        ("append {a}", "put {a} at the end"),
        "append {a} at the end",
    ),
    _part(
        "prepend",
        "[{a}] + xs",
        ("bound",),
        ("insert {a} at the start of the list", "put {a} in front of the list"),
        "insert {a} in front of the list",
        ("insert {a} at the start", "put {a} in front"),
        "insert {a} in front",
    ),
    _part(
        "rotate",
        "xs[{a}:] + xs[:{a}]",
        ("count",),
        ("rotate the list to the left by {a}", "move the first {a} elements of the list to the end"),
        "move the first {a} numbers of the list to the end",
        ("rotate the result to the left by {a}", "move the first {a} to the end"),
        "move the first {a} of them to the end",
    ),
)
ORDERS = (
    _part(
        "ascending",
        "sorted(xs)",
        (),
        ("sort the list", "sort the numbers of the list in ascending order"),
        "sort the list in ascending order",
        ("sort them", "sort the result in ascending order"),
        "sort them in ascending order",
    ),
    _part(
        "descending",
        "sorted(xs, reverse=True)",
        (),
        ("sort the list in descending order", "sort the numbers of the list in descending order"),
        "sort the elements of the list in descending order",
        ("sort them in descending order", "sort the result in descending order"),
        "sort those in descending order",
    ),
    _part(
        "backwards",
        "xs[::-1]",
        (),
        ("reverse the list", "reverse the order of the list"),
        "reverse the elements of the list",
        ("reverse the result", "reverse their order"),
        "reverse the order of the result",
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

LOOKUPS = (
    _part(
        "occurrences",
        "xs.count({a})",
        ("bound",),
        ("count how often {a} occurs in the list", "find the number of times {a} is in the list"),
        "count how often {a} is in the list",
        ("count how often {a} occurs", "find the number of times {a} occurs"),
        "count the times {a} occurs",
        "number",
    ),
    _part(
        "contains",
        "{a} in xs",
        ("bound",),
        ("check whether {a} is in the list", "check whether the list contains {a}"),
        "check whether {a} occurs in the list",
        ("check whether {a} is in it", "check whether the result contains {a}"),
        "check whether {a} occurs in it",
        "flag",
    ),
    _part(
        "nth",
        "xs[{a}]",
        ("count",),
        ("return the element of the list at index {a}", "find the number at position {a} of the list"),
        "find the element of the list at index {a}",
        ("return the one at index {a}", "find the number at position {a}"),
        "return the number at index {a}",
        "number",
    ),
    _part(
        "rank",
        "sorted(xs)[-{a}]",
        ("count",),
        (
            "find the element at position {a} from the end of the sorted list",
            "sort the list and return the one at position {a} from the end",
        ),
        "return the element at position {a} from the end of the sorted list",
        ("find the one at position {a} from the end in ascending order",),
        "return the one at position {a} from the end in ascending order",
        "number",
    ),
)
