"""One evaluation of several models on several data sets: what each part is called, where it lies, and whether it may go on.

With one model and one data set the part is the whole and lies in `--output_dir` itself; otherwise in `--output_dir/MODEL/DATA`.
"""

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from data.files import write_whole
from data.problem import Problem
from rl.config import ConfigError, EvaluateConfig
from rl.evaluation.records import distinct_names
from rl.flags import resolved
from rl.output_folder import held_flags, locked

# Flags that change no sample; all others, those of tomorrow too, are held against an evaluation that is to go on.
FREE = {"output_dir", "local_rank", "sandbox_workers", "allow_unsafe_sandbox", "pass_at", "report"}


@dataclass(frozen=True)
class Part:
    """One model on one data set."""

    model: str
    model_name: str
    data_name: str
    problems: tuple[Problem, ...]
    folder: Path

    @property
    def samples(self) -> Path:
        return self.folder / "samples.jsonl"

    @property
    def is_finished(self) -> bool:
        return self.samples.is_file()

    @property
    def name(self) -> str:
        return f"{self.model_name} on {self.data_name}"


def parts_of(config: EvaluateConfig, problem_sets: Sequence[Sequence[Problem]]) -> list[Part]:
    """Every model on every data set, models outermost."""
    output_dir = Path(config.output_dir)
    model_names, data_names = distinct_names(config.model_name_or_path), distinct_names(config.test_data)
    is_one = len(model_names) * len(data_names) == 1
    return [
        Part(model, model_name, data_name, tuple(problems), output_dir if is_one else output_dir / model_name / data_name)
        for model, model_name in zip(config.model_name_or_path, model_names)
        for data_name, problems in zip(data_names, problem_sets)
    ]


def check_folder(config: EvaluateConfig, parts: Sequence[Part]) -> dict[str, Any]:
    """Find out whether `--output_dir` is free or holds this very evaluation; returns what its `config.json` is to say.

    Raises: ConfigError naming the flag that differs, or what else the folder holds.
    """
    folder = Path(config.output_dir)
    wanted = {**resolved(config), "fingerprints": _fingerprints(config, parts)}
    if (folder / "config.json").is_file():
        _check_same(folder, held_flags(folder), wanted)
    elif any(part.is_finished for part in parts) or (folder / "metrics.jsonl").exists():
        raise ConfigError(f"--output_dir {folder} holds the files of something else; give another folder")
    return wanted


def claim_folder(config: EvaluateConfig, wanted: dict[str, Any]) -> IO[str]:
    """Lock the folder and write `config.json`; keep what is returned, the lock. One process only, after all have checked.

    Raises: ConfigError, see `locked`.
    """
    folder = Path(config.output_dir)
    lock = locked(folder)
    write_whole(folder / "config.json", json.dumps(wanted, indent=2) + "\n")
    return lock


def _check_same(folder: Path, held: dict[str, Any], wanted: dict[str, Any]) -> None:
    if "fingerprints" not in held:
        raise ConfigError(f"--output_dir {folder} holds a run that is no evaluation of this version; give another folder")
    for name, value in wanted.items():
        if name in FREE or name in ("versions", "python", "fingerprints"):
            continue
        if held.get(name) != value:
            raise ConfigError(
                f"--{name} is {value}, but --output_dir {folder} holds an evaluation with {held.get(name)}; give the same to "
                "go on with it, or another folder"
            )
    for source, value in wanted["fingerprints"].items():
        if held["fingerprints"].get(source) != value:
            raise ConfigError(
                f"--output_dir {folder} holds an evaluation of {source} as it was then, and its files have changed since; give "
                "another folder"
            )


def _fingerprints(config: EvaluateConfig, parts: Sequence[Part]) -> dict[str, Any]:
    """What tells whether data, prompts and models are still the same: checksums of problems and of the files that prompts are
    made of, sizes and times of model files.
    """
    prints: dict[str, Any] = {}
    for source in (config.fewshot_data, config.prompt_template):
        if source and Path(source).is_file():
            prints[source] = zlib.crc32(Path(source).read_bytes())
    for part in parts:
        prints[part.data_name] = zlib.crc32(repr(part.problems).encode())
        files = sorted(path for path in Path(part.model).glob("*") if path.is_file())
        prints[part.model] = [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files]
    return prints
