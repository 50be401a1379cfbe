"""Pairs of prompt and completion for the boost stage, in the published format.

A JSON list (or JSONL) of `{"prompt", "completion"}`: a first turn's prompt ends in `[BEGIN]`, a correction's holds the first
attempt and ends in `[CORRECT]`; a completion is a program and `[DONE]`.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from data.problem import DataError, read_rows
from data.prompts import BEGIN, CORRECT, DONE

_TURN_ENDS = re.compile(rf"(?<={re.escape(BEGIN)}\n)|(?<={re.escape(CORRECT)}\n)|(?<={re.escape(DONE)})")


@dataclass(frozen=True)
class BoostPair:
    """One supervised example; `prompt` ends where the completion starts."""

    prompt: str
    completion: str

    def prompt_segments(self) -> list[str]:
        """The prompt cut where a rollout encodes separately, so that both see the same token ids."""
        return [segment for segment in _TURN_ENDS.split(self.prompt) if segment]


def read_pairs(path: str) -> list[BoostPair]:
    """Raises: DataError for a missing file, a malformed row, or a completion without its end marker."""
    if not Path(path).is_file():
        raise DataError(f"--train_data {path}: no such file; pairs are a local file, which `python -m data.boost` makes")
    pairs = []
    for place, row in read_rows(Path(path)):
        if not isinstance(row, dict) or not all(isinstance(row.get(k), str) and row[k] for k in ("prompt", "completion")):
            raise DataError(f"{place}: a boost pair needs non-empty strings 'prompt' and 'completion'")
        if DONE not in row["completion"]:
            raise DataError(
                f"{place}: the completion lacks its end marker {DONE}; a model trained on it would not learn to stop"
            )
        prompt = row["prompt"]
        if prompt.endswith((BEGIN, CORRECT)):
            # Published files end at the marker; the prompts that the model is given later go on to the next line.
            prompt += "\n"
        pairs.append(BoostPair(prompt, row["completion"].lstrip("\n")))
    if not pairs:
        raise DataError(f"{path}: no pairs; the boost stage needs at least one")
    return pairs


def pairs_text(pairs: Sequence[BoostPair]) -> str:
    """The published file: a JSON list, a line a pair."""
    return "[\n" + ",\n".join(json.dumps(asdict(pair), ensure_ascii=False) for pair in pairs) + "\n]\n"
