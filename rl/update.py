"""One optimizer step: rows in, weights moved. The micro-batches, the normalisers and the engine calls live here.

The engine is DeepSpeed's, but only four of its methods are used; this module does not know its name. Gradients are
accumulated by hand: the engine is told which micro-batch is the last, and divides by the number of ranks only.

Shapes: `N` rows of a micro-batch, `T` completion tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from rl.logprobs import CompletionBatch, can_share_prompts, completion_logprobs, completion_logprobs_and_entropies
from rl.losses import (
    KlEstimator,
    KlLevel,
    RatioLevel,
    clipped_policy_gradient_loss,
    kl_penalty,
    policy_gradient_loss,
    policy_ratios,
    truncated_importance_weights,
    where_clip_binds,
)
from rl.trajectory import Attempt


@dataclass(frozen=True)
class TrainRow:
    """One completion to raise or lower. `weight` holds the normaliser: the loss is the sum over all ranks' rows.

    `kl_coef` is that of a KL penalty in the loss. `old_logprobs` are the trainer's own before the rollout's first
    optimizer step; where they are empty the present ones stand for them.
    """

    prompt_ids: list[int]
    completion_ids: list[int]
    advantage: float
    weight: float
    kl_coef: float = 0.0
    sampling_logprobs: Sequence[float] = ()
    ref_logprobs: Sequence[float] = ()
    old_logprobs: Sequence[float] = ()


# Weight 0: it stays attached to the graph, so that every collective of a backward pass happens, and adds nothing.
IDLE_ROW = TrainRow([0], [0], advantage=0.0, weight=0.0)


@dataclass(frozen=True)
class ClipRange:
    """Bounds 1 - low and 1 + high of the ratio pi / pi_old, of completions or of tokens."""

    low: float
    high: float
    level: RatioLevel


@dataclass(frozen=True)
class LossTerms:
    """What the loss holds besides -advantage * log pi, or how. 0 and None leave a term out.

    `entropy_coef` rewards the entropies of the distributions that tokens were drawn from, given what stood before each. That
    leaves out how a token changes what stands before the next: it is not the gradient of the completion's entropy.
    """

    importance_cap: float = 0.0
    entropy_coef: float = 0.0
    kl_estimator: KlEstimator = "k2"
    kl_level: KlLevel = "sequence"
    clip: ClipRange | None = None


@dataclass(frozen=True)
class UpdateStats:
    """What a step was: the loss over all ranks, and this rank's numbers by metric name."""

    loss: float
    learning_rate: float
    grad_norm: float | None
    counts: dict[str, list[float]]

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
    """Forward, backward and step over this rank's rows, which may be none.

    Ranks take equal numbers of micro-batches, or collectives would wait for ever: a rank with fewer adds idle ones.
    """
    batches = [[rows[i] for i in indices] for indices in _micro_batches(rows, micro_batch_size)]
    num_batches = max(1, _most_over_ranks(len(batches), engine.device))
    batches += [[IDLE_ROW]] * (num_batches - len(batches))
    share_prompts = can_share_prompts(engine.module.config)
    loss_sum = torch.zeros((), device=engine.device)
    counts: dict[str, list[float]] = {}
    engine.train()
    for index, batch_rows in enumerate(batches):
        engine.set_gradient_accumulation_boundary(index + 1 == num_batches)
        loss, numbers = _loss(engine, batch_rows, share_prompts, temperature, terms)
        engine.backward(loss * dist.get_world_size(), scale_wrt_gas=False)
        loss_sum += loss.detach()
        for name, values in numbers.items():
            counts.setdefault(name, []).extend(values)
    learning_rate = engine.get_lr()[0]
    engine.step()
    dist.all_reduce(loss_sum)
    norm = engine.get_global_grad_norm()
    return UpdateStats(loss_sum.item(), learning_rate, None if norm is None else float(norm), counts)


def _loss(
    engine: Any, rows: Sequence[TrainRow], share_prompts: bool, temperature: float, terms: LossTerms
) -> tuple[torch.Tensor, dict[str, list[float]]]:
    """The loss of a micro-batch, and its numbers by metric name."""
    prompts, completions = [row.prompt_ids for row in rows], [row.completion_ids for row in rows]
    batch = CompletionBatch.collate(prompts, completions, engine.device, share_prompts)
    mask = batch.completion_mask
    if terms.entropy_coef:
        logprobs, entropies = completion_logprobs_and_entropies(engine, batch, temperature)  # (N, T) both
    else:
        logprobs, entropies = completion_logprobs(engine, batch, temperature), None
    advantages = torch.tensor([row.advantage for row in rows], device=engine.device)
    weights = torch.tensor([row.weight for row in rows], device=engine.device)
    old_logprobs = _aligned([row.old_logprobs for row in rows], logprobs)
    token_weights = None
    if terms.importance_cap:
        sampled = _aligned([row.sampling_logprobs for row in rows], logprobs)
        token_weights = truncated_importance_weights(old_logprobs, sampled, mask, terms.importance_cap)
    numbers = _sampler_numbers(rows, old_logprobs)
    if terms.clip is None:
        loss = policy_gradient_loss(logprobs, mask, advantages, weights, token_weights)
    else:
        ratios, ratio_mask = policy_ratios(logprobs, old_logprobs, mask, terms.clip.level, token_weights)
        loss = clipped_policy_gradient_loss(ratios, ratio_mask, advantages, weights, terms.clip.low, terms.clip.high)
        numbers |= _clip_numbers(
            ratios.detach(), ratio_mask & (advantages * weights != 0).unsqueeze(-1), advantages, terms.clip
        )
    if any(row.kl_coef for row in rows):
        kl_coefs = torch.tensor([row.kl_coef for row in rows], device=engine.device)
        reference = _aligned([row.ref_logprobs for row in rows], logprobs)
        penalty = kl_penalty(logprobs, reference, mask, terms.kl_estimator, terms.kl_level)  # (N,)
        loss = loss + (weights * kl_coefs * penalty).sum()
    if entropies is not None:
        loss = loss - terms.entropy_coef * (weights * entropies.sum(-1)).sum()
    return loss, numbers


@torch.no_grad()
def row_logprobs(
    model: torch.nn.Module,
    rows: Sequence[TrainRow] | Sequence[Attempt],
    batch_size: int,
    temperature: float,
    device: torch.device,
) -> list[list[float]]:
    """log pi under `model` of every completion token, row by row, in the temperature-scaled distribution they were drawn from.

    In the very batches that `update` makes of these rows, so that it finds the same numbers to the bit; and, as there, in
    equal numbers on all ranks.
    """
    share_prompts = can_share_prompts(model.config)
    logprobs: list[list[float]] = [[] for _ in rows]
    batches = _micro_batches(rows, batch_size)
    for indices in batches + [[]] * (_most_over_ranks(len(batches), device) - len(batches)):
        batch_rows = [rows[i] for i in indices] or [IDLE_ROW]
        prompts, completions = [row.prompt_ids for row in batch_rows], [row.completion_ids for row in batch_rows]
        batch = CompletionBatch.collate(prompts, completions, device, share_prompts)
        for i, row in zip(indices, completion_logprobs(model, batch, temperature).float().cpu()):
            logprobs[i] = row[: len(rows[i].completion_ids)].tolist()
    return logprobs


def _sampler_numbers(rows: Sequence[TrainRow], old_logprobs: torch.Tensor) -> dict[str, list[float]]:
    """How far the sampler's arithmetic is from the trainer's: exp(sum of logprobs - sum at sampling) a row, gaps a token."""
    ratios, gaps = [], []
    for row, logprobs in zip(rows, old_logprobs.float().cpu()):
        if row.sampling_logprobs:
            gap = logprobs[: len(row.sampling_logprobs)] - torch.tensor(row.sampling_logprobs)
            ratios.append(gap.double().sum().exp().item())
            gaps.extend(gap.abs().tolist())
    return {"ratio": ratios, "gap": gaps}


def _clip_numbers(
    ratios: torch.Tensor, is_counted: torch.Tensor, advantages: torch.Tensor, clip: ClipRange
) -> dict[str, list[float]]:
    """Ratios that carry an advantage, and whether the clip binds there."""
    is_low, is_high = where_clip_binds(ratios, advantages, clip.low, clip.high)
    named = {"clip/ratio": ratios, "clip/share_low": is_low.double(), "clip/share_high": is_high.double()}
    return {name: values[is_counted].tolist() for name, values in named.items()}


def _aligned(values: Sequence[Sequence[float]], logprobs: torch.Tensor) -> torch.Tensor:
    """(N, T) as `logprobs`, without a gradient; rows that have no values, such as idle ones, take those of `logprobs`."""
    aligned = logprobs.detach().clone()
    for row, target in zip(values, aligned):
        if row:
            target[: len(row)] = torch.tensor(row)
    return aligned


def _micro_batches(rows: Sequence[TrainRow] | Sequence[Attempt], size: int) -> list[list[int]]:
    """Indices of rows of equal prompts, then of like length, together: prompts are shared and little of a batch is padding."""
    order = sorted(range(len(rows)), key=lambda i: (len(rows[i].prompt_ids), rows[i].prompt_ids, len(rows[i].completion_ids)))
    return [order[start : start + size] for start in range(0, len(order), size)]


def _most_over_ranks(count: int, device: torch.device) -> int:
    most = torch.tensor(count, device=device)
    if dist.is_initialized():
        dist.all_reduce(most, op=dist.ReduceOp.MAX)
    return int(most)
