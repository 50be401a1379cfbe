"""The two-turn rollout: prompts from ids, the tree's order, shared verdicts, and step one of training."""

import copy
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from data.problem import DataError, Problem
from data.prompts import DONE, answer, correction_prompt, first_prompt
from rl.cocos_config import CocosConfig
from rl.completion import Sample, decode
from rl.encoding import PromptEncoder
from rl.pass_limit import PassLimit
from rl.pretrained import load_model, load_model_config, load_tokenizer
from rl.rollout import GREEDY_DRAFT, build_collector, find_inexact_text
from rl.scoring import attempt_counts, loss_weights, rollout_kls, rollout_rewards, train_rows
from rl.trajectory import Attempt
from sandbox.verdict import infra_verdict

CPU = torch.device("cpu")


def attempt(tokenizer, problem, encoder, text, finish_reason, extra=()):
    ids = [*tokenizer(text, add_special_tokens=False)["input_ids"], *extra]
    return Attempt(problem, encoder.first_ids(problem, 10_000), ids, [0.0] * len(ids), finish_reason, "x")


def collector_for(model_dir, problems, **flags):
    config = CocosConfig(model_name_or_path=str(model_dir), output_dir="unused", train_data="unused", **flags)
    tokenizer, model_config = load_tokenizer(str(model_dir)), load_model_config(str(model_dir), "sdpa")
    return build_collector(config, tokenizer, model_config, problems, 2, 16, torch.device("cpu"))


@pytest.mark.parametrize("overhang", ["", "\n", "\n\n"])
def test_correction_ids_say_the_same_as_the_text(tokenizer, problems, overhang):
    encoder = PromptEncoder(tokenizer, [])
    made = attempt(tokenizer, problems[0], encoder, answer("x = 1") + overhang, "stop")
    assert decode(tokenizer, encoder.correction_ids(made)) == correction_prompt(problems[0], ["x = 1"])


def test_an_attempt_that_hit_the_limit_is_closed_by_the_prompt(tokenizer, problems):
    encoder = PromptEncoder(tokenizer, [])
    made = attempt(tokenizer, problems[0], encoder, "x = 1", "length")
    assert decode(tokenizer, encoder.correction_ids(made)) == correction_prompt(problems[0], ["x = 1"])


def test_eos_is_not_shown_to_the_next_turn(tokenizer, problems):
    encoder = PromptEncoder(tokenizer, [], [tokenizer.eos_token_id])
    made = attempt(tokenizer, problems[0], encoder, "x = 1", "eos", [tokenizer.eos_token_id])
    ids = encoder.correction_ids(made)
    assert tokenizer.eos_token_id not in ids
    assert decode(tokenizer, ids) == correction_prompt(problems[0], ["x = 1"])


def test_sampled_ids_stay_as_they_are_in_the_next_prompt(tokenizer, problems):
    encoder = PromptEncoder(tokenizer, [])
    odd = [i for c in "x = 1\n[DONE]" for i in tokenizer(c)["input_ids"]]  # one token a character, as no encoder would
    made = Attempt(problems[0], encoder.first_ids(problems[0], 10_000), odd, [0.0] * len(odd), "stop", "x")
    ids = encoder.correction_ids(made)
    assert ids[: len(made.prompt_ids) + len(odd)] == made.prompt_ids + odd


def test_fewshot_examples_are_dropped_before_a_prompt_is_refused(tokenizer, problems):
    encoder = PromptEncoder(tokenizer, problems[1:4])
    lengths = [len(tokenizer(first_prompt(problems[0], problems[1 : 1 + n]))["input_ids"]) for n in range(4)]
    assert len(encoder.first_ids(problems[0], lengths[3])) == lengths[3]
    assert len(encoder.first_ids(problems[0], lengths[3] - 1)) == lengths[2]
    assert len(encoder.first_ids(problems[0], lengths[1] - 1)) == lengths[0]
    with pytest.raises(DataError, match=f"has {lengths[0]} tokens"):
        encoder.first_ids(problems[0], lengths[0] - 1)


def test_the_tree_comes_row_major_and_equal_programs_share_a_verdict(tiny_model, tiny_model_dir, problems):
    collector = collector_for(tiny_model_dir, problems, max_new_tokens=6)
    with collector.pool:
        seeds = [(0, i) for i in range(3)]
        rollout = collector.collect(tiny_model, problems[:3], (2, 3), 1.0, seeds)
        assert rollout.shape(1) == (3, 2)
        assert rollout.shape(2) == (3, 2, 3)
        assert [a.problem for a in rollout.turns[0]] == [p for p in problems[:3] for _ in range(2)]
        assert [id(a.parent) for a in rollout.turns[1]] == [id(a) for a in rollout.turns[0] for _ in range(3)]
        for correction in rollout.turns[1]:
            parent = correction.parent
            assert correction.prompt_ids[: len(parent.prompt_ids)] == parent.prompt_ids
        greedy = collector.collect(tiny_model, problems[:1], (3, 2), 0.0, [(0,)])
        everyone = greedy.turns[0] + greedy.turns[1]
        by_code = {}
        for one in everyone:
            assert by_code.setdefault(one.code, one.pending_verdict) is one.pending_verdict
        assert len(rollout.records()) == 18
        assert [turn["status"] for turn in rollout.records()[0]["turns"]] != ["passed", "passed"]


def test_a_subtree_is_the_same_whatever_else_is_sampled(tiny_model, tiny_model_dir, problems):
    collector = collector_for(tiny_model_dir, problems, max_new_tokens=6)
    with collector.pool:
        seeds = [(0, i) for i in range(4)]
        whole = collector.collect(tiny_model, problems[:4], (2, 2), 1.0, seeds)
        part = collector.collect(tiny_model, problems[2:3], (2, 2), 1.0, seeds[2:3])
    assert [a.completion_ids for a in part.turns[1]] == [a.completion_ids for a in whole.turns[1][8:12]]


@pytest.mark.parametrize(("asked", "greedy", "sampled"), [(None, GREEDY_DRAFT, 0), (0, 0, 0), (3, 3, 3)])
def test_greedy_decoding_drafts_unless_told_and_samples_only_when_told(tiny_model_dir, problems, asked, greedy, sampled):
    told = []

    def sampler(model, prompts, num_samples, stop, **flags):
        told.append(flags["max_draft"])
        return [[Sample([5], [0.0], "length")] * num_samples for _ in prompts]

    collector = collector_for(tiny_model_dir, problems, max_new_tokens=6, prompt_lookup_num_tokens=asked)
    with collector.pool:
        for temperature in (0.0, 1.0):
            replace(collector, sampler=sampler).collect(torch.nn.Module(), problems[:1], (1, 1), temperature, [(0,)])
    assert told == [greedy, greedy, sampled, sampled]


def check_first_step(model_dir: Path, problems: list[Problem], max_new_tokens: int) -> None:
    """Policy equal to reference: sequence KL 0 and ratio 1, sampler against training forward."""
    collector = collector_for(model_dir, problems, max_new_tokens=max_new_tokens)
    model = load_model(str(model_dir), torch.float32, "sdpa").eval()
    with collector.pool:
        rollout = collector.collect(model, problems, (1, 2), 0.9, [(0, i) for i in range(len(problems))])
        kls = rollout_kls(rollout, model, PassLimit(4), 0.9, CPU)
    assert max(len(a.completion_ids) for a in rollout.turns[1]) > 1
    for kl in kls:
        assert kl.abs().max() < 1e-3
        assert (kl.exp() - 1).abs().max() < 1e-3


def test_first_step_has_no_kl_and_ratio_one(tiny_model_dir, problems):
    check_first_step(tiny_model_dir, problems[:3], 24)


def test_first_step_on_a_real_checkpoint(real_model_dir, problems):
    check_first_step(real_model_dir, problems[:3], 48)


def test_the_kl_is_of_the_policy_from_the_reference(tiny_model, tiny_model_dir, problems):
    """Token logprobs of both, one attempt at a time, without any batching: log pi - log pi_ref and not the other way."""
    collector = collector_for(tiny_model_dir, problems, max_new_tokens=6)
    reference = copy.deepcopy(tiny_model)
    with torch.no_grad():
        reference.get_input_embeddings().weight.mul_(1.5)
    with collector.pool:
        rollout = collector.collect(tiny_model, problems[:2], (1, 2), 0.9, [(0, 0), (0, 1)])
        kls = rollout_kls(rollout, reference, PassLimit(3), 0.9, CPU)
    sums = []
    for attempt, kl in zip(rollout.turns[1], kls[1].flatten().tolist()):
        ids = torch.tensor([attempt.prompt_ids + attempt.completion_ids])
        both = []
        for model in (tiny_model, reference):
            with torch.no_grad():
                logprobs = torch.log_softmax(model(ids).logits[0].double() / 0.9, -1)
            start = len(attempt.prompt_ids)
            both.append(sum(logprobs[i - 1, ids[0, i]].item() for i in range(start, ids.shape[1])))
        assert kl == pytest.approx(both[0] - both[1], abs=1e-4)
        sums.append(kl)
    assert max(map(abs, sums)) > 0.01


def test_rewards_and_rows(tiny_model, tiny_model_dir, problems):
    collector = collector_for(tiny_model_dir, problems, max_new_tokens=4)
    with collector.pool:
        rollout = collector.collect(tiny_model, problems[:2], (1, 2), 1.0, [(0, 0), (0, 1)])
        good = collector.pool.submit(problems[0].code, collector.suites[problems[0]])
        rollout.turns[1][1].pending_verdict = good
        rewards, has_verdict = rollout_rewards(rollout, "pass_count")
    assert rewards[1].tolist() == [[[0.0, 3.0]], [[0.0, 0.0]]]
    lengths = [[len(a.completion_ids) for a in attempts] for attempts in rollout.turns]
    assert attempt_counts(rollout, has_verdict).tolist() == [[2, sum(lengths[0])], [4, sum(lengths[1])]]
    lost = Future()
    lost.set_result(infra_verdict("gone", (False,)))
    rollout.turns[1][2].pending_verdict = lost
    rewards, judged = rollout_rewards(rollout, "all_pass")
    assert rewards[1].tolist() == [[[0.0, 1.0]], [[0.0, 0.0]]]
    assert judged[1].tolist() == [[[True, True]], [[False, True]]]
    has_verdict[1][1, 0, 0] = False
    advantages = [torch.zeros_like(rewards[0]), torch.arange(4.0).reshape(2, 1, 2)]
    weights = loss_weights(rollout, has_verdict, torch.tensor([[2, 20], [8, 80]]), "attempt", 4, [1, 1])
    rows = train_rows(rollout, advantages, weights, [0.0, 0.0])
    # Those with an advantage and a verdict.
    assert [(row.advantage, row.weight) for row in rows] == [(1.0, 1 / 8), (3.0, 1 / 8)]
    assert rows[0].sampling_logprobs is rollout.turns[1][1].sampling_logprobs
    # With a KL in the loss of corrections all of them count, but for the one without a verdict.
    rows = train_rows(rollout, advantages, [0.5 * weights[0], weights[1]], [0.0, 0.3])
    assert [(row.advantage, row.kl_coef, row.weight) for row in rows] == [
        (advantage, 0.3, 1 / 8) for advantage in (0.0, 1.0, 3.0)
    ]
    # Where nothing has an advantage, the first.
    rows = train_rows(rollout, [torch.zeros_like(a) for a in advantages], weights, [0.0, 0.0])
    assert [row.name for row in rows] == [f"problem {problems[0].problem_id}, turn 1"]


def test_inexact_tokenizers_are_found(tokenizer, problems):
    assert find_inexact_text(tokenizer, problems) == []

    class Lossy:
        def convert_ids_to_tokens(self, ids):
            return list(ids)

        def __call__(self, text, **_):
            return {"input_ids": text}

        def decode(self, ids, **_):
            return "".join(ids).replace(" ", "")

    assert find_inexact_text(Lossy(), problems) == [p.problem_id for p in problems]


def test_done_is_the_marker_everywhere():
    assert DONE == "[DONE]"
