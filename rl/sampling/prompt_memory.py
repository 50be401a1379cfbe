"""What a rollout remembers of prompts that it has computed: keys and values by token ids.

Two things come back. Few-shot examples stand before every problem; they are computed once. A correction's prompt starts with
the ids of the attempt that it corrects; what decoding computed of that attempt need not be computed again.

Valid for one model with one set of weights: make a new one for every rollout.

Shapes: keys and values of a layer (B, H, tokens, D), `P` prompts.
"""

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from rl.sampling.kv_cache import growing_cache

# A pass of its own for the common prefix pays from about here; a few words in common are everywhere.
MIN_COMMON_TOKENS = 32

# (keys, values) of every layer, (H, tokens, D) each.
States = list[tuple[torch.Tensor, torch.Tensor]]


class PromptMemory:
    """The common prefix of all prompts, and the rows of the turn before (their tokens after that prefix)."""

    def __init__(self) -> None:
        self.common_ids: list[int] = []
        self.common: States = []
        self._rows: dict[tuple[int, ...], States] = {}  # of the turn before
        self._new_rows: dict[tuple[int, ...], States] = {}  # of this turn
        self._room = 0

    def start_turn(self, max_rows: int) -> None:
        """What was kept of the turn before can be found from now on; keep at most `max_rows` rows of the one that starts."""
        self._rows, self._new_rows, self._room = self._new_rows, {}, max_rows

    def learn_common(self, model: PreTrainedModel, prompts: Sequence[list[int]]) -> None:
        """Compute what all `prompts` start with, unless they go on from what is remembered.

        For models of plain attention: padding stands behind the common prefix, which would shift a window.
        """
        is_known = all(prompt[: len(self.common_ids)] == self.common_ids for prompt in prompts)
        if is_known and (self.common_ids or self._rows):
            return
        self.common_ids, self.common, self._rows = [], [], {}
        num_common = common_prefix(prompts) if len(prompts) > 1 else 0
        if num_common >= MIN_COMMON_TOKENS:
            self.common_ids, cache = prompts[0][:num_common], growing_cache(model)
            ids = torch.tensor([self.common_ids], device=model.device)
            positions = torch.arange(num_common, device=model.device).unsqueeze(0)
            model(input_ids=ids, position_ids=positions, past_key_values=cache, use_cache=True, logits_to_keep=1)
            self.common = [(layer.keys[0], layer.values[0]) for layer in cache.layers]

    @property
    def has_room(self) -> bool:
        return len(self._new_rows) < self._room

    def keep(self, ids: list[int], states: States) -> None:
        """Remember the keys and values of a row with tokens `ids`; `states` are those after the common prefix."""
        self._new_rows[tuple(ids)] = states

    def forget(self) -> None:
        """Free the rows that were kept: what goes on from them is computed again."""
        self._rows, self._new_rows, self._room = {}, {}, 0

    def find(self, prompt: list[int]) -> States | None:
        """The states, after the common prefix, of the longest remembered row that `prompt` goes on from."""
        for length in sorted({len(ids) for ids in self._rows}, reverse=True):
            states = self._rows.get(tuple(prompt[:length])) if length < len(prompt) else None
            if states is not None:
                return states
        return None


def common_prefix(prompts: Sequence[list[int]]) -> int:
    """Tokens that all prompts start with, the last one of the shortest left out: each prompt needs one to go on from."""
    first, last = min(prompts), max(prompts)
    shared = next((i for i, (a, b) in enumerate(zip(first, last)) if a != b), min(len(first), len(last)))
    return min(shared, min(map(len, prompts)) - 1)
