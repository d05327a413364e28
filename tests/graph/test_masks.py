"""Masks and indices that are computed: part of the graph, so that it is right at other inputs."""

import numpy as np
import pytest
from helpers import examples, same_bits
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import ANALYTIC, KINKED, execute, joined, programs

from tinygraph import Graph, Tensor, derive, grad, nn, trace

RNG = np.random.default_rng(10)


def array(*shape):
    return RNG.normal(size=shape)


def module(graph):
    """Run the emitted source, and give its functions."""
    names = {}
    exec(derive(graph, format="python"), names)
    return names["forward"], names["backward"]


def at_other_inputs(f, *shapes):
    """Run the graph and the emitted module of f on other numbers; compare with f on them."""
    graph = Graph.joint(trace(f)(*[array(*s) for s in shapes]))
    names = [node.name for node in graph.inputs if node.role == "input"]
    forward, backward = module(graph)
    for _ in range(5):
        arrays = [array(*s) for s in shapes]
        tensors = [Tensor(a) for a in arrays]
        out = trace(f)(*tensors)
        dout = RNG.normal(size=out.shape)
        gradients = grad(out, tensors, dout)
        ran = graph.run(**dict(zip(names, arrays, strict=True)), **{graph.gradients[0].name: dout})
        value, cache = forward(*arrays)
        written = backward(dout, cache)
        assert same_bits(ran[graph.outputs[0].name], out.data)
        assert same_bits(value, out.data)
        for name, dx in zip(names, gradients, strict=True):
            assert same_bits(ran.get(f"d{name}", np.zeros_like(dx)), dx)
        for d, name in zip(written, [n for n in names if f"d{n}" in ran], strict=True):
            assert same_bits(d, ran[f"d{name}"])
    return graph


# --- at other inputs ----------------------------------------------------------------------------


def relu_by_hand(x, g):
    mask = x > 0
    return g * mask


def hinge(s, t):
    margin = 1.0 - s * t
    active = (margin > 0) & ~np.isnan(margin)
    return np.mean(np.where(active, margin, 0.0))


def best_class(z):
    k = np.argmax(z, axis=1)
    top = z[np.arange(4), k]
    return np.sum(top * top) - np.mean(z)


def runner_up(z):
    i = np.argmax(np.sum(z, axis=1))
    row = z[i]
    return np.sum(row * row)


def counted(x):
    inside = (x > -1) & (x < 1) | (x == 5)
    n = inside.sum() + 1
    return np.sum(x * inside) / n + np.mean(inside) * np.max(x)


def signs(x):
    s = np.sign(x)
    steps = np.floor(x * 3) - np.ceil(x) + np.rint(x) * np.trunc(x)
    return s * x * steps


def logic(x, y):
    a = np.logical_and(x > 0, y > 0)
    b = np.logical_or(a, np.logical_not(x > y)) ^ (x < -1)
    return np.where(b, x * y, x + y) * (1 - a)


def rows(x):
    keep = np.any(x > 0.5, axis=1, keepdims=True) | np.all(x < 1, axis=1, keepdims=True)
    return x * keep.astype(float)


def leaky(x):
    slope = np.where(x >= 0, 1.0, 0.1)
    return slope * x


@pytest.mark.parametrize(
    ("f", "shapes"),
    [
        (relu_by_hand, [(5, 3), (5, 3)]),
        (hinge, [(7,), (7,)]),
        (best_class, [(4, 5)]),
        (runner_up, [(4, 5)]),
        (counted, [(4, 5)]),
        (signs, [(4, 5)]),
        (logic, [(4, 5), (4, 5)]),
        (rows, [(4, 5)]),
        (leaky, [(4, 5)]),
    ],
)
def test_what_is_discrete_is_computed_again(f, shapes):
    graph = at_other_inputs(f, *shapes)
    assert not any(n.shape and n.role == "constant" for n in graph.nodes if f is not best_class)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(5, 3, rng=0),
        nn.ReLU(),
        nn.Tanh(),
        nn.BatchNorm(5),
        nn.LayerNorm(5),
        lambda x: nn.mse(x, np.ones((4, 5))),
        lambda x: nn.cross_entropy(x * 400, np.array([0, 3, 4, 1])),
    ],
    ids=["linear", "relu", "tanh", "batchnorm", "layernorm", "mse", "cross_entropy"],
)
def test_layers_and_losses_at_other_inputs(layer):
    graph = Graph.joint(trace(lambda x: layer(x))(array(4, 5)))
    parameters = {
        n.name: p.data
        for n, p in zip(
            [n for n in graph.inputs if n.role == "input" and n.name != "x"],
            layer.parameters() if isinstance(layer, nn.Module) else [],
            strict=True,
        )
    }
    for scale in (1, 3, 10):
        x = Tensor(array(4, 5) * scale)
        out = layer(x)
        dout = RNG.normal(size=out.shape)
        (dx,) = grad(out, [x], dout)
        ran = graph.run(x=x.data, **parameters, **{graph.gradients[0].name: dout})
        assert same_bits(ran[graph.outputs[0].name], out.data)
        assert same_bits(ran["dx"], dx)


MASKS = {
    "hinge": lambda a, b, k: np.where(a > k % 3 - 1, a, 0.5 * a),
    "gate": joined(lambda a, b: a * (b > 0) + a * ~(b < 0.5)),
    "sign": lambda a, b, k: a * np.sign(a - 0.25),
    "count": lambda a, b, k: a / ((a > 0).sum() + 1),
    "steps": lambda a, b, k: a * np.floor(np.tanh(a) * 3),
    "best": lambda a, b, k: a.reshape(-1)[np.argmax(a)] * a if a.size else a,
    "any": lambda a, b, k: a + np.any(a > 1) * np.tanh(b).sum() + np.all(a < 2) * 0.25,
}
OPERATIONS = ANALYTIC | KINKED | MASKS


@settings(max_examples=examples(500), deadline=None)
@given(programs(OPERATIONS), st.booleans())
def test_random_programs_at_other_inputs(program, emitted):
    shapes, _, seed = program
    rng = np.random.default_rng(seed)

    def f(*leaves):
        return execute(program, leaves, OPERATIONS)

    names = ["x", "w", "b"][: len(shapes)]

    def leaves():
        return [Tensor(rng.normal(size=s) * 2, name=n) for n, s in zip(names, shapes, strict=True)]

    graph = Graph.joint(trace(f)(*leaves()))
    others = leaves()
    out = trace(f)(*others)
    dout = np.asarray(rng.normal(size=out.shape), out.dtype)
    gradients = dict(zip(names, grad(out, others, dout), strict=True))
    arrays = {n: x.data for n, x in zip(names, others, strict=True)}
    arrays = {n.name: arrays[n.name] for n in graph.inputs if n.role == "input"}
    try:
        ran = graph.run(**arrays, **{graph.gradients[0].name: dout})
    except ValueError as error:  # of a mask that picks
        assert "select" in str(error)  # noqa: PT017
        return
    assert same_bits(ran[graph.outputs[0].name], out.data)
    for name in arrays:
        assert same_bits(ran.get(f"d{name}", np.zeros_like(arrays[name])), gradients[name])
    if emitted:
        forward, backward = module(graph)
        value, cache = forward(*arrays.values())
        assert same_bits(value, out.data)
        reached = [name for name in arrays if f"d{name}" in ran]
        for name, d in zip(reached, backward(dout, cache), strict=True):
            assert same_bits(d, gradients[name])


# --- a mask that picks --------------------------------------------------------------------------


def positive(x):
    kept = x[x > 0]
    return np.sum(kept * kept)


def test_a_mask_that_picks_other_entries_is_refused_and_never_ignored():
    x = np.array([1.0, -2.0, 3.0, 0.5])
    graph = Graph.joint(trace(positive)(x))
    forward, backward = module(graph)
    same, other = np.array([4.0, -1.0, 2.0, 1.0]), np.array([4.0, -1.0, -2.0, 1.0])
    assert graph.run(x=same, dout=1.5)["dx"].tolist() == [12, 0, 6, 3]
    assert backward(1.5, forward(same)[1])[0].tolist() == [12, 0, 6, 3]
    with pytest.raises(ValueError, match="select: a computed mask picks other entries"):
        graph.run(x=other, dout=1.5)
    with pytest.raises(ValueError, match="a computed mask picks other entries"):
        forward(other)


# --- as NumPy -----------------------------------------------------------------------------------


def outcome(f, x):
    """Give what a function of an array finds out about masks of it."""
    found = f(x)
    found = found if isinstance(found, tuple) else (found,)
    return [np.asarray(v.data if isinstance(v, Tensor) else v) for v in found]


@pytest.mark.parametrize(
    "f",
    [
        lambda x: (x > 0, x >= 0, x < 0, x <= 0, x == 0, x != 0, x > 0, ~(x > 0)),
        lambda x: ((x > 0) & (x < 1), (x > 0) | (x < 1), (x > 0) ^ (x < 1), True & (x > 0)),
        lambda x: ((x > 0).all(), (x > 0).any(), (x > 0).all(axis=0), np.any(x > 0, axis=1)),
        lambda x: ((x > 0).sum(), (x > 0).sum(axis=1), (x > 0).mean(), np.mean(x > 0, axis=0)),
        lambda x: (x * (x > 0), (x > 0) * x, 1 - (x > 0), (x > 0) + (x > 1), (x > 0) * 2.5),
        lambda x: (x[x > 0], x[(x > 0) & (x < 1)], x[(x > 0).any(axis=1)], x[:, (x > 9).any(0)]),
        lambda x: (np.argmax(x), np.argmin(x), x.argmax(axis=1), np.argmax(x, axis=0)),
        lambda x: (x[np.argmax(x, axis=0), [0, 1, 2]], x[x.argmax(axis=0)[0]]),
        lambda x: (x[np.arange(4), np.argmax(x, axis=1), None], x[..., x.argmin(axis=1) % 2]),
        lambda x: (np.where(x > 0, 1.0, -1.0), np.where(x > 0, x, 0), np.where(x > 0, 1, 2)),
        lambda x: (bool((x > 9).any()), "yes" if (x < 9).all() else "no", not (x > 9).any()),
        lambda x: ((x > 0).astype(float), (x > 0).astype(int), (x > 0).T, (x > 0)[1:, 0]),
        lambda x: (np.nonzero(x > 0)[0], np.count_nonzero(x > 0), (x > 0).nonzero()[1]),
        lambda x: ((x > 0).tolist(), (x > 0).flatten(), int((x > 0).sum()), (x > 0).copy()),
        lambda x: (np.cumsum(x > 0), np.bincount(np.argmax(x, axis=1)), np.unique(x.argmax(1))),
        lambda x: (np.arange(5)[x.argmax(axis=1)], np.eye(3)[np.argmax(x, axis=1)]),
        lambda x: (list(range(x.argmax())), [10, 20, 30][x[0].argmax()]),
        lambda x: (np.isnan(x).any(), np.isfinite(x).all(), np.logical_not(x > 0)),
        lambda x: (np.array(x > 0), np.asarray(x.argmax(1), dtype=float), np.stack([x > 0])),
        lambda x: (len(x > 0), (x > 0).shape, (x > 0).ndim, (x > 0).size, str((x > 0).dtype)),
        lambda x: np.invert(x > 0) & np.bitwise_or(x > 0, np.zeros(3, bool)),
    ],
)
def test_masks_inside_a_trace_behave_as_numpys(f):
    x = array(4, 3)
    found = []

    def traced(x):
        found.extend(outcome(f, x))
        return x * 1

    trace(traced)(x)
    for a, b in zip(found, outcome(f, x), strict=True):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        assert a.tolist() == b.tolist()


def test_outside_a_trace_a_mask_is_a_plain_array():
    x = Tensor(array(3))
    assert type(x > 0) is type(np.floor(x)) is np.ndarray


def test_no_gradient_flows_through_what_is_discrete():
    def f(x):
        mask = x > 0
        n = mask.sum()
        return np.sum(x * mask) / n

    x = Tensor(np.array([1.0, -2.0, 3.0]), name="x")
    out = trace(f)(x)
    out.backward()
    assert x.grad.tolist() == [0.5, 0, 0.5]
    graph = Graph.joint(out)
    assert {g.of.name for g in graph.gradients} == {"x", "out"}
    (second,) = grad(grad(out, [x], create_graph=True)[0], [x], np.ones(3))
    assert second.tolist() == [0, 0, 0]


def test_what_is_discrete_cannot_be_differentiated():
    def f(x):
        return x > 0

    with pytest.raises(ValueError, match="is of bool: no gradient flows through what is discrete"):
        trace(f)(array(3)).backward(np.ones(3))


def test_an_index_of_floats_is_refused():
    with pytest.raises(TypeError, match="indexed by a tensor of floats; use integers or bools"):
        trace(lambda x: x[x * 2])(array(3))


def test_a_mask_is_written_as_it_was():
    def f(x, y):
        mask = (x > 0) & ~(y < x)
        k = np.argmax(x, axis=1)
        return np.where(mask, x, y)[np.arange(4), k]

    text = derive(trace(f)(array(4, 3), array(4, 3)))
    for written in ("(x > 0) ∧ ¬(y < x)", "argmax(x)", "where(mask, x, y)[i, k]"):
        assert written in text
    assert r"\wedge" in derive(trace(f)(array(4, 3), array(4, 3)), format="latex")


def test_the_shift_of_cross_entropy_is_part_of_the_graph():
    """With the maximum of other logits as a constant, exp overflows."""

    def loss(z):
        return nn.cross_entropy(z, np.array([2, 0]))

    graph = Graph.joint(trace(loss)(np.zeros((2, 3))))
    z = np.array([[0.0, 900.0, 155.82], [1.0, 2.0, 3.0]])
    name = graph.outputs[0].name
    assert same_bits(graph.run(z=z, **{f"d{name}": 1.0})[name], nn.cross_entropy(z, [2, 0]).data)
