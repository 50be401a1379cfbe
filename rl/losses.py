"""Losses on completion tokens. Pure functions; every normaliser is the caller's, who knows the whole batch.

Shapes: `N` rows, `T` completion tokens.
"""

from typing import Literal

import torch

KlEstimator = Literal["k1", "k2", "k3"]
KlLevel = Literal["sequence", "token"]
RatioLevel = Literal["sequence", "token"]
Normalization = Literal["attempt", "token", "own_length", "constant"]


def row_weights(
    lengths: torch.Tensor,
    is_trained: torch.Tensor,
    num_attempts: float,
    num_tokens: float,
    max_tokens: int,
    normalization: Normalization,
) -> torch.Tensor:
    """What each attempt of a turn weighs in a loss that sums over tokens; 0 where it is not trained.

    `num_attempts` and `num_tokens` count the turn's trained attempts over all ranks, `max_tokens` is the most one may have.
    `attempt`: 1 / num_attempts, the gradient of the expected score. `token`: 1 / num_tokens, the same direction for this
    turn, but for the chance in that number, and a turn of longer attempts weighs less (DAPO: Yu et al., arXiv 2503.14476,
    eq. 8). `own_length`: 1 / (num_attempts * own length), biased: the longer an attempt, the less its tokens count, for good
    and for bad (GRPO: Shao et al., arXiv 2402.03300, eq. 3).
    `constant`: 1 / (num_attempts * max_tokens), `attempt` at another scale, which AdamW cancels and a clipped norm does not
    (Dr. GRPO: Liu et al., arXiv 2503.20783).
    Shapes: (N,), (N,) bool -> (N,).
    """
    per_attempt = is_trained.double() / max(num_attempts, 1)
    if normalization == "token":
        return is_trained.double() / max(num_tokens, 1)
    if normalization == "own_length":
        return per_attempt / lengths.clamp(min=1)
    return per_attempt / max_tokens if normalization == "constant" else per_attempt


def policy_gradient_loss(
    logprobs: torch.Tensor,
    completion_mask: torch.Tensor,
    advantages: torch.Tensor,
    row_weights: torch.Tensor,
    token_weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """-sum over rows of weight * advantage * log pi(completion): REINFORCE, exact while the policy is the sampling policy.

    `row_weights` holds the normaliser, for example 1 / (attempts of the turn over all ranks). With advantage 1 it is the
    negative log-likelihood, which is how the boost stage uses it. A row of weight 0 keeps its place in the graph and
    adds nothing. `token_weights` scale the tokens of a row; see `truncated_importance_weights`.
    Shapes: (N, T), (N, T) bool, (N,), (N,), (N, T) -> scalar. Source: Williams (1992).
    """
    if logprobs.shape != completion_mask.shape or advantages.shape != logprobs.shape[:1]:
        raise ValueError(
            f"logprobs {tuple(logprobs.shape)}, mask {tuple(completion_mask.shape)} and advantages "
            f"{tuple(advantages.shape)} do not belong together"
        )
    if token_weights is not None:
        logprobs = logprobs * token_weights
    sequence_logprobs = logprobs.where(completion_mask, 0.0).sum(-1)  # (N,)
    return -(row_weights * advantages * sequence_logprobs).sum()


def policy_ratios(
    logprobs: torch.Tensor,
    old_logprobs: torch.Tensor,
    completion_mask: torch.Tensor,
    level: RatioLevel,
    token_weights: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """pi / pi_old and a mask: of whole completions (N, 1), or of their tokens (N, T), 1 outside the mask.

    `token_weights` scale the gradients that tokens get through the ratio, as in `policy_gradient_loss`, and leave its value.
    Shapes: all (N, T).
    """
    x = (logprobs - old_logprobs).where(completion_mask, 0.0)
    weighted = x if token_weights is None else x * token_weights
    if level == "sequence":
        x, weighted = x.sum(-1, keepdim=True), weighted.sum(-1, keepdim=True)
        completion_mask = completion_mask.any(-1, keepdim=True)
    return x.detach().exp() * (weighted - weighted.detach()).exp(), completion_mask


def clipped_policy_gradient_loss(
    ratios: torch.Tensor,
    ratio_mask: torch.Tensor,
    advantages: torch.Tensor,
    weights: torch.Tensor,
    clip_low: float,
    clip_high: float,
) -> torch.Tensor:
    """-sum over rows of weight * min(ratio * A, clip(ratio, 1 - clip_low, 1 + clip_high) * A), over `policy_ratios`.

    At ratio 1 its gradient is that of `policy_gradient_loss`, exactly. Biased elsewhere: where the clip binds a row has no
    gradient, and ratios of tokens leave out how those before them changed what is shown to them.
    Shapes: (N, 1) or (N, T) twice, (N,), (N,) -> scalar.
    Source: Schulman et al., arXiv 1707.06347, eq. 7; two bounds: Yu et al., arXiv 2503.14476 (clip-higher).
    """
    if ratios.shape != ratio_mask.shape or advantages.shape != ratios.shape[:1]:
        raise ValueError(
            f"ratios {tuple(ratios.shape)}, mask {tuple(ratio_mask.shape)} and advantages {tuple(advantages.shape)} "
            "do not belong together"
        )
    gains = advantages.unsqueeze(-1)
    pessimistic = torch.minimum(ratios * gains, ratios.clamp(1 - clip_low, 1 + clip_high) * gains)
    return -(weights * pessimistic.where(ratio_mask, 0.0).sum(-1)).sum()


def where_clip_binds(
    ratios: torch.Tensor, advantages: torch.Tensor, clip_low: float, clip_high: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Where ratios get no gradient: lowered enough already, and raised enough already. Shapes: as `ratios`, bool."""
    gains = advantages.unsqueeze(-1)
    return (gains < 0) & (ratios < 1 - clip_low), (gains > 0) & (ratios > 1 + clip_high)


def truncated_importance_weights(
    logprobs: torch.Tensor, sampling_logprobs: torch.Tensor, completion_mask: torch.Tensor, cap: float
) -> torch.Tensor:
    """min(pi(token) / pi_sampler(token), cap) of every token, 1 outside the mask; carries no gradient.

    Corrects for a sampler whose arithmetic is not the trainer's, one token at a time: biased, since a token's weight leaves out
    those before it, but of bounded variance. Shapes: all (N, T).
    Source: Ionides (2008); used between samplers and trainers by Yao et al. (2025).
    """
    if not logprobs.shape == sampling_logprobs.shape == completion_mask.shape:
        raise ValueError(
            f"logprobs {tuple(logprobs.shape)}, sampling_logprobs {tuple(sampling_logprobs.shape)} and mask "
            f"{tuple(completion_mask.shape)} must agree"
        )
    gap = (logprobs.detach() - sampling_logprobs).where(completion_mask, 0.0)
    return gap.exp().clamp(max=cap)


def kl_penalty(
    logprobs: torch.Tensor, ref_logprobs: torch.Tensor, completion_mask: torch.Tensor, estimator: KlEstimator, level: KlLevel
) -> torch.Tensor:
    """An estimate (N,) of KL(pi || pi_ref) a row, differentiable, with x = log pi - log pi_ref: k1 = x, k2 = x^2 / 2,
    k3 = exp(-x) - 1 + x.

    `sequence` takes x of the whole completion, `token` adds the estimates of its tokens. As a loss on samples of pi, k1 has
    no gradient in expectation; that of k2 (`sequence`) is the gradient of KL(pi || pi_ref), that of k3 of KL(pi_ref || pi);
    `token` leaves out what a token leads to. Shapes: three (N, T) -> (N,).
    Source: Schulman, "Approximating KL divergence" (2020).
    """
    x = (logprobs - ref_logprobs).where(completion_mask, 0.0)
    if level == "sequence":
        x = x.sum(-1, keepdim=True)
    values = {"k1": lambda: x, "k2": lambda: x.square() / 2, "k3": lambda: torch.expm1(-x) + x}[estimator]()
    return values.sum(-1)
