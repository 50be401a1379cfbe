"""Checkpoints that a run goes on from: whole or absent, and checked before they are believed.

    best                         a link to the best of them, where the run compares
    checkpoint-N/                what `from_pretrained` reads, and README.md, the model card
    checkpoint-N/trainer/        what the run needs besides:
        state.json               the step, the place in the data, whatever the script adds
        rank-R.pt                random states of every process
        engine/                  DeepSpeed's: fp32 masters, moments, learning-rate schedule
        files.json               size and checksum of every file of the checkpoint; written last

All processes must see one file system. A folder without `trainer/` is a model, not a checkpoint to go on from.
"""

import json
import logging
import os
import random
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rl.config import ConfigError

logger = logging.getLogger(__name__)

_READ_BYTES = 1 << 22
_OF_OPTIMIZER = ("learning_rate", "weight_decay")  # flags that its saved state holds, and brings back


class CheckpointError(OSError):
    """A checkpoint that can't be written; the message says why and what to do."""


def save_checkpoint(
    engine: Any,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    state: dict[str, Any],
    output_dir: Path,
    processes: Any,
    *,
    step: int,
    limit: int,
    best_step: int | None = None,
    card: str | None = None,
    only_model: bool = False,
) -> None:
    """Write `checkpoint-N` below `output_dir`; all processes must call. `model` holds the policy's whole weights, `card` is
    its `README.md`. With `only_model` there is no `trainer/`.

    Written aside and renamed, so that a crash or a full disk leaves the checkpoints before it as they were. Then all but this
    one and the newest `limit` - 1 others are removed; 0 keeps all. That of `best_step` stays besides, and `best` links to it.
    Raises: CheckpointError where it can't be written.
    """
    folder, aside = output_dir / f"checkpoint-{step}", output_dir / f".checkpoint-{step}.partial"
    with _explained(aside):
        if processes.is_main:
            for left_over in output_dir.glob(".checkpoint-*.partial"):  # of runs that were killed while they wrote
                shutil.rmtree(left_over)
            aside.mkdir(parents=True)
            model.save_pretrained(aside)
            tokenizer.save_pretrained(aside)
            if card is not None:
                (aside / "README.md").write_text(card, encoding="utf-8")
    processes.barrier()
    if not only_model:
        with _explained(aside):
            _save_trainer(engine, {**state, "step": step}, aside, processes)
    if processes.is_main:
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(aside, folder)
        logger.info("saved %s", folder)
        if best_step is not None and (output_dir / f"checkpoint-{best_step}").is_dir():
            _link(output_dir / "best", f"checkpoint-{best_step}")
        # Those of later steps are broken ones, before which this run went on: they go first.
        others = [path for path in _checkpoints(output_dir) if _step(path) not in (step, best_step)]
        others.sort(key=lambda path: _step(path) > step)
        for old in others[limit - 1 :] if limit else []:
            shutil.rmtree(old)
    processes.barrier()


def _save_trainer(engine: Any, state: dict[str, Any], aside: Path, processes: Any) -> None:
    """What the run needs to go on, in `trainer/`, and the list of all files."""
    trainer = aside / "trainer"
    if processes.is_main:
        trainer.mkdir()
        of_engine = {"zero_stage": engine.zero_optimization_stage(), "dtype": str(engine.module.dtype)}
        whole = {**state, "world_size": processes.world_size, **of_engine}
        (trainer / "state.json").write_text(json.dumps(whole, indent=2) + "\n")
    processes.barrier()
    engine.save_checkpoint(str(trainer), tag="engine", save_latest=False)
    torch.save(_random_states(), trainer / f"rank-{processes.rank}.pt")
    processes.barrier()
    if processes.is_main:
        (trainer / "files.json").write_text(json.dumps(_checksums(aside), indent=2) + "\n")


@contextmanager
def _explained(aside: Path) -> Iterator[None]:
    """Say what a failed write means; the libraries tell a full disk in words of their own, or not at all."""
    try:
        yield
    except (torch.OutOfMemoryError, torch.distributed.DistBackendError):
        raise  # of a library's collective in it
    except (OSError, RuntimeError, SafetensorError) as error:
        free = shutil.disk_usage(aside.parent).free
        shutil.rmtree(aside, ignore_errors=True)
        raise CheckpointError(
            f"{aside} can't be written with {free / 1e6:.0f} MB free on its disk ({error}); the checkpoints before it are "
            "whole: make room, then go on with --resume_from_checkpoint auto (not with --save_only_model)"
        ) from error


def find_checkpoint(
    output_dir: Path, choice: str | None, processes: Any, zero_stage: int, dtype: torch.dtype, flags: Any
) -> Path | None:
    """The checkpoint to go on from: the one that `choice` names, or with `auto` the newest whole one, if there is any.

    Raises: ConfigError where the named one is not whole or not the last of `output_dir`, where another script wrote it, where
    the number of processes, the ZeRO stage or the `dtype` of compute is another than the checkpoint's, whose shards would not
    fit, and where `flags` have another learning_rate or weight_decay than the optimizer in it. What `auto` skips is logged,
    with the reason.
    """
    if choice is None:
        return None
    found: Path | str | None = None
    if processes.is_main:
        found = _newest_whole(output_dir) if choice == "auto" else _named(Path(choice), output_dir)
    found = processes.gather(found)[0]
    if isinstance(found, str):
        raise ConfigError(found)
    if found is not None:
        state = _state(found)
        if (stage := state.get("stage", stage_of(flags))) != stage_of(flags):
            raise ConfigError(
                f"--resume_from_checkpoint {choice}: {found} is of the stage {stage} and this run is {stage_of(flags)}; "
                f"start from its weights with --model_name_or_path {found}, and another --output_dir"
            )
        for what, written, now in (
            ("processes", state["world_size"], processes.world_size),
            ("ZeRO stage", state["zero_stage"], zero_stage),
            ("dtype", state.get("dtype", str(dtype)), str(dtype)),
            *((f"--{name}", state.get(name, getattr(flags, name)), getattr(flags, name)) for name in _OF_OPTIMIZER),
        ):
            if written != now:
                raise ConfigError(
                    f"--resume_from_checkpoint {found}: it was written with {what} {written}, this run has {now}; use the "
                    f"same, or start anew from its weights with --model_name_or_path {found}"
                )
    return found


def stage_of(flags: Any) -> str:
    """`boost` or `cocos`, by the flags of a run."""
    return type(flags).__name__.removesuffix("Config").lower()


def _named(folder: Path, output_dir: Path) -> Path | str:
    """The checkpoint that the user named, or what speaks against it."""
    if reason := what_is_wrong(folder):
        return f"--resume_from_checkpoint {folder}: {reason}; give another, or auto for the newest that is whole"
    newest = next(iter(_checkpoints(output_dir)), None)
    if newest is not None and _step(newest) > int(_state(folder)["step"]):
        return (
            f"--resume_from_checkpoint {folder}: --output_dir {output_dir} holds {newest.name}, which came after it and would "
            "be taken for this run's; move the later ones away, or give another --output_dir"
        )
    return folder


def what_is_wrong(folder: Path) -> str | None:
    """Why a run can't go on from `folder`, or None. Reads every file."""
    if not folder.is_dir():
        return "there is no such folder"
    listed = folder / "trainer" / "files.json"
    if not listed.is_file():
        return "it has no trainer/files.json, so it was not written to its end, or it is a model and no checkpoint of a run"
    try:
        expected = json.loads(listed.read_text())
    except ValueError:
        return "its trainer/files.json is not JSON"
    for name, (size, checksum) in expected.items():
        path = folder / name
        if not path.is_file():
            return f"its {name} is missing"
        if path.stat().st_size != size:
            return f"its {name} has {path.stat().st_size} bytes instead of {size}"
        if _checksum(path) != checksum:
            return f"its {name} is not what was written"
    return None


def start_step(checkpoint: Path | None, choice: str | None) -> int | None:
    """Steps that the run has behind it: those of its checkpoint, 0 where there was none yet, None where it begins anew."""
    if choice is None:
        return None
    return int(_state(checkpoint)["step"]) if checkpoint else 0


def restore(folder: Path, engine: Any, processes: Any) -> dict[str, Any]:
    """Put the engine and this process's random states back; returns the state that was saved with them."""
    loaded, _ = engine.load_checkpoint(str(folder / "trainer"), tag="engine")
    assert loaded is not None, f"{folder} was checked, and DeepSpeed finds nothing in it"
    random_states = torch.load(folder / "trainer" / f"rank-{processes.rank}.pt", weights_only=False)
    random.setstate(random_states["python"])
    np.random.set_state(random_states["numpy"])
    torch.set_rng_state(random_states["torch"])
    if random_states["cuda"] is not None:
        torch.cuda.set_rng_state(random_states["cuda"])
    return _state(folder)


def _newest_whole(output_dir: Path) -> Path | str | None:
    """The checkpoint, or what speaks against looking for one, or None where there is none yet."""
    for folder in _checkpoints(output_dir):
        reason = what_is_wrong(folder)
        if reason is None:
            return folder
        logger.warning("%s is skipped: %s", folder, reason)
    alone = next((folder for folder in _checkpoints(output_dir) if not (folder / "trainer").is_dir()), None)
    if alone is not None:  # to begin anew would take the run before for broken, and its files away
        return (
            f"--resume_from_checkpoint auto: {alone} is a model alone (--save_only_model), which no run can go on from; give "
            f"another --output_dir, with --model_name_or_path {alone} to start from its weights"
        )
    return None


def _checkpoints(output_dir: Path) -> list[Path]:
    """Newest first."""
    folders = [path for path in output_dir.glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdecimal()]
    return sorted(folders, key=_step, reverse=True)


def _link(link: Path, target: str) -> None:
    aside = link.with_name(f".{link.name}.partial")
    aside.unlink(missing_ok=True)
    aside.symlink_to(target)
    os.replace(aside, link)


def _step(folder: Path) -> int:
    return int(folder.name.removeprefix("checkpoint-"))


def _state(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "trainer" / "state.json").read_text())


def _random_states() -> dict[str, Any]:
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def _checksums(folder: Path) -> dict[str, tuple[int, int]]:
    """Size in bytes and CRC-32 of every file below `folder`, the list itself left out."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / "trainer" / "files.json")
    return {str(path.relative_to(folder)): (path.stat().st_size, _checksum(path)) for path in files}


def _checksum(path: Path) -> int:
    checksum = 0
    with open(path, "rb") as stream:
        while block := stream.read(_READ_BYTES):
            checksum = zlib.crc32(block, checksum)
    return checksum
