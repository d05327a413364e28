"""Running a graph without the engine.

In the order in which to read it: `program` (what is to be computed); for functions that close over
parameters, `environment` (what a function reads beside its arguments), `recordings` (a function,
run once and taken down), `cutting` (a joint graph in two programs), `runs` (what one call has
computed) and `training` (the training step).
"""

from tinygraph.execution.program import Program, Unsupported

__all__ = ["Program", "Unsupported"]
