"""Premises: what code was told of lengths and values, on which a proof of it stands.

Where code asks whether N > 1000, its graph is the graph of one answer. So the answer is an
assumption of the proof, unless it is the same at all lengths. Of what code has read of values
nothing can be assumed: it may do something else at others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from tinygraph.algebra.atoms import Polynomial
from tinygraph.algebra.lengths import formula_in
from tinygraph.algebra.pairs import Pair
from tinygraph.algebra.polynomials import UndecidedError
from tinygraph.algebra.settings import Setting
from tinygraph.engine.lengths import Formula
from tinygraph.graph import Graph

__all__ = ["branches", "values_read"]

OPPOSITE = {"<": ">=", ">=": "<", ">": "<=", "<=": ">", "==": "≠", "!=": "=="}
WRITTEN = {"==": "=", "!=": "≠", "*": "·"}


def branches(
    setting: Setting, names: Mapping[int, str], holds_at_one: Callable[[int], bool]
) -> list[str]:
    """Give the answers about lengths that code may have branched on: N <= 1000.

    A question that was another one at other lengths, as whether 5 rows are N, is of these lengths.
    Whether a length is 1 the engine asks too, of all that is broadcast.

    Parameters
    ----------
    setting : Setting
    names : mapping
        Of the lengths.
    holds_at_one : callable
        Whether the backward pass is right where a length is 1.
    """
    found = dict[str, None]()
    one, other = setting.pair, setting.again
    for graph, again in ((one.joint, other.joint), (one.own, other.own)):
        asked = {repr(formula) for formula, _ in again.premises}
        for formula, answer in graph.premises:
            if formula.op in OPPOSITE and formula.is_of_lengths and repr(formula) in asked:
                sign = formula.op if answer else OPPOSITE[formula.op]
                part = _asked_for_one(setting, graph, formula)
                settled = _is_settled(setting, graph, formula)
                if not (settled or (part is not None and holds_at_one(part))):
                    a, b = (_text(setting, graph, names, x) for x in formula.args)
                    found[f"{a} {WRITTEN.get(sign, sign)} {b}"] = None
    return list(found)


def values_read(pair: Pair) -> list[str]:
    """Give the names of the values, labels aside, that code has read and not only computed with."""
    found = dict[str, None]()
    for graph in (pair.joint, pair.own):
        for formula, _ in graph.premises:
            for index in _values(formula):
                node = graph.nodes[index]
                if np.dtype(node.dtype).kind not in "iu":
                    found[str(node.name or f"a result of {node.op}")] = None
    return list(found)


def _values(formula: Formula) -> Iterator[int]:
    if formula.op == "value":
        yield formula.args[0]
    elif formula.op != "length":
        for x in formula.args:
            yield from _values(x) if isinstance(x, Formula) else ()


def _asked_for_one(setting: Setting, graph: Graph, asked: Formula) -> int | None:
    """Give the length of which code asks whether it is 1: D of N · D = N, too."""
    a, b = _both(setting, graph, asked)
    difference = setting.algebra.plus(a, b, -1) if a is not None and b is not None else {}
    if asked.op not in ("==", "!=") or len(difference) != 2 or sum(difference.values()):
        return None
    one, other = ({m: 1} for m in difference)
    (quotient,) = setting.algebra.times(one, setting.algebra.power(other, -1))
    parts = [atom.data[0] for atom, e in quotient if atom.kind == "length" and abs(e) == 1]
    return parts[0] if len(parts) == len(quotient) == 1 else None


def _both(setting: Setting, graph: Graph, asked: Formula) -> tuple[Any, Any]:
    try:
        a, b = (formula_in(setting.algebra, setting.axes, graph, x) for x in asked.args)
    except UndecidedError:
        return None, None
    return a, b


def _is_settled(setting: Setting, graph: Graph, asked: Formula) -> bool:
    """Whether the answer is the same at all lengths: what is compared differs by a fixed sign."""
    a, b = _both(setting, graph, asked)
    if a is None or b is None:  # what is counted or rounded down is never negative
        return any(not isinstance(x, Formula) and x < 0 for x in asked.args)
    return _is_fixed(setting.algebra.plus(a, b, -1), asked.op)


def _is_fixed(difference: Polynomial, op: str) -> bool:
    """Whether a difference that grows with every length, or its negative, compares as at 1."""
    for sign, weak in ((1, ("<", ">=")), (-1, (">", "<="))):
        grows = all(sign * c * e > 0 for m, c in difference.items() for _, e in m)
        least = sign * sum(difference.values())
        if grows and (least > 0 or (least == 0 and op in weak)):
            return True
    return not difference


def _text(setting: Setting, graph: Graph, names: Mapping[int, str], x: Any) -> str:
    if not isinstance(x, Formula):
        return f"{x:g}" if isinstance(x, float) else str(x)
    if x.op == "length":
        parts = setting.axes.of(graph, graph.nodes[x.args[0]])[x.args[1]]
        fixed = setting.algebra.fixed
        return " · ".join(str(fixed[p]) if p in fixed else names[p] for p in parts) or "1"
    texts = [
        f"({text})" if isinstance(part, Formula) and part.op != "length" else text
        for part, text in ((part, _text(setting, graph, names, part)) for part in x.args)
    ]
    sign = WRITTEN.get(x.op, x.op)
    return f" {sign} ".join(texts) if len(texts) > 1 else f"{sign}({texts[0]})"
