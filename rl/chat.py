"""The prompt format of instruction-tuned models: the tokenizer's own chat template, with a fenced code block as the answer.

A template renders whole conversations; a rollout needs the piece between a sampled answer and the place where the next one
starts. It is cut out of a rendered conversation in which a stand-in takes the answer's place. So the sampled ids stay as they
are, also with templates that would write an earlier answer in another way (Qwen3 takes its reasoning out): the model goes on
from what it wrote, and what shows beforehand of the difference is logged once.
"""

import functools
import logging
from collections.abc import Sequence

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from data.fences import fenced, fenced_code
from data.problem import Problem
from data.prompts import CORRECTION_INSTRUCTION, TASK, fill_task
from rl.config import ConfigError

logger = logging.getLogger(__name__)

FIRST_MESSAGE = f"{TASK}\n\nAnswer with one fenced Python code block that holds the whole program."
_STAND_IN = "answer-goes-here"


class ChatFormat:
    """What `data.prompts.Template` is for text. `end_ids` are tokens that end an answer, `marker` is a text that does.

    Raises: ConfigError for a tokenizer without a chat template, and one whose template can't carry our conversation.
    """

    adds_special_tokens = False  # the template writes them

    def __init__(self, tokenizer: PreTrainedTokenizerBase, system_prompt: str | None = None):
        if not tokenizer.chat_template:
            raise ConfigError(
                "--prompt_format is chat: the tokenizer of --model_name_or_path has no chat template; take an "
                "instruction-tuned model, or --prompt_format markers"
            )
        self._tokenizer = tokenizer
        self._system = [{"role": "system", "content": system_prompt}] if system_prompt else []
        tail, end = self._tail(""), self._end()
        # Some templates write the last answer of a conversation in another way than those before.
        end = end if tail.startswith(end) else ""
        self.end_ids, self.marker, self.closing = self._end_of_turn(end)
        self._warn_where_rewritten()

    def first_prompt(self, problem: Problem, fewshot: Sequence[Problem] = ()) -> str:
        """Turn 1, examples as earlier pairs of messages, up to where the answer starts."""
        examples = [
            message
            for example in fewshot
            for message in (_user(fill_task(FIRST_MESSAGE, example)), _assistant(fenced(example.code)))
        ]
        return self._render([*examples, _user(fill_task(FIRST_MESSAGE, problem))])

    def correction_suffix(self, has_fewshot: bool = False, feedback: str = "") -> str:
        """What follows an answer and its `closing`, up to where the correction starts; the same with examples or without."""
        return self._tail(feedback).removeprefix(self.closing)

    def extract_code(self, completion: str) -> str:
        return fenced_code(completion.split(self.marker, 1)[0] if self.marker else completion)

    @functools.lru_cache(maxsize=1024)  # noqa: B019 - one format lives as long as its run
    def _tail(self, feedback: str) -> str:
        """Everything between an answer and the next."""
        text = f"{feedback}\n\n{CORRECTION_INSTRUCTION}" if feedback else CORRECTION_INSTRUCTION
        return self._after_answer(self._render([_user("task"), _assistant(_STAND_IN), _user(text)]))

    def _end(self) -> str:
        """What closes an answer, whatever follows."""
        return self._after_answer(self._render([_user("task"), _assistant(_STAND_IN)], add_generation_prompt=False))

    def _end_of_turn(self, end: str) -> tuple[tuple[int, ...], str | None, str]:
        """(token ids that end an answer, text that does, text that closes one which was cut)."""
        marker = end.strip()
        if not marker:
            return (), None, ""  # EOS alone
        first_id = self._tokenizer(marker, add_special_tokens=False)["input_ids"][0]
        if first_id in {*self._tokenizer.all_special_ids, *self._tokenizer.added_tokens_decoder}:
            return (first_id,), None, ""
        return (), marker, end[: end.index(marker)] + marker

    def _warn_where_rewritten(self) -> None:
        asked = self._render([_user("task")])
        answered = self._render([_user("task"), _assistant(_STAND_IN), _user("more")]).partition(_STAND_IN)[0]
        if asked != answered:
            logger.warning(
                "this chat template asks for an answer after %r and would show it, later, after %r; corrections keep what "
                "was sampled from",
                asked[-60:],
                answered[-60:],
            )

    def _after_answer(self, text: str) -> str:
        if text.count(_STAND_IN) != 1:
            raise ConfigError(
                f"--prompt_format is chat: this chat template shows an earlier answer {text.count(_STAND_IN)} times, and "
                "corrections need it once; use --prompt_format markers"
            )
        return text.partition(_STAND_IN)[2]

    def _render(self, messages: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        try:
            text = self._tokenizer.apply_chat_template(
                self._system + messages, tokenize=False, add_generation_prompt=add_generation_prompt
            )
        except TemplateError as error:
            mend = "drop --system_prompt or use" if self._system else "use"
            raise ConfigError(
                f"--prompt_format is chat: this chat template refuses our messages ({error}); {mend} --prompt_format markers"
            ) from None
        if self._system and self._system[0]["content"].strip() not in text:
            raise ConfigError("--system_prompt: this chat template leaves a system message out; drop the flag")
        return text


def _user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def _assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}
