"""Steps on a dictionary from short words to numbers.

Comprehensions look values up as `d[k]` rather than unpack `d.items()`: older versions of `ast.unparse` put parentheses
around a tuple target, and references have to be the same bytes on every version.
"""

from data.starter.steps import Step, Words


def _table(name: str, gives: str, code: str, kinds: Words, alone: Words, new_alone: str) -> Step:
    return Step(name, "table", gives, code, kinds, alone, (new_alone,))


def _total(name: str, gives: str, code: str, then: Words, new_then: str) -> Step:
    return Step(name, "table", gives, code, then=then, new_then=(new_then,))


VALUE_CHANGES = (
    _table(
        "add",
        "table",
        "{k: d[k] + {a} for k in d}",
        ("shift",),
        ("add {a} to every value of the dictionary", "increase all values of the dictionary by {a}"),
        "increase every value of the dictionary by {a}",
    ),
    _table(
        "multiply",
        "table",
        "{k: d[k] * {a} for k in d}",
        ("factor",),
        ("multiply every value of the dictionary by {a}", "multiply all values in the dictionary by {a}"),
        "multiply all values of the dictionary by {a}",
    ),
    _table(
        "subtract",
        "table",
        "{k: d[k] - {a} for k in d}",
        ("shift",),
        ("subtract {a} from every value of the dictionary", "decrease all values of the dictionary by {a}"),
        "decrease every value of the dictionary by {a}",
    ),
)
ENTRY_KEEPS = (
    _table(
        "greater",
        "table",
        "{k: d[k] for k in d if d[k] > {a}}",
        ("bound",),
        (
            "keep the entries of the dictionary with a value greater than {a}",
            "keep those entries of the dictionary with values above {a}",
        ),
        "keep the entries of the dictionary with values above {a}",
    ),
    _table(
        "smaller",
        "table",
        "{k: d[k] for k in d if d[k] < {a}}",
        ("bound",),
        (
            "keep the entries of the dictionary with a value smaller than {a}",
            "keep those entries of the dictionary with values below {a}",
        ),
        "keep the entries of the dictionary with values below {a}",
    ),
    _table(
        "without",
        "table",
        "{k: d[k] for k in d if k != {a}}",
        ("key",),
        ("remove the key {a} from the dictionary", "keep the entries of the dictionary except for the key {a}"),
        "remove the entry with the key {a} from the dictionary",
    ),
)
KEYS_WHERE = (
    _table(
        "keys_greater",
        "names",
        "[k for k in d if d[k] > {a}]",
        ("bound",),
        (
            "list the keys of the dictionary with a value greater than {a}",
            "find all keys of the dictionary with values above {a}",
        ),
        "list all keys of the dictionary with values above {a}",
    ),
    _table(
        "keys_smaller",
        "names",
        "[k for k in d if d[k] < {a}]",
        ("bound",),
        (
            "list the keys of the dictionary with a value smaller than {a}",
            "find all keys of the dictionary with values below {a}",
        ),
        "list all keys of the dictionary with values below {a}",
    ),
)
TOTALS = (
    _total(
        "sum",
        "number",
        "sum(d.values())",
        ("return the sum of the values", "find the sum of all values"),
        "find the sum of the values",
    ),
    _total(
        "largest",
        "number",
        "max(d.values())",
        ("return the largest value", "find the largest of the values"),
        "find the largest value",
    ),
    _total(
        "count",
        "number",
        "len(d)",
        ("count the entries", "return the count of the entries"),
        "find the count of the entries",
    ),
    _total(
        "keys",
        "names",
        "sorted(d)",
        ("list the keys in ascending order", "sort the keys"),
        "sort the keys in ascending order",
    ),
)
VALUES = (
    _table(
        "values",
        "numbers",
        "list(d.values())",
        (),
        ("take the values of the dictionary", "list all values of the dictionary"),
        "take all values of the dictionary",
    ),
)
