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

import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tinygraph.engine.autodiff import reachable
from tinygraph.execution.clusters import Progress
from tinygraph.execution.destinations import Destination, destination_of
from tinygraph.execution.elsewhere import elsewhere
from tinygraph.execution.labels import place_of
from tinygraph.execution.plan import Plan
from tinygraph.execution.program import Program, Unsupported
from tinygraph.execution.regions import Region, text_of
from tinygraph.execution.schedule import Schedule
from tinygraph.execution.sources import Source, opened
from tinygraph.execution.values import Value
from tinygraph.graph.nodes import Node
from tinygraph.graph.snapshot import Graph

__all__ = ["MEMORY", "Blocks", "run"]

MEMORY = 100e6
"""Bytes that blocks may take where nobody says how many."""


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
    schedules : list of Schedules
        One for each region of the plan: what has nothing to do with each other is two.

    Raises
    ------
    ValueError
        If an input is missing or unknown, shapes do not fit, a number in the graph may stand for a
        length that has changed, or a row or a chunk does not fit into `memory`.
    TypeError
        If an input is of another kind of numbers than it was captured with.
    Unsupported
        If there is more in the graph than sweeps over rows, such as a matmul.
    FileNotFoundError
        If an input is not there, or the folder of an output.
    FileExistsError
        If an output is there already, and not `force`.
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
        self.schedules = [Schedule(x, self._source, memory) for x in _regions(self.plan)]
        made = {x.node.index: (x, one) for one in self.schedules for x in one.region.results}
        self._destinations = {}
        for name, path in paths.items():
            result, schedule = made[self._named[name]]
            shape, dtype = result.node.shape, np.dtype(result.node.dtype)
            self._destinations[name] = destination_of(
                path, shape, dtype, schedule.together, force=force
            )

    def __str__(self) -> str:
        return "\n".join(f"{text_of(one.region)}\n{one}" for one in self.schedules)

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
        sweeps = sum(len(one.region.sweeps) for one in self.schedules)
        bar = Progress(is_terminal if progress is None else progress, sweeps)
        destinations: dict[int, list[Destination]] = {index: [] for index in self._named.values()}
        for name, new in self._destinations.items():
            destinations[self._named[name]].append(new)
        vectors: dict[int, Any] = {}
        try:
            for new in self._destinations.values():
                new.create()
            for one in self.schedules:
                vectors |= one.run(destinations, bar)
            for index in vectors:
                for new in destinations[index]:
                    new.write(0, vectors[index])
            for new in self._destinations.values():
                new.finish()
        finally:
            bar.end()
            for new in self._destinations.values():
                new.discard()
        return {name: vectors[index] for name, index in self._named.items() if index in vectors}

    def _source(self, x: Value) -> Source:
        node: Any = x.node
        if node.role == "constant":
            return opened(node.value, "an array in the graph")
        return self._sources[node.name]


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
    ValueError, TypeError, Unsupported, ModuleNotFoundError
        As `Blocks`.
    OSError
        If something cannot be read or written; FileNotFoundError and FileExistsError as `Blocks`.

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


# --------------------------------------------------------------------------- what is asked for


def _asked(graph: Graph, outputs: Iterable[str]) -> tuple[dict[str, int], Program]:
    """Give results by name, as indices of their nodes, and a program of those that are wanted."""
    whole = Program.of(graph)
    arriving = graph.arriving
    named = {str(node.name): node for node in graph.outputs}
    for node in graph.inputs:
        if node.index in arriving and node.role == "input":
            named[arriving[node.index].name] = arriving[node.index].node
    if unknown := [name for name in outputs if name not in named]:
        raise ValueError(f"there is no result {unknown[0]!r}; the results are {', '.join(named)}")
    regions = _regions(Plan.of(_computing(whole, named.values()), fast=True))
    small = {x.node.index for one in regions for x in one.results if not one.has_rows(x)}
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


def _regions(plan: Plan) -> list[Region]:
    """Give the regions of a plan in which there is nothing else."""
    regions = []
    for part in plan.parts:
        if not isinstance(part, Region):
            raise Unsupported(
                f"{place_of(part.node)} is no sweep over rows, and cannot be run block by block"
            )
        regions.append(part)
    return regions


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
