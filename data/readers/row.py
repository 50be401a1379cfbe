"""A row as readers see it: its fields by the reader's names, checked where they are read."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class Unusable(ValueError):
    """A row that can't be made a problem; the message is the reason, without its place."""


@dataclass(frozen=True)
class Row:
    """The values of a row; `renamed` maps a reader's field to the row's own name for it."""

    values: Mapping[str, Any]
    renamed: Mapping[str, str]

    @classmethod
    def of(cls, values: Any, renamed: Mapping[str, str]) -> "Row":
        if not isinstance(values, Mapping):
            raise Unusable(f"a row must be a JSON object, this is {type(values).__name__}")
        for name, own in renamed.items():
            if own not in values:
                raise Unusable(f"it has no field {own!r}, which the field map gives for {name!r}")
        return cls(values, renamed)

    def find(self, *names: str) -> tuple[str, Any]:
        """Name and value of the first field that is there and not null. Raises: Unusable."""
        for name in names:
            own = self.renamed.get(name, name)
            if self.values.get(own) is not None:
                return own, self.values[own]
        raise Unusable(f"it has no field {' or '.join(repr(self.renamed.get(name, name)) for name in names)}")

    def has(self, name: str) -> bool:
        return self.values.get(self.renamed.get(name, name)) is not None

    def text(self, *names: str, default: str | None = None) -> str:
        """A string that is not blank, lines ending in \\n; `default` where none of the fields is there."""
        if default is not None and not any(self.has(name) for name in names):
            return default
        name, value = self.find(*names)
        if not isinstance(value, str) or (not value.strip() and default is None):
            raise Unusable(f"field {name!r} must be a non-empty string; it holds {_short(value)}")
        return value.replace("\r\n", "\n")

    def texts(self, *names: str) -> list[str]:
        """A list of strings that are not blank; a JSON text of one is read."""
        name, value = self.find(*names)
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError:
                value = [value]
        if not isinstance(value, list) or not value:
            raise Unusable(f"field {name!r} must be a non-empty list of strings; it holds {_short(value)}")
        for number, item in enumerate(value):
            if not isinstance(item, str) or not item.strip():
                raise Unusable(f"{name}[{number}] must be a non-empty string; it holds {_short(item)}")
        return [item.replace("\r\n", "\n") for item in value]

    def problem_id(self, *names: str) -> str:
        """The first of these fields that is there, as text; empty where none is: the caller counts."""
        for name in names:
            if self.has(name):
                _, value = self.find(name)
                if not isinstance(value, (str, int)) or isinstance(value, bool):
                    raise Unusable(f"field {name!r} must be a string or a number; it holds {_short(value)}")
                return str(value)
        return ""


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
