"""A program without what it does twice, and a joint graph in two programs: the same bits."""

import numpy as np
import pytest
from helpers import examples, same_bits
from hypothesis import given, settings
from programs import ANALYTIC, KINKED, execute, programs

from tinygraph import Graph, Tensor, grad, trace
from tinygraph.engine.autodiff import leaves
from tinygraph.execution import Program
from tinygraph.execution.cutting import VIEWS, cut
from tinygraph.execution.merging import merged
from tinygraph.graph.evaluation import evaluate

OPERATIONS = ANALYTIC | KINKED


def run(program, arrays):
    values = {node.index: x for node, x in zip(program.arguments, arrays, strict=True)}
    with np.errstate(all="ignore"):
        evaluate(program.nodes, values)
    return [values[node.index] for node in program.results]


def arithmetic(program):
    return [str(node.op) for node in program.nodes if node.op is not None]


@settings(max_examples=examples(200), deadline=None)
@given(programs(OPERATIONS))
def test_merged_programs_give_the_same_bits(program):
    shapes, _, seed = program
    rng = np.random.default_rng(seed)
    tensors = [Tensor(rng.normal(size=shape), name=f"x{k}") for k, shape in enumerate(shapes)]
    out = execute(program, tensors, OPERATIONS)
    out = out + np.sum(execute(program, tensors, OPERATIONS)) / 4  # most of it twice
    whole = Program.of(Graph.joint(out))
    smaller = merged(whole)
    dout = np.asarray(rng.normal(size=out.shape)).astype(out.dtype)[()]
    data = {x.name: x.data for x in tensors}
    arrays = [data.get(node.name, dout) for node in whole.arguments]
    assert len(arithmetic(smaller)) <= len(arithmetic(whole))
    assert all(map(same_bits, run(smaller, arrays), run(whole, arrays)))


@settings(max_examples=examples(200), deadline=None)
@given(programs(OPERATIONS))
def test_cut_graphs_give_the_gradients_of_the_engine(program):
    shapes, _, seed = program
    rng = np.random.default_rng(seed)
    tensors = [Tensor(rng.normal(size=shape), name=f"x{k}") for k, shape in enumerate(shapes)]
    out = execute(program, tensors, OPERATIONS)
    used = leaves([out])
    dout = np.asarray(rng.normal(size=out.shape)).astype(out.dtype)[()]
    joint = Graph.joint(out)
    found = {node.name: node for node in joint.inputs}
    backward, kept, positions = cut(joint, [found.get(x.name) for x in [*tensors, Tensor(1.0)]])
    values = {
        node.index: {x.name: x.data for x in used}.get(node.name, dout) for node in joint.inputs
    }
    with np.errstate(all="ignore"):
        evaluate(joint.nodes, values)
    gradients = run(backward, [*(values[node.index] for node in kept), dout])
    assert len(gradients) == len(positions)
    for k, g in zip(positions, gradients, strict=True):
        assert same_bits(g, grad(out, [tensors[k]], dout)[0])
    # What is a view of something is not kept, and no constant is.
    assert not {str(node.op) for node in kept} & VIEWS
    assert all(node.role in ("input", "forward") for node in kept)


@pytest.mark.parametrize(
    ("first", "second", "operations"),
    [
        (lambda x: x / 4, lambda x: x * 0.25, 1),
        (lambda x: 0.25 * x, lambda x: x / 4.0, 1),
        (lambda x: x / -4, lambda x: x * -0.25, 2),  # not worth a rule
        (lambda x: x / 3, lambda x: x * (1 / 3), 2),  # which differ in their last bits
        (lambda x: 4 / x, lambda x: x / 4, 2),
        (lambda x: x / 2**20, lambda x: x * 2**-20, 2),  # in float16, the inverse is no number
        (lambda x: x + 1, lambda x: x + 1.0, 1),
        (lambda x: x - 1, lambda x: 1 - x, 2),
        (lambda x: np.sum(x, axis=0), lambda x: np.sum(x, axis=0, keepdims=True), 2),
        (lambda x: np.sin(x), lambda x: np.sin(x.detach()), 1),
        (lambda x: x * 0.0, lambda x: x * -0.0, 2),
        (
            lambda x: np.where(x > 0, x, 0),
            lambda x: np.where(x > 0, x, 0),
            2,
        ),  # a mask
    ],
)
def test_what_is_merged_is_the_same_to_the_last_bit(first, second, operations):
    for dtype in (np.float64, np.float32):
        scales = [np.finfo(dtype).tiny * 8, 1.0, np.finfo(dtype).max / 64]
        x = (np.random.default_rng(0).normal(size=(5, 3)) * scales).astype(dtype)
        with np.errstate(all="ignore"):
            program = Program.of(Graph.capture(trace(lambda x: (first(x), second(x)))(x)))
        smaller = merged(program)
        assert len(arithmetic(smaller)) == operations
        assert all(map(same_bits, run(smaller, [x]), run(program, [x])))


def test_a_row_of_ones_own_is_not_merged():
    """It may count its calls."""
    from tinygraph.engine.primitive import TABLE, Primitive

    try:
        twice = Primitive("twice", "2", lambda x: x + x, lambda g, out, x: g + g)
        x = Tensor([1.0, 2.0])
        program = Program.of(Graph.capture([twice(x), twice(x)]))
        assert arithmetic(merged(program)) == ["twice", "twice"]
    finally:
        TABLE.pop("twice", None)
