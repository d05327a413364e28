"""The notebook runs from top to bottom, and what it claims on the way is so."""

from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient", reason='needs pip install -e ".[notebook]"')
nbformat = pytest.importorskip("nbformat", reason='needs pip install -e ".[notebook]"')
pytest.importorskip("ipykernel", reason='needs pip install -e ".[notebook]"')

NOTEBOOK = Path(__file__).parents[1] / "examples" / "batchnorm.ipynb"


@pytest.fixture(scope="module")
def executed():
    # The kernel warns of the transport that the client chooses, in another process.
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    return notebook


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


@pytest.mark.filterwarnings("ignore")
def test_it_ends_with_a_page_to_step_through(executed):
    data = [o["data"] for _, o in outputs(executed) if "data" in o]
    (page,) = (one["text/html"] for one in data if "text/html" in one)
    assert page.startswith('<iframe srcdoc="&lt;!doctype html&gt;')
    assert 'sandbox="allow-scripts"' in page


def test_the_saved_outputs_are_whole():
    saved = nbformat.read(NOTEBOOK, as_version=4)
    for cell in saved.cells:
        if cell.cell_type == "code":
            assert cell.execution_count, "execute the notebook before saving it"
            assert not any(o.output_type == "error" for o in cell.outputs)
