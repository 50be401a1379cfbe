"""Learning curves of a study from its `metrics.jsonl`: what the training batches say, a panel a metric, a colour an arm.

Each curve is the mean over seeds of a seed's mean over the last ten steps; the band goes from the lowest seed to the highest.
The batches are what the arm trains on, at its own temperature and by its own prompts: evaluations compare arms, curves show how
they got there.
"""

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from launch.experiments.starter.runs import is_finished
from launch.experiments.starter.studies import Arm

PANELS = {
    "Accuracy@t1": "accuracy/turn1",
    "Accuracy@t2": "accuracy/turn2",
    "i→c": "transition/incorrect_to_correct2",
    "c→i": "transition/correct_to_incorrect2",
}
WINDOW = 10
# Told apart by all common kinds of colour vision (Okabe and Ito, "Color Universal Design"); their yellow is too pale here.
COLOURS = ["#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]
DASHES = ["-", "--", ":"]  # for more arms than colours
NAME_HEIGHT = 0.062  # of a panel
SIZE = (12.5, 8.0)  # inches of 96 pixels
# The same runs give the same file: ids by hash of a fixed salt, no date; text as outlines, so that no font is asked for.
STYLE = {
    "svg.hashsalt": "cocos", "svg.fonttype": "path", "font.size": 11, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "grid.color": "#e5e5e5", "grid.linewidth": 0.8,
}  # fmt: skip


def check_plot(path: Path) -> None:
    """Raises: ValueError where `path` can't be drawn."""
    if path.suffix not in (".svg", ".png"):
        raise ValueError(f"--plot {path}: give a file that ends in .svg or .png")
    if importlib.util.find_spec("matplotlib") is None:
        raise ValueError("--plot needs matplotlib, which is not installed: pip install -e '.[plots]', or drop --plot")


def plot(out: Path, arms: Sequence[Arm], seeds: Sequence[int], path: Path) -> None:
    """Draw the runs that are finished, 1200 pixels wide."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with matplotlib.rc_context(STYLE):
        figure, axes = pyplot.subplots(2, 2, figsize=SIZE, dpi=96, sharex=True, layout="constrained")
        for panel, (title, metric) in zip(axes.flat, PANELS.items()):
            _panel(panel, title, [(arm.name, _curves(out, arm, seeds, metric)) for arm in arms])
        for panel in axes[1]:
            panel.set_xlabel("step")
        figure.supxlabel(f"mean over seeds of the last {WINDOW} steps; band: lowest to highest seed", fontsize=10)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
        pyplot.close(figure)


def smooth(values: Sequence[float], window: int = WINDOW) -> np.ndarray:
    """Mean of each value and the `window` - 1 before it; begins at the first that has so many. A step without a value counts
    for nothing. Shapes: (steps,) to (steps - window + 1,), empty where there are fewer."""
    numbers = np.asarray(values, dtype=float)
    if len(numbers) < window:
        return np.empty(0)
    return np.nanmean(np.lib.stride_tricks.sliding_window_view(numbers, window), axis=1)


def _curves(out: Path, arm: Arm, seeds: Sequence[int], metric: str) -> np.ndarray:
    """Percent, (seeds, steps), of the runs that are finished."""
    runs = [smooth(_values(out, arm, seed, metric)) for seed in seeds if is_finished(out / arm.folders(seed)[-1])]
    return 100 * np.array(runs)


def _values(out: Path, arm: Arm, seed: int, metric: str) -> list[float]:
    """Of every step, the stages one after the other; nan where a step has none."""
    values: list[float] = []
    for folder in arm.folders(seed):
        lines = [json.loads(line) for line in (out / folder / "metrics.jsonl").read_text().splitlines()]
        values += [
            np.nan if line.get(metric) is None else line[metric] for line in lines if "train/kl_coef" in line
        ]  # no evaluations
    return values


def _panel(panel: Any, title: str, curves: list[tuple[str, np.ndarray]]) -> None:
    ends = []
    for number, (name, runs) in enumerate(curves):
        if not runs.size:
            continue
        colour, dash = COLOURS[number % len(COLOURS)], DASHES[number // len(COLOURS) % len(DASHES)]
        steps = np.arange(WINDOW, WINDOW + runs.shape[1])
        panel.fill_between(steps, runs.min(axis=0), runs.max(axis=0), color=colour, alpha=0.12, linewidth=0)
        panel.plot(steps, runs.mean(axis=0), color=colour, linestyle=dash, linewidth=2)
        ends.append((name, colour, steps[-1], runs.mean(axis=0)[-1]))
    panel.set_title(f"{title}, % of the training batch", loc="left", fontsize=12)
    _name_curves(panel, ends)


def _name_curves(panel: Any, ends: list[tuple[str, str, int, float]]) -> None:
    """Names stand right of the curves' ends, apart where the ends are not, a thin line from each end to its name."""
    low, high = panel.get_ylim()
    heights = spread([y for *_, y in ends], NAME_HEIGHT * (high - low))
    right = max((x for _, _, x, _ in ends), default=0)
    for (name, colour, x, y), height in zip(ends, heights):
        panel.plot([x, 1.04 * right], [y, height], color=colour, linewidth=0.8, clip_on=False)
        panel.text(1.05 * right, height, name, color=colour, fontsize=10, va="center")
    panel.set_ylim(low, high)
    panel.set_xlim(0, 1.04 * right or 1)


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """The nearest heights, in the same order, that are at least `gap` apart: neighbours that are too close share a run that is
    centred on their mean."""
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    runs: list[list[int]] = []
    for i in order:
        runs.append([i])
        while len(runs) > 1 and _bottom(runs[-1], heights, gap) < _bottom(runs[-2], heights, gap) + gap * len(runs[-2]):
            runs[-2:] = [runs[-2] + runs[-1]]
    placed = [0.0] * len(heights)
    for run in runs:
        for place, i in enumerate(run):
            placed[i] = _bottom(run, heights, gap) + gap * place
    return placed


def _bottom(run: list[int], heights: Sequence[float], gap: float) -> float:
    return float(np.mean([heights[i] for i in run])) - gap * (len(run) - 1) / 2
