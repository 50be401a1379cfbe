"""Flags of the scripts: one dataclass each, parsed from a preset and the command line, checked before a model loads.

Nothing assigns to a config after parsing; what follows from the flags is a property. Those of `train_cocos.py` are in
`rl.cocos_config`.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rl.sampling.sampler import SamplerName


class ConfigError(ValueError):
    """A flag, or flags together, that can't be used; one sentence with the flag, the value, the rule and the mend."""


def flag(default, help_text: str):
    return field(default=default, metadata={"help": help_text})


@dataclass(kw_only=True)
class ModelFlags:
    """What every script needs: a model, a place for the results, and the random seed."""

    model_name_or_path: str = field(metadata={"help": "Hugging Face folder or hub name of the model to start from."})
    output_dir: str = field(metadata={"help": "Folder for everything the run writes."})
    dtype: Literal["auto", "float32", "bfloat16"] = flag(
        "auto", "Compute precision; fp32 master weights either way. auto: bfloat16 on GPUs, float32 on CPUs."
    )
    attn_implementation: Literal["sdpa", "eager", "flash_attention_2"] = flag("sdpa", "Attention of every forward pass.")
    seed: int = flag(42, "Seed of data order, sampling and every other draw.")
    local_rank: int = flag(-1, "Appended by the deepspeed launcher; LOCAL_RANK in the environment wins.")

    def check(self) -> None:
        names = self.model_name_or_path
        for name in [names] if isinstance(names, str) else names:
            model_at("model_name_or_path", name)
        if Path(self.output_dir).is_file():
            raise ConfigError(f"--output_dir {self.output_dir} is a file; give a folder")
        at_least(0, seed=self.seed)
        _installed_attention(self.attn_implementation)


@dataclass(kw_only=True)
class RolloutFlags:
    """How programs are sampled, and how they are run."""

    max_new_tokens: int = flag(512, "Most tokens of one attempt.")
    sampler: SamplerName = flag(
        "auto", "batch: runs anywhere. paged: continuous batching. auto: paged on GPUs with flash attention, else batch."
    )
    sandbox_workers: int = flag(2, "Sandbox worker processes of each rank.")
    test_timeout_s: float = flag(2.0, "CPU seconds that one test may take.")
    sandbox_memory_mb: int = flag(512, "Address space of one program, in MB.")
    allow_unsafe_sandbox: bool = flag(False, "Run even where the kernel offers no seccomp filter. Dangerous.")
    fewshot_data: str | None = flag(None, "Solved problems shown before turn 1, in MBPP format.")

    def check(self) -> None:
        super().check()
        at_least(1, max_new_tokens=self.max_new_tokens, sandbox_workers=self.sandbox_workers)
        at_least(64, sandbox_memory_mb=self.sandbox_memory_mb)
        positive(test_timeout_s=self.test_timeout_s)


@dataclass(kw_only=True)
class TrainFlags(ModelFlags):
    """The optimizer loop, the same for the boost stage and for RL."""

    train_data: str = field(metadata={"help": "Training data: a JSON or JSONL file, or a hub data set (name or name:split)."})
    eval_data: str | None = flag(None, "Problems in MBPP format to evaluate on during training.")
    eval_steps: int = flag(0, "Evaluate on --eval_data every so many steps; 0: only after the last.")
    eval_num_turns: int = flag(2, "Turns of the evaluation on --eval_data.")
    deepspeed: str | None = flag(None, "DeepSpeed JSON with the ZeRO stage (default: launch/zero2.json).")
    ds3_gather_for_generation: bool = flag(
        True, "Under ZeRO stage 3 sample from a whole copy of the weights; false saves its memory and is many times slower."
    )
    global_batch_size: int = flag(128, "Completions that one step learns from, over all ranks (RL: last-turn attempts).")
    per_device_train_batch_size: int = flag(4, "Rows of one forward and backward pass.")
    local_rollout_forward_batch_size: int = flag(64, "Rows sampled together, and rows of a forward pass without gradients.")
    learning_rate: float = flag(1e-6, "Peak learning rate of AdamW.")
    lr_scheduler_type: str = flag("constant_with_warmup", "Schedule, by its name in transformers.")
    warmup_ratio: float = flag(0.05, "Share of the steps over which the learning rate rises.")
    weight_decay: float = flag(0.0, "Weight decay of matrices; vectors have none.")
    max_grad_norm: float = flag(1.0, "Gradients are clipped to this global norm.")
    num_train_epochs: float = flag(1.0, "Passes over the training data, unless --max_steps says otherwise.")
    max_steps: int = flag(-1, "Steps (RL: rollouts); -1: as --num_train_epochs gives.")
    save_steps: int = flag(500, "Write checkpoint-N every so many steps, and after the last.")
    save_total_limit: int = flag(0, "Keep the newest so many checkpoints; 0: all.")
    resume_from_checkpoint: str | None = flag(
        None, "Go on from this checkpoint-N, or with auto from the newest whole one in --output_dir, if there is any."
    )
    report_to: Literal["tensorboard", "wandb", "none"] = flag("tensorboard", "Where metrics go besides metrics.jsonl.")
    wandb_run_name: str | None = flag(None, "Name of the run, in wandb and as TensorBoard's folder.")

    def check(self) -> None:
        super().check()
        at_least(
            1,
            global_batch_size=self.global_batch_size,
            per_device_train_batch_size=self.per_device_train_batch_size,
            local_rollout_forward_batch_size=self.local_rollout_forward_batch_size,
            save_steps=self.save_steps,
            eval_num_turns=self.eval_num_turns,
        )
        positive(learning_rate=self.learning_rate, max_grad_norm=self.max_grad_norm)
        at_least(0, eval_steps=self.eval_steps, weight_decay=self.weight_decay, save_total_limit=self.save_total_limit)
        if not 0 <= self.warmup_ratio <= 1:
            raise ConfigError(f"--warmup_ratio is {self.warmup_ratio}: a share of the steps lies between 0 and 1")
        if self.max_steps < 1 and self.num_train_epochs <= 0:
            raise ConfigError(
                f"--max_steps is {self.max_steps} and --num_train_epochs {self.num_train_epochs}: one of them must be positive"
            )
        if self.deepspeed and not Path(self.deepspeed).is_file():
            raise ConfigError(f"--deepspeed {self.deepspeed}: no such file; templates are launch/zero0.json to zero3.json")
        if not self.ds3_gather_for_generation and self.sampler == "paged":
            raise ConfigError(
                "--ds3_gather_for_generation is false and --sampler is paged: pages need whole weights; use --sampler batch"
            )
        if self.eval_steps and not self.eval_data:
            raise ConfigError(f"--eval_steps is {self.eval_steps} but there is no --eval_data; give both or neither")
        _known_schedule(self.lr_scheduler_type)

    def num_steps(self, num_rows: int, rows_per_step: int) -> int:
        """Steps of the run; one of RL is a rollout with its updates."""
        if self.max_steps > 0:
            return self.max_steps
        return max(1, round(self.num_train_epochs * num_rows / rows_per_step))

    def is_evaluation_step(self, step: int, num_steps: int) -> bool:
        return step == num_steps or (self.eval_steps > 0 and step % self.eval_steps == 0)

    def is_save_step(self, step: int, num_steps: int) -> bool:
        return step == num_steps or step % self.save_steps == 0


@dataclass(kw_only=True)
class BoostConfig(RolloutFlags, TrainFlags):
    """Stage 1: learn the two-turn format from pairs of prompt and completion."""

    stop_at_accuracy: float = flag(
        0.0, "Stop once Accuracy@t1 on --eval_data reaches this; 0: never. A boost model should leave RL room to learn."
    )

    def check(self) -> None:
        super().check()
        if not 0 <= self.stop_at_accuracy <= 1:
            raise ConfigError(f"--stop_at_accuracy is {self.stop_at_accuracy}: an accuracy lies between 0 and 1")
        if self.stop_at_accuracy and not self.eval_steps:
            raise ConfigError("--stop_at_accuracy needs --eval_data and --eval_steps, which tell the accuracy during training")

    def check_world(self, world_size: int) -> None:
        if self.global_batch_size % world_size:
            raise ConfigError(
                f"--global_batch_size is {self.global_batch_size}: it must be a multiple of the {world_size} processes"
            )


@dataclass(kw_only=True)
class EvaluateConfig(RolloutFlags, ModelFlags):
    """Evaluation over turns."""

    model_name_or_path: list[str] = field(
        metadata={
            "help": "Hugging Face folders or hub names; each model after the first is tested against it on the same problems."
        }
    )
    test_data: list[str] = field(metadata={"help": "Data sets in MBPP format: files, or hub names (name or name:split)."})
    num_turns: int = flag(2, "Turns of self-correction.")
    num_samples: int = flag(
        1, "First attempts of each problem, each with one correction a turn; more than 1 needs --temperature."
    )
    batch_size: int = flag(64, "Rows decoded together on each process.")
    temperature: float = flag(0.0, "Sampling temperature; 0 is greedy decoding.")
    pass_at: list[int] | None = flag(None, "Every k of pass@k, from 1 to --num_samples; not given: 1, 5 and 10 up to it.")
    report: str | None = flag(None, "Write an HTML page to look at here: curves, transitions, every problem's attempts.")
    test_timeout_s: float = flag(5.0, "CPU seconds that one test may take; the slowest reference of MBPP needs 2.")
    max_problems: int = flag(0, "Evaluate the first so many problems of each data set only; 0: all.")

    def check(self) -> None:
        super().check()
        at_least(1, num_turns=self.num_turns, batch_size=self.batch_size, num_samples=self.num_samples)
        at_least(0, temperature=self.temperature, max_problems=self.max_problems)
        for name in ("model_name_or_path", "test_data"):
            given = getattr(self, name)
            if twice := next((value for value in given if given.count(value) > 1), None):
                raise ConfigError(f"--{name} names {twice} twice; give each once")
        if self.num_samples > 1 and self.temperature == 0:
            raise ConfigError(
                f"--num_samples is {self.num_samples} and --temperature 0: greedy decoding has one; add --temperature 0.8"
            )
        if self.report and Path(self.report).is_dir():
            raise ConfigError(f"--report {self.report} is a folder; give a file to write, such as {self.report}/report.html")
        if self.pass_at and self.num_samples == 1:
            raise ConfigError("--pass_at needs several samples of a problem; add --num_samples and --temperature")
        for k in self.pass_at or ():
            if not 1 <= k <= self.num_samples:
                raise ConfigError(f"--pass_at is {k}: k lies between 1 and --num_samples, which is {self.num_samples}")


def model_at(flag_name: str, name_or_path: str) -> None:
    """Raises: ConfigError for a path without a model. A hub name is found out about when it is loaded."""
    path = Path(name_or_path)
    if path.exists() and not (path / "config.json").is_file():
        raise ConfigError(f"--{flag_name} {path} has no config.json; give a Hugging Face model folder or a hub name")
    if not path.exists() and name_or_path.startswith((".", "/", "~")):
        raise ConfigError(f"--{flag_name} {path} does not exist; give a Hugging Face model folder or a hub name")


def at_least(least: float, **values: float) -> None:
    for name, value in values.items():
        if value < least:
            raise ConfigError(f"--{name} is {value}: it must be at least {least}")


def positive(**values: float) -> None:
    for name, value in values.items():
        if value <= 0:
            raise ConfigError(f"--{name} is {value}: it must be greater than 0")


def _known_schedule(name: str) -> None:
    from transformers import SchedulerType

    names = [kind.value for kind in SchedulerType]
    if name not in names:
        raise ConfigError(f"--lr_scheduler_type is {name!r}: choose one of {', '.join(names)}")


def _installed_attention(name: str) -> None:
    from transformers.utils import is_flash_attn_2_available

    if name == "flash_attention_2" and not is_flash_attn_2_available():
        raise ConfigError(f"--attn_implementation is {name}: it needs an NVIDIA GPU and the package flash-attn; use sdpa")
