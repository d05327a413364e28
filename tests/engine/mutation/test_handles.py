"""In place inside `trace`: what is seen by whom, what is recorded, and what is refused."""

import copy
import operator
import sys
import threading

import numpy as np
import pytest
from helpers import same_bits

from tinygraph import Graph, Tensor, derive, draw, grad, no_grad, trace
from tinygraph.engine.autodiff import reachable
from tinygraph.engine.mutation.handle_functions import SOMETIMES, VIEWS
from tinygraph.engine.primitive import NUMPY

RNG = np.random.default_rng(13)
X = RNG.normal(size=(4, 3))
V = RNG.normal(size=3)


def same(f, *args):
    """Assert that a traced function gives what NumPy gives, and leaves its arguments alone."""
    kept = [a.copy() for a in args]
    out = trace(f)(*args)
    expected = f(*[a.copy() for a in args])
    outs, expected = [x if isinstance(x, tuple) else (x,) for x in (out, expected)]
    for a, b in zip(outs, expected, strict=True):
        assert same_bits(getattr(a, "data", a), b)
    for a, b in zip(kept, args, strict=True):
        assert same_bits(a, b)
    return out


def ops_of(out):
    return [node.op.name for node in reachable([out]) if node.op is not None]


# --- what is seen by whom -----------------------------------------------------------------------


def test_a_scalar_is_no_view_and_a_whole_slice_is_one():
    def f(x):
        s = x[0, 0]
        s += 1
        row = x[1, ...]
        row += 1
        one = x[2, 0, ...]
        one += 1
        return x, s

    same(f, X)


def test_swaps_of_scalars_are_right_and_of_rows_alias_as_in_numpy():
    def f(x, v):
        v[0], v[1] = v[1], v[0]
        x[0], x[1] = x[1], x[0]
        return x, v

    out, _ = same(f, X, V)
    assert np.array_equal(out.data[0], out.data[1])


def test_an_entry_of_a_tuple_is_written_before_python_refuses():
    def f(x):
        pair = (x, x)
        with pytest.raises(TypeError, match="does not support item assignment"):
            pair[0] += 1
        return x

    same(f, X)


def test_a_view_survives_its_base_and_rebinding():
    def f(x):
        a = x * 1
        row = a[0]
        a = a * 2
        row[:] = 7
        del a
        return row * 1, x

    same(f, X)


def test_an_array_says_that_it_is_one():
    def f(x):
        out = np.zeros((2, 3))
        assert isinstance(x, np.ndarray)
        assert isinstance(out, np.ndarray)
        assert (out.dtype, len(out), out.shape, out.ndim, out.size) == (float, 2, (2, 3), 2, 6)
        assert not out.any()
        assert str(out) == str(np.zeros((2, 3)))
        out[0] = x[0]
        return out

    same(f, X)


def test_copies_are_copies():
    def f(x):
        a, b, c, d = x.copy(), +x, x.flatten(), copy.copy(x)
        e = x.astype(float, copy=False)
        x *= 2
        return a, b, c, d, e, copy.deepcopy(x)

    same(f, X)


def test_asarray_of_a_constant_refuses_later_writes_while_it_is_used():
    def f(x):
        out = np.zeros(3)
        plain = np.require(out)
        with pytest.raises(ValueError, match="for a copy"):
            out[0] = 1.0
        assert not plain.flags.writeable
        del plain
        out[0] = x[0, 0]
        return out

    trace(f)(X)


# --- what is recorded ---------------------------------------------------------------------------


def test_a_loop_that_fills_row_by_row_is_one_node_and_reads_what_it_wrote():
    def f(x):
        h = np.zeros((4, 3))
        h[0] = x[0]
        for t in range(1, 4):
            h[t] = np.tanh(h[t - 1] + x[t])
        return h

    out = same(f, X)
    assert ops_of(out).count("assign") == 1
    assert out.name == "h"
    assert "index" not in [x.op.name for x in out.inputs[2:]]


def test_a_loop_that_accumulates_is_one_node():
    def f(x):
        dx = np.zeros((6, 3))
        for i in range(4):
            dx[i : i + 3] += x[i] * 0.5
        return dx

    assert ops_of(same(f, X)).count("assign_add") == 1


def test_minus_one_at_the_labels_is_an_addition():
    labels = np.array([0, 2, 1, 0])

    def f(x):
        dx = np.exp(x)
        dx[np.arange(4), labels] -= 1
        return dx

    out = same(f, X)
    assert ops_of(out) == ["exp", "assign_add"]
    assert derive(out).count("with [i, j] += -1") == 1


def test_a_mask_that_is_computed_is_a_choice():
    def f(x):
        x[x < 0] = 0
        return x * 2

    out = same(f, X)
    assert "where" in ops_of(out)
    other = RNG.normal(size=(4, 3))
    graph = Graph.capture(out)
    value = graph.run(x=other)[graph.outputs[0].name]
    assert same_bits(value, f(other.copy()))


def test_labels_that_are_computed_stay_operands():
    def f(x):
        best = np.argmax(x, axis=1)
        x[np.arange(4), best] += 1
        x[np.arange(4), best] = 0.5
        return x

    out = same(f, X)
    other = RNG.normal(size=(4, 3))
    graph = Graph.capture(out)
    value = graph.run(x=other)[graph.outputs[0].name]
    assert same_bits(value, f(other.copy()))
    space = {}
    exec(derive(out, format="python"), space)
    assert same_bits(space["forward"](other)[0], f(other.copy()))


def test_another_mask_is_refused_by_a_snapshot():
    def f(x):
        x[x < 0] = x[x < 0] * 2
        return x

    graph = Graph.capture(same(f, X))
    with pytest.raises(ValueError, match="picks other entries"):
        graph.run(x=-X)


def test_the_emitted_module_computes_the_same_bits_both_ways():
    def f(x, v):
        out = np.zeros((5, 3))
        out[1:] = x
        out[0] = v
        out[::2, 1] *= 3
        out[[0, 0, 1]] += v
        y = out.T
        y[0] = 2.0
        return np.tanh(out)

    x, v = Tensor(X, name="x"), Tensor(V, name="v")
    out = trace(f)(x, v)
    space = {}
    exec(derive(out, format="python"), space)
    value, cache = space["forward"](X, V)
    assert same_bits(value, f(X.copy(), V.copy()))
    dout = RNG.normal(size=value.shape)
    assert all(map(same_bits, space["backward"](dout, cache), grad(out, [x, v], dout)))
    assert "with [1:]" in derive(out)
    assert r"\leftarrow" in derive(out, format="latex")
    assert draw(out).source.count("with") >= 1


def test_gradients_to_second_order_through_writes():
    def f(x, v):
        out = x * x
        out[1] = v * out[0]
        out[2:] += v**3
        return np.sum(out * out)

    x, v = Tensor(X), Tensor(V)
    dx, dv = grad(trace(f)(x, v), [x, v], create_graph=True)
    a, b = RNG.normal(size=X.shape), RNG.normal(size=V.shape)
    second = grad(np.sum(dx * a) + np.sum(dv * b), [x, v])

    def first(x, v):
        return grad(trace(f)(tx := Tensor(x), tv := Tensor(v)), [tx, tv])

    step = 1e-6
    for k, (point, found) in enumerate(zip((X, V), second, strict=True)):
        direction = RNG.normal(size=point.shape)
        sides = []
        for sign in (1, -1):
            moved = [X, V]
            moved[k] = point + sign * step * direction
            gx, gv = first(*moved)
            sides.append(np.sum(gx * a) + np.sum(gv * b))
        assert np.sum(found * direction) == pytest.approx((sides[0] - sides[1]) / (2 * step), 1e-6)


def test_what_is_written_under_no_grad_is_a_constant_and_nothing_else_is():
    def f(x):
        out = x * 1
        with no_grad():
            out[0] = x[0] * 2
            first = out[1] * 3
        return out, first

    x = Tensor(X)
    out, _ = trace(f)(x)
    dout = RNG.normal(size=X.shape)
    (dx,) = grad(out, [x], dout)
    assert np.array_equal(dx, dout * np.array([[0.0], [1], [1], [1]]))


# --- which functions view -----------------------------------------------------------------------

CALLS = [
    lambda f, x: f(x),
    lambda f, x: f(x, axis=0),
    lambda f, x: f(x, 0),
    lambda f, x: f(x, 1),
    lambda f, x: f(x, 0, 1),
    lambda f, x: f(x, (-1,)),
    lambda f, x: f(x, None),
    lambda f, x: f(x, [1, 0]),
    lambda f, x: f(x, x.shape),
    lambda f, x: f(x, (2, *x.shape)),
    lambda f, x: f([x, x]),
    lambda f, x: f("ij->ji", x),
    lambda f, x: f("ii->i", x),
]


def parts(result):
    return result if isinstance(result, list | tuple) else [result]


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("function", NUMPY, ids=lambda function: function.__name__)
def test_a_function_that_may_view_is_known_as_one(function):
    if isinstance(function, np.ufunc):
        return  # which view nothing
    for x in (RNG.normal(size=(3, 3)), RNG.normal(size=3), RNG.normal(size=(1, 3)).T):
        for call in CALLS:
            try:
                result = call(function, x)
            except Exception:  # not how it is called
                continue
            shares = [r for r in parts(result) if isinstance(r, np.ndarray)]
            if any(np.may_share_memory(r, x) for r in shares):
                assert function in VIEWS | SOMETIMES


# --- what is refused ----------------------------------------------------------------------------


class Box:
    pass


def into_an_attribute(x):
    box = Box()
    box.out = np.zeros(3)
    box.out[:] = x[0]


def a_number_into_an_attribute(x):
    box = Box()
    box.out = np.zeros(3)
    box.out[0] = x[0, 0]


def into_integers(x):
    out = np.zeros(3, int)
    out[0] = x[0, 0]


ONE_LINE = {"np": np}
exec("def of_one_line(x):\n    out = np.zeros(3); out[0] = x[0, 0]", ONE_LINE)


def complex_into_floats(x):
    x[0] = 1j * x[1]


def shape(x):
    x.shape = (3, 4)


def other_ufuncs(x):
    np.multiply.at(x, [0, 0], 2.0)


def out_of_a_plain_array(x):
    box = Box()
    box.out = np.zeros((4, 3))
    np.add(x, 1, out=box.out)


def what_is_read_only(x):
    np.broadcast_to(x, (2, 4, 3))[0] = 1


def what_does_not_fit(x):
    x[0] = x[:, 0]


def what_grows(x):
    row = x[0]
    row += x


def place(x):
    np.place(x, x.data > 0, [1.0])


def an_added_row_in_an_attribute(x):
    box = Box()
    box.kept = np.zeros(3)
    box.kept += x[0]


def several_outs(x):
    a, b = np.empty((4, 3)), np.empty((4, 3))
    np.divmod(x, 0.5, out=(a, b))


def through_an_iterator(x):
    for entry in np.nditer(x, op_flags=["readwrite"]):
        entry[...] = 1.0


def parts_of_complex_numbers(x):
    return np.real(x * 1j)


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (an_added_row_in_an_attribute, "held elsewhere"),
        (several_outs, "for each"),
        (through_an_iterator, r"write for i in np\.ndindex\(\*x\.shape\)"),
        (lambda x: np.random.default_rng(0).random(out=x), r"write x\[\.\.\.\] = rng"),
        (lambda x: memoryview(x), r"write x\[\.\.\.\] = values"),
        (parts_of_complex_numbers, "not holomorphic"),
        (lambda x: x.sort(), r"no attribute 'sort'; write x\[...\] = np.sort"),
        (into_an_attribute, "held elsewhere"),
        (a_number_into_an_attribute, "held elsewhere"),
        (into_integers, "holds integers"),
        (ONE_LINE["of_one_line"], "same line"),
        (complex_into_floats, "cannot hold"),
        (shape, "reshape"),
        (other_ufuncs, r"np.add.at"),
        (out_of_a_plain_array, "out="),
        (what_is_read_only, "read-only"),
        (what_does_not_fit, r"could not broadcast .* \(4,\) into shape \(3,\)"),
        (what_grows, r"doesn't match the broadcast shape"),
        (place, r"x\[mask\] = values"),
    ],
)
def test_what_cannot_be_translated_says_so(f, message):
    with pytest.raises((TypeError, ValueError, AttributeError), match=message):
        trace(f)(X)


def shuffled(x, shuffle):
    rows = x * 1.0
    shuffle(rows)
    return rows


def shuffled_numbers(x, shuffle):
    rows = np.arange(12.0).reshape(4, 3)
    shuffle(rows)
    return x * rows


SHUFFLES = {
    "a generator's": lambda: np.random.default_rng(0).shuffle,
    "the old one": lambda: np.random.RandomState(0).shuffle,
    "operator": lambda: lambda rows: operator.setitem(rows, 0, rows[1]),
}


@pytest.mark.filterwarnings("ignore:you are shuffling")
@pytest.mark.parametrize("f", [shuffled, shuffled_numbers])
@pytest.mark.parametrize("name", SHUFFLES)
def test_compiled_code_that_moves_rows_is_refused(f, name):
    with pytest.raises(TypeError, match="permutation"):
        trace(f)(X, SHUFFLES[name]())


@pytest.mark.filterwarnings("ignore:you are shuffling")
@pytest.mark.parametrize("name", ["a generator's", "the old one"])
def test_scalars_are_shuffled_as_in_numpy(name):
    def f(x, fresh):
        column = x[:, 0] * 1.0
        fresh()(column)
        return column

    assert same_bits(trace(f)(X, SHUFFLES[name]).data, f(X, SHUFFLES[name]))


def test_entries_are_written_one_by_one():
    def f(x):
        out = np.zeros_like(x)
        for i in np.ndindex(*x.shape):
            out[i] = x[i] ** 2
            x[i] += out[i]
        return out * x

    same(f, X)


def test_several_arrays_are_given_axes_at_once():
    def f(x, v):
        a, b = np.atleast_2d(v, x[0, 0])
        a[0, 1] = 5
        return a * b, v

    same(f, X, V)


def test_arguments_that_share_memory_cannot_be_written_and_the_same_one_can():
    def f(x, y):
        x[0] = 1
        return x * y

    base = X.copy()
    with pytest.raises(ValueError, match="shares memory"):
        trace(f)(base[:3], base[1:])
    assert same_bits(trace(f)(base, base).data, f(*[X.copy()] * 2))


def test_nothing_is_written_after_the_call():
    box = Box()

    def f(x):
        box.kept = x
        return x * 2

    trace(f)(X)
    assert same_bits((box.kept * 3).data, X * 3)
    with pytest.raises(ValueError, match="is over"):
        box.kept[0] = 1


def test_what_a_function_leaves_in_the_callers_containers_are_no_handles():
    found, noted = [], {}

    def f(x, found, noted):
        out = np.zeros(3)
        out[0] = x[0, 0]
        found.append(out)
        noted["out"] = np.ones(3)
        noted["x"] = x
        return {"a": [out, (x,)]}

    result = trace(f)(X, found, noted)
    assert type(found[0]) is type(result["a"][0]) is type(noted["x"]) is Tensor
    assert type(noted["out"]) is np.ndarray


def test_arrays_of_the_caller_stay_plain():
    kept = [np.zeros(3)]

    def outside():
        buffer = np.zeros(3)

        def f(x, kept):
            first = kept[0]
            total = buffer + first
            return x * total

        return f, lambda: buffer

    f, buffer = outside()
    trace(f)(X, kept)
    assert type(kept[0]) is type(buffer()) is np.ndarray


def test_without_a_tracer_handles_still_work_and_plain_arrays_raise():
    def f(x):
        sys.settrace(None)
        x[0] = x[1] * 2
        out = np.zeros(3)
        with pytest.raises(TypeError, match="held elsewhere"):
            out[:] = x[0]
        return x

    same_as = X.copy()
    same_as[0] = same_as[1] * 2
    before = sys.gettrace()
    try:
        assert same_bits(trace(f)(X).data, same_as)
    finally:
        sys.settrace(before)


def test_another_thread_may_write():
    def f(x):
        out = np.zeros(3)
        worker = threading.Thread(target=lambda: out.__setitem__(0, x[0, 0]))
        worker.start()
        worker.join()
        return out

    same(f, X)


def test_two_calls_one_inside_the_other_share_their_arrays():
    def inner(a):
        a[0] = 5
        return a

    def f(x):
        y = trace(inner)(x)
        y[1] = 6
        return x

    expected = X.copy()
    expected[0], expected[1] = 5, 6
    assert same_bits(trace(f)(X).data, expected)


def test_a_long_chain_of_views_needs_no_recursion():
    def f(v):
        w = v
        for _ in range(3000):
            w = w[:]
        w += 1
        return v, w * 1

    same(f, V)
