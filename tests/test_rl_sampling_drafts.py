"""Drafts: what is guessed, and that a guess, right or wrong, changes no sample."""

import random

import pytest
import torch

from rl.pass_limit import PassLimit
from rl.sampling import batch as batch_module
from rl.sampling.batch import sample_batch
from rl.sampling.drafts import Drafter, PromptText
from rl.sampling.prompt_memory import MIN_COMMON_TOKENS, PromptMemory
from tests.test_rl_sampling_decoding import SHARED, assert_as_in_training, fed_tokens, prompts_of, small_model

CUE = [8, 9, 10]


class StopAt:
    def finish_reason(self, completion_ids):
        return "stop" if len(completion_ids) >= 6 + completion_ids[0] % 30 else None


class Never:
    def finish_reason(self, completion_ids):
        return None


def sample(model, prompts, n, max_draft, memory=None, max_new_tokens=25, temperature=0.9, stop=None):
    seeds = [(7, i) for i in range(len(prompts))]
    draw = {"max_new_tokens": max_new_tokens, "temperature": temperature, "seeds": seeds, "limit": PassLimit(64)}
    return sample_batch(model, prompts, n, stop or StopAt(), memory=memory, max_draft=max_draft, **draw)


def two_turns(model, prompts, max_draft, temperature=0.9):
    """Samples of both turns and the passes they took."""
    memory, turns = PromptMemory(), []

    def run():
        memory.start_turn(64)
        firsts = sample(model, prompts, 1, max_draft, memory, temperature=temperature)
        corrections = [p + row[0].completion_ids + CUE for p, row in zip(prompts, firsts)]
        memory.start_turn(0)
        seconds = sample(model, corrections, 5, max_draft, memory, temperature=temperature)
        turns.extend([(prompts, firsts), (corrections, seconds)])

    return len(fed_tokens(model, run)), turns


class Seer:
    """In the place of a drafter: says what an undrafted run has said, wrong at every `error`th token (0: never), in drafts of
    lengths of its own, so that rows trade places."""

    def __init__(self, completions, error, max_draft, number=0):
        self._said, self._completions, self._error = [], completions, error
        self._lengths = random.Random(number)
        self._max_draft = max_draft

    def add(self, ids):
        self._said += ids

    def draft(self, room):
        start = len(self._said)
        those_left = (ids for ids in self._completions if ids[:start] == self._said)
        length = min(room, self._lengths.choice([0, 2, self._max_draft]))
        ids = next(those_left, [])[start : start + length]
        return [(t + 1) % 300 if self._error and (start + i) % self._error == 0 else t for i, t in enumerate(ids)]


@pytest.mark.parametrize(
    ("error", "temperature"),
    [(0, 0.9), (1, 0.9), (3, 0.9), (3, 0.0)],
    ids=["right", "wrong", "every third wrong", "every third wrong, greedy"],
)
@pytest.mark.parametrize("common", [0, MIN_COMMON_TOKENS + 3], ids=["apart", "common beginning"])
@pytest.mark.parametrize("family", ["llama", "one head a group", "gpt2"])
def test_drafts_right_or_wrong_change_no_sample(family, common, error, temperature, monkeypatch):
    """Rows that run ahead of others, fall back and leave, in two turns of ragged prompts."""
    model, prompts = small_model(family), prompts_of(5, 3, 9, 4, 1, common=common)
    num_passes, expected = two_turns(model, prompts, 0, temperature)
    truth = {tuple(prompt): [s.completion_ids for s in row] for asked, rows in expected for prompt, row in zip(asked, rows)}
    numbers = iter(range(99))
    monkeypatch.setattr(batch_module, "Drafter", lambda text, most: Seer(truth[tuple(text.ids)], error, most, next(numbers)))
    num_drafted_passes, found = two_turns(model, prompts, 7, temperature)
    for (asked, rows), (_, expected_rows) in zip(found, expected):
        pairs = [pair for row, expected_row in zip(rows, expected_rows) for pair in zip(row, expected_row)]
        assert all(s.completion_ids == e.completion_ids and s.finish_reason == e.finish_reason for s, e in pairs)
        assert_as_in_training(model, asked, rows, temperature or 1.0)
    if error != 1:
        assert num_drafted_passes < 0.8 * num_passes
    else:
        assert num_drafted_passes == num_passes


def test_models_with_caches_of_their_own_draft_nothing():
    assert "gemma3" not in SHARED
    model, prompts = small_model("gemma3"), prompts_of(5, 3, 9)
    prompts = [3 * p for p in prompts]  # there would be something to look up
    assert two_turns(model, prompts, 8) == two_turns(model, prompts, 0)


def test_text_that_repeats_itself_takes_fewer_passes():
    """A model that looks at the last token alone runs into a loop, greedily."""
    model, prompts = small_model("llama"), prompts_of(5, 3)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()

    def greedy(max_draft):
        samples = []

        def run():
            samples.extend(sample(model, prompts, 1, max_draft, max_new_tokens=200, temperature=0.0, stop=Never()))

        num_passes = len(fed_tokens(model, run))
        return num_passes, [row[0].completion_ids for row in samples]

    (num_passes, expected), (num_drafted_passes, found) = greedy(0), greedy(8)
    assert found == expected
    assert num_drafted_passes < num_passes / 3


def fed_rows(model, function) -> list[int]:
    """Rows, which are tokens of a step, that every pass of the model was given while `function` ran."""
    sizes = []
    handle = model.register_forward_pre_hook(
        lambda module, args, kwargs: sizes.append(kwargs["input_ids"].shape[0]), with_kwargs=True
    )
    function()
    handle.remove()
    return sizes


@pytest.mark.parametrize(("num_rows", "most"), [(2, 2 + 16), (10, 10 + 20), (30, 30 + 30)])
def test_a_step_drafts_as_many_tokens_as_it_has_rows_or_the_most_of_a_few(num_rows, most, monkeypatch):
    monkeypatch.setattr(batch_module, "MAX_DRAFTED", 20)
    model, prompts = small_model("llama"), [[5, 6, 7] * 5]

    class Always(Drafter):
        def draft(self, room):
            return [1] * min(room, 8)

    monkeypatch.setattr(batch_module, "Drafter", Always)
    draw = {"max_new_tokens": 12, "stop": Never()}
    assert max(fed_rows(model, lambda: sample(model, prompts, num_rows, 8, **draw))) == most


@pytest.mark.parametrize("max_new_tokens", [1, 2, 3])
def test_no_draft_goes_beyond_the_limit(max_new_tokens):
    model, prompts = small_model("llama"), [[5, 6, 7] * 5, [8]]
    rows = sample(model, prompts, 3, 8, max_new_tokens=max_new_tokens, stop=Never())
    assert all(len(s.completion_ids) == max_new_tokens and s.finish_reason == "length" for row in rows for s in row)
    assert rows == sample(model, prompts, 3, 0, max_new_tokens=max_new_tokens, stop=Never())


def test_a_draft_ends_with_the_row(monkeypatch):
    """A stop in the middle of a draft: what the draft says after it is not said."""
    model, prompts = small_model("llama"), prompts_of(5, 3)
    expected = sample(model, prompts, 2, 0, stop=Never())
    ends = {s.completion_ids[9] for row in expected for s in row}

    class AtToken:
        def finish_reason(self, completion_ids):
            return "eos" if completion_ids[-1] in ends else None

    undrafted = sample(model, prompts, 2, 0, stop=AtToken())
    truth = {tuple(p): [s.completion_ids for s in row] for p, row in zip(prompts, expected)}
    monkeypatch.setattr(batch_module, "Drafter", lambda text, most: Seer(truth[tuple(text.ids)], 0, most))
    drafted = sample(model, prompts, 2, 7, stop=AtToken())
    ids = [[(s.completion_ids, s.finish_reason) for row in rows for s in row] for rows in (undrafted, drafted)]
    assert ids[0] == ids[1]
    assert all(len(one) <= 10 and reason == "eos" for one, reason in ids[0])


def drafter(prompt, said, max_draft=8):
    made = Drafter(PromptText(prompt), max_draft)
    made.add(said)
    return made


def test_what_followed_the_last_tokens_is_drafted():
    assert drafter([1, 2, 3, 4, 5, 6, 7], [9, 2, 3, 4]).draft(2) == [5, 6]


def test_the_newest_place_wins_and_the_rows_own_text_before_the_prompt():
    assert drafter([1, 2, 3, 40, 1, 2, 3, 50], [1, 2, 3]).draft(1) == [50]
    assert drafter([1, 2, 3, 40], [1, 2, 3, 60, 1, 2, 3]).draft(1) == [60]


def test_the_seam_between_prompt_and_sample_is_text_too():
    assert drafter([1, 2, 3], [4, 5, 9, 2, 3, 4]).draft(2) == [5, 9]
    assert drafter([1, 2], [3, 7, 1, 2, 3]).draft(1) == [7]


def test_a_loop_goes_on():
    assert drafter([0], [5, 6, 7, 8, 5, 6, 7]).draft(6) == [8, 5, 6, 7, 8, 5]
    assert drafter([0], [5, 5, 5, 5]).draft(3) == [5, 5, 5]


def test_nothing_known_is_nothing_drafted():
    assert drafter([1, 2, 3, 4], [5, 2, 3]).draft(4) == []
    assert drafter([1], []).draft(4) == []
    assert drafter([], [1, 2, 3]).draft(4) == []


def test_no_more_than_there_is_room_for():
    looping = drafter([0], [5] * 6, max_draft=2)
    assert [len(looping.draft(room)) for room in (-1, 0, 1, 2, 9)] == [0, 0, 1, 2, 2]


def test_samples_do_not_depend_on_the_length_of_drafts(tiny_model):
    prompts = [[5, 6, 7] * 4, [8, 9] * 5]
    runs = [sample(tiny_model, prompts, 3, max_draft, temperature=0.3) for max_draft in (0, 1, 5, 30)]
    ids = [[[s.completion_ids for s in row] for row in run] for run in runs]
    assert all(one == ids[0] for one in ids)
