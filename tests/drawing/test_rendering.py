"""Pictures: with Graphviz's programs, without them, and with nothing that can render."""

import json
import os
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree
import zlib
from pathlib import Path

import graphviz
import numpy as np
import pytest

from tinygraph import draw, trace
from tinygraph.batchnorm import staged
from tinygraph.drawing.rendering import FORMATS, Picture, RenderingError
from tinygraph.files import is_ours, marked

SVG = "{http://www.w3.org/2000/svg}"


def picture(cls=Picture):
    drawn = cls("two", comment="a small graph")
    drawn.node("a", label="√(var + eps)")
    drawn.edge("a", "b")
    return drawn


def circuit():
    rng = np.random.default_rng(0)
    return draw(trace(staged)(rng.normal(size=(8, 3)), rng.normal(size=3), rng.normal(size=3)))


@pytest.fixture
def no_dot(monkeypatch, tmp_path):
    """Take the dot program off PATH."""
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setenv("PATH", str(empty))


@pytest.fixture
def in_process(no_dot):
    """Leave pygraphviz as the only thing that renders."""
    return pytest.importorskip("pygraphviz", reason="pygraphviz has no wheel for this platform")


@pytest.fixture
def in_process_module():
    return pytest.importorskip("pygraphviz", reason="pygraphviz has no wheel for this platform")


@pytest.fixture
def nothing(no_dot, monkeypatch):
    """Leave nothing that renders."""
    monkeypatch.setitem(sys.modules, "pygraphviz", None)


@pytest.fixture
def fake_dot(monkeypatch, tmp_path):
    """Put a program called dot on PATH, given as lines of shell; and hide pygraphviz."""
    if os.name == "nt":
        pytest.skip("the stand-in for dot is a shell script")
    monkeypatch.setitem(sys.modules, "pygraphviz", None)

    def install(*lines):
        folder = tmp_path / "bin"
        folder.mkdir()
        program = folder / "dot"
        program.write_text("\n".join(("#!/bin/sh", "input=$(while read -r _; do :; done)", *lines)))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(folder))

    return install


# --- save -----------------------------------------------------------------------------------------


def test_svg_is_xml_with_the_names_in_it(in_process, tmp_path):
    path = circuit().save(tmp_path / "circuit.svg")
    assert path == str(tmp_path / "circuit.svg")
    root = ElementTree.parse(path).getroot()
    assert root.tag == f"{SVG}svg"
    words = " ".join("".join(text.itertext()) for text in root.iter(f"{SVG}text"))
    for name in ("xhat", "gammax", "sqrtvar", "dxmu1", "dbeta", "√(var + eps)"):
        assert name in words


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG\r\n\x1a\n"), ("pdf", b"%PDF-")])
def test_png_and_pdf_by_their_first_bytes(in_process, tmp_path, suffix, magic):
    content = Path(picture().save(tmp_path / f"picture.{suffix}")).read_bytes()
    assert content.startswith(magic)
    assert is_ours(content)
    assert not is_ours(content + b"\n")


def test_png_stays_a_sequence_of_valid_chunks(in_process, tmp_path):
    content = Path(picture().save(tmp_path / "picture.png")).read_bytes()
    place, kinds = 8, []
    while place < len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        chunk = content[place + 4 : place + 8 + length]
        check = int.from_bytes(content[place + 8 + length : place + 12 + length], "big")
        assert zlib.crc32(chunk) == check
        kinds.append(chunk[:4])
        place += 12 + length
    assert (kinds[0], kinds[-1]) == (b"IHDR", b"IEND")
    assert b"tEXt" in kinds


@pytest.mark.parametrize("name", ["picture.dot", "picture.gv", "PICTURE.DOT"])
def test_dot_is_the_source(no_dot, tmp_path, name):
    drawn = picture()
    path = Path(drawn.save(tmp_path / name))
    assert path.read_bytes() == marked(drawn.source.encode(), "dot")
    assert "√(var + eps)" in path.read_text(encoding="utf-8")


def test_json_is_the_layout(in_process, tmp_path):
    found = json.loads(Path(picture().save(tmp_path / "picture.json")).read_text("utf-8"))
    assert [node["name"] for node in found["objects"]] == ["a", "b"]
    assert len(found["edges"]) == 1


def test_save_makes_directories_and_overwrites(no_dot, tmp_path):
    drawn = picture()
    path = tmp_path / "one" / "two" / "picture.dot"
    assert drawn.save(str(path)) == str(path)
    path.write_text("other")
    assert drawn.save("picture.dot", directory=path.parent) == str(path)
    assert path.read_bytes() == marked(drawn.source.encode(), "dot")
    assert [p.name for p in path.parent.iterdir()] == ["picture.dot"]


@pytest.mark.parametrize("suffix", [".bmp", ".txt", ".svgz", "", "."])
def test_an_unknown_suffix_is_an_error_that_lists_the_formats(no_dot, tmp_path, suffix):
    path = tmp_path / "sub" / f"picture{suffix}"
    with pytest.raises(ValueError, match="cannot write") as caught:
        picture().save(path)
    assert all(f".{name}" in str(caught.value) for name in FORMATS)
    assert str(path) in str(caught.value)
    assert not path.parent.exists()


def test_save_without_a_name_is_that_of_graphviz(no_dot, tmp_path):
    path = Path(picture().save(directory=tmp_path))
    assert path == tmp_path / "two.gv"
    assert path.read_text("utf-8") == picture().source


# --- pipe and render, as graphviz.Digraph has them ------------------------------------------------


def test_pipe(in_process):
    drawn = picture()
    svg = drawn.pipe("svg")
    assert isinstance(svg, bytes)
    assert ElementTree.fromstring(svg).tag == f"{SVG}svg"
    assert drawn.pipe("svg", encoding="utf-8") == svg.decode()
    assert drawn.pipe(format="png").startswith(b"\x89PNG")
    drawn.format = "svg"
    assert drawn.pipe() == svg
    assert Picture("two", format="json").pipe().startswith(b"{")


def test_other_layout_programs(in_process):
    drawn = picture()
    assert ElementTree.fromstring(drawn.pipe("svg", engine="circo")).tag == f"{SVG}svg"
    assert drawn.pipe("svg", engine="circo") != drawn.pipe("svg")
    drawn.engine = "circo"
    assert drawn.pipe("svg") == drawn.pipe("svg", engine="circo")


RENDERINGS = [
    ({}, "two.gv.pdf", "two.gv"),
    ({"format": "svg"}, "two.gv.svg", "two.gv"),
    ({"filename": "other"}, "other.pdf", "other"),
    ({"filename": "other.dot", "format": "png"}, "other.dot.png", "other.dot"),
    ({"filename": "other", "directory": "sub/folder", "format": "svg"}, "other.svg", "other"),
    ({"filename": "other", "format": "svg", "cleanup": True}, "other.svg", None),
    ({"outfile": "figure.svg"}, "figure.svg", "figure.gv"),
    ({"outfile": "sub/figure.svg"}, "figure.svg", "figure.gv"),
]


@pytest.mark.parametrize(("options", "name", "source"), RENDERINGS, ids=repr)
def test_render(in_process, tmp_path, monkeypatch, options, name, source):
    monkeypatch.chdir(tmp_path)
    drawn = picture()
    path = Path(drawn.render(**options))
    assert path.name == name
    magic = {".svg": b"<?xml", ".png": b"\x89PNG", ".pdf": b"%PDF"}[path.suffix]
    assert path.read_bytes().startswith(magic)
    files = {p.name for p in path.parent.iterdir()} - {"empty", "sub"}
    assert files == {name, source} - {None}
    if source is not None:
        assert path.with_name(source).read_text("utf-8") == drawn.source


@pytest.mark.parametrize(("options", "name", "source"), RENDERINGS, ids=repr)
def test_render_gives_the_path_that_graphviz_gives(
    in_process_module, fake_dot, tmp_path, monkeypatch, options, name, source
):
    """What runs without dot returns what graphviz.Digraph returns with it."""
    monkeypatch.chdir(tmp_path)
    fake_dot("exit 0")
    expected = picture(graphviz.Digraph).render(**options)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "pygraphviz", in_process_module)
    assert picture().render(**options) == expected
    assert Path(expected).name == name


# --- the dot program, where it is installed -------------------------------------------------------


@pytest.mark.parametrize("asked", ["renderer", "environment"])
def test_dot_is_used_only_where_it_is_asked_for(in_process_module, fake_dot, monkeypatch, asked):
    monkeypatch.setitem(sys.modules, "pygraphviz", in_process_module)
    drawn = circuit()
    ours = drawn.pipe("svg")
    fake_dot("echo '<svg>from dot</svg>'")
    monkeypatch.setitem(sys.modules, "pygraphviz", in_process_module)
    assert drawn.pipe("svg") == ours
    if asked == "environment":
        monkeypatch.setenv("TINYGRAPH_DOT", "1")
    options = {"renderer": "dot"} if asked == "renderer" else {}
    assert drawn.pipe("svg", **options) == b"<svg>from dot</svg>\n"
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RenderingError, match="dot program was asked for, but is not installed"):
        drawn.pipe("svg", **options)


def test_dot_is_used_where_there_is_nothing_else(fake_dot):
    fake_dot("echo '<svg>from dot</svg>'")
    drawn = picture()
    assert drawn.pipe("svg") == b"<svg>from dot</svg>\n"
    assert drawn._repr_mimebundle_()["image/svg+xml"] == "<svg>from dot</svg>\n"


def test_warnings_of_the_dot_program_are_not_shown(fake_dot, tmp_path, capfd):
    fake_dot("echo 'Fontconfig warning: no fonts' >&2", "echo '<svg/>'")
    drawn = picture()
    drawn.save(tmp_path / "picture.svg")
    drawn.pipe("svg")
    drawn.render(directory=tmp_path, format="svg")
    assert capfd.readouterr() == ("", "")


def test_an_error_of_the_dot_program_is_a_rendering_error(fake_dot, tmp_path, capfd):
    fake_dot("echo 'Error: <stdin>: syntax error in line 3' >&2", "exit 1")
    drawn = picture()
    calls = [
        lambda: drawn.pipe("svg"),
        lambda: drawn.pipe("svg", encoding="utf-8"),
        lambda: drawn.save(tmp_path / "picture.svg"),
        lambda: drawn.render(directory=tmp_path, format="svg"),
    ]
    for call in calls:
        with pytest.raises(RenderingError, match="syntax error in line 3"):
            call()
    assert not (tmp_path / "picture.svg").exists()
    assert capfd.readouterr() == ("", "")


def test_a_dot_program_that_fails_leaves_a_notebook_its_text(fake_dot):
    fake_dot("echo 'Error: no such format' >&2", "exit 1")
    assert set(picture()._repr_mimebundle_()) == {"text/plain"}


# --- neither dot nor pygraphviz -------------------------------------------------------------------


def test_where_nothing_renders_dot_is_written_all_the_same(nothing, tmp_path):
    drawn = circuit()
    path = Path(drawn.save(tmp_path / "circuit.dot"))
    assert path.read_bytes() == marked(drawn.source.encode(), "dot")


@pytest.mark.parametrize("suffix", ["svg", "png", "pdf", "json"])
def test_where_nothing_renders_one_sentence_says_what_to_install(nothing, tmp_path, suffix):
    path = tmp_path / "sub" / f"circuit.{suffix}"
    with pytest.raises(RenderingError) as caught:
        circuit().save(path)
    message = str(caught.value)
    assert "\n" not in message
    for words in (suffix, "install Graphviz", "pip install pygraphviz", "DOT"):
        assert words in message
    assert not path.parent.exists()
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_where_nothing_renders_pipe_and_render_say_so_too(nothing, tmp_path):
    drawn = picture()
    for call in (drawn.pipe, lambda: drawn.render(directory=tmp_path / "sub")):
        with pytest.raises(RenderingError, match="pip install pygraphviz"):
            call()
    assert not (tmp_path / "sub").exists()


# --- notebooks ------------------------------------------------------------------------------------


def test_a_notebook_shows_svg_and_has_the_text(in_process):
    drawn = circuit()
    bundle = drawn._repr_mimebundle_()
    assert set(bundle) == {"image/svg+xml", "text/plain"}
    assert ElementTree.fromstring(bundle["image/svg+xml"].encode()).tag == f"{SVG}svg"
    assert bundle["text/plain"] == drawn.source
    assert set(drawn._repr_mimebundle_(include=["text/plain"])) == {"text/plain"}
    assert set(drawn._repr_mimebundle_(exclude=["text/plain"])) == {"image/svg+xml"}


def test_a_notebook_shows_the_text_where_nothing_renders(nothing):
    drawn = circuit()
    bundle = drawn._repr_mimebundle_()
    assert set(bundle) == {"text/plain"}
    assert drawn.source in bundle["text/plain"]
    assert "pip install pygraphviz" in bundle["text/plain"]


# --- errors and noise -----------------------------------------------------------------------------


def test_malformed_dot_is_explained_by_graphviz(in_process, capfd):
    bad = Picture("bad", body=["\ta -> ; }{\n"])
    with pytest.raises(RenderingError, match=r"syntax error in line 2 near ';'"):
        bad.pipe("svg")
    assert capfd.readouterr() == ("", "")
    # Nothing of it stays behind: the next picture is the same as ever.
    first = picture().pipe("svg")
    with pytest.raises(RenderingError):
        bad.pipe("svg")
    assert picture().pipe("svg") == first


def test_malformed_dot_writes_no_file(in_process, tmp_path):
    with pytest.raises(RenderingError):
        Picture("bad", body=["\ta -> ; }{\n"]).save(tmp_path / "sub" / "bad.svg")
    assert not (tmp_path / "sub").exists()


@pytest.mark.parametrize("format", ["nonsense", "svg:nonsense:nonsense"])
def test_an_unknown_format_is_named(in_process, format):
    with pytest.raises(ValueError, match=format):
        picture().pipe(format)


def test_an_unknown_layout_program_is_named(in_process):
    with pytest.raises(ValueError, match="nonsense"):
        picture().pipe("svg", engine="nonsense")


def test_rendering_prints_nothing(in_process, tmp_path, capfd):
    drawn = circuit()
    for suffix in FORMATS:
        drawn.save(tmp_path / f"circuit.{suffix}")
    drawn.render(directory=tmp_path)
    drawn._repr_mimebundle_()
    assert capfd.readouterr() == ("", "")


def test_standard_error_is_given_back(in_process, capfd):
    picture().pipe("svg")
    with pytest.raises(RenderingError):
        Picture("bad", body=["{"]).pipe("svg")
    os.write(2, b"still there")
    print(" and here", file=sys.stderr, flush=True)
    assert capfd.readouterr().err == "still there and here\n"


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_four_threads_give_identical_bytes(in_process, suffix):
    drawn = circuit()
    expected = drawn.pipe(suffix)
    start = threading.Barrier(4)
    found, errors = [], []

    def work():
        try:
            start.wait()
            for _ in range(2):
                found.append(circuit().pipe(suffix))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(found) == 8
    assert set(found) == {expected}


def test_only_one_thread_is_in_graphviz_at_a_time(in_process, monkeypatch):
    """Graphviz keeps global state; two renderings at once would not fail every time."""
    inside, most = [], []
    really = in_process.AGraph.draw

    def watched(self, *args, **options):
        inside.append(self)
        most.append(len(inside))
        time.sleep(0.005)
        inside.remove(self)
        return really(self, *args, **options)

    monkeypatch.setattr(in_process.AGraph, "draw", watched)
    threads = [threading.Thread(target=picture().pipe, args=("svg",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1, 1]


def test_no_file_descriptor_is_left_open(in_process):
    folder = Path("/dev/fd")
    if not folder.is_dir():
        pytest.skip("this system does not list a process's open files in /dev/fd")
    picture().pipe("svg")
    before = len(os.listdir(folder))
    for _ in range(5):
        picture().pipe("svg")
    assert len(os.listdir(folder)) == before
