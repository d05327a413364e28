"""Train a deep network on handwritten digits, with and without BatchNorm.

    python examples/train_digits.py                 # draws graphs/train_digits.png
    python examples/train_digits.py --seed 1 --epochs 30 --batch-size 128

Both networks have five hidden layers of 100 tanh units and start from the same weights. The pixels,
0 to 16, are left as they are. That is hard on the plain network, whose first layer saturates at
once; BatchNorm brings every layer back to mean 0 and variance 1 before each tanh.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import tinygraph
from tinygraph import Tensor, nn, no_grad, optim

try:
    import matplotlib
    from matplotlib import pyplot as plt
    from sklearn.datasets import load_digits
    from threadpoolctl import threadpool_limits  # comes with scikit-learn
    from tqdm import tqdm
except ImportError as error:
    print(f'{error.name} is missing; run: pip install -e ".[examples]"', file=sys.stderr)
    raise SystemExit(2) from None

SMALL = bool(os.environ.get("TINYGRAPH_SMALL"))
HIDDEN = [100] * 5
RATES = [0.01, 0.1] if SMALL else [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0]
TEST = 360
SATURATED = 3  # beyond ±3 the slope of tanh is below 1 %
NAMES = {False: "without BatchNorm", True: "with BatchNorm"}
COLORS = {False: "#c8442f", True: "#1f65ad"}


def batches(order, size):
    """Cut `order` into batches of `size`; never one of a single sample.

    In training BatchNorm divides by the deviation of the batch, and one value has none. A last
    sample that would be left alone joins the batch before it.
    """
    ends = list(range(size, len(order) - 1, size))
    return np.split(order, ends)


def network(batchnorm, seed):
    return nn.MLP(64, *HIDDEN, 10, batchnorm=batchnorm, activation=nn.Tanh, staged=False, rng=seed)


def train(model, x, y, *, lr, epochs, batch_size, seed, label=None):
    """Train with momentum and a learning rate that falls to 0; give the loss of every step."""
    rng = np.random.default_rng(seed)
    optimizer = optim.SGD(model.parameters(), lr=lr, momentum=0.9)

    def forward(x, labels):
        logits = model(x)
        return nn.cross_entropy(logits, labels), logits

    step = tinygraph.compile(forward)  # which is called as forward is, and takes half its time
    steps = epochs * len(batches(np.arange(len(x)), batch_size))
    losses, hits, seen = [], 0, 0
    with tqdm(total=steps, desc=label, disable=label is None, unit="step") as bar:
        for _ in range(epochs):
            hits = seen = 0
            for batch in batches(rng.permutation(len(x)), batch_size):
                loss, logits = step(x[batch], y[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.lr = lr * (1 - len(losses) / steps)
                optimizer.step()

                losses.append(loss.item())
                hits += int(np.sum(logits.data.argmax(axis=1) == y[batch]))
                seen += len(batch)
                bar.set_postfix(
                    loss=f"{losses[-1]:.4f}", accuracy=f"{hits / seen:.1%}", refresh=False
                )
                bar.update()
    return losses


def accuracy(model, x, y):
    """Give the share of right answers; by running estimates, so that samples stand alone."""
    model.eval()
    with no_grad():
        right = model(x).data.argmax(axis=1) == y
    model.train()
    return float(np.mean(right))


def preactivations(model, x):
    """Give what arrives at each tanh."""
    model.eval()
    found = []
    with no_grad():
        h = Tensor(x)
        for layer in model:
            if isinstance(layer, nn.Tanh):
                found.append(h.data.ravel())
            h = layer(h)
    model.train()
    return found


def sweep(x, y, test, *, epochs, batch_size, seed):
    """Give the test accuracy of both networks at every learning rate."""
    results = {False: [], True: []}
    pairs = [(lr, batchnorm) for lr in RATES for batchnorm in NAMES]
    for lr, batchnorm in tqdm(pairs, desc="learning rates", unit="network"):
        model = network(batchnorm, seed)
        train(model, x, y, lr=lr, epochs=epochs, batch_size=batch_size, seed=seed)
        results[batchnorm].append(accuracy(model, *test))
    return results


def smooth(values, weight=0.9):
    result, mean = [], 0.0
    for k, value in enumerate(values, start=1):
        mean = weight * mean + (1 - weight) * value
        result.append(mean / (1 - weight**k))
    return result


def plot(path, losses, rates, pre, lr):
    matplotlib.rcParams.update({"font.size": 10, "axes.spines.top": False})
    matplotlib.rcParams.update({"axes.spines.right": False, "axes.titleweight": "bold"})
    figure, (left, middle, right) = plt.subplots(
        1, 3, figsize=(11.5, 4), width_ratios=(1, 1, 1.05), layout="constrained"
    )
    for which, color in COLORS.items():
        left.plot(losses[which], color=color, alpha=0.2, linewidth=0.7)
        left.plot(smooth(losses[which]), color=color, linewidth=2, label=NAMES[which])
    left.set_yscale("log")
    left.set(title=f"Training loss, learning rate {lr:g}", xlabel="step", ylabel="cross-entropy")
    left.legend(frameon=False, loc="lower left")

    for which, color in COLORS.items():
        middle.plot(RATES, 100 * np.array(rates[which]), "o-", color=color, linewidth=2)
    middle.axvline(lr, color="#bbbbbb", linewidth=1, linestyle=":", zorder=0)
    middle.axhline(10, color="#bbbbbb", linewidth=1, zorder=0)
    middle.text(RATES[0], 11, "guessing", color="#888888", va="bottom")
    middle.set_xscale("log")
    middle.set(title="Test accuracy", xlabel="learning rate", ylabel="percent", ylim=(0, 102))

    edges = np.linspace(-10, 10, 81)
    centers = (edges[1:] + edges[:-1]) / 2
    layers = len(HIDDEN)
    for k in range(layers):
        base = layers - 1 - k
        for which, color in COLORS.items():
            values = pre[which][k]
            height, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
            height = 0.85 * height / height.max()
            right.fill_between(centers, base, base + height, step="mid", color=color, alpha=0.35)
            right.step(centers, base + height, where="mid", color=color, linewidth=1)
            share = np.mean(np.abs(values) > SATURATED)
            right.text(
                *(-10.2 if which else 10.2, base + 0.42, f"{share:.0%}"),
                color=color,
                ha="right" if which else "left",
            )
    right.axvspan(-SATURATED, SATURATED, color="#f1f1f1", zorder=0)
    right.set_yticks(np.arange(layers) + 0.42, [f"layer {layers - k}" for k in range(layers)])
    right.tick_params(axis="y", length=0, pad=34)
    right.spines["left"].set_visible(False)
    right.set(
        title="What arrives at each tanh",
        xlabel="pre-activation, and the share that saturates\n"
        "(beyond grey; the ends collect the rest)",
        xlim=(-10, 10),
    )
    figure.savefig(path, dpi=100)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description="Train on digits with and without BatchNorm.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=2 if SMALL else 20)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=0.2)
    parser.add_argument("-o", "--output", help="directory of the plot (default graphs)")
    options = parser.parse_args()
    if options.epochs < 1 or options.batch_size < 1 or not options.lr > 0:
        parser.error("--epochs, --batch-size and --lr must be positive")
    folder = Path(options.output or (tempfile.mkdtemp() if SMALL else "graphs"))
    folder.mkdir(parents=True, exist_ok=True)

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(options.seed).permutation(len(x))
    if SMALL:
        order = order[: TEST + 200]
    test = x[order[:TEST]], y[order[:TEST]]
    x, y = x[order[TEST:]], y[order[TEST:]]

    size = options.batch_size
    if size == 1:
        print(
            "A batch of one has no variance to divide by, so BatchNorm cannot train on it: "
            "training on batches of two."
        )
        size = 2
    elif len(x) % size == 1:
        print(
            f"{len(x)} samples in batches of {size} leave one over, which BatchNorm could not "
            f"train on alone: the last batch takes it and has {size + 1}."
        )
    settings = {"epochs": options.epochs, "batch_size": size, "seed": options.seed}

    losses, pre = {}, {}
    with np.errstate(over="ignore", invalid="ignore"):
        for which, name in NAMES.items():
            model = network(which, options.seed)
            start = time.perf_counter()
            losses[which] = train(model, x, y, lr=options.lr, label=name, **settings)
            seconds = time.perf_counter() - start
            score = accuracy(model, *test)
            print(f"{name:<18} {100 * score:5.1f} % of {TEST} test digits, {seconds:.1f} s")
            pre[which] = preactivations(model, test[0])
        single = model.eval()(test[0][:1]).data.argmax()
        print(f"A single digit, which only running estimates can do: {single}, is {test[1][0]}")
        rates = sweep(x, y, test, **settings)
    plot(folder / "train_digits.png", losses, rates, pre, options.lr)
    print(f"plot: {folder / 'train_digits.png'}")


if __name__ == "__main__":
    with threadpool_limits(1):  # matrices this small are slower on several threads
        main()
