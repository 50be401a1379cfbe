"""Flags of `python -m data.boost`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rl.config import ComputeFlags, ConfigError, RolloutFlags, at_least, flag, is_default, model_at

# What decides which attempts there are; all other flags may change between a command and the one that goes on from it.
_OF_SAMPLES = (
    *("model_name_or_path", "num_samples", "temperature", "max_new_tokens", "dtype", "attn_implementation"),
    *("prompt_format", "prompt_template", "system_prompt"),
)
_OF_SAMPLING_ALONE = (
    *("temperature", "max_new_tokens", "fewshot_data", "prompt_format", "prompt_template", "system_prompt"),
    *("batch_size", "dtype", "attn_implementation", "sampler", "prompt_lookup_num_tokens"),
)
_OF_CORRUPTIONS = ("num_corruptions",)
_OF_BOTH = ("corrupt", "test_timeout_s", "program_timeout_s", "sandbox_memory_mb", "sandbox_modules", "seed")


@dataclass(kw_only=True)
class _PairFlags(ComputeFlags):
    """Where attempts come from and which pairs are made of them."""

    problems: str = field(metadata={"help": "Problems in MBPP format: a file, or a hub data set (name or name:split)."})
    output: str = field(metadata={"help": "JSON file of pairs to write; .attempts.jsonl and .report.json go beside it."})
    model_name_or_path: str | None = flag(None, "Model to sample first attempts from.")
    num_samples: int = flag(4, "First attempts sampled for each problem; 0: use the model's tokenizer only, for lengths.")
    temperature: float = flag(0.9, "Sampling temperature.")
    corrupt: bool = flag(False, "Make wrong attempts from references, by mutations that fail the tests.")
    num_corruptions: int = flag(4, "Most wrong attempts that --corrupt makes of one reference.")
    second_turn_ratio: float = flag(1.0, "Second turns for each first turn; 0: first turns only.")
    right_share: float = flag(0.5, "Share of second turns whose attempt is right and is to be kept as it is.")
    max_tokens: int = flag(0, "Most tokens of a pair, prompt and completion; 0: the model's context, no limit without a model.")
    max_problems: int = flag(0, "Use the first so many problems only; 0: all.")
    problems_per_batch: int = flag(32, "Problems between two writes of .attempts.jsonl, from which a killed command goes on.")
    batch_size: int = flag(64, "Rows decoded together on each process.")

    def check(self) -> None:
        super().check()
        at_least(
            1, num_corruptions=self.num_corruptions, problems_per_batch=self.problems_per_batch, batch_size=self.batch_size
        )
        at_least(0, num_samples=self.num_samples, temperature=self.temperature, second_turn_ratio=self.second_turn_ratio)
        at_least(0, max_tokens=self.max_tokens, max_problems=self.max_problems)
        if not 0 <= self.right_share <= 1:
            raise ConfigError(f"--right_share is {self.right_share}: a share of the second turns lies between 0 and 1")
        if self.second_turn_ratio == 0 and not is_default(self, "right_share"):
            raise ConfigError(
                f"--right_share is {self.right_share} and --second_turn_ratio 0: there are no second turns; drop one of the two"
            )
        if Path(self.output).suffix != ".json" or Path(self.output).is_dir():
            raise ConfigError(f"--output is {self.output}: give the name of a .json file, which will hold a JSON list of pairs")
        if self.model_name_or_path:
            model_at("model_name_or_path", self.model_name_or_path)
        elif self.max_tokens:
            raise ConfigError(
                f"--max_tokens is {self.max_tokens}: the tokenizer of --model_name_or_path counts them; give one, with "
                "--num_samples 0 if it is not to be sampled from"
            )


@dataclass(kw_only=True)
class PairConfig(RolloutFlags, _PairFlags):
    """Boost pairs from a model's attempts, from mutations of references, or from both."""

    def check(self) -> None:
        super().check()
        if not self.is_sampled and not self.corrupt:
            raise ConfigError(
                "nothing makes attempts to correct: give --model_name_or_path (with --num_samples of at least 1), --corrupt, "
                "or both"
            )
        idle = () if self.is_sampled else (*_OF_SAMPLING_ALONE, *(() if self.model_name_or_path else ("num_samples",)))
        for name in (*idle, *(() if self.corrupt else _OF_CORRUPTIONS)):
            if not is_default(self, name):
                wanted = "a model that is sampled; give --model_name_or_path" if name in idle else "--corrupt; give it"
                raise ConfigError(f"--{name} is for {wanted}, or leave it out")
        for name, usual in (("history", "full"), ("feedback", "none")):
            if getattr(self, name) != usual:
                raise ConfigError(
                    f"--{name} is {getattr(self, name)}: it is about sampled corrections, and here first attempts alone are "
                    "sampled; leave it out"
                )

    @property
    def is_sampled(self) -> bool:
        return self.model_name_or_path is not None and self.num_samples > 0

    def beside(self, ending: str) -> Path:
        """A file next to --output."""
        return Path(self.output).with_suffix(ending)

    def attempt_settings(self) -> dict[str, Any]:
        """Flags that the attempts follow from."""
        names = _OF_BOTH + (_OF_SAMPLES if self.is_sampled else ()) + (_OF_CORRUPTIONS if self.corrupt else ())
        return {name: getattr(self, name) for name in names}
