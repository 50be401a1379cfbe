"""Prompt formats of the user's own, from a YAML or JSON file: the strings of a `data.prompts.Template`."""

import difflib
import re
from dataclasses import fields
from pathlib import Path

import yaml

from data.feedback import Feedback
from data.prompts import Template
from rl.config import ConfigError

REQUIRED = ("first", "closing", "correction")
PLACEHOLDERS = {"first": {"task", "tests"}, "correction": {"feedback"}, "correction_after_examples": {"feedback"}}


def read_template(path: str, feedback: Feedback = "none") -> Template:
    """Raises: ConfigError naming the file, the key, the rule and the mend."""
    where = f"--prompt_template {path}"
    try:
        values = yaml.safe_load(Path(path).expanduser().read_text(encoding="utf-8"))  # JSON is YAML
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{where}: can't be read ({error}); give a YAML or JSON file") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: not valid YAML or JSON ({' '.join(str(error).split())})") from None
    keys = [field.name for field in fields(Template)]
    if not isinstance(values, dict):
        raise ConfigError(f"{where}: holds {type(values).__name__}, and needs `key: text` lines with {', '.join(REQUIRED)}")
    for key, text in values.items():
        _check_key(where, str(key), text, keys)
    missing = [key for key in REQUIRED if key not in values]
    if missing:
        raise ConfigError(f"{where}: lacks {missing[0]!r}; a prompt format needs {', '.join(REQUIRED)}")
    template = Template(**{"correction_after_examples": values["correction"], **values})
    _check_whole(where, template, feedback)
    return template


def _check_key(where: str, key: str, text: object, keys: list[str]) -> None:
    if key not in keys:
        close = difflib.get_close_matches(key, keys, n=1, cutoff=0.5)
        raise ConfigError(f"{where}: unknown key {key!r}; " + (f"did you mean {close[0]}?" if close else ", ".join(keys)))
    if not isinstance(text, str):
        raise ConfigError(f"{where}: {key} is {text!r}, and must be text; put it in quotes")
    allowed = PLACEHOLDERS.get(key, set())
    for name in re.findall(r"\{(\w+)\}", text):
        if name not in allowed:
            known = " and ".join(f"{{{other}}}" for other in sorted(allowed)) or "no placeholder"
            raise ConfigError(f"{where}: {key} holds {{{name}}}; it takes {known}")


def _check_whole(where: str, template: Template, feedback: Feedback) -> None:
    if "{task}" not in template.first:
        raise ConfigError(f"{where}: first lacks {{task}}, the place of the problem's text")
    if not template.marker or template.closing != template.closing.rstrip():
        raise ConfigError(
            f"{where}: closing is {template.closing!r}; it must end in the text that ends an answer, and white space after "
            "it belongs at the start of correction and separator"
        )
    if feedback == "none":
        return
    for key in ("correction", "correction_after_examples"):
        if "{feedback}" not in getattr(template, key):
            raise ConfigError(f"{where}: {key} lacks {{feedback}}, the place of --feedback {feedback}")
    if "{tests}" not in template.first:
        raise ConfigError(f"{where}: first lacks {{tests}}; --feedback {feedback} would tell of tests that the prompt hides")
