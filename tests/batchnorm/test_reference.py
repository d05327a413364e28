"""Against PyTorch: forward and backward of BatchNorm and LayerNorm, from stored values."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tinygraph import Tensor, compare
from tinygraph.batchnorm import closed_form, jacobian, staged

CASES = ["bn_16x5", "bn_4x3", "bn_4x3x5x2", "ln_6x7"]
# Both sides round; measured: at most 1.6e-16 and 1e-7 at the scales below.
TOLERANCES = {"f64": 6e-16, "f32": 3e-7}

with np.load(Path(__file__).parents[1] / "data" / "torch_batchnorm.npz") as archive:
    STORED = {key: archive[key] for key in archive}


def stored(case, dtype):
    found = {
        key.partition("/")[2]: value
        for key, value in STORED.items()
        if key.startswith(f"{case}_{dtype}/")
    }
    case = SimpleNamespace(**found)
    case.eps = float(case.eps)
    axes = tuple(case.axes.tolist())
    case.axis = axes[0] if len(axes) == 1 else axes
    case.over = tuple(k % case.x.ndim for k in axes)
    return case


def scales(case):
    """Say how large the terms are that out, dx, dgamma and dbeta are made of."""
    x, dout = (a.astype(np.longdouble) for a in (case.x, case.dout))
    xmu = x - np.mean(x, axis=case.over, keepdims=True)
    sigma = np.sqrt(np.mean(xmu**2, axis=case.over, keepdims=True) + case.eps)
    condition = 1 + np.max(np.abs(x), axis=case.over, keepdims=True) / sigma
    wide = (1, -1) + (1,) * (x.ndim - 2)
    gamma, beta = (np.abs(a.reshape(wide)) for a in (case.gamma, case.beta))
    terms = np.max(gamma * np.abs(dout), axis=case.over, keepdims=True) / sigma
    others = tuple(k for k in range(x.ndim) if k != 1)
    dgamma = np.sum(np.abs(dout) * condition, axis=others)
    return {
        "out": gamma * np.abs(xmu / sigma) + beta + gamma * condition,
        "dx": condition * terms,
        "dgamma": dgamma,
        "dbeta": np.sum(np.abs(dout), axis=others),
    }


def check(name, found, case, dtype):
    expected = getattr(case, name)
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    difference = np.abs(found.astype(np.longdouble) - expected)
    assert np.all(difference <= TOLERANCES[dtype] * scales(case)[name]), np.max(difference)


def test_the_file_holds_what_its_script_says():
    assert {key.partition("/")[0] for key in STORED} == {
        f"{case}_{dtype}" for case in CASES for dtype in TOLERANCES
    }
    for name in CASES:
        case = stored(name, "f64")
        assert case.x.shape == tuple(int(n) for n in name.partition("_")[2].split("x"))
        assert case.over == ((1,) if name.startswith("ln") else (0, 2, 3)[: case.x.ndim - 1])
        assert np.any(case.gamma < 0)
        assert len(np.unique(case.dout)) == case.dout.size  # random and never ones


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("name", CASES)
def test_staged_forward_and_backward(name, dtype):
    case = stored(name, dtype)
    x, gamma, beta = (Tensor(getattr(case, key), name=key) for key in ("x", "gamma", "beta"))
    out = staged(x, gamma, beta, eps=case.eps, axis=case.axis)
    out.backward(case.dout)
    check("out", out.data, case, dtype)
    for key, t in (("dx", x), ("dgamma", gamma), ("dbeta", beta)):
        check(key, t.grad, case, dtype)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("name", CASES)
def test_closed_form(name, dtype):
    case = stored(name, dtype)
    gradients = closed_form(case.x, case.gamma, case.dout, eps=case.eps, axis=case.axis)
    for key, g in zip(("dx", "dgamma", "dbeta"), gradients, strict=True):
        check(key, g, case, dtype)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("name", ["bn_16x5", "bn_4x3"])
def test_jacobian(name, dtype):
    case = stored(name, dtype)
    J = jacobian(case.x, case.gamma, eps=case.eps)
    check("dx", np.einsum("kid,kd->id", J, case.dout), case, dtype)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("name", CASES)
def test_compare_passes_on_these(name, dtype):
    case = stored(name, dtype)
    given = case.x, case.gamma, case.beta, case.dout
    assert compare(*given, eps=case.eps, axis=case.axis).passed


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("name", CASES)
def test_values_of_another_eps_are_not_those(name, dtype):
    """The tolerances are narrow enough to tell eps = 1e-5 from one slightly larger."""
    case = stored(name, dtype)
    eps = {"f64": 1.0001e-5, "f32": 1e-4}[dtype]
    dx, dgamma, _ = closed_form(case.x, case.gamma, case.dout, eps=eps, axis=case.axis)
    for key, g in (("dx", dx), ("dgamma", dgamma)):
        with pytest.raises(AssertionError):
            check(key, g, case, dtype)
