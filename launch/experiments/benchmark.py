"""Does it teach a pretrained model? Evaluate it, boost it, train it, evaluate after each: a table a seed, one of each training.

    python -m launch.experiments.benchmark --model_name_or_path Qwen/Qwen2.5-Coder-1.5B-Instruct \\
        --train_data google-research-datasets/mbpp:full:train --test_data google-research-datasets/mbpp:full:test \\
        --output_dir runs/benchmark --launcher "torchrun --nproc_per_node 8" --boost_flags="--global_batch_size 16"

Stages are the scripts that users call. RL arms start from the boost model of their seed, with --no_boost from the model itself;
with --boost_data, boost learns from pairs at hand instead of pairs made from --train_data. Flags that a script is to be given
besides go into one word, behind `=`; a prompt format other than the markers goes to RL and to evaluation, with --no_boost. A
finished stage is kept; the same command goes on where it was stopped.
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from tqdm import tqdm

from launch.experiments.environment import PYTHONPATH, ROOT

PUBLISHED = ("--config", str(ROOT / "launch/presets/published.yaml"))
ENVIRONMENT = {**os.environ, "PYTHONPATH": PYTHONPATH}  # for modules: paths stay those of the user's folder
ARMS = {
    "published": PUBLISHED,
    "pass_rate": (*PUBLISHED, "--reward", "pass_rate"),
    "tree": (*PUBLISHED, "--first_attempts", "4", "--rloo_k", "2", "--first_turn_return", "own", "--reward", "pass_rate"),
}
# Of the training batches: column, metric, and what makes a percentage of it.
METRICS = {
    "Accuracy@t1": ("accuracy/turn1", 100),
    "Accuracy@t2": ("accuracy/turn2", 100),
    "KL of t1": ("kl/turn1", 1),
    "KL of t2": ("kl/turn2", 1),
    "unchanged": ("transition/unchanged2", 100),
    "i→c": ("transition/incorrect_to_correct2", 100),
    "c→i": ("transition/correct_to_incorrect2", 100),
}
STEPS_A_ROW = 20


def main() -> None:
    flags = _parse()
    stages = [stage for seed in flags.seeds for stage in stages_of(flags, seed)]
    with tqdm(stages, desc="stages") as bar:
        for folder, command in bar:
            bar.set_postfix_str(folder.name)
            _run(folder, command)
    for seed in flags.seeds:
        print(f"\nSeed {seed}:\n\n{_table(flags, seed)}")
        for arm in flags.arms:
            print(f"\nTraining batches of {arm}, percent and nats:\n\n{training_table(flags.output_dir / f'{arm}-{seed}')}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_name_or_path", required=True)
    parser.add_argument("--train_data", required=True, help="problems in MBPP format, for boost pairs and for RL")
    parser.add_argument("--test_data", required=True, help="problems that are evaluated")
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=["published", "pass_rate"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--max_steps", type=int, default=100, help="RL steps of an arm")
    parser.add_argument("--boost_steps", type=int, default=50)
    parser.add_argument("--no_boost", action="store_true", help="train the model itself")
    parser.add_argument("--boost_data", type=Path, help="boost pairs, instead of making them from --train_data")
    parser.add_argument("--launcher", default=sys.executable, help="what starts a script")
    parser.add_argument("--pair_flags", default="--corrupt --num_samples 0", help="of python -m data.boost")
    parser.add_argument("--boost_flags", default="", help="of train_boost.py")
    parser.add_argument("--rl_flags", default="", help="of train_cocos.py, all arms")
    parser.add_argument("--eval_flags", default="", help="of evaluate.py")
    flags = parser.parse_args()
    if flags.boost_data and flags.no_boost:
        parser.error("--boost_data and --no_boost exclude each other")
    return flags


def stages_of(flags: argparse.Namespace, seed: int) -> list[tuple[Path, list[object]]]:
    """(folder, command) of what a seed needs, in order. Boost pairs and the evaluation of the model serve all seeds."""
    out, launcher = flags.output_dir, shlex.split(flags.launcher)
    evaluate = [
        *launcher, ROOT / "evaluate.py", "--test_data", flags.test_data, *shlex.split(flags.eval_flags), "--model_name_or_path",
    ]  # fmt: skip
    stages = [(out / "eval-model", [*evaluate, flags.model_name_or_path, "--output_dir", out / "eval-model"])]
    start: object = flags.model_name_or_path
    if not flags.no_boost:
        pairs, boost = flags.boost_data or out / "pairs/boost.json", out / f"boost-{seed}"
        start = boost / f"checkpoint-{flags.boost_steps}"
        if not flags.boost_data:
            make = [
                *(sys.executable, "-m", "data.boost", "--problems", flags.train_data, "--output", pairs),
                *("--model_name_or_path", flags.model_name_or_path, *shlex.split(flags.pair_flags)),
            ]
            stages.append((pairs.parent, make))
        stages += [
            (
                boost,
                [
                    *(*launcher, ROOT / "train_boost.py", "--model_name_or_path", flags.model_name_or_path),
                    *("--train_data", pairs, "--output_dir", boost, "--seed", seed, "--max_steps", flags.boost_steps),
                    *_resumable(flags.boost_flags),
                ],
            ),
            (out / f"eval-boost-{seed}", [*evaluate, start, "--output_dir", out / f"eval-boost-{seed}"]),
        ]
    for arm in flags.arms:
        folder = out / f"{arm}-{seed}"
        train = [
            *(*launcher, ROOT / "train_cocos.py", "--model_name_or_path", start, "--train_data", flags.train_data, *ARMS[arm]),
            *("--output_dir", folder, "--seed", seed, "--max_steps", flags.max_steps, *_resumable(flags.rl_flags)),
        ]
        trained = folder / f"checkpoint-{flags.max_steps}"
        stages += [
            (folder, train),
            (out / f"eval-{folder.name}", [*evaluate, trained, "--output_dir", out / f"eval-{folder.name}"]),
        ]
    return stages


def _resumable(more: str) -> list[str]:
    """Flags of a training script, and that it is to go on where it was stopped, unless it leaves nothing to go on from."""
    words = shlex.split(more)
    leaves_nothing = re.search(r"--save_only_model(?![= ](?i:false|no|0)\b)", " ".join(words))
    return words if leaves_nothing else ["--resume_from_checkpoint", "auto", *words]


def _run(folder: Path, command: list[object]) -> None:
    """Unless it is done already by this very command; its output goes beside the folder. Exits where it fails."""
    words, done = [str(word) for word in command], folder / ".done"
    if done.is_file():
        if done.read_text() != shlex.join(words):
            sys.exit(f"error: {folder} was made by another command; give the same flags, or another --output_dir, or delete it")
        return
    folder.mkdir(parents=True, exist_ok=True)
    log = folder.with_name(f"{folder.name}.log")
    with open(log, "w", encoding="utf-8") as stream:
        code = subprocess.run(words, env=ENVIRONMENT, stdout=stream, stderr=subprocess.STDOUT, check=False).returncode
    if code:
        sys.exit(f"error: {shlex.join(words)} ended with {code}; {log} says why")
    done.write_text(shlex.join(words))


def _table(flags: argparse.Namespace, seed: int) -> str:
    """All side by side, each against the model; and the arms against the boost that they started from."""
    names = {"model": "eval-model", **({} if flags.no_boost else {"boost": f"eval-boost-{seed}"})}
    names |= {arm: f"eval-{arm}-{seed}" for arm in flags.arms}
    runs = [f"{name}={flags.output_dir / folder}" for name, folder in names.items()]
    tables = [runs] if flags.no_boost else [runs, runs[1:]]
    return "\n".join(map(_compared, tables))


def training_table(folder: Path) -> str:
    """Means over `STEPS_A_ROW` steps of what a run's batches were like. Markdown."""
    lines = map(json.loads, (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    steps = [line for line in lines if METRICS["Accuracy@t1"][0] in line]  # evaluations have lines of their own
    table = ["| " + " | ".join(["steps", *METRICS]) + " |", "|" + "---|" * (1 + len(METRICS))]
    for start in range(0, len(steps), STEPS_A_ROW):
        of = steps[start : start + STEPS_A_ROW]
        cells = [_mean([step.get(metric) for step in of], scale) for metric, scale in METRICS.values()]
        table.append("| " + " | ".join([f"{of[0]['step']}–{of[-1]['step']}", *cells]) + " |")
    return "\n".join(table)


def _mean(values: Sequence[float | None], scale: int) -> str:
    """Of the steps that have one: not those without a verdict, or whose number was not finite."""
    found = [value for value in values if value is not None]
    return f"{scale * mean(found):.{1 if scale == 100 else 2}f}" if found else "–"


def _compared(runs: list[str]) -> str:
    command = [sys.executable, "-m", "rl.compare", *runs]
    return subprocess.run(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, check=True).stdout


if __name__ == "__main__":
    main()
