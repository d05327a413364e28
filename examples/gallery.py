"""Draw the gallery: every picture and page in graphs/, and what shows them.

    python examples/gallery.py              # into graphs/
    python examples/gallery.py -o pictures
    python examples/gallery.py --still      # also explorer.png, by playwright and a Chromium

The .dot, .svg and .html files are the same at every run and on every machine.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tinygraph import Tensor, draw, explore, nn, simplify, trace
from tinygraph.batchnorm import staged
from tinygraph.cli.inputs import wine
from tinygraph.cli.targets import run_sample
from tinygraph.drawing.fitting import PAGE
from tinygraph.drawing.rendering import Picture, RenderingError
from tinygraph.explorer import Page

EPS = 1e-5


def batchnorm() -> Tensor:
    x = wine()
    rng = np.random.default_rng(0)
    return trace(staged)(x, rng.normal(size=13), rng.normal(size=13), eps=EPS)


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


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def lstm_step(x, h_prev, c_prev, Wx, Wh, b):
    H = h_prev.shape[1]
    a = x @ Wx + h_prev @ Wh + b
    i = sigmoid(a[:, :H])
    f = sigmoid(a[:, H : 2 * H])
    o = sigmoid(a[:, 2 * H : 3 * H])
    g = np.tanh(a[:, 3 * H :])
    c = f * c_prev + i * g
    h = o * np.tanh(c)
    return h


def attention(X, Wq, Wk, Wv):
    Q = X @ Wq
    K = X @ Wk
    V = X @ Wv
    d_k = Wq.shape[1]
    S = Q @ K.T / np.sqrt(d_k)
    E = np.exp(S - np.max(S, axis=1, keepdims=True))
    P = E / np.sum(E, axis=1, keepdims=True)
    out = P @ V
    return out


def scalar(a, b):
    c = a + b
    d = a * b + b**3
    e = c - d
    f = e**2
    g = f / 2.0 + 10.0 / f
    return g


def draw_inference() -> Picture:
    rng = np.random.default_rng(0)
    x, gamma, beta = (
        Tensor(a, name=name)
        for a, name in ((wine(), "x"), (rng.normal(size=13), "gamma"), (np.zeros(13), "beta"))
    )
    out = trace(inference)(x, gamma, beta, wine().mean(axis=0), wine().var(axis=0), eps=EPS)
    return draw(out, wrt=[x, gamma, beta], width=PAGE)


def draw_layernorm() -> Picture:
    rng = np.random.default_rng(0)
    out = trace(staged)(wine(), rng.normal(size=13), np.zeros(13), eps=EPS, axis=-1)
    return draw(out, direction="LR", width=PAGE)


def draw_network() -> Picture:
    rng = np.random.default_rng(0)
    shapes = (32, 8), (8, 6), (6,), (6,), (6,), (6, 3), (3,), (3,), (3,), (32, 3)
    arrays = [rng.normal(size=shape) for shape in shapes]
    return draw(trace(network)(*arrays, eps=EPS), direction="TB", width=PAGE)


def draw_function(f: Callable, *shapes: tuple[int, ...], **options: Any) -> Picture:
    rng = np.random.default_rng(0)
    return draw(trace(f)(*(rng.normal(size=shape) for shape in shapes)), width=PAGE, **options)


def draw_scalar() -> Picture:
    g = trace(scalar)(Tensor(-4.0), Tensor(2.0))
    g.backward()
    return draw(g, values=True, width=PAGE)


STEPS = {
    9: "One gradient arrives, dout, and two leave. An addition hands it on to gammax unchanged; "
    "to beta, which every row shares, it gives the sum over the batch. That sum is all there is "
    "to dbeta.",
    8: "A product gives each factor the arriving gradient times the other factor. gamma is shared "
    "by all rows, so dgamma is summed as well; dxhat keeps the shape of the batch.",
    7: "Here the paths part: dxmu1 goes straight on towards x, divar is the gradient of the "
    "factor that all rows share, and starts the way through the variance.",
    6: "From here to step 4 everything has one number to a feature: the shape is (13,). The "
    "derivative of 1/sqrtvar is written with the result itself, ivar².",
    5: "The root's rule also reads its own result: dvar = dsqrtvar / (2 · sqrtvar). eps has done "
    "its work in the forward pass: sqrtvar cannot be 0.",
    4: "The mirror image of step 9: what the forward pass summed, the backward pass spreads. Each "
    "of the 178 rows of dsq gets the same 1/N of dvar.",
    3: "A square gives 2 · xmu times what arrives. dxmu2 is the second gradient of xmu; the "
    "first, dxmu1, came from step 7.",
    2: "Both gradients of xmu have arrived and are added up before they go on. To x their sum "
    "goes unchanged, to mu with its sign turned and summed over the batch.",
    1: "The mean spreads its gradient over the rows, as the variance did in step 4. dx2 is the "
    "third and last path to x, the one through the mean.",
    0: "The gradients that end at x, gamma and beta. Three paths reach x: dx1 holds two of them, "
    "straight through x − mu and through the variance, and dx2 is the one through the mean. "
    "Dropping one is the classic mistake.",
}

PICTURES: dict[str, tuple[Callable[[], Picture], str, str]] = {
    "batchnorm": (
        lambda: draw(batchnorm(), width=PAGE),
        "The circuit of BatchNorm",
        "Look at x − mu, where four roads meet: on each a red stroke runs back beside the black "
        "one. The main line x → xmu → xhat → gammax → out is straight; the variance, steps 3 to "
        "6, lies above it and comes back at step 7.",
    ),
    "batchnorm_forward": (
        lambda: draw(batchnorm(), view="forward", width=PAGE),
        "The forward pass alone",
        "Count the numbers: nine boxes are the nine assignments of the staged derivation. The "
        "name on a road is the variable that travels along it, with its shape where that changes: "
        "mu and everything about the variance has one number to a feature.",
    ),
    "batchnorm_primitives": (
        lambda: draw(batchnorm(), detail="primitives", direction="LR", width=PAGE),
        "The circuit, every step opened",
        "Compare steps 1 and 4: a mean is a sum and a multiplication by 1/N. Most other steps are "
        "one primitive, and its gradient needs one or two more, which the joint picture below "
        "shows.",
    ),
    "batchnorm_backward": (
        lambda: draw(batchnorm(), view="backward", width=PAGE),
        "The gradient graph",
        "Start at dout. The long way, from divar to dxmu2, is the path through the variance, "
        "and the short one beside it is dxmu1; a double border marks the two boxes where "
        "gradients add up.",
    ),
    "batchnorm_joint": (
        lambda: draw(batchnorm(), view="joint"),
        "Every primitive of both passes",
        "Forward above, backward below, and a column to each step. Look at the dotted boxes: they "
        "are the values that a backward rule reads, and the reason why a framework keeps them in "
        "memory. Four of them are ivar and sqrtvar, which are small; xmu and xhat are as large as "
        "the batch.",
    ),
    **{
        f"batchnorm_step{k}": (
            lambda k=k: draw(batchnorm(), step=k),
            f"Step {k}" if k else "Step 0: what arrives at the inputs",
            text,
        )
        for k, text in STEPS.items()
    },
    "closed_form": (
        lambda: draw(simplify(batchnorm()).graph, view="backward", width=PAGE),
        "The closed form",
        "Nobody wrote this one down: it is what `simplify` makes of the backward pass above. Look "
        "at what reaches dx: dbeta and dgamma, which are wanted anyway, are all that it needs "
        "beside dout and what the forward pass has left.",
    ),
    "inference": (
        draw_inference,
        "Inference",
        "running_mean and running_var have no red stroke: nothing is differentiated by them. Only "
        "one path reaches x, and the backward pass is a multiplication.",
    ),
    "layernorm": (
        draw_layernorm,
        "LayerNorm",
        "Look at the shapes: mu is (178, 1), one number to a row, where BatchNorm has (13,). "
        "Everything else is the same graph.",
    ),
    "lstm": (
        lambda: draw_function(lstm_step, (4, 3), (4, 5), (4, 5), (3, 20), (5, 20), (20,)),
        "One step of an LSTM",
        "Look at the roads that leave step 1: one product gives all four gates, so four gradients "
        "come back and add up there. The way from c to c_prev is short, and a multiplication by f "
        "is all that happens on it: this is what an LSTM was made for.",
    ),
    "lstm_folded": (
        lambda: draw_function(
            lstm_step, (4, 3), (4, 5), (4, 5), (3, 20), (5, 20), (20,), fold=["sigmoid"]
        ),
        "The same step, with one box to a call",
        "Look at the boxes with two faces: each is one call of sigmoid, with the formula of all "
        "that it does. The frames of the picture above are gone, and nothing else has changed.",
    ),
    "attention": (
        lambda: draw_function(attention, (5, 8), (8, 8), (8, 8), (8, 8)),
        "Self-attention",
        "Look at the roads with two red strokes: E is numerator and denominator of the softmax, S "
        "is shifted by its own largest entry, and each use gives a gradient back. At X all three "
        "uses meet, as query, key and value.",
    ),
    "network": (
        draw_network,
        "A network of two layers with BatchNorm",
        "A frame is one call of the function layer. What arrives at a between the two frames "
        "is the gradient of the whole second layer, its mean and variance included.",
    ),
    "layers": (
        lambda: draw(layers(staged=False), direction="TB", width=PAGE),
        "A network of layers, with its loss",
        "Look at the box of BatchNorm: it is one primitive here, whose backward rule is the "
        "closed form. Nothing of what is inside it can be seen.",
    ),
    "layers_open": (
        lambda: draw(layers(staged=True), direction="TB", width=PAGE),
        "The same network, BatchNorm opened",
        "The box has become a frame with nine steps in it, and the gradients can be followed "
        "through mean and variance. Both networks compute the same.",
    ),
    "scalar": (
        draw_scalar,
        "A scalar expression, with numbers",
        "Every box shows value | gradient after backward(). Look at b: it was used three times, "
        "two of them in one step, and −3.5 is the sum of what its three red strokes bring.",
    ),
}


def explore_function(f: Callable, *shapes: tuple[int, ...], **options: Any) -> Page:
    """Show a function of few numbers, with two decimals, so that eyes can follow."""
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape).round(2) for shape in shapes]
    return explore(trace(f)(*arrays, **options), title=f.__name__)


PAGES: dict[str, tuple[Callable[[], Page], str]] = {
    "batchnorm": (
        lambda: explore(run_sample(), title="BatchNorm", note="8 wines × alcohol, malic acid, ash"),
        "BatchNorm of eight wines. Go to backward step 0 and leave dx2 out: the page says by how "
        "much dx is wrong, and what x says to it when it is moved. Then change one entry of dout, "
        "and see which rows of dx follow.",
    ),
    "attention": (
        lambda: explore_function(attention, (3, 4), (4, 4), (4, 4), (4, 4)),
        "Self-attention over three tokens. Point at an entry of S: its row of Q and its column of "
        "Kᵀ light up. Change one number of X: no row of P stays as it was.",
    ),
    "network": (
        lambda: explore_function(
            network,
            *((6, 4), (4, 3), (3,), (3,), (3,), (3, 2), (2,), (2,), (2,), (6, 2)),
            eps=EPS,
        ),
        "Two layers with BatchNorm and a loss. Follow db1 and db2 to the end: what a bias adds, "
        "the mean takes off again, so both are zero but for rounding.",
    ),
}


def page() -> str:
    """Write the page that shows every picture."""
    links = [f"- [{name}.html]({name}.html): {text}" for name, (_, text) in PAGES.items()]
    parts = [
        "# Gallery\n\nEvery picture here is drawn by tinygraph from a NumPy function, by `python "
        "examples/gallery.py`. Values flow along the black arrows, gradients back along the red, "
        "dashed ones. Click on a picture to see it large.",
        "## To step through\n\nThree pages of `explore`, each one file for any browser: save it, "
        "and open it.\n\n[![Backward step 7 of BatchNorm](explorer.png)](batchnorm.html)",
        "\n".join(links),
    ]
    for name, (_, title, text) in PICTURES.items():
        parts.append(f"## {title}\n\n{text}\n\n![{title}]({name}.svg)")
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the gallery.")
    parser.add_argument("-o", "--output", default="graphs", help="directory (default graphs)")
    parser.add_argument("--still", action="store_true", help="take explorer.png anew")
    options = parser.parse_args()
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    for name, (make, _, _) in PICTURES.items():
        picture = make()
        picture.save(folder / f"{name}.dot")
        try:
            picture.save(folder / f"{name}.svg")
        except RenderingError as error:
            print(f"{name}.svg is not drawn: {error}")
    for name, (make_page, _) in PAGES.items():
        make_page().save(folder / f"{name}.html")
    if options.still:
        take_still(folder / "batchnorm.html", folder / "explorer.png")
    (folder / "README.md").write_text(page(), encoding="utf-8")
    print(f"{len(PICTURES)} pictures and {len(PAGES)} pages in {folder}/")


def take_still(source: Path, target: Path) -> None:
    """Show backward step 7 in a browser, and keep what is seen."""
    from playwright.sync_api import sync_playwright

    program = next(
        p for p in map(Path, ("/usr/bin/chromium", "/usr/bin/google-chrome")) if p.exists()
    )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(program), args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1400, "height": 830})
        tab.goto(f"{source.resolve().as_uri()}#backward-7")
        tab.evaluate("() => document.fonts.ready.then(() => true)")
        tab.screenshot(path=target)
        browser.close()


if __name__ == "__main__":
    main()
