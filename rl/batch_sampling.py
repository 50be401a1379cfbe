"""Batched decoding that runs anywhere: rows advance together, each prompt is prefilled once, rows that have ended leave.

Shapes: `B` rows being decoded, `L` prompt tokens, `T` completion tokens so far, `V` vocabulary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from transformers import PreTrainedModel

from rl.completion import Sample, Seed, StopCondition

# Below this share of live rows the finished ones are dropped: copying the cache for every row that ends costs more.
COMPACT_BELOW = 0.75


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
        input_ids, self._attention_mask = left_pad(prompts, device)  # (P, L)
        positions = position_ids(self._attention_mask)
        out = model(
            input_ids=input_ids,
            attention_mask=self._attention_mask,
            position_ids=positions,
            use_cache=True,
            logits_to_keep=1,
        )
        self._cache = out.past_key_values
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
        logprobs = torch.log_softmax(self._logits.float() / (self._temperature or 1.0), dim=-1)  # (B, V)
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
