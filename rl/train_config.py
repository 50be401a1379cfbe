"""Flags of training: the optimizer loop, which boost and RL share, and those of `train_boost.py`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rl.config import ConfigError, ModelFlags, RolloutFlags, at_least, flag, is_default, positive
from rl.pass_limit import PassLimit

# Those of transformers that need nothing but the numbers of steps.
SCHEDULES = (
    "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt"
)  # fmt: skip


@dataclass(kw_only=True)
class TrainFlags(ModelFlags):
    """The optimizer loop, the same for the boost stage and for RL."""

    train_data: str = field(metadata={"help": "Training data: a JSON or JSONL file, or a hub data set (name or name:split)."})
    eval_data: str | None = flag(None, "Problems in MBPP format to evaluate on during training.")
    eval_steps: int = flag(0, "Evaluate on --eval_data every so many steps; 0: only after the last.")
    eval_on_start: bool = flag(False, "Evaluate on --eval_data before the first step, too.")
    eval_num_turns: int = flag(2, "Turns of the evaluation on --eval_data.")
    deepspeed: str | None = flag(None, "DeepSpeed JSON with the ZeRO stage (default: launch/zero2.json).")
    ds3_gather_for_generation: bool = flag(
        True, "Under ZeRO stage 3 sample from a whole copy of the weights; false saves its memory and is many times slower."
    )
    global_batch_size: int = flag(128, "Completions that one step learns from, over all ranks (RL: last-turn attempts).")
    per_device_train_batch_size: int = flag(4, "Rows of one forward and backward pass.")
    micro_batch_tokens: int = flag(
        0, "Tokens of one forward and backward pass, prompts and padding included, instead of so many rows; 0: rows."
    )
    gradient_checkpointing: bool = flag(
        False, "Compute activations again in the backward pass instead of keeping them: less memory, a third more time."
    )
    local_rollout_forward_batch_size: int = flag(64, "Rows sampled together, and rows of a forward pass without gradients.")
    learning_rate: float = flag(1e-6, "Peak learning rate of AdamW.")
    lr_scheduler_type: str = flag("constant_with_warmup", "Schedule, by its name in transformers.")
    warmup_ratio: float = flag(0.05, "Share of the steps over which the learning rate rises; the first of them has 0.")
    weight_decay: float = flag(0.0, "Weight decay of matrices; vectors have none.")
    max_grad_norm: float = flag(1.0, "Gradients are clipped to this global norm.")
    num_train_epochs: float = flag(
        1.0,
        "Passes over the training data, those that --drop_equal_groups adds not counted; or give --max_steps.",
    )
    max_skipped_steps: int = flag(
        3, "Steps in a row that may be skipped since the loss or a gradient was not finite; one more ends the run with a dump."
    )
    max_steps: int = flag(-1, "Steps (RL: rollouts); -1: as --num_train_epochs gives.")
    save_steps: int = flag(500, "Write checkpoint-N every so many steps, and after the last.")
    save_total_limit: int = flag(0, "Keep the newest so many checkpoints; 0: all.")
    save_only_model: bool = flag(
        False, "Checkpoints hold the model alone, an eighth of the bytes: of use as models, but no run can go on from them."
    )
    resume_from_checkpoint: str | None = flag(
        None, "Go on from this checkpoint-N, or with auto from the newest whole one in --output_dir, if there is any."
    )
    metric_for_best_model: str | None = flag(
        None,
        "Number of the evaluations, such as accuracy@2, by which the best checkpoint is kept and linked as `best`; a larger "
        "one is better.",
    )
    early_stopping_patience: int = flag(
        0, "Stop after so many evaluations in a row without a better --metric_for_best_model; 0: never."
    )
    collective_timeout_s: float = flag(
        3600.0, "Longest that a rank waits for the others, their sampling included, before the run fails."
    )
    dry_run: bool = flag(False, "Check flags, model, data and prompts, say what a step takes and what memory, and stop.")
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
        positive(
            learning_rate=self.learning_rate,
            max_grad_norm=self.max_grad_norm,
            collective_timeout_s=self.collective_timeout_s,
        )
        at_least(
            0,
            eval_steps=self.eval_steps,
            weight_decay=self.weight_decay,
            save_total_limit=self.save_total_limit,
            micro_batch_tokens=self.micro_batch_tokens,
            max_skipped_steps=self.max_skipped_steps,
            early_stopping_patience=self.early_stopping_patience,
        )
        if self.report_to == "none" and self.wandb_run_name:
            raise ConfigError(
                f"--wandb_run_name is {self.wandb_run_name!r} and --report_to none: there is no run to name; drop it"
            )
        if self.deepspeed and not Path(self.deepspeed).is_file():
            raise ConfigError(f"--deepspeed {self.deepspeed}: no such file; templates are launch/zero0.json to zero3.json")
        may_be_paged = self.sampler == "paged" or (self.sampler == "auto" and "flash" in self.attn_implementation)
        if not self.ds3_gather_for_generation and may_be_paged:
            raise ConfigError(
                f"--ds3_gather_for_generation is false and --sampler is {self.sampler}, with --attn_implementation "
                f"{self.attn_implementation}: pages need whole weights; use --sampler batch"
            )
        if self.eval_steps and not self.eval_data:
            raise ConfigError(f"--eval_steps is {self.eval_steps} but there is no --eval_data; give both or neither")
        for name in ("eval_num_turns", "eval_on_start"):
            if not self.eval_data and not is_default(self, name):
                raise ConfigError(f"--{name} is {getattr(self, name)} but there is no --eval_data; give it, or drop --{name}")
        if self.save_only_model and self.resume_from_checkpoint:
            raise ConfigError(
                f"--save_only_model is true and --resume_from_checkpoint {self.resume_from_checkpoint}: such a run writes "
                "nothing to go on from, and would begin anew in the place of the one before; drop one of the two"
            )
        if self.micro_batch_tokens and not is_default(self, "per_device_train_batch_size"):
            raise ConfigError(
                f"--micro_batch_tokens is {self.micro_batch_tokens} and --per_device_train_batch_size "
                f"{self.per_device_train_batch_size}: a pass is measured in tokens or in rows; drop one of the two"
            )
        self._check_steps()
        self._check_selection()

    def _check_steps(self) -> None:
        if self.lr_scheduler_type not in SCHEDULES:
            raise ConfigError(f"--lr_scheduler_type is {self.lr_scheduler_type!r}: choose one of {', '.join(SCHEDULES)}")
        if not 0 <= self.warmup_ratio <= 1:
            raise ConfigError(f"--warmup_ratio is {self.warmup_ratio}: a share of the steps lies between 0 and 1")
        if self.lr_scheduler_type == "constant" and self.warmup_ratio and not is_default(self, "warmup_ratio"):
            raise ConfigError(
                f"--warmup_ratio is {self.warmup_ratio} and --lr_scheduler_type constant, which does not warm up; give "
                "constant_with_warmup, or drop one of the two"
            )
        if self.max_steps > 0 and not is_default(self, "num_train_epochs"):
            raise ConfigError(
                f"--max_steps is {self.max_steps} and --num_train_epochs {self.num_train_epochs}: steps are counted by one of "
                "them; drop one, or give --max_steps -1 where a preset has it"
            )
        if self.max_steps < 1 and self.max_steps != -1:
            raise ConfigError(f"--max_steps is {self.max_steps}: it must be at least 1, or -1 to go by --num_train_epochs")
        if self.max_steps < 1 and self.num_train_epochs <= 0:
            raise ConfigError(
                f"--max_steps is {self.max_steps} and --num_train_epochs {self.num_train_epochs}: one of them must be positive"
            )

    def _check_selection(self) -> None:
        metric, turns = self.metric_for_best_model, range(1, self.eval_num_turns + 1)
        known = [f"accuracy@{t}" for t in turns]
        known += [f"{name}@{t}" for t in turns[1:] for name in ("delta", "incorrect_to_correct")]
        if metric is not None and metric not in known:
            raise ConfigError(f"--metric_for_best_model is {metric!r}: choose one of {', '.join(known)}")
        if metric is not None and not self.eval_steps:
            raise ConfigError(f"--metric_for_best_model is {metric}: it needs --eval_data and --eval_steps, which tell it")
        if self.early_stopping_patience and metric is None:
            raise ConfigError(
                f"--early_stopping_patience is {self.early_stopping_patience}: name the number to be patient about with "
                "--metric_for_best_model"
            )

    def new_pass_limit(self) -> PassLimit:
        """What a forward and backward pass takes at the start; memory may lower it."""
        return PassLimit(0 if self.micro_batch_tokens else self.per_device_train_batch_size, self.micro_batch_tokens)

    def num_steps(self, num_rows: int, rows_per_step: int) -> int:
        """Steps of the run; one of RL is a rollout with its updates."""
        if self.max_steps > 0:
            return self.max_steps
        return max(1, round(self.num_train_epochs * num_rows / rows_per_step))

    def is_evaluation_step(self, step: int, num_steps: int) -> bool:
        return step in (0, num_steps) or (self.eval_steps > 0 and step % self.eval_steps == 0)

    def is_save_step(self, step: int, num_steps: int) -> bool:
        return step == num_steps or step % self.save_steps == 0


@dataclass(kw_only=True)
class BoostConfig(RolloutFlags, TrainFlags):
    """Stage 1: learn the two-turn format from pairs of prompt and completion."""

    train_data: str = field(metadata={"help": "Pairs of `prompt` and `completion`: a JSON or JSONL file."})
    learning_rate: float = flag(1e-5, "Peak learning rate of AdamW.")
    stop_at_accuracy: float = flag(
        0.0, "Stop once Accuracy@t1 on --eval_data reaches this; 0: never. A boost model should leave RL room to learn."
    )

    def check(self) -> None:
        super().check()
        if not 0 <= self.stop_at_accuracy <= 1:
            raise ConfigError(f"--stop_at_accuracy is {self.stop_at_accuracy}: an accuracy lies between 0 and 1")
        if self.stop_at_accuracy and not self.eval_steps:
            raise ConfigError("--stop_at_accuracy needs --eval_data and --eval_steps, which tell the accuracy during training")

        for name in ("local_rollout_forward_batch_size", *RolloutFlags.__dataclass_fields__):
            if not self.eval_data and not is_default(self, name):
                raise ConfigError(
                    f"--{name} is {getattr(self, name)!r}: pairs bring their own prompts, and without --eval_data nothing is "
                    f"sampled or run; add --eval_data, or drop --{name}"
                )

    def check_world(self, world_size: int) -> None:
        if self.global_batch_size % world_size:
            raise ConfigError(
                f"--global_batch_size is {self.global_batch_size}: it must be a multiple of the {world_size} processes"
            )
