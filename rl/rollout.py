"""The rollout: attempts turn by turn, their tests running in the sandbox while the next turn is sampled.

Token-in, token-out: a correction's prompt is its parent's prompt and sampled ids, followed by the encoded correction
instruction. Sampled ids are never decoded and encoded again.
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
from data.prompts import DONE, correction_suffix, extract_code, first_prompt
from rl.completion import Sample, Seed, StopCondition, decode, encode
from rl.config import RolloutFlags
from rl.pass_limit import PassLimit
from rl.pretrained import context_tokens, eos_token_ids
from rl.sampling.packed_linears import packed_linears
from rl.sampling.prompt_memory import PromptMemory
from rl.sampling.sampler import Sampler, choose_sampler
from rl.trajectory import Attempt, Rollout
from sandbox.pool import Limits, SandboxPool
from sandbox.suite import Suite, compile_suite, defined_names
from sandbox.verdict import Verdict

logger = logging.getLogger(__name__)


class PromptEncoder:
    """Token ids of prompts, for any tokenizer. Few-shot examples are dropped from the last where space is short."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, fewshot: Sequence[Problem], eos_token_ids: Sequence[int] = ()):
        self.tokenizer = tokenizer
        self._fewshot = tuple(fewshot)
        self.stop = StopCondition(tokenizer, DONE, eos_token_ids)

    def first_ids(self, problem: Problem, max_tokens: int) -> list[int]:
        """Prompt of turn 1, at most `max_tokens` long. Raises: DataError where it does not fit without examples."""
        for num_examples in range(len(self._fewshot), -1, -1):
            ids = self.tokenizer(first_prompt(problem, self._fewshot[:num_examples]))["input_ids"]
            if len(ids) <= max_tokens:
                return ids
        raise DataError(
            f"problem {problem.problem_id}: its prompt has {len(ids)} tokens and the model's context leaves {max_tokens} "
            "beside --max_new_tokens for every turn; lower --max_new_tokens or --num_turns, or leave the problem out"
        )

    def correction_ids(self, attempt: Attempt) -> list[int]:
        """Prompt of the turn after `attempt`, whatever way it ended."""
        kept = attempt.completion_ids
        if attempt.finish_reason == "eos":
            kept = kept[:-1]
        tail = correction_suffix(bool(self._fewshot))
        if attempt.finish_reason == "stop":
            # The token that completes the marker may carry the first characters of what follows it.
            overhang = decode(self.tokenizer, kept).split(DONE, 1)[1]
            tail = tail.removeprefix(overhang) if overhang else tail
        else:
            tail = f"\n{DONE}{tail}"
        return attempt.prompt_ids + kept + encode(self.tokenizer, tail)

    def suffix_tokens(self) -> int:
        """Tokens that a correction's prompt adds to the attempt before it, at most."""
        tail = f"\n{DONE}{correction_suffix(bool(self._fewshot))}"
        return len(encode(self.tokenizer, tail))


def prompt_room(context_tokens: int, encoder: PromptEncoder, num_turns: int, max_new_tokens: int) -> int:
    """Tokens left for the prompt of turn 1 when every later turn must still fit into the model's context."""
    return context_tokens - num_turns * max_new_tokens - (num_turns - 1) * encoder.suffix_tokens()


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

    def prompt_lengths(self, problems: Sequence[Problem]) -> list[int]:
        """Tokens of every problem's prompt of turn 1."""
        return [len(self.encoder.first_ids(problem, self.max_prompt_tokens)) for problem in problems]

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
        the next turn is sampled. An attempt's draws follow from its problem's entry in `seeds` and its place in the tree.
        `on_progress` is told of every batch of finished attempts.
        """
        submitted: dict[tuple[Problem, str], Future[Verdict]] = {}
        contexts = [(problem, None, self.encoder.first_ids(problem, self.max_prompt_tokens)) for problem in problems]
        seeds = list(seeds)
        turns: list[list[Attempt]] = []
        memory = PromptMemory()
        with packed_linears(model):
            for turn, num_samples in enumerate(branching, 1):
                memory.start_turn(max_rows=self.limit.rows if turn < len(branching) else 0)
                if turns:
                    contexts = [(a.problem, a, self.encoder.correction_ids(a)) for a in turns[-1]]
                    seeds = [(*seed, branch) for seed in seeds for branch in range(branching[len(turns) - 1])]
                completions = self.sampler(
                    model,
                    [prompt_ids for _, _, prompt_ids in contexts],
                    num_samples,
                    self.encoder.stop,
                    max_new_tokens=self.max_new_tokens,
                    temperature=temperature,
                    seeds=seeds,
                    limit=self.limit,
                    on_progress=on_progress,
                    memory=memory,
                )
                turns.append(
                    [
                        self._attempt(problem, parent, prompt_ids, completion, submitted)
                        for (problem, parent, prompt_ids), samples in zip(contexts, completions)
                        for completion in samples
                    ]
                )
        return Rollout(list(problems), tuple(branching), turns)

    def _attempt(
        self,
        problem: Problem,
        parent: Attempt | None,
        prompt_ids: list[int],
        completion: Sample,
        submitted: dict[tuple[Problem, str], "Future[Verdict]"],
    ) -> Attempt:
        code = extract_code(decode(self.encoder.tokenizer, completion.completion_ids))
        key = (problem, code)
        if key not in submitted:
            submitted[key] = self.pool.submit(code, self.suites[problem])
        return Attempt(
            problem=problem,
            prompt_ids=prompt_ids,
            completion_ids=completion.completion_ids,
            sampling_logprobs=completion.logprobs,
            finish_reason=completion.finish_reason,
            code=code,
            parent=parent,
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
) -> Collector:
    """A collector for `problems`, with every one of their prompts and tests checked. Raises: DataError.

    The sandbox starts last, so that bad input leaves no processes behind.
    """
    fewshot = read_problems(config.fewshot_data) if config.fewshot_data else []
    for example in fewshot:
        if not example.code:
            raise DataError(f"--fewshot_data {config.fewshot_data}: problem {example.problem_id} has no 'code' to show")
    encoder = PromptEncoder(tokenizer, fewshot, eos_token_ids(model_config, tokenizer))
    room = prompt_room(context_tokens(model_config), encoder, num_turns, config.max_new_tokens)
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
    limits = Limits(test_timeout_s=config.test_timeout_s, memory_mb=config.sandbox_memory_mb)
    pool = SandboxPool(num_workers=config.sandbox_workers, limits=limits, allow_unsafe=config.allow_unsafe_sandbox)
    sampler = choose_sampler(config.sampler, model_config, device)
    return Collector(encoder, sampler, pool, suites, config.max_new_tokens, room, PassLimit(max_rows))


def find_inexact_text(tokenizer: PreTrainedTokenizerBase, problems: Sequence[Problem]) -> list[str]:
    """Ids of problems whose reference does not survive encoding and decoding: such programs can't be judged fairly."""
    return [p.problem_id for p in problems if decode(tokenizer, encode(tokenizer, p.code)) != p.code]
