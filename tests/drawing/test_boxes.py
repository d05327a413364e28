"""What a picture shows before it is drawn: boxes, arrows, the main line, and folding."""

from collections import Counter
from itertools import chain as concatenate
from itertools import pairwise

import numpy as np
import pytest
from helpers import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from tinygraph import Graph, Tensor, trace
from tinygraph.batchnorm import staged
from tinygraph.drawing.boxes import MOST_BOXES, gather
from tinygraph.engine.autodiff import reachable

RNG = np.random.default_rng(3)
X, GAMMA, BETA = RNG.normal(size=(6, 4)), RNG.normal(size=4), RNG.normal(size=4)
STAGED = ["mu", "xmu", "sq", "var", "sqrtvar", "ivar", "xhat", "gammax", "out"]


def joint(*outputs):
    """Capture both passes, by all inputs."""
    return Graph.capture(outputs, wrt=[node for node in reachable(outputs) if node.op is None])


def batchnorm():
    return joint(trace(staged)(X, GAMMA, BETA))


def forward(graph):
    return [node for node in graph.nodes if node.role in ("input", "forward")]


def names(boxes):
    return [box.result.name for box in boxes]


def names_of(arrow):
    return [g.name for g in arrow.gradients]


# --- boxes --------------------------------------------------------------------------------------


def test_a_step_is_a_box():
    boxes = gather(batchnorm(), "steps").boxes
    assert [(box.kind, box.step, box.result.name) for box in boxes] == [
        *(("input", 0, name) for name in ("x", "gamma", "beta")),
        *(("step", k, name) for k, name in enumerate(STAGED, 1)),
    ]
    held = {box.result.name: [node.op.name for node in box.nodes] for box in boxes[3:]}
    assert held["mu"] == held["var"] == ["sum", "mul"]
    assert held["sqrtvar"] == ["add", "sqrt"]
    assert held["xhat"] == ["mul"]


def test_a_primitive_is_a_box():
    graph = batchnorm()
    boxes = gather(graph, "primitives").boxes
    assert [box.nodes for box in boxes] == [(node,) for node in forward(graph)]
    assert {box.kind for box in boxes} == {"input", "primitive"}
    assert len(boxes) == 15


def test_calls_are_scopes():
    def inner(h):
        u = np.exp(h)
        v = u + 1.0
        return v

    def outer(h):
        w = inner(h)
        z = inner(w)
        return z

    def f(x):
        y = outer(x)
        return y * x

    graph = joint(trace(f)(X))
    for detail in ("steps", "primitives"):
        scopes = {box.result.name: box.scope for box in gather(graph, detail).boxes}
        assert scopes == {
            "x": (),
            "u": ("outer", "inner"),
            "v": ("outer", "inner"),
            "u′": ("outer", "inner #2"),
            "v′": ("outer", "inner #2"),
            "out": (),
        }


# --- arrows -------------------------------------------------------------------------------------


def test_arrows_are_the_uses_with_their_gradients_in_operand_order():
    arrows = gather(batchnorm(), "steps").arrows
    assert [(a.value.name, a.head.result.name, *names_of(a)) for a in arrows] == [
        ("x", "mu", "dx2"),
        ("x", "xmu", "dx1"),
        ("mu", "xmu", "dmu"),
        ("xmu", "sq", "dxmu2"),
        ("sq", "var", "dsq"),
        ("var", "sqrtvar", "dvar"),
        ("sqrtvar", "ivar", "dsqrtvar"),
        ("xmu", "xhat", "dxmu1"),
        ("ivar", "xhat", "divar"),
        ("gamma", "gammax", "dgamma"),
        ("xhat", "gammax", "dxhat"),
        ("gammax", "out", "dgammax"),
        ("beta", "out", "dbeta"),
    ]
    assert all(a.tail.result is a.value for a in arrows)


def test_of_two_uses_by_one_node_each_has_its_own_gradient():
    x = Tensor(X, name="x")
    for out in (x * x, x - x, x / x, np.maximum(x, x)):
        arrows = gather(joint(out), "steps").arrows
        assert [(a.value.name, *names_of(a)) for a in arrows] == [("x", "dx1", "dx2")]


def test_a_graph_without_backward_pass_has_no_gradients():
    graph = Graph.capture(trace(staged)(X, GAMMA, BETA))
    arrows = gather(graph, "steps").arrows
    assert len(arrows) == 13
    assert all(a.gradients == () for a in arrows)


def test_only_what_is_differentiated_has_gradients():
    out = trace(staged)(X, GAMMA, BETA)
    (gamma,) = (node for node in reachable([out]) if node.name == "gamma")
    arrows = gather(Graph.capture(out, wrt=[gamma]), "steps").arrows
    assert [(a.value.name, *names_of(a)) for a in arrows if a.gradients] == [
        ("gamma", "dgamma"),
        ("gammax", "dgammax"),
    ]
    assert len(arrows) == 13


# --- the main line ------------------------------------------------------------------------------


def main_line(graph, detail="steps"):
    arrows = [a for a in gather(graph, detail).arrows if a.main]
    return [(a.tail.result.name, a.head.result.name) for a in arrows]


@pytest.mark.parametrize("detail", ["steps", "primitives"])
def test_the_main_line_of_batchnorm(detail):
    line = ["x", "xmu", "xhat", "gammax", "out"]
    assert main_line(batchnorm(), detail) == list(pairwise(line))


def test_the_main_line_follows_the_largest_operand_the_most_recent_of_several():
    small, large = Tensor(GAMMA, name="small"), Tensor(X, name="large")
    assert main_line(joint(small * large)) == [("large", "out")]
    assert main_line(joint(large * small)) == [("large", "out")]
    first = np.exp(large)
    first.name = "first"
    second = np.exp(first)
    second.name = "second"
    line = [("large", "first"), ("first", "second"), ("second", "out")]
    assert main_line(joint(first * second)) == line
    assert main_line(joint(second * large)) == line


def test_every_output_has_a_main_line():
    x = Tensor(X, name="x")
    outputs = [np.exp(x), np.tanh(x)]
    assert main_line(joint(*outputs)) == [("x", "out1"), ("x", "out2")]
    assert main_line(joint(x)) == []


# --- folding ------------------------------------------------------------------------------------


def chain(n):
    def f(x):
        h = x
        for _ in range(n):
            h = np.tanh(h) * 2.0
        return h

    return joint(trace(f)(X))


def calls(n, each):
    def inner(h):
        for _ in range(each):
            h = np.tanh(h)
        return h

    def outer(h):
        h = inner(h)
        h = inner(h)
        h = h + 1.0
        return h

    def f(x):
        for _ in range(n):
            x = outer(x)
        return x

    return joint(trace(f)(X))


@pytest.mark.parametrize("detail", ["steps", "primitives"])
def test_what_fits_is_not_folded(detail):
    graph = chain(9)
    full = gather(graph, detail)
    assert full.folded == ""
    assert not any(box.kind == "group" for box in full.boxes)
    exact = gather(graph, detail, most=len(full.boxes))
    assert [box.nodes for box in exact.boxes] == [box.nodes for box in full.boxes]
    assert gather(graph, detail, most=len(full.boxes) - 1).folded


@pytest.mark.parametrize("detail", ["steps", "primitives"])
@pytest.mark.parametrize("most", [4, 7, 20, 60])
@pytest.mark.parametrize("graph", [chain(70), calls(9, 4)], ids=["chain", "calls"])
def test_folding_keeps_every_node_once_and_in_order(graph, detail, most):
    folded = gather(graph, detail, most)
    assert 1 < len(folded.boxes) <= most
    held = [node.index for box in folded.boxes for node in box.nodes]
    assert sorted(held) == [node.index for node in forward(graph)]
    place = {box: k for k, box in enumerate(folded.boxes)}
    assert all(place[a.tail] != place[a.head] for a in folded.arrows)
    assert all(a.tail.result.index < a.head.result.index for a in folded.arrows)
    assert all(a.value in a.tail.nodes for a in folded.arrows)
    crossing = {
        (x.index, place[box])
        for box in folded.boxes
        for node in box.nodes
        for x in node.inputs
        if x.role != "constant" and x not in box.nodes
    }
    assert {(a.value.index, place[a.head]) for a in folded.arrows} == crossing
    assert str(len(graph.steps)) in folded.folded
    assert str(len(folded.boxes)) in folded.folded


def test_functions_fold_innermost_first_and_then_steps_in_order():
    graph = calls(3, 4)  # 27 steps in 3 calls of outer, 6 of inner
    kinds = {}
    for most in (40, 20, 5, 3):
        boxes = gather(graph, "steps", most)
        kinds[most] = [box.title for box in boxes.boxes if box.kind == "group"], boxes.folded
    assert kinds[40] == ([], "")
    inner = ["inner: 4 steps", "inner #2: 4 steps"] * 3
    assert kinds[20] == (inner, "27 steps, folded by function into 10 boxes")
    outer = ["outer: 9 steps", "outer #2: 9 steps", "outer #3: 9 steps"]
    assert kinds[5] == (outer, "27 steps, folded by function into 4 boxes")
    titles, note = kinds[3]
    assert note == f"27 steps, folded in order into {1 + len(titles)} boxes"
    assert titles[0].startswith("steps 1 … ")
    assert titles[-1].endswith(" … 27")
    scopes = [box.scope for box in gather(graph, "steps", 20).boxes if box.kind == "group"]
    assert scopes == [(f"outer{k}",) for k in ("", "", " #2", " #2", " #3", " #3")]


def test_steps_in_order_leave_no_gap_and_are_about_equal():
    boxes = gather(chain(95), "steps", 12).boxes
    groups = [box for box in boxes if box.kind == "group"]
    covered = [sorted({node.step for node in box.nodes}) for box in groups]
    assert list(concatenate(*covered)) == list(range(1, 96))
    sizes = Counter(map(len, covered[:-1]))
    assert len(sizes) == 1
    assert [box.title for box in groups] == [f"steps {c[0]} … {c[-1]}" for c in covered]
    assert len(groups) >= 4


def test_primitives_without_names_are_folded_into_more_than_one_box():
    y = Tensor(X, name="x")
    for _ in range(300):
        y = np.tanh(y)
    boxes = gather(joint(y), "primitives", 30)
    assert 10 <= len(boxes.boxes) <= 30
    assert boxes.folded


def test_many_inputs_are_one_box():
    total = Tensor(1.0, name="start")
    for k in range(40):
        total = total + Tensor(float(k), name=f"w{k}")
    folded = gather(joint(total), "primitives", 10)
    assert len(folded.boxes) <= 10
    (inputs,) = (box for box in folded.boxes if box.nodes[0].role == "input")
    assert inputs.title == "41 inputs"
    assert inputs.kind == "group"


def test_an_arrow_between_groups_is_drawn_once():
    def f(x, w):
        for _ in range(60):
            x = np.tanh(x * w)
        return x

    folded = gather(joint(trace(f)(X, X.copy())), "steps", 12)
    pairs = Counter((a.tail, a.head, a.value) for a in folded.arrows)
    assert set(pairs.values()) == {1}
    assert len(folded.arrows) < 30


@settings(deadline=None, max_examples=examples(60))
@given(st.data(), st.sampled_from(["steps", "primitives"]), st.integers(3, 12))
def test_random_graphs_fold_into_an_order(data, detail, most):
    values = [Tensor(X, name="x"), Tensor(GAMMA, name="w")]
    for k in range(data.draw(st.integers(1, 25))):
        a, b = (values[data.draw(st.integers(0, len(values) - 1))] for _ in range(2))
        result = a * b if data.draw(st.booleans()) else np.tanh(a)
        if data.draw(st.booleans()):
            result.name = f"v{k}"
        values.append(result)
    graph = joint(values[-1])
    folded = gather(graph, detail, most)
    assert len(folded.boxes) <= most
    assert sorted(n.index for box in folded.boxes for n in box.nodes) == [
        node.index for node in forward(graph)
    ]
    later = {}  # a cycle of boxes could not be laid out from left to right
    for arrow in folded.arrows:
        later.setdefault(arrow.tail, set()).add(arrow.head)
    done = []
    boxes = list(folded.boxes)
    while boxes:
        free = [b for b in boxes if not any(b in later.get(a, ()) for a in boxes)]
        assert free, "boxes feed each other in a circle"
        done += free
        boxes = [b for b in boxes if b not in free]


def test_the_limit_is_what_the_description_says():
    assert MOST_BOXES == 500
    assert len(gather(chain(499), "steps").boxes) == 500
    assert gather(chain(499), "steps").folded == ""
    folded = gather(chain(500), "steps")
    assert 100 <= len(folded.boxes) <= 500
    assert folded.folded.startswith("500 steps, folded in order into ")
