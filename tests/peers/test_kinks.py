"""Ties, kinks and poles, where there is no derivative: what every engine makes of them.

Our conventions are: a tie shares the gradient equally among those that tie, abs and relu have the
derivative 0 at their kink, x⁰ is constant, also at 0, and at a pole there is an infinity and not a
message. A peer that is not named has the same; a peer that is named differs, and this is how.
"""

import numpy as np
import pytest

from peers.engines import Tinygraph

NAN, INF, LOG2 = np.nan, np.inf, np.log(2)


def case(f, *xs, ours, **theirs):
    """Give a function, a point, and the gradient there; a gradient per input."""
    return f, [np.asarray(x, float) for x in xs], ours, theirs


KINKS = {
    "abs": case(lambda np, x: np.abs(x), 0, ours=[0], jax=[1]),
    # autograd has no relu but a maximum.
    "relu": case(lambda np, x: np.relu(x), 0, ours=[0], autograd=[0.5]),
    "maximum": case(lambda np, a, b: np.maximum(a, b), 1, 1, ours=[0.5, 0.5], mygrad=[0, 0]),
    "minimum": case(lambda np, a, b: np.minimum(a, b), 1, 1, ours=[0.5, 0.5], mygrad=[0, 0]),
    "maximum of one": case(lambda np, a: np.maximum(a, a), 1, ours=[1], mygrad=[0]),
    "max": case(
        lambda np, x: np.max(x), [1, 3, 3, 2], ours=[[0, 0.5, 0.5, 0]], mygrad=[[0, 1, 0, 0]]
    ),
    "min": case(
        lambda np, x: np.min(x), [1, 1, 3, 2], ours=[[0.5, 0.5, 0, 0]], mygrad=[[1, 0, 0, 0]]
    ),
    "clip": case(
        lambda np, x: np.clip(x, -1, 1), 1, ours=[0.5], pytorch=[1], autograd=[0], mygrad=[0]
    ),
    "x⁰": case(lambda np, x: x**0, 0, ours=[0]),
    "x¹": case(lambda np, x: x**1, 0, ours=[1]),
    "0⁰": case(lambda np, a, b: a**b, 0, 0, ours=[0, 0], jax=[NAN, 0]),
    "0¹": case(lambda np, a, b: a**b, 0, 1, ours=[1, 0]),
    "0²": case(lambda np, a, b: a**b, 0, 2, ours=[0, 0]),
    "√0": case(lambda np, x: np.sqrt(x), 0, ours=[INF]),
    "1/0": case(lambda np, x: 1 / x, 0, ours=[-INF]),
    "log 0": case(lambda np, x: np.log(x), 0, ours=[INF]),
    # 0 · ∞: the branch that is not taken has an infinite derivative, and where multiplies it by 0.
    "√0 not taken": case(lambda np, x: np.where(x > 0, np.sqrt(x), 0 * x), 0, ours=[NAN]),
    "norm of 0": case(lambda np, x: np.sqrt(np.sum(x * x)), [0, 0], ours=[[NAN, NAN]]),
}


@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize(("f", "xs", "ours", "theirs"), KINKS.values(), ids=KINKS)
def test_conventions_are_ours_but_for_the_named(peer, f, xs, ours, theirs):
    _, swept = Tinygraph().derivatives(f, xs, 1.0)
    for found, expected in zip(swept[1], ours, strict=True):
        np.testing.assert_array_equal(found, expected)
    expected = theirs.get(peer.name, ours)
    for g, wanted in zip(peer.derivatives(f, xs, np.float64(1.0))[1], expected, strict=True):
        np.testing.assert_array_equal(g, wanted)
    assert theirs.get(peer.name) != ours


# --- second derivatives of a to the power b, where they exist -----------------------------------

# Of a first-order rule with a guard for one point, the second order may forget what was guarded. At
# a = 2, b = 0 both mixed ones are a^(b−1) · (1 + b · log a) = 1/2; at a = 0, b = 2 ∂²/∂a² is 2 and
# the others are 0.
POWERS = {
    "a = 2, b = 0": (
        *(2.0, 0.0, [[0, 1 / 2], [1 / 2, LOG2**2]]),
        {"pytorch": [[0, 0], [1 / 2, LOG2**2]], "autograd": [[0, 2], [1 / 2, LOG2**2]]},
    ),
    "a = 0, b = 2": (0.0, 2.0, [[2, 0], [0, 0]], {"pytorch": [[NAN, NAN], [NAN, NAN]]}),
}


@pytest.mark.parametrize(("a", "b", "true", "theirs"), POWERS.values(), ids=POWERS)
def test_second_derivatives_of_powers_are_the_true_ones(higher, a, b, true, theirs):
    def hessian(engine):
        # Row k is the gradient of the k-th first derivative.
        return [last(engine, row) for row in ([1.0, 0.0], [0.0, 1.0])]

    def last(engine, row):
        xs, direction = [np.asarray(a), np.asarray(b)], [np.float64(v) for v in row]
        found = engine.derivatives(lambda np, a, b: a**b, xs, np.float64(1.0), [direction])
        return (found[1] if isinstance(engine, Tinygraph) else found)[2]

    np.testing.assert_allclose(hessian(Tinygraph()), true, rtol=1e-15)
    np.testing.assert_allclose(hessian(higher), theirs.get(higher.name, true), rtol=1e-15)
