"""What of a graph is computed."""

import numpy as np
import pytest

from tinygraph import Graph, Tensor, batchnorm
from tinygraph.execution import Program


def graph():
    rng = np.random.default_rng(0)
    x = Tensor(rng.normal(size=(4, 3)), name="x")
    gamma, beta = (Tensor(rng.normal(size=3), name=name) for name in ("gamma", "beta"))
    return Graph.joint(batchnorm.staged(x, gamma, beta))


def names(program, nodes):
    return [program.names[node.index] for node in nodes]


def test_the_order_of_nodes_is_that_of_the_graph_and_nothing_stands_idle():
    program = Program.of(graph(), wrt=["beta"])
    indices = [node.index for node in program.nodes]
    assert indices == sorted(set(indices))
    assert names(program, program.results) == ["out", "dbeta"]
    assert "dx" not in program.names.values()
    seen = set()
    for node in program.nodes:
        assert {x.index for x in node.inputs} <= seen
        seen.add(node.index)


def test_gradients_come_in_the_order_asked_for_or_in_that_of_the_inputs():
    whole, part = Program.of(graph()), Program.of(graph(), ["beta", "x"])
    assert names(whole, whole.results) == ["out", "dx", "dgamma", "dbeta"]
    assert names(part, part.results) == ["out", "dbeta", "dx"]
    assert names(part, part.arguments) == ["x", "gamma", "beta", "dout"]


def test_the_forward_pass_alone_asks_for_no_upstream_gradient():
    program = Program.of(graph(), backward=False)
    assert names(program, program.arguments) == ["x", "gamma", "beta"]
    assert names(program, program.results) == ["out"]
    assert {node.role for node in program.nodes} == {"input", "constant", "forward"}


def test_what_has_no_gradient_is_named():
    with pytest.raises(ValueError, match="no gradient by 'eps'; there are those by x, gamma, beta"):
        Program.of(graph(), wrt=["eps"])
