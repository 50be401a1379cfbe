"""Attention of our own in a model of transformers: a call of the model says with a keyword what is to compute it.

Registered as the library's "sdpa", not under a name of its own: the keyword also comes along where activations are computed
again in a backward pass, when a switched name would be gone.

Shapes: `B` rows, `H` query heads, `K` key-value heads, `Q` queries of a row, `T` keys, `D` head size.
"""

import logging
from typing import Any, Protocol

import torch
from transformers import AttentionInterface, DynamicCache
from transformers.cache_utils import DynamicLayer

logger = logging.getLogger(__name__)


class Attention(Protocol):
    """What takes the place of the attention of all layers."""

    def attention(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
    ) -> torch.Tensor:
        """(B, H, Q, D), (B, K, T, D) twice -> (B, Q, H, D)."""


def has_plain_attention(model: Any) -> bool:
    """Whether all layers are plain attention, over all tokens before, that the library lets us compute.

    A configuration does not say it all: the first call for one has the model read two tokens, and looks. Under ZeRO-3 all ranks
    must call it, as they must call the model.
    """
    config = model.config
    if not getattr(model, "_supports_attention_backend", False) or config._attn_implementation != "sdpa":
        return False
    if any(type(layer) is not DynamicLayer for layer in DynamicCache(config=config).layers):
        return False
    kind = (type(model), config.to_json_string())
    if kind not in _is_plain:
        _is_plain[kind] = _Probe(model).is_plain
        if not _is_plain[kind]:
            logger.info(
                "%s keeps its own attention: prompts are copied for their samples, passes are padded, nothing is drafted",
                kind[0].__name__,
            )
    return _is_plain[kind]


_is_plain: dict[tuple[type, str], bool] = {}


class _Probe:
    """What a model does with `attended_by`, and whether its attention reads the very keys and values that it caches.

    Some models do not hand the keyword on, or compute with the mask. Some cache latents, or split heads after caching.
    """

    @torch.no_grad()
    def __init__(self, model: Any):
        self._cache = DynamicCache(config=model.config)
        self._seen: set[int] = set()
        positions = torch.arange(2, device=model.device).unsqueeze(0)
        was_training = model.training
        model.eval()
        try:
            model(
                input_ids=torch.zeros_like(positions),
                position_ids=positions,
                past_key_values=self._cache,
                use_cache=True,
                **attended_by(self, model.device),
            )
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:
            self._seen.clear()  # a model that fails without us, too, says so when it is used
        model.train(was_training)

    @property
    def is_plain(self) -> bool:
        return self._seen == set(range(len(self._cache.layers)))

    def attention(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
    ) -> torch.Tensor:
        """As `Attention.attention`."""
        cached = self._cache.layers[layer]
        if key is cached.keys and value is cached.values:
            self._seen.add(layer)
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        return torch.nn.functional.scaled_dot_product_attention(query, key, value, scale=scaling).transpose(1, 2)


def attended_by(attention: Attention, device: torch.device) -> dict[str, Any]:
    """Keywords of a model's forward. The mask has no columns: an attention that is not told of `attention` fails on it."""
    return {"attended_by": attention, "attention_mask": torch.empty(1, 1, 1, 0, dtype=torch.bool, device=device)}


_library_attention = AttentionInterface().get_interface("sdpa", None)


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *args: Any,
    attended_by: Attention | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """The library's signature."""
    if attended_by is None:
        if attention_mask is not None and attention_mask.shape[-1] == 0:
            raise RuntimeError(
                f"{type(module).__name__} is not handed what its model is called with: --attn_implementation eager"
            )
        return _library_attention(module, query, key, value, attention_mask, *args, **kwargs)
    is_causal = kwargs.get("is_causal")
    if not (getattr(module, "is_causal", True) if is_causal is None else is_causal):
        raise RuntimeError(f"{type(module).__name__} sees what comes after: a language model must not")
    scaling = kwargs.get("scaling") or query.shape[-1] ** -0.5
    return attended_by.attention(getattr(module, "layer_idx", None), query, key, value, scaling), None


AttentionInterface.register("sdpa", _attention)

# PyTorch's first choice on Hopper from 2.11 on. Its backward pass gives NaN under a mask where all scores of a query are far
# below zero, as in Qwen2.5 (pytorch issue 196678).
torch.backends.cuda.enable_cudnn_sdp(False)
