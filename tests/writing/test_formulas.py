"""Formulas for eyes: what they say is what the graph computes, and no two names look the same."""

import re
from fractions import Fraction

import numpy as np
import pytest
from helpers import examples
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from tinygraph import Graph, Tensor, trace
from tinygraph.batchnorm import staged
from tinygraph.engine.autodiff import reachable
from tinygraph.writing.formulas import Notation
from tinygraph.writing.languages import LATEX, TEXT
from tinygraph.writing.numbers import number_text, shape_text

RNG = np.random.default_rng(5)


def tensor(name, *shape):
    return Tensor(RNG.uniform(0.5, 2.0, size=shape), name=name)


def joint(*outs):
    return Graph.capture(list(outs), wrt=[t for t in reachable(outs) if t.op is None])


def formula(out, language=TEXT, *, literal=False):
    graph = Graph.capture(out)
    return Notation(graph, language, literal=literal).formula(graph.outputs[0])


def gradients(out, language=TEXT, *, literal=False):
    graph = joint(out)
    notation = Notation(graph, language, literal=literal)
    return {g.name: notation.gradient(g) for g in graph.gradients}


def batchnorm(shape=(178, 13), gamma=(13,), axis=0):
    return trace(staged)(tensor("x", *shape), tensor("g", *gamma), tensor("b", *gamma), axis=axis)


# --- batch normalization ------------------------------------------------------------------------


@pytest.mark.parametrize("n", [178, 64, 2])
def test_batchnorm_reads_as_the_staged_derivation(n):
    """Also for a power of two, whose reciprocal is a number like any other."""
    graph = joint(batchnorm((n, 13)))
    notation = Notation(graph)
    assert notation.batch == n
    assert [f"{s.name} = {notation.formula(s.result)}" for s in graph.steps] == [
        "mu = 1/N Σ x",
        "xmu = x − mu",
        "sq = xmu²",
        "var = 1/N Σ sq",
        "sqrtvar = √(var + eps)",
        "ivar = 1/sqrtvar",
        "xhat = xmu · ivar",
        "gammax = g · xhat",
        "out = gammax + b",
    ]
    assert [f"{g.name} = {notation.gradient(g)}" for g in graph.gradients] == [
        "dout = dout",
        "dgammax = dout",
        "db = Σ dout",
        "dg = Σ dgammax · xhat",
        "dxhat = dgammax · g",
        "dxmu1 = dxhat · ivar",
        "divar = Σ dxhat · xmu",
        "dsqrtvar = −divar · ivar²",
        "dvar = dsqrtvar / (2 · sqrtvar)",
        "dsq = spread(1/N · dvar)",
        "dxmu2 = 2 · xmu · dsq",
        "dxmu = dxmu1 + dxmu2",
        "dx1 = dxmu",
        "dmu = −Σ dxmu",
        "dx2 = spread(1/N · dmu)",
        "dx = dx1 + dx2",
    ]


def test_sums_name_their_axes_where_they_are_not_those_of_a_batch():
    graph = joint(batchnorm((6, 4), (4,), axis=-1))
    notation = Notation(graph)
    written = {g.name: notation.gradient(g) for g in graph.gradients}
    assert notation.formula(graph["mu"]) == "1/N Σ₁ x"
    assert written["dmu"] == "−Σ₁ dxmu"
    assert written["dg"] == "Σ₀ dgammax · xhat"
    assert notation.signs() == {"Σ₁": "sum along axis 1", "Σ₀": "sum along axis 0"}
    images = Graph.capture(np.mean(np.sum(tensor("x", 2, 3, 4, 5), axis=(2, 3)), axis=0))
    notation = Notation(images)
    notation.formula(images.outputs[0])
    assert notation.signs()["Σ₂₃"] == "sum along axes 2, 3"
    latex = Notation(graph, LATEX)
    assert latex.formula(graph["var"]) == r"\frac{1}{N} \sum_{1} \mathrm{sq}"


def test_the_sum_of_everything_needs_no_axes():
    x = tensor("x", 3, 4)
    assert formula(np.sum(np.sum(x, axis=1) ** 2)) == "Σ (Σ₁ x)²"
    assert formula(np.sum(x * np.max(x, axis=(1,), keepdims=True))) == "Σ x · max₁(x)"
    assert formula(np.sum(x)) == "Σ x"


# --- means and constants ------------------------------------------------------------------------


def test_a_mean_and_the_rule_of_a_mean():
    x = tensor("x", 5)
    assert formula(np.mean(x * x)) == "1/N Σ x²"
    assert gradients(np.mean(x)) == {"dout": "dout", "dx": "spread(dout / N)"}
    assert gradients(x - np.mean(x))["dx2"] == "−spread(1/N Σ dout)"


def test_two_different_means_are_written_with_their_counts():
    x = tensor("x", 5, 3)
    out = np.mean(x, axis=0).sum() + np.mean(x, axis=1).sum()
    assert formula(out) == "Σ (1/5 Σ₀ x) + Σ (1/3 Σ₁ x)"
    assert Notation(Graph.capture(out)).batch is None


def test_n_is_no_length_where_the_user_calls_something_else_so():
    """No formula says 1/N of another number than the N that it mentions elsewhere."""

    def of_rows(x):
        N = x.shape[0]
        m = np.mean(x)
        return np.sum((x - m) ** 2) / N

    def agreeing(x):
        N = x.shape[0]
        return np.sum(x, axis=0) / N - np.mean(x * x, axis=0)

    def given(x):
        N = 3.0
        return N * np.mean(x, axis=0)

    def argument(x, N):
        return np.mean(x * N, axis=0)

    def step(x):
        N = x * x
        return np.mean(N, axis=0)

    x = RNG.normal(size=(4, 6))
    for f, arguments, batch, text in [
        (of_rows, [x], None, "(Σ (x − m)²) / N"),
        (agreeing, [x], 4, "1/N Σ x − 1/N Σ x²"),
        (given, [x], None, "N · 1/4 Σ x"),
        (argument, [x, RNG.normal(size=(4, 6))], None, "1/4 Σ x · N"),
        (step, [x], None, "1/4 Σ N"),
    ]:
        graph = Graph.capture(trace(f)(*arguments))
        notation = Notation(graph)
        assert notation.batch == batch, f.__name__
        assert notation.formula(graph.outputs[0]) == text
    assert Notation(g := Graph.capture(trace(of_rows)(x))).formula(g["m"]) == "1/24 Σ x"


def test_a_named_constant_is_no_count_unless_it_scales_a_sum():
    def model(x):
        alpha = 0.25
        y = alpha * x
        return np.sum(y, axis=0)

    graph = Graph.capture(trace(model)(RNG.normal(size=(4, 2))))
    notation = Notation(graph)
    assert notation.formula(graph["y"]) == "alpha · x"
    assert notation.batch is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3.0, "3"),
        (-2.5, "-2.5"),
        (1e-5, "1e-05"),
        (1e300, "1e+300"),
        (Fraction(1, 4), "0.25"),
        (np.float32(0.5), "0.5"),
        (float("nan"), "nan"),
        (-np.inf, "-inf"),
        (1 + 2j, "(1+2j)"),
        (Fraction(10**400), str(10**400)),
    ],
)
def test_numbers_are_written_shortly(value, text):
    assert number_text(value) == text


def test_shapes_are_written_as_python_does():
    assert [shape_text(s) for s in [(), (3,), (3, 4)]] == ["()", "(3,)", "(3, 4)"]


# --- every operation ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "text", "latex"),
    [
        (lambda x, y: x - (y - x), "x − (y − x)", "x - \\left(y - x\\right)"),
        (lambda x, y: (x - y) - x, "x − y − x", "x - y - x"),
        (lambda x, y: x - -y, "x − (−y)", "x - \\left(-y\\right)"),
        (lambda x, y: -x * y, "−x · y", "-x \\cdot y"),
        (lambda x, y: x * -y, "x · (−y)", "x \\cdot \\left(-y\\right)"),
        (lambda x, y: -(x * y), "−x · y", "-x \\cdot y"),
        (lambda x, y: -(x + y), "−(x + y)", "-\\left(x + y\\right)"),
        (lambda x, y: (x + y) * x, "(x + y) · x", "\\left(x + y\\right) \\cdot x"),
        (lambda x, y: x / (y * x), "x / (y · x)", "\\frac{x}{y \\cdot x}"),
        (lambda x, y: 1 / (x + y), "1/(x + y)", "\\frac{1}{x + y}"),
        (lambda x, y: (x / y) ** 2, "(x / y)²", "\\left(\\frac{x}{y}\\right)^{2}"),
        (lambda x, y: (-x) ** 2, "(−x)²", "\\left(-x\\right)^{2}"),
        (lambda x, y: -(x**2), "−x²", "-x^{2}"),
        (lambda x, y: (x**3) ** 2, "(x^3)²", "\\left(x^{3}\\right)^{2}"),
        (lambda x, y: np.sqrt(x + y), "√(x + y)", "\\sqrt{x + y}"),
        (lambda x, y: np.exp(-x), "exp(−x)", "\\exp\\left(-x\\right)"),
        (lambda x, y: abs(x) + np.log(y), "abs(x) + log(y)", None),
        (lambda x, y: x**y, "x^y", "x^{y}"),
        (lambda x, y: x * 2.5, "x · 2.5", "x \\cdot 2.5"),
        (lambda x, y: x - 1e-5, "x − 1e-05", "x - 10^{-5}"),
        (lambda x, y: x * -3, "x · (-3)", "x \\cdot \\left(-3\\right)"),
        (lambda x, y: np.maximum(x, y), "maximum(x, y)", "\\max\\left(x, y\\right)"),
        (lambda x, y: np.maximum(x, 0), "relu(x)", "\\operatorname{relu}\\left(x\\right)"),
        (lambda x, y: x @ y.T, "x @ yᵀ", "x \\, y^{\\top}"),
        (lambda x, y: (x * y) @ y.T, "(x · y) @ yᵀ", None),
        (lambda x, y: (x @ y.T) * 2, "(x @ yᵀ) · 2", None),
        (lambda x, y: x @ y.T + 1, "x @ yᵀ + 1", "x \\, y^{\\top} + 1"),
        (lambda x, y: x[1:, None], "x[1:, None]", None),
        (lambda x, y: x[..., ::2], "x[…, ::2]", "x[\\ldots, {:}{:}2]"),
        (lambda x, y: x[np.array([0, 1])], "x[i]", None),
        (lambda x, y: np.sum(x * y), "Σ x · y", "\\sum x \\cdot y"),
        (lambda x, y: np.sum(x + y), "Σ (x + y)", "\\sum \\left(x + y\\right)"),
        (lambda x, y: np.sum(x) * y, "(Σ x) · y", None),
        (lambda x, y: y * np.sum(x) * x, "(y · Σ x) · x", None),
        (lambda x, y: -np.sum(x), "−Σ x", "-\\sum x"),
        (lambda x, y: np.concatenate([x, y]), "concatenate(x, y)", None),
        (lambda x, y: x.astype(np.float32), "float32(x)", None),
        (lambda x, y: x * np.ones((2, 2)) * 1, "x · array(2, 2) · 1", None),
        (lambda x, y: x.reshape(4), "reshape(x)", None),
        (lambda x, y: np.where(x.data > 0, x, y), "where(array(2, 2), x, y)", None),
    ],
)
def test_literal_formulas(f, text, latex):
    """Of every operation, as it runs."""
    x, y = tensor("x", 2, 2), tensor("y", 2, 2)
    out = f(x, y)
    assert formula(out, literal=True) == text
    if latex is not None:
        assert formula(out, LATEX, literal=True) == latex


OPERATIONS = [
    lambda a, b, c: a + b,
    lambda a, b, c: a - b,
    lambda a, b, c: a * b,
    lambda a, b, c: a / b,
    lambda a, b, c: -a,
    lambda a, b, c: 1 / a,
    lambda a, b, c: a**2,
    lambda a, b, c: a**3,
    lambda a, b, c: a * c,
    lambda a, b, c: c - a,
    lambda a, b, c: c / a,
]
CONSTANTS = st.builds(Fraction, st.integers(-9, 9), st.integers(1, 3))


def value_of(text, names):
    """Read a formula as Python, whose precedence is the reader's, and compute it exactly."""
    text = re.sub(r"\b\d+\b", r"Fraction(\g<0>)", text)
    for sign, python in {"²": "**2", "^": "**", "·": "*", "−": "-"}.items():
        text = text.replace(sign, python)
    return eval(text, {"Fraction": Fraction}, names)


@settings(max_examples=examples(300), deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 9), st.integers(0, 9), CONSTANTS),
        min_size=1,
        max_size=9,
    )
)
def test_a_formula_says_what_is_computed(program):
    """No bracket is missing: read as Python, the formulas give the exact value."""
    known = {"u": Fraction(5, 3), "v": Fraction(-4, 7), "w": Fraction(2)}
    values = [Tensor(value, name=name) for name, value in known.items()]
    try:
        for operation, i, j, constant in program:
            a, b = values[-1 - i % len(values)], values[-1 - j % len(values)]
            values.append(operation(a, b, constant))
    except ZeroDivisionError:
        reject()
    graph = Graph.capture(values[-1])
    notation = Notation(graph)
    for step in graph.steps:
        known[step.name] = value_of(notation.formula(step.result), known)
    assert known[graph.outputs[0].name] == values[-1].data


# --- names --------------------------------------------------------------------------------------


def written(*names):
    """Give the LaTeX of variables that stand in one graph."""
    tensors = [Tensor(1.0, name=name) for name in names]
    graph = Graph.capture(sum(tensors[1:], tensors[0]))
    notation = Notation(graph, LATEX)
    return [notation.name(name) for name in names]


@pytest.mark.parametrize(
    ("name", "latex"),
    [
        ("x", "x"),
        ("mu", r"\mu"),
        ("γ", r"\gamma"),
        ("eps", r"\varepsilon"),
        ("xhat", r"\hat{x}"),
        ("mu_bar", r"\bar{\mu}"),
        ("x\u0302", r"\mathrm{\hat{x}}"),
        ("W1", "W_{1}"),
        ("h[0]", "h_{0}"),
        ("sigma_x", r"\sigma_{x}"),
        ("h_prev", r"h_{\mathrm{prev}}"),
        ("Wx", "W_{x}"),
        ("Wq2", "W_{q,2}"),
        ("wx", r"\mathrm{wx}"),
        ("depth", r"\mathrm{depth}"),
        ("running_mean", r"\mathrm{running\_mean}"),
        ("a\\b", r"\mathrm{a\backslash b}"),
        ("{x}", r"\mathrm{\{x\}}"),
        ("🙂", r"\mathrm{U{+}1F642}"),
    ],
)
def test_latex_of_a_name(name, latex):
    assert written(name) == [latex]


@given(st.lists(st.text(min_size=1, max_size=4), min_size=2, max_size=4, unique=True))
def test_no_two_names_look_the_same(names):
    different = dict.fromkeys([*names, "h[0]", "h_0", "h0", "mu", "μ"])  # some may be drawn, too
    distinct = written(*different)
    assert len(set(distinct)) == len(different)


def test_the_gradient_of_a_name_is_no_name_that_begins_with_d():
    x, depth = tensor("x", 3), tensor("depth", 3)
    out = gradients(x * depth, LATEX)
    assert out["ddepth"] == r"\mathrm{d}\mathrm{out} \cdot x"
    assert out["dx"] == r"\mathrm{d}\mathrm{out} \cdot \mathrm{depth}"


def test_parts_of_the_gradient_of_an_indexed_name():
    h = tensor("h[0]", 3)
    written = gradients(h * h, LATEX)
    assert written["dh[0]"] == r"\mathrm{d}h_{0,1} + \mathrm{d}h_{0,2}"


def test_a_part_and_the_gradient_of_another_variable_stay_apart():
    x, x1 = tensor("x", 3), tensor("x1", 3)
    graph = joint(x * x * x1)
    notation = Notation(graph, LATEX)
    names = [notation.name(g.name) for g in graph.gradients]
    assert len(set(names)) == len(names)


# --- length -------------------------------------------------------------------------------------


def test_what_is_too_long_is_cut():
    x = tensor("x", 2)
    out = x
    for k in range(200):
        out = np.tanh(out) * (k + 0.5)
    assert "…" in formula(out)
    assert len(formula(out)) < 500
    assert r"\ldots" in formula(out, LATEX)
    many = x * 1.0
    for k in range(300):
        many = many + x * (k + 0.5)
    total = gradients(many)["dx"]
    assert total == "dx1 + … + dx301"


def test_formulas_do_not_depend_on_the_order_of_asking():
    graph = joint(
        trace(lambda x, w: np.tanh(x @ w + 1).sum() * 2)(RNG.normal(size=(3, 3)), np.eye(3))
    )
    notation = Notation(graph)
    forward = [notation.formula(s.result) for s in graph.steps]
    backward = [notation.gradient(g) for g in graph.gradients]
    mixed = Notation(graph)
    assert [mixed.gradient(g) for g in reversed(graph.gradients)] == backward[::-1]
    assert [mixed.formula(s.result) for s in graph.steps] == forward
    assert [mixed.gradient(g) for g in graph.gradients] == backward
