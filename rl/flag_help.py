"""What `--help` shows: flags under the class that they come from, one spelling of each, and a usage line that fits a line."""

import argparse
import shutil
import sys

METAVARS = {"int": "N", "float": "X", "string_to_bool": "BOOL"}


class _OneSpelling(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=36, width=min(128, shutil.get_terminal_size().columns))

    def _format_action_invocation(self, action: argparse.Action) -> str:
        spelling = action.option_strings[0]
        return spelling if action.nargs == 0 else f"{spelling} {self._format_args(action, action.dest.upper())}"

    def _get_help_string(self, action: argparse.Action) -> str | None:
        says_nothing = action.default in (None, "", argparse.SUPPRESS)
        return action.help if says_nothing else super()._get_help_string(action)


def arrange(parser: argparse.ArgumentParser, kind: type) -> None:
    """Group the flags of a parser that was built from the dataclass `kind`."""
    parser.formatter_class = _OneSpelling
    spec = sys.modules["__main__"].__spec__  # of a package that is run by `python -m`
    parser.prog = f"python -m {spec.parent}" if spec is not None and spec.name.endswith(".__main__") else parser.prog
    needed = [action for action in parser._actions if action.required]
    parser.usage = " ".join(["%(prog)s", *(f"{a.option_strings[0]} {_metavar(a)}" for a in needed), "[flags]"])
    for owner in kind.__mro__[:-1]:
        group = parser.add_argument_group((owner.__doc__ or owner.__name__).splitlines()[0].rstrip("."))
        for action in [a for a in parser._optionals._group_actions if a.dest in owner.__annotations__]:
            parser._optionals._group_actions.remove(action)
            if action.option_strings[0] != f"--no_{action.dest}":  # the library's second way to say `--flag False`
                action.metavar = action.metavar or _metavar(action)
                group._group_actions.append(action)


def _metavar(action: argparse.Action) -> str | None:
    if action.choices:
        return None
    last = action.dest.upper().rsplit("_", 1)[-1]
    return METAVARS.get(getattr(action.type, "__name__", ""), "PATH" if action.dest.endswith("_or_path") else last)
