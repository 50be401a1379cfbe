"""Boost a model before RL: supervised learning of first turns and corrections on pairs of prompt and completion.

    torchrun --nproc_per_node 2 train_boost.py --model_name_or_path M --train_data boost.json --output_dir D

The loss is the negative log-likelihood of the completion's own tokens, its end marker and EOS included: the policy-gradient
loss with advantage 1, through the same engine and update as RL.
"""

import logging
import sys
from contextlib import nullcontext
from pathlib import Path

from tqdm.contrib.logging import logging_redirect_tqdm
from transformers import PreTrainedTokenizerBase

from data.boost.pairs import read_pairs
from data.order import ShuffledOrder
from data.problem import Problem, hide_tests, read_problems
from launch.processes import Processes, StopRequest, start_processes, stop_processes
from launch.zero import SamplingWeights, ZeroConfigError, build_engine, load_zero_config, zero_stage
from rl.boosting import EncodedPair, boost_rows, encode_pairs
from rl.checkpoint import find_checkpoint
from rl.dry_run import boost_report
from rl.flags import exit_on_bad_input, parse_flags, start_logging
from rl.metrics import Clock, RunWriter
from rl.pretrained import compute_dtype, load_model, load_model_config, load_tokenizer
from rl.rollout import Collector, build_collector
from rl.session import Session, open_writer
from rl.train_config import BoostConfig
from rl.update import update

logger = logging.getLogger("train_boost")


def main() -> None:
    with exit_on_bad_input(ZeroConfigError):
        config = parse_flags(BoostConfig, sys.argv[1:], __doc__)
        pairs = read_pairs(config.train_data)
        eval_problems = read_problems(config.eval_data, "validation") if config.eval_data else []
        eval_problems = hide_tests(eval_problems, config.hidden_tests)
        processes = start_processes(config.local_rank, config.collective_timeout_s)
        start_logging(processes.is_main)
        config.check_world(processes.world_size)
        dtype = compute_dtype(config.dtype, processes.device)
        zero_config = load_zero_config(config.deepspeed, config.per_device_train_batch_size, config.max_grad_norm, dtype)
        checkpoint = find_checkpoint(
            Path(config.output_dir), config.resume_from_checkpoint, processes, zero_stage(zero_config), dtype, config
        )
        tokenizer = load_tokenizer(config.model_name_or_path)
        model_config = load_model_config(config.model_name_or_path, config.attn_implementation)
        encoded = encode_pairs(pairs, tokenizer, model_config)
        collector = None
        if eval_problems:
            collector = build_collector(
                config,
                tokenizer,
                model_config,
                eval_problems,
                config.eval_num_turns,
                config.local_rollout_forward_batch_size,
                processes.device,
            )
        writer = None if config.dry_run else open_writer(config, processes, checkpoint)
    with collector.pool if collector else nullcontext(), writer or nullcontext(), logging_redirect_tqdm():
        if writer is not None:
            train(config, zero_config, processes, tokenizer, collector, writer, encoded, eval_problems, checkpoint)
        elif processes.is_main:
            lengths = [len(pair.prompt_ids) + len(pair.completion_ids) for pair in encoded]
            rows = collector.row_tokens(eval_problems, config.eval_num_turns) if collector else []
            print(boost_report(config, model_config, lengths, rows, processes.world_size, zero_config, dtype))
    stop_processes()


def train(
    config: BoostConfig,
    zero_config: dict,
    processes: Processes,
    tokenizer: PreTrainedTokenizerBase,
    collector: Collector | None,
    writer: RunWriter,
    pairs: list[EncodedPair],
    eval_problems: list[Problem],
    checkpoint: Path | None,
) -> None:
    """Likelihood steps, with an evaluation and a checkpoint now and then."""
    num_steps = config.num_steps(len(pairs), config.global_batch_size)
    order = ShuffledOrder(len(pairs), config.seed)
    dtype = compute_dtype(config.dtype, processes.device)
    model = load_model(config.model_name_or_path, dtype, config.attn_implementation, config.gradient_checkpointing)
    engine = build_engine(model, zero_config, config, num_steps)
    weights = SamplingWeights(engine, config.ds3_gather_for_generation)
    session = Session(
        config, processes, engine, weights, StopRequest(), tokenizer, writer, collector, eval_problems, num_steps, checkpoint
    )
    limit = config.new_pass_limit()
    position = session.state.get("position", 0)
    for step in session.steps("boost"):
        clock = Clock()
        rows = order.take(position, config.global_batch_size)
        position += config.global_batch_size
        batch = [pairs[row] for row in rows[processes.rank :: processes.world_size]]
        num_tokens = sum(processes.gather(sum(len(pair.completion_ids) for pair in batch)))
        stats = update(engine, boost_rows(batch, num_tokens), limit)
        clock.lap("update_s")
        writer.log_step(step, stats.metrics() | {"data/epoch": position / len(pairs)}, clock)
        session.guard.check(step, stats)
        summary = session.evaluate(step)
        if summary and "accuracy@1" in summary:  # not in it where the sandbox failed at every problem
            session.is_over |= 0 < config.stop_at_accuracy <= summary["accuracy@1"]["value"]
        session.end_step(step, {"position": position})


if __name__ == "__main__":
    main()
