"""Attention over some of a query's keys, in a form that can be joined with attention over others.

Softmax over a union of keys is the softmaxes over its parts, each weighed by its share of the total (Dao et al.,
FlashAttention, arXiv 2205.14135, section 3.1). Scores are float32 throughout: rounded to bfloat16 they put logprobs off by 0.7
nats in a model whose queries and keys are large, such as Qwen2.5.

Shapes: `M` groups, `H` heads, `Q` queries, `L` keys, `D` head size.
"""

import functools
from collections.abc import Sequence

import torch

# Kernels want rows of a bias to lie so many elements apart, or a multiple.
ALIGNMENT = 16


def partial_attention(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, bias: torch.Tensor | None, scaling: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """softmax(query keys^T scaling + bias) values, and the log of what the softmax divides by, in float32.

    Shapes: (M, H, Q, D), (M, H, L, D) twice, bias of `bias_of` broadcast to (M, H, Q, L) -> (M, H, Q, D), (M, H, Q).
    """
    if bias is not None:
        bias = bias[..., : keys.shape[2]].to(query.dtype)
    kernel = _kernel_for(query.device, query.dtype, query.shape[-1], values.shape[-1])
    if kernel == "cpu":
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, keys, values, 0.0, False, attn_mask=bias, scale=scaling
        )
    if kernel == "cuda":
        if bias is not None:
            bias = bias.expand(*query.shape[:3], keys.shape[2])
        out, log_total, *_ = torch.ops.aten._scaled_dot_product_efficient_attention(
            query, keys, values, bias, True, 0.0, False, scale=scaling
        )
        return out, log_total[..., : query.shape[2]]  # padded to a multiple of 32
    scores = query.float() @ keys.float().transpose(-1, -2) * scaling
    scores = scores if bias is None else scores + bias
    return scores.softmax(-1).to(values.dtype) @ values, scores.logsumexp(-1)


@functools.cache
def _kernel_for(device: torch.device, dtype: torch.dtype, size: int, value_size: int) -> str | None:
    """The kind of device whose kernel takes such heads; None where none does."""
    if device.type not in ("cpu", "cuda") or size != value_size:
        return None
    if device.type == "cuda":
        dtypes = {torch.float32, torch.float16}
        if torch.cuda.get_device_capability(device) >= (8, 0):  # on older ones bfloat16 is emulated, and this kernel is not
            dtypes.add(torch.bfloat16)
        if dtype not in dtypes or size % 8:
            return None
    return device.type


def joined(parts: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    """Attention over all keys, from that over each part of them: (..., D) and (...) each -> (..., D)."""
    outs, log_totals = zip(*parts)
    weights = torch.stack(log_totals).softmax(0).unsqueeze(-1)
    return (torch.stack(outs) * weights).sum(0).to(outs[0].dtype)


def bias_of(is_hidden: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Minus infinity where hidden, 0 elsewhere: (..., L) -> (..., L or more, of which `partial_attention` takes L)."""
    bias = torch.zeros(is_hidden.shape, dtype=dtype, device=is_hidden.device).masked_fill_(is_hidden, float("-inf"))
    return torch.nn.functional.pad(bias, (0, -bias.shape[-1] % ALIGNMENT))
