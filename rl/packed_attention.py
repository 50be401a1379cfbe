"""Attention over a packed row: many sequences one behind another, without padding, that do not see each other.

A sequence may stand behind a prompt that it shares with others, which is in the row once. The row's attention is then a few
calls of the kernel: completions of one prompt together, sequences of their own together where their lengths are alike.

Shapes: `S` columns of the row, `n` sequences of a block, `T` columns of its longest, `C` of what they share; `H` query heads,
`K` key-value heads, `D` head size.
"""

from collections.abc import Sequence

import torch
from torch.nn.functional import scaled_dot_product_attention

# Sequences up to so much longer than the shortest are attended together. Padding costs a CPU as much as tokens, and a call
# little; a GPU waits for calls.
MAX_STRETCH = {"cpu": 1.25, "cuda": 4.0}


class Packing:
    """Which columns of a packed row see which, as blocks that each take one call of the kernel; an `rl.attention.Attention`."""

    def __init__(self, groups: Sequence[tuple[int, Sequence[int]]], device: torch.device):
        """`groups` are (prompt tokens, tokens of each of its completions), in the order of the row."""
        alone: list[tuple[int, int]] = []  # (start, length) of what sees nothing but itself
        blocks: list[_Block] = []
        start = 0
        for prompt, completions in groups:
            if len(completions) == 1:
                alone.append((start, prompt + completions[0]))
            else:
                alone.append((start, prompt))
                starts = [start + prompt + sum(completions[:i]) for i in range(len(completions))]
                for members in groups_of_like_length(completions, device):
                    sequences = [(starts[i], completions[i]) for i in sorted(members)]
                    blocks.append(_Block(sequences, (start, start + prompt), device))
            start += prompt + sum(completions)
        for members in groups_of_like_length([length for _, length in alone], device):
            blocks.append(_Block([alone[i] for i in sorted(members)], None, device))
        self._blocks = sorted(blocks, key=lambda block: int(block.real_columns[0]))  # often the order of the row
        columns = torch.cat([block.real_columns for block in self._blocks])
        self._order = None if bool((columns.diff() == 1).all()) else columns.argsort().to(device)  # (S,)

    def attention(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
    ) -> torch.Tensor:
        """(1, H, S, D), (1, K, S, D) twice -> (1, S, H, D), in every layer alike."""
        return self.attend(query[0], key[0], value[0], scaling).unsqueeze(0)

    def attend(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float) -> torch.Tensor:
        """(H, S, D), (K, S, D) twice -> (S, H, D)."""
        out = torch.cat([block.attend(query, key, value, scaling) for block in self._blocks])
        return out if self._order is None else out[self._order]


class _Block:
    """Sequences of one call. Each sees `shared`, a range of columns, and itself; padding stands behind and sees only itself."""

    def __init__(self, sequences: Sequence[tuple[int, int]], shared: tuple[int, int] | None, device: torch.device):
        """`sequences` are (start, length)."""
        self._shared, self._num = shared, len(sequences)
        lengths = torch.tensor([length for _, length in sequences])
        offsets = torch.arange(int(lengths.max()))
        is_real = offsets < lengths.unsqueeze(-1)  # (n, T)
        columns = torch.tensor([start for start, _ in sequences]).unsqueeze(-1) + offsets
        columns = columns.where(is_real, columns[:, :1]).flatten()  # (n * T,); padding reads what is there anyway
        self.real_columns = columns[is_real.flatten()]
        # A run of columns is a view; else they are copied.
        self._run = (int(columns[0]), int(columns[-1]) + 1) if bool((columns.diff() == 1).all()) else None
        self._columns = columns.to(device)
        self._real = None if bool(is_real.all()) else is_real.flatten().nonzero().squeeze(-1).to(device)
        self._bias = torch.empty(0)

    def attend(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float) -> torch.Tensor:
        """(H, S, D), (K, S, D) twice -> (its real columns, H, D)."""
        queries, keys, values = self._sequences(query), self._sequences(key), self._sequences(value)  # (n, H or K, T, D)
        if self._shared is None:
            if not _takes_groups(queries):
                keys, values = (part.repeat_interleave(queries.shape[1] // part.shape[1], 1) for part in (keys, values))
            out = scaled_dot_product_attention(queries, keys, values, is_causal=True, scale=scaling, enable_gqa=True)
        else:
            # Kernels that take a mask want as many query heads as keys': those of one key head stand one behind another.
            n, heads, length, size = queries.shape
            per_key = heads // keys.shape[1]
            folded = queries.reshape(n, keys.shape[1], per_key * length, size)
            keys, values = self._behind_shared(key, keys), self._behind_shared(value, values)
            bias = self._bias_for(folded, keys.shape[2], per_key)
            out = scaled_dot_product_attention(folded, keys, values, bias, scale=scaling)
            out = out.reshape(n, heads, length, -1)
        out = out.transpose(1, 2).flatten(0, 1)  # (n * T, H, D)
        return out if self._real is None else out[self._real]

    def _bias_for(self, queries: torch.Tensor, width: int, per_key: int) -> torch.Tensor:
        """(per_key * T, C + T), made once: what every layer of a pass keeps for its backward pass is then one tensor."""
        if self._bias.shape != (queries.shape[2], width) or self._bias.dtype != queries.dtype:
            length = queries.shape[2] // per_key
            hidden = torch.ones(length, width, dtype=torch.bool, device=queries.device).triu(width - length + 1)
            self._bias = queries.new_zeros(length, width).masked_fill_(hidden, float("-inf")).repeat(per_key, 1)
        return self._bias

    def _sequences(self, states: torch.Tensor) -> torch.Tensor:
        """(H, S, D) -> (n, H, T, D)."""
        taken = states[:, self._columns] if self._run is None else states[:, slice(*self._run)]
        return taken.unflatten(1, (self._num, -1)).transpose(0, 1)

    def _behind_shared(self, states: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        """(K, S, D), (n, K, T, D) -> (n, K, C + T, D)."""
        return torch.cat([states[:, slice(*self._shared)].expand(self._num, -1, -1, -1), own], dim=2)


def _takes_groups(queries: torch.Tensor) -> bool:
    """Whether there is a kernel for fewer keys' heads than queries'. On GPUs flash alone is one; the next best choice keeps all
    scores for the backward pass.
    """
    if queries.device.type != "cuda":
        return True
    return queries.dtype != torch.float32 and torch.cuda.get_device_capability(queries.device) >= (8, 0)


def groups_of_like_length(lengths: Sequence[int], device: torch.device) -> list[list[int]]:
    """Indices in groups, by length, for work on `device`."""
    max_stretch = MAX_STRETCH.get(device.type, MAX_STRETCH["cpu"])
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if not groups or lengths[index] > max_stretch * lengths[groups[-1][0]]:
            groups.append([])
        groups[-1].append(index)
    return groups
