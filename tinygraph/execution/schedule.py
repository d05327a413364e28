"""A region's sweeps over blocks of rows: which rows are a block, and what is done with each.

Between two sweeps there is vector work, which is done here; a sweep itself is handed out, as one
thing to be done with every block, to whoever reads the rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import numpy as np

from tinygraph.execution.clusters import Cluster, Here, Progress, Runner
from tinygraph.execution.destinations import Destination
from tinygraph.execution.panels import BlockKernel, Sums, computed, kernel_of, standing, step_of
from tinygraph.execution.regions import Region, Result, Sweep
from tinygraph.execution.sources import LazySource, NpyFile, Source
from tinygraph.execution.values import Value

__all__ = ["Schedule"]


class Schedule:
    """The sweeps of a region over arrays.

    Parameters
    ----------
    region : Region
    source_of : callable
        Gives the source of an argument, a value.
    memory : float
        Bytes that the blocks that one process works on may take.

    Attributes
    ----------
    region : Region
    runner : Runner
    bounds : list of (int, int)
        The first row of each block, and the first one behind it; empty where nothing has rows.
    together : int
        How many rows of an output are to be stored together: a block, or a part of it.
    nbytes : float
        That the rows of one block take in the widest sweep.

    Raises
    ------
    ValueError
        If the arrays are empty, or a row or a chunk does not fit into `memory`.
    TypeError
        If an array is in the memory of this process, where a cluster is needed for another.
    """

    def __init__(self, region: Region, source_of: Callable[[Value], Source], memory: float) -> None:
        self.region, self._source = region, source_of
        sources = [source_of(x) for x in region.arguments if region.has_rows(x)]
        self.runner = _runner(sources)
        self.bounds: list[tuple[int, int]] = []
        self.together, self.nbytes = 1, 0.0
        if region.sweeps:
            self._divide(sources, memory)

    def __str__(self) -> str:
        n, threads = len(self.bounds), self.runner.threads
        rows = max((stop - start for start, stop in self.bounds), default=0)
        at_a_time = "one at a time" if threads == 1 else f"{threads} at a time in one process"
        return (
            f"{n} block{'s' * (n != 1)} of up to {rows} rows, {at_a_time}: "
            f"{threads * self.nbytes / 1e6:.4g} MB of memory"
        )

    def run(
        self, destinations: Mapping[int, Sequence[Destination]], bar: Progress
    ) -> dict[int, Any]:
        """Do all sweeps.

        Parameters
        ----------
        destinations : mapping
            Where the results with rows are written to, by the index of the node.
        bar : Progress

        Returns
        -------
        dict
            The results without rows, by the index of the node.
        """
        region = self.region
        known: dict[int, Any] = {x.index: x.params["value"] for x in region.constants}
        for x in region.arguments:
            if not region.has_rows(x):
                array = np.asarray(self._source(x).whole(), x.dtype)
                known[x.index] = array.reshape(standing(x.labels, region.labels))
        for sweep in region.sweeps:
            self._compute(sweep.before, known)
            bar.begin(len(self.bounds))
            work, lazy = self._work(sweep, known, destinations), self._lazy(sweep)
            sums = self.runner.sweep(work, self.bounds, lazy, bar.step)
            for x, total in zip(sweep.sums, sums, strict=True):
                known[x.index] = np.asarray(total, x.dtype)
        self._compute(region.after, known)
        results = (x for x in region.results if not region.has_rows(x))
        return {x.node.index: self._vector(x, known) for x in results}

    def _compute(self, values: Iterable[Value], known: dict[int, Any]) -> None:
        for x in values:
            known[x.index] = computed(step_of(x, self.region.labels), known)

    def _vector(self, x: Result, known: Mapping[int, Any]) -> Any:
        """Give a result without rows in its own shape."""
        array = np.asarray(known[x.value.index], x.node.dtype)
        shape = standing(x.labels, self.region.labels)
        return np.broadcast_to(array, shape).reshape(x.node.shape).copy()

    def _work(
        self,
        sweep: Sweep,
        known: Mapping[int, Any],
        destinations: Mapping[int, Sequence[Destination]],
    ) -> _Work:
        labels = self.region.labels
        sources = [self._source(x) for x in sweep.reads]
        reads = [
            _Read(
                None if isinstance(source, LazySource) else source,
                np.dtype(x.dtype),
                standing(x.labels, labels),
            )
            for x, source in zip(sweep.reads, sources, strict=True)
        ]
        writes = [
            _Write(
                tuple(destinations[x.node.index]),
                np.dtype(x.node.dtype),
                standing(x.labels, labels),
            )
            for x in sweep.writes
        ]
        vectors = {x.index: known[x.index] for x in sweep.vectors}
        return _Work(kernel_of(self.region, sweep), vectors, tuple(reads), tuple(writes))

    def _lazy(self, sweep: Sweep) -> list[Any]:
        """Give the blocks of those arrays of dask's that a sweep reads."""
        rows = tuple(stop - start for start, stop in self.bounds)
        sources = map(self._source, sweep.reads)
        return [x.blocks(rows) for x in sources if isinstance(x, LazySource)]

    # ------------------------------------------------------------------ blocks

    def _divide(self, sources: Sequence[Source], memory: float) -> None:
        """Choose the blocks: as dask's chunks are, or as many rows as memory allows."""
        count = self.region.rows[0].length
        if not math.prod(x.length for x in self.region.labels):
            raise ValueError("the batch is empty, and there is nothing to sweep over")
        row = max(map(self._row_nbytes, self.region.sweeps))
        lazy = [x for x in sources if isinstance(x, LazySource)]
        if lazy:
            ends = accumulate(lazy[0].rows, initial=0)
            self.bounds, self.together = list(pairwise(ends)), max(lazy[0].rows)
            self.nbytes = row * self.together
            return
        threads, together = self.runner.threads, math.lcm(*[x.together for x in sources])
        together = min(count, together)
        rows = min(count, int(memory / threads / row) // together * together)
        if not rows:
            what = "one row" if together == 1 else f"{together} rows, which are stored together,"
            raise ValueError(
                f"{row * together * threads / 1e6:.4g} MB are needed for {what} of each array, "
                f"with {threads} at a time, and {memory / 1e6:.4g} MB are allowed; allow for more "
                "memory, or store the arrays in smaller chunks"
            )
        self.bounds = [(k, min(k + rows, count)) for k in range(0, count, rows)]
        self.together = together if together > 1 else rows
        self.nbytes = row * rows

    def _row_nbytes(self, sweep: Sweep) -> int:
        """Count the bytes of a row of all that a sweep reads, converts and writes."""
        dtypes = [(x.labels, np.dtype(x.node.dtype)) for x in sweep.writes]
        for x in sweep.reads:
            dtypes += [(x.labels, one) for one in {self._source(x).dtype, np.dtype(x.dtype)}]
        first = self.region.rows[0]
        return sum(
            dtype.itemsize * math.prod(label.length for label in labels if label != first)
            for labels, dtype in dtypes
        )


def _runner(sources: Sequence[Source]) -> Runner:
    """Choose who sweeps over these."""
    lazy = [x for x in sources if isinstance(x, LazySource)]
    if not lazy and not all(x.travels for x in sources):
        return Here()
    try:
        cluster = Cluster()
    except ModuleNotFoundError:  # then no array is dask's
        return Here()
    if cluster.client is None:
        return Here() if all(isinstance(x, NpyFile) for x in sources) else cluster
    if not all(x.travels for x in sources):
        raise TypeError(
            "an array is in the memory of this process, where the workers of the cluster cannot "
            "read it; give its path, or an array of dask's"
        )
    return cluster


# --------------------------------------------------------------------------- what one block needs


class _Read(NamedTuple):
    """Where rows come from, None where dask gives them, and how they stand in a region."""

    source: Source | None
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


class _Write(NamedTuple):
    """Where rows go to; to several places, where a result has several names."""

    destinations: tuple[Destination, ...]
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


class _Work(NamedTuple):
    """What a sweep does with each block, wherever that is done."""

    kernel: BlockKernel
    vectors: Mapping[int, Any]
    reads: tuple[_Read, ...]
    writes: tuple[_Write, ...]

    @property
    def reductions(self) -> tuple[str, ...]:
        """What is added up."""
        return self.kernel.reductions

    def run(self, start: int, stop: int, *given: Any) -> Sums:
        """Read rows, sweep over them, and write rows; lazy arrays are given."""
        rest, blocks = iter(given), []
        for source, dtype, shape in self.reads:
            rows = next(rest) if source is None else source.read(start, stop)
            blocks.append(np.ascontiguousarray(rows, dtype).reshape(shape))
        count = stop - start
        new = [
            np.empty([count if n == -1 else n for n in shape], dtype)
            for _, dtype, shape in self.writes
        ]
        sums = self.kernel.run(self.vectors, blocks, new, count)
        for write, array in zip(self.writes, new, strict=True):
            for one in write.destinations:
                one.write(start, array)
        return sums
