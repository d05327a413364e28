"""Running a graph without the engine.

In the order in which to read it: `program` (what is to be computed); then how a program is planned:
`values` (index notation, in which what is computed twice is one), `labels` (which axes are one),
`regions` (what a plan consists of), `sweeps` (when what is computed), `linear` (sums rewritten, so
that there are fewer sweeps), `notation` (from nodes to values), `partition` (what is left to NumPy)
and `plan`; `stepping` (a plan's sweeps in NumPy, on blocks of rows); and how it becomes C:
`c_functions` (exp, log, tanh), `c_expressions` (one value), `c_page` (names and loops), `c_nests`
(loops along a row), `c_source` (a region), `compilation` (a text becomes a function), `calling` (it
gets arrays), `kernels` (a program in C).
"""

from tinygraph.execution.plan import Plan
from tinygraph.execution.program import Program, Unsupported

__all__ = ["Plan", "Program", "Unsupported"]
