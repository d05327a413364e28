"""The shape of the code: who imports whom, what an import loads, what every public name has."""

import ast
import functools
import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import tinygraph

PACKAGE = Path(tinygraph.__file__).parent
FILES = {path.stem: path for path in sorted(PACKAGE.glob("*.py"))}
LONGEST = 600

ENGINE = {"values", "recording", "ops", "functions", "operators", "autodiff", "tensor"}

# What each module may import of ours. A new module needs a row here: decide where it belongs.
ALLOWED = {
    # the engine
    "ops": set(),
    "functions": {"ops"},
    "operators": {"ops", "functions"},
    "autodiff": {"ops", "operators"},
    "values": {"operators"},
    "recording": {"ops"},
    "tensor": {"ops", "functions", "operators", "values", "autodiff", "recording"},
    "tracing": {"tensor"},
    "copying": {"ops", "values", "autodiff", "tensor", "tracing"},
    "anomaly": {"ops", "functions", "operators", "recording", "tracing"},
    # the snapshot
    "nodes": {"ops"},
    "capturing": {"ops", "autodiff", "operators", "nodes"},
    "graph": {"nodes", "capturing", "operators", "autodiff", "values"},
    # text
    "latex": set(),
    "notation": {"graph", "latex", "nodes"},
    "literals": set(),
    "sources": {"graph", "nodes", "notation", "literals"},
    "emission": {"graph", "nodes", "notation", "literals", "sources"},
    "equations": {
        "autodiff", "capturing", "emission", "graph", "nodes", "notation", "operators",
    },
    # pictures
    "boxes": {"graph", "nodes"},
    "rendering": set(),
    "canvas": {"boxes", "graph", "nodes", "notation", "rendering"},
    "drawing": {
        "autodiff", "boxes", "canvas", "capturing", "graph", "nodes", "notation", "rendering",
    },
    # batch normalization, and checks
    "batchnorm": {"ops", "functions", "autodiff", "tensor"},
    "by_hand": {"ops", "autodiff", "batchnorm", "graph", "notation"},
    "report": {"by_hand", "graph"},
    "rational": {"by_hand", "tensor"},
    "exact": {
        "functions", "autodiff", "batchnorm", "by_hand", "graph", "rational", "report", "tensor",
        "tracing",
    },
    "comparison": {
        "functions", "batchnorm", "by_hand", "exact", "graph", "rational", "recording", "report",
        "tensor",
        "tracing",
    },
    "guarding": {"tensor"},
    "verdict": set(),
    "checking": {"tensor", "autodiff", "operators", "functions", "guarding", "verdict"},
    # networks
    "state": set(),
    "fused": {"ops", "batchnorm", "tensor"},
    "module": {"state", "tensor", "tracing"},
    "layers": {"module", "tensor"},
    "losses": {"module", "tensor"},
    "normalization": {"batchnorm", "fused", "functions", "layers", "module", "tensor"},
    "containers": {"layers", "module", "normalization"},
    "nn": {"containers", "layers", "losses", "module", "normalization"},
    "optim": {"module", "state", "tensor"},
    # the command line
    "inputs": set(),
    "targets": {"batchnorm", "inputs", "tensor", "tracing"},
    "__main__": {"cli"},
    "__init__": {
        "graph", "tensor", "tracing", "recording", "copying", "anomaly", "batchnorm", "checking",
        "comparison", "drawing", "equations", "nn", "optim",
    },
}  # fmt: skip

ALLOWED["cli"] = set(ALLOWED) - {"__main__", "__init__"}

# What of others may be imported where; the standard library and NumPy are everywhere.
OTHERS = {"rendering": {"graphviz", "pygraphviz"}}


@functools.cache
def tree_of(name):
    return ast.parse(FILES[name].read_text(encoding="utf-8"), filename=f"{name}.py")


def dotted_imports(tree):
    """Yield every imported module as a dotted name, inside functions too.

    ``from tinygraph import ops`` imports tinygraph.ops; of ``from tinygraph import Tensor`` only
    the package itself is known, which no module of it may import.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "tinygraph" if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            if module != "tinygraph":
                yield module
            else:
                for alias in node.names:
                    yield f"tinygraph.{alias.name}" if alias.name in FILES else "tinygraph"


def imported(tree):
    """Give the modules of ours that are imported, and the packages of others."""
    ours, others = set(), set()
    for name in dotted_imports(tree):
        package, _, rest = name.partition(".")
        if package == "tinygraph":
            ours.add(rest.partition(".")[0] or "__init__")
        elif package not in sys.stdlib_module_names:
            others.add(package)
    return ours, others


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from tinygraph import ops", ({"ops"}, set())),
        ("from tinygraph import functions, ops as o", ({"functions", "ops"}, set())),
        ("from tinygraph.tensor import Tensor", ({"tensor"}, set())),
        ("import tinygraph.graph as g", ({"graph"}, set())),
        ("from tinygraph import Tensor", ({"__init__"}, set())),
        ("import tinygraph", ({"__init__"}, set())),
        ("from . import ops", ({"ops"}, set())),
        ("from .tensor import Tensor", ({"tensor"}, set())),
        ("def f():\n    if 1:\n        from tinygraph.cli import main", ({"cli"}, set())),
        ("import numpy.typing as npt, os.path\nimport graphviz", (set(), {"numpy", "graphviz"})),
        ("'import tinygraph.cli'  # from tinygraph import ops", (set(), set())),
    ],
)
def test_imports_are_read_right(source, expected):
    assert imported(ast.parse(source)) == expected


@pytest.mark.parametrize("name", FILES)
def test_a_module_imports_what_the_table_allows(name):
    assert name in ALLOWED, f"{name}.py is new: give it a row in this table"
    ours, others = imported(tree_of(name))
    assert ours <= ALLOWED[name]
    assert others <= {"numpy"} | OTHERS.get(name, set())


def test_whatever_is_imported_exists():
    for name in FILES:
        ours, _ = imported(tree_of(name))
        assert ours <= set(FILES), name


def test_modules_are_imported_by_name_only():
    """An import through a string would pass by the table; only the package itself is lazy."""
    for name in FILES:
        calls = {
            getattr(node.func, "attr", getattr(node.func, "id", None))
            for node in ast.walk(tree_of(name))
            if isinstance(node, ast.Call)
        }
        if name != "__init__":
            assert not calls & {"import_module", "__import__"}, name


def cycles(edges):
    """Remove whatever imports nothing that is left; what cannot be removed goes in circles."""
    left = {name: set(targets) for name, targets in edges.items()}
    while free := [name for name, targets in left.items() if not targets & set(left)]:
        for name in free:
            del left[name]
    return set(left)


def test_there_are_no_cycles():
    edges = {name: imported(tree_of(name))[0] for name in FILES if name != "__init__"}
    assert cycles(edges) == set()
    assert cycles(ALLOWED) == set()
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": set()}) == set("abcd")


def test_the_engine_knows_nothing_of_what_is_built_on_it():
    reached, stack = set(), list(ENGINE)
    while stack:
        name = stack.pop()
        if name not in reached:
            reached.add(name)
            stack += imported(tree_of(name))[0]
    assert reached == ENGINE


LOADED = """
import json, sys
before = set(sys.modules)
import tinygraph
first = sorted(set(sys.modules) - before)
tinygraph.draw, tinygraph.compare, tinygraph.gradcheck, tinygraph.batchnorm
print(json.dumps([first, sorted(set(sys.modules) - before)]))
"""


def test_importing_the_package_loads_numpy_and_nothing_heavier():
    done = subprocess.run(
        [sys.executable, "-c", LOADED], cwd=PACKAGE.parent, capture_output=True, check=True
    )
    first, then = (set(names) for names in json.loads(done.stdout))
    packages = {name.partition(".")[0] for name in first} - sys.stdlib_module_names
    assert packages == {"numpy", "tinygraph"}
    ours = {name.partition(".")[2] for name in first if name.startswith("tinygraph.")}
    assert ours <= ENGINE | {"tracing", "copying"}
    # What is loaded when it is first used does not come sooner or by another way.
    assert "graphviz" in then
    heavy = {"pygraphviz", "hypothesis", "matplotlib", "pytest", "torch", "tinygraph.cli"}
    assert not heavy & then


def test_no_assert_checks_anything():
    """``python -O`` drops them."""
    for name in FILES:
        lines = [node.lineno for node in ast.walk(tree_of(name)) if isinstance(node, ast.Assert)]
        assert lines == [], f"{name}.py"


@pytest.mark.parametrize("name", FILES)
def test_no_file_is_longer_than_a_person_reads_in_one_go(name):
    assert len(FILES[name].read_text(encoding="utf-8").splitlines()) <= LONGEST


def public(module):
    """Yield the public functions and classes of a module, and of the modules it makes public."""
    for name in module.__all__:
        value = getattr(module, name)
        if isinstance(value, ModuleType):
            yield from public(value)
        else:
            yield pytest.param(value, id=f"{module.__name__}.{name}")


@pytest.mark.parametrize("value", list(public(tinygraph)))
def test_what_is_public_has_a_docstring_with_an_example(value):
    text = inspect.getdoc(value)
    assert text
    _, heading, examples = text.partition("Examples\n--------\n")
    assert heading
    assert ">>> " in examples


@pytest.mark.parametrize("name", [name for name in FILES if name != "__main__"])
def test_every_module_says_what_it_is_and_what_is_public(name):
    assert ast.get_docstring(tree_of(name))
    module = importlib.import_module("tinygraph" if name == "__init__" else f"tinygraph.{name}")
    assert sorted(set(module.__all__)) == sorted(module.__all__)
    for public_name in module.__all__:
        value = getattr(module, public_name)
        if inspect.isfunction(value) or inspect.isclass(value):
            assert value.__doc__, public_name


def test_the_package_lists_what_it_has():
    assert dir(tinygraph) == sorted(tinygraph.__all__)
    with pytest.raises(AttributeError, match="nonsense"):
        tinygraph.nonsense  # noqa: B018
