"""Estimates against independent implementations and numbers worked out by hand."""

import itertools

import numpy as np
import pytest
from scipy.stats import binomtest, bootstrap
from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar
from statsmodels.stats.proportion import proportion_confint

from rl.evaluation.estimates import (
    bootstrap_means,
    edit_distance,
    mcnemar,
    paired_difference,
    pass_at_k,
    wilson_interval,
)


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    # Newcombe (1998), table I, the score method without continuity correction.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_interval(hits, n, low, high):
    interval = wilson_interval(np.arange(n) < hits)
    assert interval["value"] == pytest.approx(hits / n)
    assert (interval["low"], interval["high"]) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


@pytest.mark.parametrize(("hits", "n"), [(0, 1), (1, 1), (3, 7), (399, 400), (500, 974)])
def test_wilson_interval_is_that_of_scipy_and_statsmodels(hits, n):
    interval = wilson_interval(np.arange(n) < hits)
    theirs = binomtest(hits, n).proportion_ci(method="wilson")
    assert (interval["low"], interval["high"]) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert (interval["low"], interval["high"]) == pytest.approx(proportion_confint(hits, n, method="wilson"), abs=1e-12)


@pytest.mark.parametrize(("gains", "losses"), [(0, 0), (1, 0), (5, 5), (12, 3), (3, 12), (60, 31)])
def test_mcnemar_is_that_of_statsmodels(gains, losses):
    expected = reference_mcnemar([[7, losses], [gains, 9]], exact=True).pvalue if gains + losses else 1.0
    assert mcnemar(gains, losses) == pytest.approx(expected)


def test_paired_difference_equals_resampling_problems():
    rng = np.random.default_rng(1)
    before, after = rng.random(120) < 0.5, rng.random(120) < 0.6
    interval = paired_difference(before, after)
    difference = after.astype(int) - before
    means = difference[rng.integers(0, 120, (20_000, 120))].mean(1)
    assert interval["value"] == pytest.approx(difference.mean())
    assert interval["low"] == pytest.approx(np.percentile(means, 2.5), abs=0.012)
    assert interval["high"] == pytest.approx(np.percentile(means, 97.5), abs=0.012)
    assert paired_difference(before, after) == interval


def test_bootstrap_of_means_is_that_of_scipy():
    rng = np.random.default_rng(2)
    columns = np.stack([rng.random(150), rng.integers(0, 5, 150) / 4], 1)
    for column, interval in zip(columns.T, bootstrap_means(columns)):
        theirs = bootstrap((column,), np.mean, n_resamples=10_000, method="percentile", rng=3).confidence_interval
        assert interval["value"] == pytest.approx(column.mean())
        assert (interval["low"], interval["high"]) == pytest.approx((theirs.low, theirs.high), abs=0.003)
    assert bootstrap_means(columns) == bootstrap_means(columns)


@pytest.mark.parametrize(
    ("n", "c", "k", "expected"),
    [(5, 0, 1, 0.0), (5, 2, 1, 0.4), (5, 2, 2, 0.7), (5, 2, 4, 1.0), (10, 3, 5, 11 / 12), (200, 200, 100, 1.0)],
)
def test_pass_at_k_by_hand(n, c, k, expected):
    assert pass_at_k(n, c, k) == pytest.approx(expected)


def test_pass_at_k_is_the_share_of_all_draws_with_a_hit():
    outcomes = [1, 1, 0, 0, 0, 0, 1]
    for k in range(1, 8):
        draws = list(itertools.combinations(outcomes, k))
        assert pass_at_k(7, 3, k) == pytest.approx(sum(map(any, draws)) / len(draws))


def test_pass_at_k_of_too_few_samples_is_refused():
    with pytest.raises(ValueError, match="pass@6 of 5 samples"):
        pass_at_k(5, 5, 6)


def test_edit_distance_is_levenshteins():
    def plain(a, b):
        row = list(range(len(b) + 1))
        for i, x in enumerate(a, 1):
            above, row = row, [i]
            for j, y in enumerate(b, 1):
                row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (x != y)))
        return row[-1]

    rng = np.random.default_rng(0)
    for _ in range(300):
        a, b = ("".join(rng.choice(list("abc"), rng.integers(0, 14))) for _ in range(2))
        assert edit_distance(a, b) == pytest.approx(plain(a, b) / max(len(a), len(b), 1)), (a, b)
    assert edit_distance("kitten", "sitting") == pytest.approx(3 / 7)
    assert edit_distance("x" * 200, "x" * 100 + "y" + "x" * 99) == pytest.approx(1 / 200)
