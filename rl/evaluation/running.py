"""Sample and judge the attempts of an evaluation: at once during training, or in batches that outlive the process.

A batch is the same problems in the same order whatever number of processes share the work and wherever it was interrupted,
for what a row is decoded with may round its logits otherwise. So the same flags on the same CPUs, with as many threads, give
the same samples to the byte; times of tests are left out of them and addresses in error messages masked. A program at the
edge of its time limit can still go either way.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tqdm import tqdm
from transformers import PreTrainedModel

from data.problem import Problem
from rl.rollout import Collector
from rl.trajectory import Rollout

PARTIAL = "samples.partial"
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}")


def evaluate(
    collector: Collector,
    sampling: AbstractContextManager[PreTrainedModel],
    problems: Sequence[Problem],
    processes: Any,
    *,
    num_turns: int,
) -> list[dict[str, Any]]:
    """The record of one greedy trajectory for each problem, in order, on every rank of `processes`, which share the work.

    One rollout a rank, inside `sampling`: under ZeRO stage 3 all ranks must take their forward passes together, and none may
    wait for another by other means before it has left.
    """
    rows = list(range(processes.rank, len(problems), processes.world_size))
    with tqdm(total=num_turns * len(rows), desc="evaluate", leave=False, disable=None if processes.rank == 0 else True) as bar:
        with sampling as model:
            rollout = collector.collect(
                model, [problems[row] for row in rows], [1] * num_turns, 0.0, [(0, row) for row in rows], bar.update
            )
    gathered = processes.gather(dict(zip(rows, rollout.records())))
    return [record for _, record in sorted(pair for part in gathered for pair in part.items())]


def batches(num_problems: int, num_samples: int, max_rows: int) -> list[range]:
    """Problems that are decoded together: at most `max_rows` samples, but at least one problem."""
    size = max(1, max_rows // num_samples)
    return [range(start, min(start + size, num_problems)) for start in range(0, num_problems, size)]


def evaluate_batches(sample: Callable[[range], Rollout], work: dict[int, range], folder: Path, rank: int) -> None:
    """Sample batches by their numbers and append the records of each, when it is judged, to this rank's file below `folder`.

    A batch's verdicts are awaited after the next one is sampled, so that the sandbox and the model work side by side.
    """
    path = folder / PARTIAL / f"rank-{rank}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    _cut_unfinished_line(path)
    with open(path, "a", encoding="utf-8") as stream:

        def write(number: int, rollout: Rollout) -> None:
            print(json.dumps({"batch": number, "records": records_of(rollout)}), file=stream, flush=True)

        waiting: tuple[int, Rollout] | None = None
        for number, batch in work.items():
            rollout = sample(batch)
            if waiting:
                write(*waiting)
            waiting = number, rollout
        if waiting:
            write(*waiting)


def finished_batches(folder: Path) -> dict[int, list[dict[str, Any]]]:
    """Records by batch, from the files of whatever number of ranks wrote them; a line cut short counts for nothing."""
    return {
        line["batch"]: line["records"]
        for path in sorted((folder / PARTIAL).glob("rank-*.jsonl"))
        for line in map(json.loads, _whole_lines(path))
    }


def records_of(rollout: Rollout) -> list[dict[str, Any]]:
    """A rollout's records with the number of each sample and the problem's tests, and without what changes from run to run."""
    num_samples = rollout.branching[0]
    records = []
    for place, (record, last) in enumerate(zip(rollout.records(), rollout.turns[-1], strict=True)):
        turns = [{**turn, "tests": [_stable(test) for test in turn["tests"]]} for turn in record["turns"]]
        places = {"sample": place % num_samples, "test_list": list(last.problem.test_list)}
        records.append({"problem_id": record["problem_id"], **places, **record, "turns": turns})
    return records


def _stable(test: dict[str, Any]) -> dict[str, Any]:
    return {"status": test["status"], "error": _ADDRESS.sub("0x…", test["error"]), "inline": test["inline"]}


def _whole_lines(path: Path) -> Iterator[str]:
    with open(path, encoding="utf-8", newline="\n") as stream:
        yield from (line for line in stream if line.endswith("\n"))


def _cut_unfinished_line(path: Path) -> None:
    if path.is_file():
        content = path.read_bytes()
        with open(path, "rb+") as stream:
            stream.truncate(content.rfind(b"\n") + 1)
