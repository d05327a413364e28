"""Junk for the command and for file input: exit code 0, 1 or 2, and one line for a mistake.

Most of it calls `main` in this process, where pytest makes any warning an error; the worst cases
run in a process whose memory is limited.
"""

import contextlib
import io
import os
import re
import socket
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib import format as npy

import tinygraph
from tinygraph.cli.commands import main
from tinygraph.cli.inputs import InputError, read_array

MODEL = """\
import sys
import warnings
import numpy as np

class Stop(BaseException): pass
class Held:
    def __init__(self, x): self.x = x * 2
class Empty: pass

def forward(x, gamma, beta, eps=1e-5):
    mu = np.mean(x, axis=0)
    xhat = (x - mu) / np.sqrt(np.var(x, axis=0) + eps)
    return gamma * xhat + beta

def power(x, n=2, axis=None):
    return np.sum(x ** n, axis=axis)

def none(x): return None
def same(x): return x
def pair(x): return x, x + 1, "cache"
def endless(x): return endless(x)
def leave(x): sys.exit(0)
def leave_with_words(x): sys.exit("goodbye\\nall")
def stop(x): raise Stop(x)
def wordless(x): raise ValueError
def wordy(x): raise RuntimeError("word\\n" * 10_000)
def stray(x): raise StopIteration
def pipe(x): raise BrokenPipeError
def overflow(x): return np.exp(1e5 * x) * np.log(x - x) / (x - x)
def warning(x): warnings.warn("careful"); return 2 * x
def lazy(x): yield x
async def later(x): return x
def positional(x, /): return 2 * x
def anything(*args, **options): return options["x"] * 2
def index(x): return x[7]
def inplace(x): x += 1; return x
def größe(größe): return 2 * größe
def printing(x): print("hello", x.shape); sys.stdout.write("more\\n"); return 2 * x
def text(x): exec("1 / 0")
doubled = lambda x: 2 * x
largest = max
number = 3
"""
FUNCTIONS = re.findall(r"^(?:async def|def|class) (\w+)|^(\w+) = ", MODEL, re.MULTILINE)
NAMES = [name or other for name, other in FUNCTIONS] + ["np", "sys", "__name__", "no_such", ""]


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory):
    """Work in a directory of its own, with a model and some arrays."""
    path = tmp_path_factory.mktemp("fuzz")
    before = os.getcwd()
    os.chdir(path)
    Path("model.py").write_text(MODEL, "utf-8")
    np.save("x.npy", np.random.default_rng(0).normal(size=(6, 3)))
    np.save("row.npy", np.arange(3.0))
    np.save("nan.npy", [[1.0, np.nan], [2.0, 3.0], [4.0, -np.inf], [0.0, 1.0]])
    Path("x.csv").write_text("a,b\n1,2\n3,5\n4,4\n")
    Path("bad.csv").write_text("1,2\n3\n")
    yield path
    os.chdir(before)


def command(*arguments):
    """Run the command here; hold it to its exit codes and to its one line for a mistake."""
    out, err = (
        io.TextIOWrapper(io.BytesIO(), "utf-8", newline="", line_buffering=True) for _ in range(2)
    )
    path = list(sys.path)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(list(arguments))
    assert sys.path == path
    out, err = (stream.buffer.getvalue().decode() for stream in (out, err))
    check(code, out, err)
    return code, out, err


def check(code, out, err):
    assert code in (0, 1, 2)
    if code == 2:
        *notes, mistake = err.removesuffix("\n").split("\n")
        assert out == ""
        assert mistake.startswith("tinygraph")
        assert mistake.isprintable()
        assert all("not finite" in note for note in notes)  # said under --allow-nonfinite


def array_or_message(content, name):
    """Write the file and read it; any error but an InputError gets through and fails the test."""
    Path(name).write_bytes(content)
    try:
        return read_array(name)
    except InputError as error:
        message = str(error)
    assert message.isprintable()
    assert message.startswith(name)
    return message


# --- .npy -----------------------------------------------------------------------------------------


def npy_bytes(header, data=b"", version=(1, 0)):
    """Give a file with any text for its header, in the layout of the version."""
    text = header.encode("latin-1", "replace") + b"\n"
    length = struct.pack("<H" if version[0] < 2 else "<I", len(text))
    return npy.magic(*version) + length + text + data


def saved(array, version=None):
    stream = io.BytesIO()
    npy.write_array(stream, array, version=version)
    return stream.getvalue()


TWELVE = np.arange(12.0).reshape(4, 3) ** 2
VALID = [
    saved(TWELVE),
    saved(np.asfortranarray(TWELVE)),
    saved(TWELVE.astype(">f4")),
    saved(TWELVE.astype("f2"), version=(2, 0)),
    saved(TWELVE.astype(np.longdouble)),
    saved(TWELVE.astype(np.int8)),
    saved(TWELVE > 3),
    saved(np.zeros((0, 3))),
    saved(np.float64(3)),
    saved(np.zeros(2, "f8,i4")),
    saved(TWELVE + 1j),
    npy_bytes("{'descr': '<f8', 'fortran_order': False, 'shape': (1L, 2L)}", bytes(16)),
]


@st.composite
def damaged(draw):
    """Flip, cut, insert, and splice in pieces of other files."""
    content = draw(st.sampled_from(VALID))
    for _ in range(draw(st.integers(1, 4))):
        # Most places are in the header, where the damage is done.
        place = draw(st.integers(0, min(len(content), 90)) | st.integers(0, len(content)))
        match draw(st.sampled_from(["flip", "cut", "insert", "repeat", "splice"])):
            case "flip" if place < len(content):
                flipped = content[place] ^ 1 << draw(st.integers(0, 7))
                content = content[:place] + bytes([flipped]) + content[place + 1 :]
            case "cut":
                content = content[:place] + content[place + draw(st.integers(1, 200)) :]
            case "insert":
                junk = draw(st.binary(max_size=9) | st.sampled_from([b"9" * 20, b"(", b"L", b"-"]))
                content = content[:place] + junk + content[place:]
            case "repeat":
                content = content[:place] + content[max(0, place - 40) :]
            case "splice":
                other = draw(st.sampled_from(VALID))
                content = content[:place] + other[draw(st.integers(0, len(other))) :]
    return content


def check_npy(content):
    x = array_or_message(content, "damaged.npy")
    if not isinstance(x, str):
        assert x.dtype.kind == "f"
        assert x.dtype.isnative
        assert x.nbytes <= 8 * len(content)  # int8 becomes float64


@settings(max_examples=examples(300))
@given(damaged())
def test_a_damaged_npy_is_read_or_explained(content):
    check_npy(content)


WHOLE = st.integers(-3, 5) | st.sampled_from([2**31, 2**62, 2**63, 2**64, -(2**63), 10**40])
SHAPES = st.recursive(
    WHOLE.map(str)
    | st.sampled_from(["2.5", "'4'", "None", "True", "1e400", "2L", "4" * 3000, "x"]),
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda xs: "(" + "".join(f"{x}, " for x in xs) + ")")
        | inner.map("[{}]".format)
        | inner.map("{{1: {}}}".format)
    ),
    max_leaves=6,
)
DESCRIPTIONS = st.sampled_from(
    ["'<f8'", "'>f4'", "'|b1'", "'<f16'", "'f3'", "'<M8[ns]'", "'O'", "'V8'", "'|S0'", "'T'", "7",
     "'(2,)<f8'", "[('a', '<f8')]", "[('a', [('b', 'O')])]", "('<f8', (2,))", "{'names': ['a']}",
     "'S99999999999'", "'<f8,<f8'", "[]", "()", "'\\x00'", "['<f8']", "'é'", "''", "None"]
)  # fmt: skip


@settings(max_examples=examples(300))
@given(
    DESCRIPTIONS,
    st.sampled_from(["True", "False", "0", "'no'", "None"]),
    SHAPES,
    st.sampled_from([(1, 0), (2, 0)]),
    st.sampled_from([0, 8, 96]),
)
def test_whatever_a_header_declares_costs_no_more_than_the_file(
    description, order, shape, version, size
):
    header = f"{{'descr': {description}, 'fortran_order': {order}, 'shape': {shape}}}"
    check_npy(npy_bytes(header, bytes(size), version))


def test_of_all_versions_the_first_two_are_read():
    header = "{'descr': '<f8', 'fortran_order': False, 'shape': (2,)}"
    for major in range(256):
        for minor in (0, 1, 255):
            content = npy_bytes(header, bytes(16))
            if major == 2:
                content = npy_bytes(header, bytes(16), (2, 0))
            x = array_or_message(content[:6] + bytes([major, minor]) + content[8:], "version.npy")
            assert isinstance(x, str) == ((major, minor) not in [(1, 0), (2, 0)])


@pytest.mark.parametrize(
    "header",
    ["(" * 9000, "[" * 9000 + "]" * 9000, "-" * 60_000 + "1", "1+" * 30_000 + "1", "{" * 5000,
     "'" * 65_000, "{'descr': '<f8', 'fortran_order': False, 'shape': (" + "1," * 3000 + ")}",
     "9" * 60_000],
    ids=lambda header: header[:5],
)  # fmt: skip
def test_deep_and_long_headers_are_explained(header):
    for version in ((1, 0), (2, 0)):
        content = npy_bytes(header, bytes(8), version)
        assert isinstance(array_or_message(content, "deep.npy"), str)


@settings(max_examples=examples(40))
@given(damaged())
def test_the_command_takes_a_damaged_npy_or_says_why_not(content):
    Path("damaged.npy").write_bytes(content)
    command("batchnorm", "damaged.npy", "--json", "-o", "damaged", "--force")


# --- .csv -----------------------------------------------------------------------------------------

ENCODINGS = [
    "utf-8", "utf-8-sig", "latin-1", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be",
]  # fmt: skip
PIECES = [
    "1", "-2.5e3", "nan", "inf", "1_0", "1e999", "0x1", "é", "３", "−1", "a b", "", " ", "\t", ";",
    *",,,,,", "\n", "\n", "\r", "\r\n", "\0", '"', '"1"', '"1\n2"', "\ufeff", "\u2028", "\x1c",
]  # fmt: skip


@settings(max_examples=examples(500))
@given(st.lists(st.sampled_from(PIECES), max_size=25).map("".join), st.sampled_from(ENCODINGS))
def test_csv_of_any_pieces_is_read_as_a_plain_reader_would_or_explained(text, encoding):
    x = array_or_message(text.encode(encoding, "replace"), "pieces.csv")
    if isinstance(x, str):
        return
    rows = [line.split(",") for line in re.split(r"\r\n|\r|\n", text.lstrip("\ufeff"))]
    if '"' not in text:
        numbers = [row for row in rows if "".join(row).strip()]
        numbers = numbers[len(numbers) - len(x) :]
        assert np.array_equal(x, np.array(numbers, float), equal_nan=True)
    assert x.shape[0] <= len(rows)
    assert x.dtype == np.float64


def test_all_kinds_of_line_ends_in_one_file():
    x = array_or_message(b"\xef\xbb\xbfa,b\r1,2\r\n3,4\n5,6\r\n\r\n\r\r\n", "ends.csv")
    assert np.array_equal(x, [[1, 2], [3, 4], [5, 6]])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\n" * 1_000_000, "has no rows of numbers"),
        (b"\r" * 1_000_000 + b"1\n", "stands below a blank line"),
        (b"1" * 10_000_000, "field larger than field limit"),
        (b"1," * 10_000_000, "line 1, column 10000001: is empty"),
        (b'"' + b"1\n" * 1_000_000, "close every quote"),
        (b'"' * 1_000_001, "close every quote"),
        (b"1\n" + b"9" * 130_000, "is no number that fits float64"),
        (b"\0" * 1_000_000, "NUL bytes"),
        (b"\xff" * 100_000, "bytes that are not UTF-8"),
    ],
    ids=lambda value: repr(value[:6]) if isinstance(value, bytes) else "",
)
def test_large_junk_is_explained(content, words):
    assert words in array_or_message(content, "large.csv")


def test_large_and_odd_but_right():
    """A million columns, a number of a hundred thousand digits, a million empty lines."""
    row = np.arange(1_000_000.0)
    text = ",".join(map(str, range(1_000_000)))
    assert np.array_equal(array_or_message(text.encode(), "wide.csv"), [row])
    text = "0." + "3" * 100_000 + "\n" * 1_000_000
    assert array_or_message(text.encode(), "digits.csv").tolist() == [[1 / 3]]


# --- paths ----------------------------------------------------------------------------------------


def make_fifo(path):
    os.mkfifo(path)


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(path)


ODD_PLACES = {
    "pipe": make_fifo,
    "socket": make_socket,
    "folder": os.mkdir,
    "nothing": lambda path: os.symlink("/dev/null", path),
    "endless": lambda path: os.symlink("/dev/zero", path),
    "dangling": lambda path: os.symlink("nowhere", path),
    "circular": lambda path: os.symlink(path, path),
}


@pytest.fixture(params=ODD_PLACES)
def odd(request, tmp_path, monkeypatch):
    """Give a function that makes such a thing of a name, in an empty directory."""
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no named pipes, sockets and devices among its files")
    monkeypatch.chdir(tmp_path)

    def make(name):
        ODD_PLACES[request.param](name)
        return name

    make.kind = request.param
    return make


@pytest.mark.parametrize("suffix", ["npy", "csv", "NPY"])
def test_what_is_no_file_is_not_read(odd, suffix):
    name = odd(f"odd.{suffix}")
    for arguments in (
        ["batchnorm", name],
        ["batchnorm", "--upstream", name],
        ["draw", "batchnorm", f"x={name}"],
        ["derive", "batchnorm", f"x={name}"],
    ):
        code, _, err = command(*arguments)
        assert code == 2
        assert name in err


def test_what_is_no_file_is_not_run(odd):
    name = odd("odd.py")
    assert command("draw", f"{name}:f")[0] == 2
    assert command("derive", f"{name}:f")[0] == 2


@pytest.mark.parametrize("force", [(), ("--force",)], ids=["", "force"])
def test_what_is_no_file_is_not_written_to(odd, force):
    name = odd("odd.svg")
    code, _, err = command("draw", "batchnorm", "x=3x2", "-o", name, *force)
    if odd.kind == "dangling":  # a new file, where the link points to
        assert code == 0
        assert Path("nowhere").read_bytes().startswith(b"<?xml")
    else:
        assert code == 2
        assert name in err
    name = odd("batchnorm.svg")
    assert command("batchnorm", "-o", ".", *force)[0] == (0 if odd.kind == "dangling" else 2)


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="an administrator may read any file"
)
def test_what_may_not_be_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("x.npy", "x.csv", "model.py", "out.svg"):
        Path(name).write_text("1")
        Path(name).chmod(0)
    for arguments in (["batchnorm", "x.npy"], ["batchnorm", "x.csv"], ["draw", "model.py:f"]):
        assert "ermission" in command(*arguments)[2]
    assert "ermission" in command("draw", "batchnorm", "-o", "out.svg")[2]


# --- the user's functions -------------------------------------------------------------------------

SOURCES = {
    "syntax": ("def f(:\n", ["SyntaxError", "line 1"]),
    "indentation": ("def f(x):\nreturn x\n", ["IndentationError", "line 2"]),
    "tabs": ("if 1:\n\tx = 1\n        y = 2\n", ["TabError", "line 3"]),
    "nul": ("x = 1\0\n", ["null bytes"]),
    "encoding": (b"x = '\xe9'\n", ["SyntaxError", "utf-8"]),
    "codec": (b"# coding: nonsense\n", ["SyntaxError", "nonsense"]),
    "utf-16": ("def f(x): return x\n".encode("utf-16"), ["file.py: "]),
    "deep": ("x = " + "(" * 1000 + ")" * 1000, ["nested parentheses"]),
    "long": ("x = " + "-" * 100_000 + "1", ["file.py: "]),
    "raises": ("def load():\n    1 / 0\nload()\n", ["file.py, line 2, in load: `1 / 0`: ZeroD"]),
    "exits": ("raise SystemExit('bye\\nbye')\n", ["line 1, in <module>", "SystemExit: bye bye"]),
    "recursion": ("def g(): g()\ng()\n", ["line 1, in g: `def g(): g()`: RecursionError"]),
    "stops": ("class Stop(BaseException): pass\nraise Stop\n", ["line 2", "Stop: no message"]),
    "import": ("import no_such_module\n", ["line 1", "ModuleNotFoundError", "no_such_module"]),
    "itself": ("import file\nfile.f\n", ["AttributeError"]),
    "attributes": ("def __getattr__(name):\n    raise OSError(name)\n", ["line 2", "OSError: f"]),
    "empty": ("", ["has no function 'f'; it has none"]),
    "none": ("g = 3\ndef h(): pass\n", ["has no function 'f'; it has h"]),
    "number": ("f = 3\n", ["has no function 'f'"]),
    "class": ("class f:\n    def __init__(self, x): pass\n", ["is a class", "it has no methods"]),
    "warning": ("import warnings\nwarnings.warn('careful')\n", ["has no function 'f'"]),
    "one long line": (f"x = {list(range(9999))}; 1 / 0", ["line 1, in <module>: `x = [0, 1,"]),
}


@pytest.mark.parametrize(("source", "words"), SOURCES.values(), ids=SOURCES)
def test_a_file_that_defines_no_function_is_explained(source, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("file.py").write_bytes(source if isinstance(source, bytes) else source.encode())
    for verb in ("draw", "derive"):
        code, _, err = command(verb, "file.py:f", "x=3")
        assert code == 2
        assert len(err) < 400
        for word in words:
            assert word in err


FAILING = {
    "endless": "model.py, line 21, in endless: `def endless(x): return endless(x)`: RecursionError",
    "leave": "in leave: `def leave(x): sys.exit(0)`: SystemExit: 0",
    "leave_with_words": "SystemExit: goodbye all",
    "stop": "name='x', shape=(4,))",
    "wordless": "ValueError: no message",
    "wordy": "RuntimeError: word word word",
    "stray": "StopIteration: no message",
    "pipe": "BrokenPipeError: no message",
    "index": "in index: `def index(x): return x[7]`: IndexError",
    "text": 'in text: `def text(x): exec("1 / 0")`: ZeroDivisionError: division by zero',
    "none": "returned NoneType and no tensor",
    "lazy": "returned generator and no tensor",
    "later": "model.py:later: is asynchronous",
    "Held": "Held: is a class, and no function",
    "Empty": "Empty: is a class, and no function",
    "positional": "positional",
    "largest": "model.py:largest: has no signature",
    "number": "has no function 'number'; it has forward, power",
    "": "name a function as FILE.py:FUNCTION",
}


@pytest.mark.parametrize("name", FAILING)
def test_a_function_that_fails_is_explained_in_one_line(name):
    for verb in ("draw", "derive"):
        code, _, err = command(verb, f"model.py:{name}", "x=4")
        assert code == 2
        assert FAILING[name] in err
        assert len(err) < 700


@pytest.mark.parametrize(
    "name", ["same", "pair", "overflow", "warning", "anything", "doubled", "größe", "printing"]
)
def test_a_function_that_is_odd_is_drawn_and_derived(name):
    argument = f"{'größe' if name == 'größe' else 'x'}=4"
    said = "hello (4,)\nmore\n" if name == "printing" else ""
    for options in (["draw", "--values", "-o", "-", "--format", "dot"], ["derive"]):
        code, out, err = command(*options, f"model.py:{name}", argument)
        assert (code, err) == (0, said)
        assert "hello" not in out


@pytest.mark.parametrize("name", ["a\nb.py", "a b.py", "größe.py", "\x1b[31m.py", "a.b.py", "'.py"])
def test_a_file_of_any_name_is_run_and_named_in_one_line(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if os.name == "nt" and not name.isprintable():
        pytest.skip("the name is not allowed on Windows")
    Path(name).write_text("def f(x): return 2 * x\ndef g(x): 1 / 0\n")
    assert command("derive", f"{name}:f", "x=3")[0] == 0
    assert "line 2, in g: `def g(x): 1 / 0`" in command("derive", f"{name}:g", "x=3")[2]
    assert command("draw", f"{name}:f", "x=3", "-o", f"{name}.dot")[0] == 0
    assert Path(f"{name}.dot").is_file()


# --- random command lines -------------------------------------------------------------------------

# No more than five digits in a row: 99999999 is a tensor that one may ask for.
JUNK = st.text("x=:.()[]{},'\"+-e03é\n\0 _\ud800", max_size=5)


def mostly(values):
    """Give one of the values, and junk one time in eight."""
    return st.integers(0, 7).flatmap(lambda k: st.sampled_from(values) if k else JUNK)


WORKING = ["batchnorm", *(f"model.py:{name}" for name in ("power", "doubled", "anything", "pair"))]
TARGETS = mostly(
    [*WORKING * 12, *map("model.py:{}".format, NAMES), "model.py", "no.py:f", "x.npy:f", ":", "."]
)
VALUES = mostly(
    ["4x3", "3", "()", "1e-5", "-1", "nan", "1e400", "x.npy", "x.csv", "bad.csv", "no.npy", "0",
     "0x3", "x".join("1" * 70), "9" * 30, "9" * 5000, "0x" + "9" * 400, "٣", "²", "row.npy"]
)  # fmt: skip
LITERALS = mostly(
    ["3", "(0, 1)", "None", "[1.0, 2.0]", "'\\d'", "{[]: 1}", "1j", "x", "(" * 300, "-" * 30_000,
     "1if 1else 2", "9" * 5000, "b'x'", "...", "__import__('os')", "{**1}", "1" + "+1" * 30_000]
)  # fmt: skip
KEYS = st.sampled_from(["x", "x", "gamma", "beta", "eps", "axis", "n", "größe", "self", "class"])
ASSIGNMENTS = st.one_of(
    st.tuples(KEYS, VALUES).map("=".join), st.tuples(KEYS, LITERALS).map(":=".join)
)
ARGUMENTS = st.tuples(
    mostly(["x=4x3", "x=x.npy", "x=nan.npy", "x=3", "x=()", "x=2x2x3", "x=0x3"]),
    st.integers(0, 3).flatmap(lambda k: st.just([]) if k else st.lists(ASSIGNMENTS, max_size=2)),
).map(lambda pair: [pair[0], *pair[1]])


def options(*flags, **choices):
    """Give lists of some of the options, each with a value that it may or may not take."""
    pairs = [
        st.tuples(st.just(f"--{name}"), mostly(values.split())) for name, values in choices.items()
    ]
    alone = st.sampled_from([f"--{flag}" for flag in flags]).map(lambda flag: (flag,))
    return st.lists(st.one_of(*pairs, alone), max_size=3).map(
        lambda found: [text for group in found for text in group]
    )


OUTPUTS = "- new out.svg out.dot out.gv out.json out.bmp x.npy model.py . new/deep/out.dot"
DRAWING = options(
    "force", "values", "help", view="circuit forward backward joint", detail="steps primitives",
    direction="LR TB up", step="0 1 2 -1 99 1.5", seed="0 1 -1", format="dot json bmp",
    output=OUTPUTS,
)  # fmt: skip
DERIVING = options("force", seed="0 7 -1", format="text markdown latex python html", output=OUTPUTS)
COMPARING = options(
    "json", "allow-nonfinite", "exact", "force", seed="0 7 -1", upstream="x.npy x.csv no.npy",
    eps="0 1e-3 -1 nan inf 1e400 1/7 1/0", dtype="float32 longdouble int8", output=OUTPUTS,
    axis="0 1 -1 0,1 0,0 5 99999999999999999999 ,",
)  # fmt: skip
BATCHES = ["x.npy", "x.npy", "x.csv", "bad.csv", "row.npy", "nan.npy", "no.npy", "model.py", "."]


@settings(max_examples=examples(200))
@given(st.sampled_from(["draw", "derive"]), TARGETS, ARGUMENTS, st.data())
def test_random_targets_and_options(verb, target, arguments, data):
    chosen = data.draw(DRAWING if verb == "draw" else DERIVING)
    default = ["-o", "-", "--format", "dot" if verb == "draw" else "text"]
    command(verb, target, *arguments, *default, *chosen)


@settings(max_examples=examples(200))
@given(TARGETS, ARGUMENTS)
def test_random_arguments_of_functions(target, arguments):
    for verb in (["draw", "--values", "-o", "-", "--format", "dot"], ["derive"]):
        command(*verb, target, *arguments)


@settings(max_examples=examples(100))
@given(st.sampled_from(["batchnorm", "compare"]), mostly(BATCHES), COMPARING)
def test_random_batches_and_options(verb, batch, chosen):
    command(verb, batch, *(["-o", "new"] if verb == "batchnorm" else []), *chosen)


@settings(max_examples=examples(100))
@given(
    st.lists(mostly(["batchnorm", "compare", "draw", "derive", "--version", "-h", "-o", "x.npy"]))
)
def test_random_words(words):
    command(*words)


# --- worst cases, in little memory ----------------------------------------------------------------

MEGABYTES = 512
LIMITED = f"""
import resource
resource.setrlimit(resource.RLIMIT_AS, ({MEGABYTES} << 20, {MEGABYTES} << 20))
from tinygraph.cli.commands import main
raise SystemExit(main())
"""
SIXTEEN_GIGABYTES = 2**34


def sparse(path, head=b""):
    """Make a file that is large and takes no room."""
    with open(path, "wb") as file:
        file.write(head)
        file.truncate(len(head) + SIXTEEN_GIGABYTES)


def header(shape):
    return npy_bytes(f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}}}")


WORST = {
    "declared": (
        lambda: Path("worst.npy").write_bytes(header("(2147483648, 1)") + bytes(64)),
        ["batchnorm", "worst.npy"],
        "declares 17179869184 bytes, but 64 are there",
    ),
    "large": (
        lambda: sparse("worst.npy", header("(2147483648, 1)")),
        ["batchnorm", "worst.npy"],
        "worst.npy: does not fit into memory",
    ),
    "no line ends": (
        lambda: sparse("worst.csv"),
        ["batchnorm", "worst.csv"],
        "NUL bytes",
    ),
    "columns": (
        lambda: Path("worst.csv").write_bytes(b"1," * 8_388_000 + b"2"),
        ["batchnorm", "worst.csv"],
        "x of shape (1, 8388001) has 1 value per feature",
    ),
    "letters": (
        lambda: Path("worst.csv").write_text("\U0001f600" * (1 << 24), "utf-8"),
        ["batchnorm", "worst.csv"],
        "line 1, field larger than field limit",
    ),
    "random": (
        lambda: None,
        ["draw", "batchnorm", "x=1000000x100"],
        "Unable to allocate 763. MiB",
    ),
    "computed": (
        lambda: None,
        ["derive", "model.py:overflow", "x=100x100000"],
        "/ (x - x)`: MemoryError: Unable to allocate 76.3 MiB",
    ),
    "compared": (
        lambda: np.save("worst.npy", np.arange(1, 16e6).reshape(-1, 3)),
        ["compare", "worst.npy"],
        "take smaller arrays",
    ),
}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere this limit is not enforced")
@pytest.mark.parametrize("name", WORST)
def test_the_worst_cases_are_explained_in_little_memory(name):
    prepare, arguments, words = WORST[name]
    prepare()
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "COV"))}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", LIMITED, *arguments],
        env=kept
        | {"PYTHONPATH": str(Path(tinygraph.__file__).parents[1]), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        timeout=60,
        encoding="utf-8",
    )
    for path in ("worst.npy", "worst.csv"):
        Path(path).unlink(missing_ok=True)
    check(done.returncode, done.stdout, done.stderr)
    assert done.returncode == 2
    assert words in done.stderr
