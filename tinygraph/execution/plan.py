"""`Plan`: what a program computes in which order, and how often it reads its arrays for that."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

from tinygraph.execution.labels import Labels, is_labelled, place_of
from tinygraph.execution.notation import Notation
from tinygraph.execution.program import Program, Unsupported
from tinygraph.execution.regions import Region
from tinygraph.execution.sweeps import region_of
from tinygraph.graph.nodes import Node

__all__ = ["Foreign", "Plan"]


class Foreign(NamedTuple):
    """An operation between regions that NumPy computes: ``op.forward(*operands, **params)``.

    Attributes
    ----------
    node : Node
        Its operands are results of earlier parts, arguments of the program, or constants.
    """

    node: Node


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
    """

    arguments: tuple[Node, ...]
    results: tuple[Node, ...]
    parts: tuple[Region | Foreign, ...]
    fast: bool

    @classmethod
    def of(cls, program: Program, *, fast: bool = False) -> Plan:
        """Plan a program."""
        for node in program.nodes:
            if not is_labelled(node):
                raise Unsupported(f"{place_of(node)} is none of the operations that run in sweeps")
        labels = Labels(program.nodes)
        notation = Notation(
            program.nodes, program.arguments, program.results, labels, program.names
        )
        region = region_of(notation.arguments, notation.results, notation.labels)
        return cls(program.arguments, program.results, (region,), fast)

    def __str__(self) -> str:
        return "\n".join(map(_text, self.parts))


def _text(part: Region | Foreign) -> str:
    """Write what a part reads and writes."""
    if isinstance(part, Foreign):
        return f"{part.node.op} → {part.node.name or '…'}"
    sweeps = [",".join(x.name for x in sweep.reads) for sweep in part.sweeps]
    writes = [x for sweep in part.sweeps for x in sweep.writes]
    reads = sum(len(sweep.reads) for sweep in part.sweeps)
    return f"{' | '.join(sweeps)}: {reads} reads {len(writes)} writes, {len(sweeps)} sweeps"
