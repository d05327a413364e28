"""New data in another thread, at the worst moment: never a gradient of two points.

The moment is not left to luck: a primitive, or its rule, waits for the other thread.
"""

import copy
import threading

import numpy as np
import pytest
from helpers import same_bits

from tinygraph import Tensor, grad, ops
from tinygraph.engine import tensor as engine

RNG = np.random.default_rng(23)
OLD, NEW, DOUT = (RNG.uniform(1, 2, size=(3, 2)) for _ in range(3))

STEPS = {
    "mul": lambda h, x: h * x,
    "add": lambda h, x: x + h * 2.0,
    "div": lambda h, x: h / x,
    "power": lambda h, x: x ** np.tanh(h),
    "maximum": lambda h, x: np.maximum(h * 1.5, x * x),
}
ORDERS = [[*STEPS][k:] + [*STEPS][:k] for k in range(5)]
each_race = pytest.mark.parametrize(
    ("order", "op"), [(order, op) for order in ORDERS for op in STEPS], ids=str
)


def chain(order, x):
    h = np.tanh(x)
    for name in order:
        h = STEPS[name](h, x)
    return h


def elsewhere(work):
    """Let another thread do it, and wait for it."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def once(f, then):
    """Call `then` after the first call of `f`."""
    pending = [then]

    def wrapped(*args, **kwargs):
        value = f(*args, **kwargs)
        if pending:
            pending.pop()()
        return value

    return wrapped


def expected(order, data):
    x = Tensor(data)
    return grad(chain(order, x), [x], DOUT)[0]


@each_race
def test_new_data_while_a_result_is_computed(order, op, monkeypatch):
    """The operands have been read, the result has not been made."""
    x = Tensor(OLD, name="x")

    def interfere():
        x.data = NEW

    row = getattr(ops, op)
    monkeypatch.setattr(row, "forward", once(row.forward, lambda: elsewhere(interfere)))
    out = chain(order, x)
    for differentiate in (
        lambda: out.backward(DOUT),
        lambda: grad(out, [x], DOUT),
        lambda: grad(out, [x], DOUT, create_graph=True),
        lambda: copy.deepcopy(out),
    ):
        with pytest.raises(ValueError, match=r"x.*was given new data after"):
            differentiate()
    assert x.grad is None
    assert same_bits(grad(chain(order, x), [x], DOUT)[0], expected(order, NEW))


@each_race
def test_new_data_while_the_sweep_runs(order, op, monkeypatch):
    """A rule has been applied, and others have yet to read the leaf."""
    right = expected(order, OLD)
    x = Tensor(OLD, name="x")

    def interfere():
        x.data = NEW

    def raced(differentiate):
        x.data = OLD
        out = chain(order, x)
        row = getattr(ops, op)
        with monkeypatch.context() as patch:
            first, *others = row.rules
            patch.setattr(row, "rules", (once(first, lambda: elsewhere(interfere)), *others))
            return differentiate(out)

    raced(lambda out: out.backward(DOUT))
    assert same_bits(x.grad, right)
    assert same_bits(raced(lambda out: grad(out, [x], DOUT))[0], right)
    with pytest.raises(ValueError, match=r"x.*was given new data after"):
        raced(lambda out: grad(out, [x], DOUT, create_graph=True))
    assert same_bits(x.data, NEW)


def test_no_leaf_is_given_new_data_between_the_check_and_the_reading(monkeypatch):
    x, done = Tensor(OLD, name="x"), threading.Event()
    out = chain(ORDERS[0], x)

    def interfere():
        x.data = NEW
        done.set()

    thread = threading.Thread(target=interfere)
    in_time = []

    def checked(outputs, walk=engine.reachable):
        nodes = walk(outputs)
        thread.start()
        in_time.append(done.wait(0.2))
        return nodes

    with monkeypatch.context() as patch:
        patch.setattr(engine, "reachable", checked)
        found = grad(out, [x], DOUT)
    thread.join()
    assert in_time == [False]
    assert same_bits(found[0], expected(ORDERS[0], OLD))
    assert same_bits(x.data, NEW)


def test_an_index_stays_and_results_of_new_data_are_differentiated():
    x = Tensor(OLD, name="x")
    index, h = x.index, x * 2.0
    x.data = NEW
    assert x.index == index
    out = x * 3.0
    assert same_bits(grad(out, [x], DOUT)[0], DOUT * 3.0)
    with pytest.raises(ValueError, match="new data"):
        grad(out + h, [x], DOUT)


@pytest.mark.parametrize("stop", [1, 2])
def test_an_interrupt_while_data_is_set_makes_results_look_old_and_never_new(stop, monkeypatch):
    """The time is taken twice, before the data is stored and after."""
    taken = []

    def interrupted(take=engine._next_index):
        taken.append(take())
        if len(taken) == stop:
            raise KeyboardInterrupt
        return taken[-1]

    x = Tensor(OLD, name="x")
    out = x * x
    with monkeypatch.context() as patch:
        patch.setattr(engine, "_next_index", interrupted)
        with pytest.raises(KeyboardInterrupt):
            x.data = NEW
    if same_bits(x.data, NEW):
        with pytest.raises(ValueError, match="new data"):
            grad(out, [x], DOUT)
    else:
        assert same_bits(grad(out, [x], DOUT)[0], 2 * OLD * DOUT)
    assert same_bits(grad(x * 1.0, [x], DOUT)[0], DOUT)
    assert same_bits(x.data, OLD if stop == 1 else NEW)
