"""Values: a graph in index notation, in which what is computed twice is one.

A value is a function of **labels**: ``xmu[N, D] = x[N, D] − mu[D]``. Written so, spreading,
transposing, inserting an axis and splitting one do nothing, and a mean of shape (D,) is the mean of
shape (1, D). An axis of length 1 has no label, because nothing depends on where on it one is.

Values are hash-consed on what they are: the operation, its operands, its labels, what it is summed
over, its parameters and its dtype. Two nodes that compute the same numbers are then one value, and
nothing else is merged: no value is what another equals only by arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from tinygraph.engine.primitive import Primitive
from tinygraph.graph.nodes import NOTHING, Node

__all__ = ["ARGUMENT", "CONSTANT", "Label", "Value", "Values"]

ARGUMENT, CONSTANT = "argument", "constant"


class Label(NamedTuple):
    """An axis of all values that have it.

    Attributes
    ----------
    position : int
        In the order of memory, outermost first: of two labels of an array, the one with the larger
        position counts faster.
    length : int
        Never 1.
    name : str
        ``N``, ``D``; in a text that is made from a plan, since the length is an argument there.
    """

    position: int
    length: int
    name: str


@dataclass(slots=True, eq=False)
class Value:
    """What is computed for each entry of its labels. Nobody changes one that is in a plan.

    Attributes
    ----------
    index : int
        In the order of creation; operands come before.
    op : str
        ``"argument"``; ``"constant"``, which is a number; or the name of a primitive, which is
        elementwise or one of the reductions ``sum``, ``max``, ``all``, ``any``.
    operands : tuple of Values
        An operand need not have all labels of the value: it is then the same along the others.
    labels : tuple of Labels
        In the order of memory; of an argument these are its axes, but for those of length 1.
    over : tuple of Labels
        Of a reduction: along what. Its operand need not have all of them: Σ over N of a v without
        N is v added to itself N times. A sum may have labels that its operand does not have, if
        these are inside of what it goes over: for what is spread along columns, NumPy adds up row
        by row, and not in pairs, as it does for what has no columns.
    params : mapping
        Parameters of the primitive, ``n`` of ``pow`` and ``dtype`` of ``cast``; axes and shapes are
        none. Of a constant: ``value``, the number that the engine computes with; where it came from
        a length it is another one at another length, in the same place of the plan.
    dtype : dtype or None
        None for a Python number, which takes the dtype of what it meets.
    primitive : Primitive or None
        Whose ``forward`` computes it.
    node : Node or None
        Of an argument: what is passed for it. Also an array in the traced code is an argument; its
        node is a constant, which holds it.
    name : str
        What the user calls it, or "".
    """

    index: int
    op: str
    operands: tuple[Value, ...]
    labels: tuple[Label, ...]
    dtype: np.dtype[Any] | None
    over: tuple[Label, ...] = ()
    params: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    primitive: Primitive | None = None
    node: Node | None = None
    name: str = ""

    def __repr__(self) -> str:
        labels = "".join(label.name for label in self.labels)
        over = "".join(label.name for label in self.over)
        called = self.name or f"t{self.index}"
        what = self.op if self.op != CONSTANT else repr(self.params["value"])
        operands = ", ".join(x.name or f"t{x.index}" for x in self.operands)
        return f"{called}[{labels}] = {what}{over and f'_{over}'}({operands})"


class Values:
    """The values of one region, each made once."""

    def __init__(self) -> None:
        self._known: dict[Any, Value] = {}

    def argument(self, node: Node, labels: Sequence[Label]) -> Value:
        """Give the value of what is passed for a node."""
        key = ARGUMENT, node.index
        return self._given(key, ARGUMENT, (), tuple(labels), node.dtype, node=node)

    def constant(self, value: Any, dtype: np.dtype[Any] | None, origin: Any = None) -> Value:
        """Give the value of a number.

        Numbers of different `origin` are two, whatever they are: 1/N is not the 0.25 that stands in
        the code, although it may have that value today.
        """
        key = CONSTANT, type(value), dtype, repr(value) if origin is None else origin
        return self._given(key, CONSTANT, (), (), dtype, params={"value": value})

    def apply(
        self,
        primitive: Primitive,
        operands: Iterable[Value],
        dtype: np.dtype[Any] | None,
        *,
        over: Iterable[Label] = (),
        spread: Iterable[Label] = (),
        params: Mapping[str, Any] = NOTHING,
    ) -> Value:
        """Give the value of an operation: elementwise, or a reduction `over` some labels.

        Of a reduction, `spread` are labels that its operand was spread along, which it then has.
        """
        operands, spread = tuple(operands), tuple(spread)
        along = tuple(sorted(over))
        given = tuple([(name, repr(x)) for name, x in params.items()]) if params else ()
        key = primitive.name, tuple([x.index for x in operands]), along, spread, dtype, given
        if key in self._known:
            return self._known[key]
        met = {label for x in operands for label in x.labels}
        labels = tuple(sorted(met.union(spread).difference(along)))
        rest = {"over": along, "params": params, "primitive": primitive}
        return self._given(key, primitive.name, operands, labels, dtype, **rest)

    def _given(self, key: Any, op: str, *rest: Any, **more: Any) -> Value:
        if key not in self._known:
            self._known[key] = Value(len(self._known), op, *rest, **more)
        return self._known[key]
