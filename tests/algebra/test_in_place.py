"""In-place code is values at keys: proved as it is written, and refuted where it is wrong."""

import numpy as np
import pytest
from helpers import examples
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from readings import misread_nodes

from tinygraph import Graph, prove, trace
from tinygraph.algebra.axes import Axes
from tinygraph.algebra.polynomials import Algebra
from tinygraph.algebra.reading import Reader

HERE = "proved at these lengths"
LABELS = np.array([0, 2, 1, 1])


def softmax_loss(x, y):
    N = x.shape[0]
    shifted = x - np.max(x, axis=1, keepdims=True)
    Z = np.sum(np.exp(shifted), axis=1, keepdims=True)
    log_probs = shifted - np.log(Z)
    probs = np.exp(log_probs)
    loss = -np.sum(log_probs[np.arange(N), y]) / N
    return loss, (probs, y)


def softmax_backward(dloss, cache, by=1):
    probs, y = cache
    N = probs.shape[0]
    dx = probs.copy()
    dx[np.arange(N), y] -= by
    dx /= N
    return dloss * dx


def svm_loss(x, y):
    N = x.shape[0]
    correct = x[np.arange(N), y]
    margins = np.maximum(0, x - correct[:, np.newaxis] + 1.0)
    margins[np.arange(N), y] = 0
    loss = np.sum(margins) / N
    return loss, (margins, y)


def svm_backward(dloss, cache, by=-1):
    margins, y = cache
    N = margins.shape[0]
    dx = np.zeros_like(margins)
    dx[margins > 0] = 1
    dx[np.arange(N), y] = by * np.sum(dx, axis=1)
    return dloss * dx / N


def gates(a, c):
    H = c.shape[1]
    f = 1 / (1 + np.exp(-a[:, :H]))
    g = np.tanh(a[:, H : 2 * H])
    o = np.exp(a[:, 2 * H :])
    return f * c + g * o, (f, g, o, c)


def gates_backward(dout, cache, power=2):
    f, g, o, c = cache
    N, H = c.shape
    da = np.empty((N, 3 * H))
    da[:, :H] = dout * c * f * (1 - f)
    da[:, H : 2 * H] = dout * o * (1 - g**power)
    da[:, 2 * H :] = dout * g * o
    return da, dout * f


def differences(x):
    return x[1:] - x[:-1], x


def differences_backward(dout, x, sign=1):
    dx = np.zeros_like(x)
    dx[1:] += dout
    dx[:-1] -= sign * dout
    return dx


def tanh(x):
    out = np.tanh(x)
    return out, out


def tanh_by_columns(dout, out, power=2):
    dx = np.zeros_like(out)
    for t in range(out.shape[1]):
        dx[:, t] = dout[:, t] * (1 - out[:, t] ** power)
    return dx


def affine(x, w, b):
    return x @ w + b, (x, w)


def affine_by_rows(dout, cache, times=1):
    x, w = cache
    dx, dw, db = np.zeros_like(x), np.zeros_like(w), np.zeros(w.shape[1])
    for n in range(x.shape[0]):
        dx[n] = w @ dout[n]
        dw += np.outer(x[n], dout[n])
        db += times * dout[n]
    return dx, dw, db


def convolution(x, w):
    n = len(x) - len(w) + 1
    out = np.zeros(n)
    for k in range(len(w)):
        out += w[k] * x[k : k + n]
    return out, (x, w)


def convolution_backward(dout, cache, shift=0):
    x, w = cache
    n = len(dout)
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for k in range(len(w)):
        dx[k : k + n] += w[k] * dout
        dw[k] = np.sum(dout * x[k - shift * (k == 2) : k - shift * (k == 2) + n])
    return dx, dw


def embedding(W, ids):
    return W[ids], (W, ids)


def embedding_backward(dout, cache, times=1):
    W, ids = cache
    dW = np.zeros_like(W)
    np.add.at(dW, ids, times * dout)
    return dW


def ones(*shapes):
    rng = np.random.default_rng(5)
    return [rng.normal(size=shape) for shape in shapes]


# forward, backward, arguments, the verdict, what makes the backward pass wrong
WRITTEN = {
    "softmax": (softmax_loss, softmax_backward, [*ones((4, 3)), LABELS], "proved", {"by": 2}),
    "svm": (svm_loss, svm_backward, [*ones((4, 3)), LABELS], "proved", {"by": 1}),
    "gates": (gates, gates_backward, ones((2, 9), (2, 3)), "proved", {"power": 3}),
    "differences": (differences, differences_backward, ones((5, 3)), "proved", {"sign": -1}),
    "columns": (tanh, tanh_by_columns, ones((4, 3)), HERE, {"power": 1}),
    "rows": (affine, affine_by_rows, ones((3, 2), (2, 4), 4), HERE, {"times": 2}),
    "convolution": (convolution, convolution_backward, ones(7, 3), HERE, {"shift": 1}),
    "embedding": (embedding, embedding_backward, [*ones((5, 3)), LABELS], "proved", {"times": -1}),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_in_place_code_is_proved_as_it_is_written_and_refuted_where_it_is_wrong(name):
    forward, backward, args, verdict, wrong = WRITTEN[name]
    assert prove(forward, backward, *args).verdict == verdict

    def altered(dout, cache):
        return backward(dout, cache, **wrong)

    assert prove(forward, altered, *args).verdict == "refuted"


def test_the_course_writes_softmax_backward_for_all_batches_and_classes():
    proof = prove(softmax_loss, softmax_backward, *ones((4, 3)), LABELS)
    assert str(proof).splitlines()[0] == "proved for all N and D: dx"


def test_a_literal_in_the_place_of_a_length_is_proved_at_that_length():
    def halves(a):
        return a[:, :3] * a[:, 3:], a

    def backward(dout, a):
        da = np.zeros_like(a)
        da[:, :3] = dout * a[:, 3:]
        da[:, 3:] = dout * a[:, :3]
        return da

    proof = prove(halves, backward, *ones((2, 6)))
    assert proof.verdict == HERE
    assert proof.lengths["N"] == "free"
    assert proof.lengths["D"].startswith("6")


def test_what_is_not_read_says_why():
    def every_other(dout, x):
        dx = np.zeros_like(x)
        dx[::2] = dout[::2]
        dx[1::2] = dout[1::2]
        return dx

    proof = prove(lambda x: x * 1.0, every_other, *ones(4))
    assert (proof.verdict, proof.reason) == ("undecided", "a slice with a step")

    def last_wins(x, ids):
        out = np.zeros(5)
        out[ids] = x
        return out

    proof = prove(last_wins, lambda dout, ids: dout[ids], *ones(4), np.array([0, 3, 1, 2]))
    assert proof.verdict == "undecided"
    assert "two may be one" in proof.reason


# --------------------------------------------------------------------------- random writes

KEYS = st.sampled_from(
    [
        (slice(None), 1),
        (slice(None), -1),
        (0,),
        (slice(1, 3),),
        (slice(None), slice(None, 2)),
        (slice(1, None), slice(1, 3)),
        (slice(None, -1), 0),
        (np.arange(4), LABELS),
        (slice(None), [2, 0]),
        (2, slice(1, None)),
    ]
)
WRITES = st.lists(st.tuples(KEYS, st.sampled_from(["=", "+=", "*="]), st.booleans()), min_size=1)


def rewritten(writes):
    def function(x, v):
        out = np.tanh(x)
        for key, how, is_scalar in writes:
            value = 2.0 if is_scalar else v[key] * out[key]
            if how == "=":
                out[key] = value
            elif how == "+=":
                out[key] += value
            else:
                out[key] *= value
        return out

    return function


def misread(writes):
    x, v, upstream = ones((4, 3), (4, 3), (4, 3))
    graph = Graph.joint(trace(rewritten(writes))(x, v))
    inputs = {n.name: {"x": x, "v": v}.get(n.name, upstream) for n in graph.inputs}
    axes, algebra = Axes(graph), Algebra(limit_s=5)
    algebra.fixed = dict(axes.length)
    reader = Reader(algebra, axes, graph).read()
    return misread_nodes(reader, axes, inputs)


@given(WRITES.filter(lambda writes: len(writes) <= 3))
@settings(max_examples=examples(25), phases=[Phase.generate])  # shrinking takes minutes
def test_every_node_of_random_writes_is_its_polynomial(writes):
    assert not misread(writes)


BUGS = {
    "every entry is below": ("below", lambda f: lambda s, index, stop: s.number(1)),
    "ranges start at 0": ("within", lambda f: lambda s, index, start, stop: s.below(index, stop)),
    "all indices agree": ("delta", lambda f: lambda s, one, other: s.number(1)),
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_in_the_reading_of_keys_is_seen(monkeypatch, bug):
    witness = [((slice(1, 3),), "=", False), ((slice(None), 1), "+=", False)]
    assert not misread(witness)
    name, make = BUGS[bug]
    monkeypatch.setattr(Algebra, name, make(getattr(Algebra, name)))
    assert misread(witness)
