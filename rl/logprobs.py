"""Logprobs of completion tokens under a model, from a batch that is padded on both sides.

A batch is [padding | prompt | completion | padding]: the completions of all rows start in one column, so a forward pass
needs logits for the last T + 1 columns only, and the sampler's layout (padding in front) is kept.

Shapes: `N` rows, `L` prompt columns, `T` completion columns, `V` vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class CompletionBatch:
    """Prompts and completions of N rows as tensors; `completion_mask` is True on the rows' own completion tokens."""

    input_ids: torch.Tensor  # (N, L + T)
    attention_mask: torch.Tensor  # (N, L + T)
    completion_ids: torch.Tensor  # (N, T)
    completion_mask: torch.Tensor  # (N, T) bool

    @classmethod
    def collate(cls, prompts: Sequence[list[int]], completions: Sequence[list[int]], device: torch.device) -> "CompletionBatch":
        prompt_len, completion_len = max(map(len, prompts)), max(map(len, completions))
        ids, attended, completion_ids = [], [], []
        for prompt, completion in zip(prompts, completions):
            front, back = prompt_len - len(prompt), completion_len - len(completion)
            ids.append([0] * front + prompt + completion + [0] * back)
            attended.append([0] * front + [1] * (len(prompt) + len(completion)) + [0] * back)
            completion_ids.append(completion + [0] * back)
        lengths = torch.tensor([len(completion) for completion in completions])
        completion_mask = torch.arange(completion_len) < lengths.unsqueeze(-1)
        return cls(
            torch.tensor(ids, device=device),
            torch.tensor(attended, device=device),
            torch.tensor(completion_ids, device=device),
            completion_mask.to(device),
        )


def completion_logprobs(model: torch.nn.Module, batch: CompletionBatch, temperature: float) -> torch.Tensor:
    """log pi(token) (N, T) under the full softmax at `temperature`; 0 outside the mask, where nothing may read it."""
    num_tokens = batch.completion_ids.shape[1]
    logits = model(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        position_ids=(batch.attention_mask.cumsum(-1) - 1).clamp(min=0),
        use_cache=False,
        logits_to_keep=num_tokens + 1,
    ).logits  # (N, T + 1, V)
    return token_logprobs(logits[:, :-1], batch.completion_ids, temperature).where(batch.completion_mask, 0.0)


def token_logprobs(logits: torch.Tensor, token_ids: torch.Tensor, temperature: float) -> torch.Tensor:
    """log softmax(logits / temperature) at `token_ids`, in float32. Shapes: (N, T, V) and (N, T) -> (N, T)."""
    if logits.shape[:-1] != token_ids.shape:
        raise ValueError(f"logits are {tuple(logits.shape)}, token_ids {tuple(token_ids.shape)}: leading axes must agree")
    logits = logits.float() / temperature
    return logits.gather(-1, token_ids.unsqueeze(-1)).squeeze(-1) - logits.logsumexp(-1)
