"""Which one change of a wrong line makes it right.

Each candidate is computed where the line stands, among the variables that it had when it ran, and
the first that gives the right value is tried in the whole function with another upstream gradient.
"""

from __future__ import annotations

import ast
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from tinygraph.algebra.calling import Passes, Written
from tinygraph.algebra.copying import copied, plain
from tinygraph.checks.repairs import edits
from tinygraph.checks.variants import Variants, statement_at

__all__ = ["Mended", "mend"]

MOST_NAMES = 24

Verdict = Callable[[Written], bool]


class Mended(NamedTuple):
    """A change that helps.

    Attributes
    ----------
    kind : str
    text : str
        The line as it should be.
    """

    kind: str
    text: str


def mend(
    passes: Passes,
    variants: Variants,
    line: int,
    upstream: tuple[Mapping[str, Any], Mapping[str, Any]],
    is_right: Callable[[Any], bool] | None,
    verdict: Verdict,
    *,
    until: float,
) -> Mended | None:
    """Find a change of one statement after which the backward pass is right.

    Parameters
    ----------
    passes, variants
    line : int
        Of the statement.
    upstream : two mappings
        Those for which the statement is wrong, and others for a whole run.
    is_right : callable, optional
        Whether a value is the one that the statement should give; without it, every change is
        tried in the whole function.
    verdict : callable
        Whether a whole run of the changed function is right where the original is not.
    until : float
        When to give up, by `time.perf_counter`.
    """
    tree = variants.tree()
    scope: dict[str, Any] = {}

    def look(variables: dict[str, Any]) -> None:  # as they are there, and not as they will be
        scope.update(copied(variables, plain))

    watching = variants.compiled(variants.looking(variants.tree(), line), look=look)
    if _attempt(passes, watching, upstream[0]) is None or not scope:
        return None
    statement = statement_at(tree, line)
    outside = {**variants.fn.__globals__, **scope}
    for kind, changed in edits(statement, list(_numbers(scope))[:MOST_NAMES]):
        if time.perf_counter() > until:
            return None
        if is_right is not None and not _gives(changed, outside, is_right):
            continue
        text = ast.unparse(ast.fix_missing_locations(changed))
        written = _attempt(passes, _compiled(variants, tree, statement, changed), upstream[1])
        if written is not None and verdict(written):
            return Mended(kind, text)
    return None


def _compiled(
    variants: Variants, tree: ast.FunctionDef, old: ast.stmt, new: ast.stmt
) -> Callable[..., Any]:
    if new is old:
        return variants.compiled(tree)
    fresh = variants.tree()
    place = statement_at(fresh, old.lineno)
    for part in ast.walk(new):
        ast.copy_location(part, old)
    for node in ast.walk(fresh):
        for value in vars(node).values():
            if isinstance(value, list) and place in value:
                value[value.index(place)] = new
    return variants.compiled(fresh)


def _attempt(
    passes: Passes, function: Callable[..., Any], upstream: Mapping[str, Any]
) -> Written | None:
    try:
        return passes.plain(upstream, function)
    except Exception:  # a change that does not fit, such as a transpose
        return None


def _gives(statement: ast.stmt, scope: dict[str, Any], is_right: Callable[[Any], bool]) -> bool:
    """Compute what a changed statement assigns, and ask whether it is right."""
    value: Any = getattr(statement, "value", None)
    if isinstance(statement, ast.AugAssign):
        value = ast.BinOp(ast.Name(statement.target.id, ast.Load()), statement.op, value)  # type: ignore[union-attr]
    try:
        expression = ast.fix_missing_locations(ast.Expression(value))
        with np.errstate(all="ignore"):
            return is_right(eval(compile(expression, "<change>", "eval"), scope))
    except Exception:  # a change that does not fit
        return False


def _numbers(scope: Mapping[str, Any]) -> Iterator[str]:
    """Give the variables that hold numbers, and the entries of dictionaries that do."""
    for name, value in scope.items():
        if isinstance(value, dict):
            yield from (f"{name}[{k!r}]" for k, x in value.items() if _is_number(x))
        elif _is_number(value):
            yield name


def _is_number(x: Any) -> bool:
    if isinstance(x, np.ndarray):
        return x.dtype.kind in "biuf"
    return isinstance(x, int | float | np.number) and not isinstance(x, bool)
