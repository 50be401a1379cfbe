"""From a rollout to numbers: what is left out, what comes off a score, and what an attempt weighs in the loss."""

import pytest
import torch

from rl.scoring import attempt_counts, loss_weights, score_penalties, trained_attempts
from rl.trajectory import Attempt, Rollout


def toy_rollout(problem, reasons):
    """One first attempt and its corrections, of as many tokens as their place, that ended for these reasons."""
    attempts = [Attempt(problem, [1], [2] * n, [-0.5] * n, reason, "x") for n, reason in enumerate(reasons, 1)]
    return Rollout([problem], (1, len(reasons) - 1), [attempts[:1], attempts[1:]])


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
        weights = loss_weights(rollout, is_trained, totals, normalization, 10, first_turn_weight=0.5)
        assert weights[0].flatten().tolist() == pytest.approx([first]), normalization
        assert weights[1].flatten().tolist() == pytest.approx(corrections), normalization
