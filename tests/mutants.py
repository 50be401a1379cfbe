"""Change the mathematics in one place at a time and see that the tests notice: `python tests/mutants.py [MODULE ...]`.

Each mutant is a file, a piece of its source that stands there exactly once, and what to write instead. The tests run on a copy
of the tree; a mutant that they let through is printed, and the exit code is 1.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
TESTS = (
    "advantages", "enumeration", "losses", "rewards", "rollout", "kl_control", "scoring", "ppo", "resampling",
    "packed_attention", "sampling_decoding",
)  # fmt: skip
MUTANTS = (
    ("advantages", "(num_valid - 1).clamp(min=1)\n    return", "num_valid.clamp(min=1)\n    return"),
    ("advantages", "return (scores - baseline).where", "return (baseline - scores).where"),
    ("advantages", "(kept.sum(-1, keepdim=True) - kept) / (num_valid", "kept.sum(-1, keepdim=True) / (num_valid"),
    ("advantages", "is_valid & (num_valid > 1)", "is_valid & (num_valid > 0)"),
    ("advantages", "kept = scores.where(is_valid, 0.0)\n    num_valid", "kept = scores\n    num_valid"),
    ("advantages", "returns[turn - 1] - penalty", "returns[turn - 1] + penalty"),
    ("advantages", "for own in penalties[turn - 1 :]", "for own in penalties[turn:]"),
    ("advantages", "for own in penalties[turn - 1 :]", "for own in penalties"),
    ("advantages", "is_valid[axis - 1 if", "is_valid[axis if"),
    ("advantages", "range(turn, 0, -1)", "range(turn - 1, 0, -1)"),
    ("advantages", "if leaf_shape[axis] > 1", "if leaf_shape[axis] > 0"),
    ("advantages", "rewards[0] - penalties[0]", "rewards[0]"),
    ("advantages", "(total - kept) / (count - 1)", "total / count"),
    ("advantages", "/ (std + STD_EPSILON)", "/ (std + 1.0)"),
    ("advantages", "num_valid.clamp(min=1), num_valid > 0", "values.shape[-1], num_valid > 0"),
    ("rewards", "gamma ** (num_turns - turn)", "gamma ** (turn - 1)"),
    ("rewards", "(current - previous)", "current"),
    ("rewards", "torch.stack(leaves[turn:])", "torch.stack(leaves)"),
    ("rewards", "(leaves[-1] - leaves[0])", "(leaves[0] - leaves[-1])"),
    ("rewards", "float(num_passed == num_tests)", "float(num_passed > 0)"),
    ("losses", "return -(row_weights", "return (row_weights"),
    ("losses", "logprobs = logprobs * token_weights", "logprobs = logprobs / token_weights"),
    ("losses", "logprobs.where(completion_mask, 0.0).sum(-1)", "logprobs.sum(-1)"),
    ("losses", "(logprobs.detach() - sampling_logprobs)", "(sampling_logprobs - logprobs.detach())"),
    ("losses", "x.square() / 2", "x.square()"),
    ("losses", "torch.expm1(-x) + x", "torch.expm1(x) - x"),
    ("losses", "per_attempt / lengths.clamp(min=1)", "per_attempt"),
    ("losses", "is_trained.double() / max(num_tokens, 1)", "per_attempt"),
    ("losses", "return per_attempt / max_tokens", "return per_attempt"),
    ("losses", "is_trained.double() / max(num_attempts, 1)", "1.0 / is_trained.double().new_full(lengths.shape, num_attempts)"),
    ("losses", "(logprobs - old_logprobs).where", "(old_logprobs - logprobs).where"),
    ("losses", "return x.detach().exp() * (", "return ("),
    ("losses", "x if token_weights is None else x * token_weights", "x"),
    ("losses", "torch.minimum(ratios", "torch.maximum(ratios"),
    ("losses", "ratios.clamp(1 - clip_low, 1 + clip_high)", "ratios.clamp(1 - clip_high, 1 + clip_low)"),
    ("losses", "pessimistic.where(ratio_mask, 0.0)", "pessimistic"),
    ("losses", "(gains < 0) & (ratios < 1 - clip_low)", "(gains > 0) & (ratios < 1 - clip_low)"),
    ("losses", "(ratios > 1 + clip_high)", "(ratios > 1 + clip_low)"),
    ("logprobs", "(logits.float() / temperature).log_softmax", "logits.float().log_softmax"),
    ("logprobs", "return -(logprobs.exp() * logprobs)", "return (logprobs.exp() * logprobs)"),
    ("logprobs", "logits = logits.float() / temperature", "logits = logits.float()"),
    ("completion_batch", "columns += [last, *range(len(ids), len(ids)", "columns += [last, *range(len(ids) + 1, len(ids) + 1"),
    ("completion_batch", "positions += range(len(prompt), len", "positions += range(1, 1 - len(prompt) + len"),
    ("completion_batch", "< lengths.unsqueeze(-1)", "<= lengths.unsqueeze(-1)"),
    ("completion_batch", "(mask.cumsum(-1) - 1)", "mask.cumsum(-1)"),
    ("packed_attention", ".triu(width - length + 1)", ".triu(1)"),
    ("packed_attention", "else columns.argsort()", "else columns"),
    ("packed_attention", "is_causal=True, scale", "is_causal=False, scale"),
    ("packed_attention", "(start, start + prompt), device", "(start, start + prompt - 1), device"),
    ("attention", "any(type(layer) is not DynamicLayer", "all(type(layer) is not DynamicLayer"),
    ("attention", "key is cached.keys and value is cached.values", "True"),
    ("attention", "model.train(was_training)", "pass"),
    ("sampling/ahead", "self._inputs[2:].add_(1)", "self._inputs[2:3].add_(1)"),
    ("sampling/ahead", "column + self._states.num_before", "column"),
    ("sampling/ahead", "self._num.add_(1)", "self._num.add_(0)"),
    ("sampling/partial_attention", "torch.stack(log_totals).softmax(0)", "torch.stack(log_totals).softmax(0).fill_(0.5)"),
    ("sampling/partial_attention", "masked_fill_(is_hidden", "masked_fill_(~is_hidden"),
    ("sampling/decoding", "> column.unsqueeze(-1)", ">= column.unsqueeze(-1)"),
    ("sampling/batch", "slice(num_own + 1, num_own + 1 + AHEAD)", "slice(num_own, num_own + AHEAD)"),
    ("scoring", "sum(attempt.sampling_logprobs) - sum(", "-sum(attempt.sampling_logprobs) + sum("),
    ("scoring", "valid & ~cut", "valid"),
    ("scoring", "coef * kl + truncation_penalty", "coef * kl - truncation_penalty"),
    ("scoring", "(mask * n).sum()", "n.sum()"),
    ("scoring", "turn_weight * row_weights(", "row_weights("),
    ("scoring", "amax(-1) for a in weighed]).amax(0)", "amax(-1) for a in weighed]).amin(0)"),
    ("scoring", "[0.0] * len(rewards)", "[1.0] * len(rewards)"),
    ("train_rows", "truncated_importance_weights(old_logprobs, sampled", "truncated_importance_weights(logprobs, sampled"),
    ("train_rows", "loss - terms.entropy_coef", "loss + terms.entropy_coef"),
    ("train_rows", "(weights * kl_coefs * penalty)", "(weights * penalty)"),
    ("train_rows", "(advantages * weights != 0).unsqueeze(-1)", "(advantages * weights == 0).unsqueeze(-1)"),
    ("ppo", "row.weight * flags.num_mini_batches", "row.weight"),
    ("ppo", "if epoch == 0:", "if True:"),
    ("ppo", "split[parts[place % num_parts]]", "split[place % num_parts]"),
    ("resampling", "places = range(num_used + sum(wanted[:rank])", "places = range(num_used"),
    ("resampling", "self.position += num_used", "self.position += self._flags.problems_per_step"),
    ("resampling", "num_rounds < self._flags.max_rounds", "num_rounds <= self._flags.max_rounds"),
    ("scoring", "if attempt.has_verdict else 0.0", "if attempt.has_verdict else 1.0"),
    ("kl_control", "self.value *= 1 + RATE * error", "self.value *= 1 - RATE * error"),
)  # fmt: skip


def survives(module: str, source: str, replacement: str) -> bool:
    """Whether the tests pass on a copy of the tree with this change."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "tree"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "runs", "__pycache__", "*.egg-info"))
        path = copy / "rl" / f"{module}.py"
        text = path.read_text()
        assert text.count(source) == 1, f"rl/{module}.py has {source!r} {text.count(source)} times: the list is out of date"
        path.write_text(text.replace(source, replacement))
        tests = [f"tests/test_rl_{name}.py" for name in TESTS]
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--durations=0", *tests]
        done = subprocess.run(command, cwd=copy, capture_output=True, env={**os.environ, "PYTHONPATH": str(copy)}, check=False)
        assert done.returncode in (0, 1), done.stdout.decode()[-2000:]
        return done.returncode == 0


def main() -> int:
    survivors = 0
    chosen = [mutant for mutant in MUTANTS if not sys.argv[1:] or mutant[0] in sys.argv[1:]]
    for number, mutant in enumerate(chosen, 1):
        module, source, replacement = mutant
        lives = survives(*mutant)
        survivors += lives
        verdict = "SURVIVED" if lives else "killed"
        print(f"{number:>2} of {len(chosen)} {verdict:>8}  rl/{module}.py: {source!r} -> {replacement!r}", flush=True)
    print(f"{survivors} of {len(chosen)} survived")
    return int(survivors > 0)


if __name__ == "__main__":
    sys.exit(main())
