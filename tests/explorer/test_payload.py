"""What a page embeds, and how one entry is written out with the numbers that it is computed of."""

import json
import re
from fractions import Fraction

import numpy as np
import pytest
from functions import NAMES, make
from helpers import examples, upstream
from hypothesis import given, settings
from javascript import scripts
from library import CALLS, arrays_of, spelled
from library import evaluated as results_of
from programs import ANALYTIC, KINKED, execute, programs

from tinygraph import Graph, Tensor, ops, trace
from tinygraph.batchnorm import staged
from tinygraph.explorer.payload import MOST, needed, payload, written

RNG = np.random.default_rng(20261129)


@pytest.fixture(scope="module")
def js():
    with scripts() as run:
        yield run


def captured(out):
    """Take the graph of an output, with a random upstream gradient."""
    out.backward(upstream(np.random.default_rng(2), out))
    return Graph.joint(out, values=True)


def lines_of(page):
    return [line for stop in (*page["forward"], *page["backward"]) for line in stop["lines"]]


# --------------------------------------------------------------------------- written out

WRITTEN_OUT = """
const graph = read(data);
const text = (v) => String(v).replace(/-/g, "−");
const lines = [...graph.forward, ...graph.backward].flatMap((stop) => stop.lines);
return lines.map(({ name, node }) => {
  const n = size(graph.nodes[node].shape);
  return [...Array(n).keys()].map((entry) =>
    plugged(graph, graph.start, node, entry, text, name).map(textOf).join(""));
});
"""

SIGNS = {"−": "-", "·": "*", "²": "**2", "^": "**", "σ": "sigma", "Infinity": "inf", "NaN": "nan"}


def evaluated(text):
    """Evaluate what is written as Python."""
    for sign, python in SIGNS.items():
        text = text.replace(sign, python)
    text = re.sub(r"√([\d.]+(?:e[+-]?\d+)?)", r"√(\1)", text).replace("√", "sqrt")
    names = {name: getattr(np, name) for name in re.findall(r"[a-z]\w+", text) if hasattr(np, name)}
    names |= {"max": max, "sigma": lambda z: 1 / (1 + np.exp(-z)), "sqrt": np.sqrt}
    names["floordiv"] = np.floor_divide
    return eval(text, names)


def hold_written_out(js, graph, change=""):
    """Hold that each entry of each line, written out, has the value of the entry."""
    page = json.loads(written(payload(graph)))
    held = 0
    for line, texts in zip(lines_of(page), js(change + WRITTEN_OUT, page), strict=True):
        value = np.asarray(graph.value(line["node"])).ravel()
        for text, expected in zip(texts, value, strict=True):
            assert "undefined" not in text
            if "…" not in text and "⁽" not in text:  # of many terms, and derivatives of sinc
                assert evaluated(text) == pytest.approx(expected, rel=1e-7, abs=1e-9), (line, text)
                held += 1
    return held


SMALL = {
    "staged": [(3, 2), (2,), (2,)],
    "layernorm": [(2, 3), (3,), (3,)],
    "softmax_cross_entropy": [(2, 2), (2, 3), (3,), (2, 3)],
    "gru_step": [(2, 2), (2, 3), *[(2, 3)] * 3, *[(3, 3)] * 3],
    "attention": [(3, 2), (2, 2), (2, 2), (2, 2)],
    "vae_loss": [(2, 2), (2, 3), (3,), (3, 1), (3, 1), (1, 2), (2,), (2, 1)],
    "residual": [(2, 2), (2, 3), (3,), (3, 2), (2,)],
}


def traced(name):
    f = staged if name == "staged" else NAMES[name]
    options = {"eps": 1e-5} if name in ("staged", "layernorm") else {}
    return trace(f)(*(RNG.uniform(0.1, 0.9, size=s) for s in SMALL[name]), **options)


@pytest.mark.parametrize("name", SMALL)
def test_what_is_written_out_has_the_value_of_the_entry(js, name):
    assert hold_written_out(js, captured(traced(name))) > 10


@pytest.mark.parametrize(
    "change",
    [
        'SIGNS.sub[3] = " + ";',
        "SIGNS.mul[1] = [SUM, SUM];",
        "SIGNS.square[1] = [SUM];",
        "const to = targets; targets = (shape, axes) => to(shape, axes).toReversed();",
        "met = () => 0;",
    ],
)
def test_what_is_written_wrong_is_noticed(js, change):
    graph = captured(traced("staged"))
    hold_written_out(js, graph)
    with pytest.raises(AssertionError):
        hold_written_out(js, graph, change)


def places(x, b):
    out = np.zeros_like(x)
    out[0] = x[1] * b
    out[1:, ::2] = x[:1, ::2] ** 3
    out[:, 1] += b[0]
    y = np.concatenate([out, x[:, ::-1]])
    return np.where(y > 0.5, y.T.T, np.maximum(y, 0.2))


def test_entries_that_move_are_found_where_they_come_from(js):
    out = trace(places)(RNG.normal(size=(2, 3)), RNG.normal(size=3))
    assert hold_written_out(js, captured(out)) > 10


IN_DOUBLES = {name: f for name, f in (ANALYTIC | KINKED).items() if name != "cast"}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@settings(max_examples=examples(40), deadline=None)
@given(programs(IN_DOUBLES))
def test_random_graphs_written_out(js, program):
    shapes, _, seed = program
    rng = np.random.default_rng(seed)
    leaves = [Tensor(rng.normal(size=s), name=f"x{k}") for k, s in enumerate(shapes)]
    hold_written_out(js, captured(execute(program, leaves, IN_DOUBLES)))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_numpys_functions_written_out(js):
    """All that the library knows, with the gradients."""
    held = 0
    for call in spelled(CALLS):
        operands = {name: Tensor(x, name=name) for name, x in arrays_of(call).items()}
        outs = [x for x in results_of(call, operands) if isinstance(x, Tensor) and x.op is not None]
        for out in outs[:1]:
            held += hold_written_out(js, captured(out))
    assert held > 10_000


def test_an_entry_says_where_its_numbers_are_from(js):
    page = json.loads(written(payload(captured(traced("staged")))))
    parts = js(
        """
        const graph = read(data);
        const { node } = graph.gradients.find((g) => g.name === "divar");
        return plugged(graph, graph.start, node, 1, (v) => v.toFixed(2), "divar");
        """,
        page,
    )
    names = {n["index"]: n["name"] for n in page["graph"]["nodes"]}
    found = [(names[p["node"]], p["entry"]) for p in parts if isinstance(p, dict)]
    assert found == [(name, 2 * k + 1) for k in range(3) for name in ("dxhat", "xmu")]
    texts = [part if isinstance(part, str) else "#" for part in parts]
    assert re.fullmatch(
        r"# · \\(?#\\)?( [+−] # · \\(?#\\)?){2}".replace("\\\\", "\\"), "".join(texts)
    )


def test_what_is_left_out_is_not_written(js):
    x = Tensor(RNG.normal(size=2), name="x")
    page = json.loads(written(payload(captured(x * x + np.sin(x)))))
    counts = js(
        """
        const graph = read(data);
        const { of, node } = graph.gradients.find((g) => g.kind === "sum");
        const numbers = (cut) => {
          const run = compute(graph, { cut: new Set(cut) });
          return plugged(graph, run, node, 0, String).map(textOf).join("");
        };
        const terms = paths(graph).get(of);
        return [[], terms.slice(1), terms].map(numbers);
        """,
        page,
    )
    assert len(re.findall(r"\d\.\d", counts[0])) == 3
    assert len(re.findall(r"\d\.\d", counts[1])) == 1
    assert counts[2] == "0"


# --------------------------------------------------------------------------- lines


@pytest.mark.parametrize("name", ["staged", "gru_step", "attention", "softmax_cross_entropy"])
def test_lines_compute_and_read_what_they_say(name):
    """Each line computes its node from what it reads, and every node is computed by a line."""
    graph = captured(make(name))
    page = payload(graph)
    lines = lines_of(page)
    known = {node.index for node in graph.nodes if node.op is None}
    for line in lines:
        computes, needed = set(line["computes"]), set()
        for k in computes:
            needed |= {x.index for x in graph.nodes[k].inputs}
        assert needed <= computes | known, line["text"]
        known |= computes
        assert line["node"] in known
        assert set(line["reads"]) <= known, line["text"]
    left_out = {n.index for n in graph.nodes} - known
    assert not left_out or page["notes"]


def test_stops_are_those_of_the_staged_derivation():
    page = payload(captured(make("staged")))
    forward = [(stop["step"], [line["name"] for line in stop["lines"]]) for stop in page["forward"]]
    backward = [
        (stop["step"], [line["name"] for line in stop["lines"]]) for stop in page["backward"]
    ]
    names = ["mu", "xmu", "sq", "var", "sqrtvar", "ivar", "xhat", "gammax", "out"]
    assert forward == [(k + 1, [name]) for k, name in enumerate(names)]
    assert backward == [
        (9, ["dout", "dgammax", "dbeta"]), (8, ["dgamma", "dxhat"]), (7, ["dxmu1", "divar"]),
        (6, ["dsqrtvar"]), (5, ["dvar"]), (4, ["dsq"]), (3, ["dxmu2"]), (2, ["dxmu", "dx1", "dmu"]),
        (1, ["dx2"]), (0, ["dx"]),
    ]  # fmt: skip
    assert page["backward"][0]["lines"][0]["given"]
    named = {n["index"]: n["name"] for n in page["graph"]["nodes"]}
    reads = {line["name"]: [named[k] for k in line["reads"]] for line in lines_of(page)}
    assert reads["divar"] == ["dxhat", "xmu"]
    assert reads["dgamma"] == ["dout", "xhat"]  # dgammax is dout
    assert reads["sqrtvar"] == ["var", "eps"]


def test_both_parts_of_a_square_have_a_line():
    x = Tensor(RNG.normal(size=2), name="x")
    texts = [line["text"] for line in lines_of(payload(captured(x * x)))]
    assert texts[-3:] == ["dx1 = dout · x", "dx2 = dout · x", "dx = dx1 + dx2"]


# --------------------------------------------------------------------------- what is embedded


def test_the_graph_can_be_rebuilt():
    graph = captured(make("staged"))
    page = json.loads(written(payload(graph)))
    twin = Graph.from_json(json.dumps(page["graph"]))
    inputs = {n.name: graph.values[n.index][0] for n in graph.inputs}
    assert np.array_equal(twin.run(**inputs)["dx"], graph.grad("dx"))
    assert set(page["values"]) == {str(n.index) for n in graph.inputs}


def test_text_can_stand_in_a_script_element():
    x = Tensor([1.0], name="</script><!--é\u2028")
    text = written(payload(captured(x * 2)))
    assert "</" not in text
    assert "<!" not in text
    assert json.loads(text)["graph"]["nodes"][0]["name"] == x.name


def test_complex_numbers_fractions_and_extended_ones_are_shown():
    exact = np.array([Fraction(1, 3), Fraction(2)], dtype=object)
    for x, text, what in [
        (np.array([1 + 2j, 3.0]), "1+2j", "complex numbers are"),
        (exact, "1/3", "fractions are"),
        (np.array([0.1, 2], dtype=np.longdouble), "0.1", "extended precision is"),
    ]:
        page = payload(captured(Tensor(x, name="x") * 2))
        (form, *_) = page["values"].values()
        assert text in form["text"][0]
        assert set(page["locked"]) == {0, 3}
        assert page["locked"][0] == f"{what} shown, not computed"
        assert set(page["fixed"]) == {n["index"] for n in page["graph"]["nodes"] if n["op"]}


def test_rows_of_ones_own_are_shown():
    cube = ops.Primitive("cube", "³", lambda x: x**3, lambda g, out, x: 3 * x * x * g)
    x, w = Tensor([1.0, 2.0], name="x"), Tensor([3.0, 1.0], name="w")
    page = payload(captured(cube(x) * w))
    names = {n["name"]: n["index"] for n in page["graph"]["nodes"] if n["name"]}
    assert page["locked"] == {names["x"]: "cube is computed by NumPy, not on this page"}
    assert len(page["fixed"]) == 1


def test_a_page_has_the_scripts_that_its_graph_needs(js):
    """And these are enough: each row that a graph uses is in one of them."""
    x = Tensor(RNG.uniform(1, 2, size=(3, 3)), name="x")
    core = ("arrays", "values", "compute", "plugged")
    for out, more in [(x * 2, ()), (x[0], ("keys",)), (np.cumsum(x, 0), ("keys", "library"))]:
        page = payload(captured(out))
        assert sorted(needed(page)) == sorted((*core, *more))
        with scripts(needed(page)) as run:
            assert run("return read(data).start.values.length;", json.loads(written(page)))


def test_what_is_too_large_says_what_fits():
    x = Tensor(np.zeros((MOST // 20, 10)), name="x")
    graph = Graph.joint(x * 2 + 1, values=True)
    with pytest.raises(ValueError, match=r"x has shape .*: with about [\d,]+ instead of") as caught:
        payload(graph)
    rows = int(re.search(r"about ([\d,]+)", str(caught.value))[1].replace(",", ""))
    payload(Graph.joint(Tensor(np.zeros((rows, 10)), name="x") * 2 + 1, values=True))


def test_a_graph_without_values_is_refused():
    with pytest.raises(ValueError, match=r"no value of x; take it with Graph\.joint"):
        payload(Graph.joint(Tensor([1.0], name="x") * 2))


def test_random_upstream_gradients_are_the_same_at_every_run():
    page = payload(Graph.joint(Tensor([1.0, 2.0], name="x") * 2, values=True))
    (index,) = page["drawn"]
    again = payload(Graph.joint(Tensor([5.0, 6.0], name="x") * 2, values=True))
    assert page["values"][index] == again["values"][index]
    assert payload(Graph.joint(Tensor(1.0, name="x") * 2, values=True))["drawn"] == []
