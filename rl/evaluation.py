"""Numbers about turns: accuracies, what corrections change, and 95% intervals.

Works on the records of rollouts (see `Rollout.records`), one trajectory a problem. Records with a verdict that the sandbox
failed to make are left out and counted.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from tqdm import tqdm
from transformers import PreTrainedModel

from data.problem import Problem
from rl.rollout import Collector

Z95 = 1.959963984540054
NUM_BOOTSTRAP = 10_000


def evaluate(
    collector: Collector,
    model: PreTrainedModel,
    problems: Sequence[Problem],
    processes: Any,
    *,
    num_turns: int,
    temperature: float = 0.0,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """The record of one trajectory for each problem, in order, on every rank of `processes`, which share the work."""
    rows = list(range(processes.rank, len(problems), processes.world_size))
    with tqdm(total=num_turns * len(rows), desc="evaluate", leave=False, disable=None if processes.rank == 0 else True) as bar:
        rollout = collector.collect(
            model, [problems[row] for row in rows], [1] * num_turns, temperature, [(seed, row) for row in rows], bar.update
        )
    gathered = processes.gather(dict(zip(rows, rollout.records())))
    return [record for _, record in sorted(pair for part in gathered for pair in part.items())]


def summarize(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Rates by turn, each a dict of value, low and high.

    `accuracy@t`; from turn 2 also `delta@t` (against turn 1), `incorrect_to_correct@t`, `correct_to_incorrect@t` (against the
    turn before, as shares of all problems) and `unchanged@t`.
    """
    judged = [r for r in records if all(turn["status"] != "infra_error" for turn in r["turns"])]
    summary: dict[str, Any] = {"num_problems": len(judged), "num_infra_errors": len(records) - len(judged)}
    if not judged:
        return summary
    correct = np.array([[turn["status"] == "passed" for turn in r["turns"]] for r in judged])  # (P, turns)
    codes = [[turn["code"].strip() for turn in r["turns"]] for r in judged]
    for t in range(correct.shape[1]):
        summary[f"accuracy@{t + 1}"] = wilson_interval(correct[:, t])
        if t == 0:
            continue
        before, after = correct[:, t - 1], correct[:, t]
        summary[f"delta@{t + 1}"] = paired_difference(correct[:, 0], after)
        summary[f"incorrect_to_correct@{t + 1}"] = wilson_interval(~before & after)
        summary[f"correct_to_incorrect@{t + 1}"] = wilson_interval(before & ~after)
        summary[f"unchanged@{t + 1}"] = wilson_interval(np.array([c[t] == c[t - 1] for c in codes]))
    return summary


def wilson_interval(hits: np.ndarray) -> dict[str, float]:
    """A rate with its 95% score interval. Shapes: (P,) bool. Source: Wilson (1927)."""
    n, rate = len(hits), float(hits.mean())
    center = (rate + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * (rate * (1 - rate) / n + Z95**2 / (4 * n**2)) ** 0.5
    return {"value": rate, "low": max(0.0, center - half), "high": min(1.0, center + half)}


def paired_difference(before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    """mean(after - before) with a 95% percentile bootstrap over problems. Shapes: (P,) bool each.

    A resampled difference depends on the counts of gains and losses alone, so those are drawn, from one fixed seed.
    """
    n = len(before)
    gains, losses = int((~before & after).sum()), int((before & ~after).sum())
    draws = np.random.default_rng(0).multinomial(n, [gains / n, losses / n, 1 - (gains + losses) / n], NUM_BOOTSTRAP)
    low, high = np.percentile((draws[:, 0] - draws[:, 1]) / n, [2.5, 97.5])
    return {"value": (gains - losses) / n, "low": float(low), "high": float(high)}


def table(rows: dict[str, dict[str, Any]], num_turns: int = 2) -> str:
    """Summaries side by side as text: a line a name, percentages with their intervals."""
    last = num_turns
    columns = {f"Accuracy@t{t}": f"accuracy@{t}" for t in range(1, num_turns + 1)}
    if num_turns > 1:
        columns |= {
            f"Δ(t1,t{last})": f"delta@{last}",
            "i→c": f"incorrect_to_correct@{last}",
            "c→i": f"correct_to_incorrect@{last}",
        }
    cells = [["", *columns]]
    for name, summary in rows.items():
        cells.append([name, *[_percent(summary.get(key), is_signed="delta" in key) for key in columns.values()]])
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in cells]
    return "\n".join([lines[0], "─" * len(lines[0]), *lines[1:]])


def _percent(rate: dict[str, float] | None, is_signed: bool) -> str:
    if rate is None:
        return "-"
    sign = "+" if is_signed else ""
    return f"{100 * rate['value']:{sign}.1f}% [{100 * rate['low']:{sign}.1f}, {100 * rate['high']:{sign}.1f}]"
