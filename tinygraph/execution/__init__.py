"""Running a graph without the engine.

In the order in which to read it: `program` (what is to be computed), `calls` (which function of
NumPy computes a node into memory that is there), `memory` (whose memory may serve whom), `replay`
(a program as NumPy calls). For functions that close over parameters: `environment` (what a function
reads beside its arguments), `recordings` (a function, run once and taken down), `cutting` (a joint
graph in two programs), `merging` (what would be computed twice), `runs` (what one call has
computed), `training` (the training step).
"""

from tinygraph.execution.program import Program, Unsupported
from tinygraph.execution.replay import Replay

__all__ = ["Program", "Replay", "Unsupported"]
