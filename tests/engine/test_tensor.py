"""Tensors: construction, dtypes, gradients, immutability, memory, size."""

import copy
import gc
import math
import pickle
import re
import threading
import weakref
from fractions import Fraction

import numpy as np
import pytest
from helpers import close, same_bits, upstream

from tinygraph import Tensor, grad, no_grad, ops

# --- construction -------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [3, 3.0, True, np.int8(3), np.float64(3.0), np.array(3)], ids=repr)
def test_scalars_are_tensors_of_shape_nothing(data):
    x = Tensor(data)
    assert (x.shape, x.ndim, x.size, x.dtype) == ((), 0, 1, np.float64)
    assert x.data == float(data)
    assert isinstance(x.data, np.float64)
    assert x.op is None
    assert x.inputs == ()
    assert x.grad is None
    assert x.name is None


@pytest.mark.parametrize(
    "dtype", ["int8", "int32", "int64", "uint8", "uint64", "bool"], ids=lambda dtype: dtype
)
def test_integers_and_bools_become_float64(dtype):
    x = Tensor(np.array([[0, 1], [1, 0]], dtype=dtype))
    assert x.dtype == np.float64
    assert x.data.tolist() == [[0, 1], [1, 0]]


def test_a_large_python_int_becomes_float64_too():
    assert Tensor([1, 2]).dtype == np.float64
    assert Tensor(10**30).dtype == np.float64
    assert Tensor(10**30).data == 1e30


KEPT = ["float16", "float32", "float64", "longdouble", "complex64", "complex128", "clongdouble"]


@pytest.mark.parametrize("dtype", KEPT)
def test_floats_keep_their_dtype(dtype):
    data = np.array([0.5, -1.25], dtype=dtype)
    x = Tensor(data)
    assert same_bits(x.data, data)
    out = np.square(x) * 2 + 1.5
    g = np.array([0.25, -3], dtype=dtype)
    out.backward(g)
    assert out.dtype == x.grad.dtype == out.grad.dtype == data.dtype
    assert np.all(x.grad == 4 * data * g)
    assert Tensor(data[0]).dtype == data.dtype
    assert Tensor(data[0]).shape == ()


def test_fractions_stay_exact_objects():
    x = Tensor([Fraction(1, 3), 2])
    assert x.dtype == object
    assert x.data.tolist() == [Fraction(1, 3), 2]
    scalar = Tensor(Fraction(1, 3))
    assert scalar.shape == ()
    assert scalar.item() == Fraction(1, 3)


def test_lists_and_nested_lists():
    assert Tensor([1.0, 2.0]).shape == (2,)
    assert Tensor([[1, 2, 3], [4, 5, 6]]).shape == (2, 3)
    assert Tensor((1.0, 2)).data.tolist() == [1, 2]
    assert Tensor([]).shape == (0,)
    assert Tensor(range(3)).data.tolist() == [0, 1, 2]
    assert Tensor(1j).dtype == np.complex128


def test_the_users_array_is_copied():
    data = np.array([[1.0, 2.0], [3.0, 4.0]])
    x = Tensor(data)
    y = x * x
    data[:] = 99
    assert x.data.tolist() == [[1, 2], [3, 4]]
    y.backward([[0.5, 1.0], [-1.0, 2.0]])
    assert x.grad.tolist() == [[1, 4], [-6, 16]]
    assert data.flags.writeable


def test_constants_are_copied():
    constant = np.array([1.0, 2.0])
    x = Tensor([3.0, 4.0])
    y = x * constant
    z = np.where(mask := np.array([True, False]), x, constant)
    constant[:] = mask[:] = 0
    assert grad(y, [x], [0.5, 0.25])[0].tolist() == [0.5, 0.5]
    assert grad(z, [x], [0.5, 0.25])[0].tolist() == [0.5, 0]
    assert constant.flags.writeable


def test_the_upstream_gradient_is_copied():
    x = Tensor([3.0, 4.0])
    y = x * 2
    g = np.array([0.5, 0.25])
    y.backward(g)
    g[:] = 99
    assert y.grad.tolist() == [0.5, 0.25]
    assert x.grad.tolist() == [1, 0.5]


@pytest.mark.parametrize(
    "data",
    ["abc", None, ["a", "b"], [1.0, None], {1, 2}, object(), b"x", np.array(["2020"], "M8[Y]")],
    ids=lambda data: type(data).__name__,
)
def test_what_is_not_numbers(data):
    with pytest.raises(TypeError, match="the data of a tensor must be numbers, not "):
        Tensor(data)
    with pytest.raises(TypeError, match="the data of 'w' must be numbers, not "):
        Tensor(data, name="w")


def test_ragged_lists_and_masked_arrays():
    with pytest.raises(ValueError, match="the data of 'w' does not form an array"):
        Tensor([[1.0, 2.0], [3.0]], name="w")
    with pytest.raises(TypeError, match="the data of 'w' is a masked array"):
        Tensor(np.ma.masked_array([1.0, 2.0], [True, False]), name="w")


def test_a_tensor_of_a_tensor():
    x = Tensor([1.0, 2.0], name="x")
    with pytest.raises(TypeError, match=r"Tensor\(x, .*is a Tensor already.*detach"):
        Tensor(x)
    with pytest.raises(TypeError, match=r"np\.stack"):
        Tensor([x, x])


@pytest.mark.parametrize("name", [1, b"x", ["x"]], ids=repr)
def test_a_name_is_a_string(name):
    with pytest.raises(TypeError, match="name of a tensor is a string"):
        Tensor(1.0, name=name)


# --- dtypes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble"])
@pytest.mark.parametrize(
    "f",
    [
        lambda x: x + 1,
        lambda x: 1.5 + x,
        lambda x: x - 2.5,
        lambda x: 2 - x,
        lambda x: x * 0.5,
        lambda x: 3 * x,
        lambda x: x / 7,
        lambda x: 1 / x,
        lambda x: 2.5 / x,
        lambda x: x**2,
        lambda x: x**1.5,
        lambda x: 2**x,
        lambda x: np.maximum(x, 0.5),
        lambda x: np.maximum(0, x),
        lambda x: np.clip(x, 0.25, 2),
        lambda x: np.where(x > 1, x, 0.0),
        lambda x: np.mean(x),
        lambda x: np.var(x, axis=0),
        lambda x: np.max(x),
        lambda x: np.tanh(x @ x),
        lambda x: x * True,
        lambda x: x[0] * 0.1,
    ],
)
def test_python_scalars_are_weak(dtype, f):
    rng = np.random.default_rng(1)
    x = Tensor(rng.uniform(0.5, 2, size=4).astype(dtype))
    out = f(x)
    assert out.dtype == dtype
    (dx,) = grad(out, [x], upstream(rng, out), create_graph=True)
    assert dx.dtype == dtype
    out.backward(upstream(rng, out))
    assert x.grad.dtype == dtype
    if dx.op:
        assert grad(dx, [x], upstream(rng, dx))[0].dtype == dtype


def test_numpy_scalars_and_arrays_are_not_weak():
    x = Tensor(np.array([0.5, 0.25], np.float32))
    for strong in (np.float64(2), np.array([1.0, 2.0]), Tensor(np.array([1.0, 2.0]))):
        for out in (x * strong, strong * x):
            assert out.dtype == np.float64
            assert grad(out, [x], [0.5, 0.25])[0].dtype == np.float32
    assert (x * np.float32(2)).dtype == np.float32
    assert (np.float16(2) * x).dtype == np.float32


def test_a_fraction_is_a_weak_scalar_unless_all_is_exact():
    x = Tensor(np.array([0.5, 0.25], np.float32))
    assert (x * Fraction(1, 3)).dtype == np.float32
    assert (Fraction(1, 3) + x).dtype == np.float32
    assert (Tensor([Fraction(1)]) * Fraction(1, 3)).data[0] == Fraction(1, 3)
    assert (Fraction(1, 3) - Tensor([Fraction(1)])).data[0] == Fraction(-2, 3)


OPERATIONS = [
    lambda a, b: a + b,
    lambda a, b: a - b,
    lambda a, b: a * b,
    lambda a, b: a / b,
    lambda a, b: a**b,
]
OTHERS = [2, 2.5, np.float64(2.5), np.float32(1.5), np.int64(3), np.array([2.0, 0.5]), [2.0, 0.5]]


@pytest.mark.parametrize("f", OPERATIONS)
@pytest.mark.parametrize("other", OTHERS, ids=repr)
def test_both_orders_of_operands(f, other):
    data = np.array([0.7, 1.9])
    plain = np.asarray(other) if isinstance(other, list) else other
    g = np.array([0.3, -1.2])
    for tensor_first in (True, False):
        x = Tensor(data)
        out = f(x, other) if tensor_first else f(other, x)
        assert isinstance(out, Tensor)
        assert same_bits(out.data, f(data, plain) if tensor_first else f(plain, data))
        moved = data + 1e-20j
        slope = (f(moved, plain) if tensor_first else f(plain, moved)).imag / 1e-20
        close(grad(out, [x], g)[0], g * slope, 1e-14)


def test_comparisons_give_plain_bools():
    x = Tensor([1.0, 2.0, 3.0])
    for result, expected in [
        (x > 2, [False, False, True]),
        (x >= 2.0, [False, True, True]),
        (x < 2, [True, False, False]),
        (x <= Tensor([0.0, 2.0, 4.0]), [False, True, True]),
        (x < np.array([2.0, 2.0, 2.0]), [True, False, False]),
        (x == 2, [False, True, False]),
        (x != 2, [True, False, True]),
        (np.array([1.0, 0.0, 3.0]) == x, [True, False, True]),
    ]:
        assert type(result) is np.ndarray
        assert result.dtype == bool
        assert result.tolist() == expected
    assert isinstance(Tensor(1.0) == 1, np.bool)


# --- Python's protocols -------------------------------------------------------------------------


def test_len_and_iteration():
    x = Tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    assert len(x) == 3
    rows = list(x)
    assert [row.data.tolist() for row in rows] == [[1, 2], [3, 4], [5, 6]]
    first, *_, last = x
    out = first * last
    assert grad(out, [x], [0.5, 0.25])[0].tolist() == [[2.5, 1.5], [0, 0], [0.5, 0.5]]
    assert list(Tensor(np.zeros((0, 2)))) == []
    with pytest.raises(TypeError, match=r"a tensor of shape \(\) has no first axis"):
        len(Tensor(1.0))
    with pytest.raises(TypeError, match=r"a tensor of shape \(\) has no first axis"):
        iter(Tensor(1.0))


def test_conversion_to_python_numbers():
    x = Tensor(2.75)
    assert (x.item(), bool(x)) == (2.75, True)
    assert type(x.item()) is float
    with no_grad():
        assert (float(x), int(x), complex(x), float(Tensor([[2.5]]))) == (2.75, 2, 2.75, 2.5)
    assert bool(Tensor(0.0)) is False
    assert bool(Tensor([1.0])) is True
    for convert in (float, int, Tensor.item):
        with (
            no_grad(),
            pytest.raises(ValueError, match=r"w of shape \(2,\) has 2 entries, not one"),
        ):
            convert(Tensor([1.0, 2.0], name="w"))
    with pytest.raises(ValueError, match="ambiguous"):
        bool(Tensor([1.0, 2.0]))


def test_formatting():
    x = Tensor(2.71828, name="e")
    assert f"{x:.3f}" == "2.718"
    assert f"{x:8.1e}|" == " 2.7e+00|"
    assert f"{x}" == str(x) == "Tensor(2.71828, name='e', shape=())"
    with pytest.raises(ValueError, match="has 2 entries"):
        f"{Tensor([1.0, 2.0]):.3f}"


def test_repr():
    assert repr(Tensor(2.0)) == "Tensor(2.0, shape=(), dtype=float64)"
    assert repr(Tensor([1.0, 2.0], name="x")) == "Tensor(x, shape=(2,), dtype=float64)"
    assert repr(Tensor(2.0) * 3) == "Tensor(6.0, shape=(), dtype=float64, op=mul)"


def test_printing_shows_the_numbers(capsys):
    print(Tensor([[1.0, 2.5], [-3.0, 4.0]], name="W"))
    print(Tensor([1.0, 2.0]) * 2)
    print(Tensor(np.float32([0.1]), name="b"))
    print(Tensor([Fraction(1, 3)], name="f"))
    assert capsys.readouterr().out.splitlines() == [
        "Tensor([[ 1. ,  2.5],",
        "        [-3. ,  4. ]], name='W', shape=(2, 2))",
        "Tensor([2., 4.], shape=(2,))",
        "Tensor([0.1], name='b', shape=(1,), dtype=float32)",
        "Tensor([Fraction(1, 3)], name='f', shape=(1,))",
    ]


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (2, 3, 4), (1500,), (40, 0)], ids=str)
@pytest.mark.parametrize("dtype", ["float16", "float64", "longdouble", "complex128"])
def test_printed_numbers_are_those_of_an_arrays_repr(shape, dtype):
    array = np.asarray(np.random.default_rng(3).normal(size=shape).astype(dtype))
    numbers, _, rest = str(Tensor(array, name="x")).partition(", name='x', ")
    ends = r"(,\s+shape=\([^)]*\))?(,\s+dtype=\w+)?\)$"
    expected = re.sub(ends, "", repr(array)).replace("array(", "Tensor(")
    assert numbers.split() == expected.split()
    usual = dtype in ("float64", "complex128")
    assert rest == f"shape={shape})" if usual else f"shape={shape}, dtype={array.dtype})"


@pytest.mark.parametrize("shape", [(), (3,), (1000,), (64, 64), (8, 16, 32, 32)], ids=str)
@pytest.mark.parametrize("dtype", ["float16", "float64", "longdouble", "complex128"])
def test_repr_is_short(shape, dtype):
    x = Tensor(np.full(shape, 1 / 3, dtype), name="sqrtvar")
    for t in (x, x - x / 7, np.sum(x), np.concatenate([x, x]) if shape else x):
        assert len(repr(t)) < 80
        assert "\n" not in repr(t)
        assert t.shape == () or "0.3" not in repr(t)


def test_identity_not_equality_decides_what_a_tensor_is():
    x, y = Tensor(1.0), Tensor(1.0)
    assert x == y
    assert len({x, y}) == 2
    assert {x: "x", y: "y"}[x] == "x"


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))]
)
def test_a_copy_of_a_leaf_is_another_leaf(copied):
    w = Tensor(2.0, name="w")
    w.grad = np.float64(7.0)
    v = copied(w)
    assert (v.name, v.grad, v.data) == ("w", 7.0, 2.0)
    assert grad(w * v**2, [w, v]) == [4.0, 8.0]  # not the sum of both, twice
    array = copied(Tensor([1.0, 2.0]))
    with pytest.raises(ValueError, match="read-only"):
        array.data[0] = 5.0
    array.grad = np.array([1.0, 2.0])
    with pytest.raises(ValueError, match="read-only"):
        copied(array).grad[0] = 5.0


def test_new_data_keeps_the_dtype():
    p = Tensor(np.array([1, 2], np.float32))
    p.data = p.data - np.float64(0.1) * p.data
    assert p.dtype == np.float32


# --- backward -----------------------------------------------------------------------------------


def test_the_micrograd_example():
    a, b = Tensor(-4.0, name="a"), Tensor(2.0, name="b")
    c = a + b
    d = a * b + b**3
    c += c + 1
    c += 1 + c + (-a)
    d += d * 2 + (b + a).relu()
    d += 3 * d + (b - a).relu()
    e = c - d
    f = e**2
    g = f / 2.0
    g += 10.0 / f
    assert f"{g:.4f}" == "24.7041"
    assert g.data == 24.70408163265306
    g.backward()
    assert f"{a.grad:.4f}" == "138.8338"
    assert a.grad == 138.83381924198252
    assert b.grad == 645.5772594752186


def test_every_node_gets_its_gradient():
    x, w = Tensor([1.0, -2.0], name="x"), Tensor([3.0, 4.0], name="w")
    y = x * w
    z = np.exp(y)
    out = z + y
    g = np.array([0.3, -0.7])
    out.backward(g)
    assert same_bits(out.grad, g)
    assert same_bits(z.grad, g)
    close(y.grad, g * (1 + z.data), 1e-15)
    close(x.grad, g * (1 + z.data) * w.data, 1e-15)
    close(w.grad, g * (1 + z.data) * x.data, 1e-15)


def test_backward_twice_accumulates_on_leaves_only():
    x = Tensor([1.5, -2.0], name="x")
    y = x * x
    out = y * 3
    g, h = np.array([0.3, -0.7]), np.array([1.1, 0.2])
    out.backward(g)
    first_x, first_y = x.grad, y.grad
    out.backward(h)
    close(x.grad, 6 * x.data * (g + h), 1e-15)
    close(y.grad, 3 * h, 1e-15)
    assert same_bits(out.grad, h)
    close(first_x, 6 * x.data * g, 1e-15)  # what was read before has not changed
    close(first_y, 3 * g, 1e-15)


def test_several_losses_share_a_leaf():
    w = Tensor([1.0, 2.0], name="w")
    g, h = np.array([0.3, -0.7]), np.array([1.1, 0.2])
    (w * w).backward(g)
    np.exp(w).backward(h)
    close(w.grad, 2 * w.data * g + h * np.exp(w.data), 1e-15)


def test_none_clears_a_gradient():
    x = Tensor([1.0, 2.0])
    y = x * 3
    y.backward([0.5, 0.25])
    x.grad = None
    y.backward([0.25, 1.0])
    assert x.grad.tolist() == [0.75, 3]


def test_the_gradient_of_a_scalar_needs_no_upstream():
    x = Tensor(3.0)
    out = x * x
    out.backward()
    assert x.grad == 6
    assert out.grad == 1
    assert isinstance(x.grad, np.float64)
    x.backward(2.5)
    assert x.grad == 8.5


@pytest.mark.parametrize("shape", [(3,), (2, 3), (1,), (1, 1), (0,)], ids=str)
def test_an_upstream_gradient_is_never_silently_ones(shape):
    x = Tensor(np.zeros(shape), name="x")
    out = x * 2
    out.name = "out"
    for differentiate in (out.backward, lambda: grad(out, [x])):
        with pytest.raises(ValueError, match=r"out of shape .* upstream") as error:
            differentiate()
        assert f"pass dout, an array of shape {shape}" in str(error.value)
    assert x.grad is None


@pytest.mark.parametrize("shape", [(), (2,), (1, 3), (3, 1), (3, 3)], ids=str)
def test_an_upstream_gradient_of_another_shape(shape):
    x = Tensor([1.0, 2.0, 3.0])
    out = x * 2
    for dout in (np.full(shape, 0.5), Tensor(np.full(shape, 0.5))):
        with pytest.raises(ValueError, match="upstream gradient has shape") as error:
            out.backward(dout)
        assert str(shape) in str(error.value)
        assert "of shape (3,)" in str(error.value)
        with pytest.raises(ValueError, match="upstream gradient has shape"):
            grad(out, [x], dout)
    assert x.grad is None


def test_an_upstream_gradient_may_be_a_list_or_a_tensor_of_any_dtype():
    x = Tensor(np.array([1.0, 2.0], np.float32))
    out = x * 2
    for dout in ([0.5, 1], np.array([0.5, 1]), Tensor([0.5, 1]), np.array([0.5, 1], np.float16)):
        (dx,) = grad(out, [x], dout)
        assert dx.dtype == np.float32
        assert dx.tolist() == [1, 2]
    with pytest.raises(TypeError, match="upstream gradient must be numbers"):
        out.backward(["a", "b"])


def test_an_upstream_gradient_is_no_integer_array():
    """A direct sum of integer gradients would stay integer and lose what comes after."""
    x = Tensor([1.0, 2.0])
    (x * 0.5).backward(np.array([1, 3]))
    assert x.grad.dtype == np.float64
    assert x.grad.tolist() == [0.5, 1.5]


# --- grad ---------------------------------------------------------------------------------------


def test_grad_gives_gradients_in_the_order_asked_and_stores_nothing():
    x, w = Tensor([1.0, -2.0]), Tensor([3.0, 4.0])
    y = x * w
    out = y * y
    g = np.array([0.3, -0.7])
    dw, dy, dx, dout, dx_again = grad(out, [w, y, x, out, x], g)
    close(dy, 2 * g * y.data, 1e-15)
    close(dx, dy * w.data, 1e-15)
    close(dw, dy * x.data, 1e-15)
    assert same_bits(dout, g)
    assert same_bits(dx_again, dx)
    assert all(t.grad is None for t in (x, w, y, out))
    assert grad(out, [], g) == []
    assert same_bits(grad(out, (t for t in (x,)), g)[0], dx)


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_grad_is_zero_for_what_is_not_reachable(create_graph, dtype):
    x, other = Tensor([1.0]), Tensor(np.ones((2, 3), dtype))
    scalar = Tensor(np.array(2.0, dtype))
    out = x * 2
    later = out * 3
    _, d_other, d_scalar, d_later = grad(
        out, [x, other, scalar, later], [0.7], create_graph=create_graph
    )
    for d, t in [(d_other, other), (d_scalar, scalar), (d_later, later)]:
        array = d.data if create_graph else d
        assert isinstance(d, Tensor) == create_graph
        assert array.shape == t.shape
        assert array.dtype == t.dtype
        assert not np.any(array)


def test_a_constant_has_a_derivative_of_zero_of_every_order():
    x = Tensor(2.0)
    y = x * 3
    for _ in range(3):
        (y,) = grad(y, [x], 0.7, create_graph=True)
    assert y.data == 0


def test_create_graph_differentiates_the_upstream_gradient_too():
    x, g = Tensor([1.0, -2.0], name="x"), Tensor([0.3, -0.7], name="g")
    (dx,) = grad(x * x * x, [x], g, create_graph=True)
    v = np.array([1.3, 0.4])
    close(grad(dx, [g], v)[0], v * 3 * x.data**2, 1e-15)
    close(grad(dx, [x], v)[0], v * g.data * 6 * x.data, 1e-15)
    dx.backward(v)
    close(g.grad, v * 3 * x.data**2, 1e-15)


def test_without_create_graph_a_gradient_is_an_array():
    x = Tensor([1.0, -2.0])
    for dout in ([0.5, 0.25], Tensor([0.5, 0.25])):
        (dx,) = grad(x * x, [x], dout)
        assert type(dx) is np.ndarray


def test_errors_of_grad():
    x = Tensor(1.0)
    with pytest.raises(TypeError, match=r"write grad\(out, \[x\]\)"):
        grad(x * 2, x)
    with pytest.raises(TypeError, match="inputs must be Tensors, but one is float"):
        grad(x * 2, [x, 1.0])
    with pytest.raises(TypeError, match="out must be a Tensor, not ndarray"):
        grad(np.zeros(2), [x])


# --- no_grad and detach -------------------------------------------------------------------------


def test_no_grad_records_nothing():
    x = Tensor([1.0, 2.0], name="x")
    with no_grad():
        y = x * x
        with no_grad():
            pass
        z = y + 1
    assert y.op is z.op is None
    assert y.inputs == z.inputs == ()
    assert z.data.tolist() == [2, 5]
    out = x * z
    assert out.op is ops.mul
    assert grad(out, [x], [0.5, 0.25])[0].tolist() == [1, 1.25]


def test_no_grad_ends_with_an_exception_and_decorates():
    x = Tensor(2.0)
    with pytest.raises(ZeroDivisionError), no_grad():
        1 / 0  # noqa: B018
    assert (x * x).op is ops.mul

    @no_grad()
    def square(x):
        return x * x

    assert square(x).op is None
    assert square(x).op is None
    assert (x * x).op is ops.mul


def test_no_grad_holds_for_its_thread_only():
    x = Tensor(2.0)
    inside, done = threading.Event(), threading.Event()
    seen = {}

    def silent():
        with no_grad():
            inside.set()
            assert done.wait(10)
            seen["silent"] = (x * x).op

    thread = threading.Thread(target=silent)
    thread.start()
    assert inside.wait(10)
    seen["main"] = (x * x).op
    other = threading.Thread(target=lambda: seen.update(other=(x * x).op))
    other.start()
    other.join()
    done.set()
    thread.join()
    assert seen == {"silent": None, "main": ops.mul, "other": ops.mul}


def test_a_thread_started_inside_no_grad_records():
    x = Tensor(2.0)
    seen = []
    with no_grad():
        thread = threading.Thread(target=lambda: seen.append((x * x).op))
        thread.start()
        thread.join()
    assert seen == [ops.mul]


def test_threads_build_graphs_of_their_own():
    results = {}

    def build(k):
        rng = np.random.default_rng(k)
        x = Tensor(rng.normal(size=50))
        y = x
        for _ in range(50):
            y = y * 0.5 + np.tanh(x)
        g = rng.normal(size=50)
        y.backward(g)
        results[k] = (x.data, g, x.grad)

    threads = [threading.Thread(target=build, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    for x, g, dx in results.values():
        slope = 0.5**50 + (2 - 2 * 0.5**50) * (1 - np.tanh(x) ** 2)
        close(dx, g * slope, 1e-13)


def test_detach_stops_the_gradient():
    x = Tensor([1.0, 2.0], name="x")
    y = x * x
    cut = y.detach()
    assert cut.op is None
    assert cut is not y
    assert same_bits(cut.data, y.data)
    out = x * cut
    out.backward([0.5, 0.25])
    assert x.grad.tolist() == [0.5, 1]
    assert cut.grad.tolist() == [0.5, 0.5]
    assert y.grad is None
    assert x.detach().name == "x"


# --- a graph does not change --------------------------------------------------------------------


def test_arrays_of_a_graph_are_read_only():
    x, w = Tensor(np.ones((2, 3)), name="x"), Tensor(np.ones(3), name="w")
    tensors = [x, w, x * w, x.T, x[0], x.reshape(6), np.sum(x, axis=0), np.broadcast_to(w, (2, 3))]
    tensors += [x.astype(np.float32), np.where([True, False, True], x, 0.0), x @ w]
    x_grads = grad(x * w, [x, w], np.full((2, 3), 0.3))
    (x * w).backward(np.full((2, 3), 0.3))
    for array in [*(t.data for t in tensors), *x_grads, x.grad, w.grad]:
        before = array.copy()
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 5
        with pytest.raises(ValueError, match="read-only"):
            array *= 2
        assert same_bits(array, before)


def test_entries_cannot_be_assigned():
    x = Tensor([1.0, 2.0], name="x")
    with pytest.raises(TypeError, match=r"Tensor\(x, .*cannot be assigned to at \[0\].*np\.where"):
        x[0] = 5.0
    assert x.data.tolist() == [1, 2]


def test_augmented_assignment_of_a_scalar_makes_a_new_tensor():
    x = Tensor(1.5)
    y = x
    y += 1
    y *= 2
    assert (x.data, y.data) == (1.5, 5)
    assert grad(y, [x], 0.25) == [0.5]


def test_a_leaf_may_be_given_new_data():
    w = Tensor(np.array([1.0, 2.0], np.float32), name="w")
    new = np.array([3.0, 4.0], np.float32)
    w.data = new
    new[:] = 0
    assert w.data.tolist() == [3, 4]
    out = w * w
    out.backward([0.5, 0.25])
    assert w.grad.tolist() == [3, 2]
    w.data = w.data - 0.5 * w.grad
    assert w.dtype == np.float32
    assert w.data.tolist() == [1.5, 3]


def test_new_data_between_forward_and_backward_raises():
    w, x = Tensor([1.0, 2.0], name="w"), Tensor([3.0, 4.0], name="x")
    out = np.exp(x * w)
    w.data = [5.0, 6.0]
    g = [0.5, 0.25]
    for differentiate in (
        lambda: out.backward(g),
        lambda: grad(out, [w], g),
        lambda: grad(out, [x], g),
        lambda: grad(out, [x], g, create_graph=True),
    ):
        with pytest.raises(ValueError, match=r"Tensor\(w, .*was given new data"):
            differentiate()
    assert w.grad is x.grad is None
    again = x * w
    assert grad(again, [x], g)[0].tolist() == [2.5, 1.5]


def test_new_data_between_the_first_and_the_second_derivative_raises():
    x = Tensor(2.0, name="x")
    (dx,) = grad(x**3, [x], 0.7, create_graph=True)
    x.data = 3.0
    with pytest.raises(ValueError, match="was given new data"):
        grad(dx, [x], 0.4)


def test_new_data_keeps_its_shape_and_is_numbers():
    w = Tensor([1.0, 2.0], name="w")
    with pytest.raises(ValueError, match=r"w of shape \(2,\) was given data of shape \(3,\)"):
        w.data = [1.0, 2.0, 3.0]
    with pytest.raises(TypeError, match="'w' must be numbers"):
        w.data = ["a", "b"]
    with pytest.raises(TypeError, match=r"pass its \.data"):
        w.data = w
    out = w * 2
    with pytest.raises(ValueError, match="was computed, and new data would contradict"):
        out.data = [1.0, 2.0]
    assert w.data.tolist() == [1, 2]
    assert out.data.tolist() == [2, 4]


def test_shape_and_dtype_and_op_are_what_they_are():
    x = Tensor([1.0, 2.0])
    for attribute in ("shape", "dtype", "ndim", "size"):
        with pytest.raises(AttributeError):
            setattr(x, attribute, None)
    with pytest.raises(AttributeError):
        x.no_such_attribute = 1


# --- messages -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "op"),
    [
        (lambda a, b: a + b, "add"),
        (lambda a, b: a - b, "sub"),
        (lambda a, b: a * b, "mul"),
        (lambda a, b: a / b, "div"),
        (lambda a, b: a**b, "power"),
        (np.maximum, "maximum"),
        (np.minimum, "minimum"),
        (lambda a, b: a > b, "greater"),
        (lambda a, b: a == b, "equal"),
    ],
)
def test_shapes_that_do_not_broadcast_are_named(f, op):
    x, gamma = Tensor(np.ones((4, 3)), name="x"), Tensor(np.ones(4), name="gamma")
    plain = np.ones((2, 1, 5))
    with pytest.raises(ValueError, match=f"^{op}: ") as error:
        f(x, gamma)
    assert "x of shape (4, 3) and gamma of shape (4,)" in str(error.value)
    with pytest.raises(ValueError, match=f"^{op}: ") as error:
        f(x, plain)
    assert "x of shape (4, 3) and an array of shape (2, 1, 5)" in str(error.value)
    with pytest.raises(ValueError, match=f"^{op}: ") as error:
        f(x, gamma * 2)
    assert "x of shape (4, 3) and a tensor of shape (4,)" in str(error.value)


@pytest.mark.parametrize("other", ["a", None, {1}, object()], ids=lambda x: type(x).__name__)
def test_operands_that_are_not_numbers(other):
    x = Tensor([1.0, 2.0])
    for f in OPERATIONS:
        with pytest.raises(TypeError, match="an operand must be numbers"):
            f(x, other)
        with pytest.raises(TypeError, match="an operand must be numbers"):
            f(other, x)


# --- size and memory ----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_chain_of_a_million_nodes():
    x = Tensor(1.0, name="x")
    y = x
    for _ in range(10**6):
        y = y + 1.5
    assert y.data == 1.5e6 + 1
    y.backward(0.7)
    assert x.grad == 0.7
    del y  # nor may freeing it recurse
    assert x.grad == 0.7


def test_two_to_the_fortieth_paths():
    x = Tensor(0.5)
    y = x
    for _ in range(40):
        y = y + y
    y.backward(0.75)
    assert x.grad == 0.75 * 2**40
    assert grad(y, [x], -3.0) == [-3.0 * 2**40]


def test_a_wide_fan_in_and_a_wide_fan_out():
    rng = np.random.default_rng(2)
    data = rng.normal(size=2000)
    leaves = [Tensor(value) for value in data]
    x = Tensor(0.5)
    total = np.sum(np.stack([leaf * x for leaf in leaves]))
    total.backward(0.3)
    close(x.grad, 0.3 * math.fsum(data), 1e-13)
    assert all(leaf.grad == 0.3 * 0.5 for leaf in leaves)


@pytest.fixture
def no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def use(x):
    """Go through all that could leave a reference cycle behind, and give the last result."""
    out = np.sum(np.exp(x * x), axis=0) / 3 + np.concatenate([x, x])[:4].reshape(4)
    out.backward(np.linspace(-1, 1, 4))
    (dx,) = grad(out, [x], np.linspace(1, 2, 4), create_graph=True)
    return out, dx


@pytest.mark.usefixtures("no_collector")
def test_the_last_reference_frees_the_graph_at_once():
    x = Tensor(np.array([0.5, 1.0, 1.5, 2.0]))
    out, dx = use(x)
    middle = weakref.ref(out.inputs[0])
    ends = [weakref.ref(out), weakref.ref(dx), weakref.ref(x)]
    assert middle() is not None
    del out, dx
    assert middle() is None
    assert [end() is None for end in ends] == [True, True, False]
    del x
    assert ends[2]() is None


@pytest.mark.usefixtures("no_collector")
def test_nothing_is_left_to_the_collector():
    use(Tensor(np.array([0.5, 1.0, 1.5, 2.0])))
    with pytest.raises(ValueError, match="add"):
        Tensor(np.zeros(2)) + np.zeros(3)
    gc.collect()
    for _ in range(20):
        use(Tensor(np.array([0.5, 1.0, 1.5, 2.0])))
    assert gc.collect() == 0


@pytest.mark.slow
def test_a_deep_graph_with_its_gradients_is_freed_without_recursion():
    x = Tensor(1.0, name="x")
    y = x
    for _ in range(10**5):
        y = y * 1.0
    (dx,) = grad(y, [x], 0.7, create_graph=True)
    end = weakref.ref(y)
    assert dx.data == 0.7
    del y, dx
    assert end() is None


# --- memory layout ------------------------------------------------------------------------------


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


LAYOUTS = {
    "Fortran": np.asfortranarray,
    "every other": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "reversed": lambda a: a[::-1, ::-1].copy()[::-1, ::-1],
    "transposed": lambda a: a.T.copy().T,
    "read-only": read_only,
    "byte-swapped": lambda a: a.astype(a.dtype.newbyteorder()),
    "broadcast": lambda a: np.broadcast_to(a, (1, *a.shape))[0],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(4, 3), (1, 3), (4, 1), (0, 3), (4, 0)], ids=str)
def test_the_layout_of_the_input_does_not_matter(layout, shape):
    rng = np.random.default_rng(3)
    data, g = rng.normal(size=shape), rng.normal(size=shape)

    def run(data, g):
        x = Tensor(data)
        w = Tensor(np.linspace(0.5, 1.5, shape[1]))
        y = np.exp(x * w - 1) + np.sum(x, axis=0)
        y = y + (x @ x.T) @ x + x[::-1] * np.where(x > 0, x, 0.0)
        y.backward(g)
        return y.data, x.grad, w.grad

    for a, b in zip(run(data, g), run(LAYOUTS[layout](data), LAYOUTS[layout](g)), strict=True):
        close(b, a, 1e-14)


def test_zero_size():
    x = Tensor(np.zeros((0, 3)), name="x")
    for out in (x * 2, np.exp(x), x.T, x + np.ones(3), x[:0], x.reshape(3, 0), x @ np.ones((3, 2))):
        (dx,) = grad(out, [x], np.zeros(out.shape))
        assert dx.shape == (0, 3)
    w = Tensor(np.ones(3))
    assert grad(x * w, [w], np.zeros((0, 3)))[0].tolist() == [0, 0, 0]


def test_a_result_that_was_not_recorded_cannot_be_differentiated():
    x = Tensor([1.0, 2.0], name="x")
    with no_grad():
        y = x * x
    with pytest.raises(ValueError, match="no_grad"):
        grad(y, [x], [1.0, 2.0])
    with pytest.raises(ValueError, match="no_grad"):
        y.backward([1.0, 2.0])
    z = y.detach() * x  # a constant may be used
    assert np.array_equal(grad(z, [x], [3.0, 5.0])[0], [3.0, 20.0])


def test_fractions_stay_exact_where_the_seed_is_one():
    x = Tensor(np.array([Fraction(1), Fraction(2), Fraction(4)]), name="x")
    (g,) = grad(x.mean(), [x])
    assert g.tolist() == [Fraction(1, 3)] * 3
    (3 - x[0]).backward()
    assert x.grad.tolist() == [-1, 0, 0]
    (x * x).sum().backward()
    assert x.grad.tolist() == [1, 4, 8]
    (g,) = grad(3 - x[0], [x], create_graph=True)
    assert g.dtype == object
    assert grad((x / 3).sum(), [x], 1)[0].tolist() == [Fraction(1, 3)] * 3


def test_a_recorded_upstream_gradient_takes_the_dtype_of_the_output():
    x = Tensor(np.float32([1, 2]), name="x")
    (g,) = grad(x * 1.0, [x], Tensor([0.5, 0.25]), create_graph=True)
    assert g.dtype == np.float32


# --- what is handed out says what to write ------------------------------------------------------


@pytest.mark.parametrize("sign", ["+", "-", "*", "/", "//", "%", "**", "@"])
@pytest.mark.parametrize("what", ["data", "grad"])
def test_changing_an_array_in_place_says_what_to_write(what, sign):
    w = Tensor([1.0, 2.0], name="w")
    (w * w).backward([3.0, 4.0])
    before = getattr(w, what).copy()
    wanted = re.escape(f"instead of w.{what} {sign}= v write w.{what} = w.{what} {sign} v")
    with pytest.raises(ValueError, match=wanted):
        exec(f"w.{what} {sign}= np.ones(2)", {"w": w, "np": np})
    assert same_bits(getattr(w, what), before)
    advised = f"w.{what} = w.{what} {sign} v"
    if sign != "@":
        exec(advised, {"w": w, "v": np.full(2, 0.6)})
        assert not same_bits(getattr(w, what), before)


def test_assigning_an_entry_says_what_to_write():
    w = Tensor([1.0, 2.0], name="w")
    with pytest.raises(ValueError, match=r"a = w\.data\.copy\(\); a\[…\] = …; w\.data = a"):
        w.data[0] = 5.0
    space = {"w": w}
    exec("a = w.data.copy(); a[0] = 5.0; w.data = a", space)
    assert w.data.tolist() == [5.0, 2.0]
    with pytest.raises(ValueError, match="is an array of a graph"):
        w.data[:] += 1


def test_what_is_handed_out_is_an_array_like_any_other():
    x = np.random.default_rng(4).normal(size=(3, 2))
    data = Tensor(x, name="x").data
    assert isinstance(data, np.ndarray)
    assert (repr(data), str(data)) == (repr(x), str(x))
    plain = (data * 2, np.exp(data), data @ x.T, data.copy(), np.sum(data, axis=0), data > 0)
    copies = (pickle.loads(pickle.dumps(data)), np.array(data), np.concatenate([data, data]))
    for array in (*plain, *copies):
        assert type(array) is np.ndarray
    assert type(data.sum()) is np.float64
    unlocked = copy.deepcopy(data)
    unlocked -= 1
    unlocked[0] = 7.0
    assert same_bits(unlocked[1:], x[1:] - 1)
    assert same_bits(data, x)
