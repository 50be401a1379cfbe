"""Which kind of worker a program needs, from the words after `import` in its text.

A guess is enough: a program that gets a lean worker and imports something else after all sees an ImportError, as on a machine
without that module.
"""

import re
import sys

from sandbox.preload import LEAN
from sandbox.spawn import Group

LEAN_GROUP, WIDE_GROUP = Group(True), Group(False)
IMPORTS = re.compile(r"\b(?:import|from)\b((?:\\\r?\n|[^\n;#])*)")
WORD = re.compile(r"\w+")
WIDE_NAMES = frozenset(sys.stdlib_module_names) - frozenset(LEAN)
DYNAMIC = ("importlib", "__import__")


def group_of(code: str, tests: str, extra: Group) -> Group:
    """The cheapest kind of worker that has what a program and its tests import."""
    names = {word for line in IMPORTS.findall(f"{code}\n{tests}") for word in WORD.findall(line)}
    if not names.isdisjoint(extra.modules):
        return extra
    if not names.isdisjoint(WIDE_NAMES) or any(word in code for word in DYNAMIC):
        return WIDE_GROUP
    return LEAN_GROUP
