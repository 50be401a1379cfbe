"""From a rollout to numbers: what is left out, what comes off a score, and what an attempt weighs in the loss."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from toy_rollouts import judged_rollout, toy_rollout

from rl.advantages import tree_advantages
from rl.scoring import (
    attempt_counts,
    informative_problems,
    loss_weights,
    rollout_rewards,
    score_penalties,
    train_rows,
    trained_attempts,
)


def test_truncated_attempts_are_left_out_or_pay(problems):
    rollout = toy_rollout(problems[0], ["length", "stop", "length"])
    judged = [torch.tensor([[True]]), torch.tensor([[[False, True]]])]
    assert trained_attempts(rollout, judged, "keep") == judged
    assert trained_attempts(rollout, judged, "penalize") == judged
    assert [mask.tolist() for mask in trained_attempts(rollout, judged, "mask")] == [[[False]], [[[False, False]]]]
    kls = [torch.tensor([[2.0]]), torch.tensor([[[3.0, 4.0]]])]
    penalties = score_penalties(rollout, kls, [0.5, 0.1], 7.0)
    assert [p.flatten().tolist() for p in penalties] == [[8.0], pytest.approx([0.3, 7.4])]


def test_a_turns_attempts_and_tokens_are_its_normalisers(problems):
    """One of two ranks: a first attempt of 1 token, corrections of 2, 3 and 4, the second of them without a verdict."""
    rollout = toy_rollout(problems[0], ["stop"] * 4)
    is_trained = [torch.tensor([[True]]), torch.tensor([[[True, False, True]]])]
    assert attempt_counts(rollout, is_trained).tolist() == [[1, 1], [2, 6]]
    totals = torch.tensor([[2, 5], [4, 20]])
    expected = {
        "attempt": [0.25, [1 / 4, 0, 1 / 4]],
        "token": [0.1, [1 / 20, 0, 1 / 20]],
        "own_length": [0.25, [1 / 8, 0, 1 / 16]],
        "constant": [0.025, [1 / 40, 0, 1 / 40]],
    }
    for normalization, (first, corrections) in expected.items():
        weights = loss_weights(rollout, is_trained, totals, normalization, 10, [0.5, 1.0])
        assert weights[0].flatten().tolist() == pytest.approx([first]), normalization
        assert weights[1].flatten().tolist() == pytest.approx(corrections), normalization


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([1], [2, 2, 2], False),
        ([1], [2, 2, 1], True),
        ([1, 1], [2, 2, 2, 2], False),
        ([1, 1], [2, 2, 0, 0], True),  # every group of siblings is equal, but not what the first attempts lead to
        ([0, 3], [2, 2, 2, 2], True),
        ([1, 1], [2, 2], False),
        ([1, 1], [2, 0], True),
    ],
)
@pytest.mark.parametrize("reward", ["pass_count", "pass_rate"])
def test_a_problem_is_informative_where_an_advantage_is_left_without_the_kl(problems, first, second, expected, reward):
    advantages_of = partial(tree_advantages, gamma=0.5)
    flags = SimpleNamespace(reward=reward, truncated="keep", truncation_penalty=0.0, turn_weights=[1, 1])
    assert informative_problems(judged_rollout(problems[0], first, second), flags, advantages_of) == [expected]


def test_a_turn_of_weight_0_tells_nothing(problems):
    advantages_of = partial(tree_advantages, gamma=0.5)
    rollout = judged_rollout(problems[0], [0, 3], [2, 2, 2, 2])  # first attempts alone have an advantage
    flags = SimpleNamespace(reward="pass_rate", truncated="keep", truncation_penalty=0.0, turn_weights=[0, 1])
    assert informative_problems(rollout, flags, advantages_of) == [False]


def test_truncation_counts_for_what_is_informative(problems):
    advantages_of = partial(tree_advantages, gamma=0.5)
    equal = judged_rollout(problems[0], [1], [2, 2, 2], ["stop", "stop", "length"])
    pays = SimpleNamespace(reward="pass_rate", truncated="penalize", truncation_penalty=0.1, turn_weights=[1, 1])
    assert informative_problems(equal, pays, advantages_of) == [True]
    unequal = judged_rollout(problems[0], [1], [2, 2, 0], ["stop", "stop", "length"])
    masks = SimpleNamespace(reward="pass_rate", truncated="mask", truncation_penalty=0.0, turn_weights=[1, 1])
    assert informative_problems(unequal, masks, advantages_of) == [False]


def test_a_rank_without_problems_has_nothing_to_add(problems):
    empty = judged_rollout(problems[0], [1], [2, 1]).select([False])
    rewards, has_verdict = rollout_rewards(empty, "pass_rate")
    penalties = score_penalties(empty, rewards, [0.1, 0.1], 0.0)
    for baseline in ("leave_one_out", "batch_mean", "none", "group_std"):
        advantages = tree_advantages(rewards, penalties, has_verdict, gamma=0.5, baseline=baseline)
        assert [a.shape[0] for a in advantages] == [0, 0]
    totals = attempt_counts(empty, has_verdict)
    assert totals.tolist() == [[0, 0], [0, 0]]
    weights = loss_weights(empty, has_verdict, totals, "token", 10, [1, 1])
    assert train_rows(empty, advantages, weights, [0.1, 0.1]) == []
    flags = SimpleNamespace(reward="pass_rate", truncated="keep", truncation_penalty=0.0, turn_weights=[1, 1])
    assert informative_problems(empty, flags, partial(tree_advantages, gamma=0.5)) == []


def test_what_rounding_leaves_of_equal_scores_is_no_advantage(problems):
    """AdamW makes as large a step of it as of a real one."""
    rollout = judged_rollout(problems[0], [1], [2, 2])
    weights = [torch.ones(1, 1), torch.ones(1, 1, 2)]
    advantages = [torch.zeros(1, 1), torch.tensor([[[5e-8, -5e-8]]])]
    assert [row.advantage for row in train_rows(rollout, advantages, weights, [0.0, 0.0])] == [0.0]
    advantages = [torch.zeros(1, 1), torch.tensor([[[5e-4, -5e-8]]])]
    assert [row.advantage for row in train_rows(rollout, advantages, weights, [0.0, 0.0])] == [pytest.approx(5e-4)]


def test_a_term_on_all_attempts_keeps_those_without_an_advantage(problems):
    rollout = judged_rollout(problems[0], [1], [2, 2])
    advantages, weights = [torch.zeros(1, 1), torch.zeros(1, 1, 2)], [torch.ones(1, 1), torch.tensor([[[1.0, 0.0]]])]
    assert len(train_rows(rollout, advantages, weights, [0.0, 0.0])) == 1  # the first, whatever it is worth
    assert len(train_rows(rollout, advantages, weights, [0.0, 0.0], keep_all=True)) == 2
