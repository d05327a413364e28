"""Pictures for a page: `draw`'s own, in the page's colours, that say what each stroke shows.

A page turns light or dark, so colours become classes; what every text and stroke has in common
stands in the page's style. The page finds a box by its id, a value's stroke by ``data-node``, a
gradient's by ``data-gradient``, its position in `Graph.all_gradients`, and the steps that were
folded into one box by ``data-steps``.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace

from tinygraph.drawing import draw
from tinygraph.drawing.boxes import Boxes, gather
from tinygraph.drawing.layout import RenderingError, place
from tinygraph.drawing.scene import draw_scene
from tinygraph.drawing.sheet import Sheet
from tinygraph.drawing.svg import number, write_svg
from tinygraph.graph.nodes import Gradient
from tinygraph.graph.snapshot import Graph

__all__ = ["page_picture"]

SVG = "{http://www.w3.org/2000/svg}"
ET.register_namespace("", SVG[1:-1])

COLORS = {
    "#222222": "ink",
    "#5f5f5f": "soft",
    "#767676": "soft",
    "#b71c1c": "red",
    "#2b6cb0": "blue",
    "#555555": "box",
    "#bbbbbb": "frame",
    "#f7f7f7": "raise",
    "#dcebfa": "wash",
    "white": "paper",
    "none": "none",
}
COMMON = {
    "text-anchor": "middle",
    "font-size": "13",
    "textLength": None,  # the page has the font for which it was measured
    "lengthAdjust": None,
    "stroke-width": "1.2",
}
"""What the page's style says of every text and stroke."""

PLACES = frozenset({"d", "x", "y", "cx", "cy", "rx", "ry", "width", "height"})
LENGTH = re.compile(r"-?\d+\.\d+")


def page_picture(graph: Graph, detail: str) -> tuple[str, str]:
    """Draw a graph for a page.

    Parameters
    ----------
    graph : Graph
    detail : {"steps", "primitives"}

    Returns
    -------
    svg : str
        Empty where nothing is installed that can place it.
    note : str
        What was folded, or why there is no picture; else empty.
    """
    is_scalar = bool(graph.values) and not any(node.shape for node in graph.nodes)
    shown = _with_gradients(graph) if is_scalar else graph
    drawn = draw(shown, detail=detail, values=is_scalar, direction="LR", legend=False)
    sheet = drawn.sheet
    if sheet is None:
        return "", ""
    try:
        scene = draw_scene(sheet, place(drawn.source))
    except RenderingError as error:
        return "", f"no picture: {error}"
    label = "The graph: values forward in black, gradients back in red."
    root = ET.fromstring(write_svg(scene, label))
    boxes = gather(graph, detail)
    _say_what_is_shown(root, graph, sheet)
    _say_what_is_folded(root, boxes)
    if is_scalar:
        _say_where_numbers_stand(root)
    _slim(root)
    return ET.tostring(root, encoding="unicode").replace(" />", "/>"), boxes.folded


def _with_gradients(graph: Graph) -> Graph:
    """Give a graph whose forward nodes hold value and gradient: boxes need room for both."""
    arriving = {index: g.node.index for index, g in graph.arriving.items()}
    values = {
        k: (value, graph.values.get(arriving.get(k, -1), (None, None))[0])
        for k, (value, _) in graph.values.items()
    }
    return replace(graph, values=values)


def _say_what_is_shown(root: ET.Element, graph: Graph, sheet: Sheet) -> None:
    shown = {stroke.ident: stroke.shows for road in sheet.roads for stroke in road.strokes}
    position = {id(g): k for k, g in enumerate(graph.all_gradients)}
    for group in root.iter(f"{SVG}g"):
        thing = shown.get(group.get("id", ""))
        if isinstance(thing, Gradient):
            group.set("data-gradient", str(position[id(thing)]))
        elif thing is not None:
            group.set("data-node", str(thing.index))


def _say_what_is_folded(root: ET.Element, boxes: Boxes) -> None:
    for box in boxes.boxes:
        group = root.find(f".//*[@id='group{box.result.index}']")
        if box.kind == "group" and group is not None:
            steps = sorted({node.step for node in box.nodes})
            group.set("data-steps", " ".join(map(str, steps)))


def _say_where_numbers_stand(root: ET.Element) -> None:
    for text in root.findall(f"{SVG}g/{SVG}text[last()]"):
        if " | " in (text.text or ""):
            text.set("data-live", "")


def _slim(root: ET.Element) -> None:
    """Leave out what the page's style says: size, font, what all strokes have in common."""
    root.attrib = {name: root.attrib[name] for name in ("viewBox", "role", "aria-label")}
    for child in (root.find(f"{SVG}style"), root.find(f"{SVG}rect")):
        if child is not None:
            root.remove(child)
    for group in root.iter(f"{SVG}g"):
        for name in ("data-from", "data-to"):
            group.attrib.pop(name, None)
        if "data-node" in group.attrib:  # a value, whose name stands beside it
            group.attrib.pop("id")
            for title in group.findall(f"{SVG}title"):
                group.remove(title)
        if not group.get("class", "").startswith("node"):
            for paper in group.findall(f"{SVG}rect[@fill='white']"):
                group.remove(paper)  # letters have a rim in its place
        for element in group:
            _name_colors(element)
    for element in root.iter():
        element.tail = None
        if element.text is not None and not element.text.strip():
            element.text = None


def _name_colors(element: ET.Element) -> None:
    """Name colours by classes, and leave out what goes without saying."""
    fill, stroke = (element.attrib.pop(name, "") for name in ("fill", "stroke"))
    if element.tag == f"{SVG}path":
        for name in ("stroke-width", "stroke-dasharray"):
            element.attrib.pop(name, None)
        classes = [] if stroke else ["head"]
    else:
        classes = [COLORS[fill]] if fill and COLORS[fill] != "ink" else []
        classes += [f"{COLORS[stroke]}-line"] if stroke else []
    if stroke and COLORS[stroke] == "frame":
        element.attrib.pop("stroke-width", None)
    if classes:
        element.set("class", " ".join(classes))
    for name, value in COMMON.items():
        if value is None or element.get(name) == value:
            element.attrib.pop(name, None)
    for name in PLACES & set(element.attrib):
        element.set(name, LENGTH.sub(_tenths, element.attrib[name]))


def _tenths(length: re.Match[str]) -> str:
    """Write a length to tenths of a point, finer than which no page shows it."""
    return number(round(float(length[0]), 1))
