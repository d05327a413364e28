"""Recordings: a function is run once and taken down, with what it does beside its result.

A graph is what a function computed once. It may stand for the function at other arguments where
everything that depends on them is in it, or has been said (`tinygraph.engine.effects`). The rest is
found here and refused: what was read by ``.data``, branched on or printed, and, by running the
function twice on the same arguments, what came out different, such as numbers drawn at random.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tinygraph.engine import ops
from tinygraph.engine.autodiff import DISCRETE, reachable
from tinygraph.engine.effects import Act, Effects, Errstates
from tinygraph.engine.lengths import plainly
from tinygraph.engine.recording import changed
from tinygraph.engine.sources import Sources
from tinygraph.engine.tensor import Tensor, peek
from tinygraph.engine.tracing import discrete, trace
from tinygraph.execution.layouts import NUMBERS

__all__ = ["Recording", "difference", "folded", "is_traced", "unfolded"]


def is_traced(x: Any) -> bool:
    """Whether an argument is an input of the graph: a Tensor, or an array of numbers."""
    return isinstance(x, Tensor) or (isinstance(x, np.ndarray) and x.dtype.kind in NUMBERS)


class Recording:
    """One run of a function.

    Parameters
    ----------
    function : callable
    args, kwargs
        What it is called with; arrays and Tensors among them are inputs.

    Attributes
    ----------
    result : object
        What it returned.
    arrays, tensors : list of Tensors
        A leaf for each argument that is an array, and for each that is a Tensor.
    parameters : list of Tensors
        Leaves that were there before: what the function closes over.
    constants : list of Tensors
        Leaves that it has made itself.
    effects : Effects
    errstates : dict
        What the function said by `numpy.errstate`, by the index of what was computed so.
    outputs : list of Tensors
        Those in the result, in order.
    ends : list of Tensors
        These, and what acts and checks are given.
    nodes : list of Tensors
        What all of them were computed from, in order.
    """

    def __init__(
        self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> None:
        self.effects = Effects()
        self.arrays: list[Tensor] = []
        self.tensors: list[Tensor] = []
        self._begin = Tensor(0.0).index
        seen = Errstates()
        self.errstates = seen.of
        with (
            changed(effects=self.effects, recording=True, hook=seen),
            np.errstate(all="call", call=seen.passed_over),
            _no_garbage(),
        ):
            given = [*map(self._leaf, args)]  # first: the leaves are in the order of arguments
            named = {name: self._leaf(x) for name, x in kwargs.items()}
            self.result = trace(function)(*given, **named)
        self.outputs = [x for x in unfolded(self.result) if isinstance(x, Tensor)]
        values = [x for x in _values(self) if isinstance(x, Tensor)]
        self.ends: list[Any] = [*self.outputs, *values]
        self.nodes: list[Any] = reachable(self.ends)
        self._check()
        known = {x.index for x in [*self.arrays, *self.tensors, *self.brought]}
        others = [x for x in self.nodes if x.op is None and x.index not in known]
        self.parameters = [x for x in others if x.index < self._begin]
        self.constants = [x for x in others if x.index > self._begin]

    def _leaf(self, x: Any) -> Any:
        if not is_traced(x):
            return x
        is_tensor = isinstance(x, Tensor)
        value = peek(x) if is_tensor else x
        if value.dtype.kind in DISCRETE:
            leaf = discrete(value)
        else:
            leaf = Tensor(value, name=x.name if is_tensor else None)
        (self.tensors if is_tensor else self.arrays).append(leaf)
        return leaf

    def _check(self) -> None:
        if self.effects.written:
            raise ValueError(
                f"compile: the function writes out {_called(self.effects.written[0])}, which it "
                "would do at the first call alone; return it, and write it out there"
            )
        for node in self.nodes:
            if node.op is not None and node.index < self._begin:
                raise ValueError(
                    f"compile: {_called(node)} was computed before the function was called; "
                    "pass it as an argument, or compute it inside"
                )
            op, _, params = node._recorded
            if op is ops.select or params.get("expected"):
                raise ValueError(
                    f"compile: {_called(node)} picks entries by a mask that is computed, and how "
                    "many they are would be fixed; keep all and weigh them, by np.where(mask, x, 0)"
                )

    @property
    def sources(self) -> Sources | None:
        """What ran."""
        for node in reversed(self.nodes):
            origin = getattr(node, "origin", None)
            if origin is not None and origin.sources is not None and node.index > self._begin:
                sources: Sources = origin.sources
                return sources
        return None

    @property
    def brought(self) -> list[Tensor]:
        """The leaves whose values the function brings itself."""
        return [fetch.leaf for fetch in self.effects.fetches]

    def results(self) -> set[int]:
        """Give the indices of what is a Tensor without `trace` too, and not an array."""
        found = {x.index for x in [*self.parameters, *self.tensors]}
        for node in self.nodes:
            operands = node.inputs if node.op is not None and node.op.rules else ()
            if any(isinstance(x, Tensor) and x.index in found for x in operands):
                found.add(node.index)
        return found


def _called(x: Tensor) -> str:
    return x.name or (f"the result of {x.op}" if x.op else "a tensor")


@contextlib.contextmanager
def _no_garbage() -> Iterator[None]:
    """Let nothing be collected: what is called then is no part of the function."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def folded(result: Any, values: Iterator[Any]) -> Any:
    """Give what `unfolded` took apart, with other values."""
    if isinstance(result, tuple | list):
        parts = [folded(one, values) for one in result]
        return type(result)(*parts) if hasattr(result, "_fields") else type(result)(parts)
    if isinstance(result, dict):
        return {key: folded(one, values) for key, one in result.items()}
    return next(values)


def unfolded(result: Any) -> Iterator[Any]:
    """Give what is in a result, in order: in tuples, lists and dicts."""
    if isinstance(result, tuple | list):
        for one in result:
            yield from unfolded(one)
    elif isinstance(result, dict):
        yield from unfolded(list(result.values()))
    else:
        yield result


# --------------------------------------------------------------------------- twice the same


def difference(one: Recording, other: Recording) -> str:
    """Say what differs between two recordings of one call, or "" if nothing does."""
    own, others = ({x.index: k for k, x in enumerate(r.nodes)} for r in (one, other))

    def alike(a: Any, b: Any) -> bool:
        if isinstance(a, Tensor) and isinstance(b, Tensor):
            return own.get(a.index) == others.get(b.index)
        return _is_alike(plainly(a), plainly(b))

    if len(one.nodes) != len(other.nodes):
        return "the number of operations"
    for a, b in zip(one.nodes, other.nodes, strict=True):
        (op, inputs, params), (other_op, other_inputs, other_params) = a._recorded, b._recorded
        if op is not other_op or len(inputs) != len(other_inputs):
            return f"what computes {_called(a)}"
        if op is None and not _is_alike(peek(a), peek(b)):
            return f"the value of {_called(a)}"
        if not all(map(alike, inputs, other_inputs)):
            return f"a number in what computes {_called(a)}"
        if not alike((*params.items(),), (*other_params.items(),)):
            return f"a parameter of what computes {_called(a)}"
    for what, parts in (("what it returns", _returned), ("what it does beside", _values)):
        first, second = parts(one), parts(other)
        if len(first) != len(second) or not all(map(alike, first, second)):
            return what
    return ""


def _returned(recording: Recording) -> list[Any]:
    return list(unfolded(recording.result))


def _values(recording: Recording) -> list[Any]:
    acts: list[Act] = [*recording.effects.checks, *recording.effects.acts]
    return [x for act in acts for x in act.values]


def _is_alike(a: Any, b: Any) -> bool:
    """Whether two constants are the same to the last bit."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        if a.dtype != b.dtype or a.shape != b.shape:
            return False
        if a.dtype.hasobject or a.dtype.char in "gG":  # whose bytes are not all part of it
            return all(map(_is_alike, a.flat, b.flat))
        return bool(a.tobytes() == b.tobytes())
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(_is_alike, a, b))
    if isinstance(a, slice):
        return _is_alike((a.start, a.stop, a.step), (b.start, b.stop, b.step))
    if isinstance(a, float | complex | np.generic):
        return repr(a) == repr(b)
    return bool(a == b)
