"""The page of equations: its MathML is well formed, says whose values they are, and is seen."""

import html
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from functions import NAMES, make
from words import WORDS

from tinygraph import Graph, Tensor, derive, ops
from tinygraph.engine.ops import Primitive
from tinygraph.engine.primitive import TABLE
from tinygraph.writing.formulas import Notation
from tinygraph.writing.languages import MATHML, SPOKEN, TEXT
from tinygraph.writing.lines import passes
from tinygraph.writing.pages import page

RNG = np.random.default_rng(12)
PAIRS = {"mfrac", "msup", "msub", "munder"}
LEAVES = {"mi", "mn", "mo", "mtext", "mspace"}


def check(markup):
    """Elements are nested right, have as many children as they need, and text is in leaves."""
    root = ElementTree.fromstring(markup)
    for element in root.iter():
        if element.tag in PAIRS:
            assert len(element) == 2, markup
        if element.tag in LEAVES:
            assert len(element) == 0
        else:
            assert element.tag in PAIRS | {"math", "mrow", "msqrt"}
            assert not (element.text or "").strip()
        assert not (element.tail or "").strip()
    return root


def formulas(text):
    return re.findall(r"<math.*?</math>", text, re.DOTALL)


def names(graph):
    return {str(n.name) for n in graph.nodes if n.name} | {g.name for g in graph.gradients}


@pytest.mark.parametrize("name", NAMES)
def test_every_formula_is_well_formed_and_linked(name):
    graph = Graph.joint(make(name))
    for literal in (False, True):
        text = page(graph, literal=literal)
        links = set()
        for one in formulas(text):
            root = check(one)
            assert root.get("aria-label") or "No output" in text
            links |= {e.get("data-v") for e in root.iter() if e.get("data-v")}
        assert links <= names(graph)
        assert {step.name for step in graph.steps} <= links


@pytest.mark.parametrize(
    "markup",
    ["<math><mfrac><mi>x</mi></mfrac></math>", "<math>x</math>", "<math><mi><mn>1</mn></mi></math>",
     "<math><div/></math>", "<math><mi>x</mi> y</math>", "<math><mi>x</math>"],
)  # fmt: skip
def test_what_is_malformed_is_found(markup):
    with pytest.raises((AssertionError, ElementTree.ParseError)):
        check(markup)


def test_a_label_says_what_is_seen():
    graph = Graph.joint(make("lstm_step"))
    labels = [html.unescape(x) for x in re.findall(r'aria-label="([^"]*)"', page(graph))]
    for made in passes(graph, SPOKEN):
        for line in made.lines:
            assert (f"{line.name} = {line.formula}" if line.formula else line.name) in labels
    assert "dz″ = do ⊙ o ⊙ (1 − o)" in labels


def test_a_sum_along_no_axes_has_no_sign_of_its_own():
    x = Tensor(np.ones((2, 3)), name="x")
    y = np.sum(x, axis=()) * np.sum(x, axis=1, keepdims=True)
    assert "sum along axis 1" in derive(y, format="html")
    assert "sum along axes " not in derive(y, format="html")


def test_no_name_breaks_the_page():
    hostile = [*WORDS, "</script>", "<!--", "-->", '"', "'", "&amp;", "\x00", "\ud800", "]]>"]
    x = Tensor(RNG.normal(size=2), name="<script>")
    out = x
    for word in hostile:
        out = np.tanh(out) * x
        out.name = word or None
    graph = Graph.joint(out)
    text = page(graph)
    text.encode()
    for one in formulas(text):
        check(one)
    assert "<script>" not in text
    assert "</script>" not in text


def test_every_operation_can_be_written():
    def call(x):
        x = x.reshape(2, 2)
        a = np.where(x > 0, np.exp(x), np.abs(x)) ** 3 + x**-x / np.maximum(x, 0)
        b = np.concatenate([a, np.sqrt(a), np.log(a)])[1:3, None, np.array([0, 1])]
        return np.max(np.transpose(b, (2, 0, 1)), axis=1).astype(np.float32).T @ x * 1e-7 - np.inf

    x = Tensor(RNG.uniform(1, 2, size=4), name="x")
    with np.errstate(all="ignore"):
        out = call(x)
    for one in formulas(page(Graph.joint(out))):
        check(one)


PARAMS = dict.fromkeys(("axes", "key", "dtype", "n", "name", "operands"), "<mn>1</mn>")


@pytest.mark.parametrize(
    "op", [op for op in TABLE.values() if op.home.startswith("tinygraph.")], ids=str
)
def test_every_row_is_well_formed(op):
    graph = Graph.capture(np.transpose(Tensor(np.ones((2, 3, 4))), (2, 0, 1)))
    if op in (ops.assign, ops.assign_add):
        more = {"disjoint": True} if op is ops.assign else {}
        written = op(Tensor(np.ones(9)), *range(6), keys=tuple(range(6)), **more)
        graph = Graph.capture(written)
    form, _ = MATHML.written(op, graph.outputs[0])
    params = PARAMS | {f"key{k}": "<mn>1</mn>" for k in range(6)}
    check(f"<math>{form.fill(lambda *_: '<mi>x</mi>', params)}</math>")


def test_an_operation_of_ones_own_is_written_as_its_text():
    double = Primitive(
        "double_of", "2·", lambda x: 2 * x, lambda g, out, x: 2 * g, text="2 · {0:call}"
    )
    try:
        graph = Graph.capture(double(Tensor(1.0, name="x") + 1.0))
        written = Notation(graph, MATHML).formula(graph.outputs[0])
        check(f"<math>{written}</math>")
        assert written.startswith("<mn>2</mn><mo>·</mo><mrow><mo>(</mo>")
        assert Notation(graph, TEXT).formula(graph.outputs[0]) == "2 · (x + 1)"
    finally:
        del TABLE["double_of"]


@pytest.mark.parametrize(
    ("f", "start"),
    [
        (lambda x: -x, '<mo form="prefix">−</mo>'),
        (lambda x: x / 2, "<mfrac>"),
        (lambda x: 1 / x, "<mfrac><mn>1</mn>"),
        (lambda x: x * x, "<msup>"),
        (lambda x: np.sqrt(x), "<msqrt>"),
        (lambda x: x * np.sqrt(3), "<msqrt><mn>3</mn></msqrt>"),
        (lambda x: x - (x * -2 - x), None),
        (lambda x: np.mean(x), '<mfrac><mn>1</mn><mrow><mi class="i">N</mi></mrow></mfrac>'),
    ],
)
def test_formulas(f, start):
    graph = Graph.capture(f(Tensor(RNG.uniform(1, 2, size=3), name="x")))
    written = Notation(graph, MATHML).formula(graph.outputs[0])
    check(f"<math>{written}</math>")
    assert start is None or written.startswith(start)


def test_what_is_too_long_is_cut_by_what_is_seen():
    out = x = Tensor(RNG.normal(size=2), name="x")
    for k in range(60):
        out = np.sin(out) * x + k
    cut = [text for text in derive(out, format="html").splitlines() if "…" in text]
    assert cut
    graph = Graph.capture(x * x * (x + 1) - np.tanh(x + 2) * 3)
    assert "…" not in Notation(graph, MATHML).formula(graph.outputs[0])


# --- in a browser -------------------------------------------------------------------------------

CHROMIUM = [Path("/usr/bin") / name for name in ("chromium", "chromium-browser", "google-chrome")]
MEASURE = """() => {
  const luminance = color => {
    const [r, g, b] = color.match(/[\\d.]+/g).slice(0, 3).map(Number).map(
      v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const paper = luminance(getComputedStyle(document.body).backgroundColor);
  const contrast = [...document.querySelectorAll('h1, h2, b, small, math, dd, p')].map(e => {
    const ink = luminance(getComputedStyle(e).color);
    return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
  });
  const boxes = [...document.querySelectorAll('.formula')].map(e => {
    const math = e.querySelector('math').getBoundingClientRect(), box = e.getBoundingClientRect();
    return [math.width, math.height, box.height, e.scrollWidth - e.clientWidth];
  });
  return {wide: document.documentElement.scrollWidth - innerWidth,
          contrast: Math.min(...contrast), boxes};
}"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["staged", "multihead", "vae_loss"])
def test_it_is_seen_at_any_width_in_light_and_dark(name):
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason='needs pip install -e ".[browser]" and a Chromium'
    )
    program = next((path for path in CHROMIUM if path.exists()), None)
    if program is None:
        pytest.skip("no Chromium is installed")
    text, asked, said = derive(make(name), format="html"), [], []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(program), args=["--no-sandbox"])
        for width, scheme in ((1400, "light"), (900, "dark"), (390, "light")):
            shown = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            shown.on("request", lambda request: asked.append(request.url))
            shown.on("console", lambda message: said.append(message.text))
            shown.set_content(text)
            found = shown.evaluate(MEASURE)
            assert found["wide"] <= 0
            assert found["contrast"] >= 4.5
            for seen, high, box, hidden in found["boxes"]:
                assert seen > 5
                assert high <= box
                assert hidden <= (0 if width > 640 else seen)
            shown.close()
        browser.close()
    assert asked == []
    assert said == []
