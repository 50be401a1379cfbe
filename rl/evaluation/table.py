"""Summaries as text for a terminal."""

from typing import Any

Summary = dict[str, Any]


def table(rows: dict[str, Summary], num_turns: int = 2) -> str:
    """Summaries side by side: a line a name, percentages with their intervals."""
    last = num_turns
    between = f"(t{last - 1},t{last})" if last > 2 else ""
    columns = {f"Accuracy@t{t}": f"accuracy@{t}" for t in range(1, num_turns + 1)}
    if num_turns > 1:
        columns |= {
            f"Δ(t1,t{last})": f"delta@{last}",
            f"i→c{between}": f"incorrect_to_correct@{last}",
            f"c→i{between}": f"correct_to_incorrect@{last}",
        }
    cells = [["", *columns]]
    for name, summary in rows.items():
        cells.append([name, *[percent(summary.get(key), is_signed="delta" in key) for key in columns.values()]])
    return aligned(cells)


def details(summary: Summary, num_turns: int) -> str:
    """What the main table leaves out, a column a turn: pass@k, what corrections change, how attempts end, their verdicts."""
    turns = range(1, num_turns + 1)
    cells = [["", *[f"turn {t}" for t in turns]]]
    ks = sorted({int(key.split("@")[1].split("_")[0]) for key in summary if key.startswith("pass@")})
    rates = {f"pass@{k}": f"pass@{k}_turn" for k in ks}
    if any(key.startswith("shown_only@") for key in summary):
        rates["shown tests only"] = "shown_only@"
    rates |= {"more tests passed": "better@", "fewer tests passed": "worse@", "unchanged": "unchanged@"}
    for label, key in rates.items():
        cells.append([label, *[percent(summary.get(f"{key}{t}")) for t in turns]])
    cells.append(["edit distance", *[_interval(summary.get(f"edit_distance@{t}"), 2) for t in turns]])
    cells.append(["tokens", *[f"{summary[f'tokens@{t}']:.1f}" if f"tokens@{t}" in summary else "-" for t in turns]])
    for label, key in (("ended by", "finish@"), ("verdict", "verdicts@")):
        kinds = list(dict.fromkeys(kind for t in turns for kind in summary.get(f"{key}{t}", {})))
        for kind in kinds:
            cells.append([f"{label} {kind}", *[f"{100 * summary[f'{key}{t}'].get(kind, 0):.1f}%" for t in turns]])
    return aligned([row for row in cells if set(row[1:]) != {"-"}])


def paired_table(pairs: dict[str, dict[str, Any]]) -> str:
    """Differences between models on the same problems: value, interval, gains, losses and McNemar's p."""
    cells = [["", "problems", "turn", "difference", "gained", "lost", "McNemar p"]]
    for name, comparison in pairs.items():
        for key, difference in comparison.items():
            if key.startswith("accuracy@"):
                counts = [str(difference.get(count, "-")) for count in ("gains", "losses")]
                p_value = f"{difference['p_mcnemar']:.2g}" if "p_mcnemar" in difference else "-"
                turn = key.split("@")[1]
                cells.append([name, str(comparison["num_problems"]), turn, percent(difference, True), *counts, p_value])
    return aligned(cells)


def aligned(cells: list[list[str]]) -> str:
    """Rows of cells in columns, a rule under the first."""
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in cells]
    return "\n".join([lines[0], "─" * max(map(len, lines)), *lines[1:]])


def percent(rate: dict[str, float] | None, is_signed: bool = False) -> str:
    if rate is None:
        return "-"
    sign = "+" if is_signed else ""
    return f"{100 * rate['value']:{sign}.1f}% [{100 * rate['low']:{sign}.1f}, {100 * rate['high']:{sign}.1f}]"


def _interval(rate: dict[str, float] | None, digits: int) -> str:
    return "-" if rate is None else f"{rate['value']:.{digits}f} [{rate['low']:.{digits}f}, {rate['high']:.{digits}f}]"
