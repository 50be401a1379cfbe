"""Linear layers with weights in the processor's own layout, for a rollout on a CPU.

Decoding multiplies a few rows with every weight again and again. oneDNN does that about twice as fast on weights that it has
reordered once, and a rollout, in which the weights stand still, pays for the reordering within a few tokens. The operators are
those of torch's own compiler; the arithmetic stays that of the weights' dtype. Costs a second copy of the linear weights.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import nn


@contextmanager
def packed_linears(model: nn.Module) -> Iterator[None]:
    """Inside, the model's linear layers read reordered copies of their weights as these were on entry. No gradients.

    Changes nothing off the CPU, where torch was built without oneDNN, and for weights that are sharded or of another dtype.
    """
    packed = [layer for layer in model.modules() if _can_pack(layer)]
    for layer in packed:
        weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach())
        layer.forward = partial(_forward, weight, layer.bias)
    try:
        yield
    finally:
        for layer in packed:
            del layer.forward  # the instance's; the class's comes to light again


def _forward(weight: torch.Tensor, bias: torch.Tensor | None, states: torch.Tensor) -> torch.Tensor:
    """states @ weight^T + bias for a packed weight (O, I). Shapes: (..., I) -> (..., O)."""
    return torch.ops.mkldnn._linear_pointwise(states, weight, bias, "none", [], "")


def _can_pack(layer: nn.Module) -> bool:
    # Exactly nn.Linear: a subclass may compute something else with the weight.
    if type(layer) is not nn.Linear or "forward" in vars(layer) or layer.weight.device.type != "cpu":
        return False
    is_whole = layer.weight.shape == (layer.out_features, layer.in_features)  # ZeRO-3 leaves an empty stub
    return is_whole and layer.weight.dtype in (torch.float32, torch.bfloat16) and _has_operators()


def _has_operators() -> bool:
    return torch.backends.mkldnn.is_available() and all(
        hasattr(torch.ops.mkldnn, name) for name in ("_reorder_linear_weight", "_linear_pointwise")
    )
