"""Flags of the scripts: one dataclass each, parsed from a preset and the command line, checked before a model loads.

Nothing assigns to a config after parsing; what follows from the flags is a property. Those of training are in
`rl.train_config`, and what only `train_cocos.py` has in `rl.cocos_config`.
"""

from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Any, Literal

from data.feedback import Feedback

PromptFormat = Literal["markers", "chat"]
History = Literal["full", "last"]
SamplerName = Literal["auto", "batch", "graphs", "paged"]


class ConfigError(ValueError):
    """A flag, or flags together, that can't be used; one sentence with the flag, the value, the rule and the mend."""


def flag(default, help_text: str):
    return field(default=default, metadata={"help": help_text})


def is_default(config: Any, name: str) -> bool:
    """Whether a flag was left as it is, or given the value that it has anyway."""
    its = config.__dataclass_fields__[name]
    return getattr(config, name) == (its.default_factory() if its.default is MISSING else its.default)


@dataclass(kw_only=True)
class ComputeFlags:
    """How a model computes."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = flag(
        "auto",
        "Compute precision; fp32 master weights either way, with a loss scale under float16. auto: bfloat16 on GPUs "
        "(float16 on those before Ampere), float32 on CPUs.",
    )
    attn_implementation: Literal["sdpa", "eager", "flash_attention_2"] = flag("sdpa", "Attention of every forward pass.")
    seed: int = flag(42, "Seed of data order, sampling and every other draw.")
    local_rank: int = flag(-1, "Appended by the deepspeed launcher; LOCAL_RANK in the environment wins.")

    def check(self) -> None:
        at_least(0, seed=self.seed)
        _installed_attention(self.attn_implementation)


@dataclass(kw_only=True)
class ModelFlags(ComputeFlags):
    """The model, and a place for the results."""

    model_name_or_path: str = field(metadata={"help": "Hugging Face folder or hub name of the model to start from."})
    output_dir: str = field(metadata={"help": "Folder for everything the run writes."})

    def check(self) -> None:
        super().check()
        names = self.model_name_or_path
        for name in [names] if isinstance(names, str) else names:
            model_at("model_name_or_path", name)
        if Path(self.output_dir).is_file():
            raise ConfigError(f"--output_dir {self.output_dir} is a file; give a folder")


@dataclass(kw_only=True)
class RolloutFlags:
    """How programs are asked for and sampled, and how they are run."""

    max_new_tokens: int = flag(512, "Most tokens of one attempt.")
    sampler: SamplerName = flag(
        "auto",
        "batch: runs anywhere. graphs: the same with CUDA graphs. paged: continuous batching. auto: on GPUs paged with flash "
        "attention, else graphs; batch elsewhere.",
    )
    prompt_lookup_num_tokens: int | None = flag(
        None,
        "Most tokens of a draft: what a sample may say next, looked up in its prompt and itself, and checked in one step. "
        "Makes steps fewer and changes no sample, up to rounding; a step's drafts hold as many tokens as it has rows, or 32. "
        "0 drafts nothing. Default: 8 where decoding is greedy and most drafts come true, else 0. For --sampler batch and "
        "models of plain attention.",
    )
    sandbox_workers: int = flag(2, "Sandbox worker processes of each rank.")
    test_timeout_s: float = flag(2.0, "CPU seconds that one test may take.")
    program_timeout_s: float = flag(
        10.0, "CPU seconds that all tests of a program may take together; those that are left then have not passed."
    )
    sandbox_memory_mb: int = flag(512, "Address space of one program, in MB.")
    sandbox_modules: list[str] = field(
        default_factory=lambda: ["numpy"],
        metadata={"help": "Packages besides the standard library that programs may import, if they are installed here."},
    )
    allow_unsafe_sandbox: bool = flag(False, "Run even where the kernel offers no seccomp filter. Dangerous.")
    hidden_tests: int = flag(
        0,
        "Tests of each problem that programs are judged by and prompts don't show: its last ones, one test stays. 0, as "
        "published, shows all, so that a model could learn to hard-code them.",
    )
    fewshot_data: str | None = flag(None, "Solved problems shown before turn 1, in MBPP format.")
    prompt_format: PromptFormat = flag(
        "markers", "markers: [BEGIN] code [DONE], as published. chat: the tokenizer's chat template, the code in a fence."
    )
    prompt_template: str | None = flag(None, "YAML or JSON file with a format of your own in place of the markers.")
    system_prompt: str | None = flag(None, "System message of --prompt_format chat.")
    history: History = flag(
        "full", "What a correction sees before the last attempt. full: all that went before. last: the bare task, as published."
    )
    feedback: Feedback = flag(
        "none",
        "What a correction is told of the tests that its prompt shows. none: nothing, the method. verdict: whether they "
        "passed. failing_test: the first that did not. traceback: and its exception.",
    )

    def check(self) -> None:
        super().check()
        at_least(1, max_new_tokens=self.max_new_tokens, sandbox_workers=self.sandbox_workers)
        at_least(64, sandbox_memory_mb=self.sandbox_memory_mb)
        at_least(0, hidden_tests=self.hidden_tests, prompt_lookup_num_tokens=self.prompt_lookup_num_tokens or 0)
        positive(test_timeout_s=self.test_timeout_s)
        if self.program_timeout_s < self.test_timeout_s:
            raise ConfigError(
                f"--program_timeout_s is {self.program_timeout_s} and --test_timeout_s {self.test_timeout_s}: a program has "
                "the time of one test at least; raise --program_timeout_s, by the number of tests that may all be slow"
            )
        if self.sampler in ("paged", "graphs") and self.prompt_lookup_num_tokens:
            raise ConfigError(
                f"--prompt_lookup_num_tokens is {self.prompt_lookup_num_tokens} and --sampler {self.sampler}: only batch "
                "drafts; use it, or drop --prompt_lookup_num_tokens"
            )
        if self.prompt_format == "chat" and self.prompt_template:
            raise ConfigError(
                f"--prompt_template is {self.prompt_template} and --prompt_format chat: a chat model's format is its own "
                "template; drop one of them"
            )
        if self.prompt_format != "chat" and self.system_prompt:
            raise ConfigError(
                f"--system_prompt is {self.system_prompt!r} and --prompt_format {self.prompt_format}: only chat has a system "
                "message; add --prompt_format chat or drop --system_prompt"
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
    program_timeout_s: float = flag(30.0, "CPU seconds that all tests of a program may take together.")
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
        if self.report:
            make_folder("report", Path(self.report).parent)
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


def make_folder(flag_name: str, folder: Path) -> None:
    """Raises: ConfigError where it can't be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--{flag_name}: the folder {folder} can't be made ({error.strerror}); give another place") from None


def at_least(least: float, **values: float) -> None:
    for name, value in values.items():
        if not value >= least:  # nan, too
            raise ConfigError(f"--{name} is {value}: it must be at least {least}")


def positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:  # nan, too
            raise ConfigError(f"--{name} is {value}: it must be greater than 0")


def _installed_attention(name: str) -> None:
    from transformers.utils import is_flash_attn_2_available

    if name == "flash_attention_2" and not is_flash_attn_2_available():
        raise ConfigError(f"--attn_implementation is {name}: it needs an NVIDIA GPU and the package flash-attn; use sdpa")
