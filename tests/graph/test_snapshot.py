"""The snapshot: names, order, steps, roles, exact constants, and the staged BatchNorm."""

import dataclasses
import math
import time
from fractions import Fraction
from types import MappingProxyType

import numpy as np
import pytest
from helpers import close, examples, same_bits, upstream
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import ANALYTIC, KINKED, execute, programs

from tinygraph import Graph, Tensor, derive, draw, grad, trace
from tinygraph.engine.autodiff import reachable
from tinygraph.graph.symbols import Symbol

RNG = np.random.default_rng(1)
X, DOUT = RNG.normal(size=(7, 3)), RNG.normal(size=(7, 3))
GAMMA, BETA = RNG.normal(size=3), RNG.normal(size=3)
EPS = 1e-5


def batchnorm(x, gamma, beta, eps):
    N = x.shape[0]

    # step1: calculate mean
    mu = 1.0 / N * np.sum(x, axis=0)

    # step2: subtract mean vector of every training example
    xmu = x - mu

    # step3: following the lower branch - calculation denominator
    sq = xmu**2

    # step4: calculate variance
    var = 1.0 / N * np.sum(sq, axis=0)

    # step5: add eps for numerical stability, then sqrt
    sqrtvar = np.sqrt(var + eps)

    # step6: invert sqrtvar
    ivar = 1.0 / sqrtvar

    # step7: execute normalization
    xhat = xmu * ivar

    # step8: nor the two transformation steps
    gammax = gamma * xhat

    # step9
    out = gammax + beta

    return out


def traced():
    """Give the output of the traced staged BatchNorm, and its leaves."""
    leaves = [Tensor(X), Tensor(GAMMA), Tensor(BETA)]
    return trace(batchnorm)(*leaves, EPS), leaves


def named(out):
    return {node.name: node for node in reachable([out]) if node.name}


def forward_steps(graph):
    return [(step.number, step.name) for step in graph.steps]


def tensor(name, *shape):
    rng = np.random.default_rng([ord(c) for c in name])
    return Tensor(rng.normal(size=shape), name=name)


def called(x, name):
    x.name = name
    return x


# --- the staged BatchNorm -----------------------------------------------------------------------

STEPS = ["mu", "xmu", "sq", "var", "sqrtvar", "ivar", "xhat", "gammax", "out"]
GRADIENTS = [  # name, step, kind, of, via
    ("dout", 9, "upstream", "out", None),
    ("dgammax", 9, "whole", "gammax", "out"),
    ("dbeta", 9, "whole", "beta", "out"),
    ("dgamma", 8, "whole", "gamma", "gammax"),
    ("dxhat", 8, "whole", "xhat", "gammax"),
    ("dxmu1", 7, "part", "xmu", "xhat"),
    ("divar", 7, "whole", "ivar", "xhat"),
    ("dsqrtvar", 6, "whole", "sqrtvar", "ivar"),
    ("dvar", 5, "whole", "var", None),  # by way of the unnamed var + eps
    ("dsq", 4, "whole", "sq", None),
    ("dxmu2", 3, "part", "xmu", "sq"),
    ("dxmu", 2, "sum", "xmu", None),
    ("dx1", 2, "part", "x", "xmu"),
    ("dmu", 2, "whole", "mu", "xmu"),
    ("dx2", 1, "part", "x", None),
    ("dx", 0, "sum", "x", None),
]


def test_the_nine_steps():
    out, _ = traced()
    graph = Graph.capture(out)
    assert forward_steps(graph) == list(enumerate(STEPS, start=1))
    assert [node.name for node in graph.inputs] == ["x", "gamma", "beta"]
    assert [node.name for node in graph.outputs] == ["out"]
    assert graph.gradients == ()
    assert {node.role for node in graph.nodes} == {"input", "constant", "forward"}
    assert [node.op.name for node in graph.nodes if node.op] == [
        *("sum", "mul", "sub", "square", "sum", "mul", "add", "sqrt", "inverse"),
        *("mul", "mul", "add"),
    ]
    by_step = {n.number: [m.op.name for m in n.nodes if m.op] for n in graph.steps}
    assert by_step[1] == ["sum", "mul"]
    assert by_step[4] == ["sum", "mul"]
    assert by_step[5] == ["add", "sqrt"]


def test_the_backward_pass_has_the_names_and_steps_of_the_staged_derivation():
    out, leaves = traced()
    graph = Graph.capture(out, wrt=leaves)
    assert [(g.name, g.step, g.kind, g.of.name) for g in graph.gradients] == [
        row[:4] for row in GRADIENTS
    ]
    for g, (_, _, _, _, via) in zip(graph.gradients, GRADIENTS, strict=True):
        if via is not None:
            assert g.consumer.name == via
        assert (g.consumer is None) == (g.kind in ("upstream", "sum"))
        assert g.node.shape == g.of.shape
        assert g.node.dtype == g.of.dtype
    assert [node.name for node in graph.inputs] == ["x", "gamma", "beta", "dout"]
    assert graph["dout"].role == "upstream"
    assert graph["dx"].role == graph["dxmu"].role == "accumulate"
    assert graph["dgamma"].role == graph["dx2"].role == "backward"
    assert graph["dgamma"].op.name == graph["dbeta"].op.name == "sum"


def test_a_gradient_that_passes_through_an_addition_is_the_same_node():
    out, leaves = traced()
    gradients = {g.name: g.node for g in Graph.capture(out, wrt=leaves).gradients}
    assert gradients["dgammax"] is gradients["dout"]
    assert gradients["dx1"] is gradients["dxmu"]


def test_every_gradient_is_that_of_the_engine_bit_for_bit():
    out, leaves = traced()
    graph = Graph.capture(out, wrt=leaves)
    result = graph.run(x=X, gamma=GAMMA, beta=BETA, dout=DOUT)
    out.backward(DOUT)
    nodes = named(out)
    assert set(nodes) == {"x", "gamma", "beta", *STEPS}
    for name, node in nodes.items():
        assert same_bits(result[name], node.data)
        assert same_bits(result[f"d{name}"], node.grad)
    assert set(result) == {*nodes, *(row[0] for row in GRADIENTS)}


def test_every_gradient_is_that_of_the_staged_derivation():
    """The formulas as a person derives them; no line is shared with the engine."""
    N = len(X)
    mu = X.mean(axis=0)
    xmu = X - mu
    var = (xmu**2).mean(axis=0)
    sqrtvar = np.sqrt(var + EPS)
    ivar = 1 / sqrtvar
    xhat = xmu * ivar

    expected = {"dout": DOUT}
    expected["dbeta"] = DOUT.sum(axis=0)
    expected["dgammax"] = DOUT
    expected["dgamma"] = (DOUT * xhat).sum(axis=0)
    expected["dxhat"] = DOUT * GAMMA
    expected["divar"] = (expected["dxhat"] * xmu).sum(axis=0)
    expected["dxmu1"] = expected["dxhat"] * ivar
    expected["dsqrtvar"] = -expected["divar"] / sqrtvar**2
    expected["dvar"] = 0.5 * expected["dsqrtvar"] / np.sqrt(var + EPS)
    expected["dsq"] = np.ones((N, 3)) / N * expected["dvar"]
    expected["dxmu2"] = 2 * xmu * expected["dsq"]
    expected["dxmu"] = expected["dx1"] = expected["dxmu1"] + expected["dxmu2"]
    expected["dmu"] = -expected["dxmu"].sum(axis=0)
    expected["dx2"] = np.ones((N, 3)) / N * expected["dmu"]
    expected["dx"] = expected["dx1"] + expected["dx2"]

    out, leaves = traced()
    result = Graph.capture(out, wrt=leaves).run(x=X, gamma=GAMMA, beta=BETA, dout=DOUT)
    assert set(expected) == {row[0] for row in GRADIENTS}
    for name, value in expected.items():
        close(result[name], value, 1e-14)
    closed = GAMMA * ivar * (DOUT - DOUT.mean(axis=0) - xhat * (DOUT * xhat).mean(axis=0))
    close(result["dx"], closed, 1e-14)


def test_constants_are_exact_and_named():
    out, _ = traced()
    constants = [node for node in Graph.capture(out).nodes if node.role == "constant"]
    assert [(node.name, node.value) for node in constants] == [
        *[("1/N", Fraction(1, 7))] * 2,
        ("eps", Fraction(EPS)),
    ]
    assert all(node.dtype is None and node.shape == () for node in constants)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 10, 49, 107, 1000])
@pytest.mark.parametrize("numerator", [1, 1.0, -1, 2.0, 0.5])
def test_what_was_computed_from_a_length_is_exact(n, numerator):
    def f(x):
        return numerator / x.shape[0] * np.sum(x, axis=0)

    x = RNG.normal(size=(n, 2))
    graph = Graph.capture(trace(f)(x))
    (constant,) = (node for node in graph.nodes if node.role == "constant")
    assert constant.value == Fraction(numerator) / n
    assert constant.origin.op == "/"
    assert same_bits(graph.run(x=x)["out"], numerator / n * np.sum(x, axis=0))


@pytest.mark.parametrize("n", [3, 7, 10, 49, 107, 1000])
def test_what_merely_equals_one_over_n_is_the_float_that_it_is(n):
    x = tensor("x", n, 2)
    for factor in (1 / n, np.float64(1) / n):
        graph = Graph.capture(factor * np.sum(x, axis=0))
        (constant,) = (node for node in graph.nodes if node.role == "constant")
        assert constant.value == Fraction(1 / n) != Fraction(1, n)
        assert constant.origin is None
        assert same_bits(graph.run(x=x.data)["out"], factor * np.sum(x.data, axis=0))


@pytest.mark.parametrize("factor", [1 / 3, 0.1, 0.3, 2.5, 1e-300, 1e300, -1 / 7, 5e-324, 3, 10**20])
def test_other_floats_are_themselves(factor):
    x = tensor("x", 7, 2)
    graph = Graph.capture(factor * np.sum(x, axis=0))
    (constant,) = (node for node in graph.nodes if node.role == "constant")
    assert constant.value == Fraction(factor)
    assert same_bits(graph.run(x=x.data)["out"], factor * np.sum(x.data, axis=0))


@pytest.mark.parametrize("factor", [0.5, 3, np.float64(0.25)], ids=repr)
def test_constants_beside_a_sum_of_nothing(factor):
    x = tensor("x", 0, 3)
    total = factor * np.sum(x, axis=0)
    graph = Graph.capture(total, wrt=[x])
    assert graph.run(x=x.data, dout=[0.5, -1.0, 2.0])["out"].tolist() == [0, 0, 0]


@pytest.mark.parametrize("constant", [-0.0, 0.0, math.inf, -math.inf, 1 + 2j], ids=repr)
def test_what_is_no_fraction_is_kept_as_it_is(constant):
    x = tensor("x", 2, 3)
    product = x * constant
    graph = Graph.capture(product)
    (node,) = (node for node in graph.nodes if node.role == "constant")
    assert node.value == constant
    assert same_bits(graph.run(x=x.data)["out"], product.data)


def test_nan_and_arrays_as_constants():
    x = tensor("x", 2, 3)
    array = RNG.normal(size=3)
    y = x * array + math.nan
    graph = Graph.capture(y)
    first, second = (node for node in graph.nodes if node.role == "constant")
    assert same_bits(first.value, array)
    assert (first.shape, first.dtype) == ((3,), np.float64)
    assert not first.value.flags.writeable
    assert math.isnan(second.value)
    assert same_bits(graph.run(x=x.data)["out"], y.data)


def test_the_staged_batchnorm_in_float32():
    out = trace(batchnorm)(*(a.astype(np.float32) for a in (X, GAMMA, BETA)), EPS)
    nodes = named(out)
    graph = Graph.capture(out, wrt=[nodes["x"], nodes["gamma"], nodes["beta"]])
    assert {node.dtype for node in graph.nodes} == {np.dtype(np.float32), None}
    result = graph.run(x=X, gamma=GAMMA, beta=BETA, dout=DOUT)
    out.backward(DOUT)
    for name, node in nodes.items():
        assert same_bits(result[name], node.data)
        assert same_bits(result[f"d{name}"], node.grad)


def test_the_staged_batchnorm_in_exact_arithmetic():
    """One feature (−1, 1, 3, 5) has the variance 5, and 5 + 4 is a square."""

    def exact(x, gamma, beta, eps):
        mu = np.sum(x, axis=0) / 4
        xmu = x - mu
        var = np.sum(xmu**2, axis=0) / 4
        xhat = xmu / np.sqrt(var + eps)
        return gamma * xhat + beta

    x = np.array([[Fraction(k)] for k in (-1, 1, 3, 5)])
    gamma, beta = np.array([Fraction(2, 3)]), np.array([Fraction(1, 7)])
    dout = np.array([[Fraction(k, 5)] for k in (3, -7, 2, 11)])
    out = trace(exact)(x, gamma, beta, Fraction(4))
    nodes = named(out)
    graph = Graph.capture(out, wrt=[nodes["x"], nodes["gamma"], nodes["beta"]])
    result = graph.run(x=x, gamma=gamma, beta=beta, dout=dout)
    xhat = (x - 2) / 3
    centred = dout - np.sum(dout) / 4 - xhat * (np.sum(dout * xhat) / 4)
    assert np.all(result["dx"] == Fraction(2, 9) * centred)
    assert np.all(result["dgamma"] == np.sum(dout * xhat))
    out.backward(dout)
    assert np.all(nodes["x"].grad == result["dx"])


@pytest.mark.parametrize("shape", [(4,), (2, 2)], ids=str)
def test_exact_scalars(shape):
    values = np.array([Fraction(k) for k in (-1, 1, 3, 5)]).reshape(shape)
    x = Tensor(values, name="x")
    mean = called(np.mean(x), "mean")
    deviation = np.sqrt(np.mean((x - mean) ** 2) + Fraction(4))
    out = mean / deviation
    graph = Graph.capture(out, wrt=[x])
    result = graph.run(x=values, dout=Fraction(3, 7))
    assert result["out"] == Fraction(2, 3)
    out.backward(Fraction(3, 7))
    assert np.all(result["dx"] == x.grad)


# --- names --------------------------------------------------------------------------------------


def test_outputs_and_inputs_without_a_name():
    one = Graph.capture(Tensor(2.0) * 3)
    assert [node.name for node in one.nodes if node.role != "constant"] == ["x", "out"]
    x, y = Tensor([1.0]), Tensor([2.0])
    two = Graph.capture([x * y, x + y])
    assert [node.name for node in two.inputs] == ["x1", "x2"]
    assert [node.name for node in two.outputs] == ["out1", "out2"]
    assert x.name is y.name is None  # the snapshot names its nodes, not the tensors


def test_a_leaf_as_output():
    graph = Graph.capture(Tensor(2.0, name="w"))
    assert graph.outputs == graph.inputs == graph.nodes
    assert graph.run(w=5.0) == {"w": 5.0}


def test_names_used_twice_are_numbered():
    x = tensor("x", 2)
    h = x
    for _ in range(3):
        h = called(np.tanh(h), "h")
    assert [n.name for n in Graph.capture(h).nodes] == ["x", "h", "h′", "h″"]
    other = called(tensor("x", 2) * x, "x")
    assert [n.name for n in Graph.capture(other).nodes] == ["x", "x′", "x″"]


def test_a_marked_name_does_not_meet_a_given_one():
    x = tensor("h′", 2)
    h = x
    for _ in range(2):
        h = called(np.tanh(h), "h")
    found = [n.name for n in Graph.capture(h).nodes]
    assert found == ["h′", "h", "h″"]


def unique(graph):
    nodes = [n.name for n in graph.nodes if n.name and n.role != "constant"]
    gradients = [g.name for g in graph.gradients]
    of_nodes = {n.name: n for n in graph.nodes if n.name and n.role != "constant"}
    return (
        len(set(nodes)) == len(nodes)
        and len(set(gradients)) == len(gradients)
        # a gradient may bear the name of its node, but not that of another
        and all(of_nodes.get(g.name, g.node) is g.node for g in graph.gradients)
    )


def test_names_are_unique():
    out, leaves = traced()
    assert unique(Graph.capture(out, wrt=leaves))


def test_a_part_of_the_gradient_of_x_does_not_meet_the_gradient_of_x1():
    x, x1 = tensor("x", 3), tensor("x1", 3)
    out = x * x * x1
    graph = Graph.capture(out, wrt=[x, x1])
    assert unique(graph)
    g = upstream(RNG, out)
    values = graph.run(x=x.data, x1=x1.data, dout=g)
    of_x1 = next(g for g in graph.gradients if g.of.name == "x1")
    of_x = next(g for g in graph.gradients if g.of.name == "x" and g.kind == "sum")
    close(values[of_x1.name], g * x.data**2, 1e-15)
    close(values[of_x.name], g * 2 * x.data * x1.data, 1e-15)


@pytest.mark.parametrize("name", ["dout", "dx", "dy", "dx1"])
def test_a_variable_may_be_called_like_a_gradient(name):
    """As in a function that computes a backward pass by hand."""
    x = tensor("x", 3)
    y = called(x * 2, name)
    out = called(np.exp(y) * x, "out")
    graph = Graph.capture(out, wrt=[x])
    assert unique(graph)
    g = upstream(RNG, out)
    (upstream_node,) = (node for node in graph.inputs if node.role == "upstream")
    values = graph.run(**{"x": x.data, upstream_node.name: g})
    assert same_bits(values[name], y.data)
    total = next(g for g in graph.gradients if g.of.name == "x" and g.kind == "sum")
    close(values[total.name], g * np.exp(y.data) * (1 + 2 * x.data), 1e-14)


def test_an_input_may_be_called_like_the_upstream_gradient():
    x, dout = tensor("x", 3), tensor("dout", 3)
    graph = Graph.capture(called(x * dout, "out"), wrt=[x, dout])
    assert len(graph.inputs) == len({node.name for node in graph.inputs}) == 3
    assert unique(graph)


# --- order, steps, roles ------------------------------------------------------------------------


def test_every_node_stands_after_its_inputs():
    out, leaves = traced()
    for graph in (Graph.capture(out), Graph.capture(out, wrt=leaves)):
        assert [node.index for node in graph.nodes] == list(range(len(graph.nodes)))
        for node in graph.nodes:
            assert all(graph.nodes[x.index] is x and x.index < node.index for x in node.inputs)
    forward = [n for n in graph.nodes if n.role in ("input", "forward")]
    backward = [n for n in graph.nodes if n.role in ("backward", "accumulate")]
    assert max(n.index for n in forward) < min(n.index for n in backward)


def test_the_order_is_that_of_creation():
    x, y = tensor("x", 2), tensor("y", 2)
    late = called(np.exp(y), "late")
    early = called(x * 2, "early")
    out = early + late
    assert [n.name for n in Graph.capture(out).nodes if n.name] == [
        *("x", "y", "late", "early", "out")
    ]


def test_an_unnamed_node_belongs_to_the_step_that_it_feeds():
    x = tensor("x", 2)
    a = called(np.exp(x * 2) + 1, "a")
    b = called(np.sqrt(a * a) / 3, "b")
    graph = Graph.capture(b)
    assert forward_steps(graph) == [(1, "a"), (2, "b")]
    assert [node.op.name for node in graph.steps[0].nodes if node.op] == ["mul", "exp", "add"]
    assert [node.op.name for node in graph.steps[1].nodes if node.op] == ["mul", "sqrt", "div"]
    assert [node.value for node in graph.steps[0].nodes if node.role == "constant"] == [2, 1]
    for step in graph.steps:
        assert step.nodes[-1] is step.result
        assert step.result.name == step.name
        assert all(node.step == step.number for node in step.nodes)
    assert graph["x"].step == 0


def test_an_unnamed_value_that_is_used_by_several_steps_is_a_step_before_them():
    x = tensor("x", 2)
    shared = x * 2
    a = called(np.exp(shared), "a")
    b = called(shared + a, "b")
    graph = Graph.capture(b)
    (node,) = (node for node in graph.nodes if node.op and node.op.name == "mul")
    assert node.name
    assert [step.name for step in graph.steps] == [node.name, "a", "b"]
    assert [step.number for step in graph.steps] == [1, 2, 3]


def test_roles_of_a_joint_graph():
    x, w = tensor("x", 2, 3), tensor("w", 3)
    out = called(x * w + x, "out")
    graph = Graph.capture(out, wrt=[x, w])
    roles = {node.name: node.role for node in graph.nodes if node.name}
    assert roles == {
        "x": "input",
        "w": "input",
        "out": "forward",
        "dout": "upstream",
        "dx2": "backward",
        "dw": "backward",
        "dx": "accumulate",
    }
    # dx1 is dout itself: where a value passes through an addition no node is needed
    assert [g.name for g in graph.gradients] == ["dout", "dx1", "dx2", "dw", "dx"]


def test_a_sum_of_several_paths_is_a_chain_of_accumulations():
    x = tensor("x", 2)
    out = x * x * x
    graph = Graph.capture(out, wrt=[x])
    assert [g.name for g in graph.gradients] == ["dout", "dx1", "dx2", "dx3", "dx"]
    sums = [node for node in graph.nodes if node.role == "accumulate"]
    assert [node.op.name for node in sums] == ["add", "add"]
    assert [node.step for node in sums] == [0, 0]
    assert sums[-1].name == "dx"


def test_a_square_written_as_a_product_has_two_edges():
    x = tensor("x", 2)
    graph = Graph.capture(x * x)
    assert graph["out"].inputs == (graph["x"], graph["x"])


@pytest.mark.parametrize("shape", [(), (1,), (0,), (0, 3), (3, 0), (2, 3)], ids=str)
def test_steps_and_names_do_not_depend_on_the_shape(shape):
    """Scalars and empty arrays have no length, or a length of nothing."""
    x = tensor("x", *shape)
    y = called(x * x, "y")
    out = called(np.exp(y) + x, "out")
    graph = Graph.capture(out, wrt=[x])
    assert [(g.name, g.step) for g in graph.gradients] == [
        ("dout", 2),
        ("dx1", 2),
        ("dy", 2),
        ("dx2", 1),
        ("dx3", 1),
        ("dx", 0),
    ]
    g = upstream(RNG, out)
    out.backward(g)
    assert same_bits(graph.run(x=x.data, dout=g)["dx"], x.grad)


def test_shapes_and_dtypes_are_those_of_the_engine():
    x = Tensor(RNG.normal(size=(2, 3, 4)).astype(np.float32), name="x")
    w = Tensor(RNG.normal(size=(4, 5)), name="w")
    y = (x @ w).reshape(3, -1)[:, ::2].T.astype(np.float16)
    out = np.max(np.concatenate([y, y * 2]), axis=0) + np.mean(x)
    graph = Graph.capture(out, wrt=[x, w])
    for node, own in zip(
        reachable([out]), [n for n in graph.nodes if n.role in ("input", "forward")], strict=True
    ):
        assert (node.shape, node.dtype, node.op) == (own.shape, own.dtype, own.op)
    g = upstream(RNG, out)
    out.backward(g)
    result = graph.run(x=x.data, w=w.data, dout=g)
    assert same_bits(result["dx"], x.grad)
    assert same_bits(result["dw"], w.grad)


# --- several outputs, and what is asked for -----------------------------------------------------


def test_several_outputs_have_an_upstream_gradient_each():
    x, w = tensor("x", 3), tensor("w", 3)
    a = called(x * w, "a")
    b = called(np.exp(x), "b")
    graph = Graph.capture((a, b), wrt=[x, w])
    assert [node.name for node in graph.outputs] == ["a", "b"]
    assert [node.name for node in graph.inputs] == ["x", "w", "da", "db"]
    g, h = upstream(RNG, a), upstream(RNG, b)
    result = graph.run(x=x.data, w=w.data, da=g, db=h)
    a.backward(g)
    b.backward(h)
    close(result["dx"], x.grad, 1e-15)
    close(result["dw"], w.grad, 1e-15)


def test_an_output_that_another_output_uses():
    x = tensor("x", 3)
    a = called(x * x, "a")
    b = called(np.exp(a), "b")
    graph = Graph.capture([a, b], wrt=[x])
    g, h = upstream(RNG, a), upstream(RNG, b)
    result = graph.run(x=x.data, da=g, db=h)
    assert unique(graph)
    close(result["dx"], 2 * x.data * (g + h * b.data), 1e-15)


def test_only_what_is_asked_for_is_differentiated():
    out, (x, gamma, beta) = traced()
    everything = Graph.capture(out, wrt=[x, gamma, beta])
    only_gamma = Graph.capture(out, wrt=[gamma])
    assert [g.name for g in only_gamma.gradients] == ["dout", "dgammax", "dgamma"]
    assert [g.name for g in Graph.capture(out, wrt=[]).gradients] == ["dout"]
    some = only_gamma.run(x=X, gamma=GAMMA, beta=BETA, dout=DOUT)
    every = everything.run(x=X, gamma=GAMMA, beta=BETA, dout=DOUT)
    assert same_bits(some["dgamma"], every["dgamma"])
    only_x = Graph.capture(out, wrt=(x,))
    assert [g.name for g in only_x.gradients] == [
        row[0] for row in GRADIENTS if row[0] not in ("dgamma", "dbeta")
    ]


def test_with_respect_to_an_intermediate_value():
    out, _ = traced()
    xhat = named(out)["xhat"]
    graph = Graph.capture(out, wrt=[xhat])
    assert [g.name for g in graph.gradients] == ["dout", "dgammax", "dxhat"]
    result = graph.run(x=X, gamma=GAMMA, beta=BETA, dout=DOUT)
    assert same_bits(result["dxhat"], DOUT * GAMMA)


def test_errors_of_capture():
    x, other = tensor("x", 3), tensor("other", 3)
    with pytest.raises(ValueError, match="there is no output"):
        Graph.capture([])
    for wrong in (X, 3.0, None, [x, X]):
        with pytest.raises(TypeError, match="an output must be a Tensor, not"):
            Graph.capture(wrong)
    with pytest.raises(ValueError, match=r"the outputs do not depend on Tensor\(other"):
        Graph.capture(x * 2, wrt=[x, other])
    y = x * 2
    x.data = X[0]
    with pytest.raises(ValueError, match="was given new data"):
        Graph.capture(y)


@pytest.mark.parametrize("shape", [(), (3,)], ids=str)
def test_wrt_is_a_list(shape):
    x = tensor("x", *shape)
    with pytest.raises(TypeError, match=r"wrt"):
        Graph.capture(x * 2, wrt=x)


# --- the snapshot -------------------------------------------------------------------------------


def test_nothing_in_a_snapshot_can_be_changed():
    out, leaves = traced()
    graph = Graph.capture(out, wrt=leaves)
    for thing in (graph, graph.nodes[0], graph.steps[0], graph.gradients[0]):
        for field in dataclasses.fields(thing):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(thing, field.name, None)
            with pytest.raises(dataclasses.FrozenInstanceError):
                delattr(thing, field.name)
    for node in graph.nodes:
        assert type(node.inputs) is type(node.shape) is tuple
        assert type(node.params) is MappingProxyType
    for many in (graph.nodes, graph.inputs, graph.outputs, graph.gradients, graph.steps):
        assert type(many) is tuple


def test_a_snapshot_stays_when_the_tensors_move():
    x = Tensor([1.0, 2.0], name="x")
    y = called(x * x, "y")
    graph = Graph.capture(y, wrt=[x])
    before = [repr(node) for node in graph.nodes]
    y.name = "z"
    x.data = [5.0, 6.0]
    x.name = "other"
    assert [repr(node) for node in graph.nodes] == before
    assert graph.run(x=[1.0, 2.0], dy=[0.5, 0.25])["dx"].tolist() == [1, 1]


def test_two_snapshots_are_alike():
    out, leaves = traced()
    a, b = (Graph.capture(out, wrt=leaves) for _ in range(2))
    assert [repr(n) for n in a.nodes] == [repr(n) for n in b.nodes]
    again, leaves = traced()
    c = Graph.capture(again, wrt=leaves)
    assert [repr(n) for n in a.nodes] == [repr(n) for n in c.nodes]


def test_nodes_are_found_by_name():
    out, leaves = traced()
    graph = Graph.capture(out, wrt=leaves)
    assert graph["xmu"].op.name == "sub"
    assert graph["dx"].shape == (7, 3)
    with pytest.raises(KeyError, match="no node is called 'nothing'; the names are x, gamma"):
        graph["nothing"]


def test_repr():
    out, leaves = traced()
    assert repr(Graph.capture(out)) == "Graph(out: 18 nodes, 9 steps)"
    graph = Graph.capture(out, wrt=leaves)
    assert repr(graph).startswith("Graph(out: ")
    assert repr(graph).endswith("9 steps, 16 gradients)")
    assert repr(graph["mu"]) == "Node(mu, shape=(3,), step=1, op=mul)"
    assert repr(graph["x"]) == "Node(x, shape=(7, 3), step=0, input)"
    assert all(len(repr(node)) < 80 for node in graph.nodes)


def test_captured_values():
    out, leaves = traced()
    out.backward(DOUT)
    assert Graph.capture(out).values == {}
    graph = Graph.capture(out, wrt=leaves, values=True)
    nodes = named(out)
    for name in ("x", "gamma", "mu", "xhat", "out"):
        value, gradient = graph.values[graph[name].index]
        assert same_bits(value, nodes[name].data)
        assert same_bits(gradient, nodes[name].grad)


# --- running ------------------------------------------------------------------------------------


def test_a_snapshot_runs_on_new_numbers():
    out, leaves = traced()
    graph = Graph.capture(out, wrt=leaves)
    rng = np.random.default_rng(9)
    x, gamma, beta, dout = (rng.normal(size=a.shape) for a in (X, GAMMA, BETA, DOUT))
    result = graph.run(x=x, gamma=gamma, beta=beta, dout=dout)
    tensors = [Tensor(a) for a in (x, gamma, beta)]
    again = batchnorm(*tensors, EPS)
    assert same_bits(result["out"], again.data)
    for name, dx in zip(("dx", "dgamma", "dbeta"), grad(again, tensors, dout), strict=True):
        assert same_bits(result[name], dx)


def test_running_takes_exactly_the_inputs():
    graph = Graph.capture(called(tensor("x", 3) * tensor("w", 3), "y"))
    with pytest.raises(ValueError, match="missing inputs: w; unknown inputs: none"):
        graph.run(x=[1, 2, 3])
    with pytest.raises(ValueError, match="missing inputs: none; unknown inputs: eps"):
        graph.run(x=[1, 2, 3], w=[1, 2, 3], eps=1)
    with pytest.raises(ValueError, match="missing inputs: w, x; unknown inputs: y"):
        graph.run(y=[1, 2, 3])
    assert graph.run(x=[1, 2, 3], w=[4, 5, 6])["y"].tolist() == [4, 10, 18]


# --- random graphs ------------------------------------------------------------------------------


@settings(max_examples=examples(250), deadline=None)
@given(programs(ANALYTIC | KINKED), st.sampled_from([np.float64, np.float32]))
def test_the_snapshot_computes_what_the_engine_computes_bit_for_bit(program, dtype):
    shapes, _, seed = program
    rng = np.random.default_rng(seed)
    leaves = [
        Tensor(rng.normal(size=shape).astype(dtype), name=name)
        for name, shape in zip(("x", "w", "b"), shapes, strict=False)
    ]

    def after(value, k, is_named):
        if is_named and value.name is None:
            value.name = "v" + "abcdefghijk"[k]

    out = execute(program, leaves, ANALYTIC | KINKED, after)
    g = upstream(rng, out)
    out.backward(g)
    nodes = reachable([out])
    inputs = [node for node in nodes if node.op is None]
    graph = Graph.capture(out, wrt=inputs)
    arguments = {node.name: node.data for node in inputs}
    result = graph.run(**arguments, **{f"d{graph.outputs[0].name}": g})

    assert unique(graph)
    used = {x.index for n in graph.nodes for x in n.inputs} | {
        g.node.index for g in graph.all_gradients
    }
    assert all(n.index in used or n in (*graph.inputs, *graph.outputs) for n in graph.nodes)
    assert [n.shape for n in graph.nodes if n.role in ("input", "forward")] == [
        node.shape for node in nodes
    ]
    kept = [node for node in nodes if node.name]
    for node in kept:
        assert same_bits(result[node.name], node.data)
        if node.op is None or node is not out:
            assert (node.grad is None) == (f"d{node.name}" not in result)
        if node.grad is not None:
            assert same_bits(result[f"d{node.name}"], node.grad)
    assert same_bits(result[graph.outputs[0].name], out.data)
    for plain, recorded in zip(
        grad(out, inputs, g), grad(out, inputs, g, create_graph=True), strict=True
    ):
        assert same_bits(plain, recorded.data)


@settings(max_examples=examples(200), deadline=None)
@given(programs(ANALYTIC))
def test_gradients_of_random_graphs_agree_with_the_complex_step(program):
    """⟨g, f′(x)·v⟩, by one evaluation of the same program on plain complex arrays."""
    shapes, _, seed = program
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(size=shape) for shape in shapes]
    directions = [rng.normal(size=shape) for shape in shapes]
    leaves = [Tensor(a) for a in arrays]
    out = execute(program, leaves, ANALYTIC)
    g = upstream(rng, out)
    gradients = grad(out, leaves, g)

    moved = [np.asarray(a + 1e-20j * v) for a, v in zip(arrays, directions, strict=True)]
    pushed = np.asarray(execute(program, moved, ANALYTIC))
    # A sine of a power of a power magnifies rounding; what is wrong is wrong by far more.
    close(out.data, pushed.real, 1e-8)
    expected = np.sum(g * pushed.imag / 1e-20)
    actual = sum(np.sum(dx * v) for dx, v in zip(gradients, directions, strict=True))
    scale = sum(np.sum(np.abs(dx * v)) for dx, v in zip(gradients, directions, strict=True))
    assert abs(actual - expected) <= 1e-7 * max(1.0, scale)


# --- size ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_chain_of_a_hundred_thousand_nodes():
    x = Tensor(1.5, name="x")
    y = x
    for _ in range(10**5):
        y = y + x
    y.name = "y"
    graph = Graph.capture(y)
    assert len([node for node in graph.nodes if node.op]) == 10**5
    assert len(graph.steps) == 1
    assert graph.run(x=0.5)["y"] == 0.5 * (10**5 + 1)


def test_the_backward_pass_of_a_long_chain():
    x = Tensor([1.5], name="x")
    y = x
    for _ in range(10**4):
        y = -y
    y.name = "y"
    graph = Graph.capture(y, wrt=[x])
    assert len([node for node in graph.nodes if node.role == "backward"]) == 10**4
    assert graph.run(x=[0.5], dy=[0.75])["dx"] == [0.75]


def test_a_name_in_a_long_loop():
    x = Tensor([1.5], name="x")
    h = x
    for _ in range(3000):
        h = called(-h, "h")
    graph = Graph.capture(h, wrt=[x])
    assert len(graph.steps) == 3000
    assert graph.steps[-1].name == "h⁽³⁰⁰⁰⁾"
    assert graph.gradients[1].name == "dh⁽²⁹⁹⁹⁾"


def unnamed_chain(n):
    h, w, b = Tensor(0.5, name="h"), Tensor(0.999, name="w"), Tensor(0.01, name="b")
    for _ in range(n // 2):
        h = h * w + b
    return h


def named_chain(n):
    h, w, b = Tensor(0.5, name="h"), Tensor(0.999, name="w"), Tensor(0.01, name="b")
    for k in range(n // 2):
        h = called(called(h * w, f"m{k}") + b, f"h{k}")
    return h


def chain_of_names_used_twice(n):
    h = Tensor(0.5, name="x")
    for k in range(n):
        h = called(-h, f"h{k // 2}")
    return h


def wide_sum(n):
    total, x = Tensor(0.0, name="start"), Tensor(0.5, name="x")
    for k in range(n // 2):
        total = total + x * float(k)
    return total


def captured(out):
    return Graph.capture(out, wrt=[node for node in reachable([out]) if node.op is None])


def source(out):
    return derive(out, format="python")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tool", "make"),
    [
        (captured, unnamed_chain),
        (captured, named_chain),
        (captured, chain_of_names_used_twice),
        (captured, wide_sum),
        (draw, named_chain),
        (derive, named_chain),
        (source, named_chain),
    ],
)
def test_what_an_operation_costs_does_not_grow_with_the_graph(tool, make):
    def cost(n):
        out = make(n)
        start = time.process_time()
        tool(out)
        return (time.process_time() - start) / n

    assert cost(10_000) < 2.5 * max(cost(2_000), cost(2_000))


@pytest.mark.parametrize("number", [1, 1.0, True, 1j])
def test_numbers_that_are_equal_may_give_another_dtype(number):
    mask = Symbol([], None, (), {}, (3,), np.dtype(bool))
    assert (mask * number).dtype == (np.ones(3, dtype=bool) * number).dtype
