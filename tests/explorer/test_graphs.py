"""Whole graphs in JavaScript against Python: as they are, edited, and with paths left out."""

import base64
import json

import numpy as np
import pytest
from functions import NAMES, make
from helpers import examples, upstream
from hypothesis import given, settings
from hypothesis import strategies as st
from in_place import grown
from javascript import JavaScriptError, scripts, unpacked
from library import CALLS, arrays_of, evaluated, spelled
from programs import ANALYTIC, KINKED, execute, programs

from tinygraph import Graph, Tensor, grad, nn, trace
from tinygraph.batchnorm import normalize, staged
from tinygraph.explorer.payload import payload, written
from tinygraph.graph.evaluation import evaluate

RNG = np.random.default_rng(20261129)


@pytest.fixture(scope="module")
def js():
    with scripts() as run:
        yield run


def embedded(graph):
    """Give a payload as a page reads it, and the values of all nodes as Python computes them."""
    page = json.loads(written(payload(graph)))
    values = {int(k): bare(form) for k, form in page["values"].items() if "text" not in form}
    given = {node.index: values[node.index] for node in graph.inputs}
    return page, recomputed(graph, given)


def bare(form):
    flat = np.frombuffer(base64.b64decode(form["base64"]), form["dtype"])
    return flat.reshape(form["shape"])[()]


def recomputed(graph, inputs):
    values = dict(inputs)
    with np.errstate(all="ignore"):
        evaluate(graph.nodes, values)
    return values


def agree(found, values, tolerance, *, which=None):
    """Hold what JavaScript computed against Python, node by node; `tolerance` is of the largest."""
    for k in range(len(found)) if which is None else which:
        expected, array = np.asarray(values[k]), unpacked(found[k])
        assert array.shape == expected.shape, k
        expected = expected.astype(float)
        finite = np.isfinite(expected)
        assert np.array_equal(array[~finite], expected[~finite], equal_nan=True), k
        scale = np.max(np.abs(expected[finite]), initial=1.0)
        worst = np.max(np.abs(array[finite] - expected[finite]), initial=0.0)
        assert worst <= tolerance * scale, (k, worst / scale)


ALL = "return read(data).start.values.map(packed);"


def captured(out, seed=0):
    """Take the graph of an output, or of several, with random upstream gradients."""
    outs = [x for x in (out if isinstance(out, list | tuple) else [out]) if isinstance(x, Tensor)]
    outs = [x for x in outs if x.dtype.kind == "f"]
    rng = np.random.default_rng(seed)
    if len(outs) == 1:
        outs[0].backward(upstream(rng, outs[0]))
    return Graph.joint(outs, values=True)


# --------------------------------------------------------------------------- as they are

X, ROWS = RNG.normal(size=(6, 4)), RNG.integers(0, 4, 6)


def labelled(x, w, y):
    z = x @ w
    z = z - np.max(z, axis=1, keepdims=True)
    logp = z - np.log(np.sum(np.exp(z), axis=1, keepdims=True))
    loss = -np.mean(logp[np.arange(len(y)), y])
    return loss


def in_place(x, b):
    out = np.zeros_like(x)
    for i in range(len(x)):
        out[i] = x[i] * b
        out[i, 0] += b[i % 4]
    out -= out.mean(axis=0)
    out[1:, ::2] *= 2
    return np.where(out > 0.5, out * out, out)


def closest(x, centres):
    d = np.sum((x[:, None] - centres[None]) ** 2, axis=-1)
    k = np.argmin(d, axis=1)
    e = x - centres[k]
    return np.sum(e * e)


def mixed(x, h):
    return np.cumsum(x, axis=0) * h + np.sort(x, axis=1) / np.prod(np.abs(h) + 1)


def network():
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm(5), nn.Tanh(), nn.Linear(5, 3))
    return nn.cross_entropy(model(Tensor(X, name="x")), RNG.integers(0, 3, 6))


GRAPHS = {
    "labels": lambda: trace(labelled)(X, RNG.normal(size=(4, 4)), ROWS),
    "in place": lambda: trace(in_place)(X, RNG.normal(size=4)),
    "argmin": lambda: trace(closest)(X, RNG.normal(size=(3, 4))),
    "mixed": lambda: trace(mixed)(X, RNG.normal(size=(6, 1))),
    "network": network,
    "float32": lambda: trace(staged)(*[a.astype("f4") for a in batch()], eps=1e-5),
    "float16": lambda: trace(staged)(*[a.astype("f2") for a in batch()], eps=1e-2),
    "closed form": lambda: normalize(*map(Tensor, batch()), eps=1e-5),
    "images": lambda: trace(staged)(
        RNG.normal(size=(2, 3, 4, 4)), np.ones(3), np.zeros(3), eps=1e-5, axis=(0, 2, 3)
    ),
    "nan and inf": lambda: trace(staged)(np.where(X > 1, np.nan, X / (X > 0)), X[0], X[1]),
    "small and large": lambda: (
        Tensor(X, name="x") * 5e-324 * 1e308 + np.asfortranarray(X) * 2**60 + X.astype(">f8")
    ),
    "nothing": lambda: Tensor(np.zeros((0, 3)), name="x") * Tensor(2.0, name="w"),
}


def batch():
    return RNG.normal(5, 3, size=(8, 3)), RNG.uniform(0.5, 2, 3), RNG.normal(size=3)


TOLERANCE = {"float32": 1e-5, "float16": 2e-2}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", GRAPHS)
def test_graphs_agree_by_node(js, name):
    page, values = embedded(captured(GRAPHS[name]()))
    assert page["fixed"] == {}
    agree(js(ALL, page), values, TOLERANCE.get(name, 1e-12))


@pytest.mark.parametrize("name", NAMES)
def test_functions_of_others_agree_by_node(js, name):
    page, values = embedded(captured(make(name)))
    exact = name in ("staged", "layernorm", "groupnorm", "convolution")
    agree(js(ALL, page), values, 0.0 if exact else 1e-13)


@settings(max_examples=examples(60), deadline=None)
@given(programs(ANALYTIC | KINKED))
def test_random_graphs_agree_by_node(js, program):
    shapes, _, seed = program
    rng = np.random.default_rng(seed)
    leaves = [Tensor(rng.normal(size=s), name=f"x{k}") for k, s in enumerate(shapes)]
    out = execute(program, leaves, ANALYTIC | KINKED)
    page, values = embedded(captured(out, seed))
    single = any(np.asarray(v).dtype == np.float32 for v in values.values())
    agree(js(ALL, page), values, 1e-5 if single else 1e-11)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@settings(max_examples=examples(25), deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_programs_that_write_in_place_agree_by_node(js, seed):
    program = grown(seed)
    try:
        outs = trace(program.function())(*map(Tensor, program.args))
    except (TypeError, ValueError):  # which says what cannot be recorded
        return
    outs = [x for x in outs if isinstance(x, Tensor) and x.op is not None]
    if outs:
        page, values = embedded(Graph.joint(outs, values=True))
        agree(js(ALL, page), values, 1e-11)


@pytest.mark.slow
def test_numpys_functions_agree_by_node(js):
    """All that the library knows, with the gradients."""
    for call in spelled(CALLS):
        operands = {name: Tensor(x, name=name) for name, x in arrays_of(call).items()}
        outs = [x for x in evaluated(call, operands) if isinstance(x, Tensor) and x.op is not None]
        if outs:
            page, values = embedded(Graph.joint(outs, values=True))
            agree(js(ALL, page), values, 1e-11)


@pytest.mark.parametrize(
    "change",
    [
        "WHOLE.sum = (node, x) => reduced(node, x, 0, (a, b) => b + a * (1 + 2 ** -52));",
        "ENTRYWISE.square = (x) => x * x * (1 + 2 ** -52);",
        "ROUNDINGS.f8 = (x) => x * (1 + 2 ** -52);",
    ],
)
def test_a_wrong_bit_anywhere_is_noticed(js, change):
    page, values = embedded(captured(make("staged")))
    agree(js(ALL, page), values, 0.0)
    with pytest.raises(AssertionError):
        agree(js(change + ALL, page), values, 0.0)


# --------------------------------------------------------------------------- edited

EDITED = """
const graph = read(data.page);
let run = graph.start;
const given = new Map();
return data.edits.map(({ index, place, number }) => {
  given.set(index, edited(given.get(index) ?? graph.leaves.get(index), place, number));
  const next = compute(graph, { given, before: run });
  const afresh = compute(graph, { given, before: null });
  const changed = [...next.values.keys()].filter((k) => next.values[k] !== run.values[k]);
  const wrong = changed.filter((k) => !isSame(next.values[k], afresh.values[k]));
  run = next;
  return { changed, wrong, values: changed.map((k) => packed(next.values[k])) };
});
"""


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    "make_out",
    [
        lambda: trace(staged)(*batch(), eps=1e-5),
        pytest.param(GRAPHS["in place"], marks=pytest.mark.slow),
        pytest.param(lambda: make("gru_step"), marks=pytest.mark.slow),
        pytest.param(GRAPHS["network"], marks=pytest.mark.slow),
        GRAPHS["labels"],
    ],
    ids=["batchnorm", "in place", "gru", "network", "labels"],
)
def test_twenty_edits_of_each_input_are_as_a_fresh_run(js, make_out):
    graph = captured(make_out())
    page, values = embedded(graph)
    given = {node.index: np.array(values[node.index]) for node in graph.inputs}
    rng = np.random.default_rng(5)
    edits = [
        {"index": node.index, "place": int(rng.integers(given[node.index].size)),
         "number": float(rng.normal() * 2) if node.dtype.kind == "f" else int(rng.integers(3))}
        for node in graph.inputs if given[node.index].size and node.dtype.kind != "b"
        for _ in range(20)
    ]  # fmt: skip
    for edit, answer in zip(edits, js(EDITED, {"page": page, "edits": edits}), strict=True):
        given[edit["index"]].flat[edit["place"]] = edit["number"]
        before, values = values, recomputed(graph, given | {})
        values = {k: np.array(x) for k, x in values.items()}
        assert answer["wrong"] == []
        found = dict(zip(answer["changed"], answer["values"], strict=True))
        agree(found, values, 1e-11, which=found)
        for k in values.keys() - found.keys():  # is as it was, to the bit or nearly
            assert np.allclose(values[k], before[k], rtol=1e-12, atol=1e-12, equal_nan=True)


def test_what_an_edit_does_not_reach_is_the_same_object(js):
    page, _ = embedded(captured(make("staged")))
    beta = next(n["index"] for n in page["graph"]["nodes"] if n["name"] == "beta")
    edits = [{"index": beta, "place": 0, "number": 9.0}]
    (answer,) = js(EDITED, {"page": page, "edits": edits})
    assert [page["graph"]["nodes"][k]["name"] for k in answer["changed"]] == ["beta", "out"]


# --------------------------------------------------------------------------- paths left out

CUT = """
const graph = read(data.page);
return data.cuts.map((names) => {
  const cut = new Set(names.map((name) => graph.gradients.findIndex((g) => g.name === name)));
  const run = compute(graph, { cut });
  return Object.fromEntries(graph.gradients.map((g) => [g.name, packed(run.values[g.node])]));
});
"""


def left_out(js, out, cuts):
    page, values = embedded(captured(out))
    found = js(CUT, {"page": page, "cuts": cuts})
    return [{name: unpacked(x) for name, x in one.items()} for one in found], page, values


def test_a_path_of_x_plus_x_is_left_out_by_its_term(js):
    """Both parts are one node."""
    out = Tensor(X, name="x")
    out = out + out
    ((one, both), _, values) = left_out(js, out, [["dx1"], ["dx1", "dx2"]])
    dout = values[next(iter(captured(out).inputs[1:])).index]
    assert np.array_equal(one["dx"], dout)
    assert not both["dx"].any()
    assert np.array_equal(both["dout"], dout)


def test_a_path_of_x_times_x_and_of_three(js):
    x = Tensor(X, name="x")
    graph = captured(x * x + np.sin(x))
    dout = next(np.asarray(graph.values[n.index][0]) for n in graph.inputs if n.role == "upstream")
    page, _ = embedded(graph)
    parts = {"dx1": dout * np.cos(X), "dx2": dout * X, "dx3": dout * X}
    cuts = [[name] for name in parts] + [["dx1", "dx3"], ["dx2", "dx3"], [*parts], []]
    for cut, found in zip(cuts, js(CUT, {"page": page, "cuts": cuts}), strict=True):
        kept = [part for name, part in parts.items() if name not in cut]
        expected = sum(kept, np.zeros_like(X))
        assert np.allclose(unpacked(found["dx"]), expected, rtol=1e-14, atol=1e-15)


def test_paths_of_batchnorm(js):
    """Against the staged backward pass, written out, without the term."""
    x, gamma, beta = batch()
    out = trace(staged)(x, gamma, beta, eps=1e-5)
    cuts = [["dx1"], ["dx2"], ["dxmu1"], ["dxmu2"], ["dxmu1", "dx2"]]
    found, page, values = left_out(js, out, cuts)
    dout = next(values[k] for k, n in enumerate(page["graph"]["nodes"]) if n["role"] == "upstream")
    n = len(x)
    xmu = x - x.mean(0)
    ivar = 1 / np.sqrt((xmu**2).mean(0) + 1e-5)
    dxmu1 = dout * gamma * ivar
    dvar = -0.5 * ivar**3 * (dout * gamma * xmu).sum(0)
    dxmu2 = 2 * xmu * dvar / n
    for cut, got in zip(cuts, found, strict=True):
        dxmu = dxmu1 * ("dxmu1" not in cut) + dxmu2 * ("dxmu2" not in cut)
        dx = dxmu * ("dx1" not in cut) - dxmu.sum(0) / n * ("dx2" not in cut)
        assert np.allclose(got["dx"], dx, rtol=1e-12, atol=1e-13), cut
        assert np.array_equal(got["dgamma"], values[page_node(page, "dgamma")]), cut


def page_node(page, name):
    return next(g["node"] for g in page["graph"]["gradients"] if g["name"] == name)


def test_one_path_is_followed_alone(js):
    page, _ = embedded(captured(make("staged")))
    alone = js(
        """
        const graph = read(data);
        const find = (name) => graph.gradients.findIndex((g) => g.name === name);
        const names = (list) => list.map((k) => graph.gradients[k].name);
        const run = compute(graph, { cut: new Set(others(graph, find("dx2"))) });
        const of = (name) => graph.gradients[find(name)].node;
        return {
          same: isSame(run.values[of("dx")], run.values[of("dx2")]),
          others: names(others(graph, find("dx2"))),
          paths: [...paths(graph).values()].map(names),
        };
        """,
        page,
    )
    assert alone == {"same": True, "others": ["dx1"], "paths": [["dxmu1", "dxmu2"], ["dx1", "dx2"]]}


@settings(max_examples=examples(30), deadline=None)
@given(programs(ANALYTIC), st.integers(0, 2**32 - 1))
def test_the_parts_of_a_gradient_add_up(js, program, seed):
    """What is off without a path is that path, for each sum of a random graph."""
    shapes, _, number = program
    rng = np.random.default_rng(number)
    leaves = [Tensor(rng.normal(size=s), name=f"x{k}") for k, s in enumerate(shapes)]
    page, _ = embedded(captured(execute(program, leaves, ANALYTIC), seed % 1000))
    found = js(
        """
        const graph = read(data);
        return [...paths(graph)].flatMap(([of, terms]) => {
          const total = graph.gradients.find((g) => g.of === of && g.kind === "sum").node;
          return terms.map((k) => ({
            total: packed(graph.start.values[total]),
            part: packed(graph.start.values[graph.gradients[k].node]),
            without: packed(compute(graph, { cut: new Set([k]) }).values[total]),
          }));
        });
        """,
        page,
    )
    for one in found:
        total, part, without = (unpacked(one[key]) for key in ("total", "part", "without"))
        scale = 1 + np.max(np.abs([total, part, without]), initial=0)
        assert np.max(np.abs(total - part - without), initial=0) <= 1e-13 * scale


# --------------------------------------------------------------------------- not computed


def test_what_reaches_a_row_without_a_function_is_locked(js):
    a, b = Tensor(np.eye(2) + 0.5, name="a"), Tensor([1.0, 2.0], name="b")
    values, vectors = np.linalg.eigh(a @ a.T)
    page, expected = embedded(captured((vectors * values * b).sum(0)))
    node_of = {n["name"]: n["index"] for n in page["graph"]["nodes"] if n["name"]}
    assert [*page["locked"]] == [str(node_of["a"])]
    assert page["locked"][str(node_of["a"])].startswith("eigenv")
    agree(js(ALL, page), expected, 1e-13)
    edit = """
      const graph = read(data.page);
      const x = edited(graph.leaves.get(data.index), 0, 3);
      compute(graph, { given: new Map([[data.index, x]]) });
    """
    js(edit, {"page": page, "index": node_of["b"]})
    with pytest.raises(JavaScriptError, match=r"Unfit: eigenv.* is computed by NumPy"):
        js(edit, {"page": page, "index": node_of["a"]})


def test_a_mask_that_picks_others_is_refused(js):
    """As Python does: how many entries a mask picks is a shape."""

    def f(x):
        y = x * 2
        y[y > 1] *= 3
        return y

    graph = captured(trace(f)(np.array([1.0, 0.1, 3.0])))
    page, _ = embedded(graph)
    edit = """
      const graph = read(data);
      compute(graph, { given: new Map([[0, edited(graph.leaves.get(0), 1, 4)]]) });
    """
    with pytest.raises(JavaScriptError, match=r"Unfit: step \d: .*a mask picks other entries"):
        js(edit, page)
    with pytest.raises(ValueError, match="picks other entries"):
        graph.run(**{"x": [1.0, 4.0, 3.0], graph.inputs[-1].name: [1.0, 2.0, 3.0]})


def branching(x):
    return x * 2 if np.sum(x) > 0 else x


def picking(x):
    k = np.argmax(x)
    return x[k] * (int(k) + 1)


@pytest.mark.parametrize(
    ("f", "numbers", "expected"),
    [
        (branching, [1.0, 5.0], [[], ["the traced code read x, which was another"]]),
        (picking, [1.0, 2.5, 9.0], [[], [], ["k was used as a plain number, and was 1"]]),
    ],
    ids=["branch", "number"],
)
def test_a_premise_that_fails_is_told(js, f, numbers, expected):
    page, _ = embedded(captured(trace(f)(np.array([1.0, 3.0]))))
    asked = """
      const graph = read(data.page);
      return data.numbers.map((number) => {
        const given = new Map([[0, edited(graph.leaves.get(0), 0, number)]]);
        return broken(graph, compute(graph, { given })).map((one) => one.text);
      });
    """
    assert js(asked, {"page": page, "numbers": numbers}) == expected


def test_gradients_are_those_of_the_engine(js):
    """Of the graph that is embedded, with the upstream gradient that it says."""
    x, gamma, beta = (
        Tensor(a, name=n) for a, n in zip(batch(), ("x", "gamma", "beta"), strict=True)
    )
    out = staged(x, gamma, beta)
    page, values = embedded(Graph.joint(out, values=True))
    assert [page["graph"]["nodes"][k]["role"] for k in page["drawn"]] == ["upstream"]
    dout = values[page["drawn"][0]]
    found = js(CUT, {"page": page, "cuts": [[]]})[0]
    for name, g in zip(("dx", "dgamma", "dbeta"), grad(out, [x, gamma, beta], dout), strict=True):
        assert np.array_equal(unpacked(found[name]), g)
