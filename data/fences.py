"""Programs in Markdown fences, as chat models write them.

Which block is the answer? The last complete one that calls itself Python, otherwise the last complete one of no language. The
last, because an answer that explains quotes the faulty part first and its whole program last; complete, because an answer
that was cut while it repeated itself has said its program before. Where no block was closed the open one counts, as far as it
goes, and without any fence the whole text: what was written is run, and usually fails. Reasoning up to `</think>` is not an
answer.
"""

import re

PYTHON = {"python", "py", "python3"}
_OPENING = re.compile(r" {0,3}(`{3,})\s*([\w+#.-]*)[^`]*")


def fenced(code: str) -> str:
    """A program as the model should write it."""
    return f"```python\n{code}\n```"


def fenced_code(text: str) -> str:
    """The program of an answer; see the rules above."""
    text = text.rpartition("</think>")[2]
    blocks = _blocks(text)
    for is_closed, languages in ((True, PYTHON), (True, {""}), (False, PYTHON), (False, {""})):
        found = [code for language, code, closed in blocks if closed == is_closed and language in languages]
        if found:
            return found[-1].strip("\n")
    return text.strip("\n") if not blocks else ""


def _blocks(text: str) -> list[tuple[str, str, bool]]:
    """(language, content, whether it was closed) of every fenced block. A fence closes at one as long, alone on its line."""
    blocks: list[tuple[str, str, bool]] = []
    fence, language, lines = "", "", []
    for line in text.split("\n"):
        opening = None if fence else _OPENING.fullmatch(line)
        if opening:
            fence, language, lines = opening[1], opening[2].lower(), []
        elif fence and line.strip().startswith(fence) and not line.strip(" \t\r`"):
            blocks.append((language, "\n".join(lines), True))
            fence = ""
        elif fence:
            lines.append(line)
    if fence:
        blocks.append((language, "\n".join(lines), False))
    return blocks
