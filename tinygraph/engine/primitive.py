"""`Primitive`: one row of the table of operations, from here or from a user's own file.

A row says everything there is to say of an operation, and nothing about it stands anywhere else:

- its ``name``, and its ``symbol`` for pictures;
- ``forward``, which computes it on arrays;
- one vector-Jacobian rule per input: what the gradient ``g`` that arrives at the output becomes
  on its way to that input, given ``(g, out, *inputs, **params)``;
- which NumPy function it is on tensors (``of``), and whether it is elementwise;
- how it is written as text, in LaTeX and as NumPy source.

**A rule is ordinary NumPy, and the same rule runs on three kinds of operand.** On arrays it gives
numbers; on Tensors it gives more graph, so that the backward pass can be drawn and differentiated
again; on the symbols of a snapshot it gives the gradient graph without computing anything. That is
why a rule may use operators, NumPy functions and primitives, and must not save anything on the
side: a backward pass that reads a cached array is a constant to the next differentiation, and its
second derivatives are silently wrong.

**No rule mentions broadcasting.** `autodiff` sums each gradient back to the shape of its input.

A row with no rules (a comparison, a sign) is constant almost everywhere, and no gradient flows
through it. On Tensors its result is a plain array, except inside `trace`, where it is recorded: a
mask that was computed from an input is another one at another input.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from importlib import import_module
from itertools import count
from typing import Any

__all__ = [
    "BINDINGS",
    "NO_PARAMS",
    "NUMPY",
    "TABLE",
    "JointRules",
    "Primitive",
    "Tracer",
    "VariadicRules",
    "Vertex",
]

Rule = Callable[..., Any]
Form = str | Callable[[Any], str]

NO_PARAMS: Mapping[str, Any] = {}

TABLE: dict[str, Primitive] = {}
"""All primitives by name, in the order in which they were defined."""

NUMPY: dict[Callable[..., Any], Callable[..., Any]] = {}
"""NumPy's functions, and what each is on tensors: a primitive, or a function composed of them."""

BINDINGS = ("comparison", "sum", "matmul", "sigma", "minus", "product", "power", "call")
"""How tightly a written operation holds its operands together, by what it is like."""


class Tracer:
    """What operations are recorded on and not just computed: a Tensor, a symbol of a snapshot."""

    __slots__ = ()

    extent: Any  # the length of each axis, as an int

    def record(
        self, op: Primitive, inputs: Sequence[Any], params: Mapping[str, Any] = NO_PARAMS
    ) -> Any:
        """Apply `op` to `inputs`, of which at least one is of this class."""
        raise NotImplementedError

    def settled(self) -> Tracer:
        """Give what a graph may keep of this: itself, or its value where that may change."""
        return self


class Vertex:
    """What walks over a graph read of its nodes, be they live or of a snapshot.

    A Tensor, whose arrays nobody may change, hands out its inputs and parameters as copies, and a
    leaf among them gets new data; it answers these three for itself. Others have nothing to hide.
    """

    __slots__ = ()

    op: Primitive | None
    inputs: tuple[Any, ...]
    params: Mapping[str, Any]
    index: int

    @property
    def _recorded(self) -> tuple[Primitive | None, tuple[Any, ...], Mapping[str, Any]]:
        """Give `op`, `inputs` and `params` as they are held."""
        return self.op, self.inputs, self.params

    @property
    def _index(self) -> int:
        """Give the place in the order of creation."""
        return self.index

    @property
    def _version(self) -> int:
        """Say since when, in the order of creation, this has had its value."""
        return self.index


class Primitive:
    r"""One row of the table: an operation, how gradients pass back through it, how it is written.

    Calling a primitive computes it on arrays, and records it on a `Tracer`.

    Parameters
    ----------
    name : str
        Unique; also the name that pictures and messages give to the operation.
    symbol : str
        A short mark for pictures, such as ``·``.
    forward : callable
        ``forward(*inputs, **params) -> array``.
    *rules : callable or None
        One per input, ``rule(g, out, *inputs, **params) -> gradient of that input``, where `g`
        has the shape of `out`. ``None`` marks an input that no gradient flows to. Instead of
        them, one `VariadicRules` or `JointRules`.
    of : callable or sequence of callables, optional
        The NumPy functions that this is on tensors: ``of=np.cbrt`` makes ``np.cbrt(t)`` work.
    elementwise : bool, optional
        Whether the result has the shape that the inputs broadcast to, entry by entry.
    additive : bool, optional
        Whether it is elementwise and each rule is g or −g. A gradient is then summed back to the
        shape of its input before the rule: −Σ g goes over a large array once, Σ (−g) twice.
    text, latex, mathml, numpy : str or callable, optional
        How it is written; or a function of the node that says so, where it depends on shapes.
        ``{0}``, ``{1}`` stand for the operands, ``{n}`` for the parameter `n`; ``{0:sum}`` is put
        in brackets unless it binds at least as tightly as a sum, which is one of `BINDINGS`; a
        literal brace is doubled. By default ``name(a, b)``,
        ``\operatorname{name}(a, b)``, in MathML what `text` says, and the call of the first NumPy
        function in `of`; what has neither `numpy` nor `of` cannot be written as NumPy source, which
        says so when asked.
    binds : str or mapping, optional
        How tightly what is no function call binds, one of `BINDINGS`; by language if they differ.

    Attributes
    ----------
    rules : iterable
        The rules in the order of the inputs; empty where no gradient flows at all.
    stops : bool
        Whether there is an input that no gradient flows to.
    written, binds : dict
        The templates that were given and how tightly they bind, by language.
    home : str
        The module that defined it.

    Raises
    ------
    ValueError
        If tinygraph itself has a primitive of that name, or says what a function in `of` is on
        tensors; or if `binds` is unknown. A row of one's own is replaced when it is defined again.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygraph import Tensor, derive, ops
    >>> ops.square(np.array([1.0, -3.0]))
    array([1., 9.])
    >>> (rule,) = ops.square.rules
    >>> float(rule(1.0, 9.0, np.float64(-3.0)))     # the derivative of x² at -3
    -6.0

    One of one's own, which every tool then knows:

    >>> cbrt = Primitive("cbrt", "∛", np.cbrt, lambda g, out, x: g / (3 * out * out), of=np.cbrt)
    >>> x = Tensor(27.0, name="x")
    >>> y = np.cbrt(x)
    >>> y.backward()
    >>> y.data, x.grad
    (np.float64(3.0), np.float64(0.037037037037037035))
    """

    __slots__ = (
        "additive",
        "binds",
        "elementwise",
        "forward",
        "home",
        "name",
        "of",
        "rules",
        "stops",
        "symbol",
        "written",
    )

    def __init__(
        self,
        name: str,
        symbol: str,
        forward: Callable[..., Any],
        *rules: Rule | VariadicRules | JointRules | None,
        of: Callable[..., Any] | Sequence[Callable[..., Any]] = (),
        elementwise: bool = True,
        additive: bool = False,
        text: Form | None = None,
        latex: Form | None = None,
        mathml: Form | None = None,
        numpy: Form | None = None,
        binds: str | Mapping[str, str] = "call",
    ) -> None:
        self.name, self.symbol, self.forward = name, symbol, forward
        together = len(rules) == 1 and isinstance(rules[0], VariadicRules | JointRules)
        self.rules: Iterable[Any] = rules[0] if together else rules  # type: ignore[assignment]
        self.stops = not rules or None in rules
        self.of = (of,) if callable(of) else tuple(of)
        self.elementwise, self.additive = elementwise, additive
        given = {"text": text, "latex": latex, "mathml": mathml, "numpy": numpy}
        self.written = {language: form for language, form in given.items() if form is not None}
        self.binds = dict.fromkeys(given, binds) if isinstance(binds, str) else dict(binds)
        self.home: str = sys._getframe(1).f_globals.get("__name__", "__main__")
        self._list()

    def _list(self) -> None:
        """Enter the table."""
        self._check()
        TABLE[self.name] = self
        NUMPY.update(dict.fromkeys(self.of, self))

    def _check(self) -> None:
        """Refuse what would change tinygraph's own rows."""
        for binds in self.binds.values():
            if binds not in BINDINGS:
                raise ValueError(
                    f"primitive {self.name!r}: binds is {binds!r}, but must be one of "
                    + ", ".join(BINDINGS)
                )
        present = TABLE.get(self.name)
        if present is not None and _is_ours(present.home):
            raise ValueError(
                f"primitive {self.name!r} is in the table already and belongs to tinygraph; "
                "give yours another name"
            )
        for function in self.of:
            known = NUMPY.get(function)
            home = known.home if isinstance(known, Primitive) else "tinygraph"
            if known is not None and _is_ours(home) and not _is_ours(self.home):
                raise ValueError(
                    f"primitive {self.name!r}: tinygraph says already what np.{function.__name__} "
                    f"is on tensors; leave it out of `of` and call {self.name} itself"
                )

    def __call__(self, *inputs: Any, **params: Any) -> Any:
        """Compute on arrays; record on anything that records."""
        for x in inputs:
            if isinstance(x, Tracer):
                return x.record(self, inputs, params)
        return self.forward(*inputs, **params)

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.name, self.home)


def _is_ours(home: str) -> bool:
    return home.partition(".")[0] == "tinygraph"


def _restored(name: str, home: str) -> Primitive:
    """Look a row up that a pickle names; in a new process, its module may not be loaded yet."""
    if name not in TABLE and home != "__main__":
        import_module(home)
    if name not in TABLE:
        raise ValueError(
            f"primitive {name!r} is not in the table; it was defined in {home}: define it first"
        )
    return TABLE[name]


class VariadicRules:
    """The rules of an operation that takes any number of inputs: one rule, told the position.

    Parameters
    ----------
    rule : callable
        ``rule(position, g, out, *inputs, **params)``.
    """

    def __init__(self, rule: Rule) -> None:
        self.rule = rule

    def __iter__(self) -> Iterator[Rule]:
        return (partial(self.rule, position) for position in count())


class JointRules:
    """The rules of an operation whose gradients have work in common: one call gives them all.

    Parameters
    ----------
    rule : callable
        ``rule(g, out, *inputs, **params)``, which gives a gradient for each input.
    inputs : int
        How many inputs there are.
    """

    def __init__(self, rule: Callable[..., Sequence[Any]], inputs: int) -> None:
        self.rule, self.inputs = rule, inputs

    def __iter__(self) -> Iterator[Rule]:
        given: tuple[Any, ...] = ()
        gradients: Sequence[Any] = ()

        def part(position: int, *args: Any, **params: Any) -> Any:
            nonlocal given, gradients
            if not given or not all(map(operator.is_, given, args)):
                given, gradients = args, self.rule(*args, **params)
            return gradients[position]

        return (partial(part, position) for position in range(self.inputs))
