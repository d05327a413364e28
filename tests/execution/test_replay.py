"""Replay gives the engine's bits, in memory of its own, whatever is computed and whoever calls."""

import numpy as np
from helpers import examples, same_bits
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import ANALYTIC, KINKED, execute, programs

from tinygraph import Graph, Tensor, grad
from tinygraph.engine.autodiff import is_discrete, leaves
from tinygraph.execution import Program, Replay

OPERATIONS = ANALYTIC | KINKED


def upstream(rng, out):
    g = np.asarray(rng.normal(size=out.shape)).astype(out.dtype)
    if out.dtype.kind == "c":
        g = g + 1j * rng.normal(size=out.shape).astype(out.dtype)
    return g[()]


def replayed(out, dout, *, wrt=None):
    """Give the replay of an output and its gradients, what it is called with, and what to expect.

    What is expected is the engine's own.
    """
    graph = Graph.joint(out)
    wrt = [x for x in leaves([out]) if x.index in graph_of(graph, out)] if wrt is None else wrt
    program = Program.of(graph, [x.name for x in wrt])
    data = {x.name: x.data for x in all_leaves(out)}
    arrays = [data.get(node.name, dout) for node in program.arguments]
    expected = [out.data, *grad(out, wrt, dout)]
    return Replay(program, arrays), arrays, expected


def all_leaves(out):
    found, stack, seen = [], [out], set()
    while stack:
        node = stack.pop()
        if node.index not in seen:
            seen.add(node.index)
            if node.op is None:
                found.append(node)
            stack += [x for x in node.inputs if isinstance(x, Tensor)]
    return found


def graph_of(graph, out):
    arrived = {g.of.name for g in graph.all_gradients}
    return {x.index for x in all_leaves(out) if x.name in arrived}


def agree(found, expected):
    for k, (a, b) in enumerate(zip(found, expected, strict=True)):
        assert same_bits(a, b), f"result {k}: {a} for {b}"


def check(out, dout):
    replay, arrays, expected = replayed(out, dout)
    before = [np.array(a) for a in arrays]
    first = replay(*arrays)
    agree(first, expected)
    kept = [np.array(a) for a in first]
    agree(replay(*arrays), expected)
    agree(first, kept)  # a later call does not write into what an earlier one gave
    agree(arrays, before)
    for a in first:
        if isinstance(a, np.ndarray):
            assert a.flags.writeable
            assert not any(
                np.shares_memory(a, b)
                for b in (*arrays, *(x for x in first if x is not a))
                if isinstance(b, np.ndarray)
            )
    return replay


@settings(max_examples=examples(400))
@given(programs(OPERATIONS), st.sampled_from("dfeFDg"))
def test_any_program_of_any_dtype(program, dtype):
    shapes, _, seed = program
    rng = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    values = [rng.normal(size=shape).astype(dtype) for shape in shapes]
    operations = ANALYTIC if dtype.kind == "c" else OPERATIONS
    program = (program[0], [i for i in program[1] if i[0] in operations], seed)
    xs = [Tensor(v, name=f"x{k}") for k, v in enumerate(values)]
    with np.errstate(all="ignore"):
        out = execute(program, xs, operations)
        if not isinstance(out, Tensor) or is_discrete(out) or not leaves([out]):
            return
        check(out, upstream(rng, out))
