"""The order in which NumPy adds, over many rows and over arrays that lie otherwise in memory.

Along the contiguous axis NumPy adds pairwise, and the error grows as log N. Over the rows of a
C-ordered (N, D) array with D > 1 it adds one row after the other, and the error grows as N: in
float32, out is off by 3e-6 at a thousand rows, and in its second digit at ten million.

Errors are given in |gamma| for out, |gamma|/√(var + eps) · max|dout| for dx, Σ|dout| for dgamma and
dbeta, against sums in longdouble. "Measured" is on NumPy 2.4.
"""

import tracemalloc

import numpy as np
import pytest
from rounding import EPS, WAYS, drawn, errors, every_way

from tinygraph.batchnorm.formulas import _sum_of_products, closed_form

PAIRWISE = {"out": 4e-6, "dx": 7e-7, "dgamma": 1e-9, "dbeta": 1e-9}


def check(found, bounds, *batch):
    worst = errors(found, *batch)
    for name, bound in bounds.items():
        assert worst[name] <= bound, worst


# --- many rows ------------------------------------------------------------------------------------


@every_way
def test_a_hundred_thousand_rows_of_two_columns(way):
    """Measured: out 4.8e-5, dx 1.1e-5, dgamma 5.5e-8, dbeta 1.6e-8; bounds: twice that."""
    batch = drawn((10**5, 2), mean=3)
    check(way(*batch, EPS), {"out": 1e-4, "dx": 2.2e-5, "dgamma": 1.1e-7, "dbeta": 3.2e-8}, *batch)


@every_way
def test_a_million_rows_of_one_column_are_added_pairwise(way):
    """Measured: as in the test below; bounds: PAIRWISE."""
    batch = drawn((10**6, 1), mean=3)
    check(way(*batch, EPS), PAIRWISE, *batch)


@pytest.mark.slow
def test_ten_million_rows_of_one_column_are_added_pairwise():
    """Measured: out 9.4e-7, dx 1.7e-7, dgamma 2.1e-10, dbeta 2.3e-11; bounds: PAIRWISE."""
    batch = drawn((10**7, 1), mean=3)
    check(WAYS["staged"](*batch, EPS), PAIRWISE, *batch)


@pytest.mark.slow
def test_ten_million_rows_of_two_columns_are_added_one_by_one():
    """Near 10⁷ a float32 is rounded to 1, and so is every square on its way into the sum.

    Measured: out 4.8e-2, dx 8.0e-3, dgamma 4.2e-6, dbeta 3.0e-8; bounds: twice that. PyTorch's
    errors are the same. With a mean of 100 instead of 3, Σ x is so far off that out is wrong by 5.8
    gamma: take float64, or Fortran order (see below).
    """
    batch = drawn((10**7, 2), mean=3)
    bounds = {"out": 0.1, "dx": 1.6e-2, "dgamma": 8.4e-6, "dbeta": 6e-8}
    check(WAYS["staged"](*batch, EPS), bounds, *batch)


@every_way
def test_in_fortran_order_every_column_is_added_pairwise(way):
    """A million rows, whose out is off by 1.1e-3 in C order.

    Measured: out 1.0e-6, dx 2.2e-7, dgamma 4.5e-10, dbeta 1.2e-10; bounds: PAIRWISE.
    """
    x, gamma, beta, dout = drawn((10**6, 2), mean=3)
    batch = np.asfortranarray(x), gamma, beta, np.asfortranarray(dout)
    check(way(*batch, EPS), PAIRWISE, *batch)


@every_way
@pytest.mark.parametrize("rows", [2000, 60000])
def test_float16_of_many_rows(way, rows):
    """Added in float32 and rounded once.

    Measured: out 5.8e-3, dx 1.3e-3, dgamma 1.4e-5; bounds: twice that. Added in float16, out would
    be off by 4.1 at 70000 rows.
    """
    batch = drawn((rows, 2), dtype="float16")
    check(way(*batch, EPS), {"out": 1.2e-2, "dx": 2.6e-3, "dgamma": 2.8e-5}, *batch)


@every_way
def test_a_sum_beyond_float16_is_a_warning(way):
    """70000 squares add up to more than 65504, the largest float16."""
    with pytest.warns(RuntimeWarning, match="overflow"):
        way(*drawn((70000, 2), dtype="float16"), EPS)


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((10**4, 1), 0), ((1, 10**6), 1), ((100, 100, 1), (0, 1)), ((1000, 2, 5), (0, 1, 2))],
    ids=repr,
)
def test_products_along_the_contiguous_axis_are_added_pairwise(shape, axis):
    """Measured: 0.31 u, and 0.8 to 2.8 u by the einsum that serves rows; bound: 0.6."""
    x = np.random.default_rng(0).standard_normal(shape, "float32")
    axes = (axis,) if isinstance(axis, int) else axis
    right = np.sum(x.astype(np.longdouble) ** 2, axis=axes)
    found = _sum_of_products(x, x, axes, False)
    assert np.max(np.abs(found / right - 1)) < 0.6 * np.finfo("float32").eps


# --- memory ---------------------------------------------------------------------------------------


def peak(f, *arrays, **options):
    """Give the memory that a call needs at its height, in arrays of the size of the first."""
    tracemalloc.start()
    try:
        f(*arrays, **options)
        return tracemalloc.get_traced_memory()[1] / arrays[0].nbytes
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", [(0,), (1,), (0, 1), (0, 2), (2,)], ids=repr)
def test_rows_of_products_are_added_along_any_axes(axis, keepdims):
    a, b = np.random.default_rng(0).normal(size=(2, 4, 3, 5))
    expected = np.sum(a * b, axis=axis, keepdims=keepdims)
    found = _sum_of_products(a, b, axis, keepdims)
    assert found.shape == expected.shape
    assert np.max(np.abs(found - expected)) < 1e-14


@pytest.mark.parametrize("columns", [2, 8])
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_rows_of_products_are_added_without_an_array_of_the_products(dtype, columns):
    x, _, _, dout = drawn((20000, columns), dtype=dtype)
    assert peak(_sum_of_products, x, dout, (0,), False) < 0.05


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_closed_form_needs_two_arrays(dtype):
    """One is x − mu, whose place dx takes; the other its square."""
    x, gamma, _, dout = drawn((20000, 8), dtype=dtype)
    assert peak(closed_form, x, gamma, dout) < 2.1


def stretched(a):
    wide = np.zeros([3 * n for n in a.shape], a.dtype)
    part = wide[(slice(None, None, 3),) * a.ndim]
    part[...] = a
    return part


ORDERS = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "transposed": lambda a: np.swapaxes(np.swapaxes(a, 0, 1).copy(), 0, 1),
    "channels last": lambda a: np.moveaxis(np.moveaxis(a, 1, -1).copy(), -1, 1),
    "strided": stretched,
    "reversed": lambda a: np.flip(np.flip(a).copy()),
}


@every_way
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("axis", [0, (0, 2, 3), (0, 1), -1], ids=repr)
@pytest.mark.parametrize("order", ORDERS)
def test_results_do_not_depend_on_the_order_in_memory(order, axis, dtype, way):
    """Up to the rounding of sums that are added in another order, of x, of dout or of both.

    In u of the largest entry for out and dx, of the mean Σ|dout| per parameter for dgamma and
    dbeta; measured over 20 batches: 5.9, bound: 12.
    """
    shape = (8, 5, 4, 6) if isinstance(axis, tuple) else (64, 5)
    rng = np.random.default_rng(0)
    x, dout = 3 + rng.normal(size=shape), rng.normal(size=shape)
    kept = {0: (5,), (0, 2, 3): (5,), (0, 1): (4, 6), -1: (5,)}[axis]
    gamma, beta = rng.normal(size=(2, *kept))
    x, gamma, beta, dout = (a.astype(dtype) for a in (x, gamma, beta, dout))
    ordered = ORDERS[order]
    expected = way(x, gamma, beta, dout, EPS, axis=axis)
    scales = dict.fromkeys(("dgamma", "dbeta"), np.sum(np.abs(dout)) / gamma.size)
    scales |= {name: np.max(np.abs(expected[name])) for name in expected.keys() & {"out", "dx"}}
    for other in ((ordered(x), dout), (x, ordered(dout)), (ordered(x), ordered(dout))):
        found = way(other[0], gamma, beta, other[1], EPS, axis=axis)
        for name, value in found.items():
            assert value.shape == expected[name].shape
            assert value.dtype == expected[name].dtype
            off = np.max(np.abs(value - expected[name])) / scales[name]
            assert off <= 12 * np.finfo(dtype).eps, name
