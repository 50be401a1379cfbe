"""What a CoCoS step takes on many GPUs, computed from stated inputs, of which two were measured on one GPU (docs/SPEED.md).

The step is the published one: one first attempt a problem, K corrections, corrections alone trained, one optimizer step. Parts
follow one another and hide nothing but grading, which runs on other processors: that of turn 1 behind the sampling of turn 2,
that of turn 2 behind the reference. Left out: attention's own products (a few percent at such lengths), Adam (bound by memory,
milliseconds), that prompts with examples start alike, and whatever makes a rank slow but unlucky programs.
"""

import math
from dataclasses import dataclass, field, replace

BF16_BYTES = 2
ADAM_BYTES = 12  # of a parameter: float32 master and two moments


def _input(default: float, help_text: str):
    return field(default=default, metadata={"help": help_text})


@dataclass(frozen=True)
class Inputs:
    """Everything that the model is told. Bandwidths in bytes a second."""

    peak_flops: float = _input(989e12, "of a GPU, dense bf16 (H100)")
    utilisation: float = _input(0.2, "share of it that passes reach (measured: 1.5B, 10,000 tokens a step)")
    memory_bandwidth: float = _input(3.35e12, "of a GPU (H100)")
    memory_bytes: float = _input(80e9, "of a GPU (H100)")
    working_bytes: float = _input(15e9, "activations, cache, buckets (assumed, with checkpointing; --dry_run says it better)")
    bandwidth_inside: float = _input(450e9, "that a GPU sends with inside a node (NVLink of an H100)")
    bandwidth_between: float = _input(50e9, "and between nodes (400 Gbit/s a GPU)")
    gpus_per_node: int = _input(8, "")
    decode_step_s: float = _input(0.007, "least seconds of a decoding step, by CUDA graphs (measured: 1.5B)")
    programs_per_s: float = _input(200.0, "that a sandbox worker grades on a core of its own (docs/SANDBOX.md)")
    endless_share: float = _input(0.01, "share of programs that run into the time limit (assumed)")
    endless_s: float = _input(6.0, "worker seconds of such a program: three tests of --test_timeout_s 2")
    rloo_k: int = _input(4, "corrections of a first attempt")
    prompt_tokens: int = _input(600, "of turn 1, with three examples (assumed)")
    correction_prompt_tokens: int = _input(300, "of turn 2, with --history last (assumed)")
    attempt_tokens: int = _input(150, "of an attempt, mean (assumed)")
    longest_attempt_tokens: int = _input(512, "of the longest attempt of a batch: --max_new_tokens")
    local_rollout_forward_batch_size: int = _input(64, "rows sampled together, as in train_cocos.py")
    micro_batch_tokens: int = _input(8192, "tokens of a training pass, as in train_cocos.py")
    sandbox_workers: int = _input(2, "of each GPU's process, as in train_cocos.py")
    operations: int = _input(6, "of an update, for each parameter and token; 8 with --gradient_checkpointing")

    @property
    def flops(self) -> float:
        return self.peak_flops * self.utilisation

    def bandwidth(self, gpus: int) -> float:
        return self.bandwidth_inside if gpus <= self.gpus_per_node else self.bandwidth_between

    def check(self) -> None:
        """Raises: ValueError with the flag, the value and the rule."""
        for name, value in vars(self).items():
            if value < 0 or (value == 0 and name not in ("endless_share", "decode_step_s")):
                raise ValueError(f"--{name} is {value:g}: it must be greater than 0")
        if self.endless_share >= 1 or self.utilisation > 1:
            raise ValueError(
                f"--endless_share {self.endless_share:g}, --utilisation {self.utilisation:g}: shares are at most 1"
            )


@dataclass(frozen=True)
class Model:
    """`kv_width` is that of a layer's keys."""

    name: str
    num_parameters: float
    num_layers: int
    kv_width: int

    @property
    def kv_bytes(self) -> int:
        """Of one token's keys and values."""
        return 2 * self.num_layers * self.kv_width * BF16_BYTES


@dataclass(frozen=True)
class Step:
    """A step of `batch` corrections over all GPUs, `problems` of them on each."""

    model: Model
    gpus: int
    batch: int
    inputs: Inputs

    @property
    def problems(self) -> int:
        return self.batch // (self.gpus * self.inputs.rloo_k)

    @property
    def corrections(self) -> int:
        """Of one GPU."""
        return self.problems * self.inputs.rloo_k

    @property
    def num_attempts(self) -> int:
        """Of all GPUs, both turns."""
        return self.gpus * (self.problems + self.corrections)

    @property
    def trained_tokens(self) -> int:
        """Of one GPU: corrections, and their prompts once for all that share them."""
        return self.problems * self.inputs.correction_prompt_tokens + self.corrections * self.inputs.attempt_tokens

    @property
    def scored_tokens(self) -> int:
        """What the reference reads on one GPU: first attempts too."""
        return self.problems * (self.inputs.prompt_tokens + self.inputs.attempt_tokens) + self.trained_tokens

    def seconds(self) -> dict[str, float]:
        """By part, at the least ZeRO stage that fits; grading is what nothing hides."""
        n, inputs = self.model.num_parameters, self.inputs
        first, second = self.sampling_s()
        reference = 2 * n * self.scored_tokens / inputs.flops
        return {
            "sampling": first + second,
            "reference": reference,
            "update": inputs.operations * n * self.trained_tokens / inputs.flops,
            "communication": self.sent_bytes(self.least_stage()) / inputs.bandwidth(self.gpus),
            "grading": max(0.0, self.grading_s(self.problems) - second)
            + max(0.0, self.grading_s(self.corrections) - reference),
        }

    def sampling_s(self) -> tuple[float, float]:
        """Of both turns. Rows decode in batches, one after the other, each as many steps as its longest attempt has tokens.

        A step reads all weights, one copy of each prompt's keys and values, and those of rows that have not ended; or it takes
        `decode_step_s`, where that is longer.
        """
        inputs, n = self.inputs, self.model.num_parameters
        turns = []
        for rows, prompt in ((self.problems, inputs.prompt_tokens), (self.corrections, inputs.correction_prompt_tokens)):
            prefill = 2 * n * self.problems * prompt / inputs.flops
            steps = math.ceil(rows / inputs.local_rollout_forward_batch_size) * inputs.longest_attempt_tokens
            cached = self.problems * prompt * inputs.longest_attempt_tokens + rows * inputs.attempt_tokens**2 / 2
            reading = (steps * n * BF16_BYTES + cached * self.model.kv_bytes) / inputs.memory_bandwidth
            turns.append(prefill + max(steps * inputs.decode_step_s, reading))
        return turns[0], turns[1]

    def sent_bytes(self, stage: int) -> float:
        """By one GPU: gradients out and back or weights back, in every pass from stage 2, weights too in stage 3."""
        weights = BF16_BYTES * self.model.num_parameters
        passes = math.ceil(self.trained_tokens / self.inputs.micro_batch_tokens)
        if stage < 2:
            return 2 * weights
        if stage == 2:
            return weights * passes + weights
        reference_passes = math.ceil(self.scored_tokens / self.inputs.micro_batch_tokens)
        return 3 * weights * passes + weights * reference_passes + weights  # the last for the sampling copy

    def grading_s(self, programs: int) -> float:
        """Until the unluckiest rank has its verdicts; endless programs are not shared between workers."""
        inputs = self.inputs
        endless = most_endless(programs * inputs.endless_share, self.gpus)
        quick = programs * (1 - inputs.endless_share) / inputs.programs_per_s
        return quick / inputs.sandbox_workers + math.ceil(endless / inputs.sandbox_workers) * inputs.endless_s

    def memory_bytes(self, stage: int) -> float:
        """Of one GPU: weights of policy and reference, gradients, optimizer, and what a run needs besides."""
        n, gpus = self.model.num_parameters, self.gpus
        weights = 2 * BF16_BYTES * n / (gpus if stage == 3 else 1)
        gradients = BF16_BYTES * n / (gpus if stage >= 2 else 1)
        optimizer = ADAM_BYTES * n / (gpus if stage >= 1 else 1)
        sampling_copy = BF16_BYTES * n if stage == 3 else 0
        return weights + gradients + optimizer + sampling_copy + self.inputs.working_bytes

    def least_stage(self) -> int:
        """The first of ZeRO 1 to 3 that fits: 1 sends no more than 0, and each one after it more. 3 where none fits."""
        return next((stage for stage in (1, 2) if self.memory_bytes(stage) <= self.inputs.memory_bytes), 3)

    def enough_workers(self) -> int:
        """So many sandbox workers that any number more would take less than a twentieth off the step."""
        least = sum(replace(self, inputs=replace(self.inputs, sandbox_workers=10**6)).seconds().values())
        workers = 1
        while 0.95 * sum(replace(self, inputs=replace(self.inputs, sandbox_workers=workers)).seconds().values()) > least:
            workers += 1
        return workers


def most_endless(mean: float, gpus: int) -> int:
    """Endless programs of the unluckiest rank: the largest number that one rank at least is expected to reach, where each has
    `mean` of them on average (Poisson).
    """
    number, reached, exactly = 0, 1.0, math.exp(-mean)
    while gpus * (reached - exactly) >= 1:
        reached -= exactly
        number += 1
        exactly *= mean / number
    return number
