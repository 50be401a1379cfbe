"""Batched decoding that runs anywhere: rows advance together and leave the batch when they have ended.

What prompts have in common (few-shot examples) is prefilled once for all of them, each prompt once for all of its samples, and
the cache grows in place.

Shapes: `B` rows being decoded, `P` prompts, `L` prompt tokens, `V` vocabulary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from rl.completion import Sample, Seed, StopCondition

# Below this share of live rows the finished ones are dropped: copying the cache for every row that ends costs more.
COMPACT_BELOW = 0.75
# A pass of its own for the common prefix pays from about here; a few words in common are everywhere.
MIN_COMMON_TOKENS = 32
# Room for so many tokens is made at once where a cache is full.
SPARE_TOKENS = 64


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
    max_rows: int,
    on_progress: Callable[[int], None] | None = None,
) -> list[list[Sample]]:
    """`num_samples` completions of each prompt, in the order of the prompts.

    `temperature` 0 is greedy decoding, with logprobs at temperature 1. `max_rows` bounds the rows decoded together.
    The draws of sample j of a prompt follow from (*its seed, j) alone, not from the rows it is decoded with, so a batch split
    over more ranks gives the same samples (as far as the model's arithmetic does).
    """
    results: list[list[Sample]] = [[] for _ in prompts]
    was_training = model.training
    model.eval()
    for batch in _batches(prompts, num_samples, max_rows):
        owners = [i for i, n in batch for _ in range(n)]
        first = {i: len(results[i]) for i, _ in batch}
        row_seeds = [(*seeds[i], first[i] + j) for i, n in batch for j in range(n)]
        decoding = _Decoding(model, [prompts[i] for i, _ in batch], [n for _, n in batch], temperature)
        decoding.run(stop, _uniforms(row_seeds, max_new_tokens, model.device))
        for owner, finished in zip(owners, decoding.samples):
            results[owner].append(finished)
        if on_progress is not None:
            on_progress(len(owners))
    model.train(was_training)
    return results


def _batches(prompts: Sequence[list[int]], num_samples: int, max_rows: int) -> list[list[tuple[int, int]]]:
    """(prompt, samples) pairs packed into batches of at most `max_rows` samples, prompts of like length together."""
    batches: list[list[tuple[int, int]]] = []
    room = 0
    for index in sorted(range(len(prompts)), key=lambda i: len(prompts[i])):
        left = num_samples
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
    completion_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish_reason: str = "length"


class _Decoding:
    """One batch: prefill each prompt once, then one token a step for every row that has not ended."""

    def __init__(
        self,
        model: PreTrainedModel,
        prompts: list[list[int]],
        counts: list[int],
        temperature: float,
    ):
        self._model, self._temperature = model, temperature
        device = model.device
        self._rows = [_Row() for count in counts for _ in range(count)]
        self._cache = growing_cache(model)
        num_common = common_prefix(prompts)
        if num_common >= MIN_COMMON_TOKENS:
            common = torch.tensor([prompts[0][:num_common]], device=device)
            model(input_ids=common, past_key_values=self._cache, use_cache=True, logits_to_keep=1)
            self._cache.batch_select_indices(torch.zeros(len(prompts), dtype=torch.long, device=device))
            prompts = [prompt[num_common:] for prompt in prompts]
        else:
            num_common = 0
        input_ids, mask = left_pad(prompts, device)  # (P, L - num_common): the padding stands behind the common prefix
        self._attention_mask = torch.nn.functional.pad(mask, (num_common, 0), value=1)  # (P, L)
        positions = position_ids(self._attention_mask)[:, num_common:]
        out = model(
            input_ids=input_ids,
            attention_mask=self._attention_mask,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        owner = torch.repeat_interleave(torch.arange(len(prompts)), torch.tensor(counts)).to(device)  # (B,)
        self._select(owner)
        self._next_position = positions[owner, -1] + 1  # (B,)
        self._logits = out.logits[owner, -1]  # (B, V)

    @property
    def samples(self) -> list[Sample]:
        return [Sample(row.completion_ids, row.logprobs, row.finish_reason) for row in self._rows]

    def run(self, stop: StopCondition, uniforms: torch.Tensor) -> None:
        """Decode until every row has ended or used its uniforms (B, T), one a token."""
        max_new_tokens = uniforms.shape[1]
        live = list(self._rows)  # row i of the tensors is live[i]
        done = [False] * len(live)
        for step in range(max_new_tokens):
            tokens, logprobs = self._draw(uniforms[:, step])
            for i, (token, logprob) in enumerate(zip(tokens.tolist(), logprobs.tolist())):
                if done[i]:
                    continue
                live[i].completion_ids.append(token)
                live[i].logprobs.append(logprob)
                reason = stop.finish_reason(live[i].completion_ids)
                if reason is not None:
                    live[i].finish_reason, done[i] = reason, True
            if all(done) or step + 1 == max_new_tokens:
                return
            if done.count(False) < COMPACT_BELOW * len(done):
                keep = torch.tensor([i for i, is_done in enumerate(done) if not is_done], device=tokens.device)
                self._select(keep)
                self._next_position, tokens, uniforms = self._next_position[keep], tokens[keep], uniforms[keep]
                live = [row for row, is_done in zip(live, done) if not is_done]
                done = [False] * len(live)
            self._advance(tokens)

    def _draw(self, uniforms: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens (B,) and their logprobs (B,) from the distribution that the current logits define, by inverse CDF."""
        logits = self._logits.float() / (self._temperature or 1.0)
        # As the training forward does it: log_softmax rounds otherwise, by as much for every token.
        logprobs = logits - logits.logsumexp(-1, keepdim=True)  # (B, V)
        if self._temperature == 0:
            tokens = logprobs.argmax(-1)
        else:
            cdf = logprobs.exp().cumsum(-1, dtype=_cdf_dtype(logprobs.device))
            # right=True never lands on a token of probability 0; scaling by the total leaves no gap at the end.
            tokens = torch.searchsorted(cdf, (uniforms * cdf[:, -1]).unsqueeze(-1), right=True).squeeze(-1)
            tokens = tokens.clamp(max=cdf.shape[-1] - 1)
        return tokens, logprobs.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)

    def _advance(self, tokens: torch.Tensor) -> None:
        self._attention_mask = torch.nn.functional.pad(self._attention_mask, (0, 1), value=1)
        out = self._model(
            input_ids=tokens.unsqueeze(-1),
            attention_mask=self._attention_mask,
            position_ids=self._next_position.unsqueeze(-1),
            past_key_values=self._cache,
            use_cache=True,
        )
        self._next_position = self._next_position + 1
        self._logits = out.logits[:, -1]

    def _select(self, rows: torch.Tensor) -> None:
        self._cache.batch_select_indices(rows)
        self._attention_mask = self._attention_mask[rows]


def left_pad(rows: Sequence[list[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids (N, L) and attention mask (N, L) with the padding in front; the padding id is 0 and never attended to."""
    length = max(len(row) for row in rows)
    ids = torch.tensor([[0] * (length - len(row)) + row for row in rows], device=device)
    mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, mask


def position_ids(attention_mask: torch.Tensor) -> torch.Tensor:
    """Positions (N, L) that count attended tokens only, so that padding does not move a row."""
    return (attention_mask.cumsum(-1) - 1).clamp(min=0)


def common_prefix(prompts: Sequence[list[int]]) -> int:
    """Tokens that all prompts start with, the last one of the shortest left out: each prompt needs one to go on from."""
    first, last = min(prompts), max(prompts)
    shared = next((i for i, (a, b) in enumerate(zip(first, last)) if a != b), min(len(first), len(last)))
    return min(shared, min(map(len, prompts)) - 1)


class GrowingLayer(DynamicLayer):
    """The library's cache layer with spare room behind its tokens: appending one does not copy all those before it.

    Shapes: keys and values (B, heads, tokens, dim), views of buffers with room for more tokens.
    """

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args, **kwargs) -> tuple[torch.Tensor, ...]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._buffers = (key_states[:, :, :0], value_states[:, :, :0])
        start, end = self.get_seq_length(), self.get_seq_length() + key_states.shape[-2]
        if end > self._buffers[0].shape[-2]:
            self._grow(start, end + SPARE_TOKENS)
        for buffer, states in zip(self._buffers, (key_states, value_states)):
            buffer[:, :, start:end] = states
        self.keys, self.values = (buffer[:, :, :end] for buffer in self._buffers)
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep the rows `indices`, which may repeat."""
        length = self.get_seq_length()
        if length > 0:
            self._buffers = tuple(self._copied(states[indices], length + SPARE_TOKENS) for states in (self.keys, self.values))
            self.keys, self.values = (buffer[:, :, :length] for buffer in self._buffers)

    def _grow(self, length: int, capacity: int) -> None:
        self._buffers = tuple(self._copied(buffer[:, :, :length], capacity) for buffer in self._buffers)

    @staticmethod
    def _copied(states: torch.Tensor, capacity: int) -> torch.Tensor:
        batch, heads, length, dim = states.shape
        buffer = states.new_empty(batch, heads, capacity, dim)
        buffer[:, :, :length] = states
        return buffer


def growing_cache(model: PreTrainedModel) -> DynamicCache:
    """A cache for `model` that appends in place where its layers are plain attention; other kinds stay the library's."""
    cache = DynamicCache(config=model.config)
    cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache
