"""The files: the same bytes everywhere, whole, cropped, and what is measured is what is seen."""

import hashlib
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
import zlib

import numpy as np
import pytest
from functions import NAMES, make
from svg import SVG

from tinygraph import Tensor, draw
from tinygraph.drawing.layout import place
from tinygraph.drawing.png import write_png
from tinygraph.drawing.scene import Group, Path, Scene, Text, draw_scene

FORMATS = ["svg", "png", "pdf"]


def scene_of(picture):
    return draw_scene(picture.sheet, place(picture.source))


def pixels(content):
    """Read a PNG that has no filters, as ours have."""
    at, found = 8, {}
    while at < len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        found.setdefault(content[at + 4 : at + 8], b"")
        found[content[at + 4 : at + 8]] += content[at + 8 : at + 8 + length]
        at += 12 + length
    width, height = (int.from_bytes(found[b"IHDR"][k : k + 4], "big") for k in (0, 4))
    colors = {2: 3, 6: 4}[found[b"IHDR"][9]]
    rows = np.frombuffer(zlib.decompress(found[b"IDAT"]), np.uint8).reshape(height, -1)
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(height, width, colors)


# --- the same bytes -----------------------------------------------------------------------------

DIGESTS = """
import hashlib, sys
sys.path[:0] = {tests!r}
from functions import make
from tinygraph import draw
if {first}:
    import pygraphviz
    pygraphviz.AGraph(string='digraph {{ a -> b [label="xyz"] }}').draw(format="png", prog="dot")
picture = draw(make("lstm_step"))
for format in ("svg", "png", "pdf"):
    print(hashlib.sha256(picture.pipe(format)).hexdigest())
"""


@pytest.mark.parametrize("fonts", ["none", "one", "here", "after another drawing"])
def test_bytes_do_not_depend_on_fonts(tmp_path, fonts):
    expected = [
        hashlib.sha256(draw(make("lstm_step")).pipe(format)).hexdigest() for format in FORMATS
    ]
    folder = os.path.join(os.path.dirname(__file__), os.pardir)
    environment = os.environ | {"PYTHONHASHSEED": "3"}
    if fonts in ("none", "one"):
        kept = "<dir>/usr/share/fonts/truetype/dejavu</dir>" if fonts == "one" else ""
        cache = f"<cachedir>{tmp_path}/cache</cachedir>"
        configuration = tmp_path / "fonts.conf"
        configuration.write_text(f"<fontconfig>{kept}{cache}</fontconfig>")
        environment["FONTCONFIG_FILE"] = str(configuration)
    run = subprocess.run(
        [sys.executable, "-c", DIGESTS.format(tests=[folder], first=fonts.startswith("after"))],
        env=environment,
        capture_output=True,
        check=True,
    )
    assert run.stdout.decode().split() == expected


def test_ids_are_unique_and_say_what_they_are():
    root = ET.fromstring(draw(make("staged")).pipe("svg"))
    classes = {g.get("id"): g.get("class") for g in root.iter(f"{SVG}g")}
    assert len(classes) == len(list(root.iter(f"{SVG}g")))
    assert classes["v-xmu"] == "edge value step7"
    assert classes["g-dxmu1"] == "edge gradient step7"
    assert classes["n0"] == "node step0"
    titles = {g.get("id"): g.findtext(f"{SVG}title") for g in root.iter(f"{SVG}g")}
    assert titles["g-dxmu1"] == "dxmu1 = dxhat · ivar"


@pytest.mark.parametrize("detail", ["steps", "primitives"])
@pytest.mark.parametrize("name", NAMES)
def test_ids_are_unique_in_every_picture(name, detail):
    root = ET.fromstring(draw(make(name), detail=detail).pipe("svg"))
    idents = [g.get("id") for g in root.iter(f"{SVG}g")]
    assert len(set(idents)) == len(idents)


# --- what is seen -------------------------------------------------------------------------------


@pytest.mark.parametrize("dpi", [72, 96, 300])
def test_there_is_ink_in_every_text_and_its_dpi_is_in_the_file(dpi):
    picture = draw(make("staged"), step=8)
    scene, content = scene_of(picture), picture.pipe("png", dpi=dpi)
    image, zoom = pixels(content), dpi / 72
    assert image.shape[:2] == (
        int(np.ceil(scene.height * zoom)),
        int(np.ceil(scene.width * zoom)),
    )
    at = content.index(b"pHYs") + 4
    assert int.from_bytes(content[at : at + 4], "big") == round(dpi / 0.0254)
    for group in scene.groups:
        for mark in group.marks:
            if isinstance(mark, Text):
                left, top = (mark.x - scene.left) * zoom, (mark.y - scene.top) * zoom
                right, above = left + mark.line.width * zoom, top - 9 * zoom
                box = image[int(above) : int(top) + 1, int(left) : int(right) + 1].astype(int)
                background = np.median(box.reshape(-1, 3), axis=0)
                inked = abs(box - background).max(axis=2) > 60
                assert 0.02 < inked.mean() < 0.9, mark.line.text
                quarter = inked.shape[1] // 4
                if len(mark.line.text) > 2:
                    assert inked[:, :quarter].any(), mark.line.text
                    assert inked[:, -quarter:].any(), mark.line.text


def test_png_is_what_the_marks_say():
    """Fillings, borders and their colours are where the scene has them."""
    picture = draw(make("staged"), step=8)
    scene, image = scene_of(picture), pixels(picture.pipe("png", dpi=144))
    node = next(g for g in scene.groups if g.ident == "n1")
    ellipse = node.marks[0]
    x, y = (2 * (v - o) for v, o in zip(ellipse.middle, (scene.left, scene.top), strict=True))
    inside = image[int(y), int(x - 2 * ellipse.rx + 8)]
    assert tuple(inside) == (0xDC, 0xEB, 0xFA)
    assert tuple(image[1, 1]) == (255, 255, 255)
    edge = image[int(y), int(x - 2 * ellipse.rx - 3) : int(x - 2 * ellipse.rx + 4)].astype(int)
    assert (edge[:, 0] < 0x60).any()


def test_a_stroke_covers_each_pixel_once():
    """The ink of a stroke is its length times its width, also where its pieces meet."""
    straight = tuple((10.0 + 5 * k, 20.3) for k in range(16))
    for points, length in ((straight, 75.0), (tuple((x, x) for x, _ in straight), 75 * 2**0.5)):
        path = Path(points, "#000000", width=1.25)
        scene = Scene((Group("a", "edge", (path,)),), 0, 0, 120, 120)
        image = pixels(write_png(scene, dpi=72)).astype(float)
        assert (1 - image[..., 0] / 255).sum() == pytest.approx(1.25 * length, rel=0.01)
    rows = pixels(
        write_png(Scene((Group("a", "edge", (Path(straight, "#000000"),)),), 0, 0, 120, 40), 72)
    )
    assert np.ptp(rows[:, 12:84].astype(int), axis=1).max() <= 1


def test_png_without_paper():
    picture = draw(make("staged"), step=8)
    image = pixels(picture.pipe("png", transparent=True))
    assert image.shape[2] == 4
    assert tuple(image[0, 0]) == (0, 0, 0, 0)
    opaque = pixels(picture.pipe("png"))
    share = image[..., 3:] / 255
    over = image[..., :3] * share + 255 * (1 - share)
    assert abs(over - opaque).mean() < 1  # of 255; paper under a label hides nothing here
    root = ET.fromstring(picture.pipe("svg", transparent=True))
    assert not [e for e in root.iter(f"{SVG}rect") if e.get("fill") == "white"]


# --- PDF ----------------------------------------------------------------------------------------


def test_pdf_is_cropped_and_whole():
    picture = draw(make("staged"), step=8)
    scene, content = scene_of(picture), picture.pipe("pdf")
    box = re.search(rb"/MediaBox\[0 0 ([\d.]+) ([\d.]+)\]", content)
    assert [float(v) for v in box.groups()] == pytest.approx([scene.width, scene.height], abs=0.01)
    start = int(re.search(rb"startxref\n(\d+)\n", content)[1])
    assert content[start:].startswith(b"xref")
    entries = re.findall(rb"(\d{10}) 00000 n", content[start:])
    for number, place_of in enumerate(entries, 1):
        assert content[int(place_of) :].startswith(b"%d 0 obj" % number)
    for length, body in re.findall(
        rb"<</Length (\d+)[^>]*>>\nstream\n(.*?)\nendstream", content, re.S
    ):
        assert len(body) == int(length)
    assert b"Date" not in content


def test_text_of_pdf_can_be_searched():
    content = draw(make("staged"), step=8).pipe("pdf")
    maps = [
        dict(re.findall(rb"<([0-9A-F]{4})> <([0-9A-F]{4})>", part))
        for part in re.findall(rb"begincmap(.*?)endcmap", content, re.S)
    ]
    written = []
    for face, codes in re.findall(rb"/F(\d) .*?\n.*?<([0-9A-F]+)> Tj", content):
        known = maps[int(face)]
        glyphs = [codes[k : k + 4] for k in range(0, len(codes), 4)]
        written.append("".join(chr(int(known[glyph], 16)) for glyph in glyphs))
    for text in ("gamma · xhat", "gamma", "dgamma =", "Σ dgammax · xhat", "(178, 13)"):
        assert text in written


@pytest.mark.parametrize("format", FORMATS)
def test_what_the_font_lacks_does_no_harm(format):
    x = Tensor(np.ones((2, 3)), name="学習率🙂")
    content = draw(x * 2.0).pipe(format)
    if format == "svg":
        root = ET.fromstring(content)
        (text,) = (e for e in root.iter(f"{SVG}text") if e.text == "学習率🙂")
        ellipse = next(e for e in root.iter(f"{SVG}ellipse"))
        assert float(text.get("textLength")) < 2 * float(ellipse.get("rx"))
    assert len(content) > 1000


# --- what was added by hand ---------------------------------------------------------------------


def test_what_was_added_by_hand_is_drawn_by_graphviz():
    picture = draw(make("residual"))
    ours = picture.pipe("svg")
    copied = picture.copy()
    assert copied.pipe("svg") == ours
    copied.node("mine", label="something else")
    assert b"something else" in copied.pipe("svg")
    assert b"@font-face" not in copied.pipe("svg")
    assert picture.pipe("svg") == ours


def test_a_notebook_fits_a_picture_into_its_cell():
    shown = draw(make("residual"))._repr_mimebundle_()["image/svg+xml"]
    assert 'style="max-width:100%;height:auto"' in shown.partition(">")[2].partition(">")[0]
