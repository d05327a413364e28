"""Nothing is silently wrong: copies, pickles, threads, interrupts, arrays that cannot change."""

import copy
import inspect
import linecache
import pickle
import sys
import threading
from fractions import Fraction
from itertools import chain

import numpy as np
import pytest
from helpers import same_bits

from tinygraph import Graph, Tensor, derive, draw, grad, no_grad, ops, trace
from tinygraph.batchnorm import primitive as fused
from tinygraph.batchnorm import staged
from tinygraph.engine.autodiff import reachable

RNG = np.random.default_rng(7)
EPS = 1e-3
COPIES = pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))],
    ids=["deepcopy", "pickle"],
)


def model(x, gamma, beta):
    keep = x[[0, 2, 2], 1:] * np.array([0.5, -2.0])
    h = staged(x, gamma, beta, eps=EPS)
    return np.tanh(h), np.sum(keep * keep)


def traced():
    leaves = [Tensor(RNG.normal(size=s), name=n) for s, n in (((5, 3), "x"), (3, "g"), (3, "b"))]
    return trace(model)(*leaves), leaves


# --- copies -------------------------------------------------------------------------------------


@COPIES
def test_a_copied_graph_is_equal_and_its_leaves_stay_its_leaves(copied):
    (out, other), leaves = traced()
    out.backward(RNG.normal(size=out.shape))
    twin_leaves, twin, other_twin = copied((leaves, out, other))
    for a, b in zip(reachable([out]), reachable([twin]), strict=True):
        assert a is not b
        assert (a.name, a.op, a.shape) == (b.name, b.op, b.shape)
        assert same_bits(a.data, b.data)
        assert same_bits(a.grad, b.grad)
        assert not np.shape(b.data) or not b.data.flags.writeable
    dout = RNG.normal(size=out.shape)
    for result, its_twin, g in ((out, twin, dout), (other, other_twin, 2.0)):
        for a, b in zip(grad(result, leaves, g), grad(its_twin, twin_leaves, g), strict=True):
            assert same_bits(a, b)
    assert draw(out).source == draw(twin).source
    assert derive(out) == derive(twin)
    assert derive(other, format="python") == derive(other_twin, format="python")


@COPIES
def test_results_that_are_copied_together_stay_one_graph(copied):
    x = Tensor([1.0, 2.0], name="x")
    h = x * 3.0
    loss = np.sum(h * h)
    for order in ((h, loss), (loss, h)):
        h_twin, loss_twin = sorted(copied(order), key=lambda t: -t.ndim)
        assert grad(loss_twin, [h_twin])[0].tolist() == [6.0, 12.0]


@COPIES
def test_a_result_of_old_data_is_not_copied(copied):
    x = Tensor(2.0, name="x")
    y = x * x
    x.data = 5.0
    with pytest.raises(ValueError, match=r"new data.*detach"):
        copied(y)
    assert copied(y.detach()).data == 4.0


@COPIES
def test_a_copy_keeps_its_dtype(copied):
    with no_grad():
        y = np.maximum(Tensor(np.array([Fraction(-1), Fraction(2)])), 0)
    assert copied(y).dtype == object


def test_a_shallow_copy_of_a_result_shares_its_leaves():
    (out, _), leaves = traced()
    twin, dout = copy.copy(out), RNG.normal(size=out.shape)
    assert twin is not out
    for a, b in zip(grad(out, leaves, dout), grad(twin, leaves, dout), strict=True):
        assert same_bits(a, b)


@COPIES
def test_a_copied_graph_cannot_be_changed_either(copied):
    x = Tensor(np.arange(3.0), name="x")
    twin = copied(x[np.array([2, 0])] * np.array([1.0, 2.0]))
    index = twin.inputs[0]
    for array in (twin.data, twin.inputs[1], index.params["key"], index.inputs[0].data):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


@COPIES
def test_what_was_not_recorded_stays_so(copied):
    with no_grad():
        y = Tensor(2.0, name="x") * 3
    with pytest.raises(ValueError, match="no_grad"):
        copied(y).backward()


@pytest.mark.slow
@COPIES
def test_a_deep_graph_is_copied_without_recursion(copied):
    x = h = Tensor(0.5, name="x")
    for _ in range(20_000):
        h = h * 0.9999
    x_twin, twin = copied((x, h))
    assert grad(twin, [x_twin]) == grad(h, [x])


@COPIES
def test_a_snapshot_is_pickled_whole(copied):
    (out, other), leaves = traced()
    out.backward(RNG.normal(size=out.shape))
    graph = Graph.capture([out, other], wrt=leaves, values=True)
    twin = copied(graph)
    assert copy.copy(graph) is graph
    for options in ({}, {"values": True}, {"view": "joint", "detail": "primitives"}):
        assert draw(twin, **options).source == draw(graph, **options).source
    assert derive(twin, format="python") == derive(graph, format="python")
    inputs = {node.name: RNG.normal(size=node.shape) for node in graph.inputs}
    a, b = graph.run(**inputs), twin.run(**inputs)
    assert list(a) == list(b)
    assert all(same_bits(a[name], b[name]) for name in a)
    with pytest.raises(TypeError):
        twin.nodes[1].params["axis"] = 3


@pytest.mark.slow
def test_a_deep_snapshot_is_pickled_without_recursion():
    h = Tensor(0.5, name="x")
    for _ in range(5_000):
        h = h * 0.9999
    graph = Graph.capture(h)
    assert derive(pickle.loads(pickle.dumps(graph))) == derive(graph)


# --- arrays that a graph holds ------------------------------------------------------------------


def test_no_array_of_a_graph_can_be_changed():
    given = RNG.normal(size=(5, 3))
    x, scale, dout = Tensor(given, name="x"), RNG.normal(size=3), RNG.normal(size=(5, 3))
    out = x * scale + np.tanh(x)
    expected = grad(out, [x], dout)[0].copy()
    out.backward(dout)
    held = [t.data for t in reachable([out])] + [t.grad for t in reachable([out])]
    held += [x for t in reachable([out]) for x in t.inputs if isinstance(x, np.ndarray)]
    for array in held:
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
        with pytest.raises(ValueError, match="read-only"):
            array *= 2
    given[:], scale[:] = 0, 0  # the caller's own, of which the graph has copies
    assert same_bits(grad(out, [x], dout)[0], expected)


def test_the_callers_upstream_gradient_stays_the_callers():
    x, dout = Tensor(RNG.normal(size=3), name="x"), RNG.normal(size=3)
    (g,) = grad(x + 1.0, [x], dout)
    before = dout.copy()
    dout[:] = 0
    assert same_bits(g, before)
    dout[:] = before
    out = x + 1.0
    out.backward(dout)
    dout[:] = 0
    assert same_bits(x.grad, before)
    assert same_bits(out.grad, before)
    assert dout.flags.writeable


def test_gradients_of_a_sweep_do_not_share_what_is_added_up_in_place():
    """Large arrays, of which NumPy reuses temporaries: b gets g before more is added to a's."""
    a, b = (Tensor(RNG.normal(size=(300, 300)), name=n) for n in "ab")
    dout = RNG.normal(size=(300, 300))
    da, db = grad((a + b) + a * 2.0 + a * 3.0, [a, b], dout)
    assert same_bits(db, dout)
    assert np.allclose(da, 6 * dout, rtol=1e-14, atol=0)
    c = a + b
    out = c + a * 2.0
    dc, da, db = grad(out, [c, a, b], dout)
    assert same_bits(dc, dout)
    assert same_bits(db, dout)
    assert np.allclose(da, 3 * dout, rtol=1e-14, atol=0)


def test_a_rebound_leaf_is_an_error_and_never_a_mixture():
    x = Tensor([1.0, 2.0], name="x")
    y = x * x
    x.data = [10.0, 20.0]
    for differentiate in (lambda: y.backward([1.0, 3.0]), lambda: grad(y, [x], [1.0, 3.0])):
        with pytest.raises(ValueError, match="new data"):
            differentiate()
    assert x.grad is None


# --- threads ------------------------------------------------------------------------------------


@pytest.fixture
def often():
    """Switch threads as often as can be."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def in_threads(work, count=8):
    """Run ``work(k)`` in threads that start together; give results, or raise what one raised."""
    results, start = [None] * count, threading.Barrier(count)

    def run(k):
        start.wait()
        try:
            results[k] = work(k)
        except BaseException as error:
            results[k] = error

    threads = [threading.Thread(target=run, args=(k,)) for k in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


def test_threads_give_the_serial_results(often):
    shared = Tensor(RNG.normal(size=(6, 3)), name="shared")
    inputs = [RNG.normal(size=(6, 3)) for _ in range(8)]
    douts = [RNG.normal(size=(6, 3)) for _ in range(8)]

    def work(k):
        found = []
        for _ in range(20):
            x, gamma, beta = Tensor(inputs[k]), Tensor(inputs[k][0]), Tensor(inputs[k][1])
            for normalize in (staged, fused.normalize):
                out = normalize(x * shared, gamma, beta)
                out.backward(douts[k])
                found.append([x.grad, gamma.grad, beta.grad, *grad(out, [shared], douts[k])])
        return found

    serial = [work(k) for k in range(8)]
    shared.grad = None
    for a, b in zip(serial, in_threads(work), strict=True):
        assert all(map(same_bits, chain(*a), chain(*b)))


def test_gradients_of_a_shared_leaf_add_up_over_threads(often):
    shared = Tensor(np.zeros(1000), name="shared")

    def work(k):
        for _ in range(50):
            (shared * 1.0).backward(np.full(1000, k + 1.0))

    in_threads(work)
    assert set(shared.grad) == {50.0 * 36}


def test_threads_trace_and_draw_side_by_side(often):
    expected = draw(traced()[0][0]).source
    assert set(in_threads(lambda k: draw(traced()[0][0]).source, 4)) == {expected}


def test_indices_are_never_given_twice(often):
    x = Tensor(1.0)
    found = in_threads(lambda k: [(x * 1.0).index for _ in range(2000)])
    assert len({index for one in found for index in one}) == 8 * 2000


def test_no_grad_holds_for_its_thread_alone(often):
    x = Tensor(3.0, name="x")
    inside, seen = threading.Event(), threading.Event()

    def work(k):
        if k == 0:
            with no_grad():
                inside.set()
                seen.wait(10)
                return (x * x).op
        inside.wait(10)
        op = (x * x).op
        seen.set()
        return op

    assert in_threads(work, 2) == [None, ops.mul]


# --- interrupts ---------------------------------------------------------------------------------


def test_an_interrupt_in_a_rule_leaves_every_gradient_as_it_was(monkeypatch):
    def interrupted(g, out, a, b):
        raise KeyboardInterrupt

    x, y = Tensor(2.0, name="x"), Tensor(3.0, name="y")
    z = np.tanh(x * y)
    z.backward(0.5)
    before = [t.grad for t in (x, y, z)]
    monkeypatch.setattr(ops.mul, "rules", (ops.mul.rules[0], interrupted))
    with pytest.raises(KeyboardInterrupt):
        z.backward(0.7)
    assert [t.grad for t in (x, y, z)] == before


def test_an_interrupt_at_any_line_stores_all_gradients_or_none():
    """Leaves of which each has the gradient n after the n-th backward()."""
    leaves = [Tensor(1.0, name=f"x{k}") for k in range(20)]
    out = np.sum(np.stack(leaves))

    def interrupted(lines):
        """Whether backward() took more lines than these, and was interrupted there."""

        def at_a_line(frame, event, arg):
            nonlocal lines
            if frame.f_code.co_flags & inspect.CO_GENERATOR:  # whose end nobody could catch it in
                return None
            lines -= 1
            # On leaving a block, its `with` is reported before __exit__ is called, where no real
            # interrupt comes in between, and what it holds would be held for good.
            line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
            if lines < 0 and not line.lstrip().startswith("with "):
                raise KeyboardInterrupt
            return at_a_line

        before = sys.gettrace()
        sys.settrace(at_a_line)
        try:
            out.backward(1.0)
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(before)
        return False

    lines = 0
    while interrupted(lines):
        assert len({None if leaf.grad is None else float(leaf.grad) for leaf in leaves}) == 1
        lines += 7
    assert lines > 300
    elsewhere = threading.Thread(target=out.backward, args=(1.0,), daemon=True)
    elsewhere.start()
    elsewhere.join(30)
    assert not elsewhere.is_alive(), "a lock is held for good"
