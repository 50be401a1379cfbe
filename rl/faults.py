"""Steps that were skipped since a number was not finite: told, counted, and after too many in a row the run is lost."""

import json
import logging
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rl.update import UpdateStats

logger = logging.getLogger(__name__)

EXIT_CODE = 3
MOST_NAMES = 8


class StepGuard:
    """Watches updates. `uses_loss_scale` is True under float16, where a scale that was too high skips a step now and then."""

    def __init__(self, output_dir: Path, max_skipped: int, uses_loss_scale: bool, processes: Any):
        self._output_dir, self._max_skipped = output_dir, max_skipped
        self._uses_loss_scale, self._processes = uses_loss_scale, processes
        self._num_skipped = 0
        self.is_lost = False  # after more than `max_skipped` in a row

    def check(self, step: int, stats: UpdateStats) -> None:
        """Count a skipped step and name its samples; all ranks must call.

        Where the run `is_lost`, what could have been the cause is in `not-finite-STEP-rank-R.jsonl`, and the weights are those
        of the last step that was applied.
        """
        what = "gradient" if math.isfinite(stats.loss) else "loss"
        if stats.is_applied or (self._uses_loss_scale and what == "gradient"):
            self._num_skipped = 0
            return
        self._num_skipped += 1
        names = [name for part in self._processes.gather([row.name for row in stats.not_finite]) for name in part]
        logger.warning("step %d was skipped, its %s is not finite: %s", step, what, _listed(names))
        if self._num_skipped <= self._max_skipped:
            return
        path = self._output_dir / f"not-finite-{step}-rank-{self._processes.rank}.jsonl"
        path.write_text("".join(json.dumps(asdict(row)) + "\n" for row in stats.not_finite))
        self._processes.barrier()
        logger.error(
            "%d steps in a row were skipped, --max_skipped_steps is %d; the samples are in %s; the weights before are saved",
            self._num_skipped,
            self._max_skipped,
            self._output_dir / f"not-finite-{step}-rank-*.jsonl",
        )
        self.is_lost = True


def _listed(names: list[str]) -> str:
    shown = "; ".join(list(dict.fromkeys(names))[:MOST_NAMES])
    return shown + (f" and others, {len(names)} samples in all" if len(set(names)) > MOST_NAMES else "")
