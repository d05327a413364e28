"""`Plan`: what a program computes in which order, and how often it reads its arrays for that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from tinygraph.execution.labels import Labels, is_labelled, place_of
from tinygraph.execution.linear import rewritten
from tinygraph.execution.notation import Notation
from tinygraph.execution.partition import Block, foreign_of, partition
from tinygraph.execution.program import Program, Unsupported
from tinygraph.execution.regions import Foreign, Region, text_of
from tinygraph.execution.sweeps import loops, region_of
from tinygraph.graph.nodes import Node

__all__ = ["Plan"]


class Plan(NamedTuple):
    """What is computed in which order.

    Attributes
    ----------
    arguments, results : tuple of Nodes
        Those of the program.
    parts : tuple of Regions and Foreign operations
        In order. What one gives is known to the others by its node; a program without foreign
        operations is one region.
    fast : bool
        Whether sums were rewritten, so that the numbers are equal but for rounding.

    Examples
    --------
    >>> import numpy as np
    >>> import tinygraph
    >>> from tinygraph.execution import Program
    >>> rng = np.random.default_rng(0)
    >>> x, gamma, beta = rng.normal(size=(64, 10)), rng.normal(size=10), rng.normal(size=10)
    >>> out = tinygraph.trace(tinygraph.batchnorm.staged)(x, gamma, beta)
    >>> program = Program.of(tinygraph.Graph.joint(out))
    >>> print(Plan.of(program))
    x | x,dout | x,dout → out | x,dout → dx: 7 reads 2 writes, 4 sweeps, 46.1 kB at 64 × 10 float64
    >>> print(Plan.of(program, fast=True))
    x | x,dout | x,dout → out,dx: 5 reads 2 writes, 3 sweeps, 35.8 kB at 64 × 10 float64
    """

    arguments: tuple[Node, ...]
    results: tuple[Node, ...]
    parts: tuple[Region | Foreign, ...]
    fast: bool

    @classmethod
    def of(
        cls,
        program: Program,
        *,
        fast: bool = False,
        is_inside: Callable[[Node], bool] = lambda node: True,
    ) -> Plan:
        """Plan a program.

        Parameters
        ----------
        program : Program
        fast : bool, optional
            Whether sums may be rewritten by their linearity (`tinygraph.execution.linear`).
        is_inside : callable, optional
            Says of what is computed whether the executor does it in sweeps, if it is elementwise, a
            reduction, or moves axes; by default it does. All else is foreign.

        Returns
        -------
        Plan

        Raises
        ------
        Unsupported
            If there are complex or exact numbers; if two axes of an array are one, as where it
            meets its own transpose; if some arrays have their axes in another order than others; or
            if NumPy adds up in another order than a plan that is not fast would.
        """
        for node in program.nodes:
            if node.dtype is not None and node.dtype.kind not in "fiub":
                raise Unsupported(f"{place_of(node)} is of dtype {node.dtype}, and no real floats")

        foreign = foreign_of(program.nodes, lambda x: is_labelled(x) and is_inside(x))
        upstream = [node for node in program.arguments if node.role == "upstream"]
        pairs = zip(upstream, program.results, strict=False)  # the outputs come first
        alike = [(g, out) for g, out in pairs if g.shape == out.shape]
        given = {node.index for node in program.arguments}
        labels = Labels(program.nodes, foreign | given, alike)
        divided = partition(program, foreign, labels)
        if len(divided) == 1 and isinstance(divided[0], Block):
            divided = [divided[0]._replace(arguments=program.arguments, nodes=program.nodes)]
        parts = [
            _region(part, labels, program.names, fast=fast)
            if isinstance(part, Block)
            else Foreign(part)
            for part in divided
        ]
        return cls(program.arguments, program.results, tuple(parts), fast)

    def __str__(self) -> str:
        return "\n".join(map(text_of, self.parts))


def _region(block: Block, labels: Labels, names: Mapping[int, str], *, fast: bool) -> Region:
    notation = Notation(*block, labels, names, strict=not fast)
    results = notation.results
    if fast:
        rows, *_ = loops(results, notation.labels)
        results = rewritten(results, notation.values, rows)
    return region_of(notation.arguments, results, notation.labels)
