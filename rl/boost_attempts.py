"""Graded attempts of problems, for boost pairs: references, samples of a model, mutated references."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from transformers import PreTrainedModel

from data.boost.attempts import GradedAttempt, Record
from data.boost.corrupt import corrupt
from data.problem import Problem
from rl.pair_config import PairConfig
from rl.rollout import Collector
from sandbox.pool import SandboxPool
from sandbox.suite import Suite
from sandbox.verdict import Verdict


@dataclass(frozen=True)
class AttemptMaker:
    """Makes the records of problems, given by their rows. `collector` and `model` are there where a model is sampled."""

    config: PairConfig
    problems: Sequence[Problem]
    suites: dict[Problem, Suite]
    pool: SandboxPool
    collector: Collector | None = None
    model: PreTrainedModel | None = None

    def records(self, rows: Sequence[int]) -> list[Record]:
        """A record for each row; an attempt's draws follow from the seed and its row, whatever else is sampled."""
        # References run while the model is sampled.
        running = {row: self._submit_reference(self.problems[row]) for row in rows if self.problems[row].code.strip()}
        samples = self._samples(rows)
        references = {row: self._reference(row, future) for row, future in running.items()}
        sound = [row for row, reference in references.items() if reference.is_right] if self.config.corrupt else []
        pairs = [(self.problems[row], self.suites[self.problems[row]]) for row in sound]
        corrupted = dict(zip(sound, corrupt(pairs, self.pool, self.config.num_corruptions, self.config.seed)))
        made = []
        for row in rows:
            wrong, tried = corrupted.get(row, ([], Counter()))
            own = [references[row]] if row in references else []
            made.append(Record(self.problems[row].problem_id, (*own, *samples[row], *wrong), dict(sorted(tried.items()))))
        return made

    def _submit_reference(self, problem: Problem) -> "Future[Verdict]":
        return self.pool.submit(problem.code, self.suites[problem])

    def _reference(self, row: int, future: "Future[Verdict]") -> GradedAttempt:
        return GradedAttempt("reference", "", self.problems[row].code.strip("\n"), future.result().status)

    def _samples(self, rows: Sequence[int]) -> dict[int, list[GradedAttempt]]:
        if self.collector is None or not rows:
            return {row: [] for row in rows}
        num_samples = self.config.num_samples
        rollout = self.collector.collect(
            self.model,
            [self.problems[row] for row in rows],
            [num_samples],
            self.config.temperature,
            [(self.config.seed, row) for row in rows],
        )
        graded = [GradedAttempt("sample", a.finish_reason, a.code, a.verdict.status) for a in rollout.turns[0]]
        return {row: graded[i * num_samples : (i + 1) * num_samples] for i, row in enumerate(rows)}
