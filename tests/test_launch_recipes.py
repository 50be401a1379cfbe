"""The recipes as they are called, on stand-ins for the launchers: what comes out are flags that the script takes."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT

from rl.cocos_config import CocosConfig
from rl.flags import parse_flags

RECIPES = sorted(path.name for path in (ROOT / "launch/recipes").iterdir() if path.name != "hostfile")
SLURM = {"SLURM_JOB_NODELIST": "node[0-7]", "SLURM_JOB_ID": "7", "SLURM_NTASKS": "64", "SLURM_NTASKS_PER_NODE": "8"}
SLURM |= {"SLURM_PROCID": "9", "SLURM_LOCALID": "1"}


def program(path: Path, body: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/usr/bin/env bash\n{body}\n")
    path.chmod(0o755)


def call(name: str, folder: Path, code: int = 0) -> subprocess.CompletedProcess:
    """The recipe in a tree of its own, whose programs print what they are given."""
    shutil.copytree(ROOT / "launch/recipes", folder / "launch/recipes")
    for launcher in ("python", "deepspeed"):
        program(folder / ".venv/bin" / launcher, f'echo "{launcher} RANK=$RANK/$WORLD_SIZE"; printf "%s\\n" "$@"; exit {code}')
    program(folder / "bin/srun", 'shift; exec "$@"')  # its own flag first
    program(folder / "bin/scontrol", '[ "$1" = show ] && echo node0 || echo "scontrol $@"')
    variables = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "HEAD": "node0", "NODES": "8"}
    variables |= {"SLURM_SUBMIT_DIR": str(folder), **SLURM}
    arguments = ["launch/recipes/hostfile"] if name == "nodes_deepspeed.sh" else []
    return subprocess.run(
        ["bash", f"launch/recipes/{name}", *arguments, "--max_steps", "3"],
        cwd=folder, env=variables, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipes_flags_are_the_scripts(name, tmp_path, monkeypatch):
    done = call(name, tmp_path)
    assert done.returncode == 0, done.stderr
    words = done.stdout.splitlines()
    monkeypatch.chdir(ROOT)
    config = parse_flags(CocosConfig, words[words.index("train_cocos.py") + 1 :], "")
    assert config.max_steps == 3  # what the user adds wins
    assert config.resume_from_checkpoint == "auto"
    ranks = {"one_gpu.sh": 1, "one_node_torchrun.sh": 8, "one_node_deepspeed.sh": 8}.get(name, 64)
    config.check_world(ranks)


def test_slurm_starts_a_process_a_task_and_goes_on_after_its_time_limit(tmp_path):
    done = call("slurm.sbatch", tmp_path / "a", code=143)
    assert "RANK=9/64" in done.stdout
    assert "scontrol requeue 7" in done.stdout
    done = call("slurm.sbatch", tmp_path / "b", code=1)
    assert done.returncode == 1
    assert "requeue" not in done.stdout


def test_nodes_need_to_know_where_they_meet(tmp_path):
    shutil.copytree(ROOT / "launch/recipes", tmp_path / "launch/recipes")
    done = subprocess.run(
        ["bash", tmp_path / "launch/recipes/nodes_torchrun.sh"], env={}, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "HEAD: set HEAD to the name or address of one of the nodes" in done.stderr
