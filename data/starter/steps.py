"""What a problem is made of: a step is one expression over the current value, with the phrases that ask for it.

A step stands `alone` (or first) in a problem's text, naming its object ("the list"), or it follows another step
(`then`), speaking of "each", "those", "the result". The `new_*` phrases appear in evaluation problems only; they
recombine words that other phrases use, so a model without any pretraining can know every word of them.
Placeholders {a} and {b} stand for the parameters in phrases and in code alike, both written with repr.
"""

from collections.abc import Sequence
from dataclasses import dataclass

Param = int | str
Words = tuple[str, ...]

# The variable that holds a value of each type; solutions always use the same one.
VARIABLES = {"numbers": "xs", "word": "s", "words": "ws", "table": "d", "number": "n"}


@dataclass(frozen=True)
class Step:
    """One transformation of a value of type `takes` into one of type `gives`.

    `kinds` names the domain of each parameter (see values.DOMAINS). `which` and `noun` describe a filter and a
    reduction for wordings that say both at once: "find the sum of the numbers in the list greater than 3".
    """

    name: str
    takes: str
    gives: str
    code: str
    kinds: Words = ()
    alone: Words = ()
    new_alone: Words = ()
    then: Words = ()
    new_then: Words = ()
    which: str = ""
    noun: str = ""


def fill(template: str, params: Sequence[Param]) -> str:
    """The template with {a} and {b} replaced by the parameters as Python literals."""
    for letter, value in zip("ab", params):
        template = template.replace("{" + letter + "}", repr(value))
    return template


def render(name: str, steps: Sequence[Step], params: Sequence[Sequence[Param]]) -> str:
    """The reference solution: one line a step, the last one returned."""
    lines = [f"def {name}({VARIABLES[steps[0].takes]}):"]
    for position, (step, values) in enumerate(zip(steps, params)):
        is_last = position == len(steps) - 1
        target = "return " if is_last else f"{VARIABLES[step.gives]} = "
        lines.append(f"    {target}{fill(step.code, values)}")
    return "\n".join(lines)
