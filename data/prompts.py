"""The wire format between a problem and the model: what is shown, where an answer starts, and where it ends.

A format is a `Template`: a few strings with placeholders. `MARKERS` is the published one (Austin et al., arXiv 2108.07732; Cho
et al., arXiv 2505.23060), which released checkpoints expect to the letter. Everything here is text: which tokens a marker
becomes is each tokenizer's business. Chat models are spoken to by `rl.chat`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from data.problem import Problem

BEGIN = "[BEGIN]"
CORRECT = "[CORRECT]"
DONE = "[DONE]"
CORRECTION_INSTRUCTION = (
    "There might be an error in the code above because of lack of understanding of the question. "
    "Please correct the error, if any, and rewrite the solution. Only output the final correct Python program!"
)
TASK = "You are an expert Python programmer, and here is your task: {task} Your code should pass these tests:\n\n{tests}"

_FENCE = re.compile(r"\A\s*```[\w+-]*\n(.*?)(?:\n```.*)?\Z", re.DOTALL)


@dataclass(frozen=True)
class Template:
    """A prompt format in text. `{task}` and `{tests}` stand in `first`, `{feedback}` in a correction.

    An answer is the program followed by `closing`; its text without white space around it, the `marker`, ends sampling.
    A feedback is filled in with an empty line after it, or as nothing.
    """

    first: str
    closing: str
    correction: str
    # With few-shot examples: a cue that they have shown.
    correction_after_examples: str
    separator: str = "\n\n"

    adds_special_tokens = True  # such as a first token that the tokenizer puts before every text
    end_ids = ()

    @property
    def marker(self) -> str:
        """What ends an answer."""
        return self.closing.strip()

    def first_prompt(self, problem: Problem, fewshot: Sequence[Problem] = ()) -> str:
        """Turn 1: solved examples, if any, then the task up to where the answer starts."""
        examples = "".join(f"{self._task(example)}{self.answer(example.code)}{self.separator}" for example in fewshot)
        return examples + self._task(problem)

    def answer(self, code: str) -> str:
        """A program as the model should write it after a cue."""
        return f"{code}{self.closing}"

    def correction_suffix(self, has_fewshot: bool = False, feedback: str = "") -> str:
        """What follows a finished answer, up to where the correction starts."""
        text = self.correction_after_examples if has_fewshot else self.correction
        return text.replace("{feedback}", f"{feedback}\n\n" if feedback else "")

    def extract_code(self, completion: str) -> str:
        """The program inside a completion: up to the end marker, without a Markdown fence around it."""
        code = completion.split(self.marker, 1)[0]
        fenced = _FENCE.match(code)
        return (fenced.group(1) if fenced else code).strip("\n")

    def _task(self, problem: Problem) -> str:
        return fill_task(self.first, problem)


def fill_task(text: str, problem: Problem) -> str:
    """`text` with the problem's own for `{task}` and `{tests}`, in one go: a task may speak of braces."""
    values = {"{task}": problem.text, "{tests}": "\n".join(shown_tests(problem)).strip()}
    return re.sub(r"\{task\}|\{tests\}", lambda match: values[match.group()], text)


def shown_tests(problem: Problem) -> tuple[str, ...]:
    """The tests that a prompt, and a feedback, may show."""
    return getattr(problem, "shown_tests", problem.test_list)


MARKERS = Template(
    first=f"{TASK}\n\n{BEGIN}\n",
    closing=f"\n{DONE}",
    correction=f"\n\n{{feedback}}{CORRECTION_INSTRUCTION}\n\n{CORRECT}\n",
    # As published: an untrained model knows `[BEGIN]` from the examples, and has never seen `[CORRECT]`.
    correction_after_examples=f"\n\n{{feedback}}{CORRECTION_INSTRUCTION}\n\n{BEGIN}\n",
)

first_prompt = MARKERS.first_prompt
answer = MARKERS.answer
correction_suffix = MARKERS.correction_suffix
extract_code = MARKERS.extract_code


def correction_prompt(problem: Problem, attempts: Sequence[str], fewshot: Sequence[Problem] = ()) -> str:
    """The text of turn `len(attempts) + 1`: every earlier turn as it went, then the cue."""
    suffix = correction_suffix(bool(fewshot))
    return first_prompt(problem, fewshot) + "".join(answer(attempt) + suffix for attempt in attempts)
