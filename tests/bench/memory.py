"""Print the peak memory of one engine on staged BatchNorm, in bytes; made to be a process.

    python tests/bench/memory.py tinygraph 256 1024 float32 allocated
    python tests/bench/memory.py PyTorch 4096 1024 float32 resident

``allocated`` is the most that is allocated at any time of the forward and backward pass, beyond
the leaves and the upstream gradient: as tracemalloc sees it, or as PyTorch's profiler sees its
tensors. ``resident`` is how far the high-water mark of the process rises, which no engine escapes;
Linux alone can tell, and only where it is much more than a page.
"""

import sys
import tracemalloc
from pathlib import Path

import work


def allocated(engine, run):
    """Give the peak of what `run` allocates."""
    if engine != "PyTorch":
        tracemalloc.start()
        run()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    from torch.profiler import profile

    with profile(profile_memory=True) as profiler:
        run()
    held = peak = 0
    for event in profiler.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak


def resident(engine, run):
    """Give how far `run` raises the high-water mark of the process."""
    Path("/proc/self/clear_refs").write_text("5")  # the mark falls to what is resident now
    before = _high_water()
    run()
    return _high_water() - before


def _high_water():
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def peak(engine, rows, columns, dtype, method):
    """Give the peak memory of staged BatchNorm in `engine`, after a small batch to warm up."""
    piece, _, _ = work.batchnorms(rows, columns, dtype)
    small, _, _ = work.batchnorms(4, 3, "float64")
    small.prepare(engine)()
    run = piece.prepare(engine)
    return method(engine, run)


if __name__ == "__main__":
    engine, rows, columns, dtype, method = sys.argv[1:]
    methods = {"allocated": allocated, "resident": resident}
    print(peak(engine, int(rows), int(columns), dtype, methods[method]))
