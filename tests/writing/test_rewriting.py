"""Rewriting for the eye: every rule by itself, and against the values of random graphs."""

from fractions import Fraction

import numpy as np
import pytest
from functions import NAMES, make
from helpers import close, examples, upstream
from hypothesis import given, reject, settings
from programs import ANALYTIC, KINKED, axes_of, execute, joined, programs

from tinygraph import Graph, Tensor, trace
from tinygraph.engine.autodiff import reachable
from tinygraph.engine.lengths import Formula
from tinygraph.graph.evaluation import evaluate
from tinygraph.writing.formulas import Notation
from tinygraph.writing.languages import LATEX
from tinygraph.writing.rewriting import Rewriter
from tinygraph.writing.rules import RULES


def tensor(name, *shape):
    """Give a tensor whose numbers depend on its name alone, in whatever order tests run."""
    rng = np.random.default_rng([*name.encode()])
    return Tensor(rng.uniform(0.5, 2.0, size=shape), name=name)


def formula(out, language=None):
    graph = Graph.capture(out)
    options = () if language is None else (language,)
    return Notation(graph, *options).formula(graph.outputs[0])


# --- every rule ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "text"),
    [
        # signs
        (lambda x, y: np.negative(-x), "x"),
        (lambda x, y: -x * -y, "x · y"),
        (lambda x, y: x * -y, "−x · y"),
        (lambda x, y: x - -y, "x + y"),
        (lambda x, y: x + -y, "x − y"),
        (lambda x, y: -x + y, "y − x"),
        (lambda x, y: -x - y, "−x − y"),
        (lambda x, y: x + y * -0.5, "x − 0.5 · y"),
        (lambda x, y: x - (y - x), "x − (y − x)"),
        (lambda x, y: -(x - y), "−(x − y)"),
        # products: numbers first, then constants, sums last
        (lambda x, y: x * 2, "2 · x"),
        (lambda x, y: x * 2 * (y * 3), "6 · x · y"),
        (lambda x, y: x * 0.1 * (y * 3), "0.1 · 3 · x · y"),  # 3 · 0.1 is no float
        (lambda x, y: x * -3, "−3 · x"),
        (lambda x, y: x * y * x, "x² · y"),
        (lambda x, y: x * x * x, "x^3"),
        (lambda x, y: np.square(x) * x, "x^3"),
        (lambda x, y: np.square(np.square(x)), "x^4"),
        (lambda x, y: np.square(x * y), "(x · y)²"),
        (lambda x, y: np.sum(x) * y, "y · Σ x"),
        (lambda x, y: y * np.sum(x) * x, "y · x · Σ x"),
        (lambda x, y: (x + y) * 1.0, "x + y"),
        # fractions
        (lambda x, y: x / y * x, "x² / y"),
        (lambda x, y: x * (1 / y), "x / y"),
        (lambda x, y: x / y / y, "x / y²"),
        (lambda x, y: 1 / (1 / x), "x"),
        (lambda x, y: (x / 2) * 2, "x"),
        (lambda x, y: (x / 2) / (y / 4), "2 · x / y"),
        (lambda x, y: x / 8 * 2, "x / 4"),
        (lambda x, y: x / 0.0, "x / 0"),
        (lambda x, y: x / np.sqrt(y) / np.sqrt(y), "x / (√y · √y)"),
        (lambda x, y: np.square(np.sqrt(x)) * y, "x · y"),
        (lambda x, y: np.var(x, axis=0), "1/N Σ (x − 1/N Σ x)²"),
        # matrices
        (lambda x, y: x.T.T, "x"),
        (lambda x, y: (x.T @ y).T, "yᵀ @ x"),
        (lambda x, y: (x @ y.T).T, "y @ xᵀ"),
        (lambda x, y: (x @ y).T, "(x @ y)ᵀ"),
        (lambda x, y: (x.T @ (y / 3)).T, "(yᵀ @ x) / 3"),
        (lambda x, y: (-x) @ (y * 2), "−2 · (x @ y)"),
        (lambda x, y: np.transpose(np.reshape(-x, (1, 2, 2)), (2, 0, 1)), None),
        (lambda x, y: np.reshape(np.reshape(x, (4,)), (1, 4)), "reshape(x)"),
        (lambda x, y: np.reshape(x, (2, 2)), "x"),
        (lambda x, y: x @ y[0], "x @ y[0]"),
        (lambda x, y: x[0] @ y, "x[0] @ y"),
        (lambda x, y: x[0] @ y[1], "x[0] @ y[1]"),
        (lambda x, y: np.reshape(np.sum(x, axis=0, keepdims=True), (2,)), "Σ x"),
        (lambda x, y: np.reshape(np.sum(x, axis=0, keepdims=True), (2, 1)), "reshape(Σ x)"),
        # what is linear
        (lambda x, y: np.sum(-x), "−Σ x"),
        (lambda x, y: np.sum(x * 2 / 3), "(2 · Σ x) / 3"),
        (lambda x, y: np.sum(x + y * -1), "Σ (x − y)"),
        (lambda x, y: np.mean(-x), "−1/N Σ x"),
        (lambda x, y: x * np.mean(y) * y, "x · y · 1/N Σ y"),
        (lambda x, y: (-x)[0], "−x[0]"),
        # sigmoids
        (lambda x, y: 1 / (1 + np.exp(-x)), "σ(x)"),
        (lambda x, y: 1 / (np.exp(-x) + 1), "σ(x)"),
        (lambda x, y: 1.0 / (1.0 + np.exp(-x)), "σ(x)"),
        (lambda x, y: x / (1 + np.exp(-x * y)), "x · σ(x · y)"),
        (lambda x, y: 1 / (1 + np.exp(x)), "1/(1 + exp(x))"),
        (lambda x, y: 1 / (2 + np.exp(-x)), "1/(2 + exp(−x))"),
    ],
)
def test_rules(f, text):
    with np.errstate(divide="ignore"):
        out = f(tensor("x", 2, 2), tensor("y", 2, 2))
    if text is not None:
        assert formula(out) == text
    check(out)


def test_a_name_is_kept():
    """Nothing is dissolved in another step, however it could be shorter."""

    def model(x):
        a = -x
        b = -a
        return b * b

    graph = Graph.capture(trace(model)(np.array([2.0])))
    notation = Notation(graph)
    assert [notation.formula(step.result) for step in graph.steps] == ["−x", "−a", "b²"]


def test_the_slope_of_a_sigmoid_uses_its_value():
    def model(x):
        s = 1 / (1 + np.exp(-x))
        return s

    out = trace(model)(np.array([0.3, -1.0]))
    graph = Graph.joint(out)
    notation = Notation(graph)
    assert notation.gradient(graph.gradients[-1]) == "ds · s · (1 − s)"
    assert notation.signs() == {}
    assert notation.formula(graph.outputs[0]) == "σ(x)"
    assert notation.signs() == {"σ(z)": "1/(1 + exp(−z))"}
    unnamed = Graph.joint(1 / (1 + np.exp(-tensor("z", 2))) * 3)
    assert Notation(unnamed).gradient(unnamed.gradients[-1]) == "3 · dout · σ(z) · (1 − σ(z))"


def test_where_sigma_is_a_variable_the_sigmoid_is_called_by_its_name():
    for name in ("sigma", "σ"):
        z = tensor(name, 2)
        assert formula(1 / (1 + np.exp(-z))) == f"sigmoid({name})"
        assert formula(1 / (1 + np.exp(-z)), LATEX).startswith(r"\operatorname{sigmoid}")


def test_a_long_product_stays_in_its_parts():
    x = out = tensor("x", 2)
    for k in range(60):
        out = out * tensor(f"y{k}", 2)
    check(out * x)


# --- against values -----------------------------------------------------------------------------


def is_mean(node):
    """Whether a sum is divided by, or multiplied by one over, what was counted."""
    return any(str(x.op) == "sum" for x in node.inputs) and any(
        isinstance(x.origin, Formula) for x in node.inputs
    )


def check(out, tolerance=1e-9, exact=False, rules=RULES):
    """All that is written, computed as it is written, has the value that the engine gives."""
    dout = upstream(np.random.default_rng(3), out)
    if exact:
        dout = np.array([Fraction(int(8 * g), 8) for g in dout.flat], object).reshape(out.shape)
    with np.errstate(all="ignore"):
        out.backward(dout)
    graph = Graph.joint(out, values=True)
    rewriter = Rewriter(graph, rules, is_mean)
    for node in {n.index: n for n in [*graph.nodes, *(g.node for g in graph.gradients)]}.values():
        if node.op is None or node.name is None:
            continue
        shown = rewriter.rewritten(node)
        expression = reachable([shown], enter=lambda x: x.name is None or x.op is None)
        named = [x for one in expression for x in one.inputs if x.name is not None]
        known = {x.index: graph.value(x.index) for x in named if x.op or x.role != "constant"}
        if shown.op is None or (shown.name and shown is not node):
            known[shown.index] = graph.value(shown.index)
        with np.errstate(all="ignore"):
            evaluate([x for x in expression if x.index not in known], known)
        expected, got = graph.value(node.index), np.asarray(known[shown.index])
        if exact:
            assert np.array_equal(np.broadcast_to(got, np.shape(expected)), expected), node.name
        elif np.all(np.isfinite(expected)):
            close(np.broadcast_to(got, np.shape(expected)), expected, tolerance)
    return graph


@pytest.mark.parametrize("name", NAMES)
def test_functions_of_other_people(name):
    check(make(name), 1e-6)


@settings(max_examples=examples(100), deadline=None)
@given(programs(ANALYTIC | KINKED))
def test_values_of_random_graphs(program):
    shapes, _, seed = program
    rng = np.random.default_rng(seed)
    leaves = [Tensor(rng.normal(size=s), name=f"x{k}") for k, s in enumerate(shapes)]

    def after(value, k, is_named):
        if is_named and isinstance(value, Tensor) and value.op is not None:
            value.name = f"v{k}"

    with np.errstate(all="ignore"):
        out = execute(program, leaves, ANALYTIC | KINKED, after)
    if not isinstance(out, Tensor) or out.dtype != np.float64 or not np.all(np.isfinite(out.data)):
        reject()
    check(out, 1e-6)


EXACT = {
    "add": joined(lambda a, b: a + b),
    "sub": joined(lambda a, b: a - b),
    "mul": joined(lambda a, b: a * b),
    "div": joined(lambda a, b: a / (b * b + 1)),
    "scaled": lambda a, b, k: a * Fraction(k - 50, 4) / 2,
    "neg": lambda a, b, k: -a,
    "inverse": lambda a, b, k: 1 / (a * a + 1),
    "square": lambda a, b, k: np.square(a),
    "sum": lambda a, b, k: np.sum(a, axis=axes_of(a, k // 2), keepdims=bool(k % 2)),
    "centre": lambda a, b, k: a - np.mean(a, axis=axes_of(a, k), keepdims=True),
    "matmul": lambda a, b, k: (a.T @ (a * 2)).T if a.ndim == 2 else np.negative(-a),
    "reshape": lambda a, b, k: np.reshape(np.reshape(a, (-1,)), (1, *a.shape, 1)[:: k % 2 or 1]),
    "transpose": lambda a, b, k: a.T,
}


@settings(max_examples=examples(100), deadline=None)
@given(programs(EXACT))
def test_values_in_fractions(program):
    """Equal, and not only close: no rule rounds."""
    shapes, instructions, seed = program
    rng = np.random.default_rng(seed)
    leaves = []
    for k, shape in enumerate(shapes):
        entries = [Fraction(int(n), 4) for n in rng.integers(-8, 9, size=int(np.prod(shape)))]
        leaves.append(Tensor(np.array(entries, object).reshape(shape), name=f"x{k}"))

    def after(value, k, is_named):
        if is_named and value.op is not None:
            value.name = f"v{k}"

    check(execute((shapes, instructions[:6], seed), leaves, EXACT, after), exact=True)


# --- the tester, tested -------------------------------------------------------------------------


def wrong(operations, rule):
    return ((("a wrong rule", operations, rule)), *RULES)


@pytest.mark.parametrize(
    "rules",
    [
        wrong(("neg",), lambda to, node: node.inputs[0]),
        wrong(("sub",), lambda to, node: to.make("add", *node.inputs, like=node)),
        wrong(("div",), lambda to, node: to.make("mul", *node.inputs, like=node)),
        wrong(("matmul",), lambda to, node: to.raw(
            node.op, *node.inputs[::-1], shape=node.shape, like=node)),
        wrong(("sum", "spread"), lambda to, node: to.make(
            "mul", node, to.constant(Fraction(2), node), like=node)),
    ],
)  # fmt: skip
def test_a_wrong_rule_is_found(rules):
    x, y = tensor("x", 3, 3), tensor("y", 3, 3)
    with pytest.raises(AssertionError):
        check(np.sum(-x @ y - x / (y + 1), axis=0), rules=rules)


def test_every_rule_is_in_the_table_once_for_an_operation():
    """The first one that fits is final, so that their order counts."""
    for text, operations, rule in RULES:
        assert "→" in text
        assert operations
        assert callable(rule)
