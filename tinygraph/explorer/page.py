"""`explore`: one page on which a person steps through a graph with real numbers.

The page is a single file that asks for nothing else: template, style and scripts of this folder are
put together, with the pictures, the font and the data in between. It names its own style and
script, by their hashes, as the only ones that may act on it, so that no name in the data can.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from math import prod
from pathlib import Path
from typing import Any

from tinygraph.drawing.typography import FAMILY, font_file
from tinygraph.explorer.payload import ENGINE, needed, payload, written
from tinygraph.explorer.pictures import page_picture
from tinygraph.explorer.reports import report_data
from tinygraph.files import marked, replacing
from tinygraph.graph.snapshot import Graph
from tinygraph.writing.tables import printable

__all__ = ["Page", "explore"]

HERE = files("tinygraph.explorer")
SCRIPTS = (
    "words",
    "model",
    "stops",
    "walk",
    "picture",
    "entries",
    "heatmaps",
    "tables",
    "paths",
    "report",
    "page",
)
"""Those that show, a module each, in the order of their imports; those that compute are one."""
TABLE = (160, 14)
"""Entries and columns of what is shown as a table; what has more is a heat-map."""
WORDS = {
    r"\bspread\(": "spread(a) = a repeated along an axis",
    r"\bscatter\(": "scatter(a → k) = zeros with a added at k",
    r"\[[ij][],]|, j\]": "i, j = arrays of indices",
}
"""What equations say in words of their own, and what it means."""
REMARK = re.compile(
    r"^ *(?:/\*(?:(?!\*/).)*\*/\n|//[^\n]*\n|)|^\n|(?<=;) // [^\n]*", re.DOTALL | re.MULTILINE
)
"""Comments, and margins: a page is smaller without them."""
IMPORT = re.compile(r'^import (\{[^}]*\}) from "\./(\w+)\.js";$', re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:const|function|class) (\w+))", re.MULTILINE)


class Page:
    """A page that is written; notebooks show it in a frame.

    Attributes
    ----------
    html : str
        The whole file.
    policy : str
        What the page asks for: the Content-Security-Policy that it carries, for a server to send.

    Examples
    --------
    >>> from tinygraph import Tensor
    >>> page = explore(Tensor(2.0, name="a") * Tensor(3.0, name="b"))
    >>> page.html.splitlines()[0], page.policy[:18]
    ('<!doctype html>', "default-src 'none'")
    """

    def __init__(self, html: str, policy: str) -> None:
        self.html, self.policy = html, policy

    def __repr__(self) -> str:
        return f'Page({len(self.html.encode()):,} bytes; .save("page.html") writes it)'

    def save(self, filename: str | os.PathLike[str]) -> str:
        """Write the page to a file.

        Parameters
        ----------
        filename : path-like
            Ends in ``.html``.

        Returns
        -------
        str
            The path that was written.

        Raises
        ------
        ValueError
            If the suffix is another one.
        """
        path = Path(os.fspath(filename))
        if path.suffix.lower() not in (".html", ".htm"):
            raise ValueError(f"{path}: a page is written to a file that ends in .html")
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(marked(self.html.encode(), "html"))
        return str(path)

    def _repr_html_(self) -> str:
        """Show it in a frame that can do nothing but run it."""
        return (
            f'<iframe srcdoc="{escape(self.html)}" sandbox="allow-scripts" title="explorer" '
            'width="100%" height="900" style="border: 0; background: white"></iframe>'
        )


def explore(
    out: Any,
    *,
    wrt: Sequence[Any] | None = None,
    report: Any = None,
    title: str | None = None,
    note: str = "",
) -> Page:
    """Write a page on which a person steps through a graph, with its numbers.

    Parameters
    ----------
    out : Tensor, sequence of Tensors or Graph
        What to show. Upstream gradients are those that ``backward(dout)`` has left; without one,
        that of a scalar is 1, and others are random, with two decimals.
    wrt : sequence of Tensors, optional
        With respect to what the backward pass is shown; all leaves by default.
    report : BackwardReport, optional
        What `check` said of a backward pass of one's own: its lines are shown on the page, and the
        first wrong one at its gradient.
    title : str, optional
        By default the names of the outputs.
    note : str, optional
        What the numbers are, in a few words, for the head of the page.

    Returns
    -------
    Page

    Raises
    ------
    TypeError
        If `out` is neither Tensor nor Graph, or `report` is no report of `check`.
    ValueError
        If `out` does not depend on one of `wrt`, a Graph is given with `wrt` or holds no values, or
        there are more numbers than a page can hold.

    Examples
    --------
    >>> from tinygraph import Tensor
    >>> x = Tensor([1.0, 2.0], name="x")
    >>> page = explore((x * x).sum(), title="The squared norm")
    >>> "<h1>The squared norm</h1>" in page.html
    True
    """
    graph = _graph(out, wrt)
    data = payload(graph)
    if report is not None:
        data["report"] = report_data(report)
    data["font"] = [_base64(font_file(face, "woff2")) for face in ("regular", "bold")]
    data |= {"family": FAMILY, "table": TABLE}
    return _page(graph, data, title or ", ".join(str(node.name) for node in graph.outputs), note)


def _graph(out: Any, wrt: Sequence[Any] | None) -> Graph:
    if not isinstance(out, Graph):
        return Graph.joint(out, wrt, values=True)
    if wrt is not None:
        raise ValueError("explore: a Graph has its backward pass; give wrt to Graph.joint")
    return out


def _page(graph: Graph, data: dict[str, Any], title: str, note: str) -> Page:
    picture, folded = page_picture(graph, "steps")
    primitives, _ = page_picture(graph, "primitives")
    style, script = _text("page.css"), _script(needed(data), _showing(graph, data))
    policy = f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}"
    symbols = [*(" = ".join(symbol["text"]) for symbol in data["symbols"]), *_words(data)]
    parts = {
        "title": escape(printable(title)),
        "note": escape(printable(" · ".join(filter(None, (note, *symbols, folded))))),
        "policy": escape(policy),
        "style": style,
        "picture": picture,
        "primitives": primitives,
        "data": written(data),
        "script": script,
    }
    # in one go, so that nothing that is filled in is taken for a place to fill
    html = re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], _text("page.html"))
    return Page(html, policy)


def _words(data: Mapping[str, Any]) -> list[str]:
    """Explain the words that equations of these data use."""
    stops = [*data["forward"], *data["backward"]]
    text = "\n".join(line["text"] for stop in stops for line in stop["lines"])
    return [meaning for word, meaning in WORDS.items() if re.search(word, text)]


def _showing(graph: Graph, data: Mapping[str, Any]) -> list[str]:
    """Name the scripts that the page cannot do without."""
    most, widest = TABLE
    shapes = [node.shape for node in graph.nodes]
    has_maps = any(prod(shape) > most or shape[-1] > widest for shape in shapes if shape)
    needed = {"heatmaps": has_maps, "report": "report" in data}
    return [name for name in SCRIPTS if needed.get(name, True)]


def _script(computing: Sequence[str], showing: Sequence[str]) -> str:
    """Put the scripts together, each in a scope of its own: one script, which imports nothing."""
    texts = {name: _text(f"{name}.js") if name in showing else "" for name in SCRIPTS}
    used = {
        name
        for text in texts.values()
        for names, script in IMPORT.findall(text)
        if script in ENGINE
        for name in re.findall(r"\w+", names)
    }
    engine = "\n".join(_text(f"{name}.js") for name in computing)
    modules = [_module("engine", engine, sorted(used))]
    modules += [_module(name, text, EXPORT.findall(text)) for name, text in texts.items()]
    return "\n".join(modules)


def _module(name: str, text: str, offered: Sequence[str]) -> str:
    def taken(place: re.Match[str]) -> str:
        return f"const {place[1]} = {'engine' if place[2] in ENGINE else place[2]}_;"

    body = EXPORT.sub("", IMPORT.sub(taken, text))
    return f"const {name}_ = (() => {{\n{body}\nreturn {{ {', '.join(offered)} }};\n}})();"


def _text(name: str) -> str:
    return REMARK.sub("", (HERE / name).read_text(encoding="utf-8"))


def _hash(text: str) -> str:
    return f"'sha256-{_base64(hashlib.sha256(text.encode()).digest())}'"


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
