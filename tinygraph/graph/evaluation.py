"""Evaluation: the values of a graph's nodes, in their order, as the engine computed them.

On arrays of the lengths that were captured, or of others: then every number that was computed from
a length is computed again. What cannot be, because nobody saw where it came from, is an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from fractions import Fraction
from typing import Any

import numpy as np

from tinygraph.engine.arrays import computed
from tinygraph.engine.foreign import is_foreign
from tinygraph.engine.lengths import READ, Formula
from tinygraph.graph.nodes import Node, Premise
from tinygraph.graph.origins import GIVEN, STRUCTURAL

__all__ = ["check_premises", "evaluate", "evaluate_at", "formula_text", "number", "said"]


def evaluate(nodes: Iterable[Node], values: dict[int, Any]) -> None:
    """Add to `values`, which holds those of the inputs by index, the values of all other nodes.

    Raises
    ------
    ValueError
        If a label or an index picks an entry that is not there.
    """
    for node in nodes:
        if node.index in values:
            continue
        if node.op is None:
            values[node.index] = number(node)
        else:
            operands = [values[x.index] for x in node.inputs]
            try:
                values[node.index] = _result(node, operands, node.params)
            except IndexError as error:
                raise ValueError(f"run: {_place(node)} picks what is not there: {error}") from None


def _result(node: Node, operands: Sequence[Any], params: Mapping[str, Any]) -> Any:
    """Compute a node; of foreign arrays another one, which is nowhere made one of NumPy's."""
    op: Any = node.op
    foreign = next(filter(is_foreign, operands), None)
    if foreign is None:
        return computed(op.forward(*operands, **params))
    try:
        made = op.forward(*operands, **params)
        kind = type(foreign).__name__
        native = f"{op} makes an array of NumPy's of a {kind}, and has pulled it into memory"
    except TypeError as error:
        made, native = None, f"{op}: {error}"
    if not is_foreign(made):
        raise TypeError(f"run: {_place(node)} cannot be computed: {native}")
    return made


def _shape(value: Any) -> tuple[int, ...]:
    return getattr(value, "shape", ())


def _place(node: Node) -> str:
    return f"step {node.step}" + (f" ({node.name})" if node.name else "")


def number(constant: Node) -> Any:
    """Give a constant as the engine computed with it."""
    value, dtype = constant.value, constant.dtype
    if not isinstance(value, Fraction) or dtype is np.dtype(object):
        return value
    if dtype is not None:
        return dtype.type(value.numerator) / dtype.type(value.denominator)
    return int(value) if value.denominator == 1 else float(value)


def check_premises(
    premises: Iterable[Premise], nodes: Sequence[Node], values: Mapping[int, Any]
) -> None:
    """Refuse values and lengths of which the traced code was told something else.

    Raises
    ------
    ValueError
        If a length or a value that the code asked for, or read, is another now.
    """

    def read(index: int, axis: int | None = None) -> Any:
        return values[index] if axis is None else int(_shape(values[index])[axis])

    for formula, then in premises:
        now = formula.value(read)
        if not is_same(now, then):
            raise ValueError(
                f"run: {said(formula, then, nodes)} when the graph was captured"
                + ("" if np.ndim(now) else f", and is {now}")
                + "; what the code made of it is part of the graph, so capture it again"
                + constants_text(nodes)
            )


def is_same(now: Any, then: Any) -> bool:
    """Whether two numbers or arrays are equal, nan being equal to nan."""
    now, then = now if is_foreign(now) else np.asarray(now), np.asarray(then)
    return now.shape == then.shape and bool(np.all((now == then) | ((now != now) & (then != then))))


def said(formula: Formula, answer: Any, nodes: Sequence[Node]) -> str:
    """Say what the code was told: ``x.shape[0] > 3 was True``."""
    text = formula_text(formula, nodes)
    if formula.op == "value" and np.ndim(answer):
        return f"the traced code read {text}, which was another"
    how = "" if formula.op in (*COMPARED, "truth") else " was used as a plain number, and"
    return f"{text}{how} was {answer}"


def formula_text(x: Any, nodes: Sequence[Node]) -> str:
    """Write a formula as the code has it."""
    if not isinstance(x, Formula):
        return repr(x)
    if x.op in READ:
        node = nodes[x.args[0]]
        name = str(node.name or f"the result of {node.op} in step {node.step}")
        return name if x.op == "value" else f"{name}.shape[{x.args[1]}]"
    texts = [
        f"({text})" if isinstance(part, Formula) and part.op not in READ else text
        for part, text in ((part, formula_text(part, nodes)) for part in x.args)
    ]
    return f" {x.op} ".join(texts) if len(texts) > 1 else f"{WORDS[x.op]}({texts[0]})"


COMPARED = frozenset({"==", "!=", "<", "<=", ">", ">="})
WORDS = {"neg": "-", "abs": "abs", "sqrt": "np.sqrt", "truth": "bool"}


def constants_text(nodes: Sequence[Node]) -> str:
    """Name the constants that may have come of what the code read."""
    unknown = [_text(n) for n in nodes if n.role == "constant" and n.origin is None]
    return f" (constants that may come of it: {', '.join(unknown[:5])})" if unknown else ""


# --------------------------------------------------------------------------- at other lengths


def evaluate_at(nodes: Iterable[Node], values: dict[int, Any], outputs: Mapping[int, Node]) -> None:
    """Do the same where inputs have other lengths than they were captured with.

    Parameters
    ----------
    nodes, values
        As in `evaluate`.
    outputs : mapping
        The outputs, by the index of their upstream gradients.

    Raises
    ------
    ValueError
        If a number may stand for a length that has changed, if an entry is picked along an axis
        whose length has changed, or if lengths do not fit together as they did.
    """
    inputs = [node for node in nodes if node.index in values]
    elsewhere = _Elsewhere(values, _changed(inputs, values))
    for node in nodes:
        if node.index not in values:
            try:
                values[node.index] = elsewhere.value(node)
            except _UnfitError as error:
                raise ValueError(
                    f"run: {_place(node)} cannot be computed at other lengths than the graph was "
                    f"captured with: {error}; capture the graph again at these lengths"
                ) from None
            except IndexError as error:
                raise ValueError(f"run: {_place(node)} picks what is not there: {error}") from None
        elsewhere.check_shape(node, outputs.get(node.index))


def _changed(inputs: Iterable[Node], values: Mapping[int, Any]) -> set[int]:
    """Give the captured lengths of axes that have other lengths now."""
    pairs = [(n, m) for x in inputs for n, m in zip(x.shape, values[x.index].shape, strict=True)]
    return {n for n, m in pairs if n != m}


class _UnfitError(Exception):
    """A node cannot be computed at other lengths."""


class _Elsewhere:
    """One evaluation at other lengths; `changed` are the captured lengths that are others now."""

    def __init__(self, values: Mapping[int, Any], changed: Set[int]) -> None:
        self.values, self.changed = values, changed

    def length(self, index: int, axis: int) -> int:
        """Give the length that an axis of a node has now."""
        return int(_shape(self.values[index])[axis])

    def value(self, node: Node) -> Any:
        """Compute a node or a constant."""
        if node.op is None:
            if isinstance(node.origin, Formula):
                return node.origin.value(self.length)
            what = f"the constant {_text(node)}"
            if node.origin is None:
                raise _UnfitError(f"{what} may have been computed from a length")
            if node.origin == GIVEN and node.dtype is None and node.value in self.changed:
                raise _UnfitError(f"{what} may be the length {node.value} that has changed")
            return number(node)
        operands = [self.values[x.index] for x in node.inputs]
        params = {name: self._param(node, name) for name in node.params}
        if "key" in params:
            self._check_key(node, params)
        try:
            return _result(node, operands, params)
        except ValueError as error:
            raise _UnfitError(f"{node.op}: {error}") from None

    def _param(self, node: Node, name: str) -> Any:
        if name in STRUCTURAL:
            return node.params[name]
        origin = node.origin.get(name, node.params[name])
        if origin is None and node.params[name] is not None:
            raise _UnfitError(f"{_param_text(node, name)} may have been computed from a length")
        suspects = self.changed if node.role == "forward" else frozenset()
        return self._resolved(origin, suspects, _param_text(node, name))

    def _resolved(self, x: Any, suspects: Set[int], what: str) -> Any:
        if isinstance(x, Formula):
            return x.value(self.length)
        if isinstance(x, tuple):
            return tuple([self._resolved(part, suspects, what) for part in x])
        if isinstance(x, slice):
            ends = (x.start, x.stop, x.step)
            return slice(*[self._resolved(end, suspects, what) for end in ends])
        if type(x) is int and x in suspects:
            raise _UnfitError(f"the {x} in {what} may be the length {x} that has changed")
        return x

    def _check_key(self, node: Node, params: Mapping[str, Any]) -> None:
        """Refuse to pick entries by number along an axis that has changed: a loop may have."""
        x = node.inputs[0]
        then = node.params.get("shape", x.shape)
        now = params.get("shape", _shape(self.values[x.index]))
        key = node.origin.get("key", node.params["key"])
        for part, axis in _along(key, len(then)):
            ends = (part.start, part.stop) if isinstance(part, slice) else (part,)
            if then[axis] != now[axis] and any(type(end) is int for end in ends):
                raise _UnfitError(
                    f"{node.op} picks entries by number along axis {axis}, whose length was "
                    f"{then[axis]} and is {now[axis]}"
                )

    def check_shape(self, node: Node, output: Node | None) -> None:
        """Refuse what broadcasts otherwise: what had no or one entry along an axis, or more.

        An upstream gradient must have the shape of its output.
        """
        shape = _shape(self.values[node.index])
        if output is not None and shape != (wanted := _shape(self.values[output.index])):
            raise ValueError(
                f"run: {node.name} has shape {shape}, but {output.name} has {wanted} at these "
                "lengths; an upstream gradient has the shape of its output"
            )
        if [min(n, 2) for n in shape] != [min(n, 2) for n in node.shape]:
            raise ValueError(
                f"run: {node.name or node.op} had shape {node.shape} when the graph was captured "
                f"and would have {shape}; an axis of length 0 or 1 must stay one, since it "
                "broadcasts; capture the graph again at these lengths"
            )


def _along(key: Any, ndim: int) -> list[tuple[Any, int]]:
    """Give the parts of a key without arrays that pick along an axis, each with its axis."""
    parts = list(key) if isinstance(key, tuple) else [key]
    picking = sum(part is not None and part is not Ellipsis for part in parts)
    if not any(part is Ellipsis for part in parts):
        parts.append(Ellipsis)
    found, axis = [], 0
    for part in parts:
        if part is Ellipsis:
            axis += ndim - picking
        elif part is not None:
            found.append((part, axis))
            axis += 1
    return found


def _param_text(node: Node, name: str) -> str:
    value = repr(node.params[name])
    return f"{name}={value} of {node.op}" if "array" not in value else f"the {name} of {node.op}"


def _text(constant: Node) -> str:
    if constant.shape:
        return f"{constant.name or 'array'} of shape {constant.shape}"
    return f"{number(constant)}" + (f" ({constant.name})" if constant.name else "")
