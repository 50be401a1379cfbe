"""Seconds of a CoCoS step on 8 and 64 GPUs, on paper: a model with stated inputs. No step of several GPUs was measured.

    python -m launch.experiments.scale

Every input is a flag. The hardware's defaults are an H100's public figures, the models' shapes those of Qwen2.5, the sandbox's
rate is that of docs/SANDBOX.md on CPU cores. The utilisation and the least seconds of a decoding step were measured on one GPU
(docs/SPEED.md), the lengths of attempts are assumptions: give what you have measured in their place.
`launch/experiments/scale/model.py` says what is left out.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import fields, replace

from launch.experiments.scale.model import BF16_BYTES, Inputs, Model, Step

MODELS = [Model("1.5B", 1.544e9, 28, 256), Model("7B", 7.616e9, 28, 512)]
LIMITS = {"reference": "compute", "update": "compute", "communication": "network", "grading": "sandbox"}


def main(argv: list[str]) -> int:
    flags = _parse(argv)
    inputs = Inputs(**{f.name: getattr(flags, f.name) for f in fields(Inputs)})
    try:
        inputs.check()
        steps = [steps_on(gpus, flags.global_batch_size, inputs) for gpus in flags.gpus]
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    given = ", ".join(f"{name} {value:g}" for name, value in vars(inputs).items())
    print(f"On paper; no step of several GPUs was measured. Inputs: {given}")
    for table in (step_table(steps), settings_table(flags.gpus, inputs), stage_table(steps), hiding_table(inputs)):
        print("\n" + table)
    return 0


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m launch.experiments.scale", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gpus", type=int, nargs="+", default=[8, 64])
    parser.add_argument("--global_batch_size", type=int, nargs="+", default=[256, 512, 4096], help="corrections of a step")
    for f in fields(Inputs):
        text = f"{f.metadata['help']} (default: {f.default:g})".strip()
        parser.add_argument(f"--{f.name}", type=f.type, default=f.default, help=text)
    return parser.parse_args(argv)


def steps_on(gpus: int, batches: Sequence[int], inputs: Inputs) -> list[Step]:
    """Raises: ValueError for a batch that the trainer would refuse."""
    unit = gpus * inputs.rloo_k
    for batch in batches:
        if gpus < 1 or batch < 1 or batch % unit:
            raise ValueError(
                f"--global_batch_size is {batch} with --gpus {gpus}: it must be a multiple of {unit} "
                f"({gpus} processes x {inputs.rloo_k} trajectories of a problem)"
            )
    return [Step(model, gpus, batch, inputs) for model in MODELS for batch in batches]


def step_table(steps: Sequence[Sequence[Step]]) -> str:
    """Seconds by part, and what the limit is."""
    names = ["sampling", "reference", "update", "communication", "grading"]
    lines = _head("model", "GPUs", "batch", "ZeRO", *[f"{name} s" for name in names], "step s", "attempts/s", "limit")
    for step in [step for model in MODELS for of_gpus in steps for step in of_gpus if step.model == model]:
        parts = step.seconds()
        whole = sum(parts.values())
        cells = [step.model.name, step.gpus, step.batch, step.least_stage(), *[f"{parts[name]:.2f}" for name in names]]
        lines.append(_line(*cells, f"{whole:.1f}", f"{step.num_attempts / whole:.0f}", limit_of(step)))
    return "\n".join(lines)


def limit_of(step: Step) -> str:
    """What takes the largest part of the step."""
    parts = step.seconds()
    largest = max(parts, key=lambda name: parts[name])
    if largest != "sampling":
        return LIMITS[largest]
    batches = math.ceil(step.corrections / step.inputs.local_rollout_forward_batch_size)
    rows = f"{step.corrections} rows" if batches == 1 else f"{batches} batches of rows"
    without_launches = replace(step, inputs=replace(step.inputs, decode_step_s=0.0))
    is_reading = sum(without_launches.sampling_s()) > 0.99 * parts["sampling"]
    return f"{'memory bandwidth' if is_reading else 'decoding steps'}, {rows}"


def settings_table(gpus: Sequence[int], inputs: Inputs) -> str:
    """What to set: the stage that fits, the batch that fills the rows decoded together, and the workers for it."""
    lines = _head("model", "GPUs", "--deepspeed", "GB a GPU", "--global_batch_size", "--sandbox_workers")
    rows = max(1, inputs.local_rollout_forward_batch_size // inputs.rloo_k) * inputs.rloo_k
    for step in [Step(model, number, number * rows, inputs) for model in MODELS for number in gpus]:
        stage = step.least_stage()
        memory = f"{step.memory_bytes(stage) / 1e9:.0f}"
        lines.append(_line(step.model.name, step.gpus, f"launch/zero{stage}.json", memory, step.batch, step.enough_workers()))
    return "\n".join(lines)


def stage_table(steps: Sequence[Sequence[Step]]) -> str:
    """Communication by stage, at the largest batch."""
    lines = _head("model", "GPUs", "batch", "ZeRO 0, 1", "ZeRO 2", "ZeRO 3")
    for model in MODELS:
        for of_gpus in steps:
            step = max((step for step in of_gpus if step.model == model), key=lambda step: step.batch)
            sent = [step.sent_bytes(stage) for stage in (1, 2, 3)]
            cells = [f"{n / 1e9:.0f} GB, {n / step.inputs.bandwidth(step.gpus):.2f} s" for n in sent]
            lines.append(_line(model.name, step.gpus, step.batch, *cells))
    return "\n".join(lines)


def hiding_table(inputs: Inputs) -> str:
    """From how many tokens a GPU computes longer than it sends: 6N t / F seconds against bytes / B, where N cancels."""
    lines = _head("", "tokens of a GPU", "between nodes", "inside one")
    bandwidths = (inputs.bandwidth_between, inputs.bandwidth_inside)
    for stage, weights, unit in (("0, 1", 2, "a step"), ("2", 1, "a pass"), ("3", 3, "a pass")):
        tokens = [weights * BF16_BYTES * inputs.flops / (inputs.operations * bandwidth) for bandwidth in bandwidths]
        lines.append(_line(f"ZeRO {stage}", unit, *[f"{n:,.0f}" for n in tokens]))
    return "\n".join(lines)


def _head(*columns: str) -> list[str]:
    return [_line(*columns), "|" + "---|" * len(columns)]


def _line(*cells: object) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
