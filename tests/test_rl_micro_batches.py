"""Which rows go through the model together, and how much that is."""

import itertools
import random

import pytest
import torch

from rl.completion_batch import CompletionBatch
from rl.micro_batches import micro_batches
from rl.pass_limit import PassLimit
from rl.train_rows import TrainRow

CPU = torch.device("cpu")


def rows_of(*shapes):
    """Rows of (prompt number, prompt tokens, completion tokens)."""
    return [TrainRow([100 + number] * prompt, [1] * completion, 1.0, 1.0) for number, prompt, completion in shapes]


def test_rows_of_one_prompt_stand_together_and_are_as_many_as_the_limit_says():
    rows = rows_of((1, 3, 5), (2, 3, 2), (1, 3, 1), (2, 3, 9), (1, 3, 2))
    assert micro_batches(rows, PassLimit(2), True) == [[2, 4], [0, 1], [3]]
    assert micro_batches(rows, PassLimit(99), True) == [[2, 4, 0, 1, 3]]
    assert micro_batches([], PassLimit(2), True) == []


@pytest.mark.parametrize("pack", [True, False])
def test_tokens_are_those_of_the_tensor_with_its_padding(pack):
    draw = random.Random(0)
    rows = rows_of(*[(draw.randrange(6), draw.choice([4, 9]), draw.randrange(1, 30)) for _ in range(40)])
    batches = micro_batches(rows, PassLimit(0, 120), pack)
    assert sorted(i for batch in batches for i in batch) == list(range(40))
    sizes = []
    for batch in batches:
        prompts, completions = [rows[i].prompt_ids for i in batch], [rows[i].completion_ids for i in batch]
        sizes.append(CompletionBatch.collate(prompts, completions, CPU, pack).inputs["input_ids"].numel())
    assert max(sizes) <= 120
    # As full as can be: with the next row each would have been over.
    for batch, following in itertools.pairwise(batches):
        taken = [rows[i] for i in [*batch, following[0]]]
        more = CompletionBatch.collate([r.prompt_ids for r in taken], [r.completion_ids for r in taken], CPU, pack)
        assert more.inputs["input_ids"].numel() > 120


def test_a_row_over_the_limit_goes_alone():
    rows = rows_of((1, 3, 50), (1, 3, 2), (1, 3, 3))
    assert micro_batches(rows, PassLimit(0, 20), True) == [[1, 2], [0]]


def test_halving_ends_at_one():
    limit = PassLimit(3)
    for _ in range(3):
        limit.halve("a test")
    assert limit == PassLimit(1, 0)
    limit = PassLimit(0, 9)
    limit.halve("a test")
    assert limit == PassLimit(0, 4)
