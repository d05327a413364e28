"""Values by name and by index; the graph as JSON and back, equal in every field and every bit."""

import dataclasses
import json
import math
import re
from fractions import Fraction

import numpy as np
import pytest
from helpers import examples, same_bits, upstream
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import ANALYTIC, KINKED, execute, programs

from tinygraph import Graph, Tensor, derive, draw, ops
from tinygraph.engine.lengths import Formula
from tinygraph.graph.interchange import VERSION, decoded, encoded

RNG = np.random.default_rng(13)


def same(a, b):
    """Whether two graphs are equal: every field of every part, in every bit; nodes by position."""
    if type(a) is not type(b):
        return False
    if isinstance(a, Graph):
        return all(same(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
    if dataclasses.is_dataclass(a):
        pairs = [(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a)]
        return all(same(reference(x), reference(y)) for x, y in pairs)
    if isinstance(a, Formula):
        return same((a.op, a.args), (b.op, b.args))
    if isinstance(a, slice):
        return same((a.start, a.stop, a.step), (b.start, b.stop, b.step))
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(same, a, b))
    if hasattr(a, "items"):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, np.ndarray | np.generic):
        order = not a.flags.forc or (a.flags.c_contiguous, a.flags.f_contiguous) == (
            b.flags.c_contiguous,
            b.flags.f_contiguous,
        )
        return same_bits(a, b) and order and not b.flags.writeable
    if isinstance(a, float | complex):
        return same_bits(a, b)
    return a is b if callable(a) else a == b


def reference(x):
    """Give what stands for a node inside another part of the graph: its position."""
    if isinstance(x, tuple):
        return tuple(map(reference, x))
    return ("node", x.index) if hasattr(x, "role") else x


def again(graph):
    return Graph.from_json(graph.to_json())


def tensor(name, *shape, dtype=float):
    return Tensor(RNG.normal(size=shape).astype(dtype), name=name)


# --- values -------------------------------------------------------------------------------------


def test_values_of_both_passes_by_name_and_by_index():
    x, w = tensor("x", 4, 3), tensor("w", 3)
    h = np.tanh(x * w)
    h.name = "h"
    out = h * h + x
    dout = upstream(RNG, out)
    out.backward(dout)
    graph = Graph.joint(out, values=True)
    ran = graph.run(x=x.data, w=w.data, dout=dout)
    assert {"x", "w", "h", "out", "dout", "dh1", "dh2", "dh", "dx1", "dx2", "dx", "dw"} <= set(ran)
    for name, value in ran.items():
        assert same_bits(graph.value(name), value)
    for g in graph.gradients:
        assert same_bits(graph.grad(g.name), ran[g.name])
        assert same_bits(graph.value(g.node.index), ran[g.name])
    for node in (x, w, h):
        assert same_bits(graph.grad(graph[node.name].index), node.grad)
    assert all(graph.value(node.index) is not None for node in graph.nodes)
    with pytest.raises(ValueError, match="read-only"):
        graph.grad("dx")[0] = 1


def test_the_values_of_an_unnamed_gradient_and_of_a_constant_by_index():
    x = tensor("x", 3)
    graph = Graph.joint(np.exp(x * 3.0).sum(), values=True)
    product = next(n for n in graph.nodes if n.op is ops.mul and n.role == "forward")
    assert same_bits(graph.grad(product.index), np.exp(x.data * 3))
    assert graph.value(product.inputs[1].index) == 3


@pytest.mark.parametrize("dtype", [float, np.float32, np.longdouble, complex])
def test_a_scalar_is_differentiated_as_it_is(dtype):
    x = tensor("x", 3, dtype=dtype)
    graph = Graph.joint((x * x).sum(), values=True)
    assert same_bits(graph.grad("dx"), 2 * x.data)


def test_what_has_no_upstream_gradient_has_no_gradients():
    x = tensor("x", 3)
    graph = Graph.joint(x * x, values=True)
    assert same_bits(graph.value("out"), x.data * x.data)
    for ask in (graph.grad, graph.value):
        with pytest.raises(ValueError, match=r"'?dx'? has no value, .* had no upstream gradient"):
            ask("dx")


def test_an_output_that_is_used_again_holds_a_sum_and_no_upstream_gradient():
    x = tensor("x", 3)
    a = x * x
    b = np.exp(a)
    b.backward(upstream(RNG, b))
    graph = Graph.joint([a, b], values=True)
    with pytest.raises(ValueError, match="no upstream gradient of its own"):
        graph.grad("dx")


def test_what_is_not_there_is_named():
    x = tensor("x", 3)
    plain, valued = Graph.capture(x * x), Graph.joint((x * x).sum(), values=True)
    with pytest.raises(ValueError, match="holds no values; take it with values=True"):
        plain.value("out")
    with pytest.raises(KeyError, match="no gradient 'dx'; the gradients are none, without a backw"):
        plain.grad("dx")
    with pytest.raises(KeyError, match="no gradient 'dw'; the gradients are dout, "):
        valued.grad("dw")
    with pytest.raises(KeyError, match="no node is called 'w'"):
        valued.value("w")
    for index in (-1, 1000):
        with pytest.raises(IndexError, match=f"no node {index}; the graph has"):
            valued.value(index)


# --- JSON ---------------------------------------------------------------------------------------

CONSTANTS = [
    *(0.1, -0.0, 0.0, 5e-324, 1e300, math.nan, -math.nan, math.inf, -math.inf, 3, -7, True),
    *(10**20, -(2**53), 1j, complex(-0.0, math.nan), complex(math.inf, -1)),
    *(np.float32(0.1), np.float16(-0.0), np.longdouble(1) / 3, np.complex64(1 - 2j)),
    *(np.int8(-3), np.bool(True), np.longdouble("-nan"), np.clongdouble(1) / 3),
    RNG.normal(size=3),
    RNG.normal(size=(2, 3)).astype(np.float32),
    np.asfortranarray(RNG.normal(size=(2, 3))),
    RNG.normal(size=(3, 2, 2)).transpose(1, 2, 0),
    RNG.normal(size=3).astype(">f4"),
    np.array([math.nan, -0.0, math.inf]),
    np.array([1, 2, 3], dtype=np.uint8),
    np.array([True, False, True]),
    np.array([1, 2, 3], dtype=np.longdouble) / 3,
    np.array([1, 2, 3], dtype=np.clongdouble) / 3j,
    np.zeros((0, 1, 1)),
]


@pytest.mark.parametrize("constant", CONSTANTS, ids=repr)
def test_constants_survive(constant):
    x = tensor("x", 2, 3)
    with np.errstate(invalid="ignore"):  # (inf − 1j) · x
        y = x * constant
        graph = Graph.capture(y, values=True)
        twin = again(graph)
        assert same(graph, twin)
        assert same_bits(twin.run(x=x.data)["out"], y.data)


KEYS = [
    *(0, np.int64(1), slice(None), slice(1, None, 2), slice(None, None, -1), None, ..., ()),
    (slice(None), None, 1),
    (..., 0),
    [1, 0, 1],
    np.array([[0, 1], [1, 1]]),
    (np.array([1, 0]), slice(None, 2)),
    RNG.normal(size=(2, 3)) > 0,
    (slice(np.int64(0), np.int32(1)), np.array([], dtype=int)),
]


@pytest.mark.parametrize("key", KEYS, ids=repr)
def test_keys_survive(key):
    x = tensor("x", 2, 3)
    y = x[key]
    graph = Graph.joint(y)
    twin = again(graph)
    assert same(graph, twin)
    g = upstream(RNG, y)
    assert same_bits(twin.run(x=x.data, dout=g)["dx"], graph.run(x=x.data, dout=g)["dx"])


def test_fractions_survive_however_long():
    x = Tensor(np.array([Fraction(-1, 3), Fraction(10**5000 + 1, 7)]), name="x")
    out = np.mean(x * x) * Fraction(22, 7)
    out.backward(Fraction(3, 5))
    graph = Graph.joint(out, values=True)
    twin = again(graph)
    assert same(graph, twin)
    assert twin.grad("dx").tolist() == x.grad.tolist()


def test_the_pictures_and_texts_of_what_was_read_are_the_same():
    x = Tensor(RNG.normal(size=(4, 3)), name='x"<é\ud800')
    h = np.maximum(x, 0.25) ** 1.5
    h.name = "h"
    out = h.reshape(2, 6).T[1:, ::-1].astype(np.float32).sum()
    out.backward(RNG.normal())
    graph = Graph.joint(out, values=True)
    twin = again(graph)
    assert same(graph, twin)
    x.name = "x"
    graph = Graph.joint(out, values=True)
    twin = again(graph)
    for options in ({}, {"values": True}, {"view": "joint", "detail": "primitives"}):
        assert draw(twin, **options).source == draw(graph, **options).source
    assert derive(twin, format="python") == derive(graph, format="python")


@settings(max_examples=examples(500), deadline=None)
@given(
    programs(ANALYTIC | KINKED),
    st.sampled_from([np.float64, np.float32, np.longdouble]),
    st.booleans(),
    st.booleans(),
)
def test_random_graphs_survive(program, dtype, is_joint, values):
    shapes, _, seed = program
    rng = np.random.default_rng(seed)
    leaves = [
        Tensor(rng.normal(size=s).astype(dtype), name=n)
        for n, s in zip(("x", "w", "b"), shapes, strict=False)
    ]

    def after(value, k, is_named):
        if is_named and value.name is None:
            value.name = "v" + "abcdefghijk"[k]

    out = execute(program, leaves, ANALYTIC | KINKED, after)
    g = upstream(rng, out)
    out.backward(g)
    graph = (Graph.joint if is_joint else Graph.capture)(out, values=values)
    text = graph.to_json()
    twin = Graph.from_json(text)
    assert same(graph, twin)
    assert twin.to_json() == text
    arguments = {n.name: rng.normal(size=n.shape) for n in graph.inputs}
    a, b = graph.run(**arguments), twin.run(**arguments)
    assert list(a) == list(b)
    assert all(same_bits(a[name], b[name]) for name in a)


def test_the_text_is_strict_json_and_the_same_at_every_run():
    x = tensor("x", 3)
    graph = Graph.joint(x * math.nan + np.array([math.inf, 0, 1]), values=True)
    text = graph.to_json()
    assert text == graph.to_json()
    document = json.loads(text, parse_constant=pytest.fail)
    assert document["version"] == VERSION
    assert [row["index"] for row in document["nodes"]] == list(range(len(graph.nodes)))
    assert text.count("\n  {") == len(graph.nodes) + len(graph.all_gradients) + len(graph.steps)


def test_graphs_that_differ_are_not_the_same():
    def graph(constant, name="x", values=False):
        return Graph.capture(Tensor([1.0, 2.0], name=name) * constant, values=values)

    assert same(graph(2.0), graph(2.0))
    for other in (graph(2.5), graph(2.0, "y"), graph(np.float64(2)), graph(2.0, values=True)):
        assert not same(graph(2.0), other)
        assert not same(again(graph(2.0)), again(other))
    assert not same(graph(0.0), graph(-0.0))


# --- what is refused ----------------------------------------------------------------------------


@pytest.fixture
def text():
    x = tensor("x", 3)
    return Graph.joint(x[np.array([0, 2])] * Fraction(1, 2), values=True).to_json()


@pytest.mark.parametrize("version", [VERSION + 1, 99, 0, -1, "1", None, True, 1.0])
def test_other_versions_are_refused_by_number(text, version):
    document = json.loads(text)
    document["version"] = version
    pattern = rf"version {version!r} of the format; this tinygraph reads up to version {VERSION}"
    with pytest.raises(ValueError, match=pattern):
        Graph.from_json(json.dumps(document))


def test_unknown_primitives_are_named(text):
    document = json.loads(text)
    document["nodes"][1]["op"] = "cbrt"
    document["nodes"][-1]["op"] = "whirl"
    document["homes"] = {"cbrt": "roots.real"}
    with pytest.raises(ValueError, match=r"'cbrt' \(defined in roots\.real\), 'whirl', which the"):
        Graph.from_json(json.dumps(document))


@pytest.mark.parametrize(
    "wrong", ["", "{", "[]", "null", "3", '{"tinygraph": "digest"}', '{"a": NaN}', "[" * 10**5]
)
def test_what_is_no_graph_is_refused(wrong):
    with pytest.raises(ValueError, match="from_json: the text is no "):
        Graph.from_json(wrong)


def mutilated(document, rng):
    """Change one place anywhere in a document."""
    holder, key = document, None
    while isinstance(holder, dict | list) and holder:
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        parent, key = holder, keys[rng.integers(len(keys))]
        holder = parent[key]
        if rng.random() < 0.2:
            break
    if rng.random() < 0.3:
        del parent[key]
    else:
        wrong = [None, -1, 10**6, "?", [], {}, {"fraction": "1/0"}, {"array": {}}, [[]], 0.5]
        parent[key] = wrong[rng.integers(len(wrong))]


@pytest.mark.parametrize("seed", range(300))
def test_a_damaged_text_is_refused_or_read(text, seed):
    """Never anything but a ValueError; what is read can be written again."""
    document = json.loads(text)
    mutilated(document, np.random.default_rng(seed))
    try:
        graph = Graph.from_json(json.dumps(document))
    except ValueError as error:
        assert str(error).startswith("from_json: ")  # noqa: PT017 - it need not be raised
    else:
        assert type(graph.to_json()) is str


def test_what_cannot_be_written_is_named():
    mark = ops.Primitive("mark", "!", lambda x, how: x * 1, lambda g, out, x, how: g)
    try:
        x = tensor("x", 3)
        fine = Graph.capture(mark(x, how=["a", 1.5, None]))
        assert same(fine, again(fine))
        with pytest.raises(TypeError, match=r"to_json: node 1 \(mark\): a object cannot be writte"):
            Graph.capture(mark(x, how=object())).to_json()
        homeless = fine.to_json()
    finally:
        del ops.TABLE["mark"]
    with pytest.raises(ValueError, match=r"'mark' \(defined in "):
        Graph.from_json(homeless)


@pytest.mark.parametrize("value", [[1, [2.5, "a"]], (), {"a"}, b"bytes"], ids=repr)
def test_forms(value):
    if isinstance(value, set | bytes):
        with pytest.raises(TypeError, match="cannot be written as JSON"):
            encoded(value)
    else:
        assert decoded(json.loads(json.dumps(encoded(value)))) == value


def test_a_deep_graph_is_written_without_recursion():
    h = Tensor(0.5, name="x")
    for _ in range(5_000):
        h = h * 0.9999
    graph = Graph.capture(h)
    assert derive(again(graph)) == derive(graph)


@pytest.mark.parametrize(
    ("formula", "said"),
    [
        (3, "a premise is about 3, and no formula"),
        (None, "a premise is about None"),
        ({"formula": ["?", 1, 2]}, "a formula has the operation '?'"),
        ({"formula": ["length", 0]}, "a formula reads the length of"),
        ({"formula": ["length", -1, 0]}, "a formula reads the length of"),
        ({"formula": ["length", "x", 0]}, "a formula reads the length of"),
        ({"formula": ["value", 0, 1]}, "a formula reads the value of"),
        ({"formula": [">", {"formula": ["value", 0.5]}, 1]}, "a formula reads the value of"),
    ],
)
def test_premises_that_are_none_are_refused_where_they_are_read(formula, said):
    document = json.loads(Graph.capture(Tensor([1.0, 2.0], name="x") * 2).to_json())
    assert Graph.from_json(json.dumps(document | {"premises": [[{"formula": ["value", 0]}, 1]]}))
    document["premises"] = [[formula, True]]
    with pytest.raises(ValueError, match=re.escape(said)):
        Graph.from_json(json.dumps(document))
