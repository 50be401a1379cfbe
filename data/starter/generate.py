"""Draw problems of every family: text, reference and tests; train and evaluation sets that share no parameters.

Which side a problem belongs to follows from the names of its steps and its parameters alone: a residue modulo 4 of
their weighted sum, so that a quarter of the parameter tuples of every combination of steps is evaluation's and never
trained on. (Of a single parameter, say "multiply by k", every fourth k.) Evaluation also has wordings of its own, in
one row of four.

Every draw comes from a random.Random seeded with a string and nothing depends on hash order: the same arguments give
the same rows on every machine.
"""

import random
import zlib
from collections.abc import Iterator, Sequence

from data.starter.asserts import choose_tests
from data.starter.families import FAMILIES, Family
from data.starter.steps import Param, Step, fill, render
from data.starter.values import draw_params

EVAL_MODULUS = 4  # every domain of consecutive numbers holds at least four, so each side gets some
LEVEL_SHARES = {1: 0.60, 2: 0.40}
UNSEEN_EVERY = 4  # one evaluation row of this many has an evaluation-only wording
NAMES = "act answer apply build calc check do edit func get give make pick prog run scan solve task tool use".split()
OPENERS = ("Write a function to {}.", "Write a python function to {}.", "Create a function to {}.")
_LINKS = ("{}, then {}", "{} and then {}")
_FUSED = ("find {noun} in the list that are {which}", "return {noun} in the list which are {which}")
_NEW_FUSED = "find {noun} in the list which are {which}"
_MAX_WORDS = 25
_PATIENCE = 60  # draws without a new problem after which a family counts as used up

Params = tuple[tuple[Param, ...], ...]


def generate(num_train: int, num_eval: int, seed: int) -> tuple[list[dict], list[dict]]:
    """Training and evaluation rows in MBPP format, with `family` and `wording` ("seen" or "unseen") besides.

    Raises: ValueError when the families hold fewer problems than asked for.
    """
    texts: set[str] = set()
    eval_rows = list(_rows("eval", num_eval, seed, texts))
    train_rows = list(_rows("train", num_train, seed, texts))
    for task_id, row in enumerate(eval_rows + train_rows, 1):
        row["task_id"] = task_id
    return train_rows, eval_rows


def belongs_to_eval(steps: Sequence[Step], params: Params) -> bool:
    """Whether a combination of steps with these parameters is evaluation's."""
    names = zlib.crc32("|".join(f"{step.takes}.{step.name}" for step in steps).encode())
    values = [_code(value) for step_values in params for value in step_values]
    return (names + sum((2 * i + 1) * value for i, value in enumerate(values))) % EVAL_MODULUS == 0


def _rows(split: str, count: int, seed: int, texts: set[str]) -> Iterator[dict]:
    """Rows of random levels; within a level, families in turn until they are used up."""
    rng = random.Random(f"starter {split} {seed}")
    open_families = {level: [f for f in FAMILIES if f.level == level] for level in sorted(LEVEL_SHARES)}
    num_drawn = dict.fromkeys(FAMILIES, 0)
    for index in range(count):
        row = None
        while row is None:
            levels = [level for level in open_families if open_families[level]]
            if not levels:
                raise ValueError(f"the families hold {index} {split} problems, fewer than the {count} asked for")
            level = rng.choices(levels, [LEVEL_SHARES[level] for level in levels])[0]
            family = min(open_families[level], key=lambda family: (num_drawn[family], rng.random()))
            row = _new_problem(family, split, split == "eval" and index % UNSEEN_EVERY == 0, rng, texts)
            if row is None:
                open_families[level].remove(family)
        num_drawn[family] += 1
        texts.add(row["text"])
        yield row


def _new_problem(family: Family, split: str, is_unseen: bool, rng: random.Random, texts: set[str]) -> dict | None:
    for _ in range(_PATIENCE):
        steps = [rng.choice(slot) for slot in family.slots]
        params: Params = tuple(draw_params(rng, step) for step in steps)
        if belongs_to_eval(steps, params) != (split == "eval"):
            continue
        text = rng.choice(OPENERS).format(_phrase(family, steps, params, is_unseen, rng))
        if text in texts or len(text.split()) > _MAX_WORDS:
            continue
        name = rng.choice(NAMES)
        code = render(name, steps, params)
        flat = [value for values in params for value in values]
        tests = choose_tests(code, name, steps[0].takes, flat, rng)
        if tests is not None:
            return {
                "task_id": 0,
                "text": text,
                "code": code,
                "test_list": tests,
                "test_setup_code": "",
                "family": family.name,
                "wording": "unseen" if is_unseen else "seen",
            }
    return None


def _phrase(family: Family, steps: Sequence[Step], params: Params, is_unseen: bool, rng: random.Random) -> str:
    """What the problem asks for, in the imperative; with `is_unseen` at least one phrase is evaluation's own."""
    if family.is_fused and rng.random() < 0.5:
        template = _NEW_FUSED if is_unseen else rng.choice(_FUSED)
        return template.format(noun=steps[1].noun, which=fill(steps[0].which, params[0]))
    new_position = rng.randrange(len(steps)) if is_unseen else -1
    phrases = []
    for position, (step, values) in enumerate(zip(steps, params)):
        seen, new = (step.alone, step.new_alone) if position == 0 else (step.then, step.new_then)
        phrases.append(fill(rng.choice(new if position == new_position else seen), values))
    return rng.choice(_LINKS).format(*phrases) if len(steps) > 1 else phrases[0]


def _code(value: Param) -> int:
    return value if isinstance(value, int) else zlib.crc32(value.encode())
