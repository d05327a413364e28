"""A graph in words: tables of equations, LaTeX, and the source of a NumPy module.

In the order in which to read it: `latex` and `literals` (names and numbers), `formulas` (one node
as text or LaTeX), `numpy_expressions` (one node as source), `numpy_module` (a graph as a module),
`tables`, `equations` (`derive`).
"""

from tinygraph.writing.equations import derive

__all__ = ["derive"]
