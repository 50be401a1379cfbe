"""TensorBoard's files, read back: what is in them, how much, and how untrusted text stands there."""

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rl.board import LAYOUT, SHOW_STEPS, Board, is_shown, layout_of, trajectory_text


def record(*statuses, code="def f():\n    return 1"):
    turns = [
        {
            "status": s,
            "passed": int(s == "passed"),
            "total": 1,
            "code": code,
            "tests": [{"error": "" if s == "passed" else "bad"}],
        }
        for s in statuses
    ]
    return {"problem_id": "7", "text": "Write it.", "turns": turns}


def test_what_a_run_leaves(tmp_path):
    board = Board(tmp_path, {"seed": 1, "turn_weight": [1, 2], "gamma": None, "eval_data": "e"}, None)
    for step in range(1, SHOW_STEPS + 1):
        board.scalars(step, {"accuracy/turn1": step / 100, "train/loss": 0.5, "eval/accuracy@1": 0.25})
        board.histograms(
            step, [{"advantage/turn1": [1.0, -1.0], "length/turn1": []}, {"advantage/turn1": [0.0], "length/turn1": [4.0]}]
        )
        board.trajectories(step, [record("failed", "passed"), record("failed", "passed"), record("failed", "infra_error")])
    board.close()
    events = EventAccumulator(str(tmp_path), size_guidance={"scalars": 0, "tensors": 0, "histograms": 0}).Reload()
    tags = events.Tags()
    assert [event.value for event in events.Scalars("accuracy/turn1")][-1] == pytest.approx(SHOW_STEPS / 100)
    assert sorted(tags["histograms"]) == ["advantage_histogram/turn1", "length_histogram/turn1"]
    histograms = events.Histograms("advantage_histogram/turn1")
    assert [event.step for event in histograms] == [1, SHOW_STEPS]
    assert (histograms[0].histogram_value.num, histograms[0].histogram_value.sum) == (3, 0)
    assert [tag for tag in tags["tensors"] if tag.startswith("trajectories/")] == [
        "trajectories/1_wrong_then_right/text_summary"
    ]
    assert len(events.Tensors("trajectories/1_wrong_then_right/text_summary")) == 2
    assert "custom_scalars__config__" in tags["tensors"]
    plugin = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    assert b"turn_weight" in plugin
    assert b"[1, 2]" in plugin
    assert b"gamma" not in plugin
    assert b"eval_data" not in plugin
    assert b"eval/accuracy@1" in events.SummaryMetadata("_hparams_/experiment").plugin_data.content


def test_the_layout_names_only_what_is_there():
    assert layout_of(["train/loss", "eval/accuracy@1"]) == {
        "What it learns": {"evaluation": ["Multiline", ["^eval/accuracy@.*$"]]},
        "How it learns": {"loss": ["Multiline", ["^train/loss$"]]},
    }


def test_every_chart_has_a_metric_of_a_real_run(problems):
    """A renamed metric must not leave an empty chart behind."""
    import torch
    from toy_rollouts import judged_rollout

    from rl.metrics import Clock, merge, rollout_counts, summary_metrics, tensor_counts

    rollout = judged_rollout(problems[0], [1, 2], [3, 3, 0, 2])
    tensors = [torch.zeros(1, 2), torch.zeros(1, 2, 2)]
    counts = rollout_counts(rollout, "pass_count") | tensor_counts(tensors, tensors, [t == 0 for t in tensors])
    clock = Clock()
    clock.lap("sample_s")
    names = merge([counts | {"ratio": [1.0]}]).keys() | clock.metrics().keys() | {"train/loss", "train/grad_norm"}
    names |= {"tokens/sampled_per_s"} | summary_metrics({"accuracy@1": {"value": 1}, "unchanged@2": {"value": 1}}).keys()
    assert {group: list(charts) for group, charts in layout_of(names).items()} == {
        g: list(charts) for g, charts in LAYOUT.items()
    }


def test_steps_that_are_shown():
    assert [step for step in range(1, 2 * SHOW_STEPS + 1) if is_shown(step)] == [1, SHOW_STEPS, 2 * SHOW_STEPS]


def test_a_program_can_not_leave_its_block():
    text = trajectory_text(record("failed", code="```\n<script>alert(1)</script>\n# Title\r\n**x**"))
    body = text.split("**Turn 1: failed**, 0 of 1 tests\n\n")[1]
    assert all(line.startswith("    ") for line in body.split("\n"))
    assert len(trajectory_text(record("failed", code="xxx = 1\n" * 10_000))) < 3000


@pytest.mark.parametrize(("turns", "is_shown"), [(2, True), (1, False)])
def test_the_layout_is_told_at_the_first_step_what_evaluations_will_say(tmp_path, turns, is_shown):
    board, taken = Board(tmp_path, {"eval_data": "e.jsonl", "eval_num_turns": turns}, None), []
    board._writer.add_custom_scalars = taken.append
    board.scalars(1, {"train/loss": 1.0})
    board.close()
    (layout,) = taken
    assert ("corrections in evaluation" in str(layout)) == is_shown and "eval/accuracy" in str(layout)
