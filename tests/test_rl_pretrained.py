"""What a checkpoint must be to go with another."""

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, OPTConfig, Starcoder2Config

from data.starter.model import build
from rl.config import ConfigError
from rl.pretrained import check_same_tokens, load_model

SIZE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 32, "max_position_embeddings": 32}
OF_STARCODER = {"num_key_value_heads": 1, "intermediate_size": 16, "attention_dropout": 0.5, "residual_dropout": 0.5}
WITH_DROPOUT = [  # as numbers of the layers' own, under other names, as modules
    Starcoder2Config(**SIZE, **OF_STARCODER, embedding_dropout=0.5),
    OPTConfig(**SIZE, ffn_dim=16, word_embed_proj_dim=16, dropout=0.5, attention_dropout=0.5, layerdrop=0.5),
    GPT2Config(n_embd=16, n_layer=2, n_head=2, vocab_size=32, n_positions=32, resid_pdrop=0.5, embd_pdrop=0.5, attn_pdrop=0.5),
]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("config", WITH_DROPOUT, ids=lambda config: config.model_type)
def test_a_model_in_training_computes_what_it_samples_from(config, attention, tmp_path):
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    model = load_model(str(tmp_path), torch.float32, attention)
    ids = torch.arange(1, 9).unsqueeze(0)
    with torch.no_grad():
        sampled, trained = model.eval()(ids).logits, model.train()(ids).logits
    assert torch.equal(sampled, trained)


def test_a_reference_must_have_the_same_tokens(tiny_model_dir, tokenizer, tmp_path):
    check_same_tokens(str(tiny_model_dir), tokenizer)
    build(tmp_path / "other", ["other words make other tokens"], seed=0)
    with pytest.raises(ConfigError, match=r"--ref_model_name_or_path .*other: its tokenizer has other tokens"):
        check_same_tokens(str(tmp_path / "other"), tokenizer)
