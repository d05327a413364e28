"""`detect_anomaly`: the first node that makes nan or inf is named, with its line."""

import re
from fractions import Fraction

import numpy as np
import pytest

from tinygraph import Tensor, detect_anomaly, grad, no_grad, trace
from tinygraph.batchnorm import staged

RNG = np.random.default_rng(3)


@pytest.fixture(autouse=True)
def silence():
    with np.errstate(all="ignore"):
        yield


def raised(f, *args):
    """Give the message of the anomaly in ``f(*args)``."""
    with pytest.raises(FloatingPointError) as caught, detect_anomaly():
        f(*args)
    return str(caught.value)


X = Tensor([4.0, 0.0], name="x")


def test_a_result_is_named_with_operation_operands_place_and_line():
    message = raised(lambda: np.log(X))
    assert message.startswith("log of x of shape (2,) is -inf at [1], though the operands are fin")
    assert re.search(
        r"; test_anomaly.py, line \d+: message = raised\(lambda: np.log\(X\)\)$", message
    )
    assert raised(lambda: X / 0).startswith("div of x of shape (2,) and 0 is inf at [0]")
    assert raised(lambda: X * 1e307 * 10).startswith("mul of a tensor of shape (2,) and 10 is inf")
    assert raised(lambda: 0 / Tensor(0.0, name="z")).startswith("div of 0 and Tensor(z, 0.0, ")


def test_a_gradient_is_named_with_the_rule_that_gave_it():
    def f():
        y = np.sqrt(X)
        z = y * 3
        z.backward([1.0, 2.0])

    message = raised(f)
    assert message.startswith("the gradient of x of shape (2,) is inf at [1], given by the rule of")
    assert "sqrt for a tensor of shape (2,)" in message
    assert message.endswith("y = np.sqrt(X)")
    assert X.grad is None


def test_in_a_traced_function_the_name_and_the_line_are_given():
    x = Tensor(np.ones((4, 3)), name="x")
    arguments = x, np.ones(3), np.zeros(3)
    message = raised(lambda: trace(staged)(*arguments, eps=0.0))
    assert message.startswith("inverse of sqrtvar of shape (3,) is inf at [0]")
    assert "finite; formulas.py, line" in message
    assert message.endswith("ivar = 1 / sqrtvar")

    x = Tensor(RNG.normal(size=(4, 3)) * 1e-160, name="x")
    out = trace(staged)(x, np.ones(3), np.zeros(3), eps=0.0)
    message = raised(out.backward, RNG.normal(size=(4, 3)))
    assert message.startswith("the gradient of a tensor of shape (3,) is ")
    assert "the rule of sqrt for sqrtvar" in message
    assert message.endswith("is finite")  # the line was not seen: it ran outside


def test_an_overflow_of_a_sum_of_gradients():
    t = Tensor(1e-10, name="t")
    y = t * 1e300 + t * 1.5e300
    assert (
        raised(y.backward, 1e8) == "the gradient of t of shape () is inf, the sum of 2 finite ones"
    )


def test_a_recorded_backward_pass():
    y = np.sqrt(X)
    message = raised(lambda: grad(y, [X], [1.0, 2.0], create_graph=True))
    assert message.startswith("div of dout of shape (2,) and a tensor of shape (2,) is inf at [1]")


def test_what_came_in_is_nobodys_mistake_here():
    with detect_anomaly():
        y = Tensor([1.0, np.nan]) * np.inf + X
        y.backward([np.inf, 1.0])
        assert np.isinf(y.data[0])
        assert np.isnan(np.sqrt(y).data[1])
    X.grad = None


def test_without_recording():
    def f():
        with no_grad():
            return np.log(X)

    assert raised(f).startswith("log of x")


def test_outside_nothing_is_watched_and_inside_right_numbers_stay():
    assert np.isinf(np.log(X).data[1])
    x = Tensor(RNG.normal(size=(4, 3)), name="x")
    arguments = x, RNG.normal(size=3), RNG.normal(size=3)
    dout = RNG.normal(size=(4, 3))
    (plain,) = grad(staged(*arguments), [x], dout)
    with detect_anomaly():
        (watched,) = grad(staged(*arguments), [x], dout)
    assert np.array_equal(plain, watched)
    with pytest.raises(FloatingPointError), detect_anomaly():
        np.log(X)
    assert np.isinf(np.log(X).data[1])


def test_fractions_and_integers_are_finite():
    with detect_anomaly():
        x = Tensor(np.array([Fraction(1, 3), Fraction(2)]), name="x")
        y = x[np.array([1, 1])] * Fraction(1, 2)
        y.backward([Fraction(1), Fraction(5)])
    assert x.grad.tolist() == [0, 3]
