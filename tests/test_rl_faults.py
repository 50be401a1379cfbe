"""A step that was skipped: named, counted, and in the end the run is stopped."""

import json
import logging
import math

from rl.faults import EXIT_CODE, StepGuard
from rl.train_rows import TrainRow
from rl.update import UpdateStats


class Alone:
    rank, world_size, is_main = 0, 1, True

    def gather(self, value):
        return [value]

    def barrier(self):
        pass


def stats(loss, is_applied, names=("problem 7, turn 2",)):
    rows = [] if is_applied else [TrainRow([1, 2], [3], math.nan, 0.5, name=name) for name in names]
    return UpdateStats(loss, 0.1, None, {}, is_applied, rows)


def test_skipped_steps_in_a_row_end_the_run_with_a_dump(tmp_path, caplog):
    guard = StepGuard(tmp_path, 2, False, Alone())
    for step, bad in enumerate([True, True, False, True, True]):
        guard.check(step, stats(math.nan if bad else 1.0, not bad))
    assert "step 0 was skipped, its loss is not finite: problem 7, turn 2" in caplog.text
    assert not list(tmp_path.iterdir())
    assert not guard.is_lost
    guard.check(5, stats(math.nan, False))
    assert guard.is_lost and EXIT_CODE == 3
    assert "3 steps in a row were skipped, --max_skipped_steps is 2" in caplog.text
    (row,) = [json.loads(line) for line in (tmp_path / "not-finite-5-rank-0.jsonl").read_text().splitlines()]
    assert row["prompt_ids"] == [1, 2]
    assert row["completion_ids"] == [3]
    assert math.isnan(row["advantage"])


def test_none_may_be_skipped(tmp_path):
    guard = StepGuard(tmp_path, 0, False, Alone())
    guard.check(1, stats(math.inf, False))
    assert guard.is_lost


def test_a_loss_scale_that_was_too_high_is_no_fault(tmp_path, caplog):
    guard = StepGuard(tmp_path, 0, True, Alone())
    guard.check(1, stats(1.0, False))
    assert not caplog.text and not guard.is_lost
    guard.check(2, stats(math.nan, False))
    assert guard.is_lost


def test_a_gradient_can_come_from_many(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    StepGuard(tmp_path, 1, False, Alone()).check(1, stats(1.0, False, [f"problem {n}, turn 1" for n in range(20)]))
    assert "its gradient is not finite: problem 0, turn 1; problem 1, turn 1" in caplog.text
    assert "problem 7, turn 1 and others, 20 samples in all" in caplog.text
