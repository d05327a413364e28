"""Layers, losses and state: gradients to second order, running statistics, files."""

import copy
import inspect
import io
import math
import os
import pickle
import struct
import zipfile
from collections import deque
from fractions import Fraction

import numpy as np
import pytest
from helpers import close, pull_back, upstream

from tinygraph import Graph, Tensor, derive, draw, grad, gradcheck, nn, no_grad, trace
from tinygraph.batchnorm import closed_form, staged
from tinygraph.batchnorm import primitive as fused
from tinygraph.nn import state

RNG = np.random.default_rng(7)
X = RNG.normal(1.0, 2.0, size=(6, 4))
IMAGES = RNG.normal(size=(3, 4, 2, 5))
LABELS = np.array([0, 2, 1, 2, 2, 0])


def at(module, x):
    """Give `module` as a function of its input and of all its parameters, and the point."""
    names, tensors = zip(*module.named_parameters(), strict=True)

    def fn(x, *values):
        other = copy.copy(module)
        for name, value in zip(names, values, strict=True):
            setattr(other, name, value)
        return other(x)

    rng = np.random.default_rng(3)
    return fn, (x, *(rng.normal(1.0, 0.5, size=p.shape) for p in tensors))


def apart_from_kinks(shape):
    x = np.random.default_rng(11).normal(size=shape)
    return x + 0.1 * np.sign(x)


# --- gradients ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "x"),
    [
        (nn.Linear(4, 3, rng=0), X),
        (nn.Linear(4, 3, bias=False, rng=0), X),
        (nn.Linear(5, 2, rng=0), IMAGES),
        (nn.BatchNorm(4), X),
        (nn.BatchNorm(4, staged=False), X),
        (nn.BatchNorm(4), IMAGES),
        (nn.BatchNorm(4, staged=False), IMAGES),
        (nn.BatchNorm(5, axis=(0, 1, 2)), IMAGES),
        (nn.BatchNorm(5, axis=(0, 1, 2), staged=False), IMAGES),
        (nn.BatchNorm(4).eval(), X),
        (nn.BatchNorm(4).eval(), IMAGES),
        (nn.BatchNorm(4, track_running_stats=False).eval(), X),
        (nn.LayerNorm(4), X),
        (nn.LayerNorm((2, 5)), IMAGES),
    ],
    ids=str,
)
def test_layers_with_parameters_to_second_order(module, x):
    fn, point = at(module, x)
    report = gradcheck(fn, *point, order=2)
    assert report
    assert report.method == "complex"


@pytest.mark.parametrize(
    "fn",
    [
        nn.Tanh(),
        nn.BatchNorm(4, affine=False),
        nn.BatchNorm(4, affine=False, staged=False),
        nn.BatchNorm(4, affine=False).eval(),
        nn.LayerNorm(4, affine=False),
        lambda x: nn.cross_entropy(x, LABELS),
        lambda x: nn.mse(x, X[::-1]),
    ],
    ids=["tanh", "norm", "fused", "eval", "layernorm", "cross_entropy", "mse"],
)
def test_functions_of_one_input_to_second_order(fn):
    assert gradcheck(fn, X, order=2)


@pytest.mark.parametrize("fn", [nn.ReLU(), nn.Dropout(0.5).eval()], ids=["relu", "dropout"])
def test_layers_that_are_piecewise_linear(fn):
    assert gradcheck(fn, apart_from_kinks((5, 3)))


def test_mse_by_its_target():
    assert gradcheck(nn.mse, X, X[::-1].copy(), order=2)


def test_dropout_with_a_fixed_seed():
    layer = nn.Dropout(0.3)

    def fn(x):
        layer.rng = np.random.default_rng(5)
        return layer(x) ** 2

    assert gradcheck(fn, X, order=2)


def test_networks():
    model = nn.MLP(4, 5, 5, 3, batchnorm=True, activation=nn.Tanh, rng=0)
    assert gradcheck(lambda x: nn.cross_entropy(model(x), LABELS), X, order=2)


def test_gradients_of_a_network_by_the_complex_step():
    rng = np.random.default_rng(0)
    w1, w2 = rng.normal(size=(4, 5)), rng.normal(size=(5, 3))

    def by_hand(w1, w2):
        z = X @ w1
        z = z - z.mean(axis=0)
        a = np.tanh(z / np.sqrt((z * z).mean(axis=0) + 1e-5))
        return a @ w2

    model = nn.MLP(4, 5, 3, batchnorm=True, activation=nn.Tanh)
    model[0].weight.data, model[3].weight.data = w1, w2
    out = model(X)
    g = upstream(rng, out)
    out.backward(g)
    close(model[0].weight.grad, pull_back(by_hand, (w1, w2), 0, g), 1e-13)
    close(model[3].weight.grad, pull_back(by_hand, (w1, w2), 1, g), 1e-13)


# --- BatchNorm, staged and fused ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "axis"), [(X, 0), (IMAGES, (0, 2, 3)), (IMAGES, (0, 1, 2)), (X, -1)], ids=str
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_staged_and_fused_agree_at_first_and_second_order(x, axis, dtype):
    rng = np.random.default_rng(1)
    axes = axis if isinstance(axis, tuple) else (axis % x.ndim,)
    shape = tuple(n for k, n in enumerate(x.shape) if k not in axes) if 0 in axes else x.shape[1:]
    arrays = [np.asarray(a, dtype) for a in (x, rng.normal(size=shape), rng.normal(size=shape))]
    dout = upstream(rng, arrays[0])
    weights = [upstream(rng, a) for a in arrays]
    tolerance = 1e-13 if dtype is np.float64 else 1e-4
    results = []
    for normalize in (staged, fused.normalize):
        tensors = [Tensor(a) for a in arrays]
        out = normalize(*tensors, eps=1e-5, axis=axis)
        first = grad(out, tensors, dout, create_graph=True)
        second = grad(sum((g * w).sum() for g, w in zip(first, weights, strict=True)), tensors)
        results.append([out.data, *(g.data for g in first), *second])
    for a, b in zip(*results, strict=True):
        assert a.dtype == b.dtype == dtype
        close(a, b, tolerance)


def test_the_rule_is_the_closed_form():
    rng = np.random.default_rng(2)
    gamma, dout = rng.normal(size=4), upstream(rng, X)
    tensors = [Tensor(X), Tensor(gamma), Tensor(np.zeros(4))]
    gradients = grad(fused.normalize(*tensors), tensors, dout)
    for a, b in zip(gradients, closed_form(X, gamma, dout), strict=True):
        close(a, b, 1e-14)


def test_fused_is_exact_among_fractions():
    x = np.array([[Fraction(1)], [Fraction(3)]])
    out = fused.normalize(x, [Fraction(2)], [Fraction(1)], eps=Fraction(3))
    assert out.data.tolist() == [[Fraction(0)], [Fraction(2)]]


def test_fused_is_one_node():
    out = nn.BatchNorm(4, staged=False)(X)
    assert out.op is fused.batchnorm
    assert pickle.loads(pickle.dumps(out.op)) is fused.batchnorm
    assert [x.shape for x in out.inputs] == [(6, 4), (4,), (4,)]


def test_a_snapshot_of_the_fused_node_runs_forwards_and_backwards():
    rng = np.random.default_rng(3)
    x, gamma, beta = (
        Tensor(a, name=name)
        for a, name in ((X, "x"), (rng.normal(size=4), "gamma"), (np.ones(4), "beta"))
    )
    out = fused.normalize(x, gamma, beta)
    graph = Graph.capture(out, wrt=[x, gamma, beta])
    dout = upstream(rng, X)
    found = graph.run(x=X, gamma=gamma.data, beta=beta.data, dout=dout)
    close(found["out"], out.data, 1e-15)
    for name, expected in zip(
        ("dx", "dgamma", "dbeta"), closed_form(X, gamma.data, dout), strict=True
    ):
        close(found[name], expected, 1e-14)


# --- running statistics -------------------------------------------------------------------------


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("momentum", [0.9, 0.5, 0.0, 1.0, None])
@pytest.mark.parametrize("as_images", [False, True])
def test_running_statistics_by_hand(momentum, unbiased, as_images):
    rng = np.random.default_rng(4)
    layer = nn.BatchNorm(3, momentum=momentum, unbiased_running_var=unbiased)
    mean, var = np.zeros(3), np.ones(3)
    means, variances = [], []
    for _ in range(4):
        x = rng.normal(2.0, 3.0, size=(5, 3, 2, 2) if as_images else (7, 3))
        layer(x)
        flat = np.moveaxis(x, 1, -1).reshape(-1, 3)
        n = len(flat)
        means.append(flat.sum(axis=0) / n)
        variances.append(((flat - means[-1]) ** 2).sum(axis=0) / (n - 1 if unbiased else n))
        if momentum is None:
            mean, var = np.mean(means, axis=0), np.mean(variances, axis=0)
        else:
            mean = momentum * mean + (1 - momentum) * means[-1]
            var = momentum * var + (1 - momentum) * variances[-1]
        close(layer.running_mean, mean, 1e-14)
        close(layer.running_var, var, 1e-14)
    if momentum is None:
        assert layer.batches == 4


def test_running_statistics_are_replaced_and_never_changed():
    layer = nn.BatchNorm(4)
    mean, var = layer.running_mean, layer.running_var
    layer(X)
    assert layer.running_mean is not mean
    assert mean.tolist() == [0] * 4
    assert var.tolist() == [1] * 4
    with pytest.raises(ValueError, match="read-only"):
        layer.running_mean[0] = 1.0


def test_running_statistics_stay_in_evaluation_and_without_tracking():
    layer = nn.BatchNorm(4).eval()
    layer(X)
    assert layer.running_mean.tolist() == [0] * 4
    untracked = nn.BatchNorm(4, track_running_stats=False)
    close(untracked(X).data, untracked.eval()(X).data, 0)
    assert untracked.running_mean is None
    assert list(untracked.state_dict()) == ["gamma", "beta"]


def test_a_batch_that_is_refused_leaves_the_statistics():
    layer = nn.BatchNorm(4)
    with pytest.raises(ValueError, match="one"):
        layer(X[:1])
    assert layer.running_mean.tolist() == [0] * 4


def test_statistics_are_reset():
    layer = nn.BatchNorm(4, momentum=None)
    layer(X)
    layer.reset_running_stats()
    assert layer.running_mean.tolist() == [0] * 4
    assert layer.running_var.tolist() == [1] * 4
    assert layer.batches == 0


def test_statistics_follow_the_batch_without_recording():
    layer = nn.BatchNorm(4, momentum=0.0)
    with no_grad():
        layer(X)
    close(layer.running_mean, X.mean(axis=0), 1e-15)


def test_float32_stays_float32():
    layer = nn.BatchNorm(4, dtype=np.float32)
    for mode in (True, False):
        x = Tensor(X.astype(np.float32))
        out = layer.train(mode)(x)
        out.backward(upstream(RNG, out))
        assert {a.dtype.name for a in (out, x.grad, layer.running_mean, layer.running_var)} == {
            "float32"
        }


def test_evaluation_takes_the_statistics_as_constants():
    rng = np.random.default_rng(5)
    layer = nn.BatchNorm(4, eps=1e-3)
    layer.gamma.data, layer.beta.data = rng.normal(size=4), rng.normal(size=4)
    layer(X)
    layer.eval()
    x = Tensor(X)
    out = layer(x)
    scale = layer.gamma.data / np.sqrt(layer.running_var + 1e-3)
    close(out.data, (X - layer.running_mean) * scale + layer.beta.data, 1e-14)
    dout = upstream(rng, X)
    dx, dgamma, dbeta = grad(out, [x, layer.gamma, layer.beta], dout)
    xhat = (X - layer.running_mean) / np.sqrt(layer.running_var + 1e-3)
    close(dx, dout * scale, 1e-14)
    close(dgamma, (dout * xhat).sum(axis=0), 1e-14)
    close(dbeta, dout.sum(axis=0), 1e-14)
    close(layer(X[:1]).data, out.data[:1], 1e-15)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
def test_folding(bias, affine):
    rng = np.random.default_rng(6)
    linear, norm = nn.Linear(4, 3, bias=bias, rng=rng), nn.BatchNorm(3, affine=affine)
    for p in (*linear.parameters(), *norm.parameters()):
        p.data = rng.normal(size=p.shape)
    for _ in range(3):
        norm(linear(rng.normal(size=(8, 4))))
    folded = norm.eval().fold_into(linear)
    assert isinstance(folded, nn.Linear)
    close(folded(X).data, norm(linear(X)).data, 1e-14)
    assert (linear.bias is not None) is bias


@pytest.mark.parametrize(
    ("norm", "linear", "error", "message"),
    [
        (nn.BatchNorm(3), nn.ReLU(), TypeError, "takes a Linear, not ReLU"),
        (nn.BatchNorm(3), nn.Linear(3, 4), ValueError, "4 outputs, but 3 features"),
        (nn.BatchNorm(4, track_running_stats=False), nn.Linear(3, 4), ValueError, "no running"),
    ],
)
def test_folding_what_does_not_fit(norm, linear, error, message):
    with pytest.raises(error, match=message):
        norm.fold_into(linear)


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (nn.BatchNorm(4), (1, 4), "1 value per feature in training.*eval"),
        (nn.BatchNorm(4, staged=False), (1, 4, 1, 1), "1 value per feature in training.*eval"),
        (nn.BatchNorm(4), (0, 4), "0 values per feature"),
        (nn.BatchNorm(4), (3, 5), "must have 4 features along axis 1, not 5"),
        (nn.BatchNorm(4), (4,), "must have 4 features"),
        (nn.BatchNorm(4, axis=0), (2, 3, 4), "all axes but that of the features"),
        (nn.BatchNorm(4, axis=1), (2, 4), "all axes but that of the features"),
        (nn.BatchNorm(4, axis=5), (2, 4), "axis 5 does not exist"),
        (nn.LayerNorm(4), (4, 3), r"must end in \(4,\)"),
        (nn.Linear(4, 3), (4, 3), "must have length 4"),
    ],
)
def test_inputs_of_another_shape(layer, shape, message):
    with pytest.raises(ValueError, match=message):
        layer(np.ones(shape))


def test_one_image_has_many_values_per_feature():
    assert nn.BatchNorm(4)(IMAGES[:1]).shape == (1, 4, 2, 5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Linear(0, 3), "in_features must be an integer of at least 1"),
        (lambda: nn.Linear(3, 2.0), "out_features must be an integer"),
        (lambda: nn.BatchNorm(True), "features must be an integer"),
        (lambda: nn.BatchNorm(3, eps=-1), "eps is -1"),
        (lambda: nn.BatchNorm(3, momentum=1.5), "momentum is 1.5"),
        (lambda: nn.BatchNorm(3, momentum=math.nan), "momentum is nan"),
        (lambda: nn.LayerNorm(3, eps=-1), "eps is -1"),
        (lambda: nn.Dropout(1.0), "p is 1.0"),
        (lambda: nn.Dropout(-0.1), "p is -0.1"),
        (lambda: nn.MLP(3), "at least two"),
    ],
)
def test_options_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# --- dropout ------------------------------------------------------------------------------------


def test_dropout_repeats_with_its_seed_and_keeps_the_mean():
    x = np.ones((200, 50))
    first, again, other = (nn.Dropout(0.3, rng=seed)(x).data for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert set(np.unique(first)) == {0.0, 1 / 0.7}
    assert abs(first.mean() - 1) < 0.02


def test_dropout_draws_anew_at_each_call():
    layer = nn.Dropout(0.5, rng=0)
    assert not np.array_equal(layer(X).data == 0, layer(X).data == 0)


def test_dropout_is_the_identity_in_evaluation():
    x = Tensor(X)
    assert nn.Dropout(0.9).eval()(x) is x
    assert nn.Dropout(0)(x) is x


# --- losses -------------------------------------------------------------------------------------


def test_cross_entropy_by_hand():
    p = np.exp(X) / np.exp(X).sum(axis=1, keepdims=True)
    logits = Tensor(X)
    loss = nn.cross_entropy(logits, LABELS)
    close(loss.data, -np.log(p[np.arange(6), LABELS]).mean(), 1e-15)
    loss.backward()
    close(logits.grad, (p - np.eye(4)[LABELS]) / 6, 1e-15)


def test_cross_entropy_of_huge_logits():
    logits = Tensor([[1e4, -1e4, 0.0], [1e4, -1e4, 0.0]])
    loss = nn.cross_entropy(logits, [0, 1])
    assert loss.data == 1e4
    loss.backward()
    assert logits.grad.tolist() == [[0, 0, 0], [0.5, -0.5, 0]]
    close(nn.cross_entropy(X + 1e6, LABELS).data, nn.cross_entropy(X, LABELS).data, 1e-9)


@pytest.mark.parametrize("labels", [LABELS.tolist(), LABELS.astype(np.uint8), LABELS])
def test_labels_may_be_any_integers(labels):
    assert nn.cross_entropy(X, labels).data == nn.cross_entropy(X, LABELS).data


@pytest.mark.parametrize(
    ("logits", "labels", "error", "message"),
    [
        (X, LABELS.astype(float), TypeError, "must be integers, not float64"),
        (X, Tensor(LABELS), TypeError, "must be integers"),
        (X, np.eye(4)[LABELS], ValueError, r"one-hot labels pass labels.argmax\(axis=1\)"),
        (X, LABELS[:5], ValueError, r"labels of shape \(6,\)"),
        (X, [0, 1, 2, 3, 4, 0], ValueError, "label 4 at 4 is no class.*0 to 3"),
        (X, [0, -1, 2, 3, 1, 0], ValueError, "label -1 at 1 is no class"),
        (X[0], [0], ValueError, r"must have shape \(N, C\)"),
        (np.ones((0, 3)), [], ValueError, "neither being 0"),
    ],
)
def test_labels_that_do_not_fit(logits, labels, error, message):
    with pytest.raises(error, match=message):
        nn.cross_entropy(logits, labels)


def test_mse_does_not_broadcast():
    with pytest.raises(ValueError, match=r"prediction has shape \(6, 1\), but target \(6,\)"):
        nn.mse(np.ones((6, 1)), np.ones(6))
    with pytest.raises(ValueError, match="no entries"):
        nn.mse([], [])


# --- modules ------------------------------------------------------------------------------------


def test_sequential_is_a_sequence():
    model = nn.Sequential(nn.Linear(4, 3, rng=0), nn.Tanh())
    assert len(model) == 2
    assert list(model) == [model[0], model[1]]


class Odd(nn.Module):
    """Parameters in every place where one may stand."""

    def __init__(self):
        self.parts = [nn.Linear(2, 2, rng=0), "no part", nn.BatchNorm(2)]
        self.own = Tensor([1.0])
        self.again = self.own
        self.named = {"tanh": nn.Tanh(), "last": nn.Linear(2, 1, rng=0)}
        self.parts_too = (self.parts[0],)
        self.scalar = Tensor(3.0)
        self.computed = self.scalar * 2
        self.seen = np.zeros(3)


def test_parameters_are_found_once_and_in_order():
    names = [
        *("own", "scalar", "parts.0.weight", "parts.0.bias", "parts.2.gamma", "parts.2.beta"),
        *("named.last.weight", "named.last.bias"),
    ]
    assert [name for name, _ in Odd().named_parameters()] == names
    assert list(Odd().state_dict()) == [
        *names,
        *("seen", "parts.2.running_mean", "parts.2.running_var"),
    ]
    assert all(isinstance(p, Tensor) for p in Odd().parameters())


def test_a_module_that_holds_itself():
    module = nn.Sequential(nn.ReLU())
    module.parent = module
    assert [name for name, _ in module.named_modules()] == ["", "layers.0"]


def test_modes_reach_all_parts():
    model = Odd()
    assert model.eval() is model
    assert not any(part.training for _, part in model.named_modules())
    assert model.train() is model
    assert all(part.training for _, part in model.named_modules())


def test_zero_grad():
    model = nn.MLP(4, 3, 2, rng=0)
    nn.mse(model(X), np.ones((6, 2))).backward()
    assert all(p.grad is not None for p in model.parameters())
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())


def test_printed_as_a_tree():
    model = nn.Sequential(nn.MLP(4, 3, 2, batchnorm=True, dropout=0.1, rng=0), np.tanh)
    model.layers.append(nn.BatchNorm(2, momentum=None, axis=0, affine=False, staged=False))
    assert repr(model).split("\n") == [
        "Sequential()",
        "├── layers.0: MLP()",
        "│   ├── layers.0: Linear(4, 3, bias=False)",
        "│   ├── layers.1: BatchNorm(3)",
        "│   ├── layers.2: ReLU()",
        "│   ├── layers.3: Dropout(0.1)",
        "│   └── layers.4: Linear(3, 2)",
        "└── layers.2: BatchNorm(2, momentum=None, axis=0, affine=False, staged=False)",
    ]
    assert model(X).shape == (6, 2)


class Blocks(nn.Module):
    def __init__(self, inside):
        self.blocks = inside

    def __call__(self, x):
        return x


def test_parts_are_found_in_containers_of_any_depth(tmp_path):
    def build(rng):
        linear = nn.Linear(2, 3, rng=rng)
        pairs = ({"first": [nn.ReLU(), nn.BatchNorm(3)]}, deque([[[Tensor([1.0])]]]))
        return Blocks([[linear, nn.ReLU()], [pairs, linear], 7, "text", None])

    model = build(0)
    names = [name for name, _ in model.named_parameters()]
    assert names == [
        "blocks.1.0.1.0.0.0", "blocks.0.0.weight", "blocks.0.0.bias",
        "blocks.1.0.0.first.1.gamma", "blocks.1.0.0.first.1.beta",
    ]  # fmt: skip
    assert "blocks.1.0.0.first.1.running_var" in model.state_dict()
    assert [one.training for _, one in model.eval().named_modules()] == [False] * 5
    model.save(tmp_path / "blocks.npz")
    other = build(1)
    other.load(tmp_path / "blocks.npz")
    assert all(np.array_equal(other.state_dict()[k], v) for k, v in model.state_dict().items())
    assert "├── blocks.0.0: Linear(2, 3)" in repr(model)


def test_containers_without_an_end():
    endless = [nn.ReLU()]
    endless.append({"again": endless})
    deep = nn.Linear(2, 2, rng=0)
    for _ in range(5000):
        deep = [deep]
    model = Blocks([endless, endless, deep])
    assert len(model.parameters()) == 2
    assert [type(part).__name__ for _, part in model.named_modules()] == [
        "Blocks",
        "ReLU",
        "Linear",
    ]


@pytest.mark.parametrize("inside", [{nn.ReLU()}, frozenset([nn.ReLU()]), [{"a": {Tensor(1.0)}}]])
def test_sets_of_parts_are_refused(inside):
    with pytest.raises(TypeError, match=r"Blocks: blocks.* is a set, .*make it a list or a dict"):
        Blocks(inside).parameters()
    assert Blocks({1, "a"}).parameters() == []


def test_two_parameters_of_one_name_are_refused():
    model = Blocks({1: Tensor(1.0), "1": Tensor(2.0)})
    with pytest.raises(ValueError, match=r"Blocks: two arrays are called blocks\.1"):
        model.state_dict()


def test_a_part_with_a_link_to_its_whole_is_printed():
    part = Blocks(None)
    whole = Blocks([part, nn.ReLU()])
    part.whole = whole
    assert repr(whole).split("\n") == [
        "Blocks()",
        "├── blocks.0: Blocks()",
        "│   └── whole: …",
        "└── blocks.1: ReLU()",
    ]
    assert "whole: Blocks()" in repr(part)


def test_a_seed_makes_a_network_repeatable():
    a, b, c = (nn.MLP(4, 3, 2, rng=seed).state_dict() for seed in (0, 0, 1))
    assert all(np.array_equal(a[k], b[k]) for k in a)
    assert not np.array_equal(a["layers.0.weight"], c["layers.0.weight"])
    assert not np.array_equal(a["layers.0.weight"][:2, :2], a["layers.2.weight"][:2, :2])


def test_a_module_without_a_call_says_so():
    with pytest.raises(NotImplementedError, match="Odd must define __call__"):
        Odd()(X)


def test_a_list_of_layers_is_no_layer():
    with pytest.raises(TypeError, match=r"Sequential\(\*layers\)"):
        nn.Sequential([nn.ReLU()])


def test_copies_and_pickles_are_independent():
    model = nn.MLP(4, 3, 2, batchnorm=True, rng=0)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        before = model.state_dict()
        other(X)
        other[0].weight.data = np.zeros((4, 3))
        assert all(np.array_equal(before[k], v) for k, v in model.state_dict().items())


# --- state and files ----------------------------------------------------------------------------


def trained():
    model = nn.Sequential(nn.MLP(4, 3, 2, batchnorm=True, rng=0), nn.BatchNorm(2, momentum=None))
    model(X)
    return model


def test_a_state_is_a_copy():
    model = trained()
    for array in model.state_dict().values():
        array[...] = 99
    assert all(np.all(array != 99) for array in model.state_dict().values())


def test_saved_and_loaded(tmp_path):
    model, path = trained(), tmp_path / "model.npz"
    model.save(path)
    other = nn.Sequential(nn.MLP(4, 3, 2, batchnorm=True, rng=1), nn.BatchNorm(2, momentum=None))
    assert other.eval()(X).data.tolist() != model.eval()(X).data.tolist()
    other.load(path)
    assert other.eval()(X).data.tolist() == model.eval()(X).data.tolist()
    assert other[1].batches == 1
    with np.load(path, allow_pickle=False) as archive:
        assert set(archive.files) == set(model.state_dict())
    assert os.listdir(tmp_path) == ["model.npz"]


def test_the_same_state_gives_the_same_file(tmp_path):
    trained().save(tmp_path / "a.npz")
    trained().save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_names_that_savez_would_take_for_its_own(tmp_path):
    path = tmp_path / "odd.npz"
    state.write_arrays(path, {"file": [1.0], "allow_pickle": [2], "a/b": np.zeros((0, 3))})
    read = state.read_arrays(path)
    assert {name: array.tolist() for name, array in read.items()} == {
        "file": [1.0],
        "allow_pickle": [2],
        "a/b": [],
    }


@pytest.mark.parametrize("broken", ["write_array", "replace"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=str)
def test_a_crash_while_saving_leaves_the_old_file(tmp_path, monkeypatch, broken, error):
    path = tmp_path / "model.npz"
    trained().save(path)
    before = path.read_bytes()
    model, calls = trained(), []
    model(X)

    def crash(*args, **kwargs):
        calls.append(args)
        if broken != "write_array" or len(calls) == 3:
            raise error
        return write(*args, **kwargs)

    write = np.lib.format.write_array
    owner = np.lib.format if broken == "write_array" else os
    monkeypatch.setattr(owner, broken, crash)
    with pytest.raises(type(error)):
        model.save(path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["model.npz"]
    model.save(path)
    assert path.read_bytes() != before


@pytest.mark.skipif(os.name == "nt", reason="file modes and links are those of POSIX")
def test_saving_keeps_links_and_modes(tmp_path):
    path, link = tmp_path / "model.npz", tmp_path / "latest.npz"
    trained().save(path)
    os.chmod(path, 0o640)
    link.symlink_to(path)
    trained().save(link)
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_state_that_does_not_fit_is_listed_and_changes_nothing():
    model = nn.MLP(4, 3, 2, batchnorm=True, rng=0)
    before = model.state_dict()
    wrong = dict(before)
    del wrong["layers.1.gamma"], wrong["layers.1.running_var"]
    wrong["layers.9.weight"] = np.ones(2)
    wrong["layers.0.weight"] = np.ones((3, 4))
    with pytest.raises(ValueError, match="does not fit") as caught:
        model.load_state_dict(wrong)
    assert "missing: layers.1.gamma, layers.1.running_var;" in str(caught.value)
    assert "unexpected: layers.9.weight;" in str(caught.value)
    assert "of wrong shape: layers.0.weight (3, 4) instead of (4, 3);" in str(caught.value)
    with pytest.raises(TypeError, match=r"layers.3.bias must be real numbers"):
        model.load_state_dict({**before, "layers.3.bias": np.array(["a", "b"])})
    with pytest.raises(TypeError, match=r"layers.3.bias must be real numbers, not complex128"):
        model.load_state_dict({**before, "layers.3.bias": np.ones(2) * 1j})
    after = model.state_dict()
    assert all(np.array_equal(before[k], after[k]) for k in before)


def test_loading_converts_to_the_dtype_of_the_module():
    model = nn.MLP(4, 3, 2, batchnorm=True, rng=0, dtype=np.float32)
    model.load_state_dict(nn.MLP(4, 3, 2, batchnorm=True, rng=0).state_dict())
    assert {array.dtype.name for array in model.state_dict().values()} == {"float32"}


@pytest.mark.parametrize(
    "content", [b"", b"no archive", b"PK\x05\x06" + b"\0" * 18], ids=["empty", "text", "nothing"]
)
def test_files_that_are_no_state(tmp_path, content):
    path = tmp_path / "model.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.npz"):
        nn.BatchNorm(2).load(path)


def test_a_truncated_file(tmp_path):
    path = tmp_path / "model.npz"
    trained().save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"model\.npz cannot be read"):
        trained().load(path)


def same(a, b):
    return all(np.array_equal(a[name], b[name], equal_nan=True) for name in {*a, *b})


def archive(*members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for name, content in members:
            file.writestr(name, content)
    return stream.getvalue()


def npy(descr="'<f8'", shape="(2,)", data=b"\0" * 16):
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return np.lib.format.magic(1, 0) + len(text).to_bytes(2, "little") + text + data


def with_flags(content, flags=0, method=0):
    """Set flags, such as that of encryption, and the method of compression in both headers."""
    content = bytearray(content)
    for start, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.index(start) + place
        content[at : at + 4] = struct.pack("<HH", flags, method)
    return bytes(content)


WHOLE = archive(("gamma.npy", npy()))
DAMAGED = {
    "encrypted": with_flags(WHOLE, flags=1),
    "unknown compression": with_flags(WHOLE, method=99),
    "deflated, not": with_flags(WHOLE, method=8),
    "728 TiB": archive(("gamma.npy", npy(shape=f"({10**14},)"))),
    "negative": archive(("gamma.npy", npy(shape="(-2,)"))),
    "more than an index holds": archive(("gamma.npy", npy(shape=f"({10**40},)"))),
    "no literal": archive(("gamma.npy", npy(descr="'<f8"))),
    "nested": archive(("gamma.npy", npy(shape="(" * 3000))),
    "unknown dtype": archive(("gamma.npy", npy(descr="'zz'"))),
    "objects": archive(("gamma.npy", npy(descr="'O'"))),
    "no array": archive(("gamma.npy", b"text"), ("beta", b"")),
    "cut": WHOLE[:-30],
    "cut in front": WHOLE[30:],
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_whatever_is_damaged_is_a_value_error(tmp_path, content):
    path = tmp_path / "model.npz"
    path.write_bytes(content)
    norm = nn.BatchNorm(2)
    before = norm.state_dict()
    with pytest.raises(ValueError, match=r"model\.npz"):
        norm.load(path)
    assert same(norm.state_dict(), before)


def test_a_file_that_is_damaged_anywhere_is_loaded_or_a_value_error(tmp_path):
    model, path = trained(), tmp_path / "model.npz"
    model.save(path)
    content, rng = path.read_bytes(), np.random.default_rng(5)
    refused = 0
    for _ in range(400):
        junk = bytearray(content)
        for place in rng.integers(len(junk), size=rng.integers(1, 4)):
            junk[place] = rng.integers(256)
        if rng.random() < 0.3:
            start, end = sorted(rng.integers(len(junk), size=2))
            del junk[start:end]
        path.write_bytes(junk)
        other = nn.Sequential(
            nn.MLP(4, 3, 2, batchnorm=True, rng=1), nn.BatchNorm(2, momentum=None)
        )
        before = other.state_dict()
        try:
            other.load(path)
        except ValueError as error:
            refused, message = refused + 1, str(error)
        else:
            continue
        assert message.startswith(str(path))
        assert same(other.state_dict(), before)
    assert refused > 200


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("gamma", [1.0, np.nan], "gamma is nan, infinite or too large for float32"),
        ("running_mean", [-np.inf, 0.0], "running_mean is nan, infinite"),
        ("beta", [1e300, 0.0], "beta is nan, infinite or too large for float32"),
        ("gamma", [True, False], "gamma must be real numbers, not bool"),
        ("running_var", [1.0, -1e-9], "running_var is negative, which it cannot be"),
        ("batches", -1, "batches is negative"),
        ("batches", 1.5, "batches must be whole numbers"),
        ("batches", 1e30, "batches must be whole numbers"),
    ],
)
def test_values_that_cannot_be_a_state_are_refused(tmp_path, name, value, words):
    norm = nn.BatchNorm(2, momentum=None, dtype=np.float32)
    norm(X[:, :2].astype(np.float32))
    before = norm.state_dict()
    np.savez(tmp_path / "norm.npz", **{**before, name: np.array(value)})
    with pytest.raises(ValueError, match=rf"norm\.npz: BatchNorm: {words}"):
        norm.load(tmp_path / "norm.npz")
    assert same(norm.state_dict(), before)


class Masked(nn.Module):
    def __init__(self):
        self.mask = np.array([0.0, -np.inf])


def test_a_mask_that_holds_infinities_is_state():
    model = Masked()
    model.load_state_dict(Masked().state_dict())
    assert model.mask.tolist() == [0.0, -np.inf]
    with pytest.raises(ValueError, match="mask is nan"):
        model.load_state_dict({"mask": np.array([np.nan, 0.0])})


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e200])
@pytest.mark.parametrize("staged_steps", [True, False])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_batch_that_would_poison_the_running_statistics_is_refused(bad, staged_steps):
    norm = nn.BatchNorm(4, momentum=None, staged=staged_steps)
    norm(X)
    before, x = norm.state_dict(), X.copy()
    x[1, 2] = bad
    with pytest.raises(ValueError, match=r"BatchNorm\(4.*: feature 2 of x .* running statistics"):
        norm(x)
    assert same(norm.state_dict(), before)
    assert np.isfinite(norm.eval()(X).data).all()


def test_a_single_array(tmp_path):
    with open(tmp_path / "model.npz", "wb") as file:
        np.save(file, X)
    with pytest.raises(ValueError, match="single array without a name"):
        nn.BatchNorm(2).load(tmp_path / "model.npz")


def test_nothing_is_unpickled(tmp_path):
    path = tmp_path / "model.npz"
    np.savez(path, gamma=np.array([print, len]))
    with pytest.raises(ValueError, match="pickle"):
        nn.BatchNorm(2).load(path)
    with pytest.raises(ValueError, match="holds Python objects"):
        state.write_arrays(path, {"a": np.array([None])})


def test_paths(tmp_path):
    with pytest.raises(ValueError, match=r"must end in \.npz"):
        nn.BatchNorm(2).save(tmp_path / "model.pt")
    with pytest.raises(FileNotFoundError):
        nn.BatchNorm(2).load(tmp_path / "none.npz")
    with pytest.raises(FileNotFoundError):
        nn.BatchNorm(2).save(tmp_path / "none" / "model.npz")


def test_an_error_in_loading_names_the_file(tmp_path):
    nn.BatchNorm(3).save(tmp_path / "model.npz")
    with pytest.raises(ValueError, match=r"model\.npz: BatchNorm: the state does not fit"):
        nn.BatchNorm(2).load(tmp_path / "model.npz")
    assert zipfile.is_zipfile(tmp_path / "model.npz")


# --- traced -------------------------------------------------------------------------------------


def test_layers_are_frames():
    model = nn.MLP(4, 3, 2, batchnorm=True, rng=0)
    out = trace(model)(X)
    graph = Graph.capture(out)
    scopes = {step.result.name: step.result.scope for step in graph.steps}
    assert scopes["xhat"] == ("BatchNorm", "staged")
    assert {scope[0] for scope in scopes.values()} == {"Linear", "BatchNorm", "ReLU", "Linear #2"}
    source = draw(out).source
    assert source == draw(trace(nn.MLP(4, 3, 2, batchnorm=True, rng=1))(X)).source
    assert all(f">{label}<" in source for label in ("BatchNorm", "ReLU", "Linear #2"))


def test_a_fused_norm_is_one_step():
    model = nn.MLP(4, 3, 2, batchnorm=True, staged=False, rng=0)

    def objective(x, labels):
        logits = model(x)
        loss = nn.cross_entropy(logits, labels)
        return loss

    loss = trace(objective)(X, LABELS % 2)
    graph = Graph.capture(loss)
    assert [s.result.op.name for s in graph.steps if "BatchNorm" in s.result.scope] == ["batchnorm"]
    assert graph["loss"].scope == ("cross_entropy",)
    assert "batchnorm(z, layers.1.gamma, layers.1.beta)" in draw(loss).source


def test_a_network_in_evaluation_is_drawn():
    model = nn.MLP(4, 3, 2, batchnorm=True, rng=0).eval()
    graph = Graph.capture(trace(model)(X))
    assert [s.name for s in graph.steps if "BatchNorm" in s.result.scope] == ["xhat", "out"]


def test_a_network_is_drawn_in_frames_without_trace():
    model = nn.MLP(5, 4, 3, batchnorm=True, rng=0)
    x = np.random.default_rng(0).normal(size=(6, 5))
    for _ in range(2):  # a second call is numbered anew
        graph = Graph.capture(model(x))
        assert [step.result.scope for step in graph.steps] == [
            ("MLP", "Linear"),
            ("MLP", "BatchNorm"),  # x − mu, which is used twice
            ("MLP", "BatchNorm"),
            ("MLP", "ReLU"),
            ("MLP", "Linear #2"),
        ]
    assert draw(model(x)).source.count("subgraph") == 5
    opened = Graph.capture(trace(model)(x))
    assert ("Linear #2",) in {step.result.scope[-1:] for step in opened.steps}
    assert len(opened.steps) > len(graph.steps)


# --- parameters are called what state_dict calls them -------------------------------------------


class Scaled(nn.Module):
    def __init__(self, scale):
        self.scale = scale
        self.inner = {"first": nn.Linear(3, 3, rng=1)}

    def __call__(self, x):
        return x + self.scale * self.inner["first"](x)


def leaves(out):
    return [n.name for n in Graph.capture(out).inputs]


@pytest.mark.parametrize("traced", [False, True])
def test_parameters_are_called_what_the_state_calls_them(traced):
    model = nn.MLP(3, 4, 3, 2, batchnorm=True, rng=0)
    x = Tensor(np.ones((2, 3)), name="x")
    out = trace(model)(x) if traced else model(x)
    named = dict(model.named_parameters())
    assert [p.name for p in named.values()] == list(named)
    assert sorted(leaves(out)) == sorted([*named, "x"])
    gradients = {g.name for g in Graph.joint(out).gradients}
    assert {f"d{name}" for name in named} <= gradients


def test_a_name_of_ones_own_stays_and_a_part_is_called_from_the_whole():
    part = Scaled(Tensor(0.5, name="α"))
    part(np.ones((2, 3)))
    assert [p.name for p in part.parameters()] == ["α", "inner.first.weight", "inner.first.bias"]
    whole = nn.Sequential(part, nn.Linear(3, 2, rng=0))
    out = whole(np.ones((2, 3)))
    assert {*leaves(out)} == {
        *("α", "layers.0.inner.first.weight", "layers.0.inner.first.bias"),
        *("layers.1.weight", "layers.1.bias"),
    }
    space = {}
    exec(derive(out, format="python"), space)
    arguments = inspect.signature(space["forward"]).parameters
    assert "layers_0_inner_first_weight" in arguments
    latex = derive(out, format="latex")
    assert r"\mathrm{d}\mathrm{layers.1.weight} &=" in latex


def test_a_module_of_one_line_has_a_frame_whose_step_is_what_it_returns():
    part = Scaled(Tensor(0.5))

    def f(x):
        y = part(x) * 2
        return y

    for out in (trace(f)(np.ones((2, 3))), f(Tensor(np.ones((2, 3))))):
        graph = Graph.capture(out)
        returned = graph["Scaled_out"]
        assert returned.scope == ("Scaled",)
        assert graph[graph.outputs[0].name].scope == ()
        assert graph.outputs[0].inputs[0] is returned
