"""A scene as SVG, with the font in it.

Every text carries its length too: where a program shows it in a font of its own, it is fitted into
the room that was measured for it.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterator
from functools import cache

from tinygraph.drawing.layout import Point
from tinygraph.drawing.scene import PAPER, Ellipse, Group, Mark, Path, Rectangle, Scene, Text
from tinygraph.drawing.typography import FAMILY, font_file

__all__ = ["number", "write_svg"]

FALLBACK = f"'{FAMILY}','Roboto Condensed','Arial Narrow',Arial,sans-serif"


def write_svg(scene: Scene, label: str, scale: float = 1.0, background: str = PAPER) -> str:
    """Write a scene as an SVG document.

    Parameters
    ----------
    scene : Scene
    label : str
        Says what is shown, to who cannot see it.
    scale : float, optional
        Of the whole.
    background : str, optional
        Empty for none.

    Returns
    -------
    str
    """
    box = " ".join(map(number, (scene.left, scene.top, scene.width, scene.height)))
    size = f'width="{number(scene.width * scale)}pt" height="{number(scene.height * scale)}pt"'
    parts = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<svg class="graph tinygraph" xmlns="http://www.w3.org/2000/svg" {size} '
        f'viewBox="{box}" role="img" aria-label="{_escape(label)}" font-family="{FALLBACK}">',
        f"<style>{_font_faces()}</style>",
    ]
    if background:
        corner = f'x="{number(scene.left)}" y="{number(scene.top)}"'
        area = f'width="{number(scene.width)}" height="{number(scene.height)}"'
        parts.append(f'<rect class="paper" {corner} {area} fill="{background}"/>')
    for group in scene.groups:
        parts += _group(group, paper=bool(background))
    return "\n".join([*parts, "</svg>", ""])


def number(value: float) -> str:
    """Write a length to hundredths of a point.

    Parameters
    ----------
    value : float

    Returns
    -------
    str

    Examples
    --------
    >>> number(12.3456), number(-0.001), number(7.0)
    ('12.35', '0', '7')
    """
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


@cache
def _font_faces() -> str:
    faces = []
    for face, weight in (("regular", 400), ("bold", 700)):
        content = base64.b64encode(font_file(face, "woff2")).decode()
        faces.append(
            f"@font-face{{font-family:'{FAMILY}';font-weight:{weight};"
            f"src:url(data:font/woff2;base64,{content}) format('woff2')}}"
        )
    return "".join(faces)


def _escape(text: str) -> str:
    """Escape markup, and keep spaces that XML would drop."""
    return html.escape(re.sub(r"^ | (?= )| $", "\xa0", text))


def _group(group: Group, paper: bool) -> Iterator[str]:
    data = "".join(f' data-{key}="{_escape(text)}"' for key, text in group.data.items())
    yield f'<g id="{_escape(group.ident)}" class="{group.classes}"{data}>'
    if group.title:
        yield f"<title>{_escape(group.title)}</title>"
    yield from (_mark(m) for m in group.marks if paper or getattr(m, "fill", "") != PAPER)
    yield "</g>"


def _mark(mark: Mark) -> str:
    match mark:
        case Text():
            return _text(mark)
        case Path():
            return f'<path d="{_way(mark)}"{_paint(mark)}/>'
        case Ellipse((x, y), rx, ry):
            place = f'cx="{number(x)}" cy="{number(y)}" rx="{number(rx)}" ry="{number(ry)}"'
            return f"<ellipse {place}{_paint(mark)}/>"
        case Rectangle(left, top, right, bottom, radius):
            corner = f'x="{number(left)}" y="{number(top)}"'
            size = f'width="{number(right - left)}" height="{number(bottom - top)}"'
            rounded = f' rx="{number(radius)}"' if radius else ""
            return f"<rect {corner} {size}{rounded}{_paint(mark)}/>"


def _text(mark: Text) -> str:
    line = mark.line
    weight = ' font-weight="bold"' if line.bold else ""
    color = f' fill="{line.color}"'
    return (
        f'<text x="{number(mark.x + line.width / 2)}" y="{number(mark.y)}" text-anchor="middle" '
        f'font-size="{line.size}"{weight}{color} '
        f'textLength="{number(line.width)}" lengthAdjust="spacingAndGlyphs">'
        f"{_escape(line.text)}</text>"
    )


def _paint(mark: Path | Ellipse | Rectangle) -> str:
    fill = f' fill="{mark.fill or "none"}"'
    if not mark.stroke:
        return fill
    dash = getattr(mark, "dash", "")
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return f'{fill} stroke="{mark.stroke}" stroke-width="{number(mark.width)}"{dashes}'


def _way(path: Path) -> str:
    start, *rest = (_pair(point) for point in path.points)
    return f"M{start}{'L' if path.straight else 'C'}{' '.join(rest)}{'Z' * path.closed}"


def _pair(point: Point) -> str:
    return f"{number(point[0])},{number(point[1])}"
