"""`compile`: a function that is called as it was, and runs without the engine.

What was passed has a key: dtypes, shapes and places in memory of arrays, the values of numbers. For
each key there is a form (`tinygraph.execution.forms`), and for each form an executor. At a call the
key is not even made as long as the arguments are as they were at the last: a function that was
written for them says so in less than a microsecond.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import update_wrapper
from threading import RLock
from types import MethodType
from typing import Any

from tinygraph.engine.recording import current, entered
from tinygraph.execution.forms import Form, Quick
from tinygraph.execution.kernels import Kernel
from tinygraph.execution.layouts import remember
from tinygraph.execution.plan import Plan
from tinygraph.execution.program import Executor, Program, Unsupported
from tinygraph.execution.replay import Replay
from tinygraph.execution.subjects import OfFunction, OfGraph
from tinygraph.execution.targets import check_apart
from tinygraph.execution.training import Steps
from tinygraph.graph.nodes import NOTHING
from tinygraph.graph.snapshot import Graph

__all__ = ["Compiled", "compile"]

MODES = ("auto", "replay", "strict", "fast")
NOTHING_YET = "nothing has run yet: call it, and this describes that call"


class Compiled:
    """A function, or a snapshot, that runs without the engine; made by `compile`.

    Any number of threads may call it at a time. What it gives is new at each call and belongs to
    the caller, who may write into it; what it is given is never written into.

    Attributes
    ----------
    plan : Plan or str
        How few sweeps over its arrays the last call takes, or why nobody knows; ``print(f.plan)``.
    source : str
        What ran at the last call: NumPy or C, in the names of the function.
    executor : str
        ``replay``, ``strict`` or ``fast``.
    why : str
        Why that is not the one that was asked for, or "".

    Examples
    --------
    >>> import numpy as np
    >>> import tinygraph
    >>> def normalize(x):
    ...     norm = np.sqrt(np.sum(x * x))
    ...     return x / norm
    >>> f = tinygraph.compile(normalize)
    >>> f(np.array([3.0, 4.0]))
    array([0.6, 0.8])
    >>> print(f.source[f.source.index("def") :])
    def replay(places, targets, x):
        b1, = places
        r1, = targets
        t1 = multiply(x, x, b1)
        t2 = add_reduce(t1, 0)
        norm = sqrt(t2)
        out = divide(x, norm, r1)
        return out,
    <BLANKLINE>
    """

    def __init__(
        self, function: Callable[..., Any] | Graph, mode: str, wrt: Sequence[str] | None
    ) -> None:
        self._mode, self._wrt = mode, wrt
        self._subject: OfFunction | OfGraph
        self._steps: Steps | None = None
        if isinstance(function, Graph):
            self._subject = OfGraph(function)
        else:
            update_wrapper(self, function, updated=())
            self._subject = OfFunction(function)
            self._steps = Steps(function, self._executor_of)
        self._forms: dict[Any, Form | None] = {}
        self._quick: dict[bool, Quick | None] = {False: None, True: None}
        self._last: Any = None  # what ran last, with its executor
        self._lock = RLock()
        self._is_of_tensors = False  # whether it was so when it was last recorded

    def __call__(self, *args: Any, out: Any = None, **kwargs: Any) -> Any:
        """Call the function.

        Parameters
        ----------
        *args, **kwargs
            As the function takes them. Arrays are inputs. Of numbers, and of all that is no array,
            each value is a form of its own.
        out : ndarray, or tuple of such, optional
            Where the result is written to, of its shape and dtype; it may be an argument.

        Returns
        -------
        ndarray, or what the function returns of such
            New, unless `out` is given. Where the function closes over Tensors, or is given some,
            they are Tensors, with ``.backward()``.

        Raises
        ------
        ValueError
            If the function does what a program would not do again: reads values, branches on them,
            writes them out, draws at random or changes what it reads, without saying so; or if
            `out` is of another shape, read-only, or shares memory with another `out`.
        TypeError
            If an argument's content may change and it is no array; or if `out` is no array, or of
            another dtype.
        """
        if self._is_of_tensors:
            return self._stepped(args, kwargs, out)
        return self._called(False, args, kwargs, None, out)

    def vjp(self, *args: Any, dout: Any = None, out: Any = None, **kwargs: Any) -> Any:
        """Call the function, and carry an upstream gradient back to its arguments.

        Parameters
        ----------
        *args, **kwargs
            As the function takes them.
        dout : array_like, or tuple of such, optional
            The upstream gradient, of the shape of the result; one for each, where it is several.
            A scalar alone may go without.
        out : pair, optional
            Where to, as it is returned: ``(out, {"x": dx})``; either, and any of the gradients, may
            be None.

        Returns
        -------
        result
            As the function returns it.
        gradients : dict
            By the name of the argument: with respect to all arrays of floats, or to `wrt`.

        Raises
        ------
        ValueError
            If an upstream gradient is missing or of another shape; if the function closes over
            Tensors, whose gradients come by ``f(x).backward()``; and as by a call.
        TypeError
            If `out` is no pair; and as by a call.

        Examples
        --------
        >>> import numpy as np
        >>> import tinygraph
        >>> f = tinygraph.compile(lambda x, w: np.sum(x * w))
        >>> out, grads = f.vjp(np.array([1.0, 2.0]), np.array([3.0, 5.0]))
        >>> out, grads["w"]
        (np.float64(13.0), array([1., 2.]))
        """
        return self._called(True, args, kwargs, dout, out)

    def __get__(self, owner: Any, kind: type | None = None) -> Any:
        """Take the place of a method: the object that it is called on comes first."""
        return self if owner is None else MethodType(self, owner)

    def __reduce__(self) -> Any:
        raise TypeError(
            f"compile: {self!r} holds memory and compiled code, and cannot be copied or pickled; "
            "copy the function, and compile the copy"
        )

    # ------------------------------------------------------------------ the last call

    @property
    def executor(self) -> str:
        """What the last call ran on: ``replay``, ``strict`` or ``fast``."""
        return NOTHING_YET if self._last is None else str(self._last.executor.executor)

    @property
    def source(self) -> str:
        """What ran at the last call, as text."""
        return NOTHING_YET if self._last is None else str(self._last.executor.source)

    @property
    def why(self) -> str:
        """Why it is not the executor that was asked for, or ""."""
        return NOTHING_YET if self._last is None else str(self._last.executor.why)

    @property
    def plan(self) -> Any:
        """How few sweeps over its arrays the last call takes, or why nobody knows."""
        if self._last is None:
            return NOTHING_YET
        executor = self._last.executor
        if isinstance(executor, Kernel):
            return executor.plan
        try:
            return Plan.of(executor.program, fast=self._mode != "strict")
        except Unsupported as reason:
            return f"no plan: {reason}"

    def __repr__(self) -> str:
        return f"Compiled({self._subject}, mode={self._mode!r})"

    # ------------------------------------------------------------------ forms

    def _called(
        self, backward: bool, args: Sequence[Any], kwargs: Mapping[str, Any], dout: Any, out: Any
    ) -> Any:
        """Call the executor that was called last, if the arguments are as they were then."""
        quick = self._quick[backward]
        if quick is not None and out is None and not entered.get():
            given = quick.fit(args, kwargs, dout)
            if given is not None and quick.is_current():
                self._last = quick
                return quick.packed(*quick.executor(*given))
        found = self._found(backward, args, kwargs)
        if found is None and not backward:
            return self._stepped(args, kwargs, out)
        if found is None:
            raise ValueError(
                "vjp: there are Tensors among what the function is given or closes over, or it "
                "draws or holds state: call it, and what it returns has .backward()"
            )
        form, arrays = found
        result = form.call(arrays, dout, out)
        self._last, self._quick[backward] = form, form.quick(args, kwargs, arrays, dout)
        return result

    def _found(
        self, backward: bool, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[Form, Sequence[Any]] | None:
        """Give the form for some arguments, which may be a new one; None if Tensors are in it."""
        if entered.get() and current().is_watched:
            return None
        if (arranged := self._subject.arranged(args, kwargs)) is None:
            return None
        key, arrays = (backward, arranged.key), arranged.arrays
        with self._lock:
            form = self._forms.get(key)
            if key not in self._forms or (form is not None and not form.is_current()):
                self._forms.pop(key, None)
                form = self._subject.form(
                    args, kwargs, arrays, self._wrt, self._executor_of, backward=backward
                )
                self._is_of_tensors = form is None
                remember(self._forms, key, form)
        if form is None:
            return None
        if form.overwrites:
            check_apart([*args, *kwargs.values()])
        return form, arrays

    def _stepped(self, args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> Any:
        """Call a function in which there are Tensors."""
        if self._steps is None:
            raise TypeError("compile: a snapshot takes arrays; of a Tensor, pass its .data")
        if out is not None:
            raise ValueError("compile: what a function of Tensors returns are new Tensors, not out")
        result = self._steps(*args, **kwargs)
        if self._steps.step is not None:
            self._last = self._steps.step.forward
        return result

    def _executor_of(
        self,
        program: Program,
        arrays: Sequence[Any],
        errstates: Mapping[int, Mapping[str, str]] = NOTHING,
    ) -> Executor:
        """Make the executor that was asked for; where it cannot be, a replay that says why."""
        if self._mode in ("auto", "replay"):
            return Replay(program, arrays, errstates=errstates)
        try:
            _check_dtypes(program, arrays)
            return Kernel(program, arrays, self._mode)
        except Unsupported as reason:
            return Replay(program, arrays, why=str(reason), errstates=errstates)


def _check_dtypes(program: Program, arrays: Sequence[Any]) -> None:
    """Refuse what the graph does not know of: an upstream gradient that is complex."""
    for node, array in zip(program.arguments, arrays, strict=True):
        if array.dtype != node.dtype:
            raise Unsupported(f"{node.name} is of {node.dtype}, but was given {array.dtype}")


def compile(
    function: Callable[..., Any] | Graph,
    *,
    mode: str = "auto",
    wrt: Iterable[str] | None = None,
) -> Compiled:
    """Let a function run without the engine, which it is recorded with once.

    Parameters
    ----------
    function : callable or Graph
        A function of arrays, written with NumPy, or one that closes over Tensors, such as the loss
        of a network; or a snapshot, which takes its inputs in their order or by their names, and
        keeps the lengths that it was taken at.
    mode : str, optional
        ``auto`` and ``replay``: NumPy, into memory that is kept, with the bits of the engine.
        ``strict``: C, with the bits of the engine. ``fast``: C, in fewer sweeps over the arrays,
        with sums in another order, whose last bits are others. Where there is no compiler, or the
        function is outside what is compiled, it is replayed, and `Compiled.why` says why.
    wrt : iterable of str, optional
        The arguments that `Compiled.vjp` gives gradients for; by default all arrays of floats.

    Returns
    -------
    Compiled

    Raises
    ------
    TypeError
        If `function` is not callable, or `wrt` is one name and no list of them.
    ValueError
        If the mode is unknown; or if a snapshot was built on the values that it was taken at.

    Notes
    -----
    What C computes gives no warnings of NumPy's, and raises nothing that `numpy.errstate` asks for.

    The function is recorded again for arguments of other lengths, dtypes or places in memory, for
    other numbers, and where something that it reads beside its arguments was replaced. It is run
    twice for that, and refused where the two runs differ. A number that is another at each call is
    passed as ``np.array(k)``. A sum is taken in the order of the function as `trace` runs it.

    Examples
    --------
    >>> import numpy as np
    >>> import tinygraph
    >>> rng = np.random.default_rng(0)
    >>> x, dout = rng.normal(size=(2, 64, 10))
    >>> gamma, beta = rng.normal(size=(2, 10))
    >>> f = tinygraph.compile(tinygraph.batchnorm.staged)
    >>> out, grads = f.vjp(x, gamma, beta, dout=dout)
    >>> list(grads), f.executor
    (['x', 'gamma', 'beta'], 'replay')
    >>> print(f.plan)
    x | x,dout | x,dout → out,dx: 5 reads 2 writes, 3 sweeps, 35.8 kB at 64 × 10 float64

    A training step, with the parameters, running statistics and draws of the network:

    >>> from tinygraph import nn
    >>> model, labels = nn.MLP(10, 8, 3, batchnorm=True, rng=0), rng.integers(3, size=64)
    >>> step = tinygraph.compile(lambda x, labels: nn.cross_entropy(model(x), labels))
    >>> loss = step(x, labels)
    >>> loss.backward()
    >>> model[0].weight.grad.shape
    (10, 8)
    """
    if mode not in MODES:
        raise ValueError(f"compile: mode is {mode!r}, but must be one of {', '.join(MODES)}")
    if isinstance(wrt, str):
        raise TypeError(f"compile: wrt must be a list of names; write wrt=[{wrt!r}]")
    if not isinstance(function, Graph) and not callable(function):
        raise TypeError(f"compile takes a function or a Graph, not {type(function).__name__}")
    return Compiled(function, mode, None if wrt is None else tuple(wrt))
