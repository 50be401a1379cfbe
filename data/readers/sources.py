"""Which reader takes a row. A reader is a function of one row; it raises Unusable with the reason where it can't use it."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from data.problem import Problem
from data.readers.contests import read_contest
from data.readers.evalplus import read_evalplus
from data.readers.humaneval import read_humaneval
from data.readers.kodcode import read_kodcode
from data.readers.mbpp import read_mbpp
from data.readers.odex import read_odex
from data.readers.row import Row
from data.readers.testing import refuse_missing_modules

READERS: dict[str, Callable[[Row], Problem]] = {
    "mbpp": read_mbpp,
    "humaneval": read_humaneval,
    "evalplus": read_evalplus,
    "kodcode": read_kodcode,
    "odex": read_odex,
    "apps": read_contest,
    "livecodebench": read_contest,
}


def convert(source: str, values: Any, fields: Mapping[str, str], modules: Collection[str] = ("numpy",)) -> Problem:
    """The problem of one row. `fields` maps the reader's names to the row's own, `modules` are packages that the sandbox has.

    Raises: Unusable.
    """
    problem = READERS[source](Row.of(values, fields))
    for code in (problem.code, problem.test_setup_code, *problem.test_list):
        refuse_missing_modules(code, modules)
    return problem
