"""Where rounding, overflow and underflow hurt BatchNorm, and by how much.

Every batch here is held against rational numbers: floats are fractions, sums and products of
fractions are exact, and the one root is taken to 200 bits. Errors are counted in units of

    u · (1 + max|x|/√(var + eps)) · (size of the terms),   u = finfo(dtype).eps,

feature by feature. The bracket is the price of x − mu, in which the rounding of x stays and x goes;
the terms are |gamma| for out, |gamma|/√(var + eps) · max|dout| for dx, Σ|dout| for dgamma and,
without the bracket, for dbeta. "Measured" is the worst of the three ways
here, on NumPy 2.4.
"""

import math
import operator
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import same_bits
from rounding import EPS, WAYS, every_way

from tinygraph import compare

REAL = ["float32", "float64", "longdouble"]


def rational(a):
    return [Fraction(*v.as_integer_ratio()) for v in np.atleast_1d(a)]


def mean(values):
    return sum(values) / len(values)


def root(v, bits=200):
    return Fraction(math.isqrt(v.numerator * v.denominator << 2 * bits), v.denominator << bits)


def exact(x, gamma, beta, dout, eps):
    """Differentiate BatchNorm of one feature in rational numbers, by the paper's closed form."""
    x, g, (gamma,), (beta,) = (rational(a) for a in (x, dout, gamma, beta))
    mu = mean(x)
    s = root(mean([(v - mu) ** 2 for v in x]) + Fraction(eps))
    xhat = [(v - mu) / s for v in x]
    along, level = mean(list(map(operator.mul, g, xhat))), mean(g)
    condition = 1 + max(map(abs, x)) / s
    total = sum(map(abs, g))
    return SimpleNamespace(
        out=[gamma * v + beta for v in xhat],
        dx=[gamma / s * (a - level - v * along) for a, v in zip(g, xhat, strict=True)],
        dgamma=[len(x) * along],
        dbeta=[sum(g)],
        s=s,
        scales={
            "out": abs(gamma) * condition + abs(beta),
            "dx": abs(gamma) / s * max(map(abs, g)) * condition,
            "dgamma": total * condition,
            "dbeta": total,
        },
    )


def errors(found, x, gamma, beta, dout, eps):
    """Give the error of every result in its units, the worst of all features."""
    worst = dict.fromkeys(found, 0.0)
    for k in range(x.shape[1]):
        right = exact(x[:, k], gamma[k], beta[k], dout[:, k], eps)
        for name, value in found.items():
            assert value.dtype == x.dtype, name
            assert np.all(np.isfinite(value)), name
            pairs = zip(rational(value[..., k]), getattr(right, name), strict=True)
            off = max(abs(a - b) for a, b in pairs) / right.scales[name]
            worst[name] = max(worst[name], float(off) / float(np.finfo(x.dtype).eps))
    return worst


def drawn(x, seed=0):
    """Complete a batch x by gamma of both signs, beta, and a random upstream gradient."""
    rng = np.random.default_rng(seed)
    gamma, beta = rng.normal(size=(2, x.shape[1]))
    return x, *(a.astype(x.dtype) for a in (gamma, beta, rng.normal(size=x.shape)))


def normal(seed, shape=(60, 3), dtype="float64"):
    """Draw normal values that fill the mantissa, a longdouble's too."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=shape) + 2.0**-53 * rng.normal(size=shape).astype(dtype)).astype(dtype)


BOUND = 8

# Measured over 150 batches each, in units: at most 5.2 for constant columns (60 times 100.1 adds up
# with errors of one sign), 4.1 for large means, 2.2 for the rest. Bound: 8.
TRAPS = {
    "none": lambda z: z,
    "large mean": lambda z: z + {4: 1e3, 8: 1e8}.get(z.itemsize, 1e10),
    "large mean, small spread": lambda z: 1000 + z / 50,
    "constant columns": lambda z: 0 * z + np.array([0, 0.1, 100.1]),
    "two rows": lambda z: 3 + z[:2],
    "one huge outlier": lambda z: np.where(np.arange(len(z))[:, None] == 5, 1e6, z),
    "subnormal variance": lambda z: z * (1e-21 if z.itemsize == 4 else 1e-160),
    "variance near overflow": lambda z: z * (1e17 if z.itemsize == 4 else 1e150),
}


def check(found, *batch):
    worst = errors(found, *batch)
    assert max(worst.values()) <= BOUND, worst


@pytest.mark.slow
@every_way
@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("trap", TRAPS)
def test_a_trap_costs_its_condition_and_no_more(trap, dtype, way):
    for seed in range(3):
        batch = *drawn(TRAPS[trap](normal(seed, dtype=dtype)).astype(dtype), seed), EPS
        check(way(*batch), *batch)


@every_way
@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("spread", [1.0, 1e-18, 1e18])
def test_without_eps_any_spread_will_do(spread, dtype, way):
    """Measured: at most 2.0 units; bound: 8."""
    batch = *drawn((spread * (3 + normal(1, dtype=dtype))).astype(dtype)), 0.0
    check(way(*batch), *batch)


# --- differences of large numbers -----------------------------------------------------------------


def test_the_variance_takes_two_passes():
    """E[x²] − E[x]² is the difference of two numbers near 10⁶, each rounded by up to 0.03.

    With x = 1000 ± 0.01 in float32 nothing of the variance 10⁻⁴ is left. Measured on 1000 columns:
    off by up to 12800 times the variance, and in 453 of them so far below 0 that √(var + eps) is
    nan. In two passes it is off by the square of the mean's error; measured: 1.8e-3, bound: 4e-3.
    """
    batch = *drawn((1000 + 0.01 * normal(0, (64, 20))).astype("float32")), 0.0
    x = batch[0]
    right = np.array([float(exact(x[:, k], 1.0, 0.0, x[:, k], 0).s) ** 2 for k in range(20)])
    one_pass = np.mean(x * x, axis=0) - np.mean(x, axis=0) ** 2
    assert np.max(np.abs(one_pass / right - 1)) > 100
    with np.errstate(invalid="ignore"):
        assert np.any(np.isnan(np.sqrt(one_pass + EPS)))
    two_passes = np.mean((x - np.mean(x, axis=0)) ** 2, axis=0)
    assert np.max(np.abs(two_passes / right - 1)) < 4e-3
    for way in WAYS.values():
        check(way(*batch), *batch)


@every_way
def test_columns_whose_sum_is_exact_become_beta_to_the_bit(way):
    x, gamma, beta, dout = drawn(0 * normal(0) + np.array([0, 5.25, -3e15]))
    found = way(x, gamma, beta, dout, EPS)
    assert np.all(found.get("out", beta) == beta)
    assert np.all(found["dgamma"] == 0)
    assert np.all(found["dx"] != 0)


def test_a_large_constant_in_float32_hides_eps():
    """The sum of 64 times 10000.1 is rounded, x leaves its mean by 1e-3, and √eps is 3e-3.

    Measured: out is beta ± 0.3 gamma (PyTorch 2.13: 0.63); in units 0.8, bound: 8.
    """
    batch = *drawn(np.full((64, 2), 10000.1, dtype="float32")), EPS
    assert 0.1 < np.max(np.abs((WAYS["staged"](*batch)["out"] - batch[2]) / batch[1])) < 1
    for way in (WAYS["staged"], WAYS["fused"]):
        check({"out": way(*batch)["out"]}, *batch)
    with pytest.raises(ValueError, match="rounding in float32 hides"):
        compare(*batch[:4], eps=EPS)


@every_way
def test_a_constant_without_eps_is_normalized_rounding(way):
    """40 · 0.1 is not 4: xhat is ±1 where 0/0 was meant, and dx about 1/u. `compare` refuses it."""
    x, gamma, beta, dout = drawn(np.full((40, 2), 0.1))
    found = way(x, gamma, beta, dout, 0.0)
    if "out" in found:
        assert np.allclose(np.abs(found["out"] - beta), np.abs(gamma), rtol=1e-12, atol=0)
    assert np.max(np.abs(found["dx"])) > 1e14
    with pytest.raises(ValueError, match="rounding in float64 hides"):
        compare(x, gamma, beta, dout, eps=0.0)


@every_way
@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("m", [2, 10, 100, 1000])
def test_of_two_rows_eps_alone_carries_dx(m, dtype, way):
    """With s = √(var + eps), xhat = ±1/√(1 + eps/var), and dx = ±gamma (dout₀ − dout₁)/2 · eps/s³.

    (m² − 1)² + (2m)² = (m² + 1)² makes s exact, and eps/s² about 4/m². Such a part of its terms is
    what remains of dx: in float32 at m = 1000 it is known to 3 % at best, which is u·s²/eps.
    Measured against the terms: 0.8 units, bound: 8.
    """
    v, s, eps = (a / 1024 for a in (m * m - 1, m * m + 1, (2 * m) ** 2 / 1024))
    x, gamma, beta, dout = drawn(np.array([[-v], [v]], dtype=dtype), seed=m)
    (c,), (a, b), (shift,) = rational(gamma), rational(dout[:, 0]), rational(beta)
    right = exact(x[:, 0], gamma[0], beta[0], dout[:, 0], eps)
    remains = c * (a - b) / 2 * Fraction(eps) / Fraction(s) ** 3
    assert right.dx == [remains, -remains]
    xhat = Fraction(m * m - 1, m * m + 1)
    assert right.out == [shift - c * xhat, shift + c * xhat]
    check(way(x, gamma, beta, dout, eps), x, gamma, beta, dout, eps)


@every_way
def test_an_outlier_pushes_all_others_together(way):
    """The outlier is √(N − 1), all others −1/√(N − 1); measured: within 1.8e-5, bound: 1e-4.

    dx loses what dout has along that one direction.
    """
    x, gamma, beta, dout = drawn(TRAPS["one huge outlier"](normal(0)))
    found = way(x, gamma, beta, dout, EPS)
    n = len(x)
    xhat = np.where(np.arange(n) == 5, math.sqrt(n - 1), -1 / math.sqrt(n - 1))[:, None]
    if "out" in found:
        assert np.max(np.abs((found["out"] - beta) / gamma - xhat)) < 1e-4
    plain = (dout - np.mean(dout, axis=0) - xhat * np.mean(dout * xhat, axis=0)) / np.std(x, axis=0)
    assert np.allclose(found["dx"], gamma * plain, rtol=0, atol=1e-4 * np.max(np.abs(plain)))


@every_way
@pytest.mark.parametrize("trap", TRAPS)
def test_gamma_zero_stops_dx_and_not_dgamma(trap, way):
    x, gamma, beta, dout = drawn(TRAPS[trap](normal(0)))
    found = way(x, 0 * gamma, beta, dout, EPS)
    assert np.all(found["dx"] == 0)
    assert np.all(found.get("out", beta) == beta)
    assert same_bits(found["dgamma"], way(x, gamma, beta, dout, EPS)["dgamma"])


# --- the ends of the range ------------------------------------------------------------------------

SHORT = ["float16", "float32"]


def near_overflow(dtype, what):
    """Give a batch in which Σ x, a square or only Σ (x − mu)² overflows; N = 60."""
    largest, z = float(np.finfo(dtype).max), normal(0)
    x = {
        "sum": lambda: largest / 8 * (1 + z / 100),
        "square": lambda: 4 * math.sqrt(largest) * z,
        "sum of squares": lambda: math.sqrt(largest) / 5 * z,
    }[what]()
    return drawn(x.astype(dtype))


@pytest.mark.parametrize("way", ["staged", "closed form"])
@pytest.mark.parametrize("dtype", SHORT)
def test_a_sum_that_overflows_ends_in_nan(dtype, way):
    """Where the mean is large, Σ x is the first to overflow: mu = ∞, and xhat = −∞ · 0."""
    batch = near_overflow(dtype, "sum")
    with pytest.warns(RuntimeWarning, match="overflow"), np.errstate(invalid="ignore"):
        found = WAYS[way](*batch, EPS)
    for name in found.keys() - {"dbeta"}:
        assert np.all(np.isnan(found[name])), name


@pytest.mark.parametrize("way", ["staged", "closed form"])
@pytest.mark.parametrize("dtype", SHORT)
@pytest.mark.parametrize("what", ["square", "sum of squares"])
def test_a_variance_that_overflows_gives_beta_and_only_a_warning(what, dtype, way):
    """Around 0 the squares overflow first, or their sum, N times the variance.

    Then var = ∞ and xhat = xmu · 1/∞ = 0: out = beta and dx = 0 are finite and wrong. NumPy warns,
    `compare` refuses; the formula cannot tell.
    """
    x, gamma, beta, dout = near_overflow(dtype, what)
    with pytest.warns(RuntimeWarning, match="overflow"):
        found = WAYS[way](x, gamma, beta, dout, EPS)
    assert np.all(found.get("out", beta) == beta)
    assert np.all(found["dx"] == 0)
    assert np.all(found["dgamma"] == 0)
    with pytest.raises(ValueError, match=f"the variance overflows in {dtype}"):
        compare(x, gamma, beta, dout, eps=EPS)


@every_way
@pytest.mark.parametrize("dtype", SHORT)
def test_a_batch_that_overflows_is_right_when_scaled(dtype, way):
    """out, dgamma and dbeta do not know the scale, and dx is its inverse; eps = 0.

    Measured: 0.8 units, bound: 8.
    """
    x, gamma, beta, dout = near_overflow(dtype, "square")
    scale = x.dtype.type(2.0 ** -round(math.log2(4 * math.sqrt(float(np.finfo(dtype).max)))))
    found = way(x * scale, gamma, beta, dout, 0.0)
    found["dx"] = found["dx"] * scale
    check(found, x, gamma, beta, dout, 0.0)


@pytest.mark.parametrize(("dtype", "spread"), [("float32", 1e-21), ("float64", 1e-160)])
def test_without_eps_a_subnormal_variance_loses_digits_and_dx(dtype, spread):
    """The variance keeps the digits that a subnormal number has, and 1/var overflows.

    Measured at variances of 1e-42 and 1e-320, as if u were 1: out 2.0e-4, dgamma 9.9e-6, and dx of
    the closed form, which is the fused one's rule, 1.2e-4; bound: 1e-3. The staged dsqrtvar is
    −divar/var, which overflows, and its dx is not finite.
    """
    batch = *drawn((spread * normal(0, dtype=dtype)).astype(dtype)), 0.0
    coarse = 1e-3 / np.finfo(dtype).eps
    with np.errstate(all="ignore"):
        found = WAYS["staged"](*batch)
    assert not np.any(np.isfinite(found.pop("dx")))
    for one in (found, WAYS["fused"](*batch), WAYS["closed form"](*batch)):
        assert max(errors(one, *batch).values()) < coarse


# --- float16 --------------------------------------------------------------------------------------


@every_way
@pytest.mark.parametrize("how", [lambda z: z, lambda z: 20 + z, lambda z: 16 * z, lambda z: z / 64])
def test_float16_in_its_range(how, way):
    """Measured: at most 2.9 units; bound: 8."""
    for seed in range(3):
        batch = *drawn(how(normal(seed, dtype="float16")).astype("float16"), seed), EPS
        check(way(*batch), *batch)


@every_way
def test_constant_columns_in_float16(way):
    batch = *drawn((0 * normal(0) + np.array([0, 5.25, -3])).astype("float16")), EPS
    check(way(*batch), *batch)


@every_way
def test_eps_below_the_least_float16_is_none(way):
    x, gamma, beta, dout = drawn(np.full((4, 1), 5.25, dtype="float16"))
    with np.errstate(all="ignore"):
        found = way(x, gamma, beta, dout, 1e-8)
    assert np.all(np.isnan(found["dgamma"]))
    assert np.all(np.isnan(found["dx"]))


# --- complex numbers ------------------------------------------------------------------------------


@every_way
@pytest.mark.parametrize("trap", ["none", "large mean", "two rows", "one huge outlier"])
@pytest.mark.parametrize("dtype", ["complex64", "complex128", "clongdouble"])
def test_complex_numbers_keep_the_precision_of_their_parts(dtype, trap, way):
    """On real numbers; measured: at most 3.7 units, bound: 8. The imaginary parts are 0."""
    real = np.zeros(0, dtype).real.dtype
    batch = drawn(TRAPS[trap](normal(0, dtype=real)).astype(real))
    found = way(*(a.astype(dtype) for a in batch), EPS)
    assert all(np.all(v.imag == 0) for v in found.values())
    check({name: v.real for name, v in found.items()}, *batch, EPS)


@every_way
@pytest.mark.parametrize(
    ("dtype", "wider"), [("complex64", "complex128"), ("complex128", "clongdouble")]
)
def test_complex_numbers_off_the_real_axis(dtype, wider, way):
    """Against the closed form in twice the digits; measured: 9.2 u, bound: 16."""
    x, gamma, beta, dout = (
        np.asarray(a + 1j * b, dtype)
        for a, b in zip(drawn(3 + normal(0)), drawn(1 + normal(1), seed=1), strict=True)
    )
    found = way(x, gamma, beta, dout, EPS)
    v, c, b, g = (a.astype(wider) for a in (x, gamma, beta, dout))
    xmu = v - np.mean(v, axis=0)
    s = np.sqrt(np.mean(xmu**2, axis=0) + EPS)
    along = np.mean(g * xmu / s, axis=0)
    right = {
        "out": c * xmu / s + b,
        "dx": c / s * (g - np.mean(g, axis=0) - xmu / s * along),
        "dgamma": len(v) * along,
        "dbeta": np.sum(g, axis=0),
    }
    for name, value in found.items():
        assert value.dtype == dtype
        off = np.max(np.abs(value - right[name])) / np.max(np.abs(right[name]))
        assert off <= 16 * np.finfo(dtype).eps, name
