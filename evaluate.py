"""Measure models over turns of self-correction: Accuracy@t, what corrections change, pass@k, with 95% intervals.

    python evaluate.py --model_name_or_path M --test_data F --output_dir D --num_turns 2

Writes `samples.jsonl` and `summary.json` to `--output_dir` and prints tables; with several models or data sets, a folder of
both for each. Several processes (torchrun) share the problems. What was interrupted goes on with the same command.
"""

import logging
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import torch
from tqdm import tqdm

from data.problem import hide_tests, read_problems
from launch.processes import Processes, start_processes, stop_processes
from rl.config import EvaluateConfig
from rl.evaluation.parts import Part, check_folder, claim_folder, parts_of
from rl.evaluation.results import close_part, write_summaries
from rl.evaluation.running import batches, evaluate_batches, finished_batches
from rl.flags import exit_on_bad_input, parse_flags, start_logging
from rl.output_folder import check_shared
from rl.pretrained import compute_dtype, load_model, load_model_config, load_tokenizer
from rl.report.page import write_report
from rl.rollout import Collector, build_collector
from rl.trajectory import Rollout
from sandbox.pool import SandboxPool

logger = logging.getLogger("evaluate")


def main() -> None:
    with ExitStack() as pools:
        with exit_on_bad_input():
            config = parse_flags(EvaluateConfig, sys.argv[1:], __doc__)
            problem_sets = [hide_tests(read_problems(source, "test"), config.hidden_tests) for source in config.test_data]
            parts = parts_of(config, [problems[: config.max_problems or len(problems)] for problems in problem_sets])
            wanted = check_folder(config, parts)
            processes = start_processes(config.local_rank)
            start_logging(processes.is_main)
            collectors = build_collectors(config, parts, processes, pools)
            check_shared(Path(config.output_dir), processes)
            processes.barrier()  # nobody writes before everybody has checked
            lock = claim_folder(config, wanted) if processes.is_main else None
        for model_name, collector in collectors.items():
            evaluate_model(config, [part for part in parts if part.model == model_name], collector, processes)
    if processes.is_main:
        print(write_summaries(parts, Path(config.output_dir), config.num_turns, config.pass_at))
        if config.report:
            write_report({part.name: part.samples for part in parts}, Path(config.report))
            logger.info("report: %s", config.report)
        lock.close()
    stop_processes()


def build_collectors(
    config: EvaluateConfig, parts: Sequence[Part], processes: Processes, pools: ExitStack
) -> dict[str, Collector]:
    """A collector for each model with something left to do, on one sandbox: all prompts are checked before a model loads."""
    collectors: dict[str, Collector] = {}
    pool: SandboxPool | None = None
    for name in dict.fromkeys(part.model for part in parts if not part.is_finished):
        problems = list(dict.fromkeys(problem for part in parts if part.model == name for problem in part.problems))
        model_config = load_model_config(name, config.attn_implementation)
        tokenizer = load_tokenizer(name)
        collector = build_collector(
            config, tokenizer, model_config, problems, config.num_turns, config.batch_size, processes.device, pool
        )
        if pool is None:
            pool = pools.enter_context(collector.pool)
            logger.info("sandbox: %s", pool.layer_report())
        collectors[name] = collector
    return collectors


def evaluate_model(config: EvaluateConfig, parts: Sequence[Part], collector: Collector, processes: Processes) -> None:
    """The parts of one model, a batch at a time; each is closed when all ranks are through with it."""
    start = time.perf_counter()
    dtype = compute_dtype(config.dtype, processes.device)
    model = load_model(parts[0].model, dtype, config.attn_implementation).to(processes.device).eval()
    logger.info("%s: loaded in %.1f s", parts[0].model_name, time.perf_counter() - start)
    for part in parts:
        if not part.is_finished:
            num_batches = sample_part(config, part, collector, model, processes)
            if processes.is_main:
                with exit_on_bad_input():
                    close_part(part, num_batches)
            processes.barrier()


def sample_part(config: EvaluateConfig, part: Part, collector: Collector, model: torch.nn.Module, processes: Processes) -> int:
    """This rank's share of what `part` has no samples of yet; returns the number of all batches."""
    batched = batches(len(part.problems), config.num_samples, config.batch_size)
    done = finished_batches(part.folder)
    if done:
        logger.info("%s: going on after %d of %d batches", part.name, len(done), len(batched))
    processes.barrier()  # nobody writes before everybody has read
    left = [number for number in range(len(batched)) if number not in done]
    work = {number: batched[number] for number in left[processes.rank :: processes.world_size]}
    branching = [config.num_samples] + [1] * (config.num_turns - 1)
    num_problems = sum(map(len, work.values()))
    total = num_problems * config.num_samples * config.num_turns
    start, sample_s = time.perf_counter(), 0.0
    with tqdm(total=total, desc=part.name, leave=False, disable=None if processes.is_main else True) as bar:

        def sample(batch: range) -> Rollout:
            nonlocal sample_s
            began = time.perf_counter()
            problems, seeds = [part.problems[i] for i in batch], [(config.seed, i) for i in batch]
            rollout = collector.collect(model, problems, branching, config.temperature, seeds, bar.update)
            sample_s += time.perf_counter() - began
            return rollout

        evaluate_batches(sample, work, part.folder, processes.rank)
    spent = time.perf_counter() - start
    processes.barrier()
    if work:
        logger.info(
            "%s: %d problems on this process in %.1f s (%.2f a second): sampling %.1f s, waiting for verdicts %.1f s",
            *(part.name, num_problems, spent, num_problems / spent, sample_s, spent - sample_s),
        )
    return len(batched)


if __name__ == "__main__":
    main()
