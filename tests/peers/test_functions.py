"""The same functions here and in PyTorch, JAX, autograd and MyGrad: values, first, second orders.

A function that a peer has of its own stands under `theirs`; all others are composed by the same
lines of NumPy, on the peer's own arrays.
"""

import numpy as np
import pytest
from helpers import close

from peers.engines import TOLERANCE, Tinygraph, agree
from tinygraph import Tensor, nn

RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(2, 2, 3))
ROW, COLUMN, SCALAR = RNG.normal(size=3), RNG.normal(size=(2, 1)), RNG.normal(size=())
POSITIVE = RNG.uniform(0.5, 2.0, size=(2, 3))
CUBE = RNG.normal(size=(2, 3, 4))
MASK = RNG.random(size=(2, 3)) < 0.5
REPEATED, PAIRS = np.array([0, 1, 0, 0]), (np.array([0, 1, 1]), slice(None), np.array([3, 0, 0]))
ROWS, LABELS = np.arange(5), np.array([2, 0, 1, 2, 2])
LOGITS = 3 * RNG.normal(size=(5, 3))
EPS = 1e-5


def case(f, *xs, id, **theirs):
    return pytest.param(f, xs, theirs, id=id)


def softmax(np, x):
    e = np.exp(x - np.max(x, axis=-1, keepdims=True))
    return e / np.sum(e, axis=-1, keepdims=True)


def cross_entropy(np, logits):
    shifted = logits - np.max(logits, axis=1, keepdims=True)
    lse = np.log(np.sum(np.exp(shifted), axis=1))
    return np.mean(lse - np.getitem(shifted, (ROWS, LABELS)))


def attention(np, q, k, v):
    return softmax(np, q @ np.transpose(k, (0, 2, 1)) / q.shape[-1] ** 0.5) @ v


def network(np, x, w1, b1, w2):
    return np.tanh(np.relu(x @ w1 + b1) @ w2)


ELEMENTWISE = [
    case(lambda np, a, b: a + b, A, ROW, id="add"),
    case(lambda np, a, b: a - b, COLUMN, ROW, id="sub"),
    case(lambda np, a, b: a * b, SCALAR, A, id="mul"),
    case(lambda np, a, b: a / b, A, POSITIVE[:, :1], id="div"),
    case(lambda np, a: a * a * a, A, id="one operand thrice"),
    case(lambda np, a: 2 - 3 * a / 4, A, id="numbers"),
    case(lambda np, a: -a, A, id="neg"),
    case(lambda np, a: 1 / a, A, id="inverse"),
    case(lambda np, a: a**2, A, id="square"),
    case(lambda np, a: a**3, A, id="cube"),
    case(lambda np, a: a**-1.5, POSITIVE, id="pow"),
    case(lambda np, a, b: a**b, POSITIVE, ROW, id="power"),
    case(lambda np, a: 2.5**a, A, id="power of a number"),
    case(lambda np, a: np.sqrt(a), POSITIVE, id="sqrt"),
    case(lambda np, a: np.exp(a), A, id="exp"),
    case(lambda np, a: np.log(a), POSITIVE, id="log"),
    case(lambda np, a: np.sin(a), A, id="sin"),
    case(lambda np, a: np.cos(a), A, id="cos"),
    case(lambda np, a: np.tanh(a), A, id="tanh"),
    case(lambda np, a: np.abs(a) * a, A, id="abs"),
    case(lambda np, a: np.relu(a) * a, A, id="relu"),
    case(lambda np, a, b: np.maximum(a, b) ** 2, A, ROW, id="maximum"),
    case(lambda np, a, b: np.minimum(a, b) ** 2, A, COLUMN, id="minimum"),
    case(lambda np, a: np.clip(a, -0.5, 0.7) * a, A, id="clip"),
    case(
        lambda np, a, b: np.where(np.constant(MASK), a, b) ** 2,
        *(A, ROW),
        id="where",
        autograd=lambda np, a, b: np.where(MASK, a, b + 0 * a) ** 2,  # it does not broadcast here
    ),
    case(lambda np, a, b: np.where(a > b, a * b, b), A, B, id="where, compared"),
]

# --- reductions, products, shapes: squared, so that they have a second derivative ---------------

REDUCTIONS = [
    case(
        lambda np, x, f=f, axis=axis, keepdims=keepdims: (
            getattr(np, f)(x, axis=axis, keepdims=keepdims) ** 2
        ),
        CUBE,
        id=f"{f}, axis={axis}{', keepdims' * keepdims}",
    )
    for f in ("sum", "mean", "var", "max", "min")
    for axis, keepdims in ((None, False), (1, True), ((0, 2), False))
]

PRODUCTS = [
    case(lambda np, a, b: (a @ b) ** 2, RNG.normal(size=p), RNG.normal(size=q), id=f"{p} @ {q}")
    for p, q in [
        ((2, 3), (3, 4)),
        ((3,), (3, 4)),
        ((2, 3), (3,)),
        ((3,), (3,)),
        ((2, 2, 3), (2, 3, 2)),
        ((2, 1, 2, 3), (3, 3, 2)),
        ((2, 2, 3), (3,)),
    ]
]

SHAPES = [
    case(lambda np, x: x.reshape(4, 6) ** 2, CUBE, id="reshape"),
    case(lambda np, x: x.reshape((-1,)) ** 2, CUBE, id="ravel"),
    case(lambda np, x: np.transpose(x, (2, 0, 1)) ** 2, CUBE, id="transpose"),
    case(lambda np, x: np.swapaxes(x, 0, 2) ** 2, CUBE, id="swapaxes"),
    case(lambda np, x: np.expand_dims(x, 1) ** 2, A, id="expand_dims"),
    case(lambda np, x: np.squeeze(x, 1) ** 2, COLUMN, id="squeeze"),
    case(
        lambda np, x: np.broadcast_to(x, (4, 2, 3)) ** 2,
        COLUMN,
        id="broadcast_to",
        autograd=lambda np, x: np.broadcast_to(x[None], (4, 2, 3)) ** 2,  # not to new axes
    ),
    case(lambda np, a, b: np.concatenate([a, b, a], 1) ** 2, A, COLUMN, id="concatenate"),
    case(lambda np, a, b: np.stack([a, b], 1) ** 2, A, B, id="stack"),
    case(lambda np, x: x[1, :, 1:3] ** 2, CUBE, id="slices"),
    case(lambda np, x: x[..., None, ::2] ** 2, CUBE, id="steps and a new axis"),
    case(lambda np, x: np.getitem(x, REPEATED) ** 2, CUBE, id="integers, repeated"),
    case(lambda np, x: np.getitem(x, PAIRS) ** 2, CUBE, id="pairs"),
    case(lambda np, x: np.getitem(x, MASK) ** 2, A, id="mask"),
]

# --- functions that the peers have of their own -------------------------------------------------

OF_THEIR_OWN = [
    case(
        softmax,
        LOGITS,
        id="softmax",
        pytorch=lambda torch, x: torch.softmax(x, -1),
        jax=lambda jnp, x: jnp.nn.softmax(x),
        mygrad=lambda mg, x: mg.nnet.activations.softmax(x),
    ),
    *(
        case(
            f,
            LOGITS,
            id=f"cross entropy, {kind}",
            pytorch=lambda torch, x: torch.nn.functional.cross_entropy(x, torch.tensor(LABELS)),
            jax=lambda jnp, x: -jnp.mean(jnp.nn.log_softmax(x)[ROWS, LABELS]),
            autograd=cross_entropy,
            mygrad=lambda mg, x: mg.nnet.losses.softmax_crossentropy(x, LABELS),
        )
        for kind, f in (
            ("composed", cross_entropy),
            ("of nn", lambda np, x: nn.cross_entropy(x, LABELS)),
        )
    ),
    case(
        lambda np, x: nn.mse(x, B),
        A,
        id="mean squared error",
        peers=lambda np, x: np.mean((x - np.constant(B)) ** 2),
        pytorch=lambda torch, x: torch.nn.functional.mse_loss(x, torch.tensor(B)),
    ),
    case(
        attention,
        *RNG.normal(size=(3, 2, 4, 3)),
        id="attention",
        pytorch=lambda torch, *qkv: torch.nn.functional.scaled_dot_product_attention(*qkv),
        jax=lambda jnp, *qkv: attention(jnp, *qkv),
    ),
    case(
        network,
        *(RNG.normal(size=shape) for shape in ((5, 3), (3, 4), (4,), (4, 2))),
        id="network",
    ),
]


@pytest.mark.parametrize(
    ("f", "xs", "theirs"),
    ELEMENTWISE + REDUCTIONS + PRODUCTS + SHAPES + OF_THEIR_OWN,
)
def test_values_and_derivatives_agree(peer, f, xs, theirs):
    """First order with every peer, and second order with all that have one."""
    rng = np.random.default_rng(1)
    dout = rng.normal(size=np.shape(f(Tinygraph.np, *map(Tensor, xs))))
    directions = [[rng.normal(size=x.shape) for x in xs]] * (peer.order > 1)
    other = theirs.get(peer.name) or theirs.get("peers", f)
    agree(peer, f, xs, dout, directions, theirs=other)


@pytest.mark.parametrize(
    ("f", "x"),
    [
        pytest.param(softmax, LOGITS, id="softmax"),
        pytest.param(cross_entropy, LOGITS, id="cross entropy"),
        pytest.param(lambda np, x: np.tanh(x @ np.constant(A[:, :2])) ** 3, B[:, :2], id="matmul"),
        pytest.param(lambda np, x: np.sqrt(np.var(x, axis=0) + 1e-5), A, id="deviation"),
    ],
)
def test_the_whole_hessian_agrees(higher, f, x):
    dout = np.random.default_rng(2).normal(size=np.shape(f(Tinygraph.np, Tensor(x))))
    close(Tinygraph().hessian(f, x, dout), higher.hessian(f, x, dout), TOLERANCE)
