"""Decoding on shared prompts, what a rollout remembers of them, and packed weights: each against the plain way."""

from contextlib import nullcontext
from typing import ClassVar
from weakref import WeakSet

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    DeepseekV3Config,
    DiffLlamaConfig,
    DogeConfig,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    NemotronConfig,
    Qwen2Config,
    Qwen3Config,
)
from transformers import set_seed as seed_everything

from rl.attention import has_plain_attention
from rl.completion_batch import CompletionBatch
from rl.logprobs import completion_logprobs
from rl.packed_attention import groups_of_like_length
from rl.pass_limit import PassLimit
from rl.sampling import ahead, cuda_graphs
from rl.sampling import batch as batch_module
from rl.sampling.batch import sample_batch
from rl.sampling.draw import inverse_cdf
from rl.sampling.packed_linears import packed_linears
from rl.sampling.prompt_memory import MIN_COMMON_TOKENS, PromptMemory

CPU = torch.device("cpu")
SMALL = {
    "vocab_size": 300,
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 8,
}
FAMILIES = {
    "llama": LlamaConfig(**SMALL),
    "qwen2": Qwen2Config(**SMALL),
    "qwen3": Qwen3Config(**SMALL),
    "one head a group": LlamaConfig(**{**SMALL, "num_key_value_heads": 6}),
    "gemma3": Gemma3TextConfig(**SMALL, sliding_window=16),
    "gpt2": GPT2Config(vocab_size=300, n_embd=48, n_layer=3, n_head=6, attn_pdrop=0, embd_pdrop=0, resid_pdrop=0),
}
# Layers with a window are left to the model's own attention.
SHARED = {"llama", "qwen2", "qwen3", "one head a group", "gpt2"}


class StopAt:
    """Ends each completion after a number of tokens that its first token decides."""

    def finish_reason(self, completion_ids):
        return "stop" if len(completion_ids) >= 1 + completion_ids[0] % 9 else None


class StopLate:
    """As `StopAt`, after up to 27 tokens."""

    def finish_reason(self, completion_ids):
        return "stop" if len(completion_ids) >= 1 + completion_ids[0] % 9 * 3 else None


class Never:
    """A stop condition that does not stop."""

    def finish_reason(self, completion_ids):
        return None


def small_model(name: str):
    seed_everything(0)
    model = AutoModelForCausalLM.from_config(FAMILIES[name], attn_implementation="sdpa").eval()
    with torch.no_grad():
        for parameter in model.parameters():  # wider than the default, so that a wrong key is told from a right one
            parameter.normal_(0, 0.2) if parameter.ndim > 1 else None
    return model


def sample(model, prompts, n, memory=None, stop=None, max_new_tokens=12, max_rows=64, temperature=0.9, **flags):
    return sample_batch(
        model,
        prompts,
        n,
        stop or StopAt(),
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seeds=[(7, i) for i in range(len(prompts))],
        limit=PassLimit(max_rows),
        memory=memory,
        **flags,
    )


def prompts_of(*lengths: int, common: int = 0) -> list[list[int]]:
    generator = torch.Generator().manual_seed(sum(lengths) + common)
    beginning = torch.randint(300, (common,), generator=generator).tolist()
    return [beginning + torch.randint(300, (n,), generator=generator).tolist() for n in lengths]


def assert_as_in_training(model, prompts, samples, temperature=0.9):
    for prompt, row in zip(prompts, samples):
        for one in row:
            batch = CompletionBatch.collate([prompt], [one.completion_ids], CPU)
            with torch.no_grad():
                expected = completion_logprobs(model, batch, temperature)[0]
            torch.testing.assert_close(torch.tensor(one.logprobs), expected, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("common", [0, MIN_COMMON_TOKENS + 3], ids=["apart", "common beginning"])
@pytest.mark.parametrize("family", FAMILIES)
def test_rows_that_come_and_go_have_the_training_forwards_logprobs(family, common):
    """Ragged prompts, rows that leave at different steps and prompts that lose all theirs, in two turns."""
    model, memory = small_model(family), PromptMemory()
    prompts = prompts_of(5, 3, 9, 4, common=common)
    memory.start_turn(max_rows=64)
    firsts = sample(model, prompts, 1, memory)
    assert_as_in_training(model, prompts, firsts)
    cue = [8, 9, 10]
    corrections = [p + row[0].completion_ids + cue[: 2 + i % 2] for i, (p, row) in enumerate(zip(prompts, firsts))]
    memory.start_turn(max_rows=0)
    samples = sample(model, corrections, 5, memory)
    assert len({len(s.completion_ids) for row in samples for s in row}) > 3
    assert_as_in_training(model, corrections, samples)


@pytest.mark.parametrize("family", FAMILIES)
def test_plain_attention_is_shared_and_every_other_kind_is_left_alone(family):
    model = small_model(family)
    assert has_plain_attention(model) == (family in SHARED)


LATENT = {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8}
EXPERTS = {"n_routed_experts": 4, "n_group": 1, "topk_group": 1, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
ONLY_SEEN_WHEN_RUN = {
    "latent attention": DeepseekV3Config(
        **{**SMALL, "num_key_value_heads": 6, "head_dim": 8}, **LATENT, **EXPERTS, first_k_dense_replace=1
    ),
    "differential attention": DiffLlamaConfig(**{k: v for k, v in SMALL.items() if k != "head_dim"}),
    "keywords not handed on": NemotronConfig(**SMALL),
    "a mask that is computed with": DogeConfig(**SMALL),
}


@pytest.mark.parametrize("name", ONLY_SEEN_WHEN_RUN)
def test_models_whose_attention_is_not_plain_though_their_configuration_looks_so_keep_their_own(name):
    """With the shared prompts some of them fail, and one would be wrong."""
    model = AutoModelForCausalLM.from_config(ONLY_SEEN_WHEN_RUN[name], attn_implementation="sdpa").train()
    assert not has_plain_attention(model)
    assert model.training
    model.eval()
    prompts = prompts_of(5, 3)
    assert_as_in_training(model, prompts, sample(model, prompts, 2))


def test_running_out_of_memory_says_nothing_about_a_models_attention(monkeypatch):
    model = AutoModelForCausalLM.from_config(LlamaConfig(**{**SMALL, "vocab_size": 301}), attn_implementation="sdpa")
    with monkeypatch.context() as patch:
        patch.setattr(type(model), "forward", lambda *_, **__: (_ for _ in ()).throw(torch.OutOfMemoryError("a test")))
        with pytest.raises(torch.OutOfMemoryError):
            has_plain_attention(model)
    assert has_plain_attention(model)


def test_a_model_is_called_by_keywords_when_it_is_looked_at_too():
    """As everywhere else: hooks on the model, the bench's among them, read `input_ids` there."""
    model = AutoModelForCausalLM.from_config(LlamaConfig(**{**SMALL, "vocab_size": 302}), attn_implementation="sdpa")
    calls = []
    model.register_forward_pre_hook(lambda _, args, kwargs: calls.append((args, "input_ids" in kwargs)), with_kwargs=True)
    assert has_plain_attention(model)
    assert calls == [((), True)]


def test_attention_that_the_user_chose_is_not_replaced():
    model = small_model("llama")
    model.set_attn_implementation("eager")
    assert not has_plain_attention(model)


def test_shared_and_repeated_prompts_draw_the_same_tokens(monkeypatch):
    model, prompts = small_model("llama"), prompts_of(40, 7, 15)
    shared = sample(model, prompts, 4)
    monkeypatch.setattr(batch_module, "has_plain_attention", lambda *_: False)
    repeated = sample(model, prompts, 4)
    for a, b in zip((s for row in shared for s in row), (s for row in repeated for s in row)):
        assert a.completion_ids == b.completion_ids
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)


class Replay:
    """Stands in for a CUDA graph: does again what was recorded, and sees to it that everything still lies where it lay."""

    made: ClassVar[list["Replay"]] = []

    def __init__(self, step, device):
        self.step, self.num_replays = step, 0
        self.addresses = self._addresses()
        self.made.append(self)

    def replay(self):
        self.step()
        assert self._addresses() == self.addresses
        self.num_replays += 1

    def _addresses(self):
        ahead = self.step.func.__self__
        states = ahead._states
        tensors = [ahead._inputs, ahead._num, ahead._uniforms, ahead._tokens, ahead._logprobs, states._prompt_bias]
        tensors += [buffer for layer in states._own.layers for buffer in layer._buffers]
        tensors += [part for layer in [*states._prompts, *states._common] for part in layer]
        for block in [states._own_block, *(block for block, _ in states._shared_blocks)]:
            tensors += [] if block._is_full else [block._place, block._token]
        return [(tensor.data_ptr(), tensor.shape) for tensor in tensors]


@pytest.fixture
def replays(monkeypatch):
    """Recordings that are made, on a machine without a GPU."""
    monkeypatch.setattr(Replay, "made", [])
    monkeypatch.setattr(cuda_graphs, "_Recording", Replay)
    monkeypatch.setattr(cuda_graphs, "_synchronizing_is_an_error", nullcontext)
    monkeypatch.setattr(cuda_graphs, "_not_recordable", WeakSet())
    monkeypatch.setattr(ahead, "LENGTHS", 8)
    return Replay.made


@pytest.mark.parametrize("temperature", [0.9, 0.0])
@pytest.mark.parametrize("common", [0, MIN_COMMON_TOKENS + 3], ids=["apart", "common beginning"])
@pytest.mark.parametrize("family", sorted(SHARED))
def test_decoding_ahead_draws_the_same_tokens_in_two_turns(family, common, temperature, replays):
    """Rows leave at different steps, so that recordings are made anew for fewer rows and for longer ones."""
    model, prompts = small_model(family), prompts_of(5, 3, 9, 4, common=common)
    drawn = {}
    for is_ahead in (False, True):
        memory = PromptMemory()
        memory.start_turn(max_rows=64)
        flags = {"max_new_tokens": 30, "ahead": is_ahead, "temperature": temperature, "stop": StopLate()}
        firsts = sample(model, prompts, 2, memory, **flags)
        corrections = [p + row[0].completion_ids + [8, 9] for p, row in zip(prompts, firsts)]
        memory.start_turn(max_rows=0)
        turns = [firsts, sample(model, corrections, 4, memory, **flags)]
        drawn[is_ahead] = [one for turn in turns for row in turn for one in row]
    for a, b in zip(drawn[False], drawn[True], strict=True):
        assert a.completion_ids == b.completion_ids
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)
        assert a.finish_reason == b.finish_reason
    if temperature:
        assert len({(replay.step.func.__self__._states, replay.step.args) for replay in replays}) > 4
    assert sum(replay.num_replays for replay in replays) > 4 * len(replays)


def test_what_can_not_be_recorded_is_decoded_as_it_is_and_found_out_once(replays, monkeypatch, caplog):
    model, prompts = small_model("llama"), prompts_of(5, 3)
    expected = sample(model, prompts, 2)
    calls = []

    def synchronized():
        calls.append(1)
        raise RuntimeError("called a synchronizing CUDA operation\nand more")

    monkeypatch.setattr(cuda_graphs, "_synchronizing_is_an_error", synchronized)
    for _ in range(2):
        found = sample(model, prompts, 2, ahead=True)
        assert [[s.completion_ids for s in row] for row in found] == [[s.completion_ids for s in row] for row in expected]
    assert len(calls) == 1 and not replays
    monkeypatch.setattr(cuda_graphs, "_synchronizing_is_an_error", nullcontext)
    sample(small_model("qwen2"), prompts, 2, stop=Never(), ahead=True)
    assert replays  # another model is another matter
    assert "can't be recorded (called a synchronizing CUDA operation): sampling is slower" in caplog.text


def test_a_recording_that_fails_leaves_the_step_to_be_taken_as_it_is(replays, monkeypatch):
    def failing(step, device):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(cuda_graphs, "_Recording", failing)
    model, prompts = small_model("llama"), prompts_of(5, 3)
    found, expected = (sample(model, prompts, 2, stop=Never(), ahead=is_ahead) for is_ahead in (True, False))
    assert [[s.completion_ids for s in row] for row in found] == [[s.completion_ids for s in row] for row in expected]


def test_running_out_of_memory_says_nothing_about_whether_steps_can_be_recorded(replays, monkeypatch):
    def out_of_memory(*_):
        raise torch.OutOfMemoryError("a test")

    monkeypatch.setattr(cuda_graphs, "_Recording", out_of_memory)
    with pytest.raises(torch.OutOfMemoryError):
        sample(small_model("llama"), prompts_of(5), 1, stop=Never(), ahead=True)
    assert not cuda_graphs._not_recordable


def fed_tokens(model, function) -> list[int]:
    """Tokens a row that every pass of the model was given while `function` ran."""
    lengths = []
    handle = model.register_forward_pre_hook(
        lambda module, args, kwargs: lengths.append(kwargs["input_ids"].shape[-1]), with_kwargs=True
    )
    function()
    handle.remove()
    return lengths


@pytest.mark.parametrize("common", [0, MIN_COMMON_TOKENS], ids=["apart", "common beginning"])
def test_a_correction_computes_only_what_is_new_of_its_prompt(common):
    model, memory = small_model("llama"), PromptMemory()
    prompts = prompts_of(20, 25, common=common)
    memory.start_turn(max_rows=8)
    firsts = sample(model, prompts, 2, memory)
    corrections = [p + s.completion_ids + [1, 2, 3] for p, row in zip(prompts, firsts) for s in row]
    memory.start_turn(max_rows=0)
    lengths = fed_tokens(model, lambda: sample(model, corrections, 3, memory))
    assert lengths[0] == 4  # the last sampled token, which no pass had seen, and the three new ones
    assert set(lengths[1:]) == {1}


def test_attempts_of_one_token_are_gone_on_from_too():
    """No decoding step takes place: what is remembered is the prompt."""
    model, memory, prompts = small_model("llama"), PromptMemory(), prompts_of(6, 9)
    memory.start_turn(max_rows=8)
    firsts = sample(model, prompts, 1, memory, max_new_tokens=1)
    corrections = [prompt + row[0].completion_ids + [4] for prompt, row in zip(prompts, firsts)]
    memory.start_turn(max_rows=0)
    samples = []
    assert fed_tokens(model, lambda: samples.extend(sample(model, corrections, 2, memory)))[0] == 2
    assert_as_in_training(model, corrections, samples)


def test_prompts_of_unlike_length_are_computed_in_passes_with_little_padding():
    assert groups_of_like_length([100, 10, 12, 90, 13, 1], CPU) == [[5], [1, 2], [4], [3, 0]]
    model, prompts = small_model("llama"), prompts_of(10, 12, 100, 90)
    assert fed_tokens(model, lambda: sample(model, prompts, 1, max_new_tokens=1)) == [12, 100]


def test_only_the_turn_before_is_remembered_and_no_more_rows_than_allowed():
    model, memory = small_model("llama"), PromptMemory()
    prompts = prompts_of(20, 25, 30)
    memory.start_turn(max_rows=2)
    memory.learn_common(model, prompts)
    samples = sample(model, prompts, 1, memory)
    rows = [p + row[0].completion_ids for p, row in zip(prompts, samples)]
    assert all(memory.find([*row, 5]) is None for row in rows)  # not before the next turn
    memory.start_turn(max_rows=0)
    assert sum(memory.find([*row, 5]) is not None for row in rows) == 2
    memory.start_turn(max_rows=0)
    assert all(memory.find([*row, 5]) is None for row in rows)


def test_a_remembered_row_must_leave_a_token_to_go_on_from():
    memory = PromptMemory()
    memory.start_turn(max_rows=3)
    states = {n: [(torch.zeros(1, n, 1), torch.zeros(1, n, 1))] for n in (1, 2, 3)}
    for n in (1, 2, 3):
        memory.keep([4, 5, 6][:n], states[n])
    memory.start_turn(max_rows=0)
    assert memory.find([4, 5, 6, 7]) is states[3]
    assert memory.find([4, 5, 6]) is states[2]
    assert memory.find([4, 9]) is states[1]
    assert memory.find([9, 4]) is None


def test_a_second_call_that_starts_otherwise_learns_its_own_beginning():
    model, memory = small_model("llama"), PromptMemory()
    for common in (MIN_COMMON_TOKENS, MIN_COMMON_TOKENS + 9):
        prompts = prompts_of(3, 4, common=common)
        assert_as_in_training(model, prompts, sample(model, prompts, 2, memory))
        assert memory.common_ids == prompts[0][:common]


@pytest.mark.parametrize("size", [1, 255, 256, 257, 1000])
def test_inverse_cdf_is_the_search_over_the_whole_cdf(size):
    generator = torch.Generator().manual_seed(size)
    probs = torch.softmax(4 * torch.randn(200, size, generator=generator), -1)
    uniforms = torch.rand(200, generator=generator, dtype=torch.float64)
    cdf = probs.cumsum(-1, dtype=torch.float64)
    expected = torch.searchsorted(cdf, (uniforms * cdf[:, -1]).unsqueeze(-1), right=True).squeeze(-1)
    assert torch.equal(inverse_cdf(probs, uniforms), expected)


@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-53])
def test_inverse_cdf_never_draws_what_has_no_probability(uniform):
    probs = torch.zeros(3, 700)
    probs[0, 300] = 1.0
    probs[1, [0, 699]] = 0.5
    probs[2, [255, 256]] = 0.5
    drawn = inverse_cdf(probs, torch.full((3,), uniform, dtype=torch.float64))
    assert drawn.tolist() == ([300, 0, 255] if uniform == 0 else [300, 699, 256])


def test_packed_weights_compute_the_same_and_go_with_the_rollout():
    model = small_model("qwen2")  # its projections have biases
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        expected = model(ids).logits
        with packed_linears(model):
            assert "forward" in vars(model.lm_head)
            torch.testing.assert_close(model(ids).logits, expected, atol=1e-5, rtol=1e-5)
        assert "forward" not in vars(model.lm_head)
        assert torch.equal(model(ids).logits, expected)


def test_weights_are_packed_anew_for_every_rollout():
    model, ids = small_model("llama"), torch.tensor([[5, 6, 7]])
    with torch.no_grad(), packed_linears(model):
        before = model(ids).logits
    with torch.no_grad():
        model.lm_head.weight.mul_(2)
    with torch.no_grad(), packed_linears(model):
        torch.testing.assert_close(model(ids).logits, 2 * before, atol=1e-5, rtol=1e-5)


def test_what_cannot_be_packed_stays_as_it_is():
    class Scaled(torch.nn.Linear):
        def forward(self, states):
            return 2 * super().forward(states)

    half, sharded = torch.nn.Linear(4, 4).half(), torch.nn.Linear(4, 4)
    sharded.weight.data = torch.empty(0)
    layers = torch.nn.ModuleList([Scaled(4, 4), half, sharded, torch.nn.Linear(4, 4, device="meta")])
    with packed_linears(layers):
        assert not any("forward" in vars(layer) for layer in layers)


def test_an_error_inside_leaves_the_model_as_it_was():
    model = small_model("llama")
    prompts = prompts_of(4, 5)
    with pytest.raises(RuntimeError, match="no more"), packed_linears(model):

        class Fails:
            def finish_reason(self, ids):
                raise RuntimeError("no more")

        sample(model, prompts, 1, stop=Fails())
    assert model.config._attn_implementation == "sdpa"
    assert "forward" not in vars(model.lm_head)


def large_scores() -> torch.nn.Module:
    """A bfloat16 model whose queries and keys are large, as Qwen2.5's are: scores of some hundreds."""
    seed_everything(0)
    config = Qwen2Config(**{**SMALL, "hidden_size": 96, "head_dim": 16})
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.2)
            elif name.endswith(("q_proj.bias", "k_proj.bias")):
                parameter.normal_(0, 6)
    return model.bfloat16()


@pytest.mark.parametrize("is_ahead", [False, True], ids=["", "ahead"])
def test_scores_are_not_rounded_to_bfloat16(is_ahead, replays):
    """Through the model's own attention logprobs are 0.01 nats from the trainer's here; with rounded scores they were 0.07."""
    model, prompts = large_scores(), prompts_of(50, 40, 61)
    samples = sample(model, prompts, 4, stop=Never(), ahead=is_ahead)
    gaps = []
    for prompt, row in zip(prompts, samples):
        for one in row:
            batch = CompletionBatch.collate([prompt], [one.completion_ids], CPU)
            with torch.no_grad():
                gaps.append(torch.tensor(one.logprobs) - completion_logprobs(model, batch, 0.9)[0].float())
    assert torch.cat(gaps).abs().mean() < 0.03


def test_cudnn_computes_no_attention():
    """Its gradients are NaN where a mask is given and all scores are far below zero."""
    assert not torch.backends.cuda.cudnn_sdp_enabled()
