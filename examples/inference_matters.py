"""Evaluate one trained network by batch statistics and by running statistics.

    python examples/inference_matters.py            # draws graphs/inference_matters.png

In training, BatchNorm normalizes a sample by the batch that it happens to be in. Done in inference
too, the answer for a digit depends on its neighbours, the more so the fewer they are, and is wrong
where they are not a fair sample; alone, a digit has no answer at all. The running estimates depend
on nothing but the training.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

from tinygraph import nn, no_grad, optim

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
SIZES = [1, 2, 8, 64]
SHUFFLES = 2 if SMALL else 10
TEST = 360
BATCH = 64
GREY, RED, BLUE = "#7d8790", "#c8442f", "#1f65ad"


def train(model, x, y, epochs, seed):
    rng = np.random.default_rng(seed)
    optimizer = optim.Adam(model.parameters(), lr=0.003)
    for _ in (bar := tqdm(range(epochs), desc="training", unit="epoch")):
        order = rng.permutation(len(x))
        # Not by a batch of one sample, which has no variance: what is left over waits an epoch.
        for k in range(0, len(x) - BATCH + 1, BATCH):
            batch = order[k : k + BATCH]
            loss = nn.cross_entropy(model(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        bar.set_postfix(loss=f"{loss.item():.4f}")


def predict(model, x, order, size):
    """Predict in batches of `size`, taken in `order`; None if the model refuses."""
    found = np.empty(len(x), dtype=int)
    try:
        for batch in np.split(order, range(size, len(order), size)):
            found[batch] = model(x[batch]).data.argmax(axis=1)
    except ValueError as error:
        print(f"batches of {size}: {error}\n", file=sys.stderr)
        return None
    return found


def evaluate(model, x, y, size, seed):
    """Give percents: by running statistics, by mixed batches, by batches of like digits.

    Also give how many answers change from one shuffle of the same test set to another.
    """
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(len(x)) for _ in range(SHUFFLES)]
    with no_grad():
        model.eval()
        running = predict(model, x, orders[0], size)
        model.train()
        if size == 1:
            predict(model, x, orders[0], size)
            return 100 * np.mean(running == y), None, None, None
        mixed = np.array([predict(model, x, order, size) for order in orders])
        alike = predict(model, x, np.argsort(y, kind="stable"), size)
    changing = np.mean(np.any(mixed != mixed[0], axis=0))
    return tuple(100 * np.mean(part) for part in (running == y, mixed == y, alike == y, changing))


def table(results):
    lines = [
        "             running      batch statistics       answers that",
        "batch size   statistics   mixed   like digits    change with neighbours",
    ]
    for size, row in results.items():
        a, b, c, d = (f"{v:.1f} %" if v is not None else "–" for v in row)
        lines.append(f"{size:10}   {a:>10}   {b:>6}   {c:>11}    {d:>8}")
    return "\n".join(lines)


def plot(path, results):
    matplotlib.rcParams.update({"font.size": 10, "axes.titleweight": "bold"})
    matplotlib.rcParams.update({"axes.spines.top": False, "axes.spines.right": False})
    figure, axes = plt.subplots(figsize=(7.6, 4.2), layout="constrained")
    series = (
        ("running statistics", BLUE, 0),
        ("batch statistics, mixed digits", GREY, 1),
        ("batch statistics, like digits", RED, 2),
    )
    for k, (label, color, column) in enumerate(series):
        places = np.arange(len(SIZES)) + 0.27 * (k - 1)
        heights = [results[size][column] for size in SIZES]
        shown = [h if h is not None else 0 for h in heights]
        axes.bar(places, shown, 0.25, color=color, label=label)
        for place, h in zip(places, heights, strict=True):
            if h is not None:
                axes.text(place, h + 1, f"{h:.1f}", ha="center", color=color, fontsize=9)
    axes.text(
        0.2, 3, "no answer:\none value has\nno variance", ha="center", va="bottom", color="#666666"
    )
    axes.set_xticks(range(len(SIZES)), [str(size) for size in SIZES])
    axes.tick_params(axis="x", length=0)
    axes.set(ylim=(0, 108), xlabel="digits evaluated at a time", ylabel="test accuracy, percent")
    axes.set_title("The same network, the same digits", pad=28)
    axes.legend(frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 0.99), fontsize=9)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description="Batch statistics against running statistics.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=2 if SMALL else 15)
    parser.add_argument("-o", "--output", help="directory of the plot (default graphs)")
    options = parser.parse_args()
    if options.epochs < 1:
        parser.error("--epochs must be positive")
    folder = Path(options.output or (tempfile.mkdtemp() if SMALL else "graphs"))
    folder.mkdir(parents=True, exist_ok=True)

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(options.seed).permutation(len(x))
    test, rest = order[:TEST], order[TEST:]
    model = nn.MLP(64, 100, 100, 10, batchnorm=True, staged=False, rng=options.seed)
    train(model, x[rest], y[rest], options.epochs, options.seed)

    trained = model.state_dict()
    results = {}
    for size in SIZES:
        results[size] = evaluate(model, x[test], y[test], size, options.seed)
        model.load_state_dict(trained)  # training mode moved the running statistics
    print(table(results))
    plot(folder / "inference_matters.png", results)
    print(f"plot: {folder / 'inference_matters.png'}")


if __name__ == "__main__":
    with threadpool_limits(1):  # matrices this small are slower on several threads
        main()
