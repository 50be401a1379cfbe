"""`python -m rl.attempt`: what it prints of attempts, with colours and without, and of hostile programs."""

from concurrent.futures import Future

import pytest
import torch
from conftest import run_script

from rl.attempt import AttemptConfig, main, shown
from rl.config import ConfigError
from rl.flags import parse_flags
from rl.trajectory import Attempt
from sandbox.verdict import TestResult, verdict_of


def attempt(problem, code, statuses, error="", parent=None, finish_reason="stop"):
    made = Attempt(problem, [1], [2, 3], [-0.5, -0.5], finish_reason, code, parent=parent)
    made.pending_verdict = Future()
    made.pending_verdict.set_result(
        verdict_of(tuple(TestResult(s, error if s != "passed" else "", 0, 0, False) for s in statuses))
    )
    return made


@pytest.fixture
def attempts(problems):
    first = attempt(problems[0], "def f(n):\n    return n", ["passed", "failed"], "not 3")
    second = attempt(problems[0], "def f(n):\n    return n + 1", ["passed"] * 2, parent=first, finish_reason="length")
    return [first, second, attempt(problems[0], "def f(n):\n    return n + 1\n", ["passed"] * 2, parent=second)]


def test_plain_text(attempts):
    assert shown(attempts, use_colour=False).split("\n") == [
        "Turn 1  failed  1 of 2 tests, 2 tokens, ended by stop",
        *("  def f(n):", "      return n", "  ! not 3", ""),
        "Turn 2  passed  2 of 2 tests, 2 tokens, ended by the token limit",
        *("  def f(n):", "-     return n", "+     return n + 1", ""),
        "Turn 3  passed  2 of 2 tests, 2 tokens, ended by stop",
        "  (the same program)",
    ]


def test_colours(attempts):
    lines = shown(attempts, use_colour=True).split("\n")
    assert lines[6:8] == ["  def f(n):", "\x1b[31m-     return n\x1b[0m"]


def test_control_characters_do_not_reach_the_terminal(problems):
    text = shown([attempt(problems[0], "x = '\x1b[2J\r\x9b'", ["error"], "\x1b]0;gone\x07")], use_colour=False)
    assert r"x = '\x1b[2J\x0d\x9b'" in text
    assert r"\x1b]0;gone\x07" in text
    assert not any(ord(c) < 32 and c != "\n" for c in text)


def test_a_model_is_tried(boosted):
    task = ("--text", "Write a function f that computes n + 1.", "--test", "assert f(2) == 3", "--max_new_tokens", "24")
    done = run_script("-m", "rl.attempt", "--model_name_or_path", boosted / "checkpoint-30", *task)
    assert done.stdout.startswith("Turn 1  ")
    assert "\nTurn 2  " in done.stdout
    assert "\x1b" not in done.stdout


def test_an_empty_task_is_refused(tiny_model_dir, capsys):
    with pytest.raises(SystemExit):
        main(["--model_name_or_path", str(tiny_model_dir), "--text", " ", "--test", "x"])
    assert capsys.readouterr().err == "error: --text is empty; say what the program should do\n"


ASKED = ["--text", "Add.", "--test", "assert f"]


def test_a_device_that_there_is_not_is_one_sentence(monkeypatch):
    with pytest.raises(ConfigError, match="--device is 'gpu': give auto, cpu, cuda or cuda:N"):
        parse_flags(AttemptConfig, ["--model_name_or_path", "some/model", *ASKED, "--device", "gpu"], "")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="--device is cuda:1: there is no NVIDIA GPU here; use auto or cpu"):
        parse_flags(AttemptConfig, ["--model_name_or_path", "some/model", *ASKED, "--device", "cuda:1"], "")
