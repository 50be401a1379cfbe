"""Prefill: the keys and values of prompts, and the logits of their next tokens, before decoding starts.

Shapes: `P` prompts, `H` key-value heads, `L` columns, `D` head size, `V` vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import DynamicCache, PreTrainedModel

from rl.packed_attention import groups_of_like_length
from rl.sampling.kv_cache import growing_cache
from rl.sampling.prompt_memory import PromptMemory, States


@dataclass(frozen=True)
class Blocks:
    """Prompts behind their common prefix: keys and values (P, H, L, D) of every layer, padded in front, and a mask (P, L)."""

    states: list[tuple[torch.Tensor, torch.Tensor]]
    mask: torch.Tensor


def prefill_blocks(model: PreTrainedModel, prompts: list[list[int]], memory: PromptMemory) -> tuple[Blocks, torch.Tensor]:
    """The prompts' blocks and logits (P, V); what `memory` has seen of them is not computed again.

    Takes passes over prompts of like length, since those of one batch differ by a factor of two and more.
    """
    num_common = len(memory.common_ids)
    remembered = [memory.find(prompt) for prompt in prompts]
    num_new = [len(p) - num_common - _length(states) for p, states in zip(prompts, remembered)]
    rows: list[States] = [[] for _ in prompts]
    logits: list[torch.Tensor] = [torch.empty(0)] * len(prompts)
    for group in groups_of_like_length(num_new, model.device):
        ids = [prompts[i][-num_new[i] :] for i in group]
        cache, mask, group_logits = _pass(model, ids, [remembered[i] for i in group], memory.common)
        for place, i in enumerate(group):
            columns = mask[place].nonzero().squeeze(-1)[num_common:]  # found once, not once a layer: a GPU would wait for each
            rows[i] = [(layer.keys[place][:, columns], layer.values[place][:, columns]) for layer in cache.layers]
            logits[i] = group_logits[place]
    lengths = torch.tensor([_length(states) for states in rows], device=model.device)
    columns = torch.arange(int(lengths.max()), device=model.device)
    mask = columns >= len(columns) - lengths.unsqueeze(-1)
    return Blocks([_stacked(layer, len(columns)) for layer in zip(*rows)], mask), torch.stack(logits)


def prefill_cache(model: PreTrainedModel, prompts: list[list[int]]) -> tuple[DynamicCache, torch.Tensor, torch.Tensor]:
    """One pass over all prompts, for any kind of cache: the cache, its mask (P, L) and logits (P, V)."""
    return _pass(model, prompts, [None] * len(prompts), [])


def _pass(
    model: PreTrainedModel, new_ids: list[list[int]], remembered: Sequence[States | None], common: States
) -> tuple[DynamicCache, torch.Tensor, torch.Tensor]:
    """The cache, its mask (P, L) and logits (P, V) after the prompts' new ids.

    Columns are [common prefix | padding, remembered | padding, new]; positions count a prompt's own tokens.
    """
    num_prompts, device = len(new_ids), model.device
    cache = growing_cache(model)
    for layer, states in zip(cache.layers, common):
        layer.update(*(part.expand(num_prompts, -1, -1, -1) for part in states))
    mask = torch.ones(num_prompts, _length(common), dtype=torch.long, device=device)
    lengths = torch.tensor([_length(states) for states in remembered], device=device)
    if lengths.any():
        columns = torch.arange(int(lengths.max()), device=device)
        for index, layer in enumerate(cache.layers):
            layer.update(*_stacked([states[index] if states else None for states in remembered], len(columns)))
        mask = torch.cat([mask, (columns >= len(columns) - lengths.unsqueeze(-1)).long()], -1)
    input_ids, new_mask = left_pad(new_ids, device)
    mask = torch.cat([mask, new_mask], -1)
    out = model(
        input_ids=input_ids,
        attention_mask=mask,
        position_ids=position_ids(mask)[:, -input_ids.shape[1] :],
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return cache, mask, out.logits[:, -1]


def _length(states: States | None) -> int:
    return states[0][0].shape[-2] if states else 0


def _stacked(rows: Sequence[tuple[torch.Tensor, torch.Tensor] | None], length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values (P, H, length, D) of rows (H, tokens, D), padded in front; None is all padding."""
    stacked = []
    for kind in range(2):
        like = next(row[kind] for row in rows if row is not None)
        block = like.new_zeros(len(rows), like.shape[0], length, like.shape[2])
        for row, target in zip(rows, block):
            if row is not None:
                target[:, length - row[kind].shape[1] :] = row[kind]
        stacked.append(block)
    return stacked[0], stacked[1]


def left_pad(rows: Sequence[list[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids (N, L) and attention mask (N, L) with the padding in front; the padding id is 0 and never attended to."""
    length = max(len(row) for row in rows)
    ids = torch.tensor([[0] * (length - len(row)) + row for row in rows], device=device)
    mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, mask


def position_ids(attention_mask: torch.Tensor) -> torch.Tensor:
    """Positions (N, L) that count attended tokens only, so that padding does not move a row."""
    return (attention_mask.cumsum(-1) - 1).clamp(min=0)
