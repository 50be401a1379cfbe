"""The order in which rows are visited: a fresh permutation an epoch, the same on every rank, found again from a position."""

import random


class ShuffledOrder:
    """Row numbers of the endless sequence of shuffled epochs, by position.

    A function of (num_rows, seed, position) alone: a resumed run and a run with other ranks see the same data. How far a run
    has come is its own to keep.
    """

    def __init__(self, num_rows: int, seed: int):
        if num_rows < 1:
            raise ValueError(f"num_rows is {num_rows}: there is nothing to order")
        self._num_rows, self._seed = num_rows, seed
        self._cached: tuple[int, list[int]] = (-1, [])

    def take(self, position: int, count: int) -> list[int]:
        """Row numbers of `count` places from `position` (from 0) on."""
        return [self._row(place) for place in range(position, position + count)]

    def _row(self, position: int) -> int:
        epoch, index = divmod(position, self._num_rows)
        if self._cached[0] != epoch:
            rows = list(range(self._num_rows))
            random.Random(f"{self._seed}:{epoch}").shuffle(rows)
            self._cached = (epoch, rows)
        return self._cached[1][index]
