"""Sampling: the exact distribution, the logprobs, the stops, and independence of what shares the batch."""

import copy
import weakref

import pytest
import torch

from data.prompts import DONE
from rl.completion import StopCondition, decode
from rl.completion_batch import CompletionBatch
from rl.logprobs import completion_logprobs
from rl.pass_limit import PassLimit
from rl.sampling import batch as batch_module
from rl.sampling.batch import sample_batch
from rl.sampling.kv_cache import SPARE_TOKENS, growing_cache
from rl.sampling.paged import sample_paged
from rl.sampling.prompt_memory import common_prefix
from rl.sampling.sampler import choose_sampler, sample_graphs

CPU = torch.device("cpu")


class Never:
    """A stop condition that does not stop."""

    eos_token_ids = frozenset()

    def finish_reason(self, completion_ids):
        return None


both_samplers = pytest.mark.parametrize("sampler", [sample_batch, sample_paged], ids=["batch", "paged"])


def draw(model, prompts, n, stop=None, max_new_tokens=8, temperature=0.9, seed=0, max_rows=64, sampler=sample_batch):
    seeds = [(seed, i) for i in range(len(prompts))]
    return sampler(
        model,
        prompts,
        n,
        stop or Never(),
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seeds=seeds,
        limit=PassLimit(max_rows),
    )


@both_samplers
def test_frequencies_are_the_full_softmax_at_the_temperature(tiny_model, sampler):
    n, prompt = 3000, [5, 6, 7]
    (samples,) = draw(tiny_model, [prompt], n, max_new_tokens=1, max_rows=256, sampler=sampler)
    tokens = torch.tensor([s.completion_ids[0] for s in samples])
    with torch.no_grad():
        probs = torch.softmax(tiny_model(torch.tensor([prompt])).logits[0, -1].double() / 0.9, -1)
    # Pearson's chi-square over 32 bins of about equal probability; its mean is 31, and 61.1 is the 0.1% point.
    order = probs.argsort()
    bins = torch.empty_like(order)
    bins[order] = (probs[order].cumsum(0) * 32).long().clamp(max=31)
    expected = torch.zeros(32, dtype=torch.float64).index_add_(0, bins, probs) * n
    observed = torch.bincount(bins[tokens], minlength=32).double()
    assert ((observed - expected) ** 2 / expected).sum() < 61.1


@both_samplers
def test_improbable_tokens_are_drawn_too(tiny_model, sampler):
    """A hidden top-k would leave most of a flat distribution untouched."""
    (samples,) = draw(tiny_model, [[5, 6]], 1500, max_new_tokens=1, max_rows=256, sampler=sampler)
    tokens = {s.completion_ids[0] for s in samples}
    assert len(tokens) > 200


@both_samplers
def test_logprobs_agree_with_the_training_forward(tiny_model, sampler):
    prompts = [[5, 6, 7, 8], [9, 9], [10, 11, 12] * 15]
    for prompt, samples in zip(prompts, draw(tiny_model, prompts, 3, sampler=sampler)):
        assert len(samples) == 3
        for one in samples:
            with torch.no_grad():
                batch = CompletionBatch.collate([prompt], [one.completion_ids], CPU)
                expected = completion_logprobs(tiny_model, batch, 0.9)[0]
            torch.testing.assert_close(torch.tensor(one.logprobs), expected, atol=1e-4, rtol=1e-4)


def test_samples_do_not_depend_on_the_rows_beside_them(tiny_model):
    prompts = [[5, 6, 7, 8], [9], [10, 11]]
    together = draw(tiny_model, prompts, 2)
    narrow = draw(tiny_model, prompts, 2, max_rows=1)
    assert [[s.completion_ids for s in row] for row in together] == [[s.completion_ids for s in row] for row in narrow]


@both_samplers
def test_samples_of_a_prompt_and_of_seeds_differ(tiny_model, sampler):
    first, second = draw(tiny_model, [[5, 6]], 2, sampler=sampler)[0]
    other = draw(tiny_model, [[5, 6]], 1, seed=1, sampler=sampler)[0][0]
    assert len({tuple(s.completion_ids) for s in (first, second, other)}) == 3


def test_prompts_with_a_common_beginning_are_as_if_they_had_none(tiny_model):
    """The beginning is computed once for all of them; padding then stands in the middle of a row."""
    beginning = [int(i) for i in torch.arange(5, 55)]
    prompts = [[*beginning, 7, 8, 9], [*beginning, 60], [*beginning, 61, 62, 63, 64, 65]]
    together = draw(tiny_model, prompts, 2, max_new_tokens=SPARE_TOKENS + 8)
    alone = [draw(tiny_model, [[3], prompt], 2, max_new_tokens=SPARE_TOKENS + 8)[1] for prompt in prompts]
    for i, (row, other) in enumerate(zip(together, alone)):
        for a, b in zip(row, other):
            if i == 1:  # the second prompt has the same seed in both
                assert a.completion_ids == b.completion_ids
                assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)
            batch = CompletionBatch.collate([prompts[i]], [a.completion_ids], CPU)
            with torch.no_grad():
                expected = completion_logprobs(tiny_model, batch, 0.9)[0]
            torch.testing.assert_close(torch.tensor(a.logprobs), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("prompts", "length"),
    [
        ([[1, 2, 3], [1, 2, 4]], 2),
        ([[1, 2, 3], [1, 2]], 1),
        ([[1, 2, 3], [1, 2, 3]], 2),
        ([[1, 2, 3]], 2),
        ([[1], [2]], 0),
        ([[9, 1, 5], [9, 1, 4], [9, 2]], 1),
    ],
)
def test_common_prefix_leaves_every_prompt_a_token(prompts, length):
    assert common_prefix(prompts) == length


def test_a_growing_cache_holds_what_was_put_in(tiny_model):
    """Appending, selecting and repeating rows, past the spare room and back, against plain concatenation."""
    layer = growing_cache(tiny_model).layers[0]
    generator = torch.Generator().manual_seed(0)
    wanted = torch.zeros(2, 3, 0, 4)
    for length in (5, 1, 1, SPARE_TOKENS, 1):
        new = torch.randn(wanted.shape[0], 3, length, 4, generator=generator)
        keys, values = layer.update(new, -new)
        wanted = torch.cat([wanted, new], -2)
        assert torch.equal(keys, wanted)
        assert torch.equal(values, -wanted)
        rows = torch.tensor([1, 0, 1])[: 2 + length % 2]
        layer.batch_select_indices(rows)
        wanted = wanted[rows]
        assert layer.get_seq_length() == wanted.shape[-2]


@both_samplers
def test_greedy_takes_the_most_probable_token(tiny_model, sampler):
    (one,) = draw(tiny_model, [[5, 6]], 1, temperature=0.0, max_new_tokens=3, sampler=sampler)[0]
    ids = [5, 6]
    with torch.no_grad():
        for token in one.completion_ids:
            assert tiny_model(torch.tensor([ids])).logits[0, -1].argmax() == token
            ids.append(token)


def test_the_marker_is_found_across_tokens_and_only_when_whole(tokenizer):
    stop = StopCondition(tokenizer, DONE, [])
    ids = tokenizer("x = 1\n[DONE]")["input_ids"]
    assert len(tokenizer(DONE)["input_ids"]) > 1
    reasons = [stop.finish_reason(ids[:n]) for n in range(1, len(ids) + 1)]
    assert reasons == [None] * (len(ids) - 1) + ["stop"]


@pytest.mark.parametrize("text", ["x = [1]", "[DONE", "DONE]", "[ DONE]", "[done]"])
def test_near_markers_do_not_stop(tokenizer, text):
    ids = tokenizer(text)["input_ids"]
    stop = StopCondition(tokenizer, DONE, [])
    assert [stop.finish_reason(ids[:n]) for n in range(1, len(ids) + 1)] == [None] * len(ids)


def test_eos_stops(tokenizer):
    assert StopCondition(tokenizer, DONE, [tokenizer.eos_token_id]).finish_reason([5, tokenizer.eos_token_id]) == "eos"


class StopAt:
    """Ends each completion once it has a given number of tokens, its first token deciding how many."""

    eos_token_ids = frozenset()

    def finish_reason(self, completion_ids):
        return "stop" if len(completion_ids) >= 1 + completion_ids[0] % 5 else None


def test_rows_that_end_early_change_nothing_for_the_others(tiny_model):
    """Rows leave the batch at different steps; what stays must continue exactly as it would alone."""
    prompts = [[i, i + 1] for i in range(5, 17)]
    long = draw(tiny_model, prompts, 2, max_new_tokens=6)
    short = draw(tiny_model, prompts, 2, StopAt(), max_new_tokens=6)
    lengths = set()
    for row_long, row_short in zip(long, short):
        for a, b in zip(row_long, row_short):
            length = 1 + a.completion_ids[0] % 5
            lengths.add(length)
            assert b.completion_ids == a.completion_ids[:length]
            assert b.finish_reason == "stop"
            assert a.finish_reason == "length"
            assert b.logprobs == pytest.approx(a.logprobs[:length], abs=1e-4)
    assert len(lengths) > 2


def test_decode_is_exact(tokenizer):
    for code in ("x = ' '.join(a)", "a , b", "don 't", "x  =  1 ;", "é ü\t\n"):
        assert decode(tokenizer, tokenizer(code)["input_ids"]) == code


@both_samplers
def test_completions_end_with_the_token_that_stops_them(tiny_model, sampler):
    """Nothing after it is kept, not even what a backend had already written; every row is counted once."""
    counted = []
    samples = sampler(
        tiny_model,
        [[i, i + 1] for i in range(5, 11)],
        3,
        StopAt(),
        max_new_tokens=4,
        temperature=1.0,
        seeds=[(i,) for i in range(6)],
        limit=PassLimit(8),
        on_progress=counted.append,
    )
    assert sum(counted) == 18
    for one in (s for row in samples for s in row):
        wanted = 1 + one.completion_ids[0] % 5
        assert len(one.completion_ids) == len(one.logprobs) == min(wanted, 4)
        assert one.finish_reason == ("stop" if wanted <= 4 else "length")


@both_samplers
def test_eos_ends_a_completion_and_is_kept(tiny_model, tokenizer, sampler):
    class EveryEvenToken:
        eos_token_ids = frozenset(range(0, tiny_model.config.vocab_size, 2))

        def finish_reason(self, ids):
            return "eos" if ids[-1] in self.eos_token_ids else None

    (samples,) = draw(tiny_model, [[5, 6]], 12, EveryEvenToken(), sampler=sampler)
    for one in samples:
        assert [token % 2 for token in one.completion_ids[:-1]] == [1] * (len(one.completion_ids) - 1)
        assert (one.finish_reason == "eos") == (one.completion_ids[-1] % 2 == 0)
    assert "eos" in {one.finish_reason for one in samples}


def test_paged_sampling_leaves_the_model_and_the_random_state_as_they_were(tiny_model):
    before = torch.random.get_rng_state()
    tiny_model.train()
    draw(tiny_model, [[5, 6]], 2, sampler=sample_paged)
    assert tiny_model.training
    tiny_model.eval()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert tiny_model.config._attn_implementation == "sdpa"


def test_paged_sampling_refuses_prompts_it_cannot_fork(tiny_model):
    with pytest.raises(ValueError, match="at least 2 tokens"):
        draw(tiny_model, [[5]], 2, sampler=sample_paged)


@both_samplers
def test_a_rank_without_prompts_draws_nothing(tiny_model, sampler):
    assert draw(tiny_model, [], 2, sampler=sampler) == []


@pytest.mark.parametrize("seed", [(42,), (42, 3), (42, 3, 0), (0,)])
def test_an_attempt_and_its_corrections_are_drawn_apart(seed):
    """As a collector makes seeds of seeds, from one or several words: numpy pads short ones with zeros."""
    attempts, corrections = (*seed, 0), (*seed, 0, 0)
    rows = batch_module._uniforms([seed, attempts, corrections, (*corrections, 0)], 8)
    assert len({tuple(row) for row in rows.tolist()}) == 4


def test_auto_takes_pages_only_where_a_flash_kernel_reads_them_and_records_steps_on_a_gpu(tiny_model):
    flash = type("Config", (), {"_attn_implementation": "flash_attention_2"})()
    assert choose_sampler("auto", tiny_model.config, CPU) is sample_batch
    assert choose_sampler("auto", flash, CPU) is sample_batch
    assert choose_sampler("auto", flash, torch.device("cuda")) is sample_paged
    assert choose_sampler("auto", tiny_model.config, torch.device("cuda")) is sample_graphs
    assert choose_sampler("batch", tiny_model.config, torch.device("cuda")) is sample_batch
    assert choose_sampler("paged", tiny_model.config, CPU) is sample_paged


def test_out_of_memory_halves_the_rows_and_draws_the_same(tiny_model, monkeypatch, caplog):
    """No memory for more than three rows: four prompts of two samples each come out as they would have."""
    prompts = [[5, 6, 7], [8, 9], [10, 11, 12, 13], [14]]
    expected = draw(tiny_model, prompts, 2)
    real, sizes = batch_module._Decoding.run, []

    def run(self, stop):
        sizes.append(len(self.samples))
        if len(self.samples) > 3:
            raise torch.OutOfMemoryError("a test")
        real(self, stop)

    monkeypatch.setattr(batch_module._Decoding, "run", run)
    found = draw(tiny_model, prompts, 2, max_rows=8)
    assert sizes == [8, 4, 2, 2, 2, 2]
    assert "out of memory in sampling: a pass takes at most 4 rows from now on, not 8 rows" in caplog.text
    assert [[s.completion_ids for s in samples] for samples in found] == [[s.completion_ids for s in e] for e in expected]
    monkeypatch.setattr(batch_module._Decoding, "run", lambda *_: _out_of_memory())
    with pytest.raises(torch.OutOfMemoryError):
        draw(tiny_model, prompts, 1, max_rows=1)


def test_a_batch_lets_go_of_its_caches_before_the_next_one_is_begun(tiny_model, monkeypatch):
    real, made = batch_module._Decoding.__init__, []

    def init(self, *args):
        assert not any(ref() for ref in made)
        real(self, *args)
        made.append(weakref.ref(self._states))

    monkeypatch.setattr(batch_module._Decoding, "__init__", init)
    draw(tiny_model, [[5, 6, 7], [8, 9], [10, 11, 12]], 2, max_rows=2)
    assert len(made) == 3


def test_out_of_memory_is_the_end_where_other_ranks_gather_the_same_layers(tiny_model, monkeypatch):
    """A rank that began again by itself would gather other layers than they."""
    model, calls = copy.deepcopy(tiny_model), []
    next(model.parameters()).ds_id = 0  # as ZeRO-3 marks what it shards
    monkeypatch.setattr(batch_module._Decoding, "run", lambda *_: calls.append(1) or _out_of_memory())
    with pytest.raises(torch.OutOfMemoryError):
        draw(model, [[5, 6], [7, 8]], 2, max_rows=8)
    assert len(calls) == 1


def _out_of_memory():
    raise torch.OutOfMemoryError("a test")
