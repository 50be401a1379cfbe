"""Estimates and their 95% uncertainty, on plain arrays. Knows nothing of models or turns.

Every draw comes from a fixed seed: the same records give the same intervals. Deliberately left out: corrections for testing
many models at once.

Shapes: `P` problems.
"""

from math import comb

import numpy as np

from data.levenshtein import levenshtein

Z95 = 1.959963984540054
NUM_BOOTSTRAP = 10_000
# Resamples whose problem counts are held at once: (BLOCK, P) small integers.
BLOCK = 500


def wilson_interval(hits: np.ndarray) -> dict[str, float]:
    """A rate with its 95% score interval, for one sample a problem. Shapes: (P,) bool. Source: Wilson (1927)."""
    n, rate = len(hits), float(hits.mean())
    center = (rate + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * (rate * (1 - rate) / n + Z95**2 / (4 * n**2)) ** 0.5
    return {"value": rate, "low": max(0.0, center - half), "high": min(1.0, center + half)}


def paired_difference(before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    """mean(after - before) with a 95% percentile bootstrap over problems. Shapes: (P,) bool each.

    A resampled difference depends on the counts of gains and losses alone, so those are drawn, from one fixed seed.
    """
    n = len(before)
    gains, losses = int((~before & after).sum()), int((before & ~after).sum())
    draws = np.random.default_rng(0).multinomial(n, [gains / n, losses / n, 1 - (gains + losses) / n], NUM_BOOTSTRAP)
    low, high = np.percentile((draws[:, 0] - draws[:, 1]) / n, [2.5, 97.5])
    return {"value": (gains - losses) / n, "low": float(low), "high": float(high)}


def bootstrap_means(columns: np.ndarray) -> list[dict[str, float]]:
    """The mean of each column with a 95% percentile bootstrap over rows. Shapes: (P, columns).

    A row is a problem, and its entry the mean of that problem's samples: resampling whole problems (the cluster bootstrap)
    keeps what the samples of a problem have in common, which a formula for independent samples would count as evidence.
    Columns share their resamples. Source: Davison and Hinkley (1997), 3.8.
    """
    num_problems = len(columns)
    rng = np.random.default_rng(0)
    means = []
    for _ in range(NUM_BOOTSTRAP // BLOCK):
        drawn = rng.integers(0, num_problems, (BLOCK, num_problems)) + num_problems * np.arange(BLOCK)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=BLOCK * num_problems).reshape(BLOCK, num_problems)
        means.append(counts @ columns / num_problems)
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5], axis=0)
    return [
        {"value": float(value), "low": float(a), "high": float(b)}
        for value, a, b in zip(columns.mean(0), low, high, strict=True)
    ]


def mcnemar(gains: int, losses: int) -> float:
    """Two-sided exact p-value that gains and losses are equally likely, given their sum. Source: McNemar (1947)."""
    n = gains + losses
    tail = sum(comb(n, i) for i in range(min(gains, losses) + 1))
    return min(1.0, 2 * tail / 2**n)


def pass_at_k(num_samples: int, num_correct: int, k: int) -> float:
    """Unbiased estimate that one of k samples is right, from n >= k of which c are. Source: Chen et al. (2021), eq. 1."""
    if not 1 <= k <= num_samples:
        raise ValueError(f"pass@{k} of {num_samples} samples: k must lie between 1 and the number of samples")
    return 1.0 - comb(num_samples - num_correct, k) / comb(num_samples, k)


def edit_distance(before: str, after: str) -> float:
    """Levenshtein distance between two texts in characters, over the longer one's length: 0 is equal, 1 shares nothing."""
    return levenshtein(before, after) / max(len(before), len(after), 1)
