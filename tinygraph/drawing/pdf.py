"""A scene as PDF, cropped to the picture, with the font in it.

One page, nothing compressed and no date, so that the same scene gives the same bytes. Text is text:
it can be searched and copied.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tinygraph.drawing.scene import Ellipse, Path, Rectangle, Scene, Text, curves
from tinygraph.drawing.svg import number
from tinygraph.drawing.typography import advance, font_file, glyph, metrics, width

__all__ = ["write_pdf"]

FACES = ("regular", "bold")
UNKNOWN = "\ufffd"


def write_pdf(scene: Scene, scale: float = 1.0) -> bytes:
    """Write a scene as a document of one page.

    Parameters
    ----------
    scene : Scene
    scale : float, optional
        Of the whole.

    Returns
    -------
    bytes
    """
    w, h = scene.width * scale, scene.height * scale
    # y runs downwards in a scene, and upwards on a page
    place = (scale, 0, 0, -scale, -scene.left * scale, (scene.top + scene.height) * scale)
    drawn = [_numbers(place, "cm"), "1 J 1 j"]
    marks = [mark for group in scene.groups for mark in group.marks]
    for mark in marks:
        drawn += _text(mark) if isinstance(mark, Text) else _shape(mark)
    texts = [mark.line for mark in marks if isinstance(mark, Text)]
    used = [{c for t in texts if t.bold == bold for c in t.text} for bold in (False, True)]
    fonts = " ".join(f"/F{k} {5 + 5 * k} 0 R" for k in range(2))
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 {number(w)} {number(h)}]/Contents 4 0 R"
        f"/Resources<</Font<<{fonts}>>>>>>".encode(),
        _stream("\n".join(drawn).encode()),
    ]
    for k, face in enumerate(FACES):
        objects += _font(face, sorted(used[k]), len(objects) + 1)
    return _document([*objects, b"<</Producer(tinygraph)>>"])


def _document(objects: Sequence[bytes]) -> bytes:
    """Write objects and where each begins; the last one is about the document."""
    content, places = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", []
    for k, body in enumerate(objects, 1):
        places.append(len(content))
        content += b"%d 0 obj\n%s\nendobj\n" % (k, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    trailer = b"trailer\n<</Size %d/Root 1 0 R/Info %d 0 R>>\n" % (size, size - 1)
    end = b"startxref\n%d\n%%%%EOF\n" % len(content)
    return content + b"xref\n0 %d\n0000000000 65535 f \n" % size + table + trailer + end


def _stream(content: bytes, more: str = "") -> bytes:
    return f"<</Length {len(content)}{more}>>\nstream\n".encode() + content + b"\nendstream"


# --------------------------------------------------------------------------- marks


def _shape(mark: Path | Ellipse | Rectangle) -> Iterator[str]:
    if mark.fill:
        yield _color(mark.fill, "rg")
    if mark.stroke:
        dash = getattr(mark, "dash", "")
        yield f"{_color(mark.stroke, 'RG')} {number(mark.width)} w [{dash}] 0 d"
    start, *steps = curves(mark)
    yield _numbers(start[0], "m")
    for step in steps:
        yield _numbers((v for point in step for v in point), "c" if len(step) == 3 else "l")
    closed = not isinstance(mark, Path) or mark.closed
    paint = "B" if mark.fill and mark.stroke else "f" if mark.fill else "S"
    yield f"h {paint}" if closed else paint


def _text(mark: Text) -> Iterator[str]:
    """Write glyphs by number, fitted into the width that was measured."""
    line, known = mark.line, _known(mark.line.text)
    codes = "".join(f"{glyph(c, line.bold):04X}" for c in known)
    fitted = 100 * line.width / (width(known, line.size, line.bold) or 1)
    yield f"BT /F{int(line.bold)} {line.size} Tf {number(fitted)} Tz {_color(line.color, 'rg')}"
    yield f"{_numbers((1, 0, 0, -1, mark.x, mark.y), 'Tm')} <{codes}> Tj ET"


def _known(text: Iterable[str]) -> str:
    return "".join(c if c in metrics()["regular"] else UNKNOWN for c in text)


def _color(color: str, operator: str) -> str:
    if color == "white":
        color = "#ffffff"
    parts = (int(color[k : k + 2], 16) / 255 for k in (1, 3, 5))
    return f"{' '.join(f'{part:.3f}' for part in parts)} {operator}"


def _numbers(values: Iterable[float], operator: str) -> str:
    return f"{' '.join(map(number, values))} {operator}"


# --------------------------------------------------------------------------- font


def _font(face: str, used: Sequence[str], first: int) -> list[bytes]:
    """Give the five objects of a font; `first` is the number of the first."""
    bold, table = face == "bold", metrics()
    name, units = f"TinygraphSans-{face.title()}", table["units"] / 1000
    characters = sorted({*_known(used), UNKNOWN})
    widths = " ".join(f"{glyph(c, bold)}[{number(advance(c, bold) * 1000)}]" for c in characters)
    up, down = number(table["ascent"] / units), number(-table["descent"] / units)
    file = font_file(face, "ttf")
    return [
        f"<</Type/Font/Subtype/Type0/BaseFont/{name}/Encoding/Identity-H"
        f"/DescendantFonts[{first + 1} 0 R]/ToUnicode {first + 4} 0 R>>".encode(),
        f"<</Type/Font/Subtype/CIDFontType2/BaseFont/{name}/CIDToGIDMap/Identity"
        "/CIDSystemInfo<</Registry(Adobe)/Ordering(Identity)/Supplement 0>>"
        f"/FontDescriptor {first + 2} 0 R/W[{widths}]>>".encode(),
        f"<</Type/FontDescriptor/FontName/{name}/Flags 4/FontBBox[-500 {down} 1500 {up}]"
        f"/ItalicAngle 0/Ascent {up}/Descent {down}/CapHeight 711/StemV 80"
        f"/FontFile2 {first + 3} 0 R>>".encode(),
        _stream(file, f"/Length1 {len(file)}"),
        _stream(_to_unicode({glyph(c, bold): c for c in characters}).encode()),
    ]


def _to_unicode(characters: dict[int, str]) -> str:
    """Say which character each glyph is, for who searches or copies."""
    pairs = [
        f"<{code:04X}> <{c.encode('utf-16-be').hex().upper()}>"
        for code, c in sorted(characters.items())
    ]
    chunks = [pairs[k : k + 100] for k in range(0, len(pairs), 100)]
    maps = "\n".join(f"{len(c)} beginbfchar\n" + "\n".join(c) + "\nendbfchar" for c in chunks)
    return (
        "/CIDInit /ProcSet findresource begin\n12 dict begin\nbegincmap\n"
        "/CIDSystemInfo <</Registry (Adobe) /Ordering (UCS) /Supplement 0>> def\n"
        "/CMapName /Adobe-Identity-UCS def\n/CMapType 2 def\n"
        "1 begincodespacerange\n<0000> <FFFF>\nendcodespacerange\n"
        f"{maps}\nendcmap\nCMapName currentdict /CMap defineresource pop\nend\nend\n"
    )
