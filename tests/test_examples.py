"""Every example that trains runs, small; and says in a sentence what is missing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = ("train_digits", "decision_boundary", "inference_matters")
NEEDED = ("sklearn", "matplotlib", "tqdm")


def run(name, *options, cwd=ROOT, **environment):
    threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "1")
    return subprocess.run(
        [sys.executable, str(ROOT / "examples" / f"{name}.py"), *options],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=cwd,
        timeout=300,
        env=os.environ | {"PYTHONIOENCODING": "utf-8"} | threads | environment,
    )


def needs(*modules):
    for module in modules:
        pytest.importorskip(module, reason=f'{module} comes with pip install -e ".[examples]"')


@pytest.mark.parametrize("name", EXAMPLES)
def test_small(name, tmp_path):
    needs(*NEEDED)
    done = run(name, "-o", str(tmp_path), TINYGRAPH_SMALL="1")
    assert done.returncode == 0, done.stderr
    assert os.listdir(tmp_path) == [f"{name}.png"]
    assert (tmp_path / f"{name}.png").stat().st_size < 150_000


@pytest.mark.parametrize("name", EXAMPLES)
def test_small_writes_nothing_beside_the_checkout(name, tmp_path):
    needs(*NEEDED)
    done = run(name, cwd=tmp_path, TINYGRAPH_SMALL="1")
    assert done.returncode == 0, done.stderr
    assert os.listdir(tmp_path) == []


def test_digits_reach_their_accuracy(tmp_path):
    needs(*NEEDED)
    done = run("train_digits", "-o", str(tmp_path), TINYGRAPH_SMALL="")
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if "% of 360 test digits" in line]
    without, with_norm = (float(line.split("%")[0].split()[-1]) for line in lines)
    assert with_norm >= 97
    assert without < 50
    assert "loss=" in done.stderr
    assert "accuracy=" in done.stderr


def test_a_last_batch_of_one_and_batches_of_one(tmp_path):
    needs(*NEEDED)
    for size, text in (("199", "leave one over"), ("1", "batches of two")):
        done = run(
            *("train_digits", "-o", str(tmp_path), "--epochs", "1", "--batch-size", size),
            TINYGRAPH_SMALL="1",
        )
        assert done.returncode == 0, done.stderr
        assert text in done.stdout


def test_inference_says_why_one_is_too_few(tmp_path):
    needs(*NEEDED)
    done = run("inference_matters", "-o", str(tmp_path), TINYGRAPH_SMALL="1")
    assert "1 value per feature in training" in done.stderr
    assert "–" in done.stdout


def test_micrograd_gives_the_same_loss(tmp_path):
    needs(*NEEDED, "micrograd")
    done = run("decision_boundary", "-o", str(tmp_path), TINYGRAPH_SMALL="1")
    (line,) = [line for line in done.stdout.splitlines() if "the same losses" in line]
    assert all(float(word.rstrip(",")) < 1e-12 for word in line.split() if "e-" in word)


@pytest.mark.parametrize("missing", NEEDED)
@pytest.mark.parametrize("name", EXAMPLES)
def test_what_is_missing_is_said_in_a_sentence(name, missing, tmp_path):
    if (name, missing) == ("decision_boundary", "tqdm"):
        pytest.skip("decision_boundary needs no progress bar")
    for module in NEEDED:
        body = f"raise ImportError(name={module!r})" if module == missing else ""
        (tmp_path / f"{module}.py").write_text(body)
    if missing != "matplotlib":
        needs("matplotlib")
        (tmp_path / "matplotlib.py").unlink()
    if missing == "tqdm":
        needs("sklearn")
        (tmp_path / "sklearn.py").unlink()
    done = run(name, PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == f'{missing} is missing; run: pip install -e ".[examples]"\n'
