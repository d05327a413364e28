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
from tinygraph.checks.repairs import Edit, Scope, edits, size
from tinygraph.checks.variants import Variants, statements_at

__all__ = ["Bench", "Mended"]

MOST_NAMES, MOST_COUNTS, MOST_RUNS = 24, 4, 400

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


class Bench:
    """A statement of a backward pass, on which changes are tried.

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
    """

    def __init__(
        self,
        passes: Passes,
        variants: Variants,
        line: int,
        upstream: tuple[Mapping[str, Any], Mapping[str, Any]],
        is_right: Callable[[Any], bool] | None,
        verdict: Verdict,
        *,
        lengths: bool,
    ) -> None:
        self.passes, self.variants, self.line, self.upstream = passes, variants, line, upstream
        self.is_right, self.verdict, self.lengths = is_right, verdict, lengths
        self.tree = variants.tree()
        self.statement = statements_at(self.tree, line)[0]
        self.text, self.runs = ast.unparse(self.statement), 0

    def smallest_change(self, until: float) -> Mended | None:
        """Find the smallest change that helps.

        Parameters
        ----------
        until : float
            When to give up, by `time.perf_counter`.
        """
        variables = self._variables()
        if not variables:
            return None
        scope, names = {**self.variants.fn.__globals__, **variables}, _numbers(variables)
        if not self.lengths:
            names = names._replace(counts=[])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what some changes look like
            before = size(self.statement)
            costs = [
                # another number may be right by chance, where it is a length
                abs(size(changed) - before) + 2 * (kind == "constant")
                for kind, changed in edits(self.statement, names)
            ]
            for cost in sorted(set(costs)):
                best: Mended | None = None
                for edit, its in zip(edits(self.statement, names), costs, strict=True):
                    if self.runs > MOST_RUNS or time.perf_counter() > until:
                        return best
                    found = self._tried(edit, cost, scope) if its == cost else None
                    if found is not None and (best is None or found.rank < best.rank):
                        best = found
                    if best is not None and not best.rank[0]:
                        return best
                if best is not None:
                    return best
        return None

    def _variables(self) -> dict[str, Any]:
        """Give the variables that the statement found, the last time that it ran."""
        found: dict[str, Any] = {}

        def look(variables: dict[str, Any]) -> None:  # as they are there, and not as they will be
            found.update(copied(variables, plain))

        tree = self.variants.looking(self.variants.tree(), self.line)
        _attempt(self.passes, self.variants.compiled(tree, look=look), self.upstream[0])
        return found

    def _tried(self, edit: Edit, cost: int, scope: dict[str, Any]) -> Mended | None:
        """Try a change: on the value of the statement, where that is known, and then on all."""
        kind, changed = edit
        if self.is_right is not None and not _gives(changed, scope, self.is_right):
            return None
        text = ast.unparse(ast.fix_missing_locations(changed))
        if text == self.text:
            return None
        self.runs += 1
        function = _compiled(self.variants, self.tree, self.statement, changed)
        written = _attempt(self.passes, function, self.upstream[1])
        rest = None if written is None else self.verdict(written)
        return None if rest is None else Mended(kind, text, self.line, (rest, cost), function)


def _compiled(
    variants: Variants, tree: ast.FunctionDef, old: ast.stmt, new: ast.stmt
) -> Callable[..., Any]:
    if new is old:
        return variants.compiled(tree)
    fresh = variants.tree()
    place = statements_at(fresh, old.lineno)[0]
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


def _numbers(scope: Mapping[str, Any]) -> Scope:
    """Give the variables that hold numbers, and the entries of dictionaries that do."""
    entries: dict[str, Any] = {}
    for name, value in scope.items():
        inner = value if isinstance(value, dict) else {}
        entries |= {f"{name}[{key!r}]": x for key, x in inner.items()} or {name: value}
    names = [name for name, x in entries.items() if _is_number(x)]
    counts = [name for name in names if isinstance(entries[name], int)]
    return Scope(names[:MOST_NAMES], counts[:MOST_COUNTS])


def _is_number(x: Any) -> bool:
    if isinstance(x, np.ndarray):
        return x.dtype.kind in "biuf"
    return isinstance(x, int | float | np.number) and not isinstance(x, bool)
