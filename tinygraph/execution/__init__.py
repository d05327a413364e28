"""Running a graph without the engine.

In the order in which to read it: `program` (what is to be computed), `calls` (which function of
NumPy computes a node into memory that is there), `memory` (whose memory may serve whom), `replay`
(a program as NumPy calls); for functions that close over parameters, `environment` (what a function
reads beside its arguments), `recordings` (a function, run once and taken down), `refusals` (what it
does that its graph would not do again), `cutting` (a joint graph in two programs), `runs` (what one
call has computed) and `training` (the training step); `layouts` (how arguments lie in memory),
`targets` (arrays that results are written into), `forms` (a function for arguments of one layout),
`subjects` (what is compiled) and `compiled` (a function that is called as it was).
"""

from tinygraph.execution.compiled import Compiled, compile
from tinygraph.execution.program import Program, Unsupported
from tinygraph.execution.replay import Replay

__all__ = ["Compiled", "Program", "Replay", "Unsupported", "compile"]
