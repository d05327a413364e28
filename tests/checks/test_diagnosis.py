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


def test_a_lost_path_is_told_by_its_gradient():
    paths = {"mu, dw2": RNG.normal(size=4), "var, dw3": RNG.normal(size=(4, 4))}
    told = {
        "dw lacks the path through mu, dw2": RIGHT - paths["mu, dw2"],
        "dw lacks the path through var, dw3": RIGHT - paths["var, dw3"],
        "dw has the path through var, dw3 twice": RIGHT + paths["var, dw3"],
        "dw has -1 times the path through mu, dw2": RIGHT - 2 * paths["mu, dw2"],
    }
    for text, wrong in told.items():
        assert text in diagnosis.likely_cause("w", wrong, RIGHT, paths=paths)


def test_a_lost_path_through_a_variance_is_told_by_where_the_value_is():
    at = RNG.normal(size=(4, 5))
    right = RNG.normal(size=(4, 5))
    gap = (at - at.mean(axis=0)) * RNG.normal(size=5)
    cause = diagnosis.likely_cause("w", right + gap, right, at=at)
    assert cause.startswith("missing path: what is missing grows along axis 0")
    assert diagnosis.likely_cause("w", right + gap, right) == ""
    assert diagnosis.likely_cause("w", right + gap, right, at=at**3) == ""


@pytest.mark.parametrize(
    ("factor", "text"), [(64, "N"), (1 / 64, "1/N"), (64 / 63, "N/(N − 1)"), (63 / 64, "(N − 1)/N")]
)
def test_a_factor_that_is_a_length_is_told_so(factor, text):
    cause = diagnosis.likely_cause("w", factor * RIGHT, RIGHT, lengths={64})
    said = f"factor: every entry is {text} times what it should be"
    assert cause == f"{said}, where N = 64, the length of an axis"


@pytest.mark.parametrize(
    ("wrong", "cause"),
    [
        (
            np.ones((3, 2)),
            "missing sum: db has shape (3, 2) and not (2,); summed over axis 0 it is",
        ),
        (np.full((1, 2), 3.0), "keepdims: db has shape (1, 2) and not (2,); the numbers are right"),
        (np.full((2, 1), 3.0), "keepdims: db has shape (2, 1) and not (2,); the numbers are right"),
        (np.full((3,), 3.0), ""),
        (np.full((2,), 7.0), ""),
    ],
)
def test_a_wrong_shape_is_told_by_what_makes_it_right(wrong, cause):
    assert diagnosis.wrong_shape("b", wrong, np.full(2, 3.0)).startswith(cause)
    assert bool(cause) == bool(diagnosis.wrong_shape("b", wrong, np.full(2, 3.0)))


def test_a_transposed_gradient_of_another_shape_is_told():
    right = RNG.normal(size=(2, 3))
    assert diagnosis.wrong_shape("w", right.T, right).startswith("transposed: dw has shape (3, 2)")


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
