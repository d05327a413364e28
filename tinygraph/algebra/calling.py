"""A forward function and the backward pass that a person wrote for it: how the two are called.

Backward passes are written in many ways: ``backward(dout, cache)`` with what the forward function
returned beside its result, ``backward(dout, x, gamma)`` by the names of parameters, the methods of
a layer that keeps its inputs, with one upstream gradient or several; they return one gradient, a
tuple, a dictionary, or gradients among other things. Here they are all called alike.

The forward function runs once, traced. What it handed out is given to the backward pass as arrays
(`Passes.plain`), which may do with them as it likes, or as it is (`Passes.traced`), so that the
user's backward pass is one graph with the forward pass and its inputs and upstream gradients.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from tinygraph.algebra.conventions import (
    Function,
    bind,
    defaulted,
    entry_name,
    equal,
    gradients_in,
    is_variadic,
    name_of,
    named_results,
)
from tinygraph.algebra.copying import (
    constant,
    copied,
    is_recorded,
    kept,
    plain,
    recorded,
    settled,
    tensor_of,
)
from tinygraph.algebra.slots import Plan
from tinygraph.algebra.watching import Assigned, Source, Watch, source_of
from tinygraph.engine.tensor import Tensor
from tinygraph.engine.tracing import trace

__all__ = ["Function", "Passes", "Written"]


@dataclass(frozen=True)
class Written:
    """What a backward pass of the user's gave, once.

    Attributes
    ----------
    gradients : dict
        By the name of the input; in the order in which they were returned.
    others : dict
        What it returned besides, by name.
    assigned : tuple of Assigned
        What its lines assigned, in their order.
    upstream : dict
        By the name of the output: the leaf, or the array, that it was given.
    printed : str
    changed : tuple of str
        The parameters whose arrays it wrote into, `dout` or `cache`.
    returned : int
        The line of the statement that it returned from; 0 where that is not known.
    result
        All that it returned.
    """

    gradients: Mapping[str, Any]
    others: Mapping[str, Any]
    assigned: tuple[Assigned, ...]
    upstream: Mapping[str, Any]
    printed: str
    changed: tuple[str, ...]
    returned: int
    result: Any


class Passes:
    """A forward pass that has run, traced, and the backward pass that goes with it.

    Parameters
    ----------
    forward, backward : callable
    args, kwargs
        Of `forward`. Arrays of floats become leaves, those in a dictionary too; all else is handed
        on as a copy, so that nothing of the caller's is changed.
    wrt : str or sequence of str, optional
        The inputs that gradients are asked of; by default all arrays of floats.
    dtype : optional
        What the leaves and the upstream gradients are converted to; None leaves them as they are.

    Attributes
    ----------
    inputs : dict
        The leaves, by name.
    outputs : dict
        The results that have an upstream gradient, by name.
    ignored : tuple of str
        Results of floats that have none.
    called : str
        How `backward` is called: ``batchnorm_backward(dout, cache)``.
    slots : list of Slot
        What each parameter of `backward` is given.
    source : Source or None
        The text of `backward`.

    Raises
    ------
    TypeError
        If one of the functions cannot be called so, or does not return what it should.
    ValueError
        If there is no array of floats among the arguments, or none is called like one of `wrt`.

    Examples
    --------
    >>> def scale_forward(x, w):
    ...     out = x * w
    ...     return out, (x, w)
    >>> def scale_backward(dout, cache):
    ...     x, w = cache
    ...     dx = dout * w
    ...     dw = np.sum(dout * x)
    ...     return dx, dw
    >>> passes = Passes(scale_forward, scale_backward, [np.ones(3), np.array(2.0)])
    >>> passes.called, list(passes.inputs), list(passes.outputs)
    ('scale_backward(dout, cache)', ['x', 'w'], ['out'])
    >>> written = passes.plain({"out": np.array([1.0, 2.0, 3.0])})
    >>> written.gradients["w"], [one.name for one in written.assigned]
    (np.float64(6.0), ['x', 'w', 'dx', 'dw'])

    The same as a graph over the same leaves:

    >>> passes.traced({"out": np.ones(3)}).gradients["x"]
    Tensor(dx, shape=(3,), dtype=float64, op=mul)
    """

    def __init__(
        self,
        forward: Function,
        backward: Function,
        args: Sequence[Any],
        kwargs: Mapping[str, Any] | None = None,
        *,
        wrt: str | Sequence[str] | None = None,
        dtype: Any = np.float64,
    ) -> None:
        for role, fn in (("forward", forward), ("backward", backward)):
            if not callable(fn):
                raise TypeError(
                    f"the {role} function is {type(fn).__name__}, and no function; "
                    "call it as in check(forward, backward, x, gamma, beta)"
                )
        self.forward, self.backward, self.dtype = forward, backward, dtype
        self.source: Source | None = source_of(backward)
        self.inputs: dict[str, Tensor] = {}
        bound = bind(forward, args, kwargs or {})
        self._leaves(bound.arguments, [wrt] if isinstance(wrt, str) else wrt)
        watch = Watch(forward, None)
        with np.errstate(all="ignore"), _quiet():
            result = trace(watch)(*bound.args, **bound.kwargs)
        variables = settled(watch.variables)
        known, results = {**variables, **defaulted(bound)}, named_results(result, variables)
        candidates = self._candidates(results)
        plan = Plan(forward, backward, known, results, candidates)
        self.slots, self.called, self._upstream = plan.slots, plan.called, plan.upstream
        self.outputs = {name: candidates[name] for name in candidates if name in plan.outputs}
        self.ignored = tuple(name for name in candidates if name not in self.outputs)

    # ------------------------------------------------------------------ what goes in

    def _leaves(self, arguments: dict[str, Any], wrt: Sequence[str] | None) -> None:
        """Make leaves of the arrays of floats, and copies of all else."""
        memo: dict[int, Any] = {}
        found: dict[str, Any] = {}

        def leaf(name: str, value: Any, among: bool) -> Any:
            value = value.data if isinstance(value, Tensor) else value
            if isinstance(value, dict) and among:
                return {
                    key: leaf(entry_name(name, key, found), x, False) for key, x in value.items()
                }
            if not (isinstance(value, np.ndarray) and value.dtype.kind in "fO"):
                if isinstance(value, np.ndarray) and value.dtype.kind == "c":
                    raise TypeError(f"{name} is complex; gradients are compared for real numbers")
                return copied(value, plain, memo)
            array = np.array(value, dtype=self.dtype)
            found[name] = None
            if wrt is not None and name not in wrt:
                return array
            self.inputs[name] = Tensor(array, name=name)
            return self.inputs[name]

        for name, value in arguments.items():
            if isinstance(value, tuple) and is_variadic(self.forward, name):
                parts = (leaf(f"{name}[{k}]", x, True) for k, x in enumerate(value))
                arguments[name] = tuple(parts)
            else:
                arguments[name] = leaf(name, value, True)
        name, there = name_of(self.forward), ", ".join(found)
        if not found:
            raise ValueError(
                f"{name}: no argument is an array of floats, so there is nothing to differentiate; "
                "pass np.array(…, dtype=float)"
            )
        if unknown := [one for one in wrt or () if one not in self.inputs]:
            raise ValueError(
                f"{name}: no array of floats is called {unknown[0]}; those given are {there}"
            )
        if not self.inputs:
            raise ValueError(f"{name}: wrt names none of {there}; name at least one")

    def _candidates(self, results: Mapping[str, Any]) -> dict[str, Tensor]:
        """Give the results that may have an upstream gradient."""
        leaves = {id(x) for x in self.inputs.values()}
        found = {
            name: x
            for name, x in results.items()
            if isinstance(x, Tensor) and x.dtype.kind in "fO" and id(x) not in leaves
        }
        if not found:
            kind = type(next(iter(results.values()), None)).__name__
            raise TypeError(
                f"{name_of(self.forward)} returned {kind} and no tensor that depends on "
                f"{', '.join(self.inputs)}; return the result, or the result and a cache"
            )
        return found

    # ------------------------------------------------------------------ running backward

    def plain(
        self, upstream: Mapping[str, Any], backward: Function | None = None, *, lines: bool = True
    ) -> Written:
        """Run the backward pass on arrays of its own, which it may write into.

        Parameters
        ----------
        upstream : mapping
            Arrays by the name of the output.
        backward : callable, optional
            A variant of the backward pass, to be called as it is; a function where it is a method.
        lines : bool, optional
            Whether to take down what the lines assign, which takes most of the time.
        """
        arrays = {k: np.array(g, self.dtype) for k, g in upstream.items()}
        ready = self._ready(plain, arrays, backward)
        before = [copied(x, plain) for x in ready.given]
        watch = Watch(ready.call, kept if lines else None, self.source, of=ready.function)
        written = self._written(watch, watch, arrays)
        now = zip(self.slots, ready.given, before, strict=True)
        changed = [slot.parameter.name for slot, x, was in now if not equal(x, was)]
        return replace(written, changed=tuple(changed))

    def traced(self, upstream: Mapping[str, Any]) -> Written:
        """Run the backward pass on the tensors of the forward pass, traced.

        Parameters
        ----------
        upstream : mapping
            Arrays by the name of the output. They become leaves, which are called as the
            parameters of the backward pass are.
        """
        leaves = {k: Tensor(g, name=self._upstream.get(k, f"d{k}")) for k, g in upstream.items()}
        tensors = {id(x): x for x in leaves.values()}

        def note(x: Any) -> Any:
            if isinstance(x, Tensor) and is_recorded(tensor := tensor_of(x), x):
                tensors[id(x)] = tensor
            return x

        self._ready(note, leaves)

        def call(*given: Any) -> Any:
            """Call it with what `trace` makes of each tensor, wherever in a cache it is."""
            find = dict(zip(tensors, given, strict=True)).get
            del given  # which would name what it holds
            ready = _unseen(
                lambda: self._ready(
                    lambda x: find(id(x), constant(x)),
                    {k: find(id(x)) for k, x in leaves.items()},
                )
            )
            return ready.call()

        watch = Watch(call, recorded, self.source, of=self.backward)
        return self._written(watch, lambda: trace(watch)(*tensors.values()), leaves)

    def _ready(
        self,
        leaf: Callable[[Any], Any],
        upstream: Mapping[str, Any],
        variant: Function | None = None,
    ) -> _Ready:
        """Prepare the call, on copies with `leaf` of every tensor."""
        memo: dict[int, Any] = {}
        backward = self.backward
        if inspect.ismethod(backward):
            backward = copied(backward, leaf, memo)
            variant = variant and variant.__get__(backward.__self__)
        positional, named = [], {}
        for slot in self.slots:
            value = upstream[slot.output] if slot.output else copied(slot.value, leaf, memo)
            if slot.parameter.kind is slot.parameter.KEYWORD_ONLY:
                named[slot.parameter.name] = value
            else:
                positional.append(value)
        return _Ready(variant or backward, positional, named)

    def _written(
        self, watch: Watch, run: Callable[[], Any], upstream: Mapping[str, Any]
    ) -> Written:
        with np.errstate(all="ignore"), _quiet() as printed:
            result = run()
        variables = settled(watch.variables)
        gradients, others = gradients_in(
            result, variables, self.inputs, self.forward, self.backward
        )
        assigned, text = tuple(watch.assigned), printed.getvalue()
        return Written(gradients, others, assigned, upstream, text, (), watch.returned, result)


class _Ready(NamedTuple):
    """A call, ready to be made."""

    function: Function
    positional: list[Any]
    named: dict[str, Any]

    @property
    def given(self) -> list[Any]:
        """Give the arguments, in the order of the parameters."""
        return [*self.positional, *self.named.values()]

    def call(self) -> Any:
        """Make it."""
        return self.function(*self.positional, **self.named)


def _unseen(make: Callable[[], Any]) -> Any:
    """Make something without being traced, so that none of its variables is a name."""
    tracer = sys.gettrace()
    sys.settrace(None)
    try:
        return make()
    finally:
        sys.settrace(tracer)


@contextlib.contextmanager
def _quiet() -> Iterator[io.StringIO]:
    """Take what is printed."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        yield printed
