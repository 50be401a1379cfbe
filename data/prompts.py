"""The wire format between a problem and the model: what is shown, where an answer starts, and where it ends.

The instruction strings are MBPP's and CoCoS's own (Austin et al., arXiv 2108.07732; Cho et al., arXiv 2505.23060).
Released checkpoints expect them to the letter, so they are constants here. Everything is text: which tokens a marker
becomes is each tokenizer's business.
"""

import re
from collections.abc import Sequence

from data.problem import Problem

BEGIN = "[BEGIN]"
CORRECT = "[CORRECT]"
DONE = "[DONE]"
CORRECTION_INSTRUCTION = (
    "There might be an error in the code above because of lack of understanding of the question. "
    "Please correct the error, if any, and rewrite the solution. Only output the final correct Python program!"
)

_FENCE = re.compile(r"\A\s*```[\w+-]*\n(.*?)(?:\n```.*)?\Z", re.DOTALL)


def first_prompt(problem: Problem, fewshot: Sequence[Problem] = ()) -> str:
    """Turn 1: solved examples, if any, then the task, its tests and the opening marker."""
    return "".join(fewshot_example(example) for example in fewshot) + _task(problem)


def fewshot_example(problem: Problem) -> str:
    """One solved example as it stands before the task."""
    return f"{_task(problem)}{answer(problem.code)}\n\n"


def answer(code: str) -> str:
    """A program as the model should write it after a cue: the code, a newline and the end marker."""
    return f"{code}\n{DONE}"


def correction_suffix(has_fewshot: bool = False) -> str:
    """What follows a finished attempt and its end marker, up to where the correction starts.

    With few-shot examples the cue is `[BEGIN]`, as published: an untrained model knows it from the examples,
    and has never seen `[CORRECT]`.
    """
    return f"\n\n{CORRECTION_INSTRUCTION}\n\n{BEGIN if has_fewshot else CORRECT}\n"


def correction_prompt(problem: Problem, attempts: Sequence[str], fewshot: Sequence[Problem] = ()) -> str:
    """The text of turn `len(attempts) + 1`: every earlier turn as it went, then the cue."""
    suffix = correction_suffix(bool(fewshot))
    return first_prompt(problem, fewshot) + "".join(answer(attempt) + suffix for attempt in attempts)


def extract_code(completion: str) -> str:
    """The program inside a completion: up to the end marker, without a Markdown fence around it."""
    code = completion.split(DONE, 1)[0]
    fenced = _FENCE.match(code)
    return (fenced.group(1) if fenced else code).strip("\n")


def _task(problem: Problem) -> str:
    tests = "\n".join(problem.test_list).strip()
    return (
        f"You are an expert Python programmer, and here is your task: {problem.text} "
        f"Your code should pass these tests:\n\n{tests}\n\n{BEGIN}\n"
    )
