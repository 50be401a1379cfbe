"""Several optimizer steps on one rollout: epochs and mini-batches under a clipped ratio (PPO, arXiv 1707.06347)."""

import random
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from statistics import mean
from typing import Any

from rl.pass_limit import PassLimit
from rl.train_rows import TrainRow, row_logprobs
from rl.update import UpdateStats, update


def update_epochs(engine: Any, rows: Sequence[TrainRow], limit: PassLimit, flags: Any, seed: str) -> UpdateStats:
    """Passes over this rank's rows, each of several optimizer steps; one plain `update` where there is no clip.

    Old logprobs are the trainer's own, so that the first ratios are 1 whatever the sampler's arithmetic. Every rank takes as
    many steps as the others, however few rows it has.
    `flags` has num_ppo_epochs, num_mini_batches, loss_terms and temperature.
    """
    step = partial(update, engine, limit=limit, temperature=flags.temperature, terms=flags.loss_terms)
    if flags.loss_terms.clip is None:
        return step(rows)
    # A mini-batch is one of so many random parts: its rows weigh so many times as much, to stand for the whole in expectation.
    rows = [replace(row, weight=row.weight * flags.num_mini_batches) for row in rows]
    stats: list[list[UpdateStats]] = []
    for epoch in range(flags.num_ppo_epochs):
        batches = split_rows(rows, flags.num_mini_batches, f"{seed}:{epoch}")
        if epoch == 0:
            # Per mini-batch: the first one's forward then repeats this one to the bit.
            batches = [_with_old_logprobs(engine, batch, limit, flags.temperature) for batch in batches]
            rows = [row for batch in batches for row in batch]
        stats.append([step(batch) for batch in batches])
    return _summary(stats)


def split_rows(rows: Sequence[TrainRow], num_parts: int, seed: str) -> list[list[TrainRow]]:
    """A random partition into parts of sizes that differ by at most 1; a row is in each with probability 1 / num_parts."""
    draw = random.Random(seed)
    order, parts = draw.sample(range(len(rows)), len(rows)), draw.sample(range(num_parts), num_parts)
    split: list[list[TrainRow]] = [[] for _ in parts]
    for place, index in enumerate(order):
        split[parts[place % num_parts]].append(rows[index])
    return split


def _with_old_logprobs(engine: Any, rows: Sequence[TrainRow], limit: PassLimit, temperature: float) -> list[TrainRow]:
    logprobs = row_logprobs(engine.module, rows, limit, temperature, engine.device)
    return [replace(row, old_logprobs=old) for row, old in zip(rows, logprobs)]


def _summary(steps: Sequence[Sequence[UpdateStats]]) -> UpdateStats:
    """Means over the optimizer steps. Numbers: the sampler's from the first epoch, ratios from the last, clips from all."""
    flat = [stats for epoch in steps for stats in epoch]
    norms = [stats.grad_norm for stats in flat if stats.grad_norm is not None]
    of_epochs = {"ratio": steps[0], "gap": steps[0], "clip/ratio": steps[-1]}
    counts = {name: [number for stats in of_epochs.get(name, flat) for number in stats.counts[name]] for name in flat[0].counts}
    return UpdateStats(
        mean(stats.loss for stats in flat),
        flat[0].learning_rate,
        mean(norms) if norms else None,
        counts,
        all(stats.is_applied for stats in flat),
        [row for stats in flat for row in stats.not_finite],
    )
