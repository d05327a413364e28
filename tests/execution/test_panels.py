"""Sweeps in NumPy: what blocks come to, joined in any order."""

import numpy as np
import pytest
from helpers import close, same_bits
from plans import by_engine, carried_out, joint

from tinygraph import batchnorm
from tinygraph.execution import Plan
from tinygraph.execution.panels import JOINS, joined, kernel_of

RNG = np.random.default_rng(0)


def staged(x, gamma, beta):
    return batchnorm.staged(x, gamma, beta)


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("block", [1, 3, 7, 20])
def test_blocks_of_rows_give_the_whole(block, fast):
    program, arrays = joint(staged, [RNG.normal(size=s) for s in ((20, 3), 3, 3)])
    values = by_engine(program, arrays)
    found = carried_out(Plan.of(program, fast=fast), arrays, block)
    for x, node in zip(found, program.results, strict=True):
        close(x, values[node.index], 1e-14)


def test_what_blocks_come_to_is_joined_in_any_tree():
    program, arrays = joint(
        lambda x: x * (np.max(x, axis=0) + np.sum(x, axis=0)),
        [RNG.integers(-9, 9, size=(8, 3)).astype(float)],
    )
    (region,) = Plan.of(program).parts
    kernel = kernel_of(region, region.sweeps[0])
    x, *_ = arrays.values()
    every = [kernel.run({}, [x[[k]]] * len(kernel.reads), [], 1) for k in range(8)]
    names = kernel.reductions
    level = every
    while len(level) > 1:
        level = [joined(names, *level[k : k + 2]) for k in range(0, len(level), 2)]
    for one, other in zip(joined(names, *every), level[0], strict=True):
        assert same_bits(one, other)  # of whole numbers


def test_every_reduction_can_be_joined():
    def f(x):
        both = np.all(x > 0, axis=0) + 2.0 * np.any(x > 0, axis=0)
        return np.sum(x, axis=0) * both + np.max(x, axis=0)

    program, arrays = joint(f, [RNG.normal(size=(6, 5)) + 1])
    (region,) = Plan.of(program._replace(results=program.results[:1])).parts
    assert {x.op for sweep in region.sweeps for x in sweep.sums} == set(JOINS)
    values = by_engine(program, arrays)
    for block in (1, 2, 6):
        found = carried_out(Plan.of(program), arrays, block)
        close(found[0], values[program.results[0].index], 1e-15)


def test_nan_goes_through_as_in_numpy():
    x = RNG.normal(size=(6, 5))
    x[2, 1], x[4, 3] = np.nan, -np.inf
    program, arrays = joint(lambda x: x - np.max(x, axis=0), [x])
    values = by_engine(program, arrays)
    for block in (1, 4):
        found = carried_out(Plan.of(program), arrays, block)
        for one, node in zip(found, program.results, strict=True):
            np.testing.assert_allclose(one, values[node.index], rtol=1e-13)
