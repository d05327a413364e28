"""Draw the gallery: every picture in graphs/, and the page that shows them.

    python examples/gallery.py              # into graphs/
    python examples/gallery.py -o pictures

The .dot files are the same at every run; the .svg files are their rendering.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tinygraph import Tensor, draw, nn, trace
from tinygraph.batchnorm import staged
from tinygraph.cli.inputs import wine
from tinygraph.drawing.rendering import Picture, RenderingError

EPS = 1e-5


def batchnorm() -> Tensor:
    x = wine()
    rng = np.random.default_rng(0)
    return trace(staged)(x, rng.normal(size=13), rng.normal(size=13), eps=EPS)


def closed_form(x, gamma, dout, eps):
    N = x.shape[0]
    mu = np.sum(x, axis=0) / N
    var = np.sum((x - mu) ** 2, axis=0) / N
    ivar = 1 / np.sqrt(var + eps)
    xhat = (x - mu) * ivar
    dbeta = np.sum(dout, axis=0)
    dgamma = np.sum(dout * xhat, axis=0)
    dx = gamma * ivar * (dout - dbeta / N - xhat * (dgamma / N))
    return dx, dgamma, dbeta


def inference(x, gamma, beta, running_mean, running_var, eps):
    ivar = 1 / np.sqrt(running_var + eps)
    xhat = (x - running_mean) * ivar
    out = gamma * xhat + beta
    return out


def layer(h, weights, bias, gamma, beta, eps):
    z = h @ weights + bias
    mu = np.mean(z, axis=0)
    zmu = z - mu
    var = np.mean(zmu**2, axis=0)
    zhat = zmu / np.sqrt(var + eps)
    a = np.tanh(gamma * zhat + beta)
    return a


def network(x, W1, b1, gamma1, beta1, W2, b2, gamma2, beta2, labels, eps):
    h1 = layer(x, W1, b1, gamma1, beta1, eps)
    h2 = layer(h1, W2, b2, gamma2, beta2, eps)
    error = h2 - labels
    loss = np.mean(error**2)
    return loss


def layers(staged: bool) -> Tensor:
    model = nn.MLP(13, 8, 3, batchnorm=True, staged=staged, rng=0)
    labels = np.arange(178) % 3  # any labels do for a picture

    def objective(x, labels):
        logits = model(x)
        loss = nn.cross_entropy(logits, labels)
        return loss

    return trace(objective)(wine(), labels)


def scalar(a, b):
    c = a + b
    d = a * b + b**3
    e = c - d
    f = e**2
    g = f / 2.0 + 10.0 / f
    return g


def draw_closed_form() -> Picture:
    rng = np.random.default_rng(0)
    outputs = trace(closed_form)(wine(), rng.normal(size=13), rng.normal(size=(178, 13)), eps=EPS)
    return draw(outputs, view="forward")


def draw_inference() -> Picture:
    rng = np.random.default_rng(0)
    x, gamma, beta = (
        Tensor(a, name=name)
        for a, name in ((wine(), "x"), (rng.normal(size=13), "gamma"), (np.zeros(13), "beta"))
    )
    out = trace(inference)(x, gamma, beta, wine().mean(axis=0), wine().var(axis=0), eps=EPS)
    return draw(out, wrt=[x, gamma, beta])


def draw_layernorm() -> Picture:
    rng = np.random.default_rng(0)
    return draw(trace(staged)(wine(), rng.normal(size=13), np.zeros(13), eps=EPS, axis=-1))


def draw_network() -> Picture:
    rng = np.random.default_rng(0)
    shapes = (32, 8), (8, 6), (6,), (6,), (6,), (6, 3), (3,), (3,), (3,), (32, 3)
    arrays = [rng.normal(size=shape) for shape in shapes]
    return draw(trace(network)(*arrays, eps=EPS), direction="TB")


def draw_scalar() -> Picture:
    g = trace(scalar)(Tensor(-4.0), Tensor(2.0))
    g.backward()
    return draw(g, values=True)


PICTURES: dict[str, tuple[Callable[[], Picture], str, str]] = {
    "batchnorm": (
        lambda: draw(batchnorm()),
        "The circuit of BatchNorm",
        "Read the black arrows from left to right: x is centred, squared, averaged and scaled, and "
        "the main line x → xmu → xhat → gammax → out runs straight. Then read the red ones from "
        "right to left: every value that flowed forward has its gradient flowing back, and where "
        "a value was used twice, its gradients add up.",
    ),
    "batchnorm_forward": (
        lambda: draw(batchnorm(), view="forward"),
        "The forward pass alone",
        "Nine boxes are the nine assignments of the staged derivation, numbered in order. The name "
        "on an arrow is the variable that flows along it, with its shape where that changes.",
    ),
    "batchnorm_primitives": (
        lambda: draw(batchnorm(), detail="primitives"),
        "The circuit, every step opened",
        "Each frame is one step with the primitives that it consists of; a constant stands in the "
        "box that uses it. Between the boxes of a frame flow values and gradients that have no "
        "name of their own.",
    ),
    "batchnorm_backward": (
        lambda: draw(batchnorm(), view="backward"),
        "The gradient graph",
        "What the backward pass really computes, from dout at the right to dx at the left. Every "
        "box is one line of the derivation; a double border marks gradients that add up.",
    ),
    "batchnorm_joint": (
        lambda: draw(batchnorm(), view="joint"),
        "Every primitive of both passes",
        "Black boxes compute values, red ones gradients, and a frame holds a step's share of both. "
        "The grey arrows are the values that a backward rule reads: this is why a framework keeps "
        "them in memory.",
    ),
    **{
        f"batchnorm_step{k}": (
            lambda k=k: draw(batchnorm(), step=k),
            f"Step {k}" if k else "Step 0: what arrives at the inputs",
            (
                "At the right the gradient that arrives, at the left the gradients that leave, "
                "each with its local rule and its shape. The black arrows are the forward pass."
                if k
                else "The gradients that end at x, gamma and beta. Three paths reach x: dx1 holds "
                "two of them, straight through x − mu and through the variance, and dx2 is the one "
                "through the mean. Dropping one is the classic mistake."
            ),
        )
        for k in range(9, -1, -1)
    },
    "closed_form": (
        draw_closed_form,
        "The closed form",
        "The same three gradients by the formula of the paper, computed from x, gamma and dout "
        "alone. Compare its length with the gradient graph above: this is what simplifying buys.",
    ),
    "inference": (
        draw_inference,
        "Inference",
        "With running estimates, mean and variance are inputs that no gradient flows to. Only one "
        "path reaches x, and the backward pass is a multiplication.",
    ),
    "layernorm": (
        draw_layernorm,
        "LayerNorm",
        "The same nine steps with the sums over the features of each row. The graph is that of "
        "BatchNorm; only the shapes tell the difference: mu is (178, 1), not (13,).",
    ),
    "network": (
        draw_network,
        "A network of two layers with BatchNorm",
        "A frame is one call of the function layer. Gradients run from the loss through both "
        "layers to all weights, through each layer's mean and variance.",
    ),
    "layers": (
        lambda: draw(layers(staged=False), direction="TB"),
        "A network of layers, with its loss",
        "Every layer stands in a frame of its own, the loss in another. BatchNorm is one box here, "
        "whose backward rule is the closed form.",
    ),
    "layers_open": (
        lambda: draw(layers(staged=True), direction="TB"),
        "The same network, BatchNorm opened",
        "With its nine steps visible, the gradients pass through mean and variance inside the "
        "frame. Both networks compute the same.",
    ),
    "scalar": (
        draw_scalar,
        "A scalar expression, with numbers",
        "Every box shows value | gradient after backward(). Where several red arrows end, the "
        "variable was used several times, and the label says how many paths add up.",
    ),
}


def page() -> str:
    """Write the page that shows every picture."""
    parts = [
        "# Gallery\n\nEvery picture here is drawn by tinygraph from a NumPy function, by "
        "`python examples/gallery.py`. Click on one to see it large."
    ]
    for name, (_, title, text) in PICTURES.items():
        parts.append(f"## {title}\n\n{text}\n\n![{title}]({name}.svg)")
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the gallery.")
    parser.add_argument("-o", "--output", default="graphs", help="directory (default graphs)")
    folder = Path(parser.parse_args().output)
    folder.mkdir(parents=True, exist_ok=True)
    for name, (make, _, _) in PICTURES.items():
        picture = make()
        picture.save(folder / f"{name}.dot")
        try:
            picture.save(folder / f"{name}.svg")
        except RenderingError as error:
            print(f"{name}.svg is not drawn: {error}")
    (folder / "README.md").write_text(page(), encoding="utf-8")
    print(f"{len(PICTURES)} pictures in {folder}/")


if __name__ == "__main__":
    main()
