"""Decoding steps on top of prompts that have been computed once each: two ways, with the same methods.

`SharedPrompts` lets all samples of a prompt read the one copy of its keys and values (and all prompts that of the few-shot
examples), so a step reads prompts + samples' own tokens, not prompts x samples. It takes the place of the attention of models
whose layers are plain attention, and a step may give its rows any numbers of tokens. `RepeatedPrompts` copies a prompt's cache
for each of its samples and serves all other models, one token a step.

Shapes: `B` rows being decoded, `N` tokens of a step, `P` prompts, `H` key-value heads, `G` query heads for each, `D` head size,
`T` a row's own tokens, `L` tokens of a block, `V` vocabulary.
"""

from collections.abc import Sequence

import torch
from transformers import DynamicCache, PreTrainedModel

from rl.attention import attended_by
from rl.sampling.kv_cache import Places, ragged_cache
from rl.sampling.partial_attention import bias_of, joined, partial_attention
from rl.sampling.prefill import Blocks
from rl.sampling.prompt_memory import States


class RepeatedPrompts:
    """Every row has a copy of its prompt's cache; the model's own attention reads it behind a mask."""

    def __init__(self, model: PreTrainedModel, cache: DynamicCache, prompt_mask: torch.Tensor, owner: torch.Tensor):
        """`cache` holds P prompts, `prompt_mask` (P, L) marks their tokens, `owner` (B,) the prompt of each row."""
        self._model, self._cache, self._mask = model, cache, prompt_mask
        self._positions = prompt_mask.sum(-1)  # of the next token
        self.select(owner)

    def advance(self, tokens: Sequence[Sequence[int]], num_own: Sequence[int]) -> torch.Tensor:
        """As `SharedPrompts.advance`. A row without a token takes part in vain: rows of this cache have one length."""
        device = self._mask.device
        self._mask = torch.nn.functional.pad(self._mask, (0, 1), value=1)
        open_rows = [i for i, row in enumerate(tokens) if row]
        out = self._model(
            input_ids=torch.tensor([[row[0] if row else 0] for row in tokens], device=device),
            attention_mask=self._mask,
            position_ids=self._positions.unsqueeze(-1),
            past_key_values=self._cache,
            use_cache=True,
        )
        self._positions = self._positions + 1
        logits = out.logits[:, -1]
        return logits if len(open_rows) == len(tokens) else logits[torch.tensor(open_rows, device=device)]

    def select(self, rows: torch.Tensor) -> None:
        """Go on with `rows` only, in that order."""
        rows = rows.to(self._mask.device)
        self._cache.batch_select_indices(rows)
        self._mask, self._positions = self._mask[rows], self._positions[rows]


class SharedPrompts:
    """Rows have a cache of their own tokens only; what stands before them lies in blocks that they share.

    Every token of a step is a row of the model's batch, so that rows may have several or none; which row of ours it belongs to,
    and what it sees, is the attention's affair.
    """

    def __init__(self, model: PreTrainedModel, prompts: Blocks, owner: torch.Tensor, common: States):
        """`prompts` are the P prompts behind `common`, the prefix of all; `owner` (B,), on the CPU, is each row's prompt."""
        self.model, self._owner = model, owner
        self._prompts, self._prompt_mask = prompts.states, prompts.mask
        self._prompt_bias = bias_of(~prompts.mask, model.dtype)
        num_common = common[0][0].shape[-2] if common else 0
        self.num_before = (prompts.mask.sum(-1).cpu() + num_common)[owner]  # (B,) tokens before a row's own, on the CPU
        self._common = [(keys.unsqueeze(0), values.unsqueeze(0)) for keys, values in common]
        self._places = Places(len(owner))
        self._own = ragged_cache(model, self._places)
        self._counts: list[int] = []  # tokens of each row in the step that the blocks were made for

    @property
    def num_rows(self) -> int:
        """B."""
        return len(self._owner)

    @property
    def device(self) -> torch.device:
        """Of the model."""
        return self.model.device

    def advance(self, tokens: Sequence[Sequence[int]], num_own: Sequence[int]) -> torch.Tensor:
        """Logits (N, V) after each of `tokens`, row by row: what follows the first `num_own` own tokens of each of the B rows.

        What an earlier call computed of later tokens is written over.
        """
        counts = [len(row) for row in tokens]
        row = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))  # (N,)
        column = torch.tensor([n + i for n, count in zip(num_own, counts) for i in range(count)])
        if counts != self._counts:
            self.lay_out(row)
            self._counts = counts
        ids = torch.tensor([token for one in tokens for token in one])
        inputs = torch.stack([ids, row, column, column + self.num_before[row]]).to(self.device)
        length = max(n + count for n, count in zip(num_own, counts))
        return self.step(inputs, length, is_ragged=any(count and n + 1 < length for n, count in zip(num_own, counts)))

    def lay_out(self, row: torch.Tensor) -> None:
        """Prepare for steps whose tokens are of the rows `row` (N,), on the CPU, in ascending order."""
        device, bias = self._prompt_mask.device, self._prompt_bias
        self._own_block = _Block(row, len(self._owner), device)
        self._shared_blocks = [(_Block(self._owner[row], len(bias), device, bias), self._prompts)]
        if self._common:
            self._shared_blocks.append((_Block(torch.zeros_like(row), 1, device), self._common))

    def step(self, inputs: torch.Tensor, length: int, is_ragged: bool) -> torch.Tensor:
        """Logits (N, V) after the tokens whose id, row, column among the row's own and position are `inputs` (4, N).

        Takes `length` columns; where that `is_ragged`, longer than some row, what is ahead of a token is hidden from it.
        """
        ids, row, column, positions = inputs
        self._places.row, self._places.column, self._places.length = row, column, length
        self._own_bias = self._own_block.bias = None
        if is_ragged:
            is_ahead = torch.arange(length, device=self.device) > column.unsqueeze(-1)  # (N, T) of a token's own row
            self._own_bias = bias_of(is_ahead, self.model.dtype)[:, None, None]  # (N, 1, 1, T)
        out = self.model(
            input_ids=ids.unsqueeze(-1),
            position_ids=positions.unsqueeze(-1),
            past_key_values=self._own,
            use_cache=True,
            **attended_by(self, self.device),
        )
        return out.logits[:, -1]

    def select(self, rows: torch.Tensor) -> None:
        """Go on with `rows` only; prompts that have none left are dropped."""
        device = self._prompt_mask.device
        self._own.batch_select_indices(rows.to(device))
        self._places.num_rows = len(rows)
        self.num_before, self._counts = self.num_before[rows], []
        kept, self._owner = torch.unique(self._owner[rows], return_inverse=True)
        if len(kept) < len(self._prompt_mask):
            kept = kept.to(device)
            self._prompt_mask, self._prompt_bias = self._prompt_mask[kept], self._prompt_bias[kept]
            self._prompts = [(keys[kept], values[kept]) for keys, values in self._prompts]

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
        """As `rl.attention.Attention`. Shapes: query (N, H * G, 1, D), key and value (B, H, T, D) -> (N, 1, H * G, D)."""
        num_tokens, num_heads, _, size = query.shape
        heads = key.shape[1]
        grouped = query.reshape(num_tokens, heads, num_heads // heads, size)
        out = self.attend(layer, grouped, key, value, scaling)  # (N, H, G, D of the values)
        return out.reshape(num_tokens, 1, num_heads, -1)

    def attend(self, layer: int, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scaling: float) -> torch.Tensor:
        """Attention of one layer over the shared blocks and a row's own tokens: one softmax over all of them.

        Shapes: query (N, H, G, D); keys and values (B, H, T, D) -> (N, H, G, D).
        """
        if self._own_bias is not None and self._own_block.bias is None:
            self._own_block.hide(self._own_bias, query.shape[2])  # once a step, not once a layer
        shared = [(block, *states[layer]) for block, states in self._shared_blocks]
        return joined([block.attend(query, *states, scaling) for block, *states in [*shared, (self._own_block, keys, values)]])


class _Block:
    """Keys or values of M groups of tokens, (M, H, L, D), read by all tokens of a group in one product.

    The tokens of a group stand in its slots; a group of fewer than the largest has empty slots, which token 0 fills in vain.
    """

    def __init__(self, group: torch.Tensor, num_groups: int, device: torch.device, bias: torch.Tensor | None = None):
        """`group` (N,), on the CPU, numbers every token's group, in ascending order; `bias` (M, L) is added to the scores."""
        sizes = torch.bincount(group, minlength=num_groups)
        token = torch.arange(len(group))
        slot = token - (sizes.cumsum(0) - sizes)[group]
        self._num_slots = int(sizes.max())
        self._is_full = int(sizes.min()) == self._num_slots  # then the slots are the tokens as they stand
        if not self._is_full:
            place = group * self._num_slots + slot  # (N,) of a token among all slots
            filler = torch.zeros(num_groups * self._num_slots, dtype=torch.long)
            filler[place] = token
            self._place, self._token = place.to(device), filler.to(device)
        self.bias = None if bias is None else bias[:, None, None]  # (M, 1, 1, L), or (M, 1, slots * G, L)

    def hide(self, token_bias: torch.Tensor, queries: int) -> None:
        """Have `token_bias` (N, 1, 1, L) added to the scores of each token, all of its G `queries`."""
        is_plain = self._is_full and self._num_slots == 1
        self.bias = token_bias if is_plain else self._into_slots(token_bias.expand(-1, 1, queries, -1))

    def attend(
        self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scaling: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As `partial_attention`: query (N, H, G, D), keys and values (M, H, L, D) -> (N, H, G, D), (N, H, G)."""
        out, log_total = partial_attention(self._into_slots(query), keys, values, self.bias, scaling)
        queries = query.shape[2]
        return self._into_tokens(out, queries), self._into_tokens(log_total.unsqueeze(-1), queries).squeeze(-1)

    def _into_slots(self, tokens: torch.Tensor) -> torch.Tensor:
        """(N, H, G, X) -> (M, H, slots * G, X)."""
        if self._is_full and self._num_slots == 1:
            return tokens
        _, heads, queries, size = tokens.shape
        slots = (tokens if self._is_full else tokens[self._token]).view(-1, self._num_slots, heads, queries, size)
        return slots.transpose(1, 2).reshape(-1, heads, self._num_slots * queries, size)

    def _into_tokens(self, slots: torch.Tensor, queries: int) -> torch.Tensor:
        """(M, H, slots * G, X) -> (N, H, G, X)."""
        if self._is_full and self._num_slots == 1:
            return slots
        tokens = slots.unflatten(2, (self._num_slots, queries)).transpose(1, 2).flatten(0, 1)
        return tokens if self._is_full else tokens[self._place]
