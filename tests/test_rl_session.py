"""When a run has seen enough."""

from pathlib import Path
from types import SimpleNamespace

from rl.session import Session


def session(patience: int, checkpoint: Path | None = None) -> Session:
    """As it starts."""
    config = SimpleNamespace(
        output_dir="o", max_skipped_steps=1, early_stopping_patience=patience, metric_for_best_model="accuracy@2", eval_data="e"
    )
    engine = SimpleNamespace(fp16_enabled=lambda: False)
    return Session(config, None, engine, None, None, None, None, None, [], 9, checkpoint)


def is_over_after(patience: int, num_since_best: int, value: float) -> bool:
    made = session(patience)
    made._best, made._num_since_best = {"step": 1, "value": 0.5}, num_since_best
    made._compare(7, value)
    return made.is_over


def test_patience_ends_at_its_count_and_never_without_one():
    assert [is_over_after(2, since, 0.5) for since in (0, 1)] == [False, True]
    assert not is_over_after(2, 1, 0.6)
    assert not is_over_after(0, 8, 0.5)


def test_a_run_that_was_resumed_with_less_patience_than_it_has_spent_ends():
    assert is_over_after(3, 5, 0.5)
    assert not is_over_after(3, 5, 0.6)


def test_numbers_of_another_metric_or_other_data_are_not_the_best(monkeypatch):
    saved = {"best": {"step": 1, "value": 0.9}, "num_since_best": 2}
    for best_by, kept in ((["accuracy@2", "e"], saved["best"]), (["accuracy@1", "e"], None), (["accuracy@2", "other"], None)):
        monkeypatch.setattr("rl.session.restore", lambda *_, by=best_by: {**saved, "best_by": by})
        made = session(3, checkpoint=Path("c"))
        assert made._best == kept and made._num_since_best == (2 if kept else 0)
