"""Losses on completion tokens. Pure functions; every normaliser is the caller's, who knows the whole batch.

Shapes: `N` rows, `T` completion tokens.
"""

import torch


def policy_gradient_loss(
    logprobs: torch.Tensor, completion_mask: torch.Tensor, advantages: torch.Tensor, row_weights: torch.Tensor
) -> torch.Tensor:
    """-sum over rows of weight * advantage * log pi(completion): REINFORCE, exact while the policy is the sampling policy.

    `row_weights` holds the normaliser, for example 1 / (attempts of the turn over all ranks). With advantage 1 it is the
    negative log-likelihood, which is how the boost stage uses it. A row of weight 0 keeps its place in the graph and
    adds nothing.
    Shapes: (N, T), (N, T) bool, (N,), (N,) -> scalar. Source: Williams (1992).
    """
    if logprobs.shape != completion_mask.shape or advantages.shape != logprobs.shape[:1]:
        raise ValueError(
            f"logprobs {tuple(logprobs.shape)}, mask {tuple(completion_mask.shape)} and advantages "
            f"{tuple(advantages.shape)} do not belong together"
        )
    sequence_logprobs = logprobs.where(completion_mask, 0.0).sum(-1)  # (N,)
    return -(row_weights * advantages * sequence_logprobs).sum()
