"""The order in which rows are visited: a fresh permutation an epoch, the same on every rank, found again from a position."""

import random


class ShuffledOrder:
    """Row numbers of the endless sequence of shuffled epochs, by position.

    A function of (num_rows, seed, position) alone: a resumed run and a run with other ranks see the same data.
    """

    def __init__(self, num_rows: int, seed: int):
        if num_rows < 1:
            raise ValueError(f"num_rows is {num_rows}: there is nothing to order")
        self._num_rows, self._seed = num_rows, seed
        self._cached: tuple[int, list[int]] = (-1, [])

    def step(self, step: int, rows_per_step: int, rank: int = 0, world_size: int = 1) -> list[int]:
        """Row numbers of this rank's share of `step` (from 1): every world_size-th row of the step's stretch."""
        start = (step - 1) * rows_per_step
        return [self._row(position) for position in range(start + rank, start + rows_per_step, world_size)]

    def _row(self, position: int) -> int:
        epoch, index = divmod(position, self._num_rows)
        if self._cached[0] != epoch:
            rows = list(range(self._num_rows))
            random.Random(f"{self._seed}:{epoch}").shuffle(rows)
            self._cached = (epoch, rows)
        return self._cached[1][index]
