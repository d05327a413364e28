"""Keys: with what is read and written, by handles, computed integers and computed masks."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygraph.engine import ops
from tinygraph.engine.functions import describe
from tinygraph.engine.lengths import plainly
from tinygraph.engine.tensor import Tensor

__all__ = ["key_picked_by", "names_once", "opened", "same_key", "split"]


def opened(key: Any) -> Any:
    """Give a key that shows one entry as a view of it."""
    parts = key if isinstance(key, tuple) else (key,)
    return parts if ... in parts else (*parts, ...)


def split(key: Any) -> tuple[Any, Any, tuple[Tensor, ...]]:
    """Give a key without handles, the same without Tensors, and these.

    NumPy gives a view for an integer, also where it was computed.
    """
    kind = type(key)
    if kind is int:
        return key, key, ()
    parts = key if kind is tuple else (key,)
    if not any(isinstance(part, Tensor) for part in parts):
        return key, plainly(key), ()
    asked = tuple([part.settled() if isinstance(part, Tensor) else part for part in parts])
    computed = tuple([part for part in asked if isinstance(part, Tensor)])
    plain = tuple(map(_plain, asked))
    return (asked, plain, computed) if kind is tuple else (asked[0], plain[0], computed)


def _plain(part: Any) -> Any:
    if not isinstance(part, Tensor):
        return part
    if part.dtype.kind not in "biu":
        raise TypeError(
            f"an array is indexed by a tensor of floats; use integers or bools: {describe(part)}"
        )
    array = part._data
    return int(array) if array.ndim == 0 and array.dtype.kind != "b" else array


def same_key(a: Any, b: Any) -> bool:
    """Whether two keys that the graph keeps are equal."""
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(same_key, a, b))
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    return type(a) is type(b) and a == b


def key_picked_by(picked: Tensor) -> Any:
    """Give the key by which entries were picked, with what was computed of it as arrays."""
    _, (_, *computed), params = picked._recorded
    key = params["key"]
    if picked.op is ops.pick:
        key = tuple(
            [computed[int(part) - 1]._data if isinstance(part, str) else part for part in key]
        )
        return key[0] if len(key) == 1 else key
    return key[0] if picked.op is ops.select and len(key) == 1 else key


def names_once(layout: Any, key: Any) -> bool:
    """Whether a key names no entry twice."""
    named = np.arange(layout.size).reshape(layout.shape)[key]
    return bool(len(np.unique(named)) == named.size)
