"""A toy policy in float64 whose samples can all be summed over, and its exact objectives and expected estimates.

The policy writes attempts of up to three tokens, a letter or a stop; a correction's logits depend on the first attempt. All
trees of M first attempts and K corrections each are made, with their probabilities, so an expectation is a sum.

Shapes: `S` trees, `Y` distinct attempts.
"""

import torch

from rl.advantages import tree_advantages
from rl.rewards import test_reward as reward_of

MAX_TOKENS = 3
# Attempts as tokens, 1 a letter and 0 the stop: (0), (1, 0), (1, 1, 0), (1, 1, 1).
ATTEMPTS = [(1,) * n + (0,) * (n < MAX_TOKENS) for n in range(MAX_TOKENS + 1)]
NUM_TESTS = 3
PASSED = torch.tensor([0, 3, 1, 2])  # tests that each attempt passes
TRUNCATED = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64)  # the last one has no stop
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


def objective(
    form, gamma, kl_coef, *, detach_first=False, first_kl_coef=None, bonus=0.0, cut=0.0, is_sum=False
) -> torch.Tensor:
    """E[R + bonus (r2 - r1) - KL coefficients times KLs - cut (truncated attempts)], exactly; R is r1 + r2 with `is_sum`."""
    (first, second), (ref_first, ref_second) = ((t[0].sum(-1), t[1].sum(-1)) for t in (POLICY.tables(), REFERENCE.tables()))
    if detach_first:
        first = first.detach()
    reward = rewards_of(form)
    before, after = reward[:, None], reward[None, :]
    returns = (before + after if is_sum else gamma * before + after - before) + bonus * (after - before)  # (Y, Y)
    returns = returns - cut * (TRUNCATED[:, None] + TRUNCATED[None, :])
    first_kl_coef = kl_coef if first_kl_coef is None else first_kl_coef
    scores = returns - first_kl_coef * (first - ref_first)[:, None] - kl_coef * (second - ref_second)
    return (first.exp()[:, None] * second.exp() * scores).sum()


def trees(m: int, k: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Indices of first attempts (S, M), of corrections (S, M, K), and the trees' probabilities (S,)."""
    num = len(ATTEMPTS)
    leaves = torch.cartesian_prod(*[torch.arange(num)] * (m + m * k)).reshape(-1, m + m * k)
    y1, y2 = leaves[:, :m], leaves[:, m:].reshape(-1, m, k)
    first, second = (table.detach().sum(-1) for table in POLICY.tables())
    logprob = first[y1].sum(-1) + second[y1[:, :, None], y2].sum((-1, -2))
    return y1, y2, logprob.exp()


def estimate(m, k, form, gamma, kl_coef, *, first_kl_coef=None, cut=0.0, is_masked=False, **kwargs) -> torch.Tensor:
    """The expected gradient of the loss's negative over all trees: the mean over each turn's attempts, summed over turns."""
    y1, y2, probability = trees(m, k)
    first, second = (table.sum(-1) for table in POLICY.tables())
    ref_first, ref_second = (table.sum(-1) for table in REFERENCE.tables())
    logprobs = [first[y1], second[y1[:, :, None], y2]]
    kls = [logprobs[0].detach() - ref_first[y1].detach(), logprobs[1].detach() - ref_second[y1[:, :, None], y2].detach()]
    rewards = [rewards_of(form)[y1], rewards_of(form)[y2]]
    valid = [(TRUNCATED[y] == 0) | (not is_masked) for y in (y1, y2)]
    coefs = [kl_coef if first_kl_coef is None else first_kl_coef, kl_coef]
    penalties = [coef * kl + cut * TRUNCATED[y] for coef, kl, y in zip(coefs, kls, (y1, y2))]
    advantages = tree_advantages(rewards, penalties, valid, gamma=gamma, **kwargs)
    value = (advantages[0] * logprobs[0]).mean(1) + (advantages[1] * logprobs[1]).mean((1, 2))
    return gradient((probability * value).sum())
