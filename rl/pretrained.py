"""Load a model and its tokenizer."""

from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from rl.config import ConfigError

# A context that no configuration states is bounded by memory, not by us.
UNBOUNDED_CONTEXT = 1 << 20


def load_tokenizer(model_name_or_path: str, flag: str = "model_name_or_path") -> PreTrainedTokenizerBase:
    """Raises: ConfigError, naming the flag, where there is no tokenizer at that name or path."""
    try:
        return AutoTokenizer.from_pretrained(model_name_or_path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--{flag} {model_name_or_path}: no tokenizer can be loaded ({str(error).splitlines()[0]})") from None


def check_same_tokens(reference: str, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises: ConfigError where the model at `reference` gives other ids to tokens: a KL of its logprobs would mean nothing."""
    theirs = load_tokenizer(reference, "ref_model_name_or_path")
    if theirs.get_vocab() != tokenizer.get_vocab():
        raise ConfigError(
            f"--ref_model_name_or_path {reference}: its tokenizer has other tokens ({len(theirs)}) than the model's "
            f"({len(tokenizer)}); the KL needs a reference with the same"
        )


def load_model_config(model_name_or_path: str, attn_implementation: str) -> Any:
    """The model's configuration without its weights. Raises: ConfigError where there is none."""
    try:
        return AutoConfig.from_pretrained(model_name_or_path, attn_implementation=attn_implementation)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"--model_name_or_path {model_name_or_path}: no model can be loaded ({str(error).splitlines()[0]})"
        ) from None


def load_model(
    model_name_or_path: str, dtype: torch.dtype, attn_implementation: str, gradient_checkpointing: bool = False
) -> PreTrainedModel:
    """The causal language model with dropout off: sampling and training must see one distribution."""
    config = AutoConfig.from_pretrained(model_name_or_path, attn_implementation=attn_implementation)
    _drop_nothing(config)  # before the model is built: some keep the rates as numbers of their own
    model = AutoModelForCausalLM.from_pretrained(model_name_or_path, config=config, dtype=dtype)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    if gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return model


def _drop_nothing(config: PreTrainedConfig) -> None:
    """Set every rate of dropout to 0: `attention_dropout`, `resid_pdrop`, `layerdrop`, whatever a family calls them."""
    for name, value in vars(config).items():
        if isinstance(value, PreTrainedConfig):
            _drop_nothing(value)
        elif "drop" in name and isinstance(value, float):
            setattr(config, name, 0.0)


def compute_dtype(flag: str, device: torch.device) -> torch.dtype:
    """The dtype behind `--dtype`; `auto` is bfloat16 on GPUs that compute in it, float16 on older ones, float32 on CPUs."""
    if flag != "auto":
        return getattr(torch, flag)
    if device.type != "cuda":
        return torch.float32
    # Below 8.0 (T4, V100) bfloat16 is emulated, and no kernel of attention takes it.
    return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16


def eos_token_ids(model_config: Any, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Every id that ends a completion: the tokenizer's, and those of the model and of its `generation_config.json`.

    Chat models often name the end of a turn in the latter alone.
    """
    ids = {tokenizer.eos_token_id}
    for configured in (model_config.get_text_config().eos_token_id, _generation_eos(model_config)):
        ids.update(configured if isinstance(configured, list) else [configured])
    return sorted(ids - {None})


def _generation_eos(model_config: Any) -> int | list[int] | None:
    try:
        return GenerationConfig.from_pretrained(model_config.name_or_path).eos_token_id
    except OSError:  # a model without that file
        return None


def context_tokens(model_config: Any) -> int:
    """Most tokens that the model was made for."""
    return getattr(model_config.get_text_config(), "max_position_embeddings", None) or UNBOUNDED_CONTEXT
