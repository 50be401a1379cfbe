"""Records of finished evaluations, and short names for where they lie. Loads no model: tables are printed at once."""

import json
import re
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

from data.problem import DATA_SUFFIXES


def read_records(path: Path) -> list[dict[str, Any]]:
    """The records of a `samples.jsonl`."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def named_path(argument: str) -> tuple[str, str]:
    """Name, or nothing, and path of `NAME=PATH` or `PATH`; a path that is there may have a = in it."""
    if Path(argument).exists():
        return "", argument
    for place in (place for place, character in enumerate(argument) if character == "="):
        if Path(argument[place + 1 :]).exists():
            return argument[:place], argument[place + 1 :]
    name, _, path = argument.rpartition("=")
    return name, path


def distinct_names(sources: Sequence[str]) -> list[str]:
    """A short name for each path or hub name, safe as a folder's: as many of its last components as tell it from the others."""
    for depth in range(1, 1 + max(len(PurePath(source).parts) for source in sources)):
        names = [
            _safe(PurePath(source).with_suffix("") if _is_data_file(source) else PurePath(source), depth) for source in sources
        ]
        if len(set(names)) == len(names):
            return names
    return [f"{name}-{number}" for number, name in enumerate(names, 1)]


def _is_data_file(source: str) -> bool:
    return PurePath(source).suffix in DATA_SUFFIXES


def _safe(path: PurePath, depth: int) -> str:
    return re.sub(r"[^\w.-]+", "-", "-".join(path.parts[-depth:])).strip("-.") or "part"
