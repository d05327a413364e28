"""Lists of tensors where NumPy takes an array: ``np.array([a, b])`` inside `trace`.

NumPy asks the arguments of a function whether one of them has something to say; the entries of a
list it does not ask, and takes them for numbers. So while something is traced, and only then, the
functions of NumPy's namespace that people hand lists to are wrapped: a list in which there are
tensors is stacked before the function sees it.

The namespace belongs to all threads. What a wrapper does, it does for the thread or task that
traces; for every other one it calls NumPy's own function with what it was given. What was imported
by name before (``from numpy import array``) is NumPy's own function, and refuses tensors.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from inspect import unwrap
from typing import Any

import numpy as np

from tinygraph.engine import alternatives
from tinygraph.engine.functions import is_node
from tinygraph.engine.lengths import plainly
from tinygraph.engine.library import special
from tinygraph.engine.recording import current

__all__ = ["lists_stacked"]

# fmt: off
FIRST_IS_AN_ARRAY = (
    "all", "any", "argmax", "argmin", "argsort", "average", "broadcast_to", "clip", "cumprod",
    "cumsum", "diff", "dot", "expand_dims", "flip", "inner", "max", "mean", "median", "min",
    "outer", "prod", "ptp", "ravel", "repeat", "reshape", "roll", "sort", "squeeze", "std", "sum",
    "swapaxes", "take", "tile", "transpose", "var",
)
# fmt: on
CONVERSIONS = ("array", "asarray", "asanyarray", "ascontiguousarray")


def _holds_tensor(x: Any) -> bool:
    """Whether a list, or a list in it, has a tensor for an entry."""
    return type(x) in (list, tuple) and any(is_node(one) or _holds_tensor(one) for one in x)


def _stacked(x: Any) -> Any:
    """Give nested lists of tensors and numbers as one tensor."""
    if type(x) in (list, tuple):
        return np.stack([_stacked(one) for one in x])
    return x if is_node(x) else np.asarray(x)


def _taking_lists(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if args and type(args[0]) in (list, tuple) and _is_ours(args[0]):
            args = (_stacked(args[0]), *args[1:])
        return function(*args, **kwargs)

    return wrapped


def _is_ours(x: Any) -> bool:
    return current().tracing and _holds_tensor(x)


def _converting(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap ``np.array`` and the like: a tensor is an array already."""

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if not args or not (is_node(args[0]) or type(args[0]) in (list, tuple)):
            return function(*args, **kwargs)
        x = args[0]
        if not current().tracing or not (is_node(x) or _holds_tensor(x)):
            return function(*args, **kwargs)
        return _converted(function.__name__, x, *args[1:], **kwargs)

    return wrapped


def _converted(
    name: str,
    x: Any,
    dtype: Any = None,
    order: Any = None,
    *,
    copy: Any = None,
    subok: bool = False,
    ndmin: int = 0,
    like: Any = None,
) -> Any:
    if (asking := special.refused()) in special.IN_PLACE:
        raise TypeError(alternatives.unsupported(asking))
    if is_node(x):  # `array` copies and `asarray` does not, which a later write can tell
        order = "C" if name == "ascontiguousarray" else order or "K"
        x = x.copy(order) if name == "array" and copy in (None, True) else x
        x = x.astype(x.dtype if dtype is None else dtype, order, copy=False)
    else:
        x = _stacked(x)
        x = x if dtype is None else x.astype(dtype)
    missing = ndmin - x.ndim
    return np.reshape(x, (1,) * missing + tuple(x.shape)) if missing > 0 else x


def _copying(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap ``np.copy``, which takes no dtype."""

    @wraps(function)
    def wrapped(a: Any, order: Any = "K", subok: bool = False) -> Any:
        if current().tracing and (is_node(a) or _holds_tensor(a)):
            return _converted("array", a, order=order)
        return function(a, order, subok)

    return wrapped


ROWS, COLUMNS = np.r_, np.c_


class _Joining:
    """``np.r_`` and ``np.c_``: what stands in the brackets, joined."""

    def __init__(self, plain: Any) -> None:
        self._plain = plain

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plain, name)

    def __len__(self) -> int:
        return len(self._plain)

    def __getitem__(self, key: Any) -> Any:
        parts = key if isinstance(key, tuple) else (key,)
        if not (current().tracing and any(is_node(x) or _holds_tensor(x) for x in parts)):
            return self._plain[key]
        if isinstance(parts[0], str):
            raise TypeError(f"np.r_[{parts[0]!r}, …] is not supported on tensors; use np.stack")
        arrays = [ROWS[x] if isinstance(x, slice) else np.atleast_1d(_stacked(x)) for x in parts]
        if self._plain is ROWS:
            return np.concatenate(arrays, axis=0)
        columns = [np.reshape(x, (-1, 1)) if x.ndim < 2 else x for x in arrays]
        return np.concatenate(columns, axis=-1)


def _wrappers() -> dict[str, Any]:
    taking = {name: _taking_lists(getattr(np, name)) for name in FIRST_IS_AN_ARRAY}
    converting = {name: _converting(getattr(np, name)) for name in CONVERSIONS}
    joining = {"r_": _Joining(ROWS), "c_": _Joining(COLUMNS)}
    return {**taking, **converting, **joining, "copy": _copying(np.copy)}


def _taking_lengths(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a compiled function that asks for an int by its type, and not for an index."""

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return function(*plainly(args), **kwargs)

    return wrapped


_WRAPPED = _wrappers()
_PLAIN = {name: getattr(np, name) for name in _WRAPPED}
_changing = threading.Lock()
_tracing = 0


@contextmanager
def lists_stacked() -> Iterator[None]:
    """Let NumPy's functions take lists of tensors where this thread or task traces."""
    global _tracing
    with _changing:
        _tracing += 1
        if _tracing == 1:
            vars(np).update(_WRAPPED)
            _set_permutation(_taking_lengths)
    try:
        yield
    finally:
        with _changing:
            _tracing -= 1
            if not _tracing:
                vars(np).update(_PLAIN)
                _set_permutation(unwrap)


def _set_permutation(change: Callable[[Any], Any]) -> None:
    if random := sys.modules.get("numpy.random"):  # which NumPy loads when it is asked for
        random.permutation = change(random.permutation)  # type: ignore[attr-defined]
