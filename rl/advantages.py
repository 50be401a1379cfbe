"""Leave-one-out advantages on a tree of attempts (RLOO: Ahmadian et al., arXiv 2402.14740; Kool et al., 2019). Pure functions.

An attempt's score is everything it causes: the return of the trajectories below it minus the penalties (KL, length) of
itself and of what follows. Its baseline is the mean score of the other attempts of its group, which are drawn
independently of it given the context that they share, so the gradient estimate stays unbiased.

The group of an attempt is its siblings; where it has none (one correction of each first attempt, or turns beyond the
second), the group is that of its nearest ancestor that has siblings. Where there is no such ancestor the advantage is 0:
with one first attempt a problem, as published, first attempts get no gradient, and gamma, which then only shifts all
corrections of a group alike, has no effect.

Shapes: `P` problems, then one axis a turn: `M` first attempts, `K` corrections of each, 1 for every later turn.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch

from rl.rewards import ReturnForm, expand_to_leaves, returns_by_turn

FirstTurnReturn = Literal["full", "own"]
Baseline = Literal["leave_one_out", "group_std", "batch_mean", "none"]
GROUP_BASELINES = ("leave_one_out", "group_std")
STD_EPSILON = 1e-4


def leave_one_out(scores: torch.Tensor, is_valid: torch.Tensor) -> torch.Tensor:
    """scores - mean of the *other* valid scores along the last axis; 0 where invalid or where no other is left.

    Shapes: both (..., G); `is_valid` is bool. Assumes that the members of a group are drawn independently.
    """
    if scores.shape != is_valid.shape:
        raise ValueError(f"scores are {tuple(scores.shape)}, is_valid is {tuple(is_valid.shape)}: they must agree")
    kept = scores.where(is_valid, 0.0)
    num_valid = is_valid.sum(-1, keepdim=True)
    baseline = (kept.sum(-1, keepdim=True) - kept) / (num_valid - 1).clamp(min=1)
    return (scores - baseline).where(is_valid & (num_valid > 1), 0.0)


def group_standardized(scores: torch.Tensor, is_valid: torch.Tensor) -> torch.Tensor:
    """(scores - group mean) / (group std + 1e-4) along the last axis, as GRPO; 0 where invalid or alone.

    Biased: the mean holds the sample itself, which scales the gradient by (G - 1) / G, and the division weighs every problem
    by the inverse of its spread. Shapes: both (..., G). Source: Shao et al., arXiv 2402.03300, eq. 4 (outcome supervision).
    """
    centered = leave_one_out(scores, is_valid)  # (G / (G - 1)) * (scores - mean)
    num_valid = is_valid.sum(-1, keepdim=True)
    centered = centered * (num_valid - 1).clamp(min=0) / num_valid.clamp(min=1)
    std = (centered.square().sum(-1, keepdim=True) / (num_valid - 1).clamp(min=1)).sqrt()
    return centered / (std + STD_EPSILON)


def batch_centered(
    scores: torch.Tensor, is_valid: torch.Tensor, over_ranks: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """scores - mean of all other valid scores of the turn, over all problems and ranks; 0 where invalid.

    Unbiased: given what an attempt was shown, the scores of the other attempts of its turn do not depend on it.
    Shapes: any, the same. `over_ranks` adds a tensor over ranks.
    """
    kept = scores.where(is_valid, 0.0)
    total, count = over_ranks(torch.stack([kept.sum(), is_valid.sum().to(kept.dtype)]))
    return (scores - (total - kept) / (count - 1).clamp(min=1)).where(is_valid & (count > 1), 0.0)


def tree_advantages(
    rewards: Sequence[torch.Tensor],
    penalties: Sequence[torch.Tensor],
    is_valid: Sequence[torch.Tensor],
    *,
    gamma: float,
    return_form: ReturnForm = "accumulated",
    improvement_bonus: float = 0.0,
    first_turn_return: FirstTurnReturn = "full",
    baseline: Baseline = "leave_one_out",
    over_ranks: Callable[[torch.Tensor], torch.Tensor] = lambda tensor: tensor,
) -> list[torch.Tensor]:
    """Advantages of every attempt of every turn.

    Shapes: `rewards[t]`, `penalties[t]` and `is_valid[t]` (bool) are (P, b_1, ..., b_{t+1}), and so are the results.
    `penalties` are in units of reward: an attempt's own, for example kl_coef * (log pi - log pi_ref) of its tokens.
    `is_valid`: False where there is no verdict or the attempt is left out; it leaves its group before the baseline is taken.
    `gamma`, `return_form`, `improvement_bonus`: see `rl.rewards.returns_by_turn`.
    `first_turn_return`: `full` scores a first attempt by all it causes; `own` by its own reward and penalty alone.
    `baseline`: `leave_one_out`; `group_std` and `batch_mean` as the functions of this module; `none` subtracts nothing.
    `over_ranks` adds a tensor over ranks, for `batch_mean`.
    """
    leaf_shape = rewards[-1].shape
    # A missing reward stands as 0 only where it is the same for a whole group and cancels; the masks below take out the rest.
    known = [reward.where(valid, 0.0) for reward, valid in zip(rewards, is_valid)]
    returns = returns_by_turn(known, return_form, gamma, improvement_bonus)
    advantages = []
    for turn in range(1, len(rewards) + 1):
        axis = group_axis(leaf_shape, turn)
        needs_group = baseline in GROUP_BASELINES
        if axis is None and needs_group:
            advantages.append(torch.zeros_like(rewards[turn - 1]))
            continue
        if turn == 1 and first_turn_return == "own":
            scores, is_scored = rewards[0] - penalties[0], is_valid[0]
        else:
            penalty = sum(expand_to_leaves(own, leaf_shape) for own in penalties[turn - 1 :])
            # Within a group what lies above its axis is the same for all and cancels, a missing verdict included.
            needed = is_valid[axis - 1 if needs_group else 0 :]
            is_path_valid = torch.stack([expand_to_leaves(valid, leaf_shape) for valid in needed]).all(0)
            scores, is_scored = _mean_below(returns[turn - 1] - penalty, is_path_valid, turn)
        if baseline == "none":
            advantages.append(scores.where(is_scored, 0.0))
        elif baseline == "batch_mean":
            advantages.append(batch_centered(scores, is_scored, over_ranks))
        else:
            relative = leave_one_out if baseline == "leave_one_out" else group_standardized
            advantages.append(relative(scores.movedim(axis, -1), is_scored.movedim(axis, -1)).movedim(-1, axis))
    return advantages


def group_axis(leaf_shape: Sequence[int], turn: int) -> int | None:
    """The axis (= turn) whose branches form the group of an attempt of `turn`: the last one up to it that branches."""
    return next((axis for axis in range(turn, 0, -1) if leaf_shape[axis] > 1), None)


def _mean_below(values: torch.Tensor, is_valid: torch.Tensor, turn: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean over the valid trajectories below each attempt of `turn`, and whether there is any."""
    nodes, num_below = values.shape[: turn + 1], math.prod(values.shape[turn + 1 :])  # no -1: there may be no problems at all
    values, is_valid = values.reshape(*nodes, num_below), is_valid.reshape(*nodes, num_below)
    num_valid = is_valid.sum(-1)
    return values.where(is_valid, 0.0).sum(-1) / num_valid.clamp(min=1), num_valid > 0
