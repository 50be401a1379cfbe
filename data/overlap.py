"""Which problems are in another set too: by their text, by their reference, or by much of their wording."""

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass

from data.names import names_bound_in
from data.problem import Problem


@dataclass(frozen=True)
class Overlap:
    """`problem` is like `other`, in one of three ways."""

    problem: str
    other: str
    how: str


def overlaps(problems: Sequence[Problem], others: Sequence[Problem], n: int = 8, threshold: float = 0.5) -> list[Overlap]:
    """The first other that each problem is like: same text, same reference (`shape`), or at least
    `threshold` of the `n`-grams of words of its text in the other's.
    """
    by_text = {words(other.text): other for other in reversed(others)}
    by_code = {shape(other.code): other for other in reversed(others) if shape(other.code)}
    by_gram: dict[tuple[str, ...], list[int]] = {}
    for place, other in enumerate(others):
        for gram in grams(other.text, n):
            by_gram.setdefault(gram, []).append(place)
    found = []
    for problem in problems:
        if other := by_text.get(words(problem.text)):
            found.append(Overlap(problem.problem_id, other.problem_id, "same text"))
        elif other := by_code.get(shape(problem.code)):
            found.append(Overlap(problem.problem_id, other.problem_id, "same reference"))
        elif (shared := _most_shared(problem.text, by_gram, n)) and shared[1] >= threshold:
            found.append(Overlap(problem.problem_id, others[shared[0]].problem_id, f"{shared[1]:.0%} of its {n}-grams"))
    return found


def duplicates(problems: Sequence[Problem]) -> list[Overlap]:
    """Problems with the text and reference of one before them."""
    seen: dict[tuple[tuple[str, ...], str], str] = {}
    found = []
    for problem in problems:
        key = (words(problem.text), shape(problem.code))
        if key in seen:
            found.append(Overlap(problem.problem_id, seen[key], "same text and reference"))
        seen.setdefault(key, problem.problem_id)
    return found


def words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\w+", text.lower()))


def grams(text: str, n: int) -> set[tuple[str, ...]]:
    """All runs of `n` words; a shorter text is one run of its own."""
    found = words(text)
    return {found[start : start + n] for start in range(max(1, len(found) - n + 1))} if found else set()


def shape(code: str) -> str:
    """The program without layout, comments, docstrings and the names that it binds itself; empty where there is none, or none
    that parses. Other names stay: `min(x)` is not `max(x)`.
    """
    try:
        return _shape(ast.parse(code)) if code.strip() else ""
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""


def _shape(tree: ast.Module) -> str:
    parameters = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    own = names_bound_in(tree) | {node.asname for node in ast.walk(tree) if isinstance(node, ast.alias) and node.asname}
    names: dict[str, str] = {}

    def renamed(name: str, among: set[str]) -> str:
        return names.setdefault(name, f"<{len(names)}>") if name in among else name

    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
            node.body = body[1:] or [ast.Pass()]
        if isinstance(node, (ast.Global, ast.Nonlocal)):
            node.names = [renamed(name, own) for name in node.names]
        among = parameters if isinstance(node, ast.keyword) else own  # `sorted(x, key=f)` has its own `key`
        for field in ("asname",) if isinstance(node, ast.alias) else ("name", "id", "arg", "rest"):
            if isinstance(getattr(node, field, None), str):
                setattr(node, field, renamed(getattr(node, field), among))
    return ast.dump(tree)


def _most_shared(text: str, by_gram: dict[tuple[str, ...], list[int]], n: int) -> tuple[int, float] | None:
    own = grams(text, n)
    counts: dict[int, int] = {}
    for gram in own:
        for place in by_gram.get(gram, ()):
            counts[place] = counts.get(place, 0) + 1
    if not counts:
        return None
    best = max(counts, key=lambda place: (counts[place], -place))
    return best, counts[best] / len(own)
