"""Optimizers against their formulas, written out step by step."""

import math

import numpy as np
import pytest
from helpers import close, same_bits

from tinygraph import Tensor, optim

START = np.array([[1.0, -2.0], [0.5, 4.0]])
CURVATURE = np.array([[1.0, 3.0], [0.2, 7.0]])


def gradient(p):
    """Of Σ c p²/2 + Σ sin p."""
    return CURVATURE * p + np.cos(p)


def run(make, steps=7):
    p = Tensor(START, name="p")
    optimizer = make([p])
    path = []
    for _ in range(steps):
        loss = (CURVATURE * p * p / 2).sum() + np.sin(p).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        path.append(p.data)
    return path


def agree(path, expected):
    assert len(path) == len(expected)
    for a, b in zip(path, expected, strict=True):
        close(a, b, 1e-14)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_plain_sgd(decay):
    p, expected = START, []
    for _ in range(7):
        p = p - 0.05 * (gradient(p) + decay * p)
        expected.append(p)
    agree(run(lambda ps: optim.SGD(ps, lr=0.05, weight_decay=decay)), expected)


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum(nesterov, decay):
    p, v, expected = START, np.zeros((2, 2)), []
    for _ in range(7):
        g = gradient(p) + decay * p
        v = 0.8 * v + g
        p = p - 0.05 * (g + 0.8 * v if nesterov else v)
        expected.append(p)
    path = run(
        lambda ps: optim.SGD(ps, lr=0.05, momentum=0.8, nesterov=nesterov, weight_decay=decay)
    )
    agree(path, expected)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adam(decay):
    p, m, s, expected = START, 0, 0, []
    for t in range(1, 8):
        g = gradient(p) + decay * p
        m = 0.7 * m + 0.3 * g
        s = 0.95 * s + 0.05 * g * g
        p = p - 0.05 * (m / (1 - 0.7**t)) / (np.sqrt(s / (1 - 0.95**t)) + 1e-6)
        expected.append(p)
    path = run(lambda ps: optim.Adam(ps, lr=0.05, betas=(0.7, 0.95), eps=1e-6, weight_decay=decay))
    agree(path, expected)


def test_the_first_step_of_adam_is_lr_whatever_the_gradient():
    p = Tensor(np.zeros(3))
    (p * [1e-3, 1.0, -1e6]).sum().backward()
    optim.Adam([p], lr=0.01).step()
    close(p.data, [-0.01, -0.01, 0.01], 1e-6)


def test_parameters_without_a_gradient_stay_and_lose_no_time():
    p, q = Tensor(1.0), Tensor(1.0)
    optimizer = optim.Adam([p, q], lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        (p * 2).backward()
        optimizer.step()
    assert q.data == 1
    optimizer.zero_grad()
    (q * 2).backward()
    optimizer.step()
    close(q.data, 0.9, 1e-7)  # its first step, with the correction of a first step


def test_the_rate_may_change_between_steps():
    p = Tensor(1.0)
    optimizer = optim.SGD([p], lr=1.0)
    (p * 1.0).backward()
    optimizer.lr = 0.25
    optimizer.step()
    assert p.data == 0.75


@pytest.mark.parametrize(
    "make",
    [
        lambda ps: optim.SGD(ps, lr=0.1, momentum=0.9, weight_decay=0.1),
        lambda ps: optim.Adam(ps, weight_decay=0.1),
    ],
)
def test_float32_stays_and_old_arrays_are_untouched(make):
    p = Tensor(START.astype(np.float32))
    optimizer, before = make([p]), p.data
    for _ in range(3):
        (p * p).sum().backward()
        optimizer.step()
    assert p.dtype == np.float32
    assert same_bits(before, START.astype(np.float32))
    assert not np.array_equal(p.data, before)


def test_parameters_may_come_from_a_generator():
    ps = [Tensor(1.0), Tensor(2.0)]
    optimizer = optim.SGD((p for p in ps), lr=1.0)
    assert [p is q for p, q in zip(optimizer.parameters, ps, strict=True)] == [True, True]


# --- state --------------------------------------------------------------------------------------

MAKES = {
    "sgd": lambda ps: optim.SGD(ps, lr=0.05),
    "momentum": lambda ps: optim.SGD(ps, lr=0.05, momentum=0.9, nesterov=True),
    "adam": lambda ps: optim.Adam(ps, lr=0.05),
}


def train(p, optimizer, steps):
    for _ in range(steps):
        optimizer.zero_grad()
        ((CURVATURE * p * p / 2).sum() + np.sin(p).sum()).backward()
        optimizer.step()


@pytest.mark.parametrize("make", MAKES.values(), ids=MAKES)
def test_training_goes_on_from_a_file_as_if_uninterrupted(make, tmp_path):
    p = Tensor(START)
    optimizer = make([p])
    train(p, optimizer, 3)
    optimizer.save(tmp_path / "optimizer.npz")
    q = Tensor(p.data)
    resumed = make([q])
    resumed.load(tmp_path / "optimizer.npz")
    train(p, optimizer, 3)
    train(q, resumed, 3)
    assert same_bits(p.data, q.data)


def test_a_state_is_a_copy_and_is_checked():
    p = Tensor(START)
    optimizer = optim.Adam([p])
    train(p, optimizer, 1)
    state = optimizer.state_dict()
    assert list(state) == ["t.0", "m.0", "s.0"]
    state["m.0"][...] = 99
    assert np.all(optimizer.state_dict()["m.0"] != 99)
    with pytest.raises(ValueError, match=r"Adam: .*m\.0 \(2,\) instead of \(2, 2\)"):
        optimizer.load_state_dict({**state, "m.0": [1.0, 2.0]})
    with pytest.raises(ValueError, match=r"SGD: .*missing: v\.0; unexpected: t\.0, m\.0, s\.0"):
        optim.SGD([p], lr=1, momentum=0.9).load_state_dict(state)


# --- mistakes -----------------------------------------------------------------------------------

X = Tensor(1.0, name="x")


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: optim.SGD([], lr=1), ValueError, "no parameters"),
        (lambda: optim.SGD(X, lr=1), TypeError, r"write \[p\]"),
        (lambda: optim.SGD([1.0], lr=1), TypeError, "must be a Tensor, not float"),
        (lambda: optim.SGD([X * 2], lr=1), ValueError, "computed from others"),
        (lambda: optim.SGD([X, X], lr=1), ValueError, "given twice"),
        (lambda: optim.SGD([X], lr=-1), ValueError, "SGD: lr is -1"),
        (lambda: optim.SGD([X], lr=math.nan), ValueError, "SGD: lr is nan"),
        (lambda: optim.SGD([X], lr=1, momentum=1.0), ValueError, "SGD: momentum is 1.0"),
        (lambda: optim.SGD([X], lr=1, nesterov=True), ValueError, "needs a momentum"),
        (lambda: optim.SGD([X], lr=1, weight_decay=-1), ValueError, "weight_decay is -1"),
        (lambda: optim.Adam([X], betas=(1.0, 0.9)), ValueError, r"Adam: betas\[0\] is 1.0"),
        (lambda: optim.Adam([X], betas=(0.9, 1.0)), ValueError, r"Adam: betas\[1\] is 1.0"),
        (lambda: optim.Adam([X], eps=0), ValueError, "eps is 0"),
    ],
)
def test_mistakes(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_the_base_class_does_not_move():
    optimizer = optim.Optimizer([Tensor(1.0)], lr=1, weight_decay=0)
    (optimizer.parameters[0] * 2).backward()
    with pytest.raises(NotImplementedError, match="must define update"):
        optimizer.step()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [("s.0", [-1.0], "s.0 is negative"), ("t.0", -1, "t.0 is negative"), ("m.0", [np.nan], "nan")],
)
def test_a_memory_that_cannot_be_is_refused(name, value, words):
    optimizer = optim.Adam([Tensor([1.0])])
    before = optimizer.state_dict()
    with pytest.raises(ValueError, match=f"Adam: .*{words}"):
        optimizer.load_state_dict({**before, name: np.array(value)})
    assert optimizer.state_dict() == before
