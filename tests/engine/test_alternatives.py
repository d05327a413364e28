"""What is refused names what to write instead, which is right and works on tensors."""

import numpy as np
import pytest
from helpers import close

from tinygraph import Tensor, grad, gradcheck
from tinygraph.engine import alternatives
from tinygraph.engine.primitive import NUMPY
from tinygraph.engine.recording import holomorphic

RNG = np.random.default_rng(7)
M, A, B, T = (RNG.uniform(0.5, 2, size=s) for s in ((3, 4), (4,), (4,), (5, 3)))
X = np.cumsum(A)
INSTEAD = {  # a call that is refused, with the names that stand in the advice
    "np.cbrt(x)": {"x": A},
    "np.convolve(x, w, 'valid')": {"x": A, "w": B[:2], "n": 2},
    "np.copysign(x, y)": {"x": A, "y": A - 1},
    "np.correlate(x, w)": {"x": A, "w": B[:2], "n": 2},
    "np.cov(x)": {"x": M, "n": 4},
    "np.ediff1d(x)": {"x": A},
    "np.heaviside(x, 0.5)": {"x": A - 1},
    "np.linalg.pinv(x)": {"x": T},
    "np.partition(x, range(4))": {"x": A},
    "np.trapezoid(y, x)": {"x": X, "y": B},
}


@pytest.mark.parametrize("call", [call for call in INSTEAD if hasattr(np, call[3:].split("(")[0])])
def test_what_is_advised_instead_is_right_and_works_on_tensors(call):
    given, advice = INSTEAD[call], alternatives.INSTEAD[call.partition("(")[0]]
    space = {k: Tensor(v) if isinstance(v, np.ndarray) else v for k, v in given.items()}
    with pytest.raises(TypeError) as caught:
        eval(call, space | {"np": np})
    assert f"write {advice}" in str(caught.value)
    found = eval(advice, space | {"np": np})
    close(getattr(found, "data", found), eval(call, given | {"np": np}), 1e-13)


def test_no_advice_is_given_where_none_is_needed():
    supported = {f"np.{f.__name__}" for f in NUMPY}
    assert not supported & set(alternatives.INSTEAD)


def test_the_nearest_name_is_given_and_no_insides():
    for name in ("np.arctanx", "np.fft.fft", "np.unwrap", "np.cov", "np.linalg.svdvals"):
        said = alternatives.unsupported(name)
        assert said.startswith(f"{name} is not supported on tensors; ")
        assert "UFUNCS" not in said
    assert alternatives.unsupported("np.fmaxx").endswith("the nearest that is supported is np.fmax")


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
