"""What the command says of a picture: where it is for, what is folded, how fine it is."""

import struct
import xml.etree.ElementTree as ET

import pytest
from svg import texts

from tinygraph.cli.commands import main

MODEL = """
import numpy as np

def sigmoid(z):
    e = np.exp(-z)
    y = 1 / (1 + e)
    return y

def gate(x, W, b):
    a = sigmoid(x @ W + b)
    c = np.tanh(a) * a
    return c
"""
GATE = ["draw", "model.py:gate", "x=4x3", "W=3x5", "b=5"]


@pytest.fixture
def drawn(tmp_path, monkeypatch, capsys):
    """Draw as the command does, and give the exit code, the file's content and what was said."""
    (tmp_path / "model.py").write_text(MODEL, encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    def run(*options, to="out.svg"):
        code = main([*GATE, *options, "-o", to])
        path = tmp_path / to
        content = path.read_bytes() if path.exists() else b""
        return code, content, capsys.readouterr().err

    return run


def width(svg):
    return float(ET.fromstring(svg).get("width").removesuffix("pt"))


def test_the_width_of_a_page(drawn):
    natural, narrow = (width(drawn(*options)[1]) for options in ([], ["--width", "200"]))
    assert narrow <= 200.01 < natural


def test_a_direction_is_kept_whatever_the_width(drawn):
    for options in ([], ["--width", "150"]):
        source = drawn("--direction", "LR", *options, to="out.dot")[1]
        assert b"rankdir=LR" in source
    assert b"rankdir=TB" in drawn("--direction", "auto", "--width", "150", to="out.dot")[1]


def test_without_a_legend(drawn):
    shown, bare = (texts(drawn(*options)[1]) for options in ([], ["--no-legend"]))
    assert "○ input" in shown
    assert "○ input" not in bare
    assert "Error" not in drawn("--no-legend")[2]


def test_literal_formulas_in_the_box_of_a_call(drawn):
    assert any("1/(1 + exp(−" in text for text in texts(drawn("--fold", "sigmoid", "--literal")[1]))
    assert any("σ(" in text for text in texts(drawn("--fold", "sigmoid")[1]))


@pytest.mark.parametrize("fold", ["sigmoid", "calls", "sigmoid, sigmoid"])
def test_calls_that_are_one_box(drawn, fold):
    written = texts(drawn("--fold", fold)[1])
    assert "sigmoid" in written
    assert len(texts(drawn()[1])) > len(written)


def test_the_resolution_of_pixels(drawn):
    plain, fine = (drawn(*o, to="out.png")[1] for o in ([], ["--dpi", "192"]))
    (w, h), (fine_w, fine_h) = (struct.unpack(">2I", png[16:24]) for png in (plain, fine))
    assert abs(fine_w - 2 * w) <= 1
    assert abs(fine_h - 2 * h) <= 1


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_no_paper(drawn, suffix):
    with_paper, without = (drawn(*o, to=f"o.{suffix}")[1] for o in ([], ["--transparent"]))
    if suffix == "svg":
        assert b'class="paper"' in with_paper
        assert b'class="paper"' not in without
    else:  # three values to a pixel, or four
        assert [content[25] for content in (with_paper, without)] == [2, 6]


@pytest.mark.parametrize(
    ("options", "to", "message"),
    [
        (["--dpi", "200"], "o.svg", "--dpi 200 is for .png; a .svg has no pixels"),
        (["--transparent"], "o.pdf", "--transparent is for .svg and .png; a .pdf has no paper"),
        (["--dpi", "0"], "o.png", "no resolution; write a number of pixels to an inch above 0"),
        (["--dpi", "1e9"], "o.png", "up to 2400"),
        (["--width", "-3"], "o.svg", "no width; write a number of points above 0"),
        (["--width", "nan"], "o.svg", "no width"),
        (["--width", "wide"], "o.svg", "'wide' is no width"),
        (["--fold", "sigmod"], "o.svg", "fold names 'sigmod', but the functions called are: sig"),
        (["--fold", "sigmoid", "--view", "joint"], "o.svg", "view 'joint' shows no calls"),
        (["--direction", "up"], "o.svg", "invalid choice: 'up'"),
    ],
)
def test_mistakes_are_named_and_nothing_is_written(drawn, options, to, message):
    code, content, said = drawn(*options, to=to)
    assert (code, content) == (2, b"")
    assert message in said
    assert said.count("\n") == 1
