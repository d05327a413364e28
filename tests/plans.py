"""Random functions that plans are made of, and plans carried out in NumPy."""

from functools import partial
from inspect import signature

import numpy as np

from tinygraph import Graph, trace
from tinygraph.execution import Program
from tinygraph.execution.panels import JOINS, Tree, kernel_of
from tinygraph.execution.regions import Foreign
from tinygraph.graph.evaluation import evaluate, number

SHAPES = [
    (4, 3),
    (7, 2),
    (3, 1),
    (1, 5),
    (6, 6),
    (5,),
    (1,),
    (2, 3, 4),
    (3, 2, 2, 3),
    (64, 64),
    (40, 3),
]

# Bounded, so that a difference says something; kinks are met by no random number.
ELEMENTWISE = [
    lambda a, b: a + b,
    lambda a, b: a - b,
    lambda a, b: a * b,
    lambda a, b: np.tanh(a) * b,
    lambda a, b: a / (np.square(b) + 1),
    lambda a, b: a / np.sqrt(b * b + 0.5),
    lambda a, b: -a,
    lambda a, b: 1 / (a * a + 1),
    lambda a, b: np.exp(np.tanh(a)),
    lambda a, b: np.log(a * a + 1.5),
    lambda a, b: np.maximum(a, 0),
    lambda a, b: np.maximum(a, b),
    lambda a, b: np.where(a > b, a, 2 * b),
    lambda a, b: abs(a) ** 3 / 3,
]
REDUCING = [
    lambda a, axis: a - np.mean(a, axis=axis, keepdims=True),
    lambda a, axis: a / np.sqrt(np.sum(a * a, axis=axis, keepdims=True) + 0.5),
    lambda a, axis: a * np.sum(a, axis=axis, keepdims=True),
    lambda a, axis: a + np.max(a, axis=axis, keepdims=True),
    lambda a, axis: np.exp(a - np.max(a, axis=axis, keepdims=True)),
    lambda a, axis: np.sum(a, axis=axis, keepdims=True),
    lambda a, axis: a - np.var(a, axis=axis, keepdims=True),
    lambda a, axis: (a.T * np.mean(a.T, axis=0)).T,
    lambda a, axis: a - np.reshape(np.mean(np.reshape(a, (len(a), -1)), axis=0), (1, *a.shape[1:])),
    lambda a, axis: a + np.sum(np.reshape(a, -1)) * np.reshape(np.tanh(np.reshape(a, -1)), a.shape),
    lambda a, axis: a - np.reshape(a[..., None] * np.tanh(a)[None, ..., None], a.shape) / 2,
]


def axes(shape):
    """Give the axes that reductions go over: rows, columns, all of them, all but the channel."""
    ndim = len(shape)
    return [0, -1, tuple(range(ndim)), *([(0, *range(2, ndim))] if ndim > 2 else [])]


def leaves(shape, rng, dtype="float64"):
    """Draw an array, one number each per column and per row, another array, and a number."""
    shapes = [shape, shape[-1:], (shape[0], *[1] * (len(shape) - 1)), shape, ()]
    return [rng.normal(size=s).astype(dtype) for s in shapes]


def drawn(seed, shape):
    """Draw a function of such leaves: elementwise steps, and reductions over some axes."""
    rng = np.random.default_rng(seed)
    steps = []
    for _ in range(rng.integers(2, 8)):
        if rng.random() < 0.45:
            over = axes(shape)[rng.integers(len(axes(shape)))]
            f = partial(REDUCING[rng.integers(len(REDUCING))], axis=over)
            steps.append((f, rng.integers(100), None))
        else:
            f = ELEMENTWISE[rng.integers(len(ELEMENTWISE))]
            steps.append((f, rng.integers(100), rng.integers(100)))

    def function(x, v, r, y, c):
        found = [x, x + v, x * r, y * c]
        for f, i, j in steps:
            a = found[-1] if i % 3 else found[i % len(found)]
            if j is None:
                found.append(f(a + 0 * x if a.shape != x.shape else a))
            else:
                found.append(f(a, found[j % len(found)]))
        return found[-1], found[-2]

    return function


def joint(f, values):
    """Trace a function, and give the program of both passes and its arrays by index."""
    program = Program.of(Graph.joint(trace(f)(*values)))
    rng = np.random.default_rng(7)
    by_name = dict(zip(signature(f).parameters, values, strict=True))
    arrays = {
        x.index: np.asarray(rng.normal(size=x.shape), x.dtype)
        if x.role == "upstream"
        else by_name[x.name]
        for x in program.arguments
    }
    return program, arrays


def by_engine(program, arrays):
    """Give the value of every node."""
    values = {index: np.asarray(x)[()] for index, x in arrays.items()}
    with np.errstate(all="ignore"):
        evaluate(program.nodes, values)
    return values


def is_at_kink(program, values, near=1e-9):
    """Whether a comparison is so close that rounding decides it."""
    for node in program.nodes:
        name = str(node.op)
        if name in ("greater", "maximum", "relu"):
            a, *b = (values[x.index] for x in node.inputs)
            if np.any(np.abs(a - (b[0] if b else 0)) < near):
                return True
        if name == "max":
            x, axis = values[node.inputs[0].index], node.params["axis"]
            entries = np.moveaxis(x, axis, range(len(axis))).reshape(-1, *_rest(x.shape, axis))
            if len(entries) > 1 and np.any(np.diff(np.sort(entries, axis=0)[-2:], axis=0) < near):
                return True
    return False


def _rest(shape, axis):
    return [n for k, n in enumerate(shape) if k not in axis]


def carried_out(plan, arrays, block=None):
    """Give the value of every result of a plan; the rows in blocks of some length."""
    known = dict(arrays)
    with np.errstate(all="ignore"):
        for part in plan.parts:
            if isinstance(part, Foreign):
                operands = [_array(x, known) for x in part.node.inputs]
                known[part.node.index] = part.node.op.forward(*operands, **part.node.params)
            else:
                known |= in_region(part, known, block)
    return [_array(x, known) for x in plan.results]


def _array(node, known):
    return known[node.index] if node.index in known else number(node)


def in_region(region, known, block=None):
    """Give the results of a region by the index of their node.

    Whole arrays are spread and then reduced, as NumPy does it; the rows of blocks are swept over
    by the kernels of `tinygraph.execution.panels`.
    """
    values = {x.index: x.params["value"] for x in region.constants}
    for x in region.arguments:
        shape = _shape(x.labels, region.labels)
        values[x.index] = np.reshape(_array(x.node, known), shape)
    out = {}
    for sweep in region.sweeps:
        _compute(sweep.before, values, region.labels)
        sweeping = _whole if block is None else partial(_swept, block)
        sums, written = sweeping(region, sweep, dict(values))
        values |= {x.index: np.asarray(s, x.dtype) for x, s in zip(sweep.sums, sums, strict=True)}
        out |= {x.node.index: y for x, y in zip(sweep.writes, written, strict=True)}
    _compute(region.after, values, region.labels)
    return {
        x.node.index: _stored(x, out.get(x.node.index, values.get(x.value.index)), region.labels)
        for x in region.results
    }


def _shape(has, labels):
    return [label.length if label in has else 1 for label in labels]


def _stored(x, entries, labels):
    entries = np.broadcast_to(entries, _shape(x.labels, labels))
    return entries.astype(x.node.dtype).reshape(x.node.shape)[()]


def _whole(region, sweep, values):
    for one in sweep.segments:
        some = (*one.scalars, *one.values, *one.reductions, *one.sums)
        _compute(some, values, region.labels)
    return [values[x.index] for x in sweep.sums], [values[x.value.index] for x in sweep.writes]


def _swept(block, region, sweep, values):
    n, kernel = region.rows[0].length, kernel_of(region, sweep)
    new = [np.empty(_shape(x.labels, region.labels), x.node.dtype) for x in sweep.writes]
    tree = Tree(kernel.reductions)
    for i in range(0, n, block):
        rows = slice(i, min(n, i + block))
        blocks = [values[x.index][rows] for x in sweep.reads]
        tree.add(kernel.run(values, blocks, [y[rows] for y in new], rows.stop - i))
    return tree.total(), new


def _compute(some, values, labels):
    for x in some:
        if x.op in JOINS:
            (operand,) = x.operands
            met = {*operand.labels, *x.labels, *x.over}
            entries = np.broadcast_to(values[operand.index], _shape(met, labels))
            axis = tuple(k for k, label in enumerate(labels) if label in x.over)
            values[x.index] = x.primitive.forward(entries, axis=axis, keepdims=True)
        elif x.primitive is not None:
            operands = [values[y.index] for y in x.operands]
            values[x.index] = x.primitive.forward(*operands, **x.params)
