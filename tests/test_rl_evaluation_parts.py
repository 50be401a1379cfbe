"""Names and folders of an evaluation's parts, and what may go on in a folder that holds one."""

import dataclasses
import json

import pytest

from data.problem import read_problems
from rl.config import ConfigError, EvaluateConfig
from rl.evaluation.parts import check_folder, claim_folder, parts_of
from rl.evaluation.records import distinct_names


@pytest.mark.parametrize(
    ("sources", "names"),
    [
        (["runs/a/checkpoint-10"], ["checkpoint-10"]),
        (["runs/a/checkpoint-10", "runs/b/checkpoint-10"], ["a-checkpoint-10", "b-checkpoint-10"]),
        (["mbpp/test.jsonl", "org/mbpp:full:test"], ["test", "mbpp-full-test"]),
        (["x/../y", "x/a b/y"], ["y", "a-b-y"]),
        (["a?", "a!"], ["a-1", "a-2"]),
        (["x/mbpp.parquet"], ["mbpp"]),
    ],
)
def test_names_tell_sources_apart(sources, names):
    assert distinct_names(sources) == names


@pytest.fixture
def config(tiny_model_dir, files, tmp_path):
    data = tmp_path / "problems.jsonl"
    data.write_text((files / "problems.jsonl").read_text())
    return EvaluateConfig(model_name_or_path=[str(tiny_model_dir)], test_data=[str(data)], output_dir=str(tmp_path / "out"))


def opened(config):
    claim_folder(config, check_folder(config, parts_of(config, [read_problems(source) for source in config.test_data])))


def test_a_folder_is_gone_on_with_by_the_same_flags_only(config):
    opened(config)
    opened(dataclasses.replace(config, sandbox_workers=7, report="x.html"))
    with pytest.raises(ConfigError, match=r"--temperature is 0.5, but --output_dir .*out holds an evaluation with 0.0; give"):
        opened(dataclasses.replace(config, temperature=0.5))


def test_changed_data_are_refused(config, tmp_path):
    opened(config)
    lines = (tmp_path / "problems.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "problems.jsonl").write_text("".join(lines[:-1]))
    with pytest.raises(ConfigError, match="holds an evaluation of problems as it was then, and its files have changed"):
        opened(config)


@pytest.mark.parametrize("name", ["fewshot_data", "prompt_template"])
def test_changed_prompts_are_refused(config, tmp_path, name):
    (tmp_path / "prompts").write_text("one")
    config = dataclasses.replace(config, **{name: str(tmp_path / "prompts")})
    opened(config)
    opened(config)
    (tmp_path / "prompts").write_text("two")
    with pytest.raises(ConfigError, match="prompts as it was then, and its files have changed"):
        opened(config)


def test_the_folder_of_something_else_is_refused(config, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/config.json").write_text(json.dumps({"rloo_k": 4}))
    with pytest.raises(ConfigError, match="no evaluation of this version; give another folder"):
        opened(config)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"num_samples": 5}, "--num_samples is 5 and --temperature 0: greedy decoding has one"),
        (
            {"num_samples": 5, "temperature": 1.0, "pass_at": [1, 6]},
            "--pass_at is 6: k lies between 1 and --num_samples, which",
        ),
        ({"pass_at": [1]}, "--pass_at needs several samples"),
        ({"test_data": ["a", "a"]}, "--test_data names a twice"),
        ({"model_name_or_path": ["gone/", "/nowhere"]}, "--model_name_or_path /nowhere does not exist"),
    ],
    ids=str,
)
def test_flags_that_do_not_go_together(config, flags, message):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(config, **flags).check()
