"""`derive`: the forward and the backward pass written out, step by step.

The backward pass that autodiff performs is the derivation that a person does with paper and pencil.
This module writes it down, from the same snapshot that is drawn: as a table, as LaTeX, or as the
NumPy source that the person would have ended up with.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from tinygraph.engine.autodiff import leaves, reachable
from tinygraph.graph.nodes import Node
from tinygraph.graph.snapshot import Graph
from tinygraph.writing.formulas import Notation, number_text, shape_text
from tinygraph.writing.languages import LATEX, TEXT, Formulary
from tinygraph.writing.numpy_module import emit
from tinygraph.writing.tables import printable, table

__all__ = ["derive", "named_constants"]


def derive(out: Any, *, format: str = "text", wrt: Sequence[Any] | None = None) -> str:
    """Write the forward and the backward pass out.

    Parameters
    ----------
    out : Tensor, sequence of Tensors or Graph
        What is differentiated. A Graph without a backward pass gives the forward pass alone.
    format : str, optional
        ``text`` or ``markdown``: a table of steps, names, formulas and shapes. ``latex``: aligned
        equations, for amsmath. ``python``: a NumPy module with the functions ``forward(*inputs)``,
        which returns the outputs and a cache, and ``backward(*upstream, cache)``, which returns the
        tuple of gradients, both bit for bit what the engine gives.
    wrt : sequence of Tensors, optional
        With respect to what; all leaves by default. Their order does not matter: gradients are
        returned in the order in which the tensors were made.

    Returns
    -------
    str

    Raises
    ------
    TypeError
        If `out` is something else.
    ValueError
        If the format is unknown, `out` does not depend on one of `wrt`, or, for ``python``, a
        constant array is too large to be written out.

    Notes
    -----
    A step is one assignment. The gradient of ``v`` is ``dv``; where several paths arrive, the
    contributions are ``dv1``, ``dv2``, … and ``dv`` is their sum. N is the number of values that
    the graph averages over.

    Examples
    --------
    >>> from tinygraph import Tensor, trace
    >>> def spread(x):
    ...     xmu = x - x.mean()
    ...     return (xmu**2).sum()
    >>> print(derive(trace(spread)(Tensor([1.0, 2.0, 6.0], name="x"))))
    forward: x (3,); N = 3
    <BLANKLINE>
    step  name  formula                 shape
    ----  ----  ----------------------  -----
       1  xmu   x − 1/N Σ x             (3,)
       2  out   Σ xmu²                  ()
    <BLANKLINE>
    backward: dout ()
    <BLANKLINE>
    step  name  formula                 shape
    ----  ----  ----------------------  -----
       2  dout  given                   ()
       2  dxmu  2 · xmu · spread(dout)  (3,)
       1  dx1   dxmu                    (3,)
       1  dx2   spread(−1/N Σ dxmu)     (3,)
       0  dx    dx1 + dx2               (3,)
    """
    if format not in FORMATS:
        raise ValueError(f"derive: format is {format!r}, but must be one of {', '.join(FORMATS)}")
    variables = sys._getframe(1).f_locals  # of the caller, whose names the reader knows
    return FORMATS[format](*_snapshot(out, wrt, variables))


def _snapshot(
    out: Any, wrt: Sequence[Any] | None, variables: Mapping[str, Any]
) -> tuple[Graph, list[Node] | None]:
    """Give the graph, and the nodes whose gradients are wanted, if it has a backward pass."""
    if isinstance(out, Graph):
        if wrt is not None:
            raise ValueError("derive: a Graph has its backward pass; give wrt to Graph.capture")
        return out, _ends(out)
    outputs = list(out) if isinstance(out, list | tuple) else [out]
    graph = Graph.joint(outputs, wrt, variables=variables)
    tensors = reachable(outputs)
    wrt = leaves(outputs) if wrt is None else wrt
    nodes = (node for node in graph.nodes if node.role in ("input", "forward"))  # one per tensor
    wanted = {t.index for t in wrt}
    return graph, [n for t, n in zip(tensors, nodes, strict=True) if t.index in wanted]


def _ends(graph: Graph) -> list[Node] | None:
    """Find what the backward pass of a graph leads to: where gradients arrive and do not go on."""
    if not graph.all_gradients:
        return None
    passed_on = {g.consumer.index for g in graph.all_gradients if g.consumer is not None}
    arrived = {g.of.index: g.of for g in graph.all_gradients}
    ends = [node for node in arrived.values() if node.index not in passed_on]
    return sorted(ends, key=lambda node: node.index)


# --------------------------------------------------------------------------- rows


class _Row(NamedTuple):
    """One line of the derivation; what is given has no formula."""

    step: str
    name: str
    formula: str
    shape: str


class _Pass(NamedTuple):
    """One direction: what is given, and what is computed from it."""

    title: str
    given: list[tuple[str, str]]
    symbols: list[tuple[str, str]]
    rows: list[_Row]


def _passes(graph: Graph, language: Formulary) -> list[_Pass]:
    notation = Notation(graph, language)
    rows = [
        _Row(str(s.number), notation.name(s.name), notation.formula(s.result), _shape(s.result))
        for s in graph.steps
    ]
    given = _given(graph, "input", notation)
    passes = [_Pass("forward", given, _symbols(graph, notation), rows)]
    if graph.all_gradients:
        rows = [
            _Row(
                str(g.step),
                notation.name(g.name),
                "" if g.kind == "upstream" else notation.gradient(g),
                _shape(g.node),
            )
            for g in graph.gradients
        ]
        passes.append(_Pass("backward", _given(graph, "upstream", notation), [], rows))
    return passes


def _shape(node: Node) -> str:
    return shape_text(node.shape)


def _given(graph: Graph, role: str, notation: Notation) -> list[tuple[str, str]]:
    return [(notation.name(str(n.name)), _shape(n)) for n in graph.inputs if n.role == role]


def _symbols(graph: Graph, notation: Notation) -> list[tuple[str, str]]:
    """Give N and the constants that formulas mention, with their values, and the kinds of sums."""
    symbols = {"N": str(notation.batch)} if notation.batch else {}
    return list((symbols | named_constants(graph, notation) | notation.sums()).items())


def named_constants(graph: Graph, notation: Notation) -> dict[str, str]:
    """Give the constants that formulas mention by name, with all values that the name has."""
    values: dict[str, list[str]] = {}
    for node in graph.nodes:
        if node.role == "constant" and node.name and not node.shape:
            name = notation.name(node.name)
            number = notation.language.number(number_text(node.value))
            if notation.reference(node) == name and number not in values.setdefault(name, []):
                values[name].append(number)
    return {name: ", ".join(numbers) for name, numbers in values.items()}


# --------------------------------------------------------------------------- formats

HEAD = _Row("step", "name", "formula", "shape")
GIVEN = r"\mathrm{given}"
WIDTH = 100


def _text(graph: Graph, wanted: Any) -> str:
    passes = _passes(graph, TEXT)
    rows = (row._replace(formula=row.formula or "given") for one in passes for row in one.rows)
    head, rule, *written = table(HEAD, rows, right=[0])
    lines = iter(written)
    blocks = []
    for one in passes:
        given = ", ".join(" ".join(pair) for pair in one.given)
        symbols = ", ".join(" = ".join(pair) for pair in one.symbols)
        title = printable(f"{one.title}: {'; '.join(filter(None, [given, symbols]))}")
        blocks.append(textwrap.fill(title, WIDTH, subsequent_indent="    "))
        blocks.append("\n".join([head, rule, *islice(lines, len(one.rows))]))
    return "\n\n".join(blocks)


def _markdown(graph: Graph, wanted: Any) -> str:
    blocks = []
    for one in _passes(graph, TEXT):
        given = [f"{_code(name)} {shape}" for name, shape in one.given]
        given += [_code(f"{name} = {value}") for name, value in one.symbols]
        lines = ["| step | name | formula | shape |", "|---:|:---|:---|:---|"]
        for row in one.rows:
            formula = _code(row.formula) if row.formula else "given"
            lines.append(f"| {row.step} | {_code(row.name)} | {formula} | {row.shape} |")
        blocks += [f"## {one.title.capitalize()}", f"Given {', '.join(given)}.", "\n".join(lines)]
    return "\n\n".join(blocks)


def _latex(graph: Graph, wanted: Any) -> str:
    blocks = []
    for one in _passes(graph, LATEX):
        lines = [rf"{row.step} &\quad& {row.name} &= {row.formula or GIVEN}" for row in one.rows]
        lines += [rf"&\quad& {name} &= {value}" for name, value in one.symbols]
        body = " \\\\\n".join(lines)
        blocks.append(f"% {one.title}\n\\[\n\\begin{{aligned}}\n{body}\n\\end{{aligned}}\n\\]")
    return "\n\n".join(blocks)


FORMATS: dict[str, Callable[[Graph, list[Node] | None], str]] = {
    "text": _text,
    "markdown": _markdown,
    "latex": _latex,
    "python": emit,
}


def _code(text: str) -> str:
    """Write text that Markdown leaves as it is, in a cell of a table."""
    text = printable(text).replace("|", r"\|")
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence, space = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{space}{text}{space}{fence}"
