"""The coefficient of the KL penalty."""

import pytest

from rl.kl_control import KlCoefficient


def test_without_a_target_it_stays():
    coef = KlCoefficient(0.05, 0.0)
    coef.update(100.0)
    assert coef.value == 0.05


def test_a_step_without_attempts_to_learn_from_leaves_it():
    coef = KlCoefficient(0.05, 2.0)
    coef.update(None)
    assert coef.value == 0.05


@pytest.mark.parametrize(("kl", "factor"), [(2.0, 1.0), (2.2, 1.01), (1.9, 0.995), (50.0, 1.02), (-3.0, 0.98)])
def test_it_follows_the_error_and_no_faster_than_two_percent(kl, factor):
    coef = KlCoefficient(0.05, 2.0)
    coef.update(kl)
    assert coef.value == pytest.approx(0.05 * factor)


def test_a_run_that_goes_on_steers_from_where_it_was_and_otherwise_heeds_its_flag():
    steered, fixed = KlCoefficient(0.05, 2.0), KlCoefficient(0.05, 0.0)
    for coef in (steered, fixed):
        coef.resume(0.03)
    assert (steered.value, fixed.value) == (0.03, 0.05)
