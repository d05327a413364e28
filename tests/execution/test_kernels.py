"""Compiled programs: strict code has NumPy's bits, fast code is as near as is said."""

import ctypes
import functools
import pickle
import shutil
import sys
import threading
import tracemalloc

import numpy as np
import pytest
from helpers import same_bits
from kernels import made, scale_of
from plans import SHAPES, by_engine, drawn, joint, leaves

from tinygraph import Graph, Tensor, batchnorm, trace
from tinygraph.engine.primitive import TABLE, Primitive
from tinygraph.execution import Program, Unsupported, c_program, c_source, calling, compilation
from tinygraph.execution.c_functions import BOUNDS, functions
from tinygraph.execution.kernels import Kernel

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))) or sys.platform == "win32",
    reason="no C compiler on PATH",
)

MODES = ("strict", "fast")
SOME = [(1, 1), (1, 7), (2, 1), (2, 100), (5, 33), (64, 64), (33, 1000), (1000, 7)]
MORE = [(n, d) for n in (1, 2, 5, 64, 1000) for d in (1, 7, 33, 100, 1000) if n * d < 200_000]
DTYPES = ("float64", "float32")
EPSILON = {"float64": 1e-12, "float32": 2e-4}


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.delenv("CC", raising=False)


def staged(x, gamma, beta):
    return batchnorm.staged(x, gamma, beta)


def standardized(x, gamma, beta):
    mu = np.mean(x, axis=0)
    return gamma * ((x - mu) / np.sqrt(np.var(x, axis=0) + 1e-5)) + beta


def layernorm(x, gamma, beta):
    mu = np.mean(x, axis=1, keepdims=True)
    xmu = x - mu
    return gamma * (xmu / np.sqrt(np.mean(xmu**2, axis=1, keepdims=True) + 1e-5)) + beta


def softmax(x, gamma, beta):
    shifted = (x - np.max(x, axis=1, keepdims=True)) * gamma + beta
    e = np.exp(shifted)
    return e / np.sum(e, axis=1, keepdims=True)


def loss(x, gamma, beta):
    return np.sum(np.where(x > beta, gamma * x, -x) ** 2) / x.shape[0] + np.mean(np.maximum(x, 0))


FUNCTIONS = (staged, standardized, layernorm, softmax, loss)


def arrays_of(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=s).astype(dtype) for s in (shape, shape[-1], shape[-1])]


def case(f, shape, dtype="float64"):
    """Give a program of both passes, the arrays it takes, and what the engine makes of them."""
    program, arrays = joint(f, arrays_of(shape, dtype))
    return program, [arrays[x.index] for x in program.arguments], by_engine(program, arrays)


def wrong(kernel, case, bound):
    """Give the names of the results that a kernel gives wrong; without a bound, in any bit."""
    program, arrays, values = case
    off = []
    for found, node in zip(kernel(*arrays), program.results, strict=True):
        expected = values[node.index]
        if bound is None:
            is_right = same_bits(found, expected)
        else:
            error = np.max(np.abs(np.asarray(found, "float64") - expected), initial=0)
            is_right = error <= bound * scale_of(values) and found.dtype == expected.dtype
        if not is_right:
            off.append(program.names[node.index])
    return off


@functools.cache
def drawn_case(seed):
    shape = (*SHAPES, (33, 9), (2, 300), (300, 2), (129,), (2, 3, 4, 5))[seed % (len(SHAPES) + 5)]
    dtype = DTYPES[seed % 2]
    rng = np.random.default_rng(seed)
    program, arrays = joint(drawn(seed, shape), leaves(shape, rng, dtype))
    return program, [arrays[x.index] for x in program.arguments], by_engine(program, arrays)


def check_drawn(monkeypatch, seeds, mode, **options):
    """Hold random programs against the engine; give the seeds of those that are refused."""
    cases = [drawn_case(seed) for seed in seeds]
    refused = []
    for seed, one, kernel in zip(
        seeds, cases, made(monkeypatch, [c[:2] for c in cases], mode, **options), strict=True
    ):
        if isinstance(kernel, Unsupported):
            refused.append(seed)
            continue
        bound = None if mode == "strict" else EPSILON[DTYPES[seed % 2]]
        assert wrong(kernel, one, bound) == [], f"seed {seed}"
    return refused


@pytest.mark.parametrize("mode", MODES)
def test_random_programs(monkeypatch, mode):
    assert len(check_drawn(monkeypatch, range(24), mode)) < 3


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_more_random_programs(monkeypatch, mode):
    for first in range(24, 624, 50):
        refused = check_drawn(monkeypatch, range(first, first + 50), mode)
        assert len(refused) < 6


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_optimizing_changes_no_bit_of_strict_code(monkeypatch, mode):
    assert len(check_drawn(monkeypatch, range(700, 760), mode, optimize="-O3")) < 6


def check_lengths(monkeypatch, shapes, mode, dtype, **options):
    """Hold all functions at many lengths against the engine, and count their texts."""
    chosen = [(f, shape) for f in FUNCTIONS for shape in shapes if f is not staged or shape[0] > 1]
    cases = [case(f, shape, dtype) for f, shape in chosen]
    found = made(monkeypatch, [one[:2] for one in cases], mode, **options)
    bound = None if mode == "strict" else EPSILON[dtype]
    texts = {f: set() for f in FUNCTIONS}
    for (f, shape), one, kernel in zip(chosen, cases, found, strict=True):
        assert wrong(kernel, one, bound) == [], (f, shape)
        if 1 not in shape:
            texts[f].add(kernel.source)
    assert [len(of) for of in texts.values()] == [1] * len(FUNCTIONS)


@pytest.mark.parametrize(("mode", "dtype"), [*zip(MODES, DTYPES, strict=True)])
def test_one_text_serves_all_lengths(monkeypatch, mode, dtype):
    check_lengths(monkeypatch, SOME, mode, dtype)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mode", MODES)
def test_one_text_serves_all_lengths_as_it_is_compiled(monkeypatch, mode, dtype):
    check_lengths(monkeypatch, MORE, mode, dtype, optimize="-O3")


# What meets what: masks, whole numbers, numbers with and without a dtype.
OPERATIONS = {
    "a mask is no 2": lambda x, y: np.where((x > y) == 2, x, y) + 0 * x,
    "a mask is 1": lambda x, y: np.where((x > y) == 1, x, y),
    "twice a mask": lambda x, y: (x > y) * 2 * x,
    "masks added": lambda x, y: ((x > y) + (y > 0)) * x,
    "masks counted": lambda x, y: x * np.sum(x > y, axis=0) + y * np.mean(y > 0, axis=0),
    "masks joined": lambda x, y: np.where(~(x > y) ^ (y > 0) | (x == y) & (x != 0), x, y),
    "numbers as masks": lambda x, y: np.where(np.logical_and(x, y > 0) | np.logical_not(x), x, -y),
    "whole numbers": lambda x, y: np.where(x > 0, 1, -1) * y - np.where(y > 0, 1.0, 0) * x,
    "counts compared": lambda x, y: np.where(np.sum(x > y, axis=0) > 2, x, y),
    "a float cut off": lambda x, y: (x > 0).astype(x.dtype) * y + (y * 3).astype("int64") * x,
    "float32": lambda x, y: x.astype("float32") * y.astype("float32") + np.float32(2.5),
    "a float64 number": lambda x, y: (x.astype("float32") * np.float64(2.5)) + y,
    "clipped": lambda x, y: np.clip(x, -0.5, 0.5) * y - np.minimum(y, 0.25) + np.maximum(x, y),
    "roots": lambda x, y: (x * x + 1) ** -1.5 + (y * y + 1) ** 0.5 - (x * x + 1) ** -1 + x**2,
    "steps": lambda x, y: np.sign(x) * y + np.floor(x) * np.ceil(y) + np.rint(x) * np.trunc(y * 3),
    "functions": lambda x, y: np.log1p(x * x) + np.expm1(y) * np.sin(x) - np.arctan2(x, y),
    "norms": lambda x, y: np.std(x, axis=0) * y + np.linalg.norm(x, axis=1)[:, None],
    "parts": lambda x, y: x[1:] * y[:-1] - np.mean(x, axis=0) + np.concatenate([x, y])[2:7],
    "transposed": lambda x, y: np.sum(x.T * 2, axis=1) * y + np.sum(x.T, axis=0)[:, None],
    "three axes": lambda x, y: np.sum(x[:, :, None] * y[:, None, :], axis=0),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mode", MODES)
def test_operations(monkeypatch, mode, dtype):
    rng = np.random.default_rng(0)
    cases = []
    for f in OPERATIONS.values():
        program, arrays = joint(f, [rng.normal(size=(6, 5)).astype(dtype) for _ in range(2)])
        given = [arrays[x.index] for x in program.arguments]
        cases.append((program, given, by_engine(program, arrays)))
    found = made(monkeypatch, [one[:2] for one in cases], mode)
    bound = None if mode == "strict" else 2e-6
    assert [name for name, x in zip(OPERATIONS, found, strict=True) if type(x) is Unsupported] == []
    for name, one, kernel in zip(OPERATIONS, cases, found, strict=True):
        assert wrong(kernel, one, bound) == [], name


# --------------------------------------------------------------------------- special numbers


SPECIAL = np.array([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-45, 5e-324, 1e38, 1e308])


def mixed(x, y, c):
    larger, smaller = np.maximum(x, y), np.minimum(x, c)
    signs = np.sign(x) * np.abs(y) + np.floor(x) - np.trunc(y) + np.rint(c) * np.ceil(x)
    chosen = np.where(np.isnan(x) | ~np.isfinite(y), -x, np.where(x >= y, c, np.maximum(y, 0)))
    total = np.sum(x, axis=0) - np.sum(y, axis=1, keepdims=True)
    return larger, smaller, signs, chosen, 1 / x, x / y, -np.sqrt(x), x**2, total, np.max(x, axis=0)


def equal(found, expected):
    """Whether two arrays agree in every bit but those that say which NaN it is."""
    found, expected = np.asarray(found), np.asarray(expected)
    is_nan = np.isnan(expected)
    return same_bits(np.where(is_nan, 0, found), np.where(is_nan, 0, expected)) and not np.any(
        np.isnan(found) ^ is_nan
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_that_are_none_and_zeros_with_signs(monkeypatch, dtype):
    with np.errstate(all="ignore"):
        x = np.broadcast_to(SPECIAL.astype(dtype), (len(SPECIAL),) * 2).copy()
        values = [x, x.T.copy(), np.array(-0.0, dtype)]
        program, arrays = joint(mixed, values)
        expected = by_engine(program, arrays)
        given = [arrays[x.index] for x in program.arguments]
        (kernel,) = made(monkeypatch, [(program, given)], "strict")
    for found, node in zip(kernel(*given), program.results, strict=True):
        assert equal(found, expected[node.index]), program.names[node.index]


@pytest.mark.parametrize("mode", MODES)
def test_a_sum_of_negative_zeros_has_numpys_sign(monkeypatch, mode):
    def f(x):
        return np.sum(x, axis=0), np.sum(x, axis=1), np.sum(x)

    for shape in ((4, 3), (2, 20), (1, 3), (3, 1)):
        program, arrays = joint(f, [np.full(shape, -0.0)])
        given = [arrays[x.index] for x in program.arguments]
        (kernel,) = made(monkeypatch, [(program, given)], mode)
        values = by_engine(program, arrays)
        for found, node in zip(kernel(*given)[:3], program.results, strict=False):
            assert mode == "fast" or same_bits(found, values[node.index])
            assert np.all(found == 0)


def test_what_is_added_over_columns_as_well_is_added_in_their_order(monkeypatch):
    """Two rows in a turn would be mixed up."""
    rng = np.random.default_rng(0)
    values = [rng.normal(size=(9, 5, 3)), rng.normal(size=3)]
    program, arrays = joint(lambda x, v: (x - np.mean(x, axis=0)) * v, values)
    given = [arrays[x.index] for x in program.arguments]
    (kernel,) = made(monkeypatch, [(program, given)], "strict")
    assert wrong(kernel, (program, given, by_engine(program, arrays)), None) == []


@pytest.mark.parametrize("mode", MODES)
def test_a_maximum_shows_what_is_no_number(monkeypatch, mode):
    def f(x):
        return np.max(x, axis=0), np.max(x, axis=1), np.max(x)

    x = np.arange(60.0).reshape(3, 20)
    x[1, 7] = np.nan
    program = Program.of(Graph.capture(trace(f)(x)))
    (kernel,) = made(monkeypatch, [(program, [x])], mode)
    for found, expected in zip(kernel(x), f(x), strict=True):
        assert np.array_equal(found, expected, equal_nan=True)


def far(function, x, exact):
    """Give by how many units in the last place a function of C is off."""
    out = np.empty_like(x)
    function(x.ctypes.data, out.ctypes.data, x.size)
    with np.errstate(all="ignore"):
        expected = exact(x.astype(np.longdouble))
        rounded = expected.astype(x.dtype)
        error = np.abs(out - expected) / np.spacing(np.abs(rounded))
    is_number = np.isfinite(rounded)
    assert np.array_equal(out[~is_number], rounded[~is_number], equal_nan=True)
    return float(np.max(error[is_number]))


@pytest.mark.parametrize(("type", "dtype"), [("float", "float32"), ("double", "float64")])
@pytest.mark.parametrize("name", BOUNDS)
def test_functions_are_within_their_bounds(name, type, dtype):
    source = c_source.HEAD + functions(type)
    source += f"void apply(const {type} *x, {type} *y, int64_t n) "
    source += f"{{ VECTORS for (int64_t i = 0; i < n; i++) y[i] = {name}_{type}(x[i]); }}\n"
    (apply,) = compilation.loaded(source, mode="fast", symbols=["apply"])
    apply.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    rng = np.random.default_rng(0)
    info = np.finfo(dtype)
    ends = [np.log(float(info.tiny)), np.log(float(info.max))]
    near = rng.normal(size=20_000) * np.exp(rng.uniform(-30, 1, 20_000))
    x = {
        "exp": np.concatenate([rng.uniform(*ends, 40_000), near]),
        "log": np.concatenate([np.exp(rng.uniform(*ends, 40_000)), 1 + near / 10]),
        "tanh": np.concatenate([rng.uniform(-30, 30, 40_000), near]),
    }[name]
    special = [*SPECIAL, 1000, -1000, 87, -87, 709, -709, info.max, -info.max, info.tiny]
    with np.errstate(over="ignore"):
        x = np.concatenate([x, special]).astype(dtype)
    exact = getattr(np, name)
    assert far(apply, x, exact) <= BOUNDS[name]
    slightly_more = 1 + 4 * BOUNDS[name] * info.eps
    assert far(apply, x, lambda y: exact(y) * slightly_more) > BOUNDS[name]


def test_fast_sums_of_many_rows_are_nearer_than_numpys(monkeypatch):
    """In float32, at N = 65536; here 6 to 14 times."""
    program, given, values = case(staged, (65536, 8), "float32")
    exact = [given[k].astype("float64") for k in range(3)]
    dout = given[-1].astype("float64")
    reference = by_engine(*_in_float64(exact, dout))
    (kernel,) = made(monkeypatch, [(program, given)], "fast", optimize="-O3")
    wide = _in_float64(exact, dout)[0]
    for found, node, of in zip(kernel(*given), program.results, wide.results, strict=True):
        expected = reference[of.index]
        errors = [np.max(np.abs(x - expected)) for x in (found, values[node.index])]
        assert errors[0] <= errors[1] / 4, program.names[node.index]


def _in_float64(arrays, dout):
    program, by_index = joint(staged, arrays)
    (upstream,) = [x for x in program.arguments if x.role == "upstream"]
    return program, by_index | {upstream.index: dout}


def test_what_is_costly_is_computed_once_for_a_row():
    """And read again by later segments, where it stands in an array of one row."""
    kernel, program, given, values = kernel_of(softmax, (5, 40), "fast")
    assert kernel.source.count("= exp_double(") == 1
    assert kernel.source.count("= e_row[j];") >= 2
    assert wrong(kernel, (program, given, values), 1e-13) == []


# --------------------------------------------------------------------------- planted bugs


@pytest.mark.parametrize("bug", ["pairs", "half", "rows", "turn", "start", "columns", "operand"])
def test_a_bug_in_the_text_is_found(monkeypatch, bug):
    changes = {
        "pairs": lambda text: text.replace(
            "(r[0] + r[1]) + (r[2] + r[3])", "r[0] + r[1] + r[2] + r[3]"
        ),
        "half": lambda text: text.replace("n / 2 - n / 2 % 8", "n / 2"),
        "rows": lambda text: text.replace("(i + 1) * D", "i * D"),
        "turn": lambda text: text.replace("i = N - N % 2", "i = N"),
        "start": lambda text: text.replace("] = 0;", "] = 1e-9;"),
        "columns": lambda text: text.replace("for (int64_t j = 0;", "for (int64_t j = 1;"),
        "operand": lambda text: text.replace("xmu - ", "xmu + ").replace("x - mu", "mu - x"),
    }

    changed = []

    def source(written, text=c_program._source):
        changed.append(changes[bug](text(written)) != text(written))
        return changes[bug](text(written))

    monkeypatch.setattr(c_program, "_source", source)
    cases = [case(f, shape) for f in (staged, layernorm) for shape in ((5, 33), (4, 300))]
    found = made(monkeypatch, [one[:2] for one in cases], "strict")
    assert any(changed)
    assert any(wrong(kernel, one, None) for kernel, one in zip(found, cases, strict=True))


# --------------------------------------------------------------------------- calling


def kernel_of(f, shape=(5, 3), mode="strict", dtype="float64"):
    one = case(f, shape, dtype)
    return Kernel(*one[:2], mode), *one


def test_a_kernel_says_what_it_is():
    kernel, program, given, _ = kernel_of(staged, mode="fast")
    assert (kernel.executor, str(kernel.plan)[:24]) == ("fast", "x | x,dout | x,dout → ou")
    for name in ("xmu", "ivar", "dxmu1", "sqrtvar"):
        assert f"const double {name} = " in kernel.source
    assert kernel.nbytes < 5000
    assert max(map(len, kernel.source.splitlines())) < 120
    with pytest.raises(ValueError, match="mode is 'quick', but must be one of strict, fast"):
        Kernel(program, given, "quick")


def test_results_are_new_and_stay_as_they_are():
    kernel, _, given, _ = kernel_of(staged)
    first = kernel(*given)
    kept = [x.copy() for x in first]
    given[0] += 1
    second = kernel(*given)
    assert not any(np.shares_memory(a, b) for a in first for b in (*second, *given))
    assert all(same_bits(a, b) for a, b in zip(first, kept, strict=True))
    assert not same_bits(first[0], kernel(*[x * 2 for x in given])[0])
    del kernel, second
    assert all(same_bits(a, b) for a, b in zip(first, kept, strict=True))


def test_inputs_are_not_written_and_may_be_one_array():
    def product(x, y):
        return x * y - np.sum(y, axis=0)

    program, _ = joint(product, [np.ones((4, 3)), np.ones((4, 3))])
    x = np.random.default_rng(0).normal(size=(4, 3))
    x.flags.writeable = False
    kernel = Kernel(program, [x, x, x], "strict")
    out, dx, dy = kernel(x, x, x)
    assert same_bits(out, product(x, x))
    assert same_bits(dx, x * x)
    assert dy.flags.writeable


def test_results_are_written_where_they_are_wanted():
    kernel, program, given, values = kernel_of(staged)
    expected = [values[node.index] for node in program.results]
    places = [np.full(x.shape, np.nan) for x in expected]
    found = kernel(*given, out=[places[0], None, places[2], None])
    assert [a is b for a, b in zip(found, places, strict=True)] == [True, False, True, False]
    assert all(same_bits(a, b) for a, b in zip(found, expected, strict=True))

    strided = np.full((5, 6), np.nan)[:, ::2]
    assert kernel(*given, out=[strided, None, None, None])[0] is strided
    assert same_bits(strided.copy(), expected[0])

    for k in (0, -1):  # over what is read
        again = [x.copy() for x in given]
        found = kernel(*again, out=[again[k], None, None, None])
        assert all(same_bits(a, b) for a, b in zip(found, expected, strict=True))
    both = np.full((9, 3), np.nan)
    kernel(*given, out=[both[:5], both[4:], None, None])
    assert same_bits(both, np.concatenate([expected[0][:4], expected[1]]))


@pytest.mark.parametrize("place", [np.empty((3, 5)), np.empty((5, 3), "float32"), [[1.0] * 3] * 5])
def test_a_place_that_does_not_fit_is_refused(place):
    kernel, _, given, _ = kernel_of(staged)
    with pytest.raises(ValueError, match=r"out must be an array of shape \(5, 3\)"):
        kernel(*given, out=[place, None, None, None])


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x[:4],
        lambda x: x.astype("float32"),
        lambda x: x.astype(">f8"),
        lambda x: np.asfortranarray(x),
        lambda x: np.repeat(x, 2, axis=0)[::2],
        lambda x: x.reshape(5, 3, 1),
        lambda x: x.ravel(),
        lambda x: x.astype(complex),
        lambda x: x.astype(object),
        lambda x: "text",
        lambda x: None,
    ],
)
def test_other_arrays_than_it_was_made_for_are_refused(change):
    """And memory is not read as what it is not."""
    kernel, _, given, _ = kernel_of(staged)
    with pytest.raises(ValueError, match=r"x has shape .* but this was made for"):
        kernel(change(given[0]), *given[1:])
    kernel(*given)


def test_more_or_fewer_arrays_are_refused():
    kernel, _, given, _ = kernel_of(staged)
    for some in (given[:-1], [*given, given[0]], []):
        with pytest.raises(TypeError, match="positional argument"):
            kernel(*some)
    with pytest.raises(ValueError, match="out must have 4 entries, not 1"):
        kernel(*given, out=[None])


class Own(np.ndarray):
    pass


def test_what_is_equal_is_taken():
    """A dtype object of its own, as arrays have that were pickled; a subclass; other alignment."""
    kernel, program, given, values = kernel_of(staged)
    odd = np.zeros(given[0].nbytes + 1, np.uint8)[1:].view(np.float64).reshape(5, 3)
    odd[...] = given[0]
    assert not odd.flags.aligned
    for x in (pickle.loads(pickle.dumps(given[0])), given[0].view(Own), odd):
        found = kernel(x, *given[1:])
        assert same_bits(found[0], values[program.results[0].index])


def test_numbers_are_arrays_without_axes():
    def f(x, c):
        return x * c, np.sum(x) * c

    program, arrays = joint(f, [np.ones((2, 3)), np.float64(3.0)])
    given = [np.asarray(arrays[x.index])[()] for x in program.arguments]
    kernel = Kernel(program, given, "strict")
    values = by_engine(program, arrays)
    for found, node in zip(kernel(*given), program.results, strict=True):
        assert same_bits(found, values[node.index])
        assert type(found) is type(values[node.index])


def test_threads_do_not_share_a_workspace():
    kernel, _, given, _ = kernel_of(staged, (400, 50))
    others = [[x * (k + 1) for x in given] for k in range(4)]
    expected = [kernel(*some) for some in others]
    wrongs = []

    def work(k):
        for _ in range(100):
            if not all(map(same_bits, kernel(*others[k]), expected[k])):
                wrongs.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrongs == []


def test_memory_does_not_grow():
    kernel, _, given, _ = kernel_of(staged)
    kernel(*given)
    tracemalloc.start()
    try:
        for _ in range(100):
            kernel(*given)
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(10_000):
            kernel(*given)
        assert tracemalloc.get_traced_memory()[0] - before < 1000
    finally:
        tracemalloc.stop()


# --------------------------------------------------------------------------- what is not compiled


def refusal(f, *values, mode="strict"):
    program = Program.of(Graph.capture(trace(f)(*values)))
    with pytest.raises(Unsupported) as caught:
        Kernel(program, list(values), mode)
    return str(caught.value)


def double(x):
    return x + x


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (np.ones((4, 3)).T, "x is no contiguous array in C order"),
        (np.ones((4, 6))[:, ::2], "x is no contiguous array in C order"),
        (np.ones((4, 3), "float16"), "nothing in it that is compiled"),
        (np.ones((4, 3), "longdouble"), "nothing in it that is compiled"),
        (np.ones((4, 3), complex), "dtype complex128"),
        (np.ones((0, 3)), "axis N is empty"),
        (np.ones((3, 0)), "axis D is empty"),
    ],
)
def test_arrays_that_are_not_compiled(x, said):
    assert said in refusal(double, x)


def test_no_compiler(monkeypatch):
    monkeypatch.setenv("CC", "/no/such/cc")
    assert "no such program" in refusal(double, np.ones((4, 3)))


def test_an_interpreter_that_is_not_known(monkeypatch):
    """Where numbers stand elsewhere in an array, nothing is read at all."""
    calling._offsets.cache_clear()
    calling._caller.cache_clear()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(calling, "_seen", lambda offsets, array: [])
            assert "not known" in refusal(double, np.ones((4, 3)))
    finally:
        calling._offsets.cache_clear()
        calling._caller.cache_clear()


def test_operations_of_ones_own_are_numpys(monkeypatch):
    monkeypatch.setattr(Primitive, "_check", lambda self: None)
    triple = Primitive("tripled", "3·", lambda x: 3 * x, lambda g, out, x: 3 * g)
    try:

        def f(x):
            return triple(x - np.sum(x, axis=0)) * x

        program, arrays = joint(f, [np.random.default_rng(0).normal(size=(4, 3))])
        given = [arrays[x.index] for x in program.arguments]
        for mode in MODES:
            kernel = Kernel(program, given, mode)
            assert "tripled, by NumPy" in str(kernel.plan)
            values = by_engine(program, arrays)
            assert wrong(kernel, (program, given, values), 1e-13) == []
    finally:
        del TABLE["tripled"]


def net(x, W, b, gamma, beta, V):
    z = x @ W + b
    h = np.maximum(gamma * (z - np.mean(z, axis=0)) / np.sqrt(np.var(z, axis=0) + 1e-5) + beta, 0)
    s = h @ V
    e = np.exp(s - np.max(s, axis=1, keepdims=True))
    return e / np.sum(e, axis=1, keepdims=True)


@pytest.mark.parametrize("mode", MODES)
def test_products_of_matrices_are_numpys_between_regions(mode):
    rng = np.random.default_rng(0)
    shapes = [(8, 5), (5, 6), (6,), (6,), (6,), (6, 4)]
    program, arrays = joint(net, [rng.normal(size=s) for s in shapes])
    given = [arrays[x.index] for x in program.arguments]
    kernel = Kernel(program, given, mode)
    assert kernel.source.count("\nvoid kernel") > 1
    bound = None if mode == "strict" else 1e-12
    one = program, given, by_engine(program, arrays)
    assert wrong(kernel, one, bound) == []
    first = kernel(*given)
    places = [np.empty_like(x) for x in first]
    assert all(a is b for a, b in zip(kernel(*given, out=places), places, strict=True))
    assert all(map(same_bits, places, first))
    assert not any(np.shares_memory(x, y) for x in first for y in given)


@pytest.mark.parametrize(
    "name", ["*/ #error", "a\nb", '"', "γ", "", "int", "kernel", "\\", "//", "*/"]
)
def test_a_name_is_no_part_of_the_text(name):
    x = Tensor(np.ones((4, 3)), name=name)
    program = Program.of(Graph.joint(x * np.sum(x * 2, axis=0)))
    given = [np.ones((4, 3))] * 2
    kernel = Kernel(program, given, "strict")
    assert kernel.source.isascii()
    assert np.array_equal(kernel(*given)[0], np.full((4, 3), 8.0))


def test_a_name_that_c_has_another_use_for():
    def f(int, gamma, sqrt):
        double, memcpy = int * gamma, sqrt - 1
        γ̂ = double * memcpy
        work = np.sqrt(γ̂ * γ̂ + 1)
        N = work - np.mean(work, axis=0)
        return N

    program, arrays = joint(f, arrays_of((4, 3), "float64"))
    given = [arrays[x.index] for x in program.arguments]
    one = program, given, by_engine(program, arrays)
    kernel = Kernel(program, given, "strict")
    assert kernel.source.isascii()
    assert wrong(kernel, one, None) == []
