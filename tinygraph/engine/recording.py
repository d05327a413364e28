"""Whether, here and now, operations are recorded, and whether a hook is called for each.

What is entered holds for the thread, or the asynchronous task, that enters it, and for no other;
and what a generator enters holds while that generator runs, and not for the code that it hands a
value to while it waits.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from functools import wraps
from types import FrameType
from typing import Any, NamedTuple, Protocol

from tinygraph.engine.primitive import Primitive

__all__ = [
    "NORMAL",
    "changed",
    "current",
    "entered",
    "holomorphic",
    "no_grad",
    "note_writing",
    "refuse_to_replay",
]


class Hook(Protocol):
    """Called with every result and with every gradient; it may raise."""

    def computed(self, out: Any, op: Primitive, inputs: Sequence[Any]) -> None:
        """Be told of a result, as soon as it has been computed."""

    def observer(self) -> Callable[[Any, Any, Any], None]:
        """Give what a sweep is to tell of its gradients; see `tinygraph.engine.autodiff.sweep`."""


class Mode(NamedTuple):
    """How operations are recorded.

    Attributes
    ----------
    recording : bool
        Whether results remember what they were computed from.
    hook : Hook or None
    holomorphic : bool
        Whether complex numbers stand for real ones and a step beside them, so that a variance is
        the analytic one, Σ (x − mean)² / n, and not NumPy's Σ |x − mean|² / n.
    tracing : Notes or None
        Inside `trace`, where shapes are given in lengths, and masks and indices are recorded: what
        takes down what the code is told of both.
    effects : Effects or None
        Where a function is run to be replayed: what takes down what it does beside its result.
    """

    recording: bool = True
    hook: Hook | None = None
    holomorphic: bool = False
    tracing: Any = None
    effects: Any = None

    @property
    def is_watched(self) -> bool:
        """Whether somebody wants to see what is computed, operation by operation."""
        return bool(self.hook or self.tracing or self.effects or self.holomorphic)


NORMAL = Mode()


class _Entry:
    """One ``with`` block that was entered: what it changes, for whom, and while what runs."""

    def __init__(self, by: changed, frame: FrameType | None) -> None:
        self.by, self.frame, self.left = by, frame, False

    def counts(self) -> bool:
        """Whether the generator that entered, if one did, is running and not waiting."""
        return not self.left and (self.frame is None or _is_running(self.frame))


entered: ContextVar[tuple[_Entry, ...]] = ContextVar("tinygraph.entered", default=())
"""What this thread or task has entered and not left, outermost first."""


def current() -> Mode:
    """Give the mode that holds here and now."""
    mode = NORMAL
    for entry in entered.get():
        if entry.counts():
            mode = entry.by.alone if mode is NORMAL else mode._replace(**entry.by.changes)
    return mode


class changed(contextlib.ContextDecorator):
    """Change the mode for a block, or for the calls of a function.

    Parameters
    ----------
    **changes
        Fields of `Mode`.

    Examples
    --------
    >>> with changed(holomorphic=True):
    ...     current().holomorphic
    True
    """

    def __init__(self, **changes: Any) -> None:
        self.changes = changes
        self.alone = NORMAL._replace(**changes)
        self.entries: list[_Entry] = []

    def __enter__(self) -> None:
        entry = _Entry(self, _generator_around(sys._getframe(1)))
        self.entries.append(entry)
        entered.set((*(e for e in entered.get() if not e.left), entry))

    def __exit__(self, *error: object) -> None:
        # A generator that is dropped is closed wherever it happens to be: what it leaves need not
        # be the last that was entered, nor have been entered in this thread.
        here = entered.get()
        mine = [e for e in here if e.by is self] or self.entries
        left = mine[-1]
        left.left = True
        self.entries.remove(left)
        entered.set(tuple(e for e in here if e is not left))

    def __call__(self, function: Any) -> Any:
        """Decorate a function, a generator function or a coroutine function."""
        if inspect.isasyncgenfunction(function):
            raise TypeError(
                f"{function.__name__} is an asynchronous generator, which cannot be decorated; "
                "write the with block inside it"
            )
        if inspect.iscoroutinefunction(function):

            @wraps(function)
            async def coroutine(*args: Any, **kwargs: Any) -> Any:
                with type(self)(**self.changes):
                    return await function(*args, **kwargs)

            return coroutine
        if inspect.isgeneratorfunction(function):

            @wraps(function)
            def generator(*args: Any, **kwargs: Any) -> Any:
                with type(self)(**self.changes):
                    return (yield from function(*args, **kwargs))

            return generator
        return super().__call__(function)

    def _recreate_cm(self) -> changed:
        return type(self)(**self.changes)


def refuse_to_replay(what: str) -> None:
    """Raise where a function is run to be replayed, of which a replay would not do this again."""
    if entered.get() and current().effects is not None:
        raise ValueError(
            f"compile: the function {what}, which only the caller can do: compile what computes "
            "the loss, and call backward() and the optimizer on what it returns"
        )


def note_writing(x: Any) -> None:
    """Take down, where a function is run to be replayed, that a tensor was written out as text."""
    if entered.get() and (effects := current().effects) is not None:
        effects.written.append(x)


def no_grad() -> changed:
    """Compute without recording: results are leaves, and differentiating them raises.

    Holds for the thread, or the asynchronous task, that enters it and for no other. May be used as
    a context manager or as a decorator. A generator that hands out a value from inside does not
    switch recording off for whoever receives it, unless it is a `contextlib.contextmanager`.

    Inside, a tensor may become a plain number or array unasked: ``math.exp(t)``, ``np.asarray(t)``.

    Examples
    --------
    >>> from tinygraph import Tensor
    >>> x = Tensor(3.0)
    >>> with no_grad():
    ...     y = x * x
    >>> y
    Tensor(9.0, shape=(), dtype=float64)
    """
    return changed(recording=False)


def holomorphic() -> changed:
    """Let complex numbers stand for real ones and a small step beside them.

    A function of real numbers, continued analytically, has the derivative Im f(x + ih) / h: its
    variance must then be Σ (x − mean)² / n, and not NumPy's variance of complex numbers.
    """
    return changed(holomorphic=True)


# --------------------------------------------------------------------------- frames

_WAITS = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


def _is_running(frame: FrameType) -> bool:
    """Whether a frame is on the stack."""
    here: FrameType | None = sys._getframe(1)
    while here is not None and here is not frame:
        here = here.f_back
    return here is not None


def _generator_around(frame: FrameType | None) -> FrameType | None:
    """Find the innermost generator or coroutine in which `frame` runs.

    Not the generator of a context manager: that one waits while the block runs which it is for.
    """
    while frame is not None:
        if frame.f_code.co_flags & _WAITS and not (_manages(frame) or _manages(frame.f_back)):
            return frame
        frame = frame.f_back
    return None


def _manages(frame: FrameType | None) -> bool:
    return frame is not None and frame.f_globals is vars(contextlib)
