"""Logprobs and entropies by chunks of tokens against the naive form, values and gradients, in float64."""

import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma2Config, LlamaConfig, set_seed

from rl import logprobs as module
from rl.completion_batch import CompletionBatch
from rl.logprobs import completion_logprobs_and_entropies, has_plain_head, token_entropies, token_logprobs
from rl.token_statistics import token_statistics

N, D, V = 7, 5, 11
SMALL = {"vocab_size": 60, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


def inputs(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    hidden, weight, bias = (torch.randn(*shape, generator=generator, dtype=dtype) for shape in ((N, D), (V, D), (V,)))
    return *(tensor.requires_grad_() for tensor in (hidden, weight, bias)), torch.arange(N) % V


def naive(hidden, weight, bias, token_ids, temperature):
    logits = (hidden @ weight.T + (0 if bias is None else bias)) / temperature
    log_probs = logits.log_softmax(-1)
    return log_probs.gather(-1, token_ids.unsqueeze(-1)).squeeze(-1), -(log_probs.exp() * log_probs).sum(-1)


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("with_entropies", [True, False])
@pytest.mark.parametrize("chunk", [1, 2 * V, 3 * V + 1, 100 * V])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_values_and_gradients_are_those_of_the_naive_form(with_bias, with_entropies, chunk, temperature):
    hidden, weight, bias, token_ids = inputs()
    leaves = [hidden, weight, bias] if with_bias else [hidden, weight]
    bias = bias if with_bias else None
    generator = torch.Generator().manual_seed(1)
    grads = torch.randn(2, N, generator=generator, dtype=torch.float64)
    got = token_statistics(hidden, weight, bias, token_ids, temperature, with_entropies, chunk)
    expected = naive(hidden, weight, bias, token_ids, temperature)
    assert (got[1] is None) == (not with_entropies)
    count = 1 + with_entropies
    for ours, theirs in zip(got[:count], expected):
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)
    ours = torch.autograd.grad([*got[:count]], leaves, [*grads[:count]])
    theirs = torch.autograd.grad([*expected[:count]], leaves, [*grads[:count]])
    for a, b in zip(ours, theirs):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)


def test_gradients_by_finite_differences():
    hidden, weight, bias, token_ids = inputs()
    assert torch.autograd.gradcheck(
        lambda *tensors: token_statistics(*tensors, token_ids, 0.8, True, 3 * V), (hidden, weight, bias)
    )


def test_no_block_is_larger_than_a_chunk(monkeypatch):
    """Neither pass makes the logits of all tokens."""
    sizes = []
    linear = torch.nn.functional.linear

    def watched(*args):
        out = linear(*args)
        sizes.append(out.numel())
        return out

    monkeypatch.setattr(torch.nn.functional, "linear", watched)
    hidden, weight, bias, token_ids = inputs()
    logprobs, entropies = token_statistics(hidden, weight, bias, token_ids, 1.0, True, chunk_elements=2 * V)
    (logprobs.sum() + entropies.sum()).backward()
    assert max(sizes) == 2 * V
    assert sum(sizes) == 2 * N * V  # each once forward and once more backward


def test_a_frozen_head_gets_no_gradient():
    hidden, weight, bias, token_ids = inputs()
    token_statistics(hidden, weight.detach(), bias.detach(), token_ids, 1.0)[0].sum().backward()
    assert hidden.grad is not None
    assert weight.grad is None


def test_many_chunks_of_bfloat16_add_up_as_one():
    hidden, weight, *_ = (tensor.detach() for tensor in inputs())
    hidden = hidden.repeat(300, 1).bfloat16().requires_grad_()
    weight, token_ids = weight.bfloat16().requires_grad_(), torch.arange(len(hidden)) % V
    grads = []
    for chunk in (V, 10_000 * V):
        (grad,) = torch.autograd.grad(token_statistics(hidden, weight, None, token_ids, 1.0, False, chunk)[0].sum(), weight)
        grads.append(grad.float())
    assert (grads[0] - grads[1]).norm() < 0.01 * grads[1].norm()


def test_shapes_that_do_not_belong_together_are_named():
    with pytest.raises(ValueError, match=r"hidden \(7, 5\), weight \(11, 4\)"):
        token_statistics(torch.zeros(N, D), torch.zeros(V, D - 1), None, torch.zeros(N, dtype=torch.long), 1.0)


def small(config):
    set_seed(0)
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager").double().eval()


def batch_of():
    return CompletionBatch.collate([[3, 4, 5], [3, 4, 5], [9, 1, 9]], [[6, 7], [8], [10, 11, 12]], torch.device("cpu"))


def reference(model, batch, temperature):
    logits = model(**batch.inputs, use_cache=False).logits[:, -batch.head_columns :]
    logprobs = token_logprobs(logits, batch.row, batch.source, batch.completion_ids, temperature)
    entropies = token_entropies(logits, batch.row, batch.source, temperature)
    return logprobs.where(batch.completion_mask, 0.0), entropies.where(batch.completion_mask, 0.0)


@pytest.mark.parametrize("is_plain", [True, False], ids=["plain head", "capped logits"])
def test_a_models_logprobs_and_their_gradients(is_plain):
    """A cap on the logits, which the model puts on after its head, must not be lost."""
    if is_plain:
        model = small(LlamaConfig(**SMALL))
    else:
        model = small(Gemma2Config(**SMALL, head_dim=8, num_key_value_heads=2, final_logit_softcapping=0.05))
    assert has_plain_head(model, torch.device("cpu")) == is_plain
    batch = batch_of()
    results = []
    for function in (completion_logprobs_and_entropies, reference):
        logprobs, entropies = function(model, batch, 0.8)
        model.zero_grad()
        (logprobs.sum() + entropies.square().sum()).backward()
        results.append((logprobs, entropies, *(p.grad.clone() for p in model.parameters())))
    for ours, theirs in zip(*results):
        torch.testing.assert_close(ours.double(), theirs.double(), atol=1e-5, rtol=1e-4)
    assert "forward" not in vars(model.get_output_embeddings())


def test_an_error_inside_puts_the_head_back():
    model = small(LlamaConfig(**SMALL))
    batch = batch_of()
    has_plain_head(model, torch.device("cpu"))
    broken = CompletionBatch(**{**vars(batch), "source": batch.source + 1000})
    with pytest.raises(IndexError):
        module.completion_logprobs(model, broken, 1.0)
    assert "forward" not in vars(model.get_output_embeddings())
