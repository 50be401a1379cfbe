"""The rollout: attempts turn by turn, their tests running in the sandbox while the next turn is sampled.

With `--feedback` a correction's prompt says how its attempt's tests went; then the next turn waits for the sandbox.
"""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from statistics import mean
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from data.problem import DataError, Problem, read_problems
from rl.completion import Sample, Seed, decode, encode
from rl.config import ConfigError, RolloutFlags, is_default
from rl.encoding import PromptEncoder, build_encoder
from rl.pass_limit import PassLimit
from rl.pretrained import context_tokens, eos_token_ids
from rl.sampling.batch import sample_batch
from rl.sampling.packed_linears import packed_linears
from rl.sampling.prompt_memory import PromptMemory
from rl.sampling.sampler import Sampler, choose_sampler
from rl.trajectory import Attempt, Rollout
from sandbox.pool import Limits, SandboxPool
from sandbox.suite import Suite, compile_suite, defined_names
from sandbox.verdict import Verdict

logger = logging.getLogger(__name__)

# Most tokens of a draft of greedy decoding, which repeats what it reads. Samples do so less, and a drafted token costs a CPU
# as much as any other: what drafts save there they lose again.
GREEDY_DRAFT = 8


@dataclass(frozen=True)
class _Context:
    """What one attempt, or the attempts of one prompt, go on from."""

    problem: Problem
    prompt_ids: list[int]
    parent: Attempt | None = None
    feedback: str = ""


def compile_suites(problems: Sequence[Problem]) -> dict[Problem, Suite]:
    """The tests of every problem, ready for the sandbox. Raises: DataError naming the problem."""
    suites = {}
    for problem in problems:
        try:
            suites[problem] = compile_suite(
                problem.test_list, setup_code=problem.test_setup_code, reference_names=defined_names(problem.code)
            )
        except ValueError as error:
            raise DataError(f"problem {problem.problem_id}: {error}") from None
    return suites


@dataclass(frozen=True)
class Collector:
    """Everything a rollout needs besides the model and the problems of the moment."""

    encoder: PromptEncoder
    sampler: Sampler
    pool: SandboxPool
    suites: dict[Problem, Suite]
    max_new_tokens: int
    max_prompt_tokens: int
    limit: PassLimit
    max_draft: int | None = None  # None: GREEDY_DRAFT where decoding is greedy, else 0

    def prompt_lengths(self, problems: Sequence[Problem]) -> list[int]:
        """Tokens of every problem's prompt of turn 1."""
        return [len(self.encoder.first_ids(problem, self.max_prompt_tokens)) for problem in problems]

    def row_tokens(self, problems: Sequence[Problem], num_turns: int) -> list[int]:
        """Most tokens of a row of each turn, prompt and completion."""
        return self.encoder.row_tokens(problems, self.max_prompt_tokens, num_turns, self.max_new_tokens)

    def collect(
        self,
        model: PreTrainedModel,
        problems: Sequence[Problem],
        branching: Sequence[int],
        temperature: float,
        seeds: Sequence[Seed],
        on_progress: Callable[[int], None] | None = None,
    ) -> Rollout:
        """`branching[0]` first attempts of each problem, `branching[t]` corrections of each attempt of turn t.

        Every distinct program of a problem is submitted to the sandbox once, as soon as it is sampled, and runs while
        the next turn is sampled, unless that turn is to be told how it went. An attempt's draws follow from its problem's
        entry in `seeds` and its place in the tree.
        `on_progress` is told of every batch of finished attempts.
        """
        submitted: dict[tuple[Problem, str], Future[Verdict]] = {}
        contexts = [_Context(problem, self.encoder.first_ids(problem, self.max_prompt_tokens)) for problem in problems]
        seeds = list(seeds)
        turns: list[list[Attempt]] = []
        memory = PromptMemory()
        max_draft = self.max_draft
        if max_draft is None:
            max_draft = GREEDY_DRAFT if temperature == 0 else 0
        with packed_linears(model):
            for turn, num_samples in enumerate(branching, 1):
                memory.start_turn(max_rows=self.limit.rows if turn < len(branching) else 0)
                if turns:
                    contexts = [self._correction(attempt) for attempt in turns[-1]]
                    seeds = [(*seed, branch) for seed in seeds for branch in range(branching[len(turns) - 1])]
                completions = self.sampler(
                    model,
                    [context.prompt_ids for context in contexts],
                    num_samples,
                    self.encoder.stop,
                    max_new_tokens=self.max_new_tokens,
                    temperature=temperature,
                    seeds=seeds,
                    limit=self.limit,
                    on_progress=on_progress,
                    memory=memory,
                    max_draft=max_draft,
                )
                turns.append(
                    [
                        self._attempt(context, completion, submitted)
                        for context, samples in zip(contexts, completions)
                        for completion in samples
                    ]
                )
        return Rollout(list(problems), tuple(branching), turns)

    def _correction(self, attempt: Attempt) -> _Context:
        feedback = self.encoder.feedback_on(attempt)
        return _Context(attempt.problem, self.encoder.correction_ids(attempt, feedback), attempt, feedback)

    def _attempt(
        self, context: _Context, completion: Sample, submitted: dict[tuple[Problem, str], "Future[Verdict]"]
    ) -> Attempt:
        code = self.encoder.extract_code(completion.completion_ids)
        key = (context.problem, code)
        if key not in submitted:
            submitted[key] = self.pool.submit(code, self.suites[context.problem])
        return Attempt(
            problem=context.problem,
            prompt_ids=context.prompt_ids,
            completion_ids=completion.completion_ids,
            sampling_logprobs=completion.logprobs,
            finish_reason=completion.finish_reason,
            code=code,
            feedback=context.feedback,
            parent=context.parent,
            pending_verdict=submitted[key],
        )


def build_collector(
    config: RolloutFlags,
    tokenizer: PreTrainedTokenizerBase,
    model_config: Any,
    problems: Sequence[Problem],
    num_turns: int,
    max_rows: int,
    device: torch.device,
    pool: SandboxPool | None = None,
) -> Collector:
    """A collector for `problems`, with every one of their prompts and tests checked. Raises: ConfigError, DataError.

    A sandbox of its own, where no `pool` is given, starts last, so that bad input leaves no processes behind.
    """
    if config.sampler == "graphs" and device.type != "cuda":
        raise ConfigError("--sampler is graphs: CUDA graphs need an NVIDIA GPU, and there is none; use --sampler batch")
    for name in ("feedback", "history"):
        if num_turns == 1 and not is_default(config, name):
            raise ConfigError(
                f"--{name} is {getattr(config, name)}: with one turn there is no correction to show it; drop it or add a turn"
            )
    fewshot = read_problems(config.fewshot_data) if config.fewshot_data else []
    for example in fewshot:
        if not example.code:
            raise DataError(f"--fewshot_data {config.fewshot_data}: problem {example.problem_id} has no 'code' to show")
    encoder = build_encoder(config, tokenizer, fewshot, eos_token_ids(model_config, tokenizer))
    room = encoder.prompt_room(context_tokens(model_config), num_turns, config.max_new_tokens, problems)
    lengths = [len(encoder.first_ids(problem, room)) for problem in problems]
    if lengths:
        logger.info("prompts of turn 1: %d to %d tokens, %d on average", min(lengths), max(lengths), mean(lengths))
    inexact = find_inexact_text(tokenizer, problems)
    if inexact:
        logger.warning(
            "this tokenizer changes %d of %d reference programs when it encodes and decodes them, for example problem %s",
            len(inexact),
            len(problems),
            inexact[0],
        )
    suites = compile_suites(problems)
    logger.info(
        "%d tests, %d of them inline: those run inside the program's own process, where a verdict can be forged",
        sum(suite.num_tests for suite in suites.values()),
        sum(suite.num_inline for suite in suites.values()),
    )
    pool = pool or start_sandbox(config)
    sampler = choose_sampler(config.sampler, model_config, device)
    if config.prompt_lookup_num_tokens and sampler is not sample_batch:
        logger.warning(
            "--prompt_lookup_num_tokens is %d: neither pages nor CUDA graphs take drafts; --sampler batch does",
            config.prompt_lookup_num_tokens,
        )
    limit, max_draft = PassLimit(max_rows), config.prompt_lookup_num_tokens
    return Collector(encoder, sampler, pool, suites, config.max_new_tokens, room, limit, max_draft)


def start_sandbox(config: RolloutFlags) -> SandboxPool:
    """The workers that the flags ask for. Raises: SandboxUnavailable."""
    limits = Limits(
        test_timeout_s=config.test_timeout_s, program_timeout_s=config.program_timeout_s, memory_mb=config.sandbox_memory_mb
    )
    return SandboxPool(config.sandbox_workers, limits, config.allow_unsafe_sandbox, tuple(config.sandbox_modules))


def find_inexact_text(tokenizer: PreTrainedTokenizerBase, problems: Sequence[Problem]) -> list[str]:
    """Ids of problems whose reference does not survive encoding and decoding: such programs can't be judged fairly."""
    return [p.problem_id for p in problems if decode(tokenizer, encode(tokenizer, p.code)) != p.code]
