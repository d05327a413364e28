"""Separate two moons, as micrograd's demo does, with tensors in place of scalars.

    python examples/decision_boundary.py            # draws graphs/decision_boundary.png

The network (2-16-16-1 with relus), the loss (max-margin with a penalty on the weights) and the
100 steps of gradient descent are those of the demo. Where micrograd is installed, the same step is
timed there too, from the same weights and on the same 100 points.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tinygraph import nn, no_grad, optim

try:
    import matplotlib
    from matplotlib import pyplot as plt
    from matplotlib.colors import LinearSegmentedColormap
    from sklearn.datasets import make_moons
except ImportError as error:
    print(f'{error.name} is missing; run: pip install -e ".[examples]"', file=sys.stderr)
    raise SystemExit(2) from None

SMALL = bool(os.environ.get("TINYGRAPH_SMALL"))
HIDDEN = [16, 16]
PENALTY = 1e-4
RED, BLUE = "#c8442f", "#1f65ad"


def total_loss(model, x, y):
    """Give max(0, 1 − y · score), averaged, and the penalty; also the scores."""
    scores = model(x).reshape(-1)
    margin = np.mean(np.maximum(1 - y * scores, 0))
    penalty = sum((p * p).sum() for p in model.parameters())
    return margin + PENALTY * penalty, scores


def train(model, x, y, steps):
    optimizer = optim.SGD(model.parameters(), lr=1.0)
    for k in range(steps):
        loss, scores = total_loss(model, x, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.lr = 1.0 - 0.9 * k / steps
        optimizer.step()
        if k % 10 == 0 or k == steps - 1:
            right = np.mean((scores.data > 0) == (y > 0))
            print(f"step {k:3}   loss {loss.item():.4f}   accuracy {100 * right:5.1f} %")


def best_of(repeats, step):
    """Time `step`, the fastest of some runs, and give its result too."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = step()
        seconds.append(time.perf_counter() - start)
    return min(seconds), result


def compare_with_micrograd(model, x, y):
    """Time one step, forward and backward, here and there."""
    try:
        from micrograd.engine import Value
        from micrograd.nn import MLP
    except ImportError:
        print("micrograd is not installed, so no comparison: pip install micrograd")
        return
    scalar = MLP(2, [*HIDDEN, 1])
    linears = [layer for layer in model if isinstance(layer, nn.Linear)]
    for theirs, ours in zip(scalar.layers, linears, strict=True):
        for j, neuron in enumerate(theirs.neurons):
            neuron.b = Value(float(ours.bias.data[j]))
            neuron.w = [Value(float(w)) for w in ours.weight.data[:, j]]

    def their_step():
        scores = [scalar([Value(a), Value(b)]) for a, b in x.tolist()]
        losses = [(1 + -yi * s).relu() for yi, s in zip(y.tolist(), scores, strict=True)]
        loss = sum(losses) * (1.0 / len(losses)) + PENALTY * sum(p * p for p in scalar.parameters())
        scalar.zero_grad()
        loss.backward()
        return loss.data

    def our_step():
        loss, _ = total_loss(model, x, y)
        model.zero_grad()
        loss.backward()
        return loss.item()

    slow, theirs = best_of(2, their_step)
    fast, ours = best_of(100, our_step)
    there = [neuron.w[i].grad for neuron in scalar.layers[0].neurons for i in range(2)]
    gap = np.max(np.abs(np.array(there).reshape(-1, 2).T - linears[0].weight.grad))
    print(
        f"one step, forward and backward: micrograd {1e3 * slow:.0f} ms, "
        f"tinygraph {1e3 * fast:.2f} ms, {slow / fast:.0f} times as fast"
    )
    print(f"the same losses up to {abs(ours - theirs):.0e}, the same gradients up to {gap:.0e}")


def plot(path, model, x, y):
    matplotlib.rcParams.update({"font.size": 10, "axes.titleweight": "bold"})
    a, b = np.meshgrid(np.linspace(-1.75, 2.75, 300), np.linspace(-1.25, 1.75, 200))
    with no_grad():
        scores = model(np.stack([a.ravel(), b.ravel()], axis=1)).data.reshape(a.shape)
    figure, axes = plt.subplots(figsize=(6.6, 4.6), layout="constrained")
    shades = LinearSegmentedColormap.from_list("moons", ["#eba99c", "#ffffff", "#9dc0e6"])
    axes.contourf(a, b, np.clip(scores, -2, 2), 24, cmap=shades, vmin=-2, vmax=2)
    axes.contour(a, b, scores, [-1, 1], colors="#777777", linewidths=0.8, linestyles="--")
    axes.contour(a, b, scores, [0], colors="#222222", linewidths=2)
    for label, color in ((-1, RED), (1, BLUE)):
        axes.scatter(*x[y == label].T, s=34, color=color, edgecolor="white", linewidth=0.8)
    right = np.mean((model(x).data[:, 0] > 0) == (y > 0))
    axes.set_title(f"Two moons: {100 * right:.0f} % right; dashed, the margins ±1")
    axes.set(aspect="equal", xlabel="$x_1$", ylabel="$x_2$")
    figure.savefig(path, dpi=100)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description="Separate two moons.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=5 if SMALL else 100)
    parser.add_argument("-o", "--output", help="directory of the plot (default graphs)")
    options = parser.parse_args()
    if options.steps < 1:
        parser.error("--steps must be positive")
    folder = Path(options.output or (tempfile.mkdtemp() if SMALL else "graphs"))
    folder.mkdir(parents=True, exist_ok=True)

    points = 20 if SMALL else 100
    x, y = make_moons(n_samples=points, noise=0.1, random_state=options.seed)
    y = 2.0 * y - 1
    model = nn.MLP(2, *HIDDEN, 1, rng=options.seed)
    start = time.perf_counter()
    train(model, x, y, options.steps)
    print(f"{options.steps} steps on {points} points in {time.perf_counter() - start:.2f} s")
    compare_with_micrograd(model, x, y)
    plot(folder / "decision_boundary.png", model, x, y)
    print(f"plot: {folder / 'decision_boundary.png'}")


if __name__ == "__main__":
    main()
