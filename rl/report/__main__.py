"""An HTML page of finished evaluations.

python -m rl.report runs/eval/samples.jsonl [MORE/samples.jsonl ...] --output report.html
"""

import argparse
import json
import sys
from pathlib import Path

from rl.evaluation.records import distinct_names, named_path
from rl.report.page import write_report


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser("python -m rl.report", description="Write one HTML page of evaluations, to look at.")
    parser.add_argument("samples", nargs="+", metavar="[NAME=]SAMPLES.jsonl", help="samples.jsonl of evaluate.py or of a run")
    parser.add_argument("--output", default="report.html", help="the page to write (default: report.html)")
    flags = parser.parse_args(argv)
    given = [named_path(argument) for argument in flags.samples]
    paths = [Path(path) for _, path in given]
    names = distinct_names([str(path.parent) for path in paths])
    named = {name or folder: path for (name, _), folder, path in zip(given, names, paths)}
    if len(named) < len(paths):
        return _refuse("two evaluations have one name; give each its own: NAME=SAMPLES.jsonl")
    for path in paths:
        if not path.is_file():
            return _refuse(f"{path}: no such file; give the samples.jsonl of a finished evaluate.py")
    try:
        write_report(named, Path(flags.output))
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        return _refuse(f"{', '.join(map(str, paths))}: not samples of evaluate.py ({type(error).__name__}: {error})")
    print(f"{flags.output}: {Path(flags.output).stat().st_size / 1e6:.2f} MB")
    return 0


def _refuse(sentence: str) -> int:
    print(f"error: {sentence}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
