"""Lists of tensors where NumPy takes an array: inside `trace` they are stacked, outside refused."""

import threading

import numpy as np
import pytest
from helpers import close, pull_back, upstream

from tinygraph import Tensor, grad, trace
from tinygraph.engine.stacking import lists_stacked

X, Y = np.array([0.7, -1.2, 2.0]), np.array([1.5, 0.4, -0.3])

FUNCTIONS = {
    "scalars": lambda np, x, y: np.array([x[0], x[1] * y[0], 3.0]),
    "rows": lambda np, x, y: np.array([x, x * y]),
    "nested": lambda np, x, y: np.array([[x[0], y[1]], [1, x[2] ** 2]]),
    "tuple": lambda np, x, y: np.asarray((x, y)),
    "mean": lambda np, x, y: np.mean([x, x * x, y], axis=0),
    "sum": lambda np, x, y: np.sum([x[0] * y[0], 2.0, x[1]]),
    "dot": lambda np, x, y: np.dot([x[0], y[0]], [[1.0, 2.0], [3.0, 5.0]]),
    "r_": lambda np, x, y: np.r_[x, 0:3, y[0] * x[1], 5.0],
    "c_": lambda np, x, y: np.c_[x, y, x * y],
    "a tensor": lambda np, x, y: np.array(x) * np.asarray(y),
    "ndmin": lambda np, x, y: np.array([x, y], ndmin=3),
    "with numbers alone": lambda np, x, y: x * np.array([1.0, 2.0, 3.0]) + np.r_[0:3],
    "max": lambda np, x, y: np.max([x[0], y[2]]),
}


@pytest.mark.parametrize("f", FUNCTIONS.values(), ids=FUNCTIONS)
def test_lists_are_stacked_inside_trace(f):
    out = trace(lambda x, y: f(np, x, y))(Tensor(X, name="x"), Tensor(Y, name="y"))
    expected = f(np, X, Y)
    assert isinstance(out, Tensor)
    assert out.dtype == expected.dtype
    close(out.data, expected, 1e-15)


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name != "max"])
def test_gradients_flow_through_lists(name):
    x, y = Tensor(X), Tensor(Y)
    out = trace(lambda x, y: FUNCTIONS[name](np, x, y))(x, y)
    g = upstream(np.random.default_rng(3), out)
    for k, dx in enumerate(grad(out, [x, y], g)):
        close(dx, pull_back(lambda x, y: FUNCTIONS[name](np, x, y), [X, Y], k, g), 1e-13)


CONVERSIONS = {
    "dtype": lambda x: np.asarray(x, float),
    "another dtype": lambda x: np.asarray(x, np.float32),
    "order": lambda x: np.asarray(x, order="C"),
    "turned": lambda x: np.asarray(x.T, order="C"),
    "turned in rows": lambda x: np.ascontiguousarray(x.T),
    "in rows": lambda x: np.ascontiguousarray(x),
    "any": lambda x: np.asanyarray(x.T),
    "of a copy": lambda x: np.copy(x.T, "C"),
    "method": lambda x: x.astype(float, copy=False),
    "method turned": lambda x: x.T.astype(float, copy=False),
    "method in rows": lambda x: x.T.astype(float, copy=False, order="C"),
    "method as it lies": lambda x: x.T.astype(float, copy=False, order="A"),
    "method of a part": lambda x: (
        x[:, :2].astype(float, copy=False, order="A").repeat(3, 1)[:, ::2]
    ),
    "copied": lambda x: np.array(x, float),
    "not copied": lambda x: np.array(x, copy=False),
}


@pytest.mark.parametrize("made", [lambda x: x * 2.0, lambda x: np.zeros((2, 3))])
@pytest.mark.parametrize("name", CONVERSIONS)
def test_a_conversion_copies_where_numpys_does(name, made):
    def f(x):
        base = made(x)
        converted = CONVERSIONS[name](base)
        converted[0] = 7
        return base * x, x * 1.0 @ np.reshape(converted, (3, 2))

    x = np.array([X, Y])
    for ours, numpys in zip(trace(f)(x), f(x), strict=True):
        assert np.array_equal(ours.data, numpys)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x[np.random.permutation(x.shape[0]) * 0],  # noqa: NPY002 - as people write it
        lambda x: x * (x.shape[0] & 1) * (1 << x.shape[0]) * divmod(x.shape[0], 2)[0],
        lambda x: x * (7 ^ x.shape[0]) * divmod(7, x.shape[0])[1] * (x.shape[0] | 8),
    ],
)
def test_lengths_are_ints_for_what_asks_for_one(f):
    assert np.array_equal(trace(f)(X).data, f(X))


def test_outside_trace_they_are_refused_and_the_way_is_named():
    with pytest.raises(TypeError, match=r"np\.stack"):
        np.array([Tensor(1.0), Tensor(2.0)])


def test_parts_of_different_shapes_are_named():
    with pytest.raises(ValueError, match="stack: the parts need one shape"):
        trace(lambda x, y: np.array([x, y[:2]]))(X, Y)


def test_numpys_own_functions_are_back_afterwards():
    before = {name: getattr(np, name) for name in ("array", "mean", "r_", "c_")}
    permutation = np.random.permutation

    def fails(x):
        assert np.array is not before["array"]
        raise KeyError("inside")

    trace(lambda x: trace(np.sin)(x) + np.array([x[0]]))(X)
    with pytest.raises(KeyError):
        trace(fails)(X)
    assert all(getattr(np, name) is function for name, function in before.items())
    assert np.random.permutation is permutation


def test_what_the_wrappers_say_of_themselves_is_numpys():
    with lists_stacked():
        assert np.mean.__name__ == "mean"
        assert np.array.__doc__.startswith("array(")
        assert len(np.r_) == 0
        assert np.c_.ndmin == 2


def test_other_threads_meet_numpys_own_functions():
    """They are the same objects for all threads, and do for the others what NumPy does."""
    found = {}

    def elsewhere():
        found["array"] = np.array([1, 2.5])
        found["row"] = np.r_[1:3, 4]
        with pytest.raises(TypeError, match=r"np\.stack"):
            np.array([Tensor(1.0), Tensor(2.0)])

    def f(x):
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        return np.array([x[0], x[1]])

    assert trace(f)(X).data.tolist() == X[:2].tolist()
    assert found["array"].tolist() == [1.0, 2.5]
    assert found["row"].tolist() == [1, 2, 4]


def test_many_threads_trace_at_once():
    results = []

    def work(k):
        out = trace(lambda x: np.sum(np.array([x[0] * k, np.mean([x[1], x[2]])])))(X)
        results.append((k, out.item()))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(20)]
    plain = np.array
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [(k, X[0] * k + np.mean(X[1:])) for k in range(20)]
    assert np.array is plain


def test_the_engine_itself_keeps_to_numpys_functions():
    def f(x):
        with pytest.raises(TypeError, match=r"np\.stack"):
            x * [x[0], x[1], x[2]]
        with pytest.raises(TypeError, match="plain array"):
            Tensor([x[0], x[1]])
        mask = x > 0
        return x[mask].sum() + x[[np.argmax(x), np.argmin(x)]].sum()

    assert trace(f)(X).item() == X[X > 0].sum() + X.max() + X.min()
