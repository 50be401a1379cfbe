"""The tables of a study: means over seeds with the lowest and the highest, and paired differences from the base of each arm."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from launch.experiments.starter.studies import Arm, Study

# The turn that was solved, and whether the other must not have been.
METRICS = {"Accuracy@t1": (0, False), "Accuracy@t2": (1, False), "i→c": (1, True), "c→i": (0, True)}
NUM_BOOTSTRAP = 10_000
Solved = dict[int, np.ndarray]  # by seed: whether each problem was solved at each turn (problems, 2)


def report(out: Path, study: Study, arms: Sequence[Arm], seeds: Sequence[int]) -> str:
    """A Markdown table for each evaluation of the study, of the runs that are finished."""
    tables = []
    for name in study.evaluations:
        head = [] if name == "eval" else [f"Evaluated with --{name.removeprefix('eval-').replace('-', ' ')}:", ""]
        tables.append("\n".join([*head, *_table(out, study, arms, seeds, name)]))
    return "\n\n".join(tables)


def _table(out: Path, study: Study, arms: Sequence[Arm], seeds: Sequence[int], evaluation: str) -> list[str]:
    columns = ["arm", "seeds", *METRICS, f"t1 − {study.base}", f"t2 − {study.base}"]
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    bases = {arm.name: arm for arm in study.arms}
    for arm in [Arm("boost", ({},)), *arms]:
        solved = solved_by_seed(out, arm, seeds, evaluation)
        if not solved:
            continue
        cells = [over_seeds(solved, *metric) for metric in METRICS.values()]
        base = solved_by_seed(out, bases[arm.against], seeds, evaluation) if arm.against else {}
        cells += [paired(solved, base, turn) for turn in (0, 1)]
        lines.append("| " + " | ".join([arm.name, str(len(solved)), *cells]) + " |")
    return lines


def solved_by_seed(out: Path, arm: Arm, seeds: Sequence[int], evaluation: str) -> Solved:
    """Of the runs that are finished; `evaluate.py` writes problems in the order of the data, so that rows of runs pair."""
    found = {}
    for seed in seeds:
        folder = out / arm.folders(seed)[-1] / evaluation
        if (folder / "summary.json").exists():
            records = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
            found[seed] = np.array([[turn["status"] == "passed" for turn in record["turns"]] for record in records])
    return found


def over_seeds(solved: Solved, turn: int, is_alone: bool) -> str:
    """Percent of the problems solved at `turn`, or at it alone: mean, lowest and highest seed."""
    rates = []
    for at in solved.values():
        hits = at[:, turn] & ~at[:, 1 - turn] if is_alone else at[:, turn]
        rates.append(100 * hits.mean())
    return f"{np.mean(rates):.1f} ({min(rates):.1f}–{max(rates):.1f})"


def paired(solved: Solved, base: Solved, turn: int) -> str:
    """As `paired_interval`, over the seeds that both have; empty where there is none."""
    if not set(solved) & set(base):
        return ""
    difference, low, high = paired_interval(solved, base, turn)
    return f"{difference:+.1f} [{low:+.1f}, {high:+.1f}]"


def paired_interval(solved: Solved, base: Solved, turn: int, num_draws: int = NUM_BOOTSTRAP) -> tuple[float, float, float]:
    """Mean difference in accuracy at `turn`, in points, with a 95% bootstrap over problems and seeds."""
    seeds = sorted(set(solved) & set(base))
    gains = np.stack([solved[s][:, turn].astype(float) - base[s][:, turn] for s in seeds])  # (seeds, problems)
    rng = np.random.default_rng(0)
    draws = [
        gains[rng.integers(len(seeds), size=len(seeds))][:, rng.integers(gains.shape[1], size=gains.shape[1])].mean()
        for _ in range(num_draws)
    ]
    low, high = 100 * np.percentile(draws, [2.5, 97.5])
    return 100 * gains.mean(), low, high
