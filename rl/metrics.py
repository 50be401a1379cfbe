"""What a run writes for people: `metrics.jsonl`, TensorBoard or wandb scalars, `samples.jsonl`. Rank 0 only."""

import itertools
import json
import logging
import math
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from types import TracebackType
from typing import Any

import numpy as np
import torch

from data.files import write_whole
from rl.advantages import group_axis
from rl.board import Board
from rl.config import ConfigError
from rl.output_folder import held_flags, locked
from rl.rewards import RewardForm
from rl.scoring import rollout_rewards
from rl.trajectory import Rollout
from sandbox.verdict import STATUSES

logger = logging.getLogger(__name__)

# What the log line of a step says, of every turn; metrics.jsonl has the rest.
SHOWN = (
    "accuracy/turn", "reward/turn", "kl/turn", "ratio/max", "train/loss",
    "time/sample_s", "time/kl_s", "time/reward_s", "time/update_s", "time/step_s", "tokens/sampled_per_s",
)  # fmt: skip


class Clock:
    """Wall-clock laps of a step, in seconds, as metrics."""

    def __init__(self) -> None:
        self._start = self._last = time.perf_counter()
        self._laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self._laps[f"time/{name}"] = now - self._last
        self._last = now

    def metrics(self) -> dict[str, float]:
        return {**self._laps, "time/step_s": time.perf_counter() - self._start}


class RunWriter:
    """Appends metrics and samples below `output_dir`; does nothing on other ranks.

    What is there of steps after `start_step`, which a run that was resumed makes again, is taken out first. The folder is
    the run's alone while it lasts.
    Raises: ConfigError where `report_to` names a package that is not installed, where another run is writing to the folder, and
    where the folder holds a run and this one does not go on with it (`start_step` None).
    """

    def __init__(
        self,
        output_dir: Path,
        config: dict[str, Any],
        report_to: str,
        run_name: str | None,
        is_main: bool,
        start_step: int | None = None,
    ):
        self._is_main = is_main
        self.latest: dict[str, float] = {}  # the last training step's metrics
        self._board = self._wandb = None
        if not is_main:
            return
        self._lock = locked(output_dir)
        for name in ("metrics.jsonl", "samples.jsonl"):
            _keep_steps(output_dir / name, start_step)
        _say_what_changed(output_dir, config)
        write_whole(output_dir / "config.json", json.dumps(config, indent=2) + "\n")
        self._metrics = open(output_dir / "metrics.jsonl", "a", encoding="utf-8")  # noqa: SIM115
        self._samples = open(output_dir / "samples.jsonl", "a", encoding="utf-8")  # noqa: SIM115
        if report_to == "tensorboard":
            purge_step = None if start_step is None else start_step + 1
            self._board = Board(output_dir / "tensorboard" / (run_name or "run"), config, purge_step)
        elif report_to == "wandb":
            self._wandb = _wandb_run(run_name, config, output_dir)

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """One step's scalars, to every place they go."""
        if not self._is_main:
            return
        # JSON knows no nan: a reader other than Python's would stop at the line.
        finite = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        print(json.dumps({"step": step, **finite}), file=self._metrics, flush=True)
        if self._board is not None:
            self._board.scalars(step, metrics)
        if self._wandb is not None:
            self._wandb.log(metrics, step=step)

    def log_step(self, step: int, metrics: dict[str, float], clock: Clock) -> None:
        """One training step: its scalars with the step's times and throughput, and one line for people."""
        metrics = metrics | clock.metrics()
        if "tokens/sampled" in metrics:
            metrics["tokens/sampled_per_s"] = metrics["tokens/sampled"] / metrics["time/sample_s"]
        self.log(step, metrics)
        self.latest = metrics
        shown = {name: value for part in SHOWN for name, value in metrics.items() if name.rstrip("0123456789") == part}
        logger.info("step %d: %s", step, ", ".join(f"{name} {value:.4g}" for name, value in shown.items()))

    def log_histograms(self, step: int, parts: list[dict[str, list[float]]]) -> None:
        """Distributions of every rank's numbers by attempt (see `rollout_counts`), now and then; TensorBoard only."""
        if self._is_main and self._board is not None:
            self._board.histograms(step, parts)

    def save_samples(self, step: int, records: list[list[dict[str, Any]]]) -> None:
        """One line a trajectory, from every rank's list."""
        if not self._is_main:
            return
        whole = list(itertools.chain.from_iterable(records))
        for record in whole:
            print(json.dumps({"step": step, **record}), file=self._samples)
        self._samples.flush()
        if self._board is not None:
            self._board.trajectories(step, whole)

    def __enter__(self) -> "RunWriter":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if not self._is_main:
            return
        self._metrics.close()
        self._samples.close()
        self._lock.close()
        if self._board is not None:
            self._board.close()
        if self._wandb is not None:
            self._wandb.finish(exit_code=int(error is not None))


def _say_what_changed(output_dir: Path, config: dict[str, Any]) -> None:
    """Warn of every flag that a run goes on with and did not start with; some are changed on purpose."""
    held = held_flags(output_dir)
    for name, value in config.items():
        is_of_the_run = name not in ("resume_from_checkpoint", "output_dir", "local_rank")
        if is_of_the_run and name in held and held[name] != value:
            logger.warning("%s goes on with %s %s; it was %s before", output_dir, name, value, held[name])


def summary_metrics(summary: dict[str, Any]) -> dict[str, float]:
    """The values of an evaluation's summary, as scalars of the run."""
    return {f"eval/{name}": rate["value"] for name, rate in summary.items() if isinstance(rate, dict) and "value" in rate}


def rollout_counts(rollout: Rollout, form: RewardForm) -> dict[str, list[float]]:
    """Per-attempt numbers of one rank, by metric name: concatenated over ranks, their means are the step's metrics.

    `entropy/turnN` is the mean of -log pi of the sampled tokens: unbiased for the entropy that each was drawn with, at no cost.
    """
    values: dict[str, list[float]] = {}
    rewards, has_verdict = rollout_rewards(rollout, form)
    for turn, attempts in enumerate(rollout.turns, 1):
        judged = [a for a in attempts if a.has_verdict]
        values[f"accuracy/turn{turn}"] = [float(a.is_correct) for a in judged]
        values[f"reward/turn{turn}"] = rewards[turn - 1][has_verdict[turn - 1]].tolist()
        axis = group_axis(rewards[-1].shape, turn)
        if axis is not None:
            groups, known = (of[turn - 1].movedim(axis, -1).flatten(0, -2) for of in (rewards, has_verdict))  # (groups, G)
            highest, lowest = groups.where(known, -math.inf).amax(-1), groups.where(known, math.inf).amin(-1)
            values[f"group/equal_rewards_turn{turn}"] = (highest <= lowest).double().tolist()  # below it: none has a verdict
        values[f"length/turn{turn}"] = [float(len(a.completion_ids)) for a in attempts]
        values[f"entropy/turn{turn}"] = [-logprob for a in attempts for logprob in a.sampling_logprobs]
        for reason in ("stop", "eos", "length"):
            values[f"finish/{reason}_turn{turn}"] = [float(a.finish_reason == reason) for a in attempts]
        hiding = [a for a in judged if a.problem.num_hidden]
        values[f"accuracy/shown_only_turn{turn}"] = [float(a.passes_shown_only) for a in hiding]
        if turn > 1:
            pairs = [a for a in judged if a.parent.has_verdict]
            values[f"transition/incorrect_to_correct{turn}"] = [float(a.is_correct and not a.parent.is_correct) for a in pairs]
            values[f"transition/correct_to_incorrect{turn}"] = [float(a.parent.is_correct and not a.is_correct) for a in pairs]
            values[f"transition/unchanged{turn}"] = [float(a.is_unchanged) for a in attempts]
    everyone = [a for attempts in rollout.turns for a in attempts]
    values["tokens/sampled"] = [float(len(a.completion_ids)) for a in everyone]
    for status in STATUSES:
        values[f"verdict/{status}"] = [float(a.verdict.status == status) for a in everyone]
    return values


def tensor_counts(
    kls: Sequence[torch.Tensor], advantages: Sequence[torch.Tensor], is_trained: Sequence[torch.Tensor]
) -> dict[str, list[float]]:
    """Sequence KLs and advantages of one rank's attempts to learn from, by turn."""
    values: dict[str, list[float]] = {"kl/mean": [kl for turn in kls for kl in turn.flatten().tolist()]}
    for turn, mask in enumerate(is_trained, 1):
        values[f"kl/turn{turn}"] = kls[turn - 1].flatten().tolist()
        values[f"advantage/turn{turn}"] = advantages[turn - 1][mask].tolist()
    return values


def merge(parts: list[dict[str, list[float]]]) -> dict[str, float]:
    """Means over all ranks' numbers; of some also more, or something else. A name without numbers has no metric."""
    metrics: dict[str, float] = {}
    for name in parts[0]:
        numbers = [number for part in parts for number in part[name]]
        if not numbers:
            continue
        group, _, what = name.partition("/")
        if name == "tokens/sampled":
            metrics[name] = sum(numbers)
        elif name in ("ratio", "gap"):
            metrics[f"{name}/mean"], metrics[f"{name}/max"] = fmean(numbers), max(numbers)
        elif name == "clip/ratio":
            metrics["clip/ratio_mean"], metrics["clip/ratio_max"] = fmean(numbers), max(numbers)
        elif group == "advantage":
            array = np.array(numbers)
            statistics = {"mean": array.mean(), "std": array.std(), "min": array.min(), "max": array.max()}
            metrics |= {f"advantage/{of}_{what}": float(value) for of, value in statistics.items()}
            metrics[f"advantage/abs_{what}"] = float(np.abs(array).mean())
        else:
            metrics[name] = fmean(numbers)
    return metrics


def _keep_steps(path: Path, last: int | None) -> None:
    """Take lines of later steps, and a line that was not finished, out of a run's file."""
    if not path.is_file() or path.stat().st_size == 0:
        return
    if last is None:
        raise ConfigError(
            f"--output_dir {path.parent} holds a run already; add --resume_from_checkpoint auto to go on with it (not "
            "after --save_only_model), or give another folder"
        )
    with open(path, "rb+") as stream:
        end = 0
        for line in stream:  # in the order of steps; a line at a time, for a long run's samples are large
            if not line.endswith(b"\n") or json.loads(line)["step"] > last:
                break
            end += len(line)
        stream.truncate(end)


def _wandb_run(run_name: str | None, config: dict[str, Any], output_dir: Path) -> Any:
    try:
        import wandb
    except ImportError:
        raise ConfigError(
            "--report_to wandb: wandb is not installed; pip install 'cocos-trainer[wandb]', or use --report_to tensorboard"
        ) from None
    return wandb.init(name=run_name, config=config, dir=str(output_dir))
