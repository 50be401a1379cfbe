"""Token ids of prompts, for any tokenizer and any prompt format.

Token-in, token-out: a correction's prompt is its parent's prompt and sampled ids, followed by the encoded text that asks for
the correction. Sampled ids are never decoded and encoded again.
"""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from data.feedback import MAX_ERROR_CHARS, MAX_TEST_CHARS, NOT_PASSED, REASONS, Feedback, describe, feedback_text
from data.problem import DataError, Problem
from data.prompts import MARKERS, Template
from rl.chat import ChatFormat
from rl.completion import StopCondition, decode, encode
from rl.config import History, RolloutFlags
from rl.prompt_template import read_template
from rl.trajectory import Attempt

# Tokens that pieces of text may need in excess of their sum where they meet.
SEAM_TOKENS = 8


def prompt_format(config: RolloutFlags, tokenizer: PreTrainedTokenizerBase) -> Template | ChatFormat:
    """The format behind `--prompt_format` and `--prompt_template`. Raises: ConfigError."""
    if config.prompt_format == "chat":
        return ChatFormat(tokenizer, config.system_prompt)
    return read_template(config.prompt_template, config.feedback) if config.prompt_template else MARKERS


class PromptEncoder:
    """Prompts as ids. Few-shot examples are dropped from the last where space is short."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        fewshot: Sequence[Problem],
        eos_token_ids: Sequence[int] = (),
        template: Template | ChatFormat = MARKERS,
        history: History = "full",
        feedback: Feedback = "none",
    ):
        self.tokenizer = tokenizer
        self.template = template
        self.feedback = feedback
        self.stop = StopCondition(tokenizer, template.marker, [*eos_token_ids, *template.end_ids])
        self._fewshot = tuple(fewshot)
        self._history = history
        tokens = {*tokenizer.all_special_tokens, *tokenizer.get_added_vocab(), template.marker or ""}
        self._markers = sorted(token for token in tokens if not token.strip().isalnum())

    def first_ids(self, problem: Problem, max_tokens: int) -> list[int]:
        """Prompt of turn 1, at most `max_tokens` long. Raises: DataError where it does not fit without examples."""
        if max_tokens < 1:
            raise DataError(
                f"the model's context leaves {max_tokens} tokens for a prompt beside all attempts and instructions; "
                "lower --max_new_tokens or --num_turns"
            )
        for num_examples in range(len(self._fewshot), -1, -1):
            ids = self._whole_ids(self.template.first_prompt(problem, self._fewshot[:num_examples]))
            if len(ids) <= max_tokens:
                return ids
        raise DataError(
            f"problem {problem.problem_id}: its prompt has {len(ids)} tokens and the model's context leaves {max_tokens} "
            "beside --max_new_tokens for every turn; lower --max_new_tokens or --num_turns, or leave the problem out"
        )

    def feedback_on(self, attempt: Attempt) -> str:
        """What the correction of `attempt` is told; waits for the sandbox, unless it is told nothing anyway."""
        if self.feedback == "none":
            return ""
        return feedback_text(self.feedback, attempt.problem, attempt.verdict, self._markers)

    def correction_ids(self, attempt: Attempt, feedback: str = "") -> list[int]:
        """Prompt of the turn after `attempt`, whatever way it ended."""
        kept = attempt.completion_ids
        if attempt.finish_reason == "eos":
            kept = kept[:-1]
        tail = self.template.correction_suffix(bool(self._fewshot), feedback)
        if attempt.finish_reason == "stop":
            # The token that completes the marker may carry the first characters of what follows it.
            overhang = decode(self.tokenizer, kept).split(self.template.marker, 1)[1]
            tail = tail.removeprefix(overhang) if overhang else tail
        else:
            tail = self.template.closing + tail
        return self._before(attempt) + kept + encode(self.tokenizer, tail)

    def extract_code(self, completion_ids: Sequence[int]) -> str:
        """The program inside a completion."""
        return self.template.extract_code(decode(self.tokenizer, completion_ids))

    def suffix_tokens(self, problems: Sequence[Problem] = ()) -> int:
        """Tokens that a correction's prompt adds to the attempt before it, at most."""
        longest = {"none": "", "verdict": NOT_PASSED}.get(self.feedback, describe("", max(REASONS.values(), key=len)))
        tail = self.template.closing + self.template.correction_suffix(bool(self._fewshot), longest)
        num_tokens = len(encode(self.tokenizer, tail))
        if self.feedback in ("failing_test", "traceback"):
            tests = sorted({test[:MAX_TEST_CHARS] for problem in problems for test in problem.shown_tests})
            num_tokens += max(map(len, self.tokenizer(tests)["input_ids"])) if tests else 0
            # An ASCII character is one token at most.
            num_tokens += SEAM_TOKENS + (MAX_ERROR_CHARS if self.feedback == "traceback" else 0)
        return num_tokens

    def prompt_room(self, context_tokens: int, num_turns: int, max_new_tokens: int, problems: Sequence[Problem] = ()) -> int:
        """Tokens left for the prompt of turn 1 when every later turn must still fit into the model's context."""
        num_answers = min(num_turns, 2) if self._history == "last" else num_turns
        return context_tokens - num_answers * max_new_tokens - (num_answers - 1) * self.suffix_tokens(problems)

    def row_tokens(self, problems: Sequence[Problem], max_prompt_tokens: int, num_turns: int, max_new_tokens: int) -> list[int]:
        """Most tokens of a row of each turn, prompt and completion."""
        first = max(len(self.first_ids(problem, max_prompt_tokens)) for problem in problems)
        before = first
        if self._history == "last":
            before = max(len(self._whole_ids(self.template.first_prompt(problem))) for problem in problems)
        repeated = max_new_tokens + self.suffix_tokens(problems)
        shown = [1 if self._history == "last" else turn for turn in range(1, num_turns)]  # attempts in a correction's prompt
        return [first + max_new_tokens] + [before + n * repeated + max_new_tokens for n in shown]

    def _before(self, attempt: Attempt) -> list[int]:
        """What stands before an attempt in the prompt of its correction: all of its own prompt, or the bare task."""
        if self._history == "full":
            return attempt.prompt_ids
        return self._whole_ids(self.template.first_prompt(attempt.problem))

    def _whole_ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=self.template.adds_special_tokens)["input_ids"])


def build_encoder(
    config: RolloutFlags, tokenizer: PreTrainedTokenizerBase, fewshot: Sequence[Problem], eos_token_ids: Sequence[int]
) -> PromptEncoder:
    """The encoder that the flags ask for. Raises: ConfigError."""
    template = prompt_format(config, tokenizer)
    return PromptEncoder(tokenizer, fewshot, eos_token_ids, template, config.history, config.feedback)
