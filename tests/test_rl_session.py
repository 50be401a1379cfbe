"""When a run has seen enough."""

from types import SimpleNamespace

from rl.session import Session


def session(patience: int, **state) -> Session:
    """As it stands before its next evaluation."""
    config = SimpleNamespace(
        output_dir="o", max_skipped_steps=1, early_stopping_patience=patience, metric_for_best_model="accuracy@2"
    )
    engine = SimpleNamespace(fp16_enabled=lambda: False)
    made = Session(config, None, engine, None, None, None, None, None, [], 9, None)
    made._best, made._num_since_best = state["best"], state["num_since_best"]
    return made


def is_over_after(patience: int, num_since_best: int, value: float) -> bool:
    made = session(patience, best={"step": 1, "value": 0.5}, num_since_best=num_since_best)
    made._compare(7, value)
    return made.is_over


def test_patience_ends_at_its_count_and_never_without_one():
    assert [is_over_after(2, since, 0.5) for since in (0, 1)] == [False, True]
    assert not is_over_after(2, 1, 0.6)
    assert not is_over_after(0, 8, 0.5)


def test_a_run_that_was_resumed_with_less_patience_than_it_has_spent_ends():
    assert is_over_after(3, 5, 0.5)
    assert not is_over_after(3, 5, 0.6)
