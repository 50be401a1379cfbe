"""Key-value caches that are written in place: one appends to all rows, one writes tokens of rows of unlike length."""

import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

# Room for so many tokens is made at once where a cache is full.
SPARE_TOKENS = 64


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
        buffer = states.new_zeros(batch, heads, capacity, dim)  # what no token has written is read behind a mask: no NaN
        buffer[:, :, :length] = states
        return buffer


class Places:
    """Where the tokens of a pass go: token i to row `row[i]`, column `column[i]`; `length` columns are in use after it."""

    row: torch.Tensor
    column: torch.Tensor
    length: int

    def __init__(self, num_rows: int):
        self.num_rows = num_rows


class RaggedLayer(GrowingLayer):
    """Tokens (N, heads, 1, dim) go to places that a pass decides; the layer gives keys and values of all rows and columns."""

    def __init__(self, places: Places):
        super().__init__()
        self._places = places

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args, **kwargs) -> tuple[torch.Tensor, ...]:
        places = self._places
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            rows = (states[:1, :, :0].expand(places.num_rows, -1, -1, -1) for states in (key_states, value_states))
            self._buffers = tuple(rows)
        if places.length > self._buffers[0].shape[-2]:
            self._grow(self._buffers[0].shape[-2], places.length + SPARE_TOKENS)
        for buffer, states in zip(self._buffers, (key_states, value_states)):
            buffer[places.row, :, places.column] = states.squeeze(-2)
        self.keys, self.values = (buffer[:, :, : places.length] for buffer in self._buffers)
        return self.keys, self.values


def ragged_cache(model: PreTrainedModel, places: Places) -> DynamicCache:
    """A cache for `model`, whose layers are plain attention, that writes the tokens of a pass to `places`."""
    cache = DynamicCache(config=model.config)
    cache.layers = [RaggedLayer(places) for _ in cache.layers]
    return cache


def growing_cache(model: PreTrainedModel) -> DynamicCache:
    """A cache for `model` that appends in place where its layers are plain attention; other kinds stay the library's."""
    cache = DynamicCache(config=model.config)
    cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache
