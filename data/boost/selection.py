"""Which pairs to learn from: first turns and second turns in proportion, right and wrong attempts in proportion.

Pure: what comes out follows from the records, the flags and the seed.
"""

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from data.boost.attempts import GradedAttempt
from data.boost.corrupt import in_turn
from data.boost.pairs import BoostPair
from data.levenshtein import levenshtein
from data.problem import Problem
from data.prompts import BEGIN, CORRECT, DONE, answer, correction_prompt, first_prompt

TURNS = {"first": "first turns", "wrong": "second turns on a wrong attempt", "right": "second turns on a right attempt"}


@dataclass(frozen=True)
class Candidate:
    """A pair that may be chosen; `turn` is a key of `TURNS`.

    `attempt` is a first turn's answer, or what a second turn's prompt shows; `target_source` says whose the completion is.
    """

    row: int
    turn: str
    attempt: GradedAttempt
    target_source: str
    pair: BoostPair


def candidates(row: int, problem: Problem, attempts: Sequence[GradedAttempt], drops: Counter[str]) -> list[Candidate]:
    """All pairs that a problem's attempts make; `drops` is added what can't be used, and why."""
    usable = _usable(attempts, drops)
    rights = [attempt for attempt in usable if attempt.is_right]
    made = []
    for attempt in rights:
        # Only a mutant is taken as wrong or not at all, so what is right here is the reference or a sample.
        made.append(_candidate(row, "first", attempt, attempt, first_prompt(problem)))
        made.append(_candidate(row, "right", attempt, attempt, correction_prompt(problem, [attempt.code])))
    for attempt in usable:
        if not attempt.is_right and attempt.source != "reference":
            if rights:
                made.append(
                    _candidate(row, "wrong", attempt, nearest(attempt, rights), correction_prompt(problem, [attempt.code]))
                )
            else:
                drops["wrong attempts of problems without a right one"] += 1
    return made


def _candidate(row: int, turn: str, attempt: GradedAttempt, target: GradedAttempt, prompt: str) -> Candidate:
    return Candidate(row, turn, attempt, target.source, BoostPair(prompt, answer(target.code)))


def _usable(attempts: Sequence[GradedAttempt], drops: Counter[str]) -> list[GradedAttempt]:
    """Distinct attempts that can stand in a prompt."""
    kept: dict[str, GradedAttempt] = {}
    for attempt in attempts:
        key = "\n".join(line.rstrip() for line in attempt.code.strip().split("\n"))
        if attempt.status == "infra_error":
            drops["attempts that the sandbox failed to judge"] += 1
        elif not key:
            drops["empty attempts"] += 1
        elif attempt.source == "sample" and attempt.kind == "length":
            drops["attempts cut off at --max_new_tokens"] += 1
        elif any(marker in attempt.code for marker in (BEGIN, CORRECT, DONE)):
            drops["attempts that hold a marker of the format"] += 1
        elif key in kept:
            drops["attempts equal to another of their problem"] += 1
        else:
            kept[key] = attempt
    return list(kept.values())


def nearest(attempt: GradedAttempt, targets: Sequence[GradedAttempt]) -> GradedAttempt:
    """The target with the fewest edits from the attempt; of equals the first."""
    return min(targets, key=lambda target: levenshtein(attempt.code, target.code))


def choose(
    pool: Sequence[Candidate],
    *,
    second_turn_ratio: float,
    right_share: float,
    seed: int,
    count_tokens: Callable[[BoostPair], int] | None,
    max_tokens: float,
    drops: Counter[str],
) -> list[Candidate]:
    """As many pairs as the proportions allow, in the order of the problems, first turns before second turns."""
    by_turn: dict[str, list[Candidate]] = {"first": [], "wrong": [], "right": []}
    seen = set()
    for candidate in pool:
        if candidate.pair in seen:
            drops["pairs equal to another problem's"] += 1
        elif count_tokens is not None and count_tokens(candidate.pair) > max_tokens:
            drops[f"{TURNS[candidate.turn]} longer than {max_tokens} tokens"] += 1
        else:
            by_turn[candidate.turn].append(candidate)
        seen.add(candidate.pair)
    counts = balance(*(len(some) for some in by_turn.values()), second_turn_ratio, right_share)
    chosen = []
    for (turn, some), count in zip(by_turn.items(), counts):
        chosen += _spread(some, count, random.Random(f"choose {seed} {turn}"))
        if len(some) > count:
            drops[f"{TURNS[turn]} left over by the proportions"] += len(some) - count
    places = {id(candidate): place for place, candidate in enumerate(pool)}
    return sorted(chosen, key=lambda candidate: (candidate.row, candidate.turn != "first", places[id(candidate)]))


def balance(num_first: int, num_wrong: int, num_right: int, ratio: float, right_share: float) -> tuple[int, int, int]:
    """How many first turns, wrong and right second turns to take: `ratio` second turns for each first one, `right_share` of
    them right, and as many as there can be.
    """
    if ratio == 0:
        return num_first, 0, 0
    for total in range(min(num_wrong + num_right, math.floor(ratio * num_first)), 0, -1):
        right = math.floor(right_share * total + 0.5)
        if right <= num_right and total - right <= num_wrong:
            return min(num_first, math.floor(total / ratio + 0.5)), total - right, right
    return 0, 0, 0


def _spread(some: Sequence[Candidate], count: int, rng: random.Random) -> list[Candidate]:
    """`count` of the candidates: every problem gives one before any gives two; sources, verdicts and mistakes take turns."""
    by_row: dict[int, list[Candidate]] = {}
    for candidate in some:
        by_row.setdefault(candidate.row, []).append(candidate)
    rounds: list[list[Candidate]] = []
    for group in by_row.values():
        for place, candidate in enumerate(
            in_turn(group, lambda one: (one.attempt.source, one.attempt.status, one.attempt.kind), rng)
        ):
            rounds += [[]] if place == len(rounds) else []
            rounds[place].append(candidate)
    for candidates_of_round in rounds:
        rng.shuffle(candidates_of_round)
    return [candidate for candidates_of_round in rounds for candidate in candidates_of_round][:count]
