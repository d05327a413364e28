"""Fifty steps of training here and in PyTorch, in float64, from the same weights and batches.

PyTorch's momentum of BatchNorm is one minus ours, and its running variance is the unbiased one.
"""

import numpy as np
import pytest

from tinygraph import nn, optim

torch = pytest.importorskip("torch", reason="training is compared with PyTorch, if it is installed")

STEPS, SIZES = 50, (6, 8, 7, 4)
TOLERANCE = 1e-10


def networks(momentum, unbiased, staged):
    """Give the same network twice: three layers, BatchNorm after the first two, relu and tanh.

    A bias in front of a BatchNorm would have a gradient of nothing but rounding, which Adam scales
    up to steps that differ from one implementation to another, so there is none.
    """
    options = {"momentum": momentum, "unbiased_running_var": unbiased, "staged": staged}
    ours = nn.Sequential(
        nn.Linear(*SIZES[:2], bias=False, rng=1),
        nn.BatchNorm(SIZES[1], **options),
        nn.ReLU(),
        nn.Linear(*SIZES[1:3], bias=False, rng=2),
        nn.BatchNorm(SIZES[2], **options),
        nn.Tanh(),
        nn.Linear(*SIZES[2:], rng=3),
    )
    theirs = torch.nn.Sequential(
        torch.nn.Linear(*SIZES[:2], bias=False),
        torch.nn.BatchNorm1d(SIZES[1], momentum=None if momentum is None else 1 - momentum),
        torch.nn.ReLU(),
        torch.nn.Linear(*SIZES[1:3], bias=False),
        torch.nn.BatchNorm1d(SIZES[2], momentum=None if momentum is None else 1 - momentum),
        torch.nn.Tanh(),
        torch.nn.Linear(*SIZES[2:]),
    ).double()
    with torch.no_grad():
        for (name, here), there in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            there.copy_(torch.tensor(here.data.T if name.endswith("weight") else here.data))
    return ours, theirs


OPTIMIZERS = {
    "sgd": (lambda ps: optim.SGD(ps, lr=0.05), lambda ps: torch.optim.SGD(ps, lr=0.05)),
    "momentum": (
        lambda ps: optim.SGD(ps, lr=0.05, momentum=0.9, weight_decay=1e-3),
        lambda ps: torch.optim.SGD(ps, lr=0.05, momentum=0.9, weight_decay=1e-3),
    ),
    "nesterov": (
        lambda ps: optim.SGD(ps, lr=0.05, momentum=0.9, nesterov=True),
        lambda ps: torch.optim.SGD(ps, lr=0.05, momentum=0.9, nesterov=True),
    ),
    "adam": (
        lambda ps: optim.Adam(ps, lr=0.01),
        lambda ps: torch.optim.Adam(ps, lr=0.01),
    ),
    "adam, decay": (
        lambda ps: optim.Adam(ps, lr=0.01, betas=(0.8, 0.99), eps=1e-6, weight_decay=1e-3),
        lambda ps: torch.optim.Adam(ps, lr=0.01, betas=(0.8, 0.99), eps=1e-6, weight_decay=1e-3),
    ),
}


def gap(here, there):
    there = there.detach().numpy()
    assert here.shape == there.shape
    return float(np.max(np.abs(here - there)))


@pytest.mark.parametrize("staged", [True, False], ids=["staged", "fused"])
@pytest.mark.parametrize("unbiased", [True, False], ids=["unbiased", "biased"])
@pytest.mark.parametrize("momentum", [0.9, 0.7, None])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_fifty_steps(optimizer, momentum, unbiased, staged):
    ours, theirs = networks(momentum, unbiased, staged)
    here, there = OPTIMIZERS[optimizer]
    here, there = here(ours.parameters()), there(theirs.parameters())
    norms = [(ours[k], theirs[k]) for k in (1, 4)]
    # PyTorch offers the unbiased variance only; the biased one is carried along by hand.
    biased = [np.ones(norm.features) for norm, _ in norms]
    inputs = [[], []]
    for (_, norm), seen in zip(norms, inputs, strict=True):
        norm.register_forward_pre_hook(lambda _, args, seen=seen: seen.append(args[0].detach()))

    rng = np.random.default_rng(0)
    for step in range(1, STEPS + 1):
        x, labels = rng.normal(1.0, 2.0, size=(12, SIZES[0])), rng.integers(SIZES[-1], size=12)
        loss = nn.cross_entropy(ours(x), labels)
        here.zero_grad()
        loss.backward()
        here.step()

        their_loss = torch.nn.functional.cross_entropy(
            theirs(torch.tensor(x)), torch.tensor(labels)
        )
        there.zero_grad()
        their_loss.backward()
        there.step()
        assert gap(loss.data, their_loss) < TOLERANCE

        stays = 1 - 1 / step if momentum is None else momentum
        for k, seen in enumerate(inputs):
            biased[k] = stays * biased[k] + (1 - stays) * seen[-1].numpy().var(axis=0)

    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert gap(p.data, q.T if name.endswith("weight") else q) < TOLERANCE, name
    for (mine, norm), by_hand in zip(norms, biased, strict=True):
        assert gap(mine.running_mean, norm.running_mean) < TOLERANCE
        expected = norm.running_var if unbiased else torch.tensor(by_hand)
        assert gap(mine.running_var, expected) < TOLERANCE
        norm.running_var.copy_(expected)

    x = rng.normal(1.0, 2.0, size=(9, SIZES[0]))
    assert gap(ours.eval()(x).data, theirs.eval()(torch.tensor(x))) < TOLERANCE


@pytest.mark.parametrize("shape", [(5, 3, 4), (4, 3, 2, 5), (2, 3, 2, 3, 2)], ids=str)
def test_images(shape):
    rng = np.random.default_rng(1)
    ours = nn.BatchNorm(3, unbiased_running_var=True)
    kind = {3: torch.nn.BatchNorm1d, 4: torch.nn.BatchNorm2d, 5: torch.nn.BatchNorm3d}
    theirs = kind[len(shape)](3).double()
    for _ in range(5):
        x = rng.normal(2.0, 3.0, size=shape)
        assert gap(ours(x).data, theirs(torch.tensor(x))) < 1e-13
    assert gap(ours.running_mean, theirs.running_mean) < 1e-13
    assert gap(ours.running_var, theirs.running_var) < 1e-13
    assert gap(ours.eval()(x).data, theirs.eval()(torch.tensor(x))) < 1e-13


def test_layer_norm():
    x = np.random.default_rng(2).normal(2.0, 3.0, size=(4, 3, 5))
    for features in (5, (3, 5)):
        theirs = torch.nn.LayerNorm(features).double()
        assert gap(nn.LayerNorm(features)(x).data, theirs(torch.tensor(x))) < 1e-13
