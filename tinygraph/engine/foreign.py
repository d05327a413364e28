"""Arrays of other packages that answer NumPy's functions themselves: lazy, distributed, elsewhere.

What such an array holds may be larger than memory, or lie on another device. NumPy's own way to
look into it is ``np.asarray``, which brings all of it here; nothing in this package does that
unasked. Whatever is written with NumPy's functions and operators alone runs on it as it stands.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np

from tinygraph.engine.primitive import Tracer

__all__ = ["check_native", "is_foreign", "native", "scattered"]


def is_foreign(x: Any) -> bool:
    """Whether `x` speaks NumPy's protocols (NEP 13 and NEP 18) and is no array of NumPy's.

    Examples
    --------
    >>> is_foreign(np.ones(3)), is_foreign(2.0), is_foreign([1.0])
    (False, False, False)
    """
    kind: Any = type(x)
    return kind is not np.ndarray and _speaks_numpy(kind)


@lru_cache(maxsize=256)
def _speaks_numpy(kind: type) -> bool:
    return (
        hasattr(kind, "__array_function__")
        and hasattr(kind, "__array_ufunc__")
        and not issubclass(kind, np.ndarray | Tracer)
    )


def native(x: Any, what: str = "an operand") -> Any:
    """Give `x`, which is to become an array of NumPy's; refuse what would be pulled into memory.

    Raises
    ------
    TypeError
        If `x` is foreign.
    """
    check_native((type(x),), what)
    return x


def check_native(kinds: Iterable[type], what: str = "an operand") -> None:
    """Refuse the types of foreign arrays where NumPy's own are needed.

    Raises
    ------
    TypeError
        If one is the type of foreign arrays.
    """
    for kind in filter(_speaks_numpy, kinds):
        raise TypeError(
            f"{what} is of the type {kind.__module__}.{kind.__name__}, and would be pulled into "
            "memory; take np.asarray of it if it fits there, or capture a graph of a small batch "
            "of NumPy's and give this one to graph.run(x=…)"
        )


def scattered(x: Any, key: Any, shape: tuple[int, ...]) -> Any:
    """Put the entries of a foreign array where a key picks them, if that is everywhere.

    So it is with the gradient of ``x[:, None]``, which only moves axes.
    """
    parts = key if isinstance(key, tuple) else (key,)
    picking = [part for part in parts if part is not None and part is not ...]
    if all(type(part) is slice and part == slice(None) for part in picking):
        return np.reshape(x, shape)
    return native(x)
