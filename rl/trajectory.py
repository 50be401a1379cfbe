"""The data a rollout makes: attempts, and the trees they form.

A problem has M first attempts, each first attempt K corrections, each correction one further correction a turn if there
are more turns. `Rollout.turns[t]` lists the attempts of turn t + 1 row-major over that tree, so that a list of numbers,
one an attempt, reshapes to (P, M, K, 1, ...).
"""

import math
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Optional

from data.problem import Problem
from sandbox.verdict import Verdict


@dataclass
class Attempt:
    """One program the model wrote, from the ids it was shown to the verdict of its tests."""

    problem: Problem
    prompt_ids: list[int]
    completion_ids: list[int]
    sampling_logprobs: list[float]
    finish_reason: str
    code: str
    ref_logprobs: list[float] = field(default_factory=list, repr=False)
    feedback: str = ""  # what its prompt says about its parent's tests
    parent: Optional["Attempt"] = field(default=None, repr=False)
    pending_verdict: Optional["Future[Verdict]"] = field(default=None, repr=False)

    @property
    def verdict(self) -> Verdict:
        """The sandbox's verdict; waits for it where it is still being made."""
        assert self.pending_verdict is not None, "this attempt was never submitted to the sandbox"
        return self.pending_verdict.result()

    @property
    def has_verdict(self) -> bool:
        """False where the sandbox itself failed: such an attempt is worth nothing, not zero."""
        return not self.verdict.is_infra_error

    @property
    def is_correct(self) -> bool:
        return self.verdict.status == "passed"

    @property
    def is_unchanged(self) -> bool:
        """Whether a correction repeats its parent's program, white space at the ends aside."""
        return self.parent is not None and self.code.strip() == self.parent.code.strip()


@dataclass
class Rollout:
    """All attempts of one step on one rank."""

    problems: list[Problem]
    branching: tuple[int, ...]
    turns: list[list[Attempt]]

    def shape(self, turn: int) -> tuple[int, ...]:
        """(P, M, K, ...) of the attempts of `turn`, counted from 1."""
        return (len(self.problems), *self.branching[:turn])

    @classmethod
    def join(cls, parts: Sequence["Rollout"]) -> "Rollout":
        """The problems of all parts, which have one shape of tree."""
        turns = [[a for part in parts for a in part.turns[turn]] for turn in range(len(parts[0].turns))]
        return cls([problem for part in parts for problem in part.problems], parts[0].branching, turns)

    def select(self, is_kept: Sequence[bool]) -> "Rollout":
        """The trees of some problems."""
        turns = []
        for turn, attempts in enumerate(self.turns, 1):
            size = math.prod(self.branching[:turn])
            turns.append([attempt for i, attempt in enumerate(attempts) if is_kept[i // size]])
        return Rollout([problem for problem, kept in zip(self.problems, is_kept) if kept], self.branching, turns)

    def records(self) -> list[dict[str, Any]]:
        """One JSON object a trajectory (a path from the problem to a last attempt), verdicts included."""
        return [_record(attempt) for attempt in self.turns[-1]]


def _record(last: Attempt) -> dict[str, Any]:
    path = [last]
    while path[0].parent is not None:
        path.insert(0, path[0].parent)
    turns = [
        {
            "code": attempt.code,
            "finish_reason": attempt.finish_reason,
            "num_tokens": len(attempt.completion_ids),
            **({"feedback": attempt.feedback} if attempt.feedback else {}),
            **attempt.verdict.to_dict(),
        }
        for attempt in path
    ]
    return {"problem_id": last.problem.problem_id, "text": last.problem.text, "turns": turns}
