"""Single mistakes in a program's own text: each kind against literal strings, and what they leave alone."""

import ast

import pytest

from data.boost.mutations import KINDS, mutations


def mutants(code: str, kind: str) -> set[str]:
    return {mutation.code for mutation in mutations(code) if mutation.kind == kind}


def body(line: str) -> str:
    """One line as a function's body."""
    return f"def f(a, b):\n    {line}\n"


@pytest.mark.parametrize(
    ("kind", "line", "expected"),
    [
        ("operator", "return a + b", {"return a - b"}),
        ("operator", "return (a)  *  (b)", {"return (a)  +  (b)", "return (a)  //  (b)"}),
        ("operator", "return a ** 2", {"return a * 2"}),
        ("operator", "a //= b", {"a /= b", "a %= b"}),
        ("comparison", "return a < b", {"return a <= b", "return a > b"}),
        (
            "comparison",
            "return 0 <= a < b",
            {"return 0 < a < b", "return 0 >= a < b", "return 0 <= a <= b", "return 0 <= a > b"},
        ),
        ("comparison", "return a not  in b", {"return a in b"}),
        ("comparison", "return a is not b", {"return a is b"}),
        ("boolean", "return a and b and 1", {"return a or b and 1", "return a and b or 1"}),
        ("condition", "return 1 if a < 2 else 3", {"return 1 if not (a < 2) else 3"}),
        ("condition", "return [x for x in b if not x]", {"return [x for x in b if x]"}),
        ("constant", "return a[True]", {"return a[False]"}),
        ("constant", "return 'ab'", {"return 'AB'", "return 'a'", "return 'b'"}),
        ("constant", 'return "x"', {'return "X"', 'return ""'}),
        ("constant", r"return 'a\n'", {r"return 'A\n'", "return 'a'", r"return '\n'"}),
        ("constant", "return 120", {"return 12"}),
        ("constant", "return 0.5", {"return 1.5"}),
        ("off_by_one", "return -1", {"return -2", "return -0"}),
        ("off_by_one", "return a[b]", {"return a[b - 1]", "return a[b + 1]"}),
        (
            "off_by_one",
            "return a[b:len(a)]",
            {"return a[b - 1:len(a)]", "return a[b + 1:len(a)]", "return a[b:len(a) - 1]"}
            | {"return a[b:len(a) + 1]", "return a[:len(a)]"},
        ),
        ("off_by_one", "return range(b)", {"return range(b - 1)", "return range(b + 1)"}),
        ("name", "return a + b", {"return b + b", "return a + a"}),
        ("call", "return max(a)", {"return min(a)"}),
        ("call", "return 'é'.join(a).upper()", {"return 'é'.join(a).lower()"}),
        ("arguments", "return pow(a, b + 1)", {"return pow(b + 1, a)"}),
        ("arguments", "return sorted(a, key=b, reverse=True)", {"return sorted(a, key=b)"}),
        ("return", "return a - b", {"return a", "return b"}),
        ("return", "return tuple(a)", {"return a"}),
        ("return", "return a == b", {"return not (a == b)"}),
        ("return", "return a, b", {"return (b, a)"}),
        ("return", "return a[0]", {"return None"}),
        ("return", "return a", set()),
    ],
)
def test_one_mistake(kind, line, expected):
    assert mutants(body(line), kind) == {body(other) for other in expected}


LOOP = """\
def f(xs):
    \"\"\"Sum of what is positive.\"\"\"
    total = 0  # so far
    for x in xs:
        if x > 0:
            total += x
        elif x == 0: total = 1; break
    return total
"""


def test_a_statement_is_left_out_with_its_line():
    assert mutants(LOOP, "statement") == {
        LOOP.replace("    total = 0  # so far\n", ""),
        LOOP.replace(LOOP[LOOP.index("    for") : LOOP.index("    return")], ""),
        LOOP.replace(LOOP[LOOP.index("        if") : LOOP.index("    return")], "        pass\n"),
        LOOP.replace("            total += x\n", "            pass\n"),
        LOOP.replace("        elif x == 0: total = 1; break\n", ""),
        LOOP.replace("total = 1;", "pass;"),
        LOOP.replace("; break", "; pass"),
    }


def test_a_return_comes_into_the_loop_and_steps_change_places():
    assert mutants(LOOP, "early_return") == {LOOP.replace("    return total", "        return total")}
    code = body("a = b + 1  # first\n    b = (a *\n         2)\n    return b")
    swapped = body("b = (a *\n         2)  # first\n    a = b + 1\n    return b")
    assert mutants(code, "order") == {swapped}


def test_names_are_of_variables_that_are_set_by_then():
    code = "def f(a):\n    b = g(a)\n    return [c for c in b]\n"
    assert mutants(code, "name") == {code.replace("in b", "in a")}


def test_docstrings_annotations_imports_and_formats_are_left_alone():
    code = 'import os\ndef f(a: "int" = g) -> "x":\n    """Doc."""\n    return f"{a:>2}"\n'
    assert [mutation.code for mutation in mutations(code)] == [code.replace('f"{a:>2}"', "None")]


def test_layout_comments_and_quotes_stay():
    code = "def f(a,b) :\n\t# é: keep\r\n\tx = {'k':a}   # odd   spaces\n\treturn  x[ 'k' ]+b  # end\n"
    made = mutations(code)
    assert code.replace("+b", "-b") in {mutation.code for mutation in made}
    lines = code.splitlines(keepends=True)
    for mutation in made:
        kept = [line for line in mutation.code.splitlines(keepends=True) if line in lines]
        assert len(kept) >= len(lines) - 1
        assert "# é: keep\r\n" in mutation.code


@pytest.mark.parametrize("code", ["", "def f(:", "x = " + "(" * 5000, "\x00", "def f():\n    '''Doc.'''\n"])
def test_what_does_not_parse_or_holds_nothing_has_no_mutants(code):
    assert mutations(code) == []


def test_every_mutant_parses_differs_and_has_a_known_kind():
    made = mutations(LOOP)
    assert len({mutation.code for mutation in made}) == len(made) > 20
    for mutation in made:
        assert mutation.kind in KINDS
        assert ast.dump(ast.parse(mutation.code)) != ast.dump(ast.parse(LOOP))
    assert made == mutations(LOOP)
