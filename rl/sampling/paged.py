"""Sampling through transformers' continuous batching: a paged cache, rows that join and leave the batch at any token.

Made for GPUs with a flash attention kernel; with `sdpa` every row's query meets every row's keys behind a mask, which grows
with the square of the batch. The distribution is the same full softmax as in `rl.sampling.batch`; the draws are not: one
generator serves the whole batch, so a sample depends on what it was decoded with.
"""

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from transformers import ContinuousBatchingConfig, GenerationConfig, PreTrainedModel

from rl.completion import Sample, Seed, StopCondition
from rl.pass_limit import PassLimit
from rl.sampling.prompt_memory import PromptMemory

# The kernels of flash attention want pages of 256; elsewhere small pages waste less at the end of a row.
PAGE_TOKENS = {"flash": 256, "other": 32}
PREFILL_TOKENS = 2048
POLL_S = 1.0


def sample_paged(
    model: PreTrainedModel,
    prompts: Sequence[list[int]],
    num_samples: int,
    stop: StopCondition,
    *,
    max_new_tokens: int,
    temperature: float,
    seeds: Sequence[Seed],
    limit: PassLimit,
    on_progress: Callable[[int], None] | None = None,
    memory: PromptMemory | None = None,
    max_draft: int = 0,
) -> list[list[Sample]]:
    """As `sample_batch`, for prompts of at least two tokens. Raises: RuntimeError where the decoding thread dies.

    `memory` is not used: what is computed lies in pages, which go with the call. Nor is `max_draft`.
    """
    if not prompts:  # of a rank that has none to share in
        return []
    if min(map(len, prompts)) < 2:
        raise ValueError("paged sampling needs prompts of at least 2 tokens: the last one is decoded after the fork")
    was_training = model.training
    model.eval()
    # The library seeds torch's global generator with what it is given; the trainer's own state must not notice.
    with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
        with model.continuous_batching_context_manager(
            generation_config=_generation_config(max_new_tokens, temperature, num_samples, stop),
            continuous_batching_config=_paging_config(model, prompts, num_samples, max_new_tokens, limit.rows, seeds),
            warmup=False,
        ) as manager:
            samples = _collect(manager, prompts, num_samples, stop, max_new_tokens, on_progress)
    model.train(was_training)
    return samples


def _generation_config(max_new_tokens: int, temperature: float, num_samples: int, stop: StopCondition) -> GenerationConfig:
    """The full softmax at `temperature`: every truncation switched off by name, none left to a default."""
    draws = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature else {"do_sample": False}
    return GenerationConfig(
        max_new_tokens=max_new_tokens,
        num_return_sequences=num_samples,
        eos_token_id=sorted(stop.eos_token_ids) or -1,
        **draws,
    )


def _paging_config(
    model: PreTrainedModel,
    prompts: Sequence[list[int]],
    num_samples: int,
    max_new_tokens: int,
    max_rows: int,
    seeds: Sequence[Seed],
) -> ContinuousBatchingConfig:
    is_flash = "flash" in model.config._attn_implementation
    page_tokens = PAGE_TOKENS["flash" if is_flash else "other"]
    row_tokens = max(map(len, prompts)) + max_new_tokens
    known = {one.name for one in fields(ContinuousBatchingConfig)}  # transformers renames and adds
    more = {"page_size" if "page_size" in known else "block_size": page_tokens}
    if "auto_switch_to_flash" in known:
        more["auto_switch_to_flash"] = False  # sampling and training are to run the same attention
    return ContinuousBatchingConfig(
        return_logprobs=True,
        # Left to itself the cache takes nine tenths of the memory that is free, which the update will want.
        num_blocks=max_rows * -(-row_tokens // page_tokens),
        max_batch_tokens=max(PREFILL_TOKENS, max_rows),
        max_requests_per_batch=max_rows,
        # Pages shared between requests may leave one token to prefill, and a request of one token can't be forked.
        allow_block_sharing=num_samples == 1,
        use_cuda_graph=is_flash and model.device.type == "cuda",
        use_async_batching=False,  # a row that is cancelled in flight would lose its pages twice
        seed=int(np.random.SeedSequence([part for seed in seeds for part in (len(seed), *seed)]).generate_state(1)[0]),
        **more,
    )


def _collect(
    manager: Any,
    prompts: Sequence[list[int]],
    num_samples: int,
    stop: StopCondition,
    max_new_tokens: int,
    on_progress: Callable[[int], None] | None,
) -> list[list[Sample]]:
    """Follow every row token by token; rows that reach the end marker are cancelled, what they went on to write is cut."""
    request_ids = manager.add_requests(list(prompts), max_new_tokens=max_new_tokens, streaming=True)
    # A prompt is prefilled once and forked; the copies bear their parent's name.
    names = [[name, *(f"{name}__child#{i}" for i in range(num_samples - 1))] for name in request_ids]
    finished: dict[str, Sample] = {}
    is_open = {name for row in names for name in row}
    while is_open:
        output = manager.get_result(timeout=POLL_S)
        if output is None:
            if not manager.is_running():
                raise RuntimeError(f"continuous batching stopped: {manager.background_thread_status.fatal_error}")
            continue
        if output.request_id not in is_open:
            continue  # written between the cancellation and its effect
        if output.error:
            raise RuntimeError(f"continuous batching failed on {output.request_id}: {output.error}")
        reason = stop.finish_reason(output.generated_tokens) if output.generated_tokens else None
        if reason is None and output.is_finished():
            reason = "length"
        if reason is None:
            continue
        finished[output.request_id] = Sample(list(output.generated_tokens), list(output.logprobs), reason)
        is_open.discard(output.request_id)
        if not output.is_finished():
            manager.cancel_request(output.request_id)
        if on_progress is not None:
            on_progress(1)
    return [[finished[name] for name in row] for row in names]
