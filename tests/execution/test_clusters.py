"""Blocks of dask's and zarr's arrays; the bits are those of one process with NumPy alone."""

import os
import threading

import numpy as np
import pytest
from helpers import close, same_bits

from tinygraph import Graph, batchnorm, trace
from tinygraph.execution import Blocks
from tinygraph.execution.blocks import run

REASON = "dask and zarr are in the extra tinygraph[blocks]"
dask = pytest.importorskip("dask", reason=REASON)
da = pytest.importorskip("dask.array", reason=REASON)
zarr = pytest.importorskip("zarr", reason=REASON)
Callback = pytest.importorskip("dask.callbacks", reason=REASON).Callback

RNG = np.random.default_rng(7)
N, D, CHUNK = 1000, 6, 70
BLOCK = CHUNK * 4 * D * 4
"""Bytes of the blocks of x, dout, out and dx."""


@pytest.fixture
def batch(tmp_path):
    """Give a graph of BatchNorm in float32 and its inputs, which are also files."""
    x = (RNG.normal(size=(N, D)) * 2 + 3).astype(np.float32)
    dout = RNG.normal(size=(N, D)).astype(np.float32)
    gamma, beta = RNG.normal(size=(2, D)).astype(np.float32)
    for name, array in (("x", x), ("dout", dout)):
        np.save(tmp_path / f"{name}.npy", array)
        path = str(tmp_path / f"{name}.zarr")
        zarr.create_array(path, shape=(N, D), dtype=np.float32, chunks=(CHUNK, D))[:] = array
    graph = Graph.joint(trace(batchnorm.staged)(x[:2], gamma, beta, eps=1e-5))
    return graph, {"x": x, "dout": dout, "gamma": gamma, "beta": beta}


def given(kind, folder, name, arrays, chunk=CHUNK):
    if kind in ("npy", "zarr"):
        return folder / f"{name}.{kind}"
    if kind == "lazy":
        return da.from_array(arrays[name], chunks=(chunk, D))
    return da.from_zarr(str(folder / f"{name}.zarr"))


def computed(batch, folder, x, dout, out, memory=3.5 * BLOCK):
    """Run with inputs of these kinds; give all results, and the outputs as they are read back."""
    graph, arrays = batch
    inputs = arrays | {"x": x, "dout": dout}
    outputs = {name: folder / f"{name}.{out}" for name in ("dx", "out")}
    found = run(graph, inputs, outputs, memory=memory, force=True)
    read = np.load if out == "npy" else lambda path: zarr.open_array(str(path), mode="r")[:]
    return found | {name: read(path) for name, path in outputs.items()}


def test_whoever_sweeps_over_the_same_blocks_gives_the_same_bits(batch, tmp_path):
    _, arrays = batch
    kinds = [("zarr", "zarr", "zarr"), ("lazy", "zarr", "npy"), ("from zarr", "lazy", "zarr")]
    kinds += [("lazy", "lazy", "npy"), ("npy", "npy", "npy"), ("lazy", "npy", "zarr")]
    found = []
    for x, dout, out in kinds:
        inputs = [given(kind, tmp_path, n, arrays) for kind, n in ((x, "x"), (dout, "dout"))]
        memory = BLOCK if x == "npy" else 3.5 * BLOCK  # of one process, of three threads
        with dask.config.set(num_workers=3):
            found.append(computed(batch, tmp_path, *inputs, out, memory))
    exact = batchnorm.closed_form(
        *(arrays[name].astype(float) for name in ("x", "gamma", "dout")), eps=1e-5
    )
    for results, kind in zip(found, kinds, strict=True):
        assert results.keys() == {"out", "dx", "dgamma", "dbeta"}
        for name, value in zip(("dx", "dgamma", "dbeta"), exact, strict=True):
            close(results[name], value, 2e-6)
        for name, value in results.items():
            assert same_bits(value, found[0][name]), (kind, name)


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_the_schedulers_of_this_process_are_asked_once_a_sweep(batch, tmp_path, scheduler):
    _, arrays = batch
    computations, loaded = [], []

    def load(block, block_info=None):
        loaded.append(block_info[0]["chunk-location"] if block_info else None)
        return block

    lazy = da.from_array(arrays["x"], chunks=(CHUNK, D)).map_blocks(load, dtype=np.float32)
    loaded.clear()
    dout = given("lazy", tmp_path, "dout", arrays)
    counting = Callback(start=lambda graph: computations.append(len(graph)))
    with dask.config.set(scheduler=scheduler), counting:
        computed(batch, tmp_path, lazy, dout, "npy")
    assert len(computations) == 3
    blocks = -(-N // CHUNK)
    assert sorted(filter(None, loaded)) == sorted(3 * [(k, 0) for k in range(blocks)])


def test_threads_of_ours_do_not_outlive_a_failure(batch, tmp_path):
    _, arrays = batch
    calls = []

    def load(block):
        calls.append(threading.get_ident())
        if len(calls) > 20:
            raise OSError("the disk is gone")
        return block

    lazy = da.from_array(arrays["x"], chunks=(CHUNK, D)).map_blocks(load, dtype=np.float32)
    there = sorted(os.listdir(tmp_path))
    calls.clear()
    with pytest.raises(OSError, match="the disk is gone"):
        computed(batch, tmp_path, lazy, given("zarr", tmp_path, "dout", arrays), "zarr")
    assert sorted(os.listdir(tmp_path)) == there
    assert not {t.ident for t in threading.enumerate()} & set(calls)


def test_zarr_outputs_are_in_the_chunks_of_zarr_inputs_and_replaced_by_force(batch, tmp_path):
    graph, arrays = batch
    for _ in range(2):
        x, dout = (given("zarr", tmp_path, name, arrays) for name in ("x", "dout"))
        computed(batch, tmp_path, x, dout, "zarr")
    assert zarr.open_array(str(tmp_path / "dx.zarr")).chunks == (CHUNK, D)
    names = {"x.npy", "x.zarr", "dout.npy", "dout.zarr", "dx.zarr", "out.zarr"}
    assert set(os.listdir(tmp_path)) == names
    with pytest.raises(FileExistsError, match="exists already"):
        Blocks(graph, arrays, {"dx": tmp_path / "dx.zarr"})
    (tmp_path / "mine.zarr").mkdir()
    with pytest.raises(FileExistsError, match="no array"):
        Blocks(graph, arrays, {"dx": tmp_path / "mine.zarr"}, force=True)


def test_what_is_chunked_otherwise_is_refused_with_the_way(batch, tmp_path):
    graph, arrays = batch

    def refused(match, outputs=None, error=ValueError, **inputs):
        with pytest.raises(error, match=match):
            Blocks(graph, arrays | inputs, outputs, memory=3.5 * BLOCK)

    columns = da.from_array(arrays["x"], chunks=(CHUNK, 2))
    refused(r"x is chunked along axis 1, .*; take x.rechunk\({1: -1}\)", x=columns)
    unknown = columns[columns[:, 0] > 0]
    refused(r"all lengths must be known; compute_chunk_sizes\(\)", x=unknown)
    uneven = da.from_array(arrays["x"], chunks=((300, 500, 200), (D,)))
    refused(r"chunks of 300, 500, 200 rows; .* x.rechunk\({0: 500}\)", x=uneven)
    path = str(tmp_path / "large.zarr")
    zarr.create_array(path, shape=(N, D), dtype=np.float32, chunks=(N, 1))
    refused("1000 rows, which are stored together", x=path)
    zarr.open_group(str(tmp_path / "group.zarr"), mode="w").create_array(
        "x", shape=(3,), dtype="f4"
    )
    refused("is no zarr array", x=tmp_path / "group.zarr")


@pytest.mark.slow
def test_a_cluster_reads_three_times_spills_nothing_and_keeps_little(batch, tmp_path):
    """Two workers whose memory the batch would not fit into, were it kept."""
    distributed = pytest.importorskip("distributed", reason=REASON)
    rows, width = 2**17, 128
    x, dout = (str(tmp_path / f"{name}.zarr") for name in ("large_x", "large_dout"))
    for k, path in enumerate((x, dout)):
        array = zarr.create_array(path, shape=(rows, width), dtype="f4", chunks=(4096, width))
        for start in range(0, rows, 4096):
            rng = np.random.default_rng([k, start])
            array[start : start + 4096] = rng.normal(size=(4096, width))
    gamma, beta = RNG.normal(size=(2, width)).astype(np.float32)
    sample = RNG.normal(size=(2, width)).astype(np.float32)
    graph = Graph.joint(trace(batchnorm.staged)(sample, gamma, beta, eps=1e-5))
    cluster = distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        memory_limit="512MB",
        dashboard_address="localhost:0",
        local_directory=str(tmp_path / "spill"),
    )
    with cluster, distributed.Client(cluster) as client:
        inputs = {"x": da.from_zarr(x), "dout": da.from_zarr(dout), "gamma": gamma}
        before = client.run(_resident)
        found = run(graph, inputs, {"dx": tmp_path / "dx.npy"})
        after = client.run(_resident)
        spilled = client.run(_spilled)
    for worker, peak in after.items():
        assert peak - before[worker] < 64e6  # beside 67 MB of x and as many of dout
    assert max(spilled.values()) == 0
    whole = [zarr.open_array(path, mode="r")[:].astype(float) for path in (x, dout)]
    exact = batchnorm.closed_form(whole[0], gamma.astype(float), whole[1])
    close(np.load(tmp_path / "dx.npy", mmap_mode="r")[::97], exact[0][::97], 2e-6)
    close(found["dgamma"], exact[1], 2e-6)


def _resident():
    """Give the largest number of bytes that this process has had in memory."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _spilled(dask_worker):
    return dask_worker.data.spilled_total.disk
