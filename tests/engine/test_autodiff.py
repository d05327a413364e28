"""The sweep: order, visits, sums over broadcast axes, derivatives of higher order."""

import itertools
import math
import operator
import re
from fractions import Fraction

import numpy as np
import pytest
from helpers import close, same_bits, upstream

from tinygraph import Tensor, grad, ops
from tinygraph.engine.autodiff import _copied_along, reachable, sweep, unbroadcast


def data(node):
    return node.data


# --- the order of nodes -------------------------------------------------------------------------


def diamond():
    """Give a graph whose nodes were created in another order than a search from its end finds."""
    x = Tensor([1.0, 2.0], name="x")
    unused = Tensor(3.0, name="unused") * 2
    a = x * 2
    b = x + a
    c = np.exp(x)
    out = (c - b) * (a + c)
    return [x, a, b, c], out, unused


def test_reachable_is_in_order_of_creation():
    first, out, unused = diamond()
    nodes = reachable([out])
    assert [node.index for node in nodes] == sorted(node.index for node in nodes)
    assert all(p is q for p, q in zip(nodes[:4], first, strict=True))
    assert nodes[-1] is out
    assert len(nodes) == 7
    assert unused.index not in {node.index for node in nodes}


def test_inputs_come_before_what_is_computed_from_them():
    _, out, _ = diamond()
    seen = set()
    for node in reachable([out]):
        assert all(x.index in seen for x in node.inputs if isinstance(x, Tensor))
        seen.add(node.index)


def test_reachable_from_several_outputs_in_any_order():
    (x, a, b, c), out, unused = diamond()
    expected = [node.index for node in reachable([out])]
    for outputs in ([out, b, x], [b, out], [out, out], iter([a, c, out])):
        assert [node.index for node in reachable(outputs)] == expected
    both = reachable([unused, out])
    assert len(both) == len(expected) + 2
    assert reachable([]) == []
    assert len(reachable([x])) == 1


def test_the_order_is_the_same_at_every_run():
    def names():
        _, out, _ = diamond()
        return [node.op.name if node.op else node.name for node in reachable([out])]

    assert names() == ["x", "mul", "add", "exp", "sub", "add", "mul"]
    assert all(names() == names() for _ in range(5))


def test_a_leaf_that_has_moved_is_noticed():
    x = Tensor(2.0, name="x")
    y = x * x
    x.data = 3.0
    with pytest.raises(ValueError, match=r"Tensor\(x, 3\.0.*was given new data"):
        reachable([y])


# --- what the sweep does ------------------------------------------------------------------------


def test_the_sweep_gives_all_gradients():
    (x, a, b, c), out, _ = diamond()
    g = np.array([0.7, -1.1])
    nodes = reachable([out])
    gradients = sweep(nodes, [(out, g)], read=data)
    assert set(gradients) == {node.index for node in nodes}
    left, right = out.inputs
    close(gradients[left.index], g * right.data, 1e-15)
    close(gradients[right.index], g * left.data, 1e-15)
    close(gradients[b.index], -g * right.data, 1e-15)
    close(gradients[c.index], g * (left.data + right.data), 1e-15)
    close(gradients[a.index], g * (left.data - right.data), 1e-15)
    e = np.exp(x.data)
    # (eˣ − 3x)(2x + eˣ)
    slope = (e - 3) * (2 * x.data + e) + (e - 3 * x.data) * (2 + e)
    close(gradients[x.index], g * slope, 1e-14)


def test_the_observer_sees_contributions_in_sweep_order_and_then_their_sum():
    x = Tensor([1.5, -2.0], name="x")
    y = x * 3
    z = x * y
    out = z - x
    seen = []
    g = np.array([0.7, -0.4])
    gradients = sweep(
        reachable([out]),
        [(out, g)],
        read=data,
        observe=lambda node, consumer, gradient: seen.append((node, consumer, gradient)),
    )
    expected = [
        (out, None, g),  # the seed
        (z, out, g),
        (x, out, -g),
        (x, z, g * y.data),
        (y, z, g * x.data),
        (x, y, g * x.data * 3),
        (x, x, gradients[x.index]),  # the sum, once all have arrived
    ]
    assert len(seen) == len(expected)
    for (node, consumer, gradient), (node_, consumer_, gradient_) in zip(
        seen, expected, strict=True
    ):
        assert node is node_
        assert consumer is consumer_
        close(gradient, gradient_, 1e-15)
    close(gradients[x.index], -g + g * y.data + g * x.data * 3, 1e-15)


def test_both_edges_of_a_product_with_itself_are_observed():
    x = Tensor(1.5)
    y = x * x
    seen = []
    sweep(
        reachable([y]),
        [(y, np.float64(0.3))],
        read=data,
        observe=lambda node, consumer, g: seen.append((node is x, consumer is y, float(g))),
    )
    part = 0.3 * 1.5
    assert seen == [
        (False, False, 0.3),
        (True, True, part),
        (True, True, part),
        (True, False, 2 * part),
    ]


def test_an_intermediate_sum_is_observed_before_it_is_passed_on():
    x = Tensor(2.0, name="x")
    y = x * 3
    out = y * y
    seen = []
    sweep(
        reachable([out]),
        [(out, np.float64(0.5))],
        read=data,
        observe=lambda node, consumer, g: seen.append((node, consumer)),
    )
    assert [(n.index, c.index if c is not None else None) for n, c in seen] == [
        (out.index, None),
        (y.index, out.index),
        (y.index, out.index),
        (y.index, y.index),
        (x.index, y.index),
    ]


def test_seeds_at_several_outputs_add_up():
    x = Tensor([1.0, 2.0])
    y = x * x
    z = np.exp(y)
    g, h = np.array([0.3, -0.8]), np.array([1.1, 0.2])
    gradients = sweep(reachable([y, z]), [(y, g), (z, h)], read=data)
    close(gradients[y.index], g + h * z.data, 1e-15)
    close(gradients[x.index], 2 * x.data * (g + h * z.data), 1e-15)


@pytest.mark.parametrize("exact", [False, True], ids=["float", "fraction"])
def test_seeds_at_one_output_add_up_and_their_sum_is_observed(exact):
    number = Fraction if exact else np.float64
    x = Tensor(number(3), name="x")
    y = x * x
    g, h = Tensor(number(-7) / 4).data, Tensor(number(5) / 8).data
    seen = []
    gradients = sweep(
        reachable([y]),
        [(y, g), (y, h)],
        read=data,
        observe=lambda node, consumer, g: seen.append((node, consumer, g)),
    )
    assert gradients[y.index].shape == ()  # NumPy's sum of two fractions is bare
    assert gradients[y.index] == number(-9) / 8
    assert gradients[x.index] == number(-27) / 4
    assert all(node is y for node, _, _ in seen[:3])
    assert [consumer for _, consumer, _ in seen[:3]] == [None, None, y]
    assert [total for _, _, total in seen[:3]] == [g, h, gradients[y.index]]


def test_seeds_are_not_changed():
    x = Tensor([1.0, 2.0])
    y = x + x
    g = np.array([0.3, -0.8])
    kept = g.copy()
    sweep(reachable([y]), [(y, g), (y, g)], read=data)
    assert same_bits(g, kept)


# --- only what is needed ------------------------------------------------------------------------


@pytest.fixture
def forbidden():
    """Give a temporary primitive whose rule must never be asked."""
    called = []

    def rule(g, out, x):
        called.append(x)
        raise RuntimeError("this branch is not needed")

    op = ops.Primitive("forbidden", "!", operator.neg, rule)
    yield op, called
    del ops.TABLE["forbidden"]


def test_branches_that_do_not_lead_to_wrt_are_not_visited(forbidden):
    op, called = forbidden
    x, w = Tensor([1.0, 2.0], name="x"), Tensor([3.0, 4.0], name="w")
    blocked = op(x) * 2
    out = blocked * w
    g = np.array([0.7, -0.2])
    gradients = sweep(reachable([out]), [(out, g)], wrt=[w], read=data)
    assert set(gradients) == {w.index}
    assert same_bits(gradients[w.index], g * blocked.data)
    assert same_bits(grad(out, [w], g)[0], g * blocked.data)
    assert same_bits(grad(out, [w], g, create_graph=True)[0].data, g * blocked.data)
    assert not called


def test_the_sweep_stops_at_the_inputs_that_are_asked_for(forbidden):
    op, called = forbidden
    x = Tensor([1.0, 2.0])
    middle = op(x)
    out = middle * middle
    g = np.array([0.7, -0.2])
    (d,) = grad(out, [middle], g)
    close(d, 2 * g * middle.data, 1e-15)
    assert not called


def test_a_branch_that_is_needed_is_visited(forbidden):
    op, called = forbidden
    x, w = Tensor([1.0, 2.0]), Tensor([3.0, 4.0])
    out = op(x) * w
    with pytest.raises(RuntimeError, match="not needed"):
        grad(out, [x], [0.7, -0.2])
    with pytest.raises(RuntimeError, match="not needed"):
        out.backward([0.7, -0.2])
    assert len(called) == 2
    assert x.grad is w.grad is out.grad is None  # nothing half done


def test_no_gradient_is_computed_for_constants():
    """Of ``where`` no gradient flows to the condition, of a product none to an array."""
    seen = []
    x = Tensor([1.0, 2.0])
    out = np.where([True, False], x, 0.0) * np.array([3.0, 4.0])
    sweep(
        reachable([out]),
        [(out, np.array([0.5, 0.6]))],
        read=data,
        observe=lambda node, consumer, g: seen.append(node.op and node.op.name),
    )
    assert seen == ["mul", "where", None]


def test_no_gradient_flows_to_a_condition_that_is_a_tensor():
    condition, x, y = Tensor([1.0, 0.0]), Tensor([2.0, 3.0]), Tensor([4.0, 5.0])
    np.where(condition, x, y).backward([0.7, -0.2])
    assert condition.grad is None
    assert (x.grad.tolist(), y.grad.tolist()) == ([0.7, 0], [0, -0.2])


def test_wrt_keeps_wanted_gradients_only_and_intermediates_among_them():
    (x, a, _, c), out, _ = diamond()
    g = np.array([0.7, -1.1])
    nodes = reachable([out])
    everything = sweep(nodes, [(out, g)], read=data)
    for wrt in ([x], [a], [x, c], [c, a, x], [out], [out, x], []):
        some = sweep(nodes, [(out, g)], wrt=wrt, read=data)
        assert set(some) == {node.index for node in wrt}
        assert all(same_bits(some[k], everything[k]) for k in some)


# --- fitting a gradient to its input ------------------------------------------------------------

SHAPES = [(), (1,), (3,), (1, 3), (2, 1), (2, 3), (1, 1), (4, 1, 3), (4, 2, 1), (0,), (2, 0)]


def result(a, b):
    try:
        return np.broadcast_shapes(a, b)
    except ValueError:
        return None


@pytest.mark.parametrize(
    ("shape", "other"),
    [
        *(pair for pair in itertools.product(SHAPES, SHAPES) if result(*pair) is not None),
        ((1, 300), (2, 300)),
    ],
    ids=str,
)
def test_fit_is_the_transpose_of_broadcasting(shape, other):
    """⟨g, broadcast(v)⟩ = ⟨unbroadcast(g), v⟩ for every v."""
    rng = np.random.default_rng(1)
    full = result(shape, other)
    x = Tensor(rng.normal(size=shape))
    g, v = rng.normal(size=full), rng.normal(size=shape)
    fitted = unbroadcast(g, x)
    assert np.shape(fitted) == shape
    close(np.sum(fitted * v), np.sum(g * np.broadcast_to(v, full)), 1e-13)
    recorded = unbroadcast(Tensor(g), x)
    assert isinstance(recorded, Tensor)
    assert same_bits(recorded.data, fitted)
    for dtype in (np.float64, np.float32, np.float16):  # of arrays, and of other dtypes
        plain = unbroadcast(g.astype(dtype), np.zeros(shape, dtype))
        summed = unbroadcast(Tensor(g.astype(dtype)), Tensor(np.zeros(shape, dtype)))
        assert plain.dtype == dtype
        assert same_bits(plain, summed.data)


@pytest.mark.parametrize("number", [Fraction, int])
@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (3,)], ids=repr)
def test_exact_numbers_are_fitted_exactly(shape, number):
    g = np.array([[number(k) for k in row] for row in ((1, 2, 4), (8, 16, 32))], dtype=object)
    fitted = unbroadcast(g, Tensor(np.ones(shape, dtype=object)))
    assert (fitted.shape, fitted.dtype) == (shape, object)
    assert fitted.tolist() == (g.sum(axis=0) if shape == (3,) else np.full(shape, 63)).tolist()


def test_what_is_remembered_of_shapes_does_not_grow_with_them():
    """Shapes without end, as of batches of every length, are forgotten again."""
    for n in range(1, 3000):
        assert unbroadcast(np.ones((n, 1)), np.ones(1)).tolist() == [n]
    known = _copied_along.cache_info()
    assert known.currsize == known.maxsize < 3000


def test_fit_leaves_alone_what_fits():
    x = Tensor([1.0, 2.0])
    g = np.array([0.1, 0.2])
    assert unbroadcast(g, x) is g
    t = Tensor(g)
    assert unbroadcast(t, x) is t


@pytest.mark.parametrize(
    ("g", "x", "expected"),
    [
        ("float64", "float32", "float32"),
        ("float32", "float64", "float64"),
        ("float64", "float16", "float16"),
        ("complex128", "complex64", "complex64"),
        ("float64", "complex128", "complex128"),
        ("complex128", "float64", "complex128"),  # the complex step differentiates with it
        ("float64", "object", "float64"),  # what has been rounded is no fraction any more
    ],
)
def test_fit_brings_back_the_dtype(g, x, expected):
    fitted = unbroadcast(np.array([0.5, 0.25], dtype=g), Tensor(np.array([1, 2], dtype=x)))
    assert fitted.dtype == expected
    assert fitted.tolist() == [0.5, 0.25]


@pytest.mark.parametrize(
    ("given", "shape"),
    [((2, 3), (5,)), ((2, 7), (5,)), ((3,), (5,)), ((2, 1), (3, 1))],
    ids=str,
)
def test_a_gradient_that_no_sum_brings_to_its_input_is_refused(given, shape):
    g = np.random.default_rng(5).normal(size=given)
    message = re.escape(f"a rule gave an input of shape {shape} a gradient of shape {given}")
    for x in (Tensor(np.zeros(shape)), np.zeros(shape), np.zeros(shape)):  # the second time too
        with pytest.raises(ValueError, match=message):
            unbroadcast(g, x)


@pytest.mark.parametrize("shape", [(3,), (1, 3)], ids=repr)
def test_a_fitted_sum_is_a_visible_node_and_needs_no_other(shape):
    """Kratzert's "sum over N" for beta."""
    gamma, beta = Tensor(np.ones(shape)), Tensor(np.zeros(shape))
    out = np.arange(6.0).reshape(2, 3) * gamma + beta
    _, dbeta = grad(out, [gamma, beta], [[0.1, 0.2, 0.3], [1, 2, 3]], create_graph=True)
    assert dbeta.op is ops.sum
    assert dbeta.params["axis"] == (0,)
    close(dbeta.data, np.reshape([1.1, 2.2, 3.3], shape), 1e-15)


def test_a_negative_gradient_is_summed_before_its_sign_turns():
    """−Σ g goes over the large array once, Σ (−g) twice: the staged derivation's dmu."""
    mu = Tensor([1.0, 2.0, 3.0])
    g = np.random.default_rng(7).normal(size=(2, 3))
    (dmu,) = grad(np.arange(6.0).reshape(2, 3) - mu, [mu], g, create_graph=True)
    assert dmu.op is ops.neg
    assert dmu.inputs[0].op is ops.sum
    close(dmu.data, -g.sum(axis=0), 1e-15)


# --- derivatives of higher order ----------------------------------------------------------------

CLOSED_FORMS = {  # f and its first four derivatives
    "x**4": (
        lambda x: x**4,
        [lambda x: 4 * x**3, lambda x: 12 * x**2, lambda x: 24 * x, lambda x: 24 + 0 * x],
    ),
    "exp": (np.exp, [np.exp] * 4),
    "tanh": (
        np.tanh,
        [
            lambda x: 1 - np.tanh(x) ** 2,
            lambda x: -2 * np.tanh(x) * (1 - np.tanh(x) ** 2),
            lambda x: (1 - np.tanh(x) ** 2) * (6 * np.tanh(x) ** 2 - 2),
            lambda x: 8 * np.tanh(x) * (1 - np.tanh(x) ** 2) * (2 - 3 * np.tanh(x) ** 2),
        ],
    ),
    "1/x": (
        lambda x: 1 / x,
        [lambda x: -(x**-2), lambda x: 2 * x**-3, lambda x: -6 * x**-4, lambda x: 24 * x**-5],
    ),
    "sqrt": (
        np.sqrt,
        [
            lambda x: x**-0.5 / 2,
            lambda x: -(x**-1.5) / 4,
            lambda x: 3 * x**-2.5 / 8,
            lambda x: -15 * x**-3.5 / 16,
        ],
    ),
    "log": (
        np.log,
        [lambda x: x**-1, lambda x: -(x**-2), lambda x: 2 * x**-3, lambda x: -6 * x**-4],
    ),
    "sin": (np.sin, [np.cos, lambda x: -np.sin(x), lambda x: -np.cos(x), np.sin]),
}


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_four_derivatives(name):
    f, derivatives = CLOSED_FORMS[name]
    rng = np.random.default_rng(2)
    points = rng.uniform(0.5, 2.0, size=5)
    x = Tensor(points)
    y, scale = f(x), np.ones(5)
    for derivative in derivatives:
        g = upstream(rng, x)
        (y,) = grad(y, [x], g, create_graph=True)
        scale = scale * g
        close(y.data, scale * derivative(points), 1e-12)


def test_a_mixed_derivative_does_not_depend_on_the_order():
    rng = np.random.default_rng(3)
    a, b = Tensor(rng.uniform(0.5, 2, size=3)), Tensor(rng.uniform(0.5, 2, size=3))
    g, v = rng.normal(size=3), rng.normal(size=3)
    out = np.exp(a * b) / np.sqrt(a + b**2) + a**b
    (da,) = grad(out, [a], g, create_graph=True)
    (db,) = grad(out, [b], g, create_graph=True)
    close(grad(da, [b], v)[0], grad(db, [a], v)[0], 1e-13)


def test_a_product_with_the_hessian():
    """H·v of ½xᵀAx·(1 + bᵀx) without ever forming H."""
    rng = np.random.default_rng(4)
    a = rng.normal(size=(4, 4))
    a, b, v, point = a + a.T, *rng.normal(size=(3, 4))
    x = Tensor(point)
    out = 0.5 * (x @ a @ x) * (1 + b @ x)
    (dx,) = grad(out, [x], 0.3, create_graph=True)
    (hv,) = grad(dx, [x], v)
    ax = a @ point
    hessian = a * (1 + b @ point) + np.outer(ax, b) + np.outer(b, ax)
    close(hv, 0.3 * hessian @ v, 1e-13)


def test_the_gradient_of_rows_is_not_quadratic(monkeypatch):
    """Each row's gradient is an array; what matters is how many entries they have together."""
    written = []

    def counted(x, key, shape, forward=ops.scatter.forward):
        written.append(math.prod(shape))
        return forward(x, key, shape)

    monkeypatch.setattr(ops.scatter, "forward", counted)
    for n in (16, 65, 900):
        x = Tensor(np.arange(2.0 * n).reshape(n, 2), name="x")
        rows, weights = list(x), np.random.default_rng(n).normal(size=(n, 2))
        assert [row.data.tolist() for row in rows] == x.data.tolist()
        written.clear()
        (g,) = grad(np.sum(np.stack(rows) * weights), [x])
        assert same_bits(g, weights)
        assert sum(written) <= 2 * n * (n if n <= 64 else 2 * math.isqrt(n) + 2)
