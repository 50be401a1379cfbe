"""One optimizer step: rows in, weights moved. The calls of the engine live here.

The engine is DeepSpeed's, but a handful of its methods is all that is used; this module does not know its name. Gradients are
accumulated by hand: the engine is told which micro-batch is the last, and divides by the number of ranks only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from rl.attention import has_plain_attention
from rl.micro_batches import micro_batches, most_over_ranks
from rl.pass_limit import PassLimit, can_begin_again
from rl.train_rows import IDLE_ROW, PLAIN_LOSS, LossTerms, TrainRow, rows_loss


@dataclass(frozen=True)
class UpdateStats:
    """What a step was: the loss over all ranks, and this rank's numbers by metric name.

    `is_applied` is False where a loss or gradient was not finite; the weights are as they were. `not_finite` holds those of
    this rank's rows that it can have come from.
    """

    loss: float
    learning_rate: float
    grad_norm: float | None
    counts: dict[str, list[float]]
    is_applied: bool
    not_finite: list[TrainRow]

    def metrics(self) -> dict[str, float]:
        """The numbers that are the same on every rank."""
        norm = {} if self.grad_norm is None else {"train/grad_norm": self.grad_norm}
        skipped = float(not self.is_applied)
        return {"train/loss": self.loss, "train/learning_rate": self.learning_rate, "train/skipped": skipped, **norm}


def update(
    engine: Any,
    rows: Sequence[TrainRow],
    limit: PassLimit,
    temperature: float = 1.0,
    terms: LossTerms = PLAIN_LOSS,
) -> UpdateStats:
    """Forward, backward and step over this rank's rows, which may be none.

    Where memory runs out in a forward pass on any rank, all ranks halve `limit` and begin the update again. A backward pass, or
    a forward pass under ZeRO-3, can't be begun again once other ranks wait for it: there the error is raised, as it is where a
    pass of one row is too much.
    A step whose loss or gradient is not finite leaves the weights as they were, see `UpdateStats`.
    Raises: torch.OutOfMemoryError.
    """
    while True:
        stats = _update(engine, rows, limit, temperature, terms)
        if stats is not None:
            return stats
        limit.halve("the update")


def _update(
    engine: Any, rows: Sequence[TrainRow], limit: PassLimit, temperature: float, terms: LossTerms
) -> UpdateStats | None:
    """As `update`; None, with no gradient left behind, where memory ran out and smaller passes may help.

    Ranks take equal numbers of micro-batches, or collectives would wait for ever: a rank with fewer adds idle ones.
    """
    pack = has_plain_attention(engine.module)
    batches = [[rows[i] for i in indices] for indices in micro_batches(rows, limit, pack)]
    num_batches = max(1, most_over_ranks(len(batches), engine.device))
    batches += [[IDLE_ROW]] * (num_batches - len(batches))
    loss_sum = torch.zeros((), device=engine.device)
    counts: dict[str, list[float]] = {}
    not_finite: list[TrainRow] = []
    engine.train()
    for index, batch_rows in enumerate(batches):
        engine.set_gradient_accumulation_boundary(index + 1 == num_batches)
        loss, numbers = _loss_if_it_fits(engine, batch_rows, pack, temperature, terms)
        if loss is None:
            if index > 0:
                _drop_gradients(engine, temperature)
            return None
        engine.backward(loss * dist.get_world_size(), scale_wrt_gas=False)
        loss_sum += loss.detach()
        not_finite += numbers.pop("not_finite")
        for name, values in numbers.items():
            counts.setdefault(name, []).extend(values)
    learning_rate = engine.get_lr()[0]
    engine.step()
    dist.all_reduce(loss_sum)
    norm, is_applied = engine.get_global_grad_norm(), engine.was_step_applied()
    if not is_applied and torch.isfinite(loss_sum):
        not_finite = list(rows)  # it came up in a backward pass, which names nobody
    return UpdateStats(loss_sum.item(), learning_rate, None if norm is None else float(norm), counts, is_applied, not_finite)


def _loss_if_it_fits(engine: Any, rows: Sequence[TrainRow], *args: Any) -> tuple[torch.Tensor | None, dict[str, list[Any]]]:
    """As `rows_loss`; None instead of the loss where memory ran out on any rank. Raises: torch.OutOfMemoryError for one row."""
    found, error = None, None
    try:
        found = rows_loss(engine, rows, *args)
    except torch.OutOfMemoryError as raised:
        if len(rows) == 1 or not can_begin_again(engine.module):
            raise
        error = raised.with_traceback(None)  # the frames would hold the tensors
    if most_over_ranks(error is not None, engine.device):
        return None, {}
    return found


def _drop_gradients(engine: Any, temperature: float) -> None:
    """Forget what was accumulated: where a gradient is not finite the engine skips the step and clears all of its buffers."""
    engine.set_gradient_accumulation_boundary(True)
    loss, _ = rows_loss(engine, [IDLE_ROW], False, temperature, PLAIN_LOSS)
    engine.backward(loss * torch.nan, scale_wrt_gas=False)
    engine.step()
    assert not engine.was_step_applied()
