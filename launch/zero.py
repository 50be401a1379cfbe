"""The DeepSpeed engine: one JSON chooses the ZeRO stage, the script's flags choose everything else.

Left to DeepSpeed: sharding, mixed precision with fp32 masters, gradient reduction and clipping. Not left to it: the loop,
the accumulation of gradients, and the weights that the rollout samples from.
"""

import copy
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, get_scheduler

from launch.processes import limit_waits

if not torch.cuda.is_available():
    os.environ.setdefault("DS_ACCELERATOR", "cpu")  # read at import; without it every import warns
import deepspeed
from deepspeed.accelerator import get_accelerator

DEFAULT_CONFIG = Path(__file__).parent / "zero2.json"


class ZeroConfigError(ValueError):
    """A DeepSpeed JSON that can't be used; the message names the key and the mend."""


def load_zero_config(path: str | None, micro_batch_size: int, max_grad_norm: float, dtype: torch.dtype) -> dict[str, Any]:
    """The DeepSpeed configuration with every `"auto"` resolved from flags; `dtype` is that of compute.

    Raises: ZeroConfigError for a missing or malformed file, and for keys that would override a flag.
    """
    path = Path(path) if path else DEFAULT_CONFIG
    try:
        config = json.loads(path.read_text())
    except OSError as error:
        raise ZeroConfigError(f"--deepspeed {path}: {error.strerror}; templates are launch/zero0.json to zero3.json") from None
    except json.JSONDecodeError as error:
        raise ZeroConfigError(f"--deepspeed {path}:{error.lineno}: not valid JSON ({error.msg})") from None
    _check_objects(path, config)
    for key, flags in (("optimizer", "--learning_rate and --weight_decay"), ("scheduler", "--lr_scheduler_type")):
        if key in config:
            raise ZeroConfigError(f"--deepspeed {path}: remove {key!r}; it is set by {flags}")
    # Gradients are accumulated by rl.update, which knows how many micro-batches a step takes; the engine need not.
    resolved = {
        "train_micro_batch_size_per_gpu": micro_batch_size,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": max_grad_norm,
    }
    for key, value in resolved.items():
        if config.get(key, "auto") not in ("auto", value):
            raise ZeroConfigError(f'--deepspeed {path}: {key} is {config[key]!r}, the flags give {value!r}; write "auto"')
        config[key] = value
    config.pop("train_batch_size", None)
    # From the third step on its throughput timer waits for the GPU at every call of the module, which no CUDA graph can hold.
    config.setdefault("timers", {}).setdefault("throughput", {"enabled": False})
    if dtype == torch.float16 and not get_accelerator().is_fp16_supported():
        raise ZeroConfigError("--dtype is float16: DeepSpeed does not compute in it on this device; use bfloat16 or float32")
    for key, of in (("bf16", torch.bfloat16), ("fp16", torch.float16)):
        section = config.setdefault(key, {})
        if section.get("enabled", "auto") not in ("auto", dtype == of):
            raise ZeroConfigError(
                f'--deepspeed {path}: {key} says enabled {section["enabled"]}, --dtype gives {dtype}; write "auto"'
            )
        section["enabled"] = dtype == of
    config["bf16"].setdefault("check_grad_overflow", True)  # versions differ; without it a gradient of nan ruins the weights
    if is_offloaded(config) and not torch.cuda.is_available():
        # DeepSpeed's own CPU Adam is compiled at first use; where everything is on the CPU it has nothing to save.
        config["zero_force_ds_cpu_optimizer"] = False
    return config


def _check_objects(path: Path, config: Any) -> None:
    """Raises: ZeroConfigError where the file, or a section of it that we read, is no JSON object."""
    parts = {"the file": config}
    if isinstance(config, dict):
        parts |= {key: config.get(key, {}) for key in ("bf16", "fp16", "timers", "zero_optimization")}
    if isinstance(zero := parts.get("zero_optimization"), dict):
        parts |= {key: zero.get(key, {}) for key in ("offload_optimizer", "offload_param")}
    if wrong := [key for key, part in parts.items() if not isinstance(part, dict)]:
        raise ZeroConfigError(f"--deepspeed {path}: {wrong[0]} must be a JSON object, as in launch/zero2.json")
    if left := [key for key, value in parts.get("zero_optimization", {}).items() if value == "auto"]:
        raise ZeroConfigError(
            f'--deepspeed {path}: zero_optimization.{left[0]} is "auto", which no flag resolves: give a number, or leave '
            "it out for DeepSpeed's default"
        )


def zero_stage(config: dict[str, Any]) -> int:
    return config.get("zero_optimization", {}).get("stage", 0)


def is_offloaded(config: dict[str, Any]) -> bool:
    """Whether the optimizer's states lie in the CPU's memory."""
    device = config.get("zero_optimization", {}).get("offload_optimizer", {}).get("device", "none")
    return device != "none"


class FiniteAdamW(torch.optim.AdamW):
    """AdamW that leaves the weights alone where a gradient is not finite, and tells the engine so.

    Sharded and half-precision engines look for themselves; that of ZeRO-0 in float32 steps on whatever it is given.
    """

    overflow = False

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        gradients = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        self.overflow = not torch.stack([torch.isfinite(gradient).all() for gradient in gradients]).all()
        if not self.overflow:
            super().step(closure)


def build_engine(model: PreTrainedModel, config: dict[str, Any], flags: Any, num_steps: int) -> Any:
    """A DeepSpeed engine around `model`: AdamW and a learning-rate schedule over `num_steps` optimizer steps.

    `flags` has learning_rate, weight_decay, lr_scheduler_type, warmup_ratio and collective_timeout_s.
    """
    _skip_compiled_collectives()
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    undecayed = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": flags.weight_decay}, {"params": undecayed, "weight_decay": 0.0}]

    def schedule(optimizer: torch.optim.Optimizer) -> Any:
        return get_scheduler(flags.lr_scheduler_type, optimizer, round(flags.warmup_ratio * num_steps), num_steps)

    engine = _initialized(
        model=model,
        optimizer=_optimizer_kind(config)(groups, lr=flags.learning_rate),
        lr_scheduler=schedule,
        config=copy.deepcopy(config),
    )
    if zero_stage(config) == 0 and _dtype(config) != torch.float32:
        # DeepSpeed makes Adam's moments by a step with gradients of 0, which counts in the bias correction of all that follow;
        # the other stages take that back.
        engine.optimizer.optimizer.state.clear()
    limit_waits(flags.collective_timeout_s)
    return engine


def _optimizer_kind(config: dict[str, Any]) -> Callable[..., torch.optim.Optimizer]:
    if is_offloaded(config) and torch.cuda.is_available():
        return partial(deepspeed.ops.adam.DeepSpeedCPUAdam, adamw_mode=True)
    kind = FiniteAdamW if zero_stage(config) == 0 and _dtype(config) == torch.float32 else torch.optim.AdamW
    # The default takes one tensor at a time on CPUs, six times as long, and on GPUs 4 more bytes a parameter for the moment.
    return partial(kind, fused=True)


def build_reference(model: PreTrainedModel, config: dict[str, Any], device: torch.device) -> PreTrainedModel:
    """A frozen model to call for logprobs: whole on every rank, or sharded where the policy's weights are (stage 3)."""
    model.eval().requires_grad_(False)
    if zero_stage(config) < 3:
        return _cast_parameters(model, _dtype(config)).to(device)
    names = ("train_micro_batch_size_per_gpu", "bf16", "fp16", "zero_optimization")
    sharded = {name: copy.deepcopy(config[name]) for name in names}
    sharded["zero_optimization"].pop("offload_optimizer", None)  # it has none
    engine = _initialized(model=model, config=sharded)
    return engine.module.eval()  # its hooks gather and release the shards


def _initialized(model: PreTrainedModel, **kwargs: Any) -> Any:
    """The engine around `model`, whose buffers stay what they were: versions of DeepSpeed differ in whether they round them."""
    buffers = [buffer.detach().clone() for buffer in model.buffers()]
    engine, *_ = deepspeed.initialize(model=model, **kwargs)
    _set_buffers(engine.module, buffers)
    return engine


def _cast_parameters(model: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """As the engine and transformers do it: buffers keep their precision, above all the frequencies of rotary positions."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    return model


def _set_buffers(model: PreTrainedModel, values: Iterable[torch.Tensor]) -> None:
    for buffer, value in zip(model.buffers(), values, strict=True):
        buffer.data = value.detach().to(buffer.device, copy=True)


def _dtype(config: dict[str, Any]) -> torch.dtype:
    """That of compute."""
    kinds = {"bf16": torch.bfloat16, "fp16": torch.float16}
    return next((dtype for name, dtype in kinds.items() if config[name]["enabled"]), torch.float32)


class SamplingWeights:
    """The weights a rollout samples from.

    Below stage 3 the engine's own module. Under stage 3 a whole copy, filled once a rollout: gathering shards at every
    token is slower by an order of magnitude. With `use_copy` False nothing is copied; then every forward pass gathers
    layer after layer, and the ranks take their passes together, or they would wait for each other for ever.
    """

    def __init__(self, engine: Any, use_copy: bool = True):
        self._engine = engine
        self._is_sharded = engine.zero_optimization_stage() == 3
        self._copy = self._empty_copy(engine.device) if self._is_sharded and use_copy else None

    @contextmanager
    def sampling(self) -> Iterator[PreTrainedModel]:
        """The module to sample from, with the policy's current weights. Under stage 3 all ranks must enter."""
        if self._copy is not None:
            self._fill(self._copy)
            yield self._copy
        elif self._is_sharded:
            yield from self._in_step()
        else:
            yield self._engine.module

    def whole(self) -> PreTrainedModel:
        """A module with all of the policy's current weights, to be saved by rank 0. Under stage 3 all ranks must call."""
        if not self._is_sharded:
            return self._engine.module
        copy_ = self._copy
        if copy_ is None and torch.distributed.get_rank() == 0:  # which saves it; the others only help to gather
            copy_ = self._empty_copy(torch.device("cpu"))
        self._fill(copy_)
        return self._engine.module if copy_ is None else copy_

    def _in_step(self) -> Iterator[PreTrainedModel]:
        module = self._engine.module

        def wait(*_: Any) -> None:
            self._any_rank(True)

        hook = module.register_forward_pre_hook(wait, prepend=True)  # before the engine's own, which gather
        try:
            yield module
        finally:
            hook.remove()
        with torch.no_grad():
            while self._any_rank(False):
                module(input_ids=torch.zeros(1, 1, dtype=torch.long, device=self._engine.device), use_cache=False)

    def _any_rank(self, is_busy: bool) -> bool:
        """Whether a rank has a forward pass to make; every rank is asked before each."""
        busy = torch.tensor(int(is_busy), device=self._engine.device)
        torch.distributed.all_reduce(busy)
        return bool(busy)

    def _fill(self, copy_: PreTrainedModel | None) -> None:
        sources = list(self._engine.module.parameters())
        targets = [None] * len(sources) if copy_ is None else copy_.parameters()
        with torch.no_grad():
            for source, target in zip(sources, targets, strict=True):
                with deepspeed.zero.GatheredParameters([source]):
                    if target is not None:
                        target.copy_(source)
        if copy_ is not None:
            _set_buffers(copy_, self._engine.module.buffers())  # some are trained by other means, such as loads of experts

    def _empty_copy(self, device: torch.device) -> PreTrainedModel:
        original = self._engine.module
        dtype, usual = next(original.parameters()).dtype, torch.get_default_dtype()
        torch.set_default_dtype(dtype)  # its random weights would take twice the memory in float32, and the CPU's for a GPU
        try:
            with device:
                module = type(original)(copy.deepcopy(original.config))
        finally:
            torch.set_default_dtype(usual)
        module.generation_config = copy.deepcopy(original.generation_config)  # saved with it: it may name ends of its own
        return _cast_parameters(module, dtype).to(device).requires_grad_(False).eval()


def _skip_compiled_collectives() -> None:
    # On CPUs DeepSpeed compiles a shared-memory collective at first use: it needs a C++ compiler and ninja on the PATH,
    # takes half a minute, and saves milliseconds a step on models that fit a CPU. gloo does the same work.
    if not torch.cuda.is_available():
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
