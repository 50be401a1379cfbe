"""Decoding steps on top of prompts that have been computed once each: two ways, with the same methods.

`SharedPrompts` lets all samples of a prompt read the one copy of its keys and values (and all prompts that of the few-shot
examples), so a step reads prompts + samples' own tokens, not prompts x samples. It takes the place of the attention of models
whose layers are plain attention. `RepeatedPrompts` copies a prompt's cache for each of its samples and serves all other models.

Shapes: `B` rows being decoded, `P` prompts, `H` key-value heads, `G` query heads for each, `D` head size, `T` a row's own
tokens, `L` tokens of a block, `V` vocabulary.
"""

import torch
from transformers import DynamicCache, PreTrainedModel

from rl.attention import attended_by
from rl.sampling.kv_cache import growing_cache
from rl.sampling.prefill import Blocks
from rl.sampling.prompt_memory import States


class RepeatedPrompts:
    """Every row has a copy of its prompt's cache; the model's own attention reads it behind a mask."""

    def __init__(self, model: PreTrainedModel, cache: DynamicCache, prompt_mask: torch.Tensor, owner: torch.Tensor):
        """`cache` holds P prompts, `prompt_mask` (P, L) marks their tokens, `owner` (B,) the prompt of each row."""
        self._model, self._cache, self._mask = model, cache, prompt_mask
        self.select(owner)

    def advance(self, tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Logits (B, V) after one more token a row. Shapes: (B,), (B,)."""
        self._mask = torch.nn.functional.pad(self._mask, (0, 1), value=1)
        out = self._model(
            input_ids=tokens.unsqueeze(-1),
            attention_mask=self._mask,
            position_ids=positions.unsqueeze(-1),
            past_key_values=self._cache,
            use_cache=True,
        )
        return out.logits[:, -1]

    def select(self, rows: torch.Tensor) -> None:
        """Go on with `rows` only, in that order."""
        self._cache.batch_select_indices(rows)
        self._mask = self._mask[rows]


class SharedPrompts:
    """Rows have a cache of their own tokens only; what stands before them lies in blocks that they share."""

    def __init__(self, model: PreTrainedModel, prompts: Blocks, owner: torch.Tensor, common: States):
        """`prompts` are the P prompts behind `common`, the prefix of all of them; `owner` (B,) is the prompt of each row."""
        self._model, self._owner = model, owner
        self._prompts, self._prompt_mask = prompts.states, prompts.mask
        self._common = [(keys.unsqueeze(0), values.unsqueeze(0)) for keys, values in common]
        self._own = growing_cache(model)
        self._make_blocks()

    def advance(self, tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Logits (B, V) after one more token a row. Shapes: (B,), (B,)."""
        out = self._model(
            input_ids=tokens.unsqueeze(-1),
            position_ids=positions.unsqueeze(-1),
            past_key_values=self._own,
            use_cache=True,
            **attended_by(self, tokens.device),
        )
        return out.logits[:, -1]

    def select(self, rows: torch.Tensor) -> None:
        """Go on with `rows` only; prompts that have none left are dropped."""
        self._own.batch_select_indices(rows)
        kept, self._owner = torch.unique(self._owner[rows], return_inverse=True)
        if len(kept) < len(self._prompt_mask):
            self._prompt_mask = self._prompt_mask[kept]
            self._prompts = [(keys[kept], values[kept]) for keys, values in self._prompts]
        self._make_blocks()

    def states(self, row: int, num_own: int) -> States:
        """Keys and values of a row behind the common prefix: its prompt's and those of its first `num_own` tokens."""
        prompt = int(self._owner[row])
        columns = self._prompt_mask[prompt].nonzero().squeeze(-1)  # found once, not once a layer: a GPU would wait for each
        before = [tuple(states[prompt][:, columns] for states in block) for block in self._prompts]
        if num_own == 0:  # where no row has decoded anything the cache of own tokens has no tensors yet
            return before
        own = [(layer.keys[row][:, :num_own], layer.values[row][:, :num_own]) for layer in self._own.layers]
        return [tuple(torch.cat(parts, -2) for parts in zip(*layer)) for layer in zip(before, own)]

    def attention(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
    ) -> torch.Tensor:
        """As `rl.attention.Attention`. Shapes: query (B, H * G, 1, D), key and value (B, H, T, D) -> (B, 1, H * G, D)."""
        batch, num_heads, _, size = query.shape
        heads = key.shape[1]
        grouped = (query * scaling).view(batch, heads, num_heads // heads, size)
        out = self.attend(layer, grouped, key, value)  # (B, H, G, D of the values)
        return out.reshape(batch, 1, num_heads, -1)

    def attend(self, layer: int, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Attention of one layer over the shared blocks and a row's own tokens: one softmax over all of them.

        Shapes: query (B, H, G, D), already scaled; keys and values (B, H, T, D) -> (B, H, G, D).
        """
        shared = [(block, states[layer]) for block, states in self._blocks]
        scores = [block.scores(query, block_keys) for block, (block_keys, _) in shared] + [query @ keys.transpose(-1, -2)]
        weights = torch.cat(scores, -1).softmax(-1, dtype=torch.float32).to(query.dtype)
        *shared_weights, own_weights = weights.split([part.shape[-1] for part in scores], -1)
        out = own_weights @ values
        for part, (block, (_, block_values)) in zip(shared_weights, shared):
            out = out + block.weighted(part, block_values)
        return out

    def _make_blocks(self) -> None:
        bias = torch.zeros(self._prompt_mask.shape, dtype=self._model.dtype, device=self._owner.device)
        bias.masked_fill_(~self._prompt_mask, float("-inf"))
        self._blocks = [(_Block(self._owner, bias), self._prompts)]
        if self._common:
            self._blocks.append((_Block(torch.zeros_like(self._owner)), self._common))


class _Block:
    """Keys or values of N groups of rows, (N, H, L, D), read by all rows of a group in one product.

    The rows of a group stand in its slots; a group of fewer rows than the largest has empty slots, which row 0 fills in vain.
    """

    def __init__(self, group: torch.Tensor, bias: torch.Tensor | None = None):
        """`group` (B,) numbers every row's group, in ascending order; `bias` (N, L) is added to the scores."""
        sizes = torch.bincount(group)
        row = torch.arange(len(group), device=group.device)
        slot = row - (sizes.cumsum(0) - sizes)[group]
        self._num_slots = int(sizes.max())
        self._is_full = int(sizes.min()) == self._num_slots  # then the slots are the rows as they stand
        self._place = group * self._num_slots + slot  # (B,) of a row among all slots
        self._row = torch.zeros(len(sizes) * self._num_slots, dtype=torch.long, device=group.device)
        self._row[self._place] = row
        self._bias = None if bias is None else bias[:, None, None]  # (N, 1, 1, L)

    def scores(self, query: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """(B, H, G, D) against (N, H, L, D) -> (B, H, G, L)."""
        scores = self._into_slots(query) @ keys.transpose(-1, -2)
        return self._into_rows(scores if self._bias is None else scores.add_(self._bias), query.shape[2])

    def weighted(self, weights: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """(B, H, G, L) times (N, H, L, D) -> (B, H, G, D)."""
        return self._into_rows(self._into_slots(weights) @ values, weights.shape[2])

    def _into_slots(self, rows: torch.Tensor) -> torch.Tensor:
        """(B, H, G, X) -> (N, H, slots * G, X)."""
        if self._is_full and self._num_slots == 1:
            return rows
        _, heads, queries, size = rows.shape
        slots = (rows if self._is_full else rows[self._row]).view(-1, self._num_slots, heads, queries, size)
        return slots.transpose(1, 2).reshape(-1, heads, self._num_slots * queries, size)

    def _into_rows(self, slots: torch.Tensor, queries: int) -> torch.Tensor:
        """(N, H, slots * G, X) -> (B, H, G, X)."""
        if self._is_full and self._num_slots == 1:
            return slots
        groups, heads, _, size = slots.shape
        rows = slots.view(groups, heads, self._num_slots, queries, size).transpose(1, 2)
        rows = rows.reshape(-1, heads, queries, size)
        return rows if self._is_full else rows[self._place]
