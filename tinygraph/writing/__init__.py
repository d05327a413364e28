"""A graph in words: tables of equations, LaTeX, MathML, and the source of a NumPy module.

In the order in which to read it: `tables` (columns), `names`, `numbers`, `latex`, `mathml` and
`literals` (names and numbers), `languages` (how each language writes operations, and the printer
that all of them share), `products`, `rewriting` and `rules` (expressions as an author would print
them), `counts` (what N is), `formulas` (one node in any language for eyes), `shifts` (gradients
that are identically 0), `lines` (both passes, line by line), `numpy_expressions` (one node as
source), `numpy_module` (a graph as a module), `pages` (a graph as a page of equations), `equations`
(`derive`).
"""

from tinygraph.writing.equations import derive

__all__ = ["derive"]
