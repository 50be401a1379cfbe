"""TRL's RLOOTrainer on the problems of `step_speed`, whose metrics it writes. Runs in an environment of its own:

    python3 -m venv runs/trl && runs/trl/bin/pip install torch==2.13.0 && runs/trl/bin/pip install trl==1.16.0
    PYTHONPATH=. runs/trl/bin/python -m launch.experiments.trl_rloo --model_name_or_path M --data F --output_dir D

One turn: `--rloo_k` completions of each prompt, all trained; the same prompts in the same order, the same KL coefficient,
graded by our own sandbox. A completion ends at EOS or the limit. Logging, saving and data workers are off. What TRL offers for
speed on a CPU is a flag: bfloat16 by autocast over float32 weights (`--dtype`, TRL's default) or in the weights too
(`--weights`, which rounds most small updates away), rows of a pass, checkpointing (TRL's default). Its continuous batching is
left out: on a CPU with 23 GB it was killed for want of memory.
"""

import argparse
import json
import os
import time
from pathlib import Path

import torch
from datasets import Dataset
from transformers import TrainerCallback
from trl import RLOOConfig, RLOOTrainer

from data.order import ShuffledOrder
from data.problem import read_problems
from data.prompts import extract_code, first_prompt
from launch.experiments.step_flags import step_parser
from sandbox.pool import Limits, SandboxPool
from sandbox.suite import compile_suite, defined_names


def main() -> None:
    flags = _parse()
    problems = read_problems(flags.data)
    fewshot = read_problems(flags.fewshot_data) if flags.fewshot_data else []
    order = ShuffledOrder(len(problems), flags.seed).take(0, flags.max_steps * flags.global_batch_size // flags.rloo_k)
    rows = Dataset.from_list([{"prompt": first_prompt(problems[row], fewshot), "row": row} for row in order])
    is_main = int(os.environ.get("RANK", "0")) == 0
    with SandboxPool(limits=Limits(test_timeout_s=2.0)) as pool:
        meter = Meter(flags.output_dir / "metrics.jsonl", int(os.environ.get("WORLD_SIZE", "1")), is_main)

        def tests_passed(completions: list[str], completion_ids: list[list[int]], row: list[int], **_) -> list[float]:
            start = time.perf_counter()
            graded = [problems[n] for n in row]
            suites = [
                compile_suite(p.test_list, setup_code=p.test_setup_code, reference_names=defined_names(p.code)) for p in graded
            ]
            verdicts = pool.grade([(extract_code(text), suite) for text, suite in zip(completions, suites)])
            meter.add(sum(map(len, completion_ids)), time.perf_counter() - start)
            return [float(verdict.passed) for verdict in verdicts]

        RLOOTrainer(
            flags.model_name_or_path, tests_passed, trainer_config(flags), train_dataset=rows, callbacks=[meter]
        ).train()
    meter.close()


class Meter(TrainerCallback):
    """Writes one line a step: seconds from the end of the step before, and what the reward function was told of."""

    def __init__(self, path: Path, num_processes: int, is_main: bool):
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = open(path if is_main else os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        self._num_processes = num_processes
        self._num_tokens, self._reward_s, self._last = 0, 0.0, 0.0

    def add(self, num_tokens: int, reward_s: float) -> None:
        """Completions that were sampled, and what their grading took."""
        self._num_tokens, self._reward_s = self._num_tokens + num_tokens, self._reward_s + reward_s

    def on_train_begin(self, args, state, control, **_) -> None:
        self._last = time.perf_counter()

    def on_step_end(self, args, state, control, **_) -> None:
        now = time.perf_counter()
        # The other processes sample as many rows; what they sampled is taken to be as long.
        line = {"step": state.global_step, "tokens/sampled": self._num_tokens * self._num_processes}
        line |= {"time/reward_s": self._reward_s, "time/step_s": now - self._last}
        print(json.dumps(line), file=self._stream, flush=True)
        self._num_tokens, self._reward_s, self._last = 0, 0.0, now

    def close(self) -> None:
        self._stream.close()


def trainer_config(flags: argparse.Namespace) -> RLOOConfig:
    """TRL's own flags for the step that is compared. Raises: SystemExit where the rows of a pass do not divide the step."""
    rows_of_process = flags.global_batch_size // int(os.environ.get("WORLD_SIZE", "1"))
    rows = min(flags.per_device_train_batch_size or rows_of_process, rows_of_process)
    if rows_of_process % rows:
        raise SystemExit(
            f"error: --per_device_train_batch_size is {rows}: it must divide the {rows_of_process} rows of a process"
        )
    return RLOOConfig(
        output_dir=str(flags.output_dir),
        model_init_kwargs={"dtype": flags.weights, "attn_implementation": "sdpa"},
        bf16=flags.dtype == "bfloat16",
        use_cpu=not torch.cuda.is_available(),
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=rows_of_process // rows,
        gradient_checkpointing=flags.gradient_checkpointing,
        num_generations=flags.rloo_k,
        max_completion_length=flags.max_new_tokens,
        temperature=flags.temperature,
        beta=flags.kl_coef,
        learning_rate=flags.learning_rate,
        lr_scheduler_type="constant",
        max_steps=flags.max_steps,
        seed=flags.seed,
        shuffle_dataset=False,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def _parse() -> argparse.Namespace:
    parser = step_parser(__doc__)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="bfloat16", help="of compute: autocast")
    parser.add_argument("--weights", choices=["float32", "bfloat16"], default="float32", help="of weights and optimizer")
    parser.add_argument("--per_device_train_batch_size", type=int, default=0, help="rows of a pass; 0: all of the process")
    parser.add_argument("--gradient_checkpointing", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
