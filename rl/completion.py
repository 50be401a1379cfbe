"""A completion: its token ids, their logprobs, and what ends it.

Nothing here knows about problems, turns or rewards.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

Seed = tuple[int, ...]


@dataclass(frozen=True)
class Sample:
    """One completion. `finish_reason` is `stop` (the end marker), `eos` or `length`."""

    completion_ids: list[int]
    logprobs: list[float]
    finish_reason: str


class StopCondition:
    """Ends a completion at an end marker in its text, wherever the tokenizer's boundaries fall, or at an EOS token.

    Without a marker (None) EOS alone ends it, as it does in chat formats whose end of turn is a token.
    The token that completes the marker is the last token kept; text that it carries beyond the marker is the
    caller's to cut.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, marker: str | None, eos_token_ids: Sequence[int]):
        self._tokenizer = tokenizer
        self._marker = marker
        self.eos_token_ids = frozenset(eos_token_ids)
        # Only a token that holds the marker's last character can complete it; decoding after every other token would
        # cost more than the model on small models. Characters that tokenizers spell otherwise may be in any.
        tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer))) if marker else []
        is_plain = bool(marker) and "!" <= marker[-1] <= "~"
        self._final_ids = frozenset(i for i, token in enumerate(tokens) if token and (not is_plain or marker[-1] in token))

    def finish_reason(self, completion_ids: list[int]) -> str | None:
        """`eos`, `stop` or None, for the completion as it stands after its newest token."""
        newest = completion_ids[-1]
        if newest in self.eos_token_ids:
            return "eos"
        # A marker of n characters spans at most n tokens (4n where a character may be spread over byte tokens).
        if newest in self._final_ids and self._marker in decode(self._tokenizer, completion_ids[-4 * len(self._marker) :]):
            return "stop"
        return None


def encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Ids of text that goes on from other text: no special tokens, and no space that is not in it."""
    anchor = _anchor_ids(tokenizer)
    if not anchor:
        return tokenizer(text, add_special_tokens=False)["input_ids"]
    return tokenizer(_ANCHOR + text, add_special_tokens=False)["input_ids"][len(anchor) :]


def decode(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """Text of ids that go on from others, exactly: no space of it is taken for the start of a text or cleaned up.

    The library's clean-up would turn `' '.join` into `''.join`.
    """
    anchor = _anchor_ids(tokenizer)
    text = tokenizer.decode([*anchor, *ids], skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text.removeprefix(_ANCHOR) if anchor else text


# SentencePiece puts a space before every text and takes it away again: a line break in front keeps both off what follows.
_ANCHOR = "\n"


@functools.lru_cache(maxsize=8)
def _anchor_ids(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """The anchor's ids where the tokenizer puts a space before every text, none elsewhere."""
    first = tokenizer.convert_ids_to_tokens(tokenizer("x", add_special_tokens=False)["input_ids"])[0]
    return tuple(tokenizer(_ANCHOR, add_special_tokens=False)["input_ids"]) if first.startswith("\u2581") else ()
