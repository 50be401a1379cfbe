"""Which folders a run believes, and what it takes out of its files."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from rl.checkpoint import _checksums, find_checkpoint, save_checkpoint, stage_of, start_step, what_is_wrong
from rl.cocos_config import CocosConfig
from rl.config import ConfigError
from rl.metrics import RunWriter
from rl.train_config import BoostConfig


class Alone:
    """A run of one process."""

    is_main, rank, world_size = True, 0, 1

    def gather(self, value):
        return [value]

    def barrier(self):
        pass


class Writes:
    """An engine, a model and a tokenizer, as far as a checkpoint asks them to write."""

    module = SimpleNamespace(dtype=torch.float32)

    def zero_optimization_stage(self):
        return 2

    def save_checkpoint(self, folder, tag, save_latest):
        Path(folder, tag).mkdir()
        Path(folder, tag, "shard").write_text("masters")

    def save_pretrained(self, folder):
        Path(folder, "config.json").write_text("{}")


def find(folder, choice, zero_stage, dtype=torch.float32, **flags):
    flags = {"learning_rate": 1e-5, "weight_decay": 0.0, **flags}
    return find_checkpoint(folder, choice, Alone(), zero_stage, dtype, SimpleNamespace(**flags))


def save(folder, step, limit, **flags):
    save_checkpoint(Writes(), Writes(), Writes(), {}, folder, Alone(), step=step, limit=limit, **flags)


def checkpoint(folder, step):
    """A folder with the marks of a checkpoint."""
    path = folder / f"checkpoint-{step}"
    (path / "trainer").mkdir(parents=True)
    (path / "model.safetensors").write_bytes(bytes(range(256)))
    (path / "trainer" / "state.json").write_text(json.dumps({"step": step, "world_size": 1, "zero_stage": 2}))
    (path / "trainer" / "files.json").write_text(json.dumps(_checksums(path)))
    return path


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: None, None),
        (lambda path: flip(path / "model.safetensors"), "its model.safetensors is not what was written"),
        (lambda path: (path / "model.safetensors").unlink(), "its model.safetensors is missing"),
        (lambda path: (path / "model.safetensors").write_bytes(b"short"), "has 5 bytes instead of 256"),
        (lambda path: (path / "trainer/files.json").unlink(), "it has no trainer/files.json"),
        (lambda path: (path / "trainer/files.json").write_text("{"), "its trainer/files.json is not JSON"),
    ],
    ids=["whole", "flipped", "missing", "short", "unfinished", "no list"],
)
def test_a_checkpoint_is_checked_before_it_is_believed(tmp_path, damage, reason):
    path = checkpoint(tmp_path, 3)
    damage(path)
    found = what_is_wrong(path)
    assert found is None if reason is None else reason in found


def test_auto_takes_the_newest_whole_one(tmp_path):
    assert find(tmp_path, "auto", zero_stage=2) is None
    first, second = checkpoint(tmp_path, 9), checkpoint(tmp_path, 10)
    (tmp_path / ".checkpoint-11.partial").mkdir()
    (tmp_path / "checkpoint-final").mkdir()
    assert find(tmp_path, None, zero_stage=2) is None
    assert find(tmp_path, "auto", zero_stage=2) == second
    flip(second / "model.safetensors")
    assert find(tmp_path, "auto", zero_stage=2) == first
    with pytest.raises(ConfigError, match=r"--resume_from_checkpoint .*checkpoint-10: its model\.safetensors is not"):
        find(tmp_path, str(second), zero_stage=2)


def test_shards_of_another_run_are_refused(tmp_path):
    path = checkpoint(tmp_path, 1)
    with pytest.raises(ConfigError, match=r"it was written with ZeRO stage 2, this run has 3; use the same, or start anew"):
        find(tmp_path, "auto", zero_stage=3)
    (path / "trainer" / "state.json").write_text(json.dumps({"step": 1, "world_size": 8, "zero_stage": 2}))
    (path / "trainer" / "files.json").write_text(json.dumps(_checksums(path)))
    with pytest.raises(ConfigError, match=r"it was written with processes 8, this run has 1"):
        find(tmp_path, "auto", zero_stage=2)


def test_a_checkpoint_of_the_other_stage_is_no_place_to_go_on_from(tmp_path):
    save_checkpoint(Writes(), Writes(), Writes(), {"stage": "boost"}, tmp_path, Alone(), step=1, limit=0)
    for choice in ("auto", str(tmp_path / "checkpoint-1")):
        with pytest.raises(ConfigError, match=r"checkpoint-1 is of the stage boost and this run is .*--model_name_or_path"):
            find(tmp_path, choice, 2)
    flags = {"model_name_or_path": "m", "train_data": "t", "output_dir": "o"}
    assert (stage_of(BoostConfig(**flags)), stage_of(CocosConfig(**flags))) == ("boost", "cocos")


def test_a_folder_that_is_not_there_is_called_that(tmp_path):
    with pytest.raises(ConfigError, match=r"checkpoint-7: there is no such folder; give another"):
        find(tmp_path, str(tmp_path / "checkpoint-7"), 2)


def test_an_optimizer_of_other_flags_is_refused(tmp_path):
    """Its state would bring the old numbers back, or does not fit."""
    save_checkpoint(
        Writes(), Writes(), Writes(), {"learning_rate": 1e-3, "weight_decay": 0.1}, tmp_path, Alone(), step=1, limit=0
    )
    held = {"learning_rate": 1e-3, "weight_decay": 0.1}
    assert find(tmp_path, "auto", 2, **held).name == "checkpoint-1"
    for name, other in (("learning_rate", 5e-6), ("weight_decay", 0.0)):
        with pytest.raises(ConfigError, match=rf"written with --{name} {held[name]}, this run has {other}; use the same, or"):
            find(tmp_path, "auto", 2, **{**held, name: other})
    with pytest.raises(ConfigError, match=r"written with dtype torch\.float32, this run has torch.bfloat16"):
        find(tmp_path, "auto", 2, torch.bfloat16, **held)


@pytest.mark.parametrize(("limit", "kept"), [(0, {3, 6, 8}), (1, {3}), (2, {3, 8}), (3, {3, 6, 8})])
def test_what_was_just_saved_is_never_what_the_limit_removes(tmp_path, limit, kept):
    """A run that went on from an early checkpoint, since later ones were broken, writes lower numbers than are there."""
    for step in (6, 8):
        save(tmp_path, step, limit=0)
    save(tmp_path, 3, limit)
    assert {int(path.name.split("-")[1]) for path in tmp_path.glob("checkpoint-*")} == kept
    assert what_is_wrong(tmp_path / "checkpoint-3") is None


def test_broken_checkpoints_of_later_steps_go_before_whole_ones(tmp_path):
    save(tmp_path, 2, limit=0)
    flip(checkpoint(tmp_path, 8) / "model.safetensors")
    save(tmp_path, 3, limit=2)
    assert {path.name for path in tmp_path.glob("checkpoint-*")} == {"checkpoint-2", "checkpoint-3"}


def test_the_model_alone_is_no_checkpoint_to_go_on_from(tmp_path):
    save(tmp_path, 4, limit=1)
    save(tmp_path, 8, limit=1, only_model=True)
    (path,) = tmp_path.glob("checkpoint-*")
    assert [file.name for file in path.iterdir()] == ["config.json"]
    assert "it is a model and no checkpoint" in what_is_wrong(path)
    with pytest.raises(ConfigError, match=r"checkpoint-8 is a model alone .* give another --output_dir, with --model_name_or"):
        find(tmp_path, "auto", zero_stage=2)


def test_what_a_killed_run_left_half_written_goes(tmp_path):
    (tmp_path / ".checkpoint-7.partial" / "trainer").mkdir(parents=True)
    save(tmp_path, 8, limit=0)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-8"]


def test_an_early_checkpoint_is_not_mixed_with_those_after_it(tmp_path):
    early = checkpoint(tmp_path, 2)
    checkpoint(tmp_path, 4)
    with pytest.raises(
        ConfigError, match=r"holds checkpoint-4, which came after it .* move the later ones away, or give another"
    ):
        find(tmp_path, str(early), zero_stage=2)
    assert find(tmp_path / "other", str(early), zero_stage=2) == early


def test_the_steps_behind_a_run(tmp_path):
    assert start_step(None, None) is None
    assert start_step(None, "auto") == 0
    assert start_step(checkpoint(tmp_path, 7), "auto") == 7


def writer(folder, start=None):
    return RunWriter(folder, {}, "none", None, is_main=True, start_step=start)


def test_what_a_resumed_run_makes_again_is_taken_out(tmp_path):
    with writer(tmp_path) as first:
        for step in (1, 2, 3):
            first.log(step, {"a": step})
            first.save_samples(step, [[{"b": step}]])
    with open(tmp_path / "metrics.jsonl", "a") as stream:
        stream.write('{"step": 4, "a"')  # killed in the middle of a line
    with writer(tmp_path, start=2) as second:
        second.log(3, {"a": 30})
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [{"step": 1, "a": 1}, {"step": 2, "a": 2}, {"step": 3, "a": 30}]
    assert len((tmp_path / "samples.jsonl").read_text().splitlines()) == 2


def test_two_runs_do_not_share_a_folder(tmp_path):
    with writer(tmp_path) as first:
        first.log(1, {"a": 1})
        with pytest.raises(ConfigError, match="another run is writing to it"):
            writer(tmp_path, start=0)
    with pytest.raises(ConfigError, match="holds a run already; add --resume_from_checkpoint auto"):
        writer(tmp_path)
