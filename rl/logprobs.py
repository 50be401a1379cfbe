"""Logprobs of completion tokens under a model, and entropies of the distributions that they were drawn from.

Shapes: `R` completions, `T` tokens of the longest, `V` vocabulary, `N` rows of the model's input, `Q` columns of its head's.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

import torch

from rl.completion_batch import CompletionBatch
from rl.token_statistics import token_statistics


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
    if has_plain_head(model, mask.device):
        row, source, token_ids = batch.row[mask], batch.source[mask], batch.completion_ids[mask]  # (n,) each
        head = _head(model)

        def statistics_of(hidden: torch.Tensor) -> torch.Tensor:  # (N, Q, D) -> (1 or 2, n)
            values = token_statistics(hidden[row, source], head.weight, head.bias, token_ids, temperature, with_entropies)
            return torch.stack([value for value in values if value is not None])

        with _in_place_of_head(model, statistics_of):
            values = _head_output(model, batch)
        return [torch.zeros(mask.shape, dtype=v.dtype, device=v.device).masked_scatter(mask, v) for v in values]
    logits = _head_output(model, batch)  # (N, Q, V)
    values = [token_logprobs(logits, batch.row, batch.source, batch.completion_ids, temperature)]
    if with_entropies:
        values.append(token_entropies(logits, batch.row, batch.source, temperature))
    return [value.where(mask, 0.0) for value in values]


def _head_output(model: torch.nn.Module, batch: CompletionBatch) -> torch.Tensor:
    """What the head makes of the hidden states that completion tokens are predicted from."""
    return model(**batch.inputs, use_cache=False, logits_to_keep=batch.head_columns).logits


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
