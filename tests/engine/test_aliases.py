"""Nobody changes a graph: not through a view, a base, an array object, a key or an attribute."""

import array
import math
import pickle
from collections import UserList, deque
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from helpers import same_bits

from tinygraph import Tensor, grad, no_grad, ops, trace
from tinygraph.engine.autodiff import reachable

# What is attempted here, NumPy from 2.5 on advises against.
pytestmark = pytest.mark.filterwarnings("ignore:Setting the:DeprecationWarning")

RNG = np.random.default_rng(11)
X, DOUT = RNG.normal(size=(4, 3)), RNG.normal(size=(2, 4))


def build():
    """Give a graph with leaves, views of every kind, constants and array keys."""
    x, w = Tensor(X, name="x"), Tensor(X[0], name="w")
    h = np.reshape(x, (3, 4)).T * w + X[::-1]
    h = h[np.array([0, 2, 2]), 1:] * np.array([0.5, -2.0])
    k = np.tanh(x[1:3].T)[:, ::-1]
    out = np.concatenate([np.transpose(h)[:, :2], k[:2]], axis=1) @ np.eye(4)
    return (x, w), out


def gradients(leaves, out):
    return [g.copy() for g in grad(out, leaves, DOUT)]


def arrays_within(value):
    """Yield the arrays that can be reached from what a tensor hands out, with their bases."""
    if isinstance(value, np.ndarray):
        while isinstance(value, np.ndarray):
            yield value
            value = value.base
    elif isinstance(value, tuple | list):
        for x in value:
            yield from arrays_within(x)


def handed_out(tensor, backward):
    yield from arrays_within(tensor.data)
    yield from arrays_within([x for x in tensor.inputs if not isinstance(x, Tensor)])
    yield from arrays_within(list(tensor.params.values()))
    if backward:
        yield from arrays_within(tensor.grad)


def increased(a):
    a += 1


ON_ARRAYS = {
    "entries": lambda a: a.__setitem__(..., 1),
    "flat": lambda a: a.flat.__setitem__(0, 1),
    "fill": lambda a: a.fill(1),
    "in place": increased,
    "sort": lambda a: a.sort(axis=None) if a.ndim == 1 else a.sort(axis=0),
    "byteswap": lambda a: a.byteswap(inplace=True),
    "copyto": lambda a: np.copyto(a, 1),
    "put": lambda a: np.put(a, [0], 1),
    "real": lambda a: a.real.__setitem__(..., 1),
    "memoryview": lambda a: memoryview(a).cast("B").__setitem__(0, 7),
    "a view": lambda a: a.T[...].__setitem__(..., 1),
    "unlocked view": lambda a: a.view().setflags(write=True) or a.view().fill(1),
    "shape": lambda a: setattr(a, "shape", (*a.shape, 1)),
    "flat shape": lambda a: setattr(a, "shape", (a.size,)),
    "dtype": lambda a: setattr(a, "dtype", np.uint8),
    "strides": lambda a: setattr(a, "strides", (0,) * a.ndim),
}
ON_TENSORS = {
    "op": lambda t: setattr(t, "op", ops.exp),
    "inputs": lambda t: setattr(t, "inputs", ()),
    "params": lambda t: setattr(t, "params", {}),
    "index": lambda t: setattr(t, "index", 0),
    "class": lambda t: setattr(t, "__class__", type(t).__mro__[1]),
    "no such": lambda t: setattr(t, "no_such", 1),
    "params[…]": lambda t: t.params.__setitem__("junk", 1),
    "params[…] of another": lambda t: t.params.update(axis=0),
    "del op": lambda t: delattr(t, "op"),
    "del grad": lambda t: delattr(t, "grad"),
    "wrong grad": lambda t: setattr(t, "grad", np.zeros((7, 7))),
    "complex grad": lambda t: setattr(t, "grad", 1j * np.ones(t.shape)),
    "wrong data": lambda t: setattr(t, "data", np.zeros((7, 7))),
    "init": lambda t: t.__init__([1.0]),
    "entries": lambda t: t.__setitem__(0, 1),
    "in place": increased,
    "setstate": lambda t: t.__setstate__((None, {"index": 0})),
}


def attempt(attack, target):
    try:
        with np.errstate(all="ignore"):
            attack(target)
    except (TypeError, ValueError, AttributeError, IndexError, BufferError):
        pass


@pytest.mark.parametrize("attack", ON_ARRAYS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of NumPy: strides, shape
def test_no_array_that_is_handed_out_changes_the_graph(attack):
    """Each attempt is made on every array, and on every base of it, that can be reached."""
    leaves, out = build()
    before = gradients(leaves, out)
    out.backward(DOUT)
    nodes, attempts = reachable([out]), 0
    values = [(t.data.copy(), t.grad.copy()) for t in nodes]
    for tensor in nodes:
        for a in handed_out(tensor, backward=True):
            attempt(ON_ARRAYS[attack], a)
            attempts += 1
        for g in grad(out, [tensor], DOUT):
            for a in arrays_within(g):
                attempt(ON_ARRAYS[attack], a)
    assert attempts > 70
    assert all(map(same_bits, before, gradients(leaves, out)))
    for tensor, (data, g) in zip(nodes, values, strict=True):
        assert same_bits(tensor.data, data)
        assert same_bits(tensor.grad, g)


@pytest.mark.parametrize("attack", ON_TENSORS)
def test_no_attribute_of_a_tensor_changes_the_graph(attack):
    leaves, out = build()
    before, others = gradients(leaves, out), Tensor(1.0).params
    for tensor in reachable([out]):
        attempt(ON_TENSORS[attack], tensor)
        assert (type(tensor), tensor.grad) == (Tensor, None)
    assert all(map(same_bits, before, gradients(leaves, out)))
    assert dict(others) == dict(Tensor(2.0).params) == {}


def test_what_is_handed_out_is_the_value_and_stays_it():
    x = Tensor(X)
    data = x.data
    data.shape = (12,)
    assert x.data.shape == x.shape == (4, 3)
    y = x.T
    assert np.shares_memory(y.data, x.data)
    assert y.data.base is not x.data.base or not y.data.base.flags.writeable


def test_the_users_own_upstream_gradient_stays_writable():
    x, mine = Tensor(X), X[0].copy()
    whole = mine[:]
    for out in (x + 1.0, np.reshape(x, 12), x.T):
        dout = np.broadcast_to(whole, (4, 3)).copy().reshape(out.shape)
        view = dout[...]
        (g,) = grad(out, [x], view)
        out.backward(view)
        before = g.copy(), x.grad.copy()
        view[...] = 9.0
        assert dout.flags.writeable
        assert same_bits(g, before[0])
        assert same_bits(x.grad, before[1])
        x.grad = None


def test_grad_is_checked_when_it_is_set():
    x = Tensor(np.zeros(3, np.float32), name="x")
    for wrong in (np.zeros((2, 3)), np.zeros(()), [1.0, 2.0]):
        with pytest.raises(ValueError, match=r"x of shape \(3,\) was given grad of shape"):
            x.grad = wrong
    with pytest.raises(TypeError, match=r"x of shape \(3,\) is real and was given complex grad"):
        x.grad = np.array([1j, 0, 0])
    with pytest.raises(TypeError, match="numbers"):
        x.grad = ["a", "b", "c"]
    with pytest.raises(TypeError, match=r"pass its \.data"):
        x.grad = Tensor(np.zeros(3))
    mine = np.array([1.0, 2.0, 3.0])
    x.grad = mine
    mine[:] = 0
    assert x.grad.tolist() == [1, 2, 3]
    assert x.grad.dtype == np.float32
    x.grad = None
    assert x.grad is None


def test_a_real_leaf_stays_real():
    w = Tensor([1.0, 2.0], name="w")
    with pytest.raises(TypeError, match=r"w of shape \(2,\) is real and was given complex data"):
        w.data = w.data - 0.1j
    z = Tensor([1j, 2.0], name="z")
    z.data = [1.0, 2.0]
    assert (w.dtype, z.dtype) == (np.float64, np.complex128)


def test_a_leaf_of_fractions_stays_exact():
    w = Tensor(np.array([Fraction(1, 2), 3], dtype=object), name="w")
    w.data = [1, 2]
    assert [type(one) for one in w.data] == [Fraction, Fraction]


def test_a_pickle_with_buffers_does_not_share_them():
    y = Tensor(X, name="x") * X[0]
    buffers = []
    written = pickle.dumps(y, protocol=5, buffer_callback=buffers.append)
    memory = [bytearray(b.raw()) for b in buffers]
    twin = pickle.loads(written, buffers=memory)
    assert memory
    for one in memory:
        one[:] = bytes(len(one))
    for a, b in zip(reachable([y]), reachable([twin]), strict=True):
        assert same_bits(a.data, b.data)
    assert same_bits(twin.inputs[1], X[0])


# --- a number unasked ---------------------------------------------------------------------------


def filled(t):
    a = np.zeros(2)
    a[0] = t
    return a


def added_in_place(t):
    a = np.zeros(2)
    a[1] += t
    return a


AS_NUMBERS = {
    "float": float,
    "int": int,
    "complex": complex,
    "math.exp": math.exp,
    "math.floor": math.floor,
    "np.float64": np.float64,
    "np.float32": np.float32,
    "np.full": lambda t: np.full(2, t),
    "an entry": filled,
    "added to an entry": added_in_place,
    "array": lambda t: array.array("d", [t]),
    "percent": lambda t: "%.3f" % t,  # noqa: UP031
    "np.asarray": np.asarray,
    "np.array": lambda t: np.array([t, t]),
}


def causes(error):
    while error is not None:
        yield str(error)
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize("name", AS_NUMBERS)
def test_a_tensor_becomes_no_number_unasked(name):
    loss = np.sum(Tensor([0.5, 0.25], name="x"))
    with pytest.raises((TypeError, ValueError)) as caught:
        AS_NUMBERS[name](loss)
    said = " ".join(causes(caught.value))
    assert "its gradient would be lost" in said
    assert "np.stack" in said
    with no_grad():
        quiet = AS_NUMBERS[name](loss)
        assert same_bits(np.asarray(quiet), np.asarray(AS_NUMBERS[name](loss.data)))


def test_a_number_on_purpose_is_easy():
    loss = np.sum(Tensor([0.5, 0.25], name="x"))
    assert (loss.item(), f"{loss:.3f}", f"{loss:8.1e}") == (0.75, "0.750", " 7.5e-01")
    assert bool(loss)
    assert loss > 0.5


def test_losses_that_are_collected_in_an_array():
    w = Tensor(RNG.normal(size=(3, 2)), name="w")

    def collected(losses):
        for i in range(4):
            losses[i] = np.sum((X[i] @ w) ** 2)

    with pytest.raises((TypeError, ValueError)) as caught:
        collected(np.zeros(4))
    assert "np.stack" in " ".join(causes(caught.value))
    total = np.sum(np.stack([np.sum((X[i] @ w) ** 2) for i in range(4)]))
    assert np.allclose(grad(total, [w])[0], 2 * X.T @ X @ w.data, rtol=1e-13)


# --- in place -----------------------------------------------------------------------------------


def of_an_alias(x):
    y = x
    y -= np.mean(x, axis=0)
    return x * y


def of_a_view(h):
    r = h[0]
    r *= 0.0
    return np.sum(h)


@pytest.mark.parametrize("f", [of_an_alias, of_a_view])
def test_in_place_on_an_alias_or_a_view_is_refused_unless_traced(f):
    with pytest.raises(TypeError, match=r"cannot be changed in place.* write .* = .* [-*] …"):
        f(Tensor(X))
    assert same_bits(trace(f)(X).data, f(X.copy()))


IN_PLACE = {
    "+": "y += 2.0",
    "-": "y -= 2.0",
    "*": "y *= 2.0",
    "/": "y /= 2.0",
    "**": "y **= 3",
    "//": "y //= 2.0",
    "%": "y %= 2.0",
    "@": "y @= np.eye(3)",
}


@pytest.mark.parametrize("sign", IN_PLACE)
def test_every_operator_in_place(sign):
    for start, is_scalar in ((Tensor(0.75), True), (Tensor(X[0], name="y"), False)):
        space = {"y": start, "np": np}
        if is_scalar and sign != "@":
            exec(IN_PLACE[sign], space)
            expected = {"y": 0.75}
            exec(IN_PLACE[sign], expected)
            assert space["y"].item() == expected["y"]
            assert start.data == 0.75
        else:
            with pytest.raises((TypeError, ValueError)) as caught:
                exec(IN_PLACE[sign], space)
            assert is_scalar or f"write y = y {sign} …" in str(caught.value)


def test_a_loss_is_added_up():
    x, loss = Tensor(X, name="x"), 0.0
    for row in x:
        loss += np.sum(row * row)
    assert same_bits(grad(loss, [x])[0], 2 * X)


# --- keys ---------------------------------------------------------------------------------------


class Sequence:
    """No list, and yet a sequence."""

    def __init__(self, *entries):
        self.entries = list(entries)

    def __len__(self):
        return len(self.entries)

    def __getitem__(self, k):
        return self.entries[k]

    def change(self):
        self.entries[:] = [0] * len(self.entries)


class Number:
    """What may stand for an integer."""

    def __init__(self, n):
        self.n = n

    def __index__(self):
        return self.n

    def change(self):
        self.n = 0


def cleared(key):
    """Change a key as far as it can be changed."""
    if isinstance(key, slice):
        for part in (key.start, key.stop, key.step):
            cleared(part)
    elif isinstance(key, tuple):
        for part in key:
            cleared(part)
    elif hasattr(key, "change"):
        key.change()
    elif hasattr(key, "__setitem__"):
        for k in [()] if getattr(key, "shape", None) == () else range(len(key)):
            key[k] = 0


KEYS = {
    "list": lambda: [2, 1],
    "array": lambda: np.array([2, 1]),
    "UserList": lambda: UserList([2, 1]),
    "deque": lambda: deque([2, 1]),
    "array.array": lambda: array.array("q", [2, 1]),
    "bytearray": lambda: bytearray([2, 1]),
    "memoryview": lambda: memoryview(bytearray([2, 1])),
    "a class": lambda: Sequence(2, 1),
    "an index": lambda: Number(2),
    "a slice of indices": lambda: slice(Number(1), Number(3), Number(1)),
    "in a tuple": lambda: (UserList([2, 1]), slice(Number(1), None)),
    "range": lambda: range(1, 3),
    "mask": lambda: np.array([False, True, False, True]),
    "list of bools": lambda: UserList([False, True, False, True]),
    "numpy's integer": lambda: np.int64(2),
    "numpy's bool": lambda: np.bool(True),
    "0-d array": lambda: np.array(2),
    "nested": lambda: UserList([UserList([1, 2]), UserList([3, 3])]),
    "empty list": lambda: UserList([]),
}


@pytest.mark.parametrize("name", KEYS)
def test_a_key_is_copied_to_what_it_means(name):
    x, key = Tensor(X, name="x"), KEYS[name]()
    y = x[key]
    expected = X[KEYS[name]()]
    assert same_bits(y.data, expected)
    g = RNG.normal(size=y.shape)
    dx = np.zeros_like(X)
    np.add.at(dx, KEYS[name](), g)
    cleared(key)
    assert same_bits(grad(y, [x], g)[0], dx)


def test_parameters_of_a_row_of_ones_own_are_copied():
    scaled = ops.Primitive(
        "scaled_in_test",
        "s",
        lambda x, by, offsets: x * by + offsets[0],
        lambda g, out, x, by, offsets: g * by,
    )
    x, by, offsets = Tensor(X), np.array([1.0, 2.0, 3.0]), [1.0]
    y = scaled(x, by=by, offsets=offsets)
    before = grad(y, [x], X)[0]
    by[:] = 0
    y.params["offsets"].append(5.0)
    y.params["by"].shape = (3, 1)
    assert same_bits(grad(y, [x], X)[0], before)
    assert y.params["offsets"] == [1.0]


def test_masks_as_numpy_has_them():
    """Empty ones included, which stay boolean, and tuples with a mask in them."""
    rng, empty = np.random.default_rng(5), 0
    for k in range(250):
        shape = tuple(rng.integers(0, 4, size=rng.integers(1, 4)).tolist())
        a = rng.normal(size=shape)
        ndim = int(rng.integers(1, a.ndim + 1))
        mask = rng.random(size=shape[:ndim]) < 0.5
        key = (mask, *([slice(None)] * (a.ndim - ndim))) if k % 3 else mask
        x = Tensor(a)
        y = x[key]
        g = rng.normal(size=y.shape)
        dx = np.zeros_like(a)
        dx[key] = g
        assert same_bits(y.data, a[key])
        assert same_bits(grad(y, [x], g)[0], dx)
        empty += not mask.size
    assert empty > 50


def test_what_is_no_key_is_refused():
    x = Tensor(X, name="x")
    for key, error in product((0.5, "a", {}, object()), (IndexError,)):
        with pytest.raises(error):
            x[key]
    for key in ([0.5], UserList([0.5]), np.zeros((0, 3))):
        with pytest.raises(TypeError, match="integers or bools"):
            x[key]
    with pytest.raises(ValueError, match="forms no array"):
        x[[[1], [1, 2]]]
