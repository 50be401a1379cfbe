"""Graded attempts, and the side file that an interrupted command goes on from.

A line of the side file is a problem, `{"problem_id", "attempts", "tried"}`, in the order of the problems. The line before them
holds the settings that the attempts follow from; a command with others is refused, since a file of both would be neither's.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data.problem import DataError


@dataclass(frozen=True)
class GradedAttempt:
    """A program and its verdict.

    `source`: `reference`, `sample` or `corruption`. `kind`: how a sample ended, a corruption's mistake, else empty.
    """

    source: str
    kind: str
    code: str
    status: str

    @property
    def is_right(self) -> bool:
        return self.status == "passed"


@dataclass(frozen=True)
class Record:
    """What became of a problem: its attempts, the reference first, and the verdicts of all mutants that ran."""

    problem_id: str
    attempts: tuple[GradedAttempt, ...]
    tried: dict[str, int]


class AttemptFile:
    """The side file at `path`; `done` are the records of the problems that it holds already, in order."""

    def __init__(self, path: Path, settings: Mapping[str, Any], problem_ids: Sequence[str], batch: int):
        """Problems come in batches of `batch`; one that a kill cut short is made again.

        Raises: DataError where the file was made with other settings or is no such file.
        """
        self.path = path
        self.done: list[Record] = []
        self._settings = dict(settings)
        self._size = 0
        if path.is_file():
            self._read(problem_ids, batch)

    def append(self, records: Sequence[Record]) -> None:
        """Add a batch of problems, after whatever half a line a kill may have left is cut off."""
        rows = [] if self._size else [{"settings": self._settings}]
        rows += [asdict(record) for record in records]
        data = "".join(json.dumps(row) + "\n" for row in rows).encode()
        with open(self.path, "r+b" if self.path.is_file() else "wb") as file:
            file.truncate(self._size)
            file.seek(self._size)
            file.write(data)
        self._size += len(data)
        self.done += records

    def _read(self, problem_ids: Sequence[str], batch: int) -> None:
        lines = self.path.read_bytes().split(b"\n")[:-1]  # what follows the last line's end was cut short
        if not lines:
            return
        self._check_settings(self._row(lines, 0, "settings")["settings"])
        whole = len(lines) - 1
        if whole < len(problem_ids):
            whole -= whole % batch
        for index in range(whole):
            row = self._row(lines, index + 1, "attempts")
            if index >= len(problem_ids) or row["problem_id"] != problem_ids[index]:
                raise DataError(
                    f"{self.path}:{index + 2}: not a problem of --problems in its place; remove the file to start anew"
                )
            attempts = tuple(GradedAttempt(**attempt) for attempt in row["attempts"])
            self.done.append(Record(row["problem_id"], attempts, row["tried"]))
        self._size = sum(len(line) + 1 for line in lines[: whole + 1])

    def _row(self, lines: Sequence[bytes], index: int, field: str) -> dict[str, Any]:
        try:
            row = json.loads(lines[index])
        except ValueError:
            row = None
        if not isinstance(row, dict) or field not in row:
            raise DataError(f"{self.path}:{index + 1}: not a line of graded attempts; remove the file to start anew")
        return row

    def _check_settings(self, theirs: Mapping[str, Any]) -> None:
        for name in dict.fromkeys([*self._settings, *theirs]):
            if theirs.get(name) != self._settings.get(name):
                raise DataError(
                    f"--{name} is {self._settings.get(name)!r} and {self.path} was made with {theirs.get(name)!r}: attempts of "
                    "both would be mixed; give another --output, or remove that file to start anew"
                )
