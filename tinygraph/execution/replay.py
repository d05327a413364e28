"""Replay: a program as NumPy calls, whose temporaries stay and are written into again.

The engine computes each value into a new array and keeps it. Of a program that is known from
beginning to end, one can say when a value has been read for the last time; its memory then serves
another. The calls are the engine's own, in its order and on arrays of the same memory layout, so
that every bit is the engine's: ``xmu = subtract(x, mu, b1)``.

Layouts are not derived but seen: the program is evaluated once, on the first arrays that come, and
each of its values is laid out as it was then. Another layout of an argument asks for another
`Replay`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from tinygraph.execution.memory import Slot
from tinygraph.execution.program import Program
from tinygraph.execution.scripts import Script
from tinygraph.graph.evaluation import evaluate
from tinygraph.graph.nodes import NOTHING

__all__ = ["Replay"]


class Replay:
    """An executor that runs on every machine, and gives the bits of the engine.

    Parameters
    ----------
    program : Program
    arrays : sequence
        One per argument: what the layouts are seen on. It is called with others of the same
        dtypes, shapes and strides.
    why : str, optional
        Why it is a replay and nothing faster.
    errstates : mapping, optional
        What is said to `numpy.errstate` where a node is computed, by its index.

    Attributes
    ----------
    program : Program
    source : str
        The function that runs.

    Examples
    --------
    >>> from tinygraph import Graph, Tensor
    >>> x, w = Tensor([1.0, 2.0], name="x"), Tensor(3.0, name="w")
    >>> program = Program.of(Graph.joint(x * w), wrt=["x"])
    >>> replay = Replay(program, [x.data, w.data, np.array([1.0, 10.0])])
    >>> replay(np.array([5.0, 7.0]), np.float64(2.0), np.array([1.0, 3.0]))
    (array([10., 14.]), array([2., 6.]))
    >>> print(replay.source)
    multiply = np.multiply
    <BLANKLINE>
    def replay(places, targets, x, w, dout):
        r1, r2, = targets
        out = multiply(x, w, r1)
        dx = multiply(dout, w, r2)
        return out, dx,
    <BLANKLINE>
    """

    executor: ClassVar[str] = "replay"

    def __init__(
        self,
        program: Program,
        arrays: Sequence[Any],
        *,
        why: str = "",
        errstates: Mapping[int, Mapping[str, str]] = NOTHING,
    ) -> None:
        self.program, self.why = program, why
        values = {node.index: x for node, x in zip(program.arguments, arrays, strict=True)}
        with np.errstate(all="ignore"):  # warnings are given when it runs
            evaluate(program.nodes, values)
        script = Script(program, values, errstates)
        self.source, self._slots = script.source(), script.kept
        self._targets, self._large = script.targets, script.large
        self._small = (None,) * len(self._targets)
        scope = dict(script.scope)
        exec(compile(self.source, "<replay>", "exec"), scope)
        self._function: Callable[..., tuple[Any, ...]] = scope["replay"]
        self._kept: deque[Sequence[Any]] = deque()  # whose append and pop are atomic

    @property
    def nbytes(self) -> int:
        """How much memory is kept for a call, beside what it returns."""
        return sum(slot.nbytes for slot in self._slots)

    def __call__(self, *arrays: Any, out: Sequence[Any] | None = None) -> tuple[Any, ...]:
        """Compute the results. Any number of threads may do so at a time.

        Parameters
        ----------
        *arrays
            One per argument.
        out : sequence, optional
            Where to: one array per result, of its shape and dtype, that shares no memory with
            another nor with an argument; None where it is to be a new one.
        """
        if out is None and not self._large:
            return self._run(self._small, arrays)
        results = self._run(self._into(out or self._small), arrays)
        return results if out is None else tuple(map(_put, results, out))

    def again(self, kept: list[Any], *arrays: Any) -> tuple[Any, ...]:
        """Compute into results of an earlier call that nobody holds any more; None where new."""
        for k, slot in self._large:
            if kept[k] is None:
                kept[k] = slot.empty()
        return self._run(kept, arrays)

    def _run(self, targets: Sequence[Any], arrays: Sequence[Any]) -> tuple[Any, ...]:
        """Run the script, with memory that no other call has meanwhile."""
        try:
            places = self._kept.pop()
        except IndexError:
            places = [slot.empty() for slot in self._slots]
        try:
            return self._function(places, targets, *arrays)
        finally:
            self._kept.append(places)

    def _into(self, out: Sequence[Any]) -> list[Any]:
        """Give arrays to compute into: those that are given, and new ones that are large."""
        into = [
            x if x is not None and Slot.of(x) == slot else None
            for x, slot in zip(out, self._targets, strict=True)
        ]
        for k, slot in self._large:
            if into[k] is None:
                into[k] = slot.empty()
        return into


def _put(value: Any, out: Any) -> Any:
    if out is None or out is value:
        return value
    np.copyto(out, value)
    return out
