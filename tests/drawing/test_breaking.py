"""Long texts: broken at operators, or numbered below the picture, and never cut."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from functions import make
from helpers import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from svg import texts

from tinygraph import Tensor, draw, nn, trace
from tinygraph.drawing.breaking import broken, filled
from tinygraph.drawing.typography import width

RULE = "dgamma = (Σ₀ dout · (z − 1/N Σ₀ z)) · 1/√(1/N Σ₀ (z − mu)² + eps) + dother, more"


@pytest.mark.parametrize(
    ("text", "widest", "loosely", "expected"),
    [
        ("x + y", 100, None, ["x + y"]),
        ("dgamma = Σ dgammax · xhat", 175, 92, ["dgamma =", "Σ dgammax · xhat"]),
        ("dx = dx1 + dx2 + dx3 + dx4", 175, 92, ["dx =", "dx1 + dx2 + dx3", "+ dx4"]),
        ("f(alpha + beta) · gamma", 90, None, ["f(alpha + beta)", "· gamma"]),
        ("f(alpha, beta, gamma)", 80, None, ["f(alpha, beta,", "gamma)"]),
        ("a−b", 1, None, ["a−b"]),
        ("−a", 1, None, ["−a"]),
    ],
)
def test_where_a_text_is_broken(text, widest, loosely, expected):
    assert broken(text, widest, loosely) == expected


def test_brackets_stay_whole_where_they_fit():
    lines = broken(RULE, 150)
    assert all(width(line) <= 150 for line in lines)
    assert "· 1/√(1/N Σ₀ (z − mu)² + eps)" in lines


def test_an_operator_is_broken_before_and_an_equals_sign_after():
    lines = broken("a = b + c · d − e / f @ g", 1)
    assert lines == ["a =", "b", "+ c", "· d", "− e", "/ f", "@ g"]


TEXT = st.text(st.sampled_from(list("abxyz()[]+−·/@,= ")), max_size=60)


@settings(deadline=None, max_examples=examples(200))
@given(TEXT, st.floats(1, 400))
def test_breaking_loses_nothing(text, widest):
    for lines in (broken(text, widest), filled(text, widest)):
        assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert all(width(line) <= widest or len(line) == 1 for line in filled(text, widest))


# --- in pictures --------------------------------------------------------------------------------


def polynomial(x, *, terms=14):
    """One step of many terms, as a generated program has them."""
    coefficients = [0.123456 + k for k in range(terms)]
    y = sum(c * np.exp(-(x**k)) for k, c in enumerate(coefficients, 3))
    return y


def joined(svg):
    return " ".join(texts(svg))


@pytest.mark.parametrize("view", ["circuit", "forward", "backward", "joint"])
@pytest.mark.parametrize("detail", ["steps", "primitives"])
def test_what_is_too_long_stands_below_the_picture(view, detail):
    out = trace(polynomial)(np.array([0.5, 0.7]))
    picture = draw(out, view=view, detail=detail)
    written = joined(picture.pipe("svg"))
    assert "…" not in written.replace("dx1 … dx14", "")
    if view == "backward" and detail == "primitives":
        return
    places = re.findall(r"\((\d+)\)", " ".join(" ".join(t) for t in labels(picture)))
    listed = [int(rule) for rule in re.findall(r"\((\d+)\)\s{2}", legend(picture))]
    assert listed == list(range(1, len(listed) + 1))
    assert set(map(int, places)) >= set(listed)
    if (view, detail) == ("forward", "steps"):
        assert listed == [1]
        assert [line for lines in labels(picture) for line in lines if "(1)" in line] == ["y (1)"]
        assert "13.123456 · exp(−x^16)" in legend(picture)


def labels(picture):
    return [[line.text for line in block.lines] for block in picture.sheet.blocks.values()] + [
        [frame.title.text] for frame in picture.sheet.frames.values()
    ]


def legend(picture):
    root = ET.fromstring(picture.pipe("svg"))
    (group,) = (g for g in root.iter() if g.get("id") == "legend")
    return " ".join((e.text or "").replace("\xa0", " ") for e in group)


def test_rules_fill_lines_that_are_as_wide_as_the_picture():
    picture = draw(trace(polynomial)(np.array([0.5, 0.7])), view="forward")
    rows = list(picture.sheet.rule_rows(300))
    assert len(rows) >= 4
    assert all(row.width <= 300 for row in rows)
    assert sum(row.width for row in rows) > 0.8 * 300 * (len(rows) - 1)
    assert picture.natural_width() < 440


def test_many_gradients_of_one_road_share_a_label():
    picture = draw(trace(polynomial)(np.array([0.5, 0.7])))
    (road,) = (r for r in picture.sheet.roads if len(r.strokes) > 2)
    assert [line.text for line in road.lines] == ["dx1 … dx14"]
    assert len(road.strokes) == 15
    assert len({stroke.title for stroke in road.strokes}) == 15
    assert 2 * road.reach < 25


def test_the_text_for_other_programs_holds_the_rules_too():
    picture = draw(trace(polynomial)(np.array([0.5, 0.7])), view="forward")
    source = picture.source.replace('<br align="left"/>', "")
    assert "(1)" in source
    assert "13.123456 · exp(−x^16)" in source


def test_a_long_name_is_shown_in_full_once():
    name = "the_" + "very_" * 60 + "long_one"
    picture = draw(Tensor([1.0, 2.0], name=name) * 3)
    written = joined(picture.pipe("svg"))
    assert f"{name[:24]}… (" in written
    assert name in re.sub(r"\s", "", legend(picture))


def test_rules_of_a_composite_are_named():
    model = nn.MLP(3, 4, 2, batchnorm=True, staged=False, rng=0)
    out = trace(lambda x: model(x))(np.random.default_rng(0).normal(size=(5, 3)))
    for options in ({}, {"view": "backward"}):
        written = joined(draw(out, **options).pipe("svg"))
        assert "gamma, by batchnorm's rule" in written
        assert "gamma =" not in written


def test_a_sum_of_many_paths_is_broken():
    def f(x):
        y = x * x + np.exp(x) * np.sin(x) - np.tanh(x) / np.cos(x)
        return y

    (block,) = (b for b in draw(trace(f)(np.ones(2))).sheet.blocks.values() if b.ident == "n0")
    lines = [line.text for line in block.lines]
    assert lines[2:] == ["dx =", "dx1 + dx2 + dx3 + dx4", "+ dx5 + dx6", "6 paths add up"]


def test_short_labels_are_left_alone():
    picture = draw(make("staged"))
    assert picture.sheet.rules == []
