"""One self-contained HTML page of evaluations: curves, transitions, and every problem's attempts side by side.

Model output is untrusted. It reaches the page as JSON in which no character can end the script element, is put on it as text
only, and a content security policy lets no script run but ours, by its hash, and nothing be fetched. The diff is computed
here and sent as line ranges, so that the page holds each program once.
"""

import base64
import difflib
import hashlib
import html
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data.files import write_whole
from rl.evaluation.records import read_records
from rl.evaluation.summary import summarize
from rl.report.charts import accuracy_chart, flow_chart

Record = dict[str, Any]
_HERE = Path(__file__).parent
# What a page shows of one program or message; runaway output would make the page unreadable and large.
MAX_LINES, MAX_CHARACTERS, MAX_ERROR = 120, 6000, 400


def write_report(samples: Mapping[str, Path], output: Path) -> None:
    """The page of the `samples.jsonl` files at `samples`, by name."""
    output.parent.mkdir(parents=True, exist_ok=True)
    write_whole(output, page({name: read_records(path) for name, path in samples.items()}))


def page(evaluations: Mapping[str, Sequence[Record]]) -> str:
    """The whole page, from records by the name of their evaluation."""
    style, script = ((_HERE / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    summaries = {name: summarize(records) for name, records in evaluations.items()}
    data = {
        "names": list(evaluations),
        "rows": [row for i, records in enumerate(evaluations.values()) for row in _rows(i, records)],
    }
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src '{_hash(script)}'; base-uri 'none'; form-action 'none'"
    sections = "".join(_section(name, summary, evaluations[name]) for name, summary in summaries.items())
    title = html.escape(", ".join(evaluations))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Evaluation: {title}</title>
<style>
{style}</style>
</head>
<body>
<header><h1>Evaluation over turns</h1></header>
<main>
{sections}
{(_HERE / "problems.html").read_text(encoding="utf-8")}</main>
<script type="application/json" id="data">{_script_safe(data)}</script>
<script>{script}</script>
</body>
</html>
"""


def line_ranges(before: str, after: str) -> list[list[Any]]:
    """How `after` came from `before`: [kind, start and end line there, start and end line here], equal ranges included."""
    matcher = difflib.SequenceMatcher(None, before.split("\n"), after.split("\n"), autojunk=False)
    return [[tag[0], i1, i2, j1, j2] for tag, i1, i2, j1, j2 in matcher.get_opcodes()]


def transition(statuses: Sequence[str]) -> str:
    """Over all turns: ic (wrong, then right), ci, cc (always right), ii (never), o (right at other turns), x (no verdict)."""
    if "infra_error" in statuses:
        return "x"
    correct = [status == "passed" for status in statuses]
    if correct[0] != correct[-1]:
        return "ci" if correct[0] else "ic"
    if all(correct):
        return "cc"
    return "o" if any(correct) else "ii"


def _rows(evaluation: int, records: Sequence[Record]) -> list[dict[str, Any]]:
    rows = []
    for record in records:
        codes = [_shortened(turn["code"]) for turn in record["turns"]]
        row = {
            "e": evaluation,
            "id": record["problem_id"],
            "s": record.get("sample", 0),
            "text": record["text"],
            "tests": record.get("test_list", []),
            "kind": transition([turn["status"] for turn in record["turns"]]),
            "turns": [
                {
                    "code": code,
                    "status": turn["status"],
                    "passed": turn["passed"],
                    "total": turn["total"],
                    "finish": turn["finish_reason"],
                    "tokens": turn["num_tokens"],
                    "errors": list(dict.fromkeys(test["error"][:MAX_ERROR] for test in turn["tests"] if test["error"])),
                }
                for code, turn in zip(codes, record["turns"])
            ],
            "diffs": [line_ranges(before, after) for before, after in itertools.pairwise(codes)],
        }
        if row["s"]:  # the problem stands with its first sample already
            row["text"], row["tests"] = "", []
        rows.append(row)
    return rows


def _shortened(code: str) -> str:
    lines = code[:MAX_CHARACTERS].split("\n")
    short = "\n".join(lines[:MAX_LINES])
    return short if short == code else f"{short}\n… {len(code) - len(short)} more characters"


def _section(name: str, summary: dict[str, Any], records: Sequence[Record]) -> str:
    if "accuracy@1" not in summary:
        return f'<section class="run"><h2>{html.escape(name)}</h2><p>No attempt has a verdict.</p></section>'
    num_turns = len(records[0]["turns"])
    figures = [
        f"<figure>{accuracy_chart(summary, num_turns)}<figcaption>Accuracy over turns, 95% intervals</figcaption></figure>"
    ]
    if num_turns > 1:
        caption = "Right and wrong from turn to turn, in trajectories"
        figures.append(f"<figure>{flow_chart(records, num_turns)}<figcaption>{caption}</figcaption></figure>")
    samples = f", up to {summary['num_samples']} samples each" if summary["num_samples"] > 1 else ""
    missing = summary["num_infra_errors"]
    left_out = f"; {missing} trajectories without a verdict are left out" if missing else ""
    about = f"{summary['num_problems']} problems{samples}{left_out}. Intervals: {summary['intervals']}."
    return (
        f'<section class="run"><h2>{html.escape(name)}</h2><p class="about">{html.escape(about)}</p>'
        f'<dl class="numbers">{"".join(_number(*item) for item in _headline(summary, num_turns))}</dl>'
        f'<div class="charts">{"".join(figures)}</div></section>'
    )


def _headline(summary: dict[str, Any], num_turns: int) -> list[tuple[str, dict[str, float], bool]]:
    last = num_turns
    between = f" (t{last - 1},t{last})" if last > 2 else ""
    names = {f"Accuracy@t{t}": f"accuracy@{t}" for t in range(1, num_turns + 1)} | {
        f"Δ(t1,t{last})": f"delta@{last}",
        f"wrong → right{between}": f"incorrect_to_correct@{last}",
        f"right → wrong{between}": f"correct_to_incorrect@{last}",
        f"unchanged{between}": f"unchanged@{last}",
    }
    names |= {key.replace("_turn", " t"): key for key in summary if key.startswith("pass@")}
    return [(label, summary[key], key.startswith("delta")) for label, key in names.items() if key in summary]


def _number(label: str, rate: dict[str, float], is_signed: bool) -> str:
    sign = "+" if is_signed else ""
    value, low, high = (f"{100 * rate[end]:{sign}.1f}" for end in ("value", "low", "high"))
    return f"<div><dt>{html.escape(label)}</dt><dd>{value}%<small>{low} to {high}</small></dd></div>"


def _script_safe(data: Any) -> str:
    """JSON that holds no `<`, `>` or `&` and no line separator: it can't end the script element or open a comment."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode("utf-8", "backslashreplace").decode()


def _hash(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
