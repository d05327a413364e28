"""A sheet as DOT text in which every size is fixed.

Blocks are given their size, labels of roads and titles of frames stand in table cells of a fixed
size, so that no program needs to know the font to place them. The text is there all the same: any
Graphviz draws it, with both strokes of a road side by side.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Mapping
from math import ceil

from tinygraph.drawing.sheet import TITLE, Block, Look, Road, Scope, Sheet, row_width
from tinygraph.drawing.typography import GREY, INK, LIGHT, RED, Line, height

__all__ = ["COLORS", "EDGE", "FRAME", "GRAPH", "NODE", "body", "frame_names", "legend"]

FONT = "Roboto Condensed,Arial Narrow,Arial,sans-serif"

GRAPH = {
    "class": "tinygraph",
    "bgcolor": "white",
    "nodesep": "0.25",
    "fontname": FONT,
    "fontsize": "13",
    "fontcolor": GREY,
    "labelloc": "b",
    "newrank": "true",  # ranks across frames, or a frame may pull its steps out of order
}
NODE = {
    "shape": "box",
    "style": "rounded,filled",
    "fillcolor": Look().fill,
    "color": Look().border,
    "fontcolor": INK,
    "fontname": FONT,
    "fontsize": "13",
    "fixedsize": "true",
    "penwidth": "1.2",
}
EDGE = {
    "fontname": FONT,
    "fontsize": "13",
    "fontcolor": INK,
    "color": INK,
    "arrowsize": "0.6",
    "penwidth": "1.2",
}
FRAME = {
    "style": "rounded",
    "color": "#bbbbbb",
    "fontcolor": GREY,
    "labelloc": "t",
    "labeljust": "l",
    "margin": "8",
}
LOOKS = {"box": "box", "ellipse": "ellipse", "none": "plaintext"}
COLORS = {"value": INK, "gradient": RED, "read": LIGHT}
LEGEND_WIDTH = 600


def body(sheet: Sheet) -> list[str]:
    """Write what stands between the braces, as lines.

    Parameters
    ----------
    sheet : Sheet

    Returns
    -------
    list of str
    """
    held: dict[Scope, list[Block]] = {}
    for block in sheet.blocks.values():
        held.setdefault(block.scope, []).append(block)
    inner: dict[Scope, list[Scope]] = {}
    for scope in sorted(sheet.frames):
        inner.setdefault(scope[:-1], []).append(scope)
    names = {scope: name for name, scope in frame_names(sheet).items()}
    lines = list(_contents(sheet, (), held, inner, names))
    lines += [_road(road, sheet.upright) for road in sheet.roads]
    for tail, head, ranks in sheet.order:
        lines.append(f"\t{tail} -> {head} [minlen={ranks} style=invis weight={1 - ranks}]\n")
    return lines


def frame_names(sheet: Sheet) -> dict[str, Scope]:
    """Give the scope of every frame by its name in DOT."""
    keys: dict[Scope, str] = {(): "cluster"}
    numbers: dict[Scope, int] = {}
    for scope in sorted(sheet.frames):
        number = numbers.get(scope[:-1], 0)
        numbers[scope[:-1]] = number + 1
        keys[scope] = f"{keys[scope[:-1]]}_{number}"
    return {key: scope for scope, key in keys.items() if scope}


def legend(sheet: Sheet) -> str:
    """Write note, legend and rules as the label of the whole."""
    rows = [[sheet.note]] if sheet.note else []
    rows += list(sheet.legend_rows(LEGEND_WIDTH))
    gap = 3 * "&#160;"
    cells = [(gap.join(map(_html, row)), row_width(row), height(row[:1])) for row in rows]
    rules = list(sheet.rule_rows(LEGEND_WIDTH))
    widest = max((rule.width for rule in rules), default=0)
    cells += [(f'{_html(rule)}<br align="left"/>', widest, rule.height) for rule in rules]
    return _table(cells) if cells else ""


def _contents(
    sheet: Sheet,
    scope: Scope,
    held: Mapping[Scope, list[Block]],
    inner: Mapping[Scope, list[Scope]],
    names: Mapping[Scope, str],
) -> Iterator[str]:
    indent = "\t" * (1 + len(scope))
    for block in held.get(scope, ()):
        yield f"{indent}{block.key}{_attributes(_block(block))}\n"
    for frame in inner.get(scope, ()):
        yield f"{indent}subgraph {names[frame]} {{\n"
        yield from _heading(sheet, frame, names[frame], f"{indent}\t")
        yield from _contents(sheet, frame, held, inner, names)
        yield f"{indent}}}\n"


def _block(block: Block) -> dict[str, str]:
    look, (w, h) = block.look, block.size
    lines = [_html(line) for line in block.lines]
    if block.number:
        lines[0] = f"{_html(Line(block.number, GREY, size=12))}&#160; {lines[0]}"
    written = {
        "label": f"<{'<br/>'.join(lines)}>",
        "id": block.ident,
        "width": f"{w / 72:.6g}",
        "height": f"{h / 72:.6g}",
    }
    if look.shape != "box":
        written["shape"] = LOOKS[look.shape]
    if look.deep:
        written["shape"] = "box3d"
    if look.fill != NODE["fillcolor"]:
        written["fillcolor"] = look.fill
    if look.border != NODE["color"]:
        written["color"] = look.border
    if look.rings > 1:
        written["peripheries"] = str(look.rings)
    style = [
        "rounded" * (look.radius > 0 and look.shape == "box"),
        "filled" * (look.shape != "none"),
        "dotted" * bool(look.dash),
    ]
    if (text := ",".join(filter(None, style))) != NODE["style"]:
        written["style"] = text
    return written


def _heading(sheet: Sheet, scope: Scope, name: str, indent: str) -> Iterator[str]:
    """Write how a frame looks, and its title.

    In an upright picture, roads come in from above, so the title stands beside the first block,
    as one that they go around.
    """
    frame = sheet.frames[scope]
    if not frame.shown:
        yield f'{indent}graph [label="" peripheries=0]\n'
        return
    title = frame.title
    size = ceil(title.width), ceil(title.height)
    if not sheet.upright:
        look = {"label": _table([(_html(title), *size)])}
        look |= {"labelloc": "b"} if sheet.is_mirrored else {}
        yield f"{indent}graph{_attributes(FRAME | look)}\n"
        return
    look = {"label": f"<{_html(title)}>", "shape": "plaintext", "style": ""}
    look |= {"width": f"{size[0] / 72:.6g}", "height": f"{size[1] / 72:.6g}"}
    blocks = sheet.blocks.values()
    first = next(block.key for block in blocks if block.scope[: len(scope)] == scope)
    yield f"{indent}graph{_attributes(FRAME | {'label': ''})}\n"
    yield f"{indent}{TITLE}{name}{_attributes(look)}\n"
    yield f"{indent}{{rank=same; {TITLE}{name} -> {first} [style=invis]}}\n"


def _road(road: Road, upright: bool) -> str:
    kinds = [stroke.kind for stroke in road.strokes]
    look = {"id": road.ident}
    if road.lines:
        w, h = road.label_size(upright)
        look["label"] = _table([("<br/>".join(map(_html, road.lines)), w, h)])
    if kinds != ["value"]:
        look["color"] = ":".join(COLORS[kind] for kind in kinds)
    if "gradient" in kinds:
        look["dir"] = "both" if kinds[0] == "value" else "back"
    if set(kinds) == {"gradient"}:
        look["style"] = "dashed"
    if road.main:
        look["weight"] = "20"
    if road.free:
        look["constraint"] = "false"
    return f"\t{road.tail} -> {road.head}{_attributes(look)}\n"


def _html(line: Line) -> str:
    """Write one line for a label; of a backslash and a letter Graphviz would make a name."""
    text = html.escape(line.text).replace("\\", 2 * "\\")
    if line.bold and text:
        text = f"<b>{text}</b>"
    size = f' point-size="{line.size}"' * (line.size != 13)
    color = f' color="{line.color}"' * (line.color != INK)
    return f"<font{size}{color}>{text}</font>" if text and (size or color) else text


def _table(cells: Iterable[tuple[str, float, float]]) -> str:
    """Write cells of a fixed size, one below another."""
    rows = "".join(
        f'<tr><td fixedsize="true" width="{ceil(w)}" height="{ceil(h)}">{text}</td></tr>'
        for text, w, h in cells
    )
    return f'<<table border="0" cellborder="0" cellspacing="0" cellpadding="0">{rows}</table>>'


def _attributes(look: Mapping[str, str]) -> str:
    """Write attributes as DOT; a label is HTML, which stands without quotes."""
    written = [
        f"{key}={value}" if value[:1] == "<" or value.isalnum() else f'{key}="{value}"'
        for key, value in sorted(look.items(), key=lambda item: (item[0] != "label", item))
    ]
    return f" [{' '.join(written)}]"
