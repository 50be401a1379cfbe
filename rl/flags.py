"""The command line: presets, flags, and one clear sentence with exit code 2 for anything wrong with them."""

import argparse
import difflib
import logging
import math
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import yaml
from transformers import HfArgumentParser
from transformers.utils.logging import disable_progress_bar

from data.problem import DataError
from rl.config import ConfigError
from rl.flag_help import arrange
from sandbox.pool import SandboxUnavailable

Config = TypeVar("Config")
PACKAGES = ("torch", "transformers", "deepspeed", "datasets", "numpy", "tensorboard")


class _Parser(HfArgumentParser):
    def error(self, message: str) -> NoReturn:
        # The library lists every spelling of a flag; one is enough to act on.
        message = re.sub(r"/-[\w-]+", "", message).replace("the following arguments are required", "these flags are required")
        raise ConfigError(message.replace("argument --", "--"))


def parse_flags(kind: type[Config], argv: list[str], description: str) -> Config:
    """A checked `kind` from `--config FILE.yaml` (defaults) and the other flags (which win).

    Raises: ConfigError for an unknown flag or key (naming the nearest), a wrong type, or flags that don't go together.
    """
    names = [name for f in fields(kind) for name in (f.name, *(alias[2:] for alias in f.metadata.get("aliases", ())))]
    parser = _Parser(kind, description=description, allow_abbrev=False)
    parser.add_argument(
        "--config",
        metavar="FILE.yaml",
        action="append",
        help="Preset: flag names with values; flags on the command line win, and of several presets the later one.",
    )
    arrange(parser, kind)
    for action in parser._actions:
        if action.nargs == "+" and isinstance(action.default, list):  # no value at all can be meant: no packages
            action.nargs = "*"
    preset_only = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    preset_only.add_argument("--config", action="append", default=[])
    paths = preset_only.parse_known_args(argv)[0].config
    preset = [word for path in paths for word in _preset(path, names)]
    try:
        parsed, unknown = parser.parse_known_args(preset + argv)
    except ConfigError as error:
        flag = str(error).split(":")[0]
        is_typed = any(word.split("=")[0] == flag for word in argv)
        is_of_preset = flag in preset and not is_typed
        raise ConfigError(f"{error} (of --config {', '.join(paths)})" if is_of_preset else str(error)) from None
    if unknown:
        raise ConfigError(f"unknown flag {unknown[0]}{_nearest(unknown[0].lstrip('-').split('=')[0], names, '--')}")
    values = vars(parsed)
    values.pop("config")
    _check_given(values)
    config = kind(**values)
    config.check()
    return config


@contextmanager
def exit_on_bad_input(*kinds: type[Exception]) -> Iterator[None]:
    """Turn bad input into one sentence on stderr and exit code 2. Other exceptions are our bugs and keep their traceback."""
    try:
        yield
    except (ConfigError, DataError, SandboxUnavailable, *kinds) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def resolved(config: Any) -> dict[str, Any]:
    """The configuration and the versions it ran with, for `config.json`."""
    return {**asdict(config), "versions": {name: _version(name) for name in PACKAGES}, "python": sys.version.split()[0]}


def start_logging(is_main: bool) -> None:
    """Log lines of rank 0 on stderr; other ranks report warnings only."""
    logging.basicConfig(
        level=logging.INFO if is_main else logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", force=True
    )
    # DeepSpeed still calls collectives by names that torch has given new ones; nothing a user could act on.
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.distributed")
    disable_progress_bar()
    for chatty in ("httpx", "urllib3", "DeepSpeed", "deepspeed"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _check_given(values: dict[str, Any]) -> None:
    """Raises: ConfigError for what no flag means: an empty text, and a number that is none or has no end."""
    for name, value in values.items():
        for part in value if isinstance(value, list) else [value]:
            if part == "":
                raise ConfigError(f"--{name} is empty: give a value, or drop it (is a variable of the shell not set?)")
            if isinstance(part, float) and not math.isfinite(part):
                raise ConfigError(f"--{name} is {part}: it must be a finite number")


class _UniqueKeys(yaml.SafeLoader):
    """YAML's own reader takes the last of two values of a key without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [key.value for key, _ in node.value]
        if twice := next((key for key in keys if keys.count(key) > 1), None):
            raise yaml.YAMLError(f"{twice} is there twice")
        return super().construct_mapping(node, deep)


def _preset(path: str, names: list[str]) -> list[str]:
    try:
        values = yaml.load(Path(path).read_text(encoding="utf-8"), _UniqueKeys)
    except OSError as error:
        raise ConfigError(f"--config {path}: {error.strerror}; give a YAML file of flag names and values") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"--config {path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"--config {path}: not valid YAML ({str(error).splitlines()[0]})") from None
    if not isinstance(values, dict):
        raise ConfigError(f"--config {path}: needs `flag: value` lines, this is {type(values).__name__}")
    argv: list[str] = []
    for name, value in values.items():
        if name not in names:
            raise ConfigError(f"--config {path}: unknown key {name!r}{_nearest(str(name), names, '')}")
        if value is not None:  # `null` leaves the default
            argv += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    return argv


def _nearest(name: str, names: list[str], prefix: str) -> str:
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; did you mean {prefix}{close[0]}?" if close else "; --help lists them all"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
