"""The tables of the step's profile on made-up parts, what is watched of a known operator, and a profile as a user makes it."""

import torch
from conftest import cocos_flags, run_script

from launch.experiments.step_profile import NAME_LENGTH, NUM_SHOWN, Part, report, watched

ALL_PARTS = ["sampling", "reference", "waiting for tests", "update"]


def tables_of(text: str) -> dict[str, list[list[str]]]:
    """Rows of each table by its first heading."""
    tables = {}
    for block in text.split("\n\n"):
        lines = [line for line in block.splitlines() if line.startswith("|")]
        heading, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
        tables[heading[0]] = rows
    return tables


def test_report_has_shares_of_the_step_and_of_the_threads_and_the_costliest_first():
    operators = {f"op{i}": (0.1 * i, i) for i in range(1, NUM_SHOWN + 3)} | {"k" * 200: (2.5, 1000)}
    tables = tables_of(
        report({"sampling": Part(6.0, 9.0, operators), "update": Part(2.0, 1.0, {"mm": (0.5, 4)})}, "2 threads", 2)
    )
    assert tables["of 8.00 s"] == [["sampling", "6.00", "75%", "75%"], ["update", "2.00", "25%", "25%"]]
    assert tables["sampling"][0] == ["k" * NAME_LENGTH, "2.50", "42%", "1,000", "2.500"]
    assert [row[0] for row in tables["sampling"][1:]] == [f"op{i}" for i in range(NUM_SHOWN + 2, 3, -1)]
    assert tables["update"] == [["mm", "0.50", "25%", "4", "125.000"]]


def test_a_part_that_takes_next_to_nothing_has_no_table():
    tables = tables_of(
        report({"sampling": Part(10.0, 10.0, {"mm": (9.0, 1)}), "reference": Part(0.01, 0.0, {"mm": (0.01, 1)})}, "", 1)
    )
    assert list(tables) == ["of 10.01 s", "sampling"]


def test_watched_counts_operators_and_without_parts_nothing():
    parts: dict[str, Part] = {}
    matrix = torch.ones(64, 64)
    with watched(parts, "products"):
        for _ in range(3):
            matrix @ matrix
    with watched(None, "unwatched"):
        matrix @ matrix
    assert list(parts) == ["products"]
    seconds, calls = parts["products"].operators["aten::mm"]
    assert calls == 3
    assert 0 < seconds < parts["products"].wall_s


def test_profile_of_a_step_names_every_part(tiny_model_dir, files, tmp_path):
    flags = cocos_flags(tiny_model_dir, files, tmp_path / "profile")[1:]
    printed = run_script("-m", "launch.experiments.step_profile", *flags).stdout
    tables = tables_of(printed[printed.index("| of ") :])
    parts = next(rows for heading, rows in tables.items() if heading.startswith("of "))
    assert [row[0] for row in parts] == ALL_PARTS
    for name in ("sampling", "update"):
        assert 0 < len(tables[name]) <= NUM_SHOWN
        assert all(row[0] for row in tables[name])
