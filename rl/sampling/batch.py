"""Batched decoding that runs anywhere: rows advance together and leave the batch when they have ended.

What prompts have in common (few-shot examples) is prefilled once for all of them, each prompt once for all of its samples, and
what a correction's prompt repeats of the attempt before it is remembered from that attempt's decoding.

Shapes: `B` rows being decoded, `P` prompts, `L` prompt tokens, `V` vocabulary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from transformers import PreTrainedModel

from rl.attention import has_plain_attention
from rl.completion import Sample, Seed, StopCondition
from rl.pass_limit import PassLimit
from rl.sampling.decoding import RepeatedPrompts, SharedPrompts
from rl.sampling.prefill import prefill_blocks, prefill_cache
from rl.sampling.prompt_memory import PromptMemory

# Below this share of live rows the finished ones are dropped: copying the cache for every row that ends costs more.
COMPACT_BELOW = 0.75
# Tokens of the vocabulary that a draw sums at once.
CHUNK = 256


@torch.no_grad()
def sample_batch(
    model: PreTrainedModel,
    prompts: Sequence[list[int]],
    num_samples: int,
    stop: StopCondition,
    *,
    max_new_tokens: int,
    temperature: float,
    seeds: Sequence[Seed],
    limit: PassLimit,
    on_progress: Callable[[int], None] | None = None,
    memory: PromptMemory | None = None,
) -> list[list[Sample]]:
    """`num_samples` completions of each prompt, in the order of the prompts.

    `temperature` 0 is greedy decoding, with logprobs at temperature 1. `limit` bounds the rows decoded together, and is halved
    where memory runs out. `memory` is what earlier turns of the same rollout have computed; this turn's rows are added to it.
    The draws of sample j of a prompt follow from (*its seed, j) alone, not from the rows it is decoded with, so a batch split
    over more ranks gives the same samples (as far as the model's arithmetic does).
    Raises: torch.OutOfMemoryError where one row is too much.
    """
    results: list[list[Sample]] = [[] for _ in prompts]
    was_training = model.training
    model.eval()
    memory = memory or PromptMemory()
    if has_plain_attention(model):
        memory.learn_common(model, prompts)
    while any(left := [num_samples - len(samples) for samples in results]):
        batch = _batches(prompts, left, limit.rows)[0]
        owners = [i for i, n in batch for _ in range(n)]
        row_seeds = [(*seeds[i], len(results[i]) + j) for i, n in batch for j in range(n)]
        is_too_much = False
        try:
            decoding = _Decoding(model, [prompts[i] for i, _ in batch], [n for _, n in batch], temperature, memory)
            decoding.run(stop, _uniforms(row_seeds, max_new_tokens, model.device))
        except torch.OutOfMemoryError:
            if len(owners) == 1:
                raise
            is_too_much = True
        if is_too_much:  # outside of the handler, whose traceback holds the tensors
            decoding = None
            memory.forget()
            limit.halve("sampling")
            continue
        for owner, finished in zip(owners, decoding.samples):
            results[owner].append(finished)
        if on_progress is not None:
            on_progress(len(owners))
    model.train(was_training)
    return results


def _batches(prompts: Sequence[list[int]], counts: Sequence[int], max_rows: int) -> list[list[tuple[int, int]]]:
    """(prompt, samples) pairs in batches of at most `max_rows` samples, `counts` of each prompt; like lengths together."""
    batches: list[list[tuple[int, int]]] = []
    room = 0
    for index in sorted(range(len(prompts)), key=lambda i: len(prompts[i])):
        left = counts[index]
        while left:
            if room == 0 or (room < left <= max_rows):
                batches.append([])
                room = max_rows
            count = min(left, room)
            batches[-1].append((index, count))
            left, room = left - count, room - count
    return batches


def _uniforms(seeds: Sequence[Seed], count: int, device: torch.device) -> torch.Tensor:
    """(B, count) numbers in [0, 1), a row a seed."""
    rows = [np.random.Generator(np.random.PCG64(seed)).random(count) for seed in seeds]
    return torch.from_numpy(np.stack(rows)).to(device, _cdf_dtype(device))


def _cdf_dtype(device: torch.device) -> torch.dtype:
    # Apple's devices have no float64; elsewhere it keeps the tail of a 150,000-token vocabulary exact.
    return torch.float32 if device.type == "mps" else torch.float64


@dataclass
class _Row:
    prompt_ids: list[int]
    completion_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish_reason: str | None = None


class _Decoding:
    """One batch: prefill each prompt once, then one token a step for every row that has not ended."""

    def __init__(
        self,
        model: PreTrainedModel,
        prompts: list[list[int]],
        counts: list[int],
        temperature: float,
        memory: PromptMemory,
    ):
        self._temperature, self._memory = temperature, memory
        self._rows = [_Row(prompt) for prompt, count in zip(prompts, counts) for _ in range(count)]
        owner = torch.repeat_interleave(torch.arange(len(prompts)), torch.tensor(counts)).to(model.device)  # (B,)
        if has_plain_attention(model):
            blocks, logits = prefill_blocks(model, prompts, memory)
            self._states = SharedPrompts(model, blocks, owner, memory.common)
        else:
            cache, mask, logits = prefill_cache(model, prompts)
            self._states = RepeatedPrompts(model, cache, mask, owner)
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=model.device)
        self._positions = lengths[owner]  # (B,) of the next token
        self._logits = logits[owner]  # (B, V)

    @property
    def samples(self) -> list[Sample]:
        return [Sample(row.completion_ids, row.logprobs, row.finish_reason or "length") for row in self._rows]

    def run(self, stop: StopCondition, uniforms: torch.Tensor) -> None:
        """Decode until every row has ended or used its uniforms (B, T), one a token."""
        max_new_tokens = uniforms.shape[1]
        live = list(self._rows)  # row i of the tensors is live[i]
        for step in range(max_new_tokens):
            tokens, logprobs = self._draw(uniforms[:, step])
            for row, token, logprob in zip(live, tokens.tolist(), logprobs.tolist()):
                if row.finish_reason is None:
                    row.completion_ids.append(token)
                    row.logprobs.append(logprob)
                    row.finish_reason = stop.finish_reason(row.completion_ids)
            open_rows = [i for i, row in enumerate(live) if row.finish_reason is None]
            if not open_rows or step + 1 == max_new_tokens:
                self._remember(live, range(len(live)))
                return
            if len(open_rows) < COMPACT_BELOW * len(live):
                self._remember(live, [i for i, row in enumerate(live) if row.finish_reason is not None])
                keep = torch.tensor(open_rows, device=tokens.device)
                self._states.select(keep)
                self._positions, tokens, uniforms = self._positions[keep], tokens[keep], uniforms[keep]
                live = [live[i] for i in open_rows]
            self._logits = self._states.advance(tokens, self._positions)
            self._positions = self._positions + 1

    def _remember(self, live: list[_Row], leaving: Sequence[int]) -> None:
        """Keep what was computed of rows that leave: all their tokens but the last, which no pass has seen."""
        if not isinstance(self._states, SharedPrompts):
            return
        for i in leaving:
            if self._memory.has_room:
                seen = live[i].completion_ids[:-1]
                self._memory.keep(live[i].prompt_ids + seen, self._states.states(i, len(seen)))

    def _draw(self, uniforms: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens (B,) and their logprobs (B,) from the distribution that the current logits define."""
        logits = self._logits.float() / (self._temperature or 1.0)
        # As the training forward does it: log_softmax rounds otherwise, by as much for every token.
        log_total = logits.logsumexp(-1, keepdim=True)  # (B, 1)
        if self._temperature == 0:
            tokens = logits.argmax(-1, keepdim=True)
        else:
            tokens = inverse_cdf((logits - log_total).exp_(), uniforms).unsqueeze(-1)
        return tokens.squeeze(-1), (logits.gather(-1, tokens) - log_total).squeeze(-1)


def inverse_cdf(probs: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    """The token (B,) at which the cumulated probabilities (B, V) of a row pass its uniform (B,) times their total.

    Sums a chunk of the vocabulary at a time and searches the one that holds the token: cumulating all of it, in the double
    precision that the tail of a large vocabulary needs, took longer than the rest of a draw.
    """
    chunks = torch.nn.functional.pad(probs, (0, -probs.shape[-1] % CHUNK)).unflatten(-1, (-1, CHUNK))  # (B, V / CHUNK, CHUNK)
    ends = chunks.sum(-1, dtype=uniforms.dtype).cumsum(-1)  # (B, V / CHUNK)
    target = (uniforms * ends[:, -1]).unsqueeze(-1)  # scaled by the total: no gap at the end
    chunk = _first_above(ends, target)  # (B, 1)
    start = torch.where(chunk > 0, ends.gather(-1, (chunk - 1).clamp(min=0)), 0.0)
    inside = chunks[torch.arange(len(chunks), device=probs.device), chunk.squeeze(-1)].cumsum(-1, dtype=uniforms.dtype)
    token = chunk * CHUNK + _first_above(inside, target - start)
    return token.clamp(max=probs.shape[-1] - 1).squeeze(-1)


def _first_above(cdf: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Index (B, 1) of the first entry of `cdf` (B, X) above `target` (B, 1): never one of probability 0."""
    return torch.searchsorted(cdf, target, right=True).clamp(max=cdf.shape[-1] - 1)
