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
from tinygraph.drawing.canvas import INK, RED
from tinygraph.drawing.rendering import Picture

ROOT = Path(__file__).parents[2]
GRAPHS = ROOT / "graphs"
SCRIPT = ROOT / "examples" / "gallery.py"
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
    assert gallery.PICTURES[name][0]().source.encode() == golden
    assert (fresh / f"{name}.dot").read_bytes() == golden


@pytest.mark.parametrize("name", NAMES)
def test_svg_is_the_rendering_of_its_dot(name, fresh):
    # Coordinates differ between versions of Graphviz and between fonts; what is written does not.
    kept, drawn = ((folder / f"{name}.svg").read_bytes() for folder in (GRAPHS, fresh))
    assert texts(kept) == texts(drawn)
    assert [g.get("class") for g in groups(kept)] == [g.get("class") for g in groups(drawn)]


def groups(svg):
    return list(ET.fromstring(svg).iter(f"{SVG}g"))


def test_page_is_golden(fresh):
    page = (GRAPHS / "README.md").read_text(encoding="utf-8")
    assert page == gallery.page()
    assert page == (fresh / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", page)
    assert [link for _, link in shown] == [f"{name}.svg" for name in gallery.PICTURES]
    assert all(title and title == html.unescape(title) for title, _ in shown)


def test_the_command_draws_the_same_circuit(tmp_path, capsys):
    assert command(["batchnorm", "-o", str(tmp_path)]) == 0
    capsys.readouterr()
    assert (tmp_path / "batchnorm.dot").read_bytes() == (GRAPHS / "batchnorm.dot").read_bytes()
    assert texts((tmp_path / "batchnorm.svg").read_bytes()) == texts(
        (GRAPHS / "batchnorm.svg").read_bytes()
    )


def test_nothing_tells_where_it_was_drawn():
    for path in GRAPHS.iterdir():
        if path.suffix in (".dot", ".svg", ".md"):
            content = path.read_text(encoding="utf-8")
            assert str(ROOT) not in content
            assert not re.search(r"/(home|Users|tmp|work|root)/", content), path.name


# --- what a reader sees -------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_svg_is_sane(name):
    svg = (GRAPHS / f"{name}.svg").read_bytes()
    root = ET.fromstring(svg)
    width, height = (float(root.get(side).removesuffix("pt")) for side in ("width", "height"))
    assert 300 < width < 2400
    assert 60 < height < 1700
    background = next(root.iter(f"{SVG}polygon"))
    assert background.get("fill") == "white"
    assert all(
        e.get("font-family") == "Helvetica,Arial,sans-serif" for e in root.iter(f"{SVG}text")
    )
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
    assert {edge.attr["color"] for edge in drawn.edges()} <= {INK, RED, "#999999"}
    assert all(node.attr["label"] for node in drawn.nodes())  # none that only an arrow mentions


@pytest.mark.parametrize("name", NAMES)
def test_words_stay_apart(name):
    """No text of a box is wider than its box, and no two labels lie on one another."""
    picture = gallery.PICTURES[name][0]()
    data = json.loads(Picture.pipe(picture, "json"))
    boxes = [o for o in data["objects"] if "pos" in o]
    placed = []
    for edge in data.get("edges", []):
        if "lp" in edge:
            x, y = (float(v) for v in edge["lp"].split(","))
            lines = [re.sub("<[^>]*>", "", t) for t in edge["label"].split("<br/>")]
            w, h = 3.0 * max(map(len, map(html.unescape, lines))), 6.0 * len(lines)
            placed.append((edge["label"], x - w, y - h, x + w, y + h))
    for box in boxes:
        x, y = (float(v) for v in box["pos"].split(","))
        w, h = 36 * float(box["width"]), 36 * float(box["height"])
        placed.append((box["name"], x - w, y - h, x + w, y + h))
    for k, a in enumerate(placed):
        for b in placed[k + 1 :]:
            wide = min(a[3], b[3]) - max(a[1], b[1])
            high = min(a[4], b[4]) - max(a[2], b[2])
            assert wide < 3 or high < 3, (a[0], b[0])


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
        "dgamma = Σ dgammax · xhat",
        "dbeta = Σ dout",
        "3 paths add up",
    ]:
        assert name in written
