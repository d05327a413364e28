"""`derive`: the forward and the backward pass written out, step by step.

The backward pass that autodiff performs is the derivation that a person does with paper and pencil.
This module writes it down, from the same snapshot that is drawn: as a table, as LaTeX, or as the
NumPy source that the person would have ended up with.
"""

from __future__ import annotations

import json
import re
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

from tinygraph.engine.autodiff import leaves, reachable
from tinygraph.graph.nodes import Node
from tinygraph.graph.snapshot import Graph
from tinygraph.writing import latex
from tinygraph.writing.languages import LATEX, MATHML, TEXT
from tinygraph.writing.lines import Line, passes
from tinygraph.writing.numpy_module import emit
from tinygraph.writing.pages import page
from tinygraph.writing.tables import printable, table

__all__ = ["derive"]


def derive(
    out: Any,
    *,
    format: str = "text",
    wrt: Sequence[Any] | None = None,
    literal: bool = False,
) -> str:
    """Write the forward and the backward pass out.

    Parameters
    ----------
    out : Tensor, sequence of Tensors or Graph
        What is differentiated. A Graph without a backward pass gives the forward pass alone.
    format : str, optional
        ``text`` or ``markdown``: a table of steps, names, formulas and shapes. ``latex``: aligned
        equations, for amsmath. ``html``: a page of equations that needs nothing else, on which
        every symbol says by ``data-v`` whose value it is. ``json``: each line in text, LaTeX and
        MathML, for other programs. ``python``: a NumPy module with the functions
        ``forward(*inputs)``, which returns the outputs and a cache, and ``backward(*upstream,
        cache)``, which returns the tuple of gradients, both bit for bit what the engine gives.
    wrt : sequence of Tensors, optional
        With respect to what; all leaves by default. Their order does not matter: gradients are
        returned in the order in which the tensors were made.
    literal : bool, optional
        Whether formulas say what runs, operation by operation, as ``python`` always does. By
        default they are rewritten as an author would print them; the rules are listed below.

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

    Formulas are rewritten by these rules, none of which dissolves a step in another one:

    - −(−a) is a; a − (−b) is a + b, a + (−b) is a − b, and −a + b is b − a;
    - in a product, a minus comes first, then numbers, constants, and sums last; a · a is a²;
    - (a / b) · c is a · c / b, a · (1 / b) is a / b, a / b / c is a / (b · c);
    - (√a)² is a, (aᵀ)ᵀ is a, (aᵀ @ b)ᵀ is bᵀ @ a;
    - one reshape or spread after another is one, and none is shown that only makes a column of a
      vector, or drops axes that a sum has left with length 1;
    - signs and numbers come out of what is linear: (−a) @ (b / 2) is −(a @ b) / 2;
    - 1/(1 + exp(−z)) is σ(z), and s² · exp(−z) is s · (1 − s) where s = σ(z);
    - 2.8284271247461903 is √8;
    - both parts of the gradient of a · a are one line, 2 · g · a;
    - a gradient that is identically 0, since no output depends on a maximum that is subtracted,
      is left out, which a footnote says.

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
       1  dx2   −spread(1/N Σ dxmu)     (3,)
       0  dx    dx1 + dx2               (3,)
    """
    if format not in FORMATS:
        raise ValueError(f"derive: format is {format!r}, but must be one of {', '.join(FORMATS)}")
    variables = sys._getframe(1).f_locals  # of the caller, whose names the reader knows
    return FORMATS[format](*_snapshot(out, wrt, variables), literal)


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


# --------------------------------------------------------------------------- formats

HEAD = "step", "name", "formula", "shape"
GIVEN = r"\mathrm{given}"
WIDTH = 100
PREAMBLE = r"% for amsmath; \allowdisplaybreaks lets it go on over a page"
LONGEST_EQUATION = 60  # characters, of which about as many fit on a page


def _text(graph: Graph, wanted: Any, literal: bool) -> str:
    both = passes(graph, TEXT, literal=literal)
    cells = [_cells(line) for one in both for line in one.lines]
    head, rule, *written = table(HEAD, cells, right=[0])
    rest = iter(written)
    blocks = []
    for one in both:
        given = ", ".join(" ".join(pair) for pair in one.given)
        symbols = ", ".join(" = ".join(pair) for pair in one.symbols)
        title = f"{one.title}: {'; '.join(filter(None, [given, symbols]))}"
        blocks.append(_filled(title))
        blocks.append("\n".join([head, rule, *islice(rest, len(one.lines))]))
        blocks += map(_filled, one.notes)
    return "\n\n".join(blocks)


def _cells(line: Line) -> tuple[str, ...]:
    return str(line.step), line.name, line.formula or "given", line.shape


def _filled(text: str) -> str:
    return textwrap.fill(printable(text), WIDTH, subsequent_indent="    ")


def _markdown(graph: Graph, wanted: Any, literal: bool) -> str:
    blocks = []
    for one in passes(graph, TEXT, literal=literal):
        given = [f"{_code(name)} {shape}" for name, shape in one.given]
        given += [_code(f"{name} = {value}") for name, value in one.symbols]
        lines = ["| step | name | formula | shape |", "|---:|:---|:---|:---|"]
        for line in one.lines:
            formula = _code(line.formula) if line.formula else "given"
            lines.append(f"| {line.step} | {_code(line.name)} | {formula} | {line.shape} |")
        blocks += [f"## {one.title.capitalize()}", f"Given {', '.join(given)}.", "\n".join(lines)]
        blocks += one.notes
    return "\n\n".join(blocks)


def _latex(graph: Graph, wanted: Any, literal: bool) -> str:
    blocks = [PREAMBLE]
    for one in passes(graph, LATEX, literal=literal):
        rows = [_aligned(str(line.step), line.name, line.formula or GIVEN) for line in one.lines]
        rows += [_aligned("", name, value) for name, value in one.symbols]
        body = " \\\\\n".join(rows)
        blocks.append(f"% {one.title}\n\\begin{{align*}}\n{body}\n\\end{{align*}}")
        blocks += one.notes
    return "\n\n".join(blocks)


def _aligned(step: str, name: str, formula: str) -> str:
    first, *others = latex.broken(formula, LONGEST_EQUATION)
    rows = [rf"{step} &\quad& {name} &= {first}".lstrip()]
    return " \\\\\n".join([*rows, *(rf"&& &\qquad {{}} {rest}" for rest in others)])


def _python(graph: Graph, wanted: Sequence[Node] | None, literal: bool) -> str:
    return emit(graph, wanted)


def _json(graph: Graph, wanted: Any, literal: bool) -> str:
    """Write every line in every language, for other programs."""
    languages = {"text": TEXT, "latex": LATEX, "mathml": MATHML}
    made = {key: passes(graph, language, literal=literal) for key, language in languages.items()}
    both = [
        {
            "title": first.title,
            "given": [{"name": name, "shape": shape} for name, shape in first.given],
            "symbols": dict(first.symbols),
            "lines": [
                {"step": line.step, "node": line.value.index, "shape": list(line.value.shape)}
                | {
                    key: {"name": one[k].lines[j].name, "formula": one[k].lines[j].formula}
                    for key, one in made.items()
                }
                for j, line in enumerate(first.lines)
            ],
            "notes": first.notes,
        }
        for k, first in enumerate(made["text"])
    ]
    document = {"tinygraph": "derivation", "version": 1, "passes": both}
    return json.dumps(document, ensure_ascii=False, indent=1)


FORMATS: dict[str, Callable[[Graph, list[Node] | None, bool], str]] = {
    "text": _text,
    "markdown": _markdown,
    "latex": _latex,
    "html": lambda graph, wanted, literal: page(graph, literal=literal),
    "json": _json,
    "python": _python,
}


def _code(text: str) -> str:
    """Write text that Markdown leaves as it is, in a cell of a table."""
    text = printable(text).replace("|", r"\|")
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence, space = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{space}{text}{space}{fence}"
