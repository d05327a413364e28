"""Print the ratios of tinygraph to other engines as Markdown.

    python tests/bench/table.py                      # everything that is installed
    python tests/bench/table.py --quick              # fewer rounds, and at most 10⁵ nodes
    python tests/bench/table.py --only time memory

All engines take their turn in every round, so that noise hits them alike, and what is printed is
the median over the rounds of the processor's time, which does not count what other programs take.
One thread. Garbage is collected as by default, and once before each turn, so that nobody pays for
another's. Memory and imports are measured in processes of their own, where "allocated" does not
count the nodes of PyTorch, only its tensors, and "resident" counts all. Every engine's gradients
are checked against those found by hand before it is timed.
"""

import argparse
import datetime
import gc
import math
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median

if __name__ == "__main__":  # NumPy counts its threads when it is loaded
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    os.environ |= dict.fromkeys(threads, "1")

import derivations
import growth
import work

try:
    from tqdm import tqdm
except ImportError:

    def tqdm(items, **options):
        """Give the items, without a bar."""
        return items


HERE = Path(__file__).parent
SAMPLE = 0.005
"""How long one turn lasts at least, in seconds."""

COLUMNS = ["tinygraph", work.BY_HAND, "PyTorch", "autograd", "MyGrad", "micrograd"]


def progress(items, title):
    """Show a bar on stderr while `items` are worked through, if tqdm is there."""
    return tqdm(list(items), desc=title, leave=False, disable=None)


# --------------------------------------------------------------------------- time


def seconds(call, number=1):
    """Give the processor's time for `call`, on average over `number` calls in a row."""
    start = time.process_time()
    for _ in range(number):
        call()
    return (time.process_time() - start) / number


def medians(calls, budget):
    """Give the median time of each call; rounds are as many as `budget` seconds allow, but five."""
    numbers = {name: math.ceil(SAMPLE / seconds(call)) for name, call in calls.items()}
    times = {name: [] for name in calls}
    gc.freeze()  # or every collection would walk through the modules of all engines
    end = time.perf_counter() + budget
    while time.perf_counter() < end or any(len(ts) < 5 for ts in times.values()):
        for name, call in calls.items():
            gc.collect()
            times[name].append(seconds(call, numbers[name]))
    gc.unfreeze()
    return {name: median(ts) for name, ts in times.items()}


def time_table(quick):
    """Give the time of every piece of work in every engine that is here."""
    pieces = [work.scalars(1_000), work.scalars(10_000)]
    pieces += [piece for size in work.SIZES for piece in work.batchnorms(*size)]
    rows = []
    for piece in progress(pieces, "time"):
        calls = {}
        for engine in piece.runs:
            if work.installed(engine):
                calls[engine] = piece.prepare(engine)
                piece.check(calls[engine]())
        took = medians(calls, 2 if quick else 15)
        took = {engine: t / piece.count for engine, t in took.items()}
        rows.append([piece.title, piece.size, *cells(took, in_seconds)])
    return table(["forward and backward", "size", *COLUMNS], rows)


def graph_table(quick):
    """Give what a graph costs by its size: per node, and in all."""
    sizes = (10_000, 100_000) if quick else (10_000, 100_000, 1_000_000)
    rows = [["memory", *(f"{growth.bytes_per_node(n):.0f} B per node" for n in sizes)]]
    for name, prepare in progress(growth.JOBS.items(), "graphs"):
        rows.append([name])
        for nodes in sizes if name in growth.ENGINE else sizes[:2]:
            call = prepare(nodes)
            took = median(seconds(call) for _ in range(3))
            rows[-1].append(f"{in_seconds(took / nodes)} per node, {in_seconds(took)}")
        rows[-1] += ["–"] * (len(sizes) + 1 - len(rows[-1]))
    return table(["chain of scalars", *(f"{n:,} nodes" for n in sizes)], rows)


# --------------------------------------------------------------------------- other processes


def child(*command):
    """Give the number that a Python process prints."""
    # Only what is beyond malloc's threshold goes back to the system at once, and glibc raises the
    # threshold as it goes, so that the high-water mark would depend on the order of the sizes.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    command = [sys.executable, *command]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def memory_table(quick):
    """Give the peak memory of staged BatchNorm in every engine that is here."""
    tasks = [
        (size, method)
        for size in work.SIZES
        for method in ("allocated", "resident")
        if method == "allocated" or (sys.platform == "linux" and size[0] > 64)
    ]
    rows = []
    for size, method in progress(tasks, "memory"):
        piece, _, _ = work.batchnorms(*size)
        peaks = {
            engine: child(HERE / "memory.py", engine, *map(str, size), method)
            for engine in piece.runs
            if work.installed(engine)
        }
        rows.append([method, piece.size, *cells(peaks, in_bytes)])
    return table(["peak memory", "size", *COLUMNS], rows)


IMPORT = "import time; t = time.process_time(); import {}; print(time.process_time() - t)"


def import_table(quick):
    """Give how long a fresh process takes to import NumPy, and to import tinygraph with it."""
    took = {"numpy": [], "tinygraph.engine": []}  # which holds Tensor; the package alone is lazy
    for name in took:
        child("-c", IMPORT.format(name))  # for the files to be compiled and cached
    for _ in progress(range(5 if quick else 25), "import"):
        for name, times in took.items():
            times.append(child("-c", IMPORT.format(name)))
    numpy, ours = (median(times) for times in took.values())
    row = ["import", in_seconds(ours), f"{in_seconds(numpy)} (**{ours / numpy:.2f}**)"]
    return table(["in a new process", "tinygraph", "NumPy"], [row])


# --------------------------------------------------------------------------- Markdown


def cells(values, unit):
    """Give a cell per engine: its value, and tinygraph's share of it."""
    for engine in COLUMNS:
        if engine not in values:
            yield "–"
        elif engine == "tinygraph":
            yield unit(values[engine])
        else:
            yield f"{unit(values[engine])} (**{values['tinygraph'] / values[engine]:.2f}**)"


def table(head, rows):
    """Write a table, its first column aligned to the left and all others to the right."""
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *rows))


def in_seconds(t):
    """Write a duration."""
    return _in_units(t, {"s": 1, "ms": 1e-3, "µs": 1e-6})


def in_bytes(n):
    """Write an amount of memory."""
    return _in_units(n, {"MB": 1e6, "kB": 1e3, "B": 1})


def _in_units(value, units):
    unit = next((unit for unit, scale in units.items() if value >= scale), [*units][-1])
    number = value / units[unit]
    return f"{number:.3g} {unit}" if number < 100 else f"{number:.0f} {unit}"


# --------------------------------------------------------------------------- algebra


def algebra_table(quick):
    """Give how long the closed form of BatchNorm takes to be derived, and to be proved."""
    answers = {e: make() for e, make in derivations.ENGINES.items() if derivations.installed(e)}
    for engine, answer in answers.items():
        if not answer.prove():
            raise ValueError(f"{engine} does not prove the closed form")
    rows = []
    for job in ("derive", "prove"):
        took = {engine: [] for engine in answers}
        for _ in range(1 if quick else 5):
            for engine, answer in answers.items():
                gc.collect()
                took[engine].append(seconds(getattr(answer, job)))
        ours, theirs = (took.get(engine) for engine in derivations.ENGINES)
        rows.append([job, in_seconds(median(ours))])
        ratio = median(ours) / median(theirs) if theirs else 0
        rows[-1].append(f"{in_seconds(median(theirs))} (**{ratio:.3f}**)" if theirs else "–")
    return table(["dx of BatchNorm", *derivations.ENGINES], rows)


# --------------------------------------------------------------------------- the command


TABLES = {
    "time": time_table,
    "memory": memory_table,
    "graphs": graph_table,
    "import": import_table,
    "algebra": algebra_table,
}


def conditions():
    """Say when, on what and with which versions the figures were measured."""
    model = platform.processor() or platform.machine()
    if sys.platform == "linux":
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.partition(": ")[2] for line in lines if "model name" in line), model)
    packages = {"numpy", "tensorgrad", *(package for _, package in work.ENGINES.values())}
    packages -= {"tinygraph"}
    versions = ", ".join(f"{name} {version(name)}" for name in sorted(packages) if find_spec(name))
    return (
        f"{datetime.date.today()}, {model} ({os.cpu_count()} cores, one thread), "
        f"Python {platform.python_version()}, {versions}. In brackets: tinygraph's share of the "
        "other's figure, below 1 where tinygraph is better."
    )


def main():
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds, smaller graphs")
    parser.add_argument(
        "--only", nargs="+", choices=TABLES, default=list(TABLES), help="these tables alone"
    )
    options = parser.parse_args()
    print(conditions())
    for name in options.only:
        print(f"\n{TABLES[name](options.quick)}", flush=True)


if __name__ == "__main__":
    main()
