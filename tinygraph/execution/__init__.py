"""Running a graph without the engine.

In the order in which to read it: `program` (what is to be computed); then how a program is planned:
`values` (index notation, in which what is computed twice is one), `labels` (which axes are one),
`regions` (what a plan consists of), `sweeps` (when what is computed), `linear` (sums rewritten, so
that there are fewer sweeps), `notation` (from nodes to values), `partition` (what is left to NumPy)
and `plan`; and `stepping` (a plan's sweeps in NumPy, on blocks of rows).

Then batches larger than memory: `elsewhere` (a program at other lengths), `panels` (one sweep over
one block of rows), `stores` (where blocks are read from and written to), `clusters` (who sweeps
over them), `schedule` (the sweeps over blocks), `blocks`.
"""

from tinygraph.execution.blocks import Blocks
from tinygraph.execution.plan import Plan
from tinygraph.execution.program import Program, Unsupported

__all__ = ["Blocks", "Plan", "Program", "Unsupported"]
