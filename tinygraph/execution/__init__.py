"""Running a graph without the engine.

In the order in which to read it: `program` (what is to be computed).
"""

from tinygraph.execution.program import Program, Unsupported

__all__ = ["Program", "Unsupported"]
