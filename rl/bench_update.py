"""Time and peak memory of an update's forward and backward passes, ours beside the plain way to write them.

    python -m rl.bench_update --model_name_or_path M --data F --rloo_k 4 --max_new_tokens 256 --rows 4

Every variant runs in a process of its own, so that its peak is its own, `--rounds` times in turn; all see the same rows: real
prompts, each with `--rloo_k` completions of random lengths. Optimizer and collectives are left out: they are the same for all.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from data.problem import read_problems
from data.prompts import first_prompt
from rl import logprobs
from rl.flags import exit_on_bad_input
from rl.micro_batches import micro_batches
from rl.pass_limit import PassLimit
from rl.pretrained import load_model, load_tokenizer
from rl.train_rows import PLAIN_LOSS, TrainRow, rows_loss

VARIANTS = {
    "plain": "all logits of padded rows, log_softmax under autograd",
    "chunked": "logprobs from hidden states, a chunk of logits at a time",
    "chunked, packed": "and in one row without padding, a prompt once for all of its completions (the default)",
    "chunked, packed, checkpointing": "and activations computed again",
}


class Bare:
    """What `rows_loss` asks of an engine, without one."""

    def __init__(self, module: torch.nn.Module):
        self.module, self.device = module, module.device

    def __call__(self, **inputs: Any) -> Any:
        return self.module(**inputs)


def main() -> None:
    flags = _parse()
    if flags.variant:
        with exit_on_bad_input():
            print("MEASURED", json.dumps(measure(flags)))
        return
    found: dict[str, list[dict[str, float]]] = {name: [] for name in VARIANTS}
    for _ in range(flags.rounds):
        for name in VARIANTS:
            command = [sys.executable, "-m", "rl.bench_update", *sys.argv[1:], "--variant", name]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
            if done.returncode:
                sys.exit(done.returncode)  # it has said why
            text = done.stdout
            found[name].append(json.loads(text[text.index("MEASURED") + len("MEASURED") :]))
    print(_table(found))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_name_or_path", required=True)
    parser.add_argument("--data", required=True, help="problems in MBPP format")
    parser.add_argument("--num_problems", type=int, default=4)
    parser.add_argument("--rloo_k", type=int, default=4, help="completions of each prompt")
    parser.add_argument("--max_new_tokens", type=int, default=256, help="completions have from an eighth of it to all of it")
    parser.add_argument("--rows", type=int, default=4, help="rows of a pass")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--variant", choices=list(VARIANTS), help="measure this one here and now")
    return parser.parse_args()


def measure(flags: argparse.Namespace) -> dict[str, float]:
    """Seconds of all passes, and the peak of the process above what it had with the model loaded, in GB."""
    checkpointing, pack = "checkpointing" in flags.variant, "packed" in flags.variant
    model = load_model(flags.model_name_or_path, getattr(torch, flags.dtype), "sdpa", checkpointing).to(flags.device).train()
    rows = made_rows(flags)
    batches = [[rows[i] for i in batch] for batch in micro_batches(rows, PassLimit(flags.rows), pack)]
    loss_of = plain_loss if flags.variant == "plain" else our_loss(pack)
    logprobs.has_plain_head(model, model.device)
    start_peak = peak_bytes(model.device)
    losses = []
    start = time.perf_counter()
    for batch in batches:
        loss = loss_of(model, batch)
        loss.backward()
        losses.append(loss.item())
    seconds = time.perf_counter() - start
    num_tokens = sum(len(row.completion_ids) for row in rows)
    return {
        "seconds": seconds,
        "tokens_per_s": num_tokens / seconds,
        "peak_gb": (peak_bytes(model.device) - start_peak) / 1e9,
        "loss": sum(losses),
    }


def made_rows(flags: argparse.Namespace) -> list[TrainRow]:
    """`--rloo_k` completions of each prompt, of lengths and ids from one seed."""
    tokenizer, draw = load_tokenizer(flags.model_name_or_path), random.Random(0)
    rows = []
    for problem in read_problems(flags.data)[: flags.num_problems]:
        prompt_ids = tokenizer(first_prompt(problem))["input_ids"]
        for _ in range(flags.rloo_k):
            count = draw.randint(flags.max_new_tokens // 8, flags.max_new_tokens)
            completion_ids = [draw.randrange(len(tokenizer)) for _ in range(count)]
            rows.append(TrainRow(prompt_ids, completion_ids, draw.choice([-1.0, 1.0]), 0.01))
    return rows


def our_loss(pack: bool) -> Callable[[torch.nn.Module, Sequence[TrainRow]], torch.Tensor]:
    return lambda model, rows: rows_loss(Bare(model), rows, pack, 1.0, PLAIN_LOSS)[0]


def plain_loss(model: torch.nn.Module, rows: Sequence[TrainRow]) -> torch.Tensor:
    """The same sum as it is usually written: right padding, logits of every position, log_softmax, gather."""
    ids = pad_sequence([torch.tensor(row.prompt_ids + row.completion_ids) for row in rows], batch_first=True).to(model.device)
    lengths = torch.tensor([len(row.prompt_ids) + len(row.completion_ids) for row in rows], device=model.device)
    starts = torch.tensor([len(row.prompt_ids) for row in rows], device=model.device)
    columns = torch.arange(ids.shape[1], device=model.device)
    mask = (columns >= starts[:, None]) & (columns < lengths[:, None])
    logits = model(input_ids=ids, attention_mask=(columns < lengths[:, None]).long(), use_cache=False).logits
    log_probs = logits[:, :-1].float().log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)
    weights = torch.tensor([row.advantage * row.weight for row in rows], device=model.device)
    return -(weights * (log_probs * mask[:, 1:]).sum(-1)).sum()


def peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _table(found: dict[str, list[dict[str, float]]]) -> str:
    first = median(run["seconds"] for run in found["plain"]), median(run["peak_gb"] for run in found["plain"])
    lines = [
        "| | seconds | against plain | completion tokens/s | peak GB above the model | of plain's | loss |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, runs in found.items():
        seconds, peak = median(run["seconds"] for run in runs), median(run["peak_gb"] for run in runs)
        speed = median(run["tokens_per_s"] for run in runs)
        lines.append(
            f"| {name} | {seconds:.1f} | {first[0] / seconds:.2f}x | {speed:.0f} | {peak:.2f} | {peak / first[1]:.0%} | "
            f"{runs[0]['loss']:.4f} |"
        )
    return "\n".join([*lines, "", *[f"{name}: {what}." for name, what in VARIANTS.items()]])


if __name__ == "__main__":
    main()
