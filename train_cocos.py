"""Teach a model to correct its own code: two-turn REINFORCE Leave-One-Out with a KL penalty (CoCoS, arXiv 2505.23060).

    torchrun --nproc_per_node 2 train_cocos.py --model_name_or_path M --train_data F --output_dir D --rloo_k 4

Left out on purpose: a value model, and top-k or top-p sampling. A ratio to an older policy, and its clip, come in only where a
rollout is used for more than one optimizer step.
"""

import logging
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path

from tqdm.contrib.logging import logging_redirect_tqdm

from data.order import ShuffledOrder
from data.problem import Problem, hide_tests, read_problems
from launch.processes import Processes, StopRequest, start_processes, stop_processes
from launch.zero import SamplingWeights, ZeroConfigError, build_engine, build_reference, load_zero_config, zero_stage
from rl.advantages import tree_advantages
from rl.checkpoint import find_checkpoint
from rl.cocos_config import CocosConfig
from rl.completion import Seed
from rl.dry_run import cocos_report
from rl.flags import exit_on_bad_input, parse_flags, start_logging
from rl.kl_control import KlCoefficient
from rl.metrics import Clock, RunWriter, merge, rollout_counts, tensor_counts
from rl.ppo import update_epochs
from rl.pretrained import check_same_tokens, compute_dtype, load_model, load_model_config, load_tokenizer
from rl.resampling import ProblemSource
from rl.rollout import Collector, build_collector
from rl.scoring import informative_problems, rollout_kls, rollout_rewards, scored
from rl.session import Session, open_writer
from rl.trajectory import Rollout

logger = logging.getLogger("train_cocos")


def main() -> None:
    with exit_on_bad_input(ZeroConfigError):
        config = parse_flags(CocosConfig, sys.argv[1:], __doc__)
        problems = hide_tests(read_problems(config.train_data), config.hidden_tests)
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
        check_same_tokens(config.reference, tokenizer)
        model_config = load_model_config(config.model_name_or_path, config.attn_implementation)
        collector = build_collector(
            config,
            tokenizer,
            model_config,
            problems + eval_problems,
            max(config.num_turns, config.eval_num_turns if eval_problems else 1),
            config.local_rollout_forward_batch_size,
            processes.device,
        )
        writer = None if config.dry_run else open_writer(config, processes, checkpoint)
    with collector.pool, writer or nullcontext(), logging_redirect_tqdm():
        logger.info("sandbox: %s", collector.pool.layer_report())
        if writer is not None:
            train(config, zero_config, processes, collector, writer, problems, eval_problems, checkpoint)
        elif processes.is_main:
            lengths, rows = collector.prompt_lengths(problems), collector.row_tokens(problems, config.num_turns)
            print(cocos_report(config, model_config, lengths, rows, processes.world_size, zero_config, dtype))
    stop_processes()


def train(
    config: CocosConfig,
    zero_config: dict,
    processes: Processes,
    collector: Collector,
    writer: RunWriter,
    problems: list[Problem],
    eval_problems: list[Problem],
    checkpoint: Path | None,
) -> None:
    """Sample, run the tests, reward, KL, baseline, update, log, evaluate, save."""
    device = processes.device
    num_steps = config.num_steps(len(problems), config.problems_per_step)
    dtype = compute_dtype(config.dtype, device)  # masters are copies of the rounded weights, so more digits are loaded in vain
    model = load_model(config.model_name_or_path, dtype, config.attn_implementation, config.gradient_checkpointing)
    engine = build_engine(model, zero_config, config, num_steps * config.updates_per_step)
    model = load_model(config.reference, dtype, config.attn_implementation)
    reference = build_reference(model, zero_config, device)
    kl_coef = KlCoefficient(config.kl_coef, config.kl_target)
    weights = SamplingWeights(engine, config.ds3_gather_for_generation)
    advantages_of = partial(tree_advantages, **config.score_flags, over_ranks=processes.add)
    is_informative = partial(informative_problems, flags=config, advantages_of=advantages_of)

    def collect(rows: list[int], seeds: list[Seed]) -> Rollout:
        with weights.sampling() as policy:  # all ranks enter, those with no problem in this round too
            if not rows:
                return Rollout([], config.branching, [[] for _ in config.branching])
            return collector.collect(policy, [problems[row] for row in rows], config.branching, config.temperature, seeds)

    order = ShuffledOrder(len(problems), config.seed)
    source = ProblemSource(collect, is_informative, order, config, processes)
    tokenizer = collector.encoder.tokenizer
    session = Session(
        config, processes, engine, weights, StopRequest(), tokenizer, writer, collector, eval_problems, num_steps, checkpoint
    )
    limit = config.new_pass_limit()
    source.position = session.state.get("position", 0)
    kl_coef.resume(session.state.get("kl_coef", config.kl_coef))
    for step in session.steps("cocos"):
        clock = Clock()
        drawn = source.draw(step)
        rollout = drawn.kept
        clock.lap("sample_s")
        kls = rollout_kls(rollout, reference, collector.limit, config.temperature, device)
        clock.lap("kl_s")
        rewards, has_verdict = rollout_rewards(rollout, config.reward)  # waits for the sandbox
        clock.lap("reward_s")
        lesson = scored(rollout, rewards, has_verdict, kls, kl_coef.value, config, advantages_of, processes.add)
        stats = update_epochs(engine, lesson.rows, limit, config, f"{config.seed}:{step}:{processes.rank}")
        clock.lap("update_s")
        counts = rollout_counts(drawn.sampled, config.reward) | stats.counts
        counts |= tensor_counts(kls, lesson.advantages, lesson.is_trained)
        parts = processes.gather(counts)
        metrics = merge(parts) | stats.metrics() | drawn.metrics() | {"train/kl_coef": kl_coef.value}
        metrics["data/epoch"] = source.position / len(problems)
        kl_coef.update(metrics.get("kl/mean"))
        writer.log_step(step, metrics, clock)
        writer.log_histograms(step, parts)
        writer.save_samples(step, processes.gather(drawn.sampled.records()))
        session.guard.check(step, stats)
        session.evaluate(step)
        session.end_step(step, {"position": source.position, "kl_coef": kl_coef.value})


if __name__ == "__main__":
    main()
