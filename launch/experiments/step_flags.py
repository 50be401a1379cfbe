"""Flags that every arm of the speed comparison has which is not `train_cocos.py`: the step that is compared."""

import argparse
from pathlib import Path


def step_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser of those flags, by their names in `train_cocos.py`; an arm adds its own."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_name_or_path", required=True)
    parser.add_argument("--data", required=True, help="problems in MBPP format")
    parser.add_argument("--fewshot_data", help="solved problems shown before turn 1")
    parser.add_argument("--output_dir", type=Path, required=True, help="metrics.jsonl goes here")
    parser.add_argument("--global_batch_size", type=int, default=16, help="completions that a step learns from")
    parser.add_argument("--rloo_k", type=int, default=4, help="completions of a prompt")
    parser.add_argument("--max_new_tokens", type=int, default=128)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--learning_rate", type=float, default=1e-6)
    parser.add_argument("--kl_coef", type=float, default=0.01)
    parser.add_argument("--max_steps", type=int, default=3)
    parser.add_argument("--seed", type=int, default=42)
    return parser
