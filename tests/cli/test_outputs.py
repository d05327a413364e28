"""What the command leaves behind: files of others, full disks, closed streams, interrupts."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinygraph
from tinygraph.cli.commands import main

MODEL = """
class Net:
    def __init__(self):
        self.factor = 2.0

    def forward(self, x):
        return self.factor * x

    @staticmethod
    def plain(x):
        return 3 * x

    @classmethod
    def made(cls, x):
        return cls().forward(x)

net = Net()
"""
LOUD = """
import os
import sys
from tinygraph.ops import Primitive

def rule(g, out, x):
    print("in the rule")
    return 2 * g

double = Primitive("double", "2·", lambda x: 2 * x, rule)

def loud(x):
    print("printed")
    print("printed past the redirection", file=sys.__stdout__)
    os.system("echo by a program")
    return double(x)
"""
WAYS = {
    "o.dot": ["draw"],
    "o.gv": ["draw"],
    "o.svg": ["draw"],
    "o.png": ["draw"],
    "o.pdf": ["draw"],
    "o.json": ["draw"],
    "o": ["draw", "--format", "svg"],
    "o.txt": ["derive"],
    "o.md": ["derive"],
    "o.tex": ["derive"],
    "o.py": ["derive", "--literal"],
    "o.html": ["derive"],
    "equations.json": ["derive"],
    "notes": ["derive", "--format", "markdown"],
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.py").write_text(MODEL, "utf-8")
    return tmp_path


def make(name, seed=0):
    verb, *options = WAYS[name]
    return main([verb, "batchnorm", "x=4x3", f"--seed={seed}", "-o", name, *options])


# --- whose a file is ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WAYS)
def test_its_own_file_is_refreshed_and_an_edited_one_is_kept(folder, name, capfd):
    assert make(name) == 0
    made = Path(name).read_bytes()
    assert make(name) == 0
    assert Path(name).read_bytes() == made
    for edited in (made + b"\nmy own words\n", b"mine\n" + made, made.replace(b"t", b"T", 1)):
        Path(name).write_bytes(edited)
        capfd.readouterr()
        assert make(name) == 2
        out, err = capfd.readouterr()
        assert out == ""
        assert err.startswith(f"tinygraph: {name}: exists and is not as tinygraph made it")
        assert Path(name).read_bytes() == edited
    assert sorted(os.listdir()) == sorted(["model.py", name])


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("o.txt", "forward: x"),
        ("o.md", "## Forward"),
        ("O.TEX", "% for amsmath"),
        ("o.html", "<!doctype html>"),
        ("o.htm", "<!doctype html>"),
        ("o.py", '"""Forward and backward'),
        ("o.markdown", "## Forward"),
    ],
)
def test_the_suffix_says_what_is_derived(folder, name, start):
    assert main(["derive", "batchnorm", "x=4x3", "-o", name]) == 0
    assert Path(name).read_text("utf-8").startswith(start)


def test_equations_as_json(folder):
    assert main(["derive", "batchnorm", "x=4x3", "-o", "o.json"]) == 0
    forward, backward = json.loads(Path("o.json").read_text("utf-8"))["passes"]
    assert forward["symbols"] == {"N": "4", "eps": "1e-05"}
    assert forward["lines"][0]["text"] == {"name": "mu", "formula": "1/N Σ x"}
    assert backward["lines"][-1]["latex"]["name"] == r"\mathrm{d}x"
    assert backward["lines"][-1]["shape"] == [4, 3]


@pytest.mark.parametrize(("name", "what"), [("o.dot", "dot"), ("notes", "a file without suffix")])
def test_a_suffix_that_nothing_is_derived_to(folder, name, what, capfd):
    assert main(["derive", "batchnorm", "x=4x3", "-o", name]) == 2
    _, err = capfd.readouterr()
    assert err == (
        f"tinygraph: {name}: cannot write {what}; the suffixes are txt, md, tex, html, json, py, "
        "c, or say what it holds with --format\n"
    )
    assert main(["derive", "batchnorm", "x=4x3", "-o", name, "--format", "latex"]) == 0


def test_the_literal_formulas_are_those_that_run(folder, capfd):
    (folder / "model.py").write_text("def f(x):\n    return x * 2 * x\n")
    for options, formula in (([], "2 · x²"), (["--literal"], "x · 2 · x")):
        assert main(["derive", "model.py:f", "x=3", *options]) == 0
        assert formula in capfd.readouterr().out


FOREIGN = {
    "o.py": b'"""My notes, not written by tinygraph."""\n',
    "o.md": b"<!-- made by tinygraph -->\n",
    "o.json": b'{"class": "tinygraph"}\n',
    "o.dot": b"// made by tinygraph\ndigraph {}\n",
    "o.pdf": b"%PDF-1.4\n% made by tinygraph\n",
    "o.txt": b"",
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_file_that_speaks_of_tinygraph_is_not_ours(folder, name):
    Path(name).write_bytes(FOREIGN[name])
    assert make(name) == 2
    assert Path(name).read_bytes() == FOREIGN[name]


def test_a_page_that_embeds_a_picture_is_not_ours(folder):
    assert make("o.svg") == 0
    picture = Path("o.svg").read_bytes()
    for page in (b"<svg>\n%b</svg>\n" % picture, b"<svg><g/></svg>\n" + picture):
        Path("o.svg").write_bytes(page)
        assert make("o.svg") == 2
        assert Path("o.svg").read_bytes() == page


def test_what_was_saved_from_python_is_refreshed_too(folder):
    x = tinygraph.Tensor(np.ones((4, 3)), name="x")
    tinygraph.draw(np.sum(x * x)).save("o.svg")
    assert make("o.svg") == 0


@pytest.mark.parametrize(
    "arguments", [["batchnorm"], ["draw", "batchnorm"], ["derive", "batchnorm"]], ids=" ".join
)
def test_an_empty_name_is_a_mistake(folder, arguments, capfd):
    assert main([*arguments, "-o", ""]) == 2
    assert "the name is empty" in capfd.readouterr().err
    assert os.listdir() == ["model.py"]


# --- processes ------------------------------------------------------------------------------------


def run(*arguments, prefix="", code=None, **options):
    """Run the command in a process of its own, through a shell that closes or limits things."""
    start = [sys.executable, *(["-c", code] if code else ["-m", "tinygraph"]), *arguments]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "COV"))}
    return subprocess.run(
        ["sh", "-c", f'{prefix} exec "$@" {options.pop("redirect", "")}', "sh", *start],
        env=kept
        | {
            "PYTHONPATH": str(Path(tinygraph.__file__).parents[1]),
            "PYTHONDONTWRITEBYTECODE": "1",  # which the limit of files would spoil
            "PYTHONUTF8": "1",
            "OPENBLAS_NUM_THREADS": "1",
        },
        capture_output=True,
        timeout=120,
        encoding="utf-8",
        **options,
    )


POSIX = pytest.mark.skipif(os.name == "nt", reason="the shell is that of POSIX")


@POSIX
@pytest.mark.parametrize(
    "arguments",
    [
        ["batchnorm", "--force"],
        ["draw", "batchnorm", "-o", "batchnorm.dot", "--force"],
        ["derive", "batchnorm", "-o", "batchnorm.md", "--force"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_disk_that_is_full_leaves_no_half_of_a_file(folder, arguments):
    name = arguments[3] if "-o" in arguments else "graphs/batchnorm.dot"
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_text("old")
    done = run(*arguments, prefix="ulimit -f 1;")
    assert done.returncode == 2
    *_, last = done.stderr.splitlines()
    assert last.startswith("tinygraph: ")
    assert last.endswith(": File too large")
    assert "batchnorm." in last
    assert Path(name).read_text() == "old"
    left = {p.name for p in folder.rglob("*") if p.is_file()}
    assert left <= {"model.py", Path(name).name}


@POSIX
@pytest.mark.parametrize(
    "arguments",
    [
        ["compare"],
        ["compare", "--json"],
        ["batchnorm", "--json"],
        ["draw", "batchnorm", "-o", "-"],
        ["derive", "batchnorm"],
    ],
    ids=" ".join,
)
def test_a_closed_standard_output_is_a_mistake(folder, arguments):
    done = run(*arguments, redirect=">&-")
    assert done.returncode == 2
    assert done.stderr == (
        "tinygraph: standard output is closed; name a file with -o, or leave it open\n"
    )
    assert os.listdir() == ["model.py"]


@POSIX
@pytest.mark.parametrize("streams", ["2>&-", "<&- 2>&-"])
def test_a_closed_standard_error_is_none(folder, streams):
    done = run("batchnorm", "--json", redirect=streams)
    assert done.returncode == 0
    assert json.loads(done.stdout)["passed"] is True
    assert sorted(os.listdir("graphs"))[0] == "batchnorm.dot"
    assert run("batchnorm", "no.npy", redirect=streams).returncode == 2
    assert run("draw", "batchnorm", "-o", "x.dot", redirect="<&- >&- 2>&-").returncode == 0
    assert Path("x.dot").read_bytes().startswith(b"// made by tinygraph\n")


def test_what_a_function_prints_does_not_go_into_the_result(folder):
    (folder / "loud.py").write_text(LOUD, "utf-8")
    for arguments in (["draw", "--format", "dot", "-o", "-"], ["derive"]):
        verb, *options = arguments
        done = run(verb, "loud.py:loud", "x=3", *options)
        assert done.returncode == 0, done.stderr
        assert not any(word in done.stdout for word in ("printed", "by a program", "in the rule"))
        for words in ("printed", "printed past the redirection", "by a program", "in the rule"):
            assert f"{words}\n" in done.stderr


def test_a_rule_that_fails_is_explained_in_one_line(folder):
    (folder / "loud.py").write_text(LOUD.replace('print("in the rule")', "1 / 0"), "utf-8")
    for arguments in (["draw", "--values", "--format", "dot", "-o", "-"], ["derive"]):
        verb, *options = arguments
        done = run(verb, "loud.py:loud", "x=3", *options)
        assert (done.returncode, done.stdout) == (2, "")
        *_, last = done.stderr.splitlines()
        assert (
            last
            == "tinygraph: loud.py, line 7, in rule: `1 / 0`: ZeroDivisionError: division by zero"
        )


INTERRUPTING = """
import os, runpy, signal, sys
left, begun, heeded = int(sys.argv.pop(1)), False, True

class Interrupting:
    def find_spec(self, name, *_):
        global left, begun
        begun = begun or name == "tinygraph.cli.commands"
        left -= begun
        if left == -1:
            os.kill(os.getpid(), signal.SIGINT)

if heeded:  # also where the tests themselves run with interrupts ignored, as in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupting())
runpy.run_module("tinygraph", run_name="__main__", alter_sys=True)
"""


@POSIX
@pytest.mark.parametrize(
    "count",
    [
        0,
        1,
        5,
        40,
        *(pytest.param(k, marks=pytest.mark.slow) for k in (2, 3, 4, *range(6, 400, 20))),
    ],
)
def test_an_interrupt_while_modules_are_imported_ends_quietly(folder, count):
    done = run(str(count), "draw", "batchnorm", "x=4x3", "-o", "o.svg", code=INTERRUPTING)
    assert done.stdout == ""
    assert (done.returncode, done.stderr) in [
        (130, ""),
        (130, "tinygraph: interrupted\n"),
        (0, "wrote o.svg\n"),
    ]
    assert done.returncode == 130 or count > 200
    assert set(os.listdir()) <= {"model.py", "o.svg", "__pycache__"}


@POSIX
def test_where_interrupts_are_ignored_they_stay_ignored(folder):
    ignoring = INTERRUPTING.replace("False, True", "False, False")
    done = run("3", "derive", "batchnorm", "x=4x3", code=ignoring, prefix='trap "" INT;')
    assert (done.returncode, done.stderr) == (0, "")


def test_the_process_takes_interrupts_only_while_it_runs():
    before = signal.getsignal(signal.SIGINT)
    assert main(["derive", "batchnorm", "x=4x3"]) == 0
    assert signal.getsignal(signal.SIGINT) is before


# --- functions of the user's ----------------------------------------------------------------------


def test_the_search_path_is_left_as_it_was(folder, capfd):
    (folder / "helping.py").write_text("def twice(x):\n    return 2 * x\n")
    (folder / "asking.py").write_text(
        "def f(x):\n    from helping import twice\n    return twice(x)\n"
        "def fails(x):\n    raise ValueError\n"
    )
    before = list(sys.path)
    assert main(["derive", "asking.py:f", "x=3"]) == 0
    assert main(["derive", "asking.py:fails", "x=3"]) == 2
    assert main(["derive", "asking.py:missing", "x=3"]) == 2
    assert sys.path == before


@pytest.mark.parametrize(
    "name", ["Net.plain", "Net.made", "net.forward", "net.plain", "Net.forward"]
)
def test_a_method_is_found(folder, name, capfd):
    assert main(["derive", f"model.py:{name}", "x=3"]) == 0
    assert "· x" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Net.no_such", "has no function 'Net.no_such'"),
        ("no_such.forward", "has no function 'no_such.forward'"),
        ("net.factor", "has no function 'net.factor'"),
    ],
)
def test_a_method_that_is_not_there_is_refused(folder, name, words, capfd):
    assert main(["derive", f"model.py:{name}", "x=3"]) == 2
    assert words in capfd.readouterr().err
