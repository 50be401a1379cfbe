"""Make the runs of a study: boost once a seed, then train and evaluate every arm.

What is finished is not made again, and what was stopped goes on from its last checkpoint.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from threading import Event

from tqdm import tqdm

from launch.experiments.environment import ROOT
from launch.experiments.starter.studies import BOOST, EVALUATIONS, Arm, Flags

# Seeds of later stages: other problems than those that the stage before has seen.
STAGE_SEEDS = 1000


def run_all(
    out: Path, arms: Sequence[Arm], seeds: Sequence[int], evaluations: Sequence[str], max_steps: int, jobs: int
) -> None:
    """Everything that is missing below `out`. Raises: CalledProcessError with the command, whose log says why."""
    _python("-m", "data.starter", "--output_dir", out / "starter", log=out / "starter.log")
    _in_parallel("boost", jobs, [lambda s=seed: _boost(out, s, evaluations) for seed in seeds])
    # Seed by seed, so that what is there can be compared.
    _in_parallel(
        "runs", jobs, [lambda a=arm, s=seed: _arm(out, a, s, evaluations, max_steps) for seed in seeds for arm in arms]
    )


def check_made(out: Path, arms: Iterable[Arm], seeds: Iterable[int], max_steps: int) -> None:
    """Raises: ValueError where a run that is there was made with other flags than its arm's."""
    for arm, seed in ((arm, seed) for arm in arms for seed in seeds):
        for number, folder in enumerate(arm.folders(seed)):
            path = out / folder / "config.json"
            if not path.is_file():
                continue
            made = json.loads(path.read_text())
            for name, value in _stage_flags(arm, number, seed, max_steps).items():
                if value != BOOST and name in made and made[name] != value:
                    raise ValueError(
                        f"{out / folder} was made with --{name} {made[name]} and is now asked for with {value}: give the same, "
                        "or another --output_dir, or delete it"
                    )


def is_finished(folder: Path) -> bool:
    """Trained, and evaluated as the demo does."""
    return (folder / "eval/summary.json").exists()


def checkpoint(folder: Path) -> Path:
    """The newest of a run."""
    return max(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))


def stage_steps(arm: Arm, max_steps: int) -> int:
    """Steps of each stage of an arm that has `max_steps` in all."""
    return max(1, max_steps // len(arm.stages))


def _stage_flags(arm: Arm, number: int, seed: int, max_steps: int) -> Flags:
    return {**arm.stages[number], "seed": seed + STAGE_SEEDS * number, "max_steps": stage_steps(arm, max_steps)}


def _in_parallel(name: str, jobs: int, calls: Sequence[Callable[[], None]]) -> None:
    """The first that fails, or Ctrl-C, ends the rest: those that run finish, none begins."""
    is_over = Event()

    def unless_over(call: Callable[[], None]) -> None:
        if is_over.is_set():  # asked here: a free thread would take the next call before we could cancel it
            return
        try:
            call()
        except BaseException:
            is_over.set()
            raise

    with ThreadPoolExecutor(jobs) as pool, tqdm(total=len(calls), desc=name) as bar:
        futures = [pool.submit(unless_over, call) for call in calls]
        try:
            for future in as_completed(futures):
                future.result()
                bar.update()
        finally:
            is_over.set()


def _boost(out: Path, seed: int, evaluations: Sequence[str]) -> None:
    """The boost model of the demo, and its evaluations."""
    folder = out / f"boost-{seed}"
    if not is_finished(folder):
        flags = {"model_name_or_path": out / "starter/model", "train_data": out / "starter/boost.json", "seed": seed}
        _train("train_boost.py", "starter_boost", folder, flags)
    _evaluate(out, folder, evaluations)


def _arm(out: Path, arm: Arm, seed: int, evaluations: Sequence[str], max_steps: int) -> None:
    """The runs of an arm from the boost model of its seed, and the evaluations of the last."""
    boost = model = checkpoint(out / f"boost-{seed}")
    *earlier, last = [out / name for name in arm.folders(seed)]
    for number, folder in enumerate([*earlier, last] if not is_finished(last) else []):
        flags = {"model_name_or_path": model, "train_data": out / "starter/train.jsonl", "sandbox_workers": 1}
        flags |= _stage_flags(arm, number, seed, max_steps)
        _train("train_cocos.py", "starter_cocos", folder, {k: boost if v == BOOST else v for k, v in flags.items()})
        model = checkpoint(folder)
    _evaluate(out, last, evaluations)


def _train(script: str, preset: str, folder: Path, flags: Flags) -> None:
    flags = {"output_dir": folder, "save_steps": 25, "save_total_limit": 1, "resume_from_checkpoint": "auto", **flags}
    _python(script, "--config", f"launch/presets/{preset}.yaml", *_words(flags), log=folder.with_name(f"{folder.name}.log"))


def _evaluate(out: Path, folder: Path, evaluations: Sequence[str]) -> None:
    for name in evaluations:
        if (folder / name / "summary.json").exists():
            continue
        flags = {
            "model_name_or_path": checkpoint(folder), "test_data": out / "starter/eval.jsonl", "output_dir": folder / name,
            "max_new_tokens": 80, "batch_size": 128, **EVALUATIONS[name],
        }  # fmt: skip
        _python("evaluate.py", *_words(flags), log=out / f"{folder.name}.{name}.log")


def _words(flags: Flags) -> list[object]:
    return [word for name, value in flags.items() for word in (f"--{name}", value)]


def _python(*arguments: object, log: Path) -> None:
    """Run a script of ours on one thread; its output goes to `log`. Raises: CalledProcessError, whose output names the log."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "w", encoding="utf-8") as stream:
        command = [sys.executable, *map(str, arguments)]
        done = subprocess.run(command, cwd=ROOT, env=env, stdout=stream, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, command, output=log)
