"""Text and ids of completions, and where they end, on real tokenizers of three families."""

import pytest

from data.problem import Problem
from data.prompts import DONE, answer, correction_prompt, correction_suffix, first_prompt
from rl.completion import StopCondition, decode, encode
from rl.encoding import PromptEncoder
from rl.trajectory import Attempt

PROBLEM = Problem("7", "Write a function to add one.", "def add(x):\n    return x + 1", ("assert add([1][0]) == 2",), "")
CODES = [
    "def f(a):\n    return ' '.join(a)",
    "  x = 1\n  y = [2]",
    "\tif a [0] :\n\t\treturn 'don \\'t , é ü 猫 🐍'",
    "\n\n    pass\n\n\n",
    "x  =  {1 : [2]};",
]


def test_the_families_differ_where_it_matters(any_tokenizer, request):
    tokens = any_tokenizer.convert_ids_to_tokens(any_tokenizer("x\n[DONE]\n")["input_ids"])
    family = request.node.callspec.params["any_tokenizer"]
    assert ("\u2581" in "".join(tokens)) == (family == "sentencepiece")
    assert ("]\u010a" in tokens) == (family == "merging")


@pytest.mark.parametrize("code", CODES)
def test_text_survives_encoding_and_decoding(any_tokenizer, code):
    assert decode(any_tokenizer, encode(any_tokenizer, code)) == code


@pytest.mark.parametrize("after", ["", "\n", "\n\n", " ", ");", "]", "\n\nYou are"])
@pytest.mark.parametrize("code", ["x = [1]\n", "x = [[1]", "", "return '[DONE'\n", "a\n\n"])
def test_the_marker_stops_at_the_token_that_completes_it(any_tokenizer, code, after):
    stop = StopCondition(any_tokenizer, DONE, [])
    ids = encode(any_tokenizer, f"{code}{DONE}{after}")
    reasons = [stop.finish_reason(ids[:n]) for n in range(1, len(ids) + 1)]
    first = reasons.index("stop")
    assert DONE in decode(any_tokenizer, ids[: first + 1])
    assert DONE not in decode(any_tokenizer, ids[:first])


@pytest.mark.parametrize("marker", ["【完】", "<end>\n", "FIN "])
def test_a_marker_stops_whatever_its_last_character(any_tokenizer, marker):
    stop = StopCondition(any_tokenizer, marker, [])
    ids = encode(any_tokenizer, f"x = [1]\n{marker}y = 2")
    reasons = [stop.finish_reason(ids[:n]) for n in range(1, len(ids) + 1)]
    assert marker in decode(any_tokenizer, ids[: reasons.index("stop") + 1])
    assert marker not in decode(any_tokenizer, ids[: reasons.index("stop")])


@pytest.mark.parametrize("text", ["x = [1]\n", "[DONE", "DONE]", "[ DONE]\n", "[done]\n\n", "[DO NE]"])
def test_near_markers_do_not_stop(any_tokenizer, text):
    stop = StopCondition(any_tokenizer, DONE, [])
    ids = encode(any_tokenizer, text)
    assert [stop.finish_reason(ids[:n]) for n in range(1, len(ids) + 1)] == [None] * len(ids)


@pytest.mark.parametrize("after", ["", "\n", "\n\n", "\n\n\n"])
def test_a_correction_reads_as_its_text_whatever_the_last_token_carries(any_tokenizer, after):
    """The token that completes the marker may carry line breaks, which are part of what follows or are left behind."""
    encoder = PromptEncoder(any_tokenizer, [])
    ids = encode(any_tokenizer, answer(PROBLEM.code) + after)
    kept = next(ids[:n] for n in range(1, len(ids) + 1) if encoder.stop.finish_reason(ids[:n]))
    attempt = Attempt(PROBLEM, encoder.first_ids(PROBLEM, 10_000), kept, [], "stop", PROBLEM.code)
    text = any_tokenizer.decode(encoder.correction_ids(attempt), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    carried = decode(any_tokenizer, kept).split(DONE)[1]
    wanted = correction_prompt(PROBLEM, [PROBLEM.code])
    if not correction_suffix().startswith(carried):
        wanted = first_prompt(PROBLEM) + answer(PROBLEM.code) + carried + correction_suffix()
    assert text == wanted


def test_the_correction_of_an_attempt_that_was_cut_gets_its_marker(any_tokenizer):
    encoder = PromptEncoder(any_tokenizer, [])
    kept = encode(any_tokenizer, "def add(x):\n    return")
    attempt = Attempt(PROBLEM, encoder.first_ids(PROBLEM, 10_000), kept, [], "length", "")
    text = any_tokenizer.decode(encoder.correction_ids(attempt), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert text == correction_prompt(PROBLEM, ["def add(x):\n    return"])
