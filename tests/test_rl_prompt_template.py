"""Formats from a file, and one sentence for what is wrong with them. docs/PROMPTS.md holds the markers' file, tested there."""

import json

import pytest

from data.problem import Problem
from rl.config import ConfigError
from rl.encoding import PromptEncoder
from rl.prompt_template import read_template
from rl.trajectory import Attempt

PROBLEM = Problem("1", "Use {tests} and {task}.", "def f(a):\n    return {a}", ("assert f(1) == {1}", "assert f(2) == {2}"))
WHOLE = {"first": "{task}\n{tests}\n#\n", "closing": "\n#END", "correction": "\n{feedback}Again.\n#\n"}


def write(path, values):
    path.write_text(values if isinstance(values, str) else json.dumps(values))
    return str(path)


def test_a_format_of_ones_own(tmp_path, tokenizer):
    template = read_template(write(tmp_path / "own.json", WHOLE))
    encoder = PromptEncoder(tokenizer, [PROBLEM], [], template)
    first = "Use {tests} and {task}.\nassert f(1) == {1}\nassert f(2) == {2}\n#\n"
    assert template.first_prompt(PROBLEM, [PROBLEM]) == f"{first}def f(a):\n    return {{a}}\n#END\n\n{first}"
    ids = tokenizer("x = 1\n#END", add_special_tokens=False)["input_ids"]
    assert [encoder.stop.finish_reason(ids[:n]) for n in range(1, len(ids) + 1)] == [None] * (len(ids) - 1) + ["stop"]
    assert encoder.extract_code(ids) == "x = 1"
    for kept, reason in ((ids, "stop"), (tokenizer("x = 1", add_special_tokens=False)["input_ids"], "length")):
        made = Attempt(PROBLEM, encoder.first_ids(PROBLEM, 10_000), kept, [], reason, "x = 1")
        text = tokenizer.decode(encoder.correction_ids(made, "It fails."))
        assert text.endswith(f"\n\n{first}x = 1\n#END\nIt fails.\n\nAgain.\n#\n")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("- a", "holds list, and needs `key: text` lines with first, closing, correction"),
        ("first: [", "not valid YAML or JSON"),
        ({**WHOLE, "corection": "x"}, "unknown key 'corection'; did you mean correction?"),
        ({**WHOLE, "zzz": "x"}, "unknown key 'zzz'; first, closing, correction, correction_after_examples, separator"),
        ({**WHOLE, "closing": 3}, "closing is 3, and must be text; put it in quotes"),
        ({**WHOLE, "first": "{text}"}, "first holds {text}; it takes {task} and {tests}"),
        ({**WHOLE, "closing": "{task}"}, "closing holds {task}; it takes no placeholder"),
        ({"first": "{task}", "closing": "\n#"}, "lacks 'correction'; a prompt format needs first, closing, correction"),
        ({**WHOLE, "first": "Do it."}, "first lacks {task}, the place of the problem's text"),
        ({**WHOLE, "closing": "\n#END\n"}, "it must end in the text that ends an answer"),
        ({**WHOLE, "closing": "\n"}, "it must end in the text that ends an answer"),
        ({**WHOLE, "correction": "Again."}, "correction lacks {feedback}, the place of --feedback verdict"),
        ({**WHOLE, "first": "{task}"}, "first lacks {tests}; --feedback verdict would tell of tests that the prompt hides"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(tmp_path, values, message):
    path = write(tmp_path / "own.yaml", values)
    with pytest.raises(ConfigError) as error:
        read_template(path, "verdict")
    assert str(error.value).startswith(f"--prompt_template {path}: ")
    assert message in str(error.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(ConfigError, match=r"--prompt_template .*none.yaml: can't be read"):
        read_template(str(tmp_path / "none.yaml"))
