"""A step that is replayed is the step that it was: bits, state and draws; or it is refused."""

import copy
import gc
import pickle
import random
import threading
import time
import tracemalloc
from fractions import Fraction
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import examples, same_bits
from hypothesis import given, settings
from programs import ANALYTIC, KINKED, execute, programs

from tinygraph import Graph, Tensor, detect_anomaly, grad, nn, no_grad, optim, trace
from tinygraph.execution import Replay
from tinygraph.execution.layouts import MOST
from tinygraph.execution.training import Steps
from tinygraph.nn.module import as_tensor


def compiled(function):
    return Steps(function, Replay)


def batches(n, features, classes, seed, *, size=16, shape=(), dtype=np.float64):
    """Give batches of inputs and labels, of which the last of each round is short."""
    rng = np.random.default_rng(seed)
    for k in range(n):
        rows = 5 if k % 7 == 6 else size
        x = rng.normal(3, 2, size=(rows, features, *shape)).astype(dtype)
        yield x, rng.integers(classes, size=rows)


def assert_same_state(ours, theirs, step=None):
    found, expected = ours.state_dict(), theirs.state_dict()
    assert found.keys() == expected.keys()
    for name in found:
        assert same_bits(found[name], expected[name]), f"{name} after step {step}"


def assert_same_gradients(ours, theirs):
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None), b
        assert a.grad is None or same_bits(a.grad, b.grad), b


# --------------------------------------------------------------------------- as eager, bit for bit


class Residual(nn.Module):
    """One of one's own: a shared part, a scalar parameter, a part that is not always taken."""

    def __init__(self):
        self.inner = nn.Linear(6, 6, rng=3)
        self.scale = Tensor(0.3)
        self.norm = nn.LayerNorm(6)
        self.blocks = [nn.Tanh(), nn.Dropout(0.25, rng=5)]

    def __call__(self, x):
        for block in self.blocks:
            x = x + self.scale * block(self.inner(self.norm(x)))
        if self.training:
            x = x + 0.01 * nn.drawn(self.blocks[1].rng, lambda rng: rng.normal(size=6))
        return x


class Convolved(nn.Module):
    """Images: BatchNorm over (0, 2, 3), and a mean over pixels."""

    def __init__(self):
        self.norm = nn.BatchNorm(6, momentum=0.7)
        self.head = nn.Linear(6, 4, rng=0)

    def __call__(self, x):
        return self.head(np.mean(np.tanh(self.norm(x)), axis=(2, 3)))


NETWORKS = {
    "mlp": lambda: nn.MLP(6, 8, 4, batchnorm=True, dropout=0.3, rng=0),
    "fused": lambda: nn.MLP(6, 8, 4, batchnorm=True, staged=False, activation=nn.Tanh, rng=0),
    "mean over all batches": lambda: nn.Sequential(
        nn.BatchNorm(6, momentum=None, unbiased_running_var=True), nn.Linear(6, 4, rng=0)
    ),
    "float32": lambda: nn.MLP(6, 8, 4, batchnorm=True, dropout=0.5, rng=0, dtype=np.float32),
    "float32 with a float64 norm": lambda: nn.Sequential(
        nn.BatchNorm(6, momentum=None), nn.Linear(6, 4, rng=0, dtype=np.float32)
    ),
    "residual": lambda: nn.Sequential(Residual(), nn.Linear(6, 4, rng=0)),
    "images": Convolved,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_steps_are_those_of_the_engine(name):
    train(name, 200 if name == "mlp" else 25)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_two_hundred_steps_are_those_of_the_engine(name):
    train(name, 200)


def train(name, steps):
    """Train a network twice, in the engine and by replay, and hold every bit of both together."""
    eager, ours = NETWORKS[name](), NETWORKS[name]()
    make = partial(optim.Adam, lr=0.01) if name == "mlp" else partial(optim.SGD, lr=0.05)
    optimizers = [make(model.parameters()) for model in (eager, ours)]
    step = compiled(lambda x, labels: nn.cross_entropy(ours(x), labels))
    rng = np.random.default_rng(1)
    kinds = {"shape": (2, 3) if name == "images" else ()}
    kinds["dtype"] = np.float32 if name.startswith("float32") else np.float64
    for k, (x, labels) in enumerate(batches(steps, 6, 4, 0, **kinds)):
        losses = nn.cross_entropy(eager(x), labels), step(x, labels)
        assert same_bits(losses[0].data, losses[1].data), f"loss of step {k}"
        dout = losses[0].dtype.type(rng.normal())
        for loss, optimizer in zip(losses, optimizers, strict=True):
            optimizer.zero_grad()
            loss.backward(dout)
            optimizer.step()
        assert_same_state(eager, ours, k)
    assert len(step._forms) == 2  # one for each batch size, both still right


@settings(max_examples=examples(100), deadline=None)
@given(programs(ANALYTIC | KINKED))
def test_random_programs_of_parameters_and_arrays(program):
    shapes, _, seed = program
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(size=shape) for shape in shapes]
    mine, theirs = ([Tensor(a) for a in arrays[::2]] for _ in range(2))

    def run(parameters, *others):
        leaves = [*parameters, *map(as_tensor, others)]
        return execute(program, leaves, ANALYTIC | KINKED)

    step = compiled(partial(run, mine))
    for _ in range(3):
        given = [rng.normal(size=a.shape) for a in arrays[1::2]]
        out, expected = step(*given), run(theirs, *given)
        assert same_bits(out.data, expected.data)
        if expected.op is not None and isinstance(out, Tensor):
            dout = np.asarray(rng.normal(size=expected.shape)).astype(expected.dtype)
            out.backward(dout)
            expected.backward(dout)
        for p, q in zip(mine, theirs, strict=True):
            assert (p.grad is None) == (q.grad is None)
            assert p.grad is None or same_bits(p.grad, q.grad)
            p.data = q.data = p.data * 0.9 + 0.1


def test_in_place_code_is_stepped_as_well():
    def forward(w, x):
        h = np.zeros((4, 3))
        for k in range(4):
            h[k] = x[k] * w
            h[k, 0] += 1
        return np.sum(h * h)

    w, v = Tensor([1.0, 2.0, 3.0], name="w"), Tensor([1.0, 2.0, 3.0])
    step = compiled(partial(forward, w))
    for seed in range(3):
        x = np.random.default_rng(seed).normal(size=(4, 3))
        step(x).backward()
        expected = trace(forward)(v, x)
        expected.backward()
        assert same_bits(w.grad, v.grad)


# --------------------------------------------------------------------------- a Tensor like others


@pytest.fixture
def pair():
    """Give a network twice, its step, and a batch."""
    eager, ours = NETWORKS["mlp"](), NETWORKS["mlp"]()
    ((x, labels),) = batches(1, 6, 4, 3)
    step = compiled(lambda x, labels: nn.cross_entropy(ours(x), labels))
    return SimpleNamespace(
        eager=lambda x, labels: nn.cross_entropy(eager(x), labels),
        step=step,
        models=(eager, ours),
        batch=(x, labels),
    )


def test_gradients_accumulate_and_come_twice(pair):
    for loss in (pair.eager(*pair.batch), pair.step(*pair.batch)):
        loss.backward(0.7)
        loss.backward(-2.5)
    for loss in (pair.eager(*pair.batch), pair.step(*pair.batch)):
        loss.backward()
    assert_same_gradients(*pair.models)


def test_a_loss_goes_on_in_the_engine(pair):
    losses = []
    for loss, model in zip((pair.eager, pair.step), pair.models, strict=True):
        first, second = loss(*pair.batch), loss(*pair.batch)
        whole = 3.0 * first + second**2 + 0.1 * np.sum(model.layers[0].weight ** 2)
        whole.backward()
        losses.append(whole.data)
    assert same_bits(*losses)
    assert_same_gradients(*pair.models)


def test_grad_by_some_of_the_parameters(pair):
    found = []
    for loss, model in zip((pair.eager, pair.step), pair.models, strict=True):
        chosen = model.parameters()[3:0:-2]
        found.append(grad(loss(*pair.batch), [*chosen, Tensor([1.0])], dout=np.float64(1.7)))
        assert all(p.grad is None for p in model.parameters())
    assert all(map(same_bits, *found))


def test_what_an_earlier_loss_keeps_is_not_written_over(pair):
    ((x, labels),) = batches(1, 6, 4, 4)
    earlier = pair.eager(*pair.batch), pair.step(*pair.batch)
    for _ in range(4):
        _ = pair.eager(x, labels), pair.step(x, labels)
    for loss in earlier:
        loss.backward(1.5)
    assert_same_gradients(*pair.models)


def test_arguments_may_change_before_backward(pair):
    x, labels = (a.copy() for a in pair.batch)
    expected, loss = pair.eager(x, labels), pair.step(x, labels)
    x[:], labels[:] = 7.0, 0
    expected.backward()
    loss.backward()
    assert_same_gradients(*pair.models)


def test_new_data_before_backward_is_refused_as_ever(pair):
    loss = pair.step(*pair.batch)
    p = pair.models[1].parameters()[0]
    p.data = p.data * 2
    with pytest.raises(ValueError, match="was given new data after"):
        loss.backward()


def test_parameters_in_another_order_in_memory(pair):
    for k in range(4):
        for model in pair.models:
            p = model.layers[0].weight
            p.data = np.asfortranarray(p.data) if k % 2 else np.ascontiguousarray(p.data)
        losses = pair.eager(*pair.batch), pair.step(*pair.batch)
        assert same_bits(losses[0].data, losses[1].data)
        for loss in losses:
            loss.backward()
        assert_same_gradients(*pair.models)


@pytest.mark.parametrize("order", ["F", "strided", "read-only"])
def test_arguments_in_another_order_in_memory(pair, order):
    x, labels = pair.batch
    for form in (x, {"F": np.asfortranarray(x), "strided": np.repeat(x, 2, 1)[:, ::2]}.get(order)):
        given = x.copy() if form is None else form
        given.flags.writeable = order != "read-only"
        losses = pair.eager(given, labels), pair.step(given, labels)
        assert same_bits(losses[0].data, losses[1].data)
        for loss in losses:
            loss.backward()
        assert_same_gradients(*pair.models)


def test_second_derivatives_are_refused(pair):
    loss = pair.step(*pair.batch)
    with pytest.raises(ValueError, match="cannot be drawn or differentiated again"):
        grad(loss, pair.models[1].parameters(), create_graph=True)
    with pytest.raises(ValueError, match="cannot be drawn or differentiated again"):
        Graph.joint(loss)
    assert str(loss.op) == "step"


def test_a_result_is_not_computed_again_from_other_data(pair):
    loss = pair.step(*pair.batch)
    graph = Graph.capture(loss)
    data = {node.name: p.data * 2 for node, p in zip(graph.inputs, loss.inputs, strict=True)}
    with pytest.raises(ValueError, match="call the function again"):
        graph.run(**data)


@pytest.mark.parametrize("how", [copy.deepcopy, pickle.dumps])
def test_a_result_is_copied_detached(pair, how):
    loss = pair.step(*pair.batch)
    with pytest.raises(TypeError, match=r"take its \.detach\(\)"):
        how(loss)
    how(loss.detach())


def test_without_recording_there_is_nothing_to_differentiate(pair):
    with no_grad():
        losses = pair.eager(*pair.batch), pair.step(*pair.batch)
    assert same_bits(losses[0].data, losses[1].data)
    for loss in losses:
        with pytest.raises(ValueError, match="computed under no_grad"):
            loss.backward()
    assert_same_state(*pair.models)


def test_an_anomaly_is_found_in_the_function_itself(pair):
    x, labels = pair.batch
    x = x * 1e200
    with (
        detect_anomaly(),
        pytest.raises(FloatingPointError, match="square"),
        np.errstate(over="ignore"),
    ):
        pair.step(x, labels)


def test_inside_trace_it_is_the_function(pair):
    out = trace(pair.step)(*pair.batch)
    assert {"mu", "xhat", "shifted"} <= {node.name for node in Graph.capture(out).nodes}


# --------------------------------------------------------------------------- results, arguments


def test_several_results_each_with_its_gradient():
    def make(model):
        def forward(x, labels):
            logits = model(x)
            loss = nn.cross_entropy(logits, labels)
            right = np.argmax(logits, axis=1) == labels
            return loss, {"logits": logits, "right": right, "rate": np.mean(right)}, "text", x

        return forward

    eager, ours = NETWORKS["mlp"](), NETWORKS["mlp"]()
    plain, step = make(eager), compiled(make(ours))
    rng = np.random.default_rng(0)
    for x, labels in batches(8, 6, 4, 0):
        expected, found = plain(x, labels), step(x, labels)
        assert same_bits(found[0].data, expected[0].data)
        assert same_bits(found[1]["logits"].data, expected[1]["logits"].data)
        for name in ("right", "rate"):
            assert type(found[1][name]) is type(expected[1][name])
            assert same_bits(found[1][name], expected[1][name])
        assert found[2:] == ("text", x) or found[3] is x
        dout = rng.normal(size=(len(x), 4))
        for one in (expected, found):
            one[1]["logits"].backward(dout)
            one[0].backward(2.0)
        assert_same_gradients(eager, ours)
        found[1]["right"][:] = False  # it is the caller's


def test_tensors_are_arguments_as_well():
    w = Tensor([1.0, -2.0, 0.5], name="w")
    leaf, other = Tensor([[1.0, 2.0, 3.0]], name="x"), Tensor([[0.5, 0.1, -1.0]])
    step = compiled(lambda x: np.sum(np.tanh(x * w), axis=1))
    for x in (leaf, other, leaf):
        expected = np.sum(np.tanh(x * w), axis=1)
        dx, dw = grad(expected, [x, w], [1.7])
        x.grad = w.grad = None
        out = step(x)
        out.backward([1.7])
        assert same_bits(out.data, expected.data)
        assert same_bits(x.grad, dx)
        assert same_bits(w.grad, dw)


def test_a_gradient_goes_on_through_a_tensor_that_was_computed():
    w, v = Tensor([1.0, -2.0]), Tensor([3.0, 0.25])
    step = compiled(lambda h: np.sum(np.tanh(h) * w))
    for _ in range(2):
        expected = grad(np.sum(np.tanh(v * v) * w), [v, w])
        assert all(map(same_bits, grad(step(v * v), [v, w]), expected))


def test_what_was_computed_before_is_refused_where_it_is_closed_over():
    h = Tensor([1.0, 2.0], name="a") * 2
    with pytest.raises(ValueError, match="was computed before the function was called"):
        compiled(lambda x: np.sum(x * h))(np.ones(2))


def test_numbers_and_options_are_arguments_of_which_each_value_counts():
    w = Tensor(2.0)

    def power(x, n, *, twice=False):
        return np.sum(w * x**n) * (2 if twice else 1)

    step = compiled(power)
    x = np.array([1.0, 3.0])
    for n, twice in [(1, False), (2, True), (1, True), (-1, False), (0.0, True), (-0.0, True)]:
        assert same_bits(step(x, n, twice=twice).data, power(x, n, twice=twice).data)


@pytest.mark.parametrize("given", [[1.0, 2.0], {"x": np.ones(2)}, {1, 2}])
def test_what_may_change_is_no_argument(given):
    with pytest.raises(TypeError, match="whose content may change; pass arrays and numbers"):
        compiled(lambda x: Tensor(1.0) * 2)(given)


def test_a_number_that_is_another_each_time_fills_no_memory():
    w = Tensor(2.0)
    step = compiled(lambda x, n: np.sum(w * x) * n)
    for n in range(MOST + 5):
        assert step(np.ones(2), n).data == 4.0 * n
    assert len(step._forms) == MOST


# --------------------------------------------------------------------------- what is replaced

FACTOR = 1.0
TABLE = {"factor": 1.0, "deep": [np.ones(3), (1, [2.0])]}
ARRAY = np.ones(3)


class Settings:
    factor = 1.0


class Slotted:
    __slots__ = ("factor",)

    def __init__(self):
        self.factor = 1.0


READ = {
    "global": (lambda box: FACTOR, lambda box: globals().__setitem__("FACTOR", FACTOR + 1)),
    "entry": (lambda box: TABLE["factor"], lambda box: TABLE.update(factor=TABLE["factor"] + 1)),
    "array": (lambda box: ARRAY, lambda box: ARRAY.__iadd__(1)),
    "deep array": (lambda box: TABLE["deep"][0], lambda box: TABLE["deep"][0].__imul__(2)),
    "deep entry": (
        lambda box: TABLE["deep"][1][1][0],
        lambda box: TABLE["deep"][1][1].__setitem__(0, TABLE["deep"][1][1][0] + 1),
    ),
    "attribute": (lambda box: box.factor, lambda box: setattr(box, "factor", box.factor + 1)),
    "attribute of a part": (
        lambda box: box.part.factor,
        lambda box: setattr(box, "part", SimpleNamespace(factor=box.part.factor + 1)),
    ),
    "class attribute": (
        lambda box: box.settings.factor,
        lambda box: setattr(Settings, "factor", Settings.factor + 1),
    ),
    "slot": (
        lambda box: box.slotted.factor,
        lambda box: setattr(box.slotted, "factor", box.slotted.factor + 1),
    ),
    "length of a list": (lambda box: len(box.items), lambda box: box.items.append(0)),
    "set": (lambda box: len(box.set), lambda box: box.set.add(len(box.set))),
    "array of a module": (
        lambda box: box.norm.running_mean,
        lambda box: setattr(box.norm, "running_mean", box.norm.running_mean + 1),
    ),
}


@pytest.mark.parametrize("name", READ)
def test_what_the_function_reads_is_noticed_when_it_changes(name):
    read, change = READ[name]
    box = SimpleNamespace(
        factor=1.0,
        part=SimpleNamespace(factor=1.0),
        settings=Settings(),
        slotted=Slotted(),
        items=[0],
        set={0},
        norm=nn.BatchNorm(3),
    )
    w = Tensor([1.0, 2.0, 3.0], name="w")

    def loss(x):
        return np.sum(w * x * read(box))

    step = compiled(loss)
    x = np.array([0.5, -1.0, 2.0])
    for _ in range(3):
        assert same_bits(step(x).data, loss(x).data)
        form = step.step
        assert same_bits(step(x).data, loss(x).data)
        assert step.step is form
        before = loss(x).data
        change(box)
        assert not same_bits(before, loss(x).data)


def test_a_variable_of_an_enclosing_function_is_noticed():
    w, factor = Tensor(2.0), 1.0

    def loss(x):
        return w * np.sum(x) * factor

    step = compiled(loss)
    for factor in (1.0, 2.0, 2.0, 5.0):
        assert step(np.ones(2)).data == 4.0 * factor


CHANGES = {
    "mode": lambda model: model.eval() if model.training else model.train(),
    "mode of a part": lambda model: model[1].eval(),
    "parameter": lambda model: setattr(model[0], "weight", Tensor(model[0].weight.data * 2)),
    "momentum": lambda model: setattr(model[1], "momentum", 0.5),
    "eps": lambda model: setattr(model[1], "eps", 0.1),
    "probability": lambda model: setattr(model[3], "p", 0.6),
    "generator": lambda model: setattr(model[3], "rng", np.random.default_rng(9)),
    "one layer more": lambda model: model.layers.insert(3, nn.Tanh()),
    "another layer": lambda model: model.layers.__setitem__(2, nn.Tanh()),
    "statistics": lambda model: model[1].reset_running_stats(),
    "no statistics": lambda model: setattr(model[1], "running_mean", None),
    "loaded": lambda model: model.load_state_dict(
        {name: np.abs(a) * 0.5 for name, a in model.state_dict().items()}
    ),
    "float32 statistics": lambda model: (
        setattr(model[1], "running_mean", np.ones(8, np.float32)),
        setattr(model[1], "running_var", np.ones(8, np.float32)),
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_network_may_change_between_steps(name):
    eager, ours = NETWORKS["mlp"](), NETWORKS["mlp"]()
    step = compiled(lambda x, labels: nn.cross_entropy(ours(x), labels))
    for k, (x, labels) in enumerate(batches(6, 6, 4, 0)):
        if k % 2:
            CHANGES[name](eager)
            CHANGES[name](ours)
        losses = nn.cross_entropy(eager(x), labels), step(x, labels)
        assert same_bits(losses[0].data, losses[1].data), k
        for model, loss in zip((eager, ours), losses, strict=True):
            model.zero_grad()
            loss.backward()
            for p in model.parameters():
                if p.grad is not None:
                    p.data = p.data - 0.1 * p.grad
        assert_same_gradients(eager, ours)
        assert_same_state(eager, ours)


def test_statistics_that_move_do_not_make_it_new():
    model = NETWORKS["mlp"]()
    step = compiled(lambda x, labels: nn.cross_entropy(model(x), labels))
    ((x, labels),) = batches(1, 6, 4, 0)
    step(x, labels)
    form = step.step
    for _ in range(3):
        step(x, labels).backward()
    assert step.step is form
    assert step.why == ""


def test_evaluation_follows_the_statistics():
    model = NETWORKS["mlp"]()
    ((x, _),) = batches(1, 6, 4, 0)
    step = compiled(lambda x: model(x))
    model.eval()
    for k in range(3):
        assert same_bits(step(x).data, model(x).data)
        form = step.step
        model.train()
        model(x + k)
        model.eval()
    step(x)
    assert step.step is form


# --------------------------------------------------------------------------- what is refused

COUNT, SEEN, NOISE = [0], [], np.random.default_rng(0)


def counting(w, x, labels):
    COUNT[0] += 1
    return np.sum(w * x)


def remembering(w, x, labels):
    SEEN.append(np.sum(w * x))
    return SEEN[-1]


def printing(w, x, labels):
    loss = np.sum(w * x)
    f"{loss:.3f}"
    return loss


def stepping(w, x, labels):
    loss = np.sum(w * x)
    loss.backward()
    return loss


def moving(w, x, labels):
    w.data = np.ones(3)
    return np.sum(w * x)


def half(w, x, labels):
    return np.sum(w * x) * (2 if random.random() < 2 else 1)


REFUSED = {
    "data": (lambda w, x, labels: np.sum(w * x) * w.data[0], "reads the value of w"),
    "item": (lambda w, x, labels: np.sum(w * x) * np.sum(x).item(), "reads the value of"),
    "branch": (lambda w, x, labels: np.sum(w * x) if x[0] > 0 else w[0], "branches on the value"),
    "labels": (lambda w, x, labels: np.sum(w * x) * int(labels[0]), "reads the value of"),
    "one-hot": (lambda w, x, labels: np.sum(np.eye(3)[labels] * w), "reads the value of labels"),
    "mask": (lambda w, x, labels: np.sum((w * x)[x > 0]), "picks entries by a mask"),
    "loop": (lambda w, x, labels: sum(w[k] for k in range(int(labels[1]) + 1)), "reads the value"),
    "print": (printing, "writes out loss"),
    "count": (counting, r"changes COUNT\[0\]"),
    "history": (remembering, "changes the number of entries of SEEN"),
    "noise": (lambda w, x, labels: np.sum(w * (x + NOISE.normal(size=3))), "draws at random"),
    "global noise": (
        lambda w, x, labels: np.sum(w * np.random.normal(size=3)),  # noqa: NPY002
        "draws at random",
    ),
    "a draw that decides": (half, "draws at random"),
    "time": (lambda w, x, labels: np.sum(w * x) * time.perf_counter(), "run twice on the same"),
    "backward": (stepping, r"calls backward\(\)"),
    "new data": (moving, "gives a tensor new data"),
    "grad": (lambda w, x, labels: np.sum(w * x) * (w.grad is None), r"reads a \.grad"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_replay_would_not_do_is_refused(name):
    function, message = REFUSED[name]
    w = Tensor([1.0, 2.0, 3.0], name="w")
    step = compiled(lambda x, labels: function(w, x, labels))
    x, labels = np.array([0.5, -1.0, 2.0]), np.array([2, 0, 1])
    for _ in range(2):  # and it stays refused
        with pytest.raises(ValueError, match=message):
            step(x, labels)


def test_what_is_refused_has_moved_nothing():
    model = NETWORKS["mlp"]()
    before = model.state_dict()
    drawn = copy.deepcopy(model[3].rng)
    step = compiled(lambda x, labels: nn.cross_entropy(model(x), labels).item() * model(x))
    with pytest.raises(ValueError, match="reads the value of loss"):
        step(*next(batches(1, 6, 4, 0)))
    assert all(same_bits(a, before[name]) for name, a in model.state_dict().items())
    assert model[3].rng.random() == drawn.random()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_statistics_move_as_often_as_the_layer_is_called(dtype):
    w = Tensor([1.0, 2.0, 3.0], name="w")

    def loss(norm, x):
        norm.train()
        out = norm(x) * norm(x * x) * norm(x - 1)
        norm.eval()
        return np.sum(w * out * norm(x))

    eager, ours = nn.BatchNorm(3, dtype=dtype), nn.BatchNorm(3, dtype=dtype)
    step = compiled(lambda x: loss(ours, x))
    rng = np.random.default_rng(0)
    for _ in range(3):
        x = rng.normal(size=(4, 3))
        expected, found = loss(eager, x), step(x)
        assert same_bits(found.data, expected.data)
        wrt = [w, eager.gamma], [w, ours.gamma]
        assert all(map(same_bits, grad(expected, wrt[0]), grad(found, wrt[1])))
        assert_same_state(eager, ours)


class Counted(nn.Module):
    """Has state, of which nobody says what it is replaced by."""

    def __init__(self):
        self.mean = np.zeros(3)

    def __call__(self, x):
        moved = 0.9 * nn.recalled(self, "mean") + 0.1 * np.mean(nn.aside(x), axis=0)
        nn.performed(lambda mean: setattr(self, "mean", mean), moved)
        return x - 1


@pytest.mark.parametrize("make", [Counted, lambda: nn.BatchNorm(3, momentum=None)])
def test_state_that_is_read_again_in_a_call_is_refused_and_nothing_has_moved(make):
    layer, w = make(), Tensor([1.0, 2.0, 3.0], name="w")
    before = copy.deepcopy(vars(layer))
    step = compiled(lambda x: np.sum(w * layer(x) * layer(x * x)))
    with pytest.raises(ValueError, match="is read, replaced and read again in one call"):
        step(np.random.default_rng(0).normal(size=(4, 3)))
    arrays = {name: x for name, x in before.items() if isinstance(x, np.ndarray)}
    assert arrays
    assert all(same_bits(x, getattr(layer, name)) for name, x in arrays.items())


@pytest.mark.parametrize(
    ("forward", "expected"),
    [
        (lambda w, x: w * x.detach() + x * w.detach(), lambda w, x: x * np.ones(3)),
        (lambda w, x: np.where(x > 0, w * x, w), lambda w, x: np.where(x > 0, x, 1.0)),
    ],
)
def test_the_ways_that_messages_name(forward, expected):
    w = Tensor([1.0, 2.0, 3.0])
    step = compiled(lambda x: forward(w, x))
    for seed in range(3):
        x, dout = np.random.default_rng(seed).normal(size=(2, 3))
        w.grad = None
        step(x).backward(dout)
        assert same_bits(w.grad, dout * expected(w.data, x))


def test_no_grad_and_gradients_inside_are_computed_anew():
    def loss(w, x):
        xt = as_tensor(x)
        with no_grad():
            target = np.tanh(w * xt)
        inner = np.sum(w * xt * xt)
        (g,) = grad(inner, [xt])
        (h,) = grad(inner, [xt], create_graph=True)
        return np.sum(target * w) + np.sum(np.sign(g) * w * xt) + np.sum(h * h)

    w, v = Tensor([1.0, -2.0, 3.0], name="w"), Tensor([1.0, -2.0, 3.0])
    step = compiled(partial(loss, w))
    for seed in range(3):
        x = np.random.default_rng(seed).normal(size=3)
        found, expected = step(x), loss(v, x)
        assert same_bits(found.data, expected.data)
        assert all(map(same_bits, grad(found, [w]), grad(expected, [v])))


# --------------------------------------------------------------------------- errors


def test_wrong_labels_are_refused_at_every_call(pair):
    x, labels = pair.batch
    pair.eager(x, labels)
    pair.step(x, labels)
    states = [model[3].rng.bit_generator.state for model in pair.models]
    assert states[0] == states[1]
    for bad in (-1, 4):
        wrong = labels.copy()
        wrong[3] = bad
        messages = []
        for loss in (pair.eager, pair.step):
            with pytest.raises(ValueError, match=f"label {bad} at 3 is no class") as error:
                loss(x, wrong)
            messages.append(str(error.value))
        assert messages[0] == messages[1]
    losses = pair.step(x, labels)
    losses.backward()


def test_a_batch_that_would_poison_the_statistics_is_refused(pair):
    x, labels = pair.batch
    pair.step(x, labels)
    before = pair.models[1].state_dict()
    bad = x.copy()
    bad[2, 1] = np.nan
    with pytest.raises(ValueError, match="would stay in the running statistics"):
        pair.step(bad, labels)
    assert all(same_bits(a, before[k]) for k, a in pair.models[1].state_dict().items())
    assert np.isfinite(pair.step(x, labels).data)


def test_a_batch_of_one_says_what_it_says():
    model = NETWORKS["mlp"]()
    step = compiled(lambda x, labels: nn.cross_entropy(model(x), labels))
    with pytest.raises(ValueError, match="has 1 value per feature"):
        step(np.ones((1, 6)), np.array([0]))


def test_warnings_and_errors_of_numpy_are_given_as_ever():
    w = Tensor([1e300, 1.0])
    step = compiled(lambda x: w * x)
    step(np.ones(2))
    with pytest.warns(RuntimeWarning, match="overflow"):
        step(np.array([1e300, 1.0]))
    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        step(np.array([1e300, 1.0]))
    assert same_bits(step(np.ones(2)).data, w.data)


def test_warnings_that_the_function_switches_off_stay_off():
    w = Tensor([1e300, 1.0])

    def forward(x):
        with np.errstate(over="ignore"):
            h = w * x
        return h * 2

    step = compiled(forward)
    for _ in range(2):  # warnings are errors here
        assert same_bits(step(np.array([1e300, 1.0])).data, np.array([np.inf, 2.0]))
    with pytest.warns(RuntimeWarning, match="overflow"):
        step(np.array([1e8, 1.0]))


def test_an_argument_that_is_written_into_stays_and_shares_no_memory():
    w = Tensor([2.0, 3.0], name="w")

    def forward(x, y):
        x -= np.mean(x)
        return np.sum(w * x * y)

    step = compiled(forward)
    x, y = np.array([1.0, 4.0]), np.array([0.5, 2.0])
    expected = forward(x.copy(), y).data
    for _ in range(2):
        assert same_bits(step(x, y).data, expected)
        assert x.tolist() == [1.0, 4.0]
    with pytest.raises(ValueError, match="shares memory with another"):
        step(x, x)


# --------------------------------------------------------------------------- layers of one's own


class Centred(nn.Module):
    """Subtracts a mean that follows the batches, and counts them."""

    def __init__(self, features):
        self.mean = np.zeros(features)
        self.count = np.array(0)

    def __call__(self, x):
        nn.checked(self.check, nn.aside(x))
        moved = 0.9 * nn.recalled(self, "mean") + 0.1 * np.mean(nn.aside(x), axis=0)
        nn.performed(self.move, moved, nn.recalled(self, "count", lambda n: n + 1))
        return x - moved

    def check(self, x):
        if np.any(x > 100):
            raise ValueError("too large")

    def move(self, mean, count):
        self.mean, self.count = mean, np.asarray(count)


def test_a_layer_of_ones_own_says_what_it_does_beside():
    eager, ours = (nn.Sequential(Centred(6), nn.Linear(6, 4, rng=0)) for _ in range(2))
    step = compiled(lambda x, labels: nn.cross_entropy(ours(x), labels))
    for x, labels in batches(9, 6, 4, 0):
        losses = nn.cross_entropy(eager(x), labels), step(x, labels)
        assert same_bits(losses[0].data, losses[1].data)
        for loss in losses:
            loss.backward()
        assert_same_state(eager, ours)
        assert_same_gradients(eager, ours)
    assert ours[0].count == 9
    with pytest.raises(ValueError, match="too large"):
        step(x + 1000, labels)
    assert ours[0].count == 9


def test_what_is_drawn_must_keep_its_shape():
    w, rng = Tensor(2.0), np.random.default_rng(0)

    def noise(rng):
        return rng.random(rng.choice(9))

    step = compiled(lambda x: w * np.sum(x) * np.sum(nn.drawn(rng, noise)))
    step_many = lambda: [step(np.ones(2)) for _ in range(20)]  # noqa: E731
    with pytest.raises(ValueError, match="was drawn with shape"):
        step_many()


# --------------------------------------------------------------------------- threads, memory


def test_two_threads_on_one_step():
    w = Tensor(np.random.default_rng(0).normal(size=(6, 6)))
    function = lambda x: np.sum(np.tanh(x @ w) ** 2, axis=0)  # noqa: E731
    step = compiled(function)
    xs = np.random.default_rng(1).normal(size=(4, 50, 6))
    dout = np.random.default_rng(2).normal(size=6)
    expected = [(function(x).data, grad(function(x), [w], dout)[0]) for x in xs]
    wrong = []

    def work(k):
        for _ in range(20):
            out = step(xs[k])
            if not (same_bits(out.data, expected[k][0])):
                wrong.append(k)
            if not same_bits(grad(out, [w], dout)[0], expected[k][1]):
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_memory_does_not_grow():
    model = NETWORKS["mlp"]()
    step = compiled(lambda x, labels: nn.cross_entropy(model(x), labels))
    given = list(batches(7, 6, 4, 0))

    def some(n):
        for k in range(n):
            model.zero_grad()
            step(*given[k % 7]).backward()

    some(20)
    gc.collect()
    tracemalloc.start()
    some(20)
    before = tracemalloc.get_traced_memory()[0]
    some(70)
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert after - before < 20_000


def test_the_recording_is_not_kept():
    model = NETWORKS["mlp"]()
    step = compiled(lambda x, labels: (nn.cross_entropy(model(x), labels), model(x)))

    def computed():
        gc.collect()
        return sum(type(x) is Tensor and x.op is not None for x in gc.get_objects())

    before = computed()
    results = step(*next(batches(1, 6, 4, 0)))
    assert computed() == before + 2
    del results
    assert computed() == before


def test_a_dropped_loss_frees_its_graph_at_once():
    w = Tensor(np.ones(3))
    step = compiled(lambda x: np.sum(np.exp(w * x)))
    loss = step(np.ones(3))
    run = loss.params["run"]
    gc.disable()
    try:
        del loss
        assert len(gc.get_referrers(run)) <= 1  # this frame
    finally:
        gc.enable()


class Trainer:
    """As people write them: what the loss reads stands beside what the loop writes."""

    factor = 1.0

    def __init__(self):
        self.model = NETWORKS["mlp"]()
        self.optimizer = optim.Adam(self.model.parameters(), lr=0.01)
        self.history, self.epoch, self.weight = [], 0, 1.0
        self.table = {"loss": []}
        self.step = compiled(self.loss)

    def loss(self, x, labels):
        return self.factor * self.weight * nn.cross_entropy(self.model(x), labels)

    def fit(self, x, labels):
        loss = self.step(x, labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.history.append(loss.item())
        self.table["loss"].append(loss.item())
        self.epoch += 1
        return loss.item()


def test_what_the_loop_writes_and_the_loss_does_not_read_changes_nothing():
    trainer = Trainer()
    ((x, labels),) = batches(1, 6, 4, 0)
    trainer.fit(x, labels)
    form = trainer.step.step
    for _ in range(3):
        trainer.fit(x, labels)
        assert trainer.step.step is form
    trainer.weight = 0.0
    assert trainer.fit(x, labels) == 0
    trainer.weight, Trainer.factor = 1.0, 0.0
    assert trainer.fit(x, labels) == 0
    Trainer.factor = 1.0


class Tuned(nn.BatchNorm):
    """Has an attribute of its own, read by its text, and inherits others."""

    def __init__(self):
        super().__init__(6)
        self.gain_1 = 2.0

    def __call__(self, x):
        return super().__call__(x) * getattr(self, f"gain_{1}")


@pytest.mark.parametrize(("name", "value"), [("gain_1", 0.5), ("eps", 0.25), ("momentum", 0.5)])
def test_what_is_read_by_its_text_or_inherited_is_watched(name, value):
    eager, ours = Tuned(), Tuned()
    step = compiled(lambda x: np.sum(ours(x) ** 3))
    for k, (x, _) in enumerate(batches(4, 6, 4, 0)):
        if k == 2:
            setattr(eager, name, value)
            setattr(ours, name, value)
        assert same_bits(step(x).data, np.sum(eager(x) ** 3).data)
        assert_same_state(eager, ours)


def test_fractions_stay_exact():
    half, third = Fraction(1, 2), Fraction(1, 3)
    w = Tensor(np.array([half, Fraction(3)], dtype=object), name="w")
    step = compiled(lambda x: np.sum(x * w * w))
    for x in ([third, Fraction(2)], [Fraction(1), Fraction(2, 7)]):
        w.grad = None
        out = step(np.array(x, dtype=object))
        out.backward(np.array(third, dtype=object))
        assert out.data.item() == x[0] / 4 + x[1] * 9
        assert w.grad.tolist() == [2 * third * x[0] * half, 2 * third * x[1] * 3]


@pytest.mark.parametrize("dtype", [np.float16, np.longdouble, complex])
def test_other_dtypes(dtype):
    w, v = (Tensor(np.arange(1, 4).astype(dtype)) for _ in range(2))
    rng = np.random.default_rng(0)

    def forward(w, x):
        return np.sum(np.tanh(x * w + 0.5) ** 2, axis=0)

    step = compiled(partial(forward, w))
    for _ in range(3):
        x, dout = rng.normal(size=(5, 3)).astype(dtype), rng.normal(size=3).astype(dtype)
        found, expected = step(x), forward(v, x)
        assert same_bits(found.data, expected.data)
        assert all(map(same_bits, grad(found, [w], dout), grad(expected, [v], dout)))


@pytest.mark.parametrize("shape", [(), (0, 3), (1, 1), (3, 1)])
def test_other_shapes(shape):
    w = Tensor(np.array([1.0, -2.0, 0.5]), name="w")
    step = compiled(lambda x: np.tanh(x * w))
    x = np.asarray(np.random.default_rng(0).normal(size=shape))
    for batch in (x, x * 2, x * 3):
        expected = np.tanh(batch * w)
        dout = np.random.default_rng(1).normal(size=expected.shape)
        found = step(batch)
        assert same_bits(found.data, expected.data)
        assert all(map(same_bits, grad(found, [w], dout), grad(expected, [w], dout)))


def test_what_is_returned_as_it_is():
    w = Tensor([2.0, 3.0], name="w")
    step = compiled(lambda x: {"w": w, "x": x, "n": len(x), "none": None})
    x = np.ones(2)
    for _ in range(2):
        found = step(x)
        assert found["w"] is w
        assert found["x"] is x
        assert (found["n"], found["none"]) == (2, None)


def test_one_compiled_function_in_another():
    w, v = Tensor([2.0, 3.0], name="w"), Tensor([0.5, 0.25], name="v")
    inner = compiled(lambda x: np.tanh(w * x))
    outer = compiled(lambda x: np.sum(inner(x) * v))
    for seed in range(3):
        x = np.random.default_rng(seed).normal(size=2)
        expected = np.sum(np.tanh(w * x) * v)
        assert same_bits(outer(x).data, expected.data)
        assert all(map(same_bits, grad(outer(x), [w, v]), grad(expected, [w, v])))
