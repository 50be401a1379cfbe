"""From verdicts to rewards to accumulated returns. Pure functions.

Shapes: `P` problems, then one axis a turn: `M` first attempts, `K` corrections of each, 1 for every later turn.
"""

from collections.abc import Sequence
from typing import Literal

import torch

RewardForm = Literal["pass_count", "pass_rate", "all_pass"]
ReturnForm = Literal["accumulated", "sum"]


def test_reward(num_passed: int, num_tests: int, form: RewardForm) -> float:
    """rho(y): tests passed as published (`pass_count`), their share (`pass_rate`), or 1 only if all pass (`all_pass`).

    Source: arXiv 2505.23060, section 3 (pass_count).
    """
    if not 0 <= num_passed <= num_tests or num_tests == 0:
        raise ValueError(f"{num_passed} of {num_tests} tests passed: needs 0 <= passed <= tests and at least one test")
    if form == "pass_count":
        return float(num_passed)
    if form == "pass_rate":
        return num_passed / num_tests
    return float(num_passed == num_tests)


test_reward.__test__ = False  # pytest collects what is named test_*, and imports this into test modules


def accumulated_returns(rewards: Sequence[torch.Tensor], gamma: float) -> torch.Tensor:
    """R = sum over turns t of gamma^(T-t) (r_t - r_{t-1}), r_0 = 0, for every trajectory.

    For two turns gamma r_1 + (r_2 - r_1): gamma 0 pays the improvement alone, gamma 1 the last reward alone.
    Shapes: `rewards[t]` is (P, b_1, ..., b_{t+1}); the result is shaped like the last.
    Source: arXiv 2505.23060, accumulated reward.
    """
    num_turns = len(rewards)
    returns = torch.zeros_like(rewards[-1])
    previous = torch.zeros_like(rewards[-1])
    for turn, reward in enumerate(rewards, 1):
        current = expand_to_leaves(reward, rewards[-1].shape)
        returns = returns + gamma ** (num_turns - turn) * (current - previous)
        previous = current
    return returns


def returns_by_turn(
    rewards: Sequence[torch.Tensor], form: ReturnForm, gamma: float, improvement_bonus: float = 0.0
) -> list[torch.Tensor]:
    """What an attempt of each turn is scored by, for every trajectory below it.

    `accumulated`: R of `accumulated_returns`, the same at every turn. `sum`: the rewards from that turn on, r_t + ... + r_T;
    what came before is not the attempt's to answer for. `improvement_bonus` adds its multiple of r_T - r_1, the sum of all
    improvements, at every turn, so that it goes to all that cause it.
    Shapes: `rewards[t]` is (P, b_1, ..., b_{t+1}); all results are shaped like the last. `gamma` belongs to `accumulated`.
    Source: arXiv 2505.23060 (`accumulated`); Kumar et al., arXiv 2409.12917 (the rest).
    """
    leaves = [expand_to_leaves(reward, rewards[-1].shape) for reward in rewards]
    if form == "accumulated":
        returns = [accumulated_returns(rewards, gamma)] * len(rewards)
    else:
        returns = [torch.stack(leaves[turn:]).sum(0) for turn in range(len(rewards))]
    return [values + improvement_bonus * (leaves[-1] - leaves[0]) for values in returns]


def expand_to_leaves(values: torch.Tensor, leaf_shape: torch.Size) -> torch.Tensor:
    """Repeat a value a node for every trajectory that passes through it."""
    if values.shape != leaf_shape[: values.ndim]:
        raise ValueError(f"values of shape {tuple(values.shape)} do not belong to a tree of shape {tuple(leaf_shape)}")
    return values.reshape(*values.shape, *[1] * (len(leaf_shape) - values.ndim)).expand(leaf_shape)
