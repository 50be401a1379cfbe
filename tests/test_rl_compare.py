"""The table of several evaluations."""

import json

from rl.compare import main


def rate(value):
    return {"value": value, "low": value - 0.05, "high": value + 0.05}


def test_table_of_two_runs(tmp_path, capsys):
    for name, value in (("a", 0.5), ("b", 0.75)):
        (tmp_path / name).mkdir()
        summary = {"accuracy@1": rate(0.5), "accuracy@2": rate(value), "delta@2": rate(value - 0.5)}
        (tmp_path / name / "summary.json").write_text(json.dumps(summary))
    assert main([f"boost={tmp_path / 'a'}", f"after RL={tmp_path / 'b'}"]) == 0
    header, _, first, second = capsys.readouterr().out.splitlines()
    assert "Accuracy@t2" in header
    assert first.startswith("boost ")
    assert second.startswith("after RL")
    assert "75.0% [70.0, 80.0]" in second
    assert "+25.0% [+20.0, +30.0]" in second


def test_a_folder_may_have_an_equals_sign(tmp_path, capsys):
    folder = tmp_path / "lr=1e-4"
    folder.mkdir()
    (folder / "summary.json").write_text(json.dumps({"accuracy@1": rate(0.5)}))
    assert main([str(folder), f"a=b={folder}"]) == 0
    _, _, first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(str(folder)) and second.startswith("a=b ")


def test_two_evaluations_of_one_name_are_refused(tmp_path, capsys):
    (tmp_path / "summary.json").write_text(json.dumps({"accuracy@1": rate(0.5)}))
    assert main([f"a={tmp_path}", f"a={tmp_path}"]) == 2
    assert "error: two evaluations are called a; give each its own: NAME=FOLDER" in capsys.readouterr().err


def test_a_missing_evaluation_is_named(tmp_path, capsys):
    assert main([f"x={tmp_path}"]) == 2
    assert "summary.json: no such file" in capsys.readouterr().err
