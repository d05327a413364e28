"""SciPy's special functions on tensors; what is no ufunc is refused by name."""

import numpy as np
import pytest
from helpers import close

from tinygraph import Tensor, derive, grad, trace
from tinygraph.engine.library.special import ROWS

special = pytest.importorskip("scipy.special", reason="SciPy is no dependency")

UNIT = np.random.default_rng(1).uniform(0.2, 0.8, size=(2, 3))
OTHER = np.random.default_rng(2).uniform(0.5, 2.0, size=(2, 3))
ORDERS = {"jv": 1, "yv": 1, "yn": 1, "iv": 1, "ive": 1, "gammainc": 1, "gammaincc": 1, "betainc": 2}
CALLS = {
    name: ((2,) * ORDERS.get(name, 0) + (UNIT, OTHER))[: getattr(special, name).nin]
    for name in sorted(ROWS - {"gammasgn"})
}
CALLS |= {"psi": (UNIT,), "digamma": (OTHER,)}


def value(name, xs, order):
    """Differentiate `order` times, each time along other directions."""
    rng = np.random.default_rng(3)
    operands = [x if isinstance(x, int) else Tensor(x) for x in xs]
    tensors = [x for x in operands if isinstance(x, Tensor)]
    out = np.sum(getattr(special, name)(*operands) * rng.normal(size=UNIT.shape))
    for _ in range(order):
        gradients = grad(out, tensors, create_graph=True)
        out = sum(np.sum(g * rng.normal(size=UNIT.shape)) for g in gradients)
    return out.item()


@pytest.mark.parametrize("name", CALLS)
def test_values_and_derivatives_to_third_order(name):
    xs = CALLS[name]
    operands = [x if isinstance(x, int) else Tensor(x) for x in xs]
    assert np.array_equal(getattr(special, name)(*operands).data, getattr(special, name)(*xs))
    rng, step = np.random.default_rng(3), 1e-5
    rng.normal(size=UNIT.shape)
    for order in range(3):
        directions = [0 if isinstance(x, int) else rng.normal(size=UNIT.shape) for x in xs]
        pairs = list(zip(xs, directions, strict=True))
        ahead, back = (
            value(name, [x if isinstance(x, int) else x + s * d for x, d in pairs], order)
            for s in (step, -step)
        )
        close(value(name, xs, order + 1), (ahead - back) / (2 * step), 1e-6)


def test_the_derivative_by_an_order_is_refused():
    n, x = Tensor(2.0), Tensor(UNIT)
    out = special.jv(n, x).sum()
    assert grad(special.jv(2.0, x).sum(), [x])[0].shape == UNIT.shape
    with pytest.raises(TypeError, match="order or shape parameter is not known"):
        grad(out, [n])


def test_the_sign_of_gamma_is_constant_almost_everywhere():
    assert special.gammasgn(Tensor([-0.5, 0.5])).tolist() == [-1, 1]


def test_xlogy_at_zero():
    x, y = Tensor([0.0, 0.0, 2.0]), Tensor([3.0, 0.5, 1.5])
    dx, dy = grad(special.xlogy(x, y), [x, y], [0.3, -1.0, 2.0])
    close(dx, [0.3 * np.log(3), np.log(2), 2 * np.log(1.5)], 1e-15)
    close(dy, [0, 0, 2 * 2 / 1.5], 1e-15)


def test_they_are_written_like_others():
    out = special.expit(special.gammaln(Tensor(OTHER, name="x")))
    assert "expit(log Γ(x))" in derive(out, format="text")
    source = derive(out.sum(), format="python")
    assert "from scipy import special" in source
    assert "special.polygamma(0, x)" in source
    exec(source, {"__name__": "written"})


@pytest.mark.parametrize("name", ["logsumexp", "softmax", "log_softmax"])
def test_what_is_no_ufunc_is_refused_by_name(name):
    with pytest.raises(TypeError, match=rf"^scipy\.special\.{name} is not .* write .*np\.max"):
        getattr(special, name)(Tensor(UNIT))


def test_some_of_them_are_recorded_inside_trace():
    out = trace(lambda x: special.softmax(x, axis=1))(UNIT)
    close(out.data, special.softmax(UNIT, axis=1), 1e-15)
    for name in ("logsumexp", "log_softmax"):
        with pytest.raises(TypeError, match=rf"^scipy\.special\.{name} is not .* write .*np\.max"):
            trace(getattr(special, name))(UNIT)


def test_distributions_are_refused_by_name():
    stats = pytest.importorskip("scipy.stats", reason="SciPy is no dependency")
    with pytest.raises(TypeError, match=r"^scipy\.stats\.norm\.logpdf is not .* write -\(\(x"):
        stats.norm.logpdf(Tensor(UNIT))
