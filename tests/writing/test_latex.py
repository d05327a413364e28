"""LaTeX as an author would write it: its structure always, and by KaTeX where that is there."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from functions import NAMES, make
from words import WORDS

from tinygraph import Graph, Tensor, derive
from tinygraph.writing import latex
from tinygraph.writing.formulas import Notation
from tinygraph.writing.languages import LATEX

RNG = np.random.default_rng(6)
COMPILE = """
const katex = require('katex');
let text = '';
process.stdin.on('data', part => text += part).on('end', () => {
  for (const block of JSON.parse(text)) {
    katex.renderToString(block, {displayMode: true, strict: 'error', maxExpand: 1e6});
  }
  console.log('compiled');
});
"""


def blocks(text):
    return re.findall(r"\\begin\{align\*\}.*?\\end\{align\*\}", text, re.DOTALL)


def check(block):
    """Braces and brackets are closed where they are opened, and no row has too many columns."""
    body = re.fullmatch(r"\\begin\{align\*\}\n(.*)\n\\end\{align\*\}", block, re.DOTALL)[1]
    for row in body.split(" \\\\\n"):
        assert "\n" not in row
        cells = re.sub(r"\\\\|\\&", "", row).split("&")
        assert len(cells) == 4 or (len(cells) == 3 and "=" in cells[2]), row
        for cell in cells:
            opened = []
            for token in re.findall(r"\\left|\\right|\\.|[{}]", cell, re.DOTALL):
                if token in ("{", r"\left"):
                    opened.append(token)
                elif token in ("}", r"\right"):
                    assert opened.pop() == {"}": "{", r"\right": r"\left"}[token], cell
            assert not opened, cell
            assert not re.search(r"([\^_])(?:\w|\{[^{}]*\})\s*\1", cell), cell


def hostile():
    """A graph with every kind of name, and operations of every kind."""
    x, w = (Tensor(RNG.normal(size=(3, 2)), name=n) for n in ("x", "e"))
    out = np.tanh(x * w) / np.sqrt(np.sum(w * w, axis=0) + 1e-5)
    for word in WORDS:
        out = np.where(out > 0, np.exp(-abs(out)), np.sin(out) ** 3) + np.maximum(out, 0) * w
        out.name = word or None
    return np.mean((out @ w.T)[[0, 2, 2], 1:], axis=1) + np.max(out, axis=0)[0] ** 2.5


@pytest.mark.parametrize("name", NAMES)
def test_it_is_balanced(name):
    made = blocks(derive(make(name), format="latex"))
    assert len(made) == 2
    for block in made:
        check(block)


def test_it_is_balanced_whatever_names_there_are():
    for block in blocks(derive(hostile(), format="latex")):
        check(block)


@pytest.mark.parametrize(
    "formula",
    ["{y", r"\left(y", "y & z", "y^2^3", r"y_{1}_{2}", r"\frac{a}{b\left}\right)", "y\nz"],
)
def test_what_is_not_balanced_is_found(formula):
    with pytest.raises((AssertionError, IndexError)):
        check(r"\begin{align*}" + f"\n1 &\\quad& x &= {formula}\n" + r"\end{align*}")


@pytest.fixture(scope="module")
def compiled():
    """Give a function that compiles equations, and takes a warning for an error."""
    node = shutil.which("node")
    if (
        node is None
        or subprocess.run([node, "-e", "require('katex')"], capture_output=True).returncode
    ):
        pytest.skip("needs Node.js and KaTeX: npm install katex, and NODE_PATH where it is")

    def run(equations):
        text = json.dumps(equations)
        done = subprocess.run([node, "-e", COMPILE], input=text, text=True, capture_output=True)
        return done.stdout.strip() or done.stderr

    return run


def test_it_compiles(compiled):
    texts = [derive(out, format="latex") for out in (*map(make, NAMES), hostile())]
    assert compiled([block for text in texts for block in blocks(text)]) == "compiled"
    notes = re.findall(r"^No output.*", "\n".join(texts), re.MULTILINE)
    assert notes
    notes = [formula for note in notes for formula in re.findall(r"\$(.*?)\$", note)]
    assert compiled(notes) == "compiled"
    assert "compiled" not in compiled([r"\frac{1}{"])
    assert "compiled" not in compiled([r"é + \undefined"])


# --- what an author would do --------------------------------------------------------------------


def formula(out):
    graph = Graph.capture(out)
    return Notation(graph, LATEX).formula(graph.outputs[0])


def matrix(name, *shape):
    return Tensor(RNG.normal(size=shape or (3, 3)), name=name)


def test_products_of_entries_are_told_from_products_of_matrices():
    x, w = matrix("x"), matrix("w")
    assert formula(x * w) == r"x \cdot w"
    assert formula((x * w) @ w) == r"\left(x \odot w\right) \, w"
    assert formula(2 * (x @ w)) == r"2 \cdot \left(x \, w\right)"
    text = derive((x * w) @ w, format="latex")
    assert r"a \odot b &= \mathrm{entry\ by\ entry}" in text
    assert r"\odot" not in derive(x * w, format="latex")


def test_a_variable_is_never_taken_for_the_exponential():
    e = matrix("e")
    assert formula(np.exp(e) * e) == r"\exp\left(e\right) \cdot e"


def test_a_d_that_is_a_variable_is_no_gradient():
    d, x = matrix("d"), matrix("x")
    out = d * x
    assert r"\mathrm{d}x &= \mathrm{d}\mathrm{out} \cdot d" in derive(out, format="latex")


def test_axes_of_transposes_are_written():
    x = matrix("x", 2, 3, 4)
    assert formula(np.transpose(x, (0, 2, 1))) == r"x^{\top}"
    assert formula(np.transpose(x, (2, 0, 1))).startswith(r"\operatorname{transpose}_{2,0,1}\left(")
    assert r"a^{\top} &=" in derive(np.transpose(x, (0, 2, 1)), format="latex")
    assert r"a^{\top} &=" not in derive(matrix("x").T, format="latex")


def test_a_root_is_written_where_the_number_is_one():
    x = matrix("x")
    assert formula(x / np.sqrt(8)) == r"\frac{x}{\sqrt{8}}"
    assert formula(x * np.sqrt(2)) == r"\sqrt{2} \cdot x"
    assert formula(x / 3) == r"\frac{x}{3}"
    assert formula(x * 1.4142) == r"1.4142 \cdot x"


def test_long_lines_are_broken_at_operators():
    names = [f"quite_long_{k}" for k in "abcdefghijkl"]
    terms = [matrix(name) for name in names]
    text = derive(sum(terms[1:], terms[0]), format="latex")
    rows = text.split(r"\\" + "\n")
    assert len([row for row in rows if row.startswith(r"&& &\qquad {} + ")]) > 1
    for block in blocks(text):
        check(block)


@pytest.mark.parametrize("longest", [1, 5, 9, 20, 1000])
def test_what_is_broken_is_the_same_without_breaks(longest):
    text = r"a \cdot \left(b + c\right) - \frac{d + e}{f - g} \odot h + \{ - \exp\left(-i\right)"
    pieces = latex.broken(text, longest)
    assert " ".join(pieces) == text
    for piece in pieces[1:]:
        assert re.match(r"\+ |- |\\cdot |\\odot ", piece)
