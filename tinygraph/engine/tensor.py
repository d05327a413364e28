"""`Tensor`: the node that computes.

Arithmetic on Tensors computes at once, as NumPy would, and remembers what was computed from
what. `Tensor.backward` then fills in ``.grad`` on every node of the graph; `grad` returns gradients
without storing anything, as arrays or, with ``create_graph``, as Tensors to be differentiated
again.

**The arrays of a graph cannot change under it.** What a Tensor is made from is copied, and every
array that a graph holds is read-only, because a gradient computed from a value that has changed
since is silently wrong. A leaf may be given new data (``w.data = w.data - lr * w.grad``): that
makes it a new point, and differentiating a result that was computed from the old one raises.
"""

from __future__ import annotations

import operator
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from itertools import count, repeat
from operator import attrgetter
from typing import Any

import numpy as np

from tinygraph.engine import arrays as values
from tinygraph.engine.arrays import locked
from tinygraph.engine.autodiff import SCALARS, is_discrete, reachable, sweep
from tinygraph.engine.functions import describe
from tinygraph.engine.lengths import WEAK, measured, plain
from tinygraph.engine.operators import Operand
from tinygraph.engine.primitive import NO_PARAMS, Primitive
from tinygraph.engine.recording import mode

__all__ = ["Tensor", "grad"]

UNRECORDED: Mapping[str, Any] = {}
"""The parameters of a result that was computed without recording, by which it is known."""

_next_index = count().__next__
_read_data = attrgetter("_data")
_new = object.__new__
_storing = threading.RLock()  # between reading a leaf's gradient and adding to it


class Tensor(Operand):
    """An array that remembers how it was computed.

    Parameters
    ----------
    data : array_like
        Numbers of any shape; a scalar is a tensor of shape (). The array is copied. float16, 32
        and 64, longdouble, complex and object (`fractions.Fraction`) keep their dtype; ints and
        bools become float64.
    name : str, optional
        What pictures, equations and messages call it.

    Attributes
    ----------
    data : ndarray or NumPy scalar
        The value, read-only. Only a leaf may be given new data.
    grad : ndarray, NumPy scalar or None
        The gradient that `backward` left here, of the shape and dtype of `data`; None before.
    name : str or None
    op : Primitive or None
        What it was computed by; None for a leaf.
    inputs : tuple
        The operands of `op`, in order: Tensors, and constants as they are.
    params : dict
        The parameters of `op`, such as the axes of a sum.
    index : int
        Place in the order of creation.

    Raises
    ------
    TypeError
        If `data` is not numbers.
    ValueError
        If `data` is a ragged list.

    Examples
    --------
    >>> a = Tensor(-4.0, name="a")
    >>> b = Tensor(2.0, name="b")
    >>> c = a * b + b**3
    >>> c.data
    np.float64(0.0)
    >>> c.backward()
    >>> a.grad, b.grad
    (np.float64(2.0), np.float64(8.0))
    """

    __slots__ = (
        "__weakref__",
        "_data",
        "grad",
        "index",
        "inputs",
        "name",
        "op",
        "origin",  # where `trace` saw it assigned; unset on all other tensors
        "params",
    )

    def __init__(self, data: Any, *, name: str | None = None) -> None:
        if name is not None and not isinstance(name, str):
            raise TypeError(f"the name of a tensor is a string, not {name!r}")
        self._data = values.leaf(data, name)
        self.grad: Any = None
        self.name = name
        self.op = None
        self.inputs: tuple[Any, ...] = ()
        self.params: Mapping[str, Any] = NO_PARAMS
        self.index = _next_index()

    origin: Any

    def record(
        self, op: Primitive, inputs: Sequence[Any], params: Mapping[str, Any] = NO_PARAMS
    ) -> Any:
        """Apply a primitive to Tensors and constants.

        Parameters
        ----------
        op : Primitive
        inputs : sequence
            Tensors, arrays and scalars, in the order of the operands.
        params : mapping

        Returns
        -------
        Tensor
            The result, connected to its inputs; or a plain array, if no gradient flows through
            `op`, except inside `trace`, where a mask is part of the graph as well.

        Raises
        ------
        ValueError
            If the shapes do not broadcast.
        TypeError
            If an operand is not numbers.
        """
        operands = []
        for x in inputs:
            if type(x) is Tensor:
                operands.append(x._data)
            elif type(x) is float or type(x) is int:
                operands.append(x)
            elif type(x) in WEAK:
                operands.append(x.number)
            else:
                inputs = values.constants(inputs)
                operands = [x._data if isinstance(x, Tensor) else plain(x) for x in inputs]
                break
        try:
            value = op.forward(*operands, **params)
        except (ValueError, TypeError) as error:
            raise _explained(error, op, inputs) from None
        here = mode.get()
        if not op.rules and not here.tracing:
            return value
        if type(value) is np.ndarray:
            value.setflags(write=False)
        elif type(value) not in SCALARS:
            value = locked(value)
        out = _new(Tensor)
        out._data = value
        out.grad = out.name = None
        if here.recording:
            out.op, out.inputs, out.params = op, tuple(inputs), params or NO_PARAMS
        else:
            out.op, out.inputs, out.params = None, (), UNRECORDED
        out.index = _next_index()
        if here.hook is not None:
            here.hook.computed(out, op, inputs)
        return out

    # ------------------------------------------------------------------ the value

    @property
    def data(self) -> Any:
        """The value: a read-only array, or a NumPy scalar for shape ()."""
        return self._data

    @data.setter
    def data(self, value: Any) -> None:
        if self.op is not None:
            raise ValueError(
                f"{self!r} was computed, and new data would contradict its inputs; "
                "make a new Tensor, or give new data to a leaf"
            )
        if isinstance(value, Tensor):
            raise TypeError(f"{describe(self)} was given a Tensor as data; pass its .data")
        value = values.leaf(value, self.name)
        if value.shape != self.shape:
            raise ValueError(
                f"{describe(self)} was given data of shape {value.shape}; the shape must stay"
            )
        if value.dtype.kind == self.dtype.kind == "f":
            value = locked(value.astype(self.dtype))
        self._data = value
        # A new point is a later node: results of the old point are recognised by their index.
        self.index = _next_index()

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis; inside `trace`, ints that remember which axis they count."""
        shape: tuple[int, ...] = self._data.shape
        return measured(self, shape) if mode.get().tracing else shape  # type: ignore[return-value]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type of the entries."""
        dtype: np.dtype[Any] = self._data.dtype
        return dtype

    def item(self) -> Any:
        """Give the only entry as a Python number.

        Raises
        ------
        ValueError
            If there is not exactly one entry.
        """
        if self._data.size != 1:
            raise ValueError(f"item: {describe(self)} has {self._data.size} entries, not one")
        return self._data.item()

    def detach(self) -> Tensor:
        """Give the same value as a new leaf, through which no gradient flows back."""
        return Tensor(self._data, name=self.name)

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __bool__(self) -> bool:
        return bool(self._data)

    def __index__(self) -> int:
        return operator.index(self._data)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        """Give masks and indices as arrays: no gradient is lost with them."""
        return np.array(self._data, dtype) if is_discrete(self) else super().__array__(dtype, copy)

    def __getattr__(self, name: str) -> Any:
        """Give a mask or an index what its array has and a tensor has not."""
        if name.startswith("_") or not is_discrete(self):
            raise AttributeError(f"a Tensor has no attribute {name!r}", name=name, obj=self)
        return getattr(self._data, name)

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else str(self)

    def __repr__(self) -> str:
        name = f"{self.name}, " if self.name else ""
        value = f"{self._data}, " if self.shape == () else ""
        op = f", op={self.op}" if self.op else ""
        return f"Tensor({name}{value}shape={self.shape}, dtype={self.dtype}{op})"

    # ------------------------------------------------------------------ differentiation

    def backward(self, dout: Any = None) -> None:
        """Differentiate with respect to everything that this was computed from.

        Writes ``.grad`` on every node of the graph. Leaves accumulate over calls, so that several
        losses may share parameters; intermediate nodes are overwritten. ``t.grad = None`` clears.

        Parameters
        ----------
        dout : array_like, optional
            Upstream gradient, of the shape of this tensor. Only a scalar may go without, which is
            differentiated as it is.

        Raises
        ------
        ValueError
            If the upstream gradient is missing or of another shape.

        Examples
        --------
        >>> x = Tensor([1.0, 2.0], name="x")
        >>> y = x * x
        >>> y.backward([10.0, 1.0])
        >>> x.grad
        array([20.,  4.])
        """
        nodes = reachable([self])
        seed = locked(_seed(self, dout).copy())
        gradients = sweep(nodes, [(self, seed)], read=_read_data, observe=_observer())
        reached = [node for node in nodes if node.index in gradients]
        with _storing:
            found = []
            for node in reached:
                g = gradients[node.index]
                adds = node.op is None and node.grad is not None
                found.append(locked(node.grad + g if adds else g))
            # One call that runs no Python, in which no interrupt is heard: all are stored or none.
            deque(map(setattr, reached, repeat("grad"), found), maxlen=0)


def grad(
    out: Tensor,
    inputs: Sequence[Tensor],
    dout: Any = None,
    *,
    create_graph: bool = False,
) -> list[Any]:
    """Gradients of `out` with respect to `inputs`; nothing is stored on any tensor.

    Parameters
    ----------
    out : Tensor
        What is differentiated.
    inputs : sequence of Tensors
        With respect to what: leaves or intermediate results.
    dout : array_like or Tensor, optional
        Upstream gradient, of the shape of `out`. Only a scalar may go without.
    create_graph : bool
        Whether the backward pass is recorded as a graph, so that its results can be drawn and
        differentiated again.

    Returns
    -------
    list
        One gradient per input, in the order of `inputs` and of their shapes: arrays, or Tensors
        with `create_graph`. Zeros where `out` does not depend on an input.

    Raises
    ------
    TypeError
        If `out` or an input is not a Tensor.
    ValueError
        If the upstream gradient is missing or of another shape.

    Examples
    --------
    The first and second derivative of x³ at 2:

    >>> x = Tensor(2.0)
    >>> (dx,) = grad(x**3, [x], create_graph=True)
    >>> dx.data, grad(dx, [x])
    (np.float64(12.0), [np.float64(12.0)])
    """
    if not isinstance(out, Tensor):
        raise TypeError(f"grad: out must be a Tensor, not {type(out).__name__}")
    if isinstance(inputs, Tensor):
        raise TypeError("grad: inputs must be a list of Tensors; write grad(out, [x])")
    inputs = list(inputs)
    for x in inputs:
        if not isinstance(x, Tensor):
            raise TypeError(f"grad: inputs must be Tensors, but one is {type(x).__name__}")
    seed = _seed(out, dout)
    nodes, observe = reachable([out]), _observer()
    if create_graph:
        given = isinstance(dout, Tensor)
        seed = dout.astype(seed.dtype) if given else Tensor(seed, name=f"d{out.name or 'out'}")
        gradients = sweep(nodes, [(out, seed)], wrt=inputs, read=lambda node: node, observe=observe)
        return [gradients[x.index] if x.index in gradients else Tensor(_zeros(x)) for x in inputs]
    gradients = sweep(nodes, [(out, seed)], wrt=inputs, read=_read_data, observe=observe)
    found = [gradients[x.index] if x.index in gradients else _zeros(x) for x in inputs]
    # What passed unchanged, or as a view, is still the caller's array.
    theirs = _owner(seed)
    return [locked(g.copy() if _owner(g) is theirs else g) for g in found]


# --------------------------------------------------------------------------- helpers


def _owner(array: Any) -> Any:
    return array if array.base is None else array.base


def _zeros(x: Tensor) -> Any:
    return np.zeros(x.shape, x.dtype)[()]


def _seed(out: Tensor, dout: Any) -> Any:
    """Check the upstream gradient. It is never silently ones: for BatchNorm they prove nothing."""
    if out.params is UNRECORDED:
        raise ValueError(
            f"backward: {describe(out)} was computed under no_grad, so nothing was recorded to "
            "differentiate; compute it outside, or use .detach() for a constant"
        )
    if is_discrete(out):
        raise ValueError(
            f"backward: {describe(out)} is of {out.dtype}: no gradient flows through what is "
            "discrete"
        )
    if dout is None:
        if out.shape != ():
            raise ValueError(
                f"backward: {describe(out)} is not a scalar and needs an upstream gradient: "
                f"pass dout, an array of shape {out.shape}"
            )
        return locked(_exactly(np.ones((), out.dtype))[()])
    array = dout.data if isinstance(dout, Tensor) else values.numbers(dout, "the upstream gradient")
    if array.shape != out.shape:
        raise ValueError(
            f"backward: the upstream gradient has shape {array.shape}, but {describe(out)}; "
            "they must be equal"
        )
    if array.dtype != out.dtype and not (array.dtype.kind == "c" and out.dtype.kind != "c"):
        array = array.astype(out.dtype)
    return locked(_exactly(array)[()])


def _exactly(array: Any) -> Any:
    """Make fractions of integers, whose quotients would be floats."""
    return np.array(_fractions(array), dtype=object) if array.dtype.hasobject else array


_fractions = np.frompyfunc(lambda x: Fraction(x) if isinstance(x, int) else x, 1, 1)


def _observer() -> Callable[[Any, Any, Any], None] | None:
    hook = mode.get().hook
    return None if hook is None else hook.observer()


def _explained(error: Exception, op: Primitive, inputs: Sequence[Any]) -> Exception:
    """Say which operands an operation failed on."""
    text = str(error)
    if text.startswith(op.name):
        return error
    operands = " and ".join(describe(x) for x in inputs)
    if "broadcast" in text:
        text = (
            "their shapes do not broadcast: each pair of lengths, counted from the last axis, "
            "must be equal or hold a 1"
        )
    return type(error)(f"{op.name}: {operands}: {text}")
