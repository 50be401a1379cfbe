"""Drafts: what a row may say next, looked up in its prompt and in what it has said (prompt lookup decoding).

A correction repeats most of the attempt that it corrects, and text that never ends repeats itself. Where the last tokens of a
row have stood before, what followed them then is the draft, and one pass of the model checks all of it. A draft decides how
many passes a row takes, never what is drawn: the token at a place is what that place's uniform draws from that place's own
distribution, and a draft is only kept as far as it says the same.
"""

from collections.abc import Sequence

# Tokens that have to stand alike. Two are alike by chance too often: on CPUs, where every drafted token costs, they lose.
NGRAM = 3


class PromptText:
    """The ids of a prompt and what stands after each n-gram of it; one for all samples of a prompt."""

    def __init__(self, ids: Sequence[int]):
        self.ids = list(ids)
        self.places = {tuple(self.ids[end - NGRAM : end]): end for end in range(NGRAM, len(self.ids))}


class Drafter:
    """Drafts of one row."""

    def __init__(self, prompt: PromptText, max_draft: int):
        """`max_draft` is the most tokens of a draft."""
        self._prompt, self._max_draft = prompt, max_draft
        self._ids = list(prompt.ids)  # the prompt's and the row's own
        self._places: dict[tuple[int, ...], int] = {}  # of the row's own tokens, behind their n-grams

    def add(self, ids: Sequence[int]) -> None:
        """The row went on with `ids`."""
        for token in ids:
            self._places[self._last()] = len(self._ids)
            self._ids.append(token)

    def draft(self, room: int) -> list[int]:
        """At most `room` tokens that may follow; none where the last tokens have not stood before."""
        last, length = self._last(), min(self._max_draft, room)
        start = self._places.get(last, self._prompt.places.get(last))
        if start is None or length <= 0:
            return []
        ids = self._ids[start : start + length]
        while len(ids) < length:  # text that has begun to repeat itself goes on with it
            ids.append(ids[start - len(self._ids)])
        return ids

    def _last(self) -> tuple[int, ...]:
        return tuple(self._ids[-NGRAM:])
