"""Exactness is contagious: what is computed from fractions is fractions, gradients included."""

from fractions import Fraction

import numpy as np
import pytest
from helpers import examples, same_bits
from hypothesis import given, settings
from programs import ANALYTIC, KINKED, execute, programs

from tinygraph import Graph, Tensor, derive, grad
from tinygraph.engine.arrays import exactly
from tinygraph.engine.autodiff import reachable


def fractions(*shape, seed=3):
    rng = np.random.default_rng(seed)
    pairs = rng.integers(-9, 10, size=(int(np.prod(shape)), 2))
    out = np.empty(len(pairs), dtype=object)
    out[:] = [Fraction(int(p), 1 + abs(int(q))) for p, q in pairs]
    return out.reshape(shape)


def is_exact(value):
    value = np.asarray(value)
    return value.dtype == object and all(type(x) is Fraction for x in value.flat)


KEPT = "add sub div neg sum mean centre reshape transpose index concatenate"
KEPT += " relu abs maximum minimum where max"
RATIONAL = {name: (ANALYTIC | KINKED)[name] for name in KEPT.split()}
RATIONAL |= {
    "times": lambda a, b, k: a * np.sum(b) / 3,
    "inverse": lambda a, b, k: 1 / (a * a + 1),
    "third": lambda a, b, k: a / 3,
    "cube": lambda a, b, k: a ** [3, 2, 1, 0][k % 4],
    "matmul": lambda a, b, k: np.reshape(a, (1, -1)) @ np.reshape(a, (-1, 1)) / 7,
    "clip": lambda a, b, k: np.clip(a, 0, 1),
    "mask": lambda a, b, k: np.where(a.data > 0, a, 0),
    "square": lambda a, b, k: np.square(a / 3),
    "integers": lambda a, b, k: a * np.arange(a.size).reshape(a.shape),
    "var": lambda a, b, k: np.var(a),
    "empty": lambda a, b, k: np.sum(np.reshape(a, -1)[:0]) + a,
}


def bounded(value):
    """Shrink what has grown; cubes of cubes would take all the time there is."""
    largest = max((x.denominator.bit_length() for x in value.data.flat), default=0)
    return value if largest < 64 else value * 0


@settings(max_examples=examples(100), deadline=None)
@given(programs(RATIONAL))
def test_values_and_gradients_of_random_programs_are_fractions(program):
    shapes, _, seed = program
    leaves = [Tensor(fractions(*s, seed=seed % 1000 + k)) for k, s in enumerate(shapes)]
    operations = {name: lambda a, b, k, f=f: bounded(f(a, b, k)) for name, f in RATIONAL.items()}
    out = execute(program, leaves, operations)
    dout = fractions(*out.shape, seed=seed % 997)
    out.backward(dout)
    for node in reachable([out]):
        assert is_exact(node.data), node
        assert node.grad is None or is_exact(node.grad), node
    again = grad(out, leaves, dout, create_graph=True)
    for leaf, g in zip(leaves, again, strict=True):
        assert is_exact(g.data)
        assert leaf.grad is None or same_bits(leaf.grad, g.data)


CASES = {
    "relu of thirds": lambda x: np.sum(np.maximum(x / 3, 0)) + np.sum(x * x) / 7,
    "relu of a mean": lambda x: np.sum(np.maximum(np.mean(x, axis=0), 0)) / 3,
    "max": lambda x: np.sum(np.max(x, axis=0)) / 3,
    "max with ties": lambda x: np.max(x * 0) / 3 + np.max(x, axis=1)[0],
    "index": lambda x: np.sum(x[np.array([0, 0, 2])] / 3) + np.sum(x / 5),
    "where": lambda x: np.sum(np.where(x.data > 0, x, 0) / 3),
    "minimum": lambda x: np.sum(np.minimum(x, 1) / 3),
    "concatenate": lambda x: np.sum(np.concatenate([x, x[:1] * 0]) / 3),
}


@pytest.mark.parametrize("name", CASES)
def test_zeros_and_ones_of_the_rules_are_fractions(name):
    x = Tensor(fractions(3, 2), name="x")
    out = CASES[name](x)
    (g,) = grad(out, [x])
    assert is_exact(out.data)
    assert is_exact(g)
    h = Fraction(1, 10**9)
    for k in np.ndindex(3, 2):  # no kink is nearer than h, and squares are the highest powers
        moved = [x.data.copy(), x.data.copy()]
        moved[0][k] += h
        moved[1][k] -= h
        up, down = (CASES[name](Tensor(a)).data[()] for a in moved)
        if name != "max with ties":
            assert g[k] == (up - down) / (2 * h)


@pytest.mark.parametrize("name", CASES)
def test_a_snapshot_is_run_exactly(name):
    x = Tensor(fractions(3, 2), name="x")
    out = CASES[name](x)
    graph = Graph.capture(out, wrt=[x])
    dout = fractions(1)[0]
    found = graph.run(x=x.data, dout=dout)
    assert all(is_exact(value) for value in found.values())
    assert same_bits(found["dx"], grad(out, [x], dout)[0])


@pytest.mark.parametrize("name", ["relu of thirds", "relu of a mean", "max"])
def test_source_that_is_written_computes_exactly(name):
    x = Tensor(fractions(3, 2), name="x")
    out = CASES[name](x)
    space = {}
    exec(derive(out, format="python"), space)
    value, cache = space["forward"](x.data)
    (dx,) = space["backward"](np.asarray(Fraction(2, 7), dtype=object), cache)
    assert is_exact(value)
    assert is_exact(dx)
    assert same_bits(dx, grad(out, [x], Fraction(2, 7))[0])


def test_integers_that_meet_fractions_are_fractions():
    x = Tensor(np.array([Fraction(1, 2), 3, True, np.int64(2)], dtype=object), name="x")
    assert is_exact(x.data)
    for other in (np.array([1, 2, 3, 4]), np.array([1, 2, 3, 4], dtype=object), 2, np.int64(2)):
        for y in (x * other, x / other, x - other, np.maximum(x, other)):
            assert is_exact(y.data)
            assert is_exact(grad(y, [x], np.array([1, 2, 3, 4]))[0])
    assert is_exact(grad(np.sum(x), [x])[0])
    assert is_exact(grad(Tensor(Fraction(1)) * 2, [x])[0])  # which it does not depend on
    huge = 2**70
    assert exactly(np.array([huge, 0.5], dtype=object)).tolist() == [Fraction(huge), 0.5]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble, complex])
def test_the_rule_of_max_counts_ties_in_the_dtype_of_the_gradient(dtype):
    x = Tensor(np.array([[1, 2], [1, 0]], dtype), name="x")
    out = np.max(x, axis=0)
    dtypes = {node.dtype for node in Graph.capture(out, wrt=[x]).nodes if node.dtype is not None}
    assert dtypes <= {np.dtype(dtype), np.dtype(bool)}
    (g,) = grad(out, [x], [1.0, 3.0])
    assert (g.dtype, g.tolist()) == (x.dtype, [[0.5, 3], [0.5, 0]])
