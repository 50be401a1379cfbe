"""Sampling: token ids in; for each sample token ids, their logprobs under the sampling distribution and why it ended.

The distribution is the full softmax at `temperature`: no top-k, no top-p, no penalty, so that the policy gradient and
the KL are about the distribution that the tokens were really drawn from. Two backends draw from it, one of them with CUDA
graphs where there is a GPU.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import torch
from transformers import PreTrainedModel

from rl.completion import Sample, Seed, StopCondition
from rl.config import SamplerName
from rl.pass_limit import PassLimit
from rl.sampling.batch import sample_batch
from rl.sampling.paged import sample_paged
from rl.sampling.prompt_memory import PromptMemory


class Sampler(Protocol):
    """What a rollout needs of a backend: completions of token-id prompts, in the order of the prompts."""

    def __call__(
        self,
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
    ) -> list[list[Sample]]: ...


sample_graphs: Sampler = partial(sample_batch, ahead=True)


def choose_sampler(name: SamplerName, model_config: Any, device: torch.device) -> Sampler:
    """The backend behind `--sampler`.

    On a GPU `auto` takes pages where a flash attention kernel reads them, else the batch with graphs; elsewhere the batch.
    """
    has_gpu = device.type == "cuda"
    is_flash = "flash" in (model_config._attn_implementation or "")
    if name == "paged" or (name == "auto" and has_gpu and is_flash):
        return sample_paged
    return sample_graphs if name == "graphs" or (name == "auto" and has_gpu) else sample_batch
