"""Decoding ahead on a GPU: what a step draws goes into the next one there, and the processor looks every few steps.

Rows that end in between decode a few tokens in vain. The steps are recorded (`cuda_graphs`).

Shapes: `B` rows, `T` tokens ahead.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch

from rl.sampling.cuda_graphs import Recorder
from rl.sampling.decoding import SharedPrompts
from rl.sampling.draw import CDF_DTYPE, draw_tokens

# Most tokens between two looks.
AHEAD = 8
# Steps attend to so many own tokens or a multiple, so that a recording lasts: columns that are not written yet are masked.
LENGTHS = 128


class Ahead:
    """Steps of one token for each of the rows of `states`, as long as these stay the same."""

    def __init__(self, states: SharedPrompts, temperature: float):
        rows, device = states.num_rows, states.device
        self._states, self._temperature, self._recorder = states, temperature, Recorder(states.model, device)
        states.lay_out(torch.arange(rows))
        self._inputs = torch.zeros(4, rows, dtype=torch.long, device=device)  # as `SharedPrompts.step` takes them
        self._num = torch.zeros(1, dtype=torch.long, device=device)  # of the next token ahead
        self._uniforms = torch.zeros(rows, AHEAD, dtype=CDF_DTYPE, device=device)
        self._tokens = torch.zeros(rows, AHEAD, dtype=torch.long, device=device)
        self._logprobs = torch.zeros(rows, AHEAD, device=device)

    def decode(self, newest: Sequence[int], num_own: int, uniforms: np.ndarray) -> tuple[list[list[int]], list[list[float]]]:
        """Tokens (B, T) after the `newest` of each row, which has `num_own` own tokens before it, and their logprobs (B, T).

        `uniforms` (B, T) draw them, T at most `AHEAD`.
        """
        count = uniforms.shape[1]
        row, column = torch.arange(len(newest)), torch.full((len(newest),), num_own)
        self._inputs.copy_(torch.stack([torch.tensor(newest), row, column, column + self._states.num_before]))
        self._uniforms[:, :count] = torch.from_numpy(uniforms).to(self._uniforms)
        self._num.zero_()
        length = num_own + count
        length += -length % LENGTHS
        self._recorder.run(partial(self._step, length), count, key=length)
        return self._tokens[:, :count].tolist(), self._logprobs[:, :count].tolist()

    def _step(self, length: int) -> None:
        logits = self._states.step(self._inputs, length, is_ragged=True)
        uniforms = self._uniforms.index_select(1, self._num).squeeze(-1)
        tokens, logprobs = draw_tokens(logits, uniforms, self._temperature)
        self._tokens.index_copy_(1, self._num, tokens.unsqueeze(-1))
        self._logprobs.index_copy_(1, self._num, logprobs.unsqueeze(-1))
        self._inputs[0].copy_(tokens)
        self._inputs[2:].add_(1)  # column and position
        self._num.add_(1)
