"""Calls as one box each, where that is asked for."""

import numpy as np
import pytest
from functions import make
from helpers import upstream
from svg import texts

from tinygraph import Graph, draw, trace
from tinygraph.drawing.boxes import LONG, MOST_BOXES, gather

RNG = np.random.default_rng(3)
X = RNG.normal(size=(5, 4))


def normalize(x, scale):
    mu = np.mean(x, axis=0)
    xmu = x - mu
    y = xmu * scale
    return y


def outer(x, scale):
    h = normalize(x, scale)
    r = np.tanh(h)
    return r


def split(x):
    half = x / 2
    rest = x - half
    return half, rest


def f(x, scale):
    a = outer(x, scale)
    b = outer(a, scale)
    p, q = split(b)
    out = p * q
    return out


def traced():
    return trace(f)(X, RNG.normal(size=4))


def shown(picture):
    """Give the lines of boxes that stand for a call, first lines first."""
    blocks = picture.sheet.blocks.values()
    return [[line.text for line in block.lines] for block in blocks if block.look.deep]


def test_all_calls():
    folded = shown(draw(traced(), fold="calls"))
    assert [lines[0].split()[0].split("[")[0] for lines in folded] == ["outer", "outer", "split"]
    assert folded[0][1] == "tanh((x − 1/N Σ x) · scale)"
    assert folded[2][1] == "2 steps"  # of a call that gives two values, no one formula


def test_inner_calls_by_name():
    folded = shown(draw(traced(), fold=["normalize"]))
    assert [lines[0].split("[")[0] for lines in folded] == ["normalize", "normalize"]
    assert folded[0][1] == "(x − 1/N Σ x) · scale"
    frames = draw(traced(), fold=["normalize"]).sheet.frames
    assert all(len(scope) == 1 for scope in frames)


def test_the_outer_of_two_names_wins():
    both, one = (draw(traced(), fold=names) for names in (["normalize", "outer"], ["outer"]))
    assert both.source == one.source


def test_nothing_asked_is_nothing_changed():
    assert draw(traced(), fold=()).source == draw(traced(), fold=[]).source
    assert draw(traced()).source == draw(traced(), fold=[]).source
    assert draw(make("residual"), fold="calls").source == draw(make("residual")).source


@pytest.mark.parametrize("detail", ["steps", "primitives"])
def test_every_node_is_in_one_box_and_every_gradient_on_its_road(detail):
    graph = Graph.joint(traced())
    folded = gather(graph, detail, fold=["normalize"])
    held = sorted(node.index for box in folded.boxes for node in box.nodes)
    assert held == [n.index for n in graph.nodes if n.role in ("input", "forward")]
    of = {node: box for box in folded.boxes for node in box.nodes}
    crossing = [
        g for g in graph.all_gradients if g.consumer is not None and of[g.of] is not of[g.consumer]
    ]
    drawn = [g for arrow in folded.arrows for g in arrow.gradients]
    assert sorted(map(id, drawn)) == sorted(map(id, crossing))
    assert all(g.of is arrow.value for arrow in folded.arrows for g in arrow.gradients)


@pytest.mark.parametrize("view", ["circuit", "forward"])
def test_the_formula_of_a_call_computes_its_value(view):
    """What stands in the box is NumPy but for its signs, and gives the numbers of the engine."""
    x, scale = X, RNG.normal(size=4)
    picture = draw(trace(f)(x, scale), fold=["outer"], view=view)
    formula = shown(picture)[0][1]
    code = formula.replace("1/N Σ x", "x.mean(axis=0)").replace("−", "-").replace("·", "*")
    found = eval(code, {"tanh": np.tanh, "x": x, "scale": scale})
    np.testing.assert_allclose(found, outer(x, scale), rtol=1e-13)


def test_values_of_a_call():
    out = trace(f)(X[:2, :1], X[0, :1])
    out.backward(upstream(RNG, out))
    lines = shown(draw(out, fold=["normalize"], values=True))[0]
    assert [line.count("|") for line in lines if "|" in line] == [1, 1]


def test_a_call_that_is_too_long_says_how_many_steps_it_has():
    def long(x):
        for _ in range(60):
            x = np.tanh(x) * 1.5
        return x

    def g(x):
        y = long(x)
        return y * 2

    (lines,) = shown(draw(trace(g)(X), fold="calls"))
    assert lines[1].endswith("steps")
    assert "…" not in "".join(lines)


def test_the_text_shows_the_name_of_a_call():
    written = texts(draw(make("lstm_step"), fold=["sigmoid"]).pipe("svg"))
    assert sum(text.startswith("sigmoid") for text in written) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fold": "normalize"}, r"fold is 'normalize'.*must be a list, fold=\['normalize'\]"),
        ({"fold": ["normal"]}, r"fold names 'normal'.*called are: outer, normalize, split"),
        ({"fold": [""]}, r"fold names ''"),
        ({"fold": "calls", "view": "joint"}, r"view 'joint' shows no calls"),
        ({"fold": ["outer"], "view": "backward"}, r"view 'backward' shows no calls"),
        ({"fold": ["outer"], "step": 2}, r"step 2 shows no calls"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        draw(traced(), **options)


@pytest.mark.parametrize("fold", [None, 3, [3], [None], {"outer": 1}])
def test_only_names_are_folded(fold):
    with pytest.raises(TypeError, match=r"must be a list of names, or 'calls'"):
        draw(traced(), fold=fold)


def test_where_nothing_is_called_there_is_no_name():
    with pytest.raises(ValueError, match="the functions called are: none"):
        draw(make("residual"), fold=["sigmoid"])


# --- roads that are long ------------------------------------------------------------------------


def loop(n):
    """What every step of a loop reads has a road to each of them: n²/2 ranks in all."""

    def g(x, w):
        y = x
        for _ in range(n):
            y = y * w + x
        return y

    return trace(g)(X, X.copy())


@pytest.mark.parametrize("n", [1, 3, 6])
def test_ranks_that_roads_pass(n):
    # x and w stand before the first step; then each step is one further away from both
    boxes = gather(Graph.joint(loop(n)), "steps")
    assert sum(boxes.spans()) == 2 * sum(range(1, n + 1)) + n - 1
    assert not any(arrow.far for arrow in boxes.arrows)


@pytest.mark.parametrize("detail", ["steps", "primitives"])
def test_what_is_read_far_away_is_shown_again_there(detail):
    graph = Graph.joint(loop(60))
    boxes = gather(graph, detail)
    assert boxes.folded == ""
    pairs = zip(boxes.arrows, boxes.spans(), strict=True)
    assert all(arrow.far == (span > LONG) for arrow, span in pairs)
    sheet = draw(graph, detail=detail).sheet
    again = [key for key in sheet.blocks if "_for_" in key]
    assert len(again) == sum(arrow.far for arrow in boxes.arrows) > 100
    assert {sheet.blocks[key].lines[0].text for key in again} == {"x", "w"}
    idents = [block.ident for block in sheet.blocks.values()]
    assert len(idents) == len(set(idents))
    assert sheet.note.text == "w, x: shown again beside what reads it" or "x, w" in sheet.note.text
    drawn = [s.title for road in sheet.roads for s in road.strokes if s.kind == "gradient"]
    assert len(drawn) == 1 + sum(len(arrow.gradients) for arrow in boxes.arrows)


@pytest.mark.parametrize("detail", ["steps", "primitives"])
def test_longer_loops_are_folded(detail):
    boxes = gather(Graph.joint(loop(300)), detail)
    assert len(boxes.boxes) + sum(arrow.far for arrow in boxes.arrows) <= MOST_BOXES
    assert "300 steps, folded in order into" in boxes.folded
    assert len(boxes.boxes) > 50


def test_a_long_chain_is_not_folded():
    def g(x):
        for _ in range(300):
            x = np.tanh(x)
        return x

    boxes = gather(Graph.joint(trace(g)(X)), "steps")
    assert (sum(boxes.spans()), boxes.folded, len(boxes.boxes)) == (300, "", 301)
