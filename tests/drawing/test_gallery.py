"""The gallery: golden pictures, the page that shows them, and that a stranger could read them."""

import html
import importlib.util
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pygraphviz
import pytest
from svg import SVG, texts

from tinygraph.cli.commands import main as command
from tinygraph.drawing.typography import INK, LIGHT, RED
from tinygraph.files import marked

ROOT = Path(__file__).parents[2]
GRAPHS = ROOT / "graphs"
SCRIPT = ROOT / "examples" / "gallery.py"
DATA = rb'<script id="data" type="application/json">(.*?)</script>'
PLACED_BY = "2.0.4"  # of pygraphviz; another Graphviz places a little differently
NAMES = sorted(path.stem for path in GRAPHS.glob("*.dot"))


def load():
    spec = importlib.util.spec_from_file_location("gallery", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


gallery = load()


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """Run the script as a reader does, with another hash seed; give its folder."""
    folder = tmp_path_factory.mktemp("gallery")
    subprocess.run(
        [sys.executable, str(SCRIPT), "-o", str(folder)],
        env=os.environ | {"PYTHONHASHSEED": "97"},
        cwd=folder,
        check=True,
        capture_output=True,
    )
    return folder


# --- golden files -------------------------------------------------------------------------------


def test_every_picture_is_there_in_both_formats():
    assert set(gallery.PICTURES) == set(NAMES)
    assert {path.stem for path in GRAPHS.glob("*.svg")} == set(NAMES)
    assert len(NAMES) >= 20


@pytest.mark.parametrize("name", NAMES)
def test_dot_is_golden(name, fresh):
    golden = (GRAPHS / f"{name}.dot").read_bytes()
    assert marked(gallery.PICTURES[name][0]().source.encode(), "dot") == golden
    assert (fresh / f"{name}.dot").read_bytes() == golden


@pytest.mark.parametrize("name", NAMES)
def test_svg_is_golden(name, fresh):
    """Its bytes are the same on every machine, with the Graphviz that the tests ask for."""
    kept, drawn = ((folder / f"{name}.svg").read_bytes() for folder in (GRAPHS, fresh))
    assert texts(kept) == texts(drawn)
    assert groups(kept) == groups(drawn)
    if pygraphviz.__version__ == PLACED_BY:
        assert kept == drawn


def groups(svg):
    return [(g.get("id"), g.get("class")) for g in ET.fromstring(svg).iter(f"{SVG}g")]


@pytest.mark.parametrize("name", gallery.PAGES)
def test_pages_to_step_through_are_golden(name, fresh):
    kept, made = ((folder / f"{name}.html").read_bytes() for folder in (GRAPHS, fresh))
    data = [json.loads(re.search(DATA, page, re.DOTALL)[1]) for page in (kept, made)]
    assert data[0] == data[1]
    if pygraphviz.__version__ == PLACED_BY:
        assert kept == made


def test_the_command_writes_the_same_page(tmp_path, capsys):
    assert command(["explore", "batchnorm", "-o", str(tmp_path / "page.html")]) == 0
    capsys.readouterr()
    if pygraphviz.__version__ == PLACED_BY:
        kept = (GRAPHS / "batchnorm.html").read_bytes()
        assert (tmp_path / "page.html").read_bytes() == kept


def test_page_is_golden(fresh):
    page = (GRAPHS / "README.md").read_text(encoding="utf-8")
    assert page == gallery.page()
    assert page == (fresh / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", page)
    pictures = [f"{name}.svg" for name in gallery.PICTURES]
    assert [link for _, link in shown] == ["explorer.png", *pictures]
    assert all(title and title == html.unescape(title) for title, _ in shown)


def test_the_command_draws_the_same_circuit(tmp_path, capsys):
    assert command(["batchnorm", "-o", str(tmp_path)]) == 0
    capsys.readouterr()
    assert (tmp_path / "batchnorm.dot").read_bytes() == (GRAPHS / "batchnorm.dot").read_bytes()
    drawn, golden = ((f / "batchnorm.svg").read_bytes() for f in (tmp_path, GRAPHS))
    assert groups(drawn) == groups(golden)
    if pygraphviz.__version__ == PLACED_BY:
        assert drawn == golden


def test_nothing_tells_where_it_was_drawn():
    for path in GRAPHS.iterdir():
        if path.suffix in (".dot", ".svg", ".md", ".html"):
            content = path.read_text(encoding="utf-8")
            assert str(ROOT) not in content
            assert not re.search(r"/(home|Users|tmp|work|root)/", content), path.name


# --- what a reader sees -------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_svg_is_sane(name):
    svg = (GRAPHS / f"{name}.svg").read_bytes()
    root = ET.fromstring(svg)
    width, height = (float(root.get(side).removesuffix("pt")) for side in ("width", "height"))
    assert 200 < width < 2400
    assert 60 < height < 1700
    background = next(root.iter(f"{SVG}rect"))
    assert background.get("fill") == "white"
    assert root.get("font-family").startswith("'tinygraph sans'")
    assert svg.count(b"@font-face") == 2
    assert all(float(e.get("textLength")) > 0 for e in root.iter(f"{SVG}text"))
    written = " ".join(texts(svg))
    assert "Tensor" not in written
    assert "0x" not in written
    assert "array(" not in written


@pytest.mark.parametrize("name", NAMES)
def test_dot_is_read_as_it_was_written(name):
    path = GRAPHS / f"{name}.dot"
    drawn = pygraphviz.AGraph(string=path.read_text(encoding="utf-8"))
    assert drawn.directed
    assert len(drawn.nodes()) >= 3
    colors = {color for edge in drawn.edges() for color in edge.attr["color"].split(":")}
    assert colors <= {INK, RED, LIGHT}
    assert all(node.attr["label"] for node in drawn.nodes())  # none that only an arrow mentions


@pytest.mark.parametrize("name", NAMES)
def test_words_stay_apart(name):
    """No text leaves its box, and no two texts lie on one another."""
    root = ET.fromstring((GRAPHS / f"{name}.svg").read_bytes())
    placed = []
    for group in root.iter(f"{SVG}g"):
        boxes = [e for e in group if e.tag in (f"{SVG}rect", f"{SVG}ellipse")]
        box = boxes[-1] if boxes else None  # the front one of a box with two faces
        for text in group.iter(f"{SVG}text"):
            corners = corners_of(text)
            placed.append((text.text, *corners[0], *corners[1]))
            if group.get("class").startswith("node") and box is not None:
                assert all(inside(box, x, y) for x in corners[0] for y in corners[1]), text.text
    for k, a in enumerate(placed):
        for b in placed[k + 1 :]:
            wide = min(a[2], b[2]) - max(a[1], b[1])
            high = min(a[4], b[4]) - max(a[3], b[3])
            assert wide < 0 or high < 0, (a[0], b[0])


def corners_of(text):
    x, y, width, size = (float(text.get(k)) for k in ("x", "y", "textLength", "font-size"))
    return (x - width / 2, x + width / 2), (y - 0.711 * size, y + 0.1 * size)


def inside(box, x, y):
    at = {k: float(v) for k, v in box.attrib.items() if re.fullmatch(r"-?[\d.]+", v)}
    if box.tag == f"{SVG}ellipse":
        return ((x - at["cx"]) / at["rx"]) ** 2 + ((y - at["cy"]) / at["ry"]) ** 2 < 1
    return at["x"] < x < at["x"] + at["width"] and at["y"] < y < at["y"] + at["height"]


def test_the_main_picture_is_the_one_of_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "(graphs/batchnorm.svg)" in readme
    written = texts((GRAPHS / "batchnorm.svg").read_bytes())
    names = ["dout", "dgammax", "dxhat", "dxmu1", "divar", "dsqrtvar", "dvar", "dsq", "dxmu2"]
    for name in [
        *names,
        "dx1",
        "dmu",
        "dx2",
        "dgamma =",
        "Σ dgammax · xhat",
        "dbeta = Σ dout",
        "3 paths add up",
    ]:
        assert name in written
