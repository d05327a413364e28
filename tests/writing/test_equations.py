"""`derive`: tables, equations and source, against the engine and against each other."""

import ast
import re
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from helpers import examples, same_bits, upstream
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import ANALYTIC, KINKED, execute, programs
from words import WORDS

from tinygraph import Graph, Tensor, derive, trace
from tinygraph.batchnorm import primitive as fused
from tinygraph.batchnorm import staged
from tinygraph.engine.autodiff import reachable, sweep
from tinygraph.engine.primitive import TABLE
from tinygraph.writing.languages import NUMPY

RNG = np.random.default_rng(11)


def batchnorm(shape=(7, 3), axis=0, gamma=(3,)):
    arrays = RNG.normal(size=shape), RNG.normal(size=gamma), RNG.normal(size=gamma)
    return trace(staged)(*arrays, eps=1e-5, axis=axis)


def module(source):
    namespace = {}
    exec(compile(source, "derived", "exec"), namespace)
    return namespace


def leaves(*outs):
    return [t for t in reachable(outs) if t.op is None]


def agree(a, b):
    """The same bits, or, where numbers have bytes without meaning, the same values."""
    if np.asarray(a).dtype.itemsize in (16, 32) and np.asarray(a).dtype != np.complex128:
        return np.asarray(b).dtype == a.dtype and np.array_equal(a, b, equal_nan=True)
    return same_bits(a, b)


def check_source(outs, rng=RNG, wrt=None, runs=True):
    """The emitted module, the engine and the snapshot give the same bits; nothing is idle.

    Without `runs`, the snapshot is not asked.
    """
    outs = outs if isinstance(outs, list) else [outs]
    inputs = leaves(*outs)
    wanted = inputs if wrt is None else wrt
    douts = [upstream(rng, out)[()] for out in outs]
    source = derive(outs, format="python", wrt=wrt)
    check_readable(source)
    made = module(source)
    *values, cache = made["forward"](*(x.data for x in inputs))
    for out, value in zip(outs, values, strict=True):
        assert agree(out.data, value)
    gradients = made["backward"](*douts, cache)
    assert isinstance(gradients, tuple)
    seeds = list(zip(outs, douts, strict=True))
    engine = sweep(reachable(outs), seeds, wrt=wanted, read=lambda t: t.data)
    for x, g in zip(wanted, gradients, strict=True):
        assert agree(engine.get(x.index, np.zeros(x.shape, x.dtype)), g)
    if runs:
        graph = Graph.capture(outs, wrt=wanted)
        arguments = [x.data for x in inputs] + douts
        names = [node.name for node in graph.inputs]
        result = graph.run(**dict(zip(names, arguments, strict=True)))
        for node, value in zip(graph.outputs, values, strict=True):
            assert agree(result[node.name], value)
    return source


def check_readable(source):
    """Lines fit, what is assigned is read, and what is cached is what backward takes."""
    assert all(len(line) <= 100 for line in source.splitlines())
    for function in ast.parse(source).body:
        if isinstance(function, ast.FunctionDef):
            names = [n for n in ast.walk(function) if isinstance(n, ast.Name)]
            stored = {n.id for n in names if isinstance(n.ctx, ast.Store)}
            assert stored <= {n.id for n in names if isinstance(n.ctx, ast.Load)}


def test_batchnorm_as_source_is_the_staged_derivation():
    source = check_source(batchnorm())
    assigned = re.findall(r"^    (\w+) = ", source, re.MULTILINE)
    forward = ["mu", "xmu", "sq", "var", "sqrtvar", "ivar", "xhat", "gammax", "out", "cache"]
    assert assigned[:10] == forward
    backward = assigned[assigned.index("cache") + 1 :]
    assert set(backward) == {
        *("dgammax", "dbeta", "dgamma", "dxhat", "dxmu1", "divar", "dsqrtvar", "dvar"),
        *("dsq", "dxmu2", "dxmu", "dx1", "dmu", "dx2", "dx"),
    }
    steps = [int(k) for k in re.findall(r"# step (\d+)", source)]
    assert steps == [*range(1, 10), *range(9, -1, -1)]
    assert "def forward(x, gamma, beta):" in source
    assert "def backward(dout, cache):" in source
    assert "return dx, dgamma, dbeta" in source
    assert max(map(len, source.splitlines())) <= 100


@pytest.mark.parametrize(
    ("shape", "axis", "gamma"),
    [((4, 3, 5, 2), (0, 2, 3), (3,)), ((6, 7), -1, (7,)), ((2, 3), 0, (3,))],
)
def test_other_axes_as_source(shape, axis, gamma):
    check_source(batchnorm(shape, axis, gamma))


def test_batchnorm_as_one_node_as_source():
    x, gamma, beta = (Tensor(RNG.normal(size=s)) for s in ((6, 3), (3,), (3,)))
    check_source(fused.normalize(x, gamma, beta))


def test_batchnorm_as_one_node_of_many_float16_rows_as_source():
    """Whose sums are added in float32, or they would stand still."""
    x, gamma, beta = (Tensor(RNG.normal(size=s).astype("f2")) for s in ((4000, 3), (3,), (3,)))
    out = fused.normalize(x, gamma, beta)
    made = module(derive(out, format="python"))
    assert same_bits(made["forward"](x.data, gamma.data, beta.data)[0], out.data)


def test_the_source_needs_numpy_alone(tmp_path):
    source = derive(batchnorm(), format="python")
    (tmp_path / "made.py").write_text(source, encoding="utf-8")
    script = "import sys, made; print('tinygraph' in sys.modules, made.forward.__name__)"
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == ["False", "forward"]


def test_every_primitive_can_be_written():
    ours = {name: op for name, op in TABLE.items() if op.home.startswith("tinygraph.")}
    without = [name for name, op in ours.items() if "numpy" not in op.written]
    assert all(NUMPY.written(TABLE[name], None) for name in without)


@settings(max_examples=examples(200), deadline=None)
@given(programs(ANALYTIC | KINKED), st.sampled_from([np.float64, np.float32]))
def test_the_source_computes_what_the_engine_computes(program, dtype):
    shapes, _, seed = program
    rng = np.random.default_rng(seed)
    inputs = [
        Tensor(rng.normal(size=shape).astype(dtype), name=name)
        for name, shape in zip(("x", "lambda", "h[0]"), shapes, strict=False)
    ]

    def after(value, k, is_named):
        if is_named and value.name is None:
            value.name = ["h_0", "γ", "np", "dx", "cache", "a b", "h[0]", "in", "🙂", "y"][k]

    out = execute(program, inputs, ANALYTIC | KINKED, after)
    others = [t for t in reachable([out]) if rng.random() < 0.1]
    check_source([out, *others], rng)


def test_names_that_are_no_identifiers_stay_apart():
    names = ["x", "h[0]", "h_0", "class", "np", "forward", "cache", "", "a-b", "a b"]
    inputs = [Tensor(RNG.normal(size=3), name=name or None) for name in names]
    out = inputs[0]
    for k, t in enumerate(inputs[1:], 2):
        out = out * k + t
    check_source(out)


def test_what_is_used_twice_is_computed_once():
    x = Tensor(RNG.normal(size=4), name="x")
    shared = np.exp(x)
    source = derive(shared * np.sin(shared), format="python")
    assert source.count("np.exp(") == 1


@pytest.mark.slow
def test_a_deep_graph_is_written_without_recursion():
    h = Tensor(RNG.normal(size=2), name="x")
    for _ in range(3000):
        h = np.tanh(h) + 0.5
    check_source(h)
    assert derive(h).count("\n") < 20_000


def named_chain(n):
    h = Tensor(0.5, name="x")
    for _ in range(n):
        h = np.tanh(h)
        h.name = "h"
    return h


def unnamed_chain(n):
    h = Tensor(0.5, name="x")
    for k in range(n):
        h = np.sin(h) * 1.01 if k % 3 else -h + 0.1
    return h


def fan(n):
    x = Tensor(0.5, name="x")
    y = x * 1.0
    for _ in range(n // 2):
        y = y + x * x
    return y


def many_inputs(n):
    y = Tensor(0.1)
    for k in range(n // 2):
        y = y * Tensor(0.5 + k / n, name=f"x{k}") + Tensor(0.1)
    return y


@pytest.mark.slow
@pytest.mark.parametrize("make", [named_chain, unnamed_chain, fan, many_inputs])
def test_large_graphs(make):
    """No recursion, no line without end, and nothing that takes the square of the size."""
    out = make(5_000)
    check_source(out)
    for form in ("text", "markdown", "latex"):
        assert derive(out, format=form)


def test_long_expressions_are_broken():
    x = [Tensor(RNG.normal(size=2), name=f"quite_a_long_name_{k}") for k in range(40)]
    total = x[0] * 1.0
    for t in x[1:]:
        total = total * np.maximum(t, np.exp(-t))
    source = check_source(np.concatenate([total, *x]))
    assert "t1 = " in source


def test_several_outputs():
    x = Tensor(RNG.normal(size=3), name="x")
    y, z = np.exp(x), x * x
    y.name, z.name = "y", "z"
    source = check_source([y, z])
    assert "return y, z, cache" in source
    assert "def backward(dy, dz, cache):" in source
    check_source([y, y])  # the gradient of both arrives
    check_source([y, y * z, x])  # outputs that are used again, and one that is an input
    check_source([x])


def test_an_input_that_no_gradient_reaches_gets_zeros():
    mask, x, y = (
        Tensor(a, name=n) for a, n in ((np.array([1.0, 0.0]), "m"), (2.0, "x"), (3.0, "y"))
    )
    source = check_source(np.where(mask, x, y))
    assert "return np.zeros_like(m), dx, dy" in source


# --- constants and keys -------------------------------------------------------------------------

NUMBERS = [
    *(2, -2, 0, 0.0, -0.0, 0.5, -0.25, 1e-5, 1 / 3, 1e300, 10**20, -(10**16)),
    *(np.inf, -np.inf, np.nan, 1j, complex(-0.0, 1), Fraction(1, 3), True),
    *(np.float32(0.1), np.float64(0.1), np.float64(1) / 3, np.float32(1) / np.float32(3)),
    *(np.longdouble("0.1"), np.longdouble(1) / 3, np.int64(3), np.bool(True), np.complex64(1 + 2j)),
]


@pytest.mark.parametrize(
    "dtype", [np.float64, np.float32, np.float16, np.longdouble, np.complex128]
)
@pytest.mark.parametrize("number", NUMBERS, ids=repr)
def test_numbers_are_written_exactly(number, dtype):
    """A number without a dtype promotes nothing, one with a dtype as ever, and 1/3 is 1/3."""
    x = Tensor(RNG.normal(size=(3, 4)).astype(dtype), name="x")
    with np.errstate(all="ignore"):
        for out in (x * number, x - number, number - x, x / number, number / x):
            check_source(out.sum(0))


BIG = RNG.normal(size=(3, 4))
ARRAYS = {
    "C": BIG,
    "F": np.asfortranarray(BIG),
    "view": np.concatenate([BIG, BIG])[::2],
    "float32": BIG.astype(np.float32),
    "float16": BIG.astype(np.float16),
    "longdouble": np.longdouble(1) / BIG.astype(np.longdouble),
    "complex": BIG + 1j,
    "big-endian": BIG.astype(">f8"),
    "bools": BIG > 0,
    "ints": np.arange(12).reshape(3, 4),
    "int8": (np.arange(12) - 6).reshape(3, 4).astype(np.int8),
    "one value": np.full((3, 4), -0.0),
    "zeros of both signs": np.array([0.0, -0.0, 0.0, -0.0]),
    "nan and inf": np.array([[np.nan], [-np.inf], [np.inf]]),
    "a scalar": np.array(3.0),
    "empty": np.zeros((0, 3, 4)),
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_arrays_are_written_exactly(array, dtype):
    x = Tensor(RNG.normal(size=(3, 4)).astype(dtype), name="x")
    with np.errstate(all="ignore"):
        check_source((x * array).sum())
        check_source(x - array)


def test_the_memory_order_of_a_constant_is_kept():
    """A sum adds up in the order of the memory."""
    x = Tensor(RNG.normal(size=(5, 4, 3)).transpose(2, 1, 0), name="x")
    array = np.array(RNG.normal(size=(5, 4, 3)).transpose(2, 1, 0))
    for axis in (0, 1, (0, 2), None):
        check_source((x * array).sum(axis))


def test_an_array_and_its_transpose_are_written_once():
    w = RNG.normal(size=(4, 3))
    source = check_source(np.tanh(Tensor(RNG.normal(size=(2, 4)), name="x") @ w) @ w.T)
    assert source.count("np.array(") == 1


def test_a_large_array_is_no_constant():
    x = Tensor(RNG.normal(size=(100, 100)), name="x")
    y = x * RNG.normal(size=(100, 100))
    y.name = "y"
    with pytest.raises(ValueError, match=r"step 1 of y: .*\(100, 100\).* input"):
        derive(y, format="python")
    assert "array(100, 100)" in derive(y)
    check_source(x * np.full((100, 100), 0.1))
    check_source(Tensor(RNG.normal(size=9000), name="x")[np.arange(9000)])


KEYS = [
    *(
        0,
        -1,
        None,
        ...,
        True,
        (),
        np.int64(1),
        slice(None),
        slice(1, None, 2),
        slice(None, None, -1),
    ),
    *((0, 1), (slice(None), 0), (..., 0), (None, slice(None), None), (np.int64(1),)),
    *([0, 1], np.array([0, 2, 2]), np.array(1), np.array([], dtype=int), range(2)),
    *((np.array([0, 1]), np.array([1, 1])), (slice(None), np.array([True, False, True, True]))),
    *(np.array([[True, False, True, True]] * 3), (0, (0, 1)), (slice(np.int64(1), None),)),
]


@pytest.mark.parametrize("key", KEYS, ids=repr)
def test_keys_are_written_exactly(key):
    check_source(Tensor(RNG.normal(size=(3, 4)), name="x")[key] * 2)


def test_keys_of_scalars():
    check_source(Tensor(2.0, name="x")[None] * 2)
    check_source(Tensor(2.0, name="x")[...] * 2)


def test_exact_numbers_stay_exact():
    x = Tensor(np.array([Fraction(1, 4), Fraction(9, 4)]), name="x")
    source = derive(np.sum(np.sqrt(x) * Fraction(1, 3) / 2), format="python")
    made = module(source)
    out, cache = made["forward"](x.data)
    assert out == Fraction(1, 3)
    (dx,) = made["backward"](Fraction(6), cache)
    assert dx.tolist() == [Fraction(1), Fraction(1, 3)]
    with pytest.raises(ValueError, match="no rational square root"):
        made["forward"](np.array([Fraction(2)]))


@pytest.mark.parametrize(
    "f",
    [
        lambda x, y: np.where(x, 3.0, 5.0),
        lambda x, y: np.where(x, 3, 5) * y,
        lambda x, y: 2.0**x,
        lambda x, y: (-2.0) ** (x * 0 + 3),
        lambda x, y: (x**-1) ** 2.5,
        lambda x, y: x.astype(np.float32) * y,
        lambda x, y: x.astype(np.complex128) * 1j,
        lambda x, y: np.stack([x, y, x], axis=1),
        lambda x, y: np.concatenate([x]),
        lambda x, y: np.broadcast_to(x, (2, 3, 4))[:, :, None] * np.ones(1),
        lambda x, y: np.broadcast_to(x[:, None], (4, 3)) @ np.broadcast_to(y, (3, 4)),
        lambda x, y: np.sum(x, axis=()) * y,
        lambda x, y: (x - y) - (x - (y - x)) / (x / (y / x)),
        lambda x, y: -((-x) ** 2) - -y,
        lambda x, y: np.std(x) * y + np.min(y),
    ],
)
def test_what_is_easily_written_wrong(f):
    x, y = (Tensor(RNG.uniform(0.5, 1.5, size=4), name=name) for name in "xy")
    with np.errstate(all="ignore"):
        check_source(f(x, y), runs=False)


# --- names --------------------------------------------------------------------------------------


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(st.sampled_from(WORDS) | st.text(max_size=3), min_size=4))
def test_any_names(names):
    """Modules compile and agree, tables stay tables, and equations one per line."""
    x, w, *values = names
    out, w = (Tensor(np.array([0.5, -1.5]), name=name) for name in (x, w))
    for name in values:
        out = np.tanh(out * w) + w * 0.5
        out.name = name
    source = derive(out, format="python")
    compile(source.encode("utf-8", "replace"), "derived", "exec")
    check_source(out, runs=len(set(names)) == len(names) and "" not in names)
    rows = [row for row in derive(out, format="markdown").splitlines() if row.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {5}
    graph = Graph.capture(out, wrt=leaves(out))
    for form in ("text", "latex"):
        lines = re.findall(r"^ *\d+ .*", derive(out, format=form), re.MULTILINE)
        assert len(lines) == len(graph.steps) + len(graph.gradients)


# --- tables and equations -----------------------------------------------------------------------


def test_the_table_holds_every_step_and_every_gradient():
    out = batchnorm()
    graph = Graph.capture(out, wrt=leaves(out))
    rows = [line.split() for line in derive(graph).splitlines() if re.match(r" +\d+ ", line)]
    assert [(int(r[0]), r[1]) for r in rows] == [
        *((step.number, step.name) for step in graph.steps),
        *((g.step, g.name) for g in graph.gradients),
    ]
    text = derive(graph)
    for line in ("√(var + eps)", "Σ dgammax · xhat", "1/N Σ sq", "dxmu1 + dxmu2"):
        assert line in text


def test_markdown_is_a_table_that_no_name_breaks():
    a, b = Tensor([1.0, 2.0], name="a|b"), Tensor([3.0, 4.0], name="c")
    text = derive(a * b, format="markdown")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
    assert "Forward" in text
    assert "Backward" in text


def equations(latex):
    """Give the right and left sides of every aligned equation."""
    body = re.findall(r"\\begin\{align\*\}(.*?)\\end\{align\*\}", latex, re.DOTALL)
    lines = [line for block in body for line in block.split("\\\\") if line.strip()]
    return [line.replace("&", " ").strip() for line in lines]


def test_latex_is_accepted_by_a_parser():
    mathtext = pytest.importorskip("matplotlib.mathtext", reason="needs matplotlib")
    parser = mathtext.MathTextParser("path")
    for name in ("x", "mu", "a_b", "{x}", "50%", "a\\b", "#1", "\t", " ", *WORDS):
        x, w = (Tensor(RNG.normal(size=(3, 2)), name=n) for n in (name, "w"))
        y = np.tanh(x * w) / np.sqrt(np.sum(w * w, axis=0) + 1e-5)
        y.name = f"{name}{name}"
        z = np.where(y > 0, np.exp(y), abs(y) ** 3) @ w.T
        out = np.mean(z[[0, 2, 2], 1:], axis=1) + np.max(z, axis=0) ** 2
        written = equations(derive(out, format="latex"))
        assert len(written) > 4
        for line in written:
            parser.parse(f"${line}$")


def test_a_forward_graph_has_no_backward_part():
    out = batchnorm()
    graph = Graph.capture(out)
    assert "dxhat" not in derive(graph)
    made = module(derive(graph, format="python"))
    assert "backward" not in made
    assert "dxhat" in derive(Graph.capture(out, wrt=leaves(out)))


def test_with_respect_to_some_inputs():
    out = batchnorm()
    x, gamma, beta = leaves(out)
    source = check_source(out, wrt=[gamma])
    assert "dgamma" in source
    assert "dxmu" not in source
    assert "return dx, dbeta" in derive(out, format="python", wrt=[beta, x])


def test_with_respect_to_what_lies_between():
    out = batchnorm()
    x, _, _ = leaves(out)
    xhat = next(t for t in reachable([out]) if t.name == "xhat")
    check_source(out, wrt=[xhat])
    check_source(out, wrt=[x, xhat])
    graph = Graph.capture(out, wrt=[xhat])
    assert "return (dxhat,)" in derive(graph, format="python")
    unnamed = x * 2
    check_source(np.tanh(unnamed) * 3, wrt=[unnamed])
    check_source(out, wrt=[])


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="markdown"):
        derive(batchnorm(), format="word")
    with pytest.raises(TypeError, match="Tensor"):
        derive(3.0)
    with pytest.raises(TypeError, match="Tensor"):
        derive([batchnorm(), 3.0])
    out = batchnorm()
    with pytest.raises(TypeError, match=r"wrt=\[x\]"):
        derive(out, wrt=out)
    with pytest.raises(ValueError, match=r"Graph\.capture"):
        derive(Graph.capture(out), wrt=[])
    with pytest.raises(ValueError, match="do not depend"):
        derive(out, wrt=[Tensor(1.0)])


def test_constants_of_one_name_stand_with_all_their_values():
    def scaled(x, eps):
        y = x / np.sqrt(np.mean(x * x) + eps)
        return y

    def twice(x):
        return scaled(scaled(x, 0.25), 0.5)

    out = trace(twice)(np.array([1.0, 2.0]))
    assert "eps = 0.25, 0.5" in derive(out).splitlines()[0]
    assert r"\varepsilon &= 0.25, 0.5" in derive(out, format="latex")


def test_a_mean_with_a_minus_is_over_the_users_n():
    def loss(x, y):
        N = x.shape[0]
        return -np.sum(x[np.arange(N), y]) / N

    out = trace(loss)(np.random.default_rng(0).normal(size=(4, 3)), np.array([0, 2, 1, 1]))
    assert "−1/N Σ x[i, y]" in derive(out)
