"""The lines of both passes: which gradients have one, under which name."""

import re

import numpy as np
import pytest
from functions import NAMES, make
from helpers import examples
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from programs import ANALYTIC, KINKED, execute, programs

from tinygraph import Graph, Tensor, derive, trace
from tinygraph.writing.languages import LATEX, TEXT
from tinygraph.writing.lines import passes

RNG = np.random.default_rng(4)
WORD = re.compile(r"[\w′″⁽⁾]+")


def backward(out, **options):
    """Give names and formulas of the backward pass."""
    _, made = passes(Graph.joint(out), TEXT, **options)
    return [(line.name, line.formula) for line in made.lines]


def test_both_parts_of_a_square_are_one_line():
    c = Tensor(RNG.normal(size=3), name="c")
    assert backward(c * c) == [("dout", ""), ("dc", "2 · dout · c")]
    assert backward(c * c, literal=True) == [
        ("dout", ""),
        ("dc1", "dout · c"),
        ("dc2", "dout · c"),
        ("dc", "dc1 + dc2"),
    ]


def test_both_parts_of_a_square_have_a_line_each_where_they_are_asked_for():
    c = Tensor(RNG.normal(size=3), name="c")
    parts = [("dc1", "dout · c"), ("dc2", "dout · c"), ("dc", "dc1 + dc2")]
    assert backward(c * c, apart=True) == [("dout", ""), *parts]


def test_lines_say_which_gradients_they_give_and_add_up():
    x = Tensor(RNG.normal(size=3), name="x")
    graph = Graph.joint(x * x + np.sin(x))
    for options in ({}, {"apart": True}, {"literal": True}):
        lines = passes(graph, TEXT, **options)[1].lines
        given = [g.name for line in lines for g in line.gradients]
        assert given == [g.name for g in graph.gradients]
        if "literal" not in options:
            assert [g.name for g in lines[-1].terms] == ["dx1", "dx2", "dx3"]


def test_a_tree_is_what_the_formula_writes():
    """Rewritten nodes know of which node of the graph they have the value."""
    z = Tensor(RNG.normal(size=3), name="z")
    graph = Graph.joint(1 / (1 + np.exp(-z)))
    ((forward,), (_, backward)) = (made.lines for made in passes(graph, TEXT, trees=True))
    assert [str(n.op) for n in forward.tree.inner] == ["sigmoid"]
    assert forward.tree.originals[forward.tree.root.index] == graph.outputs[0].index
    assert backward.formula == "dout · out · (1 − out)"
    assert sorted(str(n.op) for n in backward.tree.inner) == ["mul", "mul", "sub"]
    assert backward.tree.originals[backward.tree.root.index] == graph["dz"].index


def test_where_there_are_others_the_names_of_both_parts_stay():
    c = Tensor(RNG.normal(size=3), name="c")
    assert backward(c * c + np.sin(c)) == [
        ("dout", ""),
        ("dc1", "dout · cos(c)"),
        ("dc2 + dc3", "2 · dout · c"),
        ("dc", "dc1 + dc2 + dc3"),
    ]


def test_products_that_are_no_squares_keep_their_parts():
    a, b = (Tensor(RNG.normal(size=3), name=name) for name in "ab")
    assert backward(a * b + b * a)[1:4] == [
        ("db1", "dout · a"),
        ("da1", "dout · b"),
        ("da2", "dout · b"),
    ]
    assert [name for name, _ in backward(a + a)] == ["dout", "da1", "da2", "da"]


def test_a_gradient_that_is_left_alone_has_the_name_of_the_whole():
    s = Tensor(RNG.normal(size=3), name="s")
    e = np.exp(s - np.max(s))
    e.name = "e"
    out = e / np.sum(e)
    lines = backward(out)
    assert lines[-1] == ("ds", "de · e")
    assert not [name for name, _ in lines if name in ("ds1", "ds2")]
    _, made = passes(Graph.joint(out), LATEX)
    (note,) = made.notes
    assert r"$\max\left(s\right)$" in note


def test_values_are_those_that_a_line_shows():
    """Of one part, of the whole, and of a sum; the line of two parts has half of it."""
    c = Tensor(RNG.normal(size=3), name="c")
    out = np.sum(np.exp(c) * c)
    out.backward()
    graph = Graph.joint(out, values=True)
    for made in passes(graph, TEXT):
        for line in made.lines:
            assert np.array_equal(graph.value(line.value.index), graph.value(line.name))


@pytest.mark.parametrize("form", ["text", "markdown", "latex"])
def test_literal_formulas_are_those_that_run(form):
    x = Tensor(RNG.normal(size=3), name="x")
    out = 1 / (1 + np.exp(-x)) * 2
    shown, literal = derive(out, format=form), derive(out, format=form, literal=True)
    assert "σ" in shown or r"\sigma" in shown
    assert "σ" not in literal
    assert r"\sigma" not in literal


def test_the_source_is_literal_always():
    x = Tensor(RNG.normal(size=3), name="x")
    out = x * 2 * x
    source = derive(out, format="python")
    assert "= x * 2" in source
    assert source == derive(out, format="python", literal=True)


def test_signs_are_explained_where_they_are_seen():
    s = Tensor(RNG.normal(size=(2, 3)), name="s")
    e = np.exp(s - np.max(s, axis=1, keepdims=True))
    for out in (e / np.sum(e, axis=1, keepdims=True), np.sum(e, axis=0), np.exp(np.sum(s))):
        made = passes(Graph.joint(out), TEXT)
        formulas = " ".join(line.formula for one in made for line in one.lines)
        signs = {sign for sign, _ in made[0].symbols}
        assert {sign for sign in ("Σ₀", "Σ₁") if sign in formulas} == signs - {"N"}


def test_a_name_without_a_line_is_written_out():
    """What arrives at a maximum, and goes another way as well, would be called after it."""
    s, t = (Tensor(RNG.normal(size=3), name=name) for name in "st")
    m = np.max(s)
    m.name = "m"
    out = np.log(np.sum(np.exp(s - m))) + m + t * 0
    lines = backward(2 * out * t)
    names = {name for name, _ in lines}
    assert not {"dm", "dm1", "dm2"} & names
    assert not [formula for _, formula in lines if "dm" in formula]


def backward_lines(out, literal):
    return passes(Graph.joint(out), TEXT, literal=literal)[1].lines


def mentioned_too_early(lines):
    """Give the names that a formula mentions above the line that says what they are."""
    names = [set(WORD.findall(line.name)) for line in lines]
    return [
        (line.name, word)
        for k, line in enumerate(lines)
        for word in WORD.findall(line.formula)
        if any(word in later for later in names[k:])
    ]


@pytest.mark.parametrize("literal", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_mentioned_before_it_is_said(name, literal):
    assert mentioned_too_early(backward_lines(make(name), literal)) == []


@settings(max_examples=examples(60), deadline=None)
@given(programs(ANALYTIC | KINKED), st.booleans())
def test_nothing_is_mentioned_before_it_is_said_in_random_programs(program, literal):
    shapes, _, seed = program
    rng = np.random.default_rng(seed)
    leaves = [Tensor(rng.normal(size=s), name=f"x{k}") for k, s in enumerate(shapes)]

    def after(value, k, is_named):
        if is_named and isinstance(value, Tensor) and value.op is not None:
            value.name = f"v{k}"

    with np.errstate(all="ignore"):
        out = execute(program, leaves, ANALYTIC | KINKED, after)
    if not isinstance(out, Tensor) or out.op is None:
        reject()
    assert mentioned_too_early(backward_lines(out, literal)) == []


def test_a_part_that_passes_unchanged_stands_above_what_is_computed_from_it():
    """The gradient of the first a arrives last, and is what the others are computed from."""

    def f(a, b):
        s = -(1 + a - b * b - np.exp(a))
        return s

    out = trace(f)(np.array([0.3, -1.2]), np.array([2.0, 0.7]))
    for literal in (False, True):
        lines = backward_lines(out, literal)
        names = [line.name for line in lines]
        assert names.index("da2") < names.index("da1")
        assert sorted(names)[:3] == ["da", "da1", "da2"]
        assert mentioned_too_early(lines) == []
        assert ("da1", "da2") in mentioned_too_early(sorted(lines, key=lambda line: line.name))
