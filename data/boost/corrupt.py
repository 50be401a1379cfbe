"""Wrong attempts from references: mutations that a test in the sandbox has shown to be wrong."""

import random
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from data.boost.attempts import GradedAttempt
from data.boost.mutations import Mutation, mutations
from data.problem import Problem
from sandbox.pool import SandboxPool
from sandbox.suite import Suite

# Of a problem's mutations at most so many run: most that are wrong show it among the first, of the others some loop for ever.
MAX_TRIES = 48

Item = TypeVar("Item")


def corrupt(
    references: Sequence[tuple[Problem, Suite]], pool: SandboxPool, num_wanted: int, seed: int
) -> list[tuple[list[GradedAttempt], Counter[str]]]:
    """For each reference up to `num_wanted` wrong attempts, and the verdicts of all its mutants that ran.

    Those that fail a test come before those that raise. A mutant that passes is not wrong, and one that runs into a limit may
    be only slow: neither is taken. What comes out follows from the seed and the problem alone.
    """
    searches = [_Search(problem, suite, in_random_order(problem, seed)[:MAX_TRIES]) for problem, suite in references]
    while True:
        # One test that runs for ever is enough: the others would cost their seconds too.
        running = [
            (search, mutation, pool.submit(mutation.code, search.suite, stop_at_first_failure=True))
            for search in searches
            for mutation in search.next_round(num_wanted)
        ]
        if not running:
            return [(search.best(num_wanted), search.tried) for search in searches]
        for search, mutation, future in running:
            search.add(mutation, future.result().status)


@dataclass
class _Search:
    """One reference on its way to wrong attempts."""

    problem: Problem
    suite: Suite
    pending: list[Mutation]
    found: list[GradedAttempt] = field(default_factory=list)
    tried: Counter[str] = field(default_factory=Counter)

    def next_round(self, num_wanted: int) -> list[Mutation]:
        """Two mutants for each that is missing: about two in three fail a test."""
        num_tried = 2 * max(0, num_wanted - self.tried["failed"])
        taken, self.pending = self.pending[:num_tried], self.pending[num_tried:]
        return taken

    def add(self, mutation: Mutation, status: str) -> None:
        self.tried[status] += 1
        if status in ("failed", "error"):
            self.found.append(GradedAttempt("corruption", mutation.kind, mutation.code, status))

    def best(self, num_wanted: int) -> list[GradedAttempt]:
        return sorted(self.found, key=lambda attempt: attempt.status == "error")[:num_wanted]


def in_random_order(problem: Problem, seed: int) -> list[Mutation]:
    """All mutations of a reference in random order, kinds in turn, so that no kind with many places crowds out the others."""
    rng = random.Random(f"corrupt {seed} {problem.problem_id}")
    return in_turn(mutations(problem.code), lambda mutation: mutation.kind, rng)


def in_turn(items: Sequence[Item], kind_of: Callable[[Item], Hashable], rng: random.Random) -> list[Item]:
    """All items, in rounds that take one of every kind that is left, kinds and items within a kind in random order."""
    by_kind: dict[Hashable, list[Item]] = {}
    for item in items:
        by_kind.setdefault(kind_of(item), []).append(item)
    for group in by_kind.values():
        rng.shuffle(group)
    ordered = []
    while any(by_kind.values()):
        kinds = [kind for kind, group in by_kind.items() if group]
        rng.shuffle(kinds)
        ordered += [by_kind[kind].pop() for kind in kinds]
    return ordered
