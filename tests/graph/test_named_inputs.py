"""Labels, masks and what was drawn at random are inputs of a graph, by name."""

import numpy as np
import pytest
from helpers import same_bits

from tinygraph import Graph, Tensor, derive, nn, trace

RNG = np.random.default_rng(31)


def emitted(out):
    module = {}
    exec(derive(out, format="python"), module)
    return module


def softmax_loss(scores, y):
    N = scores.shape[0]
    shift = np.max(scores, axis=1, keepdims=True)
    e = np.exp(scores - shift)
    p = e / np.sum(e, axis=1, keepdims=True)
    return -np.sum(np.log(p[np.arange(N), y])) / N


def hinge(scores, y):
    correct = scores[np.arange(5), y]
    margins = np.maximum(0, scores - correct[:, None] + 1)
    margins = np.where(np.arange(3) == y[:, None], 0, margins)
    return np.sum(margins) / scores.shape[0]


def one_hot(scores, y):
    return np.sum(scores * (y[:, None] == np.arange(3)))


def masked(scores, y):
    return np.sum(scores[:, 0] * y.astype(float)) + np.mean(np.where(y > 1, scores[:, 1], 0.5))


def by_layer(scores, y):
    return nn.cross_entropy(scores, y)


@pytest.mark.parametrize("loss", [softmax_loss, hinge, one_hot, masked, by_layer])
def test_labels_are_an_input_by_name(loss):
    scores, y = RNG.normal(size=(5, 3)), np.array([0, 2, 1, 1, 2])
    out = trace(loss)(scores, y)
    graph, module = Graph.joint(out), emitted(out)
    assert [(n.name, n.role) for n in graph.inputs][:2] == [("scores", "input"), ("y", "input")]
    assert "dy" not in [g.name for g in graph.gradients]
    for _ in range(5):
        scores, y = RNG.normal(size=(5, 3)), RNG.integers(0, 3, 5)
        dout = RNG.normal()
        x = Tensor(scores, name="scores")
        anew = loss(x, y)
        anew.backward(dout)
        upstream = graph.gradients[0].name
        ran = graph.run(scores=scores, y=y, **{upstream: dout})
        value, cache = module["forward"](scores, y)
        assert same_bits(ran[graph.outputs[0].name], anew.data)
        assert same_bits(np.asarray(value), np.asarray(anew.data))
        assert same_bits(ran["dscores"], x.grad)
        assert same_bits(module["backward"](dout, cache)[0], x.grad)


def test_labels_and_masks_keep_their_dtype():
    def f(x, keep):
        return np.sum(x * keep)

    graph = Graph.capture(trace(f)(np.ones(3), np.array([True, False, True])))
    assert graph["keep"].dtype == bool
    assert graph.run(x=[1.0, 2.0, 4.0], keep=[True, True, False])["out"] == 3.0
    with pytest.raises(TypeError, match="run: keep is of bool, but was given float64"):
        graph.run(x=[1.0, 2.0, 4.0], keep=[1.0, 1.0, 0.0])
    with pytest.raises(TypeError, match="run: x is of float64, but was given complex128"):
        graph.run(x=[1.0, 2.0, 4.0j], keep=[True, True, False])


@pytest.mark.parametrize("loss", [softmax_loss, hinge, by_layer])
@pytest.mark.parametrize("n", [5, 7])
def test_labels_that_are_none_are_refused(loss, n):
    """At the lengths that were captured and at others: by number, and by what is wrong."""
    graph = Graph.capture(trace(loss)(RNG.normal(size=(5, 3)), np.array([0, 2, 1, 1, 2])))
    scores = RNG.normal(size=(n, 3))
    labels = RNG.integers(0, 3, n)
    labels[n // 2] = 3
    with pytest.raises(ValueError, match="run: "):
        graph.run(scores=scores, y=labels)
    with pytest.raises(TypeError, match="run: y is of int64, but was given bool"):
        graph.run(scores=scores, y=labels > 1)


def test_dropouts_mask_is_an_input():
    layer = nn.Dropout(0.4, rng=0)

    def f(x):
        h = layer(x)
        return np.sum(h * h)

    x = RNG.normal(size=(4, 3)).astype(np.float32)
    out = trace(f)(x)
    graph, module = Graph.joint(out), emitted(out)
    assert {n.name for n in graph.inputs if n.role == "input"} == {"x", "mask"}
    plain = nn.Dropout(0.4, rng=0)(x)
    assert same_bits(Graph.capture(out, values=True).value("kept"), plain.data)
    mask = RNG.random((4, 3)) < 0.5
    expected = np.sum((x * (mask / (1 - 0.4)).astype(np.float32)) ** 2)
    assert np.isclose(graph.run(x=x, mask=mask, dout=1.0)["out"], expected, rtol=1e-6)
    assert np.isclose(module["forward"](x, mask)[0], expected, rtol=1e-6)


def test_a_discrete_leaf_takes_no_gradient():
    def f(x, y):
        picked = x[y]
        return np.sum(picked * picked)

    out = trace(f)(np.array([1.0, 2.0, 3.0]), np.array([0, 0, 2]))
    out.backward(0.5)
    graph = Graph.joint(out)
    _, y = (node for node in graph.nodes if node.role == "input")
    assert [g.of for g in graph.gradients if g.of is y] == []
    assert graph.run(x=[1.0, 2.0, 3.0], y=[1, 1, 1], dout=1.0)["dx"].tolist() == [0.0, 12.0, 0.0]


@pytest.mark.parametrize(
    "whole",
    [
        lambda labels: labels * 3.0,
        lambda labels: 3.0 - labels,
        lambda labels: labels**2.0,
        lambda labels: np.maximum(labels, 0.0) + np.maximum(0.0, labels),
        lambda labels: labels / 2.0 + labels // 2.0,
        lambda labels: labels * 3 + labels**2,
    ],
)
def test_a_whole_float_makes_floats_of_labels(whole):
    """3.0 is not 3 to whole numbers, which overflow."""
    x, labels = np.array([0.5, 1.5], np.float32), np.array([100, -3], np.int8)
    expected = x * whole(labels)
    out = trace(lambda x, labels: x * whole(labels))(x, labels)
    found = Graph.capture(out).run(x=x, labels=labels)["out"]
    assert same_bits(out.data, expected)
    assert same_bits(found, expected)
