"""What a checkpoint must be to go with another."""

import pytest

from data.starter.model import build
from rl.config import ConfigError
from rl.pretrained import check_same_tokens


def test_a_reference_must_have_the_same_tokens(tiny_model_dir, tokenizer, tmp_path):
    check_same_tokens(str(tiny_model_dir), tokenizer)
    build(tmp_path / "other", ["other words make other tokens"], seed=0)
    with pytest.raises(ConfigError, match=r"--ref_model_name_or_path .*other: its tokenizer has other tokens"):
        check_same_tokens(str(tmp_path / "other"), tokenizer)
