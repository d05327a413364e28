"""BatchNorm by hand: write it in NumPy, trace it, run it backwards, draw it, check it.

    python examples/batchnorm_by_hand.py              # draws into graphs/
    python examples/batchnorm_by_hand.py -o pictures

The two functions below are what one writes in a course: nine steps forwards, and the same nine
backwards. They are plain NumPy and know nothing of tinygraph, which does the backward pass again
from the forward function alone.

The nine steps are those of F. Kratzert, "Understanding the backward pass through Batch
Normalization Layer" (2016).
"""

import argparse
from pathlib import Path

import numpy as np

from tinygraph import Tensor, draw, trace
from tinygraph.batchnorm import closed_form
from tinygraph.drawing.rendering import RenderingError


def batchnorm_forward(x, gamma, beta, eps):
    N = x.shape[0]

    # step 1: the mean of every feature
    mu = 1.0 / N * np.sum(x, axis=0)

    # step 2: subtract it from every sample
    xmu = x - mu

    # step 3: the squares of the deviations
    sq = xmu**2

    # step 4: their mean is the variance
    var = 1.0 / N * np.sum(sq, axis=0)

    # step 5: add eps for stability, then the square root
    sqrtvar = np.sqrt(var + eps)

    # step 6: invert it
    ivar = 1.0 / sqrtvar

    # step 7: normalize
    xhat = xmu * ivar

    # step 8: scale
    gammax = gamma * xhat

    # step 9: shift
    out = gammax + beta
    return out


def batchnorm_backward(dout, x, gamma, eps):
    # The forward pass once more, for the values that the backward pass reads.
    N = x.shape[0]
    xmu = x - np.mean(x, axis=0)
    var = np.mean(xmu**2, axis=0)
    sqrtvar = np.sqrt(var + eps)
    ivar = 1.0 / sqrtvar
    xhat = xmu * ivar

    # step 9: beta was added to every sample, so its gradient is a sum over them
    dbeta = np.sum(dout, axis=0)
    dgammax = dout

    # step 8
    dgamma = np.sum(dgammax * xhat, axis=0)
    dxhat = dgammax * gamma

    # step 7: xmu is used here for the first time …
    divar = np.sum(dxhat * xmu, axis=0)
    dxmu1 = dxhat * ivar

    # step 6: the derivative of 1/s is −1/s²
    dsqrtvar = -divar / sqrtvar**2

    # step 5: the derivative of √v is ½/√v
    dvar = 0.5 * dsqrtvar / np.sqrt(var + eps)

    # step 4: a mean hands every sample 1/N of its gradient
    dsq = 1.0 / N * np.ones_like(dout) * dvar

    # step 3: … and here for the second
    dxmu2 = 2 * xmu * dsq

    # step 2: two uses, two gradients that add up
    dx1 = dxmu1 + dxmu2
    dmu = -np.sum(dxmu1 + dxmu2, axis=0)

    # step 1
    dx2 = 1.0 / N * np.ones_like(dout) * dmu

    # step 0: x was used in steps 1 and 2
    dx = dx1 + dx2
    return dx, dgamma, dbeta


def main():
    parser = argparse.ArgumentParser(description="Trace, differentiate, draw and check BatchNorm.")
    parser.add_argument("-o", "--output", default="graphs", help="directory (default graphs)")
    folder = Path(parser.parse_args().output)

    # A batch of 64 samples with 5 features, each with its own mean and scale. The upstream gradient
    # is random: with ones, the true dx is 0, and wrong formulas pass as well.
    rng = np.random.default_rng(0)
    means, scales = rng.normal(size=5), rng.uniform(0.5, 3, size=5)
    x = Tensor(means + scales * rng.normal(size=(64, 5)), name="x")
    gamma = Tensor(rng.normal(size=5), name="gamma")
    beta = Tensor(rng.normal(size=5), name="beta")
    dout = rng.normal(size=x.shape)
    eps = 1e-5

    # Run the forward function; every variable in it becomes a named node of the graph.
    out = trace(batchnorm_forward)(x, gamma, beta, eps)
    print(f"traced batchnorm_forward on x of shape {x.shape}")

    # Run the graph backwards; now every node has a gradient.
    out.backward(dout)
    print("ran the graph backwards from a random upstream gradient\n")

    found = x.grad, gamma.grad, beta.grad
    compare_with("the closed form", found, closed_form(x.data, gamma.data, dout, eps=eps))
    compare_with(
        "the backward pass by hand", found, batchnorm_backward(dout, x.data, gamma.data, eps)
    )

    picture = draw(out)
    for name in ("batchnorm_by_hand.dot", "batchnorm_by_hand.svg"):
        try:
            print("drew", picture.save(folder / name))
        except RenderingError as error:
            print(f"{name} is left out: {error}")


def compare_with(what, found, expected):
    print(f"autodiff against {what}, largest difference")
    for name, a, b in zip(("dx", "dgamma", "dbeta"), found, expected, strict=True):
        print(f"  {name + ' difference:':<20} {np.max(np.abs(a - b)):.3e}")
    print()


if __name__ == "__main__":
    main()
