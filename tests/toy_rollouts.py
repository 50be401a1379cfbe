"""Rollouts made by hand, without a model or a sandbox."""

from concurrent.futures import Future

from rl.trajectory import Attempt, Rollout
from sandbox.verdict import TestResult, verdict_of


def toy_rollout(problem, reasons):
    """One first attempt and its corrections, of as many tokens as their place, that ended for these reasons."""
    attempts = [Attempt(problem, [1], [2] * n, [-0.5] * n, reason, "x") for n, reason in enumerate(reasons, 1)]
    return Rollout([problem], (1, len(reasons) - 1), [attempts[:1], attempts[1:]])


def judged_rollout(problem, first, second, second_reasons=None):
    """One problem with first attempts and corrections that pass so many of three tests."""
    m, k = len(first), len(second) // len(first)
    turns = []
    for passed, reasons in ((first, ["stop"] * m), (second, second_reasons or ["stop"] * m * k)):
        attempts = [Attempt(problem, [1], [2], [-0.5], reason, "x") for reason in reasons]
        for attempt, num in zip(attempts, passed):
            tests = [TestResult("passed" if i < num else "failed", "", 0.0, 0.0, False) for i in range(3)]
            attempt.pending_verdict = Future()
            attempt.pending_verdict.set_result(verdict_of(tuple(tests)))
        turns.append(attempts)
    for place, correction in enumerate(turns[1]):
        correction.parent = turns[0][place // k]
    return Rollout([problem], (m, k), turns)
