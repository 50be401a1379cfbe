"""The loss of a micro-batch of rows, and their logprobs.

Shapes: `N` rows of a micro-batch, `T` completion tokens.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from rl.attention import has_plain_attention
from rl.completion_batch import CompletionBatch
from rl.logprobs import completion_logprobs, completion_logprobs_and_entropies
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
from rl.micro_batches import micro_batches, most_over_ranks
from rl.pass_limit import PassLimit, can_begin_again
from rl.trajectory import Attempt


@dataclass(frozen=True)
class TrainRow:
    """One completion to raise or lower. `weight` holds the normaliser: the loss is the sum over all ranks' rows.

    `kl_coef` is that of a KL penalty in the loss. `old_logprobs` are the trainer's own before the rollout's first
    optimizer step; where they are empty the present ones stand for them. `name` is for messages.
    """

    prompt_ids: list[int]
    completion_ids: list[int]
    advantage: float
    weight: float
    kl_coef: float = 0.0
    sampling_logprobs: Sequence[float] = ()
    ref_logprobs: Sequence[float] = ()
    old_logprobs: Sequence[float] = ()
    name: str = ""


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


PLAIN_LOSS = LossTerms()


def rows_loss(
    engine: Any, rows: Sequence[TrainRow], pack: bool, temperature: float, terms: LossTerms
) -> tuple[torch.Tensor, dict[str, list[Any]]]:
    """The loss of a micro-batch, and its numbers by metric name; under `not_finite` the rows that made it so."""
    prompts, completions = [row.prompt_ids for row in rows], [row.completion_ids for row in rows]
    batch = CompletionBatch.collate(prompts, completions, engine.device, pack)
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
    numbers["not_finite"] = [] if torch.isfinite(loss) else _not_finite(rows, logprobs.detach(), mask)
    return loss, numbers


def _not_finite(rows: Sequence[TrainRow], logprobs: torch.Tensor, mask: torch.Tensor) -> list[TrainRow]:
    """The rows of a micro-batch that can have made its loss what it is; all of them where none shows it."""
    of_policy = (~torch.isfinite(logprobs) & mask).any(-1).tolist()
    given = [[row.advantage, row.weight, *row.ref_logprobs, *row.old_logprobs] for row in rows]
    faulty = [row for row, is_bad, numbers in zip(rows, of_policy, given) if is_bad or not all(map(math.isfinite, numbers))]
    return faulty or list(rows)


@torch.no_grad()
def row_logprobs(
    model: torch.nn.Module,
    rows: Sequence[TrainRow] | Sequence[Attempt],
    limit: PassLimit,
    temperature: float,
    device: torch.device,
) -> list[list[float]]:
    """log pi under `model` of every completion token, row by row, in the temperature-scaled distribution they were drawn from.

    In the very batches that `update` makes of these rows, so that it finds the same numbers to the bit; and, as there, in
    equal numbers on all ranks.
    """
    pack = has_plain_attention(model)
    logprobs: list[list[float]] = [[] for _ in rows]
    batches = micro_batches(rows, limit, pack)
    for indices in batches + [[]] * (most_over_ranks(len(batches), device) - len(batches)):
        batch_rows = [rows[i] for i in indices] or [IDLE_ROW]
        for i, row in zip(indices, _logprobs_that_fit(model, batch_rows, limit, temperature, device, pack)):
            logprobs[i] = row
    return logprobs


def _logprobs_that_fit(
    model: torch.nn.Module,
    rows: Sequence[Any],
    limit: PassLimit,
    temperature: float,
    device: torch.device,
    pack: bool,
) -> list[list[float]]:
    """Of one batch, in smaller ones where memory runs out.

    Raises: torch.OutOfMemoryError for one row, and where the pass can't be begun again.
    """
    prompts, completions = [row.prompt_ids for row in rows], [row.completion_ids for row in rows]
    try:
        batch = CompletionBatch.collate(prompts, completions, device, pack)
        made = completion_logprobs(model, batch, temperature).float().cpu()
        return [row[: len(completion)].tolist() for row, completion in zip(made, completions)]
    except torch.OutOfMemoryError:
        if len(rows) == 1 or not can_begin_again(model):
            raise
    if len(micro_batches(rows, limit, pack)) == 1:  # else it was made before the limit was halved for another batch
        limit.halve("a forward pass")
    halves = rows[: len(rows) // 2], rows[len(rows) // 2 :]
    return [row for half in halves for row in _logprobs_that_fit(model, half, limit, temperature, device, pack)]


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
