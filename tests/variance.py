"""The variance of the gradient estimate by shape of the tree, exactly, on the toy policy: `python tests/variance.py`.

Prints a Markdown table: for every shape the trace of the covariance of one tree's gradient estimate, and that times the tokens
that a tree takes on average, which is the variance of an average over as many trees as a token buys.
"""

import torch
from toy_policy import ATTEMPTS, POLICY, REFERENCE, gradient, objective, rewards_of, trees

from rl.advantages import tree_advantages

SHAPES = [(1, 2), (1, 4), (2, 1), (4, 1), (2, 2), (3, 2)]
BASELINES = ["leave_one_out", "group_std", "none"]
GAMMA, FORM, KL_COEF = 0.5, "pass_rate", 0.1


def scores() -> tuple[torch.Tensor, torch.Tensor]:
    """The gradient of log pi of first attempts (Y, D) and of corrections (Y, Y, D)."""
    num = len(ATTEMPTS)
    first = [gradient(POLICY.tables()[0].sum(-1)[y]) for y in range(num)]
    second = [[gradient(POLICY.tables()[1].sum(-1)[y, z]) for z in range(num)] for y in range(num)]
    return torch.stack(first), torch.stack([torch.stack(row) for row in second])


def moments(m: int, k: int, baseline: str) -> tuple[torch.Tensor, float, float]:
    """Mean (D,) and total variance of one tree's estimate, and its mean number of tokens."""
    (first, second), (ref_first, ref_second) = ([t.detach().sum(-1) for t in p.tables()] for p in (POLICY, REFERENCE))
    first_scores, second_scores = scores()
    lengths = torch.tensor([float(len(attempt)) for attempt in ATTEMPTS], dtype=torch.float64)
    y1, y2, probability = trees(m, k)
    index = (y1[:, :, None].expand_as(y2), y2)
    rewards = [rewards_of(FORM)[y1], rewards_of(FORM)[y2]]
    kls = [(first - ref_first)[y1], (second - ref_second)[index]]
    valid = [torch.ones_like(r, dtype=torch.bool) for r in rewards]
    penalties = [KL_COEF * kl for kl in kls]
    a = tree_advantages(rewards, penalties, valid, gamma=GAMMA, baseline=baseline)
    estimates = (a[0][..., None] * first_scores[y1]).mean(1) + (a[1][..., None] * second_scores[index]).mean((1, 2))  # (S, D)
    mean = (probability[:, None] * estimates).sum(0)
    variance = (probability * (estimates - mean).square().sum(-1)).sum().item()
    tokens = (probability * (lengths[y1].sum(1) + lengths[y2].sum((1, 2)))).sum().item()
    return mean, variance, tokens


def main() -> None:
    exact = gradient(objective(FORM, GAMMA, KL_COEF))
    print("| M x K | baseline | tokens a tree | variance | variance x tokens | distance of the mean from the exact gradient |")
    print("|---|---|---|---|---|---|")
    for baseline in BASELINES:
        for m, k in SHAPES:
            mean, variance, tokens = moments(m, k, baseline)
            apart = (mean - exact).norm().item() / exact.norm().item()
            print(f"| {m} x {k} | {baseline} | {tokens:.1f} | {variance:.4f} | {variance * tokens:.3f} | {apart:.1%} |")


if __name__ == "__main__":
    main()
