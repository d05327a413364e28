"""NumPy's functions on tensors, over a generated list of calls: values, dtypes, derivatives."""

from fractions import Fraction

import numpy as np
import pytest
from helpers import close, same_bits
from library import CALLS, DISCRETE, arrays_of, evaluated, names, spelled

from tinygraph import Tensor, grad, ops, trace
from tinygraph.engine.primitive import NUMPY

SMOOTH, CONSTANT = spelled(CALLS), spelled(DISCRETE)
STEP = 1e-5
EXACTLY = np.frompyfunc(lambda x: Fraction(x).limit_denominator(50), 1, 1)


def plain(x):
    return x.data if isinstance(x, Tensor) else x


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["f64", "f32"])
@pytest.mark.parametrize("call", SMOOTH)
def test_values_shapes_and_dtypes_are_those_of_numpy(call, dtype):
    if "linalg" in call and dtype == np.float32 and "norm" not in call:
        return  # of which LAPACK's digits are the test of themselves
    arrays = arrays_of(call, dtype)
    with np.errstate(all="ignore"):
        expected = evaluated(call, arrays)
        results = evaluated(call, {k: Tensor(x) for k, x in arrays.items()})
    assert len(results) == len(expected)
    for result, array in zip(results, expected, strict=True):
        assert plain(result).dtype == np.asarray(array).dtype
        close(plain(result), array, 4e-15 if dtype == np.float64 else 4e-6)


def test_every_function_is_called():
    called = set()
    for call in SMOOTH + CONSTANT:
        head = call.partition("(")[0]
        if head.startswith("np.") and not head.endswith(("reduce", "outer", "accumulate")):
            found = np
            for name in head.split(".")[1:]:
                found = getattr(found, name)
            called.add(found)
    outer = {np.outer, np.ma.outer} if False else {np.outer}
    ours = {
        f for f, known in NUMPY.items() if getattr(known, "home", "tinygraph")[:9] == "tinygraph"
    }
    assert sorted(f.__name__ for f in ours - called - outer) == []


@pytest.mark.filterwarnings("ignore:numpy.fix is deprecated:DeprecationWarning")
@pytest.mark.parametrize("call", CONSTANT)
def test_what_is_discrete_is_that_of_numpy(call):
    arrays = arrays_of(call)
    for result, array in zip(
        evaluated(call, {k: Tensor(x) for k, x in arrays.items()}),
        evaluated(call, arrays),
        strict=True,
    ):
        assert not isinstance(result, Tensor)
        assert same_bits(result, array)


# --- derivatives --------------------------------------------------------------------------------


def weighted(results, weights):
    """Add up all results, each entry with a weight of its own."""
    return sum(np.sum(one * w) for one, w in zip(results, weights, strict=True))


def derivative(call, weights, directions, order):
    """Give the function whose value is the derivative of that order along the directions."""

    def value(operands):
        tensors = {k: x if isinstance(x, Tensor) else Tensor(x) for k, x in operands.items()}
        results = evaluated(call, tensors)
        out = weighted(
            [r for r in results if isinstance(r, Tensor)],
            [w for r, w in zip(results, weights, strict=True) if isinstance(r, Tensor)],
        )
        if not isinstance(out, Tensor):  # constant
            return 0.0
        for k in range(order):
            gradients = grad(out, list(tensors.values()), create_graph=True)
            out = sum(
                (
                    np.sum(g * directions[k][name])
                    for name, g in zip(tensors, gradients, strict=True)
                ),
                start=Tensor(0.0),
            )
        return out.item()

    return value


@pytest.mark.parametrize(
    "call",
    [
        call if k % 7 == 0 else pytest.param(call, marks=pytest.mark.slow)
        for k, call in enumerate(SMOOTH)
    ],
)
def test_derivatives_to_third_order(call):
    """Each order is compared with the difference quotient of the one before it."""
    rng = np.random.default_rng(len(call))
    arrays = arrays_of(call)
    with np.errstate(all="ignore"):
        weights = [rng.normal(size=np.shape(one)) for one in evaluated(call, arrays)]
        directions = [
            {name: rng.normal(size=x.shape) for name, x in arrays.items()} for _ in range(3)
        ]

        def numbers(operands):
            return float(weighted(evaluated(call, operands), weights))

        def moved(step, direction):
            return {name: x + step * direction[name] for name, x in arrays.items()}

        for order, direction in enumerate(directions):
            lower = derivative(call, weights, directions, order) if order else numbers
            difference = lower(moved(STEP, direction)) - lower(moved(-STEP, direction))
            exact = derivative(call, weights, directions, order + 1)(arrays)
            close(exact, difference / (2 * STEP), 2e-6)


# fmt: off
RATIONAL = {
    "sum", "prod", "mean", "var", "max", "min", "median", "average", "ptp", "cumsum", "cumprod",
    "diff", "quantile", "dot", "inner", "outer", "vdot", "kron", "matmul", "tensordot", "einsum",
    "multi_dot", "trace", "diagonal", "diag", "tile", "pad", "roll", "flip", "repeat", "take",
    "moveaxis", "hstack", "vstack", "column_stack", "append", "split", "concatenate", "stack",
    "triu", "tril", "sort", "cross", "sliding_window_view", "clip", "square", "reciprocal",
}
# fmt: on
EXACT = [
    call
    for call in SMOOTH
    if call.startswith("np.") and call.partition("(")[0].rpartition(".")[2] in RATIONAL
    if "dtype" not in call and "E" not in names(call) and "=0.1" not in call and "=0.5" not in call
    if not call.startswith("np.clip") or "B" in call  # at bounds that are floats
]


@pytest.mark.parametrize("call", EXACT[::2])
def test_what_is_rational_stays_exact(call):
    exact = {k: EXACTLY(x) for k, x in arrays_of(call).items()}
    tensors = {k: Tensor(x) for k, x in exact.items()}
    results = evaluated(call, tensors)
    floats = {k: np.asarray(x, dtype=float) for k, x in exact.items()}
    for result, array in zip(results, evaluated(call, floats), strict=True):
        assert all(isinstance(one, Fraction) for one in np.ravel(result.data))
        close(result.data.astype(float), array, 1e-13)
        weights = EXACTLY(np.random.default_rng(2).normal(size=result.shape))
        for g in grad(np.sum(result * weights), list(tensors.values())):
            assert all(isinstance(one, Fraction) for one in np.ravel(g))


def test_a_wrong_derivative_is_noticed(monkeypatch):
    monkeypatch.setattr(ops.sinh, "rules", (lambda g, out, x: g * np.sinh(x),))
    with pytest.raises(AssertionError, match="differs"):
        test_derivatives_to_third_order("np.sinh(A)")


@pytest.mark.parametrize("call", SMOOTH[::5])
def test_inside_trace_the_same_is_computed(call):
    arrays = arrays_of(call)
    with np.errstate(all="ignore"):
        expected = evaluated(call, {k: Tensor(x) for k, x in arrays.items()})
        traced = trace(lambda **operands: evaluated(call, operands))
        results = traced(**{k: np.array(x) for k, x in arrays.items()})
    for result, one in zip(results, expected, strict=True):
        assert same_bits(plain(result), plain(one))


NAN = np.array([[1.0, np.nan, 2.0], [np.nan, np.nan, np.nan], [3.0, 4.0, 0.5]])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    "call",
    [
        *spelled("np.{nanmax|nanmin|nanmean|nansum|nanprod|median}(A, {axis=0|axis=1|axis=None})"),
        *spelled("np.{nanvar|nanstd}(A, axis={0|1}, ddof={0|1|2})"),
        *spelled("np.quantile(A, {0.3|[0.2, 1.0]}, axis={0|1}, keepdims=True)"),
        *spelled("np.{mean|sum|var}(A, axis=0, where=~np.isnan(A))"),
        *spelled("np.{sort|argsort|max|cumsum|ptp}(A, axis=1)"),
    ],
)
def test_what_is_no_number_stays_none_and_hides_nothing(call):
    (expected,) = evaluated(call, {"A": NAN})
    for result in (
        evaluated(call, {"A": Tensor(NAN)}),
        trace(lambda a: evaluated(call, {"A": a}))(NAN),
    ):
        found = np.asarray(plain(result[0]), dtype=float)
        assert np.array_equal(np.isnan(found), np.isnan(expected))
        close(np.nan_to_num(found), np.nan_to_num(expected), 1e-15)
