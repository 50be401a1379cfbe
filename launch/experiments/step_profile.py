"""Where a step's time goes: the costliest operators of sampling, the reference's pass and the update, and what stands idle.

    python -m launch.experiments.step_profile --model_name_or_path M --train_data F --output_dir D --dtype bfloat16 \\
        --global_batch_size 16 --max_new_tokens 64 --temperature 1 --deepspeed launch/zero0.json

Takes all flags of `train_cocos.py` and makes its first two steps, on one process; the first, which allocates, is not looked at,
and no problems are replaced (`--drop_equal_groups`).
Seconds of operators are their own, without those they call: on a GPU of their kernels there, else on the thread that calls
them. The profiler adds to each call, most of all where calls are short, as in decoding, and takes its time afterwards: sample
few tokens.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from data.order import ShuffledOrder
from data.problem import hide_tests, read_problems
from launch.processes import start_processes, stop_processes
from launch.zero import SamplingWeights, build_engine, build_reference, load_zero_config
from rl.advantages import tree_advantages
from rl.cocos_config import CocosConfig
from rl.flags import exit_on_bad_input, parse_flags, start_logging
from rl.ppo import update_epochs
from rl.pretrained import compute_dtype, load_model, load_model_config, load_tokenizer
from rl.rollout import build_collector
from rl.scoring import rollout_kls, rollout_rewards, scored

NUM_SHOWN = 10
NAME_LENGTH = 90  # kernels carry their template's arguments
LEAST_SHARE = 0.01  # of the step; a part that takes less has no table


@dataclass
class Part:
    """One part of a step: its wall seconds, those of all threads or of the GPU, and (seconds, calls) of operators by name."""

    wall_s: float = 0.0
    busy_s: float = 0.0
    operators: dict[str, tuple[float, int]] = field(default_factory=dict)


def main() -> None:
    with exit_on_bad_input():
        config = parse_flags(CocosConfig, sys.argv[1:], __doc__)
        problems = hide_tests(read_problems(config.train_data), config.hidden_tests)
        processes = start_processes(config.local_rank, config.collective_timeout_s)
        start_logging(processes.is_main)
        tokenizer = load_tokenizer(config.model_name_or_path)
        model_config = load_model_config(config.model_name_or_path, config.attn_implementation)
        collector = build_collector(
            config,
            tokenizer,
            model_config,
            problems,
            config.num_turns,
            config.local_rollout_forward_batch_size,
            processes.device,
        )
    with collector.pool:
        step = build_step(config, problems, collector, processes)
        step(1, None)
        parts: dict[str, Part] = {}
        step(2, parts)
    on_gpu, threads = torch.cuda.is_available(), torch.get_num_threads()
    print(report(parts, "the GPU" if on_gpu else f"{threads} threads", 1 if on_gpu else threads))
    stop_processes()


def build_step(config: CocosConfig, problems: list, collector: Any, processes: Any) -> Any:
    """What `train_cocos.train` does in a step, as a function of its number and of the parts to fill in."""
    device, dtype = processes.device, compute_dtype(config.dtype, processes.device)
    zero_config = load_zero_config(config.deepspeed, config.per_device_train_batch_size, config.max_grad_norm, dtype)
    model = load_model(config.model_name_or_path, torch.float32, config.attn_implementation, config.gradient_checkpointing)
    engine = build_engine(model, zero_config, config, num_steps=2)
    reference = build_reference(load_model(config.reference, torch.float32, config.attn_implementation), zero_config, device)
    weights = SamplingWeights(engine, config.ds3_gather_for_generation)
    order = ShuffledOrder(len(problems), config.seed)
    limit, count = config.new_pass_limit(), config.problems_per_step
    advantages_of = partial(tree_advantages, **config.score_flags, over_ranks=processes.add)

    def step(number: int, parts: dict[str, Part] | None) -> None:
        chosen = [problems[row] for row in order.take((number - 1) * count, count)]
        seeds = [(config.seed, number, place) for place in range(count)]
        with watched(parts, "sampling"), weights.sampling() as policy:
            rollout = collector.collect(policy, chosen, config.branching, config.temperature, seeds)
        with watched(parts, "reference"):
            kls = rollout_kls(rollout, reference, collector.limit, config.temperature, device)
        with watched(parts, "waiting for tests"):
            rewards, has_verdict = rollout_rewards(rollout, config.reward)
        rows = scored(rollout, rewards, has_verdict, kls, config.kl_coef, config, advantages_of, processes.add).rows
        with watched(parts, "update"):
            update_epochs(engine, rows, limit, config, f"{config.seed}:{number}")

    return step


@contextmanager
def watched(parts: dict[str, Part] | None, name: str) -> Iterator[None]:
    """Times and operators of what runs inside, under `name`; without `parts` nothing is watched."""
    if parts is None:
        yield
        return
    on_gpu = torch.cuda.is_available()
    start, cpu_start = time.perf_counter(), time.process_time()
    with profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]) as profiler:
        yield
        if on_gpu:
            torch.cuda.synchronize()
        part = Part(time.perf_counter() - start, time.process_time() - cpu_start)
    time_of = attrgetter("self_device_time_total" if on_gpu else "self_cpu_time_total")
    part.operators = {event.key: (time_of(event) / 1e6, event.count) for event in profiler.key_averages()}
    if on_gpu:
        part.busy_s = sum(seconds for seconds, _ in part.operators.values())
    parts[name] = part


def report(parts: dict[str, Part], busy_of: str, num_workers: int) -> str:
    """One table of the parts, and one of each part's costliest operators."""
    total = sum(part.wall_s for part in parts.values())
    lines = [f"| of {total:.2f} s | seconds | share | busy of {busy_of} |", "|---|---|---|---|"]
    for name, part in parts.items():
        busy = part.busy_s / (part.wall_s * num_workers)
        lines.append(f"| {name} | {part.wall_s:.2f} | {part.wall_s / total:.0%} | {busy:.0%} |")
    for name, part in parts.items():
        if part.wall_s < LEAST_SHARE * total:
            continue
        costliest = sorted(part.operators.items(), key=lambda item: -item[1][0])[:NUM_SHOWN]
        lines += ["", f"| {name} | seconds | share | calls | ms a call |", "|---|---|---|---|---|"]
        for operator, (seconds, calls) in costliest:
            name, share = operator[:NAME_LENGTH], seconds / part.wall_s
            lines.append(f"| {name} | {seconds:.2f} | {share:.0%} | {calls:,} | {1000 * seconds / calls:.3f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
