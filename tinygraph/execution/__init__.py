"""Running a graph without the engine.

In the order in which to read it: `program` (what is to be computed, and what computes it).

As NumPy: `calls` (which function of NumPy computes a node into memory that is there), `memory`
(whose memory may serve whom), `scripts` (a program as the text of a function), `replay` (it runs).

How a program is planned: `values` (index notation, in which what is computed twice is one),
`labels` (which axes are one), `orders` (how values lie in memory, and which labels are rows),
`regions` (what a plan consists of), `sweeps` (when what is computed), `linear` (sums rewritten, so
that there are fewer sweeps), `notation` (from nodes to values), `partition` (what is left to NumPy)
and `plan`.

As C: `c_functions` (exp, log, tanh), `c_expressions` (one value), `c_page` (names and loops),
`c_nests` (loops along a row), `c_rows` (a sweep), `c_source` (a region), `c_program` (the whole
text), `compilation` (a text becomes a function), `calling` (it gets arrays), `stitching` (with what
NumPy does in between) and `kernels` (a program in C).

Batches larger than memory: `elsewhere` (a program at other lengths), `panels` (one sweep over one
block of rows), `sources` and `destinations` (what blocks are read from and written to), `clusters`
(who sweeps over them), `schedule` (the sweeps of a region), `blocks`.

From a function to programs: `layouts` (how arguments lie in memory), `targets` (arrays that are
written into), `environment` (what it reads beside its arguments), `recordings` (it is run once and
taken down), `refusals` (what it does that its graph would not do again), `merging` (what would be
computed twice). Where it closes over parameters: `cutting` (a joint graph in two programs), `runs`
(what one call has computed) and `training` (the training step). Where it is one of arrays: `forms`
(a function for arguments of one layout) and `subjects` (what is compiled). At the end: `compiled`
(a function that is called as it was).
"""

from tinygraph.execution.blocks import Blocks
from tinygraph.execution.compiled import Compiled, compile
from tinygraph.execution.plan import Plan
from tinygraph.execution.program import Program, Unsupported
from tinygraph.execution.replay import Replay

__all__ = ["Blocks", "Compiled", "Plan", "Program", "Replay", "Unsupported", "compile"]
