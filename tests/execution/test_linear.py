"""The linear rewrite: what it moves, what it must not split, and how exact it is."""

import numpy as np
import pytest
from helpers import close
from plans import by_engine, carried_out, joint

from tinygraph.execution import Plan

RNG = np.random.default_rng(0)
X, Y, V, W = (RNG.normal(size=s) for s in ((40, 3), (40, 3), (3,), (40, 1)))


def planned(f, *values, fast=True):
    program, _ = joint(f, values)
    (region,) = Plan.of(program._replace(results=program.results[:1]), fast=fast).parts
    return region


def sums(region):
    """Write what each sum over rows adds up."""
    return {written(x.operands[0]) for sweep in region.sweeps for x in sweep.sums}


def written(x):
    if x.name or not x.operands:
        return x.name or repr(x.params["value"])
    if x.over:
        return f"Σ {written(x.operands[0])}"
    return f"{x.op}({', '.join(map(written, x.operands))})"


@pytest.mark.parametrize(
    ("f", "summed"),
    [
        (lambda x, v: np.sum(x * v, axis=0), {"x"}),
        (lambda x, v: np.sum(v * x, axis=0), {"x"}),
        (lambda x, v: np.sum(-x, axis=0), {"x"}),
        (lambda x, v: np.sum(x / v, axis=0), {"x"}),
        (lambda x, v: np.sum(v / x, axis=0), {"inverse(x)"}),
        (lambda x, v: np.sum(-(v * (x * 3)) / v, axis=0), {"x"}),
        (lambda x, v: np.sum((x * v) * (x / v), axis=0), {"mul(x, x)"}),
        (lambda x, v: np.sum(x * v), {"mul(x, v)"}),  # v has the axis as well
        (lambda x, v: np.sum(x + 0 * v + v * x, axis=0), {"add(add(x, mul(0, v)), mul(v, x))"}),
        (lambda x, v: np.sum(np.exp(x * v), axis=0), {"exp(mul(x, v))"}),
        (lambda x, v: np.sum(np.maximum(x * v, 0), axis=0), {"relu(mul(x, v))"}),
    ],
)
def test_what_does_not_depend_on_the_axis_comes_before_the_sum(f, summed):
    assert sums(planned(f, X, V)) == summed


def test_the_sum_of_a_spread_is_a_multiple():
    region = planned(lambda x, v: x * np.sum(np.broadcast_to(v, (40, 3)) * 2.0, axis=0), X, V)
    assert sums(region) == set()
    assert [len(sweep.reads) for sweep in region.sweeps] == [1]
    (count,) = (x for x in region.constants if x.params["value"] == 40)
    assert type(count.params["value"]) is float


def test_a_division_by_a_vector_is_a_product_by_its_inverse():
    region = planned(lambda x, v: x / v, X, V)
    (sweep,) = region.sweeps
    assert [x.op for x in sweep.before] == ["inverse"]
    assert [x.op for x in sweep.segments[0].values] == ["argument", "mul"]
    (strict,) = planned(lambda x, v: x / v, X, V, fast=False).sweeps
    assert [x.op for x in strict.segments[0].values] == ["argument", "div"]


# --------------------------------------------------------------------------- terms


def test_a_difference_is_not_summed_term_by_term():
    """Where p ≈ y, Σ(p − y) is not Σp − Σy, and nothing would be gained."""

    def f(x, y):
        return x * np.sum(x - y, axis=0)

    region = planned(f, X, Y)
    assert len(region.sweeps) == 2
    assert sums(region) == {"sub(x, y)"}
    p = RNG.random((4096, 3)).astype("float32")
    y = p + 1e-6 * RNG.normal(size=p.shape).astype("float32")
    program, arrays = joint(lambda p, y: np.sum(p - y, axis=0), [p, y])
    expected = np.sum(p.astype(float) - y.astype(float), axis=0)
    close(carried_out(Plan.of(program, fast=True), arrays)[0] / expected, np.ones(3), 1e-4)


def test_terms_are_summed_apart_where_that_saves_a_sweep():
    def f(x, y):
        mu = np.sum(x, axis=0)
        total = np.sum(y * mu + y * y, axis=0)
        return total * x

    assert [len(planned(f, X, Y, fast=fast).sweeps) for fast in (False, True)] == [3, 2]
    assert sums(planned(f, X, Y)) == {"x", "y", "mul(y, y)"}


def test_no_more_terms_are_summed_apart_than_that_takes():
    """Two sums are known too late, one of them because of the other alone."""

    def f(x, y):
        mu = np.sum(x, axis=0)
        first = np.sum(y * mu + x, axis=0)
        second = np.sum((x - y) * first, axis=0)
        return second * x

    region = planned(f, X, Y)
    assert len(region.sweeps) == 2
    assert "sub(x, y)" in sums(region)
    assert {"x", "y"} <= sums(region)


def test_centred_values_are_not_summed_as_they_were():
    """Σ(x − mu) = Σx − N·mu would be known a sweep earlier, and is needed no earlier."""

    def f(x, v):
        xmu = x - np.mean(x, axis=0)
        var = np.mean(xmu**2, axis=0)
        return xmu / np.sqrt(var + 1e-5) + np.sum(xmu, axis=0) * v

    region = planned(f, X, V)
    assert len(region.sweeps) == 3
    assert sums(region) == {"x", "square(xmu)", "xmu"}


def test_masks_and_counts_are_summed_as_they_are():
    def f(x, v):
        return np.sum((x > v) * x, axis=0) / np.sum(x > v, axis=0)

    program, arrays = joint(f, [X, V])
    found = carried_out(Plan.of(program, fast=True), arrays)
    values = by_engine(program, arrays)
    for x, node in zip(found, program.results, strict=True):
        close(x, values[node.index], 1e-14)


def test_names_stay():
    def f(x, v):
        dgamma = np.sum(x * v, axis=0)
        scaled = x * dgamma
        return scaled

    region = planned(f, X, V)
    names = {x.name for sweep in region.sweeps for x in sweep.before}
    assert "dgamma" in names
    assert [x.name for x in region.results] == ["scaled"]
