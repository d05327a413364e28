"""The judge of floats: every feature by its own scale and bound, and nan by none."""

import math

import numpy as np
import pytest

from tinygraph.checks.batches import read_batch
from tinygraph.checks.by_hand import Derivation
from tinygraph.checks.closeness import Judge

RNG = np.random.default_rng(11)


def judged(x, axis=0, **given):
    """Give a judge of a batch, and the gradients that the derivation by hand gives for it."""
    batch = read_batch(
        x,
        *(given.get(name) for name in ("gamma", "beta", "dout")),
        eps=1e-5,
        axis=axis,
        seed=0,
        convert=lambda a, name: np.asarray(a),
        draw=np.random.Generator.standard_normal,
    )
    derivation = Derivation(batch)
    return Judge(derivation), derivation.staged_gradients()


@pytest.mark.parametrize(
    ("shape", "axis", "place"),
    [((8, 4), 0, (3, 2)), ((5, 5), -1, (2, 3)), ((4, 3, 5, 2), (0, 2, 3), (1, 2, 4, 0))],
)
def test_an_error_is_measured_by_its_own_feature(shape, axis, place):
    """And found where it is, though another feature has larger gradients by far."""
    x = RNG.normal(size=shape)
    judge, gradients = judged(x, axis)
    dx = gradients["dx"]
    wrong = dx.copy()
    wrong[place] += 1e-6
    scale = np.broadcast_to(judge.scales["dx"], shape)[place]
    found = judge("dx", dx, wrong)
    assert not found.passed
    assert found.difference == pytest.approx(1e-6)
    assert found.error.value == pytest.approx(1e-6 / scale)
    assert found.error.bound == np.broadcast_to(judge.bound, shape)[place]
    assert judge("dx", dx, dx).passed


def test_what_sums_over_all_features_needs_all_of_them_and_the_largest_bound():
    x = RNG.normal(size=(6, 6))
    x[4] += 1e6
    judge, gradients = judged(x, -1)
    dgamma = gradients["dgamma"]
    assert dgamma.shape == (1, 6)
    assert judge("dgamma", dgamma, dgamma + 1e-12).error.bound == judge.bound.max()
    x[2, 1] = np.inf
    judge, _ = judged(x, -1)
    assert judge.left_out == 1
    assert judge("dgamma", dgamma, dgamma + 1).difference == 0  # there is nothing to judge


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_inf_are_wrong_where_the_input_is_finite(bad):
    x = RNG.normal(size=(6, 3))
    judge, gradients = judged(x)
    dx = gradients["dx"].copy()
    dx[1, 1] = bad
    assert not judge("dx", gradients["dx"], dx).passed
    x[0, 1] = np.nan
    judge, gradients = judged(x)
    right = np.where(np.arange(3) == 1, 0.0, gradients["dx"])
    right[1, 1] = bad
    assert judge("dx", gradients["dx"], right).passed


def test_another_shape_is_wrong_however_small():
    judge, gradients = judged(RNG.normal(size=(6, 3)))
    found = judge("dx", gradients["dx"], gradients["dx"][:1])
    assert not found.passed
    assert found.difference == found.error.value == math.inf


def test_an_error_of_terms_that_cancel_is_no_error():
    """Where dout is constant along the batch, dx is 0 but for the rounding of its terms."""
    x, dout = RNG.normal(size=(50, 3)), np.tile(1e3 * RNG.normal(size=3), (50, 1))
    judge, gradients = judged(x, dout=dout)
    assert 0 < abs(gradients["dx"]).max() < 1e-9
    assert judge("dx", gradients["dx"], 0 * x).passed
    assert not judge("dx", gradients["dx"], 0 * x + 1e-6).passed
