"""Pictures: what stands in them, where it stands, and that any name is safe in them.

Structure and positions are read back from Graphviz: every test looks at the laid-out picture, as a
reader does, and not at the text that was written.
"""

import itertools
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction

import functions
import numpy as np
import pygraphviz
import pytest
from helpers import examples, upstream
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from svg import SVG, texts

from tinygraph import Graph, Tensor, draw, trace
from tinygraph.batchnorm import staged
from tinygraph.drawing.boxes import MOST_BOXES
from tinygraph.drawing.typography import BLUE, INK, RED
from tinygraph.engine.autodiff import reachable
from tinygraph.engine.tracing import Origin

OTHERS = ["attention", "lstm_step", "residual", "vae_loss"]
RNG = np.random.default_rng(5)
X, GAMMA, BETA = RNG.normal(size=(7, 3)), RNG.normal(size=3), RNG.normal(size=3)


# --- reading a picture back ---------------------------------------------------------------------


@dataclass
class Box:
    """A placed box or frame: its rectangle in points, y upwards, and what is written in it."""

    key: str
    lines: list
    left: float
    bottom: float
    right: float
    top: float
    look: dict = field(default_factory=dict)
    members: set = field(default_factory=set)

    @property
    def x(self):
        return (self.left + self.right) / 2

    @property
    def y(self):
        return (self.bottom + self.top) / 2

    def holds(self, other):
        """Whether `other` lies inside."""
        return (
            self.left <= other.left
            and other.right <= self.right
            and self.bottom <= other.bottom
            and other.top <= self.top
        )

    def meets(self, other, slack=1.0):
        """Whether the two overlap by more than `slack` points."""
        return (
            min(self.right, other.right) - max(self.left, other.left) > slack
            and min(self.top, other.top) - max(self.bottom, other.bottom) > slack
        )


class Shown:
    """A picture as it is drawn, and how Graphviz understands its text."""

    def __init__(self, picture):
        self.source = picture.source
        root = ET.fromstring(picture.pipe("svg"))
        self.attributes = json.loads(picture.pipe("json"))
        objects = {item.get("id", item["name"]): item for item in self.attributes["objects"]}
        idents = {item["_gvid"]: ident for ident, item in objects.items()}
        self.boxes, self.frames, self.arrows, self.legend = {}, {}, [], ""
        for group in root.iter(f"{SVG}g"):
            kind, ident, lines = group.get("class").split()[0], group.get("id"), written(group)
            if kind == "node":
                self.boxes[ident] = Box(ident, lines, *rectangle(group), objects[ident])
                paint = [mark.get("fill") for mark in group]
                self.boxes[ident].look |= {"fillcolor": paint[0], "fontcolor": paint[-1]}
            elif kind == "frame":
                members = {idents[k] for k in objects[ident]["nodes"]}
                members -= {key for key in members if key.startswith("title_")}
                self.frames[ident] = Box(ident, [], *rectangle(group), members=members)
            elif kind == "title":
                self.frames[ident.removesuffix("-title")].lines = lines
            elif kind == "edge":
                self.arrows.append((group.get("data-from"), group.get("data-to"), lines, group))
            else:
                self.legend = " ".join(lines)

    def select(self, kind):
        """Give tail, head and label of the arrows of a kind."""
        return [
            (tail, head, " ".join(lines))
            for tail, head, lines, group in self.arrows
            if group.get("class").split()[1] == kind
        ]

    @property
    def black(self):
        return self.select("value")

    @property
    def red(self):
        return self.select("gradient")

    @property
    def grey(self):
        return self.select("read")

    def box(self, line):
        """Give the only box that has this line."""
        (found,) = (box for box in self.boxes.values() if line in box.lines)
        return found

    def title(self, box):
        """Give the lines of a box without step number and shape."""
        if not isinstance(box, Box):
            box = self.boxes[box]
        return [t for t in box.lines if not re.fullmatch(r"\d+|\([\d, ]+\)", t)]


def written(group):
    return [text.replace("\xa0", " ") for text in texts(ET.tostring(group))]


def rectangle(group):
    """Give left, bottom, right and top of what a group paints, y upwards."""
    xs, ys = [], []
    for shape in group:
        at = {k: float(v) for k, v in shape.attrib.items() if re.fullmatch(r"-?[\d.]+", v)}
        if shape.tag == f"{SVG}ellipse":
            xs += [at["cx"] - at["rx"], at["cx"] + at["rx"]]
            ys += [at["cy"] - at["ry"], at["cy"] + at["ry"]]
        elif shape.tag == f"{SVG}rect":
            xs += [at["x"], at["x"] + at["width"]]
            ys += [at["y"], at["y"] + at["height"]]
        elif shape.tag == f"{SVG}text":
            xs += [at["x"] - at["textLength"] / 2, at["x"] + at["textLength"] / 2]
            ys += [at["y"] - 0.711 * at["font-size"], at["y"] + 0.2 * at["font-size"]]
    return min(xs), -max(ys), max(xs), -min(ys)


def show(*args, **options):
    return Shown(draw(*args, **options))


def ends(shown, arrows):
    """Give arrows by the first line of what stands at their ends."""
    return [(shown.title(tail)[0], shown.title(head)[0]) for tail, head, *_ in arrows]


# --- what is drawn ------------------------------------------------------------------------------


def batchnorm(**options):
    return trace(staged)(X, GAMMA, BETA, eps=1e-5, **options)


def layer(h, weights, bias, eps):
    z = h @ weights + bias
    zhat = normalize(z, eps)
    a = np.tanh(zhat)
    return a


def normalize(z, eps):
    mu = np.mean(z, axis=0)
    zmu = z - mu
    var = np.mean(zmu**2, axis=0)
    return zmu / np.sqrt(var + eps)


def network(x, w1, b1, w2, b2):
    h1 = layer(x, w1, b1, 1e-3)
    h2 = layer(h1, w2, b2, 1e-3)
    loss = np.sum(h2**2)
    return loss


def nested():
    arrays = (X, RNG.normal(size=(3, 4)), np.zeros(4), RNG.normal(size=(4, 2)), np.zeros(2))
    return trace(network)(*arrays)


def scalar():
    a, b = Tensor(-4.0, name="a"), Tensor(2.0, name="b")

    def f(a, b):
        c = a + b
        d = a * b + b**3
        e = c - d
        f = e * e
        return f

    return trace(f)(a, b)


def two_outputs():
    def f(x, gamma):
        s = np.sum(x, axis=0)
        p = gamma * s
        q = np.exp(s)
        return p, q

    return trace(f)(X, GAMMA)


SUBJECTS = {
    "batchnorm": batchnorm,
    "layernorm": lambda: batchnorm(axis=-1),
    "nested": nested,
    "scalar": scalar,
    "two_outputs": two_outputs,
}
ALL_OPTIONS = [
    *(
        {"view": v, "detail": d}
        for v in ("circuit", "forward", "backward")
        for d in ("steps", "primitives")
    ),
    {"view": "joint"},
]
CASES = [
    pytest.param(subject, options, id="-".join([subject, *options.values()]))
    for subject in SUBJECTS
    for options in ALL_OPTIONS
]
STEPS = [pytest.param("batchnorm", {"step": k}, id=f"step{k}") for k in range(10)]


# --- BatchNorm: the circuit ---------------------------------------------------------------------

STAGED_STEPS = {
    "mu": "1/N Σ x",
    "xmu": "x − mu",
    "sq": "xmu²",
    "var": "1/N Σ sq",
    "sqrtvar": "√(var + eps)",
    "ivar": "1/sqrtvar",
    "xhat": "xmu · ivar",
    "gammax": "gamma · xhat",
    "out": "gammax + beta",
}
# Steps 9 … 1 as the staged derivation goes: what arrives at a step, then what it gives.
DERIVATION = {
    9: ["dout (7, 3)", "dgammax = dout (7, 3)", "dbeta = Σ dout (3,)"],
    8: [
        "dgammax = dout (7, 3)",
        "dgamma = Σ dgammax · xhat (3,)",
        "dxhat = dgammax · gamma (7, 3)",
    ],
    7: [
        "dxhat = dgammax · gamma (7, 3)",
        "dxmu1 = dxhat · ivar (7, 3)",
        "divar = Σ dxhat · xmu (3,)",
    ],
    6: ["divar = Σ dxhat · xmu (3,)", "dsqrtvar = −divar · ivar² (3,)"],
    5: ["dsqrtvar = −divar · ivar² (3,)", "dvar = dsqrtvar / (2 · sqrtvar) (3,)"],
    4: ["dvar = dsqrtvar / (2 · sqrtvar) (3,)", "dsq = spread(1/N · dvar) (7, 3)"],
    3: ["dsq = spread(1/N · dvar) (7, 3)", "dxmu2 = 2 · xmu · dsq (7, 3)"],
    2: ["dxmu = dxmu1 + dxmu2 (7, 3)", "dx1 = dxmu (7, 3)", "dmu = −Σ dxmu (3,)"],
    1: ["dmu = −Σ dxmu (3,)", "dx2 = spread(1/N · dmu) (7, 3)"],
    0: [
        "dbeta = Σ dout (3,)",
        "dgamma = Σ dgammax · xhat (3,)",
        "dx1 = dxmu (7, 3)",
        "dx2 = spread(1/N · dmu) (7, 3)",
    ],
}
ALL_RED = sorted(
    {label.split()[0] for labels in DERIVATION.values() for label in labels} - {"dxmu"}
)
USES = [  # every use of a value: 13, in the circuit with the gradient that comes back
    ("x", "mu", "dx2"),
    ("x", "xmu", "dx1"),
    ("mu", "xmu", "dmu"),
    ("xmu", "sq", "dxmu2"),
    ("sq", "var", "dsq"),
    ("var", "sqrtvar", "dvar"),
    ("sqrtvar", "ivar", "dsqrtvar"),
    ("xmu", "xhat", "dxmu1"),
    ("ivar", "xhat", "divar"),
    ("gamma", "gammax", "dgamma = Σ dgammax · xhat"),
    ("xhat", "gammax", "dxhat"),
    ("gammax", "out", "dgammax"),
    ("beta", "out", "dbeta = Σ dout"),
]


def place(name, end):
    """Give what stands in the box that computes a value."""
    return STAGED_STEPS.get(name, name) if not end else name


def test_circuit_has_a_box_per_input_and_step_and_both_arrows_per_use():
    shown = show(batchnorm())
    assert Counter(shown.title(box)[0] for box in shown.boxes.values()) == Counter(
        ["x", "gamma", "beta", *STAGED_STEPS.values(), "out"]
    )
    uses = [(place(a, False), place(b, False)) for a, b, _ in USES] + [("gammax + beta", "out")]
    assert Counter(ends(shown, shown.black)) == Counter(uses)
    red = [
        (b, a, label) for (a, b), (_, _, label) in zip(uses, [*USES, ("", "", "dout")], strict=True)
    ]
    found = [
        (*e, label) for e, (_, _, label) in zip(ends(shown, shown.red), shown.red, strict=True)
    ]
    assert Counter(found) == Counter(red)
    assert not shown.frames


def test_forward_is_the_circuit_without_gradients():
    circuit, forward = show(batchnorm()), show(batchnorm(), view="forward")
    assert forward.black == circuit.black
    assert forward.red == []
    assert "add up" not in forward.source
    assert RED not in forward.source
    assert "gradient" not in forward.legend


def test_steps_are_numbered_in_order():
    shown = show(batchnorm())
    numbers = {shown.title(b)[0]: b.lines[0] for b in shown.boxes.values() if b.lines[0].isdigit()}
    assert numbers == {formula: str(k) for k, formula in enumerate(STAGED_STEPS.values(), 1)}


def test_every_value_is_named_once_on_its_first_arrow_and_inputs_in_their_box():
    shown = show(batchnorm())
    labels = [label.split()[0] for _, _, label in shown.black if label]
    assert sorted(labels) == sorted(set(STAGED_STEPS) - {"out"})
    for name, shape in (("x", "(7, 3)"), ("gamma", "(3,)"), ("beta", "(3,)"), ("out", "(7, 3)")):
        assert shown.box(name).lines[:2] == [name, shape]


def test_shapes_stand_where_they_change():
    labels = [label for _, _, label in show(batchnorm()).black if label]
    assert {label for label in labels if "(" in label} == {
        "mu (3,)",
        "xmu (7, 3)",
        "var (3,)",
        "xhat (7, 3)",
    }


def test_layernorm_differs_in_its_shapes():
    labels = [label for _, _, label in show(batchnorm(axis=-1)).black if label]
    assert {"mu (7, 1)", "var (7, 1)", "xmu (7, 3)", "xhat (7, 3)"} == {
        label for label in labels if "(" in label
    }


def test_where_gradients_add_up():
    shown = show(batchnorm())
    marked = {
        shown.title(box)[0]: [
            line for line in box.lines if line.startswith("d") or "add up" in line
        ]
        for box in shown.boxes.values()
        if "add up" in " ".join(box.lines)
    }
    assert marked == {"x": ["dx = dx1 + dx2", "3 paths add up"], "x − mu": ["2 paths add up"]}


@pytest.mark.parametrize("detail", ["steps", "primitives"])
@pytest.mark.parametrize("view", ["circuit", "forward"])
@pytest.mark.parametrize("subject", ["batchnorm", "layernorm"])
def test_the_main_line_is_straight(subject, view, detail):
    shown = show(SUBJECTS[subject](), view=view, detail=detail)
    names = ["x", "xmu", "xhat", "gammax", "out"]
    if detail == "steps":
        keys = ["x", *(STAGED_STEPS[name] for name in names[1:])]
        boxes = [shown.box(line) for line in keys]
    else:
        boxes = [next(b for b in shown.boxes.values() if name in b.lines) for name in names]
    boxes += [box for box in shown.boxes.values() if box.key.startswith("out")]
    assert len(boxes) == 6
    assert max(b.y for b in boxes) - min(b.y for b in boxes) < 3
    assert [b.x for b in boxes] == sorted(b.x for b in boxes)


@pytest.mark.parametrize("detail", ["steps", "primitives"])
def test_inputs_stand_left_and_the_output_right(detail):
    shown = show(batchnorm(), detail=detail)
    end = shown.boxes[next(key for key in shown.boxes if key.startswith("out"))]
    assert all(box.right < end.left for box in shown.boxes.values() if box is not end)
    for name in ("x", "gamma", "beta"):
        source = shown.box(name)
        for tail, head, _ in shown.black:
            if tail == source.key:
                assert source.right < shown.boxes[head].left
    assert shown.box("x").left == min(box.left for box in shown.boxes.values())
    (dout,) = ((tail, head) for tail, head, label in shown.red if label == "dout")
    assert dout[0] == end.key


def test_a_gradient_runs_back_along_the_road_of_its_value():
    """Each stroke of a road keeps to its side, so both stay visible from end to end."""
    out = batchnorm()
    circuit, forward = show(out), show(out, view="forward")
    order = [
        [box.key for box in sorted(s.boxes.values(), key=lambda b: b.x)] for s in (circuit, forward)
    ]
    assert order[0] == order[1]
    ways = {}
    for tail, head, _, group in circuit.arrows:
        kind = group.get("class").split()[1]
        ways[kind, group.get("id")] = (tail, head), points(group.find(f"{SVG}path"))
    gradients = {ends[::-1]: way for (kind, _), (ends, way) in ways.items() if kind == "gradient"}
    values = {ends: way for (kind, _), (ends, way) in ways.items() if kind == "value"}
    assert len(gradients) == len(values) == 14
    for ends, there in values.items():
        back = gradients[ends]
        for x, y in samples(there):
            nearest = min((x - u) ** 2 + (y - v) ** 2 for u, v in samples(back)) ** 0.5
            assert nearest < 16  # one may begin a little later, at the outline
    paths = [g.find(f"{SVG}path") for *_, g in circuit.arrows]
    dashed = {p.get("stroke") for p in paths if p.get("stroke-dasharray")}
    assert dashed == {RED}
    assert {p.get("stroke") for p in paths if not p.get("stroke-dasharray")} == {INK}


def points(path):
    numbers = [float(v) for v in re.findall(r"-?[\d.]+", path.get("d"))]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def samples(way, n=24):
    """Give points along a chain of cubic curves."""
    found = []
    for k in range(0, len(way) - 1, 3):
        a, b, c, d = (np.array(p) for p in way[k : k + 4])
        for t in np.linspace(0, 1, n):
            s = 1 - t
            found.append(tuple(a * s**3 + 3 * b * s * s * t + 3 * c * s * t * t + d * t**3))
    return found


# --- BatchNorm: steps, primitives, both passes --------------------------------------------------


def test_zooming_in_goes_through_the_staged_derivation():
    out = batchnorm()
    zoomed = {k: sorted(label for *_, label in show(out, step=k).red) for k in range(9, -1, -1)}
    assert zoomed == {k: sorted(labels) for k, labels in DERIVATION.items()}


@pytest.mark.parametrize("k", range(1, 10))
def test_a_step_receives_from_the_right_and_gives_to_the_left(k):
    shown = show(batchnorm(), step=k)
    name = list(STAGED_STEPS)[k - 1]
    center = shown.box(STAGED_STEPS[name])
    assert center.lines[0] == str(k)
    arriving = [label for tail, head, label in shown.red if head == center.key]
    leaving = [label for tail, head, label in shown.red if tail == center.key]
    assert [label.split()[0] for label in arriving] == [f"d{name}"]
    assert arriving == DERIVATION[k][:1]
    assert sorted(leaving) == sorted(DERIVATION[k][1:])
    for tail, head, _ in shown.red:
        assert shown.boxes[tail].x > shown.boxes[head].x
    operands = [shown.title(tail)[0] for tail, head, _ in shown.black if head == center.key]
    assert operands == [a for a, b, _ in USES if b == name]
    assert len(shown.boxes) == len(operands) + 2


def test_step_0_shows_what_arrives_at_the_inputs():
    shown = show(batchnorm(), step=0)
    assert {shown.title(b)[0] for b in shown.boxes.values()} == {
        *("x", "gamma", "beta"),
        *("x − mu", "1/N Σ x", "gamma · xhat", "gammax + beta"),
    }
    assert shown.title(shown.box("x")) == ["x", "dx = dx1 + dx2", "3 paths add up"]
    names = sorted(label.split()[0] for *_, label in shown.red)
    assert names == ["dbeta", "dgamma", "dx1", "dx2"]
    assert len(shown.black) == 4


FRAMES = {  # what each step is made of
    "mu": ["Σ", "1/N · mu"],
    "xmu": ["− xmu"],
    "sq": ["² sq"],
    "var": ["Σ", "1/N · var"],
    "sqrtvar": ["+ eps", "√ sqrtvar"],
    "ivar": ["1/ ivar"],
    "xhat": ["· xhat"],
    "gammax": ["· gammax"],
    "out": ["+ out"],
}
JOINT = {  # and of the backward pass; dx, which is step 0, stands in no frame
    "mu": ["· 1/N", "spread dx2"],
    "xmu": ["+ dxmu", "− dmu", "Σ"],
    "sq": ["2 ·", "· dxmu2"],
    "var": ["· 1/N", "spread dsq"],
    "sqrtvar": ["2 ·", "/ dvar"],
    "ivar": ["−", "·", "· dsqrtvar"],
    "xhat": ["· dxmu1", "·", "Σ divar"],
    "gammax": ["·", "Σ dgamma", "· dxhat"],
    "out": ["dout (7, 3)", "Σ dbeta"],
}


READ = {  # and the values that its rules read
    "sq": ["xmu"],
    "sqrtvar": ["sqrtvar"],
    "ivar": ["ivar", "ivar"],
    "xhat": ["xmu", "ivar"],
    "gammax": ["xhat", "gamma"],
}


@pytest.mark.parametrize("view", ["circuit", "forward", "joint"])
def test_frames_hold_the_primitives_of_their_step(view):
    shown = show(batchnorm(), view=view, detail="primitives")
    found = {
        frame.lines[0]: sorted(" ".join(shown.boxes[key].lines) for key in frame.members)
        for frame in shown.frames.values()
    }
    expected = {
        f"{k}   {name} = {STAGED_STEPS[name]}": sorted(FRAMES[name])
        for k, name in enumerate(FRAMES, 1)
    }
    if view == "joint":
        expected |= {
            f"{k}   gradients": sorted(JOINT[name] + READ.get(name, []))
            for k, name in enumerate(FRAMES, 1)
        }
    assert found == expected
    framed = set().union(*(frame.members for frame in shown.frames.values()))
    outside = {shown.boxes[key].lines[0] for key in shown.boxes if key not in framed}
    assert outside == {"x", "gamma", "beta", "out"} | ({"+"} if view == "joint" else set())


def test_circuit_of_primitives_counts():
    shown = show(batchnorm(), detail="primitives")
    assert len(shown.boxes) == 3 + 12 + 1
    assert len(shown.black) == 13 + 3 + 1  # uses of named values, those within steps, the end
    assert len(shown.red) == len(shown.black)
    assert {label for *_, label in shown.red} == {"", *ALL_RED}


def test_joint_counts():
    shown = show(batchnorm(), view="joint")
    primitives = sum(map(len, FRAMES.values())) + sum(map(len, JOINT.values())) + 1
    assert len(shown.boxes) == 3 + primitives + len(shown.grey) + 1
    out = batchnorm()
    graph = Graph.capture(out, wrt=[n for n in reachable([out]) if n.op is None])
    uses = sum(x.role != "constant" for node in graph.nodes for x in node.inputs)
    assert len(shown.arrows) == uses + 1
    assert len(shown.grey) == 8  # xmu, xmu, gamma, xhat, ivar, ivar, ivar, sqrtvar
    assert len(shown.black) == 17


@pytest.mark.parametrize("make", ["staged", *OTHERS])
@pytest.mark.parametrize("direction", ["LR", "TB", "RL", "BT"])
def test_joint_lays_forward_above_backward(make, direction):
    out = batchnorm() if make == "staged" else functions.make(make)
    shown = show(out, view="joint", direction=direction)
    upright = direction in ("TB", "BT")
    graph = Graph.joint(out)
    bands = {"ahead": [], "back": []}
    for key, box in shown.boxes.items():
        if key.startswith("n"):
            role = graph.nodes[int(re.match(r"n(\d+)", key)[1])].role
            is_ahead = role in ("forward", "input") and "-for-" not in key
            bands["ahead" if is_ahead else "back"].append(box)
    if upright:
        assert max(b.right for b in bands["ahead"]) <= min(b.left for b in bands["back"])
    else:
        assert min(b.bottom for b in bands["ahead"]) >= max(b.top for b in bands["back"])


def test_joint_has_a_straight_main_line_and_a_column_to_a_step():
    shown = show(batchnorm(), view="joint")
    line = ("xmu", "sq", "var", "sqrtvar", "ivar", "xhat", "gammax", "out")
    own = {tuple(b.lines[1:2]): b for key, b in shown.boxes.items() if re.fullmatch(r"n\d+", key)}
    heights = [own[name,].y for name in line]
    assert max(heights) - min(heights) < 8
    frames = {frame.lines[0]: frame for frame in shown.frames.values()}
    for title, frame in frames.items():
        number = title.split()[0]
        if title.endswith("gradients"):
            continue
        back = frames[f"{number}   gradients"]
        assert min(frame.right, back.right) - max(frame.left, back.left) > 20, title
    ordered = [frames[f"{k}   gradients"] for k in range(1, 10)]
    assert all(a.x < b.x for a, b in itertools.pairwise(ordered))


def test_backward_is_the_gradient_graph():
    shown = show(batchnorm(), view="backward")
    assert len(shown.boxes) == 14
    assert {line for box in shown.boxes.values() for line in shown.title(box)} == {
        "dout",
        "= dgammax",
        "dbeta = Σ dout",
        "dgamma = Σ dgammax · xhat",
        "dxhat = dgammax · gamma",
        "dxmu1 = dxhat · ivar",
        "divar = Σ dxhat · xmu",
        "dsqrtvar = −divar · ivar²",
        "dvar = dsqrtvar / (2 · sqrtvar)",
        "dsq = spread(1/N · dvar)",
        "dxmu2 = 2 · xmu · dsq",
        "dx1 = dxmu = dxmu1 + dxmu2",
        "dmu = −Σ dxmu",
        "dx2 = spread(1/N · dmu)",
        "dx = dx1 + dx2",
    }
    arrows = [tuple(title.split(" =")[0] for title in pair) for pair in ends(shown, shown.arrows)]
    assert Counter(arrows) == Counter(
        [
            *(("dout", name) for name in ("dbeta", "dgamma", "dxhat")),
            *(("dxhat", "dxmu1"), ("dxhat", "divar"), ("divar", "dsqrtvar")),
            *(("dsqrtvar", "dvar"), ("dvar", "dsq"), ("dsq", "dxmu2")),
            *(("dxmu1", "dx1"), ("dxmu2", "dx1"), ("dx1", "dmu"), ("dmu", "dx2")),
            *(("dx1", "dx"), ("dx2", "dx")),
        ]
    )
    doubled = {k for k, b in shown.boxes.items() if b.look.get("peripheries") == "2"}
    assert {shown.title(k)[0].split(" =")[0] for k in doubled} == {"dx1", "dx"}
    dout = shown.box("dout")
    assert dout.right == max(box.right for box in shown.boxes.values())
    assert shown.box("dx = dx1 + dx2").left == min(box.left for box in shown.boxes.values())


def test_backward_primitives_show_what_the_rules_read():
    shown = show(batchnorm(), view="backward", detail="primitives")
    reads = [(tail, head) for tail, head, _ in shown.grey]
    assert sorted(shown.title(tail)[0] for tail, _ in reads) == sorted(
        ["xhat", "gamma", "ivar", "xmu", "ivar", "ivar", "sqrtvar", "xmu"]
    )
    assert len(shown.boxes) == sum(map(len, JOINT.values())) + 1 + len(reads)


# --- layout of every picture ----------------------------------------------------------------------


@pytest.mark.parametrize(("subject", "options"), [*CASES, *STEPS])
def test_layout(subject, options):
    shown = show(SUBJECTS[subject](), **options)
    boxes = list(shown.boxes.values())
    overlapping = [
        (a.lines, b.lines) for k, a in enumerate(boxes) for b in boxes[k + 1 :] if a.meets(b)
    ]
    assert overlapping == []
    for tail, head, _ in shown.black:
        assert shown.boxes[tail].x < shown.boxes[head].x, (tail, head)
    for tail, head, _ in shown.red:
        assert shown.boxes[head].x < shown.boxes[tail].x, (tail, head)
    for frame in shown.frames.values():
        for box in boxes:
            if box.key in frame.members:
                assert frame.holds(box)
            else:
                assert not frame.meets(box), (frame.lines, box.lines)
    for a in shown.frames.values():
        for b in shown.frames.values():
            assert a is b or not a.meets(b) or a.holds(b) or b.holds(a)


@pytest.mark.parametrize(("subject", "options"), [*CASES, *STEPS])
def test_every_picture_is_white_has_one_legend_and_is_not_squeezed(subject, options):
    picture = draw(SUBJECTS[subject](), **options)
    shown = Shown(picture)
    assert shown.attributes["bgcolor"] == "white"
    assert "size" not in shown.attributes
    assert "ratio" not in shown.attributes
    for mark, arrows in (("→ value", shown.black), ("⇠ gradient", shown.red)):
        assert (mark in shown.legend.replace("→ value that", "")) == bool(arrows), mark
    assert ("→ value that a rule reads" in shown.legend) == bool(shown.grey)
    blue = any(box.look["color"] == BLUE for box in shown.boxes.values())
    assert ("○ input" in shown.legend) == blue


def test_frames_of_calls_are_nested():
    shown = show(nested(), detail="primitives")
    calls = [frame for frame in shown.frames.values() if not frame.lines[0][0].isdigit()]
    outer = [next(f for f in calls if f.lines == [name]) for name in ("layer", "layer #2")]
    inner = [frame for frame in calls if frame.lines == ["normalize"]]
    assert len(calls) == 4
    for k, mark in enumerate(("", "′")):
        (inside,) = (frame for frame in inner if frame.members < outer[k].members)
        assert outer[k].holds(inside)
        written = {line for key in inside.members for line in shown.boxes[key].lines}
        assert {f"mu{mark}", f"zmu{mark}", f"var{mark}", f"zhat{mark}"} <= written
        assert f"z{mark}" not in written
        assert f"z{mark}" in {line for key in outer[k].members for line in shown.boxes[key].lines}
    assert not outer[0].members & outer[1].members
    steps = [frame for frame in shown.frames.values() if frame not in calls]
    assert len(steps) == 13
    for frame in steps:
        assert all(call.holds(frame) for call in calls if frame.members < call.members)


def test_frames_of_calls_hold_steps():
    shown = show(nested())
    held = sorted((frame.lines[0], len(frame.members)) for frame in shown.frames.values())
    # what normalize returns gets its name, zhat, in layer, and is a step of normalize
    assert held == [("layer", 6), ("layer #2", 6), ("normalize", 4), ("normalize", 4)]


def make(name, operation):
    def f(x):
        y = operation(x)
        z = y * 3.0
        return z

    f.__code__ = f.__code__.replace(co_name=name)
    return f


@pytest.mark.parametrize(("first", "second"), [("σ", "τ"), ("a_b", "a-b"), ("f", "f_")])
def test_frames_of_different_calls_stay_apart(first, second):
    one, two = make(first, np.exp), make(second, np.tanh)

    def both(x):
        u = one(x)
        v = two(u)
        return v

    shown = show(trace(both)(X))
    assert {f.lines[0]: len(f.members) for f in shown.frames.values()} == {first: 2, second: 2}


@pytest.mark.parametrize("direction", ["LR", "TB", "RL", "BT"])
@pytest.mark.parametrize("view", ["circuit", "joint", "backward"])
def test_direction(direction, view):
    shown = show(batchnorm(), view=view, direction=direction)

    def along(key):
        box = shown.boxes[key]
        return {"LR": box.x, "TB": -box.y, "RL": -box.x, "BT": box.y}[direction]

    arrows = shown.black if view != "backward" else shown.red
    assert len(arrows) >= 14
    forth = 1 if view != "backward" else -1
    assert all(forth * along(tail) < forth * along(head) for tail, head, _ in arrows)
    assert shown.attributes["rankdir"] == direction


def test_roles_are_told_apart_without_colour():
    out = batchnorm()
    graph = Graph.capture(out, wrt=[n for n in reachable([out]) if n.op is None])
    roles = {str(node.index): node.role for node in graph.nodes}
    looks, colors = {}, {}
    for box in show(graph, view="joint").boxes.values():
        role = "output" if box.key.startswith("out") else roles[re.match(r"n(\d+)", box.key)[1]]
        role = "read" if "_for_" in box.key or "-for-" in box.key else role
        look = tuple(box.look.get(k, "") for k in ("shape", "style", "peripheries"))
        looks.setdefault(role, set()).add(look)
        if role != "output":  # which has neither border nor filling
            colors.setdefault(role, set()).add((box.look["fillcolor"], box.look["fontcolor"]))
    roles = {"input", "forward", "output", "upstream", "backward", "accumulate", "read"}
    assert set(looks) == roles
    for table, same in ((looks, {"output", "upstream"}), (colors, {"backward", "accumulate"})):
        for a in table:
            for b in table:
                assert a == b or {a, b} == same or not table[a] & table[b], (a, b)


# --- every use is an arrow ------------------------------------------------------------------------


@st.composite
def programs(draw_from):
    """Random expressions of two inputs; every value is named, so that every node is a step."""
    values = [Tensor(draw_from(st.floats(0.5, 2)), name=f"x{k}") for k in range(2)]
    operations = [np.multiply, np.subtract, np.add, lambda a, b: np.tanh(a)]
    for k in range(draw_from(st.integers(1, 6))):
        a, b = (values[draw_from(st.integers(0, len(values) - 1))] for _ in range(2))
        result = draw_from(st.sampled_from(operations))(a, b)
        result.name = f"v{k}"
        values.append(result)
    return values[-1]


@settings(deadline=None, max_examples=examples(40), suppress_health_check=list(HealthCheck))
@given(programs(), st.sampled_from(["steps", "primitives"]), st.booleans())
def test_every_use_has_an_arrow_and_of_differentiated_values_a_gradient(out, detail, both):
    nodes = reachable([out])
    leaves = [node for node in nodes if node.op is None]
    wrt = leaves if both else leaves[:1]
    shown = show(out, detail=detail, wrt=wrt)
    names = {key: shown.boxes[key].look["name"].split("_", 1)[1] for key in shown.boxes}
    black, red = (
        Counter((names[a], names[b]) for a, b, _ in arrows if not {a[:3], b[:3]} & {"out"})
        for arrows in (shown.black, shown.red)
    )
    uses = Counter((x.name, node.name) for node in nodes for x in node.inputs)
    assert black == Counter(set(uses))  # one road, however often it is used
    red = Counter({pair[::-1]: n for pair, n in red.items()})
    differentiated = {x.index for x in wrt}
    for node in nodes:
        if any(x.index in differentiated for x in node.inputs):
            differentiated.add(node.index)
    wanted = {node.name for node in nodes if node.index in differentiated}
    assert red == Counter({pair: n for pair, n in uses.items() if pair[0] in wanted})


def test_a_square_by_multiplication_has_a_stroke_for_each_gradient():
    x = Tensor(X, name="x")
    shown = show(x * x)
    assert ends(shown, shown.black).count(("x", "x²")) == 1
    assert ends(shown, shown.red).count(("x²", "x")) == 2
    assert sorted(label for *_, label in shown.red) == ["dout", "dx1", "dx2"]
    assert shown.title(shown.box("x")) == ["x", "dx = dx1 + dx2", "2 paths add up"]


@pytest.mark.parametrize("step", [0, 1])
def test_a_step_that_uses_a_value_twice_has_a_stroke_for_each_gradient(step):
    x = Tensor(X, name="x")
    shown = show(x * x, step=step)
    assert ends(shown, shown.black).count(("x", "x²")) == 1
    labels = [label.split()[0] for *_, label in shown.red]
    assert [label for label in labels if label != "dout"] == ["dx1", "dx2"]


def test_operands_keep_their_order():
    a, b = Tensor(X, name="a"), Tensor(X, name="b")
    for first, second in ((a, b), (b, a)):
        shown = show(first - second, step=1)
        names = [first.name, second.name]
        assert [shown.title(tail)[0] for tail, head, _ in shown.black[:2]] == names
        assert shown.box(names[0]).y > shown.box(names[1]).y


WIDE = """
from tinygraph import Tensor, draw
y = Tensor(1.5, name="x")
for _ in range({n}):
    y = y + y
print(draw(y).source)
"""


@pytest.mark.parametrize("n", [3, 60])
def test_paths_are_counted_however_many_there_are(n):
    run = subprocess.run(  # which can be ended where it would count to 2**60
        [sys.executable, "-c", WIDE.format(n=n)], capture_output=True, check=True, timeout=20
    )
    assert f"{2**n} paths add up" in run.stdout.decode()


# --- with respect to what, and which outputs ------------------------------------------------------


def red_labels(*args, **options):
    return sorted(label.split()[0] for *_, label in show(*args, **options).red)


def test_fewer_red_arrows_with_respect_to_fewer_inputs():
    def leaves(*names):
        out = batchnorm()
        nodes = {n.name: n for n in reachable([out])}
        return out, [nodes[name] for name in names]

    out, wrt = leaves("beta")
    assert red_labels(out, wrt=wrt) == ["dbeta", "dout"]
    out, wrt = leaves("gamma")
    assert red_labels(out, wrt=wrt) == ["dgamma", "dgammax", "dout"]
    out, wrt = leaves("gamma", "beta")
    assert red_labels(out, wrt=wrt) == ["dbeta", "dgamma", "dgammax", "dout"]
    out, wrt = leaves("x")
    from_x = [name for name in ALL_RED if name not in ("dgamma", "dbeta")]
    assert red_labels(out, wrt=wrt) == from_x
    assert red_labels(batchnorm()) == ALL_RED
    black = [len(show(out, wrt=w).black) for out, w in (leaves("beta"), leaves("x"))]
    assert black == [14, 14]


def test_several_outputs():
    shown = show(list(two_outputs()))
    assert Counter(ends(shown, shown.black)) == Counter(
        [
            *(("x", "Σ x"), ("gamma", "gamma · s"), ("Σ x", "gamma · s"), ("Σ x", "exp(s)")),
            *(("gamma · s", "p"), ("exp(s)", "q")),
        ]
    )
    labels = sorted(label.split()[0] for *_, label in shown.red)
    assert labels == ["dgamma", "dp", "dq", "ds1", "ds2", "dx"]
    assert "2 paths add up" in shown.box("Σ x").lines


def test_an_output_that_nothing_is_differentiated_by_has_no_red_arrow():
    x, y = Tensor(X, name="x"), Tensor(X, name="y")
    u, v = np.exp(x), np.tanh(y)
    u.name, v.name = "u", "v"
    assert red_labels([u, v], wrt=[x]) == ["du", "dx"]
    assert len(show([u, v], wrt=[x]).black) == 4


def test_an_output_that_is_used_again():
    x = Tensor(X, name="x")
    u = np.exp(x)
    v = u * 2
    u.name, v.name = "u", "v"
    shown = show([u, v])
    assert "2 paths add up" in shown.box("exp(x)").lines
    assert sorted(label for *_, label in shown.red) == ["du", "du2", "dv", "dx = du_sum · u"]
    assert "du_sum = du + du2" in shown.box("exp(x)").lines  # or nobody knows what du_sum is


@pytest.mark.parametrize("view", ["circuit", "forward", "joint"])
def test_a_leaf(view):
    shown = show(Tensor(X, name="x"), view=view)
    assert sorted(shown.boxes) == sorted(shown.boxes)
    assert [box.lines[0] for box in shown.boxes.values() if box.lines[0] == "x"] == ["x", "x"]
    assert len(shown.black) == 1


def test_a_graph_without_a_backward_pass_is_drawn_forwards():
    graph = Graph.capture(batchnorm())
    shown = show(graph)
    assert shown.red == []
    assert shown.black == show(batchnorm()).black
    assert "gradient" not in shown.legend


def test_a_graph_and_its_tensor_give_the_same_picture():
    out = batchnorm()
    graph = Graph.capture(out, wrt=[n for n in reachable([out]) if n.op is None], values=True)
    for options in ALL_OPTIONS:
        assert draw(graph, **options).source == draw(out, **options).source
    assert draw(graph, values=True).source == draw(out, values=True).source


# --- constants ----------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [o for o in ALL_OPTIONS if o["view"] != "backward"])
def test_constants_are_folded_into_their_reader_with_their_value(options):
    shown = show(batchnorm(), **options)
    assert "N = 7" in shown.legend
    assert "eps = 1e-05" in shown.legend
    assert not any(
        line in ("eps", "1/N", "1e-05") for box in shown.boxes.values() for line in box.lines
    )
    x = Tensor(X, name="x")
    drawn = " ".join(" ".join(b.lines) for b in show(3.5 * x + 0.7, **options).boxes.values())
    assert "3.5" in drawn
    assert "0.7" in drawn


def test_every_named_constant_is_given_with_its_value():
    def f(x):
        a = 0.1
        b = 0.2
        c = 0.3
        d = 0.4
        e = 0.6
        y = x * a + b
        z = y * c - d
        w = z**3 * e
        return w

    legend = show(trace(f)(X)).legend
    for name, value in zip("abcde", (0.1, 0.2, 0.3, 0.4, 0.6), strict=True):
        assert f"{name} = {value}" in legend


def test_one_name_for_two_constants_does_not_hide_one():
    def f(x):
        scale = 0.3
        y = np.exp(scale * x)
        scale = 0.7
        z = scale * y
        return z

    shown = show(trace(f)(X))
    written = shown.legend + " ".join(" ".join(box.lines) for box in shown.boxes.values())
    assert "0.3" in written
    assert "0.7" in written


@pytest.mark.parametrize(
    ("f", "expected"),
    [
        (lambda x: x * 0.5, "0.5 · x"),
        (lambda x: np.sum(x**2) * 0.5, "0.5 · Σ x²"),
        (lambda x: x * 0.25 + np.sum(x), "0.25 · x + Σ x"),
        (lambda x: np.mean(x, axis=0) * 0.5, "0.5 · 1/N Σ x"),
    ],
)
def test_a_factor_that_divides_by_no_length_is_no_mean(f, expected):
    shown = show(f(Tensor(X, name="x")))
    (step,) = (box for box in shown.boxes.values() if box.lines[0] == "1")
    assert shown.title(step) == [expected]
    assert not re.search(r"N = (?!7)", shown.legend)


# --- values -------------------------------------------------------------------------------------


def numbers(shown, line):
    return [row for row in shown.box(line).lines if re.search(r"\||min|mean|max|norm", row)]


def test_small_values_stand_in_rows_with_their_gradients():
    x = Tensor([1.5, -2.0, 0.0], name="x")
    y = x * x
    seed = upstream(RNG, y)
    y.backward(seed)
    shown = show(y, values=True)
    assert numbers(shown, "x") == [
        f"{v:.4g} | {2 * v * g:.4g}" for v, g in zip([1.5, -2.0, 0.0], seed, strict=True)
    ]
    assert numbers(shown, "x²") == [
        f"{v * v:.4g} | {g:.4g}" for v, g in zip([1.5, -2.0, 0.0], seed, strict=True)
    ]
    assert "value | gradient" in shown.legend
    assert "|" not in show(y).source


def test_a_gradient_that_does_not_exist_yet_is_no_zero():
    x, w = Tensor([0.25], name="x"), Tensor([3.0], name="w")
    y = x * w
    shown = show(y, values=True)
    assert [numbers(shown, k) for k in ("x", "w", "x · w")] == [
        ["0.25 | –"],
        ["3 | –"],
        ["0.75 | –"],
    ]
    y.backward(np.array([0.0]))
    shown = show(y, values=True)
    assert [numbers(shown, k) for k in ("x", "w", "x · w")] == [
        ["0.25 | 0"],
        ["3 | 0"],
        ["0.75 | 0"],
    ]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble"])
def test_larger_values_are_summarised(dtype):
    data = RNG.normal(size=(2, 4)).astype(dtype)
    x = Tensor(data, name="x")
    y = 3 * x
    assert numbers(show(y, values=True), "x")[0] == f"min {data.min():.4g} | –"
    seed = upstream(RNG, y)
    y.backward(seed)
    rows = numbers(show(y, values=True), "3 · x")
    out = y.data
    for row, (what, f) in zip(
        rows,
        {
            "min": np.min,
            "mean": np.mean,
            "max": np.max,
            "norm": lambda a: np.linalg.norm(np.float64(a)),
        }.items(),
        strict=True,
    ):
        left, right = row.removeprefix(what).split(" | ")
        assert row.startswith(what)
        assert float(left) == pytest.approx(float(f(out)), rel=2e-3)
        assert float(right) == pytest.approx(float(f(seed)), rel=2e-3)


@pytest.mark.parametrize(
    ("entries", "norm"),
    [
        (np.array([3e300, 4e300] + [0.0] * 6), "5e+300"),
        (np.array([np.inf, -np.inf] + [1.0] * 6), "inf"),
        (np.array([np.nan] + [1.0] * 7), "nan"),
        (np.array([3j, 4.0] + [0.0] * 6), "5"),
        (np.array([Fraction(3), Fraction(-4)] + [Fraction(0)] * 6), "5"),
    ],
    ids=["huge", "inf", "nan", "complex", "fractions"],
)
def test_values_of_every_kind_are_summarised_without_a_warning(entries, norm):
    shown = show(-Tensor(entries, name="x"), values=True)
    assert numbers(shown, "x")[-1] == f"norm {norm} | –"


def test_values_of_scalars_of_every_kind():
    for value, text in (
        (Fraction(1, 3), "1/3 | –"),
        (np.float32(0.1), "0.1 | –"),
        (np.nan, "nan | –"),
        (-np.inf, "-inf | –"),
        (1.0 + 2.0j, "(1+2j) | –"),
    ):
        x = Tensor(value, name="x")
        assert numbers(show(x * x, values=True), "x") == [text]


def test_values_fit_every_view():
    out = batchnorm()
    for options in ALL_OPTIONS:
        shown = show(out, values=True, **options)
        written = any("|" in line for box in shown.boxes.values() for line in box.lines)
        assert ("value | gradient" in shown.legend) == written


def test_empty_values():
    x = Tensor(np.zeros((0, 3)), name="x")
    assert numbers(show(x * 2.0, values=True), "x") == []


# --- names --------------------------------------------------------------------------------------


def test_names_come_from_the_callers_variables():
    weights = Tensor(X)
    offset = Tensor(BETA, name="b_by_hand")
    product = weights * weights
    result = product + offset
    shown = Shown(draw(result))
    assert {"weights", "b_by_hand", "weights²", "product + b_by_hand", "result"} == {
        shown.title(box)[0] for box in shown.boxes.values()
    }
    assert weights.name is None
    assert result.name is None


def test_names_of_a_loop_and_of_calls():
    def block(h):
        for _ in range(2):
            h = np.tanh(h)
        return h

    def f(x):
        first = block(x)
        y = block(first)
        return y

    shown = show(trace(f)(X))
    labels = [label.split()[0] for *_, label in shown.black if label]
    assert labels == ["h", "h′", "h″"]
    assert {frame.lines[0] for frame in shown.frames.values()} == {"block", "block #2"}
    assert red_labels(trace(f)(X)) == ["dh", "dh′", "dh″", "dh⁽⁴⁾", "dx"]


def test_a_name_given_by_hand_stays():
    def f(x):
        y = np.exp(x)
        y.name = "mine"
        z = y * x
        return z

    shown = show(trace(f)(Tensor(X, name="yours")))
    assert {shown.title(b)[0] for b in shown.boxes.values()} == {
        *("yours", "exp(yours)", "mine · yours", "z")
    }


# --- any name is safe ---------------------------------------------------------------------------

LONGEST = 40  # of a longer name the beginning is shown, and the whole below the picture


def visible(name):
    """How a name is written: on one line, and what cannot be seen is replaced."""
    name = name if len(name) <= LONGEST else name[:24] + "…"
    return "".join("↵" if c == "\n" else c if c.isprintable() else "\ufffd" for c in name)


NASTY = [
    *('"', '\\"', "\\", "a\\", "\\N", "\\G", "\\l", "{a|b}", "<", "<b>", "</b>", ">", "<>", "&"),
    *("&amp;", "&#x27;", "'", "a\nb", "a\r\nb", "a\tb", "\x00", "\x1b[31m", "\x7f", "\ud800"),
    *("\udcff", "\ufffe", "Σ", "γ", "∂L/∂x", "变量", "😀", "👩\u200d🔬", "e\u0301", "a:b", "a:b:c"),
    *("->", "--", ";", "]", "[label=x]", "/*", "//", "#", "]]>", "<!--", "-->", "<?xml", "%s"),
    *("{0}", "$x$", "node", "graph", "subgraph", "strict", "1", "-1.5", ".5", "a b", "x" * 200),
    *("\u202eabc", "\u2028", "<br/>", "<table>", "\\\\", "=", "{", "}", "\\{", "cluster_x", "`"),
]


def named(names):
    """Build a graph with names on inputs, steps, scopes and a constant."""
    first, second, step, scope, constant = names
    x, y = Tensor(X, name=first), Tensor(X, name=second)
    z = x * y
    z.name = step
    z.origin = Origin((scope,))
    out = z * x + 0.3
    out.name = "end"
    out.origin = Origin((scope, scope + "'"), {(out.index, 1): constant})
    return out


def is_written(name, text):
    return text == name or (name.endswith("…") and text.startswith(f"{name} ("))


def assert_safe(names):
    out = named(names)
    for options in (
        {"detail": "primitives", "values": True},
        {"view": "joint"},
        {"view": "backward"},
        {"step": 1},
    ):
        picture = draw(out, **options)
        picture.source.encode("utf-8")
        assert draw(out, **options).source == picture.source
        svg = picture.pipe("svg")
        found = texts(svg)
        assert ET.fromstring(svg).tag == f"{SVG}svg"
        if options.get("view") == "backward":
            continue
        for tensor in reachable([out]):
            if tensor.op is None and len(set(names[:3])) == 3:
                wanted = visible(tensor.name).strip()
                assert any(is_written(wanted, text) for text in found), (options, wanted, found)
    found = texts(draw(out, detail="primitives").pipe("svg"))
    if len(set(names[:3])) == 3:
        assert any(is_written(visible(names[2]).strip(), text) for text in found)
    assert any(visible(names[3])[:30].strip() in text for text in found)
    nodes = pygraphviz.AGraph(string=draw(out).source).nodes()
    assert len(nodes) == len(set(nodes)) == 5


@pytest.mark.parametrize("name", NASTY)
def test_a_nasty_name_is_safe(name):
    assert_safe([name, name + "b", name + "c", name + "d", name + "e"])


@pytest.mark.slow
@settings(deadline=None, max_examples=examples(40), suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.text(st.characters(codec=None, categories=None), min_size=1, max_size=12)
        | st.sampled_from(NASTY),
        min_size=5,
        max_size=5,
    )
)
def test_any_name_is_safe(names):
    assert_safe(names)


def test_a_tensor_with_the_empty_name():
    svg = draw(Tensor(2.0, name="") * 3).pipe("svg")
    assert ET.fromstring(svg).tag == f"{SVG}svg"


# --- too many boxes -----------------------------------------------------------------------------


def chain(n):
    def f(x):
        h = x
        for _ in range(n):
            h = np.tanh(h)
        return h

    return trace(f)(X)


def counts(picture):
    """Count boxes and arrows in DOT text, which may be too large to lay out."""
    lines = [line.strip() for line in picture.source.splitlines()]
    arrows = sum(" -> " in line for line in lines)
    boxes = sum(bool(re.match(r"\w+ \[label=<", line)) and " -> " not in line for line in lines)
    return boxes, arrows


OPTIONS = [pytest.param(o, id="-".join(o.values())) for o in ALL_OPTIONS]


@pytest.mark.parametrize("options", OPTIONS)
def test_more_than_can_be_read_is_folded_with_a_note(options):
    shown = draw(chain(MOST_BOXES + 100), **options)
    boxes, arrows = counts(shown)
    assert 100 <= boxes <= MOST_BOXES + 1  # and the end of the main line
    assert arrows <= 3 * boxes
    assert re.search(
        r"<tr><td [^>]*><font [^>]*>(too large for .*; )?\d+ \w+, folded .* boxes</font></td></tr>",
        shown.source,
    )
    assert "folded" not in draw(chain(20), **options).source


@pytest.mark.parametrize("view", ["backward", "joint"])
def test_both_passes_of_a_middling_graph_fit_too(view):
    out = chain(200)  # 200 steps, but some 800 primitives of both passes
    for detail in ("steps", "primitives"):
        picture = draw(out, view=view, detail=detail)
        assert counts(picture)[0] <= MOST_BOXES + 1


@pytest.mark.slow
def test_ten_thousand_steps_are_folded_into_a_picture():
    picture = draw(chain(10**4))
    boxes, _ = counts(picture)
    assert 100 <= boxes <= MOST_BOXES + 1
    assert "10000 steps, folded in order into " in picture.source
    shown = Shown(picture)
    assert len(shown.black) == len(shown.red) == boxes - 1


@pytest.mark.slow
@pytest.mark.parametrize("options", OPTIONS)
def test_thousands_of_steps_are_folded_in_every_view(options):
    assert counts(draw(chain(2000), **options))[0] <= MOST_BOXES + 1


@pytest.mark.slow
def test_folded_boxes_share_their_arrows():
    def f(x, w):
        for _ in range(5000):
            x = np.tanh(x * w)
        return x

    boxes, arrows = counts(draw(trace(f)(X, X.copy())))
    assert boxes <= MOST_BOXES + 1
    assert arrows <= 6 * boxes


CALLS = [f" #{k}" for k in range(2, 11)]


@pytest.mark.slow
def test_functions_are_folded_before_steps():
    def inner(h):
        for _ in range(10):
            h = np.tanh(h)
        return h

    def outer(h):
        for _ in range(10):
            h = inner(h)
        h = h + 1.0
        return h

    def f(x):
        for _ in range(10):
            x = outer(x)
        y = np.exp(x)
        return y

    shown = show(trace(f)(X))
    titles = [shown.title(box) for box in shown.boxes.values()]
    groups = [title[0] for title in titles if re.match(r"inner( #\d+)?: 10 steps$", title[0])]
    assert Counter(groups) == {f"inner{k}: 10 steps": 10 for k in ["", *CALLS]}
    assert "1011 steps, folded by function into" in shown.legend
    assert {frame.lines[0] for frame in shown.frames.values()} == {
        f"outer{k}" for k in ["", *CALLS]
    }
    assert sum(title[0].startswith("exp(") for title in titles) == 1
    assert len(shown.boxes) == 100 + 10 + 1 + 1 + 1

    def g(x):
        for _ in range(6):
            x = f(x)
        return x

    shown = show(trace(g)(X))
    titles = [shown.title(box)[0] for box in shown.boxes.values()]
    assert next(t for t in titles if t.startswith("outer")).endswith(": 101 steps")
    assert not any(title.startswith("inner") for title in titles)
    assert {frame.lines[0] for frame in shown.frames.values()} == {
        "f",
        *(f"f #{k}" for k in range(2, 7)),
    }


@pytest.mark.slow
def test_a_deep_network_of_nested_functions_is_readable():
    def unit(h, depth):
        if depth == 0:
            h = np.tanh(h)
            return h
        for _ in range(4):
            h = unit(h, depth - 1)
        return h

    shown = show(trace(unit)(X, 6))
    assert 50 <= len(shown.boxes) <= MOST_BOXES
    assert "4096 steps, folded by function into" in shown.legend
    for tail, head, _ in shown.black:
        assert shown.boxes[tail].x < shown.boxes[head].x


def test_many_inputs_are_folded_too():
    total = Tensor(1.0, name="start")
    for k in range(1200):
        total = total + Tensor(float(k), name=f"w{k}")
    picture = draw(total)
    assert counts(picture)[0] <= MOST_BOXES + 1
    assert "1201 inputs" in picture.source
    assert "folded" in picture.source


@pytest.mark.slow
def test_a_formula_of_ten_to_the_five_primitives_does_not_recurse():
    y = Tensor(X, name="x")
    for _ in range(10**4):
        y = np.tanh(y)
    for options in ALL_OPTIONS:
        picture = draw(y, **options)
        assert counts(picture)[0] <= MOST_BOXES + 1
    assert "…" in draw(y).source


# --- mistakes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"view": "sideways"}, r"view.*'sideways'.*circuit.*forward.*backward.*joint"),
        ({"detail": "atoms"}, r"detail.*'atoms'.*steps.*primitives"),
        ({"direction": "UP"}, r"direction.*'UP'.*LR"),
        ({"view": None}, r"view.*None"),
        ({"step": 10}, r"no step 10; the steps are 0 to 9"),
        ({"step": -1}, r"no step -1; the steps are 0 to 9"),
        ({"step": "7"}, r"step"),
        ({"step": 7, "view": "joint"}, r"step=7 is a picture of its own"),
        ({"step": 7, "detail": "primitives"}, r"leave view and detail out"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        draw(batchnorm(), **options)


@pytest.mark.parametrize("thing", [None, X, 3.0, "out", [X], [None], {}])
def test_only_tensors_are_drawn(thing):
    with pytest.raises(TypeError, match="must be a Tensor"):
        draw(thing)


def test_no_output():
    with pytest.raises(ValueError, match="no output"):
        draw([])


def test_values_of_a_graph_without_values():
    with pytest.raises(ValueError, match=r"holds no values.*values=True"):
        draw(Graph.capture(batchnorm()), values=True)


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ({"view": "backward"}, "view 'backward'"),
        ({"view": "joint"}, "view 'joint'"),
        ({"step": 3}, "step"),
        ({"step": 0}, "step"),
    ],
)
def test_the_backward_pass_of_a_forward_graph(options, asked):
    with pytest.raises(ValueError, match=f"{asked}.*needs a backward pass.*wrt"):
        draw(Graph.capture(batchnorm()), **options)


def test_with_respect_to_something_else():
    with pytest.raises(ValueError, match="do not depend"):
        draw(batchnorm(), wrt=[Tensor(1.0, name="elsewhere")])


# --- the same at every run ----------------------------------------------------------------------

SCRIPT = """
import sys
sys.path[:0] = {tests!r}
from test_views import *
for make in SUBJECTS.values():
    out = make()
    for options in ALL_OPTIONS:
        sys.stdout.buffer.write(draw(out, **options).source.encode())
"""


@pytest.mark.slow
def test_text_is_the_same_at_every_run_and_hash_seed():
    folders = [os.path.dirname(__file__), os.path.dirname(os.path.dirname(__file__))]
    runs = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT.format(tests=folders)],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("0", "4242")
    ]
    assert runs[0] == runs[1]
    assert runs[0].count(b"digraph") == len(SUBJECTS) * len(ALL_OPTIONS)
    here = batchnorm()
    for options in ALL_OPTIONS:
        assert draw(here, **options).source.encode() in runs[0]
        assert draw(here, **options).source == draw(batchnorm(), **options).source


def test_drawing_changes_nothing():
    out = batchnorm()
    out.backward(upstream(RNG, out))
    before = [(n.name, n.grad.tobytes()) for n in reachable([out])]
    draw(out, values=True)
    assert [(n.name, n.grad.tobytes()) for n in reachable([out])] == before


@pytest.mark.parametrize(
    ("view", "usual", "literal"),
    [
        ("circuit", "2 · x²", "x · 2 · x"),
        ("forward", "y + x", "y + (−−x)"),
        ("backward", "dx1 = dz", "dx1 = −−dz"),
    ],
)
def test_formulas_say_what_runs_where_that_is_asked_for(view, usual, literal):
    def f(x):
        y = x * 2 * x
        z = y + np.negative(-x)
        return z

    out = trace(f)(RNG.normal(size=3))
    shown = [draw(out, view=view, literal=is_literal).source for is_literal in (False, True)]
    assert [usual in source for source in shown] == [True, False]
    assert [literal in source for source in shown] == [False, True]


def test_what_is_identically_0_is_said_below_the_picture():
    """Of softmax, the gradient through the maximum; not where the maximum counts."""

    def softmax(s):
        e = np.exp(s - np.max(s))
        p = e / np.sum(e)
        return p

    def counts(s):
        m = s - np.max(s)
        return m * m

    softened, counted = (trace(f)(RNG.normal(size=5)) for f in (softmax, counts))
    assert "identically 0: ds2" in draw(softened).source
    assert "identically 0" not in draw(softened, view="forward").source
    assert "identically 0" not in draw(softened, step=2).source
    assert "identically 0" not in draw(counted).source
