"""Try a model on one task: its attempts turn by turn, what their tests say, and how each correction changed the program.

    python -m rl.attempt --model_name_or_path M --text "Write a function add of two numbers." --test "assert add(1, 2) == 3"

Colours go to terminals only, and not where NO_COLOR is set. What a model wrote is printed without control characters, so that
it can't move the cursor or change the terminal.
"""

import difflib
import os
import sys
from dataclasses import dataclass, field

import torch

from data.problem import DataError, Problem, hide_tests
from rl.config import ComputeFlags, ConfigError, RolloutFlags, at_least, flag, model_at
from rl.flags import exit_on_bad_input, parse_flags, start_logging
from rl.pretrained import compute_dtype, load_model, load_model_config, load_tokenizer
from rl.rollout import build_collector
from rl.trajectory import Attempt

_COLOURS = {"red": "31", "green": "32", "bold": "1", "dim": "2"}


@dataclass(kw_only=True)
class AttemptConfig(RolloutFlags, ComputeFlags):
    """One task for one model."""

    model_name_or_path: str = field(metadata={"help": "Hugging Face folder or hub name of the model."})
    text: str = field(metadata={"help": "The task, as a sentence or two."})
    test: list[str] = field(metadata={"help": "Assert statements that a right program passes; the model sees them."})
    num_turns: int = flag(2, "Turns of self-correction.")
    temperature: float = flag(0.0, "Sampling temperature; 0 is greedy decoding.")
    device: str = flag("auto", "Where the model runs: cpu, cuda, or auto.")

    def check(self) -> None:
        super().check()
        model_at("model_name_or_path", self.model_name_or_path)
        at_least(1, num_turns=self.num_turns)
        at_least(0, temperature=self.temperature)
        try:
            torch.device("cpu" if self.device == "auto" else self.device)
        except RuntimeError:
            raise ConfigError(f"--device is {self.device!r}: give auto, cpu, cuda or cuda:N") from None
        if self.device.startswith("cuda") and not torch.cuda.is_available():
            raise ConfigError(f"--device is {self.device}: there is no NVIDIA GPU here; use auto or cpu")
        if not self.text.strip():
            raise DataError("--text is empty; say what the program should do")
        if any(not test.strip() for test in self.test):
            raise DataError("--test is empty; give an assert statement such as 'assert f(1) == 2'")


def main(argv: list[str]) -> int:
    with exit_on_bad_input():
        config = parse_flags(AttemptConfig, argv, __doc__)
        start_logging(is_main=False)
        device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if config.device == "auto" else config.device)
        (problem,) = hide_tests([Problem("the task", config.text, "", tuple(config.test))], config.hidden_tests)
        tokenizer = load_tokenizer(config.model_name_or_path)
        model_config = load_model_config(config.model_name_or_path, config.attn_implementation)
        collector = build_collector(config, tokenizer, model_config, [problem], config.num_turns, 1, device)
    with collector.pool:
        dtype = compute_dtype(config.dtype, device)
        model = load_model(config.model_name_or_path, dtype, config.attn_implementation).to(device).eval()
        rollout = collector.collect(model, [problem], [1] * config.num_turns, config.temperature, [(config.seed,)])
        use_colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        print(shown([attempts[0] for attempts in rollout.turns], use_colour))
    return 0


def shown(attempts: list[Attempt], use_colour: bool) -> str:
    """The first program whole, then every correction as a diff to the one before, each with its verdict."""

    def paint(text: str, *colours: str) -> str:
        codes = ";".join(_COLOURS[colour] for colour in colours)
        return f"\x1b[{codes}m{text}\x1b[0m" if use_colour else text

    blocks = []
    for turn, attempt in enumerate(attempts, 1):
        verdict = attempt.verdict
        colour = "green" if attempt.is_correct else "red"
        ended = "the token limit" if attempt.finish_reason == "length" else attempt.finish_reason
        about = f"{verdict.passed} of {verdict.total} tests, {len(attempt.completion_ids)} tokens, ended by {ended}"
        lines = [f"{paint(f'Turn {turn}', 'bold')}  {paint(verdict.status, colour, 'bold')}  {paint(about, 'dim')}"]
        if attempt.parent is None:
            lines += [f"  {line}" for line in _printable(attempt.code).split("\n")]
        elif attempt.is_unchanged:
            lines.append(paint("  (the same program)", "dim"))
        else:
            lines += _diff(_printable(attempt.parent.code), _printable(attempt.code), paint)
        errors = dict.fromkeys(test.error for test in verdict.tests if test.error)
        lines += [paint(f"  ! {_printable(error)}", "red") for error in errors]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _diff(before: str, after: str, paint) -> list[str]:
    """All lines of both, marked - and +; `difflib`'s hints between them left out."""
    colours = {"-": "red", "+": "green"}
    marked = [line for line in difflib.ndiff(before.split("\n"), after.split("\n")) if not line.startswith("?")]
    return [paint(line, colours[line[0]]) if line[0] in colours else line for line in marked]


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
