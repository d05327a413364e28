"""A gradient of the joint graph knows the edge that it runs along: its operand and its term."""

from collections import defaultdict

import numpy as np
import pytest
from helpers import close, examples, same_bits, upstream
from hypothesis import given, settings
from programs import ANALYTIC, KINKED, execute, programs

from tinygraph import Graph, Tensor
from tinygraph.engine.autodiff import unbroadcast

RNG = np.random.default_rng(12)


def edges(graph):
    return [(g.name, g.operand, g.term) for g in graph.gradients]


def tensor(name, *shape):
    return Tensor(RNG.normal(size=shape), name=name)


def test_two_parts_that_are_one_node_are_two_operands_and_two_terms():
    x = tensor("x", 3)
    graph = Graph.joint(x + x)
    parts = [g for g in graph.gradients if g.kind == "part"]
    assert parts[0].node is parts[1].node
    assert edges(graph) == [("dout", None, 0), ("dx1", 0, 0), ("dx2", 1, 1), ("dx", None, None)]


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda x: x * x, [("dx1", 0, 0), ("dx2", 1, 1)]),
        (lambda x: 2 * x, [("dx", 1, 0)]),
        (lambda x: np.where(x > 0, 0.5, x), [("dx", 2, 0)]),
        (lambda x: np.concatenate([x, RNG.normal(size=2), x]), [("dx1", 0, 0), ("dx2", 2, 1)]),
    ],
)
def test_the_operand_counts_constants_and_what_has_no_gradient(make, expected):
    graph = Graph.joint(make(tensor("x", 3)))
    assert [e for e in edges(graph) if e[0] not in ("dout", "dx") or len(expected) == 1][
        -len(expected) :
    ] == expected


def test_an_output_that_is_used_again_has_its_upstream_gradient_as_first_term():
    x = tensor("x", 3)
    a = np.tanh(x)
    a.name = "a"
    graph = Graph.joint([a, a * a])
    of_a = [g for g in graph.all_gradients if g.of.name == "a"]
    assert [(g.kind, g.operand, g.term) for g in of_a] == [
        ("upstream", None, 0),
        ("part", 0, 1),
        ("part", 1, 2),
        ("sum", None, None),
    ]


def test_a_path_can_be_left_out():
    """Of y = x + x, without dx2: the gradient is dout and not 2 · dout, and not 0."""
    x = tensor("x", 3)
    graph = Graph.joint(x + x)
    dout = RNG.normal(size=3)
    values = graph.run(x=x.data, dout=dout)
    kept = [g for g in graph.gradients if g.of.name == "x" and g.kind == "part" and g.term != 1]
    assert same_bits(sum(values[g.name] for g in kept), dout)


@settings(max_examples=examples(250), deadline=None)
@given(programs(ANALYTIC | KINKED))
def test_every_gradient_is_what_the_rule_of_its_operand_gives(program):
    """And every sum is that of its terms; the edges of the graph have one gradient each."""
    shapes, _, seed = program
    rng = np.random.default_rng(seed)
    leaves = [
        Tensor(rng.normal(size=s), name=n) for n, s in zip(("x", "w", "b"), shapes, strict=False)
    ]
    count = iter(range(99))

    def after(value, k, is_named):
        value.name = value.name or f"v{next(count)}"

    out = execute(program, leaves, ANALYTIC | KINKED, after)
    graph = Graph.joint(out)
    of = {node.name: node for node in graph.inputs}
    dout = upstream(rng, out)
    values = {n: t.data for n, t in zip(("x", "w", "b"), leaves, strict=False) if n in of}
    every = evaluated(graph, values | {graph.gradients[0].name: dout})
    arriving = {g.of.index: g.node for g in graph.all_gradients}
    terms = defaultdict(list)
    for g in graph.all_gradients:
        if g.kind == "sum":
            assert [t.term for t in terms[g.of.index]] == list(range(len(terms[g.of.index])))
            total = sum(every[t.node.index] for t in terms[g.of.index][1:])
            close(every[g.node.index], every[terms[g.of.index][0].node.index] + total, 1e-13)
            continue
        terms[g.of.index].append(g)
        if g.consumer is not None:
            assert g.consumer.inputs[g.operand] is g.of
            operands = [every[x.index] for x in g.consumer.inputs]
            rule = [r for r, _ in zip(g.consumer.op.rules, operands, strict=False)][g.operand]
            arrived = every[arriving[g.consumer.index].index]
            one = rule(arrived, every[g.consumer.index], *operands, **g.consumer.params)
            close(every[g.node.index], unbroadcast(one, every[g.of.index]), 1e-13)
    along = [(g.consumer.index, g.operand) for g in graph.all_gradients if g.consumer]
    assert len(along) == len(set(along))


def evaluated(graph, inputs):
    """Evaluate every node, by index, without `Graph.run`."""
    values = {}
    for node in graph.nodes:
        if node.role == "constant":
            value = node.value if isinstance(node.value, np.ndarray) else float(node.value)
            values[node.index] = value
        elif node.op is None:
            values[node.index] = inputs[node.name]
        else:
            operands = [values[x.index] for x in node.inputs]
            values[node.index] = node.op.forward(*operands, **node.params)
    return values
