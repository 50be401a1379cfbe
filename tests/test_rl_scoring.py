"""From a rollout to numbers: what is left out, what comes off a score, and what an attempt weighs in the loss."""

import pytest
import torch

from rl.scoring import score_penalties, trained_attempts
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
