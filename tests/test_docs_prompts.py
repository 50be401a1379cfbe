"""docs/PROMPTS.md shows the real strings."""

import re

import pytest
import yaml
from conftest import ROOT

from data.feedback import feedback_text
from data.problem import Problem
from data.prompts import MARKERS, answer, correction_prompt
from rl.chat import ChatFormat
from rl.prompt_template import read_template
from sandbox.verdict import TestResult, verdict_of

PAGE = (ROOT / "docs" / "PROMPTS.md").read_text()
TESTS = ("assert add(1, 2) == 3", "assert add(0, 0) == 0")
PROBLEM = Problem("1", "Write a function to add two numbers.", "", TESTS)


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def test_the_markers_of_both_turns():
    first, second = "def add(a, b):\n    return a - b", "def add(a, b):\n    return a + b"
    assert blocks("text")[0] + blocks("text")[1] == correction_prompt(PROBLEM, [first]) + answer(second) + "\n"


def test_the_chat_of_both_turns(chat_model_dir):
    from transformers import AutoTokenizer

    chat = ChatFormat(AutoTokenizer.from_pretrained(chat_model_dir), "You write Python.")
    assert blocks("text")[2] == chat.first_prompt(PROBLEM) + "answer" + chat.correction_suffix()


@pytest.mark.parametrize(
    ("place", "kind", "status", "error"),
    [
        (3, "verdict", "passed", ""),
        (4, "verdict", "failed", ""),
        (5, "failing_test", "failed", ""),
        (6, "traceback", "error", "NameError: name 'c' is not defined"),
    ],
)
def test_the_feedbacks(place, kind, status, error):
    verdict = verdict_of((TestResult(status, error, 0.0, 0.0, False), TestResult("passed", "", 0.0, 0.0, False)))
    assert blocks("text")[place] == feedback_text(kind, PROBLEM, verdict) + "\n"
    assert len(blocks("text")) == 7


def test_the_template_file_is_the_markers(tmp_path):
    (block,) = blocks("yaml")
    (tmp_path / "markers.yaml").write_text(block)
    assert read_template(str(tmp_path / "markers.yaml"), "traceback") == MARKERS
    (tmp_path / "least.yaml").write_text(
        yaml.safe_dump({k: yaml.safe_load(block)[k] for k in ("first", "closing", "correction")})
    )
    least = read_template(str(tmp_path / "least.yaml"))
    assert (least.correction_after_examples, least.separator) == (MARKERS.correction, "\n\n")
