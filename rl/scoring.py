"""From a rollout to the numbers the estimator needs, and from advantages to the rows of an update.

Shapes: lists hold one tensor a turn, each (P, b_1, ..., b_turn) in float64 on the CPU.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any, Literal

import torch

from rl.losses import Normalization, row_weights
from rl.pass_limit import PassLimit
from rl.rewards import RewardForm, test_reward
from rl.train_rows import TrainRow, row_logprobs
from rl.trajectory import Attempt, Rollout

Truncated = Literal["keep", "mask", "penalize"]
ROUNDING = 1e-6  # an advantage below this is what is left of equal scores, and of KLs that only rounding tells apart


def rollout_rewards(rollout: Rollout, form: RewardForm) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Test rewards, and whether each has a verdict (bool): where it has none its 0 means nothing. Waits for the sandbox."""

    def reward(attempt: Attempt) -> float:
        return test_reward(attempt.verdict.passed, attempt.verdict.total, form) if attempt.has_verdict else 0.0

    has_verdict = _per_turn(rollout, lambda attempt: attempt.has_verdict)
    return _per_turn(rollout, reward), [mask.bool() for mask in has_verdict]


def rollout_kls(
    rollout: Rollout, reference: torch.nn.Module, limit: PassLimit, temperature: float, device: torch.device
) -> list[torch.Tensor]:
    """Sequence-level log pi - log pi_ref of every attempt, the k1 estimate of KL(pi || pi_ref).

    Leaves the reference's token logprobs in the attempts.
    """
    everyone = [attempt for attempts in rollout.turns for attempt in attempts]
    for attempt, logprobs in zip(everyone, row_logprobs(reference, everyone, limit, temperature, device)):
        attempt.ref_logprobs = logprobs
    return _per_turn(rollout, lambda attempt: sum(attempt.sampling_logprobs) - sum(attempt.ref_logprobs))


def trained_attempts(rollout: Rollout, has_verdict: Sequence[torch.Tensor], truncated: Truncated) -> list[torch.Tensor]:
    """Which attempts (bool) form groups and carry gradient: those with a verdict and, with `mask`, an end of their own.

    `mask` is biased: attempts are weighed as if the policy had no part in whether they end.
    """
    if truncated != "mask":
        return list(has_verdict)
    return [valid & ~cut for valid, cut in zip(has_verdict, _is_truncated(rollout))]


def score_penalties(
    rollout: Rollout, kls: Sequence[torch.Tensor], kl_coefs: Sequence[float], truncation_penalty: float
) -> list[torch.Tensor]:
    """What comes off each attempt's score, in units of reward: its KL, and the penalty where it was cut at the limit.

    Off the score and not off the reward: with gamma < 1 the accumulated return holds -(1 - gamma) r1, so that a first attempt
    would gain by a lowered r1.
    """
    return [coef * kl + truncation_penalty * cut.double() for coef, kl, cut in zip(kl_coefs, kls, _is_truncated(rollout))]


def informative_problems(rollout: Rollout, flags: Any, advantages_of: Callable[..., list[torch.Tensor]]) -> list[bool]:
    """Which problems have an advantage that is not the KL's alone. Waits for the sandbox.

    Groups of equal rewards are not enough to tell: of first attempts that are all wrong, one may have right corrections only
    and another wrong ones only; then first attempts learn. So `advantages_of` decides, which is the run's `tree_advantages`.
    `flags` has reward, truncated, truncation_penalty and turn_weights.
    """
    rewards, has_verdict = rollout_rewards(rollout, flags.reward)
    is_trained = trained_attempts(rollout, has_verdict, flags.truncated)
    penalties = score_penalties(rollout, rewards, [0.0] * len(rewards), flags.truncation_penalty)
    advantages = advantages_of(rewards, penalties, is_trained)
    weighed = [weight * a for weight, a in zip(flags.turn_weights, advantages)]
    largest = torch.stack([a.abs().flatten(1).amax(-1) for a in weighed]).amax(0)  # (P,)
    return (largest > ROUNDING).tolist()


def attempt_counts(rollout: Rollout, is_trained: Sequence[torch.Tensor]) -> torch.Tensor:
    """Trained attempts and their tokens, by turn (turns, 2): summed over ranks, the normalisers of the loss."""
    lengths = _per_turn(rollout, lambda attempt: len(attempt.completion_ids))
    return torch.stack([torch.stack([mask.sum(), (mask * n).sum()]) for mask, n in zip(is_trained, lengths)])


def loss_weights(
    rollout: Rollout,
    is_trained: Sequence[torch.Tensor],
    totals: torch.Tensor,
    normalization: Normalization,
    max_new_tokens: int,
    turn_weights: Sequence[float],
) -> list[torch.Tensor]:
    """What each attempt weighs in the loss: its turn's weight times `rl.losses.row_weights`.

    `totals` are `attempt_counts` over all ranks.
    """
    lengths = _per_turn(rollout, lambda attempt: len(attempt.completion_ids))
    return [
        turn_weight * row_weights(n, mask, num_attempts, num_tokens, max_new_tokens, normalization)
        for turn_weight, n, mask, (num_attempts, num_tokens) in zip(turn_weights, lengths, is_trained, totals.tolist())
    ]


def train_rows(
    rollout: Rollout,
    advantages: Sequence[torch.Tensor],
    weights: Sequence[torch.Tensor],
    kl_coefs: Sequence[float],
    keep_all: bool = False,
) -> list[TrainRow]:
    """The attempts that carry a gradient. `kl_coefs` are those of a penalty in the loss, by turn.

    Left out, which saves their forward and backward pass: attempts of weight 0 and, where there is no such penalty and no other
    term (`keep_all`), those whose advantage is 0 up to rounding, such as groups of equal scores and lone first attempts. Where
    nothing has a gradient the first row stays, so that the step measures its importance ratio all the same.
    """
    rows, has_gradient = [], []
    for turn, attempts in enumerate(rollout.turns):
        for attempt, advantage, weight in zip(attempts, advantages[turn].flatten().tolist(), weights[turn].flatten().tolist()):
            if abs(advantage) <= ROUNDING:
                advantage = 0.0  # AdamW would make a whole step of any other number
            rows.append(
                TrainRow(
                    attempt.prompt_ids,
                    attempt.completion_ids,
                    advantage,
                    weight,
                    kl_coefs[turn],
                    attempt.sampling_logprobs,
                    attempt.ref_logprobs,
                    name=f"problem {attempt.problem.problem_id}, turn {turn + 1}",
                )
            )
            has_gradient.append(weight != 0 and (advantage != 0 or kl_coefs[turn] != 0 or keep_all))
    return list(compress(rows, has_gradient)) or rows[:1]


@dataclass(frozen=True)
class Scored:
    """What a step learns from: which attempts are trained (bool) and their advantages, by turn, and the rows of the update."""

    is_trained: list[torch.Tensor]
    advantages: list[torch.Tensor]
    rows: list[TrainRow]


def scored(
    rollout: Rollout,
    rewards: Sequence[torch.Tensor],
    has_verdict: Sequence[torch.Tensor],
    kls: Sequence[torch.Tensor],
    kl_coef: float,
    flags: Any,
    advantages_of: Callable[..., list[torch.Tensor]],
    over_ranks: Callable[[torch.Tensor], torch.Tensor],
) -> Scored:
    """From rewards and KLs to the rows of an update, as the flags of `train_cocos.py` say; all ranks call it."""
    is_trained = trained_attempts(rollout, has_verdict, flags.truncated)
    penalties = score_penalties(rollout, kls, flags.kl_coefs("reward", kl_coef), flags.truncation_penalty)
    advantages = advantages_of(rewards, penalties, is_trained)
    totals = over_ranks(attempt_counts(rollout, is_trained))
    weights = loss_weights(rollout, is_trained, totals, flags.loss_normalization, flags.max_new_tokens, flags.turn_weights)
    loss_kl_coefs = flags.kl_coefs("loss", kl_coef)
    rows = train_rows(rollout, advantages, weights, loss_kl_coefs, keep_all=flags.entropy_coef > 0)
    return Scored(is_trained, advantages, rows)


def _is_truncated(rollout: Rollout) -> list[torch.Tensor]:
    return [cut.bool() for cut in _per_turn(rollout, lambda attempt: attempt.finish_reason == "length")]


def _per_turn(rollout: Rollout, value: Callable[[Attempt], float]) -> list[torch.Tensor]:
    return [
        torch.tensor([value(attempt) for attempt in attempts], dtype=torch.float64).reshape(rollout.shape(turn))
        for turn, attempts in enumerate(rollout.turns, 1)
    ]
