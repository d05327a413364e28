"""Targets: arrays of the caller's that results are written into."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from tinygraph.execution.program import Executor

__all__ = ["check_apart", "computed_into", "target"]

MOST_WORK = 1000
"""How long it is looked whether two arrays share an entry, before it is said that they may."""


def target(array: Any, name: str | None, like: Any) -> Any:
    """Check where a result is to be written to: None, or an array of the shape and dtype of `like`.

    Raises
    ------
    TypeError
        If it is no array, or of another dtype.
    ValueError
        If it is of another shape, or read-only.
    """
    if array is None:
        return None
    name = name or "a gradient"
    if not isinstance(array, np.ndarray):
        raise TypeError(f"compile: out for {name} is no array, but {type(array).__name__}")
    if array.dtype != like.dtype:
        raise TypeError(f"compile: {name} is of {like.dtype}, but out for it of {array.dtype}")
    if array.shape != like.shape:
        raise ValueError(f"compile: {name} has shape {like.shape}, but out for it {array.shape}")
    if not array.flags.writeable:
        raise ValueError(f"compile: out for {name} is read-only")
    return array


def check_apart(arrays: Iterable[Any]) -> None:
    """Refuse arguments that share memory, where one of them is written into."""
    if any(_overlap(a, b) for a, b in combinations(arrays, 2)):
        raise ValueError(
            "compile: the function writes into an argument that shares memory with another one, "
            "which would not change with it; pass a copy"
        )


def computed_into(
    executor: Executor, given: Sequence[Any], targets: Sequence[Any], read: Sequence[Any]
) -> list[Any]:
    """Compute results into targets; what shares memory with an argument is written last.

    Parameters
    ----------
    executor : Executor
    given : sequence
        Its arguments.
    targets : sequence
        One for each result, or None.
    read : sequence
        What targets may share memory with.

    Raises
    ------
    ValueError
        If two targets share memory.
    """
    for k, one in enumerate(targets):
        if any(_overlap(one, other) for other in targets[:k]):
            raise ValueError(
                "compile: two arrays of out share memory, and one result would be written over "
                "the other; pass arrays that lie apart"
            )
    direct = [None if any(_overlap(x, one) for x in read) else one for one in targets]
    results = list(executor(*given, out=direct))
    for k, one in enumerate(targets):
        if one is not None and results[k] is not one:
            np.copyto(one, results[k])
            results[k] = one
    return results


def _overlap(a: Any, b: Any) -> bool:
    if not (isinstance(a, np.ndarray) and isinstance(b, np.ndarray)):
        return False
    try:
        return np.may_share_memory(a, b) and np.shares_memory(a, b, max_work=MOST_WORK)  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return True
