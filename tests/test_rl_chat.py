"""Chat templates: where an answer ends, what follows it, and that ids stay, on templates of every shape and real tokenizers."""

import copy
import logging

import pytest
from chat_templates import FORGETFUL, SHAPES, speak
from tokenizers.processors import TemplateProcessing

from data.problem import Problem
from data.prompts import MARKERS
from rl.chat import ChatFormat
from rl.completion import decode, encode
from rl.config import ConfigError
from rl.encoding import PromptEncoder
from rl.trajectory import Attempt

PROBLEM = Problem("1", "Write a function to add.", "def f(a):\n    return a", ("assert f(1) == 1", "assert f(2) == 2"))
FIRST = (
    "You are an expert Python programmer, and here is your task: Write a function to add. Your code should pass these tests:\n"
    "\n"
    "assert f(1) == 1\n"
    "assert f(2) == 2\n"
    "\n"
    "Answer with one fenced Python code block that holds the whole program."
)
INSTRUCTION = (
    "There might be an error in the code above because of lack of understanding of the question. Please correct the error, "
    "if any, and rewrite the solution. Only output the final correct Python program!"
)
ANSWER = "```python\ndef f(a):\n    return  0\n```"
ENDS = {"chatml": "<|im_end|>", "llama3": "<|eot_id|>", "mistral": "</s>", "gemma": "<end_of_turn>", "reasoning": "<|im_end|>"}


@pytest.fixture
def speaking(tokenizer):
    """The small tokenizer with the template of a shape, the shared one left alone."""
    return lambda shape: speak(copy.deepcopy(tokenizer), shape)


def attempt_at(encoder, ids, reason):
    return Attempt(PROBLEM, encoder.first_ids(PROBLEM, 10_000), ids, [], reason, "")


def shown(tokenizer, ids):
    return tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def test_chatml_to_the_letter(speaking):
    spoken = ChatFormat(speaking("chatml"), "Be brief.")
    system = "<|im_start|>system\nBe brief.<|im_end|>\n"
    asked = f"<|im_start|>user\n{FIRST}<|im_end|>\n<|im_start|>assistant\n"
    example = asked + "```python\ndef f(a):\n    return a\n```<|im_end|>\n"
    assert spoken.first_prompt(PROBLEM) == system + asked
    assert spoken.first_prompt(PROBLEM, [PROBLEM]) == system + example + asked
    suffix = "<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
    assert spoken.correction_suffix() == suffix.format(INSTRUCTION)
    assert spoken.correction_suffix(True, "It fails.") == suffix.format(f"It fails.\n\n{INSTRUCTION}")


@pytest.mark.parametrize(
    ("shape", "suffix"),
    [
        (
            "llama3",
            f"<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n{INSTRUCTION}<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n",
        ),
        ("mistral", f"</s>[INST] {INSTRUCTION}[/INST]"),
        ("gemma", f"<end_of_turn>\n<start_of_turn>user\n{INSTRUCTION}<end_of_turn>\n<start_of_turn>model\n"),
        (
            "reasoning",
            f"<|im_end|>\n<|im_start|>user\n{INSTRUCTION}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
        ),
        ("alpaca", f"\n\n### User:\n{INSTRUCTION}\n### End\n\n### Assistant:\n"),
        ("unmarked", f"\nuser: {INSTRUCTION}\nassistant: "),
    ],
)
def test_what_follows_an_answer_to_the_letter(speaking, shape, suffix):
    assert ChatFormat(speaking(shape)).correction_suffix() == suffix


@pytest.mark.parametrize("shape", SHAPES)
def test_where_an_answer_ends(speaking, shape):
    spoken = speaking(shape)
    chat = ChatFormat(spoken)
    assert [*spoken.convert_ids_to_tokens(chat.end_ids)] == ([ENDS[shape]] if shape in ENDS else [])
    assert (chat.marker, chat.closing) == (("### End", "\n### End") if shape == "alpaca" else (None, ""))


@pytest.mark.parametrize("shape", ["chatml", "llama3", "mistral", "gemma", "alpaca"])
def test_ids_and_the_templates_own_text_agree_over_turns(any_tokenizer, shape):
    """An answer of the model's own tokens, ended by itself or cut: the prompt reads as the template would write it."""
    spoken = speak(copy.deepcopy(any_tokenizer), shape)
    chat = ChatFormat(spoken)
    encoder = PromptEncoder(spoken, [], [spoken.eos_token_id], chat)
    ids = encode(spoken, ANSWER)
    endings = [(ids, "length")]
    if shape == "alpaca":
        endings.append((encode(spoken, ANSWER + chat.closing), "stop"))
    else:
        endings += [([*ids, *chat.end_ids], "eos"), ([*ids, spoken.eos_token_id], "eos")]
    messages = [("user", FIRST), ("assistant", ANSWER), ("user", INSTRUCTION)]
    whole = spoken.apply_chat_template(
        [{"role": r, "content": c} for r, c in messages], tokenize=False, add_generation_prompt=True
    )
    for completion, reason in endings:
        if reason != "length":
            assert [encoder.stop.finish_reason(completion[: n + 1]) for n in range(len(completion))][-1] == reason
        made = attempt_at(encoder, completion, reason)
        prompt = encoder.correction_ids(made)
        kept = completion[:-1] if reason == "eos" else completion
        assert prompt[: len(made.prompt_ids) + len(kept)] == made.prompt_ids + kept
        # A space that a template puts before the answer is the model's to write, or not.
        wanted = shown(spoken, spoken(whole, add_special_tokens=False)["input_ids"])
        assert shown(spoken, prompt).replace("[/INST] ", "[/INST]") == wanted.replace("[/INST] ", "[/INST]")
        third = Attempt(PROBLEM, prompt, completion, [], reason, "")
        assert shown(spoken, encoder.correction_ids(third)).count(INSTRUCTION) == 2


def test_a_first_token_comes_once(speaking):
    """Llama 3's template writes it, and its tokenizer would put another before every text."""
    spoken = speaking("llama3")
    bos = spoken.bos_token
    spoken.backend_tokenizer.post_processor = TemplateProcessing(f"{bos} $A", special_tokens=[(bos, spoken.bos_token_id)])
    for template in (ChatFormat(spoken), MARKERS):
        ids = PromptEncoder(spoken, [], [], template).first_ids(PROBLEM, 10_000)
        assert ids[0] == spoken.bos_token_id
        assert ids.count(spoken.bos_token_id) == 1


def test_markers_of_the_problem_end_nothing_in_chat(speaking):
    spoken = speaking("chatml")
    encoder = PromptEncoder(spoken, [], [], ChatFormat(spoken))
    ids = encode(spoken, "```python\nx = '[DONE]'\n```")
    assert [encoder.stop.finish_reason(ids[:n]) for n in range(1, len(ids) + 1)] == [None] * len(ids)
    assert encoder.extract_code(ids) == "x = '[DONE]'"


def test_a_template_that_rewrites_answers_is_named_and_the_sample_stays(speaking, caplog):
    spoken = speaking("reasoning")
    with caplog.at_level(logging.WARNING):
        encoder = PromptEncoder(spoken, [], [], ChatFormat(spoken))
    assert "would show it, later, after" in caplog.text
    ids = encode(spoken, f"Let me think.</think>\n{ANSWER}")
    made = attempt_at(encoder, ids, "length")
    prompt = encoder.correction_ids(made)
    assert prompt[: len(made.prompt_ids) + len(ids)] == made.prompt_ids + ids
    assert "assistant\n<think>\n\n</think>\n\nLet me think.</think>" in shown(spoken, prompt)
    caplog.clear()
    ChatFormat(speaking("chatml"))
    assert not caplog.records


def test_without_room_examples_go_first_and_the_cue_stays(speaking):
    spoken = speaking("chatml")
    encoder = PromptEncoder(spoken, [PROBLEM, PROBLEM], [], ChatFormat(spoken, "Be brief."))
    lengths = [len(spoken(encoder.template.first_prompt(PROBLEM, [PROBLEM] * n))["input_ids"]) for n in range(3)]
    for room, num_examples in ((lengths[2], 2), (lengths[2] - 1, 1), (lengths[0], 0)):
        ids = encoder.first_ids(PROBLEM, room)
        assert len(ids) == lengths[num_examples]
        assert shown(spoken, ids).endswith("<|im_start|>assistant\n")
        assert shown(spoken, ids).startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user")
    with pytest.raises(ValueError, match=f"has {lengths[0]} tokens"):
        encoder.first_ids(PROBLEM, lengths[0] - 1)


def test_models_that_can_not_chat_are_refused(speaking, tokenizer):
    with pytest.raises(ConfigError, match="has no chat template; take an instruction-tuned model, or --prompt_format markers"):
        ChatFormat(tokenizer)
    with pytest.raises(ConfigError, match=r"refuses our messages \(System role not supported\); drop --system_prompt or use"):
        ChatFormat(speaking("gemma"), "Be brief.")
    forgetful = speaking("chatml")
    forgetful.chat_template = FORGETFUL
    with pytest.raises(ConfigError, match="shows an earlier answer 0 times"):
        ChatFormat(forgetful)
    deaf = speaking("chatml")
    deaf.chat_template = deaf.chat_template.replace("for m in messages", "for m in messages if m.role != 'system'")
    with pytest.raises(ConfigError, match="--system_prompt: this chat template leaves a system message out"):
        ChatFormat(deaf, "Be brief.")


def test_the_real_template_of_smollm2(real_model_dir):
    from transformers import AutoTokenizer

    spoken = AutoTokenizer.from_pretrained(real_model_dir)
    encoder = PromptEncoder(spoken, [], [], ChatFormat(spoken))
    ids = [*encode(spoken, ANSWER), spoken.eos_token_id]
    prompt = encoder.correction_ids(attempt_at(encoder, ids, encoder.stop.finish_reason(ids)))
    messages = [("user", FIRST), ("assistant", ANSWER), ("user", INSTRUCTION)]
    whole = spoken.apply_chat_template([{"role": r, "content": c} for r, c in messages], add_generation_prompt=True)
    assert prompt == whole["input_ids"]
    assert decode(spoken, ids) == ANSWER
