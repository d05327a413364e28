"""BatchNorm: staged = closed form = Jacobian, every step by hand, and what the readings get wrong.

Floats are held against the paper's chain of formulas in longdouble, written here once more. Errors
are scaled by what the terms are made of, and by ``1 + max|x|/√(var + eps)``, because ``x − mu``
carries the rounding of x. Fractions must be equal.
"""

import itertools
import math
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import close, jacobian, same_bits, upstream

from tinygraph import Graph, Tensor, compare, grad, trace
from tinygraph.batchnorm import closed_form, staged
from tinygraph.batchnorm import jacobian as batchnorm_jacobian

# Measured over thousands of batches: at most 5e-16 and 3e-7 for dx, 1e-15 and 8e-7 with the
# Jacobian. A dropped term gives more than 1e-2.
TOLERANCES = {"float64": 3e-15, "float32": 2e-6}

IMAGES, CHANNELS_LAST, LAYER = (0, 2, 3), (0, 1, 2), -1


def features(shape, axis):
    """Give the shape of gamma: what is left of x for BatchNorm, else the last axis."""
    return (
        shape[-1:]
        if 0 not in axes(axis)
        else tuple(n for k, n in enumerate(shape) if k not in axes(axis))
    )


def axes(axis):
    return axis if isinstance(axis, tuple) else (axis,)


def by_hand(x, gamma, dout, eps, axis=0):
    """Differentiate BatchNorm by the chain of formulas in the paper, in longdouble.

    ∂L/∂xhat, ∂L/∂var and ∂L/∂mu are given directly, not by way of the nine steps.
    """
    x, gamma, dout = (np.asarray(a, dtype=np.longdouble) for a in (x, gamma, dout))
    over = tuple(k % x.ndim for k in axes(axis))
    n = math.prod(x.shape[k] for k in over)
    kept = tuple(1 if k in over else m for k, m in enumerate(x.shape))
    wide = gamma.reshape(kept) if 0 in over else gamma

    def total(a):
        return np.sum(a, axis=over, keepdims=True)

    mu = total(x) / n
    xmu = x - mu
    var = total(xmu**2) / n
    sigma = np.sqrt(var + np.longdouble(eps))
    dxhat = dout * wide
    dvar = -total(dxhat * xmu) / (2 * sigma**3)
    dmu = -total(dxhat) / sigma  # the path through var is −2/N · dvar · Σ(x − mu) = 0
    dx = dxhat / sigma + 2 / np.longdouble(n) * xmu * dvar + dmu / n
    given = gamma.shape
    dgamma, dbeta, sizes = (
        summed_to(a, wide.shape).reshape(given) for a in (dout * xmu / sigma, dout, np.abs(dout))
    )
    condition = 1 + np.max(np.abs(x), axis=over, keepdims=True) / sigma
    terms = np.max(np.abs(dxhat), axis=over, keepdims=True) / sigma
    return SimpleNamespace(
        n=n, xmu=xmu, sigma=sigma, dxhat=dxhat, dx=dx, dgamma=dgamma, dbeta=dbeta,
        condition=condition, terms=terms, sizes=sizes,
        parameter_condition=condition.reshape(given) if 0 in over else np.max(condition),
    )  # fmt: skip


def summed_to(a, shape):
    """Add up along the axes that something of that shape was copied along."""
    new = a.ndim - len(shape)
    copied = tuple(k for k in range(a.ndim) if k < new or shape[k - new] == 1)
    return np.sum(a, axis=copied, keepdims=True).reshape(shape)


def differentiate(x, gamma, beta, dout, *, eps=1e-5, axis=0):
    tensors = [Tensor(a, name=name) for name, a in (("x", x), ("gamma", gamma), ("beta", beta))]
    out = staged(*tensors, eps=eps, axis=axis)
    out.backward(dout)
    return out.data, *(t.grad for t in tensors)


def drawn(shape, axis=0, seed=0, *, mean=0.0, scale=1.0, dtype="float64"):
    """Draw x, gamma, beta and dout; gamma has both signs."""
    rng = np.random.default_rng(seed)
    x = mean + scale * rng.normal(size=shape)
    gamma, beta = rng.normal(size=(2, *features(shape, axis)))
    return tuple(a.astype(dtype) for a in (x, gamma, beta, rng.normal(size=shape)))


def check_agreement(x, gamma, beta, dout, *, eps=1e-5, axis=0):
    """Hold staged, closed form and Jacobian against the formulas by hand and each other."""
    tolerance = TOLERANCES[x.dtype.name]
    right = by_hand(x, gamma, dout, eps, axis)
    _, dx, dgamma, dbeta = differentiate(x, gamma, beta, dout, eps=eps, axis=axis)
    closed = closed_form(x, gamma, dout, eps=eps, axis=axis)

    allowed = tolerance * right.condition * right.terms
    found = {"staged": dx, "closed form": closed[0]}
    if x.ndim == 2 and axis == 0:
        J = batchnorm_jacobian(x, gamma, eps=eps)
        assert J.shape == (len(x), *x.shape)
        found["jacobian"] = np.einsum("kid,kd->id", J, dout)
    for (name, a), (other, b) in itertools.combinations({**found, "by hand": right.dx}.items(), 2):
        excess = np.max(np.abs(a - b) - allowed)
        assert excess <= 0, f"{name} and {other} differ by {excess:.2g} more than allowed"
    for name, a in found.items():
        assert a.shape == x.shape, name
        assert a.dtype == x.dtype, name

    for dg, db in ((dgamma, dbeta), closed[1:]):
        assert dg.shape == db.shape == gamma.shape
        assert dg.dtype == db.dtype == x.dtype
        assert np.all(
            np.abs(dg - right.dgamma) <= tolerance * right.parameter_condition * right.sizes
        )
        assert np.all(np.abs(db - right.dbeta) <= tolerance * right.sizes)


# --- three ways, one gradient ---------------------------------------------------------------------

BATCHES = {
    "random": ((32, 5), 0, {}),
    "one feature": ((9, 1), 0, {}),
    "large batch": ((1024, 3), 0, {}),
    "two values": ((2, 7), 0, {"mean": 3.0}),
    "large mean": ((64, 5), 0, {"mean": 1000.0}),
    "tiny variance": ((50, 4), 0, {"scale": 1e-6}),
    "large variance": ((50, 4), 0, {"scale": 1e6}),
    "images": ((4, 3, 5, 2), IMAGES, {"mean": 3.0}),
    "channels last": ((4, 5, 2, 3), CHANNELS_LAST, {"mean": 3.0}),
    "sequences": ((6, 5, 4), (0, 1), {}),
    "one axis of images": ((4, 3, 5, 2), 0, {}),
    "rows of images": ((4, 3, 5, 2), (0, 2), {}),
    "each image by itself": ((4, 5, 2, 3), (1, 2), {}),
    "LayerNorm": ((6, 7), LAYER, {"mean": 3.0}),
    "LayerNorm of sequences": ((4, 6, 7), LAYER, {}),
}


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("kind", BATCHES)
def test_staged_closed_form_and_jacobian_agree(kind, dtype):
    shape, axis, how = BATCHES[kind]
    for seed in range(3):
        check_agreement(*drawn(shape, axis, seed, dtype=dtype, **how), axis=axis)


def test_mean_of_a_hundred_million_in_float64():
    x, gamma, beta, dout = drawn((64, 5), mean=1e8)
    check_agreement(x, gamma, beta, dout)
    # The bound is no blank cheque: at such a mean 3e-15 · 1e8 is still far from a wrong formula.
    assert 3e-15 * np.max(by_hand(x, gamma, dout, 1e-5).condition) < 2e-6


@pytest.mark.parametrize("eps", [0.0, 1e-12, 1e-3, 1.0, 1e6])
def test_any_eps(eps):
    check_agreement(*drawn((16, 4)), eps=eps)


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_constant_columns(dtype):
    x, gamma, beta, dout = drawn((40, 4), dtype=dtype)
    x[:, 1], x[:, 3] = 0, 5.25
    check_agreement(x, gamma, beta, dout)
    out, dx, _, _ = differentiate(x, gamma, beta, dout)
    assert np.all(out[:, [1, 3]] == beta[[1, 3]])
    # No variance path remains: dx = gamma/√eps · (dout − mean(dout)).
    plain = gamma / np.sqrt(1e-5) * (dout - dout.mean(axis=0))
    size = np.abs(gamma).max() / np.sqrt(1e-5)
    close(dx[:, [1, 3]] / size, plain[:, [1, 3]] / size, TOLERANCES[dtype])


def test_a_constant_column_without_eps_divides_by_zero():
    x, gamma, beta, _ = drawn((5, 2))
    x[:, 0] = 3
    with pytest.warns(RuntimeWarning, match="divide by zero|invalid value"):
        staged(x, gamma, beta, eps=0)


def views_of(x):
    """Give arrays equal to `x` that lie otherwise in memory."""
    stretched = np.zeros((2 * x.shape[0], 3 * x.shape[1]))
    stretched[::2, ::3] = x
    locked = x.copy()
    locked.flags.writeable = False
    return {
        "Fortran": np.asfortranarray(x),
        "strided": stretched[::2, ::3],
        "reversed": x[::-1].copy()[::-1],
        "transposed": x.T.copy().T,
        "read-only": locked,
        "big endian": x.astype(">f8"),
    }


@pytest.mark.parametrize("how", list(views_of(np.zeros((1, 1)))))
def test_input_of_any_layout_in_memory(how):
    x, gamma, beta, dout = drawn((12, 5))
    expected = differentiate(x, gamma, beta, dout)
    closed = closed_form(x, gamma, dout)
    other, other_dout = views_of(x)[how], views_of(dout)[how]
    before = other.copy()
    found = differentiate(other, gamma, beta, other_dout)
    # Sums over another memory order may be rounded otherwise, but no more than that.
    for a, b in zip(found, expected, strict=True):
        close(a, b, 1e-14)
    for a, b in zip(closed_form(other, gamma, other_dout), closed, strict=True):
        close(a, b, 1e-14)
    close(batchnorm_jacobian(other, gamma), batchnorm_jacobian(x, gamma), 1e-14)
    assert same_bits(other, before)


def test_the_result_does_not_follow_later_changes_of_the_input():
    x, gamma, beta, dout = drawn((6, 2))
    expected = differentiate(x, gamma, beta, dout)[1]
    moving = x.copy()
    t = Tensor(moving, name="x")
    out = staged(t, gamma, beta)
    moving[:] = 0
    out.backward(dout)
    assert same_bits(t.grad, expected)


def test_gamma_of_either_sign_and_zero():
    x, _, beta, dout = drawn((20, 4))
    gamma = np.array([-1.5, 0.0, 2.0, -0.0])
    check_agreement(x, gamma, beta, dout)
    out, dx, dgamma, _ = differentiate(x, gamma, beta, dout)
    assert np.all(dx[:, [1, 3]] == 0)
    assert np.all(out[:, [1, 3]] == beta[[1, 3]])
    assert np.all(dgamma != 0)
    # dx is linear in gamma, sign included, and dgamma does not depend on it.
    _, flipped, same, _ = differentiate(x, -gamma, beta, dout)
    assert np.array_equal(flipped, -dx)
    assert same_bits(same, dgamma)


def test_lists_arrays_and_tensors_are_taken_alike():
    x, gamma, beta, dout = drawn((5, 3))
    expected = staged(Tensor(x), Tensor(gamma), Tensor(beta)).data
    assert same_bits(staged(x.tolist(), gamma.tolist(), beta.tolist()).data, expected)
    assert same_bits(staged(x, Tensor(gamma), beta.tolist()).data, expected)
    closed = closed_form(x, gamma, dout)
    for a, b in zip(closed_form(Tensor(x), gamma.tolist(), Tensor(dout)), closed, strict=True):
        assert same_bits(a, b)
    assert same_bits(batchnorm_jacobian(Tensor(x), gamma.tolist()), batchnorm_jacobian(x, gamma))


def test_integers_are_taken_as_float64():
    x = np.arange(12).reshape(4, 3) ** 2
    dx, _, _ = closed_form(x, np.array([1, 2, 3]), upstream(np.random.default_rng(0), x, "f8"))
    assert dx.dtype == np.float64
    assert batchnorm_jacobian(x, [1, 2, 3]).dtype == np.float64
    assert staged(x, [1, 2, 3], [0, 0, 0]).dtype == np.float64


@pytest.mark.parametrize("wide", range(3), ids=["x", "gamma", "dout"])
def test_the_closed_form_computes_in_the_widest_dtype(wide):
    x, gamma, _, dout = drawn((9, 3), mean=3.0)
    arrays = [a if k == wide else a.astype(np.float32) for k, a in enumerate((x, gamma, dout))]
    expected = closed_form(*(a.astype(np.float64) for a in arrays))
    for name, a, b in zip(("dx", "dgamma", "dbeta"), closed_form(*arrays), expected, strict=True):
        assert same_bits(a, b.astype(np.float64 if name == "dx" else arrays[1].dtype)), name


@pytest.mark.parametrize("axis", [-2, (0,), (-2,), [0]], ids=repr)
def test_the_batch_axis_by_other_names(axis):
    x, gamma, beta, dout = drawn((5, 3))
    assert same_bits(staged(x, gamma, beta, axis=axis).data, staged(x, gamma, beta).data)
    for a, b in zip(
        closed_form(x, gamma, dout, axis=axis), closed_form(x, gamma, dout), strict=True
    ):
        assert same_bits(a, b)


def test_images_are_batches_of_pixels():
    x, gamma, beta, dout = drawn((4, 3, 5, 2), IMAGES)
    flat = [np.moveaxis(a, 1, -1).reshape(-1, 3) for a in (x, dout)]
    out, dx, dgamma, dbeta = differentiate(x, gamma, beta, dout, axis=IMAGES)
    expected = differentiate(flat[0], gamma, beta, flat[1])
    close(np.moveaxis(out, 1, -1).reshape(-1, 3), expected[0], 1e-14)
    close(np.moveaxis(dx, 1, -1).reshape(-1, 3), expected[1], 1e-14)
    close(dgamma, expected[2], 1e-14)
    close(dbeta, expected[3], 1e-14)


def test_gamma_may_keep_the_axes_with_length_one():
    x, gamma, beta, dout = drawn((4, 3, 5, 2), IMAGES)
    kept = (1, 3, 1, 1)
    flat = differentiate(x, gamma, beta, dout, axis=IMAGES)
    found = differentiate(x, gamma.reshape(kept), beta.reshape(kept), dout, axis=IMAGES)
    closed = closed_form(x, gamma.reshape(kept), dout, axis=IMAGES)
    for k, shape in enumerate((x.shape, x.shape, kept, kept)):
        close(found[k], flat[k].reshape(shape), 1e-15)
        if k:
            close(closed[k - 1], flat[k].reshape(shape), 1e-14)


def test_gamma_may_keep_the_batch_axis_with_length_one():
    x, gamma, beta, dout = drawn((6, 3))
    flat = differentiate(x, gamma, beta, dout)
    found = differentiate(x, gamma[None], beta[None], dout)
    closed = closed_form(x, gamma[None], dout)
    for k, shape in enumerate((x.shape, x.shape, (1, 3), (1, 3))):
        close(found[k], flat[k].reshape(shape), 1e-15)
        if k:
            close(closed[k - 1], flat[k].reshape(shape), 1e-14)


@pytest.mark.parametrize("shape", [(7,), (1, 7), (6, 7), (6, 1), (1, 1), (1,), ()], ids=repr)
def test_gamma_of_layernorm_is_of_any_shape_that_broadcasts(shape):
    rng = np.random.default_rng(3)
    x, dout = rng.normal(size=(2, 6, 7))
    gamma, beta = rng.normal(size=(2, *shape))
    check_agreement(x, gamma, beta, dout, axis=LAYER)


def test_layernorm_is_batchnorm_of_the_transpose_but_for_gamma():
    x, _, _, dout = drawn((6, 7))
    ones, zeros = np.ones(7), np.zeros(7)
    out, dx, _, _ = differentiate(x, ones, zeros, dout, axis=LAYER)
    expected = differentiate(x.T, np.ones(6), np.zeros(6), dout.T)
    close(out, expected[0].T, 1e-14)
    close(dx, expected[1].T, 1e-14)


def test_the_jacobian_by_the_complex_step():
    x, gamma, _, _ = drawn((7, 3), mean=2.0)

    def normalize(x):
        xmu = x - np.mean(x, axis=0)
        return gamma * xmu / np.sqrt(np.mean(xmu * xmu, axis=0) + 1e-5)

    full = jacobian(normalize, (x,), 0)
    J = batchnorm_jacobian(x, gamma)
    for d, e in np.ndindex(3, 3):
        expected = J[:, :, d] if d == e else np.zeros((7, 7))  # the features do not mix
        close(full[:, d, :, e], expected, 1e-13)
    # It is symmetric, and kills a shift of the batch; a stretch it kills but for eps.
    close(J, np.swapaxes(J, 0, 1), 1e-15)
    close(J.sum(axis=1), np.zeros((7, 3)), 1e-14)
    stretch = np.einsum("kid,id->kd", batchnorm_jacobian(x, gamma, eps=0.0), x - x.mean(axis=0))
    close(stretch, np.zeros((7, 3)), 1e-13)


def test_second_derivatives_pass_through_every_path():
    """The Hessian-vector product by autodiff is the complex step of the closed form's dx."""
    x, gamma, beta, dout = drawn((5, 2))
    v = np.random.default_rng(9).normal(size=x.shape)
    t = Tensor(x, name="x")
    (dx,) = grad(staged(t, gamma, beta), [t], dout, create_graph=True)
    (product,) = grad(dx, [t], v)
    moved, _, _ = closed_form(x + 1e-20j * v, gamma, dout)
    close(product, moved.imag / 1e-20, 1e-13)


# --- every step by name ---------------------------------------------------------------------------


def captured(x, gamma, beta, eps=1e-5, axis=0):
    tensors = [Tensor(a, name=name) for name, a in (("x", x), ("gamma", gamma), ("beta", beta))]
    out = trace(staged)(*tensors, eps=eps, axis=axis)
    return out, tensors, Graph.capture(out, wrt=tensors)


def steps_by_hand(x, gamma, beta, dout, eps):
    """Give every gradient of the staged derivation by a formula of its own, from x and dout."""
    r = by_hand(x, gamma, dout, eps)
    n, sigma = r.n, r.sigma[0]
    spread = np.ones((n, 1))
    xhat = r.xmu / r.sigma
    # How fast L falls as all x − mu move together: the projections of the closed form.
    along = (r.dxhat * xhat).sum(axis=0) / n
    return {
        "dout": dout,
        "dbeta": dout.sum(axis=0),
        "dgammax": dout,
        "dgamma": r.dgamma,
        "dxhat": r.dxhat,
        "divar": n * along * sigma,
        "dxmu1": r.dxhat / sigma,
        "dsqrtvar": -n * along / sigma,
        "dvar": -n * along / (2 * sigma**2),
        "dsq": spread * -along / (2 * sigma**2),
        "dxmu2": -xhat * along / sigma,
        "dxmu": (r.dxhat - xhat * along) / sigma,
        "dx1": (r.dxhat - xhat * along) / sigma,
        "dmu": -r.dxhat.sum(axis=0) / sigma,
        "dx2": spread * -r.dxhat.mean(axis=0) / sigma,
        "dx": r.dx,
    }


def test_every_gradient_of_the_derivation_by_name():
    x, gamma, beta, dout = drawn((16, 4), mean=1.0)
    out, tensors, graph = captured(x, gamma, beta)
    found = graph.run(x=x, gamma=gamma, beta=beta, dout=dout)
    by_name = {g.name: found[g.name] for g in graph.gradients}
    expected = steps_by_hand(x, gamma, beta, dout, 1e-5)
    missing = set(expected) - set(by_name)
    assert missing <= {"dgammax", "dxmu", "dx1"}, "these three are other names of a gradient"
    for name, g in by_name.items():
        close(g, expected[name], 1e-13)
    # The same on the tensors themselves.
    out.backward(dout)
    nodes = {}
    stack = [out]
    while stack:
        node = stack.pop()
        nodes.setdefault(node.name, node)
        stack += [t for t in node.inputs if isinstance(t, Tensor)]
    for name in ("out", "gammax", "xhat", "ivar", "sqrtvar", "var", "sq", "xmu", "mu", "x"):
        close(nodes[name].grad, expected[f"d{name}"], 1e-13)
    for t, name in zip(tensors, ("dx", "dgamma", "dbeta"), strict=True):
        close(t.grad, expected[name], 1e-13)


def test_the_forward_values_by_name():
    x, gamma, beta, dout = drawn((16, 4), mean=1.0)
    _, _, graph = captured(x, gamma, beta)
    found = graph.run(x=x, gamma=gamma, beta=beta, dout=dout)
    mu, var = x.mean(axis=0), x.var(axis=0)
    expected = {
        "mu": mu,
        "xmu": x - mu,
        "sq": (x - mu) ** 2,
        "var": var,
        "sqrtvar": np.sqrt(var + 1e-5),
        "ivar": (var + 1e-5) ** -0.5,
        "xhat": (x - mu) * (var + 1e-5) ** -0.5,
        "gammax": gamma * (x - mu) * (var + 1e-5) ** -0.5,
        "out": gamma * (x - mu) * (var + 1e-5) ** -0.5 + beta,
    }
    for name, value in expected.items():
        close(found[name], value, 1e-14)
    assert [step.name for step in graph.steps] == list(expected)


# --- exactly --------------------------------------------------------------------------------------


def fractions(rng, shape):
    numerators, denominators = rng.integers(-9, 10, size=shape), rng.integers(1, 8, size=shape)
    pairs = zip(numerators.flat, denominators.flat, strict=True)
    exact = np.empty(shape, dtype=object)
    exact.flat = [Fraction(int(a), int(b)) for a, b in pairs]
    return exact


def mean(values):
    return sum(values, Fraction(0)) / len(values)


def exact_batch(n, d, seed):
    """Give x of shape (n, d) and eps > 0, all rational, with var + eps the square of a fraction.

    Feature k is a shift, a permutation and a stretch by h of one column of variance V. That
    s² = h²V + eps for rational s and h is a conic with one known point, eps = s0² − h0²V; lines
    through that point, of rational slope t, meet it in all its others.
    """
    rng = np.random.default_rng(seed)
    column = fractions(rng, (n,))
    column[0] = column[1] + 1  # not constant
    column = column - mean(column)
    V = mean(column**2)
    h0, s0 = Fraction(1), math.isqrt(math.ceil(V)) + Fraction(3, 2)
    eps = s0**2 - h0**2 * V
    x = np.empty((n, d), dtype=object)
    deviations = []
    for k in range(d):
        t = Fraction(int(rng.integers(-5, 6)), 3 + k)
        step = 2 * (V * h0 - s0 * t) / (t**2 - V)
        h, s = h0 + step, s0 + t * step
        x[:, k] = h * column[rng.permutation(n)] + Fraction(int(rng.integers(-50, 50)), 7)
        assert h**2 * V + eps == s**2
        deviations.append(abs(s))
    return x, eps, deviations


@pytest.mark.parametrize(
    ("n", "d"), [(2, 1), (2, 4), (3, 2), (4, 3), (5, 5), (7, 2), (10, 1), (12, 3)]
)
def test_fractions_are_equal_not_close(n, d):
    x, eps, deviations = exact_batch(n, d, seed=10 * n + d)
    rng = np.random.default_rng(n + d)
    gamma, beta, dout = fractions(rng, (d,)), fractions(rng, (d,)), fractions(rng, (n, d))
    dout[0] += 1  # never all zero

    out, dx, dgamma, dbeta = differentiate(x, gamma, beta, dout, eps=eps)
    assert all(isinstance(v, Fraction) for a in (out, dx, dgamma, dbeta) for v in a.flat)
    closed = closed_form(x, gamma, dout, eps=eps)
    for a, b in zip((dx, dgamma, dbeta), closed, strict=True):
        assert a.tolist() == b.tolist()
    J = batchnorm_jacobian(x, gamma, eps=eps)
    assert np.sum(J * dout[:, None, :], axis=0).tolist() == dx.tolist()

    # Once more, feature by feature and number by number.
    for k in range(d):
        mu, sigma = mean(x[:, k]), deviations[k]
        xhat = [(v - mu) / sigma for v in x[:, k]]
        g = [gamma[k] * v for v in dout[:, k]]
        along = mean([a * b for a, b in zip(g, xhat, strict=True)])
        assert out[:, k].tolist() == [gamma[k] * v + beta[k] for v in xhat]
        assert dx[:, k].tolist() == [
            (a - mean(g) - b * along) / sigma for a, b in zip(g, xhat, strict=True)
        ]
        assert dgamma[k] == sum(a * b for a, b in zip(dout[:, k], xhat, strict=True))
        assert dbeta[k] == sum(dout[:, k])
        assert sum(dx[:, k]) == 0


def test_a_wrong_formula_is_not_equal():
    """The exact check can fail, and by how much does not matter."""
    x, eps, deviations = exact_batch(5, 3, seed=1)
    rng = np.random.default_rng(2)
    dout = fractions(rng, (5, 3))
    one = np.array([Fraction(1)] * 3)
    dx, _, _ = closed_form(x, one, dout, eps=eps)
    for k, sigma in enumerate(deviations):
        xhat = (x[:, k] - mean(x[:, k])) / sigma
        without_mean = (dout[:, k] - xhat * mean(dout[:, k] * xhat)) / sigma
        without_var = (dout[:, k] - mean(dout[:, k])) / sigma
        assert all(a != b for a, b in zip(dx[:, k], without_mean, strict=True))
        assert dx[:, k].tolist() != without_var.tolist()
    nudged = dout.copy()
    nudged[0, 0] += Fraction(1, 10**40)
    assert closed_form(x, one, nudged, eps=eps)[0].tolist() != dx.tolist()


@pytest.mark.parametrize("axis", [IMAGES, CHANNELS_LAST, LAYER], ids=repr)
def test_fractions_over_other_axes(axis):
    column, eps, _ = exact_batch(4, 3, seed=3)
    values = np.stack([column, column[::-1]])  # (2, 4, 3): every feature twice
    if axis == IMAGES:
        x = np.moveaxis(values[:, :, None, :], -1, 1)  # (2, 3, 4, 1)
    elif axis == CHANNELS_LAST:
        x = values[:, :, None, :]
    else:
        x = np.ascontiguousarray(column.T)
    rng = np.random.default_rng(4)
    gamma, beta = fractions(rng, features(x.shape, axis)), fractions(rng, features(x.shape, axis))
    dout = fractions(rng, x.shape)
    _, *found = differentiate(x, gamma, beta, dout, eps=eps, axis=axis)
    for a, b in zip(found, closed_form(x, gamma, dout, eps=eps, axis=axis), strict=True):
        assert a.shape == b.shape
        assert a.tolist() == b.tolist()
    assert any(v != 0 for v in found[0].flat)


def test_eps_may_be_a_fraction_among_floats():
    x, gamma, dout = (np.random.default_rng(0).normal(size=s) for s in ((6, 2), 2, (6, 2)))
    exact, rounded = Fraction(1, 128), 1 / 128
    by_fraction = *closed_form(x, gamma, dout, eps=exact), batchnorm_jacobian(x, gamma, eps=exact)
    by_float = *closed_form(x, gamma, dout, eps=rounded), batchnorm_jacobian(x, gamma, eps=rounded)
    assert all(map(same_bits, by_fraction, by_float))


def test_an_irrational_root_is_refused_and_not_rounded():
    x = fractions(np.random.default_rng(0), (3, 1))
    with pytest.raises(ValueError, match="no rational square root"):
        staged(x, [Fraction(1)], [Fraction(0)], eps=Fraction(1, 3))


# --- what the readings get wrong ------------------------------------------------------------------


def test_normalized_values_are_not_confined_to_one():
    """One reading says that they lie in [−1, 1]; they have mean 0 and variance 1."""
    rng = np.random.default_rng(0)
    for n in (3, 10, 100):
        x = rng.normal(size=(n, 200))
        xhat = staged(x, np.ones(200), np.zeros(200), eps=0.0).data
        close(xhat.mean(axis=0), np.zeros(200), 1e-14)
        close((xhat**2).mean(axis=0), np.ones(200), 1e-13)
        largest = np.abs(xhat).max(axis=0)
        assert np.all(largest > 1)
        assert np.all(largest <= math.sqrt(n - 1) * (1 + 1e-14))
    assert staged([[-1.0], [1.0]], [1.0], [0.0], eps=0.0).data.tolist() == [[-1], [1]]


@pytest.mark.parametrize("n", [2, 3, 5, 17, 1000])
def test_the_bound_of_normalized_values_is_reached(n):
    """One value apart from all others gives |xhat| = √(N − 1)."""
    x = np.zeros((n, 1))
    x[0] = -7
    xhat = staged(x, [1.0], [0.0], eps=0.0).data
    close(xhat[0, 0], -math.sqrt(n - 1), 1e-14)
    with_eps = staged(x, [1.0], [0.0], eps=1e-2).data
    assert abs(with_eps[0, 0]) < math.sqrt(n - 1)


def test_the_derivative_of_xhat_needs_variance_and_mean():
    """∂xhat_k/∂x_i = (1[k=i] − ∂mu/∂x_i)/σ − ½ (x_k − mu)(var + eps)^(−3/2) ∂var/∂x_i."""
    x, _, _, dout = drawn((6, 1), mean=1.0)
    eps, n = 0.1, 6
    xmu, var = x - x.mean(), x.var()
    direct = np.eye(n) / np.sqrt(var + eps)
    through_mean = -np.full((n, n), 1 / n) / np.sqrt(var + eps)
    dvar_dx = 2 * xmu[:, 0] / n
    through_var = -0.5 * xmu * (var + eps) ** -1.5 * dvar_dx

    t = Tensor(x)
    xhat = staged(t, [1.0], [0.0], eps=eps)
    (by_autodiff,) = grad(xhat, [t], dout)

    def pulled_back(J):
        return np.sum(J * dout, axis=0)[:, None]

    def normalize(x):
        return (x - np.mean(x)) / np.sqrt(np.mean((x - np.mean(x)) ** 2) + eps)

    right = direct + through_mean + through_var
    close(jacobian(normalize, (x,), 0)[:, 0, :, 0], right, 1e-14)
    close(by_autodiff, pulled_back(right), 1e-14)
    wrong = {
        "without the variance": direct + through_mean,
        "without the mean": direct + through_var,
        "direct path alone": direct,
        "with +½": direct + through_mean - through_var,
        "with the power −½": direct + through_mean + through_var * (var + eps),
        "without x − mu": direct + through_mean - 0.5 * (var + eps) ** -1.5 * dvar_dx,
    }
    for name, J in wrong.items():
        assert np.max(np.abs(by_autodiff - pulled_back(J))) > 1e-2, name


def test_the_third_sum_carries_the_upstream_gradient():
    """∂L/∂x_i = γ/σ · (∂L/∂y_i − 1/N Σ ∂L/∂y_k − xhat_i/N Σ ∂L/∂y_k xhat_k).

    Printed without ∂L/∂y_k, the third sum is Σ xhat_k = 0, and the variance has no influence.
    """
    x, gamma, beta, dout = drawn((8, 3))
    _, dx, _, _ = differentiate(x, gamma, beta, dout)
    sigma = np.sqrt(x.var(axis=0) + 1e-5)
    xhat = (x - x.mean(axis=0)) / sigma
    third = np.mean(dout * xhat, axis=0)
    as_printed = np.mean(xhat, axis=0)
    close(as_printed, np.zeros(3), 1e-15)
    close(dx, gamma / sigma * (dout - dout.mean(axis=0) - xhat * third), 1e-14)
    wrong = gamma / sigma * (dout - dout.mean(axis=0) - xhat * as_printed)
    assert np.max(np.abs(dx - wrong)) > 1e-2


@pytest.mark.parametrize("eps", [1e-5, 1e-2, 1.0])
def test_gamma_that_gives_the_input_back_includes_eps(eps):
    x, _, _, _ = drawn((20, 3), mean=4.0)
    mu, var = x.mean(axis=0), x.var(axis=0)
    close(staged(x, np.sqrt(var + eps), mu, eps=eps).data, x, 1e-15)
    nearly = staged(x, np.sqrt(var), mu, eps=eps).data
    # Off by the factor √(var/(var + eps)), about eps/2.
    assert np.max(np.abs(nearly - x)) > eps / 10
    close(nearly, mu + (x - mu) * np.sqrt(var / (var + eps)), 1e-14)


def test_gamma_that_gives_the_input_back_exactly():
    x, eps, deviations = exact_batch(5, 3, seed=6)
    mu = np.array([mean(x[:, k]) for k in range(3)])
    assert staged(x, np.array(deviations), mu, eps=eps).data.tolist() == x.tolist()


WRONG_DX = {
    "without the variance": lambda x, d: d - d.mean(axis=0),
    "without the mean of x·d": lambda x, d: d - d.mean(axis=0) - x * x.mean(axis=0),
    "with the wrong sign": lambda x, d: d - d.mean(axis=0) + x * (d * x).mean(axis=0),
    "with N − 1": lambda x, d: d - d.mean(axis=0) - x * (d * x).sum(axis=0) / (len(x) - 1),
    "halved": lambda x, d: (d - d.mean(axis=0) - x * (d * x).mean(axis=0)) / 2,
    "always zero": lambda x, d: 0 * x,
}


@pytest.mark.parametrize("name", WRONG_DX)
def test_an_upstream_gradient_of_ones_proves_nothing(name):
    """With dout = 1 the true dx is 0, and these pass; a random dout finds every one of them."""
    x, gamma, beta, dout = drawn((12, 4), mean=2.0)
    sigma = np.sqrt(x.var(axis=0) + 1e-5)
    xhat = (x - x.mean(axis=0)) / sigma

    def wrong(d):
        return gamma / sigma * WRONG_DX[name](xhat, d)

    ones = np.ones_like(x)
    _, dx, _, _ = differentiate(x, gamma, beta, ones)
    close(dx, np.zeros_like(x), 1e-14)
    close(closed_form(x, gamma, ones)[0], np.zeros_like(x), 1e-14)
    close(wrong(ones), dx, 1e-13)
    _, dx, _, _ = differentiate(x, gamma, beta, dout)
    assert np.max(np.abs(wrong(dout) - dx)) > 1e-2


# --- rounding -------------------------------------------------------------------------------------


def test_variance_in_two_passes_survives_a_large_mean():
    """E[x²] − E[x]² in float32 goes negative at mean 1e4; the mean of (x − mu)² cannot."""
    rng = np.random.default_rng(0)
    x = (1e4 + 0.1 * rng.normal(size=(64, 50))).astype(np.float32)
    one_pass = np.mean(x * x, axis=0) - np.mean(x, axis=0) ** 2
    assert np.any(one_pass < 0)
    out, _, graph = captured(x, np.ones(50, np.float32), np.zeros(50, np.float32))
    found = graph.run(x=x, gamma=np.ones(50), beta=np.zeros(50), dout=upstream(rng, x))
    assert found["var"].dtype == np.float32
    assert np.all(found["var"] > 0)
    true = np.var(x.astype(np.float64), axis=0)
    # x itself is resolved to 1e-3 there, mu a little worse, so var is known to about 1 %.
    assert np.max(np.abs(found["var"] / true - 1)) < 0.02
    assert np.all(np.isfinite(out.data))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble"])
def test_the_dtype_is_kept_through_every_step(dtype):
    x, gamma, beta, dout = drawn((7, 3), dtype=dtype)  # 1/7 is rounded in every dtype
    out, tensors, graph = captured(x, gamma, beta)
    out.backward(dout)
    assert {node.dtype for node in graph.nodes if node.role != "constant"} == {np.dtype(dtype)}
    assert {t.grad.dtype for t in tensors} == {np.dtype(dtype)}
    assert {a.dtype for a in closed_form(x, gamma, dout)} == {np.dtype(dtype)}
    assert batchnorm_jacobian(x, gamma).dtype == dtype
    unit = float(np.finfo(dtype).eps)
    right = by_hand(x, gamma, dout, 1e-5)
    for dx in (tensors[0].grad, closed_form(x, gamma, dout)[0]):
        assert np.all(np.abs(dx - right.dx) <= 20 * unit * right.condition * right.terms)


def test_float16_overflows_with_a_warning_and_not_in_silence():
    """300² is beyond float16. The output would be beta everywhere, as if x were constant."""
    x, gamma, beta, dout = drawn((32, 2), scale=300.0)
    wide = differentiate(x, gamma, beta, dout)
    narrow = [a.astype(np.float16) for a in (x, gamma, beta, dout)]
    with pytest.warns(RuntimeWarning, match="overflow"):
        out = staged(*narrow[:3])
    assert np.all(out.data == narrow[2])
    assert np.max(np.abs(narrow[2] - wide[0])) > 0.5
    with pytest.raises(ValueError, match="feature 0: the variance overflows in float16"):
        compare(narrow[0])
    # The same values in float32.
    check_agreement(*(a.astype(np.float32) for a in narrow))


def test_float16_sums_of_many_values_overflow_with_a_warning():
    """A thousand hundreds are beyond float16 although their mean is not."""
    x = (100 + np.random.default_rng(0).normal(size=(1000, 1))).astype(np.float16)
    with pytest.warns(RuntimeWarning):
        staged(x, np.ones(1, np.float16), np.zeros(1, np.float16))
    with pytest.raises(ValueError, match="float16"):
        compare(x)


def test_nan_and_inf_stay_in_their_feature():
    x, gamma, beta, dout = drawn((6, 4))
    expected = differentiate(x, gamma, beta, dout)
    x[2, 1], x[3, 3] = np.nan, np.inf
    with np.errstate(invalid="ignore"):
        found = differentiate(x, gamma, beta, dout)
    for a, b in zip(found[:3], expected[:3], strict=True):
        close(a[..., [0, 2]], b[..., [0, 2]], 1e-15)
        assert np.all(np.isnan(a[..., 1]))
        assert np.any(np.isnan(a[..., 3]))


def test_no_features_at_all():
    x, gamma = np.zeros((5, 0)), np.zeros(0)
    out, dx, dgamma, dbeta = differentiate(x, gamma, gamma, x)
    assert out.shape == dx.shape == (5, 0)
    assert dgamma.shape == dbeta.shape == (0,)
    assert [a.shape for a in closed_form(x, gamma, x)] == [(5, 0), (0,), (0,)]
    assert batchnorm_jacobian(x, gamma).shape == (5, 5, 0)


# --- mistakes -------------------------------------------------------------------------------------


def three_calls(x, gamma, dout=None, **options):
    """Give the three implementations as calls without arguments."""
    options_of_jacobian = {k: v for k, v in options.items() if k == "eps"}
    return [
        lambda: staged(x, gamma, gamma, **options),
        lambda: closed_form(x, gamma, np.zeros(np.shape(x)) if dout is None else dout, **options),
        lambda: batchnorm_jacobian(x, gamma, **options_of_jacobian),
    ]


def raised(call, kind=ValueError):
    with pytest.raises(kind) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    "shape", [(4,), (2,), (), (1, 4), (3, 1), (5, 1), (5, 3), (5, 3, 1)], ids=repr
)
def test_gamma_of_another_length(shape):
    """One value per sample, (5, 1), broadcasts with x but is no gamma of BatchNorm."""
    for call in three_calls(np.eye(5, 3), np.ones(shape)):
        message = raised(call)
        for word in ("gamma", str(shape), "(5, 3)", "must be (3,)", "one value per feature"):
            assert word in message


def test_beta_of_another_length():
    message = raised(lambda: staged(np.eye(5, 3), np.ones(3), np.ones(4)))
    for word in ("beta", "(4,)", "(5, 3)", "(3,)"):
        assert word in message


@pytest.mark.parametrize("shapes", [((1, 3), (3,)), ((3,), (1, 3))], ids=repr)
def test_gamma_and_beta_of_two_shapes(shapes):
    gamma, beta = map(np.ones, shapes)
    message = raised(lambda: staged(np.eye(5, 3), gamma, beta, axis=-1))
    assert "gamma and beta have shapes {} and {}".format(*shapes) in message


@pytest.mark.parametrize("shape", [(5,), (5, 4), (2, 5, 3), (7, 5, 3), (1, 5, 3)], ids=repr)
def test_layernorm_gamma_must_broadcast(shape):
    message = raised(lambda: staged(np.eye(5, 3), np.ones(shape), np.ones(shape), axis=-1))
    for word in ("gamma", str(shape), "(5, 3)", "broadcast"):
        assert word in message


@pytest.mark.parametrize("axis", [2, -3, (0, 2), 99], ids=repr)
def test_an_axis_that_does_not_exist(axis):
    for call in three_calls(np.eye(5, 3), np.ones(3), axis=axis)[:2]:
        message = raised(call)
        assert "axis" in message
        assert "(5, 3)" in message
        assert "0 to 1" in message


def test_an_axis_named_twice_and_one_that_is_no_number():
    for call in three_calls(np.eye(5, 3), np.ones(3), axis=(0, -2))[:2]:
        assert "twice" in raised(call)
    for call in three_calls(np.eye(5, 3), np.ones(3), axis="0")[:2]:
        assert "axis must be" in raised(call, TypeError)


@pytest.mark.parametrize(
    "eps",
    [-1e-5, -1, Fraction(-1, 9), *map(float, ["-inf", "inf", "nan"])],
    ids=repr,
)
def test_eps_must_not_be_negative_or_infinite(eps):
    for call in three_calls(np.eye(5, 3), np.ones(3), eps=eps):
        message = raised(call)
        assert f"eps is {eps}" in message
        assert "must be finite and not negative" in message


@pytest.mark.parametrize(("n", "count"), [(1, "1 value per"), (0, "0 values per")])
def test_a_batch_needs_two_values_per_feature(n, count):
    for call in three_calls(np.zeros((n, 3)), np.ones(3)):
        message = raised(call)
        for word in (f"({n}, 3)", count, "axis 0", "at least two"):
            assert word in message


def test_one_value_per_feature_of_images_and_layers():
    message = raised(lambda: staged(np.zeros((1, 3, 1, 1)), np.ones(3), np.ones(3), axis=IMAGES))
    assert "(1, 3, 1, 1)" in message
    assert "1 value per feature along axis (0, 2, 3)" in message
    assert "along axis ();" in raised(lambda: staged(np.eye(2), [1.0], [0.0], axis=()))
    assert "(4, 1)" in raised(lambda: staged(np.zeros((4, 1)), [1.0], [0.0], axis=-1))
    # One image has many pixels, which is enough.
    assert staged(drawn((1, 3, 2, 2))[0], np.ones(3), np.ones(3), axis=IMAGES).shape == (1, 3, 2, 2)


def test_options_are_given_by_name():
    x, gamma, beta, dout = drawn((5, 3))
    for call in (
        lambda: staged(x, gamma, beta, 1e-5),
        lambda: closed_form(x, gamma, dout, 1e-5),
        lambda: batchnorm_jacobian(x, gamma, 1e-5),
    ):
        assert "positional" in raised(call, TypeError)


@pytest.mark.parametrize("shape", [(3,), (3, 5), (5, 1), (5, 3, 1), ()], ids=repr)
def test_dout_of_another_shape(shape):
    x, gamma, beta, _ = drawn((5, 3))
    dout = np.zeros(shape)
    message = raised(lambda: closed_form(x, gamma, dout))
    for word in ("dout", str(shape), "(5, 3)"):
        assert word in message
    out = trace(staged)(x, gamma, beta)
    message = raised(lambda: out.backward(dout))
    for word in ("out", str(shape), "(5, 3)", "upstream gradient"):
        assert word in message


def test_dout_is_never_silently_ones():
    x, gamma, beta, _ = drawn((5, 3))
    out = staged(x, gamma, beta)
    assert "needs an upstream gradient" in raised(out.backward)


@pytest.mark.parametrize("shape", [(3,), (4, 3, 2), ()], ids=repr)
def test_the_jacobian_is_for_batches_of_rows(shape):
    message = raised(lambda: batchnorm_jacobian(np.zeros(shape), np.ones(3)))
    assert str(shape) in message
    assert "(N, D)" in message
