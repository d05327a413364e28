"""`tinygraph explore`: which file is written, what the page shows, and what is refused."""

import json
import re

import pytest

from tinygraph.cli.commands import main
from tinygraph.files import is_ours

MODEL = """
import numpy as np

def forward(x, w):
    s = x @ w
    out = np.tanh(s)
    return out

def backward(dout, x, w, out):
    ds = dout * (1 - out)
    return ds @ w.T, x.T @ ds
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.py").write_text(MODEL)
    return tmp_path


def data_of(path):
    text = path.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script id="data"[^>]*>(.*?)</script>', text, re.DOTALL)[1])


def test_batchnorm_is_shown_of_eight_wines(folder, capsys):
    assert main(["explore", "batchnorm"]) == 0
    assert capsys.readouterr().err == "wrote batchnorm.html\n"
    path = folder / "batchnorm.html"
    assert is_ours(path.read_bytes())
    shapes = {n["name"]: n["shape"] for n in data_of(path)["graph"]["nodes"] if n["op"] is None}
    assert shapes["x"] == shapes["dout"] == [8, 3]
    assert "<h1>BatchNorm</h1>" in path.read_text(encoding="utf-8")
    assert main(["explore", "batchnorm"]) == 0  # over what is its own


def test_a_function_of_ones_own_is_shown_and_its_backward_pass_checked(folder, capsys):
    asked = ["explore", "model.py:forward", "x=4x3", "w=3x2", "-o", "out/page.html"]
    assert main([*asked, "--check", "model.py:backward"]) == 0
    assert "wrote out/page.html" in capsys.readouterr().err
    report = data_of(folder / "out" / "page.html")["report"]
    assert [line["gradient"] for line in report["lines"] if line["mark"] == "✗"] == ["ds"]


def test_it_goes_to_standard_output(folder, capfdbinary):
    assert main(["explore", "model.py:forward", "x=4x3", "w=3x2", "-o", "-"]) == 0
    assert capfdbinary.readouterr().out.startswith(b"<!doctype html>")
    assert [path.name for path in folder.iterdir() if path.suffix == ".html"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["batchnorm", "-o", "page.svg"], "page.svg: is written as a page, so its name must end"),
        (["model.py:nothing"], "model.py: has no function 'nothing'; it has forward, backward"),
        (["model.py:forward", "x=4x3"], "missing a required argument: 'w'"),
        (["batchnorm", "x=3000x200"], "x has shape (3000, 200): with about"),
        (["model.py:forward", "x=4x3", "w=3x2", "--check", "model.py:no"], "no function 'no'"),
    ],
)
def test_mistakes_are_one_line(folder, capsys, arguments, message):
    assert main(["explore", *arguments]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_a_file_of_ones_own_stays(folder, capsys):
    (folder / "batchnorm.html").write_text("<p>mine</p>")
    assert main(["explore", "batchnorm"]) == 2
    assert "exists and is not as tinygraph made it" in capsys.readouterr().err
    assert (folder / "batchnorm.html").read_text() == "<p>mine</p>"
    assert main(["explore", "batchnorm", "--force"]) == 0
