"""Write the embedded default: `train.jsonl`, `eval.jsonl`, `boost.json` and a small untrained model with its tokenizer.

    python -m data.starter --output_dir runs/starter

Everything is deterministic. A folder that already holds what the same arguments and the same code make is left as it
is; files appear under their final names only when whole.
"""

import argparse
import hashlib
import json
import random
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.files import write_whole
from data.starter.corrupt import corrupt, count_passed
from data.starter.families import FAMILIES
from data.starter.generate import generate
from data.starter.misconceptions import misconception
from data.starter.pairs import boost_pairs
from data.starter.verify import verify
from sandbox.pool import SandboxUnavailable

MANIFEST = "starter.json"
_PARTS = ("train.jsonl", "eval.jsonl", "boost.json", "model/model.safetensors", "model/tokenizer.json")


def main(argv: Sequence[str]) -> int:
    arguments = _parser().parse_args(argv)
    for name in ("num_train", "num_eval", "num_workers"):
        if getattr(arguments, name) < 1:
            return _refuse(f"--{name} is {getattr(arguments, name)}: it must be at least 1")
    output_dir = Path(arguments.output_dir)
    manifest = {name: getattr(arguments, name) for name in ("num_train", "num_eval", "seed")} | {"code": _fingerprint()}
    if _is_made(output_dir, manifest):
        print(f"{output_dir}: up to date")
        return 0
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return _refuse(f"--output_dir {output_dir} can't be made ({error.strerror}); give another folder")
    try:
        train_rows, eval_rows = generate(arguments.num_train, arguments.num_eval, arguments.seed)
        verify(train_rows + eval_rows, arguments.num_workers)
    except (ValueError, SandboxUnavailable) as error:  # FailedReference is a ValueError
        return _refuse(str(error))
    pairs = boost_pairs(train_rows, random.Random(f"starter pairs {arguments.seed}"))
    (output_dir / MANIFEST).unlink(missing_ok=True)
    write_whole(output_dir / "train.jsonl", _lines(train_rows))
    write_whole(output_dir / "eval.jsonl", _lines(eval_rows))
    write_whole(output_dir / "boost.json", json.dumps(pairs, indent=0, ensure_ascii=False) + "\n")
    # Imported here: torch and transformers take seconds, and bad input should be refused before.
    from data.starter.model import build

    build(output_dir / "model", [pair["prompt"] + pair["completion"] for pair in pairs], arguments.seed)
    write_whole(output_dir / MANIFEST, json.dumps(manifest, indent=2) + "\n")
    _report(output_dir, train_rows, eval_rows, pairs)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m data.starter", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output_dir", required=True, help="folder to write to; made if missing")
    parser.add_argument("--num_train", type=int, default=6000, help="training problems (default: %(default)s)")
    parser.add_argument("--num_eval", type=int, default=400, help="evaluation problems (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the problems and the initial weights (default: %(default)s)")
    parser.add_argument("--num_workers", type=int, default=2, help="sandbox workers for the check (default: %(default)s)")
    return parser


def _refuse(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2


def _fingerprint() -> str:
    """Changes whenever a source file that decides what is written does."""
    folder = Path(__file__).parent
    sources = [*sorted(folder.glob("*.py")), folder.parent / "prompts.py"]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


def _is_made(output_dir: Path, manifest: dict[str, Any]) -> bool:
    path = output_dir / MANIFEST
    if not path.is_file() or not all((output_dir / part).is_file() for part in _PARTS):
        return False
    try:
        return json.loads(path.read_text(encoding="utf-8")) == manifest
    except json.JSONDecodeError:
        return False


def _lines(rows: Sequence[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _report(output_dir: Path, train_rows: list[dict], eval_rows: list[dict], pairs: list[dict[str, str]]) -> None:
    """What was written, and how well tests tell wrong attempts from right ones."""
    print(f"{output_dir}: {len(train_rows)} training and {len(eval_rows)} evaluation problems, {len(pairs)} boost pairs")
    kinds = {family.name: (family.group, family.level) for family in FAMILIES}
    print(f"{'group':<12}{'steps':>6}{'families':>10}{'train':>8}{'eval':>6}")
    for group, level in sorted(set(kinds.values()), key=lambda kind: (kind[1], kind[0])):
        names = {name for name, kind in kinds.items() if kind == (group, level)}
        counts = [sum(row["family"] in names for row in rows) for rows in (train_rows, eval_rows)]
        print(f"{group:<12}{level:>6}{len(names):>10}{counts[0]:>8}{counts[1]:>6}")
    share = sum(misconception(row) is not None for row in train_rows) / len(train_rows)
    print(f"training problems with a misconception: {share:.0%}")
    sizes = {key: statistics.median(len(pair[key]) for pair in pairs) for key in ("prompt", "completion")}
    print(f"median characters: prompt {sizes['prompt']:.0f}, completion {sizes['completion']:.0f}")
    rng = random.Random(0)
    passed = [count_passed(corrupt(row, rng) or row["code"], row["test_list"]) for row in eval_rows]
    shares = ", ".join(f"{tests}: {passed.count(tests) / len(passed):.0%}" for tests in range(3))
    print(f"tests that a wrong attempt passes: {shares}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
