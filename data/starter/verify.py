"""Every reference has to pass its own tests in the sandbox that will judge the model's programs."""

from collections.abc import Mapping, Sequence
from typing import Any

from tqdm import tqdm

from sandbox.pool import SandboxPool
from sandbox.suite import compile_suite, defined_names

_CHUNK = 128  # programs between two ticks of the progress bar


class FailedReference(ValueError):
    """A reference that does not pass; the message names the row, the verdict and the program."""


def verify(rows: Sequence[Mapping[str, Any]], num_workers: int = 2) -> None:
    """Run all references in the sandbox. Raises: FailedReference for the first that fails."""
    with SandboxPool(num_workers=num_workers) as pool, tqdm(total=len(rows), desc="references", unit="row") as bar:
        for start in range(0, len(rows), _CHUNK):
            chunk = rows[start : start + _CHUNK]
            for row, verdict in zip(chunk, pool.grade([_program(row) for row in chunk])):
                if verdict.status != "passed":
                    raise FailedReference(
                        f"task_id {row['task_id']} ({row['family']}): the reference ends as {verdict.status!r}, "
                        f"it must pass {row['test_list']}:\n{row['code']}"
                    )
            bar.update(len(chunk))


def _program(row: Mapping[str, Any]) -> tuple[str, Any]:
    suite = compile_suite(row["test_list"], row["test_setup_code"], defined_names(row["code"]))
    return row["code"], suite
