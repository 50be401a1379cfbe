"""Whatever an assert looks like, the sandbox's verdict on it, split or inline, is that of running it."""

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from sandbox.pool import SandboxPool
from sandbox.suite import compile_suite, defined_names

# A program with all kinds of values to give back, some of them wrong in ways that comparisons forgive or don't.
PROGRAM = """
TABLE = [0, 1, -2, 1.0, 0.1 + 0.2, True, None, "", "ab", [], [1, 2], [2, 1], (1, 2), {1, 2}, {"a": 1}, [[1], [2]], 10**20, "1"]

def f(i):
    return TABLE[i % len(TABLE)]

def g(i):
    raise ValueError("no")
"""
literals = st.sampled_from(
    "0;1;-2;1.0;0.3;0.30000000000000004;True;False;None;'';'ab';[];[1, 2];[2, 1];(1, 2);{1, 2};{2: 1};{'a': 1};[[1], [2]];"
    "100000000000000000000;'1';[1.0, 2.0];set()".split(";")
)
calls = st.builds("{}({})".format, st.sampled_from(["f", "f", "f", "f", "g"]), st.integers(0, 17))
functions = st.sampled_from("sorted({});len({});str({});list({});abs({});sum({});set({});type({});(not {});(-{})".split(";"))
operators = st.sampled_from("==;==;==;!=;<;>=;in;not in;is".split(";"))


def grown(children):
    return st.one_of(
        st.builds(lambda name, a: name.format(a), functions, children),
        st.builds("[{}, {}]".format, children, children),
        st.builds("({} + {})".format, children, children),
        st.builds("{}[{}]".format, children, st.integers(-2, 2)),
    )


values = st.recursive(st.one_of(calls, literals), grown, max_leaves=3)
comparisons = st.builds("{} {} {}".format, values, operators, values)
conditions = st.recursive(
    st.one_of(
        comparisons,
        st.builds("abs({} - {}) < 1e-6".format, values, values),
        st.builds("isinstance({}, {})".format, calls, st.sampled_from(["int", "list", "(str, float)"])),
        st.builds("{0} == {1} == {2}".format, values, calls, values),
        st.builds("all(x == {} for x in {})".format, literals, values),
        calls,
    ),
    lambda children: st.one_of(
        st.builds("({} {} {})".format, children, st.sampled_from(["and", "or"]), children),
        st.builds("not ({})".format, children),
    ),
    max_leaves=2,
)


def is_fair(test: str) -> bool:
    """Asserts that check something of the program's; identity of values that come back as copies is left out."""
    others = test.replace(" is None", "").replace(" is True", "").replace(" is False", "")
    return ("f(" in test or "g(" in test) and " is " not in others


def plain(test: str) -> bool:
    namespace = {"__name__": "solution"}
    exec(PROGRAM, namespace)
    try:
        exec(test, namespace)
    except Exception:  # noqa: BLE001 - whatever it raises, it does not pass
        return False
    return True


# Without shrinking: a failure names its asserts, and making it smaller took minutes.
@settings(
    max_examples=10,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.lists(conditions.map("assert {}".format).filter(is_fair), min_size=25, max_size=40, unique=True))
def test_split_verdicts_are_those_of_running_the_assert(tests):
    suite = compile_suite(tests, "", defined_names(PROGRAM))
    with SandboxPool(1) as pool:
        verdict = pool.submit(PROGRAM, suite).result()
    wrong = [
        (test, result, compiled.inline)
        for test, result, compiled in zip(tests, verdict.tests, suite.tests)
        if (result.status == "passed") != plain(test)
    ]
    assert not wrong
