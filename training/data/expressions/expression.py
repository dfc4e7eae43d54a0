"""The row language: expressions in Python's syntax that compute one value from the columns of one row.

It is total: every evaluation ends, within limits of work and size (`row_values`). Python's parser reads the text and
nothing of it is executed by Python: each permitted node becomes a function here, every other node is an error. There
are no attributes, assignments, unbounded loops, imports, or names other than columns, functions of the language and
the variable of a comprehension.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from ....errors import PlanError
from . import operations
from .row_functions import RowFunction, row_function
from .row_values import RowError, Value, Work, checked

MAX_CHARACTERS = 2_000
MAX_DEPTH = 60

Names = Mapping[str, Value]
Node = Callable[[Names, Work], Value]
ROW = "row"
"""The name of the whole row, for columns whose name is no identifier: row['my column']."""


@dataclass(frozen=True)
class Expression:
    """A checked expression. `columns` are the names it reads; `reads_row`: it uses the whole row."""

    text: str
    columns: frozenset[str]
    reads_row: bool
    functions: tuple[RowFunction, ...] = field(repr=False)
    node: Node = field(repr=False)

    def __call__(self, row: Names, work: Work) -> Value:
        """The value for a row. Raises RowError if there is none."""
        try:
            return self.node({**row, ROW: row}, work)
        except RecursionError:
            raise RowError("nested too deep") from None


@lru_cache(maxsize=1_000)
def parse(text: str) -> Expression:
    """Read an expression. Raises PlanError that names the place and the fault."""
    if len(text) > MAX_CHARACTERS:
        raise PlanError(f"an expression has at most {MAX_CHARACTERS} characters, this one {len(text)}")
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except SyntaxError as error:
        raise PlanError(f"{_quoted(text)}: {error.msg} at character {error.offset}") from None
    except (RecursionError, MemoryError, ValueError) as error:
        raise PlanError(f"{_quoted(text)} cannot be read: {error}") from None
    compiler = _Compiler(text.strip())
    node = compiler.compile(tree.body, frozenset(), 0)
    columns = frozenset(compiler.columns - {ROW})
    return Expression(text, columns, ROW in compiler.columns, tuple(compiler.functions.values()), node)


class _Compiler:
    """Makes a function of each node; collects the columns and functions in use."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.columns: set[str] = set()
        self.functions: dict[str, RowFunction] = {}

    def fault(self, node: ast.expr, message: str) -> PlanError:
        part = ast.get_source_segment(self.text, node) or self.text
        return PlanError(f"{_quoted(part)}: {message}")

    def compile(self, node: ast.expr, local: Collection[str], depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise PlanError(f"{_quoted(self.text)}: nested deeper than {MAX_DEPTH} levels")
        make = getattr(self, f"_{type(node).__name__}", None)
        if make is None:
            raise self.fault(node, f"{_name(node)} is not part of the row language")
        made: Node = make(node, local, depth + 1)
        return made

    def _all(self, nodes: Collection[ast.expr], local: Collection[str], depth: int) -> list[Node]:
        return [self.compile(node, local, depth) for node in nodes]

    def _Constant(self, node: ast.Constant, local: Collection[str], depth: int) -> Node:
        value = node.value
        if value is not None and not isinstance(value, bool | int | float | str):
            raise self.fault(node, f"{type(value).__name__} is not part of the row language")
        try:
            checked(value, Work())
        except RowError as error:
            raise self.fault(node, str(error)) from None
        return lambda names, work: value

    def _Name(self, node: ast.Name, local: Collection[str], depth: int) -> Node:
        name = node.id
        if name.startswith("__"):
            raise self.fault(node, "names do not begin with '__'")
        if name in ("true", "false", "null"):
            value = {"true": True, "false": False, "null": None}[name]
            return lambda names, work: value
        if name not in local:
            self.columns.add(name)
        return lambda names, work: names[name]

    def _JoinedStr(self, node: ast.JoinedStr, local: Collection[str], depth: int) -> Node:
        parts = self._all(node.values, local, depth)
        return lambda names, work: operations.concatenated([part(names, work) for part in parts], work)

    def _FormattedValue(self, node: ast.FormattedValue, local: Collection[str], depth: int) -> Node:
        if node.format_spec is not None or node.conversion != -1:
            raise self.fault(node, "formats are not supported: write {round(x, 2)}")
        return self.compile(node.value, local, depth)

    def _List(self, node: ast.List, local: Collection[str], depth: int) -> Node:
        parts = self._all(node.elts, local, depth)
        return lambda names, work: checked([part(names, work) for part in parts], work)

    _Tuple = _List

    def _Dict(self, node: ast.Dict, local: Collection[str], depth: int) -> Node:
        for key in node.keys:
            if not (isinstance(key, ast.Constant) and isinstance(key.value, str)):
                raise self.fault(node, "the keys of an object are texts in quotes")
        keys = [key.value for key in node.keys if isinstance(key, ast.Constant)]
        values = self._all(node.values, local, depth)
        return lambda names, work: checked(
            {str(key): value(names, work) for key, value in zip(keys, values, strict=True)}, work
        )

    def _BoolOp(self, node: ast.BoolOp, local: Collection[str], depth: int) -> Node:
        parts = self._all(node.values, local, depth)
        stop_at = isinstance(node.op, ast.Or)

        def evaluate(names: Names, work: Work) -> Value:
            value: Value = None
            for part in parts:
                value = part(names, work)
                if bool(value) is stop_at:
                    break
            return value

        return evaluate

    def _UnaryOp(self, node: ast.UnaryOp, local: Collection[str], depth: int) -> Node:
        operand, apply = self.compile(node.operand, local, depth), operations.UNARY.get(type(node.op))
        if apply is None:
            raise self.fault(node, "this operator is not part of the row language")
        return lambda names, work: apply(operand(names, work))

    def _BinOp(self, node: ast.BinOp, local: Collection[str], depth: int) -> Node:
        apply = operations.BINARY.get(type(node.op))
        if apply is None:
            raise self.fault(node, "this operator is not part of the row language; it has + - * / // %")
        left, right = self._all([node.left, node.right], local, depth)

        def evaluate(names: Names, work: Work) -> Value:
            work.spend(1)
            return checked(apply(left(names, work), right(names, work)), work)

        return evaluate

    def _Compare(self, node: ast.Compare, local: Collection[str], depth: int) -> Node:
        operands = self._all([node.left, *node.comparators], local, depth)
        tests = [operations.COMPARE[type(op)] for op in node.ops]

        def evaluate(names: Names, work: Work) -> Value:
            left = operands[0](names, work)
            for test, operand in zip(tests, operands[1:], strict=True):
                right = operand(names, work)
                checked([left, right], work)
                if not test(left, right):
                    return False
                left = right
            return True

        return evaluate

    def _IfExp(self, node: ast.IfExp, local: Collection[str], depth: int) -> Node:
        test, then, other = self._all([node.test, node.body, node.orelse], local, depth)
        return lambda names, work: then(names, work) if test(names, work) else other(names, work)

    def _Subscript(self, node: ast.Subscript, local: Collection[str], depth: int) -> Node:
        whole = self.compile(node.value, local, depth)
        if isinstance(node.slice, ast.Slice):
            if node.slice.step is not None:
                raise self.fault(node, "a slice has a start and an end only")
            ends = [
                self.compile(end, local, depth) if end is not None else None
                for end in (node.slice.lower, node.slice.upper)
            ]

            def cut(names: Names, work: Work) -> Value:
                low, high = (end(names, work) if end is not None else None for end in ends)
                return checked(operations.cut(whole(names, work), low, high), work)

            return cut
        key = self.compile(node.slice, local, depth)
        return lambda names, work: operations.element(whole(names, work), key(names, work))

    def _ListComp(self, node: ast.ListComp | ast.GeneratorExp, local: Collection[str], depth: int) -> Node:
        if len(node.generators) != 1 or node.generators[0].is_async:
            raise self.fault(node, "a comprehension has one `for`; use one inside of the other")
        [loop] = node.generators
        targets = loop.target.elts if isinstance(loop.target, ast.Tuple) else [loop.target]
        variables = [target.id for target in targets if isinstance(target, ast.Name)]
        if len(variables) != len(targets) or any(name.startswith("__") or name == ROW for name in variables):
            raise self.fault(node, "the variables of a comprehension are plain names")
        source = self.compile(loop.iter, local, depth)
        inside = frozenset({*local, *variables})
        value = self.compile(node.elt, inside, depth)
        tests = self._all(loop.ifs, inside, depth)
        unpacked = isinstance(loop.target, ast.Tuple)

        def evaluate(names: Names, work: Work) -> Value:
            found = []
            for item in operations.items(source(names, work)):
                work.spend(1)
                parts = operations.unpacked(item, len(variables)) if unpacked else [item]
                scope = {**names, **dict(zip(variables, parts, strict=True))}
                if all(test(scope, work) for test in tests):
                    found.append(value(scope, work))
            return checked(found, work)

        return evaluate

    _GeneratorExp = _ListComp

    def _Call(self, node: ast.Call, local: Collection[str], depth: int) -> Node:
        given = list(node.args)
        if isinstance(node.func, ast.Name):
            name = node.func.id
        elif isinstance(node.func, ast.Attribute):  # text.lower() is lower(text)
            name, given = node.func.attr, [node.func.value, *given]
        else:
            raise self.fault(node, "only functions of the row language can be called")
        if node.keywords or any(isinstance(argument, ast.Starred) for argument in given):
            raise self.fault(node, "arguments are given by position")
        try:
            function = row_function(name)
            function.check_count(len(given))
        except PlanError as error:
            raise self.fault(node, str(error)) from None
        self.functions[name] = function
        arguments = self._all(given, local, depth)

        def evaluate(names: Names, work: Work) -> Value:
            work.spend(function.work)
            return checked(function([argument(names, work) for argument in arguments], work), work)

        return evaluate


def _quoted(text: str) -> str:
    return f"`{text if len(text) <= 60 else text[:57] + '...'}`"


def _name(node: ast.expr) -> str:
    """What an error calls a node that is not permitted."""
    if isinstance(node, ast.Attribute):
        return f"the attribute '{node.attr}'"
    return {"DictComp": "a loop that makes an object", "SetComp": "a set", "NamedExpr": "an assignment"}.get(
        type(node).__name__, f"'{type(node).__name__.lower()}'"
    )
