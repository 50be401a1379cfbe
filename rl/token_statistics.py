"""Logprobs and entropies of tokens from hidden states, a few tokens at a time: logits of all of them are never held at once.

For a vocabulary of 150,000 the logits of one completion of 512 tokens take 300 MB in float32, their softmax and its gradient as
much again. Plain autograd would keep every chunk for the backward pass; here a chunk's logits are computed once more instead.

Shapes: `n` tokens, `D` hidden size, `V` vocabulary.
"""

from typing import Any

import torch

# Elements of the logits of one chunk by kind of device: 64 MiB in float32, and 512 MiB on GPUs, which would else be busier with
# adding each chunk's share to a gradient of the size of the head's weights than with its products.
CHUNK_ELEMENTS = {"cpu": 1 << 24, "cuda": 1 << 27}
LARGEST_CHUNK = max(CHUNK_ELEMENTS.values())


def token_statistics(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    token_ids: torch.Tensor,
    temperature: float,
    with_entropies: bool = False,
    chunk_elements: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """log softmax(logits / temperature) at `token_ids`, and the entropies (nats) of these distributions where asked for.

    logits = hidden weight^T + bias, in the dtype of `hidden`; the softmax in at least float32. Differentiable, both.
    Shapes: (n, D), (V, D), (V,), (n,) -> (n,), (n,).
    """
    if hidden.ndim != 2 or weight.shape[1:] != hidden.shape[1:] or token_ids.shape != hidden.shape[:1]:
        raise ValueError(
            f"hidden {tuple(hidden.shape)}, weight {tuple(weight.shape)} and token_ids {tuple(token_ids.shape)} "
            "do not belong together"
        )
    chunk_elements = chunk_elements or CHUNK_ELEMENTS.get(weight.device.type, CHUNK_ELEMENTS["cpu"])
    chunk = max(1, chunk_elements // weight.shape[0])
    logprobs, entropies = _TokenStatistics.apply(hidden, weight, bias, token_ids, temperature, with_entropies, chunk)
    return logprobs, entropies if with_entropies else None


class _TokenStatistics(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        token_ids: torch.Tensor,
        temperature: float,
        with_entropies: bool,
        chunk: int,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        dtype = torch.promote_types(hidden.dtype, torch.float32)
        log_totals, logprobs, entropies = (hidden.new_zeros(len(hidden), dtype=dtype) for _ in range(3))
        for part in _parts(len(hidden), chunk):
            logits = _logits(hidden[part], weight, bias, temperature)  # (chunk, V)
            log_totals[part] = logits.logsumexp(-1)
            logprobs[part] = logits.gather(-1, token_ids[part].unsqueeze(-1)).squeeze(-1) - log_totals[part]
            if with_entropies:
                probs = (logits - log_totals[part].unsqueeze(-1)).exp_()
                entropies[part] = log_totals[part] - (probs * logits).sum(-1)
        ctx.save_for_backward(hidden, weight, bias, token_ids, log_totals, entropies)
        ctx.temperature, ctx.with_entropies, ctx.chunk = temperature, with_entropies, chunk
        return logprobs, entropies

    @staticmethod
    def backward(ctx: Any, grad_logprobs: torch.Tensor, grad_entropies: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """With p the softmax and H its entropy: d logprob = onehot - p, dH = -p (log p + H), each over the temperature."""
        hidden, weight, bias, token_ids, log_totals, entropies = ctx.saved_tensors
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        grad_hidden = torch.empty_like(hidden) if needs_hidden else None
        # Summed over chunks in at least float32: in bfloat16 late chunks would be rounded away.
        grad_weight = torch.zeros_like(weight, dtype=log_totals.dtype) if needs_weight else None
        grad_bias = torch.zeros_like(bias, dtype=log_totals.dtype) if needs_bias else None
        for part in _parts(len(hidden), ctx.chunk):
            logits = _logits(hidden[part], weight, bias, ctx.temperature)
            grad_logits = log_probs = logits.sub_(log_totals[part].unsqueeze(-1))  # in place: one block of (chunk, V)
            probs = log_probs.exp()
            if ctx.with_entropies:
                grad_logits = log_probs.add_(entropies[part].unsqueeze(-1)).mul_(grad_entropies[part].unsqueeze(-1))
                grad_logits = grad_logits.add_(grad_logprobs[part].unsqueeze(-1)).mul_(probs).neg_()
            else:
                grad_logits = probs.mul_(-grad_logprobs[part].unsqueeze(-1))
            grad_logits.scatter_add_(-1, token_ids[part].unsqueeze(-1), grad_logprobs[part].unsqueeze(-1))
            grad_logits = grad_logits.div_(ctx.temperature).to(hidden.dtype)
            if grad_hidden is not None:
                grad_hidden[part] = grad_logits @ weight
            if grad_weight is not None:
                _add_product(grad_weight, grad_logits.T, hidden[part])
            if grad_bias is not None:
                grad_bias += grad_logits.sum(0)
        grad_weight = None if grad_weight is None else grad_weight.to(weight.dtype)
        grad_bias = None if grad_bias is None else grad_bias.to(bias.dtype)
        return grad_hidden, grad_weight, grad_bias, None, None, None, None


def _logits(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, temperature: float) -> torch.Tensor:
    """(chunk, V), over the temperature, a block of its own that may be written to."""
    logits = torch.nn.functional.linear(hidden, weight, bias)
    return logits.to(torch.promote_types(logits.dtype, torch.float32)) / temperature


def _add_product(total: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
    if total.dtype == left.dtype:
        total.addmm_(left, right)  # no block of the weight's size on the side
    else:
        total += left @ right


def _parts(count: int, chunk: int) -> list[slice]:
    return [slice(start, start + chunk) for start in range(0, count, chunk)]
