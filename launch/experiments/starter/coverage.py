"""How often the interval of a study's last columns holds the truth, by simulation.

    python -m launch.experiments.starter.coverage

Two arms that are equally good on average: every problem has a chance of being solved, each seed moves one arm's chances by a
normal draw of the given points, and each arm solves each problem or not. Then `paired_interval`, as in the tables, with fewer
draws. `only seeds` is the worst case: all problems change by what the seed says, and nothing else varies.
"""

import argparse
import sys

import numpy as np

from launch.experiments.starter.report import Solved, paired_interval

NUM_PROBLEMS = 400
NUM_DRAWS = 1000
ONLY_SEEDS = "only seeds"


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        "python -m launch.experiments.starter.coverage",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 5], help="numbers of seeds of a study (default: 3 5)")
    parser.add_argument(
        "--spread", type=float, nargs="+", default=[2.0, 5.0], help="points by which seeds vary, one deviation (default: 2 5)"
    )
    parser.add_argument("--studies", type=int, default=500, help="simulated studies of each kind (default: 500)")
    flags = parser.parse_args(argv)
    print("| seeds | " + " | ".join([*(f"{spread:g} points" for spread in flags.spread), ONLY_SEEDS]) + " |")
    print("|" + "---|" * (2 + len(flags.spread)))
    for seeds in flags.seeds:
        shares = [coverage(seeds, spread, flags.studies) for spread in [*flags.spread, None]]
        print(f"| {seeds} | " + " | ".join(f"{share:.0%}" for share in shares) + " |", flush=True)
    return 0


def coverage(num_seeds: int, spread: float | None, num_studies: int) -> float:
    """Share of the studies whose interval holds 0, the truth; `spread` in points, None where nothing but seeds varies."""
    rng = np.random.default_rng(0)
    return float(np.mean([_holds_zero(*_study(rng, num_seeds, spread)) for _ in range(num_studies)]))


def _study(rng: np.random.Generator, num_seeds: int, spread: float | None) -> tuple[Solved, Solved]:
    """What two arms solved, by seed; the turns are the same."""
    shape = (num_seeds, NUM_PROBLEMS)
    if spread is None:
        before, after = np.zeros(shape), np.broadcast_to(rng.normal(size=(num_seeds, 1)), shape)
    else:
        chances = rng.beta(0.5, 0.5, NUM_PROBLEMS)  # most problems are nearly always solved or nearly never
        before = rng.random(shape) < chances
        after = rng.random(shape) < chances + rng.normal(0, spread / 100, (num_seeds, 1))
    after_by_seed, before_by_seed = ({seed: np.stack([row, row], 1) for seed, row in enumerate(of)} for of in (after, before))
    return after_by_seed, before_by_seed


def _holds_zero(after: Solved, before: Solved) -> bool:
    _, low, high = paired_interval(after, before, 0, NUM_DRAWS)
    return round(low, 1) <= 0 <= round(high, 1)  # as a table prints it


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
