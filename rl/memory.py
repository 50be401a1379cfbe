"""What a process needs in memory, by ZeRO stage, before anything is loaded: counted for weights, estimated for activations.

The counts are those of the engine: weights and gradients in the compute dtype, Adam's two moments in float32, and masters in
float32 wherever DeepSpeed keeps weights apart (all but ZeRO-0 in float32). Left out: the libraries, fragmentation, and the
copies of a prompt's keys and values, of which each of its completions has one in a pass.
"""

from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from rl.token_statistics import LARGEST_CHUNK

STAGES = (0, 1, 2, 3)


@dataclass(frozen=True)
class Shape:
    """What of a model decides about memory. `width` is that of the hidden states, `kv_width` of a layer's keys."""

    num_parameters: int
    num_layers: int
    width: int
    mlp_width: int
    kv_width: int
    vocabulary: int


@dataclass(frozen=True)
class Load:
    """What a run puts through it: tokens of one training pass, rows and tokens of a row that are sampled together, and
    elements of a bucket in which the engine reduces gradients, of which there are two.
    """

    pass_tokens: int
    sampled_rows: int
    row_tokens: int
    bucket_elements: int


def model_shape(model_config: Any) -> Shape:
    """Counted on a model without memory."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(model_config)
    text = model_config.get_text_config()
    heads = text.num_attention_heads
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // heads
    return Shape(
        num_parameters=sum(p.numel() for p in model.parameters()),
        num_layers=text.num_hidden_layers,
        width=text.hidden_size,
        mlp_width=getattr(text, "intermediate_size", None) or 4 * text.hidden_size,
        kv_width=(getattr(text, "num_key_value_heads", None) or heads) * head_dim,
        vocabulary=text.vocab_size,
    )


def memory_bytes(
    shape: Shape, load: Load, stage: int, num_ranks: int, dtype: torch.dtype, *, reference: bool, checkpointing: bool
) -> dict[str, float]:
    """Bytes of one process by what holds them; see `peak_bytes` for their sum."""
    n, size = shape.num_parameters, dtype.itemsize
    is_apart = dtype != torch.float32 or stage > 0
    masters = 4 if is_apart else 0
    return {
        "weights": n * size / (num_ranks if stage == 3 else 1),
        "gradients": n * size / (num_ranks if stage >= 2 else 1),
        "optimizer": n * (masters + 8) / (num_ranks if stage >= 1 else 1),
        "reference": reference * n * size / (num_ranks if stage == 3 else 1),
        "buckets": 2 * load.bucket_elements * size if stage >= 1 else 0,
        "sampling copy": n * size if stage == 3 else 0,
        "activations": _activation_bytes(shape, load.pass_tokens, size, checkpointing),
        # The gradients in float32 and, where weights are shared out, a rank's part of the new ones.
        "step": is_apart * n * (4 + (size if stage else 0)) / (num_ranks if stage else 1),
        "cache": 2 * load.sampled_rows * load.row_tokens * shape.num_layers * shape.kv_width * size,
    }


def peak_bytes(parts: dict[str, float]) -> float:
    """All parts together, of which activations and cache are gone when the optimizer steps. Others may be, too: the sum is on
    the safe side.
    """
    passing = parts["activations"] + parts["cache"]
    return sum(parts.values()) - min(passing, parts["step"])


def _activation_bytes(shape: Shape, tokens: int, size: int, checkpointing: bool) -> float:
    """What a forward pass keeps for its backward pass, and the logits of one chunk with their gradient.

    A layer of transformers' Llama and Qwen keeps eight tensors of the hidden width, of which two are float32 in any case, keys
    and values, and four of the MLP's width; with checkpointing its input alone, and one layer is made again at a time.
    """
    layer = tokens * size * (10 * shape.width + 2 * shape.kv_width + 4 * shape.mlp_width)
    layers = shape.num_layers * tokens * size * shape.width + layer if checkpointing else shape.num_layers * layer
    head = 4 * shape.vocabulary * shape.width  # its gradient is summed over chunks in float32
    return layers + head + 2 * 4 * min(LARGEST_CHUNK, tokens * shape.vocabulary)
