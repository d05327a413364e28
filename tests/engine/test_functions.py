"""NumPy's functions on tensors: the same values as NumPy, right gradients, helpful errors."""

import operator

import numpy as np
import pytest
from helpers import close, pull_back, same_bits, upstream

from tinygraph import Tensor, grad, ops
from tinygraph.engine.primitive import NUMPY

OF_MASKS = [np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.invert]  # see test_ops.py
UFUNCS = [f for f in NUMPY if isinstance(f, np.ufunc) and f.nout == 1 and f not in OF_MASKS]
STEPS = [np.sign, np.floor, np.ceil, np.rint, np.trunc, np.floor_divide]

# --- NumPy's elementwise functions --------------------------------------------------------------

A = np.random.default_rng(1).normal(size=(2, 3))
B = np.random.default_rng(2).normal(size=(2, 3))
POSITIVE = np.random.default_rng(3).uniform(0.5, 2.0, size=(2, 3))
SPECIAL = np.array([[0.0, -0.0, np.inf], [-np.inf, np.nan, 1.5]])

OPERANDS = {
    np.power: (POSITIVE, B),
    np.float_power: (POSITIVE, B),
    np.sqrt: (POSITIVE,),
    **dict.fromkeys([np.log, np.log1p, np.log2, np.log10], (POSITIVE,)),
    **dict.fromkeys([np.arcsin, np.arccos, np.arctanh], (POSITIVE / 2 - 0.5,)),
    np.arccosh: (POSITIVE + 1,),
    np.matmul: (A, B.T),
    np.isfinite: (SPECIAL,),
    np.isnan: (SPECIAL,),
    np.sign: (SPECIAL,),
    np.floor: (SPECIAL,),
    np.ceil: (SPECIAL,),
    np.rint: (SPECIAL,),
    np.trunc: (SPECIAL,),
    np.equal: (A, np.where(B > 0, A, B)),
    np.not_equal: (A, np.where(B > 0, A, B)),
    np.greater_equal: (A, np.where(B > 0, A, B)),
    np.less_equal: (A, np.where(B > 0, A, B)),
}

each_ufunc = pytest.mark.parametrize("ufunc", UFUNCS, ids=lambda f: f.__name__)


def operands(ufunc):
    return OPERANDS.get(ufunc, (A, B)[: ufunc.nin])


def value(result):
    return result.data if isinstance(result, Tensor) else result


@each_ufunc
def test_ufuncs_agree_with_numpy(ufunc):
    xs = operands(ufunc)
    result = ufunc(*map(Tensor, xs))
    expected = ufunc(*xs)
    assert isinstance(result, Tensor) == (expected.dtype.kind == "f" and ufunc not in STEPS)
    if isinstance(result, Tensor):
        close(result.data, expected, 1e-15)
    else:
        assert same_bits(result, expected)


@each_ufunc
def test_ufuncs_take_a_tensor_on_either_side(ufunc):
    xs = operands(ufunc)
    if ufunc.nin == 1:
        xs = (xs[0][0, 2],)  # of one operand the scalar is the other case
        assert same_bits(value(ufunc(Tensor(xs[0]))), ufunc(xs[0]))
        return
    a, b = xs
    assert same_bits(value(ufunc(Tensor(a), b)), ufunc(a, b))
    assert same_bits(value(ufunc(a, Tensor(b))), ufunc(a, b))


OPERATORS = {
    np.add: operator.add,
    np.subtract: operator.sub,
    np.multiply: operator.mul,
    np.true_divide: operator.truediv,
    np.negative: operator.neg,
    np.positive: operator.pos,
    np.power: operator.pow,
    np.absolute: operator.abs,
    np.matmul: operator.matmul,
    np.greater: operator.gt,
    np.greater_equal: operator.ge,
    np.less: operator.lt,
    np.less_equal: operator.le,
    np.equal: operator.eq,
    np.not_equal: operator.ne,
}


@pytest.mark.parametrize("ufunc", OPERATORS, ids=lambda f: f.__name__)
def test_operators_are_the_ufuncs(ufunc):
    xs = operands(ufunc)
    sign = OPERATORS[ufunc]
    named, signed = ufunc(*map(Tensor, xs)), sign(*map(Tensor, xs))
    assert same_bits(value(named), value(signed))
    assert getattr(named, "op", None) is getattr(signed, "op", None)
    if len(xs) == 2:
        assert same_bits(value(sign(xs[0], Tensor(xs[1]))), value(named))
        assert same_bits(value(sign(Tensor(xs[0]), xs[1])), value(named))


METHODS = {
    np.exp: Tensor.exp,
    np.tanh: Tensor.tanh,
    np.log: Tensor.log,
    np.sqrt: Tensor.sqrt,
}


@pytest.mark.parametrize("ufunc", METHODS, ids=lambda f: f.__name__)
def test_methods_are_the_ufuncs(ufunc):
    x = Tensor(POSITIVE)
    named, method = ufunc(x), METHODS[ufunc](x)
    assert named.op is method.op
    assert same_bits(named.data, method.data)


def test_positive_gives_the_tensor_itself():
    x = Tensor(A)
    assert np.positive(x) is x
    assert +x is x


# --- NumPy's other functions --------------------------------------------------------------------

CUBE = np.random.default_rng(4).normal(size=(2, 3, 4))
ONES = np.random.default_rng(5).normal(size=(1, 3, 1, 2))
VECTOR = np.random.default_rng(6).normal(size=4)

AXES = [None, 0, 2, -1, -3, (0,), (0, 2), (2, 0), (-1, 0), (0, 1, 2), (), [1, 2]]
REDUCTIONS = [np.sum, np.mean, np.var, np.std, np.max, np.amax, np.min, np.amin]
WHERE = CUBE > 0

CALLS = {  # function: calls of it, as (arguments, keywords)
    **{f: [((CUBE,), {"axis": axis}) for axis in AXES if axis != [1, 2]] for f in REDUCTIONS},
    np.dot: [((A, B.T), {}), ((VECTOR, VECTOR), {}), ((CUBE, VECTOR), {}), ((A, 3.0), {})],
    np.reshape: [((CUBE, s), {}) for s in [(6, 4), (24,), 24, -1, (-1, 2), (4, -1, 3), (2, 3, 4)]],
    np.ravel: [((CUBE,), {}), ((A,), {}), ((np.float64(2.5),), {})],
    np.transpose: [((CUBE,), {}), ((CUBE, (2, 0, 1)), {}), ((CUBE,), {"axes": (-1, 0, 1)})],
    np.swapaxes: [((CUBE, 0, 2), {}), ((CUBE, -1, 1), {}), ((CUBE, 1, 1), {})],
    np.expand_dims: [((A, k), {}) for k in [0, 1, 2, -1, -3, (0, 2), (-1, 0)]],
    np.squeeze: [((ONES,), {}), ((ONES, 0), {}), ((ONES,), {"axis": (0, 2)}), ((ONES, -2), {})],
    np.broadcast_to: [
        *(((A, s), {}) for s in [(2, 3), (4, 2, 3), (1, 2, 3)]),
        *(((A[:1], s), {}) for s in [(5, 3), (2, 5, 3), (1, 3)]),
        ((np.float64(1.5), (2, 3)), {}),
        ((VECTOR[:1], 3), {}),
    ],
    np.concatenate: [(([A, B],), {}), (((A, B, A),), {"axis": 1}), (([A, B[:, :1]], -1), {})],
    np.stack: [(([A, B],), {}), (([A, B, A],), {"axis": 1}), (([A, B], -1), {})],
    np.clip: [
        ((A, -0.5, 0.5), {}),
        ((A, None, 0.1), {}),
        ((A, -0.1, None), {}),
        ((A,), {"a_min": -0.2, "a_max": 0.3}),
        ((A, B - 1, B + 1), {}),
    ],
    np.where: [((WHERE, CUBE, -CUBE), {}), ((WHERE, CUBE, 0.0), {}), ((WHERE[0], 1.0, CUBE), {})],
    np.all: [((CUBE > 1,), {}), ((CUBE,), {"axis": 1}), ((CUBE,), {"axis": 0, "keepdims": True})],
    np.any: [((CUBE > 1,), {}), ((CUBE,), {"axis": 1}), ((CUBE,), {"axis": 0, "keepdims": True})],
    np.argmax: [((CUBE,), {}), ((CUBE,), {"axis": -1}), ((CUBE, 0), {})],
    np.argmin: [((CUBE,), {}), ((CUBE,), {"axis": -1}), ((CUBE, 0), {})],
    np.shape: [((CUBE,), {}), ((np.float64(1.0),), {})],
    np.ndim: [((CUBE,), {}), ((np.float64(1.0),), {})],
    np.size: [((CUBE,), {}), ((np.float64(1.0),), {})],
    np.zeros_like: [((CUBE,), {}), ((CUBE,), {"dtype": np.float32})],
    np.ones_like: [((CUBE,), {}), ((CUBE,), {"dtype": np.float32})],
}
for reduction in REDUCTIONS:
    CALLS[reduction] += [((CUBE,), {"axis": axis, "keepdims": True}) for axis in AXES[:-1]]
    CALLS[reduction] += [((CUBE, 1), {}), ((np.float64(2.5),), {})]
for spread in (np.var, np.std):
    CALLS[spread] += [((CUBE,), {"axis": 0, "ddof": 1}), ((CUBE,), {"ddof": 3})]
    # √ has no derivative at the variance 0 of a single value
    CALLS[spread] = [c for c in CALLS[spread] if c[1].get("axis") != () and c[0][0] is CUBE]

PLAIN = {
    np.all,
    np.any,
    np.argmax,
    np.argmin,
    np.shape,
    np.ndim,
    np.size,
    np.zeros_like,
    np.ones_like,
}
FLAT = [
    pytest.param(f, *call, id=f"{f.__name__}-{k}")
    for f, calls in CALLS.items()
    for k, call in enumerate(calls)
]


def arrays_of(x):
    """List the float arrays among nested arguments, in order."""
    if isinstance(x, list | tuple):
        return [array for one in x for array in arrays_of(one)]
    return [x] if isinstance(x, np.ndarray | np.floating) and x.dtype.kind == "f" else []


def substituted(x, others):
    """Replace the float arrays among nested arguments by the next of `others`, an iterator."""
    if isinstance(x, list | tuple):
        return type(x)([substituted(one, others) for one in x])
    return next(others) if arrays_of(x) else x


def test_every_entry_is_tested():
    assert set(CALLS) <= set(NUMPY)
    assert set(OPERATORS) <= set(UFUNCS)


@pytest.mark.parametrize(("f", "args", "kwargs"), FLAT)
def test_functions_agree_with_numpy(f, args, kwargs):
    result = f(*substituted(args, map(Tensor, arrays_of(args))), **kwargs)
    expected = f(*args, **kwargs)
    if f in PLAIN:
        assert not isinstance(result, Tensor)
        assert type(result) is type(expected)
        assert np.array_equal(result, expected)
        assert getattr(result, "dtype", None) == getattr(expected, "dtype", None)
    else:
        assert isinstance(result, Tensor)
        assert result.dtype == expected.dtype
        close(result.data, expected, 2e-15)


@pytest.mark.parametrize(
    ("f", "args", "kwargs"), [case for case in FLAT if case.values[0] not in PLAIN]
)
def test_gradients_of_functions(f, args, kwargs):
    xs = arrays_of(args)
    tensors = [Tensor(x) for x in xs]
    result = f(*substituted(args, iter(tensors)), **kwargs)
    g = upstream(np.random.default_rng(7), result)
    kinked = f in {np.max, np.amax, np.min, np.amin, np.clip}

    def plain(*xs):
        return reference(f)(*substituted(args, iter(xs)), **kwargs)

    for k, dx in enumerate(grad(result, tensors, g)):
        expected = pull_back(plain, xs, k, g, step=1e-6 if kinked else None)
        close(dx, expected, 1e-8 if kinked else 1e-12)


def reference(f):
    """Give NumPy's function, without the absolute values that NumPy's var takes."""

    def var(x, axis=None, ddof=0, keepdims=False):
        squares = (x - np.mean(x, axis=axis, keepdims=True)) ** 2
        total = np.sum(squares, axis=axis, keepdims=keepdims)
        return total / (np.size(x) // np.size(total) - ddof)

    if f is np.std:
        return lambda *args, **kwargs: np.sqrt(var(*args, **kwargs))
    return var if f is np.var else f


@pytest.mark.parametrize("axis", AXES, ids=str)
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("f", [np.sum, np.mean, np.max], ids=lambda f: f.__name__)
def test_both_spellings_of_a_reduction_agree(f, axis, keepdims):
    x = Tensor(CUBE)
    axis_or_tuple = tuple(axis) if isinstance(axis, list) else axis
    named = f(x, axis=axis, keepdims=keepdims)
    method = getattr(x, f.__name__)(axis=axis, keepdims=keepdims)
    order = (axis, None, keepdims) if f is np.max else (axis, None, None, keepdims)
    positional = getattr(x, f.__name__)(*order)
    for result in (named, method, positional):
        close(result.data, f(CUBE, axis=axis_or_tuple, keepdims=keepdims), 1e-15)
    assert named.op is method.op


def test_both_spellings_of_a_change_of_shape_agree():
    x = Tensor(CUBE)
    for result in (
        np.reshape(x, (6, 4)),
        x.reshape(6, 4),
        x.reshape((6, 4)),
        x.reshape([6, 4]),
        x.reshape(-1, 4),
    ):
        assert result.op is ops.reshape
        assert same_bits(result.data, CUBE.reshape(6, 4))
    for result in (
        np.transpose(x),
        x.T,
        x.transpose(),
        x.transpose(2, 1, 0),
        x.transpose((2, 1, 0)),
    ):
        assert result.op is ops.transpose
        assert same_bits(result.data, CUBE.T)


# --- axes ---------------------------------------------------------------------------------------

each_reduction = pytest.mark.parametrize("f", REDUCTIONS, ids=lambda f: f.__name__)


@each_reduction
@pytest.mark.parametrize("axis", [3, -4, (0, 3), (7,)], ids=str)
def test_an_axis_that_does_not_exist(f, axis):
    with pytest.raises(ValueError, match=r"does not exist in shape \(2, 3, 4\).*0 to 2"):
        f(Tensor(CUBE), axis=axis)


@each_reduction
@pytest.mark.parametrize("axis", [0, -1], ids=str)
def test_a_scalar_has_no_axes(f, axis):
    with pytest.raises(ValueError, match=r"shape \(\); a scalar has no axes"):
        f(Tensor(2.5), axis=axis)


@each_reduction
@pytest.mark.parametrize("axis", [(0, 0), (1, -2), (2, 0, -1)], ids=str)
def test_an_axis_named_twice(f, axis):
    with pytest.raises(ValueError, match=r"twice in shape \(2, 3, 4\)"):
        f(Tensor(CUBE), axis=axis)


@each_reduction
@pytest.mark.parametrize("axis", [1.0, "0", (0.5,)], ids=repr)
def test_an_axis_that_is_no_int(f, axis):
    with pytest.raises(TypeError, match="axis must be an int"):
        f(Tensor(CUBE), axis=axis)


@pytest.mark.parametrize("axis", [(2, 0), (-1, 0), [2, -3]], ids=str)
def test_a_graph_keeps_axes_sorted_and_not_negative(axis):
    assert np.sum(Tensor(CUBE), axis=axis).params["axis"] == (0, 2)
    assert np.max(Tensor(CUBE), axis=axis).params["axis"] == (0, 2)


@each_reduction
def test_an_axis_may_be_a_numpy_int(f):
    close(f(Tensor(CUBE), axis=np.int64(1)).data, f(CUBE, axis=1), 1e-15)


@pytest.mark.parametrize("f", [np.mean, np.var, np.max, np.min], ids=lambda f: f.__name__)
def test_nothing_to_reduce(f):
    with pytest.raises(ValueError, match=r"nothing to reduce along axis \(0,\) of shape \(0, 3\)"):
        f(Tensor(np.zeros((0, 3))), axis=0)


def test_a_sum_of_nothing_is_zero():
    x = Tensor(np.zeros((0, 3)))
    total = np.sum(x, axis=0)
    assert total.data.tolist() == [0, 0, 0]
    total.backward([0.3, -1.0, 2.0])
    assert x.grad.shape == (0, 3)


def test_a_variance_needs_more_values_than_ddof():
    with pytest.raises(ValueError, match="ddof=2 leaves nothing of 2 values"):
        np.var(Tensor(CUBE), axis=0, ddof=2)


def test_the_mean_of_equal_entries_is_exact():
    """Σx · (1/49) is not 0.1·49/49 rounded once."""
    for n in (3, 7, 49):
        x = Tensor(np.full(n, 2.0))
        assert np.mean(x).data == 2
        assert np.var(x).data == 0


# --- shapes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5, 5), (-1, -1), (-1, 5), (7, -1), 23, (0, -1), ()], ids=str)
def test_a_shape_that_the_entries_do_not_fill(shape):
    with pytest.raises(ValueError, match=r"reshape: x of shape \(2, 3, 4\) has 24 entries"):
        np.reshape(Tensor(CUBE, name="x"), shape)


def test_the_same_shape_is_no_operation():
    x = Tensor(CUBE)
    assert x.reshape(2, -1, 4) is x
    assert np.broadcast_to(x, (2, 3, 4)) is x


@pytest.mark.parametrize("axes", [(0, 1), (0, 1, 1), (0, 1, 2, 3)], ids=str)
def test_axes_that_are_no_permutation(axes):
    with pytest.raises(ValueError, match=r"no permutation .* shape \(2, 3, 4\)"):
        np.transpose(Tensor(CUBE), axes)


def test_errors_of_functions_that_change_the_shape():
    x = Tensor(CUBE, name="x")
    with pytest.raises(ValueError, match=r"squeeze: axis 1 of x of shape \(2, 3, 4\) is longer"):
        np.squeeze(x, 1)
    with pytest.raises(ValueError, match=r"x of shape \(2, 3, 4\) does not broadcast to \(3"):
        np.broadcast_to(x, (3, 3, 4))
    with pytest.raises(ValueError, match=r"x of shape \(2, 3, 4\) does not broadcast to \(3, 4\)"):
        np.broadcast_to(x, (3, 4))
    with pytest.raises(ValueError, match="expand_dims: axis 4 does not exist"):
        np.expand_dims(x, 4)
    with pytest.raises(ValueError, match="swapaxes: axis 3 does not exist"):
        np.swapaxes(x, 0, 3)
    with pytest.raises(ValueError, match=r"stack: .*x of shape \(2, 3, 4\), .* \(2, 3\)"):
        np.stack([x, A])
    with pytest.raises(ValueError, match=r"concatenate: .*\(2, 3, 4\), .* \(2, 3\)"):
        np.concatenate([x, A])
    with pytest.raises(ValueError, match="concatenate: axis 3 does not exist"):
        np.concatenate([x, CUBE], axis=3)
    with pytest.raises(ValueError, match=r"concatenate: .*at least one"):
        np.concatenate([Tensor(1.0), Tensor(2.0)])


def test_an_axis_of_a_change_of_shape_may_be_a_numpy_int():
    assert np.expand_dims(Tensor(A), np.int64(1)).shape == (2, 1, 3)
    assert np.squeeze(Tensor(ONES), np.int64(0)).shape == (3, 1, 2)
    assert np.swapaxes(Tensor(A), np.int64(0), np.int64(1)).shape == (3, 2)
    assert Tensor(VECTOR).transpose(0).shape == (4,)


def test_parts_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"a of shape \(2, 3\) and b of shape \(2, 2\)"):
        np.concatenate([Tensor(A, name="a"), Tensor(A[:, :2], name="b")])


def test_constants_among_the_parts():
    x = Tensor(A)
    joined = np.concatenate([B, x, [[1.0, 2.0, 3.0]]])
    assert same_bits(joined.data, np.concatenate([B, A, [[1.0, 2.0, 3.0]]]))
    g = upstream(np.random.default_rng(8), joined)
    stacked = np.stack([x, B, x], axis=1)
    h = upstream(np.random.default_rng(9), stacked)
    assert same_bits(grad(joined, [x], g)[0], g[2:4])
    assert same_bits(grad(stacked, [x], h)[0], h[:, 2] + h[:, 0])


# --- products -----------------------------------------------------------------------------------

PRODUCTS = [
    ((3,), (3,)),
    ((2, 3), (3,)),
    ((3,), (3, 2)),
    ((2, 3), (3, 4)),
    ((5, 2, 3), (3,)),
    ((3,), (5, 3, 2)),
    ((5, 2, 3), (3, 4)),
    ((2, 3), (5, 3, 4)),
    ((5, 2, 3), (5, 3, 4)),
    ((1, 2, 3), (5, 3, 4)),
    ((4, 1, 2, 3), (5, 3, 1)),
    ((1, 1), (1, 1)),
    ((0, 3), (3, 2)),
    ((2, 0), (0, 3)),
]


@pytest.mark.parametrize("shapes", PRODUCTS, ids=str)
def test_matmul(shapes):
    rng = np.random.default_rng(10)
    xs = [rng.normal(size=shape) for shape in shapes]
    tensors = [Tensor(x) for x in xs]
    product = tensors[0] @ tensors[1]
    expected = np.asarray(xs[0] @ xs[1])
    assert product.shape == expected.shape
    close(product.data, expected, 1e-15)
    for same in (tensors[0] @ xs[1], xs[0] @ tensors[1], np.matmul(*tensors)):
        assert same_bits(same.data, product.data)
    g = upstream(rng, product)
    for k, dx in enumerate(grad(product, tensors, g)):
        close(dx, pull_back(np.matmul, xs, k, g), 1e-13)


@pytest.mark.parametrize("shapes", PRODUCTS[:6], ids=str)
def test_second_derivative_of_matmul(shapes):
    """⟨v, gradient of a⟩ = ⟨g, v @ b⟩, because a @ b is linear in a."""
    rng = np.random.default_rng(11)
    a, b = (Tensor(rng.normal(size=shape)) for shape in shapes)
    product = a @ b
    g, v = upstream(rng, product), rng.normal(size=a.shape)
    (da,) = grad(product, [a], g, create_graph=True)
    (second,) = grad(np.sum(da * v), [b], 0.9)
    close(second, 0.9 * pull_back(lambda b: v @ b, [b.data], 0, g), 1e-13)


@pytest.mark.parametrize(
    "shapes", [((2, 3), (2, 3)), ((3,), (4,)), ((3,), (2, 3)), ((5, 2, 3), (4, 3))], ids=str
)
def test_matrices_that_do_not_fit(shapes):
    a, b = (Tensor(np.ones(shape), name=name) for shape, name in zip(shapes, "ab", strict=True))
    with pytest.raises(ValueError, match=r"matmul: a of shape .* @ b of shape .* the last axis"):
        a @ b


def test_batches_that_do_not_fit():
    a, b = Tensor(np.ones((2, 3, 4)), name="a"), Tensor(np.ones((3, 4, 2)), name="b")
    with pytest.raises(ValueError, match=r"matmul: a of shape \(2, 3, 4\) and b of shape"):
        a @ b


def test_scalars_are_not_matrices():
    for a, b in [(Tensor(2.0), A), (A, Tensor(2.0)), (Tensor(A), 2.0), (2.0, Tensor(A))]:
        with pytest.raises(ValueError, match=r"matmul: .*not scalars; use \*"):
            np.matmul(a, b)


# --- indexing -----------------------------------------------------------------------------------

KEYS = {
    "int": 1,
    "negative int": -1,
    "numpy int": np.int64(1),
    "ints": (1, 2, 3),
    "slice": slice(1, None),
    "step": (slice(None), slice(None, None, 2)),
    "backwards": (slice(None, None, -1), slice(None), slice(3, 0, -2)),
    "empty": slice(0, 0),
    "None": (None, 0),
    "Ellipsis": (..., 2),
    "Ellipsis in the middle": (0, ..., None, 1),
    "nothing": (),
    "int array": np.array([1, 0]),
    "list": [1, 1, 0],
    "empty list": [],
    "repeats": (0, np.array([2, 2, 2, 0, 1, 2])),
    "negative repeats": np.array([0, -2, 1, -1]),
    "two arrays": (np.array([0, 1, 0]), np.array([2, 2, 2])),
    "two-dimensional array": (slice(None), np.array([[0, 0], [2, 0]])),
    "array and slice": (np.array([0, 0]), slice(1, 3), 2),
    "mask": CUBE > 0,
    "mask of the first axes": CUBE[:, :, 0] > 0,
    "mask as list": [True, False],
    "empty mask": np.zeros((2, 3, 4), bool),
}


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_indexing_and_its_scatter(key):
    x = Tensor(CUBE)
    part = x[key]
    assert part.op is ops.index
    assert same_bits(part.data, CUBE[key])
    g = upstream(np.random.default_rng(12), part)
    (dx,) = grad(part, [x], g)
    places = np.arange(CUBE.size).reshape(CUBE.shape)[key]
    expected = np.bincount(np.ravel(places), weights=np.ravel(g), minlength=CUBE.size)
    close(dx, expected.reshape(CUBE.shape), 1e-15)
    close(dx, pull_back(lambda x: x[key], [CUBE], 0, g), 1e-15)


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_the_gradient_of_a_scatter_is_the_index(key):
    x, v = Tensor(CUBE), np.random.default_rng(13).normal(size=CUBE.shape)
    part = x[key]
    g = Tensor(upstream(np.random.default_rng(14), part))
    (dx,) = grad(part, [x], g, create_graph=True)
    (back,) = grad(dx, [g], v)
    assert same_bits(back, np.asarray(v[key]))


def test_an_index_array_is_copied():
    x, key = Tensor([10.0, 20.0, 30.0]), np.array([2, 0])
    part = x[key]
    key[:] = 1
    assert part.data.tolist() == [30, 10]
    assert grad(part, [x], [0.5, 0.25])[0].tolist() == [0.25, 0, 0.5]


def test_errors_of_indexing():
    x = Tensor(CUBE, name="x")
    with pytest.raises(TypeError, match=r"indexed by a tensor of floats; .*i\.data"):
        x[Tensor([0.0])]
    with pytest.raises(TypeError, match="indexed by an array of float64; use integers or bools"):
        x[np.array([0.0])]
    with pytest.raises(IndexError, match="out of bounds"):
        x[5]
    with pytest.raises(IndexError):
        x[0, 0, 0, 0]
    with pytest.raises(IndexError):
        x[0.5]


# --- what is not supported ----------------------------------------------------------------------

UNSUPPORTED = {
    "np.linalg.pinv": lambda x: np.linalg.pinv(x),
    "np.fft.fft": lambda x: np.fft.fft(x),
    "np.unwrap": lambda x: np.unwrap(x),
    "np.subtract.reduce": lambda x: np.subtract.reduce(x),
    "np.multiply.reduceat": lambda x: np.multiply.reduceat(x, [0, 1]),
    "np.add.at": lambda x: np.add.at(x, 0, 1.0),
    "np.copysign": lambda x: np.copysign(x, x),
    "np.nextafter": lambda x: np.nextafter(x, 2.0),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_an_unsupported_function_is_named(name):
    with pytest.raises(
        TypeError, match=rf"^{name.replace('.', '[.]')} is not supported on tensors"
    ):
        UNSUPPORTED[name](Tensor(np.eye(2)))


ARGUMENTS = {
    r"np\.add: out=": lambda x: np.add(x, 1.0, out=np.zeros((2, 2))),
    r"np\.sum: out=": lambda x: np.sum(x, out=np.zeros(())),
    r"np\.multiply: out=": lambda x: np.multiply(np.ones((2, 2)), x, out=np.zeros((2, 2))),
    r"np\.add: dtype=": lambda x: np.add(x, 1.0, dtype=np.float32),
    r"np\.exp: where=": lambda x: np.exp(x, where=np.eye(2) > 0),
    r"np\.prod: out=": lambda x: x.prod(0, None, np.zeros(2)),
    r"np\.cumsum: out=": lambda x: x.cumsum(out=np.zeros(4)),
    r"np\.dot: out=": lambda x: x.dot(x, np.zeros((2, 2))),
    r"np\.quantile on tensors: .*'weights'": lambda x: np.quantile(x, 0.2, weights=x),
    r"np\.reshape: order='A'": lambda x: np.reshape(x, 4, order="A"),
    r"np\.reshape: order='K'": lambda x: x.T.ravel("K"),
    r"np\.take: mode='wrap'": lambda x: np.take(x, [5], mode="wrap"),
    r"np\.pad: mode='mean'": lambda x: np.pad(x, 1, mode="mean"),
    r"np\.quantile: method='lower'": lambda x: np.quantile(x, 0.2, method="lower"),
    r"np\.einsum: order=": lambda x: np.einsum("ij", x, order="F"),
    r"np\.linalg\.svd: full_matrices=True": lambda x: np.linalg.svd(x[:, :1]),
    r"np\.where on tensors takes": lambda x: np.where(x > 0, x),
}


@pytest.mark.parametrize("message", ARGUMENTS)
def test_an_unsupported_argument_is_named(message):
    with pytest.raises(TypeError, match=message):
        ARGUMENTS[message](Tensor(np.eye(2)))


def test_a_plain_array_cannot_be_added_to_in_place():
    total = np.zeros(3)
    with pytest.raises(TypeError, match=r"np\.add: out="):
        total += Tensor([1.0, 2.0, 3.0])
    assert total.tolist() == [0, 0, 0]


def test_a_tensor_does_not_become_an_array_unasked():
    x = Tensor([1.0, 2.0], name="x")
    for convert in (np.asarray, np.array, np.linalg.pinv, lambda x: np.array([x, x])):
        with pytest.raises(TypeError, match=r"plain array|not supported"):
            convert(x)
