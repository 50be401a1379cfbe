"""What an evaluation leaves behind: `summary.json` of every part and of the whole, and the tables on the terminal."""

import itertools
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.files import write_whole
from rl.config import ConfigError
from rl.evaluation.parts import Part
from rl.evaluation.records import read_records
from rl.evaluation.running import PARTIAL, finished_batches
from rl.evaluation.summary import compare_models, summarize
from rl.evaluation.table import details, paired_table, table


def close_part(part: Part, num_batches: int) -> None:
    """Join the batches of a part into its `samples.jsonl`, in the order of problems, and remove them.

    Raises: ConfigError where some are missing, which other ranks have written elsewhere.
    """
    done = finished_batches(part.folder)
    if missing := num_batches - len(done):
        raise ConfigError(
            f"--output_dir: {part.folder / PARTIAL} lacks {missing} of {num_batches} batches: all nodes must see one folder; "
            "give one on a disk that they share"
        )
    records = itertools.chain.from_iterable(done[number] for number in sorted(done))
    write_whole(part.samples, "".join(json.dumps(record) + "\n" for record in records))
    shutil.rmtree(part.folder / PARTIAL)


def write_summaries(parts: Sequence[Part], output_dir: Path, num_turns: int, ks: Sequence[int] | None) -> str:
    """Summaries of all parts, and of models against the first one on the same data; returns the tables."""
    records = {part.name: read_records(part.samples) for part in parts}
    summaries = {name: summarize(of_part, ks) for name, of_part in records.items()}
    for part in parts:
        write_whole(part.folder / "summary.json", json.dumps(summaries[part.name], indent=2) + "\n")
    if len(parts) == 1:
        (summary,) = summaries.values()
        return f"{table({parts[0].model_name: summary}, num_turns)}\n\n{details(summary, num_turns)}\n{footnote(summary)}"
    pairs = _pairs(parts, records)
    whole = {"parts": summaries, "comparisons": pairs}
    write_whole(output_dir / "summary.json", json.dumps(whole, indent=2) + "\n")
    blocks = [table(summaries, num_turns)]
    if pairs:
        blocks.append(f"{paired_table(pairs)}")
    blocks += [f"{name}\n{details(summary, num_turns)}" for name, summary in summaries.items()]
    return "\n\n".join([*blocks, footnote(summaries[parts[0].name])])


def footnote(summary: dict[str, Any]) -> str:
    """How many problems and samples, and what the brackets are."""
    if "intervals" not in summary:
        return "no attempt has a verdict: the sandbox failed for all of them"
    missing = summary["num_infra_errors"]
    left_out = f"; {missing} trajectories without a verdict left out" if missing else ""
    samples = f", up to {summary['num_samples']} samples each" if summary["num_samples"] > 1 else ""
    return f"{summary['num_problems']} problems{samples}{left_out}; brackets: 95% intervals ({summary['intervals']})"


def _pairs(parts: Sequence[Part], records: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Every later model against the first, a data set at a time."""
    pairs = {}
    for part in parts:
        first = next(p for p in parts if p.data_name == part.data_name)
        if part is not first:
            name = f"{part.model_name} − {first.model_name} on {part.data_name}"
            pairs[name] = compare_models(records[first.name], records[part.name])
    return pairs
