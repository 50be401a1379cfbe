"""`--dry_run`: what a run would take, before anything is loaded or written."""

from collections.abc import Sequence
from statistics import mean
from typing import Any

import torch
from transformers.utils.logging import set_verbosity_error

from rl.cocos_config import CocosConfig
from rl.memory import STAGES, Load, memory_bytes, model_shape, peak_bytes
from rl.pretrained import context_tokens
from rl.train_config import BoostConfig

GB = 1e9
DEFAULT_BUCKET = 500_000_000  # DeepSpeed's


def cocos_report(
    config: CocosConfig,
    model_config: Any,
    prompt_lengths: Sequence[int],
    row_tokens: Sequence[int],
    num_ranks: int,
    zero_config: dict[str, Any],
    dtype: torch.dtype,
) -> str:
    """For `train_cocos.py`; `prompt_lengths` are the tokens of turn 1, a number for each problem, `row_tokens` the most of a
    row of each turn, completion included.
    """
    num_problems, num_steps = config.problems_per_step, config.num_steps(len(prompt_lengths), config.problems_per_step)
    attempts = [num_problems]
    for branches in config.branching:
        attempts.append(attempts[-1] * branches)
    turns = " -> ".join(f"{n} of turn {turn}" for turn, n in enumerate(attempts[1:], 1))
    sampled = sum(attempts[1:])
    corrections_alone = config.num_turns > 1 and not config.trains_first_attempts
    trained_tokens = max(row_tokens[1:] if corrections_alone else row_tokens)
    lines = {
        "data": f"{len(prompt_lengths)} problems, prompts of turn 1 {_spread(prompt_lengths)} tokens",
        "a step": f"{num_problems} problems -> {turns} attempts: {sampled} attempts, {sampled // num_ranks} a process, "
        f"at most {sampled * config.max_new_tokens:,} new tokens",
        "sampling": f"at most {config.local_rollout_forward_batch_size} rows at a time a process",
        "update": f"optimizer steps: {config.updates_per_step}, of {_passes(config)}",
        "the run": f"{num_steps} steps, {num_steps * num_problems / len(prompt_lengths):.1f} passes over the problems"
        + _schedule(config, num_steps),
    }
    rows_of_a_turn = config.local_rollout_forward_batch_size  # which an evaluation may fill
    if not config.eval_data:
        rows_of_a_turn = min(rows_of_a_turn, max(attempts[1:]) // num_ranks)
    load = Load(
        _pass_tokens(config, trained_tokens),
        rows_of_a_turn,
        max(row_tokens),
        _bucket(zero_config),
    )
    return _report(config, model_config, lines, load, num_ranks, zero_config, dtype, reference=True)


def boost_report(
    config: BoostConfig,
    model_config: Any,
    pair_lengths: Sequence[int],
    eval_row_tokens: Sequence[int],
    num_ranks: int,
    zero_config: dict[str, Any],
    dtype: torch.dtype,
) -> str:
    """For `train_boost.py`; `pair_lengths` are the tokens of prompt and completion, a number for each pair, `eval_row_tokens`
    the most that a row of an evaluation can have at each turn, if there is one.
    """
    num_steps = config.num_steps(len(pair_lengths), config.global_batch_size)
    lines = {
        "data": f"{len(pair_lengths)} pairs of {_spread(pair_lengths)} tokens",
        "a step": f"{config.global_batch_size} pairs, {config.global_batch_size // num_ranks} a process, {_passes(config)}",
        "the run": f"{num_steps} steps, {num_steps * config.global_batch_size / len(pair_lengths):.1f} passes over the pairs"
        + _schedule(config, num_steps),
    }
    rows = config.local_rollout_forward_batch_size if config.eval_data else 0
    load = Load(_pass_tokens(config, max(pair_lengths)), rows, max(eval_row_tokens, default=0), _bucket(zero_config))
    return _report(config, model_config, lines, load, num_ranks, zero_config, dtype, reference=False)


def _report(
    config: Any,
    model_config: Any,
    lines: dict[str, str],
    load: Load,
    num_ranks: int,
    zero_config: dict[str, Any],
    dtype: torch.dtype,
    *,
    reference: bool,
) -> str:
    set_verbosity_error()
    shape = model_shape(model_config)
    model = (
        f"{config.model_name_or_path}: {shape.num_parameters / 1e6:,.1f} M parameters, {shape.num_layers} layers of width "
        f"{shape.width}, vocabulary {shape.vocabulary:,}, context {context_tokens(model_config):,}"
    )
    told = [f"{name:<9} {text}" for name, text in {"model": model, **lines}.items()]
    checkpointing = config.gradient_checkpointing
    rows = {s: memory_bytes(shape, load, s, num_ranks, dtype, reference=reference, checkpointing=checkpointing) for s in STAGES}
    name = str(dtype).removeprefix("torch.")
    stage = _zero(zero_config).get("stage", 0)
    on_cpu = {part: rows[stage][part] for part in _offloaded(zero_config, stage) if part != "step"}  # which passes
    for s, parts in rows.items():
        parts |= dict.fromkeys(_offloaded(zero_config, s), 0.0)
    told += ["", f"GB of a process ({num_ranks} in all, {name}), without what libraries take; * is this run's ZeRO stage"]
    told += ["The optimizer's step comes when activations and cache are gone: the total counts the larger of the two."]
    told += _table(rows, stage)
    if on_cpu:
        sizes = " and ".join(f"{size / GB:.2f} GB of {part}" for part, size in on_cpu.items())
        told.append(f"In the CPU's memory besides, for every process: {sizes}.")
    return "\n".join(told)


def _offloaded(zero_config: dict[str, Any], stage: int) -> list[str]:
    """Parts of the memory that this JSON keeps in the CPU's at that stage."""
    kinds = (("offload_optimizer", "optimizer", 1), ("offload_optimizer", "step", 1), ("offload_param", "weights", 3))
    is_on_cpu = {key: _zero(zero_config).get(key, {}).get("device", "none") != "none" for key, _, _ in kinds}
    return [part for key, part, least in kinds if is_on_cpu[key] and stage >= least]


def _bucket(zero_config: dict[str, Any]) -> int:
    return int(_zero(zero_config).get("reduce_bucket_size", DEFAULT_BUCKET))


def _zero(zero_config: dict[str, Any]) -> dict[str, Any]:
    return zero_config.get("zero_optimization", {})  # a JSON without it is ZeRO-0


def _table(rows: dict[int, dict[str, float]], stage: int) -> list[str]:
    names = list(rows[stage])
    widths = [max(len(name), 6) for name in names]
    lines = ["  ZeRO  " + "  ".join(name.rjust(width) for name, width in zip(names, widths)) + "   total"]
    for s, parts in rows.items():
        numbers = "  ".join(f"{parts[name] / GB:{width}.2f}" for name, width in zip(names, widths))
        lines.append(f"{'*' if s == stage else ' '} {s}     {numbers}  {peak_bytes(parts) / GB:6.2f}")
    return lines


def _passes(config: Any) -> str:
    return f"passes of at most {config.new_pass_limit()}"


def _pass_tokens(config: Any, row_tokens: int) -> int:
    return config.micro_batch_tokens or config.per_device_train_batch_size * row_tokens


def _schedule(config: Any, num_steps: int) -> str:
    evaluations = f"every {config.eval_steps}" if config.eval_steps else "after the last"
    evaluated = f", evaluation {evaluations}" if config.eval_data else ""
    warm_up = "" if config.lr_scheduler_type == "constant" else f", warm-up over {round(config.warmup_ratio * num_steps)}"
    return f"{warm_up}, checkpoint every {config.save_steps}{evaluated}"


def _spread(numbers: Sequence[int]) -> str:
    return f"{min(numbers)} to {max(numbers)} (mean {mean(numbers):.0f})"
