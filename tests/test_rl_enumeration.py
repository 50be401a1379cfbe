"""Every estimator against the exact gradient, by summing over all samples of a toy policy in float64: it holds to 1e-10.

Shapes: `S` trees, `Y` distinct attempts.
"""

import itertools

import pytest
import torch
from toy_policy import (
    KL_COEF,
    MASK,
    POLICY,
    REFERENCE,
    SHAPES,
    Policy,
    estimate,
    gradient,
    objective,
    parameters,
    rewards_of,
    trees,
)

from rl.advantages import tree_advantages
from rl.losses import clipped_policy_gradient_loss, kl_penalty, policy_ratios, row_weights


def test_the_trees_are_all_there_is():
    for m, k in SHAPES:
        assert trees(m, k)[2].sum().item() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("form", ["pass_count", "pass_rate", "all_pass"])
@pytest.mark.parametrize(("m", "k"), SHAPES)
@pytest.mark.parametrize("kl_coef", [0.0, KL_COEF])
def test_leave_one_out_is_unbiased(m, k, form, gamma, kl_coef):
    """With one first attempt a problem first attempts have no gradient: then it is exact for corrections given them."""
    expected = gradient(objective(form, gamma, kl_coef, detach_first=m == 1))
    torch.testing.assert_close(estimate(m, k, form, gamma, kl_coef), expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize(
    ("of_objective", "of_estimate"),
    [
        ({"is_sum": True}, {"return_form": "sum"}),
        ({"bonus": 3.0}, {"improvement_bonus": 3.0}),
        ({"is_sum": True, "bonus": 3.0}, {"return_form": "sum", "improvement_bonus": 3.0}),
        ({"first_kl_coef": 1.7}, {"first_kl_coef": 1.7}),
        ({"cut": 0.8}, {"cut": 0.8}),
    ],
    ids=["sum", "bonus", "sum and bonus", "first_turn_kl_coef", "truncation_penalty"],
)
@pytest.mark.parametrize(("m", "k"), SHAPES)
@pytest.mark.parametrize("baseline", ["leave_one_out", "none"])
def test_other_returns_and_penalties_are_unbiased_for_their_objectives(m, k, baseline, of_objective, of_estimate):
    detach_first = m == 1 and baseline == "leave_one_out"
    expected = gradient(objective("pass_rate", 0.5, KL_COEF, detach_first=detach_first, **of_objective))
    got = estimate(m, k, "pass_rate", 0.5, KL_COEF, baseline=baseline, **of_estimate)
    torch.testing.assert_close(got, expected, atol=1e-10, rtol=0)
    if m > 1:
        assert (expected - gradient(objective("pass_rate", 0.5, KL_COEF))).norm() > 0.01  # another objective


def test_leaving_truncated_attempts_out_is_biased():
    """Attempts that end gain at the cost of those that don't only through what they pass; the limit itself teaches nothing."""
    exact = gradient(objective("pass_rate", 0.5, 0.0))
    assert (estimate(2, 2, "pass_rate", 0.5, 0.0, is_masked=True) - exact).norm() > 0.1 * exact.norm()


@pytest.mark.parametrize(("m", "k"), [(1, 2), (2, 2)])
def test_no_baseline_is_unbiased_for_all_turns(m, k):
    expected = gradient(objective("pass_rate", 0.5, KL_COEF))
    got = estimate(m, k, "pass_rate", 0.5, KL_COEF, baseline="none")
    torch.testing.assert_close(got, expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize(("m", "k"), [(2, 1), (1, 2)])
def test_batch_mean_is_unbiased(m, k):
    """One tree a batch: the mean over the other attempts of the turn, whatever they hang on."""
    y1, y2, probability = trees(m, k)
    first, second = (table.sum(-1) for table in POLICY.tables())
    ref_first, ref_second = (table.detach().sum(-1) for table in REFERENCE.tables())
    value = torch.zeros((), dtype=torch.float64)
    for i in range(len(y1)):
        index1, index2 = y1[i : i + 1], y2[i : i + 1]
        logprobs = [first[index1], second[index1[:, :, None], index2]]
        kls = [logprobs[0].detach() - ref_first[index1], logprobs[1].detach() - ref_second[index1[:, :, None], index2]]
        rewards = [rewards_of("pass_rate")[index1], rewards_of("pass_rate")[index2]]
        valid = [torch.ones_like(r, dtype=torch.bool) for r in rewards]
        penalties = [KL_COEF * kl for kl in kls]
        a = tree_advantages(rewards, penalties, valid, gamma=0.5, baseline="batch_mean")
        value = value + probability[i] * ((a[0] * logprobs[0]).mean() + (a[1] * logprobs[1]).mean())
    expected = gradient(objective("pass_rate", 0.5, KL_COEF, detach_first=m == 1))
    torch.testing.assert_close(gradient(value), expected, atol=1e-10, rtol=0)


def test_division_by_the_standard_deviation_is_biased():
    exact = gradient(objective("pass_rate", 0.5, 0.0))
    biased = estimate(2, 2, "pass_rate", 0.5, 0.0, baseline="group_std")
    cosine = torch.nn.functional.cosine_similarity(exact, biased, dim=0)
    assert cosine < 0.999  # not even the direction is that of the objective
    assert (biased - exact).norm() > 0.1 * exact.norm()


def test_dividing_by_each_attempts_own_length_is_biased():
    """What a long attempt passes counts for less; dividing by a number that is the same for all keeps the direction."""
    lengths, reward = MASK.sum(-1), rewards_of("pass_rate")  # (Y,)
    first = POLICY.tables()[0].sum(-1)
    exact = gradient((first.exp() * reward).sum())
    advantages = reward - (first.exp() * reward).sum().detach()
    gradients = {}
    for normalization in ("attempt", "token", "own_length", "constant"):
        weights = row_weights(lengths, torch.ones(4, dtype=torch.bool), 1, 2.5, 3, normalization)
        first = POLICY.tables()[0].sum(-1)
        gradients[normalization] = gradient((first.exp().detach() * weights * advantages * first).sum())
    torch.testing.assert_close(gradients["attempt"], exact, atol=1e-10, rtol=0)
    torch.testing.assert_close(gradients["token"], exact / 2.5, atol=1e-10, rtol=0)
    torch.testing.assert_close(gradients["constant"], exact / 3, atol=1e-10, rtol=0)
    cosine = torch.nn.functional.cosine_similarity(gradients["own_length"], exact, dim=0)
    assert cosine < 0.99


def clipped_gradient(old: Policy, level: str, clip_low: float, clip_high: float) -> torch.Tensor:
    """The expected ascent on first attempts of the clipped loss over samples of `old`, their pass rates as advantages."""
    logprobs, old_logprobs = POLICY.tables()[0], old.tables()[0].detach()  # (Y, T)
    ratios, mask = policy_ratios(logprobs, old_logprobs, MASK, level)
    weights = old_logprobs.sum(-1).exp()
    return -gradient(clipped_policy_gradient_loss(ratios, mask, rewards_of("pass_rate"), weights, clip_low, clip_high))


@pytest.mark.parametrize("level", ["sequence", "token"])
def test_the_first_step_under_a_clip_is_reinforce(level):
    exact = gradient((POLICY.tables()[0].sum(-1).exp() * rewards_of("pass_rate")).sum())
    torch.testing.assert_close(clipped_gradient(POLICY, level, 0.2, 0.2), exact, atol=1e-10, rtol=0)


def test_off_policy_the_sequence_ratio_is_exact_without_a_clip_and_biased_with_one():
    exact = gradient((POLICY.tables()[0].sum(-1).exp() * rewards_of("pass_rate")).sum())
    torch.testing.assert_close(clipped_gradient(REFERENCE, "sequence", 1.0, 1e9), exact, atol=1e-10, rtol=0)
    assert (clipped_gradient(REFERENCE, "sequence", 0.2, 0.2) - exact).norm() > 0.1 * exact.norm()
    assert (clipped_gradient(REFERENCE, "token", 1.0, 1e9) - exact).norm() > 0.05 * exact.norm()


def test_own_returns_leave_out_what_first_attempts_cause():
    """Exact for E[r1 - kl_coef KL(y1)] on first attempts, which is another objective than that of the trajectory."""
    got = estimate(2, 2, "pass_rate", 0.5, KL_COEF, first_turn_return="own")[: POLICY.first.numel()]
    first, ref_first = POLICY.tables()[0].sum(-1), REFERENCE.tables()[0].sum(-1)
    own = (first.exp() * (rewards_of("pass_rate") - KL_COEF * (first - ref_first))).sum()
    torch.testing.assert_close(got, gradient(own)[: POLICY.first.numel()], atol=1e-10, rtol=0)
    assert (got - gradient(objective("pass_rate", 0.5, KL_COEF))[: POLICY.first.numel()]).norm() > 0.01


def expected_kl_gradient(estimator: str, level: str) -> torch.Tensor:
    """The gradient of the penalty on first attempts, averaged over them."""
    first, reference = POLICY.tables()[0], REFERENCE.tables()[0].detach()
    penalties = kl_penalty(first, reference, MASK, estimator, level)  # (Y,)
    return gradient((first.detach().sum(-1).exp() * penalties).sum())


def test_k2_in_the_loss_is_the_reverse_kl():
    first, reference = POLICY.tables()[0].sum(-1), REFERENCE.tables()[0].detach().sum(-1)
    reverse = gradient((first.exp() * (first - reference)).sum())
    torch.testing.assert_close(expected_kl_gradient("k2", "sequence"), reverse, atol=1e-10, rtol=0)


@pytest.mark.parametrize(("m", "k"), SHAPES)
def test_k2_in_the_loss_beside_reinforce_is_each_attempts_own_kl(m, k):
    """The gradient of E[R] - beta (KL(y1) + KL(y2)) where a first attempt does not answer for the KL of its corrections."""
    y1, y2, probability = trees(m, k)
    penalty = torch.zeros((), dtype=torch.float64)
    for turn, (index, y) in enumerate([((y1,), y1), ((y1[:, :, None], y2), y2)]):
        logprobs, reference = (policy.tables()[turn][index].flatten(0, -2) for policy in (POLICY, REFERENCE))
        rows = kl_penalty(logprobs, reference.detach(), MASK[y].flatten(0, -2), "k2", "sequence")
        penalty = penalty + (probability * rows.reshape(len(y), -1).mean(1)).sum()
    (first, second), (ref_first, ref_second) = ((t[0].sum(-1), t[1].sum(-1)) for t in (POLICY.tables(), REFERENCE.tables()))
    own = (first.exp() * (first - ref_first)).sum()
    own = own + (first.detach().exp()[:, None] * second.exp() * (second - ref_second)).sum()
    expected = gradient(objective("pass_rate", 0.5, 0.0, detach_first=m == 1)) - KL_COEF * gradient(own)
    got = estimate(m, k, "pass_rate", 0.5, 0.0) - KL_COEF * gradient(penalty)
    torch.testing.assert_close(got, expected, atol=1e-10, rtol=0)


def test_k3_in_the_loss_is_the_forward_kl():
    first, reference = POLICY.tables()[0].sum(-1), REFERENCE.tables()[0].detach().sum(-1)
    forward = gradient((reference.exp() * (reference - first)).sum())
    torch.testing.assert_close(expected_kl_gradient("k3", "sequence"), forward, atol=1e-10, rtol=0)


def test_k1_in_the_loss_has_no_gradient_which_is_why_it_is_refused():
    assert expected_kl_gradient("k1", "sequence").abs().max() < 1e-12


def test_token_level_penalties_leave_out_what_a_token_leads_to():
    sequence, token = expected_kl_gradient("k2", "sequence"), expected_kl_gradient("k2", "token")
    assert (sequence - token).norm() > 0.01 * sequence.norm()


def test_with_equal_rewards_training_leads_back_to_the_reference():
    """The sign of the KL: every attempt passes the same tests, so what is left pulls the policy home."""
    policy, steps = [p.detach().clone() for p in parameters()], []
    try:
        for _ in range(60):
            (first, second), (ref_first, ref_second) = (
                (t[0].sum(-1), t[1].sum(-1)) for t in (POLICY.tables(), REFERENCE.tables())
            )
            kl = (first.exp()[:, None] * second.exp() * ((first - ref_first)[:, None] + second - ref_second)).sum()
            steps.append(kl.item())
            step = estimate(2, 2, "equal", 0.5, 1.0)
            with torch.no_grad():
                for parameter, part in zip(parameters(), step.split([p.numel() for p in parameters()])):
                    parameter += part.view_as(parameter)
        assert all(after < before for before, after in itertools.pairwise(steps))
        assert steps[-1] < 0.1 * steps[0]
    finally:
        with torch.no_grad():
            for parameter, value in zip(parameters(), policy):
                parameter.copy_(value)
