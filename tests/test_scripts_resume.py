"""Runs that are killed, stopped and gone on with, as a user does it: the weights at the end are those of a run that was not."""

import json
import math
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import ROOT, cocos_flags, metrics_of, run_script, torchrun
from safetensors.torch import load_file, save_file

from rl.checkpoint import what_is_wrong

LAST = 6


def flags_of(boosted: Path, files: Path, output_dir: Path, **flags) -> list[str | Path]:
    """Six steps with a schedule, a coefficient that moves, momentum and fresh problems: all of it must come back."""
    values = {"max_steps": LAST, "save_steps": 2, "first_attempts": 2, "lr_scheduler_type": "linear", "kl_target": 0.1, **flags}
    return cocos_flags(boosted / "checkpoint-30", files, output_dir, **values)


def start(num_processes: int, *args: str | Path, **variables: str) -> subprocess.Popen:
    """A run in a process group of its own."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", **variables}
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(num_processes)]
    command = [sys.executable, *(launcher if num_processes > 1 else []), *map(str, args)]
    return subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def wait_for(path: Path, run: subprocess.Popen, timeout_s: float = 120) -> None:
    end = time.monotonic() + timeout_s
    while not path.exists():
        assert run.poll() is None, run.stderr.read()[-3000:]
        assert time.monotonic() < end, f"{path} did not come"
        time.sleep(0.02)


def kill_at(step: int, num_processes: int, output_dir: Path, *args: str | Path) -> None:
    """SIGKILL to everything as soon as the checkpoint of `step` is there."""
    run = start(num_processes, *args)
    wait_for(output_dir / f"checkpoint-{step}", run)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    run.stderr.close()


def without_times(output_dir: Path) -> list[dict]:
    return [{k: v for k, v in line.items() if "time/" not in k and "_per_s" not in k} for line in metrics_of(output_dir)]


def launch(num_processes: int, *args: str | Path, **kwargs) -> subprocess.CompletedProcess:
    return run_script(*args, **kwargs) if num_processes == 1 else torchrun(num_processes, *args, **kwargs)


@pytest.mark.parametrize(
    ("num_processes", "stage", "extra"),
    [(1, 0, {"drop_equal_groups": True}), (2, 2, {}), (2, 3, {}), (1, 2, {"dtype": "bfloat16"})],
    ids=["one rank", "two ranks", "stage 3", "bfloat16"],
)
def test_a_killed_run_goes_on_to_the_same_weights(boosted, files, tmp_path, num_processes, stage, extra):
    extra = {**extra, "deepspeed": f"launch/zero{stage}.json"}
    launch(num_processes, *flags_of(boosted, files, tmp_path / "whole", **extra))
    args = flags_of(boosted, files, tmp_path / "killed", **extra, resume_from_checkpoint="auto")
    kill_at(2, num_processes, tmp_path / "killed", *args)
    assert not (tmp_path / "killed" / f"checkpoint-{LAST}").exists()
    launch(num_processes, *args)
    whole, killed = (tmp_path / name / f"checkpoint-{LAST}" / "model.safetensors" for name in ("whole", "killed"))
    assert killed.read_bytes() == whole.read_bytes()
    assert without_times(tmp_path / "killed") == without_times(tmp_path / "whole")
    samples = [(tmp_path / name / "samples.jsonl").read_text().splitlines() for name in ("whole", "killed")]
    assert [json.loads(line)["step"] for line in samples[1]] == [json.loads(line)["step"] for line in samples[0]]


def test_boost_goes_on_too(tiny_model_dir, files, tmp_path):
    def args(name):
        flags = ["--max_steps", 8, "--save_steps", 4, "--global_batch_size", 4, "--lr_scheduler_type", "cosine"]
        return [
            *("train_boost.py", "--model_name_or_path", tiny_model_dir, "--train_data", files / "boost.json"),
            *("--output_dir", tmp_path / name, "--resume_from_checkpoint", "auto", *flags),
        ]

    assert "nothing is left to do" not in run_script(*args("whole")).stderr
    kill_at(4, 1, tmp_path / "killed", *args("killed"))
    run_script(*args("killed"))
    epochs = [line["data/epoch"] for line in metrics_of(tmp_path / "killed")]
    larger = run_script(*args("killed"), "--max_steps", 10, "--global_batch_size", 8)
    assert "goes on with global_batch_size 8; it was 4 before" in larger.stderr
    # It goes on where the data stood, whatever a step takes from now on.
    assert [line["data/epoch"] for line in metrics_of(tmp_path / "killed")][8:] == [
        pytest.approx(epochs[-1] + n * 8 * epochs[0] / 4) for n in (1, 2)
    ]
    assert "checkpoint-8 is the end of this run: nothing is left to do" in run_script(*args("whole")).stderr
    whole, killed = (tmp_path / name / "checkpoint-8" / "model.safetensors" for name in ("whole", "killed"))
    assert killed.read_bytes() == whole.read_bytes()


def test_boost_that_was_good_enough_stays_so(boosted, files, tmp_path):
    """It ended before its last step, for good; the same command again trains no further."""
    args = [
        *("train_boost.py", "--model_name_or_path", boosted / "checkpoint-30", "--train_data", files / "boost.json"),
        *("--output_dir", tmp_path, "--eval_data", files / "problems.jsonl", "--eval_steps", 1, "--max_new_tokens", 40),
        *("--stop_at_accuracy", 1e-6, "--max_steps", 9, "--learning_rate", 1e-9, "--resume_from_checkpoint", "auto"),
        *("--global_batch_size", 4, "--eval_on_start", True, "--metric_for_best_model", "accuracy@2"),
    ]
    said = run_script(*args).stderr
    before = (tmp_path / "metrics.jsonl").read_bytes()
    assert [(line["step"], "eval/accuracy@1" in line) for line in metrics_of(tmp_path)] == [(0, True), (1, False), (1, True)]
    assert "evaluation after step 0: eval/accuracy@1 " in said and "step 0 is the best so far by accuracy@2" in said
    run_script(*args)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "Ctrl-C"])
def test_a_signal_ends_the_step_and_saves(boosted, files, tmp_path, number, code):
    args = flags_of(boosted, files, tmp_path, max_steps=500, save_steps=500, resume_from_checkpoint="auto")
    run = start(1, *args)
    wait_for(tmp_path / "metrics.jsonl", run)
    while not (tmp_path / "metrics.jsonl").read_text():
        time.sleep(0.05)
    os.kill(run.pid, number)
    _, log = run.communicate(timeout=120)
    assert run.returncode == code, log[-3000:]
    assert "Traceback" not in log
    (checkpoint,) = tmp_path.glob("checkpoint-*")
    last = metrics_of(tmp_path)[-1]["step"]
    assert checkpoint.name == f"checkpoint-{last}"
    assert last < 500


def ranks_of(run: subprocess.Popen) -> dict[int, int]:
    """Process ids of the launcher's children, by rank."""
    children = subprocess.run(["pgrep", "-P", str(run.pid)], capture_output=True, text=True, check=True).stdout.split()
    variables = {pid: Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") for pid in children}
    return {int(v.removeprefix(b"RANK=")): int(pid) for pid, vs in variables.items() for v in vs if v.startswith(b"RANK=")}


def signal_last_rank(run: subprocess.Popen) -> None:
    os.kill(ranks_of(run)[1], signal.SIGTERM)


def ctrl_c(run: subprocess.Popen) -> None:
    """As a terminal does it: to the launcher, the ranks and whatever else is in the group."""
    os.killpg(run.pid, signal.SIGINT)


@pytest.mark.parametrize("ask", [signal_last_rank, ctrl_c])
def test_one_signal_stops_all_ranks_after_a_whole_step(boosted, files, tmp_path, ask):
    args = flags_of(boosted, files, tmp_path, max_steps=500, save_steps=500)
    run = start(2, *args)
    wait_for(tmp_path / "metrics.jsonl", run)
    while not (tmp_path / "metrics.jsonl").read_text():
        time.sleep(0.05)
    ask(run)
    _, log = run.communicate(timeout=120)
    assert run.returncode != 0
    (checkpoint,) = tmp_path.glob("checkpoint-*")
    last = metrics_of(tmp_path)[-1]
    assert checkpoint.name == f"checkpoint-{last['step']}", log[-3000:]
    assert last["verdict/infra_error"] == 0


def test_a_used_folder_is_not_written_to_by_a_new_run(boosted, files, tmp_path):
    run_script(*flags_of(boosted, files, tmp_path, max_steps=1))
    before = (tmp_path / "metrics.jsonl").read_bytes()
    done = run_script(*flags_of(boosted, files, tmp_path, max_steps=1), check=False)
    assert done.returncode == 2
    assert "holds a run already; add --resume_from_checkpoint auto" in done.stderr
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_other_ranks_and_broken_checkpoints_are_refused_or_skipped(boosted, files, tmp_path):
    run_script(*flags_of(boosted, files, tmp_path, max_steps=4, save_total_limit=2))
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == ["checkpoint-2", "checkpoint-4"]
    args = flags_of(boosted, files, tmp_path, max_steps=5, resume_from_checkpoint="auto")
    done = torchrun(2, *args, check=False)
    assert done.returncode != 0
    assert "it was written with processes 1, this run has 2; use the same" in done.stderr
    state = tmp_path / "checkpoint-4" / "trainer" / "rank-0.pt"
    state.write_bytes(state.read_bytes()[:-1] + b"x")
    named = flags_of(boosted, files, tmp_path, max_steps=5, resume_from_checkpoint=tmp_path / "checkpoint-4")
    done = run_script(*named, check=False)
    assert done.returncode == 2
    assert "its trainer/rank-0.pt is not what was written" in done.stderr
    done = run_script(*args)
    assert "checkpoint-4 is skipped: its trainer/rank-0.pt is not what was written" in done.stderr
    assert [line["step"] for line in metrics_of(tmp_path)] == [1, 2, 3, 4, 5]


def test_the_best_checkpoint_stays_and_patience_ends_the_run(boosted, files, tmp_path):
    """Weights that do not move are as good as at first: the first evaluation is the best, and two later ones are the end."""
    flags = {"eval_data": files / "problems.jsonl", "eval_steps": 1, "max_steps": 9, "learning_rate": 1e-12}
    flags |= {"metric_for_best_model": "accuracy@2", "early_stopping_patience": 2, "save_total_limit": 1, "save_steps": 2}
    args = flags_of(boosted, files, tmp_path, **flags, resume_from_checkpoint="auto")
    done = run_script(*args)
    assert "stopped early: accuracy@2 was" in done.stderr
    assert max(row["step"] for row in metrics_of(tmp_path)) == 3
    assert {path.name for path in tmp_path.glob("checkpoint-*")} == {"checkpoint-1", "checkpoint-3"}
    assert (tmp_path / "best").resolve() == (tmp_path / "checkpoint-1").resolve()
    before = (tmp_path / "metrics.jsonl").read_bytes()
    run_script(*args)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before
    run_script("evaluate.py", "--model_name_or_path", tmp_path / "best", "--test_data", files / "problems.jsonl",
               "--output_dir", tmp_path / "eval", "--max_new_tokens", 8)  # fmt: skip


def test_a_rank_that_dies_ends_the_others_and_is_named(boosted, files, tmp_path):
    run = start(2, *flags_of(boosted, files, tmp_path, max_steps=500, save_steps=500))
    wait_for(tmp_path / "metrics.jsonl", run)
    ranks = ranks_of(run)
    os.kill(ranks[1], signal.SIGKILL)
    killed_at = time.monotonic()
    _, errors = run.communicate(timeout=90)
    assert time.monotonic() - killed_at < 60
    assert run.returncode not in (0, None)
    assert re.search(r"rank\s*: 1 \(local_rank: 1\)", errors)
    assert "Signal 9 (SIGKILL)" in errors
    assert not Path(f"/proc/{ranks[0]}").exists()


def test_a_rank_that_hangs_is_waited_for_so_long(boosted, files, tmp_path):
    """Without a launcher, as under Slurm: the other rank fails by itself, and says what it waited for."""
    args = flags_of(boosted, files, tmp_path, max_steps=500, save_steps=500, collective_timeout_s=6)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1])}
    first, second = (start(1, *args, **place, RANK=str(rank), LOCAL_RANK=str(rank)) for rank in range(2))
    try:
        wait_for(tmp_path / "metrics.jsonl", first)
        while not (tmp_path / "metrics.jsonl").read_text():  # before the first step it is torch's timeout
            time.sleep(0.05)
        os.kill(second.pid, signal.SIGSTOP)
        stopped_at = time.monotonic()
        _, errors = first.communicate(timeout=60)
        assert 3 < time.monotonic() - stopped_at < 40
        assert first.returncode not in (0, None)
        assert re.search("timed out|timeout", errors, re.IGNORECASE), errors[-2000:]
    finally:
        os.killpg(second.pid, signal.SIGKILL)
        second.communicate()


def test_a_full_disk_stops_the_run_and_the_last_checkpoint_stands(boosted, files, tmp_path):
    """On a file system of a few MB: the second checkpoint does not fit, the first goes on where there is room."""
    disk = tmp_path / "disk"
    disk.mkdir()
    size = sum(path.stat().st_size for path in (boosted / "checkpoint-30").rglob("*") if path.is_file())
    args = flags_of(boosted, files, disk / "run", max_steps=4, save_steps=1, report_to="none")
    script = f"mount -t tmpfs -o size={int(1.5 * size)} tmpfs {disk} && {shlex.join([sys.executable, *map(str, args)])}"
    script += f"; code=$?; cp -r {disk}/run {tmp_path}/saved; exit $code"
    as_root = [] if os.getuid() == 0 else ["-r"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = ["unshare", "-m", *as_root, "bash", "-c", script]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode not in (0, None)
    assert re.search(r"checkpoint-2.partial can't be written with \d MB free .* make room, then go on", done.stderr)
    saved = tmp_path / "saved"
    assert what_is_wrong(saved / "checkpoint-1") is None
    assert not (saved / "checkpoint-2").exists()
    run_script(*flags_of(boosted, files, saved, max_steps=2, save_steps=1, resume_from_checkpoint="auto"))
    assert what_is_wrong(saved / "checkpoint-2") is None
    assert not list(saved.glob(".checkpoint-*.partial"))


@pytest.mark.parametrize("num_processes", [1, 2])
def test_a_kl_that_is_not_finite_skips_steps_and_then_ends_the_run(boosted, files, tmp_path, num_processes):
    """The reference has a weight that is no number; the policy stays as it was."""
    reference = tmp_path / "reference"
    shutil.copytree(boosted / "checkpoint-30", reference)
    weights = load_file(reference / "model.safetensors")
    weights["model.norm.weight"][0] = math.nan
    save_file(weights, reference / "model.safetensors", {"format": "pt"})
    flags = {"ref_model_name_or_path": reference, "max_skipped_steps": 1, "save_steps": 9, "max_steps": 6, "kl_target": 0.1}
    args = flags_of(boosted, files, tmp_path / "run", **flags)
    done = launch(num_processes, *args, check=False)
    assert done.returncode == (3 if num_processes == 1 else 1), done.stderr[-3000:]  # torchrun has a code of its own
    assert "step 1 was skipped, its loss is not finite: problem" in done.stderr
    assert "2 steps in a row were skipped, --max_skipped_steps is 1" in done.stderr
    lines = metrics_of(tmp_path / "run")
    assert [line["step"] for line in lines] == [1, 2]
    assert lines[0]["kl/mean"] is None
    assert lines[0]["train/skipped"] == 1
    dumped = [path.read_text().splitlines() for path in (tmp_path / "run").glob("not-finite-2-rank-*.jsonl")]
    assert len(dumped) == num_processes
    assert sum(map(len, dumped)) > 0
    before = load_file(boosted / "checkpoint-30/model.safetensors")
    assert what_is_wrong(tmp_path / "run/checkpoint-2") is None  # the run is lost, its weights are not
    checkpoint = load_file(tmp_path / "run/checkpoint-2/model.safetensors")
    assert all(torch.equal(tensor, checkpoint[name]) for name, tensor in before.items())
