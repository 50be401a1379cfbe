"""Flags of `train_cocos.py`: the tree of attempts, what it is scored by, and how the policy learns from it."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from rl.advantages import GROUP_BASELINES, Baseline, FirstTurnReturn
from rl.config import ConfigError, RolloutFlags, at_least, flag, is_default, model_at, positive
from rl.losses import KlLevel, Normalization, RatioLevel
from rl.rewards import ReturnForm, RewardForm
from rl.scoring import Truncated
from rl.train_config import TrainFlags
from rl.train_rows import ClipRange, LossTerms


@dataclass(kw_only=True)
class CocosConfig(RolloutFlags, TrainFlags):
    """Stage 2: reinforcement learning over the turns."""

    first_attempts: int = flag(1, "First attempts M of each problem; with 1, as published, first attempts get no gradient.")
    rloo_k: int = flag(4, "Corrections K of each first attempt.")
    num_turns: int = flag(2, "Turns of a trajectory; turns beyond the second have one attempt each.")
    reward: RewardForm = flag("pass_count", "Test reward: tests passed (published), their share, or 1 if all pass.")
    return_form: ReturnForm = flag(
        "accumulated", "accumulated: gamma r1 + r2 - r1, as published; sum: r1 + r2 for a first attempt, r2 for a correction."
    )
    gamma: float = field(
        default=0.5,
        metadata={
            "aliases": ["--weight"],
            "help": "Discount of the accumulated reward; two turns with --first_attempts 1 and a group's baseline have no use "
            "for it. --weight is its older name.",
        },
    )
    improvement_bonus: float = flag(
        0.0,
        "Add this times the improvement over turns (r2 - r1) to the return of all turns but those scored by their own reward.",
    )
    first_turn_return: FirstTurnReturn = flag("full", "Score first attempts by all they cause, or by their own reward.")
    turn_weight: list[float] | None = flag(None, "Weight of each turn's loss, one number a turn; all 1 where not given.")
    loss_normalization: Normalization = flag(
        "attempt",
        "What a turn's loss, a sum over tokens, is divided by. attempt: its attempts; token: its tokens; own_length: its "
        "attempts, and each by its own length (GRPO, biased); constant: its attempts times --max_new_tokens.",
    )
    baseline: Baseline = flag(
        "leave_one_out",
        "What a score is held against: the others of its group; group_std: mean and spread of its group (GRPO, biased); "
        "batch_mean: all others of its turn; none.",
    )
    drop_equal_groups: bool = flag(
        False, "Drop problems that have no gradient but the KL's, and sample fresh ones in their place (biased as to the KL)."
    )
    max_resampling_rounds: int = flag(
        2,
        "With --drop_equal_groups: most rounds of fresh problems in a step; what is missing then stays so.",
    )
    truncated: Truncated = flag(
        "keep",
        "Attempts cut at --max_new_tokens. keep: as any other; mask: they leave their group and carry no gradient (biased); "
        "penalize: take --truncation_penalty off their score.",
    )
    truncation_penalty: float = flag(0.0, "With --truncated penalize: what it costs, in units of reward.")
    kl_coef: float = flag(0.01, "Coefficient of the KL to the reference model.")
    ref_model_name_or_path: str | None = flag(None, "Reference model of the KL; the model to start from where not given.")
    first_turn_kl_coef: float | None = flag(None, "That of first attempts, where it is to be another than --kl_coef.")
    kl_in: Literal["reward", "loss"] = flag(
        "reward", "Subtract the sequence's KL from its return, or add a penalty to the loss."
    )
    kl_estimator: Literal["auto", "k1", "k2", "k3"] = flag(
        "auto", "k1 in the reward; in the loss k2, the reverse KL, or k3, the forward. auto: k1 in the reward, k2 in the loss."
    )
    kl_level: KlLevel = flag("sequence", "With --kl_in loss: of the whole completion, or summed over its tokens (biased).")
    kl_target: float = flag(0.0, "Steer --kl_coef towards this mean KL a sequence, in nats; 0: leave it as it is.")
    num_ppo_epochs: int = flag(1, "Passes over each rollout; more than one, or mini-batches, train under a clipped ratio.")
    num_mini_batches: int = flag(1, "Optimizer steps of a pass over the rollout.")
    clip_low: float = flag(0.2, "The ratio to the policy before the rollout's first step is clipped below 1 - this.")
    clip_high: float = flag(0.2, "And above 1 + this.")
    ratio_level: RatioLevel = flag("sequence", "Ratios of whole completions, or token by token.")
    entropy_coef: float = flag(
        0.0,
        "Reward the entropies of the distributions that tokens are drawn from (biased: not what they lead to); 0: don't.",
    )
    temperature: float = flag(0.9, "Sampling temperature.")
    importance_cap: float = flag(
        0.0, "Weigh each token by min(trainer's / sampler's probability, this); 0: don't. Of use where gap/max is not small."
    )

    def check(self) -> None:
        super().check()
        positive(temperature=self.temperature)
        at_least(0, entropy_coef=self.entropy_coef)
        if self.importance_cap:
            at_least(1, importance_cap=self.importance_cap)  # below it tokens of ratio 1 would be scaled, too
        self._check_tree()
        self._check_return()
        self._check_kl()
        self._check_clip()
        self._check_resampling()

    def _check_tree(self) -> None:
        at_least(1, first_attempts=self.first_attempts, rloo_k=self.rloo_k, num_turns=self.num_turns)
        if self.num_turns == 1 and not is_default(self, "rloo_k"):
            raise ConfigError(
                f"--rloo_k is {self.rloo_k} and --num_turns 1: there are no corrections; give the samples of a problem as "
                "--first_attempts, or raise --num_turns"
            )
        given = " ".join(f"{weight:g}" for weight in self.turn_weights)
        if self.turn_weight and self.num_turns == 1:
            raise ConfigError(
                f"--turn_weight is {given} and --num_turns 1: there is no other turn to weigh it against; drop one of the two"
            )
        if len(self.turn_weights) != self.num_turns:
            raise ConfigError(f"--turn_weight is {given}: it takes one number a turn, here {self.num_turns}")
        if not all(0 <= weight < math.inf for weight in self.turn_weights) or not any(self.turn_weights):
            raise ConfigError(f"--turn_weight is {given}: no weight is below 0, and one at least must be above")
        if not self.trains_first_attempts and self.num_turns > 1 and not any(self.turn_weights[1:]):
            raise ConfigError(
                f"--turn_weight is {given} and --first_attempts 1: corrections weigh nothing, and first attempts without a "
                "group have no gradient; raise --first_attempts, or the weight of corrections"
            )
        if max(self.branching) < 2 and self.baseline in GROUP_BASELINES:
            name, value = ("first_attempts", self.first_attempts) if self.num_turns == 1 else ("rloo_k", self.rloo_k)
            raise ConfigError(
                f"--{name} is {value}: --baseline {self.baseline} needs at least 2 samples in a group; raise --{name}"
                + ("" if self.num_turns == 1 else " or --first_attempts")
            )

    def _check_return(self) -> None:
        at_least(0, improvement_bonus=self.improvement_bonus, truncation_penalty=self.truncation_penalty)
        if not 0 <= self.gamma <= 1:
            raise ConfigError(f"--gamma is {self.gamma}: a discount lies between 0 and 1")
        if self.return_form == "sum" and not is_default(self, "gamma"):
            raise ConfigError(f"--gamma is {self.gamma}: it acts with --return_form accumulated only; drop one of the two")
        shape = f"with --first_attempts {self.first_attempts} and --num_turns {self.num_turns}"
        if self._scores_own_rewards and not is_default(self, "gamma"):
            raise ConfigError(
                f"--gamma is {self.gamma} {shape}: what it weighs is the same for a whole group and cancels; raise "
                "--first_attempts with --first_turn_return full, or drop it"
            )
        if self._scores_own_rewards and self.return_form == "sum":
            raise ConfigError(
                f"--return_form is sum {shape}: there both forms score attempts by their own reward; raise "
                "--first_attempts with --first_turn_return full, or drop it"
            )
        if self.first_turn_return == "own" and (self.num_turns == 1 or not self.trains_first_attempts):
            raise ConfigError(
                f"--first_turn_return is own with --first_attempts {self.first_attempts} and --num_turns {self.num_turns}: it "
                "is about first attempts with a gradient and corrections; raise --first_attempts or --num_turns, or drop it"
            )
        if self.improvement_bonus and self.num_turns == 1:
            raise ConfigError(
                f"--improvement_bonus is {self.improvement_bonus} and --num_turns 1: there is nothing to improve on; drop one"
            )
        if (self.truncated == "penalize") != (self.truncation_penalty > 0):
            raise ConfigError(
                f"--truncation_penalty is {self.truncation_penalty} and --truncated {self.truncated}: a penalty above 0 and "
                "penalize belong together; give both or neither"
            )

    @property
    def _scores_own_rewards(self) -> bool:
        """Whether advantages are those of each attempt's own reward, whatever the form of the return."""
        if self.num_turns > 2 or self.baseline not in GROUP_BASELINES:
            return self.num_turns == 1
        return self.num_turns == 1 or not self.trains_first_attempts or (self.first_turn_return == "own" and self.rloo_k > 1)

    def _check_kl(self) -> None:
        model_at("ref_model_name_or_path", self.reference)
        at_least(0, kl_coef=self.kl_coef, kl_target=self.kl_target, first_turn_kl_coef=self.first_turn_kl_coef or 0.0)
        if self.kl_target and not self.kl_coef:
            raise ConfigError(f"--kl_target is {self.kl_target} and --kl_coef 0: nothing to steer; give a --kl_coef above 0")
        if self.kl_in == "loss" and self.kl_estimator == "k1":
            raise ConfigError(
                "--kl_estimator is k1 with --kl_in loss: there its gradient is 0 in expectation; use k2, k3 or --kl_in reward"
            )
        if self.kl_in == "reward" and (self.kl_estimator in ("k2", "k3") or self.kl_level != "sequence"):
            raise ConfigError(
                f"--kl_estimator {self.kl_estimator} --kl_level {self.kl_level} act on a penalty in the loss: in the "
                "reward the KL is k1 of the sequence, log pi - log pi_ref, which is exact there; add --kl_in loss, or drop them"
            )
        if self.baseline == "group_std" and self.kl_in == "reward" and (self.kl_coef or self.first_turn_kl_coef):
            raise ConfigError(
                f"--baseline group_std with --kl_in reward and --kl_coef {self.kl_coef}: in a group of equal rewards the KL is "
                "all of the spread that scores are divided by, and its noise would count as much as a reward; use --kl_in "
                "loss, as GRPO does, or --kl_coef 0"
            )
        if self.first_turn_kl_coef is None:
            return
        if self.num_turns == 1:
            raise ConfigError(
                f"--first_turn_kl_coef is {self.first_turn_kl_coef} and --num_turns 1: first attempts are all there is; give "
                "--kl_coef instead"
            )
        if self.kl_target:
            raise ConfigError(
                f"--kl_target is {self.kl_target} and --first_turn_kl_coef {self.first_turn_kl_coef}: it steers one "
                "coefficient for all turns; drop one of the two"
            )
        if self.kl_in == "reward" and not self.trains_first_attempts:
            raise ConfigError(
                f"--first_turn_kl_coef is {self.first_turn_kl_coef} and --first_attempts 1: first attempts without a group "
                "have no gradient that it could act on; raise --first_attempts, or add --kl_in loss"
            )

    def _check_clip(self) -> None:
        at_least(1, num_ppo_epochs=self.num_ppo_epochs, num_mini_batches=self.num_mini_batches)
        positive(clip_low=self.clip_low, clip_high=self.clip_high)
        if self.clip_low > 1:
            raise ConfigError(f"--clip_low is {self.clip_low}: a ratio is never below 0; give at most 1")
        if self.updates_per_step > 1:
            return
        for name in ("clip_low", "clip_high", "ratio_level"):
            if not is_default(self, name):
                raise ConfigError(
                    f"--{name} is {getattr(self, name)}: with one optimizer step a rollout there is no ratio to clip; raise "
                    f"--num_ppo_epochs or --num_mini_batches, or drop --{name}"
                )

    def _check_resampling(self) -> None:
        at_least(0, max_resampling_rounds=self.max_resampling_rounds)
        if not self.drop_equal_groups and not is_default(self, "max_resampling_rounds"):
            raise ConfigError(
                f"--max_resampling_rounds is {self.max_resampling_rounds}: nothing is resampled where nothing is dropped; add "
                "--drop_equal_groups, or drop it"
            )
        if self.drop_equal_groups and self.baseline not in GROUP_BASELINES:
            raise ConfigError(
                f"--drop_equal_groups with --baseline {self.baseline}: there groups of equal rewards have a gradient too; use "
                "--baseline leave_one_out, or don't drop"
            )

    @property
    def score_flags(self) -> dict[str, Any]:
        """What `tree_advantages` scores by."""
        names = ("gamma", "return_form", "improvement_bonus", "first_turn_return", "baseline")
        return {name: getattr(self, name) for name in names}

    @property
    def max_rounds(self) -> int:
        """Rounds of sampling in a step, the first included."""
        return 1 + self.max_resampling_rounds if self.drop_equal_groups else 1

    @property
    def updates_per_step(self) -> int:
        """Optimizer steps on each rollout."""
        return self.num_ppo_epochs * self.num_mini_batches

    @property
    def loss_terms(self) -> LossTerms:
        clip = ClipRange(self.clip_low, self.clip_high, self.ratio_level) if self.updates_per_step > 1 else None
        estimator = "k2" if self.kl_estimator == "auto" else self.kl_estimator
        return LossTerms(self.importance_cap, self.entropy_coef, estimator, self.kl_level, clip)

    @property
    def reference(self) -> str:
        """Name or path of the model that the KL is measured against."""
        return self.ref_model_name_or_path or self.model_name_or_path

    @property
    def turn_weights(self) -> list[float]:
        """Weight of every turn's loss."""
        return self.turn_weight or [1.0] * self.num_turns

    def kl_coefs(self, place: Literal["reward", "loss"], kl_coef: float) -> list[float]:
        """Coefficients of the KL in the reward or in the loss, by turn; `kl_coef` is where --kl_coef has been steered to."""
        if place != self.kl_in:
            return [0.0] * self.num_turns
        first = kl_coef if self.first_turn_kl_coef is None else self.first_turn_kl_coef
        return [first] + [kl_coef] * (self.num_turns - 1)

    @property
    def trains_first_attempts(self) -> bool:
        """Whether first attempts have a gradient of their reward: not where each is alone in its group."""
        return self.first_attempts > 1 or self.baseline not in GROUP_BASELINES

    @property
    def branching(self) -> tuple[int, ...]:
        return (self.first_attempts, self.rloo_k, *[1] * self.num_turns)[: self.num_turns]

    @property
    def trajectories_per_problem(self) -> int:
        return self.first_attempts * (self.rloo_k if self.num_turns > 1 else 1)

    @property
    def problems_per_step(self) -> int:
        return self.global_batch_size // self.trajectories_per_problem

    def check_world(self, world_size: int) -> None:
        unit = world_size * self.trajectories_per_problem
        if self.global_batch_size % unit:
            raise ConfigError(
                f"--global_batch_size is {self.global_batch_size}: it must be a multiple of {unit} "
                f"({world_size} processes x {self.trajectories_per_problem} trajectories of a problem)"
            )
        if self.num_mini_batches > self.global_batch_size // world_size:
            raise ConfigError(
                f"--num_mini_batches is {self.num_mini_batches}: each of the {world_size} processes has --global_batch_size / "
                f"{world_size} = {self.global_batch_size // world_size} trajectories to split; lower it"
            )
