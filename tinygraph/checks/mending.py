"""Which one change of a wrong line makes it right.

Each candidate is computed where the line stands, among the variables that it had when it ran, and
the first that gives the right value is tried in the whole function with another upstream gradient.
"""

from __future__ import annotations

import ast
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from tinygraph.algebra.calling import Passes, Written
from tinygraph.algebra.copying import copied, plain
from tinygraph.checks.repairs import Scope, edits, size
from tinygraph.checks.variants import Variants, statement_at

__all__ = ["Mended", "mend"]

MOST_NAMES, MOST_COUNTS = 24, 4

Verdict = Callable[[Written], bool | None]


class Mended(NamedTuple):
    """A change that helps.

    Attributes
    ----------
    kind : str
    text : str
        The line as it should be.
    line : int
    rank : tuple
        Less is better: whether something is wrong still, and how large the change is.
    function : callable
        The backward pass with that line.
    """

    kind: str
    text: str
    line: int
    rank: tuple[bool, int]
    function: Callable[..., Any]


def mend(
    passes: Passes,
    variants: Variants,
    line: int,
    upstream: tuple[Mapping[str, Any], Mapping[str, Any]],
    is_right: Callable[[Any], bool] | None,
    verdict: Verdict,
    *,
    lengths: bool,
    until: float,
) -> Mended | None:
    """Find the smallest change of one statement after which the backward pass is right.

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
        Of a whole run of the changed function: whether anything is wrong still, or None if it is
        no better than the original.
    lengths : bool
        Whether a length may be missing, as the N of a mean.
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
    outside, others = {**variants.fn.__globals__, **scope}, _numbers(scope, lengths)
    before, original = size(statement), ast.unparse(statement)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what some changes look like
        costs = [
            # another number may be right by chance, where it is a length
            abs(size(changed) - before) + 2 * (kind == "constant")
            for kind, changed in edits(statement, others)
        ]
        for cost in sorted(set(costs)):
            best = None
            for (kind, changed), its in zip(edits(statement, others), costs, strict=True):
                if time.perf_counter() > until:
                    return best
                if its != cost or (is_right and not _gives(changed, outside, is_right)):
                    continue
                text = ast.unparse(ast.fix_missing_locations(changed))
                if text == original:
                    continue
                function = _compiled(variants, tree, statement, changed)
                written = _attempt(passes, function, upstream[1])
                rest = None if written is None else verdict(written)
                if rest is not None and (best is None or (rest, cost) < best.rank):
                    best = Mended(kind, text, line, (rest, cost), function)
                if best is not None and not best.rank[0]:
                    return best
            if best is not None:
                return best
    return None


def _compiled(
    variants: Variants, tree: ast.FunctionDef, old: ast.stmt, new: ast.stmt
) -> Callable[..., Any]:
    if new is old:
        return variants.compiled(tree)
    fresh = variants.tree()
    place = statement_at(fresh, old.lineno)
    for part in ast.walk(ast.copy_location(new, old)):
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
        return passes.plain(upstream, function, lines=False)
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


def _numbers(scope: Mapping[str, Any], lengths: bool) -> Scope:
    """Give the variables that hold numbers, and the entries of dictionaries that do."""
    entries: dict[str, Any] = {}
    for name, value in scope.items():
        inner = value if isinstance(value, dict) else {}
        entries |= {f"{name}[{key!r}]": x for key, x in inner.items()} or {name: value}
    names = [name for name, x in entries.items() if _is_number(x)]
    counts = [name for name in names if isinstance(entries[name], int)]
    return Scope(names[:MOST_NAMES], counts[: MOST_COUNTS * lengths])


def _is_number(x: Any) -> bool:
    if isinstance(x, np.ndarray):
        return x.dtype.kind in "biuf"
    return isinstance(x, int | float | np.number) and not isinstance(x, bool)
