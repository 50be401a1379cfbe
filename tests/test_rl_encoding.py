"""History, feedback and room: what a prompt holds, and that rollouts build it, with models and with scripted answers."""

import copy
import dataclasses
import itertools
import math

import pytest
import torch

from data.feedback import feedback_text
from data.problem import DataError
from data.prompts import MARKERS, answer, correction_prompt, first_prompt
from rl.cocos_config import CocosConfig
from rl.completion import Sample, decode, encode
from rl.config import ConfigError
from rl.encoding import PromptEncoder
from rl.pretrained import load_model_config, load_tokenizer
from rl.rollout import build_collector
from rl.sampling.batch import sample_batch
from rl.trajectory import Attempt
from sandbox.verdict import TestResult, verdict_of

FORMATS = ["markers", "chat"]


def collector_for(model_dir, problems, num_turns=2, **flags):
    flags = {"max_new_tokens": 48, "sandbox_workers": 1, **flags}
    config = CocosConfig(model_name_or_path=str(model_dir), output_dir="unused", train_data="unused", **flags)
    config.check()
    tokenizer, model_config = load_tokenizer(str(model_dir)), load_model_config(str(model_dir), "sdpa")
    return build_collector(config, tokenizer, model_config, problems, num_turns, 16, torch.device("cpu"))


def scripted(collector, *turns):
    """`collector` with a model that gives these programs, turn by turn, in the format it was asked for."""
    encoder, programs = collector.encoder, iter(turns)
    end = [] if encoder.stop.eos_token_ids.isdisjoint(encoder.template.end_ids) else list(encoder.template.end_ids)

    def sampler(_, prompts, num_samples, stop, **__):
        written = iter(next(programs))
        samples = []
        for _ in prompts:
            texts = [next(written) for _ in range(num_samples)]
            texts = [f"```python\n{text}\n```" if end else answer(text) for text in texts]
            ids = [encode(encoder.tokenizer, text) + end for text in texts]
            assert all(stop.finish_reason(row) == ("eos" if end else "stop") for row in ids)
            samples.append([Sample(row, [0.0] * len(row), stop.finish_reason(row)) for row in ids])
        return samples

    return dataclasses.replace(collector, sampler=sampler)


def prompt_text(collector, attempt):
    return collector.encoder.tokenizer.decode(attempt.prompt_ids, clean_up_tokenization_spaces=False)


def made(encoder, problem, text, parent=None):
    ids = encode(encoder.tokenizer, text)
    prompt = encoder.correction_ids(parent) if parent else encoder.first_ids(problem, 10_000)
    return Attempt(problem, prompt, ids, [], "stop", text, parent=parent)


def test_full_history_shows_every_turn_and_last_only_the_last(tokenizer, problems):
    examples = problems[1:3]
    for history, fewshot in (("full", []), ("full", examples), ("last", []), ("last", examples)):
        encoder = PromptEncoder(tokenizer, fewshot, history=history)
        first = made(encoder, problems[0], answer("one"))
        second = made(encoder, problems[0], answer("two"), first)
        texts = [decode(tokenizer, ids) for ids in (first.prompt_ids, second.prompt_ids, encoder.correction_ids(second))]
        assert texts[0] == first_prompt(problems[0], fewshot)
        if history == "full":
            assert texts[1:] == [correction_prompt(problems[0], n, fewshot) for n in (["one"], ["one", "two"])]
        else:  # as published: the bare task, but with examples the cue that they showed
            suffix = MARKERS.correction_suffix(bool(fewshot))
            assert texts[1:] == [first_prompt(problems[0]) + answer(n) + suffix for n in ("one", "two")]
            assert texts[2].endswith("[BEGIN]\n" if fewshot else "[CORRECT]\n")


def test_the_last_turn_alone_leaves_more_room(tokenizer, problems):
    rooms = {h: PromptEncoder(tokenizer, [], history=h).prompt_room(1000, 4, 100) for h in ("full", "last")}
    suffix = PromptEncoder(tokenizer, []).suffix_tokens()
    assert rooms == {"full": 600 - 3 * suffix, "last": 800 - suffix}


def test_the_longest_feedback_has_room(tokenizer, problems):
    """Nothing that a program can say, about the longest test, takes more than was set aside."""
    odd = dataclasses.replace(problems[0], test_list=(*problems[0].test_list, f"assert f({list(range(300))}) == '猫'"))
    encoders = [PromptEncoder(tokenizer, [], feedback=kind) for kind in ("none", "verdict", "failing_test", "traceback")]
    rooms = [encoder.suffix_tokens([odd]) for encoder in encoders]
    assert rooms == sorted(set(rooms))
    for encoder, room in zip(encoders, rooms):
        for status, error in itertools.product(("passed", "error", "blocked", "failed"), ("%" * 999, "猫" * 999, "a b " * 99)):
            tests = tuple(TestResult(s, error, 0.0, 0.0, False) for s in ("passed", "passed", "passed", status))
            feedback = feedback_text(encoder.feedback, odd, verdict_of(tests))
            assert len(encoder.correction_ids(Attempt(odd, [], [], [], "length", ""), feedback)) <= room


def test_no_room_for_a_feedback_is_said_beforehand(tiny_model_dir, problems):
    limit = load_model_config(str(tiny_model_dir), "sdpa").max_position_embeddings // 2 - 200
    collector_for(tiny_model_dir, problems, max_new_tokens=limit).pool.close()
    with pytest.raises(DataError, match="lower --max_new_tokens"):
        collector_for(tiny_model_dir, problems, max_new_tokens=limit, feedback="traceback")
    with pytest.raises(DataError, match=r"context leaves -[0-9]+ tokens for a prompt beside"):
        collector_for(tiny_model_dir, problems, max_new_tokens=10 * limit)


WRONG = {
    "wrong": ("def f(n):\n    return -1", "The value is not the expected one."),
    "raises": ("def f(n):\n    raise ValueError('[DO' 'NE] <|im_' 'end|> no')", "The code raises an exception."),
    "loops": ("def f(n):\n    while True: pass", "The code runs out of time."),
}


@pytest.mark.parametrize("prompt_format", FORMATS)
@pytest.mark.parametrize("kind", ["none", "verdict", "failing_test", "traceback"])
def test_feedback_reaches_the_correction(tiny_model, chat_model_dir, problems, prompt_format, kind):
    """Two first attempts of two problems and two corrections of each, of which one is right: told of its own attempt each."""
    collector = collector_for(
        chat_model_dir, problems, prompt_format=prompt_format, feedback=kind, test_timeout_s=0.2, history="last"
    )
    right = [problem.code for problem in problems]
    firsts = [right[0], *(code for code, _ in WRONG.values())]
    collector = scripted(collector, firsts, [right[0]] * 8)
    with collector.pool:
        rollout = collector.collect(tiny_model, problems[:2], (2, 2), 1.0, [(0, 0), (0, 1)])
        records = rollout.records()
    told = ["The code above passes the tests shown."]
    for (_, reason), problem in zip(WRONG.values(), (problems[0], problems[1], problems[1])):
        test = f"The code above does not pass this test:\n\n{problem.test_list[0]}\n\n{reason}"
        told.append("The code above does not pass the tests shown." if kind == "verdict" else test)
    if kind == "traceback":
        told[2] += " ValueError: no"
    told = [""] * 4 if kind == "none" else told
    assert [correction.feedback for correction in rollout.turns[1]] == [text for text in told for _ in range(2)]
    for correction, parent in zip(rollout.turns[1], [first for first in rollout.turns[0] for _ in range(2)]):
        text = prompt_text(collector, correction)
        blank = "\n\n" if correction.feedback else ""
        assert f"{correction.feedback}{blank}There might be an error" in text
        assert correction.prompt_ids[: len(parent.prompt_ids)] == parent.prompt_ids
        code = parent.code
        tail = text.split(code, 1)[1].split("There might be")[0]
        end = "\n```<|im_end|>\n<|im_start|>user\n" if prompt_format == "chat" else "\n[DONE]\n\n"
        assert tail == f"{end}{correction.feedback}{blank}"
    assert [record["turns"][1].get("feedback", "") for record in records] == [text for text in told for _ in range(2)]
    assert all("feedback" not in record["turns"][0] for record in records)


def test_without_feedback_the_next_turn_does_not_wait(tiny_model, tiny_model_dir, problems):
    """A sandbox that never answers holds nothing up, unless the correction is to be told of it."""
    collector = collector_for(tiny_model_dir, problems)

    class Silent:
        def submit(self, *_):
            return self

        def result(self):
            raise TimeoutError("asked for a verdict")

    with collector.pool:
        silent = dataclasses.replace(collector, pool=Silent())
        assert len(scripted(silent, ["x"], ["y"]).collect(tiny_model, problems[:1], (1, 1), 1.0, [(0,)]).turns) == 2
        told = dataclasses.replace(silent, encoder=PromptEncoder(collector.encoder.tokenizer, [], feedback="verdict"))
        with pytest.raises(TimeoutError, match="asked for a verdict"):
            scripted(told, ["x"], ["y"]).collect(tiny_model, problems[:1], (1, 1), 1.0, [(0,)])


def test_a_chat_rollout_of_a_small_model(chat_model_dir, problems):
    from rl.pretrained import load_model

    collector = collector_for(
        chat_model_dir, problems, prompt_format="chat", system_prompt="Be brief.", feedback="verdict", max_new_tokens=8
    )
    model = load_model(str(chat_model_dir), torch.float32, "sdpa").eval()
    with collector.pool:
        rollout = collector.collect(model, problems[:2], (2, 2), 1.0, [(0, 0), (0, 1)])
    for correction in rollout.turns[1]:
        parent = correction.parent
        ids = parent.completion_ids[:-1] if parent.finish_reason == "eos" else parent.completion_ids
        assert correction.prompt_ids[: len(parent.prompt_ids) + len(ids)] == parent.prompt_ids + ids
        text = prompt_text(collector, correction)
        assert text.startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nYou are an expert")
        assert text.endswith("correct Python program!<|im_end|>\n<|im_start|>assistant\n")
        assert "<|im_end|>\n<|im_start|>user\nThe code above does not pass the tests shown.\n\nThere might be" in text


@pytest.mark.parametrize("flags", [{"history": "last"}, {"feedback": "traceback"}, {"history": "last", "feedback": "verdict"}])
def test_what_is_remembered_of_prompts_stays_right(tiny_model, tiny_model_dir, problems, files, flags):
    """Logprobs of a third turn behind any history are those of a pass over the whole prompt."""
    collector = collector_for(
        tiny_model_dir, problems, 3, max_new_tokens=6, fewshot_data=str(files / "problems.jsonl"), sampler="batch", **flags
    )
    assert collector.sampler is sample_batch
    with collector.pool:
        rollout = collector.collect(tiny_model, problems[:3], (2, 2, 1), 1.0, [(0, i) for i in range(3)])
    for turn in rollout.turns:
        for attempt in turn:
            ids = torch.tensor([attempt.prompt_ids + attempt.completion_ids])
            with torch.no_grad():
                logprobs = torch.log_softmax(tiny_model(ids).logits[0].double(), -1)
            start = len(attempt.prompt_ids)
            for place, (token, logprob) in enumerate(zip(attempt.completion_ids, attempt.sampling_logprobs), start):
                assert math.isclose(logprobs[place - 1, token].item(), logprob, abs_tol=1e-3)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"system_prompt": "x"}, "--system_prompt is 'x' and --prompt_format markers: only chat has a system message"),
        ({"prompt_format": "chat", "prompt_template": "x.yaml"}, "--prompt_template is x.yaml and --prompt_format chat"),
        ({"prompt_format": "chat"}, "--prompt_format is chat: the tokenizer of --model_name_or_path has no chat template"),
        ({"prompt_template": "none.yaml"}, "--prompt_template none.yaml: can't be read"),
    ],
)
def test_flags_that_do_not_go_together(tiny_model_dir, problems, flags, message):
    with pytest.raises(ConfigError, match=message):
        collector_for(tiny_model_dir, problems, **flags)


def test_feedback_needs_a_correction(tiny_model_dir, problems):
    with pytest.raises(ConfigError, match="--feedback is verdict: with one turn there is no correction to show"):
        collector_for(tiny_model_dir, problems, num_turns=1, feedback="verdict")


def test_an_end_token_that_only_the_generation_config_names_ends_an_answer(chat_model_dir, problems, tmp_path):
    import shutil

    from transformers import GenerationConfig

    folder = shutil.copytree(chat_model_dir, tmp_path / "model")
    GenerationConfig(eos_token_id=[5, 7]).save_pretrained(folder)
    collector = collector_for(folder, problems, prompt_format="chat")
    with collector.pool:
        tokenizer = copy.copy(collector.encoder.tokenizer)
        assert {5, 7, tokenizer.convert_tokens_to_ids("<|im_end|>")} <= collector.encoder.stop.eos_token_ids
