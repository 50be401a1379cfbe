"""What every rank does in `test_launch_engine.py`: the same rows through engines of all kinds. Prints one JSON object.

    torchrun --nproc_per_node 2 tests/engine_program.py MODEL_FOLDER

For each kind: how far the weights are from those of plain torch after two updates, in units of the way they went.
"""

import gc
import itertools
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import torch
from deepspeed.accelerator import get_accelerator

from launch.processes import start_processes, stop_processes
from launch.zero import SamplingWeights, build_engine, build_reference, load_zero_config
from rl import train_rows
from rl.completion_batch import CompletionBatch
from rl.logprobs import completion_logprobs
from rl.pass_limit import PassLimit
from rl.pretrained import load_model
from rl.train_rows import TrainRow
from rl.update import update

ROOT = Path(__file__).parents[1]
FLAGS = SimpleNamespace(
    learning_rate=1e-3, weight_decay=0.0, lr_scheduler_type="constant", warmup_ratio=0.0, collective_timeout_s=600
)
CLIP = 1.0
BUCKET_BYTES = 2 * 50_000_000  # in bfloat16; the model is a hundredth of it
PROMPTS = [[5, 6, 7]] * 4 + [[8, 9]] * 3
COMPLETIONS = [[21, 22, 23, 24], [25], [26, 27], [24, 21, 22], [28, 29, 30], [31, 32], [27, 27, 27, 30, 21]]
ADVANTAGES = [1.0, -2.0, 0.5, 0.7, -0.5, 1.5, -1.0]
ROWS = [TrainRow(*row, 0.3, name=f"row {i}") for i, row in enumerate(zip(PROMPTS, COMPLETIONS, ADVANTAGES))]


def weights(module: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().float().flatten() for p in module.parameters()])


def plain(folder: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The weights before, and after two steps of plain AdamW on the whole batch."""
    model = load_model(folder, torch.float32, "sdpa").train()
    before = weights(model)
    optimizer = torch.optim.AdamW(model.parameters(), FLAGS.learning_rate, weight_decay=0.0)
    for _ in range(2):
        batch = CompletionBatch.collate(PROMPTS, COMPLETIONS, torch.device("cpu"))
        logprobs = completion_logprobs(model, batch, 1.0).sum(-1)
        (-0.3 * torch.tensor(ADVANTAGES) * logprobs).sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad()
    return before, weights(model)


def run(folder: str, processes, config: str, dtype=torch.float32, limit=None, checkpointing=False, fault=None) -> dict:
    """Two updates, and a fault that must not show in the weights."""
    zero = load_zero_config(str(ROOT / "launch" / config), 2, CLIP, dtype)
    if dtype == torch.float16:
        zero["fp16"]["initial_scale_power"] = 8
    engine = build_engine(load_model(folder, torch.float32, "sdpa", checkpointing), zero, FLAGS, 10)
    assert not engine.tput_timer.config.enabled  # it waits for the GPU in forward passes, which no recording can hold
    rows = ROWS[processes.rank :: processes.world_size]
    limit = limit or PassLimit(2)
    found = {}
    update(engine, rows, limit)
    if fault is not None:
        found = fault(engine, rows, processes)
    if fault is not out_of_memory:
        update(engine, rows, limit)
    return {**found, "weights": weights(SamplingWeights(engine).whole())}


def names_of(stats, processes) -> list[str]:
    return sorted(name for part in processes.gather([row.name for row in stats.not_finite]) for name in part)


def not_finite(engine, rows, processes) -> dict:
    """The last rank is given an advantage that is no number."""
    is_last = processes.rank + 1 == processes.world_size
    broken = [replace(row, advantage=float("nan")) if is_last and i == 1 else row for i, row in enumerate(rows)]
    stats = update(engine, broken, PassLimit(2))
    return {"is_applied": stats.is_applied, "names": names_of(stats, processes)}


def not_finite_gradient(engine, rows, processes) -> dict:
    """The loss is a number, its gradient is not."""
    first = next(engine.module.parameters())
    hook = first.register_hook(lambda gradient: gradient * torch.inf)
    stats = update(engine, rows, PassLimit(2))
    hook.remove()
    return {"is_applied": stats.is_applied, "names": names_of(stats, processes)}


def out_of_memory(engine, rows, processes) -> dict:
    """The first rank can't hold two rows in its second pass. This is the second update itself."""
    calls = []
    real = train_rows.CompletionBatch.collate

    def collate(prompts, *args, **kwargs):
        calls.append(len(prompts))
        if processes.is_main and len(calls) > 1 and len(prompts) > 1:
            raise torch.OutOfMemoryError("a test")
        return real(prompts, *args, **kwargs)

    train_rows.CompletionBatch.collate = collate
    limit = PassLimit(2)
    try:
        stats = update(engine, rows, limit)
    finally:
        train_rows.CompletionBatch.collate = real
    return {"is_applied": stats.is_applied, "limit": limit.rows, "calls": calls}


def tensor_bytes() -> int:
    """Bytes of all tensors that are alive."""
    gc.collect()
    tensors = [o for o in gc.get_objects() if issubclass(type(o), torch.Tensor)]
    tensors += [t.grad for t in tensors if t.is_leaf and t.grad is not None]  # known to C++ alone until asked for
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(size for size in storages.values() if size < BUCKET_BYTES)


def bytes_a_parameter(folder: str, processes, stage: int, dtype: torch.dtype) -> float:
    """What weights, gradients and the optimizer take, after a step, with gradients that the next one accumulates."""
    before = tensor_bytes()
    zero = load_zero_config(str(ROOT / f"launch/zero{stage}.json"), 2, CLIP, dtype)
    engine = build_engine(load_model(folder, torch.float32, "sdpa"), zero, FLAGS, 10)
    update(engine, ROWS, PassLimit(99))
    loss, _ = train_rows.rows_loss(engine, ROWS, True, 1.0, train_rows.PLAIN_LOSS)
    engine.set_gradient_accumulation_boundary(False)
    engine.backward(loss, scale_wrt_gas=False)
    return (tensor_bytes() - before) / sum(p.numel() for p in engine.module.parameters())


def beginning(folder: str, processes, stage: int) -> list[float]:
    """How far logprobs of the reference, and of the weights that are sampled from, are from the policy's before any update in
    bfloat16; and how far buffers of what is sampled from and saved are from the policy's, after these have changed.
    """
    zero = load_zero_config(str(ROOT / f"launch/zero{stage}.json"), 2, CLIP, torch.bfloat16)
    engine = build_engine(load_model(folder, torch.float32, "sdpa"), zero, FLAGS, 10)
    reference = build_reference(load_model(folder, torch.float32, "sdpa"), zero, processes.device)
    batch = CompletionBatch.collate([list(range(5, 205))], [[21, 22, 23, 24]], torch.device("cpu"))
    sampling = SamplingWeights(engine)
    with torch.no_grad(), sampling.sampling() as sampled:
        expected, *others = [completion_logprobs(m.eval(), batch, 1.0) for m in (engine.module, reference, sampled)]
    apart = [(logprobs - expected).abs().max().item() for logprobs in others]
    frequencies = engine.module.model.rotary_emb.inv_freq
    frequencies.mul_(1.5)
    with sampling.sampling() as sampled:
        copies = [m.model.rotary_emb.inv_freq for m in (sampled, sampling.whole())]
    return [*apart, *((copy - frequencies).abs().max().item() for copy in copies)]


def main() -> None:
    folder = sys.argv[1]
    # CPUs compute in float16, slowly, and DeepSpeed refuses; that path would be seen by GPUs alone.
    type(get_accelerator()).is_fp16_supported = lambda _: True
    processes = start_processes()
    before, expected = plain(folder)
    kinds = {f"zero{stage}": {"config": f"zero{stage}.json"} for stage in range(4)}
    kinds |= {f"{name}, one row a pass": {**kind, "limit": PassLimit(1)} for name, kind in kinds.items()}
    kinds["zero2, all rows a pass"] = {"config": "zero2.json", "limit": PassLimit(99)}
    kinds["zero2, 24 tokens a pass"] = {"config": "zero2.json", "limit": PassLimit(0, 24)}
    kinds["zero2, checkpointing"] = {"config": "zero2.json", "checkpointing": True}
    kinds["zero2_offload"] = {"config": "zero2_offload.json"}
    kinds["zero3_offload"] = {"config": "zero3_offload.json"}
    for stage in range(4):
        kinds[f"zero{stage}, not finite"] = {"config": f"zero{stage}.json", "fault": not_finite}
        kinds[f"zero{stage}, gradient"] = {"config": f"zero{stage}.json", "fault": not_finite_gradient}
        for dtype in (torch.bfloat16, torch.float16):
            kinds[f"zero{stage}, {dtype}"] = {"config": f"zero{stage}.json", "fault": not_finite, "dtype": dtype}
    for stage in range(3):
        kinds[f"zero{stage}, memory"] = {"config": f"zero{stage}.json", "fault": out_of_memory}
    results = {}
    for stage, dtype in itertools.product(range(3), (torch.float32, torch.bfloat16)):
        results[f"bytes {stage} {dtype}"] = bytes_a_parameter(folder, processes, stage, dtype)
    for stage in range(4):
        results[f"beginning {stage}"] = beginning(folder, processes, stage)
    for name, kind in kinds.items():
        found = run(folder, processes, **kind)
        found["apart"] = float((found.pop("weights") - expected).norm() / (expected - before).norm())
        results[name] = found
    if processes.is_main:
        print("RESULTS", json.dumps(results))
    stop_processes()


if __name__ == "__main__":
    main()
