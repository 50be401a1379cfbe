"""Batched decoding that runs anywhere: rows advance together and leave the batch when they have ended.

What prompts have in common (few-shot examples) is prefilled once for all of them, each prompt once for all of its samples, and
what a correction's prompt repeats of the attempt before it is remembered from that attempt's decoding. What a row is likely to
say next is drafted from its own text, and one pass of the model checks a draft.

Shapes: `B` rows being decoded, `N` tokens of a step (a row's newest and its draft), `P` prompts, `V` vocabulary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from transformers import PreTrainedModel

from rl.attention import has_plain_attention
from rl.completion import Sample, Seed, StopCondition
from rl.pass_limit import PassLimit, can_begin_again
from rl.sampling.ahead import AHEAD, Ahead
from rl.sampling.cuda_graphs import forget_recordings
from rl.sampling.decoding import RepeatedPrompts, SharedPrompts
from rl.sampling.drafts import Drafter, PromptText
from rl.sampling.draw import CDF_DTYPE, draw_tokens
from rl.sampling.prefill import prefill_blocks, prefill_cache
from rl.sampling.prompt_memory import PromptMemory

# Below this share of live rows the finished ones are dropped: copying the cache for every row that ends costs more.
COMPACT_BELOW = 0.75
# Decoding ahead, where steps are then recorded anew, and rows that decode in vain cost a GPU little.
COMPACT_AHEAD_BELOW = 0.5
# Drafted tokens of a step, of all rows together: as many as it has rows, or this many.
MAX_DRAFTED = 32


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
    max_draft: int = 0,
    ahead: bool = False,
) -> list[list[Sample]]:
    """`num_samples` completions of each prompt, in the order of the prompts.

    `temperature` 0 is greedy decoding, with logprobs at temperature 1. `limit` bounds the rows decoded together, and is halved
    where memory runs out. `memory` is what earlier turns of the same rollout have computed; this turn's rows are added to it.
    `max_draft` is the most tokens that are drafted of a row in one step. On a GPU rows may be decoded `ahead`, without drafts.
    The draws of sample j of a prompt follow from (*its seed, j) alone, not from the rows it is decoded with, so a batch split
    over more ranks gives the same samples (as far as the model's arithmetic does).
    Raises: torch.OutOfMemoryError where one row is too much, or the pass can't be begun again.
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
            uniforms = _uniforms(row_seeds, max_new_tokens)
            counts = [n for _, n in batch]
            own_prompts = [prompts[i] for i, _ in batch]
            decoding = _Decoding(model, own_prompts, counts, uniforms, temperature, memory, max_draft, ahead)
            decoding.run(stop)
        except torch.OutOfMemoryError:
            if len(owners) == 1 or not can_begin_again(model):
                raise
            is_too_much = True
        if is_too_much:  # outside of the handler, whose traceback holds the tensors
            decoding = None
            memory.forget()
            forget_recordings()
            limit.halve("sampling")
            continue
        samples, decoding = decoding.samples, None  # its caches go before those of the next batch come
        for owner, finished in zip(owners, samples):
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


def _uniforms(seeds: Sequence[Seed], count: int) -> np.ndarray:
    """(B, count) numbers in [0, 1), a row a seed."""
    # The length comes first: numpy fills a short seed up with zeros, and so takes (s, i) and (s, i, 0), an attempt's and its
    # correction's, for the same.
    return np.stack([np.random.Generator(np.random.PCG64((len(seed), *seed))).random(count) for seed in seeds])


@dataclass
class _Row:
    """A sample in the making; `uniforms` (T,) draw its tokens, of which there are at most T."""

    prompt_ids: list[int]
    uniforms: np.ndarray
    drafter: Drafter | None
    completion_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish_reason: str | None = None
    draft: list[int] = field(default_factory=list)

    @property
    def num_computed(self) -> int:
        """Own tokens that the model has seen: all but the last."""
        return len(self.completion_ids) - 1

    def next_uniforms(self) -> np.ndarray:
        """For the next token and for one after each token of the draft."""
        start = len(self.completion_ids)
        return self.uniforms[start : start + 1 + len(self.draft)]

    def take(self, drawn: Sequence[tuple[int, float]], stop: StopCondition) -> None:
        """Go on with what was `drawn` next and after each token of the draft, as far as the draft says the same."""
        start = len(self.completion_ids)
        for drafted, (token, logprob) in zip([*self.draft, None], drawn):
            self.completion_ids.append(token)
            self.logprobs.append(logprob)
            self.finish_reason = stop.finish_reason(self.completion_ids)
            if self.finish_reason is not None or token != drafted:
                break
        if self.finish_reason is None and len(self.completion_ids) == len(self.uniforms):
            self.finish_reason = "length"
        if self.drafter is not None:
            self.drafter.add(self.completion_ids[start:])

    def propose(self) -> None:
        """Draft what may follow, the last token that there may be left to be drawn."""
        room = len(self.uniforms) - len(self.completion_ids) - 1
        self.draft = self.drafter.draft(room) if self.drafter is not None else []


class _Decoding:
    """One batch: prefill each prompt once, then a token a step, and what of a draft was right, for every row that is open."""

    def __init__(
        self,
        model: PreTrainedModel,
        prompts: list[list[int]],
        counts: list[int],
        uniforms: np.ndarray,
        temperature: float,
        memory: PromptMemory,
        max_draft: int,
        ahead: bool,
    ):
        self._temperature, self._memory = temperature, memory
        owner = torch.repeat_interleave(torch.arange(len(prompts)), torch.tensor(counts))  # (B,)
        if has_plain_attention(model):
            blocks, logits = prefill_blocks(model, prompts, memory)
            self._states = SharedPrompts(model, blocks, owner, memory.common)
        else:
            max_draft = 0  # the cache of other models gives every row one token a step
            cache, mask, logits = prefill_cache(model, prompts)
            self._states = RepeatedPrompts(model, cache, mask, owner)
        # Sharded weights are gathered by all ranks in every step, which no recording does.
        can_be_ahead = ahead and isinstance(self._states, SharedPrompts) and can_begin_again(model)
        self._ahead = Ahead(self._states, temperature) if can_be_ahead else None
        self._compact_below = COMPACT_AHEAD_BELOW if can_be_ahead else COMPACT_BELOW
        max_draft = 0 if can_be_ahead else max_draft
        texts = [PromptText(prompt) for prompt in prompts] if max_draft else []
        self._rows = [
            _Row(prompts[i], row_uniforms, Drafter(texts[i], max_draft) if texts else None)
            for i, row_uniforms in zip(owner.tolist(), uniforms)
        ]
        self._logits = logits[owner.to(logits.device)]  # (B, V)

    @property
    def samples(self) -> list[Sample]:
        return [Sample(row.completion_ids, row.logprobs, row.finish_reason) for row in self._rows]

    def run(self, stop: StopCondition) -> None:
        """Decode until every row has ended."""
        live = still_open = list(self._rows)  # row i of the states is live[i]
        self._draw(still_open, stop)
        while still_open := [row for row in still_open if row.finish_reason is None]:
            if len(still_open) < self._compact_below * len(live):
                self._drop_ended(live)
                live = still_open
            if self._ahead is not None:
                self._decode_ahead(live, still_open, stop)
            else:
                self._draft(still_open)
                tokens = [[row.completion_ids[-1], *row.draft] if row.finish_reason is None else [] for row in live]
                self._logits = self._states.advance(tokens, [row.num_computed for row in live])
                self._draw(still_open, stop)
        self._remember(live, range(len(live)))

    def _drop_ended(self, live: list[_Row]) -> None:
        is_open = [row.finish_reason is None for row in live]
        self._remember(live, [i for i, row_is_open in enumerate(is_open) if not row_is_open])
        self._states.select(torch.tensor(is_open).nonzero().squeeze(-1))
        if self._ahead is not None:
            self._ahead = Ahead(self._states, self._temperature)

    def _decode_ahead(self, live: list[_Row], still_open: list[_Row], stop: StopCondition) -> None:
        """A few tokens of every row; those that have ended, and that end in between, go on in vain."""
        num_own = still_open[0].num_computed  # that of all
        after = slice(num_own + 1, num_own + 1 + AHEAD)
        newest, uniforms = [row.completion_ids[-1] for row in live], np.stack([row.uniforms[after] for row in live])
        for row, tokens, logprobs in zip(live, *self._ahead.decode(newest, num_own, uniforms)):
            for drawn in zip(tokens, logprobs):
                if row.finish_reason is None:
                    row.take([drawn], stop)

    def _draft(self, rows: list[_Row]) -> None:
        """Draft as much of each row. Longer drafts of those alone that have one lost more than they won."""
        longest = max(len(rows), MAX_DRAFTED) // len(rows)
        for row in rows:
            row.propose()
            del row.draft[longest:]

    def _remember(self, live: list[_Row], leaving: Sequence[int]) -> None:
        """Keep what was computed of rows that leave: all their tokens but the last, which no pass has seen."""
        if not isinstance(self._states, SharedPrompts):
            return
        for i in leaving:
            if self._memory.has_room:
                num_computed = live[i].num_computed
                ids = live[i].prompt_ids + live[i].completion_ids[:num_computed]
                self._memory.keep(ids, self._states.states(i, num_computed))

    def _draw(self, rows: list[_Row], stop: StopCondition) -> None:
        """Give the rows what the current logits (N, V) let their uniforms draw."""
        uniforms = torch.from_numpy(np.concatenate([row.next_uniforms() for row in rows]))
        device = self._logits.device
        tokens, logprobs = draw_tokens(self._logits, uniforms.to(device, CDF_DTYPE), self._temperature)
        drawn = iter(zip(tokens.tolist(), logprobs.tolist()))
        for row in rows:
            row.take([next(drawn) for _ in range(1 + len(row.draft))], stop)
