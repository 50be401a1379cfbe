"""Logprobs of completion tokens under a model, with each prompt computed once for all of its completions.

Completions of one prompt stand behind it in one row, [padding | prompt | y_1 | ... | y_k | padding]; a mask lets each see the
prompt and itself, and its positions go on from the prompt, so every completion is computed as if it stood there alone. With
padding in front, logits are needed for the last columns only. Where a model's attention can't take such a mask, k is 1.

Shapes: `R` completions, `T` tokens of the longest, `V` vocabulary; `N` rows, `L` prompt columns and `S` completion columns of
a row.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch.nn.utils.rnn import pad_sequence

from rl.token_statistics import token_statistics


@dataclass(frozen=True)
class CompletionBatch:
    """R completions with their prompts as tensors; `completion_mask` is True on their own tokens."""

    input_ids: torch.Tensor  # (N, L + S)
    attention_mask: torch.Tensor  # (N, L + S), or (N, 1, L + S, L + S) bool where prompts are shared
    position_ids: torch.Tensor  # (N, L + S)
    row: torch.Tensor  # (R, T) the row a token stands in
    source: torch.Tensor  # (R, T) the column, counted from the prompts' last, whose logits predict it
    completion_ids: torch.Tensor  # (R, T)
    completion_mask: torch.Tensor  # (R, T) bool
    num_prompt_columns: int

    @classmethod
    def collate(
        cls,
        prompts: Sequence[list[int]],
        completions: Sequence[list[int]],
        device: torch.device,
        share_prompts: bool = False,
    ) -> "CompletionBatch":
        """One prompt a completion. With `share_prompts`, neighbours of equal prompts share a row."""
        groups: list[tuple[list[int], list[list[int]]]] = []
        for prompt, completion in zip(prompts, completions):
            if share_prompts and groups and groups[-1][0] == prompt:
                groups[-1][1].append(completion)
            else:
                groups.append((prompt, [completion]))
        prompt_len = max(len(prompt) for prompt, _ in groups)
        rows = [_Row(prompt, members, prompt_len) for prompt, members in groups]
        length = max(len(row.ids) for row in rows)
        segments = torch.tensor([row.segments + [_PADDING] * (length - len(row.ids)) for row in rows], device=device)
        is_shared = any(len(members) > 1 for _, members in groups)
        lengths = torch.tensor([len(completion) for completion in completions], device=device)
        return cls(
            input_ids=torch.tensor([row.ids + [0] * (length - len(row.ids)) for row in rows], device=device),
            attention_mask=_tree_mask(segments) if is_shared else (segments != _PADDING).long(),
            position_ids=torch.tensor([row.positions + [0] * (length - len(row.ids)) for row in rows], device=device),
            row=_padded([[n] * len(c) for n, (_, members) in enumerate(groups) for c in members], device),
            source=_padded([source for row in rows for source in row.sources], device),
            completion_ids=_padded(completions, device),
            completion_mask=torch.arange(max(map(len, completions)), device=device) < lengths.unsqueeze(-1),
            num_prompt_columns=prompt_len,
        )


_PADDING, _PROMPT = -1, 0


class _Row:
    """One prompt, padded in front to `prompt_len`, and its completions: ids, segments (1, 2, ... a completion), positions."""

    def __init__(self, prompt: list[int], completions: list[list[int]], prompt_len: int):
        front = prompt_len - len(prompt)
        self.ids = [0] * front + prompt
        self.segments = [_PADDING] * front + [_PROMPT] * len(prompt)
        self.positions = [0] * front + list(range(len(prompt)))
        self.sources: list[list[int]] = []
        for number, completion in enumerate(completions, 1):
            start = len(self.ids) - prompt_len
            self.sources.append([0, *range(start + 1, start + len(completion))])
            self.ids += completion
            self.segments += [number] * len(completion)
            self.positions += range(len(prompt), len(prompt) + len(completion))


def _tree_mask(segments: torch.Tensor) -> torch.Tensor:
    """(N, 1, S, S) bool from segments (N, S): a token sees the prompt and its own completion up to itself."""
    query, key = segments.unsqueeze(-1), segments.unsqueeze(-2)
    mask = ((key == _PROMPT) | (key == query)) & (query != _PADDING) & (key != _PADDING)
    causal = torch.ones(segments.shape[-1], segments.shape[-1], dtype=torch.bool, device=segments.device).tril()
    # Padding sees itself: a softmax over nothing is nan, and would spread.
    return ((mask & causal) | torch.eye(segments.shape[-1], dtype=torch.bool, device=segments.device)).unsqueeze(1)


def _padded(rows: Sequence[list[int]], device: torch.device) -> torch.Tensor:
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True).to(device)


def can_share_prompts(model_config: Any) -> bool:
    """Whether the model's attention takes an explicit mask and looks back without a window."""
    text_config = model_config.get_text_config()
    layers = getattr(text_config, "layer_types", None) or ["full_attention"]
    return model_config._attn_implementation == "sdpa" and set(layers) == {"full_attention"}


def completion_logprobs(model: torch.nn.Module, batch: CompletionBatch, temperature: float) -> torch.Tensor:
    """log pi(token) (R, T) under the full softmax at `temperature`; 0 outside the mask, where nothing may read it."""
    return _statistics(model, batch, temperature, with_entropies=False)[0]


def completion_logprobs_and_entropies(
    model: torch.nn.Module, batch: CompletionBatch, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same, and the entropies of the distributions that the tokens were drawn from (R, T), 0 outside the mask too."""
    logprobs, entropies = _statistics(model, batch, temperature, with_entropies=True)
    return logprobs, entropies


def _statistics(model: torch.nn.Module, batch: CompletionBatch, temperature: float, with_entropies: bool) -> list[torch.Tensor]:
    """Logprobs (R, T), and entropies (R, T) where asked for.

    They take the place of the head inside the model's forward pass, where its weights are whole under ZeRO-3 too; all logits
    are made only where the model goes on to scale or cap them.
    """
    mask = batch.completion_mask
    if has_plain_head(model, batch.input_ids.device):
        row, source, token_ids = batch.row[mask], batch.source[mask], batch.completion_ids[mask]  # (n,) each
        head = _head(model)

        def statistics_of(hidden: torch.Tensor) -> torch.Tensor:  # (N, S + 1, D) -> (1 or 2, n)
            values = token_statistics(hidden[row, source], head.weight, head.bias, token_ids, temperature, with_entropies)
            return torch.stack([value for value in values if value is not None])

        with _in_place_of_head(model, statistics_of):
            values = _head_output(model, batch)
        return [torch.zeros(mask.shape, dtype=v.dtype, device=v.device).masked_scatter(mask, v) for v in values]
    logits = _head_output(model, batch)  # (N, S + 1, V)
    values = [token_logprobs(logits, batch.row, batch.source, batch.completion_ids, temperature)]
    if with_entropies:
        values.append(token_entropies(logits, batch.row, batch.source, temperature))
    return [value.where(mask, 0.0) for value in values]


def _head_output(model: torch.nn.Module, batch: CompletionBatch) -> torch.Tensor:
    """What the head makes of the hidden states from the prompts' last column on."""
    return model(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        position_ids=batch.position_ids,
        use_cache=False,
        logits_to_keep=batch.input_ids.shape[1] - batch.num_prompt_columns + 1,
    ).logits


def has_plain_head(model: torch.nn.Module, device: torch.device) -> bool:
    """Whether the model's logits are what a linear head returns, neither scaled nor capped; found out by a pass over one token.

    `model` may be wrapped in an engine; `device` is where it computes, which its weights need not lie on. Under ZeRO-3 all
    ranks must call.
    """
    module = _unwrapped(model)
    if module not in _plain_heads:
        returned = []
        is_linear = type(_head(model)) is torch.nn.Linear
        if is_linear:
            ids = torch.zeros(1, 1, dtype=torch.long, device=device)
            with torch.no_grad(), _in_place_of_head(model, lambda hidden: returned.append(hidden[..., :1]) or returned[0]):
                logits = model(input_ids=ids, use_cache=False).logits
        _plain_heads[module] = is_linear and logits is returned[0]
    return _plain_heads[module]


_plain_heads: WeakKeyDictionary[torch.nn.Module, bool] = WeakKeyDictionary()


def _unwrapped(model: torch.nn.Module) -> torch.nn.Module:
    return getattr(model, "module", model)


def _head(model: torch.nn.Module) -> torch.nn.Module | None:
    return _unwrapped(model).get_output_embeddings()


@contextmanager
def _in_place_of_head(model: torch.nn.Module, function: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
    head = _head(model)
    head.forward = function  # the instance's: hooks around the module stay
    try:
        yield
    finally:
        del head.forward


def token_logprobs(
    logits: torch.Tensor, row: torch.Tensor, source: torch.Tensor, token_ids: torch.Tensor, temperature: float
) -> torch.Tensor:
    """log softmax(logits[row, source] / temperature) at `token_ids`, in float32. Shapes: (N, S, V), three (R, T) -> (R, T)."""
    if not row.shape == source.shape == token_ids.shape:
        raise ValueError(f"row {tuple(row.shape)}, source {tuple(source.shape)}, token_ids {tuple(token_ids.shape)} must agree")
    logits = logits.float() / temperature
    return logits[row, source, token_ids] - logits.logsumexp(-1)[row, source]


def token_entropies(logits: torch.Tensor, row: torch.Tensor, source: torch.Tensor, temperature: float) -> torch.Tensor:
    """Entropy in nats of softmax(logits[row, source] / temperature), exact and differentiable, in float32.

    Shapes: (N, S, V), two (R, T) -> (R, T).
    """
    if row.shape != source.shape:
        raise ValueError(f"row {tuple(row.shape)} and source {tuple(source.shape)} must agree")
    logprobs = (logits.float() / temperature).log_softmax(-1)
    return -(logprobs.exp() * logprobs).sum(-1)[row, source]
