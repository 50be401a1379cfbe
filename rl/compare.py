"""Evaluations side by side, as one table.

python -m rl.compare boost=runs/demo-0/eval-boost "after RL=runs/demo-0/eval-cocos"
"""

import argparse
import json
import sys
from pathlib import Path

from rl.evaluation import table


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser("python -m rl.compare", description="Print evaluations side by side, as one table.")
    parser.add_argument("runs", nargs="+", metavar="NAME=FOLDER", help="a name and an --output_dir of evaluate.py")
    rows = {}
    for run in parser.parse_args(argv).runs:
        name, _, folder = run.rpartition("=")
        path = Path(folder) / "summary.json"
        if not path.is_file():
            print(f"error: {path}: no such file; give the --output_dir of a finished evaluate.py", file=sys.stderr)
            return 2
        rows[name or folder] = json.loads(path.read_text())
    num_turns = max(int(key.split("@")[1]) for summary in rows.values() for key in summary if key.startswith("accuracy@"))
    print(table(rows, num_turns))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
