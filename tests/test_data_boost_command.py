"""`python -m data.boost` as a user calls it: killed and resumed, on two processes, and its bad input."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT, run_script, torchrun

from data.boost.pairs import read_pairs
from data.prompts import answer, first_prompt
from rl.boosting import encode_pairs
from rl.pretrained import load_model_config, load_tokenizer


def command(files, output, *more):
    return ("-m", "data.boost", "--problems", files / "problems.jsonl", "--output", output, *map(str, more))


def texts(folder) -> list[str]:
    return [(folder / name).read_text(encoding="utf-8") for name in ("b.json", "b.attempts.jsonl")]


def kill_after_a_batch(args, attempts) -> None:
    """SIGKILL while the second batch or a later one is on its way."""
    process = subprocess.Popen(
        [sys.executable, *map(str, args)], cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not (attempts.is_file() and attempts.stat().st_size):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_a_killed_command_goes_on_to_the_files_of_two_processes(boosted, files, problems, tmp_path):
    model = boosted / "checkpoint-30"
    flags = ("--model_name_or_path", model, "--num_samples", 6, "--max_new_tokens", 40, "--temperature", 1.2, "--corrupt")
    flags += ("--num_corruptions", 2, "--problems_per_batch", 1, "--second_turn_ratio", 2)
    (tmp_path / "whole").mkdir()
    done = torchrun(2, *command(files, tmp_path / "whole" / "b.json", *flags))
    assert "6 problems; references: passed 6, missing 0" in done.stdout
    killed = command(files, tmp_path / "killed" / "b.json", *flags)
    kill_after_a_batch(killed, tmp_path / "killed" / "b.attempts.jsonl")
    assert not (tmp_path / "killed" / "b.json").exists()
    resumed = run_script(*killed)
    assert "of 6 problems" in resumed.stderr
    assert texts(tmp_path / "killed") == texts(tmp_path / "whole")

    pairs = read_pairs(str(tmp_path / "whole" / "b.json"))
    encoded = encode_pairs(pairs, load_tokenizer(str(model)), load_model_config(str(model), "sdpa"))
    assert len(encoded) == json.loads((tmp_path / "whole" / "b.report.json").read_text())["pairs"]["total"] > 12
    assert {(first_prompt(p), answer(p.code)) for p in problems} <= {(pair.prompt, pair.completion) for pair in pairs}

    # What the choice alone depends on may change; what the attempts depend on may not.
    again = run_script(*killed, "--right_share", "0", "--max_tokens", "4000")
    assert "0 second turns on a right attempt" in again.stdout
    refused = run_script(*killed, "--temperature", "0.5", check=False)
    assert refused.returncode == 2
    assert "error: --temperature is 0.5 and " in refused.stderr
    assert "was made with 1.2" in refused.stderr


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_without_a_model(files, tmp_path, share):
    done = run_script(*command(files, tmp_path / "b.json", "--corrupt", "--right_share", share))
    report = json.loads((tmp_path / "b.report.json").read_text())
    assert report["pairs"]["first"] == {"reference": 6}
    assert report["pairs"]["right"] == {"reference": 6 * share}
    assert sum(report["pairs"]["wrong"].values()) == 6 * (1 - share)
    assert report["config"]["seed"] == 42
    assert f"{tmp_path / 'b.json'}: 12 pairs" in done.stdout


def test_proportions_that_cannot_be_met_write_nothing(tmp_path):
    row = {"text": "Do.", "code": "def f(x):\n    return x", "test_list": ["assert f(1) == 1"]}
    (tmp_path / "problems.jsonl").write_text(json.dumps(row))
    done = run_script(*command(tmp_path, tmp_path / "b.json", "--corrupt", "--right_share", 0), check=False)
    assert done.returncode == 2
    assert "the attempts above make no pairs in that proportion" in done.stderr
    assert "1 problems without a wrong attempt: 0" in done.stdout
    assert not (tmp_path / "b.json").exists()
