"""Every estimator against the exact gradient, by summing over all samples of a toy policy in float64.

The policy writes attempts of up to three tokens, a letter or a stop; a correction's logits depend on the first attempt. All
trees of M first attempts and K corrections each are made, with their probabilities, so an expectation is a sum and holds to
1e-10.

Shapes: `S` trees, `Y` distinct attempts.
"""

import itertools

import pytest
import torch

from rl.advantages import tree_advantages
from rl.losses import kl_penalty
from rl.rewards import test_reward as reward_of

MAX_TOKENS = 3
# Attempts as tokens, 1 a letter and 0 the stop: (0), (1, 0), (1, 1, 0), (1, 1, 1).
ATTEMPTS = [(1,) * n + (0,) * (n < MAX_TOKENS) for n in range(MAX_TOKENS + 1)]
NUM_TESTS = 3
PASSED = torch.tensor([0, 3, 1, 2])  # tests that each attempt passes
KL_COEF = 0.3
SHAPES = [(1, 2), (2, 1), (2, 2), (3, 2)]


class Policy:
    """Logits of the letter against the stop, by turn, first attempt and position."""

    def __init__(self, seed: int):
        generator = torch.Generator().manual_seed(seed)
        self.first = torch.randn(MAX_TOKENS, dtype=torch.float64, generator=generator).requires_grad_()
        self.second = torch.randn(len(ATTEMPTS), MAX_TOKENS, dtype=torch.float64, generator=generator).requires_grad_()

    def logprobs(self, logits: torch.Tensor) -> torch.Tensor:
        """Token logprobs (..., Y, MAX_TOKENS) of every attempt, 0 behind its end."""
        letter = torch.nn.functional.logsigmoid(logits)
        stop = torch.nn.functional.logsigmoid(-logits)
        rows = []
        for attempt in ATTEMPTS:
            tokens = [(letter if token else stop)[..., t] for t, token in enumerate(attempt)]
            rows.append(torch.stack(tokens + [torch.zeros_like(letter[..., 0])] * (MAX_TOKENS - len(attempt)), -1))
        return torch.stack(rows, -2)

    def tables(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Token logprobs of first attempts (Y, T) and of corrections (Y, Y, T)."""
        return self.logprobs(self.first), self.logprobs(self.second)


POLICY, REFERENCE = Policy(1), Policy(2)
MASK = torch.tensor([[t < len(attempt) for t in range(MAX_TOKENS)] for attempt in ATTEMPTS])


def rewards_of(form: str) -> torch.Tensor:
    if form == "equal":
        return torch.ones(len(ATTEMPTS), dtype=torch.float64)
    return torch.tensor([reward_of(int(n), NUM_TESTS, form) for n in PASSED], dtype=torch.float64)


def gradient(value: torch.Tensor) -> torch.Tensor:
    grads = torch.autograd.grad(value, [POLICY.first, POLICY.second], allow_unused=True)
    return torch.cat([torch.zeros_like(p).flatten() if g is None else g.flatten() for g, p in zip(grads, parameters())])


def parameters() -> list[torch.Tensor]:
    return [POLICY.first, POLICY.second]


def objective(form: str, gamma: float, kl_coef: float, *, detach_first: bool = False) -> torch.Tensor:
    """E[R - kl_coef (KL(y1) + KL(y2))], exactly."""
    (first, second), (ref_first, ref_second) = ((t[0].sum(-1), t[1].sum(-1)) for t in (POLICY.tables(), REFERENCE.tables()))
    if detach_first:
        first = first.detach()
    reward = rewards_of(form)
    returns = gamma * reward[:, None] + reward[None, :] - reward[:, None]  # (Y, Y)
    scores = returns - kl_coef * ((first - ref_first)[:, None] + second - ref_second)
    return (first.exp()[:, None] * second.exp() * scores).sum()


def trees(m: int, k: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Indices of first attempts (S, M), of corrections (S, M, K), and the trees' probabilities (S,)."""
    num = len(ATTEMPTS)
    leaves = torch.cartesian_prod(*[torch.arange(num)] * (m + m * k)).reshape(-1, m + m * k)
    y1, y2 = leaves[:, :m], leaves[:, m:].reshape(-1, m, k)
    first, second = (table.detach().sum(-1) for table in POLICY.tables())
    logprob = first[y1].sum(-1) + second[y1[:, :, None], y2].sum((-1, -2))
    return y1, y2, logprob.exp()


def estimate(m, k, form, gamma, kl_coef, num_trees=None, **kwargs) -> torch.Tensor:
    """The expected gradient of the loss's negative over all trees: the mean over each turn's attempts, summed over turns."""
    y1, y2, probability = (part[:num_trees] for part in trees(m, k))
    first, second = (table.sum(-1) for table in POLICY.tables())
    ref_first, ref_second = (table.sum(-1) for table in REFERENCE.tables())
    logprobs = [first[y1], second[y1[:, :, None], y2]]
    kls = [logprobs[0].detach() - ref_first[y1].detach(), logprobs[1].detach() - ref_second[y1[:, :, None], y2].detach()]
    rewards = [rewards_of(form)[y1], rewards_of(form)[y2]]
    valid = [torch.ones_like(r, dtype=torch.bool) for r in rewards]
    advantages = tree_advantages(rewards, kls, valid, gamma=gamma, kl_coef=kl_coef, **kwargs)
    value = (advantages[0] * logprobs[0]).mean(1) + (advantages[1] * logprobs[1]).mean((1, 2))
    return gradient((probability * value).sum())


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
        a = tree_advantages(rewards, kls, valid, gamma=0.5, kl_coef=KL_COEF, baseline="batch_mean")
        value = value + probability[i] * ((a[0] * logprobs[0]).mean() + (a[1] * logprobs[1]).mean())
    expected = gradient(objective("pass_rate", 0.5, KL_COEF, detach_first=m == 1))
    torch.testing.assert_close(gradient(value), expected, atol=1e-10, rtol=0)


def test_division_by_the_standard_deviation_is_biased():
    exact = gradient(objective("pass_rate", 0.5, 0.0))
    biased = estimate(2, 2, "pass_rate", 0.5, 0.0, baseline="group_std")
    cosine = torch.nn.functional.cosine_similarity(exact, biased, dim=0)
    assert cosine < 0.999  # not even the direction is that of the objective
    assert (biased - exact).norm() > 0.1 * exact.norm()


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
