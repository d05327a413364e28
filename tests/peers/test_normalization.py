"""BatchNorm and LayerNorm, staged and as one node, to the third order, and their whole Hessians.

A rule that is right for numbers may still be wrong for the next differentiation, if it treats a
mean or a variance as a constant; from the second order on that shows.
"""

from functools import partial

import numpy as np
import pytest
from helpers import close

from peers.engines import TOLERANCE, Tinygraph, agree, batchnorm
from tinygraph import nn
from tinygraph.batchnorm import staged
from tinygraph.batchnorm.primitive import normalize

EPS = 1e-5
RNG = np.random.default_rng(0)
GAMMA, BETA, MEAN = RNG.normal(size=(3, 3))
VAR = RNG.uniform(0.5, 2, size=3)
BATCH, IMAGES = RNG.normal(3, 2, size=(6, 3)), RNG.normal(3, 2, size=(2, 3, 2, 2))

both = pytest.mark.parametrize("norm", [staged, normalize], ids=["staged", "fused"])


def features(x, p):
    """Bring what belongs to axis 1 to a shape that broadcasts with x."""
    return p.reshape((1, 3) + (1,) * (x.ndim - 2))


def composed(np, x, gamma, beta, axis):
    if 0 in axis:
        gamma, beta = features(x, gamma), features(x, beta)
    return batchnorm(np, x, gamma, beta, axis=axis, eps=EPS)


def theirs(peer, axis):
    """Give the peer's own function where it has one, which in PyTorch is right to two orders.

    Beyond them its statistics are constants (pytorch/pytorch issues 175754 and 186256).
    """
    if peer.name == "pytorch" and 0 in axis:
        norm = peer.torch.nn.functional.batch_norm
        return lambda _, x, gamma, beta: norm(x, None, None, gamma, beta, training=True, eps=EPS)
    if peer.name == "pytorch":
        norm = peer.torch.nn.functional.layer_norm
        return lambda _, x, gamma, beta: norm(x, gamma.shape, gamma, beta, eps=EPS)
    if peer.name == "mygrad" and 0 in axis:
        norm = peer.mygrad.nnet.layers.batchnorm
        return lambda _, x, gamma, beta: norm(x, gamma=gamma, beta=beta, eps=EPS)
    return partial(composed, axis=axis)


LAYOUTS = {
    "batch": (BATCH, (0,)),
    "images": (IMAGES, (0, 2, 3)),
    "layer": (BATCH, (-1,)),
    "rows of images": (RNG.normal(1, 2, size=(2, 2, 3)), (-1,)),
}
layouts = pytest.mark.parametrize(("x", "axis"), LAYOUTS.values(), ids=LAYOUTS)


def ours(norm, axis):
    return lambda _, *xs: norm(*xs, eps=EPS, axis=axis)


@both
@layouts
def test_functions_of_their_own_agree(peer, x, axis, norm):
    rng = np.random.default_rng(1)
    xs = (x, GAMMA, BETA)
    directions = [[rng.normal(size=p.shape) for p in xs] for _ in range(peer.order > 1)]
    dout = rng.normal(size=x.shape)
    agree(peer, ours(norm, axis), xs, dout, directions, theirs=theirs(peer, axis))


DIRECTIONS = {"x, x": "xx", "gamma, x": "gx", "x, gamma": "xg", "all, all": "aa"}


@pytest.mark.parametrize("order", DIRECTIONS.values(), ids=DIRECTIONS)
@both
@layouts
def test_three_orders_agree_with_the_composed_function(higher, x, axis, norm, order):
    """All derivatives of <v2, d<v1, d<dout, BN>>>, the v in directions of x, gamma or all three."""
    rng = np.random.default_rng(2)
    xs = (x, GAMMA, BETA)
    directions = [
        [rng.normal(size=p.shape) * (by in (name, "a")) for name, p in zip("xgb", xs, strict=True)]
        for by in order
    ]
    dout = rng.normal(size=x.shape)
    agree(higher, ours(norm, axis), xs, dout, directions, theirs=partial(composed, axis=axis))


@both
@pytest.mark.parametrize("axis", [(0,), (-1,)], ids=["batch", "layer"])
def test_the_whole_hessian_by_x_agrees(higher, axis, norm):
    dout = np.random.default_rng(3).normal(size=BATCH.shape)
    found = Tinygraph().hessian(lambda _, x: norm(x, GAMMA, BETA, eps=EPS, axis=axis), BATCH, dout)
    expected = higher.hessian(
        lambda np, x: composed(np, x, np.constant(GAMMA), np.constant(BETA), axis), BATCH, dout
    )
    close(found, expected, TOLERANCE)


@pytest.mark.parametrize("x", [BATCH, IMAGES], ids=["batch", "images"])
def test_inference_agrees(peer, x):
    """By running estimates, which are constants."""
    rng = np.random.default_rng(4)
    layer = nn.BatchNorm(3, eps=EPS).eval()
    layer.running_mean, layer.running_var = MEAN, VAR

    def here(_, x, gamma, beta):
        layer.gamma, layer.beta = gamma, beta
        return layer(x)

    def there(np, x, gamma, beta):
        if peer.name == "pytorch":
            return np.nn.functional.batch_norm(
                x, np.constant(MEAN), np.constant(VAR), gamma, beta, eps=EPS
            )
        mean, var = (features(x, np.constant(p)) for p in (MEAN, VAR))
        gamma, beta = features(x, gamma), features(x, beta)
        return gamma * (x - mean) / np.sqrt(var + EPS) + beta

    xs = (x, GAMMA, BETA)
    directions = [[rng.normal(size=p.shape) for p in xs] for _ in range(peer.order - 1)]
    agree(peer, here, xs, rng.normal(size=x.shape), directions, theirs=there)
