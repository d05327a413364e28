"""Whether, here and now, operations are recorded, and whether a hook is called for each.

The state belongs to the thread, or the asynchronous task, that sets it, and to no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, Protocol

from tinygraph.engine.primitive import Primitive

__all__ = ["no_grad"]


class Hook(Protocol):
    """Called with every result and with every gradient; it may raise."""

    def computed(self, out: Any, op: Primitive, inputs: Sequence[Any]) -> None:
        """Be told of a result, as soon as it has been computed."""

    def observer(self) -> Callable[[Any, Any, Any], None]:
        """Give what a sweep is to tell of its gradients; see `tinygraph.engine.autodiff.sweep`."""


class Mode(NamedTuple):
    """How operations are recorded."""

    recording: bool = True
    hook: Hook | None = None
    tracing: bool = False  # whether shapes are given in lengths, and masks are recorded


NORMAL = Mode()
mode: ContextVar[Mode] = ContextVar("tinygraph.mode", default=NORMAL)


@contextmanager
def changed(**changes: Any) -> Iterator[None]:
    """Change the mode for a while."""
    token = mode.set(mode.get()._replace(**changes))
    try:
        yield
    finally:
        mode.reset(token)


@contextmanager
def no_grad() -> Iterator[None]:
    """Compute without recording: results are leaves, and differentiating them raises.

    Holds for the thread, or the asynchronous task, that enters it and for no other. May be used as
    a context manager or as a decorator.

    Examples
    --------
    >>> from tinygraph import Tensor
    >>> x = Tensor(3.0)
    >>> with no_grad():
    ...     y = x * x
    >>> y
    Tensor(9.0, shape=(), dtype=float64)
    """
    with changed(recording=False):
        yield
