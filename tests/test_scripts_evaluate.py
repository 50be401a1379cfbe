"""`evaluate.py` as a user calls it: the same samples from one process, from two, and after a kill; refusals; several models."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT, run_script, torchrun

from rl.output_folder import locked


def flags(model, files, output_dir, **others):
    values = {
        "model_name_or_path": model,
        "test_data": files / "problems.jsonl",
        "output_dir": output_dir,
        "num_samples": 3,
        "temperature": 1.3,
        "batch_size": 3,
        "max_new_tokens": 24,
        **others,
    }
    return ["evaluate.py", *[token for name, value in values.items() for token in (f"--{name}", *str(value).split())]]


@pytest.fixture(scope="module")
def whole(boosted, files, tmp_path_factory):
    """An evaluation of one process that nobody disturbs."""
    output_dir = tmp_path_factory.mktemp("evaluations") / "whole"
    done = run_script(*flags(boosted / "checkpoint-30", files, output_dir, report=output_dir / "report.html"))
    return output_dir, done.stdout


def test_files_and_tables(whole):
    output_dir, printed = whole
    assert sorted(path.name for path in output_dir.iterdir()) == [
        *(".lock", "config.json", "report.html", "samples.jsonl", "summary.json")
    ]
    records = [json.loads(line) for line in (output_dir / "samples.jsonl").read_text().splitlines()]
    assert [(record["problem_id"], record["sample"]) for record in records] == [
        (str(p), s) for p in range(1, 7) for s in range(3)
    ]
    summary = json.loads((output_dir / "summary.json").read_text())
    assert summary["num_problems"] == 6
    assert summary["pass@1_turn2"]["value"] == pytest.approx(summary["accuracy@2"]["value"])
    for words in ("Accuracy@t2", "pass@1", "edit distance", "cluster bootstrap over problems"):
        assert words in printed, words


def test_killed_and_gone_on_with_by_two_processes_it_is_the_same(whole, boosted, files, tmp_path):
    command = flags(boosted / "checkpoint-30", files, tmp_path / "killed")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    script = subprocess.Popen(
        [sys.executable, *map(str, command)], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    partial = tmp_path / "killed/samples.partial/rank-0.jsonl"
    deadline = time.monotonic() + 120
    while not (partial.is_file() and partial.stat().st_size) and script.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    script.send_signal(signal.SIGKILL)
    script.wait()
    if partial.is_file():  # not where it ended before the signal came; what is cut short counts for nothing
        kept = partial.read_text().splitlines(keepends=True)[:2]
        partial.write_text(kept[0] + (kept[1][:20] if len(kept) > 1 else '{"batch": 1, "rec'))
    done = torchrun(2, *command)
    assert "going on after 1 of 6 batches" in done.stderr
    assert (tmp_path / "killed/samples.jsonl").read_bytes() == (whole[0] / "samples.jsonl").read_bytes()
    assert json.loads((tmp_path / "killed/summary.json").read_text()) == json.loads((whole[0] / "summary.json").read_text())
    assert not partial.parent.exists()


def test_a_folder_that_another_evaluation_writes_to_is_refused_at_once(boosted, files, tmp_path):
    lock = locked(tmp_path)
    done = run_script(*flags(boosted / "checkpoint-30", files, tmp_path), check=False)
    lock.close()
    assert done.returncode == 2 and "another run is writing to it; give another folder" in done.stderr
    assert "loaded in" not in done.stderr


def test_what_is_finished_is_only_printed_again(whole, boosted, files):
    before = (whole[0] / "samples.jsonl").stat().st_mtime_ns
    done = run_script(*flags(boosted / "checkpoint-30", files, whole[0], sandbox_workers=1, pass_at="1 2"))
    assert "loaded in" not in done.stderr
    assert "pass@2" in done.stdout
    assert (whole[0] / "samples.jsonl").stat().st_mtime_ns == before


def test_several_models_and_data_sets(boosted, tiny_model_dir, files, tmp_path):
    shutil.copy(files / "problems.jsonl", tmp_path / "others.jsonl")
    models, data = f"{tiny_model_dir} {boosted / 'checkpoint-30'}", f"{files / 'problems.jsonl'} {tmp_path / 'others.jsonl'}"
    more = {"num_samples": 1, "temperature": 0, "num_turns": 3, "batch_size": 64, "max_new_tokens": 8, "test_data": data}
    done = run_script(*flags(models, files, tmp_path / "out", **more, report=tmp_path / "report.html"))
    whole = json.loads((tmp_path / "out/summary.json").read_text())
    assert len(whole["parts"]) == 4
    assert whole["comparisons"].keys() == {f"checkpoint-30 − model on {name}" for name in ("problems", "others")}
    assert "p_mcnemar" in whole["comparisons"]["checkpoint-30 − model on others"]["accuracy@3"]
    for model in ("model", "checkpoint-30"):
        part = tmp_path / "out" / model / "others"
        assert len((part / "samples.jsonl").read_text().splitlines()) == 6
        assert (part / "summary.json").is_file()
    assert "McNemar p" in done.stdout
    assert (tmp_path / "report.html").read_text().count('<section class="run">') == 4
