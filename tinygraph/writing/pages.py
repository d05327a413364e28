"""Pages: both passes as one HTML page of equations, which needs no library, font or network.

Each symbol bears the name of its value in ``data-v``, and each formula says itself as text in an
``aria-label``. The page follows the reader's choice of light or dark.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from tinygraph.graph.snapshot import Graph
from tinygraph.writing.languages import MATHML, SPOKEN
from tinygraph.writing.lines import Line, Pass, passes
from tinygraph.writing.tables import printable

__all__ = ["page"]

STYLE = """\
:root { --paper: #fff; --ink: #222; --soft: #5f5f5f; --line: #e2e2e2; --red: #c62828; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #16181b; --ink: #e8e6e3; --soft: #aaa8a4; --line: #34383d; --red: #ff8a80; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 24px clamp(14px, 4vw, 40px); max-width: 1080px;
  background: var(--paper); color: var(--ink);
  font: 16px/1.5 Helvetica, Arial, "Liberation Sans", sans-serif; }
h1 { font-size: 20px; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 16px; margin: 28px 0 6px; }
p, dl { margin: 0 0 10px; color: var(--soft); font-size: 14px; overflow-wrap: anywhere; }
dl { display: flex; flex-wrap: wrap; gap: 2px 26px; align-items: baseline; }
dl div { display: flex; gap: 6px; align-items: baseline; max-width: 100%; overflow-x: auto;
  overflow-y: hidden; }
dt, dd { margin: 0; }
ol { list-style: none; margin: 0; padding: 0; }
li { display: grid; grid-template-columns: 2.2em minmax(0, 1fr) auto; gap: 0 12px;
  align-items: center; border-top: 1px solid var(--line); padding: 5px 0; }
li b { color: var(--soft); font-weight: 400; text-align: right; }
li small { color: var(--soft); font-size: 13px; white-space: nowrap; }
li b, li small { font-variant-numeric: tabular-nums; }
.formula { overflow-x: auto; overflow-y: hidden; padding: 3px 0; }
.formula math { font-size: 21px; }
.backward .formula { color: var(--red); }
math { font-family: "STIX Two Text", "Times New Roman", "Liberation Serif", Times, serif;
  math-style: normal; }
math mi { text-transform: none; font-style: normal; }
math mi.i { font-style: italic; }
@media (max-width: 640px) {
  li { grid-template-columns: 2.2em minmax(0, 1fr); }
  li small { grid-column: 2; }
  .formula math { font-size: 18px; }
}
@media print { :root { --paper: #fff; --ink: #000; --red: #b00000; } li { break-inside: avoid; } }
"""


def page(graph: Graph, *, literal: bool = False) -> str:
    """Write a graph as a page of equations.

    Parameters
    ----------
    graph : Graph
    literal : bool, optional
        Whether formulas say what runs, unchanged.

    Returns
    -------
    str

    Examples
    --------
    >>> from tinygraph import Tensor
    >>> text = page(Graph.joint(Tensor(2.0, name="x") * 3))
    >>> text.splitlines()[0], text.count("<math"), 'data-v="dx"' in text
    ('<!doctype html>', 5, True)
    """
    shown = passes(graph, MATHML, literal=literal)
    spoken = passes(graph, SPOKEN, literal=literal)
    title = escape(printable(", ".join(str(node.name) for node in graph.outputs)))
    sections = [_section(a, b) for a, b in zip(shown, spoken, strict=True)]
    return "\n".join([
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>{title}, forward and backward</title>",
        f"<style>\n{STYLE}</style>",
        "</head>",
        "<body>",
        f"<h1>{title}</h1>",
        *sections,
        "</body>",
        "</html>",
    ])  # fmt: skip


def _section(shown: Pass, spoken: Pass) -> str:
    lines = [_item(a, b) for a, b in zip(shown.lines, spoken.lines, strict=True)]
    return "\n".join([
        f'<section class="{shown.title}">',
        f"<h2>{shown.title.capitalize()}</h2>",
        *_definitions(_pairs(shown.given, spoken.given, "")),
        *_definitions(_pairs(shown.symbols, spoken.symbols, "=")),
        "<ol>",
        *lines,
        "</ol>",
        *(f"<p>{note}</p>" for note in shown.notes),
        "</section>",
    ])  # fmt: skip


def _pairs(
    shown: Iterable[tuple[str, str]], spoken: Iterable[tuple[str, str]], sign: str
) -> list[str]:
    """Write names beside their shapes, or signs beside what they mean."""
    made = []
    for (name, value), (label, meaning) in zip(shown, spoken, strict=True):
        right = f"{sign} {_math(value, meaning)}" if sign else escape(value)
        made.append(f"<div><dt>{_math(name, label)}</dt><dd>{right}</dd></div>")
    return made


def _definitions(pairs: list[str]) -> list[str]:
    return ["<dl>", *pairs, "</dl>"] if pairs else []


def _item(shown: Line, spoken: Line) -> str:
    if shown.formula:
        written = f"{shown.name}<mo>=</mo>{shown.formula}"
        formula = _math(written, f"{spoken.name} = {spoken.formula}")
    else:
        formula = f"{_math(shown.name, spoken.name)} is given"
    return (
        f'<li><b>{shown.step}</b><div class="formula">{formula}</div>'
        f"<small>{escape(shown.shape)}</small></li>"
    )


def _math(written: str, label: str) -> str:
    label = escape(printable(label))
    return f'<math aria-label="{label}"><mrow>{written}</mrow></math>'
