"""Rewards and accumulated returns against hand-computed numbers."""

import pytest
import torch

from rl.rewards import accumulated_returns, expand_to_leaves, returns_by_turn
from rl.rewards import test_reward as reward_of


@pytest.mark.parametrize(
    ("passed", "form", "expected"),
    [
        (0, "pass_count", 0.0),
        (2, "pass_count", 2.0),
        (2, "pass_rate", 2 / 3),
        (2, "all_pass", 0.0),
        (3, "all_pass", 1.0),
    ],
)
def test_reward_forms(passed, form, expected):
    assert reward_of(passed, 3, form) == pytest.approx(expected)


@pytest.mark.parametrize(("passed", "total"), [(4, 3), (-1, 3), (0, 0)])
def test_reward_refuses_impossible_counts(passed, total):
    with pytest.raises(ValueError, match="tests passed"):
        reward_of(passed, total, "pass_rate")


def test_two_turn_return_is_gamma_r1_plus_improvement():
    first = torch.tensor([[1.0, 3.0]])  # (P=1, M=2)
    second = torch.tensor([[[2.0, 0.0], [3.0, 1.0]]])  # (1, 2, K=2)
    expected = torch.tensor([[[0.5 * 1 + 1, 0.5 * 1 - 1], [0.5 * 3 + 0, 0.5 * 3 - 2]]])
    assert torch.equal(accumulated_returns([first, second], 0.5), expected)


def test_gamma_zero_pays_the_improvement_and_gamma_one_the_last_reward():
    first, second = torch.tensor([[2.0]]), torch.tensor([[[3.0, 0.0]]])
    assert accumulated_returns([first, second], 0.0).tolist() == [[[1.0, -2.0]]]
    assert accumulated_returns([first, second], 1.0).tolist() == [[[3.0, 0.0]]]


def test_three_turn_return():
    rewards = [torch.tensor([[1.0]]), torch.tensor([[[3.0]]]), torch.tensor([[[[2.0]]]])]
    assert accumulated_returns(rewards, 0.5).item() == 0.25 * 1 + 0.5 * 2 - 1


def test_returns_by_turn_by_hand():
    """Rewards 1, 3 and 2 over three turns; the improvement over all of them is 1."""
    rewards = [torch.tensor([[1.0]]), torch.tensor([[[3.0]]]), torch.tensor([[[[2.0]]]])]
    whole = 0.25 * 1 + 0.5 * 2 - 1
    assert [r.item() for r in returns_by_turn(rewards, "accumulated", 0.5)] == [whole] * 3
    assert [r.item() for r in returns_by_turn(rewards, "accumulated", 0.5, 4.0)] == [whole + 4] * 3
    assert [r.item() for r in returns_by_turn(rewards, "sum", 0.5)] == [6.0, 5.0, 2.0]
    assert [r.item() for r in returns_by_turn(rewards, "sum", 0.5, 4.0)] == [10.0, 9.0, 6.0]


def test_expand_refuses_a_foreign_shape():
    with pytest.raises(ValueError, match="do not belong"):
        expand_to_leaves(torch.zeros(2, 3), torch.Size([2, 2, 4]))
