"""A byte-level BPE tokenizer for the starter problems and an untrained Qwen2 model of about a million parameters.

Digits are single tokens and everything decodes to the very text it came from. The markers of the wire format are not
special tokens: they are ordinary text that the pre-tokenizer keeps in one piece, so that BPE merges them to one token
each, as frequent words are.
"""

import os
import shutil
from pathlib import Path
from typing import Sequence

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

EOS = "<|endoftext|>"
PAD = "<|pad|>"
VOCAB_SIZE = 1024
MAX_LENGTH = 1024
# In order: a marker with the newline before it; a word with the space before it; one digit; an operator with a space on
# either side, but never the space of the word that follows; spaces.
_PIECES = r"\n?\[[A-Z]+\]| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+(?: (?=\p{N}))?|\s+(?!\S)|\s+"


def build(output_dir: Path, texts: Sequence[str], seed: int) -> None:
    """Write tokenizer and random weights to `output_dir`, replacing what is there.

    Raises: ValueError when a reloaded tokenizer does not decode one of the texts to itself.
    """
    temporary = output_dir.with_name(f".{output_dir.name}.{os.getpid()}")
    tokenizer = train_tokenizer(texts)
    tokenizer.save_pretrained(temporary)
    _check_exact(temporary, texts)
    torch.manual_seed(seed)
    Qwen2ForCausalLM(_config(tokenizer)).save_pretrained(temporary)
    if output_dir.exists():
        shutil.rmtree(output_dir)
    temporary.replace(output_dir)


def train_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE with `EOS` and `PAD` and single digits, learnt from the texts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=[EOS, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=EOS,
        pad_token=PAD,
        clean_up_tokenization_spaces=False,
        model_max_length=MAX_LENGTH,
    )


def _config(tokenizer: PreTrainedTokenizerFast) -> Qwen2Config:
    return Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=384,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        attention_dropout=0.0,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _check_exact(folder: Path, texts: Sequence[str]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for text in texts:
        decoded = tokenizer.decode(tokenizer(text)["input_ids"])
        if decoded != text:
            raise ValueError(f"the tokenizer turns {text!r} into {decoded!r}")
