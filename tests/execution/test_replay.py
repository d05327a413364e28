"""Replay gives the engine's bits, in memory of its own, whatever is computed and whoever calls."""

import random
import threading

import numpy as np
import pytest
from helpers import examples, same_bits
from programs import ANALYTIC, KINKED, execute

from tinygraph import Graph, Tensor, batchnorm, grad, trace
from tinygraph.engine.autodiff import is_discrete
from tinygraph.engine.primitive import TABLE, Primitive
from tinygraph.execution import Program, Replay
from tinygraph.execution.calls import writing_call
from tinygraph.execution.memory import Memory

OPERATIONS = ANALYTIC | KINKED


def upstream(rng, out):
    g = rng.normal(size=out.shape).astype(out.dtype)
    return (g + 1j * rng.normal(size=out.shape).astype(out.dtype) if g.dtype.kind == "c" else g)[()]


def replayed(out, xs, dout):
    """Give the replay of an output and its gradients, its arguments, and what to expect."""
    graph = Graph.joint(out)
    program = Program.of(graph)
    values = {x.name: x.data for x in xs} | {graph.gradients[0].name: dout}
    arrays = [values[node.name] for node in program.arguments]
    arrived = {g.of.name for g in graph.all_gradients}
    named = {x.name: x for x in xs}
    wrt = [named[n.name] for n in graph.inputs if n.role == "input" and n.name in arrived]
    return Replay(program, arrays), arrays, [out.data, *grad(out, wrt, dout)]


def agree(found, expected):
    for k, (a, b) in enumerate(zip(found, expected, strict=True)):
        assert same_bits(a, b), f"result {k}: {a} for {b}"


def check(out, xs, dout):
    """Replay twice: the engine's bits, in new memory, with nothing else touched."""
    replay, arrays, expected = replayed(out, xs, dout)
    before = [np.array(a) for a in arrays]
    first = replay(*arrays)
    agree(first, expected)
    mine = [a for a in first if isinstance(a, np.ndarray)]
    kept = [a.copy() for a in mine]
    agree(replay(*arrays), expected)
    agree(mine, kept)
    agree(arrays, before)
    others = [*arrays, *mine]
    for k, a in enumerate(mine):
        assert a.flags.writeable
        rest = [b for b in others[: len(arrays) + k] if isinstance(b, np.ndarray)]
        assert not any(np.shares_memory(a, b) for b in rest)
    into = [np.full_like(a, 7) if isinstance(a, np.ndarray) else None for a in first]
    agree(replay(*arrays, out=into), expected)
    given = replay(*arrays, out=into)
    assert all(a is b for a, b in zip(given, into, strict=True) if b is not None)
    return replay


SMALL = [(), (1,), (3,), (1, 3), (2, 1), (2, 3), (2, 1, 3)]
LARGE = [(64, 33), (64, 33), (64, 33), (33,), (64, 1), (1, 33), ()]
KEPT_SMALL = ("mask", "reshape", "concatenate", "index", "matmul")


def grown(seed, shapes, operations):
    """Grow a program on some leaves."""
    r = random.Random(seed)
    names = sorted(operations)
    program = [
        (r.choice(names), r.randrange(100), r.randrange(100), r.randrange(100), False)
        for _ in range(r.randint(1, 10))
    ]
    return [r.choice(shapes) for _ in range(r.randint(1, 3))], program, seed


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", "defgDF")
def test_random_programs_of_any_dtype(dtype):
    operations = ANALYTIC if dtype in "DF" else OPERATIONS
    judge(range(examples(200)), SMALL, operations, dtype)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", "df")
def test_random_programs_whose_results_serve_as_memory(dtype):
    operations = {name: f for name, f in OPERATIONS.items() if name not in KEPT_SMALL}
    judge(range(examples(200)), LARGE, operations, dtype)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", "defgDF")
def test_many_random_programs(dtype):
    operations = ANALYTIC if dtype in "DF" else OPERATIONS
    judge(range(10_000, 11_000), SMALL, operations, dtype)


def judge(seeds, shapes, operations, dtype):
    judged = 0
    for seed in seeds:
        program, rng = grown(seed, shapes, operations), np.random.default_rng(seed)
        values = [
            np.array(rng.normal(size=shape).astype(dtype), order="CF"[seed % 2])
            for shape in program[0]
        ]
        xs = [Tensor(v, name=f"x{k}") for k, v in enumerate(values)]
        out = execute(program, xs, operations)
        if isinstance(out, Tensor) and out.op and not is_discrete(out):
            check(out, xs, upstream(rng, out))
            judged += 1
    assert judged > len(seeds) / 2


# --- memory ---------------------------------------------------------------------------------------


def staged(rows, columns, dtype=float):
    rng = np.random.default_rng(0)
    x, dout = rng.normal(size=(2, rows, columns)).astype(dtype)
    gamma, beta = rng.normal(size=(2, columns)).astype(dtype)
    xs = [Tensor(v, name=k) for k, v in {"x": x, "gamma": gamma, "beta": beta}.items()]
    return batchnorm.staged(*xs), xs, dout


def test_batchnorm_keeps_two_arrays_of_the_size_of_x():
    replay = check(*staged(256, 40))
    assert replay.nbytes <= 2.1 * 256 * 40 * 8
    assert "spread" not in replay.source


def test_a_call_touches_no_memory_that_another_thread_has():
    out, xs, dout = staged(64, 100)
    replay, arrays, expected = replayed(out, xs, dout)
    wrong, start = [], threading.Barrier(3)

    def run():
        start.wait()
        for _ in range(40):
            if not all(map(same_bits, replay(*arrays), expected)):
                wrong.append(1)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(replay._kept) <= 3


def test_a_plan_that_frees_memory_too_early_is_noticed(monkeypatch):
    """Of two that read a value, the first is taken for the last."""
    made = Memory.__init__

    def careless(self, nodes, results, values):
        made(self, nodes[::-1], results, values)

    monkeypatch.setattr(Memory, "__init__", careless)
    with pytest.raises(AssertionError):
        check(*staged(64, 40))


def test_a_view_of_a_temporary_keeps_it():
    def f(x):
        y = x * 2
        top = y[1:]
        z = x * 3
        return top + z[:-1] * np.sum(y.T, axis=0)[:-1, None]

    x = Tensor(np.random.default_rng(1).normal(size=(5, 4)), name="x")
    out = f(x)
    check(out, [x], upstream(np.random.default_rng(2), out))


def test_a_result_that_is_an_input_or_another_result_is_copied():
    rng = np.random.default_rng(3)
    x, y = (Tensor(rng.normal(size=(4, 3)), name=name) for name in "xy")
    outs = [x, x * y, np.reshape(x * y, (12,)), x]
    graph = Graph.capture(outs)
    replay = Replay(Program.of(graph), [x.data, y.data])
    results = replay(x.data, y.data)
    agree(results, [out.data for out in outs])
    for k, a in enumerate(results):
        assert not any(np.shares_memory(a, b) for b in (*results[:k], x.data, y.data))


# --- primitives of one's own ----------------------------------------------------------------------


@pytest.fixture
def own():
    """Define rows of one's own, and forget them afterwards."""
    before = dict(TABLE)
    yield Primitive
    for name in TABLE.keys() - before.keys():
        del TABLE[name]


def test_a_row_of_ones_own_that_returns_what_it_was_given_now_and_then(own):
    same = own(
        "positive_part",
        "p",
        lambda x: x if x.min() > 0 else np.maximum(x, 0),
        lambda g, out, x: g * (x > 0),
    )
    rng = np.random.default_rng(4)
    x = Tensor(rng.normal(size=(64, 40)), name="x")
    f = lambda x: same(x * x + 1.0) * np.sum(same(x + 0.5) * 2, axis=0) - same(x)  # noqa: E731
    replay, *_ = replayed(f(x), [x], np.ones((64, 40)))
    for shift in (0.0, 9.0, -9.0):
        moved, dout = Tensor(x.data + shift, name="x"), rng.normal(size=(64, 40))
        expected = [f(moved).data, *grad(f(moved), [moved], dout)]
        agree(replay(moved.data, dout), expected)


def test_two_temporaries_that_a_row_of_ones_own_may_return(own):
    first = own(
        "first_or_both",
        "f",
        lambda x, y: x if x.min() > 0 else x + y,
        lambda g, out, x, y: g * 1,
        lambda g, out, x, y: g * (x < 0),
    )
    rng = np.random.default_rng(7)
    x = Tensor(rng.normal(size=(64, 40)), name="x")
    f = lambda x: np.tanh(first(x * x + 1, x - 3) * 2) - first(x * 3, x * 5) * x  # noqa: E731
    check(f(x), [x], rng.normal(size=(64, 40)))


def test_a_row_of_ones_own_is_called_though_it_says_which_function_it_is(own):
    rounded = own(
        "rounded_cbrt",
        "∛",
        lambda x: np.cbrt(x.astype(np.float32)).astype(x.dtype),
        lambda g, out, x: g / (3 * out * out),
    )
    x = Tensor(np.linspace(1.0, 2.0, 12).reshape(4, 3), name="x")
    out = rounded(x) + 1
    assert not same_bits(out.data, np.cbrt(x.data) + 1)
    check(out, [x], np.random.default_rng(5).normal(size=(4, 3)))
    graph = Graph.capture(out)
    (node,) = (node for node in graph.nodes if node.op is rounded)
    assert writing_call(node, rounded(x).data) is None


# --- numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["e", "f", "d", "g", "F"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_numbers_of_pythons_take_the_dtype_of_what_they_meet(dtype):
    x = Tensor(np.array([0.1, 3.0, -2.5, 1e4]).astype(dtype), name="x")
    for k in (0.1, 1e-5, 3, 2**24 + 1, 2**53 + 1, 1e39, 1e-46, -0.0, float("inf"), float("nan")):
        for f in (lambda x, k=k: x * k, lambda x, k=k: k - x, lambda x, k=k: k / (x + k)):
            try:
                out = f(x)
            except OverflowError:
                continue
            agree(Replay(Program.of(Graph.capture(out)), [x.data])(x.data), [out.data])


def test_warnings_are_as_they_were():
    def f(x):
        return np.sum(1 / x, axis=0) * np.log(x)

    x = Tensor(np.array([[0.0, -1.0], [2.0, 3.0]]), name="x")
    with pytest.warns(RuntimeWarning) as expected:
        out = f(x)
    replay = Replay(Program.of(Graph.capture(out)), [x.data])
    with pytest.warns(RuntimeWarning) as given:
        replay(x.data)
    assert [str(w.message) for w in given] == [str(w.message) for w in expected]
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        replay(x.data)
    with np.errstate(all="ignore"):
        agree(replay(x.data), [out.data])


def test_the_source_runs_by_itself_where_numpy_is_all_it_needs():
    out, xs, dout = staged(4, 3)
    replay, arrays, expected = replayed(out, xs, dout)
    scope = {"np": np}
    exec(replay.source, scope)
    places = [slot.empty() for slot in replay._slots]
    agree(scope["replay"](places, (None,) * 4, *arrays), expected)


def test_traced_names_stand_in_the_source():
    x = np.random.default_rng(6).normal(size=(4, 3))
    graph = Graph.joint(trace(lambda x: np.tanh(x) * np.sum(x))(x))
    source = Replay(Program.of(graph), [x, x]).source
    assert "def replay(places, targets, x, dout):" in source
    assert "tanh = np.tanh" in source
