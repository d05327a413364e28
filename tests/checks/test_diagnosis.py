"""A mistake of each kind is told by its numbers, and what is none of them is not."""

import numpy as np
import pytest

from tinygraph.checks import diagnosis

RNG = np.random.default_rng(9)
RIGHT = RNG.normal(size=(4, 4))

MISTAKES = {
    "missing path: no gradient arrives at w": lambda g: 0 * g,
    "factor: every entry is 1/3 times": lambda g: g / 3,
    "factor: every entry is -1 times": lambda g: -g,
    "factor: every entry is 1.0005 times": lambda g: 1.0005 * g,
    "transposed": lambda g: g.T,
    "missing path: what is missing is the same all along axis 0": lambda g: g - g.mean(axis=0),
    "missing path: what is missing is the same all along axis 1": lambda g: g + g[:, :1],
}


@pytest.mark.parametrize("cause", MISTAKES)
def test_a_mistake_is_told(cause):
    assert diagnosis.likely_cause("w", MISTAKES[cause](RIGHT), RIGHT).startswith(cause)


def test_what_looks_like_nothing_is_not_explained():
    assert diagnosis.likely_cause("w", RIGHT + 0.1 * RNG.normal(size=RIGHT.shape), RIGHT) == ""


def test_derivatives_along_directions_have_no_axes():
    numeric = RNG.normal(size=5)
    assert "axis 0" in diagnosis.likely_cause("w", numeric + 1, numeric)
    assert diagnosis.likely_cause("w", numeric + 1, numeric, entries=False) == ""
    assert diagnosis.likely_cause("w", numeric / 2, numeric, entries=False).startswith("factor")


def test_what_is_not_finite_is_told_by_its_side():
    bad = np.where(np.eye(4), np.nan, RIGHT)
    assert "the gradient of w has nan or inf" in diagnosis.not_finite("w", bad, RIGHT)
    assert "leaves the domain" in diagnosis.not_finite("w", RIGHT, bad)
    assert diagnosis.not_finite("w", RIGHT, RIGHT) == ""


def test_a_kink_is_a_jump_that_stays_however_small_the_step():
    assert diagnosis.kink("w", (-1.0, 1.0), (-1.0, 1.0), 0.0).startswith("kink: the slope of w")
    assert diagnosis.kink("w", (-1.0, 1.0), (-0.01, 0.01), 0.0) == ""  # a sharp curve
    assert diagnosis.kink("w", (-1.0, 1.0), (-1.0, 1.0), 1.0) == ""  # rounding
    assert diagnosis.kink("w", (1.0, 1.0), (1.0, 1.0), 0.0) == ""
    assert diagnosis.kink("w", (np.nan, 1.0), (np.nan, 1.0), 0.0) == ""


def test_a_real_part_is_told_by_the_differences_that_agree():
    assert diagnosis.not_analytic(RIGHT, RIGHT + 1, 1e-6).startswith("not analytic")
    assert diagnosis.not_analytic(RIGHT, RIGHT + 1, 0.5) == ""
    assert diagnosis.not_analytic(RIGHT, RIGHT + 1, np.nan) == ""


def test_rounding_is_told_by_its_size():
    assert diagnosis.rounding(RIGHT, RIGHT + 1e-3, 1e-3).startswith("rounding")
    assert diagnosis.rounding(RIGHT, RIGHT + 1e-3, 1e-4) == ""
