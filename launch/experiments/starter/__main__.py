"""Compare ways to train on the starter problems, at equal sampled attempts, over several seeds.

    python -m launch.experiments.starter --study methods --output_dir runs/methods --jobs 2

Studies: shapes (of the tree of attempts, with their returns and rewards), methods (published, tree, GRPO, SCoRe), ablations
(one flag of the demo's preset at a time), feedback (what a correction is told of its tests). A finished run is kept, and the
same command goes on where it was stopped. Studies that share an --output_dir share boost models and arms that are the same.
--report_only prints the tables of what is there, --plot draws the learning curves.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from launch.experiments.starter.curves import check_plot, plot
from launch.experiments.starter.report import report
from launch.experiments.starter.runs import check_made, is_finished, run_all
from launch.experiments.starter.studies import STUDIES


def main(argv: list[str]) -> int:
    flags = _parse(argv)
    study = STUDIES[flags.study]
    arms = [arm for arm in study.arms if arm.name in (flags.arms or [arm.name])]
    seeds = flags.seeds or list(study.seeds)
    out = (flags.output_dir or Path("runs") / flags.study).resolve()
    try:
        _check(flags, [arm.name for arm in study.arms])
        bases = {arm.against for arm in arms}
        check_made(out, [arm for arm in study.arms if arm in arms or arm.name in bases], seeds, flags.max_steps)
        if not flags.report_only:
            run_all(out, arms, seeds, study.evaluations, flags.max_steps, flags.jobs)
        elif not any(is_finished(out / arm.folders(seed)[-1]) for arm in arms for seed in seeds):
            raise ValueError(
                f"--output_dir {out} holds no finished run of these arms and seeds; drop --report_only to make them"
            )
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as error:
        last = "\n".join(error.output.read_text().splitlines()[-5:])
        print(f"error: {error.cmd[1]} failed with {error.returncode}; the end of {error.output}:\n{last}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; finished runs are kept, and the same command goes on from there", file=sys.stderr)
        return 130
    print(report(out, study, arms, seeds))
    if flags.plot:
        plot(out, arms, seeds, flags.plot)
        print(f"\nlearning curves: {flags.plot}")
    return 0


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m launch.experiments.starter", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--study", required=True, choices=list(STUDIES))
    parser.add_argument("--arms", nargs="+", metavar="ARM", help="these arms only (default: all of the study)")
    parser.add_argument("--seeds", type=int, nargs="+", help="default: 0 to 4 for methods, 0 to 2 for the others")
    parser.add_argument("--output_dir", type=Path, help="default: runs/STUDY")
    parser.add_argument("--max_steps", type=int, default=100, help="RL steps of an arm, its stages together (default: 100)")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side, each on one thread (default: 2)")
    parser.add_argument("--report_only", action="store_true", help="make no runs")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE.svg", help="draw the learning curves (or FILE.png); needs matplotlib"
    )
    return parser.parse_args(argv)


def _check(flags: argparse.Namespace, names: list[str]) -> None:
    """Raises: ValueError, before anything runs."""
    if unknown := [name for name in flags.arms or [] if name not in names]:
        raise ValueError(f"--arms {unknown[0]}: {flags.study} has {', '.join(names)}")
    for name in ("max_steps", "jobs"):
        if getattr(flags, name) < 1:
            raise ValueError(f"--{name} is {getattr(flags, name)}: it must be at least 1")
    if flags.plot:
        check_plot(flags.plot)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
