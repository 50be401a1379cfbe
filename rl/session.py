"""What a training script does around its steps, the same for boost and RL: start or go on, evaluate, save, stop."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from data.problem import Problem
from data.prompts import MARKERS
from rl.checkpoint import restore, save_checkpoint, stage_of, start_step
from rl.cocos_config import CocosConfig
from rl.evaluation.running import evaluate
from rl.evaluation.summary import summarize
from rl.faults import EXIT_CODE, StepGuard
from rl.flags import resolved
from rl.metrics import RunWriter, summary_metrics
from rl.model_card import model_card
from rl.output_folder import check_shared
from rl.rollout import Collector
from rl.train_config import TrainFlags

logger = logging.getLogger(__name__)


def open_writer(config: TrainFlags, processes: Any, checkpoint: Path | None) -> RunWriter:
    """The run's files, as far as `checkpoint` has come. Raises: ConfigError, see `RunWriter` and `check_shared`."""
    if not config.save_only_model:  # else rank 0 alone writes
        check_shared(Path(config.output_dir), processes)
    return RunWriter(
        Path(config.output_dir),
        resolved(config),
        config.report_to,
        config.wandb_run_name,
        processes.is_main,
        start_step(checkpoint, config.resume_from_checkpoint),
    )


@dataclass
class Session:
    """One run. `processes`, `engine`, `weights` and `stop` are those of `launch`; a boost without evaluation has no
    `collector`.
    """

    config: TrainFlags
    processes: Any
    engine: Any
    weights: Any
    stop: Any
    tokenizer: PreTrainedTokenizerBase
    writer: RunWriter
    collector: Collector | None
    eval_problems: Sequence[Problem]
    num_steps: int
    checkpoint: Path | None
    summary: tuple[int, dict[str, Any]] | None = field(init=False, default=None)  # of the last evaluation, with its step
    state: dict[str, Any] = field(init=False)  # as it was saved with the checkpoint, empty at the start
    guard: StepGuard = field(init=False)
    is_over: bool = field(init=False)

    def __post_init__(self) -> None:
        self.state = restore(self.checkpoint, self.engine, self.processes) if self.checkpoint else {}
        self.guard = StepGuard(
            Path(self.config.output_dir), self.config.max_skipped_steps, self.engine.fp16_enabled(), self.processes
        )
        self.is_over = self.state.get("is_over", False)
        # {"step", "value"} of the best evaluation, and how many came after it.
        self._best: dict[str, Any] | None = self.state.get("best")
        self._num_since_best: int = self.state.get("num_since_best", 0)
        self._best_by = [self.config.metric_for_best_model, self.config.eval_data]
        if self.state.get("best_by", self._best_by) != self._best_by:  # numbers of two kinds don't compare
            self._best, self._num_since_best = None, 0

    def steps(self, name: str) -> Iterator[int]:
        """Step numbers from the first, or the one after the checkpoint, to the last, behind a progress bar.

        Ends early, and for good, where `is_over` was set in a step: a run that is resumed after it finds nothing left to do.
        """
        start = self.state.get("step", 0)
        if self.is_over or start >= self.num_steps:
            logger.info("%s is the end of this run: nothing is left to do", self.checkpoint)
        if start == 0 and self.config.eval_on_start:
            self.evaluate(0)
        is_hidden = None if self.processes.is_main else True
        for step in tqdm(
            range(start + 1, self.num_steps + 1), desc=name, disable=is_hidden, initial=start, total=self.num_steps
        ):
            if self.is_over:
                return
            yield step

    def evaluate(self, step: int) -> dict[str, Any] | None:
        """The summary on --eval_data where this step is one to evaluate after; all ranks share the work.

        Out of patience, the run `is_over`.
        """
        if self.collector is None or not self.eval_problems or not self.config.is_evaluation_step(step, self.num_steps):
            return None
        sampling, num_turns = self.weights.sampling(), self.config.eval_num_turns
        summary = summarize(evaluate(self.collector, sampling, self.eval_problems, self.processes, num_turns=num_turns))
        metrics = summary_metrics(summary)
        self.writer.log(step, metrics)
        logger.info("evaluation after step %d: %s", step, ", ".join(f"{name} {value:.4f}" for name, value in metrics.items()))
        self.summary = step, summary
        if self.config.metric_for_best_model in summary:  # not in it where the sandbox failed at every problem
            self._compare(step, summary[self.config.metric_for_best_model]["value"])
        return summary

    def _compare(self, step: int, value: float) -> None:
        if self._best is None or value > self._best["value"]:
            self._best, self._num_since_best = {"step": step, "value": value}, 0
            logger.info("step %d is the best so far by %s", step, self.config.metric_for_best_model)
            return
        self._num_since_best += 1
        if 0 < self.config.early_stopping_patience <= self._num_since_best:  # fewer than before, where a run was resumed
            logger.info(
                "stopped early: %s was %.4f after step %d and no better in the %d evaluations since",
                *(self.config.metric_for_best_model, self._best["value"], self._best["step"], self._num_since_best),
            )
            self.is_over = True

    def end_step(self, step: int, state: dict[str, Any]) -> None:
        """Save where it is time to, with `state` to find again; leave where the run was asked to, or is lost to numbers that
        are not finite. Raises: SystemExit.
        """
        is_stopped = self.stop.is_heard(self.processes)
        is_last = self.is_over or is_stopped or self.guard.is_lost
        best_step = self._best["step"] if self._best else None
        if is_last or step == best_step or self.config.is_save_step(step, self.num_steps):
            save_checkpoint(
                self.engine,
                self.weights.whole(),
                self.tokenizer,
                {
                    **state,
                    "is_over": self.is_over,
                    "best": self._best,
                    "num_since_best": self._num_since_best,
                    "best_by": self._best_by,
                    "stage": stage_of(self.config),
                    "learning_rate": self.config.learning_rate,
                    "weight_decay": self.config.weight_decay,
                },
                Path(self.config.output_dir),
                self.processes,
                step=step,
                limit=self.config.save_total_limit,
                best_step=best_step,
                card=self._card(step),
                only_model=self.config.save_only_model,
            )
        if self.guard.is_lost:
            raise SystemExit(EXIT_CODE)
        if is_stopped:
            self.stop.exit()

    def _card(self, step: int) -> str:
        evaluated, summary = self.summary or (None, None)
        # Boost pairs bring their own prompts, in the published format.
        template = self.collector.encoder.template if isinstance(self.config, CocosConfig) else MARKERS
        return model_card(self.config, resolved(self.config), step, self.writer.latest, summary, evaluated, template)
