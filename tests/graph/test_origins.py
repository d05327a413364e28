"""Where numbers come from: what is printed as N, and snapshots that run at other lengths."""

import copy
import pickle
from fractions import Fraction

import numpy as np
import pytest
from helpers import examples, same_bits
from hypothesis import given, settings
from programs import ANALYTIC, KINKED, execute, programs

from tinygraph import Graph, Tensor, batchnorm, derive, nn, trace
from tinygraph.engine.lengths import Formula, Measured
from tinygraph.graph.interchange import decoded, encoded
from tinygraph.writing.formulas import Notation

RNG = np.random.default_rng(11)
SCALE = 0.25  # a global


def array(*shape):
    return RNG.normal(size=shape)


def formulas(f, *arrays):
    graph = Graph.capture(trace(f)(*arrays))
    notation = Notation(graph)
    return [notation.formula(step.result) for step in graph.steps]


def other(f, then, now, **keywords):
    """Capture a function at some arrays and run the graph on others; compare with doing it anew."""
    out, anew = trace(f)(*then, **keywords), trace(f)(*now, **keywords)
    graph, expected = Graph.joint(out), Graph.joint(anew)
    dout = np.asarray(RNG.normal(size=anew.shape), anew.dtype)
    names = [node.name for node in graph.inputs if node.role == "input"]
    given = dict(zip(names, now, strict=True)) | {graph.gradients[0].name: dout}
    ran = expected.run(**given)
    result = graph.run(**given)
    assert list(result) == list(ran)
    for name in ran:
        assert same_bits(result[name], ran[name]), name
    return graph


# --- what is printed ----------------------------------------------------------------------------


def test_a_number_that_equals_one_over_n_is_not_called_so():
    def leaky(x):
        h = np.maximum(0.1 * x, x)
        return np.sum(h, axis=0)

    def half(e):
        return 0.5 * np.sum(e**2)

    assert formulas(leaky, array(10, 3)) == ["maximum(0.1 · x, x)", "Σ h"]
    assert formulas(half, array(2)) == ["0.5 · Σ e²"]


@pytest.mark.parametrize(
    ("f", "expected"),
    [
        (lambda x: 1 / x.shape[0] * np.sum(x, axis=0), "1/N Σ x"),
        (lambda x: 1.0 / x.shape[0] * np.sum(x, axis=0), "1/N Σ x"),
        (lambda x: np.sum(x, axis=0) / x.shape[0], "1/N Σ x"),
        (lambda x: np.sum(x, axis=0) / np.shape(x)[0], "1/N Σ x"),
        (lambda x: np.sum(x) / x.size, "1/N Σ x"),
        (lambda x: np.sum(x) / (x.shape[0] * x.shape[1]), "1/N Σ x"),
        (lambda x: np.mean(x, axis=0), "1/N Σ x"),
        (lambda x: np.var(x, axis=0, ddof=1), "(Σ (x − 1/N Σ x)²) / (N − 1)"),
        (lambda x: 2.0 / x.shape[0] * np.sum(x, axis=0), "2 / N · Σ x"),
        (lambda x: np.sum(x, axis=0) / (x.shape[0] - 1), "(Σ x) / (N − 1)"),
        (lambda x: -1 / x.shape[0] * np.sum(x, axis=0), "(-1) / N · Σ x"),
        (lambda x: -(1 / x.shape[0]) * np.sum(x, axis=0), "−1/N · Σ x"),
        (lambda x: 0.5 / x.shape[0] * np.sum(x**2), "0.5 / N · Σ x²"),
        (lambda x: x * (x.shape[0] ** 0.5), "√N · x"),
        (lambda x: x * (x.shape[0] // 2), "3 · x"),
    ],
)
def test_what_was_computed_from_a_length_says_so(f, expected):
    (out,) = formulas(f, array(7, 3))
    assert out == expected


def test_n_and_d_are_two_lengths_where_they_are_equal():
    def both(x):
        rows = np.mean(x, axis=0)
        columns = np.mean(x, axis=1)
        return np.sum(rows) * np.sum(columns)

    assert formulas(both, array(4, 4))[:2] == ["1/4 Σ₀ x", "1/4 Σ₁ x"]

    def one_after_all(x):
        rows = np.mean(x, axis=0)
        columns = np.mean(x, axis=1)
        return rows + columns  # which only works if N = D

    assert formulas(one_after_all, array(4, 4))[:2] == ["1/N Σ₀ x", "1/N Σ₁ x"]

    def rows(x):
        N, D = x.shape
        return np.sum(x / D, axis=0) / N

    assert formulas(rows, array(4, 4)) == ["1/N Σ x / D"]


def test_len_is_recognised_where_it_is_bound_to_a_name():
    def one(x):
        n = len(x)
        return 1 / n * np.sum(x, axis=0)

    def two(x):
        n, d = len(x), x.shape[1]
        return np.sum(x * d, axis=0) / n

    def unbound(x):
        return np.sum(x, axis=0) / len(x)

    def not_only(x):
        n = len(x)
        n = 7
        return np.sum(x, axis=0) / n

    x = array(7, 3)
    assert formulas(one, x) == ["1/N Σ x"]
    assert formulas(two, x) == ["1/N Σ d · x"]
    assert formulas(unbound, x) == formulas(not_only, x) == ["(Σ x) / 7"]


def test_outside_a_trace_only_numpys_own_counts_are_known():
    x = Tensor(array(10, 3), name="x")
    for out, formula in (
        (np.mean(x, axis=0), "1/N Σ x"),
        (0.1 * np.sum(x, axis=0), "0.1 · Σ x"),
        (np.sum(x, axis=0) / 10, "(Σ x) / 10"),
    ):
        graph = Graph.capture(out)
        assert Notation(graph).formula(graph.outputs[0]) == formula
    assert type(x.shape[0]) is int


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble, np.complex128, object])
def test_the_staged_batchnorm_knows_its_counts_in_every_dtype(dtype):
    x = array(4, 3).astype(dtype)
    if dtype is object:
        x = np.array([[Fraction(k)] for k in (-1, 1, 3, 5)])
    ones = np.array([x.dtype.type(1) if dtype is not object else Fraction(1)] * x.shape[1])
    out = batchnorm.staged(Tensor(x, name="x"), ones, ones, eps=Fraction(4))
    assert derive(out).count("1/N") >= 2
    assert "N = 4" in derive(out)


# --- lengths are the ints that they are ---------------------------------------------------------


def seen(f, *shape):
    """Run a function on the shape of a traced argument."""
    found = []

    def traced(x):
        found.append(f(*x.shape))
        return x * 1

    trace(traced)(np.ones(shape))
    return found[0]


@pytest.mark.parametrize(
    "f",
    [
        lambda n, d: np.ones(n, np.float32) / n,
        lambda n, d: np.ones(n, np.float32) * (1 / n),
        lambda n, d: (1 / n) * np.ones(n, np.float32),
        lambda n, d: n * np.arange(d, dtype=np.int8),
        lambda n, d: np.float32(2) * (d / n),
        lambda n, d: np.float32(2) / n,
        lambda n, d: np.full((n, d), n),
        lambda n, d: np.array([n, d]),
        lambda n, d: np.arange(n) + np.linspace(0, 1, n),
        lambda n, d: np.eye(n)[d:, : n - 1],
        lambda n, d: np.reshape(np.arange(n * d), (d, -1)),
        lambda n, d: np.zeros((n, d)).sum(axis=d - 2),
        lambda n, d: [0] * n + d * [1] + list(range(n, 0, -d)),
        lambda n, d: (n == 6, n == 6, n != d, n < d, n >= 6, d in (1, 3), max(n, d, 4), bool(n)),
        lambda n, d: np.arange(8) == n,
        lambda n, d: n == np.arange(8),
        lambda n, d: {n: d}[6],
        lambda n, d: f"{n} {d:03d} {n!r} %d" % d,
        lambda n, d: (n + d, n - d, n * d, n / d, n // d, n % d, n**d, -n, +n, abs(-n), d**-n),
        lambda n, d: (2 + n, 2 - n, 2 * n, 2 / n, 20 // n, 20 % n, 2**n, True + n, n * True),
        lambda n, d: (n + 1.5, 1.5 / n, n * 1j, Fraction(1, 3) * n, n * Fraction(1, 3)),
        lambda n, d: (int(n), float(n), round(n), complex(n), divmod(20, int(n)), hash(n)),
        lambda n, d: np.random.default_rng(0).normal(size=(n, d)),
        lambda n, d: (np.sqrt(n), 1 / np.sqrt(n), np.exp(n), np.int64(3) + n, n - np.int64(3)),
        lambda n, d: isinstance(n, __import__("numbers").Integral),
    ],
)
def test_a_length_is_used_like_an_int(f):
    a, b = seen(f, 6, 3), f(6, 3)
    assert repr(a) == repr(b)
    for x, y in zip(*[v if type(v) is tuple else (v,) for v in (a, b)], strict=True):
        assert np.asarray(x).dtype == np.asarray(y).dtype
        assert not isinstance(x, np.ndarray) or same_bits(x, y)


def test_a_length_is_copied_with_what_it_counts():
    x = Tensor(array(4, 3), name="x")
    out = np.mean(x, axis=0)
    for twin in (copy.deepcopy(out), pickle.loads(pickle.dumps(out))):
        assert derive(Graph.joint(twin)) == derive(Graph.joint(out))
        leaf = twin.inputs[1].formula.args[0]
        assert leaf is twin.inputs[0].inputs[0]


def test_a_formula_does_not_grow_without_end():
    def f(x):
        n = x.shape[0]
        for _ in range(10_000):
            n = n + 1
        return x * n

    (out,) = formulas(f, array(3))
    assert out in ("x · 10003", "10003 · x")


# --- other lengths ------------------------------------------------------------------------------


def staged(x, gamma, beta, eps=1e-5):
    N = x.shape[0]
    mu = 1.0 / N * np.sum(x, axis=0)
    xmu = x - mu
    var = 1.0 / N * np.sum(xmu**2, axis=0)
    xhat = xmu / np.sqrt(var + eps)
    return gamma * xhat + beta


def attention(q, k, v):
    d = q.shape[1]
    scores = q @ k.T / np.sqrt(d)
    e = np.exp(scores - np.max(scores, axis=1, keepdims=True))
    p = e / np.sum(e, axis=1, keepdims=True)
    return p @ v


def shapes(x, y):
    n = len(x)
    flat = x.reshape(n * x.shape[1])
    rows = np.concatenate([x, y * SCALE])
    middle = rows[n // 2 : n].reshape(-1, x.shape[1])
    return np.sum(flat[:n]) * np.var(middle, axis=0, ddof=1) + np.mean(rows.T @ rows, axis=1)


def hinge(s, t):
    margin = np.maximum(0.0, 1.0 - s * t)
    return np.sum(margin) / s.size + 0.5 * np.mean(s**2)


@pytest.mark.parametrize(
    ("f", "then", "now"),
    [
        (staged, [(7, 3), (3,), (3,)], [(9, 4), (4,), (4,)]),
        (staged, [(7, 3), (3,), (3,)], [(2, 3), (3,), (3,)]),
        (attention, [(4, 3), (5, 3), (5, 2)], [(6, 2), (7, 2), (7, 4)]),
        (shapes, [(6, 3), (5, 3)], [(9, 4), (8, 4)]),
        (hinge, [(5,), (5,)], [(8,), (8,)]),
        (
            lambda x, g, b: batchnorm.staged(x, g, b, axis=(0, 2, 3)),
            [(5, 3, 2, 2), (3,), (3,)],
            [(4, 6, 3, 5), (6,), (6,)],
        ),
        (lambda x, g, b: batchnorm.normalize(x, g, b), [(7, 3), (3,), (3,)], [(9, 4)] + [(4,)] * 2),
        (lambda x: x * 0.5 - np.maximum(x, 2), [(7, 3)], [(9, 4)]),
    ],
)
def test_a_graph_runs_at_other_lengths(f, then, now):
    other(f, [array(*s) for s in then], [array(*s) for s in now])


@pytest.mark.parametrize("dtype", [np.float32, np.longdouble, np.complex128])
def test_other_lengths_in_other_dtypes(dtype):
    def f(x, gamma):
        return batchnorm.staged(x, gamma, gamma)

    then, now = ([array(*s).astype(dtype) for s in two] for two in ([(7, 3), (3,)], [(9, 4), (4,)]))
    other(f, then, now)


def test_other_lengths_among_fractions():
    def f(x):
        return np.mean(x * x, axis=0) * x.shape[0]

    def exact(n):
        return np.array([[Fraction(k, 7), Fraction(1, k + 1)] for k in range(n)])

    graph = Graph.capture(trace(f)(exact(3)))
    (value,) = (graph.run(x=exact(5))["out"],)
    assert value.tolist() == np.sum(exact(5) ** 2, axis=0).tolist()


def test_a_network_runs_on_another_batch():
    net = nn.Sequential(nn.Linear(4, 5, rng=0), nn.BatchNorm(5), nn.ReLU(), nn.Linear(5, 2, rng=1))

    def loss(x, t):
        return nn.mse(net(x), t)

    other_graph = Graph.capture(trace(loss)(array(6, 4), array(6, 2)))
    x, t = array(9, 4), array(9, 2)
    names = {node.name: node for node in other_graph.inputs}
    parameters = dict(zip((n for n in names if n not in ("x", "t")), net.parameters(), strict=True))
    arrays = {name: p.data for name, p in parameters.items()}
    assert same_bits(other_graph.run(x=x, t=t, **arrays)["loss"], trace(loss)(x, t).data)


def looped(x):
    total = x[0] * 1.5
    for i in range(1, x.shape[0]):
        total = total + x[i]
    return total


def scaled_by_a_closure(x):
    s = 1 / len(x)

    def inner(y):
        return y * s

    return inner(x)


REFUSED = [
    (lambda x: np.sum(x) / len(x), "the constant 7 may have been computed from a length"),
    (lambda x: np.sum(x) * (1 / len(x)), r"the constant 0\.142857\d* may have been computed"),
    (lambda x: np.sum(x) * 7, "the constant 7 may be the length 7 that has changed"),
    (lambda x: np.sum(x) * float(x.shape[0]), r"the constant 7(\.0)? may have been computed"),
    (scaled_by_a_closure, r"the constant 0\.142857\d* \(s\) may have been computed from a length"),
    (lambda x: x * np.ones((len(x), 1)), r"array of shape \(7, 1\) may have been computed"),
    (lambda x: np.eye(7) @ x, r"array of shape \(7, 7\) may have been computed"),
    (looped, "index picks entries by number along axis 0, whose length was 7 and is 9"),
    (lambda x: sum(row for row in x), "from a length|by number along axis 0"),
    (lambda x: x[1:] - x[:-1], "index picks entries by number along axis 0"),
    (lambda x: x[np.arange(7)], "the key of index may have been computed from a length"),
    (lambda x: x[np.arange(21).reshape(7, 3) > 4], "the key of index may have been computed"),
    (lambda x: x.reshape(7, 1, 3), r"the 7 in shape=\(7, 1, 3\) of reshape may be the length 7"),
    (lambda x: x.reshape(len(x) * 3), r"shape=\(21,\) of reshape may have been computed"),
    (lambda x: x ** (1 / len(x)), "n=0.142857.* of pow may have been computed"),
    (lambda x: x * np.float64(len(x)), r"the constant 7\.0 may have been computed"),
]


@pytest.mark.parametrize(("f", "reason"), REFUSED)
def test_what_may_stand_for_a_length_is_refused_by_name(f, reason):
    graph = Graph.capture(trace(f)(np.abs(array(7, 3))))
    assert graph.outputs[0].name in graph.run(x=np.abs(array(7, 3)))
    with pytest.raises(ValueError, match=rf"run: step .*{reason}.*; capture the graph again"):
        graph.run(x=np.abs(array(9, 3)))


def test_without_a_trace_no_constant_is_known():
    graph = Graph.capture(Tensor(array(3), name="x") * 0.5)
    with pytest.raises(ValueError, match=r"the constant 0\.5 may have been computed from a length"):
        graph.run(x=array(4))


def test_an_axis_that_broadcasts_must_go_on_to():
    graph = Graph.capture(trace(lambda x, y: x * y)(array(4, 1), array(4, 3)))
    with pytest.raises(ValueError, match=r"run: x had shape \(4, 1\) when .* have \(4, 3\)"):
        graph.run(x=array(4, 3), y=array(4, 3))
    graph = Graph.joint(trace(lambda x, y: x * y)(array(4, 3), array(4, 3)))
    with pytest.raises(ValueError, match=r"run: x had shape \(4, 3\) when .* have \(1, 3\)"):
        graph.run(x=array(1, 3), y=array(5, 3), dout=array(5, 3))
    with pytest.raises(ValueError, match=r"run: step 1 .*could not be broadcast together"):
        graph.run(x=array(6, 3), y=array(5, 3), dout=array(5, 3))
    with pytest.raises(ValueError, match=r"run: dout has shape \(4, 3\), but out has \(5, 3\)"):
        graph.run(x=array(5, 3), y=array(5, 3), dout=array(4, 3))
    with pytest.raises(ValueError, match="another number of axes"):
        graph.run(x=array(3), y=array(5, 3), dout=array(5, 3))


def test_origins_survive_as_json():
    graph = Graph.joint(trace(shapes)(array(6, 3), array(5, 3)))
    twin = Graph.from_json(graph.to_json())
    given = {n.name: array(*(8, 4) if n.name in "xy" else (4, 4)) for n in graph.inputs}
    given |= {graph.gradients[0].name: array(4)}
    a, b = graph.run(**given), twin.run(**given)
    assert all(same_bits(a[name], b[name]) for name in a)
    (formula,) = {str(n.origin.op): n.origin for n in graph.nodes if isinstance(n.origin, Formula)}[
        "-"
    ].args[:1]
    assert decoded(encoded(formula)).op == formula.op
    assert not any(isinstance(x, Measured) for node in graph.nodes for x in node.params.values())
    assert all(type(n) is int for node in graph.nodes for n in node.shape)


LENGTHS = {  # of arrays: a scalar has a size of 1, which counts nothing
    "by hand": lambda a, k: np.sum(a, axis=0) * (1.0 / a.shape[0]),
    "unbiased": lambda a, k: a / (a.size + 1) - a * (2.0 / (a.size + 3)),
    "flat": lambda a, k: a.reshape(a.size)[: a.size // 2 + 1],
    "columns": lambda a, k: a.reshape(-1, a.shape[-1]),
    "root": lambda a, k: a / np.sqrt(a.shape[0]),
    "scaled": lambda a, k: np.tanh(a) / (a.size * 1.5),
}
LENGTHS = {
    name: lambda a, b, k, f=f: f(a, k) if a.ndim else np.tanh(a) for name, f in LENGTHS.items()
}
OPERATIONS = ANALYTIC | KINKED | LENGTHS
PICKING = {"index", "mask", "reshape", "matmul", "concatenate"}  # by number, or by array
SAFE = {name: f for name, f in OPERATIONS.items() if name not in PICKING}
THEN, NOW = {1: 1, 2: 11, 3: 13}, {1: 1, 2: 4, 3: 7}  # no literal of the operations is among them


@settings(max_examples=examples(300), deadline=None)
@given(programs(SAFE))
def test_random_programs_run_at_other_lengths(program):
    run_elsewhere(program, SAFE)


@settings(max_examples=examples(200), deadline=None)
@given(programs(OPERATIONS))
def test_random_programs_run_at_other_lengths_or_say_why_not(program):
    try:
        run_elsewhere(program, OPERATIONS)
    except ValueError as error:
        assert str(error).startswith("run: ")  # noqa: PT017 - it need not be raised


def run_elsewhere(program, operations):
    shapes, _, seed = program
    rng = np.random.default_rng(seed)
    then, now = ([tuple(at[n] for n in shape) for shape in shapes] for at in (THEN, NOW))

    def f(*leaves):
        return execute(program, leaves, operations)

    names = ["x", "w", "b"][: len(then)]
    make = [
        [Tensor(rng.normal(size=s), name=n) for n, s in zip(names, t, strict=True)]
        for t in (then, now)
    ]
    graph = Graph.joint(trace(f)(*make[0]))
    anew = trace(f)(*make[1])
    inputs = {n.name for n in graph.inputs if n.role == "input"}
    dout = rng.normal(size=anew.shape)
    arrays = {n: x.data for n, x in zip(names, make[1], strict=True) if n in inputs}
    result = graph.run(**arrays, **{graph.gradients[0].name: dout})
    anew.backward(dout)
    assert same_bits(result[graph.outputs[0].name], anew.data)
    for name, x in zip(names, make[1], strict=True):
        if name in inputs:
            assert same_bits(result[f"d{name}"], x.grad)
