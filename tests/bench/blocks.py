"""A batch larger than memory: what two workers hold, spill and read, and whether it is right.

``python tests/bench/blocks.py --gigabytes 4`` makes x and dout of that size in zarr, carries dout
back through staged BatchNorm on two workers of 1 GB each, and prints a row of a table; with
``--lazy`` another one, of the same snapshot run on dask's arrays as one lazy graph. It needs the
extra tinygraph[blocks], Linux, and three times the size on disk.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from tinygraph import Graph, batchnorm, trace
from tinygraph.execution.blocks import Blocks

WIDTH, CHUNK = 1000, 4000


def make(path, rows, seed, mean):
    """Write an array in chunks of 16 MB, no two of them alike."""
    import zarr

    shape = (rows, WIDTH)
    array = zarr.create_array(
        path, shape=shape, dtype="f4", chunks=(CHUNK, WIDTH), compressors=None
    )
    base = np.random.default_rng(seed).standard_normal((CHUNK, WIDTH), np.float32)
    for start in range(0, rows, CHUNK):
        rng = np.random.default_rng([seed, start])
        chunk = np.roll(base, rng.integers(WIDTH), axis=1) * np.float32(1 + rng.random())
        array[start : start + CHUNK] = chunk + np.float32(mean)


def peak():
    """Give the most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def read_so_far():
    """Give how many bytes this process has read, of files and all else."""
    with open("/proc/self/io", encoding="ascii") as file:
        return int(file.readline().split()[1])


def spilled(dask_worker):
    """Give how many bytes a worker has written to disk to have room."""
    return dask_worker.data.cumulative_metrics["disk-write", "bytes"]


def row(name, folder, run, size):
    """Do some work on a new cluster, and print what it took."""
    from distributed import Client, LocalCluster

    options = {"n_workers": 2, "threads_per_worker": 1, "memory_limit": "1GB"}
    place = {"dashboard_address": "localhost:0", "local_directory": str(folder / "spill")}
    with LocalCluster(**options, **place) as cluster, Client(cluster) as client:
        before, start = sum(client.run(read_so_far).values()), time.perf_counter()
        run()
        took = time.perf_counter() - start
        read = sum(client.run(read_so_far).values()) - before
        most, out = max(client.run(peak).values()), sum(client.run(spilled).values())
    print(
        f"| {name} | {most / 1e6:.0f} MB | {out / 1e6:.0f} MB | {read / size:.2f} × x | "
        f"{took:.0f} s | {error(folder):.1e} |",
        flush=True,
    )


def error(folder):
    """Hold every fiftieth chunk of dx against float64, added up in one process."""
    import zarr

    x, dout, dx = (
        zarr.open_array(folder / f"{name}.zarr", mode="r") for name in ("x", "dout", "dx")
    )
    n, gamma = x.shape[0], parameters()[0].astype(float)
    chunks = [slice(k, k + CHUNK) for k in range(0, n, CHUNK)]
    mu = sum(x[rows].sum(axis=0, dtype=float) for rows in chunks) / n
    squares, total, products = np.zeros((3, WIDTH))
    for rows in chunks:
        xmu, g = x[rows] - mu, dout[rows].astype(float)
        squares += np.einsum("nd,nd->d", xmu, xmu)
        products += np.einsum("nd,nd->d", xmu, g)
        total += g.sum(axis=0)
    ivar = 1 / np.sqrt(squares / n + 1e-5)
    worst = 0.0
    for rows in chunks[::50]:
        xhat, g = (x[rows] - mu) * ivar, dout[rows].astype(float)
        exact = gamma * ivar * (g - total / n - xhat * products * ivar / n)
        scale = np.abs(gamma * ivar) * np.abs(g).max(axis=0)
        worst = max(worst, float((np.abs(dx[rows] - exact) / scale).max()))
    return worst


def parameters():
    return np.random.default_rng(9).normal(size=(2, WIDTH)).astype(np.float32)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=0.5)
    parser.add_argument("--lazy", action="store_true", help="also as one lazy graph of dask's")
    options = parser.parse_args()
    rows = max(1, round(options.gigabytes * 1e9 / 4 / WIDTH / CHUNK)) * CHUNK
    gamma, beta = parameters()
    sample = np.random.default_rng(8).normal(size=(2, WIDTH)).astype(np.float32)
    graph = Graph.joint(trace(batchnorm.staged)(sample, gamma, beta, eps=1e-5))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for seed, array in enumerate(("x", "dout")):
            make(folder / f"{array}.zarr", rows, seed, 3 - 3 * seed)
        inputs = {"x": folder / "x.zarr", "dout": folder / "dout.zarr", "gamma": gamma}

        def by_blocks():
            blocks = Blocks(graph, inputs, {"dx": folder / "dx.zarr"}, force=True)
            print(f"{blocks}\n\n| | peak of a worker | spilled | read | time | error of dx |")
            print("| --- | ---: | ---: | ---: | ---: | ---: |")
            blocks.run()

        def lazily():
            import dask.array as da

            x, dout = (da.from_zarr(inputs[name]) for name in ("x", "dout"))
            found = graph.run(x=x, dout=dout, gamma=gamma, beta=beta)
            da.to_zarr(found["dx"], str(folder / "dx.zarr"), overwrite=True)

        row("block by block", folder, by_blocks, 4 * rows * WIDTH)
        if options.lazy:
            row("one lazy graph", folder, lazily, 4 * rows * WIDTH)


if __name__ == "__main__":
    main()
