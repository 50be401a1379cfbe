"""Rounds of sampling: what is drawn, dropped and made up for, on one rank and on several that must agree."""

import threading
from types import SimpleNamespace

import pytest

from data.order import ShuffledOrder
from data.problem import Problem
from rl.resampling import ProblemSource
from rl.trajectory import Attempt, Rollout

BRANCHING = (2, 2)


class Ranks:
    """Processes that are threads; `gather` waits for all of them, as a collective does."""

    def __init__(self, world_size):
        self._values, self._barrier = [None] * world_size, threading.Barrier(world_size, timeout=20)

    def rank(self, rank):
        def gather(value):
            self._values[rank] = value
            self._barrier.wait()
            values = list(self._values)
            self._barrier.wait()
            return values

        return SimpleNamespace(rank=rank, world_size=len(self._values), is_main=rank == 0, gather=gather)


def trees(rows, seeds):
    """A rollout whose problems are named by their rows and whose attempts carry the seeds."""
    problems = [Problem(str(row), "", "", ()) for row in rows]
    turns = []
    for size in (2, 4):
        turns.append([Attempt(p, list(s), [0], [0.0], "stop", "") for p, s in zip(problems, seeds) for _ in range(size)])
    return Rollout(problems, BRANCHING, turns)


def draws(world_size, num_problems, max_rounds, is_bad, num_steps=1, drop=True):
    """The steps' draws of every rank, and where each rank then is in the order of 10 rows."""
    results = [None] * world_size
    flags = SimpleNamespace(problems_per_step=num_problems, drop_equal_groups=drop, max_rounds=max_rounds, seed=5)
    ranks = Ranks(world_size)

    def run(rank):
        def is_informative(rollout):
            return [not is_bad(int(problem.problem_id)) for problem in rollout.problems]

        source = ProblemSource(trees, is_informative, ShuffledOrder(10, 0), flags, ranks.rank(rank))
        results[rank] = [source.draw(step) for step in range(1, num_steps + 1)], source.position

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(world_size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return [steps for steps, _ in results], [position for _, position in results]


def rows_of(rollout):
    return [int(problem.problem_id) for problem in rollout.problems]


ORDER = ShuffledOrder(10, 0).take(0, 40)


def test_without_dropping_steps_follow_the_order():
    (one, two), positions = draws(2, 4, 1, lambda row: True, num_steps=3, drop=False)
    assert [rows_of(a.kept) + rows_of(b.kept) for a, b in zip(one, two)] == [ORDER[0:4], ORDER[4:8], ORDER[8:12]]
    assert positions == [12, 12]
    assert one[2].metrics() == {"group/dropped": 0, "group/rounds": 1}
    assert [a.prompt_ids for a in two[1].kept.turns[0]] == [[5, 2, 2]] * 2 + [[5, 2, 3]] * 2  # run, step, place in the step


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_fresh_problems_come_from_the_order_without_gap_or_repeat(world_size):
    bad = {ORDER[0], ORDER[3], ORDER[5]}
    steps, positions = draws(world_size, 4, 5, lambda row: row in bad, num_steps=2)
    # Places 0 to 3 lose two, 4 and 5 lose one, 6 is good.
    first = [drawn for drawn, _ in steps]
    assert sorted(row for drawn in first for row in rows_of(drawn.sampled)) == sorted(ORDER[:7])
    assert sorted(row for drawn in first for row in rows_of(drawn.kept)) == sorted(set(ORDER[:7]) - bad)
    assert {(drawn.num_dropped, drawn.num_rounds) for drawn in first} == {(3, 3)}
    assert {len(drawn.kept.problems) for drawn in first} == {4 // world_size}  # every rank makes up for its own
    second = [row for _, drawn in steps for row in rows_of(drawn.sampled)]
    assert sorted(second) == sorted(ORDER[7 : positions[0]])
    assert len(set(positions)) == 1


def test_rounds_are_bounded_and_what_is_missing_stays_missing():
    (steps,), positions = draws(1, 4, 2, lambda row: row != ORDER[1])
    assert rows_of(steps[0].kept) == [ORDER[1]]
    assert (steps[0].num_dropped, steps[0].num_rounds, positions) == (6, 2, [7])


def test_all_dropped_is_said_and_leaves_empty_trees(caplog):
    (one, two), positions = draws(2, 4, 3, lambda row: True)
    assert "step 1: none of 12 problems has anything to teach" in caplog.text
    assert len(caplog.records) == 1  # rank 0 alone
    for drawn in (one[0], two[0]):
        assert drawn.kept.shape(2) == (0, 2, 2)
        assert len(drawn.sampled.turns[1]) == 6 * 4
    assert positions == [12, 12]


def test_trees_are_selected_and_joined_whole():
    rollout = trees([3, 4, 5], [(3,), (4,), (5,)])
    kept = rollout.select([True, False, True])
    assert rows_of(kept) == [3, 5]
    assert [a.prompt_ids for a in kept.turns[1]] == [[3]] * 4 + [[5]] * 4
    both = Rollout.join([kept, rollout.select([False, True, False])])
    assert rows_of(both) == [3, 5, 4]
    assert [a.prompt_ids for a in both.turns[0]] == [[3]] * 2 + [[5]] * 2 + [[4]] * 2
    assert both.shape(2) == (3, 2, 2)
