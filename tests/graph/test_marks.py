"""Marks: no version of a variable, no part of a gradient can be taken for something else."""

import numpy as np
import pytest
from helpers import same_bits

from tinygraph import Graph, Tensor, derive, draw, trace
from tinygraph.graph.marks import in_letters, part_of, parts, unmarked, versions

RNG = np.random.default_rng(5)
X = RNG.normal(size=(4, 3))


def names(out):
    return [n.name for n in Graph.capture(out).nodes if n.name and n.role != "constant"]


def gradient_names(out):
    return [g.name for g in Graph.joint(out).gradients]


@pytest.mark.parametrize("name", ["S", "h0", "x_1", "γ", "layers.0.weight", "hs[2]", "′", "f(x)"])
def test_a_mark_is_read_as_it_was_written(name):
    for (k, version), _ in zip(enumerate(versions(name), 1), range(30), strict=False):
        assert unmarked(version) == (name, k)
        assert part_of(version) == (version, "")
        assert in_letters(version) == (f"{name}_{k}" if k > 1 else name)


@pytest.mark.parametrize("n", [2, 9, 10, 123])
@pytest.mark.parametrize("name", ["dx", "dh0", "dS′", "dS⁽⁴⁾", "d𝟙", "dhs[2]"])
def test_no_part_is_a_version_and_no_two_parts_are_alike(name, n):
    given = parts(name, n, ())
    assert len(set(given)) == n
    plain = name in ("dx", "dhs[2]")
    for k, part in enumerate(given, 1):
        assert part_of(part) == ((part, "") if plain else (name, str(k)))
        assert unmarked(part)[1] == 1
    assert not set(given) & {version for version, _ in zip(versions(name), range(n), strict=False)}


def test_a_loop_gives_versions_and_their_parts():
    def f(S):
        for _ in range(4):
            S = S * np.sin(S)
        return S

    out = trace(f)(X)
    assert names(out) == ["S", "S′", "S″", "S⁽⁴⁾", "S⁽⁵⁾"]
    assert gradient_names(out) == [
        *("dS⁽⁵⁾", "dS⁽⁴⁾₁", "dS⁽⁴⁾₂", "dS⁽⁴⁾", "dS″₁", "dS″₂", "dS″", "dS′₁", "dS′₂", "dS′"),
        *("dS1", "dS2", "dS"),
    ]


def test_names_of_the_users_that_look_like_parts_stay_theirs():
    def f(x, x1, dx):
        y = x * x1 + x * dx
        return y * x

    out = trace(f)(X, X + 1, X - 1)
    assert names(out) == ["x", "x1", "dx", "y", "out"]
    found = gradient_names(out)
    assert found == ["dout", "dy", "dx_grad1", "dx_grad2", "ddx", "dx_grad3", "dx1", "dx_grad"]


@pytest.mark.parametrize("seed", range(30))
def test_whatever_things_are_called_no_two_names_are_alike_in_any_language(seed):
    rng = np.random.default_rng(seed)
    pool = ["x", "x1", "x′", "x_2", "dx", "dx1", "dx₁", "dx_grad", "x2", "S", "x⁽⁴⁾", "t1"]
    nodes = [Tensor(RNG.normal(size=2), name=str(rng.choice(pool))) for _ in range(3)]
    for _ in range(8):
        a, b = (nodes[k] for k in rng.integers(len(nodes), size=2))
        nodes.append(a * b + a)
        nodes[-1].name = str(rng.choice(pool))
    out = nodes[-1]
    graph = Graph.joint(out)
    of_nodes = [n.name for n in graph.nodes if n.name and n.role in ("input", "forward")]
    called = of_nodes + [g.name for g in graph.gradients]
    assert len(set(called)) == len(called)

    inputs = {n.name: n for n in graph.inputs}
    dout = RNG.normal(size=2)
    out.backward(dout)
    tensors = [n for n in nodes if n.op is None and n.grad is not None]
    leaves = [n for n in graph.inputs if n.role == "input"]
    given = {n.name: t.data for n, t in zip(leaves, tensors, strict=True)}
    values = graph.run(**given, **dict.fromkeys(inputs.keys() - given.keys(), dout))
    totals = {g.of.name: g.name for g in graph.gradients}
    for n, t in zip(leaves, tensors, strict=True):
        assert same_bits(values[totals[n.name]], t.grad)

    space = {}
    exec(derive(out, format="python"), space)
    _, cache = space["forward"](*(t.data for t in tensors))
    for g, t in zip(space["backward"](dout, cache), tensors, strict=True):
        assert same_bits(g, t.grad)

    written = [
        row.split()[1]
        for row in derive(out, literal=True).splitlines()
        if row[:4].strip().isdigit()
    ]
    assert sorted(written) == sorted(set(called) - {n.name for n in leaves})
    latex = [
        row.split("&")[2]
        for row in derive(out, format="latex", literal=True).splitlines()
        if "&=" in row
    ]
    assert len(set(latex)) == len(latex)


def test_values_are_found_by_either_spelling():
    def f(S):
        for _ in range(4):
            S = S * np.sin(S)
        return S

    out = trace(f)(X)
    out.backward(np.ones(()) + X)
    graph = Graph.joint(out, values=True)
    assert graph["S_3"] is graph["S″"]
    assert same_bits(graph.value("S_4"), graph.value("S⁽⁴⁾"))
    assert same_bits(graph.grad("dS_4_part2"), graph.grad("dS⁽⁴⁾₂"))
    assert same_bits(graph.value("dS_4"), graph.grad("dS⁽⁴⁾"))
    assert Graph.from_json(graph.to_json())["S_3"].name == "S″"
    with pytest.raises(KeyError, match="no node is called 'S_6'; the names are S, S′, S″, S⁽⁴⁾"):
        graph["S_6"]


def test_a_graph_is_run_on_inputs_by_either_spelling():
    x, y = Tensor(X[0], name="x"), Tensor(X[1], name="x")
    w = Tensor(X[2], name="layers.0.weight")
    graph = Graph.capture(x / y * w)
    assert [n.name for n in graph.inputs] == ["x", "x′", "layers.0.weight"]
    run = graph.run(x=X[0], x_2=X[1], layers_0_weight=X[2])
    assert same_bits(run["out"], X[0] / X[1] * X[2])
    with pytest.raises(ValueError, match="missing inputs: x′; unknown inputs: x_3"):
        graph.run(x=X[0], x_3=X[1], layers_0_weight=X[2])
    with pytest.raises(ValueError, match="missing inputs: layers"):
        graph.run(**{"x": X[0], "x_2": X[1], "x′": X[1]})


def test_a_name_that_is_written_out_comes_before_one_that_is_spelled_alike():
    def f(S, S_2):
        S = S * S_2
        return S

    graph = Graph.capture(trace(f)(X, X + 1))
    assert graph["S_2"].role == "input"
    assert graph["S′"].role == "forward"


def test_ids_of_a_picture_tell_versions_apart():
    def f(S):
        for _ in range(3):
            S = np.exp(S)
        return S

    source = draw(trace(f)(X)).source
    for ident in ("v-S", "v-S_2", "v-S_3"):
        assert f'"{ident}"' in source or f"id={ident}" in source


def test_marks_and_parts_in_every_language_of_mathematics():
    def f(x, w2):
        for _ in range(4):
            x = x * np.sin(x * w2)
        return x

    out = trace(f)(X, X + 1)
    latex, page = derive(out, format="latex"), derive(out, format="html")
    for written in ("{x'}", "{x''}", "{x^{(4)}}", r"\mathrm{d}{x'}_{(1)}", r"\mathrm{d}w_{2,(1)}"):
        assert written in latex, written
    x = '<mi class="i">x</mi>'
    for mark in ("<mo>′</mo>", "<mo>″</mo>", "<mrow><mo>(</mo><mn>4</mn><mo>)</mo></mrow>"):
        assert f"<msup>{x}{mark}</msup>" in page
    assert "<mrow><mo>(</mo><mn>1</mn><mo>)</mo></mrow></msub>" in page
