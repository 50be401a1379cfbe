"""The model card says what the run knows and nothing else; its prompts are those of the wire format."""

import re

import yaml
from transformers import AutoTokenizer

from data.prompts import MARKERS, answer, correction_prompt, first_prompt
from rl.chat import ChatFormat
from rl.cocos_config import CocosConfig
from rl.model_card import _EXAMPLE, model_card
from rl.train_config import BoostConfig

RESOLVED = {"versions": {"torch": "9.9"}, "python": "3.99"}


def indented(text):
    return "\n".join(f"    {line}" for line in text.rstrip("\n").split("\n"))


def test_card_of_an_rl_run():
    config = CocosConfig(
        model_name_or_path="org/base: x",
        output_dir="runs/mine",
        train_data="t.jsonl",
        eval_data="e.jsonl",
        gamma=0.25,
        rloo_k=8,
    )
    summary = {"num_problems": 10, "accuracy@2": {"value": 0.5, "low": 0.25, "high": 0.75}, "finish@1": {"stop": 1.0}}
    card = model_card(config, RESOLVED, 40, {"accuracy/turn1": 0.125, "time/step_s": 3.0}, summary, 30)
    front = yaml.safe_load(card.split("---")[1])
    assert front == {"base_model": "org/base: x", "library_name": "transformers", "pipeline_tag": "text-generation"}
    assert "# base: x, step 40 of mine" in card
    for words in (
        "8 corrections, over 2 turns; baseline leave_one_out",
        "`t.jsonl`",
        "the 10 problems of `e.jsonl` after step 30",
        "torch 9.9",
        '"gamma": 0.25',
    ):
        assert words in card, words
    assert "| accuracy@2 | 0.5000 | 0.2500 to 0.7500 |" in card
    assert "| accuracy/turn1 | 0.125 |" in card
    assert "time/" not in card
    assert indented(first_prompt(_EXAMPLE)) in card
    assert indented(correction_prompt(_EXAMPLE, ["def add(a, b):\n    return a - b"])) in card


def test_card_of_one_turn_has_no_corrections():
    config = CocosConfig(model_name_or_path="m", output_dir="o", train_data="t", num_turns=1, first_attempts=4, baseline="none")
    card = model_card(config, RESOLVED, 5, {}, None, None)
    assert "A problem has 4 first attempts; baseline none, KL" in card and "corrections, over" not in card


def test_card_of_a_boost_run_without_evaluation_states_no_result():
    config = BoostConfig(model_name_or_path="m", output_dir="o", train_data="t", fewshot_data="f")
    card = model_card(config, RESOLVED, 5, {}, None, None)
    assert "examples before turn 1" not in card  # those are its evaluation's
    assert "## Results\n\nNone recorded." in card
    assert "not evaluated during training" in card
    assert "corrections, over" not in card
    assert not re.search(r"\d\.\d{3}", card.split("## Use")[0])


def test_a_card_shows_the_chat_format_that_a_run_was_trained_with(chat_model_dir):
    template = ChatFormat(AutoTokenizer.from_pretrained(chat_model_dir))
    config = CocosConfig(
        model_name_or_path="m", output_dir="o", train_data="t", prompt_format="chat", feedback="verdict", fewshot_data="f"
    )
    card = model_card(config, RESOLVED, 5, {}, None, None, template)
    assert indented(template.first_prompt(_EXAMPLE)) in card
    assert "```python\n    def add(a, b):" in card
    assert "(`--feedback verdict`)" in card
    assert "put the same there" in card
    assert "[BEGIN]" not in card


def test_a_card_shows_the_correction_that_stood_behind_examples():
    for history in ("full", "last"):
        config = CocosConfig(model_name_or_path="m", output_dir="o", train_data="t", fewshot_data="f", history=history)
        card = model_card(config, RESOLVED, 5, {}, None, None)
        wanted = (
            first_prompt(_EXAMPLE) + answer("def add(a, b):\n    return a - b") + MARKERS.correction_suffix(has_fewshot=True)
        )
        assert wanted.endswith("[BEGIN]\n")
        assert indented(wanted) in card
        assert ("`--history last`" in card.split("## Flags")[0]) == (history == "last")
