"""What the names of a test mean: the judge's own, constants that the test assigns, foreign ones, and the program's."""

import ast
from collections.abc import Callable
from dataclasses import dataclass, field, fields

from sandbox.judging import CALLS, MODULES, Thunk, module_member


@dataclass
class Scope:
    """What the names of a test mean."""

    program_names: set[str] = field(default_factory=set)
    foreign_names: set[str] = field(default_factory=set)
    object_names: set[str] = field(default_factory=set)
    constants: dict[str, Thunk] = field(default_factory=dict)
    aliases: dict[str, str] = field(
        default_factory=lambda: {"math": "math", "cmath": "cmath", "sys": "sys", "pytest": "pytest"}
    )
    members: dict[str, object] = field(default_factory=dict)

    def copy(self) -> "Scope":
        return Scope(*(getattr(self, part.name).copy() for part in fields(self)))

    def add_import(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            name = alias.asname or alias.name.split(".")[0]
            if name in self.program_names:
                continue
            if isinstance(node, ast.Import):
                if alias.name in MODULES:
                    self.aliases[name] = alias.name
                else:
                    self.foreign_names.add(name)
            elif node.module != "solution":
                member = module_member(node.module or "", alias.name)
                if member is None:
                    self.foreign_names.add(name)
                else:
                    self.members[name] = CALLS.get(name, member)

    def add_program_name(self, name: str) -> None:
        self.program_names.add(name)
        self.constants.pop(name, None)

    def is_judged(self, name: str) -> bool:
        return name not in self.program_names and (
            name in self.constants or name in self.members or name in self.aliases or name in CALLS
        )

    def callee(self, node: ast.expr) -> tuple[str, Callable] | None:
        """Name and function where the judge itself can make this call."""
        if isinstance(node, ast.Name) and node.id not in self.program_names and node.id not in self.foreign_names:
            function = self.members.get(node.id) or CALLS.get(node.id)
            return (node.id, function) if callable(function) else None
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id not in self.program_names:
            function = module_member(self.aliases.get(node.value.id, ""), node.attr)
            return (node.attr, CALLS.get(node.attr, function)) if callable(function) else None
        return None
