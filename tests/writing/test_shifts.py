"""Gradients that are identically 0: found where they are, and claimed nowhere else."""

import numpy as np
import pytest
from functions import make
from helpers import upstream

from tinygraph import Graph, Tensor, derive, trace
from tinygraph.writing.shifts import vanishing

RNG = np.random.default_rng(8)


def names(f, *shapes):
    """Give the gradients that are claimed to vanish, and see that they do."""
    out = trace(f)(*(RNG.normal(size=shape) for shape in shapes))
    out.backward(upstream(RNG, out))
    graph = Graph.joint(out, values=True)
    found = vanishing(graph)
    for g in found:
        size = max(np.max(np.abs(graph.grad(one.name))) for one in graph.gradients)
        assert np.max(np.abs(graph.value(g.node.index))) < 1e-12 * size
    return [g.name for g in found if g.name]


def softmax(s):
    e = np.exp(s - np.max(s, axis=1, keepdims=True))
    return e / np.sum(e, axis=1, keepdims=True)


def log_softmax(s):
    m = np.max(s, axis=1)
    shift = s - m[:, None]
    return shift - np.log(np.sum(np.exp(shift), axis=1))[:, None]


def logsumexp(s):
    m = np.max(s, axis=-1, keepdims=True)
    return np.log(np.sum(np.exp(s - m), axis=-1, keepdims=True)) + m


def doubled(s):
    m = np.max(s)
    e = np.exp(2 * s - 2 * m)
    return np.sqrt(e / np.sum(e)) * 3 + 1 / np.square(np.sum(e) / e)


def turned(s):
    e = np.exp(s.T - np.reshape(np.max(s, axis=1), (1, 4)))
    return (e / np.sum(e, axis=0)).T


@pytest.mark.parametrize(
    ("f", "expected"),
    [
        (softmax, ["ds2"]),
        (log_softmax, ["dm", "ds2"]),
        (logsumexp, ["dm", "ds2"]),
        (doubled, ["dm", "ds2"]),
    ],
)
def test_what_is_subtracted_for_safety_does_not_matter(f, expected):
    assert sorted(names(f, (4, 3))) == expected


def test_axes_that_are_moved_are_followed():
    assert names(turned, (4, 3)) != []


def scaled(s, m):
    e = np.exp(s - m)
    return e / np.sum(e, axis=1, keepdims=True) * m


@pytest.mark.parametrize(
    "f",
    [
        lambda s: np.exp(s - np.max(s, axis=1, keepdims=True)),
        lambda s: np.max(s, axis=1),
        lambda s: scaled(s, np.max(s, axis=1, keepdims=True)),
        lambda s: np.exp(s - 2 * np.max(s)) / np.sum(np.exp(s - np.max(s))),
        # every row moves by another number, and they are added up
        lambda s: np.exp(s - np.max(s, axis=1, keepdims=True)) / np.sum(
            np.exp(s - np.max(s, axis=1, keepdims=True)), axis=0),
        lambda s: (s - np.max(s)) / np.sum(s - np.max(s)),
        lambda s: np.tanh(s - np.max(s)) - np.tanh(np.max(s)),
        lambda s: (s - np.max(s)) @ np.ones((3, 1)),
        lambda s: np.log(np.sum(s - np.max(s, axis=1, keepdims=True))),
        lambda s: np.maximum(s - np.max(s), -1),
        lambda s: np.max(s) / 2 - np.max(s),
    ],
)  # fmt: skip
def test_what_matters_is_never_said_to_vanish(f):
    with np.errstate(all="ignore"):
        assert names(f, (4, 3)) == []


def test_a_value_that_is_an_output_itself_matters():
    s = Tensor(RNG.normal(size=3), name="s")
    m = np.max(s)
    e = np.exp(s - m)
    assert vanishing(Graph.joint([e / np.sum(e), m])) == []
    assert vanishing(Graph.joint(e / np.sum(e))) != []


@pytest.mark.parametrize("name", ["attention", "multihead", "softmax_cross_entropy"])
def test_it_is_said_in_a_footnote(name):
    for form, sign in (("text", "max"), ("markdown", "max"), ("latex", r"$\max_{")):
        text = derive(make(name), format=form)
        note = text.split("No output depends on ")[1]
        assert note.startswith(sign)
        assert note.rstrip().endswith("is identically 0 and left out.")
        assert "where" not in text
    literal = derive(make(name), literal=True)
    assert "No output" not in literal
    assert "where" in literal
