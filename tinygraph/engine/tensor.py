"""`Tensor`: the node that computes.

Arithmetic on Tensors computes at once, as NumPy would, and remembers what was computed from
what. `Tensor.backward` then fills in ``.grad`` on every node of the graph; `grad` returns gradients
without storing anything, as arrays or, with ``create_graph``, as Tensors to be differentiated
again.

**The arrays of a graph cannot change under it.** What a Tensor is made from is copied, and every
array that a graph holds is read-only down to its base and handed out as a view, because a gradient
computed from a value that has changed since is silently wrong. For the same reason no tensor
becomes a plain number unasked while operations are recorded. A leaf may be given new data
(``w.data = w.data - lr * w.grad``): that makes it a new point, and differentiating a result that
was computed from the old one raises.
"""

from __future__ import annotations

import operator
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from operator import attrgetter
from typing import Any, Self, TypeVar

import numpy as np

from tinygraph.engine import alternatives, arrays, ops
from tinygraph.engine.arrays import held, locked
from tinygraph.engine.autodiff import SCALARS, is_discrete, itself, reachable, sweep
from tinygraph.engine.functions import describe
from tinygraph.engine.lengths import WEAK, Formula, measured, plain, plainly, told
from tinygraph.engine.operators import Operand
from tinygraph.engine.primitive import NO_PARAMS, Primitive
from tinygraph.engine.recording import Mode, current, entered, note_writing, refuse_to_replay

__all__ = [
    "LEAF",
    "UNRECORDED",
    "Recorded",
    "Tensor",
    "grad",
    "made",
    "peek",
    "seen_now",
]

Recorded = tuple[Primitive | None, tuple[Any, ...], Mapping[str, Any]]

LEAF: Recorded = (None, (), NO_PARAMS)
UNRECORDED: Recorded = (None, (), {})
"""What a result was computed from that was computed without recording, by which it is known."""

T = TypeVar("T", bound="Tensor")

_next_index = count().__next__
_read_data = attrgetter("_data")
_new: Any = object.__new__
_changing = threading.RLock()  # between reading a leaf's data or gradient and giving it another


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
    params : mapping
        The parameters of `op`, such as the axes of a sum; read-only.
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
        "_grad",
        "_index",
        "_recorded",
        "_version",
        "name",
        "origin",  # where `trace` saw it assigned; unset on all other tensors
    )

    _data: Any
    _grad: Any
    _index: int
    _recorded: Recorded
    _version: int
    name: str | None
    origin: Any

    def __new__(cls, data: Any, *, name: str | None = None) -> Self:
        """Make a leaf; in this method, so that no tensor can be initialized a second time."""
        return made(cls, arrays.leaf(data, _checked(name)), LEAF, name)

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
        index = _next_index()  # before the operands are read: new data of theirs is then newer
        operands = []
        for x in inputs:
            if type(x) is Tensor:
                operands.append(x._data)
            elif type(x) is float or type(x) is int:
                operands.append(x)
            elif type(x) in WEAK:
                operands.append(x.number)
            else:
                inputs = arrays.constants(inputs)
                operands = [x._data if isinstance(x, Tensor) else plain(x) for x in inputs]
                break
        here = current() if entered.get() else None
        given = params
        if params:
            given = params = arrays.settled(params)
            if here is not None and here.tracing:
                given = {key: plainly(x) for key, x in params.items()}
        try:
            value = op.forward(*operands, **given) if given else op.forward(*operands)
        except (ValueError, TypeError) as error:
            raise _explained(error, op, inputs) from None
        if not op.rules and not (here is not None and here.tracing):
            return value
        if type(value) not in SCALARS:
            value = held(value)
        out = _new(Tensor)
        out._data = value
        out._grad = out.name = None
        out._index = out._version = index
        out._recorded = op, tuple(inputs), params
        if here is not None:
            _obey(here, out, op, inputs)
        return out

    # ------------------------------------------------------------------ what it is made of

    @property
    def op(self) -> Primitive | None:  # type: ignore[override]
        """What this was computed by; None for a leaf."""
        return self._recorded[0]

    @property
    def inputs(self) -> tuple[Any, ...]:  # type: ignore[override]
        """The operands of `op`, in order: Tensors, and constants as they are."""
        inputs: tuple[Any, ...] = arrays.handed_out(self._recorded[1])
        return inputs

    @property
    def params(self) -> Mapping[str, Any]:  # type: ignore[override]
        """The parameters of `op`, such as the axes of a sum; nobody can change them."""
        params: Mapping[str, Any] = arrays.handed_out(self._recorded[2])
        return params

    @property
    def index(self) -> int:  # type: ignore[override]
        """Place in the order of creation."""
        return self._index

    @property
    def data(self) -> Any:
        """The value: a read-only array, or a NumPy scalar for shape ()."""
        if entered.get():
            told(Formula("value", (self,)), self._data)
        return arrays.shown(self._data, f"{self.name or 't'}.data")

    @data.setter
    def data(self, value: Any) -> None:
        refuse_to_replay("gives a tensor new data")
        if self.op is not None:
            raise ValueError(
                f"{self!r} was computed, and new data would contradict its inputs; "
                "make a new Tensor, or give new data to a leaf"
            )
        if isinstance(value, Tensor):
            raise TypeError(f"{describe(self)} was given a Tensor as data; pass its .data")
        value = self._fitting(arrays.leaf(value, self.name, exact=self.dtype.hasobject), "data")
        with _changing:
            # Results of the old point are recognised by their index, which is older than this
            # version. Should an interrupt come between, a result may look old, and never new.
            self._version = _next_index()
            self._data = value
            self._version = _next_index()

    @property
    def grad(self) -> Any:
        """The gradient that `backward` left here, of the shape and dtype of `data`, or None."""
        refuse_to_replay("reads a .grad")
        return arrays.shown(self._grad, f"{self.name or 't'}.grad")

    @grad.setter
    def grad(self, value: Any) -> None:
        refuse_to_replay("sets a .grad")
        if isinstance(value, Tensor):
            raise TypeError(f"{describe(self)} was given a Tensor as grad; pass its .data")
        if value is not None:
            value = arrays.leaf(value, f"d{self.name or ''}", exact=self.dtype.hasobject)
            value = self._fitting(value, "grad")
        self._grad = value

    def _fitting(self, value: Any, what: str) -> Any:
        """Check an array that is to be data or grad of this, and give it this dtype."""
        if value.shape != self.shape:
            raise ValueError(
                f"{describe(self)} was given {what} of shape {value.shape}; the shape must stay"
            )
        kinds = value.dtype.kind + self.dtype.kind
        if kinds == "cf":
            raise TypeError(
                f"{describe(self)} is real and was given complex {what}; it would be complex from "
                "here on: take the real part, or make a complex Tensor"
            )
        return held(value.astype(self.dtype)) if kinds in ("ff", "fc", "cc") else value

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis; inside `trace`, ints that remember which axis they count."""
        shape: tuple[int, ...] = self._data.shape
        if entered.get() and current().tracing:
            return measured(self, shape)  # type: ignore[return-value]
        return shape

    @property
    def extent(self) -> tuple[int, ...]:
        """Length of each axis as an int, here and everywhere."""
        extent: tuple[int, ...] = self._data.shape
        return extent

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
        told(Formula("value", (self,)), self._data)
        return self._only_entry()

    def _only_entry(self) -> Any:
        if self._data.size != 1:
            raise ValueError(f"item: {describe(self)} has {self._data.size} entries, not one")
        return self._data.item()

    def detach(self) -> Tensor:
        """Give the same value as a new leaf; inside `trace`, as a node that lets no gradient by."""
        if entered.get() and current().tracing:
            return ops.stop(self)  # type: ignore[no-any-return]
        return Tensor(self.data, name=self.name)

    def __float__(self) -> float:
        return float(self._as_number("float"))

    def __int__(self) -> int:
        return int(self._as_number("int"))

    def __complex__(self) -> complex:
        return complex(self._as_number("complex"))

    def _as_number(self, kind: str) -> Any:
        """Give the only entry where no gradient can be lost; `item` does so everywhere."""
        if current().recording and not is_discrete(self):
            raise TypeError(
                f"{self!r} cannot become a {kind} unasked, because its gradient would be lost; "
                "use .item() for a number, or .data, on purpose; to keep the gradient, np.exp(t) "
                "instead of math.exp(t), and np.stack of a list instead of array[i] = t"
            )
        return self.item()

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        """Give an array where no gradient is lost with it: of masks and indices, for one."""
        if current().recording and not is_discrete(self):
            return super().__array__(dtype, copy)
        return np.array(self.data, dtype=dtype, copy=copy)

    def __bool__(self) -> bool:
        truth = bool(self._data)
        told(Formula("truth", (Formula("value", (self,)),)), truth)
        return truth

    def __index__(self) -> int:
        return operator.index(self.data)

    def __format__(self, spec: str) -> str:
        note_writing(self)
        return format(self._only_entry(), spec) if spec else str(self)

    def __repr__(self) -> str:
        note_writing(self)
        name = f"{self.name}, " if self.name else ""
        value = f"{self._data}, " if self.shape == () else ""
        op = f", op={self.op}" if self.op else ""
        return f"Tensor({name}{value}shape={self.shape}, dtype={self.dtype}{op})"

    def __str__(self) -> str:
        note_writing(self)
        return arrays.printed(self._data, self.name)  # a message has room for `__repr__` only

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
        refuse_to_replay("calls backward()")
        data = seen_now([self])
        nodes = list(data)
        seed = held(_seed(self, dout).copy())
        gradients = sweep(nodes, [(self, seed)], read=data.__getitem__, observe=_observer())
        reached = [node for node in nodes if node._index in gradients]
        with _changing:
            found = []
            for node in reached:
                g = gradients[node._index]
                adds = node._recorded[0] is None and node._grad is not None
                found.append(held(node._grad + g if adds else g))
            # One call that runs no Python, in which no interrupt is heard: all are stored or none.
            deque(map(_set_grad, reached, found), maxlen=0)


_set_grad = vars(Tensor)["_grad"].__set__


for _name in set(dir(np.ndarray)) - set(dir(Tensor)):
    if not _name.startswith("_"):
        setattr(Tensor, _name, _attribute := alternatives.OfArray())
        _attribute.__set_name__(Tensor, _name)


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
    if not create_graph and entered.get() and current().effects is not None:
        return [ops.stop(g) for g in grad(out, inputs, dout, create_graph=True)]
    seed = _seed(out, dout)
    data, observe = seen_now([out]), _observer()
    nodes = list(data)
    if create_graph:
        given = isinstance(dout, Tensor)
        seed = dout.astype(seed.dtype) if given else Tensor(seed, name=f"d{out.name or 'out'}")
        gradients = sweep(
            nodes, [(out, seed)], wrt=inputs, read=itself, take=itself, observe=observe
        )
        seen_now([out])  # which says so if the rules read data of two points
        return [gradients[x._index] if x._index in gradients else Tensor(_zeros(x)) for x in inputs]
    gradients = sweep(nodes, [(out, seed)], wrt=inputs, read=data.__getitem__, observe=observe)
    found = [gradients[x._index] if x._index in gradients else _zeros(x) for x in inputs]
    # What passed unchanged, or as a view, is still the caller's array.
    theirs = arrays.owner(seed)
    return [held(g.copy() if arrays.owner(g) is theirs else g) for g in found]


# --------------------------------------------------------------------------- helpers


def made(
    cls: type[T], data: Any, recorded: Recorded, name: str | None = None, grad: Any = None
) -> T:
    """Put a Tensor together of what it consists of, unchecked.

    Parameters
    ----------
    cls : type
        `Tensor`, or a class of one's own that inherits from it.
    data : ndarray or NumPy scalar
        As `arrays.held` gives it.
    recorded : tuple
        Primitive, inputs and parameters; `LEAF` or `UNRECORDED`.
    name, grad : optional
    """
    out: T = _new(cls)
    out._data, out._recorded, out._grad, out.name = data, recorded, grad, name
    out._index = out._version = _next_index()
    return out


def peek(x: Tensor) -> Any:
    """Read the value for what does not come back into the graph, such as a message or a check."""
    return x._data


def _obey(mode: Mode, out: Tensor, op: Primitive, inputs: Sequence[Any]) -> None:
    if not mode.recording and mode.effects is None:
        out._recorded = UNRECORDED
    elif not mode.recording:  # what it was computed from is needed, and no gradient passes
        inner = made(Tensor, out._data, out._recorded)
        inner._index, inner._version, out._index = out._index, out._version, inner._index
        out._version = out._index
        out._recorded = ops.stop, (inner,), NO_PARAMS
    if mode.hook is not None:
        mode.hook.computed(out, op, inputs)


def _checked(name: Any) -> Any:
    if name is not None and not isinstance(name, str):
        raise TypeError(f"the name of a tensor is a string, not {name!r}")
    return name


def seen_now(outputs: Sequence[Tensor]) -> dict[Tensor, Any]:
    """Give what `outputs` were computed from, in order of creation, and the data of each.

    They are seen together: no leaf is given new data meanwhile.

    Raises
    ------
    ValueError
        If a leaf was given new data after a result was computed from it.
    """
    with _changing:
        nodes = reachable([x.settled() for x in outputs])
        return dict(zip(nodes, map(_read_data, nodes), strict=True))


def _zeros(x: Tensor) -> Any:
    zeros = np.zeros(x.shape, x.dtype)
    return arrays.exactly(zeros) if x.dtype.hasobject else zeros[()]


def _seed(out: Tensor, dout: Any) -> Any:
    """Check the upstream gradient. It is never silently ones: for BatchNorm they prove nothing."""
    if out._recorded is UNRECORDED:
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
        return arrays.exactly(1) if out.dtype.hasobject else out.dtype.type(1)
    exact = out.dtype.hasobject
    what = "the upstream gradient"
    array = dout.data if isinstance(dout, Tensor) else arrays.numbers(dout, what, exact=exact)
    if array.shape != out.shape:
        raise ValueError(
            f"backward: the upstream gradient has shape {array.shape}, but {describe(out)}; "
            "they must be equal"
        )
    if array.dtype != out.dtype and not (array.dtype.kind == "c" and out.dtype.kind != "c"):
        array = array.astype(out.dtype)
    return arrays.exactly(array) if exact else locked(array[()])


def _observer() -> Callable[[Any, Any, Any], None] | None:
    hook = current().hook
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
