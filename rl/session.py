"""What a training script does around its steps, the same for boost and RL: start or go on, evaluate, save, stop."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from data.problem import Problem
from rl.checkpoint import restore, save_checkpoint, start_step
from rl.config import TrainFlags
from rl.evaluation.running import evaluate
from rl.evaluation.summary import summarize
from rl.flags import resolved
from rl.metrics import RunWriter, summary_metrics
from rl.model_card import model_card
from rl.rollout import Collector


def open_writer(config: TrainFlags, processes: Any, checkpoint: Path | None) -> RunWriter:
    """The run's files, as far as `checkpoint` has come. Raises: ConfigError, see `RunWriter`."""
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
    """One run. `processes`, `engine`, `weights` and `stop` are those of `launch`; `collector` is None without evaluation."""

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

    def __post_init__(self) -> None:
        self.state = restore(self.checkpoint, self.engine, self.processes) if self.checkpoint else {}

    def steps(self, name: str) -> Iterator[int]:
        """Step numbers from the first, or the one after the checkpoint, to the last, behind a progress bar."""
        start = self.num_steps if self.state.get("is_finished") else self.state.get("step", 0)
        is_hidden = None if self.processes.is_main else True
        yield from tqdm(range(start + 1, self.num_steps + 1), desc=name, disable=is_hidden, initial=start, total=self.num_steps)

    def evaluate(self, step: int) -> dict[str, Any] | None:
        """The summary on --eval_data where this step is one to evaluate after; all ranks share the work."""
        if self.collector is None or not self.eval_problems or not self.config.is_evaluation_step(step, self.num_steps):
            return None
        with self.weights.sampling() as policy:
            records = evaluate(self.collector, policy, self.eval_problems, self.processes, num_turns=self.config.eval_num_turns)
        summary = summarize(records)
        self.writer.log(step, summary_metrics(summary))
        self.summary = step, summary
        return summary

    def end_step(self, step: int, state: dict[str, Any], is_last: bool = False) -> None:
        """Save where it is time to, with `state` to find again; leave where the run was asked to. Raises: SystemExit.

        `is_last` ends the run before its last step, for good: one that is resumed finds nothing left to do.
        """
        is_stopped = self.stop.is_heard(self.processes)
        if is_last or is_stopped or self.config.is_save_step(step, self.num_steps):
            save_checkpoint(
                self.engine,
                self.weights.whole(),
                self.tokenizer,
                {**state, "is_finished": is_last},
                Path(self.config.output_dir),
                self.processes,
                step=step,
                limit=self.config.save_total_limit,
                card=self._card(step),
            )
        if is_stopped:
            self.stop.exit()

    def _card(self, step: int) -> str:
        evaluated, summary = self.summary or (None, None)
        return model_card(self.config, resolved(self.config), step, self.writer.latest, summary, evaluated)
