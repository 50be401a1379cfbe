"""What is compared: studies, each of a few arms, each a name and flags of `train_cocos.py`.

All else is the demo's: its boost model of the same seed, `launch/presets/starter_cocos.yaml`, its evaluation problems. Every
arm samples 144 attempts a step, so that arms are compared at equal numbers of programs written and tested.
"""

from dataclasses import dataclass, field

ATTEMPTS_A_STEP = 144
BOOST = "{boost}"  # as a flag's value: the boost model that the seed's runs start from
Flags = dict[str, object]


@dataclass(frozen=True)
class Arm:
    """`stages` are the flags of one run, or of several that share the steps and of which each starts from the last one's model.

    `against` is the arm that it is held against, `shares` the arm of another study that is the same and whose runs it takes.
    """

    name: str
    stages: tuple[Flags, ...]
    against: str = ""
    shares: str = ""

    def folders(self, seed: int) -> list[str]:
        """Where the runs of a seed lie, the last one under the name of the arm."""
        name = self.shares or self.name
        return [*[f"{name}-stage{stage}-{seed}" for stage in range(1, len(self.stages))], f"{name}-{seed}"]


@dataclass(frozen=True)
class Study:
    """`base` says in the table's head what arms are held against; `evaluations` are names in EVALUATIONS."""

    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    base: str
    evaluations: tuple[str, ...] = field(default=("eval",))


# Folder of an evaluation, and what of `evaluate.py` is not as in the demo.
EVALUATIONS: dict[str, Flags] = {
    "eval": {}, "eval-hidden_tests-1": {"hidden_tests": 1},
    "eval-feedback-verdict": {"feedback": "verdict"}, "eval-feedback-failing_test": {"feedback": "failing_test"},
}  # fmt: skip


def tree(first_attempts: int, rloo_k: int) -> Flags:
    """Flags of a tree M x K: as many problems as make 144 attempts; the batch counts the corrections."""
    problems = ATTEMPTS_A_STEP // (first_attempts * (1 + rloo_k))
    return {
        "first_attempts": first_attempts, "rloo_k": rloo_k, "global_batch_size": problems * first_attempts * rloo_k,
    }  # fmt: skip


# What launch/presets/starter_cocos.yaml says, at 144 attempts a step, as the other arms are.
PRESET = Arm("preset", ({**tree(1, 8), "reward": "pass_rate"},), shares="1x8-full-pass_rate")


def _shapes() -> Study:
    """Which shape of the tree, which return and which reward teach best."""
    shapes = {"1x8": tree(1, 8), "8x1": tree(8, 1), "4x2": tree(4, 2)}
    # With one first attempt nothing but its corrections is trained, so both returns are the same.
    kinds = [("1x8", "full"), ("8x1", "full"), ("8x1", "own"), ("4x2", "full"), ("4x2", "own")]
    arms = []
    for reward in ("pass_rate", "all_pass", "pass_count"):
        for shape, first_turn_return in kinds:
            flags = {**shapes[shape], "first_turn_return": first_turn_return, "reward": reward}
            against = "" if shape == "1x8" else f"1x8-full-{reward}"
            arms.append(Arm(f"{shape}-{first_turn_return}-{reward}", (flags,), against))
    return Study(tuple(arms), (0, 1, 2), "1x8, same reward")


def _methods() -> Study:
    """The published method, its extension to a tree, and two others that are made of the same flags."""
    published = {**tree(1, 8), "reward": "pass_count", "gamma": 0.5}
    own = {**tree(4, 2), "first_turn_return": "own", "reward": "pass_rate"}
    # GRPO (arXiv 2402.03300) on the corrections. Its groups are samples of one prompt, as the corrections of one first attempt
    # are and those of several are not; so the tree is the published one and the estimator alone differs: advantages over the
    # group's spread, each attempt's mean over its tokens, k3 token by token in the loss with the paper's 0.04. First attempts
    # have no such penalty, since they are not trained here. One step a rollout, so there is no ratio to clip. The scale of the
    # reward cancels in the spread and a constant scale of the loss in Adam: reward and learning rate favour neither. What does
    # differ: every gradient of published and tree was clipped (norms 4 to 35, three seeds), GRPO's first ones of 0.4 are not.
    grpo = {
        **tree(1, 8), "reward": "pass_rate", "baseline": "group_std", "loss_normalization": "own_length",
        "kl_in": "loss", "kl_estimator": "k3", "kl_level": "token", "kl_coef": 0.04, "first_turn_kl_coef": 0.0,
    }  # fmt: skip
    # SCoRe (arXiv 2409.12917): the objectives of launch/presets/score_stage{1,2}.yaml, half of the steps each; 18 problems a
    # step, the nearest to the published shape's 16. Both KLs are to the boost model, as in the paper to its base model.
    stage1 = {**tree(4, 1), "reward": "all_pass", "gamma": 1.0, "first_turn_kl_coef": 0.25, "kl_coef": 0.01}
    stage2 = {
        **tree(4, 1), "reward": "all_pass", "return_form": "sum", "improvement_bonus": 10.0, "kl_coef": 0.01,
        "ref_model_name_or_path": BOOST,
    }  # fmt: skip
    arms = (
        Arm("published", (published,), shares="1x8-full-pass_count"),
        Arm("tree", (own,), "published", shares="4x2-own-pass_rate"),
        Arm("grpo", (grpo,), "published"),
        Arm("score", (stage1, stage2), "published"),
    )
    return Study(arms, (0, 1, 2, 3, 4), "published")


def _ablations() -> Study:
    """One flag of the demo's preset at a time."""
    changes: dict[str, Flags] = {
        "kl-0": {"kl_coef": 0.0},
        "kl-0.05": {"kl_coef": 0.05},
        "temperature-0.7": {"temperature": 0.7},
        "hidden_tests-1": {"hidden_tests": 1},  # of three
        "learning_rate-0.5x": {"learning_rate": 7.5e-5},
        "learning_rate-2x": {"learning_rate": 3e-4},
    }
    arms = [PRESET, *(Arm(name, ({**tree(1, 8), **change},), "preset") for name, change in changes.items())]
    return Study(tuple(arms), (0, 1, 2), "preset", ("eval", "eval-hidden_tests-1"))


def _feedback() -> Study:
    """What a correction is told of its attempt's tests. Boost tells nothing, so that RL alone teaches what to make of it."""
    arms = [PRESET, *(Arm(kind, ({**tree(1, 8), "feedback": kind},), "preset") for kind in ("verdict", "failing_test"))]
    return Study(tuple(arms), (0, 1, 2), "preset", ("eval", "eval-feedback-verdict", "eval-feedback-failing_test"))


STUDIES = {"shapes": _shapes(), "methods": _methods(), "ablations": _ablations(), "feedback": _feedback()}
