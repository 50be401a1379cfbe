"""Change the mathematics in one place at a time and see that the tests notice: `python tests/mutants.py`.

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
TESTS = ("advantages", "enumeration", "losses", "rewards", "rollout", "kl_control")
MUTANTS = (
    ("advantages", "(num_valid - 1).clamp(min=1)\n    return", "num_valid.clamp(min=1)\n    return"),
    ("advantages", "return (scores - baseline).where", "return (baseline - scores).where"),
    ("advantages", "(kept.sum(-1, keepdim=True) - kept) / (num_valid", "kept.sum(-1, keepdim=True) / (num_valid"),
    ("advantages", "is_valid & (num_valid > 1)", "is_valid & (num_valid > 0)"),
    ("advantages", "kept = scores.where(is_valid, 0.0)\n    num_valid", "kept = scores\n    num_valid"),
    ("advantages", "returns - kl_coef * penalty", "returns + kl_coef * penalty"),
    ("advantages", "for kl in kls[turn - 1 :]", "for kl in kls[turn:]"),
    ("advantages", "for kl in kls[turn - 1 :]", "for kl in kls"),
    ("advantages", "has_verdict[axis - 1 if", "has_verdict[axis if"),
    ("advantages", "range(turn, 0, -1)", "range(turn - 1, 0, -1)"),
    ("advantages", "if leaf_shape[axis] > 1", "if leaf_shape[axis] > 0"),
    ("advantages", "rewards[0] - kl_coef * kls[0]", "rewards[0]"),
    ("advantages", "(total - kept) / (count - 1)", "total / count"),
    ("advantages", "/ (std + STD_EPSILON)", "/ (std + 1.0)"),
    ("advantages", "num_valid.clamp(min=1), num_valid > 0", "values.shape[-1], num_valid > 0"),
    ("rewards", "gamma ** (num_turns - turn)", "gamma ** (turn - 1)"),
    ("rewards", "(current - previous)", "current"),
    ("rewards", "float(num_passed == num_tests)", "float(num_passed > 0)"),
    ("losses", "return -(row_weights", "return (row_weights"),
    ("losses", "logprobs = logprobs * token_weights", "logprobs = logprobs / token_weights"),
    ("losses", "logprobs.where(completion_mask, 0.0).sum(-1)", "logprobs.sum(-1)"),
    ("losses", "(logprobs.detach() - sampling_logprobs)", "(sampling_logprobs - logprobs.detach())"),
    ("losses", "x.square() / 2", "x.square()"),
    ("losses", "torch.expm1(-x) + x", "torch.expm1(x) - x"),
    ("logprobs", "[0, *range(start + 1, start + len(completion))]", "[0, *range(start, start + len(completion) - 1)]"),
    ("logprobs", "logits = logits.float() / temperature", "logits = logits.float()"),
    ("logprobs", "len(prompt) + len(completion))\n", "len(prompt) + len(completion) + 1)[1:]\n"),
    ("logprobs", "(key == _PROMPT) | (key == query)", "(key >= _PROMPT)"),
    ("logprobs", "< lengths.unsqueeze(-1)", "<= lengths.unsqueeze(-1)"),
    ("scoring", "sum(attempt.sampling_logprobs) - sum(", "-sum(attempt.sampling_logprobs) + sum("),
    ("scoring", "/ max(1, normalizers[turn - 1])", "/ len(attempts)"),
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
    for number, mutant in enumerate(MUTANTS, 1):
        module, source, replacement = mutant
        lives = survives(*mutant)
        survivors += lives
        verdict = "SURVIVED" if lives else "killed"
        print(f"{number:>2} of {len(MUTANTS)} {verdict:>8}  rl/{module}.py: {source!r} -> {replacement!r}", flush=True)
    print(f"{survivors} of {len(MUTANTS)} survived")
    return int(survivors > 0)


if __name__ == "__main__":
    sys.exit(main())
