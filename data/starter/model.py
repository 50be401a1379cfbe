"""A byte-level BPE tokenizer for the starter problems and an untrained Qwen2 model of about a million parameters.

Digits are single tokens and everything decodes to the very text it came from. The markers of the wire format are not
special tokens but ordinary, frequent text: the end marker is three tokens, "\\n", "[DONE" and "]".
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

EOS = "<|endoftext|>"
PAD = "<|pad|>"
VOCAB_SIZE = 1024
MAX_LENGTH = 1024
_NUM_CHECKED = 2000  # texts, spread evenly
# Qwen2's own pre-tokenizer. It is not ours to choose: AutoTokenizer gives every model of this type Qwen2's tokenizer
# class, which sets this pattern and the NFC normalizer whatever `tokenizer.json` says.
_QWEN2_PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# The merges are learnt without the newlines after punctuation. So "]" and the "\n\n" after it stay apart, and a turn
# encodes to the same ids alone and inside the next turn's prompt.
_TRAINING_PIECES = _QWEN2_PIECES.replace(r"[\r\n]*|", "|", 1)


def build(output_dir: Path, texts: Sequence[str], seed: int) -> None:
    """Write tokenizer and random weights to `output_dir`, replacing what is there.

    Raises: ValueError when the tokenizer, reloaded, encodes otherwise or does not decode a text to itself.
    """
    temporary = output_dir.with_name(f".{output_dir.name}.{os.getpid()}")
    tokenizer = train_tokenizer(texts)
    tokenizer.save_pretrained(temporary)
    _check(temporary, tokenizer, texts[:: max(1, len(texts) // _NUM_CHECKED)])
    torch.manual_seed(seed)
    Qwen2ForCausalLM(_config(tokenizer)).save_pretrained(temporary)
    if output_dir.exists():
        shutil.rmtree(output_dir)
    temporary.replace(output_dir)


def train_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE with `EOS` and `PAD` and single digits, learnt from the texts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = _pre_tokenizer(_TRAINING_PIECES)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=[EOS, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.pre_tokenizer = _pre_tokenizer(_QWEN2_PIECES)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=EOS,
        pad_token=PAD,
        clean_up_tokenization_spaces=False,
        model_max_length=MAX_LENGTH,
    )


def _pre_tokenizer(pieces: str) -> pre_tokenizers.PreTokenizer:
    split = pre_tokenizers.Split(Regex(pieces), behavior="isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def _config(tokenizer: PreTrainedTokenizerFast) -> Qwen2Config:
    return Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=384,
        max_position_embeddings=MAX_LENGTH,
        # Near 1 / sqrt(hidden_size): at the default 0.02 so narrow a model takes twice as many steps to learn to copy.
        initializer_range=0.08,
        tie_word_embeddings=True,
        attention_dropout=0.0,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _check(folder: Path, trained: PreTrainedTokenizerFast, texts: Sequence[str]) -> None:
    """The reloaded tokenizer has to encode as the trained one did, and to decode every text to itself."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for text in texts:
        ids = tokenizer(text)["input_ids"]
        if ids != trained(text)["input_ids"]:
            raise ValueError(f"{folder}: reloaded, the tokenizer encodes {text!r} differently")
        if tokenizer.decode(ids) != text:
            raise ValueError(f"{folder}: the tokenizer turns {text!r} into {tokenizer.decode(ids)!r}")
