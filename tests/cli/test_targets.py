"""`tinygraph draw` and `derive` on functions of the user's, and what they say of mistakes."""

import json
import shutil
import subprocess
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from tinygraph import Tensor
from tinygraph.cli.commands import main
from tinygraph.cli.inputs import InputError
from tinygraph.cli.targets import run_target
from tinygraph.engine.autodiff import reachable

MODEL = """\
import numpy as np

def forward(x, gamma, beta, eps):
    N, D = x.shape
    mu = 1. / N * np.sum(x, axis=0)
    xmu = x - mu
    var = 1. / N * np.sum(xmu ** 2, axis=0)
    xhat = xmu / np.sqrt(var + eps)
    out = gamma * xhat + beta
    return out, (xhat, eps)

def power(x, n=2, axis=None):
    return np.sum(x ** n, axis=axis)

def constant(x):
    return 3.0

def failing(x):
    y = x + 1
    return y @ np.ones((7, 2))

def crash(x):
    return x.no_such_attribute

def filling(x):
    out = np.zeros(len(x), dtype=int)
    out[0] = np.sum(x)
    return out

def nested(x):
    from breaking import broken
    return broken(x)
"""


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.py"
    path.write_text(MODEL)
    return path.name


def run(*arguments):
    return main([str(a) for a in arguments])


def test_shapes_constants_files_and_literals(model, tmp_path):
    np.save(tmp_path / "beta.npy", np.arange(3.0))
    arguments = ["x=8x3", "gamma=3", "beta=beta.npy", "eps=1e-5"]
    out = run_target(f"{model}:forward", arguments, seed=1)[0]
    assert out.shape == (8, 3)
    assert out.name == "out"
    again = run_target(f"{model}:forward", arguments, seed=1)[0]
    other = run_target(f"{model}:forward", arguments, seed=2)[0]
    assert np.array_equal(out.data, again.data)
    assert not np.array_equal(out.data, other.data)
    leaves = {t.name: t for t in _leaves(out)}
    assert np.array_equal(leaves["beta"].data, [0.0, 1.0, 2.0])


def _leaves(out):
    from tinygraph.engine.autodiff import reachable

    return [t for t in reachable([out]) if t.op is None]


def test_literals_and_scalars(model):
    cubes = run_target(f"{model}:power", ["x=4x3", "n:=3", "axis:=(0,)"])
    assert cubes.shape == (3,)
    x = _leaves(cubes)[0]
    assert np.allclose(cubes.data, (x.data**3).sum(axis=0))
    assert run_target(f"{model}:power", ["x=()"]).shape == ()


def test_the_built_in_function():
    assert run_target("batchnorm", []).shape == (178, 13)
    out = run_target("batchnorm", ["x=6x4x5", "axis:=-1", "gamma=5", "beta=5"])
    assert isinstance(out, Tensor)
    assert out.shape == (6, 4, 5)


@pytest.mark.parametrize(
    ("target", "arguments", "words"),
    [
        ("nowhere.py:f", [], ["nowhere.py", "o such file"]),
        ("model.py", [], ["FILE.py:FUNCTION"]),
        ("model.txt:f", [], ["FILE.py:FUNCTION"]),
        ("model.py:nothing", [], ["nothing", "forward", "power"]),
        ("model.py:forward", ["x=8x3"], ["gamma", "x, gamma, beta, eps"]),
        ("model.py:power", ["x=3", "m:=2"], ["'m'", "[n]"]),
        ("model.py:power", ["x=3y4"], ["3y4", "64x100"]),
        ("model.py:power", ["3"], ["name=64x100"]),
        ("model.py:power", ["x=3", "n:=two"], ["two", "literal"]),
        ("model.py:power", ["x=no.npy"], ["no.npy"]),
        ("model.py:power", ["x=100000x100000"], ["too large"]),
        ("model.py:power", ["x=" + "9" * 400], ["too large"]),
        ("model.py:power", ["x=0x" + "9" * 5000], ["too large"]),
        ("model.py:power", ["x=" + "x".join("1" * 65)], ["too large", "64 axes"]),
        ("model.py:power", ["x=3", "x=4"], ["x=4", "x is given twice"]),
        ("model.py:power", ["x=3", "n:=2", "n=4"], ["n=4", "n is given twice"]),
        ("model.py:power", ["x=3", "n:={[]: 1}"], ["n:={[]: 1}", "literal"]),
        ("model.py:power", ["x=NO.NPY"], ["NO.NPY", "o such file"]),
        ("model.py:", ["x=3"], ["model.py:", "FILE.py:FUNCTION"]),
        ("batchnorm", ["x:=3"], ["batchnorm", "x is 3", "x=64x100"]),
        ("model.py:power", ["x=3", "axis:=5"], ["line 13", "axis 5", "(3,)"]),
        ("model.py:forward", ["x=8x3", "gamma=4", "beta=3", "eps=1e-5"], ["line 9", "(4,)"]),
        ("model.py:failing", ["x=4x3"], ["line 20", "(7, 2)"]),
        ("model.py:crash", ["x=4"], ["line 23", "AttributeError", "no_such_attribute"]),
        ("model.py:constant", ["x=4"], ["float", "no tensor"]),
    ],
)
def test_mistakes_are_named(model, target, arguments, words, capsys):
    with pytest.raises(InputError) as error:
        run_target(target, arguments)
    for word in words:
        assert word in str(error.value)
    for command in ("draw", "derive"):
        assert run(command, target, *arguments) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.count("\n") == 1
        assert words[0] in printed.err


@pytest.mark.parametrize(
    ("source", "words"),
    [("def f(:\n", ["line 1"]), ("import numpy\n1 / 0\n", ["line 2", "ZeroDivisionError"])],
)
def test_a_file_that_cannot_be_imported(tmp_path, source, words):
    (tmp_path / "broken.py").write_text(source)
    with pytest.raises(InputError) as error:
        run_target(f"{tmp_path / 'broken.py'}:f", [])
    for word in words:
        assert word in str(error.value)


def test_a_tensor_put_into_an_array_is_explained_and_not_only_refused(model, capsys):
    assert run("draw", f"{model}:filling", "x=3", "-o", "-") == 2
    error = capsys.readouterr().err
    assert "`out[0] = np.sum(x)`" in error
    assert "its gradient would be lost" in error
    assert "np.stack" in error


def test_an_exception_of_the_user_is_named_by_file_line_and_function(model, tmp_path, capsys):
    (tmp_path / "breaking.py").write_text(
        "def broken(x):\n    def inside():\n        raise KeyError('no\\nkey')\n    inside()\n"
    )
    where = {
        "failing": "tinygraph: model.py, line 20, in failing: `return y @ np.ones((7, 2))`: ",
        "crash": "tinygraph: model.py, line 23, in crash: `return x.no_such_attribute`: ",
        "nested": "tinygraph: breaking.py, line 3, in inside: `raise KeyError('no\\nkey')`: ",
    }
    for name, start in where.items():
        for command in ("draw", "derive"):
            assert run(command, f"{model}:{name}", "x=4x3") == 2
            printed = capsys.readouterr()
            assert printed.out == ""
            assert printed.err.startswith(start)
            assert printed.err.count("\n") == 1


@pytest.mark.parametrize("argument", ["gamma=4", "eps=nan", "x=3", "eps:='small'"])
def test_the_name_of_the_built_in_function_is_said_once(argument, capsys):
    assert run("draw", "batchnorm", argument) == 2
    line = capsys.readouterr().err
    assert line.startswith("tinygraph: batchnorm: ")
    assert line.count("batchnorm") == 1


def test_files_are_known_by_their_suffix_in_upper_case_too(model, tmp_path):
    np.save(tmp_path / "x.npy", np.ones((2, 3)))
    (tmp_path / "x.npy").rename(tmp_path / "X.NPY")
    (tmp_path / "X.CSV").write_text("1,2\n3,4\n")
    assert run_target(f"{model}:power", ["x=X.NPY"]).data == 6
    assert run_target(f"{model}:power", ["x=X.CSV"]).data == 30


FORWARD = ("model.py:forward", "x=8x3", "gamma=3", "beta=3", "eps=1e-5")


def test_draw_writes_by_suffix(model, tmp_path, capsys):
    for suffix, magic in (("png", b"\x89PNG"), ("pdf", b"%PDF"), ("dot", b"//"), ("svg", b"<?xml")):
        assert run("draw", *FORWARD, "-o", f"pictures/out.{suffix}") == 0
        assert (tmp_path / f"pictures/out.{suffix}").read_bytes().startswith(magic)
    assert "wrote" in capsys.readouterr().err
    text = "".join(ET.parse(tmp_path / "pictures/out.svg").getroot().itertext())
    for word in ("dgamma", "dxmu1", "xhat", "1/N Σ x"):
        assert word in text
    for suffix in ("png", "pdf", "dot", "svg"):  # its own files it overwrites
        assert run("draw", *FORWARD, "-o", f"pictures/out.{suffix}") == 0


def test_draw_to_standard_output_and_default_place(model, tmp_path, capfdbinary):
    assert run("draw", *FORWARD, "-o", "-", "--format", "json") == 0
    assert json.loads(capfdbinary.readouterr().out)["directed"] is True
    assert run("draw", *FORWARD, "-o", "-") == 0
    assert capfdbinary.readouterr().out.startswith(b"<?xml")
    assert run("draw", *FORWARD) == 0
    assert (tmp_path / "graphs/forward.svg").is_file()


@pytest.mark.parametrize(
    "options",
    [
        ["--view", "joint"],
        ["--view", "backward"],
        ["--view", "forward", "--detail", "primitives"],
        ["--step", "2"],
        ["--values"],
        ["--direction", "TB"],
    ],
)
def test_draw_takes_the_options_of_draw(model, options, capfdbinary):
    pictures = []
    for chosen in ([], options):
        assert run("draw", *FORWARD, *chosen, "-o", "-", "--format", "dot") == 0
        pictures.append(capfdbinary.readouterr().out)
    assert pictures[0] != pictures[1]


def test_values_are_of_a_random_upstream_gradient(model, capfdbinary):
    assert run("draw", *FORWARD, "--values", "-o", "-", "--format", "dot") == 0
    assert "–".encode() not in capfdbinary.readouterr().out


@pytest.mark.parametrize("name", ["out.bmp", "out"])
def test_a_suffix_that_cannot_be_written(model, name, capsys, tmp_path):
    assert run("draw", *FORWARD, "-o", name) == 2
    assert "svg" in capsys.readouterr().err
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("suffix", ["svg", "png", "pdf", "dot"])
def test_a_file_of_the_users_is_kept(model, tmp_path, suffix, capsys):
    mine = tmp_path / f"mine.{suffix}"
    mine.write_bytes(b"my own work")
    assert run("draw", *FORWARD, "-o", mine) == 2
    assert "--force" in capsys.readouterr().err
    assert mine.read_bytes() == b"my own work"
    assert run("draw", *FORWARD, "-o", mine, "--force") == 0
    assert mine.read_bytes() != b"my own work"


def test_a_file_that_only_mentions_tinygraph_is_the_users(model, tmp_path, capsys):
    mine = tmp_path / "mine.py"
    mine.write_text("import tinygraph\n")
    assert run("derive", *FORWARD, "--format", "python", "-o", mine) == 2
    notes = tmp_path / "notes.dot"
    notes.write_text("// my notes on tinygraph\n")
    assert run("draw", *FORWARD, "-o", notes) == 2
    assert (mine.read_text(), notes.read_text()) == (
        "import tinygraph\n",
        "// my notes on tinygraph\n",
    )


def test_what_a_file_prints_and_imports(tmp_path, monkeypatch, capfdbinary):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "helping.py").write_text("def twice(x):\n    return 2 * x\n")
    (tmp_path / "chatty.py").write_text(
        "print('hello')\ndef f(x):\n    from helping import twice\n"
        "    print(x.shape)\n    return twice(x)\n"
        "def leave(x):\n    raise SystemExit(0)\n"
    )
    assert run("draw", "chatty.py:f", "x=3", "-o", "-", "--format", "dot") == 0
    assert capfdbinary.readouterr().out.startswith(b"// made by tinygraph")
    assert run("draw", "chatty.py:leave", "x=3", "-o", "-") == 2


def test_a_step_that_does_not_exist(model, capsys):
    assert run("draw", *FORWARD, "--step", "17", "-o", "x.svg") == 2
    assert "17" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options", [("--view", "joint"), ("--view", "forward"), ("--detail", "primitives")]
)
def test_a_step_is_a_picture_of_its_own(model, options, capsys, tmp_path):
    assert run("draw", *FORWARD, "--step", "2", *options, "-o", "x.svg") == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "--step 2" in line
    assert "leave --view and --detail out" in line
    assert not (tmp_path / "x.svg").exists()


@pytest.mark.parametrize("seed", ["-1", "1.5", "one"])
def test_a_seed_that_is_none(model, seed, capsys):
    assert run("draw", *FORWARD, "--seed", seed) == 2
    assert f"argument --seed: '{seed}' is no seed" in capsys.readouterr().err


def test_derive_prints_and_writes(model, tmp_path, capfd):
    for notation, word in (("text", "xhat"), ("markdown", "|"), ("latex", r"\sqrt")):
        assert run("derive", *FORWARD, "--format", notation) == 0
        assert word in capfd.readouterr().out
    assert run("derive", *FORWARD, "--format", "python", "-o", "made.py") == 0
    namespace = {}
    exec((tmp_path / "made.py").read_text(), namespace)
    rng = np.random.default_rng(5)
    x, dout = rng.normal(size=(2, 8, 3))
    gamma, beta = rng.normal(size=(2, 3))
    _, cache = namespace["forward"](x, gamma, beta)
    dx, dgamma, dbeta = namespace["backward"](dout, cache)
    from tinygraph.batchnorm import closed_form

    for found, expected in zip((dx, dgamma, dbeta), closed_form(x, gamma, dout), strict=True):
        assert np.allclose(found, expected, rtol=0, atol=1e-13)
    assert run("derive", *FORWARD, "--format", "python", "-o", "made.py") == 0  # its own file
    assert run("derive", *FORWARD, "-o", "model.py") == 2  # the user's


def test_derive_writes_c_that_compiles(model, tmp_path, capfd):
    assert run("derive", *FORWARD, "-o", "made.c") == 0
    text = (tmp_path / "made.c").read_text()
    assert "const double xhat = " in text
    assert "p: x_, gamma_, beta_, eps_, dout_" in text or "p: x_, gamma_, beta_, dout_" in text
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler:
        subprocess.run([compiler, "-Wall", "-Wno-unknown-pragmas", "-c", "made.c"], check=True)
    assert run("derive", *FORWARD, "-o", "made.c") == 0  # its own file
    (tmp_path / "matrices.py").write_text("def f(a, b):\n    return a @ b\n")
    capfd.readouterr()
    assert run("derive", "matrices.py:f", "a=2x3", "b=3x4", "--format", "c") == 2
    assert "it cannot be written in C: there is nothing in it" in capfd.readouterr().err


@pytest.mark.parametrize("command", ["draw", "derive"])
def test_help_has_examples(command, capsys):
    assert run(command, "--help") == 0
    printed = capsys.readouterr().out
    assert "examples:" in printed
    assert "name=64x100" in printed


# --------------------------------------------------------------------------- check

PASSES = """\
import numpy as np

def forward(x, w):
    s = x @ w
    out = np.tanh(s)
    return out, (x, w, out)

def right(dout, cache):
    x, w, out = cache
    ds = dout * (1 - out ** 2)
    dx, dw = ds @ w.T, x.T @ ds
    print("done")
    return dx, dw

def wrong(dout, cache):
    x, w, out = cache
    ds = dout * (1 - out)
    dx, dw = ds @ w.T, x.T @ ds
    return dx, dw

def nothing(dout, cache):
    pass

def crash(dout, cache):
    return cache.x
"""


@pytest.fixture
def passes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "passes.py").write_text(PASSES)


def test_check_says_which_line_is_wrong_first(passes, capsys):
    arguments = ("x=4x3", "w=3x2")
    assert run("check", "passes.py:forward", "passes.py:right", *arguments) == 0
    out, err = capsys.readouterr()
    assert out.startswith("right(dout, cache): right, for 3 random upstream gradients")
    assert err == ""
    assert run("check", "passes.py:forward", "passes.py:wrong", *arguments) == 1
    out = capsys.readouterr().out
    assert "the first wrong line is line 17, ds: ds = dout * (1 - out)" in out
    assert "right would be `ds = dout * (1 - out ** 2)`" in out
    assert run("check", "passes.py:forward", "passes.py:wrong", *arguments, "--json") == 1
    read = json.loads(capsys.readouterr().out)
    assert (read["passed"], read["first_wrong"]["number"]) == (False, 17)


def test_check_takes_methods_of_one_object(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "layer.py").write_text(
        "class Square:\n"
        "    def forward(self, x):\n"
        "        self.x = x\n"
        "        return x * x\n"
        "    def backward(self, dout):\n"
        "        return 2 * self.x * dout\n"
    )
    assert run("check", "layer.py:Square.forward", "layer.py:Square.backward", "x=6x3") == 0
    assert "dx: PASS" in capsys.readouterr().out


def test_check_takes_the_built_in_function(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(
        "def backward(dout, xhat, gamma, ivar):\n"
        "    g = dout * gamma\n"
        "    dx = ivar * (g - g.mean(0) - xhat * (g * xhat).mean(0))\n"
        "    return dx, (dout * xhat).sum(0), dout.sum(0)\n"
    )
    assert run("check", "batchnorm", "own.py:backward", "x=6x3") == 0
    assert "dgamma: PASS" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["passes.py:forward", "passes.py:nothing", "x=4x3", "w=3x2"],
            ["nothing returned nothing"],
        ),
        (
            ["passes.py:forward", "passes.py:crash", "x=4x3", "w=3x2"],
            ["in crash", "`return cache.x`"],
        ),
        (["passes.py:forward", "passes.py:right", "x=4x3"], ["missing", "'w'", "x, w"]),
        (["passes.py:forward", "passes.py:rihgt", "x=4x3", "w=3x2"], ["rihgt", "right, wrong"]),
        (["passes.py:forward", "other.py:right", "x=4x3", "w=3x2"], ["other.py: there is no such"]),
        (["passes.py:forward", "passes.py:right", "x:=1", "w:=2"], ["array of floats"]),
        (["passes.py:forward"], ["required", "check --help"]),
    ],
)
def test_mistakes_in_a_call_of_check(passes, arguments, words, capsys):
    assert run("check", *arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    for word in words:
        assert word in err


# --- methods ------------------------------------------------------------------------------------

CLASSES = """
import numpy as np

class Net:
    def __init__(self, n=3):
        self.w = np.arange(float(n))
    def forward(self, x):
        z = x * self.w
        return np.tanh(z)
    def __call__(self, x):
        return self.forward(x) * 2
    def _hidden(self, x):
        return x
    @staticmethod
    def twice(x):
        return x * 2
    @classmethod
    def made(cls, x):
        return cls().forward(x)

class Sized:
    def __init__(self, n, bias=True):
        self.n = n
    def forward(self, x):
        return x * self.n

class Broken:
    def __init__(self):
        raise ValueError("no weights")
    def forward(self, x):
        return x

net = Net()
"""


@pytest.fixture(name="classes")
def classes_fixture(tmp_path):
    file = tmp_path / "classes.py"
    file.write_text(CLASSES, encoding="utf-8")
    return str(file)


@pytest.mark.parametrize("name", ["Net.forward", "Net.__call__", "Net.made", "net.forward", "net"])
def test_a_method_is_run_on_an_object_that_needs_no_arguments(classes, name):
    out = run_target(f"{classes}:{name}", ["x=2x3"], seed=4)
    z = np.random.default_rng(4).normal(size=(2, 3)) * np.arange(3.0)
    factor = 2 if name in ("Net.__call__", "net") else 1
    assert np.array_equal(out.data, np.tanh(z) * factor)
    assert "z" in {node.name for node in reachable([out])}


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        (
            "Sized.forward",
            r"forward: is a method, .* the arguments are n, \[bias\]; name a function",
        ),
        ("Broken.forward", r"line \d+, in __init__: .*no weights"),
        ("Net", r"Net: is a class, and no function; name a method of it: Net\.forward, Net\.__cal"),
        ("Net.backward", r"has no function 'Net\.backward'; it has Net\.forward, Net\.__call__, S"),
        ("Net.forward.x", r"has no function 'Net\.forward\.x'"),
    ],
)
def test_what_is_no_function_is_said_to_be_a_method_or_a_class(classes, name, wanted):
    with pytest.raises(InputError, match=wanted):
        run_target(f"{classes}:{name}", ["x=2x3"])
