"""Shared fixtures: a tiny random model with a byte-level tokenizer, and a real checkpoint where one is named.

COCOS_REAL_MODEL=FOLDER points the tests marked with `real_model` at a pretrained checkpoint.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from data.problem import Problem
from data.prompts import answer, correction_prompt, first_prompt

ROOT = Path(__file__).parents[1]
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def problems() -> list[Problem]:
    """Six small problems, each with three tests."""
    made = []
    for i, op in enumerate(["+", "-", "*", "+", "-", "*"], 1):
        tests = tuple(f"assert f({x}) == {eval(f'{x} {op} {i}')}" for x in (2, 5, 9))
        text, code = f"Write a function f that computes n {op} {i}.", f"def f(n):\n    return n {op} {i}"
        made.append(Problem(str(i), text, code, tests))
    return made


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory: pytest.TempPathFactory, problems: list[Problem]) -> Path:
    """An untrained 1M-parameter Qwen2 folder with a tokenizer trained on a few prompts."""
    from data.prompts import answer, correction_prompt
    from data.starter.model import build

    folder = tmp_path_factory.mktemp("tiny") / "model"
    build(folder, [correction_prompt(p, [p.code]) + answer(p.code) for p in problems], seed=0)
    return folder


@pytest.fixture(scope="session")
def chat_model_dir(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model with ChatML and its tokens."""
    from chat_templates import speak
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tmp_path_factory.mktemp("chat") / "model"
    tokenizer = speak(AutoTokenizer.from_pretrained(tiny_model_dir), "chatml")
    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    torch.manual_seed(0)
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tokenizer(tiny_model_dir: Path):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_model_dir)


@pytest.fixture(scope="session")
def tiny_model(tiny_model_dir: Path):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_model_dir).eval()


@pytest.fixture(scope="session")
def real_model_dir() -> Path:
    """A pretrained checkpoint; skips where COCOS_REAL_MODEL names none."""
    if "COCOS_REAL_MODEL" not in os.environ:
        pytest.skip("COCOS_REAL_MODEL names no pretrained checkpoint")
    return Path(os.environ["COCOS_REAL_MODEL"])


@pytest.fixture(scope="session", params=["byte-level", "sentencepiece", "merging"])
def any_tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """Real tokenizers of three families; skips where their files are not named."""
    from tokenizer_families import merging, sentencepiece
    from transformers import AutoTokenizer

    if request.param == "byte-level":
        return AutoTokenizer.from_pretrained(request.getfixturevalue("real_model_dir"))
    if "COCOS_TOKENIZERS" not in os.environ:
        pytest.skip("COCOS_TOKENIZERS names no folder of tokenizer files")
    folder = Path(os.environ["COCOS_TOKENIZERS"])
    if request.param == "sentencepiece":
        return sentencepiece(folder / "tokenizer.model.v3", tmp_path_factory.mktemp("sentencepiece") / "tokenizer")
    return merging(folder / "tekken.json")


def run_script(*args: str | Path, check: bool = True, timeout: float = 300) -> subprocess.CompletedProcess:
    """A script of ours in a process of its own, as a user calls it."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        env.pop(name, None)
    done = subprocess.run(
        [sys.executable, *map(str, args)], cwd=ROOT, env=env, capture_output=True, text=True, timeout=timeout, check=False
    )
    if check:
        assert done.returncode == 0, f"{args}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done


def torchrun(num_processes: int, *args: str | Path, **kwargs) -> subprocess.CompletedProcess:
    return run_script("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(num_processes), *args, **kwargs)


@pytest.fixture(scope="session")
def files(tmp_path_factory, problems: list[Problem]) -> Path:
    """`problems.jsonl` and `boost.json` of the six small problems."""
    folder = tmp_path_factory.mktemp("files")
    rows = [{"task_id": p.problem_id, "text": p.text, "code": p.code, "test_list": list(p.test_list)} for p in problems]
    (folder / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pairs = [{"prompt": first_prompt(p), "completion": answer(p.code)} for p in problems]
    pairs += [{"prompt": correction_prompt(p, ["x"]), "completion": answer(p.code)} for p in problems]
    (folder / "boost.json").write_text(json.dumps(pairs))
    return folder


def cocos_flags(model_dir: Path, files: Path, output_dir: Path, **flags) -> list[str | Path]:
    """A small RL run; its learning rate is high enough for one step to be seen."""
    values = {
        "model_name_or_path": model_dir,
        "train_data": files / "problems.jsonl",
        "output_dir": output_dir,
        "global_batch_size": 8,
        "rloo_k": 2,
        "per_device_train_batch_size": 2,
        "max_steps": 2,
        "max_new_tokens": 24,
        "temperature": 1.2,
        "learning_rate": 1e-3,
        "warmup_ratio": 0,
        "kl_coef": 0.1,
        **flags,
    }
    return ["train_cocos.py", *[token for name, value in values.items() for token in (f"--{name}", *str(value).split())]]


def metrics_of(output_dir: Path) -> list[dict]:
    return [json.loads(line) for line in (output_dir / "metrics.jsonl").read_text().splitlines()]


def distance(a: Path, b: Path) -> float:
    """Euclidean distance between the weights of two checkpoints."""
    left, right = load_file(a / "model.safetensors"), load_file(b / "model.safetensors")
    assert left.keys() == right.keys()
    return sum((left[name].double() - right[name].double()).square().sum().item() for name in left) ** 0.5


@pytest.fixture(scope="session")
def boosted(tiny_model_dir, files, tmp_path_factory) -> Path:
    """The tiny model after a short boost stage on two ranks: right now and then, so that RL has something to tell apart."""
    output_dir = tmp_path_factory.mktemp("boost")
    torchrun(
        2,
        *("train_boost.py", "--model_name_or_path", tiny_model_dir, "--train_data", files / "boost.json"),
        *("--output_dir", output_dir, "--global_batch_size", 12, "--per_device_train_batch_size", 6, "--max_steps", 30),
        *("--learning_rate", 2e-3, "--max_new_tokens", 40, "--eval_data", files / "problems.jsonl", "--eval_steps", 15),
    )
    return output_dir
