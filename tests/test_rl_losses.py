"""The policy-gradient loss and the logprobs under it: masks, padding, temperature and signs."""

import pytest
import torch

from rl.completion_batch import CompletionBatch
from rl.logprobs import (
    completion_logprobs,
    completion_logprobs_and_entropies,
    token_entropies,
    token_logprobs,
)
from rl.losses import (
    clipped_policy_gradient_loss,
    policy_gradient_loss,
    policy_ratios,
    truncated_importance_weights,
    where_clip_binds,
)

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


def test_importance_weights_by_hand():
    logprobs = torch.tensor([[0.5, 0.9, 0.2], [0.4, 0.1, 0.1]]).log().requires_grad_()
    sampling = torch.tensor([[0.25, 0.1, 0.4], [0.8, 0.1, 0.7]]).log()
    mask = torch.tensor([[True, True, True], [True, True, False]])
    weights = truncated_importance_weights(logprobs, sampling, mask, cap=3.0)
    torch.testing.assert_close(weights, torch.tensor([[2.0, 3.0, 0.5], [0.5, 1.0, 1.0]]))
    policy_gradient_loss(logprobs, mask, torch.tensor([1.0, -1.0]), torch.ones(2), weights).backward()
    torch.testing.assert_close(logprobs.grad, torch.tensor([[-2.0, -3.0, -0.5], [0.5, 1.0, 0.0]]))


def two_rows():
    """Ratios of tokens 2 and 1/4, and 3; of the sequences 1/2 and 3. What stands outside the mask must not matter."""
    new = torch.tensor([[0.4, 0.1], [0.3, 0.7]]).log().requires_grad_()
    old = torch.tensor([[0.2, 0.4], [0.1, 0.1]]).log()
    return new, old, torch.tensor([[True, True], [True, False]])


def test_ratios_by_hand():
    new, old, mask = two_rows()
    sequence, of_rows = policy_ratios(new, old, mask, "sequence")
    torch.testing.assert_close(sequence.detach(), torch.tensor([[0.5], [3.0]]))
    assert of_rows.tolist() == [[True], [True]]
    token, of_tokens = policy_ratios(new, old, mask, "token")
    torch.testing.assert_close(token.detach(), torch.tensor([[2.0, 0.25], [3.0, 1.0]]))
    assert of_tokens is mask


def test_token_weights_scale_gradients_and_leave_ratios():
    new, old, mask = two_rows()
    ratios, _ = policy_ratios(new, old, mask, "sequence", torch.tensor([[5.0, 0.5], [2.0, 9.0]]))
    torch.testing.assert_close(ratios.detach(), torch.tensor([[0.5], [3.0]]))
    ratios.sum().backward()  # ratio * weight
    torch.testing.assert_close(new.grad, torch.tensor([[2.5, 0.25], [6.0, 0.0]]))


@pytest.mark.parametrize(
    ("advantages", "loss", "gradient"),
    [
        # min(0.5 A, 0.8 A) and min(3 A, 1.3 A): raising stops above 1.3, lowering below 0.8, and neither the other way.
        ([1.0, 1.0], -(2 * 0.5 + 10 * 1.3), [[-1.0, -1.0], [0.0, 0.0]]),
        ([-1.0, -1.0], 2 * 0.8 + 10 * 3.0, [[0.0, 0.0], [30.0, 0.0]]),
    ],
)
def test_clipped_loss_of_sequences_by_hand(advantages, loss, gradient):
    new, old, mask = two_rows()
    ratios, ratio_mask = policy_ratios(new, old, mask, "sequence")
    got = clipped_policy_gradient_loss(ratios, ratio_mask, torch.tensor(advantages), torch.tensor([2.0, 10.0]), 0.2, 0.3)
    assert got.item() == pytest.approx(loss)
    got.backward()
    torch.testing.assert_close(new.grad, torch.tensor(gradient))


def test_clipped_loss_of_tokens_by_hand():
    new, old, mask = two_rows()
    ratios, ratio_mask = policy_ratios(new, old, mask, "token")
    loss = clipped_policy_gradient_loss(ratios, ratio_mask, torch.tensor([1.0, -1.0]), torch.ones(2), 0.2, 0.3)
    assert loss.item() == pytest.approx(-(1.3 + 0.25) + 3.0)
    loss.backward()
    torch.testing.assert_close(new.grad, torch.tensor([[0.0, -0.25], [3.0, 0.0]]))


def test_clipped_loss_refuses_mismatched_shapes():
    with pytest.raises(ValueError, match="do not belong together"):
        clipped_policy_gradient_loss(torch.ones(2, 1), torch.ones(2, 3), torch.ones(2), torch.ones(2), 0.2, 0.2)


def test_where_the_clip_binds():
    ratios = torch.tensor([0.5, 0.7, 1.0, 1.3, 1.5]).expand(3, 5)
    is_low, is_high = where_clip_binds(ratios, torch.tensor([1.0, -1.0, 0.0]), 0.4, 0.2)
    assert is_high.tolist() == [[False, False, False, True, True], [False] * 5, [False] * 5]
    assert is_low.tolist() == [[False] * 5, [True, False, False, False, False], [False] * 5]


def test_entropies_by_hand():
    """ln 2 of two equal tokens; of odds 1 to 3 at temperature 1/2, which makes them 1 to 9."""
    logits = torch.tensor([[[0.0, 0.0], [0.0, 3.0]], [[0.0, 0.0], [0.0, 0.0]]])
    logits[0, 1, 1] = torch.tensor(3.0).log()
    entropies = token_entropies(logits, torch.tensor([[0, 0]]), torch.tensor([[0, 1]]), 0.5)
    odds = torch.tensor([0.1, 0.9])
    torch.testing.assert_close(entropies, torch.tensor([[torch.tensor(2.0).log(), -(odds * odds.log()).sum()]]))


def test_entropies_of_completions_equal_a_plain_forward(tiny_model):
    prompts, completions = [[5, 6, 7], [5, 6, 7], [8]], [[21, 22, 23], [24], [25, 26]]
    batch = CompletionBatch.collate(prompts, completions, CPU, pack=True)
    logprobs, entropies = completion_logprobs_and_entropies(tiny_model, batch, 0.9)
    torch.testing.assert_close(logprobs, completion_logprobs(tiny_model, batch, 0.9))
    for prompt, completion, row in zip(prompts, completions, entropies):
        logits = tiny_model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1] / 0.9
        expected = torch.distributions.Categorical(logits=logits).entropy()
        torch.testing.assert_close(row[: len(completion)], expected, atol=1e-5, rtol=1e-5)
        assert not row[len(completion) :].any()


def one_row(logits, ids, temperature):
    """Logprobs of ids (T,) from logits (T, V)."""
    columns = torch.arange(len(ids)).unsqueeze(0)
    return token_logprobs(logits.unsqueeze(0), torch.zeros_like(columns), columns, ids.unsqueeze(0), temperature)[0]


def test_a_positive_advantage_raises_the_logprob():
    logits = torch.zeros(1, 3, requires_grad=True)
    token = torch.tensor([1])
    logprobs = one_row(logits, token, 1.0).unsqueeze(0)
    policy_gradient_loss(logprobs, torch.ones(1, 1, dtype=torch.bool), torch.ones(1), torch.ones(1)).backward()
    assert one_row(logits.detach() - logits.grad, token, 1.0) > one_row(logits.detach(), token, 1.0)


def test_token_logprobs_are_of_the_tempered_softmax():
    logits, ids = torch.randn(3, 7), torch.randint(0, 7, (3,))
    expected = torch.softmax(logits / 0.7, -1).log().gather(-1, ids.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(one_row(logits, ids, 0.7), expected)


def test_token_logprobs_refuse_mismatched_shapes():
    ids = torch.zeros(1, 3, dtype=torch.long)
    with pytest.raises(ValueError, match="must agree"):
        token_logprobs(torch.zeros(1, 2, 3), ids, ids, ids[:, :2], 1.0)


def test_padded_layout():
    batch = CompletionBatch.collate([[5], [6, 7, 8]], [[1, 2], [3]], CPU)
    assert batch.inputs["input_ids"].tolist() == [[0, 0, 5, 1, 2], [6, 7, 8, 3, 0]]
    assert batch.inputs["attention_mask"].tolist() == [[0, 0, 1, 1, 1], [1, 1, 1, 1, 0]]
    assert batch.inputs["position_ids"].tolist() == [[0, 0, 0, 1, 2], [0, 1, 2, 3, 0]]
    assert batch.head_columns == 3
    assert batch.completion_mask.tolist() == [[True, True], [True, False]]


def test_packed_layout():
    batch = CompletionBatch.collate([[6, 7], [6, 7], [9]], [[1, 2], [3], [4]], CPU, pack=True)
    assert batch.inputs["input_ids"].tolist() == [[6, 7, 1, 2, 3, 9, 4]]
    assert batch.inputs["position_ids"].tolist() == [[0, 1, 2, 3, 2, 0, 1]]
    assert batch.head_columns.tolist() == [1, 2, 1, 5]
    assert batch.source.tolist() == [[0, 1], [2, 0], [3, 0]]


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
