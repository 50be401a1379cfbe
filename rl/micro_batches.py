"""Micro-batches: which rows take one forward and backward pass together.

Rows of equal prompts, then of like length, stand together, so that prompts are shared and little of a pass is padding.
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


def micro_batches(rows: Sequence[Row], limit: PassLimit, share_prompts: bool) -> list[list[int]]:
    """Indices of the rows of each pass. A row that is over the limit alone gets a pass of its own."""
    order = sorted(range(len(rows)), key=lambda i: (len(rows[i].prompt_ids), rows[i].prompt_ids, len(rows[i].completion_ids)))
    batches: list[list[int]] = []
    size = _Size(share_prompts)
    for i in order:
        grown = size.with_row(rows[i])
        if batches and (not limit.rows or len(batches[-1]) < limit.rows) and (not limit.tokens or grown.tokens <= limit.tokens):
            batches[-1].append(i)
            size = grown
        else:
            batches.append([i])
            size = _Size(share_prompts).with_row(rows[i])
    return batches


@dataclass(frozen=True)
class _Size:
    """Rows and columns of a pass as `CompletionBatch.collate` lays it out, as rows come in sorted."""

    share_prompts: bool
    num_rows: int = 0
    prompt: list[int] | None = None  # of the last row, the longest so far
    last: int = 0  # completion tokens of the last row
    longest: int = 0  # completion tokens of the longest row

    @property
    def tokens(self) -> int:
        return self.num_rows * (len(self.prompt or []) + self.longest)

    def with_row(self, row: Row) -> "_Size":
        is_shared = self.share_prompts and self.prompt == row.prompt_ids
        last = len(row.completion_ids) + (self.last if is_shared else 0)
        return _Size(self.share_prompts, self.num_rows + (not is_shared), row.prompt_ids, last, max(self.longest, last))


def most_over_ranks(count: int, device: torch.device) -> int:
    """The largest `count` of all ranks; all must call."""
    most = torch.tensor(count, device=device)
    if dist.is_initialized():
        dist.all_reduce(most, op=dist.ReduceOp.MAX)
    return int(most)
