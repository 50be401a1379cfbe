"""A run in TensorBoard: scalars with a layout, histograms, trajectories as text, flags beside final results.

What grows with a run is bounded: histograms and trajectories come every SHOW_STEPS steps, one trajectory a kind, cut at
MAX_TEXT. Left out on purpose: pictures, the model's graph, and programs of every step, which `samples.jsonl` holds.
"""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

SHOW_STEPS = 20
MAX_TEXT = 1500
BINS = 30
LAYOUT = {
    "What it learns": {
        "accuracy": ["accuracy/turn.*"],
        "evaluation": ["eval/accuracy@.*"],
        "test reward": ["reward/turn.*"],
        "corrections": ["transition/.*"],
        "corrections in evaluation": ["eval/incorrect_to_correct@.*", "eval/correct_to_incorrect@.*", "eval/unchanged@.*"],
    },
    "How it learns": {
        "loss": ["train/loss"],
        "gradient norm": ["train/grad_norm"],
        "KL to the reference": ["kl/turn.*"],
        "ratio of trainer to sampler": ["ratio/.*"],
        "spread of advantages": ["advantage/std_.*"],
        "groups without a gradient": ["group/equal_rewards_.*"],
        "entropy": ["entropy/turn.*"],
    },
    "Programs": {"verdicts": ["verdict/.*"], "tokens": ["length/turn.*"], "ended by": ["finish/.*"]},
    "Time": {"seconds of a step": ["time/.*"], "tokens a second": ["tokens/sampled_per_s"]},
}
# Trajectories by what their first and last attempt were; the name of their panel.
PANELS = {(False, True): "1_wrong_then_right", (True, False): "2_right_then_wrong", (False, False): "3_never_right"}
# Flags that say where and how fast, not what is learned: they would fill the table of runs.
HOUSEKEEPING = set(
    "output_dir local_rank attn_implementation sandbox_workers sandbox_memory_mb sandbox_modules test_timeout_s "
    "program_timeout_s allow_unsafe_sandbox sampler prompt_lookup_num_tokens deepspeed ds3_gather_for_generation "
    "per_device_train_batch_size "
    "local_rollout_forward_batch_size eval_data eval_steps eval_num_turns save_steps save_total_limit save_only_model "
    "resume_from_checkpoint report_to wandb_run_name versions python dry_run collective_timeout_s max_skipped_steps "
    "micro_batch_tokens gradient_checkpointing metric_for_best_model early_stopping_patience".split()
)
_RESULTS = ("eval/", "accuracy/", "train/loss")


class Board:
    """Event files below `folder`. What is there of steps from `purge_step` on is taken out of the picture."""

    def __init__(self, folder: Path, config: dict[str, Any], purge_step: int | None):
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=purge_step)
        self._config = config
        self._results: dict[str, float] = {}
        self._has_layout = False

    def scalars(self, step: int, metrics: dict[str, float]) -> None:
        if not self._has_layout:
            of_evaluation = ["eval/accuracy@1"] + ["eval/unchanged@2"] * (self._config.get("eval_num_turns", 1) > 1)
            expected = of_evaluation if self._config.get("eval_data") else []
            self._writer.add_custom_scalars(layout_of([*metrics, *expected]))
            self._has_layout = True
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)
        self._results |= {name: value for name, value in metrics.items() if name.startswith(_RESULTS)}

    def histograms(self, step: int, parts: Sequence[dict[str, list[float]]]) -> None:
        """Advantages and lengths of every rank's attempts."""
        if not is_shown(step):
            return
        for name in parts[0]:
            values = [value for part in parts for value in part[name] if math.isfinite(value)]
            if name.startswith(("advantage/", "length/")) and values:
                self._writer.add_histogram(name.replace("/", "_histogram/", 1), np.array(values), step, bins=BINS)

    def trajectories(self, step: int, records: Sequence[dict[str, Any]]) -> None:
        """The first trajectory of each kind, its programs and verdicts."""
        if not is_shown(step):
            return
        shown: dict[str, str] = {}
        for record in records:
            statuses = [turn["status"] for turn in record["turns"]]
            panel = PANELS.get((statuses[0] == "passed", statuses[-1] == "passed"))
            if panel and panel not in shown and "infra_error" not in statuses:
                shown[panel] = trajectory_text(record)
        for panel, text in shown.items():
            self._writer.add_text(f"trajectories/{panel}", text, step)

    def close(self) -> None:
        """The flags beside the last results, for the table of runs, and the end of the file."""
        if self._results:
            from torch.utils.tensorboard.summary import hparams

            flags = {
                name: _plain(value) for name, value in self._config.items() if name not in HOUSEKEEPING and value is not None
            }
            for summary in hparams(flags, self._results):
                self._writer.file_writer.add_summary(summary)
        self._writer.close()


def is_shown(step: int) -> bool:
    """Whether this step's histograms and trajectories are written: the first's, then every so many."""
    return step == 1 or step % SHOW_STEPS == 0


def layout_of(names: Sequence[str]) -> dict[str, dict[str, list[Any]]]:
    """The charts that have a scalar among `names`."""
    layout = {
        group: {
            title: ["Multiline", [f"^{tag}$" for tag in tags]]
            for title, tags in charts.items()
            if any(re.fullmatch(tag, name) for tag in tags for name in names)
        }
        for group, charts in LAYOUT.items()
    }
    return {group: charts for group, charts in layout.items() if charts}


def trajectory_text(record: dict[str, Any]) -> str:
    """Markdown in which programs are indented, not fenced: no program can end its own block."""
    blocks = [f"**Problem {_inline(str(record['problem_id']))}**", _indented(record["text"])]
    for number, turn in enumerate(record["turns"], 1):
        error = next((test["error"] for test in turn["tests"] if test["error"]), "")
        blocks.append(f"**Turn {number}: {turn['status']}**, {turn['passed']} of {turn['total']} tests")
        blocks.append(_indented(turn["code"] + (f"\n\n# {error}" if error else "")))
    return "\n\n".join(blocks)


def _plain(value: Any) -> bool | int | float | str:
    return value if isinstance(value, (bool, int, float, str)) else str(value)


def _indented(text: str) -> str:
    cut = text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}\n…"
    return "\n".join(f"    {line}" for line in cut.splitlines() or [""])


def _inline(text: str) -> str:
    return re.sub(r"[^\w.-]", " ", text)
