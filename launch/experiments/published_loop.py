"""The published two-turn RLOO loop's work, for `step_speed`: what a step does there, by the plainest means that do it.

    python -m launch.experiments.published_loop --model_name_or_path M --data F --output_dir D

A step, with what makes it that loop's and not ours:
1. A first attempt a problem and K corrections of each by `model.generate`, top-k 50, prompts left-padded and repeated K times.
   A row ends at EOS or the limit, with `--to_the_limit`, as published, at the limit alone. The end marker stops nothing, a
   batch goes on until its last row has ended, and the logits of the corrections are kept. It is
   `rl.sampling.bench.published_rollout`.
2. Logprobs over padded rows, all logits made and turned to float32: of the policy from the kept logits (corrections) or by a
   forward pass (first attempts), of the reference by forward passes. A prompt is computed for each of its K rows.
3. Programs one after another, each in a fresh interpreter with a time limit; a first attempt K times, since K rows hold it.
4. Score r2 - r1 + gamma r1 - beta KL, leave-one-out within a problem's K corrections, which alone are trained.
5. Micro-batches of padded rows, all logits again, clipped sequence ratio; gradients added up, clipped, one AdamW step. In
   bfloat16 weights and optimizer are bfloat16, without float32 masters.

Kinder than the published code, which runs every test alone in two fresh processes. Nothing here waits, or repeats
work, to be slow. Programs run under limits but in no sandbox: for a machine that can be lost.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass

import torch
from tqdm import tqdm
from transformers import PreTrainedModel

from data.order import ShuffledOrder
from data.problem import Problem, read_problems
from data.prompts import extract_code
from launch.experiments.step_flags import step_parser
from rl.advantages import leave_one_out
from rl.completion import decode
from rl.encoding import PromptEncoder
from rl.metrics import Clock
from rl.pretrained import eos_token_ids, load_model, load_tokenizer
from rl.sampling.bench import kept, published_rollout

CLIP, MAX_GRAD_NORM = 0.2, 1.0
# Prints how many tests passed; a program that breaks passes none.
GRADER = """
import json, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
code, tests = json.loads(sys.stdin.read())
scope, passed = {}, 0
exec(code, scope)
for test in tests:
    try:
        exec(test, scope)
        passed += 1
    except Exception:
        pass
sys.__stdout__.write(f"\\npassed {passed}\\n")
"""


@dataclass(frozen=True)
class Rows:
    """One turn's rows as tensors, [padding | prompt | completion | padding]."""

    input_ids: torch.Tensor  # (N, L)
    attention_mask: torch.Tensor  # (N, L)
    completion_mask: torch.Tensor  # (N, T) bool
    prompt_len: int

    @classmethod
    def pad(cls, prompts: list[list[int]], completions: list[list[int]], device: torch.device) -> "Rows":
        prompt_len, completion_len = max(map(len, prompts)), max(map(len, completions))
        ids, masks = [], []
        for prompt, completion in zip(prompts, completions):
            front, back = prompt_len - len(prompt), completion_len - len(completion)
            ids.append([0] * front + prompt + completion + [0] * back)
            masks.append([0] * front + [1] * (len(prompt) + len(completion)) + [0] * back)
        mask = torch.tensor(masks, device=device)
        return cls(torch.tensor(ids, device=device), mask, mask[:, prompt_len:].bool(), prompt_len)

    def select(self, rows: slice) -> "Rows":
        return Rows(self.input_ids[rows], self.attention_mask[rows], self.completion_mask[rows], self.prompt_len)

    def __len__(self) -> int:
        return len(self.input_ids)


def main() -> None:
    flags = _parse()
    dtype = getattr(torch, flags.dtype)
    tokenizer, problems = load_tokenizer(flags.model_name_or_path), read_problems(flags.data)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    policy, reference = (load_model(flags.model_name_or_path, dtype, "sdpa").to(device) for _ in range(2))
    reference.eval().requires_grad_(False)
    fewshot = read_problems(flags.fewshot_data) if flags.fewshot_data else []
    encoder = PromptEncoder(tokenizer, fewshot, eos_token_ids(policy.config, tokenizer))
    optimizer = torch.optim.AdamW(policy.parameters(), lr=flags.learning_rate, weight_decay=0.0)
    num_problems = flags.global_batch_size // flags.rloo_k
    order = ShuffledOrder(len(problems), flags.seed)
    torch.manual_seed(flags.seed)
    flags.output_dir.mkdir(parents=True, exist_ok=True)
    with open(flags.output_dir / "metrics.jsonl", "w", encoding="utf-8") as stream:
        for number in tqdm(range(flags.max_steps), desc="published"):
            chosen = [problems[row] for row in order.take(number * num_problems, num_problems)]
            metrics = step(policy, reference, optimizer, encoder, chosen, flags)
            print(json.dumps({"step": number + 1, **metrics}), file=stream, flush=True)


def _parse() -> argparse.Namespace:
    parser = step_parser(__doc__)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--per_device_train_batch_size", type=int, default=4, help="rows of a forward and backward pass")
    parser.add_argument("--max_rows", type=int, default=64, help="rows of a generation, and of a pass without gradients")
    parser.add_argument("--gamma", type=float, default=0.5)
    parser.add_argument("--to_the_limit", action="store_true", help="no token ends a row")
    parser.add_argument("--timeout_s", type=float, default=3.0, help="wall seconds of one program")
    return parser.parse_args()


def step(
    policy: PreTrainedModel,
    reference: PreTrainedModel,
    optimizer: torch.optim.Optimizer,
    encoder: PromptEncoder,
    problems: list[Problem],
    flags: argparse.Namespace,
) -> dict[str, float]:
    """One step; its times and counts under the names of our own metrics. Rows are K-major: problem by problem, K times over."""
    clock = Clock()

    def lap(name: str) -> None:
        if policy.device.type == "cuda":
            torch.cuda.synchronize()
        clock.lap(name)

    policy.eval()
    turns = published_rollout(policy, encoder, problems, flags, flags.to_the_limit)
    lap("sample_s")
    first, corrections = (Rows.pad(turn.prompts, turn.completions, policy.device) for turn in turns)
    with torch.no_grad():
        own = logprobs_of(policy, first, flags), from_logits(turns[1].logits, corrections, flags.temperature)
        theirs = [logprobs_of(reference, rows, flags) for rows in (first, corrections)]
    kls = [sequence_kl(rows, *pair) for rows, *pair in zip((first, corrections), own, theirs)]
    lap("kl_s")
    repeated = problems * flags.rloo_k
    r1 = grade(repeated, turns[0].completions * flags.rloo_k, encoder, flags.timeout_s)
    r2 = grade(repeated, turns[1].completions, encoder, flags.timeout_s)
    lap("reward_s")
    scores = r2 - r1 + flags.gamma * r1 - flags.kl_coef * kls[1].cpu()  # (N,)
    groups = scores.view(flags.rloo_k, -1).T  # (P, K)
    advantages = leave_one_out(groups, torch.ones_like(groups, dtype=torch.bool)).T.flatten()  # (N,)
    loss = update(policy, optimizer, corrections, own[1], advantages.to(policy.device), flags)
    lap("update_s")
    return {
        "train/loss": loss,
        "kl/turn1": kls[0].mean().item(),
        "kl/turn2": kls[1].mean().item(),
        "reward/turn1": r1.mean().item(),
        "reward/turn2": r2.mean().item(),
        "tokens/sampled": sum(len(ids) for turn in turns for ids in turn.completions),
        "tokens/kept": sum(len(kept(ids, encoder.stop)) for turn in turns for ids in turn.completions),
        **clock.metrics(),
    }


def logprobs_of(model: PreTrainedModel, rows: Rows, flags: argparse.Namespace) -> torch.Tensor:
    """log pi of every completion token (N, T), batch by batch; without meaning outside the mask."""
    batches = [rows.select(slice(start, start + flags.max_rows)) for start in range(0, len(rows), flags.max_rows)]
    return torch.cat([forward(model, batch, flags.temperature) for batch in batches])


def forward(model: PreTrainedModel, rows: Rows, temperature: float) -> torch.Tensor:
    """The same in one pass, through all logits of all columns."""
    positions = (rows.attention_mask.cumsum(-1) - 1).clamp(min=0)
    logits = model(
        input_ids=rows.input_ids, attention_mask=rows.attention_mask, position_ids=positions, use_cache=False
    ).logits  # (N, L, V)
    return from_logits([logits[:, rows.prompt_len - 1 : -1]], rows, temperature)


def from_logits(logits: list[torch.Tensor], rows: Rows, temperature: float) -> torch.Tensor:
    """log pi of every completion token (N, T) from the logits (n, T, V) that predict them, batch by batch."""
    logprobs = (torch.cat(logits).float() / temperature).log_softmax(-1)
    return logprobs.gather(-1, rows.input_ids[:, rows.prompt_len :, None]).squeeze(-1)


def sequence_kl(rows: Rows, own: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    """log pi - log pi_ref of every completion (N,)."""
    return (own - theirs).where(rows.completion_mask, 0.0).sum(-1)


def grade(problems: list[Problem], completions: list[list[int]], encoder: PromptEncoder, timeout_s: float) -> torch.Tensor:
    """Tests passed by every program (N,), one program after another."""
    codes = [extract_code(decode(encoder.tokenizer, ids)) for ids in completions]
    with tempfile.TemporaryDirectory() as folder:
        return torch.tensor([float(num_passed(code, problem, folder, timeout_s)) for code, problem in zip(codes, problems)])


def num_passed(code: str, problem: Problem, folder: str, timeout_s: float) -> int:
    """Tests that a program passes in an interpreter of its own; 0 where it does not come to its end."""
    tests = [f"{problem.test_setup_code}\n{test}" for test in problem.test_list]
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", GRADER],
            input=json.dumps([code, tests]),
            capture_output=True,
            text=True,
            errors="replace",
            cwd=folder,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return 0
    last = done.stdout.rstrip().rsplit("\n", 1)[-1]
    return int(last.removeprefix("passed ")) if last.startswith("passed ") else 0


def update(
    policy: PreTrainedModel,
    optimizer: torch.optim.Optimizer,
    rows: Rows,
    old_logprobs: torch.Tensor,
    advantages: torch.Tensor,
    flags: argparse.Namespace,
) -> float:
    """One optimizer step on all rows, and its loss."""
    policy.train()
    total = 0.0
    for start in range(0, len(rows), flags.per_device_train_batch_size):
        batch = slice(start, start + flags.per_device_train_batch_size)
        loss = clipped_loss(policy, rows.select(batch), old_logprobs[batch], advantages[batch], flags.temperature) / len(rows)
        loss.backward()
        total += loss.item()
    torch.nn.utils.clip_grad_norm_(policy.parameters(), MAX_GRAD_NORM)
    optimizer.step()
    optimizer.zero_grad()
    return total


def clipped_loss(
    policy: PreTrainedModel, rows: Rows, old_logprobs: torch.Tensor, advantages: torch.Tensor, temperature: float
) -> torch.Tensor:
    """-sum over rows of min(ratio * A, clip(ratio) * A), the ratio of whole completions."""
    ratios = sequence_kl(rows, forward(policy, rows, temperature), old_logprobs).exp()  # (N,)
    return -torch.minimum(ratios * advantages, ratios.clamp(1 - CLIP, 1 + CLIP) * advantages).sum()


if __name__ == "__main__":
    main()
