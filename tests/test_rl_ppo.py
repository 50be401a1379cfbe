"""Several optimizer steps on one rollout: the split, the first ratios, the terms of the loss, on an engine of plain torch."""

import copy
import math
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist

from rl.completion_batch import CompletionBatch
from rl.logprobs import completion_logprobs_and_entropies
from rl.pass_limit import PassLimit
from rl.ppo import split_rows, update_epochs
from rl.train_rows import ClipRange, LossTerms, TrainRow, row_logprobs
from rl.update import update

CPU = torch.device("cpu")
CLIP = LossTerms(clip=ClipRange(0.2, 0.2, "sequence"))


@pytest.fixture(scope="module", autouse=True)
def process_group(tmp_path_factory):
    dist.init_process_group("gloo", f"file://{tmp_path_factory.mktemp('group') / 'store'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


class PlainEngine:
    """What `rl.update` uses of an engine, around SGD; keeps the gradient of every step."""

    device = CPU

    def __init__(self, module, learning_rate):
        self.module, self.gradients = copy.deepcopy(module), []
        self._optimizer = torch.optim.SGD(self.module.parameters(), learning_rate)

    def __call__(self, **inputs):
        return self.module(**inputs)

    def train(self):
        self.module.train()

    def set_gradient_accumulation_boundary(self, is_boundary):
        pass

    def backward(self, loss, scale_wrt_gas):
        loss.backward()

    def get_lr(self):
        return [0.0]

    def get_global_grad_norm(self):
        return self.gradients[-1].norm().item()

    def zero_optimization_stage(self):
        return 0

    def was_step_applied(self):
        return True

    def step(self):
        self.gradients.append(torch.cat([p.grad.flatten() for p in self.module.parameters()]))
        self._optimizer.step()
        self._optimizer.zero_grad()


def rows(model):
    """Five completions of two prompts, of unequal length, with the sampler's logprobs off by 0.1 a token."""
    prompts = [[5, 6, 7]] * 3 + [[8, 9]] * 2
    completions = [[21, 22, 23, 24], [25], [26, 27], [28, 29, 30], [31, 32]]
    bare = [TrainRow(p, c, a, 0.2) for p, c, a in zip(prompts, completions, (1.0, -2.0, 0.5, -0.5, 1.5))]
    logprobs = row_logprobs(model, bare, PassLimit(2), 0.9, CPU)
    return [replace(row, sampling_logprobs=[x - 0.1 for x in own]) for row, own in zip(bare, logprobs)]


def flags(terms, num_epochs, num_mini_batches):
    return SimpleNamespace(
        loss_terms=terms,
        num_ppo_epochs=num_epochs,
        num_mini_batches=num_mini_batches,
        temperature=0.9,
    )


def steps(model, terms, num_epochs, num_mini_batches, learning_rate=0.0, made=None):
    engine = PlainEngine(model, learning_rate)
    return engine, update_epochs(
        engine, rows(model) if made is None else made, PassLimit(2), flags(terms, num_epochs, num_mini_batches), "seed"
    )


def test_parts_are_a_partition_and_every_row_is_in_each_as_often():
    made = [TrainRow([n], [n], 0.0, 0.0) for n in range(7)]
    places = Counter()
    for seed in range(3000):
        parts = split_rows(made, 3, str(seed))
        assert sorted(row.prompt_ids[0] for part in parts for row in part) == list(range(7))
        assert sorted(map(len, parts)) == [2, 2, 3]
        places.update((row.prompt_ids[0], number) for number, part in enumerate(parts) for row in part)
    assert all(abs(count / 3000 - 1 / 3) < 0.04 for count in places.values())
    assert split_rows(made, 3, "0") == split_rows(made, 3, "0") != split_rows(made, 3, "1")
    assert [len(part) for part in split_rows(made[:1], 2, "0")] in ([0, 1], [1, 0])


def test_the_first_ratios_are_one_to_the_bit_and_the_gradient_is_reinforce(tiny_model):
    for level in ("sequence", "token"):
        engine, stats = steps(tiny_model, LossTerms(clip=ClipRange(0.2, 0.2, level)), 1, 1)
        assert set(stats.counts["clip/ratio"]) == {1.0}
        assert not any(stats.counts["clip/share_low"] + stats.counts["clip/share_high"])
        plain = PlainEngine(tiny_model, 0.0)
        update(plain, rows(tiny_model), PassLimit(2), 0.9)
        torch.testing.assert_close(engine.gradients[0], plain.gradients[0])
        # The sampler's gap stays out of the ratio; it is reported beside it.
        assert stats.counts["gap"] == pytest.approx([0.1] * 12, abs=1e-4)


@pytest.mark.parametrize(("cap", "weight"), [(1.05, 1.05), (9.0, math.exp(0.1))])
def test_the_cap_weighs_old_by_sampling_logprobs_once_for_all_steps(tiny_model, cap, weight):
    """A learning rate that makes up for the weight takes the same first step, so the second differs by the weight alone."""
    wide = LossTerms(clip=ClipRange(1.0, 99.0, "sequence"))
    plain, _ = steps(tiny_model, wide, 2, 1, learning_rate=0.02)
    weighed, _ = steps(tiny_model, replace(wide, importance_cap=cap), 2, 1, learning_rate=0.02 / weight)
    for ours, theirs in zip(weighed.gradients, plain.gradients):
        assert (ours - weight * theirs).norm() < 1e-3 * theirs.norm()


def test_mini_batches_average_to_the_whole(tiny_model):
    """With a learning rate of 0 the weights stay, so the parts of every epoch add up to the whole batch's gradient."""
    whole, _ = steps(tiny_model, CLIP, 1, 1)
    engine, _ = steps(tiny_model, CLIP, 2, 3)
    assert len(engine.gradients) == 6
    for epoch in (engine.gradients[:3], engine.gradients[3:]):
        assert (sum(epoch) / 3 - whole.gradients[0]).norm() < 1e-4 * whole.gradients[0].norm()
    assert (engine.gradients[0] - engine.gradients[3]).norm() > 0.1 * whole.gradients[0].norm()  # another split


def test_later_epochs_see_ratios_and_clips(tiny_model):
    engine, stats = steps(tiny_model, CLIP, 3, 1, learning_rate=0.5)
    assert len(stats.counts["clip/ratio"]) == 5  # of the last epoch
    assert len(stats.counts["clip/share_low"]) == len(stats.counts["clip/share_high"]) == 15  # of all
    assert len(stats.counts["ratio"]) == 5  # the sampler's, before the first step
    assert max(stats.counts["clip/ratio"]) > 1.2
    assert sum(stats.counts["clip/share_high"]) > 0
    assert engine.gradients[2].norm() < engine.gradients[0].norm()  # clipped rows have none


def test_a_rank_without_rows_takes_the_same_steps(tiny_model):
    engine, stats = steps(tiny_model, CLIP, 2, 2, learning_rate=0.1, made=[])
    assert len(engine.gradients) == 4
    assert not any(gradient.any() for gradient in engine.gradients)
    assert stats.loss == 0


def test_the_entropy_bonus_is_of_the_rows_weights_and_raises_the_entropy(tiny_model):
    made = [replace(row, advantage=0.0) for row in rows(tiny_model)]
    batch = CompletionBatch.collate([row.prompt_ids for row in made], [row.completion_ids for row in made], CPU)

    def entropies(model):
        return completion_logprobs_and_entropies(model, batch, 0.9)[1].sum(-1)

    engine, stats = steps(tiny_model, LossTerms(entropy_coef=0.3), 1, 1, learning_rate=0.1, made=made)
    assert stats.loss == pytest.approx(-0.3 * 0.2 * entropies(tiny_model).sum().item(), rel=1e-4)
    assert entropies(engine.module).sum() > entropies(tiny_model).sum() + 0.01


def test_a_kl_in_the_loss_acts_by_row(tiny_model):
    made = [replace(row, advantage=0.0, ref_logprobs=[x - 0.5 for x in row.sampling_logprobs]) for row in rows(tiny_model)]
    charged = [replace(row, kl_coef=coef) for row, coef in zip(made, (0.0, 3.0, 0.0, 0.0, 0.0))]
    _, stats = steps(tiny_model, LossTerms(), 1, 1, made=charged)
    assert stats.loss == pytest.approx(0.2 * 3.0 * 0.6**2 / 2, rel=1e-3)  # one token, 0.1 + 0.5 above the reference
    _, split = steps(tiny_model, CLIP, 1, 2, made=charged)
    assert split.loss == pytest.approx(stats.loss, rel=1e-3)


def test_logprobs_come_in_halves_where_memory_runs_out(tiny_model, monkeypatch):
    made = rows(tiny_model)
    expected = row_logprobs(tiny_model, made, PassLimit(5), 0.9, CPU)
    real = CompletionBatch.collate

    def collate(prompts, *args):
        if len(prompts) > 2:
            raise torch.OutOfMemoryError("a test")
        return real(prompts, *args)

    monkeypatch.setattr(CompletionBatch, "collate", collate)
    limit = PassLimit(5)
    found = row_logprobs(tiny_model, made, limit, 0.9, CPU)
    assert limit.rows == 2
    for ours, theirs in zip(found, expected):
        assert ours == pytest.approx(theirs, abs=1e-5)
    limit = PassLimit(4)  # four batches of four, made before the first of them was too much
    assert len(row_logprobs(tiny_model, made[:4] * 4, limit, 0.9, CPU)) == 16
    assert limit.rows == 2
    sharded = copy.deepcopy(tiny_model)
    next(sharded.parameters()).ds_id = 0  # as ZeRO-3 marks it: other ranks gather the same layers at the same time
    with pytest.raises(torch.OutOfMemoryError):
        row_logprobs(sharded, made, PassLimit(5), 0.9, CPU)
