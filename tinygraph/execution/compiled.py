"""`compile`: a function that is called as it was, and runs without the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from threading import RLock
from typing import Any, NamedTuple

from tinygraph.engine.recording import entered
from tinygraph.execution.forms import Form
from tinygraph.execution.layouts import fitting
from tinygraph.execution.program import Program
from tinygraph.execution.replay import Replay
from tinygraph.execution.subjects import OfFunction, OfGraph, Subject
from tinygraph.execution.training import Steps
from tinygraph.graph.snapshot import Graph

__all__ = ["Compiled", "compile"]

MODES = ("auto", "replay", "strict", "fast")
MOST = 32
"""Of forms that are remembered, so that a number that is another at each call fills no memory."""

BEFORE = "nothing has been called yet: this describes the last call"


class _Known(NamedTuple):
    """A form, the question whether arguments are its own, and whether it is still right."""

    fit: Callable[..., tuple[Any, ...] | None]
    form: Form
    is_current: Callable[[], bool]


class Compiled:
    """A function that runs without the engine; made by `compile`.

    Attributes
    ----------
    plan : Plan or str
        How few sweeps over its arrays the last call takes, and which.
    source : str
        What ran at the last call: NumPy or C, in the names of the function.
    executor : str
        ``"replay"``, ``"strict"`` or ``"fast"``.
    why : str
        Why that is not the one that was asked for, or "".

    Examples
    --------
    >>> import numpy as np
    >>> import tinygraph
    >>> def normalize(x):
    ...     return x / np.sqrt(np.mean(x * x))
    >>> f = tinygraph.compile(normalize)
    >>> f(np.array([3.0, 4.0]))
    array([0.84852814, 1.13137085])
    >>> f.executor
    'replay'
    """

    def __init__(
        self,
        subject: Subject,
        mode: str = "auto",
        wrt: Iterable[str] | None = None,
        steps: Callable[..., Any] | None = None,
    ) -> None:
        self._subject, self._mode, self._steps = subject, mode, steps
        self._wrt = None if wrt is None else tuple(wrt)
        self._known: dict[Any, _Known | None] = {}
        self._latest: dict[bool, _Known | None] = {False: None, True: None}
        self._last: Any = None  # what ran last
        self._lock = RLock()
        self._reasons: dict[int, str] = {}

    def __call__(self, *args: Any, out: Any = None, **kwargs: Any) -> Any:
        """Call the function.

        Parameters
        ----------
        *args, **kwargs
            As the function takes them. Arrays are inputs; of numbers and everything else, each
            value has a form of its own.
        out : ndarray, or tuple of such, optional
            Where the result is written to.

        Returns
        -------
        ndarray, or what the function returns of such
            New, unless `out` is given. Where the function closes over Tensors, or is given some,
            what it returns are Tensors, with ``.backward()``.
        """
        found = self._quickly(False, args, kwargs) or self._found(False, args, kwargs)
        if found is None:
            if self._steps is None or out is not None:
                raise ValueError("compile: a function of Tensors returns Tensors and takes no out=")
            return self._stepped(args, kwargs)
        form, arrays = found
        result = form.call(arrays, out)
        self._last = form
        return result

    def vjp(self, *args: Any, dout: Any = None, out: Any = None, **kwargs: Any) -> Any:
        """Call the function, and carry an upstream gradient back to its arguments.

        Parameters
        ----------
        *args, **kwargs
            As the function takes them.
        dout : array_like, or tuple of such
            The upstream gradient, of the shape of the result; one for each, where it is several.
            A scalar alone may go without.
        out : pair, optional
            Where to: ``(out, {"x": dx})``, as it is returned; either, and any of the gradients, may
            be None.

        Returns
        -------
        result
            As the function returns it.
        gradients : dict
            By the name of the argument.

        Raises
        ------
        ValueError
            If an upstream gradient is missing or of another shape, or the function closes over
            Tensors: those get their gradients by ``f(x).backward()``.

        Examples
        --------
        >>> import numpy as np
        >>> import tinygraph
        >>> f = tinygraph.compile(lambda x, w: np.sum(x * w))
        >>> out, grads = f.vjp(np.array([1.0, 2.0]), np.array([3.0, 5.0]))
        >>> out, grads["w"]
        (np.float64(13.0), array([1., 2.]))
        """
        found = self._quickly(True, args, kwargs) or self._found(True, args, kwargs)
        if found is None:
            raise ValueError(
                "vjp: the function closes over Tensors, or is given some, or draws, or has state: "
                "call it, and what it returns has .backward(), which fills their .grad"
            )
        form, arrays = found
        result = form.vjp(arrays, dout, out)
        self._last = form
        return result

    # ------------------------------------------------------------------ the last call

    @property
    def executor(self) -> str:
        """What the last call ran on: ``replay``, ``strict`` or ``fast``."""
        return BEFORE if self._last is None else str(self._last.executor.executor)

    @property
    def source(self) -> str:
        """What ran at the last call."""
        return BEFORE if self._last is None else str(self._last.executor.source)

    @property
    def why(self) -> str:
        """Why it is not the executor that was asked for, or ""."""
        return BEFORE if self._last is None else self._reasons.get(id(self._last.executor), "")

    @property
    def plan(self) -> Any:
        """How few sweeps over its arrays the last call takes."""
        return BEFORE

    def __repr__(self) -> str:
        return f"Compiled({self._subject!r}, mode={self._mode!r})"

    # ------------------------------------------------------------------ forms

    def _quickly(
        self, backward: bool, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[Form, Sequence[Any]] | None:
        """Give the form that was used last, if the arguments are as they were then."""
        known = self._latest[backward]
        if known is None or entered.get():
            return None
        arrays = known.fit(args, kwargs)
        return (known.form, arrays) if arrays is not None and known.is_current() else None

    def _found(
        self, backward: bool, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[Form, Sequence[Any]] | None:
        """Give the form for some arguments, which may be a new one; None if Tensors are in it."""
        arranged = self._subject.arranged(args, kwargs)
        if arranged is None:
            return None
        key = backward, arranged.key
        with self._lock:
            known = self._known.get(key)
            if key not in self._known or (known is not None and not known.is_current()):
                made = self._subject.form(
                    args, kwargs, arranged.arrays, self._wrt, self._made, backward=backward
                )
                fit = fitting(args, kwargs)
                known = None if made is None else _Known(fit, *made)
                while len(self._known) >= MOST:
                    del self._known[next(iter(self._known))]
                self._known[key] = known
        if known is None:
            return None
        self._latest[backward] = known
        return known.form, arranged.arrays

    def _stepped(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        return self._steps(*args, **kwargs)

    def _made(self, program: Program, arrays: Sequence[Any]) -> Any:
        """Make the executor that was asked for, or a replay, and say why."""
        return Replay(program, arrays)


def compile(
    function: Callable[..., Any] | Graph, mode: str = "auto", wrt: Iterable[str] | None = None
) -> Compiled:
    """Let a function run without the engine."""
    if mode not in MODES:
        raise ValueError(f"compile: mode is {mode!r}, but must be one of {', '.join(MODES)}")
    if isinstance(wrt, str):
        raise TypeError(f"compile: wrt must be a list of names; write wrt=[{wrt!r}]")
    if isinstance(function, Graph):
        return Compiled(OfGraph(function), mode, wrt)
    compiled = Compiled(OfFunction(function), mode, wrt)
    compiled._steps = Steps(function, compiled._made)
    return compiled
