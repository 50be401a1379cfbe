"""Leave-one-out advantages: hand-computed numbers, a plain loop, and the properties that the estimator rests on."""

import itertools

import pytest
import torch

from rl.advantages import STD_EPSILON, batch_centered, group_standardized, leave_one_out, tree_advantages


def tree(seed=0, shape=(3, 2, 4)):
    """Random rewards and KLs of a two-turn tree, all verdicts there."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [shape[: turn + 2] for turn in range(len(shape) - 1)]
    rewards = [torch.randint(0, 4, s, generator=generator).double() for s in shapes]
    kls = [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]
    return rewards, kls, [torch.ones(s, dtype=torch.bool) for s in shapes]


def scored(rewards, kls, valid, *, kl_coef, **kwargs):
    return tree_advantages(rewards, [kl_coef * kl for kl in kls], valid, **kwargs)


def advantages_by_loops(rewards, kls, gamma, beta):
    """The definition, one attempt at a time, for M >= 2 and K >= 2."""
    (num_problems, m, k) = rewards[1].shape
    first, second = torch.zeros(num_problems, m).double(), torch.zeros(num_problems, m, k).double()
    for p in range(num_problems):
        r = [[gamma * rewards[0][p, i] + rewards[1][p, i, j] - rewards[0][p, i] for j in range(k)] for i in range(m)]
        s2 = [[r[i][j] - beta * kls[1][p, i, j] for j in range(k)] for i in range(m)]
        s1 = [sum(s2[i]) / k - beta * kls[0][p, i] for i in range(m)]
        for i in range(m):
            first[p, i] = s1[i] - sum(s1[o] for o in range(m) if o != i) / (m - 1)
            for j in range(k):
                second[p, i, j] = s2[i][j] - sum(s2[i][o] for o in range(k) if o != j) / (k - 1)
    return [first, second]


def test_leave_one_out_by_hand():
    scores = torch.tensor([1.0, 2.0, 6.0])
    assert leave_one_out(scores, torch.ones(3, dtype=torch.bool)).tolist() == [1 - 4, 2 - 3.5, 6 - 1.5]


def test_an_invalid_sample_leaves_its_group_before_the_baseline_is_taken():
    valid = torch.tensor([True, False, True])
    assert leave_one_out(torch.tensor([1.0, 100.0, 6.0]), valid).tolist() == [-5.0, 0.0, 5.0]


def test_not_even_a_non_finite_score_of_an_invalid_sample_leaks():
    valid = torch.tensor([True, False, True])
    assert leave_one_out(torch.tensor([1.0, float("nan"), 6.0]), valid).tolist() == [-5.0, 0.0, 5.0]


def test_a_group_of_one_carries_no_gradient():
    assert leave_one_out(torch.tensor([5.0]), torch.tensor([True])).tolist() == [0.0]
    assert leave_one_out(torch.tensor([5.0, 7.0]), torch.tensor([True, False])).tolist() == [0.0, 0.0]


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="must agree"):
        leave_one_out(torch.zeros(3), torch.ones(2, dtype=torch.bool))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0])
def test_tree_equals_plain_loops(gamma):
    rewards, kls, valid = tree()
    got = scored(rewards, kls, valid, gamma=gamma, kl_coef=0.3)
    for ours, theirs in zip(got, advantages_by_loops(rewards, kls, gamma, 0.3)):
        torch.testing.assert_close(ours, theirs)


def test_published_numbers_by_hand():
    """One first attempt that passed 1 test, corrections that passed 3, 1 and 2; KLs 1, 2 and 3; beta 0.1."""
    rewards = [torch.tensor([[1.0]]), torch.tensor([[[3.0, 1.0, 2.0]]])]
    kls = [torch.tensor([[5.0]]), torch.tensor([[[1.0, 2.0, 3.0]]])]
    valid = [torch.ones_like(r, dtype=torch.bool) for r in rewards]
    first, second = scored(rewards, kls, valid, gamma=0.5, kl_coef=0.1)
    scores = [0.5 + 2 - 0.1, 0.5 + 0 - 0.2, 0.5 + 1 - 0.3]
    expected = [s - (sum(scores) - s) / 2 for s in scores]
    assert second.flatten().tolist() == pytest.approx(expected)
    assert first.tolist() == [[0.0]]


def test_published_shape_ignores_gamma_and_leaves_first_attempts_alone():
    rewards, kls, valid = tree(shape=(3, 1, 4))
    results = [scored(rewards, kls, valid, gamma=g, kl_coef=0.1) for g in (0.0, 0.5, 1.0)]
    for first, second in results:
        torch.testing.assert_close(second, results[0][1])
        assert not first.any()
    assert results[0][1].any()


def test_one_correction_each_takes_the_other_trajectories_as_baseline():
    rewards = [torch.tensor([[0.0, 2.0]]), torch.tensor([[[3.0], [1.0]]])]
    kls = [torch.tensor([[4.0, 0.0]]), torch.tensor([[[1.0], [2.0]]])]
    valid = [torch.ones_like(r, dtype=torch.bool) for r in rewards]
    first, second = scored(rewards, kls, valid, gamma=0.5, kl_coef=0.1)
    scores = [0.0 + 3.0 - 0.1, 1.0 - 1.0 - 0.2]  # what is past is not a correction's to answer for, its own KL is
    assert second.flatten().tolist() == pytest.approx([scores[0] - scores[1], scores[1] - scores[0]])
    scores = [scores[0] - 0.4, scores[1]]
    assert first.flatten().tolist() == pytest.approx([scores[0] - scores[1], scores[1] - scores[0]])


def test_own_return_of_first_attempts():
    rewards, kls, valid = tree()
    first, second = scored(rewards, kls, valid, gamma=0.5, kl_coef=0.1, first_turn_return="own")
    torch.testing.assert_close(first, leave_one_out(rewards[0] - 0.1 * kls[0], valid[0]))
    torch.testing.assert_close(second, scored(rewards, kls, valid, gamma=0.5, kl_coef=0.1)[1])


def test_groups_sum_to_zero():
    rewards, kls, valid = tree()
    first, second = scored(rewards, kls, valid, gamma=0.5, kl_coef=0.1)
    torch.testing.assert_close(first.sum(-1), torch.zeros(3).double())
    torch.testing.assert_close(second.sum(-1), torch.zeros(3, 2).double())


def test_permuting_a_tree_permutes_its_advantages():
    rewards, kls, valid = tree()
    plain = scored(rewards, kls, valid, gamma=0.5, kl_coef=0.1)
    for order in itertools.permutations(range(3)):
        rows = list(order)
        moved = scored([r[rows] for r in rewards], [k[rows] for k in kls], valid, gamma=0.5, kl_coef=0.1)
        for ours, theirs in zip(moved, plain):
            torch.testing.assert_close(ours, theirs[rows])
    swapped = scored([r.flip(1) for r in rewards], [k.flip(1) for k in kls], valid, gamma=0.5, kl_coef=0.1)
    for ours, theirs in zip(swapped, plain):
        torch.testing.assert_close(ours, theirs.flip(1))


def test_a_missing_first_verdict_spares_the_corrections_below_it():
    """They share that first attempt, so what is not known about it cancels among them; the first attempt itself is out."""
    rewards, kls, valid = tree()
    plain = scored(rewards, kls, valid, gamma=0.5, kl_coef=0.1)
    valid[0][1, 0] = False
    rewards[0][1, 0] = 99.0
    first, second = scored(rewards, kls, valid, gamma=0.5, kl_coef=0.1)
    torch.testing.assert_close(second, plain[1])
    assert first[1].tolist() == [0.0, 0.0]
    torch.testing.assert_close(first[[0, 2]], plain[0][[0, 2]])


def test_a_missing_correction_leaves_both_means_that_it_was_in():
    rewards, kls, valid = tree(shape=(1, 2, 3))
    valid[1][0, 1, 2] = False
    first, second = scored(rewards, kls, valid, gamma=1.0, kl_coef=0.0)
    r = rewards[1][0]
    assert second[0, 1].tolist() == [r[1, 0] - r[1, 1], r[1, 1] - r[1, 0], 0.0]
    assert first[0, 0].item() == pytest.approx((r[0].mean() - r[1, :2].mean()).item())


def test_three_turns_take_the_nearest_group_that_branches():
    rewards, kls, valid = tree(shape=(2, 1, 3, 1))
    first, second, third = scored(rewards, kls, valid, gamma=0.0, kl_coef=0.0)
    returns = rewards[2].squeeze(-1) - rewards[1]  # gamma 0 pays the last improvement
    torch.testing.assert_close(third.squeeze(-1), leave_one_out(returns, valid[1]))
    torch.testing.assert_close(second, third.squeeze(-1))
    assert not first.any()


def test_one_turn_is_plain_rloo():
    rewards, kls, valid = tree(shape=(2, 4))
    (only,) = scored(rewards, kls, valid, gamma=0.5, kl_coef=0.2)
    torch.testing.assert_close(only, leave_one_out(rewards[0] - 0.2 * kls[0], valid[0]))


def test_standardized_groups_by_hand():
    """Scores 1, 2, 6 without the invalid 100: mean 3, spread sqrt(7); a group of one and equal scores give 0."""
    scores = torch.tensor([[1.0, 2.0, 6.0, 100.0], [4.0, 4.0, 4.0, 4.0], [3.0, 1.0, 1.0, 1.0]], dtype=torch.float64)
    valid = torch.tensor([[True, True, True, False], [True] * 4, [True, False, False, False]])
    spread = 7**0.5 + STD_EPSILON
    expected = torch.tensor([[-2 / spread, -1 / spread, 3 / spread, 0.0], [0.0] * 4, [0.0] * 4], dtype=torch.float64)
    torch.testing.assert_close(group_standardized(scores, valid), expected)


def test_batch_mean_by_hand_and_over_ranks():
    scores, valid = torch.tensor([[1.0, 2.0], [6.0, 50.0]]), torch.tensor([[True, True], [True, False]])
    alone = batch_centered(scores, valid, lambda total: total)
    assert alone.tolist() == [[1 - 4, 2 - 3.5], [6 - 1.5, 0.0]]
    # Another rank holds the scores 3 and 8.
    together = batch_centered(scores, valid, lambda total: total + torch.tensor([11.0, 2.0]))
    assert together.tolist() == [[1 - 19 / 4, 2 - 18 / 4], [6 - 14 / 4, 0.0]]


@pytest.mark.parametrize("baseline", ["none", "batch_mean"])
def test_baselines_without_groups_train_a_lone_first_attempt(baseline):
    rewards, kls, valid = tree(shape=(3, 1, 4))
    first, _ = scored(rewards, kls, valid, gamma=0.5, kl_coef=0.1, baseline=baseline)
    assert first.abs().min() > 0
    valid[0][1] = False
    first, second = scored(rewards, kls, valid, gamma=0.5, kl_coef=0.1, baseline=baseline)
    assert first[1].tolist() == [0.0]
    assert second[1].abs().max() == 0  # their returns hold the missing reward, and no group cancels it
