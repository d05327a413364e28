"""Orders: how values lie in memory, which labels are rows, which are one loop."""

import numpy as np
import pytest
from helpers import same_bits
from plans import by_engine, carried_out, joint

from tinygraph.execution import Plan, Unsupported
from tinygraph.execution.labels import Labels
from tinygraph.execution.orders import also_rows, groups, in_memory, laid_out, rows_first
from tinygraph.execution.values import Label


def test_arrays_agree_on_one_order():
    assert in_memory([(1, 2), (2, 3), (1, 3)], []) == [1, 2, 3]
    assert in_memory([(3,), (2, 3), (1, 2)], []) == [1, 2, 3]
    assert in_memory([(1, 2)], [(2, 1), (3, 1)]) == [3, 1, 2]  # of those within, as many as can
    with pytest.raises(Unsupported, match="another order in memory"):
        in_memory([(1, 2), (2, 3), (3, 1)], [])


def test_rows_are_outermost_and_carry_most():
    lengths = {1: 5, 2: 9, 3: 2}
    assert rows_first([1, 2, 3], [(1, 3), (2, 3)], [], lengths) == [2, 1, 3]
    assert rows_first([1, 2, 3], [(1, 2), (2, 3)], [], lengths) == [1, 2, 3]
    assert rows_first([1, 2, 3], [(1, 3), (2, 3)], [(1, 2)], lengths) == [1, 2, 3]
    assert rows_first([1, 2, 3], [(1, 3), (2, 3)], [(1, 2), (2, 1)], lengths) == [2, 1, 3]


def test_other_rows_of_that_length_are_rows_where_they_never_meet():
    lengths = {1: 9, 2: 3, 3: 9, 4: 9, 5: 3}
    arrays = [(1, 2), (3, 5), (4, 2)]
    assert also_rows([1, 2, 3, 4, 5], arrays, arrays, lengths) == [3, 4]
    assert also_rows([1, 2, 3, 4, 5], arrays, [*arrays, (1, 3)], lengths) == [4]
    assert also_rows([1, 2, 3, 4, 5], arrays, [*arrays, (3, 4)], lengths) == [3]
    assert also_rows([1, 2, 3, 4, 5], [*arrays, (2, 3)], arrays, lengths) == [4]
    assert also_rows([1, 2, 3, 4, 5], arrays, arrays, lengths | {3: 8}) == [4]


def test_labels_that_always_occur_together_are_one_loop():
    n, c, h, w = (Label(k, 5, name) for k, name in enumerate("NCHW"))
    whole = [(n, c, h, w)]
    assert [*groups((n, c, h, w), whole)] == [(n, c, h), (w,)]
    assert [*groups((n, c, h, w), [*whole, (c,)])] == [(n,), (c,), (h, w)]
    assert [*groups((n, c, h, w), [*whole, (n, c)])] == [(n, c), (h, w)]
    assert [*groups((n, c), [(n, c)])] == [(n,), (c,)]
    assert [*groups((n,), [(n,)])] == [(n,)]
    assert [*groups((), [])] == []


# --------------------------------------------------------------------------- as NumPy has it

RNG = np.random.default_rng(0)
X, V, R, A, B = (RNG.normal(size=s) for s in ((50, 40), (40,), (50, 1), (200,), (300,)))

PLANNED = {
    "outer": (lambda a, b: np.sum(a[:, None] * b[None], axis=0) * b, (A, B)),
    "outer of all": (lambda a, b: np.sum(np.exp(a[:, None] - b[None])), (A, B)),
    "along": (lambda a, b: np.sum(a[:, None] * b[None], axis=1) * a, (A, B)),
    "turned": (lambda x, v: np.sum(x.T * v[:, None], axis=0), (X, V)),
    "turned, rows": (lambda x, v: np.sum(x.T * v[:, None], axis=1), (X, V)),
    "turned, all": (lambda x, v: np.sum(np.exp(x.T) * v[:, None]), (X, V)),
    "turned back": (lambda x, v, r: np.sum((v[:, None] * r.T).T * x, axis=1), (X, V, R)),
}
REFUSED = {
    "as written": (lambda v, r: np.sum((v[:, None] * r.T).T * r, axis=0), (V, R)),
    "along": (lambda x, v, r: np.sum((v[:, None] * r.T).T, 1) + np.sum(x, 1), (X, V, R)),
    "copied": (lambda x: np.sum(np.reshape(np.tanh(x.T), -1)) * x, (X,)),
}


@pytest.mark.parametrize("name", PLANNED)
def test_sums_are_numpys_in_whatever_order_it_adds(name):
    f, values = PLANNED[name]
    program, arrays = joint(f, values)
    expected = by_engine(program, arrays)
    found = carried_out(Plan.of(program), arrays)
    for x, node in zip(found, program.results, strict=True):
        assert same_bits(x, expected[node.index])


@pytest.mark.parametrize("name", REFUSED)
def test_a_strict_plan_refuses_another_order(name):
    f, values = REFUSED[name]
    program, arrays = joint(f, values)
    with pytest.raises(Unsupported, match="lies in another order in memory"):
        Plan.of(program)
    expected = by_engine(program, arrays)
    for x, node in zip(
        carried_out(Plan.of(program, fast=True), arrays), program.results, strict=True
    ):
        np.testing.assert_allclose(x, expected[node.index], rtol=1e-10)


@pytest.mark.parametrize("name", [*PLANNED, *REFUSED])
def test_the_order_in_memory_is_that_of_the_engine(name):
    f, values = (PLANNED | REFUSED)[name]
    program, arrays = joint(f, values)
    labels = Labels(program.nodes)
    orders = laid_out(program.nodes, {x.index for x in program.arguments}, labels)
    values = by_engine(program, arrays)
    for node in program.nodes:
        steps = np.asarray(values[node.index]).strides
        whole = zip(labels.of(node), steps, strict=True)
        step = {parts[0]: n for parts, n in whole if len(parts) == 1 and n}
        if len(step) == len(labels.flat(node)):
            assert orders[node.index] == tuple(sorted(step, key=lambda part: -step[part]))
