"""A primitive of the user's own: one row, in her file or notebook, and every tool knows it."""

import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import close, same_bits

import tinygraph
from tinygraph import Graph, Tensor, derive, draw, gradcheck, ops, trace
from tinygraph.cli.commands import main as command
from tinygraph.engine.primitive import NUMPY, TABLE

ROW = r"""
import numpy as np
from tinygraph.ops import Primitive

cbrt = Primitive("cbrt", "∛", np.cbrt, lambda g, out, x: g / (3 * out * out),
                 text="∛{0:call}", latex=r"\sqrt[3]{{{0}}}", numpy="np.cbrt({0})", of=np.cbrt,
                 elementwise=True)
softplus = Primitive("softplus", "softplus", lambda x: np.logaddexp(x, 0),
                     lambda g, out, x: g * (1 - np.exp(-out)))
modulo = Primitive("modulo", "mod", np.mod, lambda g, out, a, b: g, None,
                   text="{0:product} mod {1:power}", numpy="{0:product} % {1:minus}",
                   binds="product")


def loss(x, w):
    z = np.cbrt(x * x + 1.0) @ w
    a = softplus(z) if SMOOTH else modulo(z, 0.7) * 2.0
    return np.sum(a * a)
"""


@pytest.fixture
def restored():
    """Forget the rows of a test, which no other test should meet."""
    table, numpy = dict(TABLE), dict(NUMPY)
    yield
    for registry, before in ((TABLE, table), (NUMPY, numpy)):
        registry.clear()
        registry.update(before)


def written(tmp_path, smooth):
    file = tmp_path / "own.py"
    file.write_text(ROW.replace("SMOOTH", str(smooth)), encoding="utf-8")
    return file


@pytest.fixture
def own(tmp_path, restored):
    namespace = {"__name__": "notebook"}
    exec(ROW.replace("SMOOTH", "False"), namespace)
    return namespace


def batch():
    rng = np.random.default_rng(3)
    return rng.normal(size=(5, 3)), rng.normal(size=3)


def test_numpys_function_works_on_tensors_and_gradients_are_right(own):
    x, _ = batch()
    assert gradcheck(lambda x: np.cbrt(x * x + 1.0), x, order=2)
    assert gradcheck(own["softplus"], x, order=2)
    out = np.cbrt(Tensor(x))
    assert same_bits(out.data, np.cbrt(x))
    assert out.op is own["cbrt"]


def test_every_tool_knows_it(own):
    x, w = batch()
    out = trace(own["loss"])(x, w)
    text = derive(out)
    assert "∛(x² + 1) @ w" in text
    assert "2 · z mod 0.7" in text  # as tightly as a product
    assert r"\sqrt[3]{x^{2} + 1}" in derive(out, format="latex")
    assert r"\operatorname{modulo}" in derive(out, format="latex")
    namespace = {}
    exec(derive(out, format="python"), namespace)
    value, cache = namespace["forward"](x, w)
    assert same_bits(value, out.data)
    dx, dw = namespace["backward"](np.float64(1.5), cache)
    for found, expected in zip((dx, dw), tinygraph.grad(out, leaves(out), 1.5), strict=True):
        assert same_bits(found, expected)
    assert "∛" in draw(out, detail="primitives").source
    graph = Graph.joint(out)
    assert same_bits(graph.run(x=x, w=w, dout=1.5)["dx"], dx)
    assert same_bits(pickle.loads(pickle.dumps(graph)).run(x=x, w=w, dout=1.5)["dx"], dx)


def leaves(out):
    found, stack = {}, [out]
    while stack:
        t = stack.pop()
        found |= {} if t.op else {t.index: t}
        stack += [x for x in t.inputs if isinstance(x, Tensor)]
    return [found[k] for k in sorted(found)]


def test_what_cannot_be_written_as_source_says_so_only_there(own):
    x = Tensor(batch()[0], name="x")
    out = own["softplus"](x)
    assert "softplus(x)" in derive(out)
    assert draw(out).source
    with pytest.raises(ValueError, match=r"step 1: softplus has no numpy form.*numpy="):
        derive(out, format="python")


@pytest.mark.parametrize("format", ["text", "markdown", "latex"])
def test_the_command_line_takes_her_file(format, tmp_path, monkeypatch, capsys, restored):
    monkeypatch.chdir(tmp_path)
    file = written(tmp_path, smooth=True)
    assert command(["derive", f"{file}:loss", "x=4x3", "w=3", "--format", format]) == 0
    assert "softplus" in capsys.readouterr().out
    assert command(["draw", f"{file}:loss", "x=4x3", "w=3", "-o", "own.dot"]) == 0
    assert "softplus(z)" in Path("own.dot").read_text(encoding="utf-8")


def test_a_cell_that_runs_again_replaces_her_row_and_no_other(own):
    first = own["cbrt"]
    kept = np.cbrt(Tensor([8.0, 27.0]))
    exec(ROW.replace("3 * out", "300 * out"), own)
    assert own["cbrt"] is not first
    assert TABLE["cbrt"] is NUMPY[np.cbrt] is own["cbrt"]
    x = Tensor([8.0, 27.0])
    np.cbrt(x).backward([1.2, -0.7])
    close(x.grad, [1.2 / 1200, -0.7 / 2700], 1e-15)
    close(tinygraph.grad(kept, leaves(kept), [1.2, -0.7])[0], [1.2 / 12, -0.7 / 27], 1e-15)


@pytest.mark.parametrize("name", ["add", "sum", "batchnorm", "matmul"])
def test_rows_of_the_package_cannot_be_replaced(name, restored):
    import tinygraph.batchnorm  # noqa: F401 - whose row is in the table once it is loaded

    before = TABLE[name]
    with pytest.raises(ValueError, match=rf"'{name}' is in the table already.*another name"):
        ops.Primitive(name, "?", np.sinh)
    assert TABLE[name] is before


@pytest.mark.parametrize("function", [np.exp, np.mean, np.power], ids=lambda f: f.__name__)
def test_what_tinygraph_says_of_a_function_stays(function, restored):
    with pytest.raises(ValueError, match=rf"what np\.{function.__name__} is on tensors"):
        ops.Primitive("mine", "?", function, of=function)
    assert "mine" not in TABLE


def test_an_unknown_binding_is_refused(restored):
    with pytest.raises(ValueError, match="binds is 'tight', but must be one of comparison, sum"):
        ops.Primitive("mine", "?", np.sinh, binds="tight")


@pytest.mark.parametrize("name", ["batchnorm", "cbrt"])
def test_a_graph_is_loaded_in_a_new_process(name, tmp_path, restored):
    """The module that defines the row is loaded where the pickle is."""
    written(tmp_path, smooth=False)
    make = """
import pickle, sys
import numpy as np
from tinygraph import Tensor, batchnorm
import own
x = Tensor([[1.0, 2.0], [3.0, 5.0], [4.0, 4.0]], name="x")
out = batchnorm.normalize(x, [1.0, 2.0], [0.0, 0.5]) if sys.argv[1] == "batchnorm" else np.cbrt(x)
pickle.dump((x, out), sys.stdout.buffer)
"""
    load = """
import pickle, sys
from tinygraph import grad
x, out = pickle.load(sys.stdin.buffer)
print(grad(out, [x], [[0.5, -1.0], [2.0, 0.3], [-0.2, 1.0]])[0].tolist(), out.op)
"""
    places = [str(tmp_path), str(Path(tinygraph.__file__).parents[1])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(places)}
    run = [sys.executable, "-c"]
    made = subprocess.run([*run, make, name], env=environment, capture_output=True, check=True)
    done = subprocess.run(
        [*run, load], input=made.stdout, env=environment, capture_output=True, check=True
    )
    numbers, _, op = done.stdout.decode().strip().rpartition(" ")
    assert op == name
    assert len(re.findall(r"-?\d+\.\d+", numbers)) == 6
