"""The table of primitives: every rule against numerical derivatives, kinks, exact arithmetic."""

import itertools
import operator
import pickle
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from helpers import close, jacobian, pull_back, same_bits, upstream

from tinygraph import Tensor, grad, ops
from tinygraph.batchnorm import primitive as fused
from tinygraph.engine.ops import rational_root
from tinygraph.engine.primitive import TABLE, JointRules

ROWS = {k: op for k, op in TABLE.items() if not op.home.startswith("tinygraph.engine.library")}

# --- the cases: one row per primitive -----------------------------------------------------------


@dataclass
class Case:
    """One primitive on random operands, and what it computes, written in NumPy once more."""

    op: str
    reference: Any
    inputs: list[Any]
    params: dict[str, Any] = field(default_factory=dict)
    step: float | None = None  # None: analytic, complex step; else the central difference's step
    fixed: tuple[int, ...] = ()  # inputs that no gradient flows to


RNG = np.random.default_rng(20240301)


def normal(*shape):
    return RNG.normal(size=shape)


def positive(*shape):
    return RNG.uniform(0.5, 2.0, size=shape)


def apart(*shape):
    """Give numbers in random order that are at least 0.1 from one another and from 0."""
    n = int(np.prod(shape))
    return (RNG.permutation(n) - n // 2 + 0.5).reshape(shape) * 0.3


def scattered(x, key, shape):
    out = np.zeros(shape, x.dtype)
    for value, i in zip(x, key, strict=True):
        out[i] += value
    return out


MASK = np.array([[True, False, True], [False, False, True]])
PIECEWISE = 1e-3  # exact for piecewise linear functions, and far less than the gaps of `apart`

CASES = [
    Case("add", lambda a, b: a + b, [normal(2, 3), normal(2, 3)]),
    Case("sub", lambda a, b: a - b, [normal(2, 3), normal(2, 3)]),
    Case("mul", lambda a, b: a * b, [normal(2, 3), normal(2, 3)]),
    Case("div", lambda a, b: a / b, [normal(2, 3), positive(2, 3)]),
    Case("neg", lambda x: -x, [normal(2, 3)]),
    Case("inverse", lambda x: 1 / x, [positive(2, 3)]),
    Case("square", lambda x: x * x, [normal(2, 3)]),
    Case("sqrt", np.sqrt, [positive(2, 3)]),
    Case("pow", lambda x, n: x * x * x, [normal(2, 3)], {"n": 3}),
    Case("power", lambda a, b: np.exp(b * np.log(a)), [positive(2, 3), normal(2, 3)]),
    Case("exp", np.exp, [normal(2, 3)]),
    Case("log", np.log, [positive(2, 3)]),
    Case("sin", np.sin, [normal(2, 3)]),
    Case("cos", np.cos, [normal(2, 3)]),
    Case("tanh", np.tanh, [normal(2, 3)]),
    Case("relu", lambda x: x * (x > 0), [apart(2, 3)], step=PIECEWISE),
    Case("abs", np.abs, [apart(2, 3)], step=PIECEWISE),
    Case("maximum", np.maximum, [*apart(2, 2, 3)], step=PIECEWISE),
    Case("minimum", np.minimum, [*apart(2, 2, 3)], step=PIECEWISE),
    Case("where", np.where, [MASK, normal(2, 3), normal(2, 3)], fixed=(0,)),
    Case("cast", lambda x, dtype: x, [normal(2, 3)], {"dtype": np.dtype(np.float64)}),
    Case(
        "sum",
        lambda x, axis, keepdims: x.sum(axis=1),
        [normal(2, 3, 2)],
        {"axis": (1,), "keepdims": False},
    ),
    Case(
        "spread",
        lambda x, shape, axis: np.stack([x, x, x, x], axis=1),
        [normal(2, 3)],
        {"shape": (2, 4, 3), "axis": (1,)},
    ),
    Case(
        "max",
        lambda x, axis, keepdims: x.max(axis=1),
        [apart(2, 3, 2)],
        {"axis": (1,), "keepdims": False},
        step=PIECEWISE,
    ),
    Case("matmul", lambda a, b: np.einsum("bij,jk->bik", a, b), [normal(2, 2, 3), normal(3, 2)]),
    Case("reshape", lambda x, shape: x.reshape(shape), [normal(2, 3)], {"shape": (3, 2)}),
    Case(
        "transpose",
        lambda x, axes: np.einsum("ijk->kij", x),
        [normal(2, 3, 4)],
        {"axes": (2, 0, 1)},
    ),
    Case(
        "index",
        lambda x, key: np.array([x[2], x[0], x[2]]),
        [normal(3, 2)],
        {"key": np.array([2, 0, 2])},
    ),
    Case("scatter", scattered, [normal(3, 2)], {"key": np.array([2, 0, 2]), "shape": (3, 2)}),
    Case(
        "pick",
        lambda x, i, key: np.array([x[2], x[0], x[2]]),
        [normal(3, 2), np.array([2, 0, 2])],
        {"key": ("1",)},
        fixed=(1,),
    ),
    Case(
        "put",
        lambda x, i, key, shape: scattered(x, i, shape),
        [normal(3, 2), np.array([2, 0, 2])],
        {"key": ("1",), "shape": (3, 2)},
        fixed=(1,),
    ),
    Case(
        "select",
        lambda x, mask, key, places: np.array([x[0, 0], x[0, 2], x[1, 2]]),
        [normal(2, 3), MASK],
        {"key": (MASK,), "places": (0,)},
        fixed=(1,),
    ),
    Case(
        "concatenate",
        lambda a, b, c, axis: np.block([a, b, c]),
        [normal(2, 3), normal(2, 1), normal(2, 2)],
        {"axis": 1},
    ),
    Case(
        "assign",
        lambda x, a, b, keys, disjoint: np.array([[x[0, 0], x[0, 1], a], [x[1, 0], b[1], b[2]]]),
        [normal(2, 3), normal(), normal(3)],
        {"keys": ((0, 2), (1, np.array([1, 1, 2]))), "disjoint": False},
    ),
    Case(
        "assign_add",
        lambda x, a, b, keys: x + np.array([[a * 0, a * 0, a], [b[0] + b[1], b[2], a * 0]]),
        [normal(2, 3), normal(), normal(3)],
        {"keys": ((0, 2), (1, np.array([0, 0, 1])))},
    ),
    Case(
        "batchnorm",
        lambda x, gamma, beta, axis, eps: (
            gamma * (x - x.mean(axis=0)) / np.sqrt(((x - x.mean(axis=0)) ** 2).mean(axis=0) + eps)
            + beta
        ),
        [normal(5, 3), normal(3), normal(3)],
        {"axis": (0,), "eps": 0.1},
    ),
]

CONSTANT_ALMOST_EVERYWHERE = {
    "greater": operator.gt,
    "greater_equal": operator.ge,
    "less": operator.lt,
    "less_equal": operator.le,
    "equal": operator.eq,
    "not_equal": operator.ne,
    "sign": np.sign,
    "isfinite": np.isfinite,
    "isnan": np.isnan,
    "floor": np.floor,
    "ceil": np.ceil,
    "rint": np.rint,
    "trunc": np.trunc,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
    "logical_not": np.logical_not,
    "all": lambda x: np.all(x, axis=0, keepdims=True),
    "any": lambda x: np.any(x, axis=0, keepdims=True),
    "argmax": lambda x: np.argmax(x, axis=0),
    "argmin": lambda x: np.argmin(x, axis=0),
}
OF_ITS_OWN = {
    "all": {"axis": (0,), "keepdims": True},
    "any": {"axis": (0,), "keepdims": True},
    "argmax": {"axis": 0},
    "argmin": {"axis": 0},
}
DISCRETE = {
    "bitwise_and": operator.and_,
    "bitwise_or": operator.or_,
    "bitwise_xor": operator.xor,
    "invert": operator.invert,
}

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.op)
each_dtype = pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["f64", "f32"])


def test_the_cases_cover_the_table():
    covered = [case.op for case in CASES] + [*CONSTANT_ALMOST_EVERYWHERE, *DISCRETE, "stop"]
    assert len(covered) == len(set(covered))
    assert set(covered) == set(ROWS)


def test_the_rows_of_the_library_stand_beside_them():
    """Which are tested by the calls of NumPy's functions that they are; see test_library."""
    ours = {name for name, op in TABLE.items() if op.home.startswith("tinygraph.engine.library")}
    assert ours
    assert not ours & set(ROWS)
    assert all(getattr(ops, name) is TABLE[name] for name in ours)


def test_rows_without_rules_are_those_that_are_constant_almost_everywhere():
    bare = {name for name, op in ROWS.items() if not op.rules}
    assert bare == set(CONSTANT_ALMOST_EVERYWHERE) | set(DISCRETE)


def test_elementwise_names_are_those_whose_shape_is_that_of_broadcasting():
    shaped = {"sum", "spread", "max", "matmul", "reshape", "transpose", "index", "scatter"}
    shaped |= {"pick", "put", "select", "all", "any", "argmax", "argmin", "assign", "assign_add"}
    elementwise = {name for name, op in ROWS.items() if op.elementwise}
    assert set(ROWS) - {*shaped, "concatenate", fused.batchnorm.name} == elementwise


def at(case, dtype):
    """Give the operands in `dtype`, the Tensors among them, and their positions."""
    arrays = [x if k in case.fixed else x.astype(dtype) for k, x in enumerate(case.inputs)]
    where = [k for k in range(len(arrays)) if k not in case.fixed]
    operands = [Tensor(x) if k in where else x for k, x in enumerate(arrays)]
    return arrays, operands, where


def exactly(case, arrays):
    """Give the reference as a function of float64 operands, and those operands."""
    xs = [x if k in case.fixed else x.astype(np.float64) for k, x in enumerate(arrays)]
    return (lambda *xs: case.reference(*xs, **case.params)), xs


# --- values and derivatives ---------------------------------------------------------------------


@each_dtype
@each_case
def test_value(case, dtype):
    arrays, operands, _ = at(case, dtype)
    op = ROWS[case.op]
    out = op(*operands, **case.params)
    f, xs = exactly(case, arrays)
    assert out.op is op
    assert out.dtype == (np.float64 if case.op == "cast" else dtype)
    close(out.data, f(*xs), 1e-15 if dtype is np.float64 else 1e-6)
    assert same_bits(out.data, op(*arrays, **case.params))  # the same on plain arrays


@each_dtype
@each_case
def test_first_derivative(case, dtype):
    rng = np.random.default_rng(1)
    arrays, operands, where = at(case, dtype)
    out = ROWS[case.op](*operands, **case.params)
    g = upstream(rng, out)
    out.backward(g)
    f, xs = exactly(case, arrays)
    for k in where:
        assert operands[k].grad.dtype == dtype
        expected = pull_back(f, xs, k, g.astype(np.float64), step=case.step)
        close(operands[k].grad, expected, 1e-11 if dtype is np.float64 else 1e-5)


@each_dtype
@each_case
def test_second_derivative(case, dtype):
    """Σ_k v_k · (gradient of input k), differentiated with respect to the inputs and to g."""
    rng = np.random.default_rng(2)
    arrays, operands, where = at(case, dtype)
    out = ROWS[case.op](*operands, **case.params)
    g = Tensor(upstream(rng, out))
    tensors = [operands[k] for k in where]
    firsts = grad(out, tensors, g, create_graph=True)
    vs = [upstream(rng, x) for x in tensors]
    assert all(isinstance(first, Tensor) and first.dtype == dtype for first in firsts)

    contracted = sum(np.sum(v * first) for v, first in zip(vs, firsts, strict=True))
    *seconds, wrt_g = grad(contracted, [*tensors, g], np.asarray(1.7, dtype=contracted.dtype))

    f, xs = exactly(case, arrays)
    g64, vs64 = g.data.astype(np.float64), [v.astype(np.float64) for v in vs]

    def contraction(*xs):
        pulled = [pull_back(f, xs, k, g64, step=case.step) for k in where]
        return sum(np.sum(v * p) for v, p in zip(vs64, pulled, strict=True))

    tolerance = 1e-7 if dtype is np.float64 else 1e-4
    for k, second in zip(where, seconds, strict=True):
        assert second.dtype == dtype
        close(second, 1.7 * jacobian(contraction, xs, k, step=case.step or 1e-5), tolerance)
    assert wrt_g.dtype == g.dtype
    pushed = sum(
        np.tensordot(jacobian(f, xs, k, step=case.step), v, axes=v.ndim)
        for k, v in zip(where, vs64, strict=True)
    )
    close(wrt_g, 1.7 * pushed, 1e-11 if dtype is np.float64 else 1e-5)


@each_case
def test_second_derivative_is_not_zero_where_it_should_not_be(case):
    """The check above would accept zeros from a rule that reads saved arrays if all were zero."""
    linear = {"add", "sub", "neg", "where", "cast", "sum", "spread", "reshape", "transpose"}
    linear |= {
        "index",
        "scatter",
        "pick",
        "put",
        "select",
        "concatenate",
        "assign",
        "assign_add",
        "relu",
        "abs",
        "maximum",
        "minimum",
        "max",
    }
    rng = np.random.default_rng(3)
    _, operands, where = at(case, np.float64)
    out = ROWS[case.op](*operands, **case.params)
    tensors = [operands[k] for k in where]
    firsts = grad(out, tensors, upstream(rng, out), create_graph=True)
    contracted = sum(np.sum(upstream(rng, first) * first) for first in firsts)
    seconds = grad(contracted, tensors, rng.normal())
    assert all(np.all(second == 0) for second in seconds) == (case.op in linear)


@each_case
def test_one_rule_gives_equal_numbers_on_arrays_and_on_tensors(case):
    rng = np.random.default_rng(4)
    arrays, operands, where = at(case, np.float64)
    op = ROWS[case.op]
    out = op(*arrays, **case.params)
    g = upstream(rng, np.asarray(out))
    rules = list(itertools.islice(op.rules, len(arrays)))
    assert len(rules) == len(arrays)
    assert [k for k, rule in enumerate(rules) if rule is not None] == where
    for k in where:
        on_arrays = rules[k](g, out, *arrays, **case.params)
        on_tensors = rules[k](Tensor(g), Tensor(out), *operands, **case.params)
        assert isinstance(on_tensors, Tensor)
        assert same_bits(on_arrays, on_tensors.data)


@each_case
def test_gradients_are_the_same_numbers_with_and_without_a_graph(case):
    rng = np.random.default_rng(5)
    _, operands, where = at(case, np.float64)
    tensors = [operands[k] for k in where]
    out = ROWS[case.op](*operands, **case.params)
    g = upstream(rng, out)
    plain = grad(out, tensors, g)
    recorded = grad(out, tensors, g, create_graph=True)
    out.backward(g)
    for a, b, x in zip(plain, recorded, tensors, strict=True):
        assert same_bits(a, b.data)
        assert same_bits(a, x.grad)


# --- broadcasting -------------------------------------------------------------------------------

SHAPES = [(), (1,), (3,), (1, 3), (2, 1), (2, 3)]


def broadcasts(a, b):
    try:
        np.broadcast_shapes(a, b)
    except ValueError:
        return False
    return True


PAIRS = [(a, b) for a, b in itertools.product(SHAPES, SHAPES) if broadcasts(a, b)]
BINARY = {
    "add": (lambda a, b: a + b, None),
    "sub": (lambda a, b: a - b, None),
    "mul": (lambda a, b: a * b, None),
    "div": (lambda a, b: a / b, None),
    "power": (lambda a, b: np.exp(b * np.log(a)), None),
    "maximum": (np.maximum, 1e-6),
    "minimum": (np.minimum, 1e-6),
}


def test_all_shape_pairs_broadcast():
    assert len(PAIRS) == len(SHAPES) ** 2  # 36, of which none is left out


@pytest.mark.parametrize("shapes", PAIRS, ids=str)
@pytest.mark.parametrize("name", BINARY)
def test_broadcasting(name, shapes):
    f, step = BINARY[name]
    rng = np.random.default_rng(6)
    xs = [rng.uniform(0.5, 2.0, size=shape) for shape in shapes]
    tensors = [Tensor(x) for x in xs]
    out = ROWS[name](*tensors)
    assert out.shape == np.broadcast_shapes(*shapes)
    close(out.data, f(*xs), 1e-15)
    g = upstream(rng, out)
    out.backward(g)
    for k, x in enumerate(tensors):
        assert x.grad.shape == x.shape
        close(x.grad, pull_back(f, xs, k, g, step=step), 1e-11 if step is None else 1e-8)


@pytest.mark.parametrize("shapes", PAIRS, ids=str)
@pytest.mark.parametrize("name", ["mul", "div", "power"])
def test_broadcasting_twice(name, shapes):
    f, _ = BINARY[name]
    rng = np.random.default_rng(7)
    xs = [rng.uniform(0.5, 2.0, size=shape) for shape in shapes]
    tensors = [Tensor(x) for x in xs]
    out = ROWS[name](*tensors)
    g = upstream(rng, out)
    vs = [rng.normal(size=shape) for shape in shapes]
    firsts = grad(out, tensors, g, create_graph=True)
    contracted = sum(np.sum(v * first) for v, first in zip(vs, firsts, strict=True))

    def contraction(*xs):
        return sum(np.sum(v * pull_back(f, xs, k, g)) for k, v in enumerate(vs))

    for k, second in enumerate(grad(contracted, tensors, 0.6)):
        close(second, 0.6 * jacobian(contraction, xs, k, step=1e-5), 1e-7)


@pytest.mark.parametrize("shapes", PAIRS, ids=str)
@pytest.mark.parametrize("mask_shape", SHAPES, ids=str)
def test_where_broadcasts_three_ways(mask_shape, shapes):
    rng = np.random.default_rng(8)
    mask = rng.normal(size=mask_shape) > 0
    xs = [rng.normal(size=shape) for shape in shapes]
    tensors = [Tensor(x) for x in xs]
    out = ops.where(mask, *tensors)
    g = upstream(rng, out)
    assert same_bits(out.data, np.where(mask, *xs))
    out.backward(g)
    for k, x in enumerate(tensors):
        expected = pull_back(lambda a, b: np.where(mask, a, b), xs, k, g)
        close(x.grad, expected, 1e-14)


def test_spreading_along_an_axis_of_length_one_is_the_transpose_of_a_sum_that_keeps_it():
    rng = np.random.default_rng(14)
    x = Tensor(rng.normal(size=(2, 1, 3)))
    out = ops.spread(x, shape=(2, 4, 3), axis=(1,))
    assert same_bits(out.data, np.concatenate([x.data] * 4, axis=1))
    g = upstream(rng, out)
    (rule,) = ops.spread.rules
    expected = g.sum(axis=1, keepdims=True)
    close(rule(g, out.data, x.data, **out.params), expected, 1e-15)
    close(grad(out, [x], g)[0], expected, 1e-15)


@pytest.mark.parametrize("keepdims", [False, True])
def test_float16_is_added_in_float32(keepdims):
    """In float16, 2048 + 1 is 2048."""
    x = np.ones((3000, 2), dtype=np.float16)
    found = ops.sum(x, axis=(0,), keepdims=keepdims)
    assert same_bits(found, np.full((1, 2) if keepdims else (2,), 3000, dtype=np.float16))


def test_spreading_a_number_over_many_entries_is_no_copy():
    out = ops.spread(np.float64(0.7), shape=(1000, 1000), axis=(0, 1))
    assert out.shape == (1000, 1000)
    assert out.strides == (0, 0)


# --- one tensor as both operands ----------------------------------------------------------------

TWICE = {
    "x + x": (lambda x: x + x, lambda x, g: 2 * g),
    "x - x": (lambda x: x - x, lambda x, g: 0 * g),
    "x * x": (lambda x: x * x, lambda x, g: 2 * x * g),
    "x / x": (lambda x: x / x, lambda x, g: 0 * g),
    "x @ x": (lambda x: x @ x, lambda x, g: g @ x.T + x.T @ g),
    "x ** x": (lambda x: x**x, lambda x, g: g * x**x * (np.log(x) + 1)),
    "maximum(x, x)": (lambda x: np.maximum(x, x), lambda x, g: g),
    "minimum(x, x)": (lambda x: np.minimum(x, x), lambda x, g: g),
}


@pytest.mark.parametrize("name", TWICE)
def test_a_tensor_as_both_operands_has_two_edges(name):
    f, expected = TWICE[name]
    rng = np.random.default_rng(9)
    data = rng.uniform(0.5, 2.0, size=(3, 3))
    x = Tensor(data)
    out = f(x)
    assert len(out.inputs) == 2
    assert all(one is x for one in out.inputs)
    g = upstream(rng, out)
    out.backward(g)
    close(x.grad, expected(data, g), 1e-14)


# --- ties and kinks -----------------------------------------------------------------------------


def gradient(out, x, g):
    return grad(out, [x], g)[0].tolist()


def test_relu_is_flat_at_zero():
    x = Tensor([-2.0, 0.0, -0.0, 3.0])
    assert gradient(x.relu(), x, [0.3, 0.7, -1.1, 2.5]) == [0, 0, 0, 2.5]
    for y in (np.maximum(x, 0), np.maximum(0, x), np.maximum(x, 0.0), ops.relu(x)):
        assert y.op is ops.relu
        assert gradient(y, x, [0.3, 0.7, -1.1, 2.5]) == [0, 0, 0, 2.5]


def test_abs_is_flat_at_zero():
    x = Tensor([-2.0, 0.0, 3.0])
    assert gradient(abs(x), x, [0.5, 0.7, 0.25]) == [-0.5, 0, 0.25]


@pytest.mark.parametrize("op", [ops.maximum, ops.minimum], ids=repr)
def test_ties_of_two_share_equally(op):
    larger = op is ops.maximum
    a, b = Tensor([1.0, 5.0, 7.0]), Tensor([1.0, 6.0, 2.0])
    da, db = (d.tolist() for d in grad(op(a, b), [a, b], [0.5, 0.25, -3.0]))
    assert da == ([0.25, 0, -3.0] if larger else [0.25, 0.25, 0])
    assert db == ([0.25, 0.25, 0] if larger else [0.25, 0, -3.0])


@pytest.mark.parametrize("keepdims", [False, True])
def test_ties_of_a_max_share_equally(keepdims):
    x = Tensor([[4.0, 1.0, 4.0, 4.0], [2.0, 9.0, 3.0, 9.0], [5.0, 6.0, 7.0, 8.0]])
    out = np.max(x, axis=1, keepdims=keepdims)
    g = np.array([0.75, -3.0, 0.5]).reshape(out.shape)
    assert gradient(out, x, g) == [[0.25, 0, 0.25, 0.25], [0, -1.5, 0, -1.5], [0, 0, 0, 0.5]]


def test_the_gradient_of_a_max_that_is_nan_is_not_hidden():
    """What is not a number is neither smaller nor greater, and nobody else is smaller than it."""
    x = Tensor([[1.0, np.nan, 3.0], [1.0, 2.0, 3.0]])
    close(gradient(np.max(x, axis=1), x, [0.75, 0.5]), [[0.25] * 3, [0, 0, 0.5]], 1e-15)


def test_ties_of_a_max_over_everything_share_equally():
    x = Tensor([[4.0, 1.0], [4.0, 4.0]])
    assert gradient(np.max(x), x, 0.75) == [[0.25, 0], [0.25, 0.25]]
    assert gradient(np.min(x), x, 0.75) == [[0, 0.75], [0, 0]]


def test_clip_at_its_bounds_shares_with_the_bound():
    x = Tensor([0.5, 1.0, 1.5, 2.0, 2.5])
    assert gradient(np.clip(x, 1.0, 2.0), x, [3.0, 5.0, 7.0, 9.0, 11.0]) == [0, 2.5, 7, 4.5, 0]


# --- powers -------------------------------------------------------------------------------------

POW = {  # exponent: derivatives of order 0, 1, 2
    0: (lambda x: x**0, lambda x: 0 * x, lambda x: 0 * x),
    1: (lambda x: x, lambda x: 1 + 0 * x, lambda x: 0 * x),
    2: (lambda x: x * x, lambda x: 2 * x, lambda x: 2 + 0 * x),
    3: (lambda x: x * x * x, lambda x: 3 * x * x, lambda x: 6 * x),
    -1: (lambda x: 1 / x, lambda x: -1 / x**2, lambda x: 2 / x**3),
    0.5: (np.sqrt, lambda x: 0.5 / np.sqrt(x), lambda x: -0.25 * x**-1.5),
    2.5: (lambda x: x**2.5, lambda x: 2.5 * x**1.5, lambda x: 3.75 * x**0.5),
}
DEFINED_AT_ZERO = [0, 1, 2, 3]


def check_power(n, points, make):
    value, first, second = POW[n]
    rng = np.random.default_rng(10)
    x = Tensor(points)
    out = make(x)
    g, v = rng.normal(size=points.shape), rng.normal(size=points.shape)
    close(out.data, value(points), 1e-15)
    (dx,) = grad(out, [x], g, create_graph=True)
    close(dx.data, g * first(points), 1e-14)
    (ddx,) = grad(dx, [x], v)
    close(ddx, g * v * second(points), 1e-14)


@pytest.mark.parametrize("n", POW)
def test_a_fixed_exponent(n):
    points = np.array([0.25, 1.0, 1.7, 3.0])
    check_power(n, points, lambda x: ops.pow(x, n=n))
    check_power(n, points, lambda x: x**n)
    check_power(n, points, lambda x: np.power(x, n))


@pytest.mark.parametrize("n", [float(n) for n in DEFINED_AT_ZERO] + DEFINED_AT_ZERO)
def test_a_fixed_exponent_at_zero_and_below(n):
    check_power(n, np.array([0.0, -0.5, -2.0]), lambda x: ops.pow(x, n=n))
    check_power(n, np.array([0.0, -0.5, -2.0]), lambda x: x**n)


@pytest.mark.parametrize("n", [0, 1, 2, 3, -1, 0.5])
def test_a_fixed_exponent_is_a_parameter_and_two_is_square(n):
    out = Tensor([1.5]) ** n
    assert out.op is (ops.square if n == 2 else ops.pow)
    assert len(out.inputs) == 1


def test_one_over_x_is_inverse_and_other_quotients_are_rounded_once():
    x = Tensor([49.0, 3.0])
    assert (1 / x).op is ops.inverse
    assert (1.0 / x).op is ops.inverse
    assert (2 / x).op is ops.div
    assert (x / x).op is ops.div
    assert (49 / x).data[0] == 1
    assert (49 * (1 / x)).data[0] != 1


def test_power_where_the_base_or_the_exponent_is_zero():
    a = Tensor([0.0, 0.0, 0.0, 2.0, 3.0])
    b = Tensor([0.0, 1.0, 2.0, 0.0, 2.0])
    g = np.array([0.7, -0.3, 1.9, 0.4, -0.6])
    out = a**b
    assert out.data.tolist() == [1, 0, 0, 1, 9]
    da, db = grad(out, [a, b], g)
    close(da, g * [0, 1, 0, 0, 6], 1e-15)
    close(db, g * [0, 0, 0, np.log(2), 9 * np.log(3)], 1e-15)


def test_power_of_zero_with_a_negative_exponent_has_an_infinite_slope():
    a, b = Tensor([0.0]), Tensor([-1.0])
    with np.errstate(divide="ignore", invalid="ignore"):
        assert gradient(a**b, a, [0.7]) == [-np.inf]


def test_power_of_a_negative_base_has_no_slope_by_the_exponent():
    """log a is not real there, and 0 would hide it."""
    a, b = Tensor([-2.0]), Tensor([3.0])
    with np.errstate(invalid="ignore"):
        da, db = grad(a**b, [a, b], [0.7])
    close(da, [0.7 * 12], 1e-15)
    assert np.isnan(db[0])


@pytest.mark.parametrize("bases", [[2.0, 0.5], [-2 + 0j, 1 - 3j]], ids=["real", "complex"])
def test_second_derivatives_of_power_where_the_exponent_is_zero(bases):
    """∂²(a^b)/∂a∂b = a^(b−1) · (1 + b·log a), which is 1/a at b = 0, in either order."""
    a, b = Tensor(bases), Tensor([0.0, 0.0])
    g, v = np.array([0.7, -1.3]), np.array([0.9, 0.4])
    (da,) = grad(a**b, [a], g, create_graph=True)
    (db,) = grad(a**b, [b], g, create_graph=True)
    close(grad(db, [a], v)[0], g * v / a.data, 1e-14)
    close(grad(da, [b], v)[0], g * v / a.data, 1e-14)
    close(grad(da, [a], v)[0], [0, 0], 1e-14)
    close(grad(db, [b], v)[0], g * v * np.log(a.data) ** 2, 1e-14)


# --- exact arithmetic ---------------------------------------------------------------------------


def fractions(rng, *shape):
    numbers = [
        Fraction(int(p), int(q))
        for p, q in zip(
            rng.integers(1, 20, size=int(np.prod(shape))),
            rng.integers(1, 20, size=int(np.prod(shape))),
            strict=True,
        )
    ]
    array = np.empty(shape, dtype=object)
    array.ravel()[...] = numbers
    return array


EXACT = {
    "add": (lambda a, b: a + b, [lambda g, a, b: g, lambda g, a, b: g]),
    "sub": (lambda a, b: a - b, [lambda g, a, b: g, lambda g, a, b: -g]),
    "mul": (lambda a, b: a * b, [lambda g, a, b: g * b, lambda g, a, b: g * a]),
    "div": (lambda a, b: a / b, [lambda g, a, b: g / b, lambda g, a, b: -g * a / (b * b)]),
    "neg": (lambda a: -a, [lambda g, a: -g]),
    "square": (np.square, [lambda g, a: 2 * g * a]),
    "inverse": (lambda a: 1 / a, [lambda g, a: -g / (a * a)]),
    "sqrt": (lambda a: np.sqrt(a * a), [lambda g, a: g]),
    "sum": (lambda a: np.sum(a, axis=0), [lambda g, a: np.stack([g, g])]),
    "mean": (lambda a: np.mean(a, axis=1), [lambda g, a: np.stack([g, g, g], axis=1) / 3]),
    "spread": (
        lambda a: np.broadcast_to(a, (4, 2, 3)),
        [lambda g, a: g[0] + g[1] + g[2] + g[3]],
    ),
    "column": (
        lambda a, b: a * b[:, 1:2],
        [lambda g, a, b: g * b[:, 1:2], lambda g, a, b: np.outer((g * a).sum(axis=1), [0, 1, 0])],
    ),
    "pow": (lambda a: a**3, [lambda g, a: 3 * g * a * a]),
    "matmul": (lambda a, b: a @ b.T, [lambda g, a, b: g @ b, lambda g, a, b: g.T @ a]),
    "reshape": (lambda a: a.reshape(6), [lambda g, a: g.reshape(2, 3)]),
    "max": (
        lambda a: np.max(a, axis=1),
        [lambda g, a: np.where(a == a.max(axis=1, keepdims=True), g[:, None], 0)],
    ),
    "relu": (lambda a: np.maximum(a - 1, 0), [lambda g, a: np.where(a > 1, g, 0)]),
    "abs": (lambda a: np.abs(a - 1), [lambda g, a: np.where(a > 1, g, np.where(a < 1, -g, 0))]),
}


@pytest.mark.parametrize("name", EXACT)
def test_fractions_are_exact(name):
    f, rules = EXACT[name]
    rng = np.random.default_rng(11)
    xs = [fractions(rng, 2, 3) for _ in rules]
    tensors = [Tensor(x) for x in xs]
    out = f(*tensors)
    assert out.dtype == object
    assert np.all(out.data == (xs[0] if name == "sqrt" else f(*xs)))
    g = fractions(rng, *out.shape)
    out.backward(g)
    for x, rule in zip(tensors, rules, strict=True):
        assert x.grad.dtype == object
        assert not any(isinstance(entry, float) for entry in x.grad.ravel())
        assert np.all(x.grad == rule(g, *xs))


def test_fractions_are_exact_in_the_second_derivative():
    x = Tensor([Fraction(2, 3), Fraction(-5, 7)])
    (dx,) = grad(x**4 - 1 / x, [x], [Fraction(1, 3), Fraction(4)], create_graph=True)
    (ddx,) = grad(dx, [x], [Fraction(7), Fraction(2, 9)])
    scale = np.array([Fraction(7, 3), Fraction(8, 9)])
    assert np.all(ddx == scale * (12 * x.data**2 - 2 / x.data**3))


def test_scalar_fractions_are_exact():
    """NumPy hands a fraction of shape () out bare, and every rule must bear it."""
    x = Tensor(Fraction(9, 4))
    y = np.sqrt(x) + x * x - 1 / x + np.square(x) / 3
    assert y.data == Fraction(3, 2) + Fraction(81, 16) - Fraction(4, 9) + Fraction(27, 16)
    y.backward(Fraction(5, 7))
    slope = Fraction(1, 3) + Fraction(9, 2) + Fraction(16, 81) + Fraction(3, 2)
    assert x.grad == Fraction(5, 7) * slope
    assert x.grad.shape == ()


@pytest.mark.parametrize(
    "f",
    [lambda x: x[1], lambda x: np.sum(x) / 5, lambda x: np.reshape(x[1:2], ()), np.max],
    ids=["index", "sum", "reshape", "max"],
)
def test_a_scalar_of_fractions_may_be_used_twice(f):
    x = Tensor([Fraction(1, 2), Fraction(2, 3)])
    y = f(x)
    z = y * y
    z.backward(Fraction(3, 5))
    (dy,) = grad(y, [x], 2 * y.data * Fraction(3, 5))
    assert np.all(x.grad == dy)
    assert np.any(x.grad != 0)


def test_an_irrational_root_of_a_fraction_raises():
    x = Tensor([Fraction(1, 4), Fraction(1, 2)])
    with pytest.raises(ValueError, match="sqrt: 1/2 has no rational square root"):
        np.sqrt(x)
    for square in (Fraction(-4), Fraction(-1, 4), Fraction(2), Fraction(8, 9), Fraction(9, 8)):
        with pytest.raises(ValueError, match=f"sqrt: {square} has no rational square root"):
            np.sqrt(Tensor(square))
    assert np.sqrt(Tensor(Fraction(0))).data == 0


@pytest.mark.parametrize(
    "root", [0, 1, Fraction(1, 2), Fraction(-7, 3), 10**40, Fraction(3, 10**40)]
)
def test_a_rational_root_is_exact_or_none(root):
    q = Fraction(root) ** 2
    assert rational_root(q) == abs(root)
    if root:
        assert rational_root(2 * q) is None
        assert rational_root(-q) is None


def test_the_root_of_a_bare_number_and_of_a_float_among_fractions():
    assert ops.sqrt(2.25) == 1.5
    for exact in (Fraction(9, 4), *ops.sqrt(np.array([Fraction(9, 4), 2.25], dtype=object)) ** 2):
        assert isinstance(exact, Fraction)
        assert ops.sqrt(exact) == Fraction(3, 2)


# --- complex numbers ----------------------------------------------------------------------------

HOLOMORPHIC = {
    "square": (np.square, lambda z: 2 * z),
    "z*z": (lambda z: z * z, lambda z: 2 * z),
    "inverse": (lambda z: 1 / z, lambda z: -1 / z**2),
    "sqrt": (np.sqrt, lambda z: 0.5 / np.sqrt(z)),
    "exp": (np.exp, np.exp),
    "log": (np.log, lambda z: 1 / z),
    "sin": (np.sin, np.cos),
    "cos": (np.cos, lambda z: -np.sin(z)),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "z**3": (lambda z: z**3, lambda z: 3 * z**2),
    "(1+2j)*z": (lambda z: (1 + 2j) * z, lambda z: 1 + 2j + 0 * z),
    "z/(1-2j)": (lambda z: z / (1 - 2j), lambda z: 1 / (1 - 2j) + 0 * z),
}


@pytest.mark.parametrize("name", HOLOMORPHIC)
def test_complex_numbers_are_differentiated_without_conjugation(name):
    f, slope = HOLOMORPHIC[name]
    rng = np.random.default_rng(12)
    data, g = (rng.normal(size=4) + 1j * rng.normal(size=4) for _ in range(2))
    z = Tensor(data)
    out = f(z)
    out.backward(g)
    assert out.dtype == z.grad.dtype == np.complex128
    close(z.grad, g * slope(data), 1e-13)


def test_a_product_of_complex_matrices():
    rng = np.random.default_rng(13)
    a, b, g = (rng.normal(size=(3, 3)) + 1j * rng.normal(size=(3, 3)) for _ in range(3))
    ta, tb = Tensor(a), Tensor(b)
    (ta @ tb).backward(g)
    close(ta.grad, g @ b.T, 1e-14)
    close(tb.grad, a.T @ g, 1e-14)


def test_the_modulus_is_not_holomorphic():
    with pytest.raises(TypeError, match=r"abs: .*not holomorphic"):
        abs(Tensor([1 + 2j]))


# --- constant almost everywhere -----------------------------------------------------------------


@pytest.mark.parametrize("name", DISCRETE)
def test_operations_on_masks_and_indices(name):
    """Of floats there are none: a remainder of floats has a gradient."""
    f, row = DISCRETE[name], ROWS[name]
    a, b = np.array([5, 2, 7, 0]), np.array([3, 4, 2, 1])
    arguments = (a, b)[: 1 if name == "invert" else 2]
    for result in (
        row(*arguments),
        row(*[Tensor(x).astype(int) for x in arguments]),
        f(*[Tensor(x).astype(int) for x in arguments]),
    ):
        assert type(result) is np.ndarray
        assert same_bits(result, f(*arguments))
    with pytest.raises(TypeError):
        f(*map(Tensor, arguments))


def test_stop_is_the_value_and_a_constant_to_the_gradient():
    x = Tensor(RNG.normal(size=3))
    y = ops.stop(x) * x
    assert same_bits(y.data, x.data * x.data)
    g = RNG.normal(size=3)
    (first,) = grad(y, [x], g, create_graph=True)
    assert same_bits(first.data, g * x.data)
    assert grad(first, [x], g)[0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("name", CONSTANT_ALMOST_EVERYWHERE)
def test_comparisons_and_signs_give_plain_arrays(name):
    f = CONSTANT_ALMOST_EVERYWHERE[name]
    a = np.array([1.0, -2.0, 3.0, np.inf, 0.0])
    b = np.array([1.0, 2.0, -3.0, np.inf, 5.0])
    two = isinstance(f, type(operator.gt)) or getattr(f, "nin", 1) == 2
    arguments = (a, b) if two else (a,)
    expected = f(*arguments)
    params = OF_ITS_OWN.get(name, {})
    for result in (
        ROWS[name](*map(Tensor, arguments), **params),
        ROWS[name](*arguments, **params),
        f(*map(Tensor, arguments)),
    ):
        assert not isinstance(result, Tensor)
        assert type(result) is type(expected)
        assert same_bits(result, expected)
    if len(arguments) == 2:
        assert same_bits(f(Tensor(a), b), expected)
        assert same_bits(f(a, Tensor(b)), expected)
        assert same_bits(f(Tensor(a), 1.0), f(a, 1.0))
        assert same_bits(f(1.0, Tensor(a)), f(1.0, a))


def test_nan_and_infinity_are_found():
    x = Tensor([1.0, np.nan, np.inf])
    assert np.isnan(x).tolist() == [False, True, False]
    assert np.isfinite(x).tolist() == [True, False, False]


def test_no_gradient_flows_through_a_comparison():
    x = Tensor([1.0, -2.0, 3.0])
    out = x * (x > 0) + np.sign(x)
    assert gradient(out, x, [0.5, 0.7, -0.2]) == [0.5, 0, -0.2]


# --- casts --------------------------------------------------------------------------------------


def test_a_cast_computes_in_the_new_dtype_and_the_gradient_comes_back_in_the_old():
    x = Tensor(np.array([0.1, 0.2]))
    y = x.astype(np.float32)
    assert (y.op, y.dtype) == (ops.cast, np.float32)
    assert same_bits(y.data, x.data.astype(np.float32))
    g = np.array([0.3, -0.7], dtype=np.float32)
    y.backward(g)
    assert x.grad.dtype == np.float64
    assert same_bits(x.grad, g.astype(np.float64))


@pytest.mark.parametrize("dtype", [int, np.int32, bool])
def test_no_gradient_of_one_flows_through_rounding_to_integers(dtype):
    """⌊x⌋ is constant almost everywhere: a gradient of 1 would be silently wrong."""
    x = Tensor([1.5, 2.5])
    try:
        y = x.astype(dtype)
    except TypeError:
        return
    out = x * 0.0 + y * 2.0
    assert gradient(out, x, [0.3, 0.7]) == [0, 0]


# --- a row of the table -------------------------------------------------------------------------


def test_rules_with_work_in_common_do_it_once_for_each_gradient_that_arrives():
    calls = []

    def rule(g, out, a, b):
        calls.append(g)
        return g * b, g * a

    rules = JointRules(rule, 2)
    a, b, g, h = np.random.default_rng(15).normal(size=(4, 3))
    out, (by_a, by_b) = a * b, rules
    for upstream_gradient in (g, h):
        for part, other in ((by_a, b), (by_b, a)):
            assert same_bits(part(upstream_gradient, out, a, b), upstream_gradient * other)
    assert len(calls) == 2
    assert calls[0] is g
    assert calls[1] is h
    next(iter(rules))(h, out, a, b)
    assert len(calls) == 3  # nothing is kept from one sweep to the next


def test_a_name_is_in_the_table_once():
    with pytest.raises(ValueError, match="'add' is in the table already"):
        ops.Primitive("add", "+", operator.add)
    assert TABLE["add"] is ops.add


def test_a_primitive_is_shown_and_pickled_by_its_name():
    for name, op in ROWS.items():
        assert repr(op) == op.name == name
        assert isinstance(op.symbol, str)
        assert op.symbol
        assert pickle.loads(pickle.dumps(op)) is op
