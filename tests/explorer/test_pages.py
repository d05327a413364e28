"""Pages as files: the same at every run, closed to the outside and to what names may hold."""

import base64
import hashlib
import html
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from functions import make
from helpers import upstream

from tinygraph import Graph, Tensor, check, explore, trace
from tinygraph.cli.targets import run_sample
from tinygraph.drawing import RenderingError
from tinygraph.explorer import pictures
from tinygraph.files import is_ours

HOSTILE = ["</script><script>alert(1)</script>", "x[0]\"'é`${1}", "{{data}} &lt; <!-- \u2028"]


class Reader(HTMLParser):
    """Gives the elements of a page, with their attributes and the text right in them."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes), []))
        self.open.append(self.elements[-1])

    def handle_data(self, data):
        if self.open:
            self.open[-1][2].append(data)

    def handle_endtag(self, tag):
        while self.open and self.open.pop()[0] != tag:
            pass

    def all(self, tag, **wanted):
        return [
            ("".join(text), attributes)
            for name, attributes, text in self.elements
            if name == tag and wanted.items() <= attributes.items()
        ]


def data_of(page):
    ((text, _),) = Reader(page.html).all("script", id="data")
    return json.loads(text)


def digest(text):
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def normalized():
    """Give BatchNorm on a few numbers, with an upstream gradient."""
    rng = np.random.default_rng(3)

    def batchnorm(x, gamma, beta, eps):
        xmu = x - np.mean(x, axis=0)
        xhat = xmu / np.sqrt(np.var(x, axis=0) + eps)
        return gamma * xhat + beta

    out = trace(batchnorm)(rng.normal(size=(4, 2)), np.ones(2), np.zeros(2), eps=1e-5)
    out.backward(upstream(rng, out))
    return out


@pytest.mark.parametrize("name", ["layernorm", "attention", "lstm_step"])
def test_nothing_acts_on_a_page_but_its_own_style_and_script(name):
    page = explore(make(name))
    reader = Reader(page.html)
    ((style, _),) = reader.all("style")
    ((script, _),) = reader.all("script", type="module")
    expected = f"default-src 'none'; script-src {digest(script)}; style-src {digest(style)}"
    assert page.policy == expected
    ((_, meta),) = reader.all("meta", **{"http-equiv": "Content-Security-Policy"})
    assert meta["content"] == expected
    assert len(reader.all("script")) == 2  # and the data
    for _, attributes, _ in reader.elements:
        assert not [key for key in attributes if key == "style" or key.startswith("on")]
        assert not {"src", "href", "action"} & set(attributes)
    outside = re.findall(r"https?://[^\s\"'`)]+", page.html)
    assert set(outside) <= {"http://www.w3.org/2000/svg"}


def test_words_that_equations_use_are_explained():
    def picked(x):
        out = x[np.array([0, 0, 1])] - np.mean(x)
        return out

    x = np.array([1.0, 4.0])
    for function, words in ((picked, ["spread(a)", "scatter(a", "i, j ="]), (np.tanh, [])):
        head, _ = Reader(explore(trace(function)(x)).html).all("p")[0]
        assert [word for word in ("spread(a)", "scatter(a", "i, j =") if word in head] == words


def test_names_can_hold_anything():
    a, b = Tensor([1.0, 2.0], name=HOSTILE[0]), Tensor([3.0, 4.0], name=HOSTILE[1])
    out = a * b
    out.name = HOSTILE[2]
    page = explore(out, title=HOSTILE[0], note=HOSTILE[2])
    assert len(Reader(page.html).all("script")) == 2
    names = [node["name"] for node in data_of(page)["graph"]["nodes"]]
    assert names[:3] == HOSTILE
    assert f"<h1>{html.escape(HOSTILE[0])}</h1>" in page.html


def test_bytes_are_the_same_at_every_run():
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from functions import make; from tinygraph import explore\n"
        "import hashlib; print(hashlib.sha256(explore(make('gru_step')).html.encode()).hexdigest())"
    )
    folder = os.path.dirname(os.path.dirname(__file__))
    done = subprocess.run(
        [sys.executable, "-c", script, folder],
        env=os.environ | {"PYTHONHASHSEED": "41"},
        capture_output=True,
        check=True,
        text=True,
    )
    here = hashlib.sha256(explore(make("gru_step")).html.encode()).hexdigest()
    assert done.stdout.strip() == here


def test_a_page_is_small():
    """Both pictures, style and scripts, besides the font and the data of the graph."""
    page = explore(run_sample())
    ((data, _),) = Reader(page.html).all("script", id="data")
    assert len(page.html.encode()) - len(data.encode()) <= 100 * 1024
    fonts = sum(map(len, data_of(page)["font"]))
    assert len(data.encode()) - fonts < 26_000


def test_scripts_come_where_they_are_needed():
    few, many = explore(run_sample()), explore(make("staged"))
    assert "class HeatMap" in many.html
    assert "class HeatMap" not in few.html


# --------------------------------------------------------------------------- pictures


@pytest.mark.parametrize("name", ["staged", "lstm_step", "convolution", "multihead"])
@pytest.mark.parametrize("detail", ["steps", "primitives"])
def test_each_stroke_says_which_gradient_it_is(name, detail):
    graph = Graph.joint(make(name))
    svg, _ = pictures.page_picture(graph, detail)
    strokes = {int(k) for k in re.findall(r'data-gradient="(\d+)"', svg)}
    place = {n.index: n.step if detail == "steps" else n.index for n in graph.nodes}
    for n in graph.inputs:
        place[n.index] = f"input {n.index}"
    between = {
        k
        for k, g in enumerate(graph.all_gradients)
        if g.kind == "upstream" or (g.consumer and place[g.of.index] != place[g.consumer.index])
    }
    assert strokes == between
    ids = re.findall(r' id="([^"]+)"', svg)
    assert len(ids) == len(set(ids))
    assert not re.search(r' (?:fill|stroke|style|font-family)="', svg)


def test_where_nothing_can_place_a_picture_the_page_says_so(monkeypatch):
    def place(source):
        raise RenderingError("install pygraphviz")

    monkeypatch.setattr(pictures, "place", place)
    page = explore(normalized())
    assert "no picture: install pygraphviz" in page.html
    assert "<svg" not in Reader(page.html).all("div", id="stage")[0][0]


# --------------------------------------------------------------------------- as a person uses it


def test_a_page_is_saved_and_known_again(tmp_path):
    page = explore(normalized())
    path = tmp_path / "new" / "page.html"
    assert page.save(path) == str(path)
    assert is_ours(path.read_bytes())
    assert path.read_text(encoding="utf-8").startswith(page.html)
    assert repr(page).startswith(f"Page({len(page.html.encode()):,} bytes")
    with pytest.raises(ValueError, match=r"page.txt: a page is written to a file that ends in"):
        page.save(tmp_path / "page.txt")


def test_notebooks_show_it_in_a_frame_that_can_only_run_it():
    page = explore(normalized())
    ((_, frame),) = Reader(page._repr_html_()).all("iframe")
    assert frame["srcdoc"] == page.html
    assert frame["sandbox"] == "allow-scripts"


def test_upstream_gradients_are_those_of_backward_and_else_random():
    out = normalized()
    data = data_of(explore(out))
    k = next(n["index"] for n in data["graph"]["nodes"] if n["role"] == "upstream")
    given = np.frombuffer(base64.b64decode(data["values"][str(k)]["base64"]))
    assert np.array_equal(given.reshape(4, 2), out.grad)
    drawn = data_of(explore(trace(lambda x: x * 2)(np.ones(5))))
    ((k, form),) = [(k, v) for k, v in drawn["values"].items() if int(k) in drawn["drawn"]]
    dout = np.frombuffer(base64.b64decode(form["base64"]))
    assert len(set(dout)) == 5
    assert np.array_equal(dout, dout.round(2))


def test_mistakes_are_said():
    with pytest.raises(TypeError, match="must be a Tensor, not int"):
        explore(3)
    with pytest.raises(TypeError, match=r"report is a str, but must be what tinygraph\.check"):
        explore(normalized(), report="wrong")
    with pytest.raises(ValueError, match=r"holds no value of x; take it with Graph\.joint"):
        explore(Graph.joint(make("layernorm")))
    with pytest.raises(ValueError, match=r"give wrt to Graph\.joint"):
        explore(Graph.joint(make("layernorm"), values=True), wrt=[])
    with pytest.raises(
        ValueError, match=r"can hold 2,000,000; x has shape .* along axis 0 it fits"
    ):
        explore(trace(lambda x: np.tanh(x) * 2)(np.zeros((2000, 1000))))


def test_a_report_of_check_goes_with_its_lines():
    def forward(x, w):
        s = x @ w
        out = np.tanh(s)
        return out, (x, w, out)

    def backward(dout, cache):
        x, w, out = cache
        ds = dout * (1 - out)
        return ds @ w.T, x.T @ ds

    x, w = np.array([[0.5, 1.0]]), np.array([[1.0], [-2.0]])
    out, _ = trace(forward)(x, w)
    found = data_of(explore(out, report=check(forward, backward, x, w)))["report"]
    (wrong,) = [line for line in found["lines"] if line["mark"] == "✗"]
    assert wrong["source"] == "ds = dout * (1 - out)"
    assert wrong["gradient"] == "ds"
    assert wrong["number"] == found["first"]
    assert not found["passed"]
