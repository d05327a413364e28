"""``tinygraph batchnorm`` as a user meets it: in a process of its own, without a dot program."""

import functools
import importlib.metadata
import importlib.util
import json
import os
import pickle
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

import tinygraph
import tinygraph.checks
from tinygraph.batchnorm import closed_form
from tinygraph.cli.commands import main

RENDERS = importlib.util.find_spec("pygraphviz") is not None
PICTURES = ["batchnorm.dot", "batchnorm.svg"] if RENDERS else ["batchnorm.dot"]


def environment(folder, *, modules=None, **variables):
    """Give variables for a process that finds no program but Python, and this tinygraph.

    What lies in the folder `modules` is imported before anything of that name elsewhere.
    """
    empty = folder / "no_programs"
    empty.mkdir(exist_ok=True)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "COV"))}
    places = [str(modules)] if modules else []
    return kept | {
        "PATH": str(empty),
        "PYTHONPATH": os.pathsep.join([*places, str(Path(tinygraph.__file__).parents[1])]),
        "PYTHONWARNINGS": "error",
        "PYTHONUTF8": "1",
        **variables,
    }


@pytest.fixture
def run(tmp_path):
    """Run the command in an empty directory; a tuple of exit code, output, messages."""
    folder = tmp_path / "here"
    folder.mkdir()

    def run(*arguments, **variables):
        done = subprocess.run(
            [sys.executable, "-m", "tinygraph", *map(str, arguments)],
            cwd=folder,
            env=environment(tmp_path, **variables),
            capture_output=True,
            timeout=60,
        )
        encoding = variables.get("PYTHONIOENCODING", "utf-8")
        out, err = (stream.decode(encoding) for stream in (done.stdout, done.stderr))
        assert "Traceback" not in out + err
        return done.returncode, out, err

    run.folder = folder
    return run


def tree(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def batch(shape=(6, 3), seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def strict_json(text):
    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


# --- what it does ---------------------------------------------------------------------------------


def test_the_default_run_in_an_empty_directory(run):
    code, out, err = run("batchnorm")
    assert code == 0
    assert [p.name for p in run.folder.iterdir()] == ["graphs"]
    graphs = run.folder / "graphs"
    assert sorted(p.name for p in graphs.iterdir()) == PICTURES
    for words in (
        "UCI Wine",
        "(178, 13)",
        "float64",
        "eps = 1e-05",
        "dx difference:",
        "dgamma difference:",
        "dbeta difference:",
        "complex step:",
        "jacobian:",
        "PASS: staged and closed form agree",
    ):
        assert words in out
    assert "FAIL" not in out
    for name in ("mu", "xmu", "sq", "var", "sqrtvar", "ivar", "xhat", "gammax", "out"):
        assert f"d{name} " in out
    assert err.splitlines()[: len(PICTURES)] == [
        f"wrote {Path('graphs', name)}" for name in PICTURES
    ]
    dot = (graphs / "batchnorm.dot").read_text("utf-8")
    assert "digraph" in dot
    assert "xhat" in dot
    if RENDERS:
        assert err.count("\n") == 2
        root = ElementTree.parse(graphs / "batchnorm.svg").getroot()
        assert root.tag.endswith("svg")


def test_json_is_one_document_on_standard_output(run):
    np.save(run.folder / "x.npy", batch())
    code, out, err = run("batchnorm", "x.npy", "--json", "--seed", 3, "--eps", "1e-3", "-o", "new")
    assert code == 0
    found = strict_json(out)
    assert found["passed"] is True
    assert found["input"] == "x.npy"
    assert (found["shape"], found["dtype"], found["eps"]) == ([6, 3], "float64", 1e-3)
    assert found["pictures"] == [str(Path("new", name)) for name in PICTURES]
    assert all((run.folder / path).is_file() for path in found["pictures"])
    assert len(found["steps"]) == 10
    assert set(found["differences"]) == {"dx", "dgamma", "dbeta"}
    assert err.splitlines()[: len(PICTURES)] == [f"wrote {path}" for path in found["pictures"]]


@pytest.mark.slow
def test_seeds(run):
    np.save(run.folder / "x.npy", batch())
    outs = [run("batchnorm", "x.npy", "--json", "--seed", seed)[1] for seed in (1, 1, 2)]
    assert strict_json(outs[0]) == strict_json(outs[1])
    assert strict_json(outs[0]) != strict_json(outs[2])


def test_an_upstream_gradient_from_a_file(run):
    np.save(run.folder / "x.npy", batch())
    np.save(run.folder / "dout.npy", 1000 * batch(seed=1))
    (run.folder / "dout.csv").write_text(
        "\n".join(",".join(map(repr, row)) for row in (1000 * batch(seed=1)).tolist()) + "\n"
    )
    codes, outs = [], []
    for given in ((), ("--upstream", "dout.npy"), ("--upstream", "dout.csv")):
        code, out, _ = run("batchnorm", "x.npy", "--json", *given)
        codes.append(code)
        outs.append(strict_json(out))
    assert codes == [0, 0, 0]
    assert outs[1] == outs[2]
    largest = [max(row["difference"] for row in out["steps"]) for out in outs]
    assert largest[1] > 50 * largest[0]  # the differences grow with dout, the scaled errors not
    assert outs[1]["scaled_errors"]["dx"] < 1e-14


@pytest.mark.parametrize("dtype", ["float32", "float64", "longdouble"])
def test_dtypes(run, dtype):
    np.save(run.folder / "x.npy", batch())
    code, out, _ = run("batchnorm", "x.npy", "--json", "--dtype", dtype)
    assert code == 0
    found = strict_json(out)
    assert found["dtype"] == np.dtype(dtype).name
    assert found["tolerances"]["dx"] < 200 * np.finfo(dtype).eps


def test_the_dtype_of_a_file_is_kept(run):
    np.save(run.folder / "x.npy", batch().astype(np.float32))
    assert strict_json(run("batchnorm", "x.npy", "--json")[1])["dtype"] == "float32"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("axis", "found"), [("0,2,3", [0, 2, 3]), ("0", [0]), ("-1", [3]), ("2,3", [2, 3])]
)
def test_images_and_axes(run, axis, found):
    np.save(run.folder / "images.npy", batch((4, 3, 5, 2)))
    code, out, _ = run("batchnorm", "images.npy", "--json", "--axis", axis)
    assert code == 0
    document = strict_json(out)
    assert document["axis"] == found
    assert document["shape"] == [4, 3, 5, 2]


@pytest.mark.parametrize("head", ["", "height,weight\n"])
def test_csv_with_and_without_header(run, head):
    (run.folder / "people.csv").write_text(head + "1.5,50\n1.75,62.5\n1.6,70\n")
    code, out, _ = run("batchnorm", "people.csv")
    assert code == 0
    assert out.startswith("people.csv\nBatchNorm of (3, 2) over axis 0")


def test_file_names_with_spaces_and_accents(run):
    (run.folder / "größe und gewicht.csv").write_text("1.5,50\n1.75,62.5\n")
    code, out, _ = run("batchnorm", "größe und gewicht.csv", "-o", "bilder für alle")
    assert code == 0
    assert out.startswith("größe und gewicht.csv\n")
    assert (run.folder / "bilder für alle" / "batchnorm.dot").is_file()


def test_an_output_that_cannot_show_every_character(run):
    """A pipe on Windows is cp1252, which has no √ and no Σ: still no mistake of the user's."""
    for encoding in ("ascii", "cp1252"):
        code, out, err = run("batchnorm", PYTHONUTF8="0", PYTHONIOENCODING=encoding)
        assert code == 0, err
        assert "dx difference:" in out
        assert "PASS: staged and closed form agree" in out


@pytest.mark.parametrize("arguments", [("--help",), ("batchnorm", "--help")])
def test_help_shows_examples(run, arguments):
    code, out, err = run(*arguments)
    assert (code, err) == (0, "")
    assert "usage: tinygraph" in out
    assert "examples:" in out
    assert "tinygraph batchnorm" in out.partition("examples:")[2]
    assert not list(run.folder.iterdir())


def test_help_of_batchnorm_names_every_option_and_exit_code(run):
    _, out, _ = run("batchnorm", "--help")
    for option in (
        "--seed", "--upstream", "--eps", "--dtype", "--axis", "--output", "--json", "--force",
        "--allow-nonfinite",
    ):  # fmt: skip
        assert option in out
    assert "0 agree, 1 disagree, 2 mistake" in out


def test_the_installed_command_is_main():
    (command,) = importlib.metadata.entry_points(group="console_scripts", name="tinygraph")
    assert command.load() is tinygraph.cli.main


# --- compare --------------------------------------------------------------------------------------


def test_compare_is_batchnorm_without_pictures(run):
    np.save(run.folder / "x.npy", batch())
    options = ("x.npy", "--json", "--seed", 3, "--eps", 0.01, "--axis", "-1", "--dtype", "float32")
    code, out, err = run("compare", *options)
    assert (code, err) == (0, "")
    assert [p.name for p in run.folder.iterdir()] == ["x.npy"]
    other = strict_json(run("batchnorm", *options)[1])
    del other["pictures"]
    assert strict_json(out) == other
    code, out, err = run("compare")
    assert (code, err) == (0, "")
    assert out.startswith("the UCI Wine measurements\nBatchNorm of (178, 13)")
    assert out.endswith("PASS: staged and closed form agree\n")


def test_compare_exactly(run):
    (run.folder / "people.csv").write_text("height,weight\n1.5,50\n1.75,62.5\n1.6,70\n")
    code, out, err = run("compare", "people.csv", "--exact")
    assert (code, err) == (0, "")
    assert [p.name for p in run.folder.iterdir()] == ["people.csv"]
    report, _, rest = out.partition("\nwritten out\n")
    assert report.startswith(
        "people.csv\nBatchNorm of (3, 2) over axis 0, in fractions, eps = 1/90000\n"
    )
    assert report.endswith("PASS: staged and closed form are equal\n")
    blocks = rest.strip().split("\n\n")
    assert [block.partition(":")[0] for block in blocks] == ["feature 0", "feature 1"]
    for block in blocks:
        ways = [line.split()[-3:] for line in block.splitlines() if line.startswith("dx, ")]
        assert len(ways) == 4
        assert all(way == ways[0] for way in ways)
    assert run("compare", "people.csv", "--exact")[1] == out
    assert run("compare", "people.csv", "--exact", "--seed", 1)[1] != out


def test_compare_exactly_with_every_option(run):
    np.save(run.folder / "x.npy", np.round(batch((2, 3, 2, 2)), 1))
    np.save(run.folder / "dout.npy", batch((2, 3, 2, 2), seed=1))
    code, out, err = run(
        "compare", "x.npy", "--exact", "--json", "--eps", "1/4", "--axis", "0,2,3",
        "--upstream", "dout.npy", "--seed", 2,
    )  # fmt: skip
    assert (code, err) == (0, "")
    found = strict_json(out)
    assert found["passed"] is True
    assert found["input"] == "x.npy"
    assert (found["shape"], found["eps"], found["axis"]) == ([2, 3, 2, 2], "1/4", [0, 2, 3])
    assert len(found["steps"]) == 10


@pytest.mark.slow
def test_the_readme_shows_what_compare_exactly_prints(run):
    readme = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
    (shown,) = [b for b in readme.split("```text\n")[1:] if b.startswith("feature 0")]
    code, out, _ = run("compare", "--exact")
    assert code == 0
    assert shown.partition("```")[0] in out
    assert out.count("  2314 entries, equal") == 4  # the closed form is asked at -gamma too


def test_eps_may_be_written_as_a_fraction_for_floats_too(run):
    np.save(run.folder / "x.npy", batch())
    eps = [
        strict_json(run("compare", "x.npy", "--json", "--eps", text)[1])["eps"]
        for text in ("1/1000", "1e-3")
    ]
    assert eps == [1e-3, 1e-3]


COMPARE_MISTAKES = {
    "dtype with exact": (["--exact", "--dtype", "float32"], ["--dtype", "--exact", "--help"]),
    "eps no square": (["x.npy", "--exact", "--eps", "1e-5"], ["x.npy", "feature 0", "1/99856"]),
    "eps over zero": (["x.npy", "--eps", "1/0"], ["--eps", "'1/0'", "1/90000"]),
    "nan": (["nan.npy", "--exact", "--allow-nonfinite"], ["nan.npy", "1 nan", "no fraction"]),
    "missing file": (["nowhere.csv", "--exact"], ["nowhere.csv"]),
    "output": (["x.npy", "-o", "pictures"], ["-o", "--help"]),
}


@pytest.mark.parametrize("name", COMPARE_MISTAKES)
def test_a_mistake_in_compare_is_explained(run, name):
    arguments, words = COMPARE_MISTAKES[name]
    write_inputs(run.folder)
    before = tree(run.folder)
    code, out, err = run("compare", *arguments)
    assert (code, out) == (2, "")
    assert all(word in err.splitlines()[-1] for word in words)
    assert tree(run.folder) == before


# --- where standard output leads to ---------------------------------------------------------------


def run_into(stdout, tmp_path, *arguments):
    """Run the command with this for standard output; give exit code and messages."""
    done = subprocess.run(
        [sys.executable, "-m", "tinygraph", *arguments],
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=stdout,
        stderr=subprocess.PIPE,
        timeout=60,
        encoding="utf-8",
    )
    return done.returncode, done.stderr


COMMANDS = pytest.mark.parametrize(
    "arguments", [("batchnorm",), ("derive", "batchnorm"), ("--help",)], ids=lambda a: a[0]
)


@COMMANDS
def test_a_reader_that_has_seen_enough_is_no_mistake(arguments, tmp_path):
    """As in `tinygraph batchnorm | head -1`, also where all of it fits into the buffer."""
    reading, writing = os.pipe()
    os.close(reading)
    code, err = run_into(writing, tmp_path, *arguments)
    os.close(writing)
    assert code == 0
    assert all(line.startswith("wrote") for line in err.splitlines())


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no full device")
@COMMANDS
def test_output_that_finds_no_room_is_a_mistake(arguments, tmp_path):
    with open("/dev/full", "w") as full:
        code, err = run_into(full, tmp_path, *arguments)
    assert code == 2
    assert err.splitlines()[-1] == "tinygraph: No space left on device"
    assert "Exception" not in err


# --- DOT is the same everywhere -------------------------------------------------------------------


@pytest.mark.slow
def test_dot_is_identical_over_runs_and_hash_seeds(run):
    contents = []
    for number, seed in enumerate(("0", "1", "12345", "0")):
        code, _, _ = run("batchnorm", "-o", f"run{number}", PYTHONHASHSEED=seed)
        assert code == 0
        folder = run.folder / f"run{number}"
        contents.append([(folder / name).read_bytes() for name in PICTURES])
    assert all(content == contents[0] for content in contents)


def test_without_pygraphviz_and_dot_the_dot_text_is_written(run, tmp_path):
    shim = tmp_path / "shim"
    shim.mkdir()
    (shim / "pygraphviz.py").write_text("raise ImportError('hidden by a test')\n")
    code, out, err = run("batchnorm", modules=shim)
    assert code == 0
    assert "PASS" in out
    wrote, sentence = err.splitlines()
    assert wrote == f"wrote {Path('graphs', 'batchnorm.dot')}"
    assert "pip install pygraphviz" in sentence
    assert "install Graphviz" in sentence
    assert [p.name for p in (run.folder / "graphs").iterdir()] == ["batchnorm.dot"]
    code, out, err = run("batchnorm", "--json", modules=shim)
    assert code == 0
    assert strict_json(out)["pictures"] == [str(Path("graphs", "batchnorm.dot"))]


# --- files that are there already -----------------------------------------------------------------


@pytest.mark.parametrize("name", ["batchnorm.svg", "batchnorm.dot"])
def test_a_file_of_somebody_else_is_kept_without_force(run, name):
    graphs = run.folder / "graphs"
    graphs.mkdir()
    foreign = b"<svg>drawn by hand\r\n\x00\xff</svg>"
    (graphs / name).write_bytes(foreign)
    before = tree(run.folder)
    code, out, err = run("batchnorm")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert str(Path("graphs", name)) in err
    assert "--force" in err
    assert tree(run.folder) == before

    code, out, err = run("batchnorm", "--force")
    assert code == 0
    if name in PICTURES:
        assert (graphs / name).read_bytes() != foreign
    # What it has made itself it overwrites freely.
    code, out, err = run("batchnorm", "--seed", 5)
    assert code == 0 if RENDERS or name == "batchnorm.dot" else 2


def test_an_empty_file_of_somebody_else_is_kept_too(run):
    graphs = run.folder / "graphs"
    graphs.mkdir()
    (graphs / "batchnorm.dot").touch()
    code, out, _ = run("batchnorm")
    assert (code, out) == (2, "")
    assert (graphs / "batchnorm.dot").read_bytes() == b""


def test_its_own_files_are_overwritten_freely(run):
    np.save(run.folder / "x.npy", batch())
    assert run("batchnorm")[0] == 0
    first = (run.folder / "graphs" / "batchnorm.dot").read_bytes()
    assert run("batchnorm", "x.npy")[0] == 0
    second = (run.folder / "graphs" / "batchnorm.dot").read_bytes()
    assert b"178" in first
    assert first != second
    assert b"178" not in second


def test_other_files_beside_are_left_alone(run):
    graphs = run.folder / "graphs"
    graphs.mkdir()
    (graphs / "notes.txt").write_text("mine")
    assert run("batchnorm")[0] == 0
    assert (graphs / "notes.txt").read_text() == "mine"


# --- mistakes -------------------------------------------------------------------------------------


def write_inputs(folder):
    x = batch()
    np.save(folder / "x.npy", x)
    np.save(folder / "one.npy", x[:1])
    np.save(folder / "rows.npy", x[0])
    np.save(folder / "scalar.npy", np.float64(3))
    np.save(folder / "none.npy", x[:0])
    np.save(folder / "complex.npy", x + 1j)
    np.save(folder / "narrow.npy", x[:, :2])
    np.save(folder / "transposed.npy", x.T)
    np.save(folder / "object.npy", np.array([[1, None]], dtype=object), allow_pickle=True)
    (folder / "pickle.npy").write_bytes(pickle.dumps(x))
    for name, bad in (("nan", np.nan), ("inf", np.inf)):
        y = x.copy()
        y[2, 1] = bad
        np.save(folder / f"{name}.npy", y)
    y = x.copy()
    y[:, 1] = 4
    np.save(folder / "constant.npy", y)
    np.save(folder / "huge.npy", 1e200 * x)
    (folder / "ragged.csv").write_text("1,2\n3,4\n5\n6,7\n")
    (folder / "text.csv").write_text("a,b\n1,2\n3,four\n")
    (folder / "empty.csv").touch()
    (folder / "empty.npy").touch()
    (folder / "header.csv").write_text("a,b\n")
    (folder / "batch.txt").write_text("1,2\n3,4\n")
    (folder / "a_file").write_text("here first")
    (folder / "pictures").mkdir()
    (folder / "pictures" / "batchnorm.svg").mkdir()


MISTAKES = {
    "missing file": (["nowhere.npy"], ["nowhere.npy", "No such file"]),
    "empty name": ([""], ["file"]),
    "wrong suffix": (["batch.txt"], ["batch.txt", ".npy", ".csv"]),
    "a directory": (["pictures"], ["pictures", "directory"]),
    "ragged": (["ragged.csv"], ["ragged.csv", "line 3", "from 2 to 1"]),
    "text": (["text.csv"], ["text.csv", "line 3, column 2", "'four'"]),
    "empty csv": (["empty.csv"], ["empty.csv", "empty"]),
    "empty npy": (["empty.npy"], ["empty.npy", "empty"]),
    "only a header": (["header.csv"], ["header.csv", "no rows"]),
    "one axis": (["rows.npy"], ["rows.npy", "(3,)", "(N, D)"]),
    "no axis": (["scalar.npy"], ["scalar.npy", "()", "(N, D)"]),
    "one value": (["one.npy"], ["one.npy", "(1, 3)", "at least two"]),
    "no value": (["none.npy"], ["none.npy", "(0, 3)", "at least two"]),
    "complex": (["complex.npy"], ["complex.npy", "complex"]),
    "pickled objects": (["object.npy"], ["object.npy", "never unpickled"]),
    "a pickle": (["pickle.npy"], ["pickle.npy", "numpy.save"]),
    "nan": (["nan.npy"], ["nan.npy", "1 nan", "[2, 1]", "--allow-nonfinite"]),
    "inf": (["inf.npy"], ["inf.npy", "1 inf", "[2, 1]", "--allow-nonfinite"]),
    "upstream narrow": (
        ["x.npy", "--upstream", "narrow.npy"], ["narrow.npy", "(6, 2)", "x.npy", "(6, 3)"],
    ),
    "upstream transposed": (
        ["x.npy", "--upstream", "transposed.npy"], ["transposed.npy", "(3, 6)", "(6, 3)"],
    ),
    "upstream of the wine": (["--upstream", "x.npy"], ["x.npy", "(6, 3)", "(178, 13)"]),
    "upstream missing": (["x.npy", "--upstream", "nowhere.npy"], ["nowhere.npy"]),
    "upstream nan": (["x.npy", "--upstream", "nan.npy"], ["nan.npy", "1 nan"]),
    "eps negative": (["x.npy", "--eps", "-1"], ["eps is -1", "negative"]),
    "eps nan": (["x.npy", "--eps", "nan"], ["eps is nan"]),
    "eps a word": (["x.npy", "--eps", "small"], ["--eps", "'small'"]),
    "eps zero": (["constant.npy", "--eps", "0"], ["constant.npy", "feature 1", "eps > 0"]),
    "axis beyond": (["x.npy", "--axis", "5"], ["axis 5", "(6, 3)"]),
    "axis twice": (["x.npy", "--axis", "0,0"], ["axis", "twice"]),
    "axis a word": (["x.npy", "--axis", "rows"], ["--axis", "'rows'"]),
    "axis empty": (["x.npy", "--axis", ""], ["--axis"]),
    "dtype unknown": (["x.npy", "--dtype", "int8"], ["--dtype", "int8", "float32"]),
    "dtype too narrow": (["huge.npy", "--dtype", "float32"], ["huge.npy", "overflows float32"]),
    "overflow": (["huge.npy"], ["huge.npy", "feature 0", "overflows"]),
    "seed negative": (["x.npy", "--seed", "-1"], ["--seed", "-1", "negative"]),
    "seed a fraction": (["x.npy", "--seed", "1.5"], ["--seed", "1.5"]),
    "output a file": (["x.npy", "-o", "a_file"], ["a_file", "directory"]),
    "output below a file": (["x.npy", "-o", "a_file/sub"], ["a_file", "directory"]),
    "a directory in the way": (["x.npy", "-o", "pictures"], ["batchnorm.svg", "directory"]),
    "unknown option": (["x.npy", "--frobnicate"], ["--frobnicate", "--help"]),
    "two files": (["x.npy", "one.npy"], ["one.npy", "--help"]),
}  # fmt: skip


def check_mistake(run, arguments, words):
    """Expect exit code 2, one line on standard error, no output, and no file touched."""
    write_inputs(run.folder)
    before = tree(run.folder)
    code, out, err = run("batchnorm", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("tinygraph")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    for word in words:
        assert word in err
    assert tree(run.folder) == before


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_no_trace(run, name):
    check_mistake(run, *MISTAKES[name])


@pytest.mark.parametrize("name", ["missing file", "ragged", "nan", "eps zero", "output a file"])
def test_a_mistake_is_one_line_with_json_too(run, name):
    arguments, words = MISTAKES[name]
    check_mistake(run, [*arguments, "--json"], words)


@pytest.mark.parametrize("arguments", [(), ("frobnicate",), ("--frobnicate",)], ids=repr)
def test_a_mistake_in_the_command_itself(run, arguments):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "tinygraph --help" in err


@pytest.mark.skipif(os.name == "nt", reason="symbolic links need a privilege on Windows")
def test_an_output_that_cannot_be_made_is_found_before_anything_is_printed(run):
    (run.folder / "graphs").symlink_to("nowhere")
    np.save(run.folder / "x.npy", batch())
    code, out, err = run("batchnorm", "x.npy")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "graphs" in err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nan", "inf"])
def test_with_allow_nonfinite_it_goes_on(run, name):
    write_inputs(run.folder)
    code, out, err = run("batchnorm", f"{name}.npy", "--allow-nonfinite")
    assert code == 0
    assert "PASS: staged and closed form agree" in out
    assert "left out" in out
    assert "[2, 1]" in err.splitlines()[0]
    code, out, _ = run("batchnorm", f"{name}.npy", "--allow-nonfinite", "--json")
    assert code == 0
    assert strict_json(out)["features_left_out"] == 1


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["text", "json"])
def test_where_no_feature_is_finite_nothing_passes(run, form):
    np.save(run.folder / "nan.npy", batch() * np.nan)
    before = tree(run.folder)
    code, out, err = run("batchnorm", "nan.npy", "--allow-nonfinite", *form)
    assert (code, out) == (2, "")
    assert "finite" in err.splitlines()[-1]
    assert "JSON" not in err
    assert tree(run.folder) == before


# --- exit code 1, and the process from inside -----------------------------------------------------


def without_mean(x, gamma, dout, *, eps, axis):
    dx, dgamma, dbeta = closed_form(x, gamma, dout, eps=eps, axis=axis)
    return dx + gamma * np.mean(dout, axis=axis), dgamma, dbeta


@pytest.fixture
def disagreeing(monkeypatch, tmp_path):
    """Let the command compare with a wrong closed form, in an empty directory."""
    wrong = functools.partial(tinygraph.checks.compare, closed=without_mean)
    monkeypatch.setattr(tinygraph.checks, "compare", wrong)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_exit_code_where_they_disagree(disagreeing, capsys):
    assert main(["batchnorm"]) == 1
    out, err = capsys.readouterr()
    assert "FAIL: they differ" in out
    assert "PASS: staged" not in out
    assert "wrote" in err
    assert (disagreeing / "graphs" / "batchnorm.dot").is_file()  # to look for the mistake in


def test_exit_code_and_json_where_they_disagree(disagreeing, capsys):
    assert main(["batchnorm", "--json"]) == 1
    found = strict_json(capsys.readouterr().out)
    assert found["passed"] is False
    assert found["scaled_errors"]["dx"] > found["tolerances"]["dx"]


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["text", "json"])
def test_exit_code_where_they_are_not_equal(disagreeing, capsys, form):
    np.save("x.npy", np.round(batch(), 1))
    assert main(["compare", "x.npy"]) == 1
    assert "FAIL: they differ" in capsys.readouterr().out
    assert main(["compare", "x.npy", "--exact", *form]) == 1
    out, err = capsys.readouterr()
    assert err == ""
    if form:
        assert strict_json(out)["passed"] is False
    else:
        assert "dx[0, 0]\n  autodiff: " in out
        assert "FAIL: they differ\n" in out
    assert [p.name for p in disagreeing.iterdir()] == ["x.npy"]


def test_an_interrupt_is_no_traceback(monkeypatch, tmp_path, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tinygraph.checks, "compare", interrupted)
    assert main(["batchnorm"]) == 130
    assert capsys.readouterr() == ("", "tinygraph: interrupted\n")
    assert not list(tmp_path.iterdir())


# --- the example ----------------------------------------------------------------------------------

EXAMPLE = Path(__file__).parents[2] / "examples" / "batchnorm_by_hand.py"


def run_example(folder, *arguments, **variables):
    done = subprocess.run(
        [sys.executable, EXAMPLE, *arguments],
        cwd=folder,
        env=environment(folder, **variables),
        capture_output=True,
        timeout=60,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_the_example_by_hand(tmp_path):
    out = run_example(tmp_path, "-o", "pictures")
    names = [f"batchnorm_by_hand.{name.partition('.')[2]}" for name in PICTURES]
    assert sorted(p.name for p in (tmp_path / "pictures").iterdir()) == names
    assert all(name in out for name in names)
    for against in ("the closed form", "the backward pass by hand"):
        block = out.partition(f"against {against}")[2].splitlines()[1:4]
        assert [line.split()[0] for line in block] == ["dx", "dgamma", "dbeta"]
        assert all(float(line.split()[-1]) < 1e-12 for line in block)
    dot = (tmp_path / "pictures" / "batchnorm_by_hand.dot").read_text("utf-8")
    for name in ("mu", "xmu", "sq", "var", "sqrtvar", "ivar", "xhat", "gammax", "dxmu1", "dx2"):
        assert name in dot
    assert not (tmp_path / "graphs").exists()
    # Run again elsewhere, the DOT is the same.
    run_example(tmp_path)
    assert (tmp_path / "graphs" / "batchnorm_by_hand.dot").read_text("utf-8") == dot


def test_the_example_where_nothing_renders(tmp_path):
    (tmp_path / "pygraphviz.py").write_text("raise ImportError('hidden by a test')\n")
    out = run_example(tmp_path, modules=tmp_path)
    assert "pip install pygraphviz" in out
    assert [p.name for p in (tmp_path / "graphs").iterdir()] == ["batchnorm_by_hand.dot"]


def example_functions():
    spec = importlib.util.spec_from_file_location("batchnorm_by_hand", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_functions_of_the_example_are_plain_numpy():
    """They know nothing of tinygraph: arrays in, arrays out, and right."""
    module = example_functions()
    x, dout = batch((9, 4)), batch((9, 4), seed=1)
    gamma, beta = batch((4,), seed=2), batch((4,), seed=3)
    out = module.batchnorm_forward(x, gamma, beta, 1e-5)
    assert type(out) is np.ndarray
    expected = gamma * (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-5) + beta
    assert np.max(np.abs(out - expected)) < 1e-13
    by_hand = module.batchnorm_backward(dout, x, gamma, 1e-5)
    for a, b in zip(by_hand, closed_form(x, gamma, dout), strict=True):
        assert type(a) is np.ndarray
        assert np.max(np.abs(a - b)) < 1e-13
