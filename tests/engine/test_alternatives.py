"""What is refused names what to write instead, which is right and works on tensors."""

import functools

import numpy as np
import pytest
from helpers import close

from tinygraph import Tensor, grad, gradcheck
from tinygraph.engine import alternatives
from tinygraph.engine.recording import holomorphic

M, A, B = (np.random.default_rng(7).uniform(0.5, 2, size=s) for s in ((3, 3), (4,), (4,)))
INSTEAD = {  # with the names that stand in the advice, and what NumPy gives
    "np.log1p": ({"x": A}, np.log1p(A)),
    "np.expm1": ({"x": A}, np.expm1(A)),
    "np.exp2": ({"x": A}, np.exp2(A)),
    "np.log2": ({"x": A}, np.log2(A)),
    "np.log10": ({"x": A}, np.log10(A)),
    "np.sinh": ({"x": A}, np.sinh(A)),
    "np.cosh": ({"x": A}, np.cosh(A)),
    "np.tan": ({"x": A}, np.tan(A)),
    "np.hypot": ({"a": A, "b": B}, np.hypot(A, B)),
    "np.linalg.norm": ({"x": A}, np.linalg.norm(A)),
    "np.outer": ({"a": A, "b": B}, np.outer(A, B)),
    "np.inner": ({"a": M, "b": M}, np.inner(M, M)),
    "np.vdot": ({"a": A, "b": B}, np.vdot(A, B)),
    "np.ptp": ({"x": A}, np.ptp(A)),
    "np.diff": ({"x": A}, np.diff(A)),
    "np.flip": ({"x": A}, np.flip(A)),
    "np.roll": ({"x": A, "k": 3}, np.roll(A, 3)),
    "np.diag": ({"x": M, "n": 3}, np.diag(M)),
    "np.trace": ({"x": M, "n": 3}, np.trace(M)),
    "np.tile": ({"x": A, "n": 3}, np.tile(A, 3)),
    "np.repeat": ({"x": A, "n": 4, "repeats": 2}, np.repeat(A, 2)),
    "np.sort": ({"x": A}, np.sort(A)),
    "np.average": ({"x": A, "w": B}, np.average(A, weights=B)),
    "np.nansum": ({"x": A}, np.nansum(A)),
    "np.nanmean": ({"x": A}, np.nanmean(A)),
    "np.take": ({"x": A, "indices": [2, 0]}, np.take(A, [2, 0])),
    "np.heaviside": ({"x": A - 1}, np.heaviside(A - 1, 0.5)),
}


@pytest.mark.parametrize("name", INSTEAD)
def test_what_is_advised_instead_is_right_and_works_on_tensors(name):
    with pytest.raises(TypeError) as caught:
        getattr_path(np, name)(Tensor(M))
    assert f"write {alternatives.INSTEAD[name]}" in str(caught.value)
    given, expected = INSTEAD[name]
    space = {k: Tensor(v) if isinstance(v, np.ndarray) else v for k, v in given.items()}
    found = eval(alternatives.INSTEAD[name], space | {"np": np})
    close(getattr(found, "data", found), expected, 1e-14)


def getattr_path(module, name):
    """Give a function of NumPy, called with as many operands as it takes."""
    function = functools.reduce(getattr, name.split(".")[1:], module)
    two = {"np.hypot", "np.outer", "np.inner", "np.vdot", "np.heaviside"}
    three = {"np.roll": (1,), "np.tile": (2,), "np.repeat": (2,), "np.take": ([0],)}
    return lambda x: function(x, *([x] if name in two else three.get(name, ())))


def test_the_nearest_name_is_given_and_no_insides():
    for name in ("np.arctan", "np.fmax", "np.floor", "np.quantile", "np.cov", "np.linalg.inv"):
        said = alternatives.unsupported(name)
        assert said.startswith(f"{name} is not supported on tensors; ")
        assert "UFUNCS" not in said
    assert alternatives.unsupported("np.fmax").endswith("the nearest that is supported is np.max")


# --- variance -----------------------------------------------------------------------------------


@pytest.mark.parametrize("f", [np.var, np.std, Tensor.var, Tensor.std])
def test_the_variance_of_complex_numbers_is_refused(f):
    """NumPy's is the mean of |x - mean|², which has no complex derivative."""
    z = Tensor(np.array([1j, 2.0, 3 - 1j]), name="z")
    with pytest.raises(TypeError, match=r"var: z of shape \(3,\) is complex.* not holomorphic"):
        f(z)
    with holomorphic():
        found = np.square(f(z).data) if "std" in f.__name__ else f(z).data
    centred = z.data - z.data.mean()
    close(found, np.mean(centred * centred), 1e-15)


def test_gradcheck_takes_the_complex_step_through_a_variance():
    report = gradcheck(lambda x: x / np.sqrt(np.var(x) + 1), A)
    assert report.method == "complex"


def test_the_standard_deviation_of_equal_entries_has_no_gradient():
    x = Tensor([2.0, 2.0, 2.0])
    with np.errstate(all="ignore"):
        assert np.isnan(grad(np.std(x), [x])[0]).all()
