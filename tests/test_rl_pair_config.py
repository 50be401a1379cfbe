"""Flags of `python -m data.boost` that can't be used together, each with its one sentence."""

import pytest

from rl.config import ConfigError
from rl.flags import parse_flags
from rl.pair_config import PairConfig


def parse(*argv: str) -> PairConfig:
    return parse_flags(PairConfig, ["--problems", "p.jsonl", "--output", "b.json", *argv], "")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], r"nothing makes attempts to correct: give --model_name_or_path .*, --corrupt, or both"),
        (["--model_name_or_path", "m", "--num_samples", "0"], r"nothing makes attempts"),
        (["--corrupt", "--output", "b.jsonl"], r"--output is b.jsonl: give the name of a .json file"),
        (["--corrupt", "--right_share", "1.5"], r"--right_share is 1.5: a share of the second turns lies between 0 and 1"),
        (["--corrupt", "--second_turn_ratio", "-1"], r"--second_turn_ratio is -1.0: it must be at least 0"),
        (["--corrupt", "--num_corruptions", "0"], r"--num_corruptions is 0: it must be at least 1"),
        (["--corrupt", "--max_tokens", "99"], r"--max_tokens is 99: the tokenizer of --model_name_or_path counts them"),
        (["--corrupt", "--fewshot_data", "f"], r"--fewshot_data is for a model that is sampled"),
        (["--corrupt", "--temperature", "0.5"], r"--temperature is for a model that is sampled"),
        (["--corrupt", "--num_samples", "8"], r"--num_samples is for a model that is sampled"),
        (["--corrupt", "--dtype", "float32"], r"--dtype is for a model that is sampled"),
        (["--corrupt", "--second_turn_ratio", "0", "--right_share", "0.2"], r"--right_share is 0.2 and --second_turn_ratio 0"),
        (["--model_name_or_path", "some/model", "--num_corruptions", "9"], r"--num_corruptions is for --corrupt; give it"),
        (["--corrupt", "--feedback", "verdict"], r"--feedback is verdict: it is about sampled corrections"),
        (["--corrupt", "--history", "last"], r"--history is last: it is about sampled corrections"),
        (["--model_name_or_path", "./nowhere"], r"--model_name_or_path nowhere does not exist"),
        (["--corrupt", "--num_coruptions", "3"], r"did you mean --num_corruptions\?"),
    ],
)
def test_flags_that_are_refused(argv, message):
    with pytest.raises(ConfigError, match=message):
        parse(*argv)


def test_settings_of_attempts_leave_out_what_the_choice_alone_depends_on():
    one = parse("--corrupt", "--right_share", "0.1", "--second_turn_ratio", "3", "--sandbox_workers", "5")
    assert one.attempt_settings() == parse("--corrupt").attempt_settings()
    other = parse("--corrupt", "--model_name_or_path", "m", "--num_samples", "0", "--max_tokens", "9")
    assert other.attempt_settings() == one.attempt_settings()
    sampled = parse("--model_name_or_path", "m", "--prompt_format", "chat").attempt_settings()
    assert sampled["prompt_format"] == "chat"
    assert "num_corruptions" not in sampled
