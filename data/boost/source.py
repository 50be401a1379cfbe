"""A program's own text beside its syntax tree, so that a node's text can be exchanged and all other characters stay."""

import ast
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass

_LINE_END = re.compile(rb"\r\n|\r|\n")


@dataclass(frozen=True)
class Edit:
    """Bytes `start` to `end` of a program become `text`. Units: bytes of UTF-8, as `ast` counts columns."""

    start: int
    end: int
    text: str


class Source:
    """A parsed program. Raises: ValueError where it is no Python."""

    def __init__(self, code: str):
        self.code = code
        self.tree = parse(code)
        self._bytes = code.encode()
        self._line_starts = [0, *(match.end() for match in _LINE_END.finditer(self._bytes))]

    def start(self, node: ast.AST) -> int:
        return self._line_starts[node.lineno - 1] + node.col_offset

    def end(self, node: ast.AST) -> int:
        return self._line_starts[node.end_lineno - 1] + node.end_col_offset

    def text(self, node: ast.AST) -> str:
        return self._bytes[self.start(node) : self.end(node)].decode()

    def replace(self, node: ast.AST, text: str) -> Edit:
        return Edit(self.start(node), self.end(node), text)

    def replace_between(self, left: ast.AST, right: ast.AST, pattern: str, text: str) -> Edit | None:
        """Exchange the first match of `pattern` between two nodes: `ast` does not say where an operator stands."""
        begin = self.end(left)
        found = re.search(pattern.encode(), self._bytes[begin : self.start(right)])
        return Edit(begin + found.start(), begin + found.end(), text) if found else None

    def lines(self, node: ast.stmt) -> tuple[int, int] | None:
        """Start and end of the lines that hold the statement; None where anything but a comment shares them."""
        start = self._line_starts[node.lineno - 1]
        last = node.end_lineno
        end = self._line_starts[last] if last < len(self._line_starts) else len(self._bytes)
        before, after = self._bytes[start : self.start(node)], self._bytes[self.end(node) : end].strip()
        return None if before.strip() or (after and not after.startswith(b"#")) else (start, end)

    def slice(self, start: int, end: int) -> str:
        return self._bytes[start:end].decode()

    def apply(self, edits: Iterable[Edit]) -> str:
        """The program with edits that don't overlap."""
        made = self._bytes
        for edit in sorted(edits, key=lambda edit: edit.start, reverse=True):
            made = made[: edit.start] + edit.text.encode() + made[edit.end :]
        return made.decode()


def parse(code: str) -> ast.Module:
    """The syntax tree. Raises: ValueError where there is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # '\\d' in a reference is its author's matter
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"not valid Python: {error}") from error
