"""One optimizer step: rows in, weights moved. The micro-batches, the normalisers and the engine calls live here.

The engine is DeepSpeed's, but only four of its methods are used; this module does not know its name. Gradients are
accumulated by hand: the engine is told which micro-batch is the last, and divides by the number of ranks only.

Shapes: `N` rows of a micro-batch, `T` completion tokens.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from rl.logprobs import CompletionBatch, can_share_prompts, completion_logprobs
from rl.losses import KlEstimator, KlLevel, kl_penalty, policy_gradient_loss, truncated_importance_weights


@dataclass(frozen=True)
class TrainRow:
    """One completion to raise or lower. `weight` holds the normaliser: the loss is the sum over all ranks' rows.

    `kl_coef` is that of a KL penalty in the loss.
    """

    prompt_ids: list[int]
    completion_ids: list[int]
    advantage: float
    weight: float
    kl_coef: float = 0.0
    sampling_logprobs: Sequence[float] = ()
    ref_logprobs: Sequence[float] = ()


# Weight 0: it stays attached to the graph, so that every collective of a backward pass happens, and adds nothing.
IDLE_ROW = TrainRow([0], [0], advantage=0.0, weight=0.0)


@dataclass(frozen=True)
class LossTerms:
    """What the loss holds besides -advantage * log pi, or how. 0 leaves a term out."""

    importance_cap: float = 0.0
    kl_estimator: KlEstimator = "k2"
    kl_level: KlLevel = "sequence"


@dataclass(frozen=True)
class UpdateStats:
    """What a step was: the loss over all ranks, this rank's importance ratios (a row) and logprob gaps (a token)."""

    loss: float
    learning_rate: float
    grad_norm: float | None
    ratios: list[float]
    gaps: list[float]

    def metrics(self) -> dict[str, float]:
        """The numbers that are the same on every rank."""
        norm = {} if self.grad_norm is None else {"train/grad_norm": self.grad_norm}
        return {"train/loss": self.loss, "train/learning_rate": self.learning_rate, **norm}


def update(
    engine: Any,
    rows: Sequence[TrainRow],
    micro_batch_size: int,
    temperature: float = 1.0,
    terms: LossTerms = LossTerms(),
) -> UpdateStats:
    """Forward, backward and step over this rank's rows.

    Ranks take equal numbers of micro-batches, or collectives would wait for ever: a rank with fewer adds idle ones. Row
    ratios are exp(sum of logprobs now - sum at sampling): 1 while sampler and trainer agree. Raises: ValueError without rows.
    """
    if not rows:
        raise ValueError("an update needs at least one row; give one of weight 0 where there is nothing to learn")
    world_size = dist.get_world_size()
    batches = list(_micro_batches(rows, micro_batch_size))
    num_batches = torch.tensor(len(batches), device=engine.device)
    dist.all_reduce(num_batches, op=dist.ReduceOp.MAX)
    batches += [[IDLE_ROW]] * (int(num_batches) - len(batches))
    loss_sum, ratios, gaps = torch.zeros((), device=engine.device), [], []
    share_prompts = can_share_prompts(engine.module.config)
    engine.train()
    for index, batch_rows in enumerate(batches):
        engine.set_gradient_accumulation_boundary(index + 1 == len(batches))
        prompts, completions = [row.prompt_ids for row in batch_rows], [row.completion_ids for row in batch_rows]
        batch = CompletionBatch.collate(prompts, completions, engine.device, share_prompts)
        logprobs = completion_logprobs(engine, batch, temperature)  # (N, T)
        advantages = torch.tensor([row.advantage for row in batch_rows], device=engine.device)
        weights = torch.tensor([row.weight for row in batch_rows], device=engine.device)
        token_weights = None
        if terms.importance_cap:
            sampled = _aligned([row.sampling_logprobs for row in batch_rows], logprobs)
            token_weights = truncated_importance_weights(logprobs, sampled, batch.completion_mask, terms.importance_cap)
        loss = policy_gradient_loss(logprobs, batch.completion_mask, advantages, weights, token_weights)
        if any(row.kl_coef for row in batch_rows):
            kl_coefs = torch.tensor([row.kl_coef for row in batch_rows], device=engine.device)
            reference = _aligned([row.ref_logprobs for row in batch_rows], logprobs)
            penalty = kl_penalty(logprobs, reference, batch.completion_mask, terms.kl_estimator, terms.kl_level)  # (N,)
            loss = loss + (weights * kl_coefs * penalty).sum()
        engine.backward(loss * world_size, scale_wrt_gas=False)
        loss_sum += loss.detach()
        for row, row_logprobs in zip(batch_rows, logprobs.detach().float().cpu()):
            if row.sampling_logprobs:
                gap = row_logprobs[: len(row.sampling_logprobs)] - torch.tensor(row.sampling_logprobs)
                ratios.append(gap.double().sum().exp().item())
                gaps.extend(gap.abs().tolist())
    learning_rate = engine.get_lr()[0]
    engine.step()
    dist.all_reduce(loss_sum)
    norm = engine.get_global_grad_norm()
    return UpdateStats(loss_sum.item(), learning_rate, None if norm is None else float(norm), ratios, gaps)


@torch.no_grad()
def reference_logprobs(
    reference: torch.nn.Module,
    rows: Sequence[tuple[list[int], list[int]]],
    batch_size: int,
    temperature: float,
    device: torch.device,
) -> list[list[float]]:
    """log pi_ref of every completion token for rows of (prompt ids, completion ids), in order.

    Under the temperature-scaled distribution, as the tokens were drawn from the policy's.
    """
    # Neighbours of equal prompts share them; equal lengths beside each other leave little padding.
    order = sorted(range(len(rows)), key=lambda i: (len(rows[i][0]), rows[i][0], len(rows[i][1])))
    share_prompts = can_share_prompts(reference.config)
    logprobs: list[list[float]] = [[] for _ in rows]
    for start in range(0, len(order), batch_size):
        indices = order[start : start + batch_size]
        prompts, completions = [rows[i][0] for i in indices], [rows[i][1] for i in indices]
        batch = CompletionBatch.collate(prompts, completions, device, share_prompts)
        for i, row in zip(indices, completion_logprobs(reference, batch, temperature).float().cpu()):
            logprobs[i] = row[: len(rows[i][1])].tolist()
    return logprobs


def _aligned(values: Sequence[Sequence[float]], logprobs: torch.Tensor) -> torch.Tensor:
    """(N, T) as `logprobs`, without a gradient; rows that have no values, such as idle ones, take those of `logprobs`."""
    aligned = logprobs.detach().clone()
    for row, target in zip(values, aligned):
        if row:
            target[: len(row)] = torch.tensor(row)
    return aligned


def _micro_batches(rows: Sequence[TrainRow], size: int) -> Iterator[list[TrainRow]]:
    """Rows of equal prompts, then of like length, together: the prompts are shared and little of a batch is padding."""
    ordered = sorted(rows, key=lambda row: (len(row.prompt_ids), row.prompt_ids, len(row.completion_ids)))
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]
