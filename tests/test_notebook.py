"""The notebooks run from top to bottom, and what they claim on the way is so."""

import re
from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient", reason='needs pip install -e ".[notebook]"')
nbformat = pytest.importorskip("nbformat", reason='needs pip install -e ".[notebook]"')
pytest.importorskip("ipykernel", reason='needs pip install -e ".[notebook]"')

EXAMPLES = Path(__file__).parents[1] / "examples"
NOTEBOOKS = ("batchnorm.ipynb", "execution.ipynb")


def carried_out(name):
    # The kernel warns of the transport that the client chooses, in another process.
    notebook = nbformat.read(EXAMPLES / name, as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    return notebook


@pytest.fixture(scope="module")
def executed():
    return carried_out("batchnorm.ipynb")


@pytest.fixture(scope="module")
def execution():
    return carried_out("execution.ipynb")


def outputs(notebook):
    return [
        (cell.source, output)
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    ]


@pytest.mark.filterwarnings("ignore")
def test_every_step_is_drawn(executed):
    drawn = [source for source, o in outputs(executed) if "image/svg+xml" in o.get("data", {})]
    for k in range(10):
        assert f"draw(out, step={k})" in drawn


@pytest.mark.filterwarnings("ignore")
def test_the_emitted_source_gives_the_same_bits(executed):
    (text,) = (
        o["data"]["text/plain"]
        for source, o in outputs(executed)
        if "array_equal" in source and "data" in o
    )
    assert text == "(True, True, True)"


@pytest.mark.filterwarnings("ignore")
def test_staged_and_closed_form_agree(executed):
    (text,) = (o["text"] for source, o in outputs(executed) if "print(compare" in source)
    assert "PASS: staged and closed form agree" in text
    assert "FAIL" not in text


def printed(notebook):
    """Give what each cell printed, which may come in pieces."""
    texts = {}
    for source, output in outputs(notebook):
        texts[source] = texts.get(source, "") + output.get("text", "")
    return texts


@pytest.mark.filterwarnings("ignore")
def test_plans_have_the_sweeps_that_the_text_speaks_of(execution):
    counts = [re.findall(r"(\d) sweeps?\b", text) for text in printed(execution).values()]
    assert [n for one in counts for n in one] == [*"43331143"]


@pytest.mark.filterwarnings("ignore")
def test_the_order_of_sums_does_what_the_text_says(execution):
    texts = printed(execution)
    (terms,) = (text for text in texts.values() if "relative error" in text)
    together, apart = map(float, re.findall(r"(\d\S*?e[+-]\d+)", terms))
    assert apart > 1e4 * together
    (rows,) = (text for source, text in texts.items() if "in_panels" in source)
    one, other = map(float, re.findall(r"65536 .* (\S+), in panels (\S+)", rows)[0])
    assert one > 5 * other
    (errors,) = (text for text in texts.values() if "error of dx" in text)
    by_engine, in_blocks = map(float, re.findall(r": (\S+)", errors))
    assert by_engine > 2 * in_blocks


@pytest.mark.filterwarnings("ignore")
def test_it_ends_with_a_page_to_step_through(executed):
    data = [o["data"] for _, o in outputs(executed) if "data" in o]
    (page,) = (one["text/html"] for one in data if "text/html" in one)
    assert page.startswith('<iframe srcdoc="&lt;!doctype html&gt;')
    assert 'sandbox="allow-scripts"' in page


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_saved_outputs_are_whole(name):
    saved = nbformat.read(EXAMPLES / name, as_version=4)
    for cell in saved.cells:
        if cell.cell_type == "code":
            assert cell.execution_count, "execute the notebook before saving it"
            assert not any(o.output_type == "error" for o in cell.outputs)
