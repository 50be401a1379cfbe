"""The import directions that keep the folders apart, read from the source."""

import ast
import re
import sys
from pathlib import Path

import pytest
from mutants import MUTANTS

ROOT = Path(__file__).parents[1]
OURS = {"rl", "data", "sandbox", "launch", "train_boost", "train_cocos", "evaluate"}
MATHEMATICS = {"rewards", "advantages", "losses", "token_statistics"}
SCRIPTS = {
    "step_profile": {"rl", "data", "torch"},
    "process_memory": {"torch"},
    "step_speed": {"torch"},
    "gpu_sampling": {"rl", "torch", "transformers"},
    "published_loop": {"rl", "data", "torch", "transformers"},
    "trl_rloo": {"data", "sandbox", "torch", "transformers", "datasets", "trl"},
}


def imports(path: Path) -> set[str]:
    """Dotted names of everything a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module)
    return names


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def foreign(path: Path, allowed: set[str]) -> set[str]:
    """Top-level packages, the standard library aside, that the file may not import."""
    return {name.split(".")[0] for name in imports(path)} - set(sys.stdlib_module_names) - allowed


@pytest.mark.parametrize("path", sources("sandbox"), ids=str)
def test_sandbox_is_the_standard_library_alone(path):
    assert not foreign(path, {"sandbox"})


@pytest.mark.parametrize("path", sources("data"), ids=str)
def test_data_knows_problems_and_the_sandbox(path):
    allowed = {"data", "sandbox", "datasets", "tqdm"}
    if path.parent.name == "starter" and path.name == "model.py":
        allowed |= {"torch", "transformers", "tokenizers"}  # the embedded default includes a model
    if path.parent.name == "boost" and path.name == "__main__.py":
        allowed |= {"rl", "launch", "torch", "transformers"}  # a script in all but place: it joins data and rl as those do
    assert not foreign(path, allowed)


@pytest.mark.parametrize("path", sources("rl"), ids=str)
def test_rl_never_imports_launch_and_its_mathematics_only_torch(path):
    if path.stem in MATHEMATICS:
        assert not foreign(path, {"torch", "rl"})
        assert {name for name in imports(path) if name.startswith("rl")} <= {f"rl.{name}" for name in MATHEMATICS}
    else:
        assert not foreign(
            path, {"rl", "data", "sandbox", "torch", "transformers", "safetensors", "numpy", "tqdm", "yaml", "jinja2", "wandb"}
        )


@pytest.mark.parametrize("path", sources("launch"), ids=str)
def test_launch_never_imports_rl(path):
    # Experiments run the scripts, read what these wrote, and draw it; those in SCRIPTS are scripts themselves, which join all.
    if "experiments" in path.relative_to(ROOT).parts:
        assert not foreign(path, {"launch", "numpy", "tqdm", "matplotlib"} | SCRIPTS.get(path.stem, set()))
        ours = {name for name in imports(path) if name.startswith("launch")}
        assert path.stem in SCRIPTS or all(name.startswith("launch.experiments.") for name in ours)
    else:
        assert not foreign(path, {"launch", "torch", "transformers", "deepspeed"})


@pytest.mark.parametrize(
    "path", [p for f in ("rl", "data", "sandbox", "launch") for p in (ROOT / f).rglob("__init__.py")], ids=str
)
def test_package_files_hold_a_docstring_only(path):
    body = ast.parse(path.read_text()).body
    assert len(body) == 1
    assert isinstance(body[0], ast.Expr)


def test_nothing_imports_a_script():
    scripts = {"train_boost", "train_cocos", "evaluate"}
    for folder in ("rl", "data", "sandbox", "launch", "tests"):
        for path in sources(folder):
            assert not {name.split(".")[0] for name in imports(path)} & scripts, path


def test_no_module_is_named_like_the_standard_library():
    # `copy`-like clashes bite when a folder lands on the path; `data.problem` and its like are safe.
    for folder in ("rl", "data", "sandbox", "launch"):
        for path in sources(folder):
            assert path.stem.startswith("__") or path.stem not in sys.stdlib_module_names, path


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant[0]}: {mutant[1]}")
def test_the_list_of_mutants_is_of_this_source(mutant):
    """`tests/mutants.py` takes an hour and is run by hand; that it still can be is checked here."""
    module, source, _ = mutant
    assert (ROOT / "rl" / f"{module}.py").read_text().count(source) == 1


def test_the_readme_names_every_module_of_rl_and_data():
    named = set(re.findall(r"`(\w+)/?`", (ROOT / "README.md").read_text()))
    modules = {path.stem for package in ("rl", "data") for path in (ROOT / package).glob("*.py")} - {"__init__"}
    assert modules <= named, modules - named
