"""Print how long a training step takes, eager and compiled, as Markdown.

    python tests/bench/steps.py          # eager, replay, C; and PyTorch, if it is here

The step is that of README's network on the digits: 64 features, 64 hidden units with BatchNorm and
relu, 10 classes, a batch of 64, float64. What is timed is forward, backward and the running
statistics, and clearing the gradients; the optimizer is not, which is the same for all. All take
turns in one run, on one thread, and the figure is the processor's time, the least of all rounds and
their median. Before, each way is held against the engine for 20 steps with SGD.
"""

import os
import time
from importlib.util import find_spec
from statistics import median

if __name__ == "__main__":  # NumPy counts its threads when it is loaded
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

import numpy as np

import tinygraph
from tinygraph import nn, optim

FEATURES, HIDDEN, CLASSES, BATCH = 64, 64, 10, 64
TOLERANCES = {"replay": 0.0, "strict": 0.0, "fast": 1e-12, "PyTorch": 1e-9}
"""By which losses may differ from the engine's, as a share of them."""

ROUNDS, CALLS = 100, 5


def network():
    """Give the network, the same at every call."""
    return nn.MLP(FEATURES, HIDDEN, CLASSES, batchnorm=True, rng=0)


def batch():
    """Give inputs and labels."""
    rng = np.random.default_rng(1)
    return rng.uniform(0, 16, size=(BATCH, FEATURES)), rng.integers(CLASSES, size=BATCH)


def ours(mode=None):
    """Give what clears the gradients and runs a step; and what moves the parameters."""
    model, (x, labels) = network(), batch()
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    def loss(x, labels):
        return nn.cross_entropy(model(x), labels)

    step = loss if mode is None else tinygraph.compile(loss, mode=mode)

    def run():
        optimizer.zero_grad()
        out = step(x, labels)
        out.backward()
        return float(out.data)

    return run, optimizer.step, step


def pytorch():
    """Give the same in PyTorch."""
    import torch

    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    theirs = torch.nn.Sequential(
        torch.nn.Linear(FEATURES, HIDDEN, bias=False),
        torch.nn.BatchNorm1d(HIDDEN),
        torch.nn.ReLU(),
        torch.nn.Linear(HIDDEN, CLASSES),
    )
    first, *_, last = network()
    with torch.no_grad():
        theirs[0].weight[:] = torch.tensor(first.weight.data.T.copy())
        theirs[3].weight[:] = torch.tensor(last.weight.data.T.copy())
        theirs[3].bias[:] = 0
    x, labels = map(torch.tensor, batch())
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1)

    def run():
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(theirs(x), labels)
        loss.backward()
        return loss.item()

    return run, optimizer.step, None


def ways():
    """Give what can be timed here, by name, and what the compiled ones say of themselves."""
    found = {"eager": ours(), **{mode: ours(mode) for mode in ("replay", "strict", "fast")}}
    if find_spec("torch"):
        found["PyTorch"] = pytorch()
    return found


def check(found, steps=20):
    """Hold the losses of all against the engine's, and the way that was asked for."""
    losses = {}
    for name, (run, move, step) in found.items():
        losses[name] = []
        for _ in range(steps):
            losses[name].append(run())
            move()
        if name in ("strict", "fast") and step.executor != name:
            print(f"{name} is a replay: {step.why}\n")
    for name, tolerance in TOLERANCES.items():
        if name in losses:
            pairs = zip(losses[name], losses["eager"], strict=True)
            error = max(abs(a - b) / b for a, b in pairs)
            if not error <= tolerance:
                raise ValueError(f"the losses of {name} differ from the engine's by {error:.1e}")


def measured(found):
    """Give all times of each, in seconds, taken in turns."""
    times = {name: [] for name in found}
    for _ in range(ROUNDS):
        for name, (run, _, _) in found.items():
            for _ in range(CALLS):
                start = time.process_time_ns()
                run()
                times[name].append((time.process_time_ns() - start) / 1e9)
    return times


def table(times):
    """Write the table."""
    lines = ["| the digits' training step | least | × eager | median | × eager |"]
    lines += ["| --- | ---: | ---: | ---: | ---: |"]
    of = {name: (min(ts), median(ts)) for name, ts in times.items()}
    for name, both in of.items():
        cells = [f"{t * 1e6:.0f} µs | {t / e:.2f}" for t, e in zip(both, of["eager"], strict=True)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    everyone = ways()
    check(everyone)
    print(table(measured(everyone)))
