"""The checker itself: it must pass what is right and reject what is wrong."""

import functools
import json
import math
import re

import numpy as np
import pytest

from tinygraph import Graph, compare, ops
from tinygraph.batchnorm import closed_form, staged
from tinygraph.checks.reports import Report
from tinygraph.cli.inputs import wine

DTYPES = ["float32", "float64", "longdouble"]
JUDGED = {"dx", "dgamma", "dbeta", "worst step", "complex step", "closed form at -gamma"}


def batch(shape=(16, 4), seed=0, *, mean=0.0, dtype="float64"):
    return (mean + np.random.default_rng(seed).normal(size=shape)).astype(dtype)


def statistics(x, eps, axis=0):
    xmu = x - np.mean(x, axis=axis, keepdims=True)
    ivar = 1 / np.sqrt(np.mean(xmu * xmu, axis=axis, keepdims=True) + eps)
    return xmu * ivar, ivar


# --- what is right passes -------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_wine(dtype):
    report = compare(wine(), dtype=dtype)
    assert report.passed
    assert (report.shape, report.dtype, report.axis) == ((178, 13), np.dtype(dtype).name, (0,))
    apart = {"in float64"} if np.dtype(dtype).itemsize < 8 else set()
    assert set(report.scaled_errors) == {*JUDGED, "jacobian", *apart}
    unit = float(np.finfo(dtype).eps)
    for name in ("dx", "dgamma", "dbeta", "worst step", "jacobian"):
        assert report.scaled_errors[name] <= 20 * unit
        assert report.tolerances[name] < 5000 * unit
    # The complex step computes in float64 whatever the dtype of the batch.
    assert report.scaled_errors["complex step"] <= 20 * max(unit, 2.3e-16)
    assert report.left_out == 0
    assert report.directions == 178


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((2, 5), 0),
        ((3, 1), 0),
        ((7, 7), 0),
        ((500, 3), 0),
        ((6, 7), -1),
        ((7, 7), -1),
        ((6, 7), (0, 1)),
        ((4, 3, 5, 2), (0, 2, 3)),
        ((4, 5, 2, 3), (0, 1, 2)),
        ((4, 3, 5, 2), 0),
        ((4, 3, 5, 2), (2, 3)),
        ((4, 3, 5, 2), (1, 2)),
        ((4, 3, 5, 2), 1),
        ((9,), 0),
    ],
    ids=repr,
)
def test_random_batches_of_any_shape(shape, axis, dtype):
    report = compare(batch(shape, mean=2.0, dtype=dtype), axis=axis)
    assert report.passed, str(report)
    assert ("jacobian" in report.scaled_errors) == (len(shape) == 2 and axis == 0)


@pytest.mark.parametrize("seed", range(20))
def test_random_scales_means_and_eps(seed):
    rng = np.random.default_rng(seed)
    n, d = rng.integers(2, 60), rng.integers(1, 8)
    x = 10 ** rng.uniform(-3, 3, size=d) * rng.normal(size=(n, d)) + rng.normal(size=d) * 100
    assert compare(x, eps=10 ** rng.uniform(-8, 1), seed=seed).passed


@pytest.mark.parametrize("mean", [1e3, 1e6, 1e9])
def test_a_large_mean_is_no_fault(mean):
    assert compare(batch((64, 4), mean=mean)).passed


def test_a_constant_column_is_no_fault():
    x = batch()
    x[:, 1] = 7
    assert compare(x).passed
    assert compare(np.full((5, 2), 3.0)).passed


def test_many_entries_take_random_directions():
    report = compare(batch((5000, 4)))
    assert report.passed
    assert 16 <= report.directions < 5000


def test_a_large_batch_goes_without_the_jacobian():
    report = compare(batch((4000, 2)))
    assert report.passed
    assert set(report.scaled_errors) == JUDGED


def test_integers_and_lists_are_taken():
    x = [[1, 20], [2, 50], [4, 40]]
    for given in (x, np.array(x), np.array(x, dtype=np.int8)):
        report = compare(given)
        assert report.passed
        assert report.dtype == "float64"


def test_arguments_that_are_given_are_used():
    x = batch((8, 3))
    gamma, beta, dout = np.array([2.0, -1, 0.5]), np.array([1.0, 2, 3]), batch((8, 3), seed=5)
    seen = []

    def closed(*args, **options):
        seen.append((args, options))
        return closed_form(*args, **options)

    assert compare(x, gamma, beta, dout, eps=0.5, closed=closed).passed
    (given, options), *_ = seen
    for a, b in zip(given, (x, gamma, dout), strict=True):
        assert np.array_equal(a, b)
    assert options == {"eps": 0.5, "axis": 0}


# --- what is wrong does not -----------------------------------------------------------------------


def correct(x, gamma, dout, eps, axis):
    """Give the parts that wrong formulas are made of; for one gamma per feature."""
    xhat, ivar = statistics(x, eps, axis)
    dbeta = np.sum(dout, axis=axis, keepdims=True)
    dgamma = np.sum(dout * xhat, axis=axis, keepdims=True)
    g = gamma.reshape(dbeta.shape)
    return xhat, ivar, g, dgamma, dbeta, x.size // dbeta.size


def with_dx(formula):
    def closed(x, gamma, dout, *, eps, axis):
        xhat, ivar, g, dgamma, dbeta, n = correct(x, gamma, dout, eps, axis)
        dx = formula(x, dout, xhat, ivar, g, dgamma, dbeta, n, eps)
        return dx.astype(x.dtype), dgamma.reshape(gamma.shape), dbeta.reshape(gamma.shape)

    return closed


def with_parameters(formula):
    def closed(x, gamma, dout, *, eps, axis):
        dx, dgamma, dbeta = closed_form(x, gamma, dout, eps=eps, axis=axis)
        n = x.size // dgamma.size
        return dx, *(a.astype(x.dtype) for a in formula(dgamma, dbeta, gamma, n))

    return closed


def right_dx(x, d, xhat, ivar, g, dgamma, dbeta, n, eps):
    return g * ivar * (d - dbeta / n - xhat * dgamma / n)


WRONG = {
    "without the mean": with_dx(
        lambda x, d, xhat, ivar, g, dgamma, dbeta, n, eps: g * ivar * (d - xhat * dgamma / n)
    ),
    "without the variance": with_dx(
        lambda x, d, xhat, ivar, g, dgamma, dbeta, n, eps: g * ivar * (d - dbeta / n)
    ),
    "direct path alone": with_dx(lambda x, d, xhat, ivar, g, dgamma, dbeta, n, eps: g * ivar * d),
    "third sum without dout": with_dx(
        lambda x, d, xhat, ivar, g, dgamma, dbeta, n, eps: (
            g * ivar * (d - dbeta / n - xhat * xhat.mean(axis=0))
        )
    ),
    "N − 1 in the variance path": with_dx(
        lambda x, d, xhat, ivar, g, dgamma, dbeta, n, eps: (
            g * ivar * (d - dbeta / n - xhat * dgamma / (n - 1))
        )
    ),
    "N − 1 in the variance": with_dx(
        lambda x, d, xhat, ivar, g, dgamma, dbeta, n, eps: (
            right_dx(x, d, xhat, ivar, g, dgamma, dbeta, n, eps) * np.sqrt((n - 1) / n)
        )
    ),
    "without gamma": with_dx(
        lambda x, d, xhat, ivar, g, dgamma, dbeta, n, eps: right_dx(
            x, d, xhat, ivar, 1, dgamma, dbeta, n, eps
        )
    ),
    "gamma twice": with_dx(
        lambda x, d, xhat, ivar, g, dgamma, dbeta, n, eps: right_dx(
            x, d, xhat, ivar, g * g, dgamma, dbeta, n, eps
        )
    ),
    "without 1/√(var + eps)": with_dx(
        lambda x, d, xhat, ivar, g, dgamma, dbeta, n, eps: right_dx(
            x, d, xhat, 1, g, dgamma, dbeta, n, eps
        )
    ),
    "ten times eps": with_dx(
        lambda x, d, xhat, ivar, g, dgamma, dbeta, n, eps: right_dx(
            x, d, xhat, 1 / np.sqrt(1 / ivar**2 + 9 * eps), g, dgamma, dbeta, n, eps
        )
    ),
    "sums instead of means": with_dx(
        lambda x, d, xhat, ivar, g, dgamma, dbeta, n, eps: g * ivar * (d - dbeta - xhat * dgamma)
    ),
    "off by 0.05 %": with_dx(lambda *parts: 1.0005 * right_dx(*parts)),
    "wrong sign": with_dx(lambda *parts: -right_dx(*parts)),
    "wrong sign of the variance": with_dx(
        lambda x, d, xhat, ivar, g, dgamma, dbeta, n, eps: (
            g * ivar * (d - dbeta / n + xhat * dgamma / n)
        )
    ),
    "wrong sign of the mean": with_dx(
        lambda x, d, xhat, ivar, g, dgamma, dbeta, n, eps: (
            g * ivar * (d + dbeta / n - xhat * dgamma / n)
        )
    ),
    "x for xhat": with_dx(
        lambda x, d, xhat, ivar, g, dgamma, dbeta, n, eps: (
            g * ivar * (d - dbeta / n - x * dgamma / n)
        )
    ),
    "rows in reverse": with_dx(lambda *parts: right_dx(*parts)[::-1]),
    "one entry": with_dx(
        lambda *parts: right_dx(*parts) + 1e-3 * np.eye(1, parts[0].size).reshape(parts[0].shape)
    ),
    "zeros": with_dx(lambda x, *parts: 0 * x),
    "nan": with_dx(lambda x, *parts: np.nan * x),
    "inf in one entry": with_dx(
        lambda *parts: (
            right_dx(*parts)
            + np.where(np.arange(parts[0].size) == 3, np.inf, 0).reshape(parts[0].shape)
        )
    ),
    "dgamma as a mean": with_parameters(lambda dgamma, dbeta, gamma, n: (dgamma / n, dbeta)),
    "dgamma scaled": with_parameters(lambda dgamma, dbeta, gamma, n: (1.001 * dgamma, dbeta)),
    "dgamma with gamma": with_parameters(lambda dgamma, dbeta, gamma, n: (dgamma * gamma, dbeta)),
    "dgamma negative": with_parameters(lambda dgamma, dbeta, gamma, n: (-dgamma, dbeta)),
    "dbeta as a mean": with_parameters(lambda dgamma, dbeta, gamma, n: (dgamma, dbeta / n)),
    "dbeta scaled": with_parameters(lambda dgamma, dbeta, gamma, n: (dgamma, 1.001 * dbeta)),
    "dbeta with gamma": with_parameters(lambda dgamma, dbeta, gamma, n: (dgamma, dbeta * gamma)),
    "dgamma and dbeta exchanged": with_parameters(lambda dgamma, dbeta, gamma, n: (dbeta, dgamma)),
    "features in reverse": with_parameters(
        lambda dgamma, dbeta, gamma, n: (dgamma[::-1], dbeta[::-1])
    ),
    "dgamma nan": with_parameters(lambda dgamma, dbeta, gamma, n: (dgamma * np.nan, dbeta)),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("how", WRONG)
def test_a_wrong_closed_form_is_rejected(how, dtype):
    x = batch((16, 4), mean=0.5, dtype=dtype)
    report = compare(x, closed=WRONG[how])
    assert not report.passed
    assert "FAIL: they differ" in str(report)
    assert report.to_dict()["passed"] is False
    json.dumps(report.to_dict(), allow_nan=False)
    # The verdict on what was not touched stays.
    touched = {name for name in JUDGED if not report.scaled_errors[name] <= report.tolerances[name]}
    assert touched
    assert touched <= {"dx", "dgamma", "dbeta", "closed form at -gamma"}


def test_the_harness_of_the_wrong_forms_is_right():
    """Without its mistake, what they are made of passes."""
    for dtype in ("float32", "float64"):
        x = batch((16, 4), mean=0.5, dtype=dtype)
        assert compare(x, closed=with_dx(right_dx)).passed
        assert compare(x, closed=with_parameters(lambda dg, db, gamma, n: (dg, db))).passed


def of_positive_gammas(x, gamma, dout, *, eps, axis):
    return closed_form(x, np.abs(gamma), dout, eps=eps, axis=axis)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("shape", "axis", "gamma"),
    [((8, 1), 0, None), ((8, 1), 0, [2.0]), ((8, 1), 0, [-2.0]), ((4, 3), 0, [1.0, 2.0, 3.0]),
     ((3, 4), -1, np.ones(4)), ((2, 3, 2, 2), (0, 2, 3), np.ones(3))],
    ids=repr,
)  # fmt: skip
def test_a_closed_form_for_gammas_of_one_sign_is_rejected(shape, axis, gamma, seed, exact):
    """Whatever the sign of the gamma that is drawn or given: the other is met as well."""
    x = np.round(batch(shape), 1)
    given = {"gamma": gamma, "axis": axis, "seed": seed, "exact": exact}
    assert compare(x, **given).passed
    report = compare(x, **given, closed=of_positive_gammas)
    assert not report.passed
    assert [one.gradient for one in report.others["closed form"]] == ["dx", "dgamma", "dbeta"]
    signs = np.sign(report.arrays["gamma"].astype(float))
    assert report.others["closed form"][0].passed == bool((signs > 0).all())
    assert report.others["closed form at -gamma"][0].passed == bool((signs < 0).all())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [4, 12])
def test_a_transposed_gradient_of_a_square_batch_is_rejected(n, dtype):
    def closed(*args, **options):
        dx, dgamma, dbeta = closed_form(*args, **options)
        return dx.T.copy(), dgamma, dbeta

    assert not compare(batch((n, n), dtype=dtype), closed=closed).passed


OTHER_SHAPES = {
    "dgamma unsummed": lambda dx, dgamma, dbeta, each, dout: (dx, each, dbeta),
    "dgamma unsummed and scaled": lambda dx, dgamma, dbeta, each, dout: (dx, 16 * each, dbeta),
    "dbeta unsummed": lambda dx, dgamma, dbeta, each, dout: (dx, dgamma, dout),
    "dgamma summed over all": lambda dx, dgamma, dbeta, each, dout: (dx, dgamma.sum(), dbeta),
    "dgamma for every sample": lambda dx, dgamma, dbeta, each, dout: (dx, dgamma + 0 * dx, dbeta),
    "dx transposed": lambda dx, dgamma, dbeta, each, dout: (dx.T, dgamma, dbeta),
    "dx of one sample": lambda dx, dgamma, dbeta, each, dout: (dx[0], dgamma, dbeta),
}


@pytest.mark.parametrize("how", OTHER_SHAPES)
def test_a_gradient_of_another_shape_never_passes(how):
    """It is a failure, or an error that names the gradient and both shapes."""
    shapes = {"dx": "(16, 4)", "dgamma": "(4,)", "dbeta": "(4,)"}

    def closed(x, gamma, dout, *, eps, axis):
        xhat, _ = statistics(x, eps, axis)
        right = closed_form(x, gamma, dout, eps=eps, axis=axis)
        return OTHER_SHAPES[how](*right, dout * xhat, dout)

    name = how.partition(" ")[0]
    try:
        passed = compare(batch(), closed=closed).passed
    except ValueError as error:
        passed = name not in str(error) or shapes[name] not in str(error)
    assert not passed


@pytest.mark.parametrize("how", ["without the mean", "without the variance", "without gamma"])
@pytest.mark.parametrize(
    ("shape", "axis"), [((4, 3, 5, 2), (0, 2, 3)), ((4, 5, 2, 3), (0, 1, 2))], ids=repr
)
def test_a_wrong_closed_form_of_images_is_rejected(shape, axis, how):
    x = batch(shape, mean=0.5)
    assert compare(x, axis=axis, closed=with_dx(right_dx)).passed
    assert not compare(x, axis=axis, closed=WRONG[how]).passed


def wrong_layernorm(x, gamma, dout, *, eps, axis):
    """Take gamma out of the means, which holds for BatchNorm only."""
    xhat, ivar = statistics(x, eps, axis)
    mean, along = (np.mean(a, axis=-1, keepdims=True) for a in (dout, dout * xhat))
    dx = gamma * ivar * (dout - mean - xhat * along)
    return dx, np.sum(dout * xhat, axis=0), np.sum(dout, axis=0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_wrong_closed_form_of_layernorm_is_rejected(dtype):
    x = batch((6, 7), dtype=dtype)
    report = compare(x, axis=-1, closed=wrong_layernorm)
    assert report.scaled_errors["dx"] > 1000 * report.tolerances["dx"]
    assert not report.passed
    for name in ("dgamma", "dbeta"):
        assert report.scaled_errors[name] <= report.tolerances[name]


def test_a_disagreement_in_one_feature_of_many_is_found():
    """A feature with small gradients must not hide behind one with large ones."""
    x = batch((32, 6)) * np.array([1e-3, 1e3, 1, 1, 1e6, 1])

    def closed(x, gamma, dout, **options):
        dx, dgamma, dbeta = closed_form(x, gamma, dout, **options)
        dx[:, 4] *= 1.0005  # of size 1e-6, beside gradients of size 1e3
        return dx, dgamma, dbeta

    assert compare(x).passed
    report = compare(x, closed=closed)
    assert report.scaled_errors["dx"] > report.tolerances["dx"]


def test_the_rounding_of_one_feature_hides_no_mistake_in_another():
    """What is rounding where the mean is 1e9 is a mistake where it is 0."""
    x = batch((32, 3))
    x[:, 0] += 1e9

    def closed(x, gamma, dout, **options):
        dx, dgamma, dbeta = closed_form(x, gamma, dout, **options)
        dx[:, 2] *= 1 + 1e-10
        return dx, dgamma, dbeta

    assert compare(x).passed
    report = compare(x, closed=closed)
    assert report.scaled_errors["dx"] > report.tolerances["dx"]


@pytest.mark.parametrize("mean", [1e3, 6e3, 1e4, 1.2e4, 1e5])
@pytest.mark.parametrize("how", ["without the mean", "without the variance"])
def test_a_wrong_form_never_passes_however_large_the_mean(how, mean):
    """Where the data hold too few digits to judge by, compare must say so and not pass."""
    x = batch((1000, 3), mean=mean, dtype="float32")
    try:
        passed = compare(x, closed=WRONG[how]).passed
    except ValueError as error:
        passed = "float32" not in str(error)
    assert not passed


# --- a wrong engine -------------------------------------------------------------------------------

WRONG_RULES = {
    "square without 2": (ops.square, lambda g, out, x: x * g),
    "square without x": (ops.square, lambda g, out, x: 2 * g),
    "inverse without its sign": (ops.inverse, lambda g, out, x: g * out * out),
    "inverse without the square": (ops.inverse, lambda g, out, x: -g * out),
    "sqrt without 2": (ops.sqrt, lambda g, out, x: g / out),
    "sqrt of x": (ops.sqrt, lambda g, out, x: g / (2 * x)),
    "sum with a mean": (
        ops.sum,
        lambda g, out, x, axis, keepdims: np.broadcast_to(g / len(x), x.shape),
    ),
    "sum of zeros": (ops.sum, lambda g, out, x, axis, keepdims: np.zeros(x.shape) * g),
    "off by 0.05 %": (ops.square, lambda g, out, x: 2.001 * x * g),
}
G = lambda g, out, a, b: g  # noqa: E731
WRONG_PAIRS = {
    "sub without its sign": (ops.sub, (G, G)),
    "sub without its mean path": (ops.sub, (G, lambda g, out, a, b: 0 * g)),
    "sub without its direct path": (ops.sub, (lambda g, out, a, b: 0 * g, lambda g, out, a, b: -g)),
    "mul exchanged": (ops.mul, (lambda g, out, a, b: g * a, lambda g, out, a, b: g * b)),
    "mul without a path": (ops.mul, (lambda g, out, a, b: g * b, lambda g, out, a, b: 0 * g * a)),
    "add twice": (ops.add, (lambda g, out, a, b: 2 * g, G)),
    "add without beta": (ops.add, (G, lambda g, out, a, b: 0 * g)),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("how", [*WRONG_RULES, *WRONG_PAIRS])
def test_a_wrong_rule_in_the_engine_is_found(how, dtype, monkeypatch):
    x = batch((16, 4), mean=0.5, dtype=dtype)
    assert compare(x).passed
    op, rules = (
        WRONG_PAIRS[how] if how in WRONG_PAIRS else (WRONG_RULES[how][0], WRONG_RULES[how][1:])
    )
    monkeypatch.setattr(op, "rules", rules)
    report = compare(x)
    assert not report.passed
    # beta's gradient is no step of its own.
    judge = "dbeta" if how == "add without beta" else "worst step"
    assert report.scaled_errors[judge] > report.tolerances[judge]
    monkeypatch.undo()
    assert compare(x).passed


def test_two_wrongs_that_agree_are_found_by_the_complex_step(monkeypatch):
    """Engine and closed form share one mistake: the staged backward loses the variance path."""
    x = batch((16, 4))
    monkeypatch.setattr(ops.square, "rules", (lambda g, out, x: 0 * g,))
    report = compare(x, closed=WRONG["without the variance"])
    assert report.scaled_errors["dx"] <= report.tolerances["dx"]
    assert report.scaled_errors["complex step"] > report.tolerances["complex step"]
    assert report.scaled_errors["jacobian"] > report.tolerances["jacobian"]
    assert not report.passed


@pytest.mark.parametrize(("rows", "directions"), [(40, 40), (5000, 32)])
def test_the_complex_step_judges_every_feature_by_itself(rows, directions, monkeypatch):
    """A shared mistake in one feature, a millionth as large as the others' gradients."""
    x = batch((rows, 6)) * np.array([1, 1, 1e-3, 1, 1e6, 1])
    others = np.array([1, 1, 1, 1, 0, 1])

    def closed(x, gamma, dout, **options):
        right = closed_form(x, gamma, dout, **options)
        wrong = WRONG["without the variance"](x, gamma, dout, **options)
        return np.where(others, right[0], wrong[0]), *right[1:]

    assert compare(x).passed
    monkeypatch.setattr(ops.square, "rules", (lambda g, out, x: 2 * x * g * others,))
    report = compare(x, closed=closed)
    assert report.directions == directions
    assert report.scaled_errors["dx"] <= report.tolerances["dx"]
    assert report.scaled_errors["complex step"] > 1e3 * report.tolerances["complex step"]


@pytest.mark.parametrize(
    ("shape", "axis", "places"),
    [((64, 64), 0, 64), ((6, 70), -1, 70), ((4, 3, 5, 2), (0, 2, 3), 40), ((9,), 0, 9)],
)
def test_a_direction_serves_all_features(shape, axis, places, monkeypatch):
    """The forward pass is run once per place in the batch, not once per entry."""
    runs = []

    def counted(*args, **options):
        runs.append(args)
        return staged(*args, **options)

    monkeypatch.setattr("tinygraph.checks.comparison.staged", counted)
    report = compare(batch(shape), axis=axis)
    assert report.passed
    assert len(runs) == report.directions == places


def test_a_wrong_forward_is_found(monkeypatch):
    forward = ops.sqrt.forward
    monkeypatch.setattr(ops.sqrt, "forward", lambda x: 1.001 * forward(x))
    assert not compare(batch()).passed


# --- why the upstream gradient is random ----------------------------------------------------------

UNSEEN_WITH_ONES = [
    "without the variance",
    "third sum without dout",
    "N − 1 in the variance path",
    "N − 1 in the variance",
    "without gamma",
    "wrong sign",
    "wrong sign of the variance",
    "off by 0.05 %",
    "zeros",
]


@pytest.mark.parametrize("how", UNSEEN_WITH_ONES)
def test_with_ones_a_wrong_dx_passes_and_with_random_numbers_it_does_not(how):
    x = batch((32, 3))
    ones = compare(x, dout=np.ones_like(x), closed=WRONG[how])
    assert ones.scaled_errors["dx"] <= ones.tolerances["dx"]
    assert ones.passed
    assert (
        max(
            abs(
                ones.graph.run(x=x, gamma=np.ones(3), beta=np.zeros(3), dout=np.ones_like(x))["dx"]
            ).ravel()
        )
        < 1e-13
    )
    report = compare(x, closed=WRONG[how])
    assert report.scaled_errors["dx"] > report.tolerances["dx"]


def test_the_upstream_gradient_is_random_by_default():
    seen = []

    def closed(x, gamma, dout, **options):
        seen.append((gamma, dout))
        return closed_form(x, gamma, dout, **options)

    x = batch((50, 4))
    compare(x, closed=closed)
    gamma, dout = seen[0]
    assert len(np.unique(dout)) == dout.size
    assert len(np.unique(gamma)) == 4
    assert np.all(dout.std(axis=0) > 0.5)


# --- the report -----------------------------------------------------------------------------------


def test_fields():
    x = batch((10, 3))
    report = compare(x, eps=1e-3)
    assert isinstance(report, Report)
    assert report.passed is True
    assert (report.shape, report.dtype, report.eps) == ((10, 3), "float64", 1e-3)
    assert set(report.differences) == set(report.relative) == {"dx", "dgamma", "dbeta"}
    assert set(report.scaled_errors) == set(report.tolerances) == {*JUDGED, "jacobian"}
    assert all(0 <= v < 1e-12 for v in report.scaled_errors.values())
    assert all(0 < v < 1e-11 for v in report.tolerances.values())
    assert isinstance(report.graph, Graph)
    assert {"dx", "dgamma", "dbeta"} <= {g.name for g in report.graph.gradients}
    with pytest.raises(AttributeError):
        report.dtype = "float32"


def test_the_steps_of_the_report():
    report = compare(batch((10, 3)))
    assert [(row.number, row.name, row.gradient, row.shape) for row in report.steps] == [
        (0, "x", "dx", (10, 3)),
        (1, "mu", "dmu", (3,)),
        (2, "xmu", "dxmu", (10, 3)),
        (3, "sq", "dsq", (10, 3)),
        (4, "var", "dvar", (3,)),
        (5, "sqrtvar", "dsqrtvar", (3,)),
        (6, "ivar", "divar", (3,)),
        (7, "xhat", "dxhat", (10, 3)),
        (8, "gammax", "dgammax", (10, 3)),
        (9, "out", "dout", (10, 3)),
    ]
    formulas = [row.formula for row in report.steps]
    assert formulas[2] == "x − mu"
    assert formulas[9] == "gammax + beta"
    assert len(set(formulas)) == 10
    assert all(row.error.value <= row.error.bound for row in report.steps)


def test_the_differences_are_those_of_the_two_sides():
    x = batch((10, 3))

    def closed(x, gamma, dout, **options):
        dx, dgamma, dbeta = closed_form(x, gamma, dout, **options)
        dx[4, 1] += 0.25
        dgamma[2] -= 0.5
        dbeta[0] += 2
        return dx, dgamma, dbeta

    report = compare(x, closed=closed)
    for name, difference in (("dx", 0.25), ("dgamma", 0.5), ("dbeta", 2)):
        assert report.differences[name] == pytest.approx(difference)
        assert report.relative[name] > 0.01
    assert "dbeta difference:    2.000e+00" in str(report)


def test_text_of_a_pass():
    report = compare(wine())
    text = str(report)
    for words in (
        "BatchNorm of (178, 13) over axis 0, float64, eps = 1e-05",
        "dx difference:",
        "dgamma difference:",
        "dbeta difference:",
        "PASS: staged and closed form agree",
        "√(var + eps)",
    ):
        assert words in text
    assert "FAIL" not in text
    assert "left out" not in text
    assert max(map(len, text.splitlines())) <= 100
    assert all(line == line.rstrip() for line in text.splitlines())


def test_text_of_a_fail():
    text = str(compare(batch(), closed=WRONG["dbeta as a mean"]))
    (line,) = [line for line in text.splitlines() if line.strip().startswith("dbeta:")]
    assert "FAIL" in line
    (line,) = [line for line in text.splitlines() if line.strip().startswith("dx:")]
    assert "PASS" in line
    assert text.endswith("FAIL: they differ")


@pytest.mark.parametrize("how", ["right", "without the mean", "nan", "inf in one entry"])
def test_to_dict_is_json(how):
    report = compare(batch((10, 3)), closed=WRONG.get(how, closed_form))
    text = json.dumps(report.to_dict(), allow_nan=False)
    found = json.loads(text)
    assert found["passed"] == (how == "right")
    assert found["shape"] == [10, 3]
    assert found["dtype"] == "float64"
    assert found["axis"] == [0]
    assert set(found["differences"]) == {"dx", "dgamma", "dbeta"}
    assert set(found["scaled_errors"]) == set(found["tolerances"]) == {*JUDGED, "jacobian"}
    assert found["complex_step_directions"] == 10
    assert found["features_left_out"] == 0
    assert [row["step"] for row in found["steps"]] == list(range(10))
    assert [row["gradient"] for row in found["steps"]][:2] == ["dx", "dmu"]


def test_longdouble_reports_are_json_too():
    json.dumps(compare(batch(dtype="longdouble"), eps=np.longdouble(1e-5)).to_dict())


def test_a_seed_reproduces():
    x = batch((20, 3))
    assert compare(x, seed=7).to_dict() == compare(x, seed=7).to_dict()
    assert compare(x, seed=7).to_dict() != compare(x, seed=8).to_dict()
    assert compare(x).to_dict() == compare(x, seed=0).to_dict()


def test_the_input_is_left_alone():
    x, dout = batch(), batch(seed=1)
    before = x.copy(), dout.copy()
    x.flags.writeable = dout.flags.writeable = False
    compare(x, dout=dout)
    assert np.array_equal(x, before[0])
    assert np.array_equal(dout, before[1])


@pytest.mark.parametrize("name", ["Fortran", "strided"])
def test_input_of_any_layout_in_memory(name):
    x = batch((12, 6))
    other = np.asfortranarray(x) if name == "Fortran" else np.repeat(x, 2, axis=1)[:, ::2]
    assert not other.flags.c_contiguous
    assert compare(other).passed


def test_nothing_is_left_of_a_trace_or_a_warning_filter():
    errors = np.geterr()
    compare(batch())
    assert np.geterr() == errors


# --- values that are not finite -------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_features_with_nan_are_left_out_and_the_others_judged(dtype, bad):
    x = batch((16, 4), mean=0.5, dtype=dtype)
    x[3, 1] = bad
    report = compare(x)
    assert report.passed, str(report)
    assert report.left_out == 1
    assert "not finite: 1" in str(report) or "1 feature with" in str(report)
    assert all(math.isfinite(v) for v in report.scaled_errors.values())
    json.dumps(report.to_dict(), allow_nan=False)


@pytest.mark.parametrize("place", ["x", "dout"])
@pytest.mark.parametrize(
    "how", ["without the mean", "without the variance", "off by 0.05 %", "dgamma scaled",
            "dbeta as a mean"]
)  # fmt: skip
def test_a_nan_in_one_feature_does_not_hide_a_disagreement_in_another(how, place):
    given = {"x": batch((16, 4), mean=0.5), "dout": batch((16, 4), seed=1)}
    given[place][5, 2] = np.nan
    assert compare(**given).passed
    report = compare(**given, closed=WRONG[how])
    assert not report.passed
    assert report.left_out == 1


def test_a_disagreement_in_a_single_other_feature_is_found():
    x = batch((16, 4))
    x[0, 0] = np.nan

    def closed(x, gamma, dout, **options):
        dx, dgamma, dbeta = closed_form(x, gamma, dout, **options)
        dx[2, 3] += 1e-3
        return dx, dgamma, dbeta

    assert not compare(x, closed=closed).passed


def test_a_nan_that_the_closed_form_makes_of_finite_input_fails():
    def closed(x, gamma, dout, **options):
        dx, dgamma, dbeta = closed_form(x, gamma, dout, **options)
        dx[2, 3] = np.nan
        return dx, dgamma, dbeta

    assert not compare(batch(), closed=closed).passed


@pytest.mark.parametrize("axis", [-1, 1])
def test_a_nan_in_one_row_of_layernorm_leaves_the_other_rows(axis):
    x = batch((6, 7))
    x[2, 1] = np.nan
    report = compare(x, axis=axis)
    assert report.left_out == 1
    assert report.passed, str(report)
    json.dumps(report.to_dict(), allow_nan=False)
    assert not compare(x, axis=axis, closed=wrong_layernorm).passed


def test_a_nan_in_one_row_of_a_square_layernorm_leaves_no_gamma_to_judge():
    """dgamma has as many entries as there are rows, but each sums over all of them."""
    x = batch((7, 7))
    x[2, 1] = np.nan
    report = compare(x, axis=-1)
    assert report.passed, str(report)
    assert report.left_out == 1
    assert report.scaled_errors["dgamma"] == report.scaled_errors["dbeta"] == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_where_no_feature_is_finite_there_is_nothing_to_pass(bad):
    """Neither PASS nor FAIL would be true: there is nothing that could have been compared."""
    x = batch((5, 3))
    x[1] = bad
    with pytest.raises(ValueError, match="finite"):
        compare(x)


def test_without_features_there_is_nothing_to_pass():
    with pytest.raises(ValueError, match=r"x .*\(5, 0\)"):
        compare(np.zeros((5, 0)))


# --- where nothing can be judged ------------------------------------------------------------------


def test_overflow_in_float16_names_the_feature():
    x = batch((32, 3))
    x[:, 1] *= 300
    with pytest.raises(ValueError, match=r"feature 1: .*overflows in float16; use a wider dtype"):
        compare(x, dtype="float16")
    assert compare(x, dtype="float32").passed


def test_overflow_of_the_gradient_names_the_feature():
    x = batch((8, 2))
    x[:, 1] *= 1e-160
    with pytest.raises(ValueError, match=r"feature 1: .*overflows in float64"):
        compare(x, eps=0)


@pytest.mark.parametrize("value", [0.0, 7.0])
def test_a_constant_column_without_eps_is_named(value):
    x = batch((8, 4))
    x[:, 2] = value
    with pytest.raises(ValueError, match=r"feature 2: .*eps > 0"):
        compare(x, eps=0)
    assert compare(x, eps=1e-5).passed


def test_a_spread_below_the_resolution_is_named():
    x = batch((64, 3))
    x[:, 1] += 1e15
    with pytest.raises(ValueError, match=r"feature 1: .*float64"):
        compare(x)


# --- mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"x": np.zeros((1, 3))}, ["(1, 3)", "at least two"]),
        ({"x": np.zeros(())}, ["axis 0", "()"]),
        ({"x": np.eye(5, 3), "axis": 4}, ["axis 4", "(5, 3)"]),
        ({"x": np.eye(5, 3), "eps": -1.0}, ["eps", "negative"]),
        ({"x": np.eye(5, 3), "gamma": np.ones(4)}, ["gamma", "(4,)", "(3,)"]),
        ({"x": np.eye(5, 3), "beta": np.ones(2)}, ["beta", "(2,)", "(3,)"]),
        ({"x": np.eye(5, 3), "dout": np.ones(3)}, ["dout", "(3,)", "(5, 3)"]),
        ({"x": np.eye(5, 3), "dout": np.ones((3, 5))}, ["dout", "(3, 5)", "(5, 3)"]),
        ({"x": [[1.0, 2.0], [3.0]]}, ["x"]),
    ],
)
def test_mistakes_are_explained(arguments, words):
    with pytest.raises(ValueError, match=re.escape(words[0])) as caught:
        compare(**arguments)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("x", [np.eye(3) + 0j, [["a"]], None], ids=["complex", "text", "None"])
def test_what_is_no_real_number_is_refused(x):
    with pytest.raises(TypeError, match="x"):
        compare(x)


def test_dtype_must_be_a_real_float():
    with pytest.raises(TypeError, match="int32"):
        compare(batch(), dtype="int32")


@pytest.mark.parametrize(("rows", "mean"), [(10_000, 100.0), (100_000, 0.0)])
@pytest.mark.parametrize("dropped", ["mean", "variance"])
def test_a_dropped_path_is_found_among_many_rows_in_float32(rows, mean, dropped):
    """Its share shrinks with the number of rows, while rounding in float32 grows."""

    def closed(x, gamma, dout, *, eps, axis):
        mu = x.mean(axis=0)
        ivar = 1 / np.sqrt(((x - mu) ** 2).mean(axis=0) + eps)
        xhat = (x - mu) * ivar
        dbeta, dgamma = dout.sum(axis=0), (dout * xhat).sum(axis=0)
        terms = {"mean": dbeta / rows, "variance": xhat * dgamma / rows}
        del terms[dropped]
        return gamma * ivar * (dout - sum(terms.values())), dgamma, dbeta

    x = np.random.default_rng(4).normal(mean, 1, size=(rows, 1)).astype(np.float32)
    report = compare(x, closed=closed)
    assert not report.passed
    assert report.scaled_errors["in float64"] > report.tolerances["in float64"]


def test_a_closed_form_may_use_its_arguments_up():
    from tinygraph.batchnorm import closed_form

    def closed(x, gamma, dout, *, eps, axis):
        answer = closed_form(x, gamma, dout, eps=eps, axis=axis)
        x *= 0
        dout *= 0
        return answer

    assert compare(np.random.default_rng(5).normal(size=(8, 3)), closed=closed).passed


def by_variables(dout, xhat, gamma, ivar):
    dxhat = dout * gamma
    mean = functools.partial(np.mean, axis=0)
    dx = ivar * (dxhat - mean(dxhat) - xhat * mean(dxhat * xhat))
    return {"dgamma": np.sum(dout * xhat, axis=0), "dbeta": np.sum(dout, axis=0), "dx": dx}


def by_other_places(dout, x, gamma, eps, axis):
    return closed_form(x, gamma, dout, eps=eps, axis=axis)


def without_eps(x, gamma, dout):
    return closed_form(x, gamma, dout)


@pytest.mark.parametrize("closed", [by_variables, by_other_places, without_eps])
def test_a_backward_pass_may_ask_for_what_it_needs_by_name(closed):
    assert compare(batch(), closed=closed).passed
    wrong = compare(batch(), closed=lambda dout, x, gamma: closed_form(x, gamma, -dout))
    assert not wrong.passed


def test_a_backward_pass_by_name_is_exact_too():
    assert compare([[1.0, 2.0], [4.0, 8.0], [9.0, 1.0]], closed=by_other_places, exact=True).passed


@pytest.mark.parametrize(
    ("closed", "message"),
    [
        (lambda dout, cache: None, "takes cache, but staged has no variable of that name"),
        (lambda dout, x: x, "must return dx, dgamma and dbeta; it returned no dgamma and no dbeta"),
    ],
)
def test_a_backward_pass_that_cannot_be_called_is_told(closed, message):
    with pytest.raises((TypeError, ValueError), match=message):
        compare(batch(), closed=closed)
