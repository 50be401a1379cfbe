"""A key-value cache that appends in place."""

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
        buffer = states.new_empty(batch, heads, capacity, dim)
        buffer[:, :, :length] = states
        return buffer


def growing_cache(model: PreTrainedModel) -> DynamicCache:
    """A cache for `model` that appends in place where its layers are plain attention; other kinds stay the library's."""
    cache = DynamicCache(config=model.config)
    cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache
