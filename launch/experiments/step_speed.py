"""A whole RL step of ours beside the published loop's and TRL's: seconds, tokens a second, peak memory.

    python -m launch.experiments.step_speed --model_name_or_path M --data F --output_dir runs/step_speed

Every arm is a few steps of the same model on the same problems in a process of its own, one arm after the other, `--rounds`
times; the first step of a run, which allocates, is left out. Memory is the GPU's where there is one. Ours are real
`train_cocos.py` runs. `published_loop` says what the published arms do, `trl_rloo` what TRL's do and how its environment is
made (`--trl_python`; without it they are left out).

What is compared: with 16 episodes ours and the published loop sample 4 first attempts and 16 corrections and train the
corrections; TRL has one turn, samples 16 attempts and trains them. Ours of one turn is that same work.
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

import torch
from tqdm import tqdm

from launch.experiments.environment import PYTHONPATH, ROOT
from launch.experiments.process_memory import wait_with_peak

GB = 1e9


@dataclass(frozen=True)
class Arm:
    """One way to take a step: whose, in what precision, by how many processes on how many threads each, and its own flags."""

    kind: str  # ours, published, trl
    dtype: str
    num_processes: int = 1
    num_turns: int = 2
    flags: tuple[str, ...] = ()


KINDS = {"ours": "train_cocos.py", "published": "launch.experiments.published_loop", "trl": "launch.experiments.trl_rloo"}
TRL_ROWS = ("--per_device_train_batch_size", "4")  # of a pass; its best
ARMS = {
    "ours fp32, 1 process": Arm("ours", "float32"),
    "ours fp32, 2 processes": Arm("ours", "float32", 2),
    "ours fp32, one turn": Arm("ours", "float32", 1, 1),
    "ours bf16, 1 process": Arm("ours", "bfloat16"),
    "ours bf16, 2 processes": Arm("ours", "bfloat16", 2),
    "ours bf16, one turn": Arm("ours", "bfloat16", 1, 1),
    "ours bf16, one turn, 2 processes": Arm("ours", "bfloat16", 2, 1),
    "published fp32": Arm("published", "float32"),
    "published bf16": Arm("published", "bfloat16"),
    "published bf16, to the limit": Arm("published", "bfloat16", flags=("--to_the_limit",)),
    "TRL fp32": Arm("trl", "float32", 1, 1, TRL_ROWS),
    "TRL bf16": Arm("trl", "bfloat16", 1, 1, TRL_ROWS),
    "TRL bf16 weights": Arm("trl", "float32", 1, 1, ("--weights", "bfloat16", *TRL_ROWS)),
    "TRL bf16 weights, 2 processes": Arm("trl", "float32", 2, 1, ("--weights", "bfloat16", *TRL_ROWS)),
}


@dataclass
class Measured:
    """What an arm's runs gave: one number a step, and one peak a run."""

    step_s: list[float] = field(default_factory=list)
    tokens: list[float] = field(default_factory=list)  # sampled in the step, over all processes
    parts: list[dict[str, float]] = field(default_factory=list)  # seconds by part
    peak_bytes: list[int] = field(default_factory=list)

    @property
    def tokens_per_s(self) -> float:
        return sum(self.tokens) / sum(self.step_s)


def main() -> None:
    flags = _parse()
    measured = {name: Measured() for name in flags.arms}
    with tqdm(total=flags.rounds * len(measured), desc="runs") as bar:
        for number in range(flags.rounds):
            for name, numbers in measured.items():
                bar.set_postfix_str(name)
                run(name, numbers, flags, number)
                save({n: m for n, m in measured.items() if m.step_s}, flags)
                bar.update()
    print(table(measured))


def save(measured: dict[str, Measured], flags: argparse.Namespace) -> None:
    """What is measured so far, as `step_speed.json` and `step_speed.md`; a run that fails later does not lose it."""
    record = {"flags": vars(flags), "arms": {name: asdict(ARMS[name]) | asdict(m) for name, m in measured.items()}}
    (flags.output_dir / "step_speed.json").write_text(json.dumps(record, indent=2, default=str) + "\n")
    (flags.output_dir / "step_speed.md").write_text(table(measured) + "\n")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_name_or_path", required=True)
    parser.add_argument("--data", required=True, help="problems in MBPP format")
    parser.add_argument("--fewshot_data", help="solved problems shown before turn 1, in all arms")
    parser.add_argument("--output_dir", type=Path, default=Path("runs/step_speed"))
    parser.add_argument(
        "--arms", nargs="+", choices=list(ARMS), metavar="ARM", help=f"all that can run, or some of: {'; '.join(ARMS)}"
    )
    parser.add_argument("--trl_python", type=Path, help="python of an environment with TRL, see trl_rloo")
    parser.add_argument("--global_batch_size", type=int, default=16, help="episodes of a step")
    parser.add_argument("--rloo_k", type=int, default=4, help="samples of a group")
    parser.add_argument("--max_new_tokens", type=int, default=128)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of all processes of an arm together")
    parser.add_argument("--steps", type=int, default=3, help="of a run, the first of which is left out")
    parser.add_argument("--rounds", type=int, default=1)
    for kind, what in KINDS.items():
        parser.add_argument(f"--{kind}_flags", default="", help=f"more flags of {what}, in one word, behind =")
    flags = parser.parse_args()
    if flags.steps < 2:
        parser.error(f"--steps is {flags.steps}: the first is left out, so at least 2 are needed")
    if flags.global_batch_size % flags.rloo_k:
        parser.error(
            f"--global_batch_size is {flags.global_batch_size}: it must be a multiple of --rloo_k, which is {flags.rloo_k}"
        )
    if flags.trl_python and not flags.trl_python.is_file():
        parser.error(f"--trl_python {flags.trl_python}: no such file; launch/experiments/trl_rloo.py says how to make it")
    without_trl = [name for name in ARMS if flags.trl_python or ARMS[name].kind != "trl"]
    for name in set(flags.arms or ()) - set(without_trl):
        parser.error(f"--arms {name!r} needs --trl_python, the python of an environment with TRL")
    flags.arms = flags.arms or without_trl
    return flags


def run(name: str, measured: Measured, flags: argparse.Namespace, number: int) -> None:
    """One run of an arm, added to `measured`. What it printed is left in its folder. Raises: SystemExit where it fails."""
    folder = flags.output_dir / f"{name.replace(',', '').replace(' ', '-')}-{number}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    words = command(ARMS[name], flags, folder)
    env = {
        **os.environ,
        "OMP_NUM_THREADS": str(max(1, flags.threads // ARMS[name].num_processes)),
        "PYTHONPATH": PYTHONPATH,
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
    }
    with open(folder / "log.txt", "w", encoding="utf-8") as log:
        process = subprocess.Popen(words, cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT)
        try:
            # Not what comes after the last step: ours writes a checkpoint then.
            peak = wait_with_peak(process, lambda: len(_steps_in(folder)) < flags.steps, torch.cuda.is_available())
        finally:
            process.terminate()
            process.wait()
    if process.returncode:
        raise SystemExit(f"{' '.join(words)}\n{(folder / 'log.txt').read_text()[-3000:]}")
    measured.peak_bytes.append(peak)
    add_steps(measured, _steps_in(folder)[1:])
    for checkpoint in folder.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)


def _steps_in(folder: Path) -> list[dict[str, float]]:
    """The steps that a run has logged so far."""
    path = folder / "metrics.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [line for line in map(json.loads, lines) if "time/step_s" in line]


def add_steps(measured: Measured, lines: Sequence[dict[str, float]]) -> None:
    """The numbers of some steps, under the names of our own `metrics.jsonl`."""
    for line in lines:
        measured.step_s.append(line["time/step_s"])
        measured.tokens.append(line["tokens/sampled"])
        parts = {name.removeprefix("time/"): value for name, value in line.items() if name.startswith("time/")}
        measured.parts.append({name: value for name, value in parts.items() if name != "step_s"})


def command(arm: Arm, flags: argparse.Namespace, folder: Path) -> list[str]:
    """The command line of one run."""
    python = flags.trl_python if arm.kind == "trl" else sys.executable
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(arm.num_processes)]
    values = {
        "model_name_or_path": flags.model_name_or_path,
        "output_dir": folder,
        "dtype": arm.dtype,
        "global_batch_size": flags.global_batch_size,
        "rloo_k": flags.rloo_k,
        "max_new_tokens": flags.max_new_tokens,
        "temperature": flags.temperature,
        "max_steps": flags.steps,
        "train_data" if arm.kind == "ours" else "data": flags.data,
    }
    if flags.fewshot_data:
        values["fewshot_data"] = flags.fewshot_data
    if arm.kind == "ours":
        values |= {"deepspeed": "launch/zero0.json", "report_to": "none", "warmup_ratio": 0}
        if arm.num_turns == 1:  # the group is then that of the first attempts
            values |= {"num_turns": 1, "first_attempts": values.pop("rloo_k")}
    target = [KINDS[arm.kind]] if arm.kind == "ours" else ["-m", KINDS[arm.kind]]
    words = [word for name, value in values.items() for word in (f"--{name}", value)]
    more = shlex.split(getattr(flags, f"{arm.kind}_flags"))
    return [str(word) for word in (python, *(launcher if arm.num_processes > 1 else []), *target, *words, *arm.flags, *more)]


def table(measured: dict[str, Measured]) -> str:
    """A Markdown table: medians with the lowest and highest step, and each arm against our fastest of two turns and of one."""
    fastest = {turns: _fastest_of_ours(measured, turns) for turns in (2, 1)}
    heads = ["", "turns", "seconds a step", "tokens a step", "tokens/s", "peak GB"]
    heads += [f"x ours, {word}" for turns, word in ((2, "two turns"), (1, "one turn")) if fastest[turns]]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for name, numbers in measured.items():
        cells = [
            name,
            str(ARMS[name].num_turns),
            f"{median(numbers.step_s):.2f} ({min(numbers.step_s):.2f}-{max(numbers.step_s):.2f})",
            f"{median(numbers.tokens):.0f}",
            f"{numbers.tokens_per_s:.1f}",
            f"{max(numbers.peak_bytes) / GB:.2f}",
        ]
        cells += [f"{median(numbers.step_s) / base:.2f}" for base in fastest.values() if base]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *_parts(measured)])


def _fastest_of_ours(measured: dict[str, Measured], num_turns: int) -> float | None:
    """Seconds a step of our fastest arm of so many turns; None where there is none."""
    ours = [name for name in measured if ARMS[name].kind == "ours" and ARMS[name].num_turns == num_turns]
    return min((median(measured[name].step_s) for name in ours), default=None)


def _parts(measured: dict[str, Measured]) -> list[str]:
    """Where each arm's seconds go, one line an arm."""
    lines = []
    for name, numbers in measured.items():
        names = dict.fromkeys(part for step in numbers.parts for part in step)
        shares = [f"{part.removesuffix('_s')} {median(step.get(part, 0.0) for step in numbers.parts):.2f}" for part in names]
        lines.append(f"{name}: {', '.join(shares)} s.")
    return lines


if __name__ == "__main__":
    main()
