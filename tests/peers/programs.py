"""Random programs: graphs as data, which any engine can run.

A program is a list of steps, each an operation on earlier values with fixed parameters; what no
step uses is joined into one output. Hypothesis draws the structure, and NumPy runs every step as it
is drawn, so that the next one knows shapes and values.

**All programs are well conditioned, by construction.** Where a function has a kink or a pole, its
argument is moved by a constant to a point that was chosen away from it:

- relu, abs and 1/x to 0.5 … 2 on either side of 0,
- square roots, logarithms, powers and denominators to 0.5 … 2, exponents to either side of 0,
  where PyTorch and autograd get a second derivative wrong (see test_kinks.py),
- one operand of a maximum beyond all values that the other one may have,
- the entries under a max to multiples of 1/4, no two the same.

A constant moves the point and leaves every derivative in place. A result that exceeds 4 goes
through the sine, whose derivative is at most 1 and does not vanish where the argument is large.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from peers.engines import NUMPY

SHAPES = [(), (1,), (3,), (2, 3), (3, 2), (1, 3), (2, 1), (3, 3), (2, 3, 2), (2, 1, 3)]
LONGEST, LARGEST_SIZE, LARGEST_VALUE = 10, 48, 4.0


@dataclass(frozen=True)
class Step:
    op: str
    args: tuple[int, ...]
    params: dict[str, Any]
    bounded: bool = False


@dataclass(frozen=True)
class Program:
    leaves: list[np.ndarray]
    steps: list[Step]
    dout: np.ndarray
    direction: list[np.ndarray]

    def __call__(self, np, *leaves):
        return joined(np, self.steps, self.values(np, *leaves))

    def values(self, np, *leaves):
        """Give the leaves and the results of all steps, computed in the notation `np`."""
        values = list(leaves)
        for step in self.steps:
            values.append(apply(np, step, values))
        return values


def apply(np, step, values):
    value = OPERATIONS[step.op][0](np, *(values[k] for k in step.args), **step.params)
    return np.sin(value) if step.bounded else value


def joined(np, steps, values):
    used = {k for step in steps for k in step.args}
    return np.concatenate([x.reshape(-1) for k, x in enumerate(values) if k not in used], 0)


@st.composite
def programs(draw):
    """Draw a program of some of the operations."""
    maker = Maker(draw)
    for op in draw(st.lists(st.sampled_from(list(OPERATIONS)), min_size=1, max_size=LONGEST)):
        maker.append(op)
    out = joined(NUMPY, maker.steps, maker.values)
    dout, *direction = (maker.rng.normal(size=x.shape) for x in (out, *maker.leaves))
    return Program(maker.leaves, maker.steps, dout, direction)


class Maker:
    """A program while it is drawn: the values so far, and a source of numbers."""

    def __init__(self, draw):
        self.draw = draw
        self.rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        shapes = draw(st.lists(st.sampled_from(SHAPES), min_size=1, max_size=3))
        self.leaves = [self.rng.uniform(-2, 2, size=shape) for shape in shapes]
        self.values, self.steps = list(self.leaves), []

    def append(self, op):
        drawn = OPERATIONS[op][1](self)
        if drawn is None:
            return
        step = Step(op, *drawn)
        value = apply(NUMPY, step, self.values)
        if np.size(value) > LARGEST_SIZE:
            return
        if np.max(np.abs(value)) > LARGEST_VALUE:
            step, value = replace(step, bounded=True), np.sin(value)
        self.steps.append(step)
        self.values.append(np.asarray(value))

    # ------------------------------------------------------------------ operands

    def one(self, fits=lambda x: True):
        """Draw one of the values that fit; None if none does."""
        found = [k for k, x in enumerate(self.values) if fits(x)]
        return self.draw(st.sampled_from(found)) if found else None

    def partner(self, k, combine=np.broadcast):
        """Draw a value, k included, that combines with value k to something not too large."""

        def fits(x):
            try:
                return combine(self.values[k], x).size <= LARGEST_SIZE
            except ValueError:
                return False

        return self.one(fits)

    def axes(self, k):
        """Draw a subset of the axes, or None for all of them."""
        axes = range(self.values[k].ndim)
        subsets = st.lists(st.sampled_from(axes), unique=True) if axes else st.just([])
        return self.draw(st.none() | subsets.map(lambda chosen: tuple(sorted(chosen))))

    # ------------------------------------------------------------------ constants that move

    def positive(self, k):
        x = self.values[k]
        return self.rng.uniform(0.5, 2, size=x.shape) - x

    def off_zero(self, k):
        x = self.values[k]
        sides = self.rng.choice([-1, 1], size=x.shape)
        return sides * self.rng.uniform(0.5, 2, size=x.shape) - x

    def far(self, k):
        x = self.values[k]
        sides = self.rng.choice([-1, 1], size=x.shape)
        return sides * (LARGEST_VALUE + self.rng.uniform(0.5, 2, size=x.shape)) - x

    def apart(self, k):
        x = self.values[k]
        return ((self.rng.permutation(x.size) + 0.5) / 4).reshape(x.shape) - x


# --------------------------------------------------------------------------- how steps are drawn


def unary(move=None):
    def make(m):
        k = m.one()
        return (k,), {"c": move(m, k)} if move else {}

    return make


def binary(move=None):
    """Draw two operands that broadcast; the second one is moved."""

    def make(m):
        k = m.one()
        j = m.partner(k)
        return (k, j), {"c": move(m, j)} if move else {}

    return make


def reduction(move=None):
    def make(m):
        k = m.one()
        moved = {"c": move(m, k)} if move else {}
        return (k,), {"axis": m.axes(k), "keepdims": m.draw(st.booleans()), **moved}

    return make


def choice(m):
    a = m.one()
    b = m.partner(a)
    return (a, b), {"mask": m.rng.random(m.values[a].shape) < 0.5}


def comparison(m):
    a = m.one()
    w = m.one(lambda x: x.shape == m.values[a].shape)
    return (w, a, m.partner(a)), {"c": m.off_zero(w)}


def raised(m):
    (k, j), moved = binary(Maker.positive)(m)
    return (k, j), {"d": m.off_zero(k), **moved}


def power(m):
    (k,), moved = unary(Maker.positive)(m)
    return (k,), {"n": m.draw(st.sampled_from([-1.5, -1, 0, 0.5, 1, 3])), **moved}


def product(m):
    k = m.one(np.ndim)
    j = None if k is None else m.partner(k, np.matmul)
    return None if j is None else ((k, j), {})


def spread(m):
    k = m.one()
    lengths = [m.draw(st.integers(1, 3)) if n == 1 else n for n in m.values[k].shape]
    new = m.draw(st.lists(st.integers(1, 2), max_size=1))
    return (k,), {"shape": (*new, *lengths)}


def reshape(m):
    k = m.one()
    size = m.values[k].size
    pairs = [(n, size // n) for n in range(1, size + 1) if size % n == 0]
    shapes = [(size,), *pairs, *((a, n, b // n) for a, b in pairs for n in (1, 2, 3) if b % n == 0)]
    return (k,), {"shape": m.draw(st.sampled_from(shapes))}


def transpose(m):
    k = m.one()
    return (k,), {"axes": tuple(m.draw(st.permutations(range(m.values[k].ndim))))}


def concatenate(m):
    k = m.one(np.ndim)
    if k is None:
        return None
    axis = m.draw(st.integers(0, m.values[k].ndim - 1))
    j = m.partner(k, lambda *parts: np.concatenate(parts, axis))
    return None if j is None else ((k, j, k), {"axis": axis})


def stack(m):
    k = m.one()
    j = m.one(lambda x: x.shape == m.values[k].shape)
    return (k, j), {"axis": m.draw(st.integers(0, m.values[k].ndim))}


def index(m):
    k = m.one()
    shape = m.values[k].shape
    some = np.asarray(m.rng.random(shape) < 0.7)
    some.flat[0] = True
    along = [
        st.slices(n) | st.integers(-n, n - 1) | st.just(m.rng.integers(-n, n, size=3))
        for n in shape
    ]
    keys = arrays.basic_indices(shape, allow_newaxis=True) | st.tuples(*along) | st.just(some)
    return (k,), {"key": m.draw(keys.filter(lambda key: np.size(m.values[k][key])))}


def scatter(m):
    k = m.one()
    shape = m.draw(st.sampled_from([(4,), (2, 3), (3, 2, 2)]))
    return (k,), {
        "key": tuple(m.rng.integers(n, size=m.values[k].shape) for n in shape),
        "shape": shape,
    }


def pick(m):
    k = m.one(np.ndim)
    if k is None:
        return None
    return (k,), {"key": tuple([m.rng.integers(n, size=3) for n in m.values[k].shape])}


def select(m):
    k = m.one(np.ndim)
    if k is None:
        return None
    mask = m.rng.random(m.values[k].shape) < 0.7
    mask.flat[0] = True
    return (k,), {"mask": mask}


def places(m):
    """Draw a base, two operands, and rows of the base that each is written to; some to both."""
    k = m.one(np.ndim)
    if k is None:
        return None
    rows = [m.rng.permutation(len(m.values[k]))[: m.draw(st.integers(1, 2))] for _ in range(2)]
    return (k, m.one(), m.one()), {"keys": tuple(rows)}


def batch(m):
    k = m.one(lambda x: x.ndim and x.shape[0] > 1)
    if k is None:
        return None
    ndim = m.values[k].ndim
    axis = m.draw(st.sampled_from([(0,), (0, *range(2, ndim)), tuple(range(ndim))]))
    other = m.one(lambda x: x.shape == m.values[k].shape)
    return (k, other), {"axis": axis}


def normalized(np, x, other, axis):
    gamma = np.mean(other, axis=axis, keepdims=True)
    return np.batchnorm(x, 1 + gamma, gamma, axis=axis, eps=0.5)


OPERATIONS = {
    "add": (lambda np, a, b: a + b, binary()),
    "sub": (lambda np, a, b: a - b, binary()),
    "mul": (lambda np, a, b: a * b, binary()),
    "div": (lambda np, a, b, c: a / (b + np.constant(c)), binary(Maker.positive)),
    "power": (
        lambda np, a, b, c, d: (b + np.constant(c)) ** (a + np.constant(d)),
        raised,
    ),
    "maximum": (lambda np, a, b, c: np.maximum(a, b + np.constant(c)), binary(Maker.far)),
    "minimum": (lambda np, a, b, c: np.minimum(b + np.constant(c), a), binary(Maker.far)),
    "where": (lambda np, a, b, mask: np.where(np.constant(mask), a, b), choice),
    "if": (lambda np, w, a, b, c: np.where(w + np.constant(c) > 0, a, b), comparison),
    "scalars": (lambda np, x: 1.5 - 2 * x / 3, unary()),
    "neg": (lambda np, x: -x, unary()),
    "inverse": (lambda np, x, c: 1 / (x + np.constant(c)), unary(Maker.off_zero)),
    "square": (lambda np, x: np.square(x), unary()),
    "sqrt": (lambda np, x, c: np.sqrt(x + np.constant(c)), unary(Maker.positive)),
    "pow": (lambda np, x, n, c: (x + np.constant(c)) ** n, power),
    "exp": (lambda np, x: np.exp(x), unary()),
    "log": (lambda np, x, c: np.log(x + np.constant(c)), unary(Maker.positive)),
    "sin": (lambda np, x: np.sin(x), unary()),
    "cos": (lambda np, x: np.cos(x), unary()),
    "tanh": (lambda np, x: np.tanh(x), unary()),
    "relu": (lambda np, x, c: np.relu(x + np.constant(c)), unary(Maker.off_zero)),
    "abs": (lambda np, x, c: np.abs(x + np.constant(c)), unary(Maker.off_zero)),
    "cast": (lambda np, x: np.cast(np.cast(x, "float32"), "float64"), unary()),
    "sum": (lambda np, x, **over: np.sum(x, **over), reduction()),
    "mean": (lambda np, x, **over: np.mean(x, **over), reduction()),
    "max": (lambda np, x, c, **over: np.max(x + np.constant(c), **over), reduction(Maker.apart)),
    "min": (lambda np, x, c, **over: np.min(x + np.constant(c), **over), reduction(Maker.apart)),
    "spread": (lambda np, x, shape: np.broadcast_to(x, shape), spread),
    "matmul": (lambda np, a, b: a @ b, product),
    "reshape": (lambda np, x, shape: x.reshape(shape), reshape),
    "transpose": (lambda np, x, axes: np.transpose(x, axes), transpose),
    "index": (lambda np, x, key: np.getitem(x, key), index),
    "scatter": (lambda np, x, key, shape: np.scatter(x, key, shape), scatter),
    "pick": (lambda np, x, key: np.pick(x, key), pick),
    "put": (lambda np, x, key, shape: np.put(x, key, shape), scatter),
    "select": (lambda np, x, mask: np.select(x, mask), select),
    "stop": (lambda np, x: np.stop(x) * x, unary()),
    "assign": (lambda np, x, a, b, keys: np.assign(x, np.sum(a), np.sum(b), keys=keys), places),
    "assign_add": (
        lambda np, x, a, b, keys: np.assign_add(x, np.sum(a), np.sum(b), keys=keys),
        places,
    ),
    "concatenate": (lambda np, *parts, axis: np.concatenate(parts, axis), concatenate),
    "stack": (lambda np, *parts, axis: np.stack(parts, axis), stack),
    "batchnorm": (normalized, batch),
}
"""By name: how an operation runs, and how its operands and parameters are drawn."""
