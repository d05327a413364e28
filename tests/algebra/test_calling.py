"""A forward function and a person's backward pass: every way in which the two are called."""

import functools
import types
from typing import NamedTuple

import numpy as np
import pytest

from tinygraph import Tensor, grad
from tinygraph.algebra.calling import Passes
from tinygraph.algebra.copying import copied, plain
from tinygraph.algebra.spelling import gradient_of, looks_like_gradient, part_of
from tinygraph.algebra.watching import Watch, source_of

rng = np.random.default_rng(5)
X, W, B = rng.normal(size=(4, 3)), rng.normal(size=(3, 2)), rng.normal(size=2)


@pytest.mark.parametrize(
    ("name", "variables", "expected"),
    [
        ("dx", ["x"], "x"),
        ("d_x", ["x"], "x"),
        ("dX", ["x"], "x"),
        ("dX", ["x", "X"], "X"),
        ("grad_x", ["x"], "x"),
        ("gradx", ["x"], "x"),
        ("x_grad", ["x"], "x"),
        ("gx", ["x"], "x"),
        ("delta_x", ["x"], "x"),
        ("dL_dx", ["x"], "x"),
        ("dLdx", ["x"], "x"),
        ("dJ_dW1", ["W1", "W2"], "W1"),
        ("dloss_dx", ["x"], "x"),
        ("dprev_h", ["prev_h", "h"], "prev_h"),
        ("grads['W1']", ["W1"], "W1"),
        ("grads['dW1']", ["W1"], "W1"),
        ("params['W1']", ["W1"], None),
        ("params['dW1']", ["W1"], "W1"),
        ("self.db", ["b"], "b"),
        ("dnext_h", ["next_h"], "next_h"),
        ("ddof", ["dof"], "dof"),
        ("dzdx", ["x", "z"], None),
        ("dx1", ["x"], None),
        ("d", ["x", ""], None),
        ("x", ["x"], None),
        ("gamma", ["x", "gamma"], None),
        ("dx", ["X_", "_x"], None),
    ],
)
def test_spellings_of_a_gradient(name, variables, expected):
    assert gradient_of(name, variables) == expected


def test_parts_of_a_gradient():
    assert [part_of(name, ["x", "x1"]) for name in ("dx1", "dx_2", "dx", "dx12", "dy1")] == [
        "x",
        "x",
        None,
        "x",
        None,
    ]
    assert not any(map(looks_like_gradient, ("x", "cache", "mask", "Wh")))


# --------------------------------------------------------------------------- forward functions


def affine(x, w, b):
    xw = x @ w
    out = xw + b
    return out


def with_tuple(x, w, b):
    out = x @ w + b
    cache = (x, w, x.shape[0])
    return out, cache


def with_dictionary(x, w, b):
    return x @ w + b, {"x": x, "w": w}


def with_object(x, w, b):
    return x @ w + b, types.SimpleNamespace(x=x, w=w)


def with_several(x, w, b):
    out = x @ w + b
    return out, x, w


def with_results_by_name(x, w, b):
    return {"out": x @ w + b, "cache": (x, w)}


def of_parameters(x, parameters, mode):
    cache = (x, parameters, mode["name"])
    mode["calls"] = mode.get("calls", 0) + 1
    return x @ parameters["w"] + parameters["b"], cache


# --------------------------------------------------------------------------- backward passes


def by_tuple(dout, cache):
    x, w, _ = cache
    dx = dout @ w.T
    dw = x.T @ dout
    db = dout.sum(axis=0)
    return dx, dw, db


def by_dictionary(dout, cache):
    return {"dw": cache["x"].T @ dout, "dx": dout @ cache["w"].T, "b": np.sum(dout, axis=0)}


def by_attributes(grad_out, saved):
    return types.SimpleNamespace(
        grad_x=grad_out @ saved.w.T, grad_w=saved.x.T @ grad_out, grad_b=np.sum(grad_out, axis=0)
    )


def by_name(w, x, dout):
    return dout @ w.T, x.T @ dout, np.sum(dout, axis=0)


def by_pair(dy, memory):
    x, w = memory
    dx, dw, db = dy @ w.T, x.T @ dy, np.sum(dy, axis=0)
    return db, (dx, dw)


def by_keyword(*, dout, x, w):
    return dout @ w.T, x.T @ dout, np.sum(dout, axis=0)


def by_star(upstream, *rest):
    x, w = rest
    return upstream @ w.T, x.T @ upstream, np.sum(upstream, axis=0)


def among_others(dout, cache, verbose=False):
    x, w, _ = cache
    dx, dw, db = dout @ w.T, x.T @ dout, np.sum(dout, axis=0)
    norm = np.sum(dx)
    return norm, dx, dw, db, "done", None


class Gradients(NamedTuple):
    db: object
    dw: object
    dx: object


def as_fields(cache, dout):
    return Gradients(np.sum(dout, axis=0), cache[0].T @ dout, dout @ cache[1].T)


def of_dictionary(dout, cache):
    x, parameters, mode = cache
    if mode != "train":
        raise ValueError("not in training")
    w = parameters["w"]
    return {"dx": dout @ w.T, "dw": x.T @ dout, "db": np.sum(dout, axis=0)}


WAYS = [
    (with_tuple, by_tuple, "by_tuple(dout, cache)"),
    (with_dictionary, by_dictionary, "by_dictionary(dout, cache)"),
    (with_object, by_attributes, "by_attributes(grad_out, saved)"),
    (affine, by_name, "by_name(w, x, dout)"),
    (with_several, by_pair, "by_pair(dy, memory)"),
    (affine, by_keyword, "by_keyword(dout=dout, x=x, w=w)"),
    (with_tuple, among_others, "among_others(dout, cache)"),
    (with_results_by_name, as_fields, "as_fields(cache, dout)"),
    (with_tuple, functools.partial(among_others, verbose=True), None),
]


@pytest.mark.parametrize(("forward", "backward", "called"), WAYS)
def test_every_way_gives_the_gradients(forward, backward, called):
    passes = Passes(forward, backward, [X, W], {"b": B})
    assert called in (None, passes.called)
    (out,) = passes.outputs
    dout = rng.normal(size=(4, 2))
    right = {"x": dout @ W.T, "w": X.T @ dout, "b": dout.sum(axis=0)}
    written, traced = passes.plain({out: dout}), passes.traced({out: dout})
    assert written.gradients.keys() == traced.gradients.keys() == right.keys()
    for name, value in right.items():
        assert type(written.gradients[name]) is np.ndarray
        np.testing.assert_allclose(written.gradients[name], value)
        np.testing.assert_allclose(traced.gradients[name].data, value)
    assert not written.changed


def test_what_is_left_goes_to_a_star():
    def forward(x, w, b):
        return x @ w + b, x, w

    passes = Passes(forward, by_star, [X, W, B])
    dout = rng.normal(size=(4, 2))
    np.testing.assert_allclose(passes.plain({"out1": dout}).gradients["w"], X.T @ dout)
    assert passes.called == "by_star(upstream, rest, rest)"


def test_entries_of_a_dictionary_are_inputs_and_the_callers_dictionary_stays():
    mode, parameters = {"name": "train"}, {"w": W, "b": B}
    passes = Passes(of_parameters, of_dictionary, [X, parameters, mode])
    assert list(passes.inputs) == ["x", "w", "b"]
    assert mode == {"name": "train"}
    assert parameters["w"] is W
    dout = rng.normal(size=(4, 2))
    np.testing.assert_allclose(passes.plain({"out1": dout}).gradients["w"], X.T @ dout)


def test_two_passes_are_one_graph_over_the_same_leaves():
    passes = Passes(with_tuple, by_tuple, [X, W, B])
    dout = rng.normal(size=(4, 2))
    written = passes.traced({"out": dout})
    assert written.upstream["out"].name == "dout"
    dx = written.gradients["x"]
    leaves = [passes.inputs["w"], written.upstream["out"]]
    g = rng.normal(size=(4, 3))
    np.testing.assert_allclose(grad(dx, leaves, g)[0], g.T @ dout)
    assert [(one.name, one.value.name) for one in written.assigned if one.name[0] == "d"] == [
        ("dx", "dx"),
        ("dw", "dw"),
        ("db", "db"),
    ]


def test_several_outputs_each_have_an_upstream_gradient():
    def forward(x, c):
        next_c = np.tanh(x) + c
        next_h = x * next_c
        extra = next_h * 2
        return next_h, next_c, extra, (x, next_c)

    def backward(dnext_c, dnext_h, cache):
        x, next_c = cache
        dc = dnext_c + dnext_h * x
        dx = dnext_h * next_c + dc * (1 - np.tanh(x) ** 2)
        return dx, dc

    passes = Passes(forward, backward, [X, 2 * X])
    assert (list(passes.outputs), passes.ignored) == (["next_h", "next_c"], ("extra",))
    upstream = {name: rng.normal(size=X.shape) for name in passes.outputs}
    written = passes.plain(upstream)
    outputs = list(passes.outputs.values())
    right = [
        sum(parts)
        for parts in zip(
            *(grad(out, list(passes.inputs.values()), upstream[out.name]) for out in outputs),
            strict=True,
        )
    ]
    np.testing.assert_allclose(written.gradients["x"], right[0])
    np.testing.assert_allclose(written.gradients["c"], right[1])


def test_a_scalar_loss_needs_no_upstream_gradient():
    def forward(x, y):
        p = np.exp(x) / np.sum(np.exp(x), axis=1, keepdims=True)
        loss = -np.mean(np.log(p[np.arange(len(y)), y]))
        return loss, p

    def backward(p, y):
        dx = p.copy()
        dx[np.arange(len(y)), y] -= 1
        return dx / len(y)

    labels = np.array([0, 2, 1, 1])
    passes = Passes(forward, backward, [X, labels])
    assert passes.called == "backward(p, y)"
    right = grad(passes.outputs["loss"], [passes.inputs["x"]])[0]
    np.testing.assert_allclose(passes.plain({"loss": 1.0}).gradients["x"], right)


class Layer:
    def __init__(self, w):
        self.w = w

    def forward(self, x):
        self.x = x
        return x @ self.w

    def backward(self, dout):
        self.dw = self.x.T @ dout
        return dout @ self.w.T


def test_a_layer_that_keeps_its_inputs():
    layer = Layer(W)
    passes = Passes(layer.forward, layer.backward, [X])
    dout = rng.normal(size=(4, 2))
    np.testing.assert_allclose(passes.plain({"out": dout}).gradients["x"], dout @ W.T)
    assert passes.traced({"out": dout}).gradients["x"].op is not None


def test_a_mask_is_the_same_in_both_passes():
    def forward(x):
        mask = np.random.default_rng().random(x.shape) < 0.5
        return x * mask, mask

    def backward(dout, mask):
        return dout * mask

    passes = Passes(forward, backward, [X])
    dout = rng.normal(size=X.shape)
    right = grad(passes.outputs["out1"], list(passes.inputs.values()), dout)[0]
    for _ in range(3):
        assert np.array_equal(passes.plain({"out1": dout}).gradients["x"], right)


def test_what_is_written_into_is_told_and_every_run_starts_afresh():
    def forward(x):
        return x * x, {"all": [x]}

    def backward(dout, cache):
        dout *= 2
        cache["all"][0] *= dout
        print("done")
        return cache["all"][0]

    passes = Passes(forward, backward, [X])
    runs = [passes.plain({"out1": X}) for _ in range(2)]
    assert [run.changed for run in runs] == [("dout", "cache")] * 2
    assert np.array_equal(runs[0].gradients["x"], runs[1].gradients["x"])
    assert runs[0].printed == "done\n"


def test_wrt_chooses_the_leaves():
    passes = Passes(with_tuple, by_tuple, [X, W, B], wrt="w")
    assert list(passes.inputs) == ["w"]
    assert list(passes.plain(upstream_of(passes)).gradients) == ["w"]


def returns(value):
    def backward(dout, cache):
        return value

    return backward


def upstream_of(passes):
    rng = np.random.default_rng(2)
    return {name: rng.normal(size=x.shape) for name, x in passes.outputs.items()}


def run(forward, backward, args):
    passes = Passes(forward, backward, args)
    return passes.plain(upstream_of(passes))


@pytest.mark.parametrize(
    ("forward", "backward", "args", "error", "message"),
    [
        (3, by_tuple, [X, W, B], TypeError, "the forward function is int, and no function"),
        (with_tuple, None, [X, W, B], TypeError, "the backward function is NoneType"),
        (with_tuple, by_tuple, [X, W], TypeError, r"with_tuple\(x, w, b\): missing a required"),
        (
            with_tuple,
            by_tuple,
            [1, 2, 3],
            ValueError,
            "with_tuple: no argument is an array of floats",
        ),
        (lambda x: None, by_tuple, [X], TypeError, "returned NoneType and no tensor"),
        (lambda x: (x, x), by_tuple, [X], TypeError, "no tensor that depends on x"),
        (affine, by_tuple, [X, W, B], TypeError, "takes cache, but affine has no variable of that"),
        (
            with_several,
            lambda q, r, s, t: 0,
            [X, W, B],
            TypeError,
            "takes r, s, t, but with_several",
        ),
        (affine, lambda dout, dim: 0, [X, W, B], TypeError, "takes dim, which is no variable of"),
        (affine, lambda cache: 0, [X, W, B], TypeError, "takes no upstream gradient, though out"),
        (affine, lambda x, w: 0, [X, W, B], TypeError, "takes no upstream gradient, though out"),
        (with_tuple, returns(None), [X, W, B], TypeError, "backward returned nothing and no"),
        (with_tuple, returns(("a", 1)), [X, W, B], TypeError, "returned tuple and no gradient"),
        (with_tuple, returns((X, X)), [X, W, B], TypeError, "returned 2 arrays, but with_tuple"),
        (affine, print, [X, W, B], TypeError, "takes no upstream|no signature"),
        (lambda x: x * 2, by_name, [X * 1j], TypeError, "x is complex"),
    ],
)
def test_what_is_not_as_it_should_be_is_one_sentence(forward, backward, args, error, message):
    with pytest.raises(error, match=message) as caught:
        run(forward, backward, args)
    assert "\n" not in str(caught.value)


def test_an_unknown_wrt_names_those_there_are():
    with pytest.raises(ValueError, match="no array of floats is called y; those given are x, w, b"):
        Passes(with_tuple, by_tuple, [X, W, B], wrt=["x", "y"])


# --------------------------------------------------------------------------- watching, copying


def test_lines_assign_and_write_in_place():
    def function(x):
        a = x * 2  # 1
        b = a  # 2
        b[0] = (  # 3
            7.0
        )
        for k in range(1, 3):
            a = a + k * 0.5  # 7
        d = {}
        d["key"] = a  # 9
        np.add.at(x, 0, 1.0)  # 10
        return b

    watch = Watch(function, lambda v: np.array(v) if isinstance(v, np.ndarray) else None)
    watch(np.zeros(2))
    start = function.__code__.co_firstlineno
    found = [(one.line - start, one.name, one.value.tolist()) for one in watch.assigned]
    assert found == [
        (1, "a", [0.0, 0.0]),
        (2, "b", [0.0, 0.0]),
        (3, "b", [7.0, 0.0]),
        (7, "a", [7.5, 0.5]),
        (7, "a", [8.5, 1.5]),
        (9, "d['key']", [8.5, 1.5]),
        (10, "x", [1.0, 0.0]),
    ]
    assert set(watch.variables) == {"x", "a", "b", "k", "d"}


def test_whoever_traces_already_goes_on_to_do_so():
    import sys

    events = []

    def outer(frame, event, arg):
        events.append((frame.f_code.co_name, event))
        return outer

    def function(x):
        y = x + 1
        return y

    watch = Watch(function, lambda v: v)
    before = sys.gettrace()
    sys.settrace(outer)
    try:
        watch(1)
        after = sys.gettrace()
    finally:
        sys.settrace(before)
    assert after is outer
    assert [event for name, event in events if name == "function"] == [
        "call",
        "line",
        "line",
        "return",
    ]
    assert [one.name for one in watch.assigned] == ["y"]


def test_statements_know_their_lines_and_names():
    source = source_of(by_pair)
    texts = {k: text.strip() for k, text in source.lines.items()}
    (unpacking,) = [k for k, text in texts.items() if text.startswith("x, w = memory")]
    assert source.statements[unpacking].names == {"x", "w", "memory"}
    assert source_of(np.sin) is None
    assert source_of(lambda x: x) is None


def test_copies_share_what_is_shared_and_nothing_else():
    x = Tensor(X)
    holder = Layer(x)
    holder.me = holder
    holder.both = [x, {"x": x}]
    copy = copied(holder, plain)
    assert copy.me is copy
    assert copy.w is copy.both[0] is copy.both[1]["x"]
    copy.w[:] = 0
    assert np.array_equal(holder.w.data, X)
    assert copied(Gradients(x, 1, "a"), plain)._fields == Gradients._fields
    assert copied(copy.forward, plain).__self__ is not copy
    assert copied(np.sin, plain) is np.sin
