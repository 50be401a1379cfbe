"""The policy-gradient loss and the logprobs under it: masks, padding, temperature and signs."""

import pytest
import torch

from rl.logprobs import CompletionBatch, completion_logprobs, token_logprobs
from rl.losses import policy_gradient_loss

CPU = torch.device("cpu")


def test_loss_by_hand():
    logprobs = torch.tensor([[-1.0, -2.0], [-3.0, -4.0]])
    mask = torch.tensor([[True, True], [True, False]])
    loss = policy_gradient_loss(logprobs, mask, torch.tensor([2.0, -1.0]), torch.tensor([0.5, 0.25]))
    assert loss.item() == -(0.5 * 2.0 * -3.0 + 0.25 * -1.0 * -3.0)


def test_masked_tokens_get_no_gradient_whatever_they_hold():
    logprobs = torch.tensor([[-1.0, 1.0, float("inf")]], requires_grad=True)
    mask = torch.tensor([[True, False, False]])
    policy_gradient_loss(logprobs, mask, torch.ones(1), torch.ones(1)).backward()
    assert logprobs.grad.tolist() == [[-1.0, 0.0, 0.0]]


def test_a_positive_advantage_raises_the_logprob():
    logits = torch.zeros(1, 1, 3, requires_grad=True)
    token = torch.tensor([[1]])
    loss = policy_gradient_loss(
        token_logprobs(logits, token, 1.0), torch.ones(1, 1, dtype=torch.bool), torch.ones(1), torch.ones(1)
    )
    loss.backward()
    stepped = logits.detach() - logits.grad
    assert token_logprobs(stepped, token, 1.0) > token_logprobs(logits.detach(), token, 1.0)


def test_token_logprobs_are_of_the_tempered_softmax():
    logits = torch.randn(2, 3, 7)
    ids = torch.randint(0, 7, (2, 3))
    expected = torch.softmax(logits / 0.7, -1).log().gather(-1, ids.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(token_logprobs(logits, ids, 0.7), expected)


def test_token_logprobs_refuse_mismatched_shapes():
    with pytest.raises(ValueError, match="must agree"):
        token_logprobs(torch.zeros(1, 2, 3), torch.zeros(1, 3, dtype=torch.long), 1.0)


def test_batch_layout():
    batch = CompletionBatch.collate([[5], [6, 7, 8]], [[1, 2], [3]], CPU)
    assert batch.input_ids.tolist() == [[0, 0, 5, 1, 2], [6, 7, 8, 3, 0]]
    assert batch.attention_mask.tolist() == [[0, 0, 1, 1, 1], [1, 1, 1, 1, 0]]
    assert batch.completion_mask.tolist() == [[True, True], [True, False]]


def test_completion_logprobs_do_not_depend_on_padding(tiny_model):
    prompts, completions = [[5, 6, 7, 8, 9], [11, 12], [13]], [[21, 22], [23, 24, 25, 26], [27]]
    with torch.no_grad():
        together = completion_logprobs(tiny_model, CompletionBatch.collate(prompts, completions, CPU), 0.9)
        for row, (prompt, completion) in enumerate(zip(prompts, completions)):
            alone = completion_logprobs(tiny_model, CompletionBatch.collate([prompt], [completion], CPU), 0.9)
            torch.testing.assert_close(together[row, : len(completion)], alone[0], atol=1e-5, rtol=1e-5)
            assert not together[row, len(completion) :].any()


def test_completion_logprobs_equal_a_plain_forward(tiny_model):
    prompt, completion = [5, 6, 7], [21, 22, 23]
    with torch.no_grad():
        logits = tiny_model(torch.tensor([prompt + completion])).logits[0]
        expected = [torch.log_softmax(logits[2 + i], -1)[token].item() for i, token in enumerate(completion)]
        got = completion_logprobs(tiny_model, CompletionBatch.collate([prompt], [completion], CPU), 1.0)[0]
    assert got.tolist() == pytest.approx(expected, abs=1e-5)
