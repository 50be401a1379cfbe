"""Splits an assert into expressions that the child evaluates and a check that the judge keeps.

`assert sorted(f([3, 1])) == [1, 3]` becomes the hole `f([3, 1])` and the thunk `sorted(values[0]) == [1, 3]`. A hole is the
largest subexpression that needs the program; everything around it is computed outside, on data. Names are of four kinds: the
judge's own (builtin wrappers, `math`), constants that the test assigns, foreign ones (imported by the test from modules that
the judge does not compute with), and the program's: all others.
"""

import ast
from collections.abc import Callable

from sandbox.closed import value_of
from sandbox.judging import ITERATING, METHOD_NAMES, TEXT, TEXT_PREDICATES, Thunk, call_method, is_true
from sandbox.operators import BINARY, COMPARE, UNARY
from sandbox.scope import Scope, names_in, root_name
from sandbox.unrolling import listed


class Unsplittable(Exception):
    """The assert has to run whole, inside the child."""


SINGLETONS = (None, True, False, ...)
# Functions whose result is a verdict on their arguments.
DECIDING = {"isclose", "isinstance", "type", "approx", "approx_output", "all", "any"}


class Splitter:
    """Compiles one test's asserts; collects the holes of all of them in order. Holes are (source, mode) pairs."""

    def __init__(self, scope: Scope, num_values: int = 0):
        self.scope = scope
        self.holes: list[tuple[str, str]] = []
        self.asked: list[ast.expr] = []  # the holes of the part that is being split
        self.constants: list[object] = []
        self.offset = num_values

    def split_condition(self, test: ast.expr) -> Thunk:
        """The thunk of an assert's condition, whose `and`s at the top have to hold part by part. Raises Unsplittable."""
        if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
            parts = [self.split_condition(value) for value in test.values]
            return lambda values: all(is_true(part(values)) for part in parts)
        return self.split_apart(test, "bool")

    def split_apart(self, node: ast.expr, mode: str = "") -> Thunk:
        """The thunk of an expression. Raises Unsplittable also for an expected value that the program can see, and change,
        beside what it returns.
        """
        self.asked = []
        thunk = self.split(node, mode)
        num_answers = len(self.asked) + len(names_in(node) & self.scope.answers.keys())
        if num_answers > 1 and not all(map(self.scope.is_answered, self.asked)):
            raise Unsplittable("an expected value that the program can see")
        return thunk

    def split(self, node: ast.expr, mode: str = "") -> Thunk:
        """The thunk of an expression. Raises Unsplittable."""
        if not self.scope.needs_program(node):
            return self.closed(node)
        handler = getattr(self, "split_" + type(node).__name__.lower(), None)
        return self.hole(node, mode) if handler is None else handler(node, mode)

    def closed(self, node: ast.expr) -> Thunk:
        """An expression of the test alone: computed once, when the data is loaded."""
        try:
            value = value_of(node, self.scope)
        except RecursionError:
            raise
        except Exception as error:
            raise Unsplittable(f"its expected value cannot be computed: {error}") from error
        if callable(value) and not isinstance(value, type) and not isinstance(node, ast.Name):
            raise Unsplittable("a function is not plain data")
        self.constants.append(value)
        return lambda values: value

    def unsplittable(self, node: ast.expr, mode: str) -> Thunk:
        raise Unsplittable(type(node).__name__)

    split_setcomp = split_dictcomp = split_lambda = split_joinedstr = unsplittable
    split_namedexpr = split_await = split_yield = split_starred = unsplittable

    def hole(self, node: ast.expr, mode: str = "") -> Thunk:
        """What the program is asked for: a chain that starts with a name of its own, and no verdict on what it returns."""
        root = root_name(node)
        if self.scope.is_foreign(root, node):
            raise Unsplittable("its value is computed by an imported module")
        if self.scope.is_of_the_test(root) or root in self.scope.derived_names or self.scope.decides(node):
            raise Unsplittable("its value is computed by the test from what the program returns")
        return self.claim(node, mode)

    def claim(self, node: ast.expr, mode: str = "") -> Thunk:
        """Have the child evaluate `node`. Raises Unsplittable where that would decide there what is to be decided here."""
        for child in ast.walk(node):
            if isinstance(child, (ast.NamedExpr, ast.Await, ast.Yield, ast.YieldFrom)):
                raise Unsplittable(type(child).__name__)
        if self.scope.is_computed_with(node):
            raise Unsplittable("what the program returns is computed with before it is sent")
        index = self.offset + len(self.holes)
        self.holes.append((ast.unparse(node), mode))
        self.asked.append(node)
        return lambda values: values[index]

    def check_plain(self, *operands: ast.expr) -> None:
        """Raises Unsplittable for an object of the program, whose own methods are what is tested."""
        if any(map(self.is_object, operands)):
            raise Unsplittable("an object of the program")

    def is_object(self, node: ast.expr) -> bool:
        """Whether, by its name, it is an object of a class of the program: one made here, or a variable that holds one."""
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            return node.func.id[:1].isupper() and self.scope.callee(node.func) is None
        return isinstance(node, ast.Name) and node.id in self.scope.object_names

    def split_name(self, node: ast.Name, mode: str) -> Thunk:
        return self.scope.answers[node.id] if node.id in self.scope.answers else self.hole(node, mode)

    def _sequence(self, nodes: list[ast.expr], make: Callable) -> Thunk:
        thunks = [self.split(node) for node in nodes]
        return lambda values: make([thunk(values) for thunk in thunks])

    def split_list(self, node: ast.List, mode: str) -> Thunk:
        return self._sequence(node.elts, list)

    def split_listcomp(self, node: ast.ListComp | ast.GeneratorExp, mode: str) -> Thunk:
        items = listed(node)
        return self.unsplittable(node, mode) if items is None else self._sequence(items, list)

    split_generatorexp = split_listcomp

    def split_tuple(self, node: ast.Tuple, mode: str) -> Thunk:
        return self._sequence(node.elts, tuple)

    def split_set(self, node: ast.Set, mode: str) -> Thunk:
        self.check_plain(*node.elts)
        return self._sequence(node.elts, set)

    def split_dict(self, node: ast.Dict, mode: str) -> Thunk:
        if None in node.keys:
            raise Unsplittable("**")
        self.check_plain(*node.keys)
        keys, items = [self.split(key) for key in node.keys], [self.split(value) for value in node.values]
        return lambda values: {key(values): item(values) for key, item in zip(keys, items)}

    def split_unaryop(self, node: ast.UnaryOp, mode: str) -> Thunk:
        self.check_plain(node.operand)
        operand = self.split(node.operand, "bool")
        if isinstance(node.op, ast.Not):
            return lambda values: not is_true(operand(values))
        function = UNARY[type(node.op)]
        return lambda values: function(operand(values))

    def split_binop(self, node: ast.BinOp, mode: str) -> Thunk:
        function = BINARY.get(type(node.op))
        if function is None:
            raise Unsplittable("@")
        self.check_plain(node.left, node.right)
        left, right = self.split(node.left), self.split(node.right)
        return lambda values: function(left(values), right(values))

    def split_boolop(self, node: ast.BoolOp, mode: str) -> Thunk:
        # Holes are evaluated whatever came before them: `f(x) is None or f(x)[0] == 1` would fail on what Python does not
        # evaluate.
        if any(self.scope.needs_program(value) for value in node.values[1:]):
            raise Unsplittable("a part that is evaluated only where another one says so")
        parts, stop = [self.split(value, "bool") for value in node.values], isinstance(node.op, ast.Or)

        def thunk(values: list) -> object:
            for part in parts:
                value = part(values)
                if is_true(value) is stop:
                    break
            return value

        return thunk

    def split_ifexp(self, node: ast.IfExp, mode: str) -> Thunk:
        raise Unsplittable("a conditional expression evaluates one branch only")

    def split_compare(self, node: ast.Compare, mode: str) -> Thunk:
        operands = [node.left, *node.comparators]
        if sum(self.scope.needs_program(operand) for operand in operands) > 1:
            raise Unsplittable("both sides need the program")
        if any(self.scope.needs_program(operand) for operand in operands[2:]):
            raise Unsplittable("a chain that stops before it comes to the program")
        if any(isinstance(op, (ast.Is, ast.IsNot)) for op in node.ops) and not any(
            isinstance(operand, ast.Constant) and operand.value in SINGLETONS for operand in operands
        ):
            raise Unsplittable("identity")
        self.check_plain(*(right for op, right in zip(node.ops, operands[1:]) if isinstance(op, (ast.In, ast.NotIn))))
        mode = "array" if any(map(self.is_approx, operands)) else ""
        thunks = [
            self.split(operand, "iter" if index and isinstance(node.ops[index - 1], (ast.In, ast.NotIn)) else mode)
            for index, operand in enumerate(operands)
        ]
        functions = [COMPARE[type(op)] for op in node.ops]

        def thunk(values: list) -> bool:
            got = [part(values) for part in thunks]
            return all(function(left, right) for function, left, right in zip(functions, got, got[1:]))

        return thunk

    def is_approx(self, node: ast.expr) -> bool:
        callee = self.scope.callee(node.func) if isinstance(node, ast.Call) else None
        return callee is not None and callee[0] == "approx"

    def split_subscript(self, node: ast.Subscript, mode: str) -> Thunk:
        if self.scope.needs_program(node.value) and root_name(node.value) not in self.scope.answers:
            return self.hole(node, mode)  # an element is as good a claim as the whole, and shorter
        value, index = self.split(node.value), self.split(node.slice)
        return lambda values: value(values)[index(values)]

    def split_slice(self, node: ast.Slice, mode: str) -> Thunk:
        thunks = [self.split(part or ast.Constant(None)) for part in (node.lower, node.upper, node.step)]
        return lambda values: slice(*[thunk(values) for thunk in thunks])

    def split_call(self, node: ast.Call, mode: str) -> Thunk:
        if any(isinstance(arg, ast.Starred) for arg in node.args) or any(keyword.arg is None for keyword in node.keywords):
            return self.hole(node, mode)
        callee = self.scope.callee(node.func)
        if callee is not None:
            return self.judged_call(callee, node, mode)
        func = node.func
        is_plain = not node.keywords and not any(map(self.is_object, node.args))
        if is_plain and isinstance(func, ast.Attribute) and self.is_value(func.value, func.attr):
            receiver, args, name = self.split(func.value), [self.split(arg) for arg in node.args], func.attr
            return lambda values: call_method(receiver(values), name, [arg(values) for arg in args])
        return self.hole(node, mode)

    def is_value(self, node: ast.expr, method: str) -> bool:
        """Whether the receiver of a method that the judge knows is plain data rather than an object of the program: a literal,
        or what a function returned. Of a variable or an element that is said where no class has a method of this name but text.
        """
        if method not in METHOD_NAMES:
            return False
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            return not self.is_object(node)
        if method in TEXT_PREDICATES and isinstance(node, (ast.Name, ast.Subscript)) and not self.is_object(node):
            return root_name(node) not in self.scope.aliases
        return not self.scope.needs_program(node) or (isinstance(node, ast.Call) and self.scope.callee(node.func) is not None)

    def means_array(self, node: ast.expr) -> bool:
        """Whether something of the program is gone through that is an array if it can be: `all(f(1) == [1, 2])`."""
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("abs", "round") and node.args:
            return self.scope.callee(node.func) is not None and self.scope.needs_program(node)
        is_number = isinstance(node, ast.BinOp) and isinstance(getattr(node.right, "value", None), (int, float))
        is_arithmetic = is_number and isinstance(node.op, (ast.Sub, ast.Div, ast.FloorDiv, ast.Pow))
        return (isinstance(node, ast.Compare) or is_arithmetic) and self.scope.needs_program(node)

    def judged_call(self, callee: tuple[str, Callable], node: ast.Call, mode: str) -> Thunk:
        name, function = callee
        if name in ("isinstance", "type") and any(self.scope.needs_program(arg) for arg in node.args[1:]):
            raise Unsplittable("a class of the program")
        if any(map(self.is_object, node.args)):
            if name in DECIDING:
                raise Unsplittable("an object of the program")
            return self.claim(node, mode)  # `str(stack)` of an object that the test made: its own methods are what is tested
        if name in ITERATING and len(node.args) == 1 and self.means_array(node.args[0]):
            raise Unsplittable("an operation on an array")
        if name == "any" and isinstance(node.args[0], ast.GeneratorExp):
            raise Unsplittable("a part that is evaluated only where another one says so")
        if any(keyword.arg == "key" and self.scope.needs_program(keyword.value) for keyword in node.keywords):
            raise Unsplittable("a key that the program computes")
        mode = name if name in ("len", "bool") or name in TEXT else "iter" if name in ITERATING else ""
        args = [self.split(arg, mode) for arg in node.args]
        keywords = {keyword.arg: self.split(keyword.value) for keyword in node.keywords}

        def thunk(values: list) -> object:
            return function(*[arg(values) for arg in args], **{key: value(values) for key, value in keywords.items()})

        return thunk
