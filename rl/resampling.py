"""Rounds of sampling: problems that have nothing to teach make way for fresh ones (DAPO's dynamic sampling, arXiv 2503.14476).

Bounded: what is still missing after the last round stays missing. All ranks take part in every round, with equal numbers of
problems or not, and agree on how many there are.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from data.order import ShuffledOrder
from rl.completion import Seed
from rl.trajectory import Rollout

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Drawn:
    """This rank's trees, all of them and those to learn from, and what became of the problems over all ranks."""

    sampled: Rollout
    kept: Rollout
    num_dropped: int
    num_rounds: int

    def metrics(self) -> dict[str, float]:
        """The numbers that are the same on every rank."""
        return {"group/dropped": self.num_dropped, "group/rounds": self.num_rounds}


class ProblemSource:
    """Draws the trees of one step after another, through the order of the problems, without a gap and without a repeat.

    `collect` samples for row numbers and seeds; `is_informative` says which problems stay with --drop_equal_groups, and waits
    for their verdicts. A problem's seed follows from the step and its place in it, whatever rank has it.
    `flags` has problems_per_step, drop_equal_groups, max_rounds and seed.
    """

    def __init__(
        self,
        collect: Callable[[list[int], list[Seed]], Rollout],
        is_informative: Callable[[Rollout], list[bool]],
        order: ShuffledOrder,
        flags: Any,
        processes: Any,
    ):
        self.position = 0  # in the order, the same on every rank
        self._collect, self._is_informative, self._order = collect, is_informative, order
        self._flags, self._processes = flags, processes

    def draw(self, step: int) -> Drawn:
        """This rank's share of the step's problems, and fresh ones for those dropped.

        A rank makes up for its own losses, so that ranks keep equal numbers where all are made up for.
        """
        rank, world_size = self._processes.rank, self._processes.world_size
        wanted = [self._flags.problems_per_step // world_size] * world_size  # by rank
        num_used = num_dropped = num_rounds = 0
        sampled, kept = [], []
        while any(wanted) and num_rounds < self._flags.max_rounds:
            places = range(num_used + sum(wanted[:rank]), num_used + sum(wanted[: rank + 1]))
            rows = self._order.take(self.position + places.start, len(places))
            rollout = self._collect(rows, [(self._flags.seed, step, place) for place in places])
            num_used, num_rounds = num_used + sum(wanted), num_rounds + 1
            is_kept = self._is_informative(rollout) if self._flags.drop_equal_groups else [True] * len(places)
            sampled.append(rollout)
            kept.append(rollout.select(is_kept))
            wanted = self._processes.gather(is_kept.count(False))
            num_dropped += sum(wanted)
        if num_dropped == num_used and self._processes.is_main:
            logger.warning("step %d: none of %d problems has anything to teach; the gradient is zero", step, num_used)
        self.position += num_used
        return Drawn(Rollout.join(sampled), Rollout.join(kept), num_dropped, num_rounds)
