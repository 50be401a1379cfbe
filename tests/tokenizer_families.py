"""Real tokenizers of three families, from files that package registries hold (see .ci/run)."""

import base64
import itertools
import json
import shutil
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

# Enough of a large vocabulary to merge `]` with line breaks; the ranks before a rank are a vocabulary of their own.
NUM_RANKS = 30_000


def sentencepiece(model_file: Path, folder: Path) -> PreTrainedTokenizerBase:
    """A tokenizer that puts a space before every text and falls back to bytes (Mistral v3)."""
    folder.mkdir()
    shutil.copy(model_file, folder / "tokenizer.model")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "LlamaTokenizer"}))
    return AutoTokenizer.from_pretrained(folder)


def merging(tekken_file: Path) -> PreTrainedTokenizerBase:
    """A byte-level tokenizer that merges punctuation with the line breaks after it (Tekken)."""
    tekken = json.loads(tekken_file.read_text())
    ranks = {base64.b64decode(entry["token_bytes"]): entry["rank"] for entry in tekken["vocab"][:NUM_RANKS]}
    merges = [tuple(map(_printable, _last_merge(token, ranks))) for token in sorted(ranks, key=ranks.get) if len(token) > 1]
    vocabulary = {_printable(token): rank for token, rank in ranks.items()}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(tekken["config"]["pattern"]), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def _last_merge(token: bytes, ranks: dict[bytes, int]) -> list[bytes]:
    """The two parts that byte pair encoding joins last on its way to `token`."""
    parts = [bytes([byte]) for byte in token]
    while len(parts) > 2:
        _, i = min((ranks.get(a + b, len(ranks)), i) for i, (a, b) in enumerate(itertools.pairwise(parts)))
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return parts


def _printable(token: bytes) -> str:
    """Bytes as the characters that byte-level tokenizers write for them."""
    return "".join(_CHARACTERS[byte] for byte in token)


def _characters() -> dict[int, str]:
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {byte: chr(byte) for byte in shown} | {byte: chr(256 + i) for i, byte in enumerate(hidden)}


_CHARACTERS = _characters()
