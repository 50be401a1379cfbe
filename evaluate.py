"""Measure a model over turns of self-correction: Accuracy@t, what corrections change, and 95% intervals.

    python evaluate.py --model_name_or_path M --test_data F --output_dir D --num_turns 2

Writes `summary.json` and `samples.jsonl` to `--output_dir` and prints a table. Several processes (torchrun) share the problems.
"""

import json
import logging
import sys
from pathlib import Path

from data.problem import read_problems
from launch.processes import start_processes, stop_processes
from rl.config import EvaluateConfig
from rl.evaluation import evaluate, summarize, table
from rl.files import write_whole
from rl.flags import exit_on_bad_input, parse_flags, resolved, start_logging
from rl.pretrained import compute_dtype, load_model, load_model_config, load_tokenizer
from rl.rollout import build_collector

logger = logging.getLogger("evaluate")


def main() -> None:
    with exit_on_bad_input():
        config = parse_flags(EvaluateConfig, sys.argv[1:], __doc__)
        problems = read_problems(config.test_data, "test")
        problems = problems[: config.max_problems or len(problems)]
        processes = start_processes(config.local_rank)
        start_logging(processes.is_main)
        tokenizer = load_tokenizer(config.model_name_or_path)
        model_config = load_model_config(config.model_name_or_path, config.attn_implementation)
        collector = build_collector(
            config, tokenizer, model_config, problems, config.num_turns, config.batch_size, processes.device
        )
    with collector.pool:
        logger.info("sandbox: %s", collector.pool.layer_report())
        dtype = compute_dtype(config.dtype, processes.device)
        model = load_model(config.model_name_or_path, dtype, config.attn_implementation).to(processes.device).eval()
        records = evaluate(
            collector,
            model,
            problems,
            processes,
            num_turns=config.num_turns,
            temperature=config.temperature,
            seed=config.seed,
        )
    if processes.is_main:
        summary = summarize(records)
        output_dir = Path(config.output_dir)
        output_dir.mkdir(parents=True, exist_ok=True)
        write_whole(output_dir / "config.json", json.dumps(resolved(config), indent=2) + "\n")
        write_whole(output_dir / "samples.jsonl", "".join(json.dumps(record) + "\n" for record in records))
        write_whole(output_dir / "summary.json", json.dumps(summary, indent=2) + "\n")
        print(table({Path(config.model_name_or_path).name: summary}, config.num_turns))
    stop_processes()


if __name__ == "__main__":
    main()
