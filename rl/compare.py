"""Evaluations side by side, as one table; those of the same problems as the first are tested against it, problem by problem.

python -m rl.compare boost=runs/demo-0/eval-boost "after RL=runs/demo-0/eval-cocos"
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from rl.evaluation.records import named_path, read_records
from rl.evaluation.summary import compare_models
from rl.evaluation.table import paired_table, table


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser("python -m rl.compare", description="Print evaluations side by side, as one table.")
    parser.add_argument("runs", nargs="+", metavar="NAME=FOLDER", help="a name and an --output_dir of evaluate.py")
    rows, folders = {}, {}
    for run in parser.parse_args(argv).runs:
        name, folder = named_path(run)
        path = Path(folder) / "summary.json"
        if not path.is_file():
            print(f"error: {path}: no such file; give the --output_dir of a finished evaluate.py", file=sys.stderr)
            return 2
        summary = json.loads(path.read_text())
        if "parts" in summary:
            print(f"error: {folder} holds several evaluations; give the folder of one: MODEL/DATA below it", file=sys.stderr)
            return 2
        if (name or folder) in rows:
            print(f"error: two evaluations are called {name or folder}; give each its own: NAME=FOLDER", file=sys.stderr)
            return 2
        rows[name or folder], folders[name or folder] = summary, Path(folder)
    turns = [int(key.split("@")[1]) for summary in rows.values() for key in summary if key.startswith("accuracy@")]
    if not turns:
        print(f"error: no verdict in {', '.join(map(str, folders.values()))}: its sandbox failed throughout", file=sys.stderr)
        return 2
    num_turns = max(turns)
    print(table(rows, num_turns))
    if pairs := _pairs(folders):
        print(f"\n{paired_table(pairs)}")
    return 0


def _pairs(folders: dict[str, Path]) -> dict[str, dict[str, Any]]:
    """Every evaluation against the first, where both have the samples of some problem."""
    paths = {name: folder / "samples.jsonl" for name, folder in folders.items()}
    records = {name: read_records(path) for name, path in paths.items() if path.is_file()}
    first, *others = folders
    if first not in records:
        return {}
    pairs = {f"{name} − {first}": compare_models(records[first], records[name]) for name in others if name in records}
    return {name: pair for name, pair in pairs.items() if pair["num_problems"]}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
