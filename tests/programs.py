"""Random programs over the primitives, for all tests that hold one evaluator against another."""

import itertools

import numpy as np
from hypothesis import strategies as st

from tinygraph.engine.lengths import extent

MASK = np.random.default_rng(1).normal(size=(2, 1, 3)) > 0


def joined(f):
    """Make a function of two operands bear shapes that do not broadcast."""

    def apply(a, b, k):
        try:
            np.broadcast_shapes(extent(a), extent(b))
        except ValueError:
            b = np.sum(b)
        return f(a, b)

    return apply


def axes_of(x, k):
    """Choose some axes of `x`, all of them included, by a number."""
    chosen = [(), *itertools.chain(*(itertools.combinations(range(x.ndim), n) for n in (1, 2, 3)))]
    return chosen[k % len(chosen)] if x.ndim else ()


def product(a, b, k):
    a = np.reshape(a, (-1, a.shape[-1])) if a.ndim > 2 else a
    if a.ndim == 0:
        return a * np.tanh(np.sum(b))
    return np.tanh(a) @ np.tanh(a.T) if k % 2 or a.ndim == 1 else a @ np.sin(a[k % len(a)])


ANALYTIC = {
    "add": joined(lambda a, b: a + b),
    "sub": joined(lambda a, b: a - b),
    "mul": joined(lambda a, b: a * np.tanh(b)),
    "div": joined(lambda a, b: a / (b * b + 1)),
    "power": joined(lambda a, b: (np.square(a) + 0.5) ** np.tanh(b)),
    "neg": lambda a, b, k: -a,
    "inverse": lambda a, b, k: 1 / (np.square(a) + 0.75),
    "square": lambda a, b, k: np.tanh(a) ** 2,
    "sqrt": lambda a, b, k: np.sqrt(a * a + 0.5),
    "pow": lambda a, b, k: (np.tanh(a) + 2) ** [3, 0, 1, -1, 0.5, -2.5][k % 6],
    "exp": lambda a, b, k: np.exp(np.sin(a)),
    "log": lambda a, b, k: np.log(a * a + 1.5),
    "sin": lambda a, b, k: np.sin(a),
    "cos": lambda a, b, k: np.cos(a),
    "tanh": lambda a, b, k: np.tanh(a),
    "sum": lambda a, b, k: np.sum(a, axis=axes_of(a, k // 2), keepdims=bool(k % 2)),
    "mean": lambda a, b, k: np.mean(a, axis=axes_of(a, k // 2), keepdims=bool(k % 2)),
    "centre": lambda a, b, k: a - np.mean(a, axis=axes_of(a, k), keepdims=True),
    "normalize": lambda a, b, k: a / np.sqrt(np.sum(a * a, axes_of(a, k), keepdims=True) + 0.5),
    "matmul": product,
    "reshape": lambda a, b, k: np.reshape(a, (-1,) if k % 2 else (1, *a.shape, 1))[:4],
    "transpose": lambda a, b, k: a.T,
    "index": lambda a, b, k: a[np.array([k % len(a), 0, k % len(a)])] if a.ndim else a[None],
    "concatenate": lambda a, b, k: (np.concatenate if a.ndim else np.stack)([a, a * 2])[1:],
}
KINKED = {
    "relu": lambda a, b, k: np.maximum(a, 0),
    "abs": lambda a, b, k: abs(a),
    "maximum": joined(np.maximum),
    "minimum": joined(np.minimum),
    "clip": lambda a, b, k: np.clip(a, -0.5, 0.75),
    "where": joined(lambda a, b: np.where(a > 0, a, b)),
    "mask": lambda a, b, k: np.where(MASK, a, 0.25) if a.shape in ((), (3,), (2, 3)) else a * 3,
    "max": lambda a, b, k: np.max(a, axis=axes_of(a, k)) if a.size else a * 1,
    "cast": lambda a, b, k: a.astype([np.float64, np.float32][k % 2]),
}


@st.composite
def programs(draw, operations):
    """Draw leaves, and instructions that each compute from what is there already."""
    shapes = draw(
        st.lists(st.sampled_from([(), (1,), (3,), (1, 3), (2, 1), (2, 3), (2, 1, 3)]), min_size=1)
    )[:3]
    instruction = st.tuples(
        st.sampled_from(sorted(operations)),
        st.integers(0, 99),
        st.integers(0, 99),
        st.integers(0, 99),
        st.booleans(),
    )
    instructions = draw(st.lists(instruction, min_size=1, max_size=10))
    return shapes, instructions, draw(st.integers(0, 2**32 - 1))


def execute(program, leaves, operations, after=lambda value, k, is_named: None):
    _, instructions, _ = program
    values = list(leaves)
    for k, (name, i, j, number, is_named) in enumerate(instructions):
        a = values[-1] if i % 3 else values[i % len(values)]  # mostly deep, sometimes wide
        value = operations[name](a, values[j % len(values)], number)
        after(value, k, is_named)
        values.append(value)
    return values[-1]
