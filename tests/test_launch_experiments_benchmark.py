"""The experiment on a pretrained model: its stages are real runs, here of a tiny model, and none is made twice."""

from conftest import run_script


def test_from_a_model_to_the_table(tiny_model_dir, files, tmp_path):
    command = [
        *("-m", "launch.experiments.benchmark", "--model_name_or_path", tiny_model_dir, "--output_dir", tmp_path / "out"),
        *("--train_data", files / "problems.jsonl", "--test_data", files / "problems.jsonl", "--seeds", 3),
        *("--arms", "pass_rate", "--max_steps", 1, "--boost_steps", 1, "--pair_flags=--corrupt --num_samples 0"),
        *("--boost_flags=--global_batch_size 4", "--rl_flags=--global_batch_size 8 --max_new_tokens 16 --kl_coef 0"),
        "--eval_flags=--max_new_tokens 16",
    ]
    first = run_script(*command)
    names = [line.split()[0] for line in first.stdout.splitlines() if "%" in line]
    assert names[:3] == ["model", "boost", "pass_rate"]
    made = (tmp_path / "out/pass_rate-3/checkpoint-1").stat().st_mtime_ns
    assert '"kl_coef": 0' in (tmp_path / "out/pass_rate-3/config.json").read_text()
    again = run_script(*command)
    assert again.stdout == first.stdout
    assert (tmp_path / "out/pass_rate-3/checkpoint-1").stat().st_mtime_ns == made
    (tmp_path / "out/pass_rate-3/.done").unlink()  # as if it had been stopped in the last step
    assert run_script(*command).stdout == first.stdout
    other = run_script(*command, "--rl_flags=--kl_coef 1", check=False)
    assert other.returncode == 1
    assert "out/pass_rate-3 was made by another command" in other.stderr


def test_a_stage_that_fails_names_its_log(files, tmp_path):
    command = [
        "-m",
        "launch.experiments.benchmark",
        "--model_name_or_path",
        tmp_path / "none",
        "--output_dir",
        tmp_path / "out",
    ]
    done = run_script(*command, "--train_data", files / "problems.jsonl", "--test_data", files / "problems.jsonl", check=False)
    assert done.returncode == 1
    assert f"{tmp_path}/out/eval-model.log says why" in done.stderr
    assert "none" in (tmp_path / "out/eval-model.log").read_text()
