"""SciPy's special functions on tensors; what is no ufunc is refused by name."""

import numpy as np
import pytest
from helpers import close

from tinygraph import Tensor, derive, grad, trace
from tinygraph.engine.library.special import ROWS

special = pytest.importorskip("scipy.special", reason="SciPy is no dependency")

UNIT = np.random.default_rng(1).uniform(0.2, 0.8, size=(2, 3))
OTHER = np.random.default_rng(2).uniform(0.5, 2.0, size=(2, 3))
CALLS = {name: (UNIT, OTHER)[: getattr(special, name).nin] for name in sorted(ROWS)}
CALLS |= {"psi": (UNIT,), "digamma": (OTHER,)}


def value(name, xs, order):
    """Differentiate `order` times, each time along other directions."""
    rng = np.random.default_rng(3)
    tensors = [Tensor(x) for x in xs]
    out = np.sum(getattr(special, name)(*tensors) * rng.normal(size=UNIT.shape))
    for _ in range(order):
        gradients = grad(out, tensors, create_graph=True)
        out = sum(np.sum(g * rng.normal(size=UNIT.shape)) for g in gradients)
    return out.item()


@pytest.mark.parametrize("name", CALLS)
def test_values_and_derivatives_to_third_order(name):
    xs = CALLS[name]
    assert np.array_equal(
        getattr(special, name)(*map(Tensor, xs)).data, getattr(special, name)(*xs)
    )
    rng, step = np.random.default_rng(3), 1e-5
    rng.normal(size=UNIT.shape)
    for order in range(3):
        directions = [rng.normal(size=UNIT.shape) for _ in xs]
        ahead, back = (
            value(name, [x + s * d for x, d in zip(xs, directions, strict=True)], order)
            for s in (step, -step)
        )
        close(value(name, xs, order + 1), (ahead - back) / (2 * step), 1e-6)


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
