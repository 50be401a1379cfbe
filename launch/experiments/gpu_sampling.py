"""What only a GPU can show of sampling: that CUDA graphs draw the same tokens, and that bfloat16 keeps scores of some hundreds.

    python -m launch.experiments.gpu_sampling

Small models with random weights, two turns, rows of unlike length. Prints, for each family, how many samples of `--sampler
graphs` have the tokens of `--sampler batch` in float32, and the seconds of both; then how far bfloat16 logprobs of a model with
large queries and keys are from the trainer's. Exits with 1 where tokens differ.
"""

import sys
import time

import torch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, Qwen2Config, Qwen3Config, set_seed

from rl.completion import Sample
from rl.completion_batch import CompletionBatch
from rl.logprobs import completion_logprobs
from rl.pass_limit import PassLimit
from rl.sampling.batch import sample_batch
from rl.sampling.prompt_memory import PromptMemory

DEVICE, VOCABULARY, TEMPERATURE, CUE = "cuda", 300, 0.9, [8, 9]
SMALL = {
    "vocab_size": VOCABULARY, "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 6,
    "num_key_value_heads": 2, "head_dim": 8,
}  # fmt: skip
FAMILIES = {
    "llama": LlamaConfig(**SMALL),
    "qwen2": Qwen2Config(**SMALL),
    "qwen3": Qwen3Config(**SMALL),
    "gpt2": GPT2Config(
        vocab_size=VOCABULARY, n_embd=48, n_layer=3, n_head=6, attn_pdrop=0, embd_pdrop=0, resid_pdrop=0, bos_token_id=None,
        eos_token_id=None,
    ),
}  # fmt: skip
LARGE = Qwen2Config(
    vocab_size=3000, hidden_size=512, intermediate_size=1024, num_hidden_layers=8, num_attention_heads=8, num_key_value_heads=2
)


class StopAt:
    """Ends a completion after a number of tokens, 1 to 196, that its first token decides."""

    def finish_reason(self, completion_ids: list[int]) -> str | None:
        return "stop" if len(completion_ids) >= 1 + completion_ids[0] % 40 * 5 else None


def main() -> int:
    if not torch.cuda.is_available():
        print("error: gpu_sampling needs an NVIDIA GPU; the tests hold the same on a CPU, with a stand-in for CUDA graphs")
        return 2
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    heads = ("float32", "prompts begin", "same tokens", "largest difference, nats", "batch, s", "graphs, s")
    print(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
    is_same = True
    for name, config in FAMILIES.items():
        for common in (0, 40):
            (batch, batch_s), (graphs, graphs_s) = (two_turns(random_model(config), common, ahead) for ahead in (False, True))
            same = [(a, b) for a, b in zip(batch, graphs, strict=True) if a.completion_ids == b.completion_ids]
            largest = max((abs(x - y) for a, b in same for x, y in zip(a.logprobs, b.logprobs)), default=0.0)
            is_same &= len(same) == len(batch)
            cells = f"{len(same)} of {len(batch)} | {largest:.1e} | {batch_s:.2f} | {graphs_s:.2f}"
            print(f"| {name} | {'alike' if common else 'apart'} | {cells} |", flush=True)
    gaps = bfloat16_gaps()
    print(f"\nbfloat16, large scores: sampler and trainer are {gaps.mean():.3f} nats a token apart, {gaps.max():.2f} at most")
    return 0 if is_same else 1


def random_model(config: object) -> torch.nn.Module:
    set_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval().to(DEVICE)
    with torch.no_grad():
        for parameter in model.parameters():  # wider than the default, so that a wrong key is told from a right one
            if parameter.ndim > 1:
                parameter.normal_(0, 0.2)
    return model


def prompts_of(*lengths: int, common: int = 0, vocabulary: int = VOCABULARY) -> list[list[int]]:
    draw = torch.Generator().manual_seed(1)
    beginning = torch.randint(vocabulary, (common,), generator=draw).tolist()
    return [beginning + torch.randint(vocabulary, (n,), generator=draw).tolist() for n in lengths]


def two_turns(model: torch.nn.Module, common: int, ahead: bool) -> tuple[list[Sample], float]:
    """All samples, and the seconds they took."""
    prompts, memory = prompts_of(5, 3, 90, 4, 17, 33, common=common), PromptMemory()
    draw = {"max_new_tokens": 200, "temperature": TEMPERATURE, "limit": PassLimit(64), "memory": memory, "ahead": ahead}
    start = time.perf_counter()
    memory.start_turn(max_rows=64)
    firsts = sample_batch(model, prompts, 2, StopAt(), seeds=[(7, i) for i in range(len(prompts))], **draw)
    corrections = [prompt + row[0].completion_ids + CUE for prompt, row in zip(prompts, firsts)]
    memory.start_turn(max_rows=0)
    seconds = sample_batch(model, corrections, 6, StopAt(), seeds=[(7, i, 0) for i in range(len(prompts))], **draw)
    return [sample for turn in (firsts, seconds) for row in turn for sample in row], time.perf_counter() - start


def bfloat16_gaps() -> torch.Tensor:
    """Differences, one a token, of a model whose queries and keys are as large as Qwen2.5's."""
    set_seed(0)
    model = AutoModelForCausalLM.from_config(LARGE, attn_implementation="sdpa").eval().to(DEVICE)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.05)
            elif name.endswith(("q_proj.bias", "k_proj.bias")):
                parameter.normal_(0, 6)
    model = model.bfloat16()
    prompts = prompts_of(50, 120, 77, 300, vocabulary=LARGE.vocab_size)
    draw = {"max_new_tokens": 100, "temperature": TEMPERATURE, "limit": PassLimit(64), "ahead": True}
    rows = sample_batch(model, prompts, 8, StopAt(), seeds=[(1, i) for i in range(len(prompts))], **draw)
    gaps = []
    for prompt, row in zip(prompts, rows):
        for sample in row:
            batch = CompletionBatch.collate([prompt], [sample.completion_ids], model.device)
            with torch.no_grad():
                trained = completion_logprobs(model, batch, TEMPERATURE)[0].float().cpu()
            gaps.append((torch.tensor(sample.logprobs) - trained).abs())
    return torch.cat(gaps)


if __name__ == "__main__":
    sys.exit(main())
