"""What a command made, in numbers: as JSON beside the pairs, and as a few lines on the terminal."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from data.boost.attempts import Record
from data.boost.selection import TURNS, Candidate


def build_report(records: Sequence[Record], chosen: Sequence[Candidate], drops: Mapping[str, int]) -> dict[str, Any]:
    """Counts of everything on its way from problems to pairs."""
    attempts = [attempt for record in records for attempt in record.attempts]
    by_source = {
        source: _counts(attempt.status for attempt in attempts if attempt.source == source)
        for source in ("reference", "sample", "corruption")
    }
    return {
        "problems": len(records),
        "references": by_source["reference"] | {"missing": len(records) - sum(by_source["reference"].values())},
        "samples": by_source["sample"],
        "mutants": _counts(status for record in records for status, count in record.tried.items() for _ in range(count)),
        "corruptions": by_source["corruption"],
        "corruption_kinds": _counts(attempt.kind for attempt in attempts if attempt.source == "corruption"),
        "pairs": {
            "total": len(chosen),
            "first": _counts(one.attempt.source for one in chosen if one.turn == "first"),
            "wrong": _counts(f"{one.attempt.source} {one.attempt.status}" for one in chosen if one.turn == "wrong"),
            "wrong_targets": _counts(one.target_source for one in chosen if one.turn == "wrong"),
            "right": _counts(one.attempt.source for one in chosen if one.turn == "right"),
        },
        "dropped": dict(sorted(drops.items(), key=lambda item: (-item[1], item[0]))),
        "problems_without_wrong_attempt": [record.problem_id for record in records if not _has_wrong_attempt(record)],
        "problems_with_failing_reference": [record.problem_id for record in records if _has_failing_reference(record)],
    }


def report_text(report: Mapping[str, Any]) -> str:
    """The report for a reader."""
    pairs = report["pairs"]
    lines = [f"{report['problems']} problems; references: {_listed(report['references'])}"]
    if report["samples"]:
        lines.append(f"sampled attempts: {_listed(report['samples'])}")
    if report["mutants"]:
        lines.append(f"mutants that ran: {_listed(report['mutants'])}")
        lines.append(f"taken as wrong attempts: {_listed(report['corruptions'])}")
        lines.append(f"their mistakes: {_listed(report['corruption_kinds'])}")
    lines.append(f"{pairs['total']} pairs")
    for turn, what in TURNS.items():
        by = ", answered by" if turn == "first" else ""
        lines.append(f"  {sum(pairs[turn].values())} {what}{by}: {_listed(pairs[turn])}")
    if pairs["wrong"]:
        lines.append(f"  targets of wrong attempts: {_listed(pairs['wrong_targets'])}")
    lines += [f"left out: {count} {reason}" for reason, count in report["dropped"].items()]
    for key, what in (
        ("problems_without_wrong_attempt", "without a wrong attempt"),
        ("problems_with_failing_reference", "whose reference fails its own tests"),
    ):
        if report[key]:
            shown = ", ".join(report[key][:20]) + (", …" if len(report[key]) > 20 else "")
            lines.append(f"{len(report[key])} problems {what}: {shown}")
    return "\n".join(lines)


def _has_wrong_attempt(record: Record) -> bool:
    return any(one.source != "reference" and one.status not in ("passed", "infra_error") for one in record.attempts)


def _has_failing_reference(record: Record) -> bool:
    return any(one.source == "reference" and not one.is_right for one in record.attempts)


def _counts(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items(), key=lambda item: (-item[1], item[0])))


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"
