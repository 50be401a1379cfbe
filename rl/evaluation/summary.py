"""What the records of an evaluation say: rates by turn, what corrections change, and how two models compare.

Works on the records of rollouts (see `Rollout.records`), any number of trajectories a problem. A trajectory with a verdict
that the sandbox failed to make is left out and counted. Every problem weighs the same, whatever number of its samples is
left.

Shapes: `P` problems, `T` turns, `S` trajectories (all problems' together).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rl.evaluation.estimates import bootstrap_means, edit_distance, mcnemar, paired_difference, pass_at_k, wilson_interval

Record = dict[str, Any]
USUAL_K = (1, 5, 10)


def summarize(records: Sequence[Record], ks: Sequence[int] | None = None) -> dict[str, Any]:
    """Rates by turn, each a dict of value, low and high; `intervals` names how the ends were found.

    `accuracy@t`; from turn 2 also `delta@t` (against turn 1, with McNemar's p-value where there is one sample a problem),
    against the turn before and as shares of all problems `incorrect_to_correct@t`, `correct_to_incorrect@t`, `better@t` and
    `worse@t` (by tests passed) and `unchanged@t`, and the mean `edit_distance@t`. With hidden tests `shown_only@t`: all shown
    tests passed and a hidden one not, as by a program that writes the shown answers down. With several samples
    `pass@k_turnt` for every k of `ks`, or the usual ones up to the number of samples. `finish@t` and `verdicts@t` are
    shares of all trajectories, `tokens@t` their mean length.
    """
    judged = [r for r in records if all(turn["status"] != "infra_error" for turn in r["turns"])]
    problems: dict[str, list[int]] = {}
    for place, record in enumerate(judged):
        problems.setdefault(record.get("problem_id", str(place)), []).append(place)
    summary: dict[str, Any] = {"num_problems": len(problems), "num_infra_errors": len(records) - len(judged)}
    if not judged:
        return summary
    num_samples = max(map(len, problems.values()))
    summary["num_samples"] = num_samples
    summary["intervals"] = "Wilson and paired bootstrap" if num_samples == 1 else "cluster bootstrap over problems"
    rates = _rates(judged)
    groups = list(problems.values())
    means = np.array([[column[group].mean() for column in rates.values()] for group in groups])  # (P, rates)
    intervals = dict(zip(rates, bootstrap_means(means)))
    if num_samples == 1:
        order = [group[0] for group in groups]
        intervals |= {name: wilson_interval(hits[order]) for name, hits in rates.items() if hits.dtype == bool}
    summary |= intervals | _deltas(rates, groups, num_samples)
    if num_samples > 1:
        summary |= _passes(rates, groups, ks or [k for k in USUAL_K if k <= num_samples])
    return summary | _descriptions(judged)


def compare_models(first: Sequence[Record], second: Sequence[Record]) -> dict[str, Any]:
    """`second` against `first` on the problems that both have verdicts of: paired differences at turn 1 and the last.

    A problem is the same where its id, its text and its tests are: ids may be row numbers.

    With one sample a problem on both sides a difference carries its gains, losses and McNemar's exact p-value.
    """
    tables = [_correct_by_problem(records) for records in (first, second)]
    shared = [problem for problem in tables[0] if problem in tables[1]]
    comparison: dict[str, Any] = {"num_problems": len(shared)}
    if not shared:
        return comparison
    num_turns = min(len(next(iter(table.values()))[0]) for table in tables)
    for turn in sorted({1, num_turns}):
        before, after = ([table[p][:, turn - 1] for p in shared] for table in tables)
        if all(len(samples) == 1 for samples in (*before, *after)):
            hits = [np.concatenate(side) for side in (before, after)]
            comparison[f"accuracy@{turn}"] = _tested_difference(*hits)
        else:
            differences = np.array([[b.mean() - a.mean()] for a, b in zip(before, after)])
            comparison[f"accuracy@{turn}"] = bootstrap_means(differences)[0]
    return comparison


def _rates(judged: Sequence[Record]) -> dict[str, np.ndarray]:
    """One number a trajectory by name; (S,) bool where it is a hit or none."""
    correct = np.array([[turn["status"] == "passed" for turn in r["turns"]] for r in judged])  # (S, T)
    passed = np.array([[turn.get("passed", int(turn["status"] == "passed")) for turn in r["turns"]] for r in judged])  # (S, T)
    codes = [[turn["code"].strip() for turn in r["turns"]] for r in judged]
    rates = {"accuracy@1": correct[:, 0]}
    if any(r.get("num_hidden") for r in judged):
        passes_shown = np.array([[_passes_shown(r, turn) for turn in r["turns"]] for r in judged])  # (S, T)
        rates |= {f"shown_only@{t + 1}": passes_shown[:, t] & ~correct[:, t] for t in range(correct.shape[1])}
    for t in range(1, correct.shape[1]):
        before, after = correct[:, t - 1], correct[:, t]
        rates |= {
            f"accuracy@{t + 1}": after,
            f"incorrect_to_correct@{t + 1}": ~before & after,
            f"correct_to_incorrect@{t + 1}": before & ~after,
            f"better@{t + 1}": passed[:, t] > passed[:, t - 1],
            f"worse@{t + 1}": passed[:, t] < passed[:, t - 1],
            f"unchanged@{t + 1}": np.array([c[t] == c[t - 1] for c in codes]),
            f"edit_distance@{t + 1}": np.array([edit_distance(c[t - 1], c[t]) for c in codes]),
        }
    return rates


def _passes_shown(record: Record, turn: dict[str, Any]) -> bool:
    tests = turn["tests"][: len(turn["tests"]) - record.get("num_hidden", 0)]
    return all(test["status"] == "passed" for test in tests)


def _deltas(rates: dict[str, np.ndarray], groups: list[list[int]], num_samples: int) -> dict[str, dict[str, float]]:
    """Accuracy@t against Accuracy@1 for every later turn."""
    first = rates["accuracy@1"]
    later = [name for name in rates if name.startswith("accuracy@") and name != "accuracy@1"]
    if not later:
        return {}
    names = [name.replace("accuracy", "delta") for name in later]
    if num_samples == 1:
        order = [group[0] for group in groups]
        return {delta: _tested_difference(first[order], rates[name][order]) for delta, name in zip(names, later)}
    differences = np.stack([rates[name].astype(float) - first for name in later], 1)  # (S, T - 1)
    return dict(zip(names, bootstrap_means(np.stack([differences[group].mean(0) for group in groups]))))


def _passes(rates: dict[str, np.ndarray], groups: list[list[int]], ks: Sequence[int]) -> dict[str, dict[str, float]]:
    """pass@k at every turn, over the problems that have k samples."""
    passes = {}
    for name, correct in rates.items():
        if not name.startswith("accuracy@"):
            continue
        for k in ks:
            values = [[pass_at_k(len(group), int(correct[group].sum()), k)] for group in groups if len(group) >= k]
            if values:
                passes[f"pass@{k}_turn{name.split('@')[1]}"] = bootstrap_means(np.array(values))[0]
    return passes


def _descriptions(judged: Sequence[Record]) -> dict[str, Any]:
    """Shares of finish reasons and verdicts, and mean lengths, by turn; a record without them has none."""
    described: dict[str, Any] = {}
    for t in range(len(judged[0]["turns"])):
        turns = [record["turns"][t] for record in judged]
        described[f"verdicts@{t + 1}"] = _shares(turns, lambda turn: turn["status"])
        if all("finish_reason" in turn for turn in turns):
            described[f"finish@{t + 1}"] = _shares(turns, lambda turn: turn["finish_reason"])
            described[f"tokens@{t + 1}"] = float(np.mean([turn["num_tokens"] for turn in turns]))
    return described


def _shares(turns: Sequence[dict[str, Any]], kind: Callable[[dict[str, Any]], str]) -> dict[str, float]:
    return {name: count / len(turns) for name, count in Counter(map(kind, turns)).most_common()}


def _correct_by_problem(records: Sequence[Record]) -> dict[tuple, np.ndarray]:
    """(samples, T) bool of every problem that has a verdict at all turns of a sample."""
    samples: dict[tuple, list[list[bool]]] = {}
    for record in records:
        statuses = [turn["status"] for turn in record["turns"]]
        if "infra_error" not in statuses:
            problem = (record["problem_id"], record.get("text"), tuple(record.get("test_list", ())))
            samples.setdefault(problem, []).append([status == "passed" for status in statuses])
    return {problem: np.array(rows) for problem, rows in samples.items()}


def _tested_difference(before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    gains, losses = int((~before & after).sum()), int((before & ~after).sum())
    return {**paired_difference(before, after), "gains": gains, "losses": losses, "p_mcnemar": mcnemar(gains, losses)}
