"""The model card, `README.md` of a checkpoint: what was trained, on what, how, with which results, and how to use it.

Only what the run knows: flags as they were given, metrics as they were logged, versions as they were installed. No licence is
stated, for that of the weights it started from is not known here.
"""

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from data.fences import fenced
from data.problem import Problem
from data.prompts import MARKERS, Template
from rl.chat import ChatFormat
from rl.cocos_config import CocosConfig
from rl.train_config import TrainFlags

_METHODS = {
    "BoostConfig": "supervised learning of first attempts and corrections (the boost stage before RL)",
    "CocosConfig": "policy gradients with unit-test rewards",
}
_EXAMPLE = Problem("", "Write a function add that adds two numbers.", "", ("assert add(1, 2) == 3",))
# Metrics of the last step that say something about the model, not about the machine.
_SHOWN = ("accuracy/", "reward/", "kl/mean", "transition/", "train/loss")


def model_card(
    config: TrainFlags,
    resolved: Mapping[str, Any],
    step: int,
    metrics: Mapping[str, float],
    summary: Mapping[str, Any] | None,
    summary_step: int | None,
    template: Template | ChatFormat = MARKERS,
) -> str:
    """The card's Markdown. `metrics` are the last step's, `summary` the last evaluation's with its step, if there was one."""
    base = config.model_name_or_path
    sections = {
        "Method": _method(config, step),
        "Data": _data(config),
        "Results": _results(metrics, summary, summary_step, config.eval_data),
        "Use": _use(config, template),
        "Flags": _flags(config),
        "Versions": "\n".join(f"- {name} {version}" for name, version in resolved["versions"].items())
        + f"\n- Python {resolved['python']}",
    }
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items())
    front = f"---\nbase_model: {json.dumps(base)}\nlibrary_name: transformers\npipeline_tag: text-generation\n---"
    return f"{front}\n\n# {Path(base).name}, step {step} of {Path(config.output_dir).name}\n\n{body}\n"


def _method(config: TrainFlags, step: int) -> str:
    method = _METHODS[type(config).__name__]
    lines = [f"Started from `{config.model_name_or_path}`; {step} steps of {method}."]
    if _is_rl(config):
        tree = f"A problem has {config.first_attempts} first attempts"
        if config.num_turns > 1:
            tree += f", each of them {config.rloo_k} corrections, over {config.num_turns} turns"
        lines.append(
            f"{tree}; baseline {config.baseline}, KL coefficient {config.kl_coef:g}. The method is CoCoS (Cho et al., arXiv "
            "2505.23060), in an independent implementation."
        )
    return " ".join(lines)


def _is_rl(config: TrainFlags) -> bool:
    """Boost pairs bring their own prompts, so that flags of prompts are those of its evaluation."""
    return isinstance(config, CocosConfig)


def _data(config: TrainFlags) -> str:
    lines = [f"- trained on `{config.train_data}`"]
    if _is_rl(config) and config.fewshot_data:
        lines.append(f"- examples before turn 1: `{config.fewshot_data}`")
    lines.append(f"- evaluated on `{config.eval_data}`" if config.eval_data else "- not evaluated during training")
    return "\n".join(lines)


def _results(
    metrics: Mapping[str, float], summary: Mapping[str, Any] | None, summary_step: int | None, eval_data: str | None
) -> str:
    parts = []
    if summary and summary.get("num_problems"):
        rows = [
            f"| {name} | {rate['value']:.4f} | {rate['low']:.4f} to {rate['high']:.4f} |"
            for name, rate in summary.items()
            if isinstance(rate, dict) and "value" in rate
        ]
        parts.append(
            f"Greedy decoding on the {summary['num_problems']} problems of `{eval_data}` after step {summary_step}:\n\n"
            "| | value | 95% interval |\n|---|---|---|\n" + "\n".join(rows)
        )
    shown = {name: value for name, value in metrics.items() if name.startswith(_SHOWN)}
    if shown:
        rows = [f"| {name} | {value:.4g} |" for name, value in shown.items()]
        parts.append("The last training step, on training data:\n\n| | mean |\n|---|---|\n" + "\n".join(rows))
    return "\n\n".join(parts) or "None recorded."


def _use(config: TrainFlags, template: Template | ChatFormat) -> str:
    is_rl = _is_rl(config)
    has_fewshot = is_rl and bool(config.fewshot_data)
    shots = "Few-shot examples stood before turn 1 in training; put the same there. " if has_fewshot else ""
    told = ""
    if has_fewshot and config.history == "last":
        told = " The examples did not stand there in training, the task and the attempt alone (`--history last`)."
    if is_rl and config.feedback != "none":
        told += f" In training it also said how the tests of that attempt went (`--feedback {config.feedback}`)."
    attempt = "def add(a, b):\n    return a - b"
    first = template.first_prompt(_EXAMPLE)
    answer = (fenced(attempt) if isinstance(template, ChatFormat) else attempt) + template.closing
    end = f"`{template.marker}`" if template.marker else "the end of its turn"
    return (
        "```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        'model = AutoModelForCausalLM.from_pretrained("FOLDER")\ntokenizer = AutoTokenizer.from_pretrained("FOLDER")\n```\n\n'
        f"{shots}A first attempt is prompted like this, to the letter; the model writes a program and {end}:\n\n"
        f"{_indented(first)}\n\n"
        f"A correction's prompt holds the first attempt.{told}\n\n"
        f"{_indented(first + answer + template.correction_suffix(has_fewshot))}\n\n"
        f"The last characters of a prompt are {first[-10:]!r}. Run generated programs in a sandbox only."
    )


def _flags(config: TrainFlags) -> str:
    values = {f.name: getattr(config, f.name) for f in fields(config)}
    return "```json\n" + json.dumps({name: value for name, value in values.items() if name != "local_rank"}, indent=2) + "\n```"


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.rstrip("\n").split("\n"))
