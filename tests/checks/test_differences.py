"""Derivatives of any function along a direction, against those that are known."""

import numpy as np
import pytest

from tinygraph import Tensor, grad, gradcheck
from tinygraph.batchnorm import staged
from tinygraph.checks.differences import directional_derivative

RNG = np.random.default_rng(8)
X = RNG.normal(size=(6, 3))
GAMMA = RNG.normal(size=3)
BETA = RNG.normal(size=3)


@pytest.mark.parametrize("wrap", [np.asarray, Tensor])
@pytest.mark.parametrize(("method", "error"), [("complex", 4e-16), ("central", 1e-9)])
def test_directional_derivative(wrap, method, error):
    v = RNG.normal(size=X.shape)
    slope = directional_derivative(np.sin, [wrap(X)], [v], method)
    assert type(slope) is np.ndarray
    assert np.allclose(slope, np.cos(X) * v, rtol=error, atol=error)


def test_directional_derivative_of_some_inputs_only():
    slope = directional_derivative(lambda a, b: a**2 * b, [3.0, 5.0], [None, 2.0])
    assert slope == 18.0
    assert slope.shape == ()


def test_directional_derivative_agrees_with_reverse_mode():
    v = RNG.normal(size=X.shape)
    dout = RNG.normal(size=X.shape)
    x = Tensor(X)
    (dx,) = grad(staged(x, GAMMA, BETA), [x], dout)
    slope = directional_derivative(staged, [X, GAMMA, BETA], [v, None, None])
    assert np.vdot(slope, dout) == pytest.approx(np.vdot(dx, v), rel=1e-13)


def test_directional_derivative_of_a_function_that_differentiates():
    def slope(x):
        return grad(x**3, [x], np.ones(2), create_graph=True)[0]

    second = directional_derivative(slope, [Tensor([1.0, 2.0])], [[1.0, 1.0]])
    assert second.tolist() == [6.0, 12.0]
    assert gradcheck(slope, [1.0, 2.0], order=2)


def test_directional_derivative_refuses_a_direction_of_another_shape():
    with pytest.raises(ValueError, match=r"direction 0 has shape \(3,\), but its input \(6, 3\)"):
        directional_derivative(np.sin, [X], [GAMMA])


@pytest.mark.parametrize("method", ["auto", "forward"])
def test_unknown_methods(method):
    with pytest.raises(ValueError, match=f"complex, central, not '{method}'"):
        directional_derivative(np.tanh, [X], [X], method=method)


def test_the_step_grows_with_what_moves_and_not_with_what_stays():
    """At 1e8 a step of 6e-6 would drown; beside it, an input of size 1 must not move by 600."""
    slope = directional_derivative(np.square, [1e8], [1.0], "central")
    assert slope == pytest.approx(2e8, rel=1e-9)
    slope = directional_derivative(lambda a, b: np.sin(a) + b, [1.0, 1e8], [1.0, None], "central")
    assert slope == pytest.approx(np.cos(1.0), abs=1e-2)


def test_the_inputs_are_left_alone():
    x = Tensor(X)
    for method in ("complex", "central"):
        directional_derivative(np.sin, [x], [X], method)
    assert np.array_equal(x.data, X)
    assert x.grad is None
