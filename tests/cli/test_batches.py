"""``tinygraph batchnorm --out``: batches larger than memory, as a user meets them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers import close

import tinygraph
from tinygraph.batchnorm import closed_form, staged
from tinygraph.cli.commands import main

RNG = np.random.default_rng(3)
X, DOUT = RNG.normal(size=(2, 300, 4)).astype(np.float32)
GAMMA, BETA = RNG.normal(size=(2, 4))


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run the command in a folder with files of a batch; code and messages."""
    monkeypatch.chdir(tmp_path)
    arrays = {"x": X, "d": DOUT, "gamma": GAMMA, "beta": BETA}
    for name, array in arrays.items():
        np.save(f"{name}.npy", array)
    there = set(os.listdir())

    def run(*arguments):
        code = main(["batchnorm", *map(str, arguments)])
        captured = capsys.readouterr()
        assert captured.out == ""
        return code, captured.err, sorted(set(os.listdir()) - there)

    return run


def test_a_batch_is_normalized_and_what_it_takes_is_said_before(run):
    code, said, made = run(
        "x.npy", "--gamma", "gamma.npy", "--beta", "beta.npy", "--out", "out.npy"
    )
    assert (code, made) == (0, ["out.npy"])
    assert said.splitlines() == [
        "x | x | x → out: 3 reads 1 write, 3 sweeps, 19.2 kB at 300 × 4 float32",
        "1 block of up to 300 rows, one at a time: 0.0096 MB of memory",
        "wrote out.npy",
    ]
    out = np.load("out.npy")
    assert out.dtype == np.float32
    close(out, staged(X, GAMMA.astype(np.float32), BETA.astype(np.float32)).data, 2e-6)


def test_a_gradient_is_carried_back_and_the_small_ones_stand_beside(run):
    code, said, made = run(
        "x.npy", "--dout", "d.npy", "--gamma", "gamma.npy", "--out", "dx.npy", "--memory", "2kB",
        "--dtype", "float64", "--eps", "1/1000",
    )  # fmt: skip
    assert (code, made) == (0, ["dx.dbeta.npy", "dx.dgamma.npy", "dx.npy"])
    assert "x | x,dout | x,dout → dx: 5 reads 1 write, 3 sweeps" in said
    assert "blocks of up to" in said
    assert said.endswith("wrote dx.npy\nwrote dx.dgamma.npy\nwrote dx.dbeta.npy\n")
    exact = closed_form(X.astype(float), GAMMA, DOUT.astype(float), eps=1e-3)
    for name, value in zip(("dx", "dx.dgamma", "dx.dbeta"), exact, strict=True):
        close(np.load(f"{name}.npy"), value, 1e-13)


@pytest.mark.parametrize(("shape", "axis"), [((9, 3, 4, 4), "0,2,3"), ((9, 5), "-1")])
def test_axes_and_default_parameters(run, shape, axis):
    x = RNG.normal(size=shape)
    np.save("x.npy", x)
    assert run("x.npy", "--out", "out.npy", f"--axis={axis}")[0] == 0
    width = shape[-1] if axis == "-1" else shape[1]
    over = -1 if axis == "-1" else (0, 2, 3)
    close(np.load("out.npy"), staged(x, np.ones(width), np.zeros(width), axis=over).data, 1e-13)


def test_what_is_there_stays_unless_it_is_forced(run):
    assert run("x.npy", "--out", "out.npy")[0] == 0
    first = np.load("out.npy")
    code, said, _ = run("x.npy", "--out", "out.npy", "--gamma", "gamma.npy")
    assert (code, said) == (
        2, "tinygraph: out.npy: exists already; name another place, or give --force\n"
    )  # fmt: skip
    assert np.array_equal(np.load("out.npy"), first)
    assert run("x.npy", "--out", "out.npy", "--gamma", "gamma.npy", "--force")[0] == 0
    assert not np.array_equal(np.load("out.npy"), first)


def test_nan_is_told_by_the_small_gradients(run):
    x = X.copy()
    x[3, 1] = np.nan
    np.save("x.npy", x)
    with np.errstate(all="ignore"):
        code, said, _ = run("x.npy", "--dout", "d.npy", "--out", "dx.npy")
    assert code == 0
    assert "dgamma has values that are not finite (1 nan), the first at [1]" in said


MISTAKES = {
    "shape": ("x.npy --dout short.npy --out y.npy", "short.npy: .* shape (10, 4), but x.npy"),
    "ints": ("ints.npy --out y.npy", "holds int64, .* --dtype float32"),
    "gamma": ("x.npy --gamma short.npy --out y.npy", "gamma has shape (10, 4), but .* be (4,)"),
    "suffix": ("x.npy --out y.csv", "y.csv: arrays are written as .npy or .zarr"),
    "csv": ("x.csv --out y.npy", "x.csv: .npy files and .zarr folders are read block by block"),
    "missing": ("no.npy --out y.npy", "no.npy: No such file"),
    "folder": ("x.npy --out no/y.npy", "no/y.npy: there is no such folder"),
    "vector": ("gamma.npy --out y.npy", "has shape (4,), but a batch has at least (N, D)"),
    "one row": ("one.npy --out y.npy", "a batch needs at least two"),
    "empty": ("empty.npy --out y.npy", "has shape (0, 4), and no values in it"),
    "axis": ("x.npy --out y.npy --axis 5", "axis 5 does not exist"),
    "memory": ("x.npy --out y.npy --memory 9", "are needed for one row"),
    "no size": ("x.npy --out y.npy --memory much", "'much' is no size"),
    "no file": ("--out y.npy", "name a .npy or .zarr"),
    "beta": ("x.npy --dout d.npy --beta beta.npy --out y.npy", "--beta has no influence"),
    "pictures": ("x.npy --out y.npy -o pictures", "-o is not for --out"),
    "json": ("x.npy --out y.npy --json", "--json is not for --out"),
    "seed": ("x.npy --out y.npy --seed 3", "--seed is not for --out"),
    "nonfinite": ("x.npy --out y.npy --allow-nonfinite", "--allow-nonfinite is not for --out"),
    "gamma alone": ("x.npy --gamma gamma.npy", "--gamma goes with --out"),
    "zarr alone": ("x.zarr", "x.zarr: a .zarr is read block by block; say where to, with --out"),
    "memory alone": ("--memory 1GB", "--memory goes with --out"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_explained_in_one_line(run, name):
    arguments, expected = MISTAKES[name]
    np.save("short.npy", DOUT[:10])
    np.save("ints.npy", np.arange(12).reshape(3, 4))
    np.save("one.npy", X[:1])
    np.save("empty.npy", X[:0])
    np.savetxt("x.csv", X, delimiter=",")
    code, said, made = run(*arguments.split())
    assert code == 2
    assert said.count("\n") == 1
    for part in expected.split(".*"):
        assert part.strip() in said
    assert "y.npy" not in made


def test_what_the_extra_brings_is_named_where_it_is_missing(run, monkeypatch):
    for package in ("zarr", "distributed"):
        monkeypatch.setitem(sys.modules, package, None)
    code, said, _ = run("x.npy", "--out", "out.zarr")
    assert code == 2
    assert said == 'tinygraph: out.zarr needs the package zarr; pip install "tinygraph[blocks]"\n'
    code, said, _ = run("x.npy", "--out", "out.npy", "--cluster", "tcp://127.0.0.1:1")
    assert code == 2
    assert 'needs the package distributed; pip install "tinygraph[blocks]"' in said


def test_help_has_examples(capsys):
    assert main(["batchnorm", "--help"]) == 0
    text = capsys.readouterr().out
    assert "tinygraph batchnorm x.zarr --dout d.zarr --out dx.zarr --memory 200MB" in text


def test_zarr_in_and_out(run):
    reason = "dask and zarr are in the extra tinygraph[blocks]"
    zarr = pytest.importorskip("zarr", reason=reason)
    pytest.importorskip("dask", reason=reason)
    for name, array in (("x", X), ("d", DOUT)):
        zarr.create_array(f"{name}.zarr", shape=X.shape, dtype="f4", chunks=(50, 4))[:] = array
    code, said, made = run("x.zarr", "--dout", "d.zarr", "--out", "dx.zarr", "--gamma", "gamma.npy")
    assert code == 0
    assert {"dx.zarr", "dx.dgamma.npy", "dx.dbeta.npy"} <= set(made)
    assert "5 reads 1 write, 3 sweeps" in said
    exact = closed_form(X.astype(float), GAMMA, DOUT.astype(float))
    close(zarr.open_array("dx.zarr", mode="r")[:], exact[0], 2e-6)
    code, said, _ = run("x.zarr", "--out", "dx.zarr")
    assert code == 2
    assert "dx.zarr: exists already" in said


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="an interrupt is no signal there")
def test_an_interrupted_command_leaves_nothing(tmp_path):
    for name in ("x", "d"):
        np.save(tmp_path / f"{name}.npy", np.tile(RNG.normal(size=(1000, 4)), (200, 1)))
    command = "batchnorm x.npy --dout d.npy --out dx.npy --memory 2kB"
    process = subprocess.Popen(
        [sys.executable, "-m", "tinygraph", *command.split()],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(tinygraph.__file__).parents[1])},
        stderr=subprocess.PIPE,
        restore_signals=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while not list(tmp_path.glob(".dx.npy.*")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.decode().endswith("tinygraph: interrupted\n")
    assert sorted(os.listdir(tmp_path)) == ["d.npy", "x.npy"]


@pytest.mark.slow
def test_a_cluster_is_found_by_its_address(run, tmp_path):
    distributed = pytest.importorskip(
        "distributed", reason="distributed is in the extra tinygraph[blocks]"
    )
    cluster = distributed.LocalCluster(
        n_workers=1,
        threads_per_worker=2,
        dashboard_address="localhost:0",
        local_directory=str(tmp_path),
    )
    with cluster:
        given = ("--dout", "d.npy", "--memory", "8kB", "--cluster", cluster.scheduler_address)
        code, said, made = run("x.npy", *given, "--out", "dx.npy")
    assert code == 0
    assert "2 at a time in one process" in said
    assert {"dx.npy", "dx.dgamma.npy", "dx.dbeta.npy"} <= set(made)
    exact = closed_form(X.astype(float), np.ones(4), DOUT.astype(float))
    close(np.load("dx.npy"), exact[0], 2e-6)
