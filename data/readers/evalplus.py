"""HumanEval+ and MBPP+ (EvalPlus): the benchmarks' own rows with a longer test, which loops over inputs and stays whole."""

from dataclasses import replace

from data.problem import Problem
from data.readers.humaneval import read_humaneval
from data.readers.mbpp import read_mbpp
from data.readers.row import Row


def read_evalplus(row: Row) -> Problem:
    """HumanEval+ rows read as HumanEval; MBPP+ rows have a `test_list`, which is shown, and a `test`, which is hidden."""
    if not row.has("test_list"):
        return read_humaneval(row)
    problem = read_mbpp(row)
    if not row.has("test"):
        return problem
    return replace(problem, test_list=(*problem.test_list, row.text("test").strip()), num_hidden=1)
