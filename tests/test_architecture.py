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
FILES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
LONGEST = 600
ROOMS, FLOORS = 16, 8

# What each wing imports of the others: exactly this. A new module belongs to one of them, and an
# arrow that is not drawn here, or is drawn and not used, is a decision to be made.
WINGS = {
    "files": set(),
    "engine": set(),
    "ops": {"engine"},
    "graph": {"engine"},
    "batchnorm": {"engine"},
    "nn": {"batchnorm", "engine", "files"},
    "optim": {"nn", "engine"},
    "writing": {"graph", "engine"},
    "drawing": {"writing", "graph", "engine", "files"},
    "algebra": {"writing", "graph", "engine"},
    "execution": {"writing", "graph", "engine"},
    "checks": {"algebra", "writing", "graph", "batchnorm", "engine"},
    "explorer": {"drawing", "writing", "graph", "engine", "files"},
    "cli": {
        "algebra",
        "checks",
        "explorer",
        "drawing",
        "execution",
        "writing",
        "graph",
        "batchnorm",
        "engine",
        "files",
    },
    "__main__": {"cli"},
    "__init__": {
        "engine",
        "ops",
        "graph",
        "batchnorm",
        "nn",
        "optim",
        "writing",
        "drawing",
        "explorer",
        "algebra",
        "checks",
        "execution",
    },
}

# What of others may be imported where; the standard library and NumPy are everywhere.
OTHERS = {"drawing.layout": {"pygraphviz"}, "drawing.rendering": {"graphviz"}}
OTHERS |= {"engine.library.special": {"scipy"}}
OTHERS |= {"execution.sources": {"zarr"}, "execution.destinations": {"zarr"}}
OTHERS |= {"execution.clusters": {"dask", "distributed"}}


def wing_of(name):
    return name.partition(".")[0]


@functools.cache
def tree_of(name):
    return ast.parse(FILES[name].read_text(encoding="utf-8"), filename=f"{name}.py")


def dotted_imports(tree):
    """Yield every imported module as a dotted name, inside functions too.

    ``from tinygraph.engine import ops`` imports tinygraph.engine.ops; of ``from tinygraph import
    Tensor`` only the package itself is known, which no module of it may import.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}".removeprefix("tinygraph.")
                known = inner in FILES or f"{inner}.__init__" in FILES
                yield f"tinygraph.{inner}" if known else str(node.module)


def imported(tree):
    """Give the modules of ours that are imported, and the packages of others."""
    ours, others = set(), set()
    for name in dotted_imports(tree):
        package, _, rest = name.partition(".")
        if package == "tinygraph":
            ours.add(f"{rest}.__init__" if f"{rest}.__init__" in FILES else rest or "__init__")
        elif package not in sys.stdlib_module_names:
            others.add(package)
    return ours, others


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from tinygraph.engine import ops", ({"engine.ops"}, set())),
        (
            "from tinygraph.engine import functions, ops as o",
            ({"engine.functions", "engine.ops"}, set()),
        ),
        ("from tinygraph.engine import Tensor", ({"engine.__init__"}, set())),
        ("from tinygraph.engine.tensor import Tensor", ({"engine.tensor"}, set())),
        ("import tinygraph.graph as g", ({"graph.__init__"}, set())),
        ("from tinygraph import nn", ({"nn.__init__"}, set())),
        ("from tinygraph import Tensor", ({"__init__"}, set())),
        ("import tinygraph", ({"__init__"}, set())),
        ("def f():\n    if 1:\n        from tinygraph.cli import main", ({"cli.__init__"}, set())),
        ("import numpy.typing as npt, os.path\nimport graphviz", (set(), {"numpy", "graphviz"})),
        ("'import tinygraph.cli'  # from tinygraph import ops", (set(), set())),
    ],
)
def test_imports_are_read_right(source, expected):
    assert imported(ast.parse(source)) == expected


def arrows():
    """Give what each wing imports of the others."""
    found = {wing_of(name): set() for name in FILES}
    for name in FILES:
        wing = wing_of(name)
        found[wing] |= {wing_of(other) for other in imported(tree_of(name))[0]} - {wing}
    return found


def test_wings_import_exactly_what_the_table_says():
    assert arrows() == WINGS


@pytest.mark.parametrize("name", FILES)
def test_others_are_imported_where_they_belong(name):
    _, others = imported(tree_of(name))
    assert others <= {"numpy"} | OTHERS.get(name, set())


def test_whatever_is_imported_exists():
    for name in FILES:
        ours, _ = imported(tree_of(name))
        assert ours <= set(FILES), name


def test_no_file_imports_relatively():
    """A dotted path says where an idea lives; a dot does not."""
    for name in FILES:
        for node in ast.walk(tree_of(name)):
            assert not (isinstance(node, ast.ImportFrom) and node.level), name


def test_modules_are_imported_by_name_only():
    """An import through a string would pass by the table.

    The package itself is lazy, and a pickle may name a primitive of a module that is not loaded.
    """
    for name in FILES:
        calls = {
            getattr(node.func, "attr", getattr(node.func, "id", None))
            for node in ast.walk(tree_of(name))
            if isinstance(node, ast.Call)
        }
        if name not in ("__init__", "engine.primitive"):
            assert not calls & {"import_module", "__import__"}, name


def cycles(edges):
    """Remove whatever imports nothing that is left; what cannot be removed goes in circles."""
    left = {name: set(targets) for name, targets in edges.items()}
    while free := [name for name, targets in left.items() if not targets & set(left)]:
        for name in free:
            del left[name]
    return set(left)


def floors(edges):
    """Count how many storeys it takes so that every arrow points down."""
    height = {}
    while len(height) < len(edges):
        free = [n for n, below in edges.items() if n not in height and below <= set(height)]
        height |= {
            name: 1 + max((height[below] for below in edges[name]), default=0) for name in free
        }
    return max(height.values())


def test_there_are_no_cycles():
    edges = {name: imported(tree_of(name))[0] for name in FILES if not name.endswith("__init__")}
    assert cycles(edges) == set()
    assert cycles(WINGS) == set()
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": set()}) == set("abcd")


def test_the_house_has_few_rooms_and_few_floors():
    assert len(WINGS) <= ROOMS
    assert floors(WINGS) <= FLOORS
    assert floors({"a": {"b"}, "b": {"c"}, "c": set()}) == 3


@pytest.mark.parametrize("wing", [name for name in WINGS if f"{name}.__init__" in FILES])
def test_a_wing_says_how_to_read_it(wing):
    """Every file of it, in the order of its imports, and nothing but public names."""
    doc = ast.get_docstring(tree_of(f"{wing}.__init__"))
    files = [n for n in FILES if wing_of(n) == wing and "__init__" not in n]
    named = {name: f"`{name.rpartition('.')[2]}`" for name in files}
    assert [name for name in files if named[name] not in doc] == []
    place = {name: doc.index(named[name]) for name in files}
    for name in place:
        for other in imported(tree_of(name))[0] & set(place):
            assert place[other] < place[name], f"{name} is named before {other}, which it imports"


def test_no_wing_is_called_like_a_public_function():
    """Importing a submodule sets an attribute of the package and would replace the function."""
    modules = {
        name for name in tinygraph.__all__ if isinstance(getattr(tinygraph, name), ModuleType)
    }
    assert not (set(WINGS) & set(tinygraph.__all__)) - modules


LOADED = """
import json, sys
before = set(sys.modules)
import tinygraph
first = sorted(set(sys.modules) - before)
tinygraph.Tensor, tinygraph.trace
engine = sorted(set(sys.modules) - before)
tinygraph.draw, tinygraph.compare, tinygraph.gradcheck, tinygraph.batchnorm
print(json.dumps([first, engine, sorted(set(sys.modules) - before)]))
"""


def test_what_is_imported_is_what_is_used_and_nothing_heavier_than_numpy():
    done = subprocess.run(
        [sys.executable, "-c", LOADED], cwd=PACKAGE.parent, capture_output=True, check=True
    )
    first, engine, then = (set(names) for names in json.loads(done.stdout))
    packages = {name.partition(".")[0] for name in first} - sys.stdlib_module_names
    assert packages == {"tinygraph"}
    packages = {name.partition(".")[0] for name in engine} - sys.stdlib_module_names
    assert packages == {"numpy", "tinygraph"}
    ours = {name.partition(".")[2] for name in engine if name.startswith("tinygraph.")}
    assert {wing_of(name) for name in ours} == {"engine"}
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
    module = importlib.import_module(f"tinygraph.{name}".removesuffix(".__init__"))
    assert sorted(set(module.__all__)) == sorted(module.__all__)
    for public_name in module.__all__:
        value = getattr(module, public_name)
        if inspect.isfunction(value) or inspect.isclass(value):
            assert value.__doc__, public_name


def test_the_package_lists_what_it_has():
    assert dir(tinygraph) == sorted(tinygraph.__all__)
    with pytest.raises(AttributeError, match="nonsense"):
        tinygraph.nonsense  # noqa: B018
