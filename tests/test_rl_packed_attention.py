"""Attention over a packed row against attention over each sequence alone, and the models that it is for."""

import copy
import random

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from rl.attention import has_plain_attention
from rl.completion_batch import CompletionBatch
from rl.logprobs import completion_logprobs
from rl.losses import policy_gradient_loss
from rl.packed_attention import Packing

CPU = torch.device("cpu")
HEADS, KEY_HEADS, SIZE = 6, 2, 4


def alone(query, key, value, prompt, own):
    """What the columns of one completion get, computed with its prompt's and nothing else."""
    columns = [*prompt, *own]
    query, key, value = (states[:, columns].unsqueeze(0) for states in (query, key, value))
    return scaled_dot_product_attention(query, key, value, is_causal=True, scale=0.3, enable_gqa=True)[0].transpose(0, 1)


@pytest.mark.parametrize(
    "groups",
    [
        [(3, [4])],
        [(3, [4]), (5, [2])],
        [(3, [4]), (30, [20]), (4, [3])],
        [(5, [3, 3, 3])],
        [(5, [3, 1, 6])],
        [(5, [3, 1, 6]), (4, [2]), (2, [5, 5]), (40, [1, 30])],
    ],
)
def test_every_sequence_is_attended_as_if_alone(groups):
    num = sum(prompt + sum(completions) for prompt, completions in groups)
    states = [torch.randn(heads, num, SIZE, requires_grad=True) for heads in (HEADS, KEY_HEADS, KEY_HEADS)]
    out = Packing(groups, CPU).attend(*states, 0.3)
    expected, start = torch.zeros(num, HEADS, SIZE), 0
    for prompt, completions in groups:
        shared = range(start, start + prompt)
        start += prompt
        for length in completions:
            own = range(start, start + length)
            expected[[*shared, *own]] = alone(*states, shared, own)
            start += length
    torch.testing.assert_close(out, expected)
    weights = torch.randn_like(out)
    ours = torch.autograd.grad((weights * out).sum(), states)
    theirs = torch.autograd.grad((weights * expected).sum(), states)
    for our, their in zip(ours, theirs):
        torch.testing.assert_close(our, their, atol=1e-5, rtol=1e-5)


def test_packing_changes_neither_logprobs_nor_gradients(tiny_model):
    draw = random.Random(0)
    prompts = [[5, 6, 7, 8, 9]] * 3 + [[11, 12]] * 2 + [[13]] + [[14] * 40]
    completions = [[draw.randrange(20, 34) for _ in range(length)] for length in (2, 4, 1, 3, 3, 2, 12)]
    results = []
    for pack in (False, True):
        tiny_model.zero_grad()
        batch = CompletionBatch.collate(prompts, completions, CPU, pack)
        assert len(batch.inputs["input_ids"]) == (1 if pack else 7)
        logprobs = completion_logprobs(tiny_model, batch, 0.9)
        policy_gradient_loss(logprobs, batch.completion_mask, torch.arange(1.0, 8.0), torch.ones(7)).backward()
        gradient = torch.cat([p.grad.flatten() for p in tiny_model.parameters()])
        results.append((logprobs.detach(), gradient))
        tiny_model.zero_grad(set_to_none=True)
    (plain, plain_gradient), (packed, packed_gradient) = results
    torch.testing.assert_close(packed, plain, atol=1e-5, rtol=1e-5)
    assert (packed_gradient - plain_gradient).norm() < 1e-4 * plain_gradient.norm()


def test_activations_that_are_computed_again_are_packed_too(tiny_model):
    """In a backward pass nobody says any more which attention is meant."""
    batch = CompletionBatch.collate([[5, 6, 7]] * 2 + [[8]], [[21, 22], [23], [24, 25]], CPU, pack=True)
    gradients = []
    model = copy.deepcopy(tiny_model).train()
    for checkpointing in (False, True):
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        model.zero_grad()
        completion_logprobs(model, batch, 1.0).sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    torch.testing.assert_close(*gradients)


def test_only_plain_causal_attention_is_packed(tiny_model):
    assert has_plain_attention(tiny_model)
    changes = (
        {"_attn_implementation": "flash_attention_2"},
        {"layer_types": ["full_attention", "sliding_attention"], "sliding_window": 8},
        {"sliding_window": 8, "layer_types": None},
    )
    for change in changes:
        model = copy.copy(tiny_model)
        model.config = copy.deepcopy(tiny_model.config)
        for name, value in change.items():
            setattr(model.config, name, value)
        assert not has_plain_attention(model), change


def test_attention_that_is_not_told_of_the_packing_fails(tiny_model):
    """Attending over the row as if it were one sequence would go unnoticed."""
    batch = CompletionBatch.collate([[5, 6], [7]], [[21], [22]], CPU, pack=True)
    with pytest.raises(RuntimeError, match="--attn_implementation eager"):
        tiny_model(**{**batch.inputs, "attended_by": None}, use_cache=False)


def test_attention_that_looks_ahead_is_refused(tiny_model):
    batch = CompletionBatch.collate([[5, 6], [7]], [[21], [22]], CPU, pack=True)
    model = copy.deepcopy(tiny_model)
    for layer in model.model.layers:
        layer.self_attn.is_causal = False
    with pytest.raises(RuntimeError, match="sees what comes after"):
        model(**batch.inputs, use_cache=False)
