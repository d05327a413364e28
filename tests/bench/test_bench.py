"""The work of the benchmarks: its gradients are right, and a graph costs as much as it has nodes.

    pytest tests/bench --benchmark-only --benchmark-group-by=group

times it with pytest-benchmark. `table.py` prints the ratios.
"""

import gc
import re
import subprocess
import sys
import time
from pathlib import Path

import derivations
import growth
import memory
import pytest
import work

PIECES = [work.scalars(1_000)] + [p for size in work.SIZES for p in work.batchnorms(*size)]
CASES = [
    pytest.param(
        piece,
        engine,
        id=f"{piece.title}-{piece.size}-{engine}".replace("×", "x"),
        marks=pytest.mark.skipif(not work.installed(engine), reason=f"{engine} is not installed"),
    )
    for piece in PIECES
    for engine in piece.runs
]


@pytest.fixture
def benchmark(request):
    """Time a call with pytest-benchmark if that is asked for, or make it once."""
    if not request.config.pluginmanager.hasplugin("benchmark"):
        return lambda call: call()
    fixture = request.getfixturevalue("benchmark")
    fixture.disabled = not request.config.getoption("benchmark_only")
    return fixture


@pytest.mark.parametrize(("piece", "engine"), CASES)
def test_what_is_timed_is_what_was_found_by_hand(piece, engine, benchmark):
    benchmark.group = f"{piece.title}, {piece.size}"
    piece.check(benchmark(piece.prepare(engine)))


def test_a_wrong_gradient_is_not_timed():
    piece, _, _ = work.batchnorms(4, 3, "float64")
    dx, dgamma, dbeta = piece.prepare("tinygraph")()
    with pytest.raises(ValueError, match="gradient 0 is off by"):
        piece.check([dx * 1.000001, dgamma, dbeta])
    with pytest.raises(ValueError, match="gradient 1"):
        piece.check([dx, dbeta, dgamma])


@pytest.mark.parametrize("engine", derivations.ENGINES)
def test_the_closed_form_is_derived_and_proved_and_no_other(engine):
    if not derivations.installed(engine):
        pytest.skip(f"{engine} is not installed")
    make = derivations.ENGINES[engine]
    assert "dout" in str(make().derive())
    assert make().prove()
    assert not make(factor=2).prove()


@pytest.mark.parametrize("job", growth.JOBS)
def test_the_time_of_a_graph_is_linear_in_its_nodes(job):
    small, large = (growth.JOBS[job](nodes) for nodes in (1_000, 10_000))
    # 10 where it is linear, 100 where it is quadratic.
    assert best(large) / best(small) < 40


def best(call):
    """Give the shorter time of two, in which nothing else of this process is looked through."""
    times = []
    gc.disable()
    try:
        for _ in range(2):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
    finally:
        gc.enable()
    return min(times)


def test_a_node_takes_less_than_a_kilobyte():
    assert growth.bytes_per_node(10_000) < 1024


@pytest.mark.parametrize(
    ("engine", "share"), [(work.BY_HAND, 1), ("MyGrad", 0.6), ("PyTorch", 1.5)]
)
def test_the_memory_of_staged_batchnorm_stays_below_that_of_others(engine, share):
    if not work.installed(engine):
        pytest.skip(f"{engine} is not installed")
    ours, theirs = (
        memory.peak(name, 256, 1024, "float32", memory.allocated) for name in ("tinygraph", engine)
    )
    assert ours <= share * theirs


def test_the_table_is_markdown():
    command = [sys.executable, Path(__file__).with_name("table.py"), "--quick", "--only", "import"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert re.search(
        r"^\| in a new process \| tinygraph \| NumPy \|\n"
        r"\| --- \| ---: \| ---: \|\n"
        r"\| import \| [\d.]+ ms \| [\d.]+ ms \(\*\*\d\.\d\d\*\*\) \|$",
        done.stdout,
        re.MULTILINE,
    )
