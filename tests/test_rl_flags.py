"""Flags and presets: what is taken, what overrides what, and one sentence for everything that is wrong."""

from pathlib import Path

import pytest
import torch
from transformers import get_scheduler

from rl.cocos_config import CocosConfig
from rl.config import ConfigError, EvaluateConfig
from rl.flags import exit_on_bad_input, parse_flags, resolved
from rl.train_config import SCHEDULES, BoostConfig
from rl.train_rows import ClipRange

REQUIRED = ["--model_name_or_path", "some/model", "--train_data", "x.jsonl", "--output_dir", "out"]


def parse(*argv, kind=CocosConfig, required=REQUIRED):
    return parse_flags(kind, [*required, *map(str, argv)], "")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--rloo_k", 1], "--rloo_k is 1: --baseline leave_one_out needs at least 2 samples in a group; raise --rloo_k or"),
        (
            ["--num_turns", 1],
            "--first_attempts is 1: --baseline leave_one_out needs at least 2 samples in a group; raise --first",
        ),
        (["--rloo_k", 0], "--rloo_k is 0: it must be at least 1"),
        (["--model_name_or_path", "./nowhere"], "--model_name_or_path nowhere does not exist"),
        (["--model_name_or_path", "tests"], "--model_name_or_path tests has no config.json"),
        (["--output_dir", "setup.cfg"], "--output_dir setup.cfg is a file"),
        (["--deepspeed", "nowhere.json"], "--deepspeed nowhere.json: no such file"),
        (["--gama", 0.5], "unknown flag --gama; did you mean --gamma?"),
        (["--gama=0.5"], "unknown flag --gama=0.5; did you mean --gamma?"),
        (["--zzzzzz", 1], "unknown flag --zzzzzz; --help lists them all"),
        (["--gamma", 2], "--gamma is 2.0: a discount lies between 0 and 1"),
        (["--return_form", "sum"], "--return_form is sum with --first_attempts 1 and --num_turns 2: there both forms"),
        (["--return_form", "sum", "--first_attempts", 2, "--num_turns", 1], "--return_form is sum with --first_attempts 2"),
        (["--gamma", 0.2], "--gamma is 0.2 with --first_attempts 1 and --num_turns 2: what it weighs is the same"),
        (["--gamma", 0.2, "--first_attempts", 2, "--first_turn_return", "own"], "--gamma is 0.2 with --first_attempts 2"),
        (
            ["--return_form", "sum", "--first_attempts", 2, "--first_turn_return", "own"],
            "--return_form is sum with --first",
        ),
        (["--turn_weight", 1, 0], "--turn_weight is 1 0 and --first_attempts 1: corrections weigh nothing"),
        (["--turn_weight", "nan", 1], "--turn_weight is nan: it must be a finite number"),
        (["--turn_weight", "inf", 1], "--turn_weight is inf: it must be a finite number"),
        (["--importance_cap", 0.5], "--importance_cap is 0.5: it must be at least 1"),
        (
            ["--baseline", "group_std"],
            "--baseline group_std with --kl_in reward and --kl_coef 0.01: in a group of",
        ),
        (["--first_turn_kl_coef", 1, "--num_turns", 1, "--first_attempts", 2], "and --num_turns 1: first attempts are all"),
        (["--max_steps", 5, "--num_train_epochs", 3], "--max_steps is 5 and --num_train_epochs 3.0: steps are counted by one"),
        (["--report_to", "none", "--wandb_run_name", "a"], "--wandb_run_name is 'a' and --report_to none: there is no"),
        (["--gamma", 0.2, "--num_turns", 1, "--first_attempts", 2], "--gamma is 0.2 with --first_attempts 2 and --num_turns 1"),
        (["--rloo_k", 2, "--num_turns", 1, "--first_attempts", 2], "--rloo_k is 2 and --num_turns 1: there are no corrections"),
        (["--turn_weight", 2, "--num_turns", 1, "--first_attempts", 2], "--turn_weight is 2 and --num_turns 1: there is no"),
        (["--return_form", "sum", "--gamma", 0.2], "--gamma is 0.2: it acts with --return_form accumulated only"),
        (["--improvement_bonus", 1, "--num_turns", 1, "--first_attempts", 2], "--improvement_bonus is 1.0 and --num_turns 1"),
        (["--first_turn_return", "own"], "--first_turn_return is own with --first_attempts 1 and --num_turns 2: it is about"),
        (["--eval_num_turns", 3], "--eval_num_turns is 3 but there is no --eval_data"),
        (["--test_timeout_s", 11], "--program_timeout_s is 10.0 and --test_timeout_s 11.0: a program has the time of one test"),
        (["--improvement_bonus", -1], "--improvement_bonus is -1.0: it must be at least 0"),
        (
            ["--truncation_penalty", 1],
            "--truncation_penalty is 1.0 and --truncated keep: a penalty above 0 and penalize belong",
        ),
        (["--truncated", "penalize"], "--truncation_penalty is 0.0 and --truncated penalize: a penalty above 0 and"),
        (["--first_turn_kl_coef", 1], "--first_turn_kl_coef is 1.0 and --first_attempts 1: first attempts without a group"),
        (["--first_turn_kl_coef", -1, "--first_attempts", 2], "--first_turn_kl_coef is -1.0: it must be at least 0"),
        (["--first_turn_kl_coef", 1, "--first_attempts", 2, "--kl_target", 1], "it steers one coefficient for all turns"),
        (
            ["--clip_low", 0.1],
            "--clip_low is 0.1: with one optimizer step a rollout there is no ratio to clip; raise --num_ppo",
        ),
        (["--clip_high", 0.3], "or drop --clip_high"),
        (["--ratio_level", "token"], "--ratio_level is token: with one optimizer step"),
        (["--clip_low", 1.5, "--num_ppo_epochs", 2], "--clip_low is 1.5: a ratio is never below 0"),
        (["--clip_high", 0, "--num_ppo_epochs", 2], "--clip_high is 0.0: it must be greater than 0"),
        (["--num_mini_batches", 0], "--num_mini_batches is 0: it must be at least 1"),
        (["--entropy_coef", -1], "--entropy_coef is -1.0: it must be at least 0"),
        (["--max_resampling_rounds", 3], "--max_resampling_rounds is 3: nothing is resampled where nothing is dropped; add"),
        (["--prompt_lookup_num_tokens", 4, "--sampler", "paged"], "--sampler paged: only batch drafts; use it, or drop"),
        (["--prompt_lookup_num_tokens", 4, "--sampler", "graphs"], "--sampler graphs: only batch drafts; use it, or drop"),
        (
            ["--save_only_model", "--resume_from_checkpoint", "auto"],
            "--save_only_model is true and --resume_from_checkpoint auto: such a run writes nothing to go on from",
        ),
        (["--prompt_lookup_num_tokens", -1], "--prompt_lookup_num_tokens is -1: it must be at least 0"),
        (["--max_resampling_rounds", -1, "--drop_equal_groups"], "--max_resampling_rounds is -1: it must be at least 0"),
        (
            ["--drop_equal_groups", "--baseline", "batch_mean"],
            "--drop_equal_groups with --baseline batch_mean: there groups of",
        ),
        (["--gamma", "x"], "--gamma: invalid float value: 'x'"),
        (["--reward", "some"], "--reward: invalid choice: 'some'"),
        (["--temperature", 0], "--temperature is 0.0: it must be greater than 0"),
        (["--eval_steps", 3], "--eval_steps is 3 but there is no --eval_data"),
        (["--lr_scheduler_type", "reduce_lr_on_plateau"], "--lr_scheduler_type is 'reduce_lr_on_plateau': choose one of"),
        (["--learning_rate", "nan"], "--learning_rate is nan: it must be"),
        (["--program_timeout_s", "inf"], "--program_timeout_s is inf: it must be a finite number"),
        (["--num_train_epochs", "nan"], "--num_train_epochs is nan: it must be a finite number"),
        (["--resume_from_checkpoint", ""], "--resume_from_checkpoint is empty: give a value, or drop it"),
        (["--sandbox_modules", ""], "--sandbox_modules is empty: give a value, or drop it"),
        (["--max_steps", 0], "--max_steps is 0: it must be at least 1, or -1 to go by --num_train_epochs"),
        (["--eval_on_start", "True"], "--eval_on_start is True but there is no --eval_data; give it, or drop --eval_on_start"),
        (["--kl_coef", "nan"], "--kl_coef is nan: it must be"),
        (["--lr_scheduler_type", "cosin"], "--lr_scheduler_type is 'cosin': choose one of"),
        (["--warmup_ratio", 2], "--warmup_ratio is 2.0"),
        (["--warmup_ratio", 0.1, "--lr_scheduler_type", "constant"], "--warmup_ratio is 0.1 and --lr_scheduler_type constant"),
        (["--num_train_epochs", 0], "one of them must be positive"),
        (["--config", "nowhere.yaml"], "--config nowhere.yaml: No such file"),
        (["--learning_rate", -1], "--learning_rate is -1.0"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
)
def test_bad_flags(argv, message):
    with pytest.raises(ConfigError) as error:
        parse(*argv)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_flags_are_named():
    with pytest.raises(ConfigError, match=r"^these flags are required: --model_name_or_path, --output_dir$"):
        parse(required=["--train_data", "x.jsonl"])


def test_a_preset_knows_older_names_and_has_to_be_text(tmp_path):
    preset = tmp_path / "p.yaml"
    preset.write_text("weight: 0.25\nfirst_attempts: 2\n")
    assert parse("--config", preset).gamma == 0.25
    preset.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"p\.yaml: not UTF-8 text"):
        parse("--config", preset)


def test_preset_sets_defaults_and_flags_override(tmp_path):
    preset = tmp_path / "p.yaml"
    preset.write_text("max_steps: 5\nlearning_rate: 1e-4\ngamma: 0.25\nfirst_attempts: 2\nallow_unsafe_sandbox: true\n")
    config = parse("--config", preset, "--weight", 0.75)
    assert (config.max_steps, config.learning_rate, config.gamma, config.first_attempts) == (5, 1e-4, 0.75, 2)
    assert config.allow_unsafe_sandbox is True


def test_null_in_a_preset_leaves_the_default(tmp_path):
    preset = tmp_path / "p.yaml"
    preset.write_text("max_steps: 5\neval_data: null\nturn_weight: ~\nref_model_name_or_path:\n")
    config = parse("--config", preset)
    assert (config.max_steps, config.eval_data, config.turn_weight, config.ref_model_name_or_path) == (5, None, None, None)


def test_of_several_presets_the_later_one_wins(tmp_path):
    first, second = tmp_path / "1.yaml", tmp_path / "2.yaml"
    first.write_text("max_steps: 5\nkl_coef: 0.5\nsandbox_modules: [numpy, scipy]\n")
    second.write_text("kl_coef: 0.25\nsandbox_modules: [sympy]\n")
    config = parse("--config", first, "--config", second, "--seed", 7)
    assert (config.max_steps, config.kl_coef, config.sandbox_modules, config.seed) == (5, 0.25, ["sympy"], 7)
    assert parse("--config", second, "--config", first).kl_coef == 0.5


def test_a_wrong_value_of_a_preset_names_its_file(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text("learning_rate: fast\n")
    with pytest.raises(ConfigError, match=r"--learning_rate: invalid float value: 'fast' \(of --config .*p\.yaml\)"):
        parse("--config", path)
    path.write_text("seed: 1\nkl_coef: 0.1\n")
    with pytest.raises(ConfigError, match=r"value: 'x'$"):
        parse("--kl_coef", "x", "--config", path)


def test_a_key_that_is_there_twice_is_refused(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text("learning_rate: 5e-4\nlearning_rate: 1e-5\n")
    with pytest.raises(ConfigError, match=r"p\.yaml: not valid YAML \(learning_rate is there twice\)"):
        parse("--config", path)


def test_no_packages_at_all_can_be_asked_for(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text("sandbox_modules: []\n")
    assert parse().sandbox_modules == ["numpy"]
    assert parse("--config", path).sandbox_modules == parse("--sandbox_modules").sandbox_modules == []
    with pytest.raises(SystemExit, match="2"), exit_on_bad_input():
        parse("--turn_weight")


def test_a_preset_can_hold_required_flags(tmp_path):
    preset = tmp_path / "p.yaml"
    preset.write_text("model_name_or_path: a/b\ntrain_data: x.jsonl\noutput_dir: out\n")
    assert parse("--config", preset, required=[]).model_name_or_path == "a/b"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rloo: 4", "unknown key 'rloo'; did you mean rloo_k?"),
        ("- a", "needs `flag: value` lines"),
        ("a: [", "not valid YAML"),
        ("rloo_k: many", "--rloo_k: invalid int value: 'many'"),
    ],
)
def test_bad_presets(tmp_path, text, message):
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        parse("--config", tmp_path / "p.yaml")


@pytest.mark.parametrize("preset", sorted((Path(__file__).parents[1] / "launch/presets").glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_presets_are_valid(preset):
    parse("--config", preset, kind=BoostConfig if "boost" in preset.stem else CocosConfig)


def test_batch_arithmetic_names_the_numbers():
    config = parse("--global_batch_size", 12, "--first_attempts", 2, "--rloo_k", 3)
    assert config.problems_per_step == 2
    assert config.branching == (2, 3)
    config.check_world(2)
    with pytest.raises(ConfigError, match=r"must be a multiple of 24 \(4 processes x 6 trajectories"):
        config.check_world(4)


def test_turns_beyond_the_second_do_not_branch():
    assert parse("--num_turns", 4, "--rloo_k", 3).branching == (1, 3, 1, 1)
    one = parse("--num_turns", 1, "--first_attempts", 3)
    assert (one.branching, one.trajectories_per_problem) == ((3,), 3)


def test_coefficients_of_the_kl_by_turn():
    assert parse("--num_turns", 3).kl_coefs("reward", 0.02) == [0.02] * 3
    assert parse("--num_turns", 3).kl_coefs("loss", 0.02) == [0.0] * 3
    loss = parse("--kl_in", "loss", "--first_turn_kl_coef", 0.0)
    assert (loss.kl_coefs("loss", 0.02), loss.kl_coefs("reward", 0.02)) == ([0.0, 0.02], [0.0, 0.0])


def test_estimators_of_the_kl_are_those_that_have_the_right_gradient():
    assert parse("--kl_estimator", "k1").loss_terms.kl_estimator == "k1"
    assert parse("--kl_in", "loss").loss_terms.kl_estimator == "k2"
    with pytest.raises(ConfigError, match=r"k1 with --kl_in loss: there its gradient is 0 in expectation; use k2, k3"):
        parse("--kl_in", "loss", "--kl_estimator", "k1")


def test_turns_weigh_the_same_unless_told_otherwise(tmp_path):
    assert parse("--num_turns", 3).turn_weights == [1, 1, 1]
    (tmp_path / "p.yaml").write_text("turn_weight: [0.5, 1]\n")
    assert parse("--config", tmp_path / "p.yaml").turn_weights == [0.5, 1]
    with pytest.raises(ConfigError, match=r"--turn_weight is 1 1: it takes one number a turn, here 3"):
        parse("--turn_weight", 1, 1, "--num_turns", 3)
    with pytest.raises(ConfigError, match=r"--turn_weight is 0 0: no weight is below 0, and one at least must be above"):
        parse("--turn_weight", 0, 0)


def test_the_reference_is_the_start_unless_named(tmp_path):
    assert parse().reference == parse().model_name_or_path
    assert parse("--ref_model_name_or_path", "other").reference == "other"
    with pytest.raises(ConfigError, match=r"--ref_model_name_or_path .* has no config\.json"):
        parse("--ref_model_name_or_path", tmp_path)


def test_more_steps_on_a_rollout_bring_a_clip():
    assert parse().loss_terms.clip is None
    config = parse("--num_ppo_epochs", 2, "--num_mini_batches", 3, "--clip_high", 0.3, "--ratio_level", "token")
    assert config.updates_per_step == 6
    assert config.loss_terms.clip == ClipRange(0.2, 0.3, "token")
    assert parse("--num_mini_batches", 2).loss_terms.clip == ClipRange(0.2, 0.2, "sequence")
    with pytest.raises(ConfigError, match=r"--num_mini_batches is 3: each of the 2 processes has .* 2 trajectories"):
        parse("--num_mini_batches", 3, "--global_batch_size", 4, "--rloo_k", 2).check_world(2)


def test_rounds_of_a_step():
    assert parse().max_rounds == 1
    assert parse("--drop_equal_groups").max_rounds == 3
    assert parse("--drop_equal_groups", "--max_resampling_rounds", 0).max_rounds == 1


def test_number_of_steps():
    assert parse("--max_steps", 7).num_steps(1000, 8) == 7
    assert parse("--num_train_epochs", 2).num_steps(100, 8) == 25


def test_evaluation_and_boost_flags():
    evaluate = ["--model_name_or_path", "m", "--test_data", "t", "--output_dir", "o"]
    assert parse("--num_turns", 3, kind=EvaluateConfig, required=evaluate).num_turns == 3
    with pytest.raises(ConfigError, match="--stop_at_accuracy needs"):
        parse("--stop_at_accuracy", 0.5, kind=BoostConfig)
    for name, value in (("fewshot_data", "f.jsonl"), ("prompt_format", "chat"), ("history", "last"), ("sandbox_workers", 9)):
        with pytest.raises(ConfigError, match=f"--{name} is {value!r}: pairs bring their own prompts"):
            parse(f"--{name}", value, kind=BoostConfig)
    assert (parse(kind=BoostConfig).learning_rate, parse().learning_rate) == (1e-5, 1e-6)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--metric_for_best_model", "loss"], "'loss': choose one of accuracy@1, accuracy@2, delta@2, incorrect_to_correct@2"),
        (["--metric_for_best_model", "accuracy@2"], "it needs --eval_data and --eval_steps"),
        (["--early_stopping_patience", 2], "name the number to be patient about with --metric_for_best_model"),
        (
            ["--micro_batch_tokens", 99, "--per_device_train_batch_size", 2],
            "measured in tokens or in rows; drop one of the two",
        ),
        (["--max_skipped_steps", -1], "--max_skipped_steps is -1: it must be at least 0"),
        (["--collective_timeout_s", 0], "--collective_timeout_s is 0.0: it must be greater than 0"),
        (["--ds3_gather_for_generation", "false", "--sampler", "paged"], "pages need whole weights; use --sampler batch"),
        (
            ["--ds3_gather_for_generation", "false", "--attn_implementation", "flash_attention_2"],
            "--sampler is auto, with --attn_implementation flash_attention_2: pages need whole weights",
        ),
    ],
)
def test_flags_of_selection_faults_and_passes(flags, message, monkeypatch):
    monkeypatch.setattr("rl.config._installed_attention", lambda name: None)  # as where it is
    with pytest.raises(ConfigError, match=message):
        parse(*flags)


def test_resolved_config_has_versions():
    assert {"rloo_k", "versions", "python"} <= resolved(parse()).keys()


def test_exit_code(capsys):
    with pytest.raises(SystemExit) as stop, exit_on_bad_input():
        raise ConfigError("what is wrong")
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: what is wrong\n"


def test_every_schedule_that_is_offered_makes_steps():
    parameter = torch.nn.Parameter(torch.zeros(1))
    for name in SCHEDULES:
        optimizer = torch.optim.AdamW([parameter])
        schedule = get_scheduler(name, optimizer, 1, 10)
        for _ in range(10):
            optimizer.step()
            schedule.step()


def test_attempts_alone_in_their_groups_are_fine_where_no_group_is_asked():
    assert parse("--rloo_k", 1, "--baseline", "batch_mean").branching == (1, 1)
