"""Rollout speed, ours beside plain `model.generate` called as the published code calls it, interleaved in one run.

    python -m rl.sampling.bench --model_name_or_path M --data F --fewshot_data F --max_new_tokens 256

Two turns of every way: one first attempt a problem, K corrections of each. The published way samples every row to the limit or
to EOS, pads prompts, repeats them for every correction and keeps the logits of the second turn.
"""

import argparse
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from tqdm import tqdm
from transformers import GenerationConfig, PreTrainedModel

from data.problem import Problem, read_problems
from data.prompts import extract_code
from rl.completion import StopCondition, decode
from rl.encoding import PromptEncoder
from rl.flags import exit_on_bad_input
from rl.pass_limit import PassLimit
from rl.pretrained import compute_dtype, eos_token_ids, load_model, load_tokenizer
from rl.sampling.batch import sample_batch
from rl.sampling.packed_linears import packed_linears
from rl.sampling.paged import sample_paged
from rl.sampling.prefill import left_pad
from rl.sampling.prompt_memory import PromptMemory
from rl.sampling.sampler import Sampler, sample_graphs
from rl.trajectory import Attempt

WAYS = ["generate", "batch", "graphs", "drafts", "paged"]
BANDWIDTH_BYTES = 1 << 28


@dataclass
class Times:
    """Seconds of one rollout and where they went, with the tokens that it kept."""

    wall_s: float = 0.0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    decode_steps: int = 0
    num_tokens: int = 0


def main() -> None:
    with exit_on_bad_input():
        bench(_parse())


def bench(flags: argparse.Namespace) -> None:
    """Run every way in turn and print the table. Raises: ConfigError, DataError."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tokenizer = load_tokenizer(flags.model_name_or_path)
    dtype = compute_dtype(flags.dtype, device)
    model = load_model(flags.model_name_or_path, dtype, flags.attn_implementation).to(device).eval()
    fewshot = read_problems(flags.fewshot_data) if flags.fewshot_data else []
    encoder = PromptEncoder(tokenizer, fewshot, eos_token_ids(model.config, tokenizer))
    problems = read_problems(flags.data)[: flags.num_problems]
    ways: dict[str, Callable[[int], int]] = {
        "generate": lambda seed: published(model, encoder, problems, flags, seed),
        "batch": lambda seed: ours(sample_batch, model, encoder, problems, flags, seed),
        "graphs": lambda seed: ours(sample_graphs, model, encoder, problems, flags, seed),
        "drafts": lambda seed: ours(sample_batch, model, encoder, problems, flags, seed, flags.prompt_lookup_num_tokens),
        "paged": lambda seed: ours(sample_paged, model, encoder, problems, flags, seed),
    }
    ways = {name: ways[name] for name in flags.ways or [name for name in ways if name != "graphs" or device.type == "cuda"]}
    times: dict[str, list[Times]] = {name: [] for name in ways}
    for seed in tqdm(range(flags.rounds), desc="rounds"):
        for name, run in ways.items():
            with _timed(model, name != "graphs") as result:
                result.num_tokens = run(seed)
            times[name].append(result)
    print(report(times, model, len(problems) * flags.rloo_k))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_name_or_path", required=True)
    parser.add_argument("--data", required=True, help="problems in MBPP format")
    parser.add_argument("--fewshot_data", help="solved problems shown before turn 1")
    parser.add_argument("--num_problems", type=int, default=8)
    parser.add_argument("--rloo_k", type=int, default=4)
    parser.add_argument("--max_new_tokens", type=int, default=256)
    parser.add_argument("--temperature", type=float, default=0.9)
    parser.add_argument("--max_rows", type=int, default=64)
    parser.add_argument("--dtype", choices=["auto", "float32", "bfloat16"], default="auto")
    parser.add_argument("--attn_implementation", default="sdpa")
    parser.add_argument("--prompt_lookup_num_tokens", type=int, default=8, help="most tokens of a draft")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ways", nargs="+", choices=WAYS, help="default: all that can run here")
    return parser.parse_args(sys.argv[1:])


def ours(
    sampler: Sampler,
    model: PreTrainedModel,
    encoder: PromptEncoder,
    problems: list[Problem],
    flags: argparse.Namespace,
    seed: int,
    max_draft: int = 0,
) -> int:
    """Both turns through our sampler; the number of tokens kept."""
    draw = {"max_new_tokens": flags.max_new_tokens, "temperature": flags.temperature, "limit": PassLimit(flags.max_rows)}
    draw |= {"memory": (memory := PromptMemory()), "max_draft": max_draft}
    prompts = [encoder.first_ids(problem, sys.maxsize) for problem in problems]
    seeds = [(seed, i) for i in range(len(prompts))]
    with packed_linears(model):
        memory.start_turn(flags.max_rows)
        firsts = [row[0] for row in sampler(model, prompts, 1, encoder.stop, seeds=seeds, **draw)]
        attempts = [
            Attempt(problem, prompt, first.completion_ids, first.logprobs, first.finish_reason, code="")
            for problem, prompt, first in zip(problems, prompts, firsts)
        ]
        prompts = [encoder.correction_ids(attempt) for attempt in attempts]
        memory.start_turn(0)
        corrections = sampler(model, prompts, flags.rloo_k, encoder.stop, seeds=[(*seed, 0) for seed in seeds], **draw)
    return sum(len(s.completion_ids) for s in firsts) + sum(len(s.completion_ids) for row in corrections for s in row)


def published(
    model: PreTrainedModel, encoder: PromptEncoder, problems: list[Problem], flags: argparse.Namespace, seed: int
) -> int:
    """Both turns through `generate`; the number of tokens that come before the end marker or EOS, which are those of use."""
    torch.manual_seed(seed)
    turns = published_rollout(model, encoder, problems, flags)
    return sum(len(kept(ids, encoder.stop)) for turn in turns for ids in turn.completions)


@dataclass(frozen=True)
class Generated:
    """One turn of `published_rollout`: prompts, what followed each up to EOS or the limit, and the logits (N, T, V) of it."""

    prompts: list[list[int]]
    completions: list[list[int]]
    logits: list[torch.Tensor]  # of each batch of --max_rows; none of turn 1


def published_rollout(
    model: PreTrainedModel,
    encoder: PromptEncoder,
    problems: list[Problem],
    flags: argparse.Namespace,
    to_the_limit: bool = False,
) -> tuple[Generated, Generated]:
    """A first attempt of each problem and `rloo_k` corrections of it, as the published code samples them.

    Corrections come problem by problem, `rloo_k` times over. `flags` has rloo_k, max_new_tokens, temperature and max_rows. The
    published code goes on `to_the_limit`; without it a row ends at EOS.
    """
    prompts = [encoder.first_ids(problem, sys.maxsize) for problem in problems]
    first = _generate(model, encoder, prompts, flags, to_the_limit, keep_logits=False)
    attempts = []
    for problem, prompt, ids in zip(problems, prompts, first.completions):
        ids = kept(ids, encoder.stop)
        reason = encoder.stop.finish_reason(ids) or "length"
        attempts.append(Attempt(problem, prompt, ids, [], reason, code=extract_code(decode(encoder.tokenizer, ids))))
    prompts = [encoder.correction_ids(attempt) for attempt in attempts] * flags.rloo_k
    return first, _generate(model, encoder, prompts, flags, to_the_limit, keep_logits=True)


def _generate(
    model: PreTrainedModel,
    encoder: PromptEncoder,
    prompts: list[list[int]],
    flags: argparse.Namespace,
    to_the_limit: bool,
    keep_logits: bool,
) -> Generated:
    eos = [-1] if to_the_limit else sorted(encoder.stop.eos_token_ids)  # -1: no token
    config = GenerationConfig(
        max_new_tokens=flags.max_new_tokens,
        do_sample=True,
        temperature=flags.temperature,
        top_k=50,
        eos_token_id=eos,
        pad_token_id=0,
        output_logits=keep_logits,
        return_dict_in_generate=True,
    )
    generated = Generated(prompts, [], [])
    for start in range(0, len(prompts), flags.max_rows):
        input_ids, attention_mask = left_pad(prompts[start : start + flags.max_rows], model.device)
        out = model.generate(input_ids=input_ids, attention_mask=attention_mask, generation_config=config)
        if keep_logits:
            generated.logits.append(torch.stack(out.logits, 1))  # from which the published code takes its logprobs
        rows = out.sequences[:, input_ids.shape[1] :].tolist()
        generated.completions.extend(ids[: next((i for i, t in enumerate(ids, 1) if t in eos), len(ids))] for ids in rows)
    return generated


def kept(ids: list[int], stop: StopCondition) -> list[int]:
    """`ids` up to the end marker or EOS."""
    return next((ids[:n] for n in range(1, len(ids) + 1) if stop.finish_reason(ids[:n])), ids)


@contextmanager
def _timed(model: PreTrainedModel, by_pass: bool):
    """Times of what runs inside; `by_pass`, the model's forward passes apart: those of one token a row are decoding.

    Recorded steps have no passes to time, and a recording no room for it.
    """
    result, state = Times(), {}

    def synchronize() -> float:
        if model.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def before(module: Any, args: tuple, kwargs: dict) -> None:
        state["start"] = synchronize()

    def after(module: Any, args: tuple, kwargs: dict, output: Any) -> None:
        elapsed = synchronize() - state["start"]
        if kwargs["input_ids"].shape[-1] == 1:
            result.decode_s, result.decode_steps = result.decode_s + elapsed, result.decode_steps + 1
        else:
            result.prefill_s += elapsed

    handles = []
    if by_pass:
        handles.append(model.register_forward_pre_hook(before, with_kwargs=True))
        handles.append(model.register_forward_hook(after, with_kwargs=True))
    start = synchronize()
    yield result
    result.wall_s = synchronize() - start
    for handle in handles:
        handle.remove()


def report(times: dict[str, list[Times]], model: PreTrainedModel, num_rollouts: int) -> str:
    """One line a way: medians over rounds, and the ratio to the first way."""
    weight_bytes = sum(p.numel() * p.element_size() for p in model.parameters())
    floor_s = weight_bytes / bandwidth(model.device)
    lines = [
        f"weights {weight_bytes / 2**20:.0f} MiB, read in no less than {1000 * floor_s:.1f} ms a step (measured bandwidth)",
        f"{'':10}{'wall s':>9}{'prefill':>9}{'decode':>9}{'other':>8}{'steps':>7}{'ms/step':>9}{'tokens':>8}{'tokens/s':>10}"
        f"{'rollouts/s':>12}{'x faster':>10}",
    ]
    base = median(t.wall_s for t in next(iter(times.values())))
    for name, rounds in times.items():
        wall, prefill, decode_s = (median(getattr(t, key) for t in rounds) for key in ("wall_s", "prefill_s", "decode_s"))
        other, rate = wall - prefill - decode_s, num_rollouts / wall
        tokens, steps = median(t.num_tokens for t in rounds), median(t.decode_steps for t in rounds)
        lines.append(
            f"{name:10}{wall:9.2f}{prefill:9.2f}{decode_s:9.2f}{other:8.2f}{steps:7.0f}{1000 * decode_s / max(steps, 1):9.1f}"
            f"{tokens:8.0f}{tokens / wall:10.1f}{rate:12.2f}{base / wall:10.1f}"
        )
    return "\n".join(lines)


def bandwidth(device: torch.device) -> float:
    """Bytes a second that a large sum reads on `device`, the best of five."""
    block = torch.ones(BANDWIDTH_BYTES // 4, device=device)
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        block.sum().item()
        best = min(best, time.perf_counter() - start)
    return BANDWIDTH_BYTES / best


if __name__ == "__main__":
    main()
