"""The README: its commands, its code, its links, its table of modules."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = (".", "examples", "graphs", "tests", "tests/bench")
PAGES = [ROOT / folder / "README.md" for folder in FOLDERS]
README, EXAMPLES = (page.read_text(encoding="utf-8") for page in PAGES[:2])
LONGEST = 180
PACKAGE = ROOT / "tinygraph"


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README + EXAMPLES, re.DOTALL | re.MULTILINE)


def test_the_page_is_short():
    assert len(README.splitlines()) <= LONGEST


def test_the_table_of_known_functions_is_that_of_the_engine():
    script = ROOT / "examples" / "known_functions.py"
    done = subprocess.run([sys.executable, script], capture_output=True, check=True)
    assert done.stdout.decode() in EXAMPLES


# --- commands -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    ["pip install -e . && tinygraph batchnorm", 'pip install -e ".[test]" && pytest'],
)
def test_the_commands_stand_on_their_own_lines(line):
    lines = README.splitlines()
    assert lines.count(f"    {line}") == 1  # four spaces: a block of code
    assert lines.index(f"    {line}") < 20


def test_every_command_that_is_shown_is_understood():
    from tinygraph.cli.arguments import parser

    shown = [
        line.strip().split("#")[0].split(">")[0]
        for line in README.splitlines()
        if line.startswith("    tinygraph ")
    ]
    assert len(shown) >= 4
    for line in shown:
        words = re.findall(r'"[^"]*"|\S+', line)[1:]
        parser().parse_args([word.strip('"') for word in words])


# --- code ---------------------------------------------------------------------------------------


def printed(block):
    """Give the comment of each print in a block, in order."""
    return re.findall(r"^print\(.*\)(?: +# *(.*))?$", block, re.MULTILINE)


def numbers(text):
    return [float(n) for n in re.findall(r"(?<![\w.])-?\d+(?:\.\d*)?(?:e[+-]?\d+)?", text)]


def test_there_is_code():
    assert len(blocks("python")) >= 2
    assert any(numbers(comment) for block in blocks("python") for comment in printed(block))


@pytest.mark.parametrize("block", blocks("python"), ids=range(len(blocks("python"))))
def test_code_runs_and_prints_what_its_comments_say(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    output = []

    def record(*values, **options):
        output.append(" ".join(map(str, values)))

    exec(compile(block, "README.md", "exec"), {"__name__": "readme", "print": record})
    comments = printed(block)
    assert len(output) >= len(comments)
    for comment, text in zip(comments, output, strict=False):
        found = iter(numbers(text))
        assert all(n in found for n in numbers(comment)), (comment, text)  # in this order


def test_code_writes_the_files_it_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    named = set()
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), {"__name__": "readme", "print": lambda *a: None})
        named |= set(re.findall(r"\.save\(\"([^\"]+)\"\)", block))
    assert named
    for name in named:
        assert (tmp_path / name).stat().st_size > 100


def test_the_derivation_in_the_readme_is_that_of_the_engine():
    """Each name in the table of steps is a name that the staged graph gives."""
    import numpy as np

    from tinygraph import Graph, trace
    from tinygraph.batchnorm import staged
    from tinygraph.engine.autodiff import reachable

    out = trace(staged)(np.random.default_rng(0).normal(size=(5, 2)), np.ones(2), np.zeros(2))
    graph = Graph.capture(out, wrt=[n for n in reachable([out]) if n.op is None])
    table = re.findall(r"^\| (\d) \| (\w+)(?: = [^|]*)? \| ([^|]+) \|$", README, re.MULTILINE)
    assert [int(number) for number, *_ in table] == list(range(9, -1, -1))
    results = {step.number: step.name for step in graph.steps} | {0: "x"}
    gradients = {}
    for g in graph.gradients:
        gradients.setdefault(g.step, set()).add(g.name)
    for number, name, backwards in table:
        assert results[int(number)] == name
        given = set(re.findall(r"(?:^|, )(d\w+) = ", backwards))
        assert given
        assert given <= gradients[int(number)] | {"dx"}


# --- links --------------------------------------------------------------------------------------


def links(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    found = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"(?:src|href)=\"([^\"]+)\"", text)
    return [link for link in found if not re.match(r"[a-z]+:", link)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_every_relative_link_leads_somewhere(page):
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT)
        if anchor:
            titles = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {
                re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles
            }


def test_there_are_links():
    assert sum(len(links(page)) for page in PAGES) > 20


def test_every_file_that_is_mentioned_exists():
    for name in re.findall(r"`((?:tinygraph|examples|graphs|tests)/[\w./-]+)`", README):
        assert (ROOT / name).exists(), name


# --- wings --------------------------------------------------------------------------------------


def table():
    """Give the wings of the table, in order."""
    rows = README.split("| wing |")[1].split("\n\n")[0].splitlines()[2:]
    return [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])]


def test_the_table_names_exactly_the_wings_that_exist():
    exist = {p.stem for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert len(table()) == len(set(table()))
    assert set(table()) == exist - {"__init__", "__main__"}
