"""Write torch_batchnorm.npz: PyTorch's BatchNorm and LayerNorm, forward and backward.

Run with PyTorch and NumPy installed: ``python tests/data/make_reference.py``. The file beside this
script was made with Python 3.11.7, PyTorch 2.13.0 (CPU) and NumPy 2.4.6. With the same versions the
file comes out the same, byte for byte.

The keys are ``case/array``. The cases:

    bn_16x5      x (16, 5), normalized over axis 0
    bn_4x3       x (4, 3), normalized over axis 0
    bn_4x3x5x2   images x (4, 3, 5, 2), normalized over axes (0, 2, 3)
    ln_6x7       x (6, 7), LayerNorm: normalized over axis -1

each with ``_f64`` or ``_f32`` at the end for the dtype of all its arrays. The arrays of a case:

    x, gamma, beta, dout         the input; gamma and beta have one value per feature
    axes, eps                    what is normalized over; the eps in sqrt(var + eps)
    out, dx, dgamma, dbeta       what PyTorch makes of it in training

and of the bn cases also:

    momentum                     PyTorch's: running = (1 - momentum) running + momentum batch
    running_mean, running_var    after one batch, from 0 and 1; PyTorch takes the unbiased variance
    eval_out                     the output of the same x in inference, with those two
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

EPS = 1e-5
MOMENTUM = 0.1
DTYPES = {"f64": np.float64, "f32": np.float32}
CASES = {
    "bn_16x5": ((16, 5), (0,)),
    "bn_4x3": ((4, 3), (0,)),
    "bn_4x3x5x2": ((4, 3, 5, 2), (0, 2, 3)),
    "ln_6x7": ((6, 7), (-1,)),
}


def inputs(rng: np.random.Generator, shape: tuple[int, ...], dtype: type) -> dict[str, np.ndarray]:
    """Return x, gamma, beta and dout; every feature of x has its own mean and scale."""
    features = shape[1]
    per_feature = (1, features) + (1,) * (len(shape) - 2)
    mean = rng.uniform(-5, 5, features).reshape(per_feature)
    scale = np.exp(rng.uniform(-2, 2, features)).reshape(per_feature)
    drawn = {
        "x": mean + scale * rng.normal(size=shape),
        "gamma": rng.uniform(0.5, 2, features) * rng.choice([-1, 1], features),
        "beta": rng.normal(size=features),
        "dout": rng.normal(size=shape),
    }
    return {name: array.astype(dtype) for name, array in drawn.items()}


def reference(given: dict[str, np.ndarray], kind: str) -> dict[str, np.ndarray]:
    """Return what PyTorch computes from these inputs."""
    x, gamma, beta = (
        torch.from_numpy(given[name]).clone().requires_grad_() for name in ("x", "gamma", "beta")
    )
    if kind == "ln":
        out = F.layer_norm(x, gamma.shape, gamma, beta, EPS)
        running = {}
    else:
        mean, var = torch.zeros_like(gamma), torch.ones_like(gamma)
        out = F.batch_norm(x, mean, var, gamma, beta, True, MOMENTUM, EPS)
        evaluated = F.batch_norm(x, mean, var, gamma, beta, False, MOMENTUM, EPS)
        running = {"running_mean": mean, "running_var": var, "eval_out": evaluated}
    dx, dgamma, dbeta = torch.autograd.grad(out, (x, gamma, beta), torch.from_numpy(given["dout"]))
    computed = {"out": out, "dx": dx, "dgamma": dgamma, "dbeta": dbeta, **running}
    return {name: tensor.detach().numpy() for name, tensor in computed.items()}


def main() -> None:
    torch.set_num_threads(1)
    arrays: dict[str, np.ndarray] = {}
    for seed, (case, (shape, axes)) in enumerate(CASES.items()):
        for suffix, dtype in DTYPES.items():
            given = inputs(np.random.default_rng(seed), shape, dtype)
            kind = case.split("_")[0]
            found = given | reference(given, kind) | {"axes": np.array(axes), "eps": np.array(EPS)}
            if kind == "bn":
                found["momentum"] = np.array(MOMENTUM)
            arrays |= {f"{case}_{suffix}/{name}": array for name, array in found.items()}
    path = Path(__file__).with_name("torch_batchnorm.npz")
    np.savez_compressed(path, **arrays)
    print(f"{path.name}: {len(arrays)} arrays, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
