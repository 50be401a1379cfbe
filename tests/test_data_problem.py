"""Reading problems: the good rows, and one sentence for each kind of bad one."""

import json

import pytest

from data.boost.pairs import read_pairs
from data.order import ShuffledOrder
from data.problem import DataError, read_problems

GOOD = {"task_id": 7, "text": "Add.", "code": "def f(a):\r\n  return a", "test_list": ["assert f(1) == 1"]}


def write(path, *rows):
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return str(path)


def test_jsonl_and_json_lists_read_alike(tmp_path):
    lines = read_problems(write(tmp_path / "a.jsonl", GOOD))
    listed = read_problems(write(tmp_path / "a.json", json.dumps([GOOD])))
    assert lines == listed
    assert lines[0].problem_id == "7"
    assert lines[0].code == "def f(a):\n  return a"
    assert lines[0].test_list == ("assert f(1) == 1",)


def test_missing_ids_are_counted(tmp_path):
    row = {k: v for k, v in GOOD.items() if k != "task_id"}
    assert [p.problem_id for p in read_problems(write(tmp_path / "a.jsonl", row, row))] == ["0", "1"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["{"], r"a.jsonl:1: not valid JSON"),
        ([GOOD, '{"text": '], r"a.jsonl:2: not valid JSON"),
        (["5"], r"a.jsonl:1: a row must be a JSON object"),
        ([{**GOOD, "text": ""}], r"a.jsonl:1: field 'text'"),
        ([{k: v for k, v in GOOD.items() if k != "text"}], r"a.jsonl:1: field 'text'"),
        ([{k: v for k, v in GOOD.items() if k != "test_list"}], r"a.jsonl:1: field 'test_list'"),
        ([{**GOOD, "test_list": []}], r"a.jsonl:1: field 'test_list'"),
        ([{**GOOD, "test_list": "assert f(1) == 1"}], r"a.jsonl:1: field 'test_list'"),
        ([{**GOOD, "test_list": [3]}], r"a.jsonl:1: test_list\[0\]"),
        ([{**GOOD, "code": 3}], r"a.jsonl:1: field 'code'"),
        ([{**GOOD, "text": "add \ud800"}], r"a.jsonl:1: field 'text' holds half a character"),
        ([{**GOOD, "test_list": ["assert f('\ud800') == 1"]}], r"a.jsonl:1: field 'test_list' holds half a character"),
        ([GOOD, GOOD], r"a.jsonl:2: task_id '7' was used at .*a.jsonl:1"),
        ([""], r"no rows"),
    ],
)
def test_bad_rows_are_named(tmp_path, rows, message):
    with pytest.raises(DataError, match=message):
        read_problems(write(tmp_path / "a.jsonl", *rows))


def test_missing_file():
    with pytest.raises(DataError, match="no such file"):
        read_problems("nowhere/x.jsonl")


def test_a_folder_and_a_mark_at_the_start_of_a_file(tmp_path):
    with pytest.raises(DataError, match="is a folder; give a file in it, or start elsewhere"):
        read_problems(str(tmp_path))
    row = {"text": "t", "code": "c", "test_list": ["assert f()"]}
    (tmp_path / "a.jsonl").write_text(json.dumps(row), encoding="utf-8-sig")
    assert len(read_problems(str(tmp_path / "a.jsonl"))) == 1


def test_binary_file(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not UTF-8"):
        read_problems(str(tmp_path / "a.jsonl"))


def test_boost_pairs_in_the_published_form_go_on_to_the_next_line(tmp_path):
    rows = [{"prompt": "q\n\n[BEGIN]", "completion": "x\n[DONE]"}]
    (pair,) = read_pairs(write(tmp_path / "b.json", json.dumps(rows)))
    assert (pair.prompt, pair.completion) == ("q\n\n[BEGIN]\n", "x\n[DONE]")


def test_boost_prompt_is_cut_where_a_rollout_encodes():
    from data.boost.pairs import BoostPair

    pair = BoostPair("q\n\n[BEGIN]\nx\n[DONE]\n\nThere\n\n[CORRECT]\n", "y\n[DONE]")
    assert pair.prompt_segments() == ["q\n\n[BEGIN]\n", "x\n[DONE]", "\n\nThere\n\n[CORRECT]\n"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "q"}, "non-empty strings"),
        ({"prompt": "q", "completion": "x"}, r"lacks its end marker"),
    ],
)
def test_bad_boost_pairs(tmp_path, row, message):
    with pytest.raises(DataError, match=message):
        read_pairs(write(tmp_path / "b.jsonl", row))


def test_order_visits_every_row_once_an_epoch_and_differs_between_epochs():
    order = ShuffledOrder(10, seed=1)
    first, second = order.take(0, 10), order.take(10, 10)
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


def test_order_is_found_again_from_any_position():
    whole = ShuffledOrder(7, seed=3).take(0, 30)
    assert ShuffledOrder(7, seed=3).take(24, 4) + ShuffledOrder(7, seed=3).take(28, 2) == whole[24:]
    assert whole != ShuffledOrder(7, seed=4).take(0, 30)
