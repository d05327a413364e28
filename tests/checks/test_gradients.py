"""The checker accepts right gradients, rejects wrong ones, and says why; it leaves no trace."""

import copy
import pickle
import tracemalloc
import warnings
from fractions import Fraction

import numpy as np
import pytest
from helpers import examples, same_bits
from hypothesis import given, settings
from hypothesis import strategies as st

from tinygraph import Tensor, ops
from tinygraph.checks import gradients as checking
from tinygraph.checks.gradients import GradientMismatch, gradcheck

RNG = np.random.default_rng(7)
X = RNG.normal(size=(6, 3))
GAMMA = RNG.normal(size=3)
BETA = RNG.normal(size=3)
SQUARE = RNG.normal(size=(4, 4))
# Away from kinks: every entry is at least 0.1 from 0, and no two are nearer than that.
SPREAD = RNG.permutation(np.r_[-6:0, 1:7] / 4).reshape(4, 3)


def batchnorm(x, gamma, beta, eps=1e-5):
    N = x.shape[0]
    mu = 1 / N * np.sum(x, axis=0)
    xmu = x - mu
    sq = xmu**2
    var = 1 / N * np.sum(sq, axis=0)
    sqrtvar = np.sqrt(var + eps)
    ivar = 1 / sqrtvar
    xhat = xmu * ivar
    gammax = gamma * xhat
    return gammax + beta


def mlp(x, w1, b1, w2):
    return np.tanh(np.tanh(x @ w1 + b1) @ w2)


def rejected(fn, *inputs, **options):
    """Give the report of a check that must fail."""
    with pytest.raises(GradientMismatch) as caught:
        gradcheck(fn, *inputs, **options)
    report = caught.value.report
    assert not report
    assert str(caught.value) == str(report)
    assert "FAILED" in str(report)
    return report


@pytest.fixture
def primitive():
    """Make a primitive for one test; the table is as before afterwards."""
    before = dict(ops.TABLE)
    yield lambda *row: ops.Primitive(f"under test {len(ops.TABLE)}", "?", *row)
    ops.TABLE.clear()
    ops.TABLE.update(before)


# --- right gradients ------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("method", ["auto", "complex", "central"])
def test_batchnorm_is_right_to_every_order(order, method):
    report = gradcheck(batchnorm, X, GAMMA, BETA, order=order, method=method)
    assert report
    assert report.order == order
    assert report.method == ("central" if method == "central" else "complex")
    assert [(one.name, one.order) for one in report.inputs] == [
        (name, k + 1) for k in range(order) for name in ("x", "gamma", "beta")
    ]
    assert all(one.checked == one.total for one in report.inputs)
    # The figures that the default tolerances stand on, with a margin of ten or more.
    assert max(one.error for one in report.inputs) < (1e-13 if report.method == "complex" else 1e-7)


@pytest.mark.parametrize("shape", [(2, 3), (3, 1), (40, 2)])
@pytest.mark.parametrize("loc", [0.0, 100.0])
def test_batchnorm_of_other_batches(shape, loc):
    x = loc + np.random.default_rng(1).normal(size=shape)
    assert gradcheck(batchnorm, x, GAMMA[: shape[1]], BETA[: shape[1]]).method == "complex"


@pytest.mark.parametrize("order", [1, 2])
def test_mlp(order):
    rng = np.random.default_rng(2)
    inputs = [rng.normal(size=shape) for shape in ((5, 3), (3, 4), (4,), (4, 2))]
    report = gradcheck(mlp, *inputs, order=order)
    assert report.method == "complex"
    assert max(one.error for one in report.inputs) < 1e-13


PIECEWISE = {
    "relu": lambda x: np.maximum(x, 0) * x,
    "maximum": lambda x: np.maximum(x, 2 * x[::-1] + 0.1),
    "minimum": lambda x: np.minimum(x, x[0] * 0.3 + 0.05),
    "max": lambda x: x.max(axis=0) * x,
    "where": lambda x: np.where(x > 0, np.exp(x), x**2),
    "clip": lambda x: np.clip(x, -0.9, 0.8) * x,
    "index": lambda x: x[[0, 2, 0]] * x[1],
    "stack": lambda x: np.stack([x, np.sin(x)]) ** 3,
    "power": lambda x: 2.0**x + (x * x) ** 1.5,
    "transpose": lambda x: x.T @ x,
}


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("method", ["auto", "central"])
@pytest.mark.parametrize("fn", PIECEWISE.values(), ids=PIECEWISE)
def test_piecewise_analytic_functions_away_from_their_kinks(fn, method, order):
    assert gradcheck(fn, SPREAD, order=order, method=method).method == (
        "central" if method == "central" else "complex"
    )


def test_a_gradient_whose_terms_cancel_is_right():
    x, w = X, RNG.normal(size=(3, 3))

    def biased(x, w, b):
        return batchnorm(x @ w + b, 2.0, 0.5)

    for method in ("complex", "central"):
        report = gradcheck(biased, x, w, np.zeros(3), method=method)
        assert abs(report.inputs[2].analytic) < 1e-14
    assert gradcheck(lambda x: (x - x.mean()).sum(), x)


def test_tiny_and_huge_gradients_are_checked_on_their_own_scale():
    for factor in (1e-40, 1e40):
        report = gradcheck(lambda x, factor=factor: factor * np.tanh(x), X)
        assert abs(report.inputs[0].analytic) < 10 * factor
        wrong = rejected(lambda x, factor=factor: factor * (np.tanh(x) + 5e-4 * np.tanh(x.data)), X)
        assert wrong.inputs[0].failing == X.size


def test_steep_functions_are_given_finer_differences():
    x = 1e4 + X  # where the step, 1e-5 of x, is a tenth of the spread
    assert gradcheck(batchnorm, x, GAMMA, BETA, method="central")
    assert gradcheck(np.log, [5e-6, 1.0], method="central")  # where the step leaves the domain


def test_the_step_grows_with_the_input():
    assert gradcheck(lambda x: x * x, [1e9, 1.0], method="central").inputs[0].error < 1e-9


@settings(max_examples=examples(30), deadline=None, derandomize=True)
@given(st.integers(0, 2**32), st.integers(2, 6), st.integers(1, 4))
def test_no_right_gradient_is_rejected(seed, n, d):
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(n, d)), rng.normal(size=d), rng.normal(size=d)
    for method in ("complex", "central"):
        assert gradcheck(batchnorm, *inputs, seed=seed, method=method, order=2).passed


def test_scalars_and_numbers_of_every_kind():
    report = gradcheck(lambda a, b: a * b + b**3, -4, Fraction(1, 3), order=2)
    assert report.inputs[0].shape == ()
    assert report.inputs[0].index == ()
    assert "a is int64 and was checked in float64" in str(report)
    assert "b is object and was checked in float64" in str(report)


# --- which method ---------------------------------------------------------------------------------


def dropped_imaginary_part(primitive):
    op = primitive(lambda x: np.sin(x.real), lambda g, out, x: g * np.cos(x))
    return lambda x: op(x) + x


def test_abs_is_checked_by_central_differences():
    assert gradcheck(lambda x: np.abs(x) * x, SPREAD, order=2).method == "central"


def test_a_dropped_imaginary_part_is_noticed(primitive):
    fn = dropped_imaginary_part(primitive)
    assert gradcheck(fn, X).method == "central"
    report = rejected(fn, X, method="complex")
    assert report.cause.startswith("not analytic")


def test_a_dropped_part_too_small_for_the_trial_is_noticed_later(primitive):
    op = primitive(lambda x: 1e-6 * np.sin(x.real), lambda g, out, x: g * 1e-6 * np.cos(x))
    assert gradcheck(lambda x: op(x) + x, X).method == "central"


def test_a_real_part_that_the_gradient_does_not_see_either():
    # The complex step would confirm the wrong gradient: neither knows of the exponent.
    report = rejected(lambda x: x * np.exp(x.data.real), X)
    assert report.method == "central"
    assert report.inputs[0].failing == 18


def test_a_cast_is_checked_by_central_differences():
    def half_cast(x):
        return x.astype(np.float64) * x

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        report = gradcheck(half_cast, X)
    assert report.method == "central"
    assert caught == []


def test_a_function_that_is_another_one_on_complex_numbers(primitive):
    op = primitive(lambda x: x * x + np.iscomplexobj(x), lambda g, out, x: g * (2 * x))
    assert gradcheck(op, X).method == "central"


def test_complex_on_a_function_without_complex_values_says_so():
    with pytest.raises(TypeError, match="abs"):
        gradcheck(np.abs, SPREAD, method="complex")


# --- wrong rules ----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["auto", "central"])
def test_a_rule_off_by_a_twentieth_of_a_percent(monkeypatch, method):
    monkeypatch.setattr(ops.tanh, "rules", (lambda g, out, x: g * (1 - np.square(out)) * 1.0005,))
    report = rejected(np.tanh, X, method=method)
    (one,) = report.inputs
    assert one.failing == one.checked == one.total == 18
    assert report.cause.startswith("factor")
    assert "1.0005" in report.cause
    assert one.error == pytest.approx(5e-4, rel=0.01)


@pytest.mark.parametrize("method", ["auto", "central"])
@pytest.mark.parametrize("entry", [(0, 0), (3, 1), (5, 2)])
def test_one_entry_off_by_a_twentieth_of_a_percent(primitive, method, entry):
    off = np.ones(X.shape)
    off[entry] += 5e-4
    op = primitive(np.tanh, lambda g, out, x: g * (1 - np.square(out)) * off)
    report = rejected(op, X, method=method)
    (one,) = report.inputs
    assert (one.failing, one.index) == (1, entry)
    assert one.analytic == pytest.approx(1.0005 * one.numeric, rel=1e-6)
    assert f"1 of 18 entries fail; largest error {one.error:.1e} at {entry}" in str(report)


def test_a_small_entry_off_by_a_twentieth_of_a_percent(primitive):
    size = np.array([1.0, 1e-6])
    op = primitive(lambda x: x * size, lambda g, out, x: g * size * np.array([1, 1.0005]))
    assert rejected(op, [1.0, 2.0]).inputs[0].index == (1,)


@pytest.mark.parametrize("order", [1, 2])
def test_a_dropped_path_through_the_mean(order):
    def wrong(x, gamma, beta):
        mu = x.mean(axis=0).detach()
        xmu = x - mu
        return gamma * xmu / np.sqrt((xmu**2).mean(axis=0) + 1e-5) + beta

    report = rejected(wrong, X, GAMMA, BETA, order=order)
    assert report.order == 1
    assert [one.failing for one in report.inputs] == [18, 0, 0]
    assert report.cause.startswith("missing path")
    assert "axis 0" in report.cause


def test_a_dropped_path_through_the_variance():
    def wrong(x, gamma, beta):
        xmu = x - x.mean(axis=0)
        return gamma * xmu / np.sqrt((xmu**2).mean(axis=0).detach() + 1e-5) + beta

    report = rejected(wrong, X, GAMMA, BETA)
    assert [one.failing > 0 for one in report.inputs] == [True, False, False]
    assert report.inputs[0].error > 3e-3


def test_bessels_slip_in_the_variance(primitive):
    """Σ xmu² / N forward, but backward as of / (N − 1)."""
    var = primitive(lambda x: np.sum(x * x, axis=0) / 6, lambda g, out, x: g * (2 * x) / 5)
    report = rejected(var, X)
    assert report.cause == "factor: every entry is 6/5 times what it should be"


def test_bessels_slip_inside_batchnorm(primitive):
    var = primitive(lambda x: np.sum(x * x, axis=0) / 6, lambda g, out, x: g * (2 * x) / 5)

    def wrong(x, gamma, beta):
        xmu = x - x.mean(axis=0)
        return gamma * xmu / np.sqrt(var(xmu) + 1e-5) + beta

    report = rejected(wrong, X, GAMMA, BETA)
    assert [one.failing > 0 for one in report.inputs] == [True, False, False]


def test_a_transposed_gradient(primitive):
    op = primitive(lambda a, b: a @ b, lambda g, out, a, b: (g @ np.swapaxes(b, -1, -2)).T)
    report = rejected(lambda a: op(a, SQUARE), SQUARE[::-1])
    assert report.cause.startswith("transposed")
    assert report.inputs[0].failing >= 12


def test_a_missing_unbroadcast(monkeypatch):
    first_row = (lambda g, out, a, b: g * b, lambda g, out, a, b: (g * a)[0])
    monkeypatch.setattr(ops.mul, "rules", first_row)
    report = rejected(lambda x, beta: np.square(x) * beta, X, BETA)
    assert [one.failing for one in report.inputs] == [0, 3]
    assert report.inputs[1].name == "beta"


def saved(x):
    """Give the array that a rule ought not to have kept: a constant to the next differentiation."""
    return x.data if isinstance(x, Tensor) else x


def test_wrong_only_in_the_second_order(primitive):
    op = primitive(np.tanh, lambda g, out, x: g * (1 - np.tanh(saved(x)) ** 2))
    assert gradcheck(op, X, order=1)
    report = rejected(op, X, order=2)
    assert report.order == 2
    assert [(one.order, one.failing) for one in report.inputs] == [(1, 0), (2, 18)]
    assert "input 0, shape (6, 3), order 2: 18 of 18 entries fail" in str(report)
    assert report.cause.startswith("missing path")

    report = rejected(lambda x: op(x) * x, X, order=2)
    assert report.cause.startswith("order 2: the lower derivatives are right")


def test_wrong_only_in_the_third_order(primitive):
    cos = primitive(np.cos, lambda g, out, x: -g * np.sin(saved(x)))
    op = primitive(np.sin, lambda g, out, x: g * cos(x))
    assert gradcheck(op, X, order=2)
    report = rejected(op, X, order=3)
    assert report.order == 3
    assert [(one.order, one.failing) for one in report.inputs] == [(1, 0), (2, 0), (3, 18)]


def test_a_gradient_that_is_not_finite(primitive):
    op = primitive(np.tanh, lambda g, out, x: g * np.nan)
    report = rejected(op, X)
    assert report.inputs[0].failing == 18
    assert report.cause.startswith("not finite")


def test_rounding_is_named_where_differences_drown_in_it():
    report = rejected(lambda x: 1e8 + np.tanh(x), X, method="central")
    assert report.cause.startswith("rounding")
    assert gradcheck(lambda x: 1e8 + np.tanh(x), X).method == "complex"


def test_only_the_wrong_input_is_blamed_by_name(primitive):
    op = primitive(lambda a, b: a * b, lambda g, out, a, b: g * b, lambda g, out, a, b: -g * a)
    weight = Tensor(X[1], name="weight")
    report = rejected(op, X, weight)
    assert [one.name for one in report.inputs] == ["input 0", "weight"]
    assert [one.failing for one in report.inputs] == [0, 3]
    assert "every entry is -1 times" in report.cause
    assert "input 0, shape (6, 3): 18 entries agree" in str(report)
    assert "weight, shape (3,): 3 of 3 entries fail" in str(report)


def test_a_path_that_the_graph_does_not_see():
    report = rejected(lambda x, y: y * np.exp(x.data), X, X + 1)
    assert [one.failing for one in report.inputs] == [18, 0]
    assert report.inputs[0].analytic == 0
    assert report.cause.startswith("missing path: no gradient arrives at x")


# --- what has no gradient to check ----------------------------------------------------------------


@pytest.mark.parametrize("method", ["auto", "central"])
@pytest.mark.parametrize("fn", [np.abs, lambda x: np.maximum(x, 0), lambda x: np.maximum(x, -x)])
@pytest.mark.parametrize("x", [0.0, [1.0, 0.0, -2.0]])
def test_a_kink(fn, method, x):
    report = rejected(fn, x, method=method)
    assert report.cause.startswith("kink")
    assert report.inputs[0].index == (() if x == 0 else (1,))
    assert report.inputs[0].failing == 1
    assert "check at another point" in str(report)


def test_a_kink_under_the_complex_step():
    report = rejected(lambda x: np.maximum(x, 0), [1.0, 0.0], method="complex")
    assert report.cause.startswith("kink")


def test_a_kink_is_told_from_a_curve():
    assert gradcheck(lambda x: x**2, [0.0, 1.0], method="central")
    assert gradcheck(lambda x: 1e4 * x**2 + x**3, [0.0, 1e-9], method="central")


def test_a_kink_nearer_than_the_step_is_no_kink():
    x = [1e-7, 1.0]
    assert gradcheck(np.abs, x, method="central")


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: Tensor([1.0, 2.0]),
        lambda x: x * 0.0,
        lambda x: np.maximum(-np.exp(x), 0),
    ],
)
def test_a_constant_function(fn):
    report = rejected(fn, X)
    assert report.cause.startswith("constant")
    assert report.inputs[0].failing == 0


def test_a_constant_derivative_is_right_in_the_second_order():
    assert gradcheck(lambda x: 3 * x + 1, X, order=3).inputs[-1].analytic == 0


# --- what is no function --------------------------------------------------------------------------


def test_non_determinism():
    rng = np.random.default_rng(0)
    report = rejected(lambda x: x * rng.normal(size=3), X)
    assert report.cause.startswith("non-determinism")
    assert "two runs" in str(report)
    assert report.inputs == ()


def test_state_in_a_counter_is_non_determinism():
    calls = []

    def counted(x):
        calls.append(1)
        return x * len(calls)

    assert rejected(counted, X).cause.startswith("non-determinism")


def test_a_tensor_that_the_function_changes():
    running = Tensor(np.zeros(3), name="running")

    def averaged(x):
        running.data = 0.9 * running.data + 0.1 * x.data.mean(axis=0).real
        return x * x

    report = rejected(averaged, X)
    assert report.cause == (
        "changed state: the function changes running, a Tensor that it closes over"
    )


def test_an_input_that_the_function_changes():
    def wrong(x):
        x.data = x.data + 1
        return x * x

    report = rejected(wrong, X)
    assert report.cause == "changed state: the function changes its input x"


def test_an_array_given_as_input_that_the_function_changes():
    array = np.array([1.0, 2.0])

    def wrong(x):
        array[0] += 1
        return x * x

    assert "changes its input x" in str(rejected(wrong, array))


def test_an_input_that_is_changed_only_later():
    array = np.array([1.0, 2.0])
    calls = []

    def wrong(x):
        calls.append(1)
        if len(calls) == 7:
            array[0] += 1
        return x * x

    report = rejected(wrong, array)
    assert report.cause.startswith("changed state")
    assert all(one.failing == 0 for one in report.inputs)


class Layer:
    """As small as a layer with running statistics can be."""

    def __init__(self, reads=False):
        self.mean, self.count, self.reads, self.loaded = np.zeros(3), 0, reads, 0

    def __call__(self, x):
        self.mean *= 0.9  # in place, as the arrays of state_dict are this one
        self.mean += 0.1 * x.data.mean(axis=0).real
        self.count += 1
        xmu = x - (self.mean if self.reads else x.mean(axis=0))
        return xmu / np.sqrt((xmu**2).mean(axis=0) + 1e-5)

    forward = __call__

    def state_dict(self):
        return {"mean": self.mean, "count": self.count}

    def load_state_dict(self, state):
        self.mean[:], self.count = state["mean"], state["count"]
        self.loaded += 1


class Holder:
    def __init__(self, layer):
        self.layer = layer

    def __call__(self, x):
        return self.layer(x) * x


def test_running_statistics_are_put_back():
    layer = Layer()
    for fn in (layer, layer.forward, lambda x: layer(x) * x, Holder(layer), Holder(layer).__call__):
        state = copy.deepcopy(layer.state_dict())
        layer.loaded = 0
        assert gradcheck(fn, X, order=2)
        assert layer.loaded == 1
        assert layer.count == state["count"] == 0
        assert np.array_equal(layer.mean, state["mean"])


def test_a_layer_made_inside_is_no_state():
    assert gradcheck(lambda x: Layer()(x) * x, X)


def test_state_is_put_back_after_a_failure_and_not_loaded_without_need():
    layer = Layer(reads=True)
    report = rejected(layer, X)
    assert report.cause.startswith("non-determinism")
    assert (layer.count, layer.loaded) == (0, 1)
    layer = Layer()
    assert gradcheck(lambda x: x * x + 0 * len(layer.state_dict()), X)
    assert layer.loaded == 0


# --- what is checked is left alone ----------------------------------------------------------------


def test_tensors_are_not_touched():
    x, gamma = Tensor(X, name="features"), Tensor(GAMMA)
    loss = (x * gamma).sum()
    loss.backward()
    before = [(t.index, t.data, t.grad, t.name) for t in (x, gamma)]
    report = gradcheck(batchnorm, x, gamma, BETA, order=2)
    assert [one.name for one in report.inputs[:3]] == ["features", "gamma", "beta"]
    for t, (index, data, gradient, name) in zip((x, gamma), before, strict=True):
        assert t.index == index
        assert same_bits(t.data, data)
        assert same_bits(t.grad, gradient)
        assert t.name == name
    loss.backward()


def test_arrays_are_not_touched():
    x = np.asfortranarray(X)
    before, flags = x.copy(), x.flags.writeable
    gradcheck(np.tanh, x)
    assert np.array_equal(x, before)
    assert x.flags.writeable == flags
    x.flags.writeable = False
    assert gradcheck(np.tanh, x)


def test_the_global_random_state_is_not_touched():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    gradcheck(np.tanh, X)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_equal_seeds_give_equal_reports_and_others_do_not():
    reports = [gradcheck(batchnorm, X, GAMMA, BETA, seed=seed) for seed in (3, 3, 4)]
    assert reports[0] == reports[1]
    assert reports[0].inputs[0].analytic != reports[2].inputs[0].analytic


def test_the_upstream_gradient_is_random():
    # With ones, the true gradient of x would be 0 and the wrong one would pass.
    def wrong(x):
        xmu = x - x.mean(axis=0)
        return xmu.detach() * 1.0 + 0 * x

    for seed in range(5):
        report = rejected(wrong, X, seed=seed)
        assert abs(report.inputs[0].numeric) > 1e-3


# --- large inputs ---------------------------------------------------------------------------------

MILLION = 10**6


@pytest.mark.slow
def test_a_million_entries_in_bounded_memory():
    x = np.random.default_rng(5).normal(size=(MILLION // 10, 10))
    tracemalloc.start()
    try:
        report = gradcheck(lambda x: np.tanh(x) * x, x)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    (one,) = report.inputs
    assert (one.checked, one.total) == (21, MILLION)
    assert "21 directions and entries agree" in str(report)
    assert one.error < 1e-13
    assert peak < 20 * x.nbytes


LARGE = 10**5


@pytest.mark.parametrize("method", ["auto", "central"])
def test_a_wrong_part_of_a_large_input_is_found(primitive, method):
    off = np.ones(LARGE)
    off[12_345:13_345] += 5e-4  # 1 %
    op = primitive(np.sin, lambda g, out, x: g * np.cos(x) * off)
    x = np.random.default_rng(6).normal(size=LARGE)
    (one,) = rejected(op, x, method=method).inputs
    assert 12_345 <= one.index[0] < 13_345
    assert one.analytic == pytest.approx(1.0005 * one.numeric, rel=1e-5)
    assert one.failing >= 10


def test_one_wrong_entry_of_a_large_input_is_found(primitive):
    off = np.ones(LARGE)
    off[65_432] += 5e-4
    op = primitive(np.sin, lambda g, out, x: g * np.cos(x) * off)
    report = rejected(op, np.full(LARGE, 0.5))
    (one,) = report.inputs
    assert one.index == (65_432,)
    assert one.analytic == pytest.approx(1.0005 * one.numeric, rel=1e-9)
    assert f"of 21 directions and entries fail; largest error {one.error:.1e} at (65432,)" in str(
        report
    )


def test_small_inputs_beside_a_large_one_are_compared_at_every_entry():
    x = np.random.default_rng(5).normal(size=(1000, 3))
    report = gradcheck(batchnorm, x, GAMMA, BETA)
    assert [one.checked for one in report.inputs] == [21, 3, 3]
    report = gradcheck(batchnorm, x, GAMMA, BETA, directions=40)
    assert [one.checked for one in report.inputs] == [45, 3, 3]
    report = gradcheck(batchnorm, x[:40], GAMMA, BETA, full=10, method="central")
    assert [one.checked for one in report.inputs] == [21, 3, 3]
    assert gradcheck(np.tanh, x[:7, 0], full=1, directions=2).inputs[0].index is not None


def test_a_large_relu_is_right_by_both_methods():
    x = np.random.default_rng(8).normal(size=LARGE)  # some within 1e-5 of the kink
    for method in ("complex", "central"):
        assert gradcheck(lambda x: np.maximum(x, 0) * 2, x, method=method)


# --- reports --------------------------------------------------------------------------------------


def test_a_passing_report_has_one_line_per_input():
    lines = str(gradcheck(batchnorm, X, GAMMA, BETA)).splitlines()
    assert lines[0] == "gradcheck passed: order 1, complex step, tolerance 1e-10"
    assert [line.split(",")[0].strip() for line in lines[1:]] == ["x", "gamma", "beta"]
    assert all("agree" in line for line in lines[1:])


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("wrap", [np.asarray, Tensor])
def test_the_upcast_is_said(dtype, wrap):
    report = gradcheck(batchnorm, wrap(X.astype(dtype)), GAMMA, BETA)
    assert report.notes == (f"x is {np.dtype(dtype)} and was checked in float64",)
    assert f"note: x is {np.dtype(dtype)}" in str(report)


def test_a_mismatch_can_be_pickled():
    with pytest.raises(AssertionError) as caught:
        gradcheck(lambda x: x * x.data, X)
    again = pickle.loads(pickle.dumps(caught.value))
    assert again.report == caught.value.report
    assert "1/2 times" in str(again)


def test_the_tolerance_can_be_given():
    def rough(x):
        return x * (1 - 1e-4) + 1e-4 * x.data

    assert rejected(rough, X).inputs[0].error == pytest.approx(1e-4, rel=1e-3)
    assert gradcheck(rough, X, tolerance=1e-3)


# --- refusals -------------------------------------------------------------------------------------


def test_overlapping_inputs():
    for a, b in ((X, X), (X, X[1:]), (Tensor(X), X), (X, X.T)):
        if isinstance(a, Tensor):
            b = a
        with pytest.raises(ValueError, match="a and b share memory"):
            gradcheck(lambda a, b: (a * a).sum() + (b * b).sum(), a, b)
    base = X.copy()
    assert gradcheck(lambda a, b: a * b, base[::2], base[1::2])
    assert gradcheck(lambda a, b: a * b, 1.5, 1.5)


def test_no_inputs_and_empty_inputs():
    with pytest.raises(ValueError, match="no inputs"):
        gradcheck(np.tanh)
    with pytest.raises(ValueError, match=r"empty_one of shape \(0, 3\) is empty"):
        gradcheck(np.tanh, Tensor(np.zeros((0, 3)), name="empty_one"))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_inputs_that_are_not_finite(value):
    x = X.copy()
    x[2, 1] = x[4, 0] = value
    with pytest.raises(ValueError, match=rf"x is {value} at \[2, 1\]"):
        gradcheck(lambda x: x * x, x)


def test_values_that_are_not_finite():
    with pytest.raises(ValueError, match=r"the value of the function is inf at \[1\]"):
        gradcheck(lambda x: x * np.array([1, np.inf]), [1.0, 2.0])


@pytest.mark.parametrize("result", [np.ones(3), 1.0, None, (Tensor(1.0),)])
def test_functions_that_return_no_tensor(result):
    with pytest.raises(TypeError, match=f"must return a Tensor, not {type(result).__name__}"):
        gradcheck(lambda x: result, X)


@pytest.mark.parametrize("x", [1j, "text", np.ones(2, dtype=complex)])
def test_inputs_that_are_not_real(x):
    with pytest.raises(TypeError, match="x must be real numbers"):
        gradcheck(lambda x: x, x)


def test_unknown_methods_and_orders():
    with pytest.raises(ValueError, match="complex, central, auto, not 'forward'"):
        gradcheck(np.tanh, X, method="forward")
    with pytest.raises(ValueError, match="at least 1"):
        gradcheck(np.tanh, X, order=0)


def test_everything_public_is_there():
    assert all(hasattr(checking, name) for name in checking.__all__)


def test_a_lost_path_through_the_variance_is_told():
    def normalize(x):
        xmu = x - np.mean(x, axis=0)
        var = np.mean(xmu * xmu, axis=0).detach()
        return xmu / np.sqrt(var + 1e-5)

    with pytest.raises(GradientMismatch) as caught:
        gradcheck(normalize, np.random.default_rng(4).normal(size=(6, 2)))
    assert caught.value.report.cause.startswith("missing path: what is missing grows along axis 0")
