"""Variants of a person's function: its own source with some statement changed, as a function.

A variant runs in the globals and the closure of the original, with its defaults, under the line
numbers of its file; nothing of the original is changed.
"""

from __future__ import annotations

import ast
import copy
import inspect
from collections.abc import Callable, Iterator, Sequence
from types import FunctionType
from typing import Any

import numpy as np

from tinygraph.algebra.watching import Source

__all__ = ["Forced", "Variants", "statements_at"]

_RIGHT, _LOOK = "__right__", "__look__"


class Forced:
    """A variable that is given a value behind the line that assigned it."""

    def __init__(self, line: int, name: str, value: Any) -> None:
        self.line, self.name, self.value = line, name, value


class Variants:
    """Compiles variants of a function.

    Parameters
    ----------
    fn : callable
        A Python function, or a method.
    source : Source or None
    """

    def __init__(self, fn: Callable[..., Any], source: Source | None) -> None:
        self.fn = fn.__func__ if inspect.ismethod(fn) else fn
        self.source = source

    @property
    def possible(self) -> bool:
        """Whether the function has a source and is not inside a decorator or a partial."""
        is_plain = isinstance(self.fn, FunctionType) and not hasattr(self.fn, "__wrapped__")
        return self.source is not None and is_plain

    def tree(self) -> ast.FunctionDef:
        """Give a copy of the function's tree, to be changed."""
        if self.source is None:
            raise ValueError("a function without a source has no variants")
        tree = copy.deepcopy(self.source.tree)
        tree.decorator_list, tree.returns = [], None
        for one in ast.walk(tree.args):
            if isinstance(one, ast.arg):
                one.annotation = None
        nothing = ast.Constant(None)
        tree.args.defaults = [nothing] * len(tree.args.defaults)
        tree.args.kw_defaults = [one and nothing for one in tree.args.kw_defaults]
        return ast.fix_missing_locations(tree)

    def can_change(self, line: int) -> bool:
        """Whether a line is a statement that computes something."""
        kinds = (ast.Assign, ast.AugAssign, ast.Return)
        return self._is(line, kinds)

    def targets(self, line: int) -> list[str]:
        """Give the variables that a line assigns, as they are written there."""
        if self.source is None or line not in self.source.statements:
            return []
        node: Any = self.source.statements[line].node
        return [
            ast.unparse(one)
            for one in getattr(node, "targets", [getattr(node, "target", [])])
            if one
        ]

    def _is(self, line: int, kinds: tuple[type, ...]) -> bool:
        statement = self.source and self.source.statements.get(line)
        is_alone = self.source is not None and len(statements_at(self.source.tree, line)) == 1
        return is_alone and isinstance(statement and statement.node, kinds)

    def can_force(self, line: int) -> bool:
        """Whether a statement runs once at most, and in it nothing but an assignment."""
        if self.source is None or line not in self.source.statements:
            return False
        loops = (ast.For, ast.While, ast.AsyncFor)
        inside = [
            node.lineno <= line <= (node.end_lineno or 0)
            for node in ast.walk(self.source.tree)
            if isinstance(node, loops)
        ]
        kinds = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Expr)
        return not any(inside) and self._is(line, kinds)

    def forced(self, forced: Sequence[Forced]) -> ast.FunctionDef:
        """Give a tree in which variables are given values."""
        tree = self.tree()
        for k, one in enumerate(forced):
            _insert(tree, one.line, f"{one.name} = {_RIGHT}[{k}].copy()", after=True)
        return tree

    def looking(self, tree: ast.FunctionDef, line: int) -> ast.FunctionDef:
        """Add to a tree a call, before a line, of what `compiled` is given as `look`."""
        _insert(tree, line, f"{_LOOK}(locals())", after=False)
        return tree

    def compiled(
        self,
        tree: ast.FunctionDef,
        forced: Sequence[Forced] = (),
        look: Callable[[dict[str, Any]], None] | None = None,
    ) -> Callable[..., Any]:
        """Make a function of a tree, every node of which has its line.

        Raises
        ------
        SyntaxError
            If the tree is none of a function that could stand there.
        """
        fn = self.fn
        free = fn.__code__.co_freevars
        text = f"def outer({', '.join([*free, _RIGHT, _LOOK])}):\n    return {tree.name}"
        outer = ast.parse(text)
        outer.body[0].body.insert(0, tree)  # type: ignore[attr-defined]
        space: dict[str, Any] = {}
        exec(compile(outer, fn.__code__.co_filename, "exec"), fn.__globals__, space)
        cells = [_content(cell) for cell in fn.__closure__ or ()]
        made: Any = space["outer"](*cells, [np.asarray(one.value) for one in forced], look)
        made.__defaults__, made.__kwdefaults__ = fn.__defaults__, fn.__kwdefaults__
        return made  # type: ignore[no-any-return]


def statements_at(tree: ast.AST, line: int) -> list[Any]:
    """Find the statements of one piece that begin on a line."""
    nodes = (node for block in blocks(tree) for node in block)
    return [node for node in nodes if node.lineno == line and not hasattr(node, "body")]


def _insert(tree: ast.AST, line: int, text: str, *, after: bool) -> None:
    """Put a statement behind or before those that begin on a line, and on that same line."""
    old = statements_at(tree, line)[-1 if after else 0]
    new = ast.parse(text).body[0]
    for part in ast.walk(new):
        if hasattr(part, "lineno"):
            ast.copy_location(part, old)
            part.end_lineno = old.lineno  # type: ignore[attr-defined]
    for block in blocks(tree):
        if old in block:
            block.insert(block.index(old) + after, new)
            return


def blocks(tree: ast.AST) -> Iterator[list[Any]]:
    """Give every list of statements."""
    for node in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            block = getattr(node, field, None)
            if isinstance(block, list) and block:
                yield block


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not yet bound
        return None
