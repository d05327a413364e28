"""The primitives in JavaScript against NumPy, row by row."""

import math
from pathlib import Path

import numpy as np
import pytest
from helpers import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from javascript import scripts, unpacked

import tinygraph.batchnorm.primitive  # noqa: F401 - whose row is in the table
from tinygraph import ops
from tinygraph.engine.arrays import computed
from tinygraph.explorer.payload import TABLES, primitives
from tinygraph.graph.interchange import encoded

SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 0.5, 2.5, -1.5, 3.0, 1e-300, 1e300]
RNG = np.random.default_rng(20261129)

KNOWN = frozenset().union(*map(primitives, TABLES))

# Rows that the page does not compute.
UNCOMPUTED = {
    "eigenvalues", "eigenvectors", "left_vectors", "singular_values", "right_vectors",
    "erfinv", "erfcinv", "gamma", "gammaln", "gammasgn", "rgamma", "beta", "betaln", "betainc",
    "gammainc", "gammaincc", "polygamma",
    "jv", "yv", "yn", "iv", "ive", "j0", "j1", "y0", "y1", "i0", "i1",
}  # fmt: skip


@pytest.fixture(scope="module")
def js():
    with scripts() as run:
        yield run


def form(value):
    """Write an operand as the payload has it; a Python number has no dtype."""
    if isinstance(value, int | float):
        return {"number": repr(float(value)).replace("inf", "Infinity").replace("nan", "NaN")}
    value = np.asarray(value)
    return encoded(np.ascontiguousarray(value).reshape(value.shape))


COMPUTE = """
return data.map(({ op, shape, dtype, params, operands }) => {
  const node = { op, shape, dtype, params: {} };
  for (const name in params) node.params[name] = decoded(params[name]);
  const read = (x) => (x.number ? leaf(Number(x.number)) : decoded(x));
  try {
    return packed(computed(node, narrowed(operands.map(read))));
  } catch (error) {
    if (!(error instanceof Unfit)) throw error;
    return error.message;
  }
});
"""


def case(name, *operands, **params):
    """Give a case as JavaScript wants it, and what NumPy computes."""
    with np.errstate(all="ignore"):
        expected = computed(ops.TABLE[name].forward(*operands, **params))
    return {
        "op": name,
        "shape": list(expected.shape),
        "dtype": expected.dtype.str[1:],
        "params": {key: encoded(x) for key, x in params.items()},
        "operands": [form(x) for x in operands],
    }, expected


def hold(js, cases, bound):
    """Compare results, `bound` giving how far each entry may be off; zeros have their signs."""
    results = js(COMPUTE, [written for written, _ in cases])
    for (asked, expected), result in zip(cases, results, strict=True):
        assert not isinstance(result, str), (asked, result)
        found = unpacked(result)
        assert found.shape == expected.shape, asked
        expected = np.asarray(expected).astype(float)
        off = bound(asked, expected)
        with np.errstate(all="ignore"):
            near = (found == expected) | (np.abs(found - expected) <= off)
        near |= np.isnan(found) & np.isnan(expected)
        assert near.all(), (asked["op"], asked, found[~near], expected[~near])
        if np.ndim(off) == 0 and off == 0 and asked["op"] not in UNSIGNED:
            is_zero = expected == 0
            assert (np.signbit(found) == np.signbit(expected))[is_zero].all(), asked


UNSIGNED = {"relu", "maximum", "minimum", "max"}
"""Of two zeros, NumPy gives either."""


def exactly(asked, expected):
    return 0.0


def ulps(n):
    """Give a bound of n units in the last place of the dtype."""

    def bound(asked, expected):
        if asked["dtype"] not in ("f8", "f4", "f2"):
            return 0.0
        dtype = np.dtype(asked["dtype"])
        with np.errstate(all="ignore"):
            return n * np.abs(np.spacing(expected.astype(dtype)).astype(float))

    return bound


def test_every_row_is_said_to_be_there_or_not(js):
    assert set(js("return Object.keys({ ...ENTRYWISE, ...WHOLE });")) == KNOWN
    assert {name for name, op in ops.TABLE.items() if op.home.startswith("tinygraph.")} == (
        KNOWN | UNCOMPUTED
    )
    assert not KNOWN & UNCOMPUTED


# --------------------------------------------------------------------------- entry by entry

EXACT_1 = ["neg", "inverse", "square", "sqrt", "relu", "abs", "stop", "sign", "isfinite", "isnan"]
EXACT_1 += ["isinf", "signbit", "floor", "ceil", "rint", "trunc", "logical_not"]
NEAR_1 = ["exp", "log", "sin", "cos", "tanh", "log1p", "expm1", "log2", "log10", "exp2", "tan"]
NEAR_1 += ["arcsin", "arccos", "arctan", "sinh", "cosh", "arcsinh", "arccosh", "arctanh"]
EXACT_2 = ["add", "sub", "mul", "div", "maximum", "minimum", "greater", "greater_equal", "less"]
EXACT_2 += ["less_equal", "equal", "not_equal", "mod", "floordiv", "fmod", "logical_and"]
EXACT_2 += ["logical_or", "logical_xor"]
NEAR_2 = ["power", "arctan2", "hypot"]
ADDED = ["logaddexp", "logaddexp2"]
SHAPES_2 = [((2, 3), (2, 3)), ((2, 3), (3,)), ((3,), (4, 1)), ((), (2, 2)), ((2, 1, 3), (4, 1)),
            ((0, 3), (3,)), ((), ()), ((1, 1), (1,))]  # fmt: skip
DTYPES = ["f8", "f4", "f2"]


def ones(dtype):
    """Give arrays of one operand: random, special, tied, empty, and a scalar."""
    with np.errstate(all="ignore"):
        x = np.concatenate([SPECIAL, RNG.normal(size=12), RNG.integers(-3, 4, 6)]).astype(dtype)
    return [x, x[13:25].reshape(2, 1, 6), x[:0].reshape(0, 3), x[20], x[:4].reshape(2, 2)]


def pairs(dtype):
    special = np.array(SPECIAL, "f8")
    with np.errstate(all="ignore"):
        a, b = (x.ravel().astype(dtype) for x in np.meshgrid(special, special))
    yield a, b
    for left, right in SHAPES_2:
        yield (RNG.normal(size=s).astype(dtype) for s in (left, right))
        yield (RNG.integers(-2, 3, s).astype(dtype) for s in (left, right))
    x = RNG.normal(size=(2, 3)).astype(dtype)
    yield x, 0.1
    yield 2, x


@pytest.mark.parametrize("dtype", DTYPES)
def test_functions_of_one_entry(js, dtype):
    hold(js, [case(name, x) for name in EXACT_1 for x in ones(dtype)], exactly)
    hold(js, [case(name, x) for name in NEAR_1 for x in ones(dtype)], ulps(4))


@pytest.mark.parametrize("dtype", DTYPES)
def test_functions_of_two_entries(js, dtype):
    hold(js, [case(name, *xs) for name in EXACT_2 for xs in map(list, pairs(dtype))], exactly)
    hold(js, [case(name, *xs) for name in NEAR_2 for xs in map(list, pairs(dtype))], ulps(8))
    added = [case(name, *xs) for name in ADDED for xs in map(list, pairs(dtype))]
    hold(
        js,
        added,
        lambda asked, expected: (  # which may cancel
            8 * np.finfo(asked["dtype"]).eps + ulps(8)(asked, expected)
        ),
    )


def test_rows_of_their_own_kind(js):
    """Powers with a fixed exponent, masks, whole numbers, and what takes more than two operands."""
    x, y = RNG.normal(size=(2, 3)), RNG.normal(size=3)
    whole = np.arange(-4, 5)
    near = [
        case("pow", v, n=n) for n in (3, 0, 1, -1, 0.5, -2.5) for dt in DTYPES for v in ones(dt)
    ]
    hold(js, near, ulps(8))
    sincs = [case("sinc", v, n=n) for n in range(4) for v in (x, 9 * y, 0.0 * y, np.float64(0.3))]
    hold(js, sincs, lambda asked, expected: 1e-13 * 4.0 ** asked["params"]["n"])
    masks = np.array([[True, False], [False, True]])
    exact = [case("where", x > 0, x, y), case("where", y, 0.5, x), case("where", masks, 1.0, 2.0)]
    exact += [case("cast", v, dtype=np.dtype(d)) for v in (x * 9, x > 0) for d in CASTS]
    exact += [case("cast", np.array([0.0, np.nan, 2.0]), dtype=np.dtype(bool))]
    for name in ("bitwise_and", "bitwise_or", "bitwise_xor"):
        exact += [case(name, masks, masks.T), case(name, whole, whole[::-1].copy())]
        exact.append(case(name, whole * 2**40 + 5, whole + 2**41))
    exact += [case("invert", masks), case("invert", whole)]
    exact += [case(name, whole, np.int64(3)) for name in ("mod", "floordiv", "add", "mul", "div")]
    exact += [case(name, whole, -2) for name in ("mod", "floordiv", "sub", "less", "maximum")]
    hold(js, exact, exactly)


def test_rows_of_scipy(js):
    pytest.importorskip("scipy")
    x, y = RNG.normal(size=(2, 3)), np.array([3.0, 5.0, np.nan])
    near = [case("expit", 40 * x), case("logit", np.abs(x) / 9), case("log_expit", 40 * x)]
    near += [case(name, np.array([0.0, 2.0, 0.0]), y) for name in ("xlogy", "xlog1py")]
    hold(js, near, ulps(16))


def test_error_functions(js):
    """Where they are computed in several ways, and far out; against Python's."""
    x = [*np.linspace(-6, 6, 121), 0.999999, 1.000001, 9.0, 26.0, 30.0, -40.0, np.inf]
    rows = {
        "erf": math.erf,
        "erfc": math.erfc,
        "ndtr": lambda v: math.erfc(-v / math.sqrt(2)) / 2,
        "log_ndtr": lambda v: (
            math.log(math.erfc(-v / math.sqrt(2)) / 2)
            if v < 0
            else math.log1p(-math.erfc(v / math.sqrt(2)) / 2)
        ),
    }
    finite = [float(v) for v in x if v != np.inf and v > -36]
    for name, expected in rows.items():
        found = js(f"return data.map((x) => ENTRYWISE.{name}(x));", finite)
        assert found == pytest.approx([expected(v) for v in finite], rel=1e-12, abs=1e-306), name
    ends = js("return [1 / 0, -1 / 0, 0 / 0].map((x) => [erf(x), erfc(x)].map(String));")
    assert ends == [["1", "0"], ["-1", "2"], ["NaN", "NaN"]]


def test_batchnorm_as_one_node(js):
    x = RNG.normal(size=(4, 3, 2))
    cases = [
        case("batchnorm", v, g, g, axis=axis, eps=1e-5)
        for v, g, axis in [
            (x[..., 0], x[0, :, 0], (0,)),
            (x, x[:1, :, :1], (0, 2)),
            (x[0], x[0, 0], (1,)),
            (x.astype("f4"), x[:1, :, :1].astype("f4"), (0, 2)),
        ]
    ]
    hold(js, cases, lambda asked, expected: 20 * np.finfo(asked["dtype"]).eps)


CASTS = ["f8", "f4", "f2", "i8", "i4", "?"]

# --------------------------------------------------------------------------- along some axes


@st.composite
def reductions(draw):
    """Draw a shape and some axes."""
    lengths = st.sampled_from([0, 1, 2, 3, 5, 8, 9, 17, 130, 300])
    shape = tuple(draw(st.lists(lengths, max_size=3)))
    axes = draw(st.sets(st.integers(0, len(shape) - 1))) if shape else set()
    return shape, tuple(sorted(axes)), draw(st.booleans()), draw(st.sampled_from(DTYPES))


def terms_bound(x, axes, of, keepdims):
    """Bound the error of a sum by the sum of the sizes of what is added up."""
    n = np.prod([x.shape[k] for k in axes], initial=1.0)
    eps = np.finfo(x.dtype).eps
    return n * eps * of(np.abs(x.astype(float)), axis=axes, keepdims=keepdims)


@settings(max_examples=examples(60), deadline=None)
@given(reductions(), st.integers(0, 2**32 - 1))
def test_sums_are_added_in_the_order_of_numpy(js, drawn, seed):
    shape, axes, keepdims, dtype = drawn
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=shape) * 10.0 ** rng.integers(-3, 3, shape)).astype(dtype)
    along = {"axis": axes, "keepdims": keepdims}
    is_exact = dtype != "f2" and axes in ((0,), (len(shape) - 1,))
    bound = 0.0 if is_exact else terms_bound(x, axes, np.sum, keepdims)
    hold(js, [case("sum", x, **along)], lambda asked, expected: bound)


@settings(max_examples=examples(30), deadline=None)
@given(reductions(), st.integers(0, 2**32 - 1))
def test_other_reductions(js, drawn, seed):
    shape, axes, keepdims, dtype = drawn
    rng = np.random.default_rng(seed)
    tied = rng.integers(-3, 4, shape).astype(dtype)
    holes = np.where(rng.random(shape) < 0.05, np.nan, tied).astype(dtype)
    along = {"axis": axes, "keepdims": keepdims}
    cases = [case(name, x, **along) for name in ("all", "any") for x in (tied, holes, tied > 0)]
    if 0 not in [shape[k] for k in axes]:
        cases += [case("max", x, **along) for x in (tied, holes)]
    if shape:
        for axis in (*range(len(shape)), None):
            if 0 not in (shape if axis is None else shape[axis : axis + 1]):
                cases += [
                    case(f, x, axis=axis) for f in ("argmax", "argmin") for x in (tied, holes)
                ]
            if axis is not None:
                cases += [case("argsort", x, axis=axis) for x in (tied, holes)]
        cases += [case("nonzero", x, along=k) for k in range(len(shape)) for x in (tied, holes)]
    hold(js, cases, exactly)
    near = (rng.random(shape) / 4 + 0.9).astype(dtype)
    scans = [case(f, near, axis=k) for f in ("cumsum", "cumprod") for k in range(len(shape))]
    hold(
        js,
        [case("prod", near, **along), *scans],
        lambda asked, expected: (
            4 * max([*shape, 1]) ** 2 * float(np.finfo(asked["dtype"]).eps) * (1 + np.abs(expected))
        ),
    )


# --------------------------------------------------------------------------- places

KEYS = [
    1, -1, slice(None), slice(1, None), slice(None, None, -1), slice(5, None, -2), slice(-9, 9, 2),
    ..., None, (slice(None), 0), (0, ..., 1), (None, 1), (..., None), (1, slice(0, 2), 2),
    np.array([1, 0, 1]), np.array([], int), np.array([[0, -1], [1, 1]]), np.array(1),
    (np.array([0, 1]), np.array([2, 0])), (slice(None), np.array([2, 2, 0])),
    (np.array([[0], [1]]), slice(None), np.array([0, 3])), (np.array([0, 1]), None, 1),
    (0, slice(None), np.array([1, 2])), (np.array([1, 0]), ..., np.array([3, 3])),
    np.arange(24).reshape(2, 3, 4) % 3 == 0, np.array([True, False]),
    (slice(None), np.array([True, False, True])), (0, np.arange(12).reshape(3, 4) % 5 > 2),
    (slice(2, 1), 0), (slice(None), np.array([True, False, True]), np.array([1, 2])),
    True, False, (True, 1), (0, True, slice(1, None)), (slice(None), 1, None, True),
]  # fmt: skip


@pytest.mark.parametrize("key", KEYS, ids=repr)
def test_keys_pick_and_put_what_numpy_picks(js, key):
    x = RNG.normal(size=(2, 3, 4))
    value = x[key] * 2
    row = RNG.normal(size=value.shape[-1:])
    cases = [case("index", x, key=key), case("scatter", value, key=key, shape=x.shape)]
    for v in (value, row, 0.5):
        cases.append(case("assign", x, v, keys=(key,), disjoint=True))
        cases.append(case("assign_add", x, v, keys=(key,)))
    cases.append(case("assign", x, 0.5, value, keys=(slice(1, None), key), disjoint=False))
    hold(js, cases, exactly)


def test_computed_keys(js):
    x, rows = RNG.normal(size=(3, 4)), np.array([2, 0, 2])
    mask = x > 0
    key = (slice(None), "1")
    cases = [
        case("pick", x, rows, key=key),
        case("pick", x, rows, np.array([1, 1, 3]), key=("1", "2")),
        case("put", x[:, rows], rows, key=key, shape=(3, 4)),
        case("select", x, mask, key=(mask,), places=(0,)),
        case("assign", x, np.float64(9.0), rows, keys=(("1", 0),), disjoint=False),
        case("assign_add", x, x[:, :3], rows, keys=(key,)),
        case("assign", x, 0.25, mask, keys=(mask,), disjoint=True, expected=(mask,)),
    ]
    hold(js, cases, exactly)


@pytest.mark.parametrize(
    ("name", "operands", "params", "message"),
    [
        ("index", [np.ones(3)], {"key": 3}, "index 3 is out of bounds for axis 0 of length 3"),
        ("pick", [np.ones(3), np.array([-4])], {"key": ("1",)}, "index -4 is out of bounds"),
        ("select", [np.ones(2), np.array([True, True])],
         {"key": (np.array([True, False]),), "places": (0,)}, "picks other entries"),
        ("nonzero", [np.ones(2)], {"along": 0}, "picks other entries"),
        ("inv", [np.ones((2, 2))], {}, "singular"),
        ("cholesky", [-np.eye(2)], {}, "not positive definite"),
    ],
)  # fmt: skip
def test_what_numpy_refuses_is_refused(js, name, operands, params, message):
    asked = {"op": name, "shape": [1], "dtype": "f8", "operands": [form(x) for x in operands]}
    asked["params"] = {key: encoded(x) for key, x in params.items()}
    assert message in js(COMPUTE, [asked])[0]


def test_entries_that_only_move(js):
    x = RNG.normal(size=(2, 3, 4))
    cases = [case("transpose", x, axes=axes) for axes in ((0, 2, 1), (2, 0, 1), (2, 1, 0))]
    cases += [case("reshape", x, shape=s) for s in ((6, 4), (24,), (1, 2, 12))]
    cases += [case("reshape", x[:, :0], shape=(0, 3)), case("transpose", x[:0], axes=(1, 0, 2))]
    cases += [case("spread", x[:, 0], shape=x.shape, axis=(1,))]
    cases += [case("spread", x[0, 0], shape=x.shape, axis=(0, 1))]
    cases += [case("spread", x[0, 0, 0], shape=x.shape, axis=(0, 1, 2))]
    cases += [case("spread", x[:, :1], shape=x.shape, axis=(1,))]
    cases += [case("spread", x[:, :1, :1], shape=(2, 0, 4), axis=(1, 2))]
    cases += [case("concatenate", x, x[:, :k], x * 2, axis=1) for k in (0, 2)]
    cases += [case("concatenate", x, x[:1].astype("f4"), axis=0), case("concatenate", x, axis=2)]
    hold(js, cases, exactly)


# --------------------------------------------------------------------------- matrices


def test_products_of_matrices(js):
    a, b, v = RNG.normal(size=(2, 1, 3, 4)), RNG.normal(size=(5, 4, 2)), RNG.normal(size=(0, 4, 3))
    cases = [
        case("matmul", a, b),
        case("matmul", v, a[0, 0]),
        case("matmul", b[:, :0].mT, b[:, :0]),
    ]
    cases += [case("matmul", a.astype("f4"), b.astype("f4"))]
    for subscripts, xs in {
        "ij,jk->ik": (a[0, 0], b[0]), "ij,ij->": (a[0, 0], a[1, 0]),
        "i,j->ji": (a[0, 0, 0], b[0, 0]),
        "ij,kj,j->ik": (a[0, 0], a[1, 0], a[0, 0, 0]), ",i->i": (np.float64(2.0), b[0, 0]),
        "bij,bjk->bik": (a[:, 0], b[:2]),
    }.items():  # fmt: skip
        cases.append(case("einsum", *xs, subscripts=subscripts, optimize=False))

    def bound(asked, expected):
        return 200 * np.finfo(asked["dtype"]).eps

    hold(js, cases, bound)


def test_linear_algebra(js):
    a, b = RNG.normal(size=(2, 3, 3)) + 3 * np.eye(3), RNG.normal(size=(3, 2))
    symmetric = a @ a.mT
    cases = [case(name, x) for name in ("inv", "det", "signdet", "logabsdet") for x in (a, -a[0])]
    cases += [case("inv", a[0, [1, 2, 0]]), case("signdet", a[0, [1, 0, 2]])]
    cases += [case("det", np.zeros((0, 0)))]
    cases += [case("solve", a, b), case("solve", a[0], np.stack([b, 2 * b]))]
    cases += [case("cholesky", symmetric), case("cholesky", symmetric[0])]
    hold(js, cases, lambda asked, expected: 1e-13 * np.max(np.abs(expected), initial=1))


# --------------------------------------------------------------------------- rejected

LEFT_TO_RIGHT = "WHOLE.sum = (node, x) => reduced(node, x, 0, ENTRYWISE.add);"
LONG = RNG.normal(size=(2, 300))


@pytest.mark.parametrize(
    ("change", "asked"),
    [
        ("ENTRYWISE.mul = (a, b) => a * b * (1 + 2 ** -51);", case("mul", LONG, LONG[0])),
        ("ENTRYWISE.neg = (x) => 0 - x;", case("neg", np.zeros(2))),
        ("ENTRYWISE.less = (a, b) => a <= b;", case("less", np.ones(2), 1.0)),
        ("narrowed = (operands) => operands;", case("mul", LONG.astype("f4"), 0.1)),
        (LEFT_TO_RIGHT, case("sum", LONG, axis=(1,), keepdims=False)),
        (
            "delete ROUNDINGS.f4;",
            case("sum", LONG.T.astype("f4", order="C"), axis=(0,), keepdims=True),
        ),
        ("inside = (k) => Math.abs(k);", case("index", LONG, key=-2)),
        ("sums = (lists) => Int32Array.from(lists[0]);", case("transpose", LONG, axes=(1, 0))),
    ],
    ids=lambda x: x.partition(" =")[0] if isinstance(x, str) else "",
)
def test_what_is_wrong_is_noticed(js, change, asked):
    def changed(body, data):
        return js(change + body, data)

    hold(js, [asked], exactly)
    with pytest.raises(AssertionError):
        hold(changed, [asked], exactly)


def test_every_row_is_tested():
    """By its name in this file."""
    text = Path(__file__).read_text("utf-8")
    assert not {name for name in KNOWN if f'"{name}"' not in text}
