"""Completions and their prompts as the tensors of one forward pass.

Packed, all stand in one row without padding, each prompt once for all of its completions: [prompt | y_1 | ... | y_k | prompt |
...]. Every completion is computed as if it stood there alone, see `rl.packed_attention`. Models whose attention can't be told
so take a padded row for each completion, [padding | prompt | completion | padding].

Shapes: `R` completions, `T` tokens of the longest, `N` rows, `S` columns, `Q` columns of the head's input.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from rl.attention import attended_by
from rl.packed_attention import Packing


@dataclass(frozen=True)
class CompletionBatch:
    """R completions. `completion_mask` is True on their own tokens, and `row` and `source` mean something there only."""

    inputs: dict[str, Any]  # of the model's forward: input_ids (N, S), attention_mask, position_ids (N, S), attended_by
    head_columns: torch.Tensor | int  # `logits_to_keep`: columns (Q,) of the input, or how many of its last ones
    row: torch.Tensor  # (R, T) the row a token stands in
    source: torch.Tensor  # (R, T) the column of the head's input that predicts it
    completion_ids: torch.Tensor  # (R, T)
    completion_mask: torch.Tensor  # (R, T) bool

    @classmethod
    def collate(
        cls, prompts: Sequence[list[int]], completions: Sequence[list[int]], device: torch.device, pack: bool = False
    ) -> "CompletionBatch":
        """One prompt a completion. With `pack`, neighbours of equal prompts share it."""
        layout = _packed if pack else _padded
        lengths = torch.tensor([len(completion) for completion in completions], device=device)
        return cls(
            **layout(prompts, completions, device),
            completion_ids=_stacked(completions, device),
            completion_mask=torch.arange(max(map(len, completions)), device=device) < lengths.unsqueeze(-1),
        )


def _packed(prompts: Sequence[list[int]], completions: Sequence[list[int]], device: torch.device) -> dict[str, Any]:
    groups: list[tuple[list[int], list[list[int]]]] = []
    for prompt, completion in zip(prompts, completions):
        if groups and groups[-1][0] == prompt:
            groups[-1][1].append(completion)
        else:
            groups.append((prompt, [completion]))
    ids, positions = [], []
    sources, columns = [], []  # of the head's input and, one for each of these, of the model's
    for prompt, members in groups:
        last = len(ids) + len(prompt) - 1
        ids += prompt
        positions += range(len(prompt))
        for completion in members:
            sources.append(list(range(len(columns), len(columns) + len(completion))))
            columns += [last, *range(len(ids), len(ids) + len(completion) - 1)]
            ids += completion
            positions += range(len(prompt), len(prompt) + len(completion))
    inputs = {
        "input_ids": torch.tensor([ids], device=device),
        "position_ids": torch.tensor([positions], device=device),
        **attended_by(Packing([(len(prompt), [len(c) for c in members]) for prompt, members in groups], device), device),
    }
    source = _stacked(sources, device)
    head_columns = torch.tensor(columns, device=device)
    return {"inputs": inputs, "head_columns": head_columns, "row": torch.zeros_like(source), "source": source}


def _padded(prompts: Sequence[list[int]], completions: Sequence[list[int]], device: torch.device) -> dict[str, Any]:
    """With padding in front, logits are needed for the last columns only."""
    front = max(map(len, prompts))
    rows = [[0] * (front - len(p)) + p + c for p, c in zip(prompts, completions)]
    segments = [[0] * (front - len(p)) + [1] * (len(p) + len(c)) for p, c in zip(prompts, completions)]
    mask = _stacked(segments, device)
    input_ids = _stacked(rows, device)
    inputs = {
        "input_ids": input_ids, "attention_mask": mask, "position_ids": ((mask.cumsum(-1) - 1) * mask).clamp(min=0),
    }  # fmt: skip
    width = input_ids.shape[1] - front
    source = torch.arange(width, device=device).expand(len(rows), -1)
    row = torch.arange(len(rows), device=device).unsqueeze(-1).expand(-1, width)
    return {"inputs": inputs, "head_columns": width + 1, "row": row, "source": source}


def _stacked(rows: Sequence[list[int]], device: torch.device) -> torch.Tensor:
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True).to(device)
