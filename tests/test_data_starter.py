"""The embedded default: what its problems, wrong attempts, boost pairs, tokenizer and model promise."""

import ast
import collections
import contextlib
import hashlib
import io
import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from data.problem import read_problems
from data.prompts import answer, correction_suffix
from data.starter import generate as generator
from data.starter.__main__ import main
from data.starter.corrupt import corrupt, count_passed, is_canonical
from data.starter.families import FAMILIES
from data.starter.generate import LEVEL_SHARES, generate
from data.starter.misconceptions import misconception
from data.starter.mutate import edits
from data.starter.pairs import as_problem, boost_pairs
from data.starter.verify import FailedReference, verify

ROOT = Path(__file__).parent.parent
TWO_STEPS = "def f(xs):\n    xs = [x + 3 for x in xs]\n    return [x for x in xs if x > 17]"


@pytest.fixture(scope="module")
def rows() -> tuple[list[dict], list[dict]]:
    return generate(1200, 200, seed=0)


@pytest.fixture(scope="module")
def pairs(rows: tuple[list[dict], list[dict]]) -> list[dict[str, str]]:
    return boost_pairs(rows[0], random.Random(0))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder that the command line writes, and what it prints."""
    folder = tmp_path_factory.mktemp("starter")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main(["--output_dir", str(folder), "--num_train", "400", "--num_eval", "40"]) == 0
    return folder, printed.getvalue()


@pytest.fixture(scope="module")
def folder(made: tuple[Path, str]) -> Path:
    return made[0]


def test_the_same_seed_gives_the_same_bytes_in_another_process():
    script = (
        "import hashlib, json; from data.starter.generate import generate; "
        "print(hashlib.sha256(json.dumps(generate(300, 60, 0)).encode()).hexdigest())"
    )
    environment = os.environ | {"PYTHONHASHSEED": "77", "PYTHONPATH": str(ROOT)}
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.stdout.strip() == hashlib.sha256(json.dumps(generate(300, 60, 0)).encode()).hexdigest(), result.stderr
    assert generate(30, 10, seed=1) != generate(30, 10, seed=2)


def test_rows_have_the_published_fields_and_short_texts(rows):
    train_rows, eval_rows = rows
    assert (len(train_rows), len(eval_rows)) == (1200, 200)
    fields = {"task_id", "text", "code", "test_list", "test_setup_code", "family", "wording"}
    for row in train_rows + eval_rows:
        assert set(row) == fields
        assert 8 <= len(row["text"].split()) <= 25, row["text"]
        assert len(row["test_list"]) == 3
        assert is_canonical(row["code"])
        assert "{" not in row["text"]
    texts = [row["text"] for row in train_rows + eval_rows]
    assert len(set(texts)) == len(texts)
    assert len({row["task_id"] for row in train_rows + eval_rows}) == len(texts)


def test_evaluation_parameters_are_never_trained_on(rows):
    # Everything after the function's name holds the steps and their parameters, and nothing else.
    train, evaluation = ({row["code"].split("(", 1)[1] for row in part} for part in rows)
    assert not train & evaluation
    other_seed = {row["code"].split("(", 1)[1] for row in generate(1, 150, seed=9)[1]}
    assert not train & other_seed


def test_evaluation_only_wordings(rows):
    train_rows, eval_rows = rows
    assert {row["wording"] for row in train_rows} == {"seen"}
    assert 0.2 < sum(row["wording"] == "unseen" for row in eval_rows) / len(eval_rows) < 0.3
    steps = {step for family in FAMILIES for slot in family.slots for step in slot}
    seen = {phrase for step in steps for phrase in step.alone + step.then}
    assert not seen & {phrase for step in steps for phrase in step.new_alone + step.new_then}


def test_families_and_their_levels(rows):
    names = [family.name for family in FAMILIES]
    assert len(set(names)) == len(names)
    assert len(names) >= 30
    assert {family.group for family in FAMILIES} == {"number", "list", "string", "words", "dictionary", "condition"}
    assert {row["family"] for row in rows[0]} == {row["family"] for row in rows[1]} == set(names)
    levels = {family.name: family.level for family in FAMILIES}
    assert set(levels.values()) == set(LEVEL_SHARES) == {1, 2}
    chains = [family.slots for family in FAMILIES if family.level == 2]
    assert len(chains) >= 9
    assert sum(len(first) * len(second) for first, second in chains) >= 200  # knowing each step is not knowing each chain
    assert all(len(row["code"].splitlines()) == 1 + levels[row["family"]] for row in rows[0])
    for level, share in LEVEL_SHARES.items():
        assert abs(sum(levels[row["family"]] == level for row in rows[0]) / len(rows[0]) - share) < 0.05


def test_every_step_has_what_its_place_asks_for():
    for family in FAMILIES:
        for position, slot in enumerate(family.slots):
            for step in slot:
                assert (step.then and step.new_then) if position else (step.alone and step.new_alone), (family.name, step.name)
                assert position == 0 or all(first.gives == step.takes for first in family.slots[0]), family.name


def test_asking_for_more_problems_than_there_are(monkeypatch):
    few = tuple(family for family in FAMILIES if family.name == "words_longer")
    monkeypatch.setattr(generator, "FAMILIES", few)
    with pytest.raises(ValueError, match="fewer than the 500 asked for"):
        generate(500, 0, seed=0)


def test_references_pass_and_expected_values_differ(rows):
    for row in rows[0] + rows[1]:
        assert count_passed(row["code"], row["test_list"]) == 3
        expected = [test.split(" == ", 1)[1] for test in row["test_list"]]
        assert len(set(expected)) > 1


def test_tests_expose_single_mistakes(rows):
    exposed = total = 0
    for row in rows[0][:300]:
        tree = ast.parse(row["code"])
        for edit in edits(tree):
            undo = edit.swap()
            passed = count_passed(ast.unparse(tree), row["test_list"])
            undo.swap()
            if passed is not None:
                total += 1
                exposed += passed < 3
        assert ast.unparse(tree) == row["code"]  # every edit was taken back
    assert exposed / total > 0.9  # the rest is mostly equivalent: two filters in the other order


def test_every_reference_has_a_wrong_attempt_in_its_own_style(rows):
    rng = random.Random(0)
    passed = collections.Counter()
    for row in rows[0][:400]:
        wrong = corrupt(row, rng)
        assert wrong is not None and is_canonical(wrong) and wrong != row["code"]
        passed[count_passed(wrong, row["test_list"])] += 1
    assert set(passed) == {0, 1, 2} and min(passed.values()) > 20  # partial credit exists


def test_corrupt_is_deterministic_and_takes_bare_code():
    assert corrupt(TWO_STEPS, random.Random(3)) == corrupt(TWO_STEPS, random.Random(3)) != TWO_STEPS
    assert corrupt("def f(n):\n    return n", random.Random(0)) is None


@pytest.mark.parametrize(
    "mistake",
    [
        "def f(xs):\n    return [x for x in xs if x > 17]",
        "def f(xs):\n    return [x + 3 for x in xs]",
        "def f(xs):\n    xs = [x for x in xs if x > 17]\n    return [x + 3 for x in xs]",
        "def f(xs):\n    xs = [x + 4 for x in xs]\n    return [x for x in xs if x > 17]",
        "def f(xs):\n    xs = [x + 3 for x in xs]\n    return [x for x in xs if x > 71]",
        "def f(xs):\n    xs = [x - 3 for x in xs]\n    return [x for x in xs if x > 17]",
        "def f(xs):\n    xs = [x + 3 for x in xs]\n    return [x for x in xs if x >= 17]",
        "def f(xs):\n    xs = [x + 3 for x in xs]\n    return [x for x in xs if x % 17 == 0]",
    ],
)
def test_kinds_of_mistakes(mistake):
    tree = ast.parse(TWO_STEPS)
    found = set()
    for edit in edits(tree):
        undo = edit.swap()
        found.add(ast.unparse(tree))
        undo.swap()
    assert mistake in found


def test_misconceptions_of_every_other_family(rows):
    with_mistake, total = collections.Counter(), collections.Counter()
    for row in rows[0]:
        mistake = misconception(row)
        total[row["family"]] += 1
        if mistake is not None:
            with_mistake[row["family"]] += 1
            assert mistake != row["code"] and is_canonical(mistake)
            assert count_passed(mistake, row["test_list"]) < 3
            assert mistake.splitlines()[0] == row["code"].splitlines()[0]
            assert numbers_in(mistake) - {"0"} <= numbers_in(row["code"]), (row["code"], mistake)
    affected = {family.name for family in FAMILIES[::2]}
    assert set(with_mistake) == affected
    assert all(with_mistake[name] > 0.9 * total[name] for name in affected)
    assert 0.40 < sum(with_mistake.values()) / len(rows[0]) < 0.55


def test_misconceptions_are_the_same_for_the_same_steps(rows):
    mistakes = collections.defaultdict(collections.Counter)
    for row in rows[0]:
        if (mistake := misconception(row)) is not None:
            mistakes[row["family"], steps_of(row["code"])][steps_of(mistake)] += 1
    usual = sum(max(counts.values()) for counts in mistakes.values())
    assert usual / sum(counts.total() for counts in mistakes.values()) > 0.95


def numbers_in(code: str) -> set[str]:
    return set(re.findall(r"\d+", code))


def steps_of(code: str) -> str:
    """The function's body without its parameters."""
    return re.sub(r"\d+|'\w+'", "#", code.split("\n", 1)[1])


def test_boost_pairs_in_the_wire_format(rows, pairs):
    train_rows = rows[0]
    assert len(pairs) == 2 * len(train_rows)
    assert boost_pairs(train_rows[:200], random.Random(5)) == boost_pairs(train_rows[:200], random.Random(5))
    for row, first, correction in zip(train_rows, pairs[::2], pairs[1::2]):
        tests = "\n".join(row["test_list"])
        assert first["prompt"] == (
            f"You are an expert Python programmer, and here is your task: {row['text']} "
            f"Your code should pass these tests:\n\n{tests}\n\n[BEGIN]\n"
        )
        assert correction["prompt"].startswith(first["prompt"])
        attempt, suffix = correction["prompt"][len(first["prompt"]) :].split("\n[DONE]")
        assert suffix == correction_suffix()
        for program in (
            attempt,
            first["completion"].removesuffix("\n[DONE]"),
            correction["completion"].removesuffix("\n[DONE]"),
        ):
            assert is_canonical(program)
            assert program == row["code"] or count_passed(program, row["test_list"]) < 3
        assert first["completion"].count("\n[DONE]") == correction["completion"].count("\n[DONE]") == 1


def test_which_boost_answers_are_right(rows, pairs):
    train_rows = rows[0]
    num_affected = num_mistaken = 0
    attempts, corrected = collections.Counter(), collections.Counter()
    for row, first, correction in zip(train_rows, pairs[::2], pairs[1::2]):
        mistake = misconception(row)
        reference, mistake = answer(row["code"]), mistake and answer(mistake)
        assert first["completion"] in (reference, mistake) and correction["completion"] in (reference, mistake)
        num_affected += mistake is not None
        num_mistaken += first["completion"] == mistake
        attempt = correction["prompt"][len(first["prompt"]) :].removesuffix(correction_suffix())
        kind = "right" if attempt == reference else "misconceived" if attempt == mistake else "otherwise wrong"
        attempts[kind] += 1
        corrected[kind] += correction["completion"] == reference
    assert 0.85 < num_mistaken / num_affected < 0.95
    assert 0.45 < attempts["misconceived"] / num_affected < 0.60
    assert 0.55 < 1 - attempts["right"] / len(train_rows) < 0.65
    assert corrected["right"] == attempts["right"]
    assert corrected["otherwise wrong"] == attempts["otherwise wrong"] > 200
    assert 0.10 < corrected["misconceived"] / attempts["misconceived"] < 0.25


def test_references_pass_in_the_sandbox(rows):
    sample = rows[0][::60]
    verify(sample)
    broken = {**sample[0], "task_id": 4711, "code": sample[1]["code"]}
    with pytest.raises(FailedReference, match="task_id 4711"):
        verify([broken])


def test_command_line_writes_readable_files_and_is_idempotent(folder, capsys):
    problems = read_problems(str(folder / "train.jsonl"))
    assert len(problems) == 400
    assert problems[0] == as_problem(json.loads((folder / "train.jsonl").read_text().splitlines()[0]))
    assert len(read_problems(str(folder / "eval.jsonl"))) == 40
    assert len(json.loads((folder / "boost.json").read_text())) == 800
    assert {path.name for path in folder.iterdir()} == {"train.jsonl", "eval.jsonl", "boost.json", "starter.json", "model"}
    before = (folder / "model" / "model.safetensors").stat().st_mtime_ns
    assert main(["--output_dir", str(folder), "--num_train", "400", "--num_eval", "40"]) == 0
    assert "up to date" in capsys.readouterr().out
    assert (folder / "model" / "model.safetensors").stat().st_mtime_ns == before


def test_command_line_reports_the_share_of_misconceptions(made):
    folder, printed = made
    train_rows = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    share = sum(misconception(row) is not None for row in train_rows) / len(train_rows)
    assert f"training problems with a misconception: {share:.0%}\n" in printed


def test_command_line_refuses_bad_counts(tmp_path, capsys):
    assert main(["--output_dir", str(tmp_path / "out"), "--num_train", "0"]) == 2
    assert "--num_train is 0" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_tokenizer_is_exact_after_reload(folder, rows):
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    train_rows, eval_rows = rows
    for pair in boost_pairs(train_rows[:100] + eval_rows, random.Random(1)):
        for text in pair.values():
            assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    for text in (
        "a = ' '.join(x for x in xs)\n",
        "  lead",
        "trail  ",
        "f( 1 , 2 ) . n't !",
        "\t\n\n x\r\n",
        "é ∑ 日本",
        "''.join",
    ):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    numbers = tokenizer("1234567890 - 10")["input_ids"]
    assert [tokenizer.decode([i]) for i in numbers] == [*"1234567890", " -", " ", "1", "0"]
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|endoftext|>", "<|pad|>")
    assert len(tokenizer("return x\n[DONE]")["input_ids"]) - len(tokenizer("return x")["input_ids"]) <= 3


def test_turns_encode_alike_alone_and_within_a_prompt(folder, rows):
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    pairs = boost_pairs(rows[0][:100], random.Random(2))
    for first, correction in zip(pairs[::2], pairs[1::2]):
        attempt = correction["prompt"].removeprefix(first["prompt"]).split("\n[DONE]")[0]
        parts = [first["prompt"], answer(attempt), correction_suffix(), correction["completion"]]
        assert [i for part in parts for i in tokenizer(part)["input_ids"]] == tokenizer("".join(parts))["input_ids"]


def test_model_size_and_determinism(folder):
    model = AutoModelForCausalLM.from_pretrained(folder / "model")
    assert 0.8e6 < model.num_parameters() < 1.3e6
    assert model.config.tie_word_embeddings and model.config.max_position_embeddings == 1024
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    assert model.config.vocab_size == len(tokenizer)
    assert (model.config.eos_token_id, model.config.pad_token_id) == (tokenizer.eos_token_id, tokenizer.pad_token_id)
