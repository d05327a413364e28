"""Where Graphviz places what a sheet has: positions from DOT text, in this process.

Graphviz comes with pygraphviz. Where there is no wheel of it, the ``dot`` program does the same;
where there is neither, one sentence says what to install.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from tinygraph.drawing.sheet import TITLE

__all__ = ["Places", "Point", "RenderingError", "draw_by_graphviz", "mirrored", "place"]

Point = tuple[float, float]

# Graphviz keeps global state and is not safe to enter from two threads.
_GRAPHVIZ = threading.Lock()

# Its font library's configuration may be newer than itself, and text that stands in a cell of our
# size may be wider in a font of its own. No reader of the picture can do anything about either.
OF_NO_CONCERN = (
    b"Fontconfig warning",
    b"Warning: cell size too small",
    b"in label of ",
    b"Warning: node '",
)

# Each stroke ends at the outline by itself, so a road leads from centre to centre.
CENTRED = {"headclip": "false", "tailclip": "false", "arrowhead": "none", "arrowtail": "none"}


class RenderingError(ValueError):
    """A picture could not be rendered: nothing is installed to do it, or Graphviz refused."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where everything lies, in points, y downwards.

    Attributes
    ----------
    blocks : dict
        Middle of each block, by its name in DOT.
    roads : dict
        Control points of the cubic curve from middle to middle, by the road's id.
    labels : dict
        Middle of each road's label.
    frames : dict
        Left, top, right and bottom, and the middle of the title, by the frame's name in DOT.
    """

    blocks: dict[str, Point]
    roads: dict[str, tuple[Point, ...]]
    labels: dict[str, Point]
    frames: dict[str, tuple[tuple[float, float, float, float], Point]]


def mirrored(places: Places, upright: bool) -> Places:
    """Turn a layout upside down; one that flows up or down, left to right.

    Parameters
    ----------
    places : Places
    upright : bool

    Returns
    -------
    Places
    """

    def turn(p: Point) -> Point:
        return (-p[0], p[1]) if upright else (p[0], -p[1])

    def box(corners: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        left, top, right, bottom = corners
        return (-right, top, -left, bottom) if upright else (left, -bottom, right, -top)

    return Places(
        {key: turn(p) for key, p in places.blocks.items()},
        {key: tuple(map(turn, road)) for key, road in places.roads.items()},
        {key: turn(p) for key, p in places.labels.items()},
        {key: (box(corners), turn(p)) for key, (corners, p) in places.frames.items()},
    )


def place(source: str, format: str = "json") -> Places:
    """Lay DOT text out.

    Parameters
    ----------
    source : str
    format : str, optional
        What the places are for, to be named where there are none.

    Returns
    -------
    Places

    Raises
    ------
    RenderingError
        If nothing is installed to do it, or Graphviz refuses.
    """
    require("dot", format)
    found = json.loads(draw_by_graphviz(source, "json0", "dot", CENTRED))
    height = float(found["bb"].split(",")[3])

    def point(text: str) -> Point:
        x, y = text.split(",")
        return float(x), height - float(y)

    blocks: dict[str, Point] = {}
    boxes, titles = {}, {}
    for item in found.get("objects", ()):
        name = item["name"]
        if "bb" in item:
            left, bottom, right, top = map(float, item["bb"].split(","))
            boxes[name] = left, height - top, right, height - bottom
            titles[name] = point(item.get("lp", f"{left},{top}"))
        elif "pos" in item:
            blocks[name] = point(item["pos"])
    frames = {
        name: (box, blocks.pop(f"{TITLE}{name}", titles[name])) for name, box in boxes.items()
    }
    roads, labels = {}, {}
    for item in found.get("edges", ()):
        if item.get("style") == "invis":
            continue
        name = item.get("id", "")
        roads[name] = tuple(map(point, item.get("pos", "").split()))
        if "lp" in item:
            labels[name] = point(item["lp"])
    return Places(blocks, roads, labels, frames)


def draw_by_graphviz(
    source: str, format: str, engine: str, edges: dict[str, str] | None = None
) -> bytes:
    """Render DOT text as Graphviz does.

    Parameters
    ----------
    source : str
    format : str
    engine : str
        Layout program.
    edges : dict, optional
        Attributes for every edge.

    Returns
    -------
    bytes

    Raises
    ------
    RenderingError
        If nothing is installed to do it, or Graphviz refuses.
    """
    pygraphviz = require(engine, format)
    if pygraphviz is None:
        return _by_program(source, format, engine, edges or {})
    with _GRAPHVIZ, _stderr_of_libraries() as messages:
        _warm_up(pygraphviz)
        try:
            graph = pygraphviz.AGraph(string=source)
            graph.edge_attr.update(edges or {})
            content = graph.draw(format=format, prog=engine)
        except TypeError:  # pygraphviz, of a format that its Graphviz does not know
            content = b""
        except (ValueError, OSError) as error:
            raise RenderingError(
                f"Graphviz cannot render {format}: {error} {messages()}".strip()
            ) from None
    if not content:
        raise RenderingError(f"Graphviz knows no format {format!r}; use svg, png, pdf or json")
    return bytes(content)


@cache
def _warm_up(pygraphviz: Any) -> None:
    """Draw once, since only then Graphviz declares that a node without a label shows its name."""
    pygraphviz.AGraph(string="digraph { a }").draw(format="dot", prog="dot")


def require(engine: str, format: str) -> Any:
    """Give pygraphviz; None where only the program is installed.

    Parameters
    ----------
    engine : str
    format : str

    Returns
    -------
    module or None

    Raises
    ------
    RenderingError
        If there is neither.
    """
    try:
        import pygraphviz
    except ImportError:
        if shutil.which(engine):
            return None
        raise RenderingError(
            f"{format} cannot be rendered here: install Graphviz (its dot program) or "
            "pip install pygraphviz; DOT text can be written without them"
        ) from None
    return pygraphviz


def _by_program(source: str, format: str, engine: str, edges: dict[str, str]) -> bytes:
    options = [f"-E{key}={value}" for key, value in edges.items()]
    done = subprocess.run(
        [engine, f"-T{format}", *options], input=source.encode(), capture_output=True
    )
    if done.returncode:
        said = " ".join(done.stderr.decode(errors="replace").split())
        raise RenderingError(f"Graphviz cannot render {format}: {said}")
    return done.stdout


@contextmanager
def _stderr_of_libraries() -> Iterator[Any]:
    """Collect what C libraries print on standard error.

    Graphviz explains an error only there.
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile() as file:

        def messages() -> str:
            file.seek(0)
            return " ".join(file.read().decode(errors="replace").split())

        kept = os.dup(2)
        try:
            os.dup2(file.fileno(), 2)
            yield messages
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            said = [line for line in file if not line.startswith(OF_NO_CONCERN)]
            if said and sys.exc_info()[0] is None:  # of another thread, perhaps
                os.write(2, b"".join(said))
