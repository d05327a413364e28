"""`derive`: tables, equations and source, against the engine and against each other."""

import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_graph import ANALYTIC, KINKED, execute, programs

from tinygraph import Graph, Tensor, derive, fused, ops, trace
from tinygraph.autodiff import reachable
from tinygraph.batchnorm import staged
from tinygraph.sources import SOURCES

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


def same_bits(a, b):
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def check_source(out, dout):
    """The emitted module gives what the engine gives, bit for bit."""
    inputs = leaves(out)
    for x in inputs:
        x.grad = None
    made = module(derive(out, format="python"))
    value, cache = made["forward"](*(x.data for x in inputs))
    assert same_bits(value, out.data)
    out.backward(dout)
    gradients = made["backward"](dout, cache)
    assert isinstance(gradients, tuple)
    wanted = [x.grad for x in inputs if x.grad is not None]
    assert len(gradients) >= len(wanted)
    for x, g in zip(inputs, gradients, strict=True):
        assert x.grad is None or same_bits(g, x.grad)


def test_batchnorm_as_source_is_the_staged_derivation():
    out = batchnorm()
    check_source(out, RNG.normal(size=out.shape))
    source = derive(out, format="python")
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
    out = batchnorm(shape, axis, gamma)
    check_source(out, RNG.normal(size=shape))


def test_batchnorm_as_one_node_as_source():
    x, gamma, beta = (Tensor(RNG.normal(size=s)) for s in ((6, 3), (3,), (3,)))
    out = fused.normalize(x, gamma, beta)
    check_source(out, RNG.normal(size=(6, 3)))


def test_the_source_needs_numpy_alone(tmp_path):
    source = derive(batchnorm(), format="python")
    (tmp_path / "made.py").write_text(source, encoding="utf-8")
    script = "import sys, made; print('tinygraph' in sys.modules, made.forward.__name__)"
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == ["False", "forward"]


def test_every_primitive_can_be_written():
    assert set(SOURCES) == set(ops.TABLE)


@settings(max_examples=200, deadline=None)
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
    if out.op is not None:
        check_source(out, rng.normal(size=out.shape).astype(out.dtype))


def test_names_that_are_no_identifiers_stay_apart():
    names = ["x", "h[0]", "h_0", "class", "np", "forward", "cache", "", "a-b", "a b"]
    inputs = [Tensor(RNG.normal(size=3), name=name or None) for name in names]
    out = inputs[0]
    for k, t in enumerate(inputs[1:], 2):
        out = out * k + t
    check_source(out, RNG.normal(size=3))


def test_what_is_used_twice_is_computed_once():
    x = Tensor(RNG.normal(size=4), name="x")
    shared = np.exp(x)
    source = derive(shared * np.sin(shared), format="python")
    assert source.count("np.exp(") == 1


def test_a_deep_graph_is_written_without_recursion():
    h = Tensor(RNG.normal(size=2), name="x")
    for _ in range(3000):
        h = np.tanh(h) + 0.5
    check_source(h, RNG.normal(size=2))
    assert derive(h).count("\n") < 20_000


def test_several_outputs():
    x = Tensor(RNG.normal(size=3), name="x")
    y, z = np.exp(x), x * x
    y.name, z.name = "y", "z"
    made = module(derive([y, z], format="python"))
    (values, cache) = made["forward"](x.data)[:2], made["forward"](x.data)[-1]
    assert same_bits(values[0], y.data)
    dy, dz = RNG.normal(size=(2, 3))
    (dx,) = made["backward"](dy, dz, cache)
    assert np.allclose(dx, dy * y.data + dz * 2 * x.data, rtol=0, atol=1e-15)


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
    body = re.findall(r"\\begin\{aligned\}(.*?)\\end\{aligned\}", latex, re.DOTALL)
    lines = [line for block in body for line in block.split("\\\\") if line.strip()]
    return [line.replace("&", " ").strip() for line in lines]


NASTY = ["a_b", "γ", "h[0]", "{x}", "50%", "a\\b", "x^2", "a b", "#1", "🙂", "mu", "~", "$x$"]


@pytest.mark.parametrize("names", [["x", "w"], *([name, "w"] for name in NASTY)])
def test_latex_is_accepted_by_a_parser(names):
    mathtext = pytest.importorskip("matplotlib.mathtext", reason="needs matplotlib")
    x, w = (Tensor(RNG.normal(size=(3, 2)), name=name) for name in names)
    y = np.tanh(x * w) / np.sqrt(np.sum(w * w, axis=0) + 1e-5)
    out = np.where(y > 0, np.exp(y), abs(y) ** 3) @ w.T
    written = equations(derive(out, format="latex"))
    assert len(written) > 4
    parser = mathtext.MathTextParser("path")
    for line in written:
        line = re.sub(r"\\text\{([^}]*)\}", r"\\mathrm{\1}", line).replace(r"\quad", r"\;")
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
    _, gamma, _ = leaves(out)
    source = derive(out, format="python", wrt=[gamma])
    assert "dgamma" in source
    assert "dxmu" not in source


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="markdown"):
        derive(batchnorm(), format="word")
    with pytest.raises(TypeError, match="Tensor"):
        derive(3.0)
