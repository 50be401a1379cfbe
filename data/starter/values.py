"""Parameters and test inputs: small domains, drawn with a given random.Random.

Inputs are drawn near the parameters (equal, one off, a multiple, their differences), because only such values tell a
solution from one with `>=` for `>`, or with a constant that is one off.
"""

import random
from collections.abc import Sequence
from typing import Any

from data.starter.steps import Param, Step

KEYS = "age bag box car cup egg fan gold hat ice jar key lamp map nut oil pot rice salt tea".split()
WORDS = (
    "ant bee cow dot elm fig gem hen ink jam bird cake desk fish goat lion moon nest pear rain apple bread camel "
    "dance eagle house lemon night piano river table uncle world banana coffee forest garden island letter planet "
    "school silver summer window winter blanket kitchen picture teacher ax ox"
).split()

DOMAINS: dict[str, Sequence[Param]] = {
    "shift": range(1, 51),
    "bound": range(2, 51),
    "factor": range(2, 13),
    "divisor": range(2, 10),
    "count": range(1, 5),
    "chars": range(1, 6),
    "length": range(3, 7),
    "key": KEYS,
}


def draw_params(rng: random.Random, step: Step) -> tuple[Param, ...]:
    """One value for each of the step's parameters, no two alike."""
    values: list[Param] = []
    for kind in step.kinds:
        values.append(rng.choice([value for value in DOMAINS[kind] if value not in values]))
    return tuple(values)


def draw_arguments(rng: random.Random, takes: str, params: Sequence[Param]) -> tuple[Any, ...]:
    """The arguments of one call, for a function that takes a value of the given type."""
    anchors = _number_anchors([value for value in params if isinstance(value, int)])
    texts = [value for value in params if isinstance(value, str)]
    if takes == "number":
        return (_number(rng, anchors),)
    if takes == "numbers":
        return ([_number(rng, anchors) for _ in range(rng.choice((3, 4, 4, 5)))],)
    if takes == "word":
        return (rng.choice(WORDS),)
    if takes == "words":
        return ([rng.choice(WORDS) for _ in range(rng.choice((2, 3, 3)))],)
    keys = rng.sample(KEYS, rng.choice((2, 3)))
    if texts and texts[0] not in keys and rng.random() < 0.6:
        keys[rng.randrange(len(keys))] = texts[0]
    return ({key: _number(rng, anchors) for key in keys},)


def _number_anchors(params: Sequence[int]) -> list[int]:
    """The parameters, and their differences, sums and quotients: there the second of two steps decides."""
    anchors = list(params)
    for i, p in enumerate(params):
        for q in params[i + 1 :]:
            anchors += [abs(p - q), p + q, max(p, q) // min(p, q)]
    return anchors


def _number(rng: random.Random, anchors: Sequence[int]) -> int:
    choice = rng.random()
    if not anchors or choice < 0.4:
        return rng.randint(1, max([15, *anchors]) + 5)
    anchor = rng.choice(anchors)
    if choice < 0.75:
        return max(0, anchor + rng.choice((-1, 0, 0, 1)))
    return anchor * rng.randint(1, 3) if anchor < 20 else anchor + rng.randint(2, 9)
