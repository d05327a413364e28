"""Labels: which axes are one, whatever their lengths."""

import numpy as np
import pytest

from tinygraph import Graph, trace
from tinygraph.execution import Unsupported
from tinygraph.execution.labels import Labels, inserts_axes


def axes(f, *shapes):
    """Give the axes of the result and of the inputs of a function."""
    graph = Graph.capture(trace(f)(*[np.ones(s) for s in shapes]))
    labels = Labels(graph.nodes)
    return labels, [labels.of(x) for x in (*graph.outputs, *graph.inputs)]


@pytest.mark.parametrize("n", [2, 3, 7])
def test_rows_and_columns_of_a_square_stay_two(n):
    _, (out, x, v) = axes(lambda x, v: x * v, (n, n), (n,))
    assert x[0] != x[1]
    assert v == (x[1],)
    assert out == x


def test_an_axis_of_length_1_has_no_label():
    _, (out, x, v) = axes(lambda x, v: x + v, (3, 1), (1, 4))
    assert (x[1], v[0]) == ((), ())
    assert out == (x[0], v[1])


MOVES = {
    "sum": (lambda x: np.sum(x, axis=0) * x, lambda x: x),
    "keepdims": (lambda x: x / np.sum(x, axis=1, keepdims=True), lambda x: x),
    "transpose": (lambda x: np.transpose(x, (2, 0, 1)), lambda x: (x[2], x[0], x[1])),
    "inserted": (lambda x: x[:, None], lambda x: (x[0], (), x[1], x[2])),
    "joined": (lambda x: np.reshape(x, (2, 12)), lambda x: (x[0], x[1] + x[2])),
    "flat": (lambda x: np.reshape(x, -1), lambda x: (x[0] + x[1] + x[2],)),
    "ones": (lambda x: np.reshape(x, (2, 1, 3, 4)), lambda x: (x[0], (), x[1], x[2])),
}


@pytest.mark.parametrize("name", MOVES)
def test_labels_go_along_with_their_axes(name):
    f, expected = MOVES[name]
    _, (out, x) = axes(f, (2, 3, 4))
    assert out == expected(x)


def test_a_reshape_that_cuts_an_axis_cuts_it_everywhere():
    def f(x, y):
        return np.reshape(np.reshape(x, (2, 3, 4)) * 2, (6, 4)) + y

    labels, (out, x, y) = axes(f, (6, 4), (6, 4))
    assert out == x == y
    assert [labels.lengths[part] for part in x[0]] == [2, 3]


@pytest.mark.parametrize(
    ("key", "is_all"),
    [
        (None, True),
        (Ellipsis, True),
        ((slice(None), None), True),
        (slice(1, None), False),
        (0, False),
        ((Ellipsis, np.array([0])), False),
        (np.array([True, False]), False),
    ],
)
def test_keys_that_pick_everything(key, is_all):
    assert inserts_axes(key) == is_all


@pytest.mark.parametrize(
    ("f", "shape", "message"),
    [
        (lambda x: x * 2 + x.T, (3, 3), r"two axes of input of step 0 \(x\) are one"),
        (
            lambda x: np.reshape(x, (9, 4)),
            (6, 6),
            r"reshape of step 1 \(out\) cuts an axis of length 9",
        ),
        (lambda x: np.reshape(x, (0, 7)) + 1, (3, 0), "reshape of step 1 has no entries"),
    ],
)
def test_what_has_no_labels_is_refused(f, shape, message):
    graph = Graph.capture(trace(f)(np.ones(shape)))
    with pytest.raises(Unsupported, match=message):
        Labels(graph.nodes)


def test_nothing_is_known_of_the_axes_of_a_foreign_operation():
    graph = Graph.capture(trace(lambda x: x @ x + x.T)(np.ones((3, 3))))
    labels = Labels(graph.nodes, {node.index for node in graph.nodes if str(node.op) == "matmul"})
    assert len(set(labels.flat(graph["out"]))) == 2
