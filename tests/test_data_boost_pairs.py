"""Boost pairs from file to token ids: read back as written, encoded as a rollout encodes, loss on the completion alone."""

import json
from collections import Counter
from types import SimpleNamespace

import pytest

from data.boost.attempts import AttemptFile, GradedAttempt, Record
from data.boost.pairs import BoostPair, pairs_text, read_pairs
from data.boost.selection import candidates
from data.problem import DataError
from data.prompts import DONE, answer, correction_prompt, first_prompt
from rl.boosting import boost_rows, encode_pair, encode_pairs
from rl.completion import decode, encode
from rl.encoding import PromptEncoder
from rl.trajectory import Attempt

CODES = ["def f(n):\n    return n + 1", "def f(n):\n\treturn ' '.join(n)  # é\n", "x = [1]", "x"]


def pairs_of(problem, right: str, wrong: str) -> list[BoostPair]:
    attempts = [GradedAttempt("reference", "", right, "passed"), GradedAttempt("sample", "stop", wrong, "failed")]
    return [one.pair for one in candidates(0, problem, attempts, Counter())]


def test_pairs_are_read_back_as_they_were_written(problems, tmp_path):
    pairs = pairs_of(problems[0], CODES[0], CODES[1].strip())
    path = tmp_path / "boost.json"
    path.write_text(pairs_text(pairs), encoding="utf-8")
    assert read_pairs(str(path)) == pairs
    assert [set(row) for row in json.loads(path.read_text(encoding="utf-8"))] == [{"prompt", "completion"}] * 3


def check_ids(tokenizer, problem) -> None:
    """A pair's prompt has the very ids that a rollout makes of the same two turns."""
    encoder = PromptEncoder(tokenizer, [])
    first_ids = encoder.first_ids(problem, 10_000)
    for wrong in CODES:
        sampled = encode(tokenizer, answer(wrong))
        assert DONE in decode(tokenizer, sampled)
        attempt = Attempt(problem, first_ids, sampled, [0.0] * len(sampled), "stop", wrong)
        rollout_ids = encoder.correction_ids(attempt)
        assert encode_pair(BoostPair(first_prompt(problem), answer("x")), tokenizer).prompt_ids == first_ids
        second = encode_pair(BoostPair(correction_prompt(problem, [wrong]), answer("x")), tokenizer)
        assert second.prompt_ids == rollout_ids


def check_loss(tokenizer, problem) -> None:
    """The rows' completions are the completion's text with its end marker, and EOS; all else carries no loss."""
    config = SimpleNamespace(get_text_config=lambda: SimpleNamespace(max_position_embeddings=10_000))
    for right in CODES:
        pairs = pairs_of(problem, right, "def g(): pass")
        encoded = encode_pairs(pairs, tokenizer, config)
        for pair, one, row in zip(pairs, encoded, boost_rows(encoded, 7)):
            ids = row.completion_ids
            if tokenizer.eos_token_id is not None:
                assert ids[-1] == tokenizer.eos_token_id
                ids = ids[:-1]
            assert decode(tokenizer, ids) == pair.completion == answer(right)
            assert decode(tokenizer, row.prompt_ids).strip() == pair.prompt.strip()
            assert row.prompt_ids[-3:] == encode(tokenizer, pair.prompt.split(DONE)[-1])[-3:]  # no token spans the seam
            assert (row.advantage, row.weight) == (1.0, 1 / 7)
            assert one.num_tokens == len(row.prompt_ids) + len(row.completion_ids)


def test_a_boost_prompt_has_the_ids_of_a_rollout(tokenizer, problems):
    check_ids(tokenizer, problems[0])


def test_a_boost_prompt_has_the_ids_of_a_rollout_in_every_family(any_tokenizer, problems):
    check_ids(any_tokenizer, problems[0])


def test_loss_on_the_completion_its_marker_and_eos(tokenizer, problems):
    assert tokenizer.eos_token_id is not None
    check_loss(tokenizer, problems[0])


def test_loss_on_the_completion_its_marker_and_eos_in_every_family(any_tokenizer, problems):
    check_loss(any_tokenizer, problems[0])


def records(*names: str) -> list[Record]:
    return [Record(name, (GradedAttempt("sample", "eos", "é\ud800", "error"),), {"failed": 1}) for name in names]


def test_a_batch_that_was_cut_short_is_made_again(tmp_path):
    path, ids = tmp_path / "a.jsonl", ["1", "2", "3", "4", "5"]
    file = AttemptFile(path, {"seed": 1}, ids, 2)
    assert file.done == []
    for batch in (records("1", "2"), records("3", "4"), records("5")):
        file.append(batch)
    whole = path.read_bytes()
    assert AttemptFile(path, {"seed": 1}, ids, 2).done == records(*ids)
    lengths = [len(line) + 1 for line in whole.split(b"\n")[:-1]]
    for cut, num_done in ((3, 0), (lengths[0], 0), (sum(lengths[:2]), 0), (sum(lengths[:4]), 2), (len(whole) - 1, 4)):
        path.write_bytes(whole[:cut])
        resumed = AttemptFile(path, {"seed": 1}, ids, 2)
        assert len(resumed.done) == num_done
        for start in range(num_done, 5, 2):
            resumed.append(records(*ids[start : start + 2]))
        assert path.read_bytes() == whole


def test_a_side_file_of_another_command_is_refused(tmp_path):
    path = tmp_path / "a.jsonl"
    AttemptFile(path, {"seed": 1, "corrupt": True}, ["1"], 2).append(records("1"))
    with pytest.raises(DataError, match=r"--seed is 2 and .*a.jsonl was made with 1: .* give another --output"):
        AttemptFile(path, {"seed": 2, "corrupt": True}, ["1"], 2)
    with pytest.raises(DataError, match=r"--num_samples is 4 and .* was made with None"):
        AttemptFile(path, {"seed": 1, "corrupt": True, "num_samples": 4}, ["1"], 2)
    with pytest.raises(DataError, match=r"a.jsonl:2: not a problem of --problems in its place"):
        AttemptFile(path, {"seed": 1, "corrupt": True}, ["7"], 2)
    path.write_text("nothing of ours\n")
    with pytest.raises(DataError, match=r"a.jsonl:1: not a line of graded attempts; remove the file"):
        AttemptFile(path, {"seed": 1}, ["1"], 2)
