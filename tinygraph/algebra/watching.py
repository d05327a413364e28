"""A function watched while it runs: what each of its lines assigned, in the order of the lines.

Python reports each line to a trace function before it runs it; what the statement before assigned
is then to be seen among the local variables. Only the names that the statement mentions are looked
at: what else changed is another name of the same array, or nobody's doing here.
"""

from __future__ import annotations

import ast
import functools
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import CodeType, FrameType, MethodType
from typing import Any

import numpy as np

from tinygraph.engine.tensor import Tensor

__all__ = ["Assigned", "Kept", "Source", "Statement", "Watch", "python_function", "source_of"]


@dataclass(frozen=True, slots=True)
class Assigned:
    """What one line gave one variable, or one entry of a dictionary: ``grads['x']``.

    Attributes
    ----------
    line : int
        Of the file: the first of the statement.
    name : str
    value : Tensor or ndarray or number
        As it was after the line.
    """

    line: int
    name: str
    value: Any


@dataclass(frozen=True)
class Statement:
    """One statement, or the head of a loop or condition: its lines, and the names in it."""

    node: ast.stmt
    first: int
    last: int
    names: frozenset[str]


@dataclass(frozen=True)
class Source:
    """The text of a function: its tree, with the line numbers of the file, and its statements.

    Attributes
    ----------
    lines : dict
        Text by number.
    tree : FunctionDef
    statements : dict
        The innermost statement by the number of a line.
    """

    lines: Mapping[int, str]
    tree: ast.FunctionDef
    statements: Mapping[int, Statement]


def python_function(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Give the Python function that runs when `fn` is called, inside decorators and partials."""
    while True:
        if isinstance(fn, functools.partial):
            fn = fn.func
        elif hasattr(fn, "__wrapped__"):
            fn = fn.__wrapped__
        elif inspect.ismethod(fn):
            fn = fn.__func__
        elif not hasattr(fn, "__code__") and not inspect.isclass(fn) and hasattr(fn, "__call__"):  # noqa: B004
            inner = type(fn).__call__
            if not hasattr(inner, "__code__"):
                return fn
            fn = inner
        else:
            return fn


def source_of(fn: Callable[..., Any]) -> Source | None:
    """Read the text of a function; None where there is none to be had, or it is a lambda."""
    try:
        lines, first = inspect.getsourcelines(python_function(fn))
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, TypeError, SyntaxError):
        return None
    ast.increment_lineno(tree, first - 1)
    found = tree.body[0] if tree.body else None
    if not isinstance(found, ast.FunctionDef):
        return None
    statements: dict[int, Statement] = {}
    for node in found.body:
        for statement in _statements(node):
            for line in range(statement.first, statement.last + 1):
                statements[line] = statement
    texts = {first + k: line.rstrip() for k, line in enumerate(lines)}
    return Source(texts, found, statements)


def _statements(node: ast.stmt) -> Iterator[Statement]:
    """Give a statement, and those inside it after it."""
    blocks = [getattr(node, field, []) for field in ("body", "orelse", "finalbody", "handlers")]
    inner = [one for block in blocks for one in block]
    last = node.end_lineno or node.lineno
    heads = [one for one in ast.iter_child_nodes(node) if one not in inner]
    if inner:
        last = max(node.lineno, inner[0].lineno - 1)
    names = {n.id for head in heads for n in ast.walk(head) if isinstance(n, ast.Name)}
    yield Statement(node, node.lineno, last, frozenset(names))
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        for one in inner:
            yield from _statements(one)


Kept = Callable[[Any], Any] | None


class Watch:
    """Watches a function for one call, and leaves whoever traces already to do so.

    Parameters
    ----------
    fn : callable
    kept : callable or None
        Makes of a value what is remembered of it: a copy, where it may be changed in place; None
        for what is of no interest. Without it, the lines are not looked at.
    source : Source, optional
        Where the lines are from; by default that of the function.
    of : callable, optional
        The function whose lines are watched, if `fn` is one that calls it.

    Attributes
    ----------
    assigned : list of Assigned
    variables : dict
        The local variables as the function returned.
    returned : int
        The line of the statement that it returned from; 0 where that is not known.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        kept: Kept,
        source: Source | None = None,
        *,
        of: Callable[..., Any] | None = None,
    ) -> None:
        self.fn, self.kept = fn, kept
        self.code: CodeType | None = getattr(python_function(of or fn), "__code__", None)
        source = source or source_of(of or fn)
        self.statements = source.statements if source else {}
        self.returned = 0
        self.assigned: list[Assigned] = []
        self.variables: dict[str, Any] = {}
        self._frame: FrameType | None = None
        self._line, self._seen = 0, dict[str, Any]()

    @property
    def __code__(self) -> CodeType | None:
        """That of the function, by which `trace` knows whose code it is."""
        return self.code

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        self._outer = sys.gettrace()
        sys.settrace(self._tracer())
        try:
            return self.fn(*args, **kwargs)
        finally:
            sys.settrace(self._outer)
            self._frame = self._outer = None

    def _tracer(self) -> Any:
        """Give a trace function that belongs to whom the one before it belongs to, if anyone."""
        owner = getattr(self._outer, "__self__", None)
        return (
            self._call if owner is None else MethodType(lambda _, *event: self._call(*event), owner)
        )

    def _call(self, frame: FrameType, event: Any, arg: Any) -> Any:
        is_it = frame.f_code is self.code and self._frame is None
        if is_it:
            self._frame = frame
            self._look(frame, frame.f_locals)  # the arguments
            self.assigned.clear()
        inner = self._outer and self._outer(frame, event, arg)
        if not is_it:
            return inner

        def line(frame: FrameType, event: Any, arg: Any) -> Any:
            nonlocal inner
            # Before another tracer, which may give the frame other variables, and counts who has
            # its arrays.
            if event == "line" and self.kept:
                self._look(frame, frame.f_locals)
            elif event == "return":
                self._look(frame, frame.f_locals)
                last = self.statements.get(frame.f_lineno)
                self.returned = last.first if last else 0
            inner = inner and inner(frame, event, arg)
            if event == "return":
                self.variables = dict(frame.f_locals)
            return line

        return line

    def _look(self, frame: FrameType, variables: Mapping[str, Any]) -> None:
        """Take down what the statement that has just run assigned."""
        if self.kept is None:
            return
        statement = self.statements.get(self._line)
        for name, value in _entries(variables):
            base = name.partition("[")[0]
            if (new := self.kept(value)) is None or _same(self._seen.get(name), new):
                continue
            is_other = statement is not None and base not in statement.names and name in self._seen
            self._seen[name] = new
            if not is_other:
                line = statement.first if statement else self._line
                self.assigned.append(Assigned(line, name, new))
        self._line = frame.f_lineno


def _entries(variables: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in variables.items():
        if isinstance(value, dict):
            yield from ((f"{name}[{key!r}]", one) for key, one in value.items())
        else:
            yield name, value


def _same(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return False
    if type(a) is not type(b) or not isinstance(a, np.ndarray | np.generic | float):
        return False
    return np.shape(a) == np.shape(b) and np.array_equal(
        a, b, equal_nan=np.asarray(a).dtype.kind in "fc"
    )
