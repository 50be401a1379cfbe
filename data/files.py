"""Files that are whole or absent."""

import os
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write aside and rename, so that a crash leaves the old file or the new one."""
    aside = path.with_name(f".{path.name}.partial")
    aside.write_text(text, encoding="utf-8")
    os.replace(aside, path)
