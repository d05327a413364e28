"""A graph in words: tables of equations, LaTeX, and the source of a NumPy module.

In the order in which to read it: `tables` (columns), `latex` and `literals` (names and numbers),
`languages` (how each language writes operations, and the printer that all of them share),
`formulas` (one node as text or LaTeX), `numpy_expressions` (one node as source), `numpy_module` (a
graph as a module), `equations` (`derive`).
"""

from tinygraph.writing.equations import derive

__all__ = ["derive"]
