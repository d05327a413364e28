"""Batches larger than memory: a plan's sweeps, block of rows by block of rows.

BatchNorm and its gradients take three sweeps: x | x, dout | x, dout → out, dx. Each goes once over
the blocks; what a block adds to the sums over rows is kept, and the block is not. Vectors, such as
the mean, stay in memory between the sweeps. Nothing of the size of x is ever stored but what is
asked for, so that x is read three times and dout twice, and memory holds a few blocks.

The reduction over blocks is a tree
-----------------------------------
Neighbouring blocks are added up, then pairs, then pairs of pairs. How the sums are joined depends
on the blocks and not on who computes them: one process and a cluster give the same bits. Within a
block, float32 is added up in float64, and stays that until all rows are in.

It is what *synchronized BatchNorm* computes, where every worker has its part of the batch, and two
vectors of D numbers cross in each reduction: Σx and Σ(x − mu)² forwards, Σdout and Σ dout·(x − mu)
backwards. Here mu is known before the deviations from it are squared (of Σx² − N·mu², which would
save a sweep, no digit is right where the mean is large). So Σx alone is the reduction of the first
sweep, and the other three are that of the second: each block sends 4 vectors of D float64 up the
tree, and each worker is sent about as many down, 64·D bytes however many rows it has. At D = 1000
these are 64 KB, beside blocks of many megabytes.

At a thousand workers the bytes are still nothing: each has one partial sum to send, and the tree
is ten messages deep. What changes is the wait. A sweep begins when the slowest worker has ended the
one before; nobody can normalize a row before all rows have been heard; and one scheduler hands out
every block, at about a millisecond each, so that blocks should be worth a second of work. That is
why frameworks synchronize BatchNorm only where they are asked to: with many rows on each worker,
its own mean and variance are good enough.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import numpy as np

from tinygraph.engine.autodiff import reachable
from tinygraph.execution.clusters import Cluster, Here, Progress, Runner
from tinygraph.execution.elsewhere import elsewhere
from tinygraph.execution.panels import Kernel, Sums, computed, kernel_of, standing, step_of
from tinygraph.execution.plan import Plan
from tinygraph.execution.program import Program, Unsupported
from tinygraph.execution.regions import Region, Result, Sweep
from tinygraph.execution.stores import LazySource, NpyFile, Source, Target, opened, target_of
from tinygraph.execution.values import Value
from tinygraph.graph.nodes import Node
from tinygraph.graph.snapshot import Graph

__all__ = ["Blocks", "run"]

MEMORY = 100e6


class Blocks:
    """What is to be run block by block: checked and planned, and nothing read or written yet.

    Parameters
    ----------
    graph : Graph
        Of a small batch: captured at any number of rows, and with the dtypes to compute in.
    inputs : mapping
        What the inputs and the upstream gradients of the graph are, by name: a path that ends in
        ``.npy`` or ``.zarr``, a zarr or dask array, one of NumPy's, or whatever gives arrays for
        slices of rows. Those that no result needs may be left out.
    outputs : mapping, optional
        Paths that end in ``.npy`` or ``.zarr``, by the name of the result: an output of the graph,
        ``out``, or the gradient of an input, ``dx``. Results that have rows are computed if they
        are named here. All others are, and are returned as well.
    memory : float, optional
        How many bytes the blocks that one process works on may take. Those of dask arrays are as
        they are chunked.
    force : bool, optional
        Whether outputs that are there already are replaced.

    Attributes
    ----------
    plan : Plan
    bounds : list of (int, int)
        The first row of each block, and the first one behind it.

    Raises
    ------
    ValueError
        If an input is missing or unknown, shapes do not fit, a number in the graph may stand for a
        length that has changed, or a row or a chunk does not fit into `memory`.
    TypeError
        If an input is of another kind of numbers than it was captured with.
    Unsupported
        If there is more in the graph than sweeps over rows, such as a matmul.
    FileExistsError
        If an output is there already.
    ModuleNotFoundError
        If zarr or dask is needed and not there.

    Examples
    --------
    >>> from tinygraph import Graph, batchnorm, trace
    >>> rng = np.random.default_rng(0)
    >>> x, gamma, beta = rng.normal(size=(1000, 3)), rng.normal(size=3), rng.normal(size=3)
    >>> graph = Graph.joint(trace(batchnorm.staged)(x[:2], gamma, beta, eps=1e-5))
    >>> inputs = {"x": x, "gamma": gamma, "dout": rng.normal(size=x.shape)}
    >>> blocks = Blocks(graph, inputs, memory=12e3)
    >>> print(blocks)
    x | x,dout: 3 reads 0 writes, 2 sweeps, 72 kB at 1000 × 3 float64
    4 blocks of up to 250 rows, one at a time: 0.012 MB of memory
    >>> {name: value.shape for name, value in blocks.run().items()}
    {'dgamma': (3,), 'dbeta': (3,)}
    """

    def __init__(
        self,
        graph: Graph,
        inputs: Mapping[str, Any],
        outputs: Mapping[str, str | os.PathLike[str]] | None = None,
        *,
        memory: float = MEMORY,
        force: bool = False,
    ) -> None:
        paths = {name: os.fspath(path) for name, path in (outputs or {}).items()}
        if len(set(map(os.path.realpath, paths.values()))) < len(paths):
            raise ValueError("two outputs are to be written to one place")
        self._named, program = _asked(graph, paths)
        self._sources = _sources(graph, program, inputs)
        shapes = {name: source.shape for name, source in self._sources.items()}
        self.plan = Plan.of(elsewhere(graph, program, shapes), fast=True)
        self._region = _only_region(self.plan)
        travels = [self._source(x) for x in self._region.arguments if self._has_rows(x)]
        self._runner = _runner(travels)
        self.bounds, self._together, self._nbytes = self._divided(travels, memory)
        self._targets = {
            name: self._target(name, path, force=force) for name, path in paths.items()
        }

    def __str__(self) -> str:
        rows = max((stop - start for start, stop in self.bounds), default=0)
        threads = self._runner.threads
        n = len(self.bounds)
        at_a_time = "one at a time" if threads == 1 else f"{threads} at a time in one process"
        return (
            f"{self.plan}\n{n} block{'s' * (n != 1)} of up to {rows} rows, {at_a_time}: "
            f"{threads * self._nbytes / 1e6:.4g} MB of memory"
        )

    def run(self, *, progress: bool | None = None) -> dict[str, Any]:
        """Compute and write.

        Outputs are written beside their places, and take them when all is done. If anything
        fails, or is interrupted, nothing is left of them.

        Parameters
        ----------
        progress : bool, optional
            Whether a bar is drawn on standard error; by default, where that is a terminal.

        Returns
        -------
        dict
            The results without rows, by name.
        """
        is_terminal = sys.stderr is not None and sys.stderr.isatty()
        bar = Progress(
            is_terminal if progress is None else progress,
            len(self._region.sweeps),
            len(self.bounds),
        )
        try:
            for new in self._targets.values():
                new.create()
            results = self._swept(bar)
            for name in self._targets.keys() & results.keys():
                self._targets[name].write(0, results[name])
            for new in self._targets.values():
                new.finish()
        finally:
            bar.end()
            for new in self._targets.values():
                new.discard()
        return results

    # ------------------------------------------------------------------ sweeps

    def _swept(self, bar: Progress) -> dict[str, Any]:
        """Do all sweeps; give the results without rows."""
        region = self._region
        known: dict[int, Any] = {x.index: x.params["value"] for x in region.constants}
        for x in region.arguments:
            if not self._has_rows(x):
                known[x.index] = self._vector(x)
        for sweep in region.sweeps:
            self._compute(sweep.before, known)
            bar.begin()
            sums = self._runner.sweep(
                self._work(sweep, known), self.bounds, self._lazy(sweep), bar.step
            )
            for x, total in zip(sweep.sums, sums, strict=True):
                known[x.index] = np.asarray(total, x.dtype)
        self._compute(region.after, known)
        small = {x.node.index: x for x in region.results if not self._has_rows(x)}
        named = {name: k for name, k in self._named.items() if k in small}
        return {name: self._array(small[k], known) for name, k in named.items()}

    def _compute(self, values: Iterable[Value], known: dict[int, Any]) -> None:
        for x in values:
            known[x.index] = computed(step_of(x, self._region.labels), known)

    def _work(self, sweep: Sweep, known: Mapping[int, Any]) -> _Work:
        labels = self._region.labels
        reads = [
            _Read(self._source(x), np.dtype(x.dtype), standing(x.labels, labels))
            for x in sweep.reads
        ]
        writes = [
            _Write(self._targets_of(x), np.dtype(x.node.dtype), standing(x.labels, labels))
            for x in sweep.writes
        ]
        vectors = {x.index: known[x.index] for x in sweep.vectors}
        return _Work(kernel_of(self._region, sweep), vectors, tuple(reads), tuple(writes))

    def _lazy(self, sweep: Sweep) -> list[Any]:
        """Give the blocks of those arrays of dask's that a sweep reads."""
        rows = tuple(stop - start for start, stop in self.bounds)
        lazy = [x for x in map(self._source, sweep.reads) if isinstance(x, LazySource)]
        return [x.blocks(rows) for x in lazy]

    def _targets_of(self, x: Result) -> tuple[Target, ...]:
        names = [name for name, k in self._named.items() if k == x.node.index]
        return tuple(self._targets[name] for name in names if name in self._targets)

    # ------------------------------------------------------------------ arrays

    def _has_rows(self, x: Value | Result) -> bool:
        return not set(self._region.rows).isdisjoint(x.labels)

    def _source(self, x: Value) -> Source:
        node: Any = x.node
        if node.role == "constant":
            return opened(node.value, "a constant of the graph")
        return self._sources[node.name]

    def _vector(self, x: Value) -> Any:
        """Read an argument without rows."""
        array = np.asarray(self._source(x).whole(), x.dtype)
        return array.reshape(standing(x.labels, self._region.labels))

    def _array(self, x: Result, known: Mapping[int, Any]) -> Any:
        """Give a result without rows, in its own shape."""
        array = np.asarray(known[x.value.index], x.node.dtype)
        shape = standing(x.labels, self._region.labels)
        return np.broadcast_to(array, shape).reshape(x.node.shape).copy()

    def _target(self, name: str, path: str, *, force: bool) -> Target:
        (x,) = (x for x in self._region.results if x.node.index == self._named[name])
        return target_of(path, x.node.shape, np.dtype(x.node.dtype), self._together, force=force)

    def _divided(self, sources: Sequence[Source], memory: float) -> tuple[list[Any], int, float]:
        """Give the bounds of the blocks, how many rows are stored together, and bytes of a block.

        These are of the widest sweep.
        """
        if not self._region.sweeps:
            return [], 1, 0.0
        count = self._region.rows[0].length
        if not math.prod(x.length for x in self._region.labels):
            raise ValueError("the batch is empty, and there is nothing to sweep over")
        row = max(self._row_nbytes(sweep) for sweep in self._region.sweeps)
        lazy = [x for x in sources if isinstance(x, LazySource)]
        if lazy:
            rows = lazy[0].rows
            return list(pairwise(accumulate(rows, initial=0))), max(rows), row * max(rows)
        together = min(count, math.lcm(*[x.together for x in sources]))
        fit = int(memory / self._runner.threads / row) // together * together
        if not fit:
            threads, what = self._runner.threads, "a row" if together == 1 else "a chunk"
            needed = row * together * threads / 1e6
            raise ValueError(
                f"{together} rows of each array, with {threads} such blocks at a time, take "
                f"{needed:.4g} MB of memory, and {memory / 1e6:.4g} MB are allowed; allow for "
                "more, or store the arrays in smaller chunks"
            )
        rows = min(fit, count)
        bounds = [(k, min(k + rows, count)) for k in range(0, count, rows)]
        return bounds, together if together > 1 else rows, row * rows

    def _row_nbytes(self, sweep: Sweep) -> int:
        """Count the bytes of a row of all that a sweep reads, converts and writes."""
        dtypes = [(x.labels, np.dtype(x.node.dtype)) for x in sweep.writes]
        for x in sweep.reads:
            stored = self._source(x).dtype
            dtypes += [(x.labels, dtype) for dtype in {stored, np.dtype(x.dtype)}]
        first = self._region.rows[0]
        return sum(
            dtype.itemsize * math.prod(label.length for label in labels if label != first)
            for labels, dtype in dtypes
        )


def run(
    graph: Graph,
    inputs: Mapping[str, Any],
    outputs: Mapping[str, str | os.PathLike[str]] | None = None,
    *,
    memory: float = MEMORY,
    force: bool = False,
    progress: bool | None = None,
) -> dict[str, Any]:
    """Run a graph on arrays that no memory holds, a block of rows at a time.

    In this process with NumPy alone, where all arrays are ``.npy`` files or in memory. By dask, as
    one computation for each sweep, on its cluster where there is a client of one, if an array is
    dask's; and if all can be read by the workers for themselves. Paths are then those of a file
    system that all of them see.

    Parameters
    ----------
    graph, inputs, outputs, memory, force
        As `Blocks` has them.
    progress : bool, optional
        Whether a bar is drawn on standard error; by default, where that is a terminal.

    Returns
    -------
    dict
        The results without rows, by name, such as ``dgamma``. Those with rows are in `outputs`.

    Raises
    ------
    ValueError, TypeError, Unsupported, FileExistsError, ModuleNotFoundError
        As `Blocks`.
    OSError
        If something cannot be read or written.

    Examples
    --------
    >>> import os, tempfile
    >>> from tinygraph import Graph, batchnorm, trace
    >>> rng = np.random.default_rng(0)
    >>> x, gamma, beta = rng.normal(size=(1000, 3)), rng.normal(size=3), rng.normal(size=3)
    >>> graph = Graph.joint(trace(batchnorm.staged)(x[:2], gamma, beta, eps=1e-5))
    >>> dout = rng.normal(size=x.shape)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "dx.npy")
    ...     small = run(graph, {"x": x, "gamma": gamma, "dout": dout}, {"dx": path}, memory=12e3)
    ...     dx = np.load(path)
    >>> by_formula = batchnorm.closed_form(x, gamma, dout)
    >>> np.allclose(dx, by_formula[0]), np.allclose(small["dgamma"], by_formula[1])
    (True, True)
    """
    return Blocks(graph, inputs, outputs, memory=memory, force=force).run(progress=progress)


# --------------------------------------------------------------------------- what one block needs


class _Read(NamedTuple):
    """Where rows come from, and how they stand in a region."""

    source: Source
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


class _Write(NamedTuple):
    """Where rows go to; to several places, where a result has several names."""

    targets: tuple[Target, ...]
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


class _Work(NamedTuple):
    """What a sweep does with each block, wherever that is done."""

    kernel: Kernel
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
            is_given = isinstance(source, LazySource)
            rows = next(rest) if is_given else source.read(start, stop)
            blocks.append(np.ascontiguousarray(rows, dtype).reshape(shape))
        count = stop - start
        new = [
            np.empty([count if n == -1 else n for n in shape], dtype)
            for _, dtype, shape in self.writes
        ]
        sums = self.kernel.run(self.vectors, blocks, new, count)
        for write, array in zip(self.writes, new, strict=True):
            for one in write.targets:
                one.write(start, array)
        return sums


# --------------------------------------------------------------------------- what is asked for


def _asked(graph: Graph, outputs: Iterable[str]) -> tuple[dict[str, int], Program]:
    """Give results by name, as indices of their nodes, and a program of those that are wanted."""
    whole = Program.of(graph)
    final = {g.of.index: g for g in graph.all_gradients}  # a sum comes after its parts
    named = {str(node.name): node for node in graph.outputs}
    for node in graph.inputs:
        if node.index in final and node.role == "input":
            named[final[node.index].name] = final[node.index].node
    if unknown := [name for name in outputs if name not in named]:
        raise ValueError(f"there is no result {unknown[0]!r}; the results are {', '.join(named)}")
    region = _only_region(Plan.of(_computing(whole, named.values()), fast=True))
    rows = set(region.rows)
    small = {x.node.index for x in region.results if rows.isdisjoint(x.labels)}
    wanted = {name: x for name, x in named.items() if name in outputs or x.index in small}
    if not wanted:
        raise ValueError(
            f"all results have rows: {', '.join(named)}; say in `outputs` where they are to go"
        )
    named_indices = {name: node.index for name, node in wanted.items()}
    return named_indices, _computing(whole, wanted.values())


def _computing(program: Program, results: Iterable[Node]) -> Program:
    """Give the part of a program that some results need."""
    results = tuple({node.index: node for node in results}.values())
    nodes = tuple(reachable(results))
    arguments = tuple(node for node in program.arguments if node in nodes)
    return Program(nodes, arguments, results, program.names)


def _only_region(plan: Plan) -> Region:
    """Give the region that is all of a plan."""
    for part in plan.parts:
        if not isinstance(part, Region):
            node = part.node
            called = f" ({node.name})" if node.name else ""
            raise Unsupported(
                f"{node.op} of step {node.step}{called} is no sweep over rows, and cannot be run "
                "block by block"
            )
    (region,) = (part for part in plan.parts if isinstance(part, Region))
    return region


def _sources(graph: Graph, program: Program, inputs: Mapping[str, Any]) -> dict[str, Source]:
    """Open what is given; all that a program needs must be."""
    known = {str(node.name): np.dtype(node.dtype) for node in graph.inputs}
    needed = {str(node.name) for node in program.arguments}
    missing = ", ".join(sorted(needed - inputs.keys())) or "none"
    unknown = ", ".join(sorted(inputs.keys() - known.keys())) or "none"
    if (missing, unknown) != ("none", "none"):
        raise ValueError(f"missing inputs: {missing}; unknown inputs: {unknown}")
    sources = {name: opened(given, name) for name, given in inputs.items()}
    for name, source in sources.items():
        dtype = known[name]
        number = dtype.kind == "f" and source.dtype.kind in "fiub"
        label = (dtype.kind == "b") == (source.dtype.kind == "b")
        if not (number or (label and np.can_cast(source.dtype, dtype, "same_kind"))):
            raise TypeError(f"{name} is of {dtype} in the graph, but was given {source.dtype}")
    return sources


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
