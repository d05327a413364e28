"""Batches larger than memory: blocks give what the whole gives, and leave nothing behind."""

import io
import os
import sys
import tracemalloc
from math import prod

import functions
import numpy as np
import passes
import pytest
from helpers import close, examples, same_bits
from hypothesis import given, settings
from hypothesis import strategies as st
from plans import SHAPES, drawn, leaves

from tinygraph import Graph, Tensor, batchnorm, trace
from tinygraph.batchnorm import closed_form
from tinygraph.execution import Blocks, Program, Unsupported
from tinygraph.execution.blocks import run
from tinygraph.execution.clusters import Progress
from tinygraph.execution.elsewhere import elsewhere
from tinygraph.execution.panels import Tree, joined

RNG = np.random.default_rng(11)


def graph_of(f, arrays, rows=2, **options):
    """Capture a function on the first few rows of a batch."""
    x, *rest = arrays
    with np.errstate(all="ignore"):
        return Graph.joint(trace(f)(x[:rows], *rest, **options))


def staged_case(shape, dtype="float64", axis=0, width=None):
    """Give a graph of BatchNorm and its inputs, with a mean that is not 0."""
    x = (RNG.normal(size=shape) * 2 + 3).astype(dtype)
    gamma, beta = (RNG.normal(size=width or shape[-1]).astype(dtype) for _ in range(2))
    graph = graph_of(batchnorm.staged, [x, gamma, beta], eps=1e-5, axis=axis)
    return graph, {"x": x, "gamma": gamma, "beta": beta, "dout": RNG.normal(size=shape)}


def written(tmp_path, *names):
    return {name: tmp_path / f"{name}.npy" for name in names}


def whole(small, outputs):
    return small | {name: np.load(path) for name, path in outputs.items()}


class Counting:
    """An array that counts how often each row is read."""

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype
        self.reads = np.zeros(len(array), int)

    def __getitem__(self, key):
        self.reads[key] += 1
        return self.array[key]


# --------------------------------------------------------------------------- values


@pytest.mark.parametrize("memory", [1e3, 2.1e3, 1e9])
@pytest.mark.parametrize(
    ("shape", "axis", "width"),
    [((50, 3), 0, 3), ((17, 2, 3, 2), (0, 2, 3), 2), ((30, 5), -1, 5), ((9, 4, 3), (0, 1), 3)],
)
def test_blocks_give_what_the_whole_batch_gives(tmp_path, shape, axis, width, memory):
    graph, inputs = staged_case(shape, axis=axis, width=width)
    outputs = written(tmp_path, "out", "dx")
    found = whole(run(graph, inputs, outputs, memory=memory), outputs)
    expected = graph.run(**inputs)
    assert set(found) == {"out", "dx", "dgamma", "dbeta"}
    for name, value in found.items():
        close(value, expected[name], 1e-13)
        assert value.dtype == expected[name].dtype


def softmax(z):
    e = np.exp(z - np.max(z, axis=1, keepdims=True))
    return e / np.sum(e, axis=1, keepdims=True)


def shares(x):
    centred = x - np.max(x, axis=0)
    return np.exp(centred) / np.sum(np.exp(centred), axis=0) + np.mean(x)


def marked(x):
    both = np.all(x > -2.5, axis=0) + 2.0 * np.any(x > 2, axis=0)
    return np.where(x > 0, x * both, np.sum(x[:, None, :], axis=(0, 1)))


FUNCTIONS = {
    "numpy": (lambda x, g, b: passes.batchnorm_forward(x, g, b, 1e-5)[0], [(60, 4), 4, 4]),
    "layernorm": (lambda x, g, b: functions.layernorm(x, g, b, 1e-5), [(60, 4), 4, 4]),
    "softmax": (softmax, [(33, 6)]),
    "shares of a column": (shares, [(41, 3)]),
    "masks": (marked, [(40, 3)]),
    "elementwise": (lambda x, y: np.tanh(x) * y + x, [(25, 3), 3]),
    "one number": (lambda x: np.sum(np.square(x - np.mean(x))), [(31, 3)]),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_other_functions_run_in_blocks(tmp_path, name):
    f, shapes = FUNCTIONS[name]
    arrays = [RNG.normal(size=shape) for shape in shapes]
    graph = graph_of(f, arrays, rows=3)
    inputs = dict(zip([n.name for n in graph.inputs], arrays, strict=False))
    (out,) = graph.outputs
    scalar = out.shape == ()
    inputs["dout"] = RNG.normal(size=() if scalar else arrays[0].shape)
    inputs = {n.name: inputs[n.name] for n in graph.inputs}
    outputs = written(tmp_path, *["out", "dx", "dz"][scalar : 2 + (name == "softmax")])
    outputs = {n: p for n, p in outputs.items() if n in ("out", f"d{graph.inputs[0].name}")}
    found = whole(run(graph, inputs, outputs, memory=1500), outputs)
    expected = graph.run(**inputs)
    assert found
    for key, value in found.items():
        close(value, expected[key], 1e-13)


@settings(max_examples=examples(100), deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.sampled_from([shape for shape in SHAPES if shape != (64, 64)]),
    rows=st.integers(1, 40),
)
def test_random_graphs_run_in_blocks(tmp_path_factory, seed, shape, rows):
    f, rng = drawn(seed, shape), np.random.default_rng(seed)
    arrays = dict(zip("xvryc", leaves(shape, rng), strict=True))
    with np.errstate(all="ignore"):
        graph = Graph.joint(trace(lambda x, v, r, y, c: f(x, v, r, y, c)[0])(*arrays.values()))
    inputs = {n.name: arrays.get(n.name, rng.normal(size=n.shape)) for n in graph.inputs}
    outputs = written(tmp_path_factory.mktemp("blocks"), graph.outputs[0].name, "dx", "dr", "dy")
    with np.errstate(all="ignore"):
        expected = graph.run(**inputs)
        outputs = {name: path for name, path in outputs.items() if name in expected}
        memory = rows * 8 * 12 * prod(shape[1:])
        found = whole(run(graph, inputs, outputs, memory=memory), outputs)
    for name, value in found.items():
        close(value, expected[name], 1e-11)


def test_float32_is_added_up_in_float64(tmp_path):
    """NumPy adds a column row by row in float32, and is off in the fourth digit."""
    graph, inputs = staged_case((200_000, 2), "float32")
    x, dout = inputs["x"], inputs["dout"]
    outputs = written(tmp_path, "dx")
    found = whole(run(graph, inputs, outputs, memory=1e6), outputs)
    exact = closed_form(x.astype(float), inputs["gamma"], dout.astype(np.float32).astype(float))
    by_numpy = graph.run(**inputs)
    for name, value in zip(["dx", "dgamma", "dbeta"], exact, strict=True):
        scale = np.max(np.abs(value))
        error = np.max(np.abs(found[name] - value)) / scale
        assert error <= 2e-6
        assert error <= np.max(np.abs(by_numpy[name] - value)) / scale
        assert found[name].dtype == np.float32


# --------------------------------------------------------------------------- the promise


def test_x_is_read_three_times_and_dout_twice(tmp_path):
    graph, inputs = staged_case((101, 3))
    x, dout = Counting(inputs["x"]), Counting(inputs["dout"])
    outputs = written(tmp_path, "out", "dx")
    blocks = Blocks(graph, inputs | {"x": x, "dout": dout}, outputs, memory=1e3)
    assert len(blocks.schedules[0].bounds) > 5
    assert x.reads.sum() == dout.reads.sum() == 0
    blocks.run()
    assert set(x.reads.tolist()) == {3}
    assert set(dout.reads.tolist()) == {2}
    assert "x | x,dout | x,dout → out,dx: 5 reads 2 writes, 3 sweeps" in str(blocks)


@pytest.mark.parametrize("mapped", [False, True])
def test_memory_is_that_of_a_few_blocks(tmp_path, mapped):
    graph, inputs = staged_case((250_000, 8), "float32")
    for name in ("x", "dout"):
        np.save(tmp_path / name, inputs[name].astype(np.float32))
        inputs[name] = tmp_path / f"{name}.npy"
        if mapped:
            inputs[name] = np.load(inputs[name], mmap_mode="r")
    size = os.path.getsize(tmp_path / "x.npy")
    blocks = Blocks(graph, inputs, written(tmp_path, "out", "dx"), memory=size / 20)
    tracemalloc.start()
    try:
        blocks.run()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # those of the blocks, and about twenty panels of half a megabyte
    assert peak <= size / 20 + 12e6
    assert peak < size


@pytest.mark.parametrize("n", range(1, 18))
def test_sums_one_after_the_other_are_the_tree_of_many_workers(n):
    parts = [(x,) for x in RNG.normal(size=n) * 10.0 ** RNG.integers(-9, 9, size=n)]
    tree = Tree(["sum"])
    for part in parts:
        tree.add(part)
    level = parts
    while len(level) > 1:
        level = [joined(["sum"], *level[k : k + 2]) for k in range(0, len(level), 2)]
    assert same_bits(tree.total()[0], level[0][0])


def test_a_tree_rounds_less_than_a_chain():
    values = np.full(2**16, 0.1, np.float32)
    tree, chain = Tree(["sum"]), np.float32(0)
    for value in values:
        tree.add((value,))
        chain = chain + value
    error, worse = abs(tree.total()[0] - 6553.6), abs(chain - 6553.6)
    assert error < worse / 100


@pytest.mark.parametrize("name", ["numpy", "layernorm", "softmax", "shares of a column"])
@pytest.mark.parametrize("rows", [3, 8])
def test_a_program_elsewhere_is_the_one_that_is_captured_there(name, rows):
    f, shapes = FUNCTIONS[name]
    arrays = [RNG.normal(size=shape) for shape in shapes]
    here, there = graph_of(f, arrays, 5), graph_of(f, arrays, rows)
    shapes = {node.name: node.shape for node in there.inputs}
    found, expected = elsewhere(here, Program.of(here), shapes), Program.of(there)
    assert len(found.nodes) == len(expected.nodes)
    for a, b in zip(found.nodes, expected.nodes, strict=True):
        assert (a.op, a.shape, a.dtype, dict(a.params)) == (b.op, b.shape, b.dtype, dict(b.params))
        assert [x.index for x in a.inputs] == [x.index for x in b.inputs]
        if a.role == "constant":
            assert float(a.value) == float(b.value)


# --------------------------------------------------------------------------- files


class Failing(Counting):
    """An array that cannot be read any more when it has been read twice."""

    error = OSError("the disk is gone")

    def __getitem__(self, key):
        found = super().__getitem__(key)
        if self.reads.sum() > 2 * len(self.reads):
            raise self.error
        return found


@pytest.mark.parametrize("error", [OSError("the disk is gone"), KeyboardInterrupt()])
def test_nothing_is_left_of_what_fails_and_the_old_is_as_it_was(tmp_path, error):
    graph, inputs = staged_case((100, 3))
    inputs["x"] = Failing(inputs["x"])
    inputs["x"].error = error
    outputs = written(tmp_path, "out", "dx")
    np.save(outputs["out"], np.arange(3))
    with pytest.raises(type(error)):
        run(graph, inputs, outputs, memory=1e3, force=True)
    assert os.listdir(tmp_path) == ["out.npy"]
    assert np.load(outputs["out"]).tolist() == [0, 1, 2]


def test_what_is_there_is_replaced_by_force_alone(tmp_path):
    graph, inputs = staged_case((20, 3))
    outputs = written(tmp_path, "dx", "dgamma")
    run(graph, inputs, outputs)
    first = np.load(outputs["dx"])
    with pytest.raises(FileExistsError, match="exists already"):
        run(graph, inputs, outputs)
    run(graph, inputs | {"dout": 2 * inputs["dout"]}, outputs, force=True)
    close(np.load(outputs["dx"]), 2 * first, 1e-14)
    assert sorted(os.listdir(tmp_path)) == ["dgamma.npy", "dx.npy"]


def test_a_file_may_take_its_own_place_and_a_link_stays_one(tmp_path):
    graph, inputs = staged_case((20, 3))
    np.save(tmp_path / "x.npy", inputs["x"])
    (tmp_path / "link.npy").symlink_to(tmp_path / "x.npy")
    expected = graph.run(**inputs)["out"]
    run(graph, inputs | {"x": tmp_path / "x.npy"}, {"out": tmp_path / "link.npy"}, force=True)
    assert (tmp_path / "link.npy").is_symlink()
    close(np.load(tmp_path / "x.npy"), expected, 1e-14)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("stored", ["float32", ">f8", "int16"])
def test_any_npy_of_numbers_is_read(tmp_path, order, stored):
    graph, inputs = staged_case((50, 3))
    x = np.array(inputs["x"] * 9, stored, order=order)
    np.save(tmp_path / "x.npy", x)
    outputs = written(tmp_path, "dx")
    given = inputs | {"x": tmp_path / "x.npy"}
    found = whole(run(graph, given, outputs, memory=1e3), outputs)
    close(found["dx"], graph.run(**inputs | {"x": x})["dx"], 1e-13)


def test_what_appears_meanwhile_stays(tmp_path):
    graph, inputs = staged_case((20, 3))
    blocks = Blocks(graph, inputs, written(tmp_path, "dx"))
    (tmp_path / "dx.npy").write_text("mine")
    with pytest.raises(FileExistsError, match="exists already"):
        blocks.run()
    assert os.listdir(tmp_path) == ["dx.npy"]
    assert (tmp_path / "dx.npy").read_text() == "mine"


def test_what_cannot_be_written_is_called_by_its_name(tmp_path):
    graph, inputs = staged_case((20, 3))
    folder = tmp_path / "gone"
    folder.mkdir()
    blocks = Blocks(graph, inputs, {"dx": folder / "dx.npy"})
    folder.rmdir()
    with pytest.raises(FileNotFoundError) as caught:
        blocks.run()
    assert caught.value.filename == str(folder / "dx.npy")


@pytest.mark.parametrize("shape", [(1, 30, 4), (30, 1, 4), (30, 4, 1), (30,)])
def test_axes_of_length_one_and_one_number_a_row(tmp_path, shape):
    axis = shape.index(30)

    def f(x):
        centred = x - np.mean(x, axis=axis, keepdims=True)
        return np.sum(centred * x, axis=-1) if len(shape) > 1 else centred * x

    x = RNG.normal(size=shape)
    graph = Graph.joint(trace(f)(np.take(x, range(3), axis)))
    dout = RNG.normal(size=f(x).shape)
    outputs = written(tmp_path, "out", "dx")
    found = whole(run(graph, {"x": x, "dout": dout}, outputs, memory=700), outputs)
    expected = graph.run(x=x, dout=dout)
    for name in outputs:
        close(found[name], expected[name], 1e-13)


def test_two_names_of_one_node_and_arrays_in_the_code(tmp_path):
    """The gradient of x + c is dout itself."""
    c = RNG.normal(size=(1, 4))
    graph = graph_of(lambda x: x + c, [RNG.normal(size=(9, 4))], rows=9)
    inputs = {"x": RNG.normal(size=(9, 4)), "dout": RNG.normal(size=(9, 4))}
    outputs = written(tmp_path, "out", "dx")
    assert run(graph, inputs, outputs, memory=200) == {}
    assert same_bits(np.load(outputs["out"]), inputs["x"] + c)
    assert same_bits(np.load(outputs["dx"]), inputs["dout"])


# --------------------------------------------------------------------------- what is refused


def test_what_does_not_fit_is_said_before_anything_is_written(tmp_path):
    graph, inputs = staged_case((20, 3))
    outputs = written(tmp_path, "dx")

    def refused(error, match, new=None, out=outputs, **options):
        with pytest.raises(error, match=match):
            Blocks(graph, inputs | (new or {}), out, **options)

    less = {name: a for name, a in inputs.items() if name != "dout"}
    with pytest.raises(ValueError, match="missing inputs: dout; unknown inputs: y"):
        Blocks(graph, less | {"y": 1.0}, outputs)
    refused(ValueError, "dout has shape", {"dout": inputs["dout"][:5]})
    refused(ValueError, "x has shape", {"x": inputs["x"][0]})
    refused(ValueError, "gamma|mul", {"gamma": np.ones(5)})
    refused(
        TypeError, "x is of float64 in the graph, but was given complex128", {"x": 1j * less["x"]}
    )
    refused(ValueError, "x holds object, and not numbers", {"x": less["x"].astype(object)})
    refused(
        ValueError, "no result 'dy'; the results are out, dx, dgamma, dbeta", out={"dy": "y.npy"}
    )
    refused(ValueError, "written as .npy or .zarr", out={"dx": tmp_path / "dx.csv"})
    refused(FileNotFoundError, "no such folder", out={"dx": tmp_path / "no" / "dx.npy"})
    refused(FileNotFoundError, "No such file", {"x": tmp_path / "x.npy"})
    refused(ValueError, "one place", out={"dx": "a.npy", "out": "./a.npy"})
    refused(ValueError, r"7.2e-05 MB are needed for one row .* 1e-06 MB are allowed", memory=1)
    empty = {"x": less["x"][:0], "dout": less["x"][:0]}
    refused(ValueError, "an axis of length 0 or 1 must stay one|empty", empty)
    for name, content in (("junk", b"\x93NUMPYjunk"), ("short", b""), ("text", b"1,2\n3,4\n")):
        (tmp_path / f"{name}.npy").write_bytes(content)
        refused(
            ValueError, f"{name}.npy: is no .npy file of numbers", {"x": tmp_path / f"{name}.npy"}
        )
        os.remove(tmp_path / f"{name}.npy")
    assert os.listdir(tmp_path) == []


def test_what_is_no_sweep_is_refused_with_its_place():
    x, w = (Tensor(RNG.normal(size=(3, 3)), name=name) for name in "xw")
    with pytest.raises(Unsupported, match=r"matmul of step 1 \(out\) is no sweep over rows"):
        Blocks(
            Graph.joint(trace(lambda x, w: x @ w)(x, w), variables={}), {"x": x.data, "w": w.data}
        )


def test_a_number_that_may_be_a_length_is_refused():
    graph = Graph.capture(trace(lambda x: x / 2 - 5.0)(np.ones((5, 3))))
    with pytest.raises(ValueError, match="5"):
        Blocks(graph, {"x": np.ones((7, 3))}, {"out": "out.npy"})


def test_what_was_read_of_the_batch_is_refused():
    graph = Graph.capture(trace(lambda x: x - np.max(x).item())(RNG.normal(size=(5, 3))))
    with pytest.raises(Unsupported, match="read values of its arguments"):
        Blocks(graph, {"x": np.ones((7, 3))}, {"out": "out.npy"})


# --------------------------------------------------------------------------- progress


def test_progress_is_for_terminals(monkeypatch):
    graph, inputs = staged_case((100, 3))

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for stream, shown in ((io.StringIO(), False), (Terminal(), True)):
        monkeypatch.setattr(sys, "stderr", stream)
        run(graph, {k: v for k, v in inputs.items() if k != "beta"}, memory=1e3)
        text = stream.getvalue()
        assert ("sweep 2 of 2" in text) == shown
        assert text.endswith("\n") == shown


def test_a_bar_ends_where_it_is_full(capsys):
    bar = Progress(True, 1)
    bar.begin(3)
    for _ in range(3):
        bar.step()
    bar.end()
    last = capsys.readouterr().err.rsplit("\r", 1)[1]
    assert last.startswith(f"sweep 1 of 1 [{'#' * 30}] 3/3 blocks, ")
