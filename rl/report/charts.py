"""Inline SVG by hand: two small pictures need no plotting package, and take the page's colours and font.

Units: pixels of a 420 by 240 view box that scales with the page.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

WIDTH, HEIGHT = 420, 240
LEFT, RIGHT, TOP, BOTTOM = 44, 404, 16, 204


def accuracy_chart(summary: dict[str, Any], num_turns: int) -> str:
    """Accuracy of each turn with its interval, from 0 to 100%; with several samples the largest pass@k too."""
    series = {"accuracy": {t: summary[f"accuracy@{t}"] for t in range(1, num_turns + 1)}}
    ks = [int(key.split("@")[1].split("_")[0]) for key in summary if key.startswith("pass@")]
    if ks and max(ks) > 1:
        series[f"pass@{max(ks)}"] = {t: summary[f"pass@{max(ks)}_turn{t}"] for t in range(1, num_turns + 1)}
    parts = [_axis(percent) for percent in range(0, 101, 25)]
    parts += [_text(_x(turn, num_turns), BOTTOM + 20, f"turn {turn}", "middle") for turn in range(1, num_turns + 1)]
    for number, (name, rates) in enumerate(series.items()):
        parts.append(_series(rates, num_turns, f"s{number}"))
        if len(series) > 1:
            parts.append(_text(LEFT + 6 + 90 * number, TOP + 4, name, "start", f"label s{number}"))
    said = "; ".join(f"turn {t} {100 * rate['value']:.1f}%" for t, rate in series["accuracy"].items())
    return _svg(f"Accuracy: {said}", parts)


def flow_chart(records: Sequence[dict[str, Any]], num_turns: int) -> str:
    """Bands between right and wrong of neighbouring turns, as thick as the number of trajectories they carry."""
    statuses = [[turn["status"] for turn in record["turns"]] for record in records]
    paths = [tuple(status == "passed" for status in of) for of in statuses if "infra_error" not in of]
    scale, parts = (BOTTOM - TOP - 10) / len(paths), []
    columns = [60 + (WIDTH - 120) * t / (num_turns - 1) for t in range(num_turns)]
    for t in range(num_turns - 1):
        flows = Counter((path[t], path[t + 1]) for path in paths)
        parts += _bands(flows, columns[t] + 7, columns[t + 1] - 7, scale)
    said = []
    for t, x in enumerate(columns):
        right = sum(path[t] for path in paths)
        said.append(f"turn {t + 1}: {right} right, {len(paths) - right} wrong")
        anchor = {0: "end", num_turns - 1: "start"}.get(t)  # between two bands there is no room for words
        parts += _nodes(x, right, len(paths) - right, scale, anchor)
        parts.append(_text(x, HEIGHT - 10, f"turn {t + 1}" if anchor else f"turn {t + 1}: {right} right", "middle"))
    return _svg("; ".join(said), parts)


def _bands(flows: Counter[tuple[bool, bool]], x1: float, x2: float, scale: float) -> list[str]:
    total_right = {side: sum(n for flow, n in flows.items() if flow[side]) for side in (0, 1)}
    tops = {(side, right): TOP if right else TOP + 10 + scale * total_right[side] for side in (0, 1) for right in (True, False)}
    parts, middle = [], (x1 + x2) / 2
    for flow in ((True, True), (True, False), (False, True), (False, False)):
        height, (y1, y2) = scale * flows[flow], (tops[0, flow[0]], tops[1, flow[1]])
        tops[0, flow[0]] += height
        tops[1, flow[1]] += height
        if flows[flow]:
            kind = "".join("c" if right else "i" for right in flow)
            outline = (
                f"M{x1:.1f},{y1:.1f} C{middle:.1f},{y1:.1f} {middle:.1f},{y2:.1f} {x2:.1f},{y2:.1f} v{height:.1f} "
                f"C{middle:.1f},{y2 + height:.1f} {middle:.1f},{y1 + height:.1f} {x1:.1f},{y1 + height:.1f} Z"
            )
            words = f"{'right' if flow[0] else 'wrong'} → {'right' if flow[1] else 'wrong'}: {flows[flow]}"
            parts.append(f'<path class="band {kind}" d="{outline}"><title>{words}</title></path>')
            if height > 12:
                parts.append(_text(x1 + 6, y1 + height / 2 + 4, str(flows[flow]), "start", "strong"))
    return parts


def _nodes(x: float, right: int, wrong: int, scale: float, anchor: str | None) -> list[str]:
    parts = []
    for count, top, kind in ((right, TOP, "right"), (wrong, TOP + 10 + scale * right, "wrong")):
        if count:
            parts.append(
                f'<rect class="{kind}" x="{x - 5:.1f}" y="{top:.1f}" width="10" height="{max(scale * count, 1):.1f}"/>'
            )
            if anchor is None:
                continue
            at = x - 10 if anchor == "end" else x + 10
            middle = top + scale * count / 2
            parts += [_text(at, middle, str(count), anchor, "strong"), _text(at, middle + 14, kind, anchor)]
    return parts


def _series(rates: dict[int, dict[str, float]], num_turns: int, kind: str) -> str:
    points = [(_x(turn, num_turns), rate) for turn, rate in rates.items()]
    corners = " ".join(f"{x:.1f},{_y(rate['value']):.1f}" for x, rate in points)
    parts = [f'<polyline class="line {kind}" points="{corners}"/>']
    for x, rate in points:
        value, low, high = rate["value"], _y(rate["low"]), _y(rate["high"])
        whisker = f"M{x:.1f},{low:.1f} V{high:.1f} M{x - 5:.1f},{low:.1f} h10 M{x - 5:.1f},{high:.1f} h10"
        parts.append(f'<path class="whisker {kind}" d="{whisker}"/>')
        parts.append(f'<circle class="dot {kind}" cx="{x:.1f}" cy="{_y(value):.1f}" r="4"/>')
        parts.append(_text(x, high - 7, f"{100 * value:.1f}", "middle", "strong"))
    return "".join(parts)


def _x(turn: int, num_turns: int) -> float:
    return LEFT + 40 + (RIGHT - LEFT - 100) * (turn - 1) / max(num_turns - 1, 1)


def _y(share: float) -> float:
    return BOTTOM - (BOTTOM - TOP - 12) * share


def _axis(percent: int) -> str:
    y = _y(percent / 100)
    line = f'<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
    return line + _text(LEFT - 6, y + 4, f"{percent}%", "end")


def _text(x: float, y: float, content: str, anchor: str, kind: str = "label") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{content}</text>'


def _svg(description: str, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{description}">{"".join(parts)}</svg>'
