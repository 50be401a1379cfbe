"""Which shape of the tree, which return and which reward teach best, on the starter problems, at equal sampled attempts.

    .venv/bin/python launch/experiments/shapes.py --output_dir runs/shapes --seeds 0 1 2 --jobs 2

Every arm starts from the boost model of its seed and samples 144 attempts a step. A finished run is kept and not made again,
so the command goes on where it was stopped. `--report_only` prints the tables of what is there.
"""

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

ROOT = Path(__file__).parents[2]
# (first attempts, corrections of each, trajectories a step): 16 x (1 + 8) = 9 x (8 + 8) = 12 x (4 + 8) = 144 attempts.
SHAPES = {"1x8": (1, 8, 128), "8x1": (8, 1, 72), "4x2": (4, 2, 96)}
# With one first attempt nothing but its corrections is trained, so both returns are the same.
ARMS = [("1x8", "full"), ("8x1", "full"), ("8x1", "own"), ("4x2", "full"), ("4x2", "own")]
REWARDS = ["pass_rate", "all_pass", "pass_count"]
PUBLISHED = "1x8"
# The turn that was solved, and whether the other must not have been.
METRICS = {"Accuracy@t1": (0, False), "Accuracy@t2": (1, False), "i→c": (1, True), "c→i": (0, True)}
NUM_BOOTSTRAP = 10_000


def main() -> None:
    flags = _parse()
    out = flags.output_dir
    if not flags.report_only:
        run_all(out, flags)
    print(report(out, flags.seeds))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, default=Path("runs/shapes"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--rewards", nargs="+", choices=REWARDS, default=REWARDS)
    parser.add_argument("--max_steps", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side, each on one thread")
    parser.add_argument("--report_only", action="store_true")
    return parser.parse_args()


def run_all(out: Path, flags: argparse.Namespace) -> None:
    """Boost once a seed, then every arm: train and evaluate."""
    if not (out / "starter/starter.json").exists():
        _python("-m", "data.starter", "--output_dir", out / "starter", log=out / "starter.log")
    chosen = [arm for arm in ARMS if arm[0] in flags.shapes]
    arms = [(seed, *arm, reward) for reward in flags.rewards for seed in flags.seeds for arm in chosen]
    with ThreadPoolExecutor(flags.jobs) as pool:
        list(pool.map(lambda seed: boost(out, seed), flags.seeds))
        with tqdm(total=len(arms), desc="runs") as bar:
            for done in [pool.submit(train, out, *arm, flags.max_steps) for arm in arms]:
                done.result()
                bar.update()


def boost(out: Path, seed: int) -> None:
    """The boost model of the demo, and its evaluation."""
    folder = out / f"boost-{seed}"
    if not (folder / "eval/summary.json").exists():
        _python(
            "train_boost.py", "--config", "launch/presets/starter_boost.yaml", "--seed", seed, "--output_dir", folder,
            "--model_name_or_path", out / "starter/model", "--train_data", out / "starter/boost.json",
            log=out / f"boost-{seed}.log",
        )  # fmt: skip
        _evaluate(out, folder)


def train(out: Path, seed: int, shape: str, first_turn_return: str, reward: str, max_steps: int) -> None:
    """One arm from the boost model of its seed, and its evaluation."""
    folder = out / f"{shape}-{first_turn_return}-{reward}-{seed}"
    if (folder / "eval/summary.json").exists():
        return
    first_attempts, rloo_k, trajectories = SHAPES[shape]
    _python(
        "train_cocos.py", "--config", "launch/presets/starter_cocos.yaml", "--seed", seed, "--output_dir", folder,
        "--model_name_or_path", _checkpoint(out / f"boost-{seed}"), "--train_data", out / "starter/train.jsonl",
        "--first_attempts", first_attempts, "--rloo_k", rloo_k, "--global_batch_size", trajectories,
        "--first_turn_return", first_turn_return, "--reward", reward, "--max_steps", max_steps, "--sandbox_workers", 1,
        log=out / f"{folder.name}.log",
    )  # fmt: skip
    _evaluate(out, folder)


def _evaluate(out: Path, folder: Path) -> None:
    _python(
        "evaluate.py", "--model_name_or_path", _checkpoint(folder), "--test_data", out / "starter/eval.jsonl",
        "--output_dir", folder / "eval", "--max_new_tokens", 80, "--batch_size", 128,
        log=out / f"{folder.name}.eval.log",
    )  # fmt: skip


def _checkpoint(folder: Path) -> Path:
    return max(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))


def _python(*arguments: object, log: Path) -> None:
    """Run a script of ours on one thread; its output goes to `log`. Raises: CalledProcessError."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "w", encoding="utf-8") as stream:
        command = [sys.executable, *map(str, arguments)]
        subprocess.run(command, cwd=ROOT, env=env, stdout=stream, stderr=subprocess.STDOUT, check=True)


def report(out: Path, seeds: list[int]) -> str:
    """A Markdown table: means over seeds with the lowest and highest seed, and Accuracy@t2 against the published shape's."""
    lines = [
        "| shape | return | reward | seeds | " + " | ".join(METRICS) + f" | t2 − {PUBLISHED}, same reward |",
        "|" + "---|" * (len(METRICS) + 5),
    ]
    names = [("boost", "", "", "boost")]
    names += [(shape, ret, reward, f"{shape}-{ret}-{reward}") for reward in REWARDS for shape, ret in ARMS]
    for shape, ret, reward, name in names:
        correct = _correct(out, seeds, name)
        if not correct:
            continue
        cells = [_over_seeds(correct, *metric) for metric in METRICS.values()]
        ret = "" if shape == PUBLISHED else ret
        published = _correct(out, seeds, f"{PUBLISHED}-full-{reward}")
        against = "" if shape in ("boost", PUBLISHED) else _paired(correct, published)
        lines.append(f"| {shape} | {ret} | {reward} | {len(correct)} | " + " | ".join(cells) + f" | {against} |")
    return "\n".join(lines)


def _correct(out: Path, seeds: list[int], name: str) -> dict[int, np.ndarray]:
    """Whether each problem was solved at each turn (problems, 2), by seed, for the runs that are finished."""
    found = {}
    for seed in seeds:
        path = out / f"{name}-{seed}/eval/samples.jsonl"
        if path.exists():
            records = map(json.loads, path.read_text().splitlines())
            found[seed] = np.array([[turn["status"] == "passed" for turn in record["turns"]] for record in records])
    return found


def _over_seeds(correct: dict[int, np.ndarray], turn: int, is_alone: bool) -> str:
    """Percent of the problems solved at `turn`, or at it alone: mean, lowest and highest seed."""
    rates = []
    for solved in correct.values():
        hits = solved[:, turn] & ~solved[:, 1 - turn] if is_alone else solved[:, turn]
        rates.append(100 * hits.mean())
    return f"{np.mean(rates):.1f} ({min(rates):.1f}–{max(rates):.1f})"


def _paired(correct: dict[int, np.ndarray], base: dict[int, np.ndarray]) -> str:
    """Mean difference in Accuracy@t2 over the seeds that both have, with a 95% bootstrap over problems and seeds."""
    seeds = sorted(set(correct) & set(base))
    if not seeds:
        return ""
    gains = np.stack([correct[s][:, 1].astype(float) - base[s][:, 1] for s in seeds])  # (seeds, problems)
    rng = np.random.default_rng(0)
    draws = [
        gains[rng.integers(len(seeds), size=len(seeds))][:, rng.integers(gains.shape[1], size=gains.shape[1])].mean()
        for _ in range(NUM_BOOTSTRAP)
    ]
    low, high = 100 * np.percentile(draws, [2.5, 97.5])
    return f"{100 * gains.mean():+.1f} [{low:+.1f}, {high:+.1f}]"


if __name__ == "__main__":
    main()
