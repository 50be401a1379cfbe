"""Seconds of an update by ZeRO stage and number of processes: the same global batch, one thread a process.

    .venv/bin/python -m launch.experiments.scaling --model_name_or_path M --train_data boost.json --output_dir runs/scaling

Every arm is a short `train_boost.py`, whose step is an update and nothing else; the arms are run in turn, `--rounds` times. The
first step of a run, which allocates, is left out.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

from tqdm import tqdm

from launch.experiments.environment import ROOT

CONFIGS = ["zero0", "zero1", "zero2", "zero3", "zero2_offload", "zero3_offload"]


def main() -> None:
    flags = _parse()
    arms = [(config, ranks) for config in flags.configs for ranks in flags.ranks]
    seconds: dict[tuple[str, int], list[float]] = {arm: [] for arm in arms}
    with tqdm(total=flags.rounds * len(arms), desc="runs") as bar:
        for number in range(flags.rounds):
            for arm in arms:
                seconds[arm] += run(flags, *arm, flags.output_dir / f"{arm[0]}-{arm[1]}-{number}")
                bar.update()
    print(table(seconds, flags))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_name_or_path", required=True)
    parser.add_argument("--train_data", required=True, help="boost pairs")
    parser.add_argument("--output_dir", type=Path, default=Path("runs/scaling"))
    parser.add_argument("--configs", nargs="+", default=CONFIGS, choices=CONFIGS)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--global_batch_size", type=int, default=8)
    parser.add_argument("--per_device_train_batch_size", type=int, default=4)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    return parser.parse_args()


def run(flags: argparse.Namespace, config: str, ranks: int, folder: Path) -> list[float]:
    """Seconds of every step but the first."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(ranks)]
    arguments = {
        "model_name_or_path": flags.model_name_or_path,
        "train_data": flags.train_data,
        "output_dir": folder,
        "deepspeed": f"launch/{config}.json",
        "dtype": flags.dtype,
        "global_batch_size": flags.global_batch_size,
        "per_device_train_batch_size": flags.per_device_train_batch_size,
        "max_steps": flags.steps,
        "save_steps": flags.steps + 1,
        "report_to": "none",
    }
    command = [sys.executable, *launcher, "train_boost.py", *[str(t) for k, v in arguments.items() for t in (f"--{k}", v)]]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-3000:]}")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line["time/update_s"] for line in lines if "time/update_s" in line][1:]


def table(seconds: dict[tuple[str, int], list[float]], flags: argparse.Namespace) -> str:
    """Medians, against the first configuration on one process, and what more processes gain."""
    first = median(seconds[flags.configs[0], flags.ranks[0]])
    lines = ["| | processes | seconds a step | against the first | speed-up over the fewest |", "|---|---|---|---|---|"]
    for (config, ranks), numbers in seconds.items():
        now, fewest = median(numbers), median(seconds[config, flags.ranks[0]])
        spread = f"{now:.2f} ({min(numbers):.2f}-{max(numbers):.2f})"
        lines.append(f"| {config} | {ranks} | {spread} | {now / first:.2f} | {fewest / now:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
