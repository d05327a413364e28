"""BatchNorm forward and backward without the engine: what runs, how fast, how exactly.

    python tests/bench/executors.py            # sizes × executors × peers, as Markdown
    python tests/bench/executors.py --quick

*The limit* is the time that it takes to read three arrays of the batch's size and to write two into
memory that is there: ``np.copyto(a, x); np.add(dout, x, out=b)``. Everything else gives new arrays.
All take turns, one thread, the processor's time; each result is compared with that by hand first.
"""

import argparse
import os
from importlib.util import find_spec

if __name__ == "__main__":  # NumPy counts its threads when it is loaded
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")

import by_hand
import numpy as np
import work

import tinygraph
from tinygraph import batchnorm

__all__ = ["EXECUTORS", "LIMIT", "errors", "executor_table", "prepared"]

LIMIT = "the limit"
SIZES = (
    *((4, 3, "float64"), (64, 100, "float64")),
    *(
        (n, d, t)
        for n, d in ((256, 1024), (4096, 1024), (65536, 64))
        for t in ("float32", "float64")
    ),
)
MODES = ("replay", "strict", "fast")


def _limit(x, gamma, beta, dout):
    a, b = np.empty_like(x), np.empty_like(x)

    def run():
        np.copyto(a, x)
        np.add(dout, x, out=b)

    return run


def _compiled(mode):
    def prepare(x, gamma, beta, dout):
        f = tinygraph.compile(batchnorm.staged, mode=mode)

        def run():
            return list(f.vjp(x, gamma, beta, dout=dout)[1].values())

        run()
        return run if f.executor == mode else None

    return prepare


def _worked(which, engine):
    """Prepare what `work` knows: 0 is staged, 2 is one node."""

    def prepare(x, gamma, beta, dout):
        piece = work.batchnorms(*x.shape, str(x.dtype))[which]
        return piece._replace(leaves=(x, gamma, beta), dout=dout).prepare(engine)

    return prepare


def _jax(x, gamma, beta, dout):
    import jax

    jax.config.update("jax_enable_x64", True)
    import jax.numpy as jnp

    def both(x, gamma, beta, dout):
        out, pull = jax.vjp(lambda *xs: work.staged(jnp, *xs), x, gamma, beta)
        return out, pull(dout)

    run, given = jax.jit(both), [jnp.asarray(a) for a in (x, gamma, beta, dout)]
    return lambda: jax.block_until_ready(run(*given))[1]


def _pytensor(mode):
    def prepare(x, gamma, beta, dout):
        import pytensor
        from pytensor import tensor as pt

        kind = str(x.dtype)
        vectors = [pt.vector(name, dtype=kind) for name in ("gamma", "beta")]
        leaves = [pt.matrix("x", dtype=kind), *vectors]
        upstream = pt.matrix("dout", dtype=kind)
        per_n = np.asarray(1 / len(x), kind)
        xmu = leaves[0] - per_n * leaves[0].sum(0)
        ivar = 1 / pt.sqrt(per_n * (xmu**2).sum(0) + np.asarray(by_hand.EPS, kind))
        out = leaves[1] * (xmu * ivar) + leaves[2]
        grads = pytensor.grad(None, leaves, known_grads={out: upstream})
        f = pytensor.function([*leaves, upstream], [out, *grads], mode=mode)
        f.trust_input = True
        return lambda: f(x, gamma, beta, dout)[1:]

    return prepare


EXECUTORS = {
    LIMIT: _limit,
    "by hand, staged": lambda x, gamma, beta, dout: lambda: by_hand.staged(dout, x, gamma, beta),
    "closed form": lambda *given: lambda: by_hand.forward_and_closed_form(given[3], *given[:3]),
    "eager": _worked(0, "tinygraph"),
    "one node": _worked(2, "tinygraph"),
    **{mode: _compiled(mode) for mode in MODES},
    **({"F.batch_norm": _worked(2, "PyTorch")} if find_spec("torch") else {}),
    **({"jax.jit": _jax} if find_spec("jax") else {}),
    **({"PyTensor, C": _pytensor("CVM")} if find_spec("pytensor") else {}),
    **({"PyTensor, numba": _pytensor("NUMBA")} if find_spec("pytensor") else {}),
}


def given(rows, columns, dtype, seed=0):
    """Make a batch: x, gamma, beta and dout."""
    rng = np.random.default_rng(seed)
    x, dout = rng.normal(5, 3, size=(2, rows, columns)).astype(dtype)
    gamma, beta = rng.normal(size=(2, columns)).astype(dtype)
    return x, gamma, beta, dout


def prepared(rows, columns, dtype):
    """Give the calls by name, each checked; without those that are not here."""
    x, gamma, beta, dout = given(rows, columns, dtype)
    expected = by_hand.staged(*(a.astype(float) for a in (dout, x, gamma, beta)))
    calls = {}
    for name, prepare in EXECUTORS.items():
        call = prepare(x, gamma, beta, dout)
        if call is None:
            continue
        for g, wanted in zip(call() or (), expected, strict=name != LIMIT):
            error = np.max(np.abs(np.asarray(g) - wanted)) / np.max(np.abs(wanted))
            if not error <= np.sqrt(np.finfo(dtype).eps) * max(1, rows / 4096):
                raise ValueError(f"{name}, {rows}×{columns} {dtype}: off by {error:.1e}")
        calls[name] = call
    return calls


def errors(rows=65536, columns=64, seeds=5):
    """Give the largest error in float32 by the executor: the median over the seeds, per result."""
    found = {mode: [] for mode in ("replay", "fast")}
    for seed in range(seeds):
        x, gamma, beta, dout = given(rows, columns, "float32", seed)
        f = tinygraph.compile(batchnorm.staged)
        out, exact = f.vjp(*(a.astype(float) for a in (x, gamma, beta)), dout=dout.astype(float))
        for mode, rest in found.items():
            got, grads = tinygraph.compile(batchnorm.staged, mode=mode).vjp(
                x, gamma, beta, dout=dout
            )
            pairs = [(got, out), *((grads[name], exact[name]) for name in exact)]
            rest.append([np.max(np.abs(a - b)) / np.max(np.abs(b)) for a, b in pairs])
    return {mode: np.median(rest, axis=0) for mode, rest in found.items()}


def executor_table(quick):
    """Give the times, and how often the limit goes into them."""
    import table

    rows = []
    for size in table.progress(SIZES[:4] if quick else SIZES, "executors"):
        took = table.medians(prepared(*size), 2 if quick else 10)
        cells = [
            f"{table.in_seconds(took[name])} (**{took[name] / took[LIMIT]:.3g}**)"
            if name in took
            else "–"
            for name in EXECUTORS
        ]
        rows.append(["{}×{} {}".format(*size), *cells])
    return table.table(["forward and backward", *EXECUTORS], rows)


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds, four sizes")
    print(executor_table(parser.parse_args().quick))
    for mode, found in errors().items():
        texts = ", ".join(f"{e:.1e}" for e in found)
        print(f"\nfloat32 at 65536×64, {mode}: errors of out, dx, dgamma, dbeta: {texts}")


if __name__ == "__main__":
    main()
