"""Micro-batches: which rows take one forward and backward pass together.

Rows of equal prompts, then of like length, stand together, so that prompts are shared, or little of a pass is padding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.distributed as dist

from rl.pass_limit import PassLimit


class Row(Protocol):
    """What is asked of a row: its token ids."""

    prompt_ids: list[int]
    completion_ids: list[int]


def micro_batches(rows: Sequence[Row], limit: PassLimit, pack: bool) -> list[list[int]]:
    """Indices of the rows of each pass, packed or padded. A row that is over the limit alone gets a pass of its own."""
    order = sorted(range(len(rows)), key=lambda i: (len(rows[i].prompt_ids), rows[i].prompt_ids, len(rows[i].completion_ids)))
    batches: list[list[int]] = []
    size = _Size(pack)
    for i in order:
        grown = size.with_row(rows[i])
        if batches and (not limit.rows or len(batches[-1]) < limit.rows) and (not limit.tokens or grown.tokens <= limit.tokens):
            batches[-1].append(i)
            size = grown
        else:
            batches.append([i])
            size = _Size(pack).with_row(rows[i])
    return batches


@dataclass(frozen=True)
class _Size:
    """Tokens of a pass as `CompletionBatch.collate` lays it out, as rows come in sorted."""

    pack: bool
    tokens: int = 0
    num_rows: int = 0
    prompt: list[int] | None = None  # of the last row, the longest so far
    longest: int = 0  # completion

    def with_row(self, row: Row) -> "_Size":
        num_rows, longest = self.num_rows + 1, max(self.longest, len(row.completion_ids))
        if self.pack:
            prompt_tokens = 0 if self.prompt == row.prompt_ids else len(row.prompt_ids)
            tokens = self.tokens + prompt_tokens + len(row.completion_ids)
        else:
            tokens = num_rows * (len(row.prompt_ids) + longest)
        return _Size(self.pack, tokens, num_rows, row.prompt_ids, longest)


def most_over_ranks(count: int, device: torch.device) -> int:
    """The largest `count` of all ranks; all must call."""
    most = torch.tensor(count, device=device)
    if dist.is_initialized():
        dist.all_reduce(most, op=dist.ReduceOp.MAX)
    return int(most)
