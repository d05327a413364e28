"""Who sweeps over the blocks: this process, one block after the other, or a dask cluster.

Both give the same bits, because both join what the blocks come to as the same tree.
"""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

from tinygraph.execution.panels import Sums, Tree, joined
from tinygraph.execution.sources import extra

__all__ = ["Cluster", "Here", "Progress", "Runner", "Work", "connected"]

Bounds = Sequence[tuple[int, int]]

ANSWERS_S = 10
"""After how many seconds nobody is at an address."""


class Work(Protocol):
    """What a sweep does with each block."""

    @property
    def reductions(self) -> tuple[str, ...]:
        """What is added up over the rows: ``sum``, ``max``, ``all``, ``any``."""

    def run(self, start: int, stop: int, *blocks: Any) -> Sums:
        """Sweep over the rows of one block, of which some arrays may be given."""


class Runner(Protocol):
    """Who sweeps over the blocks."""

    threads: int

    def sweep(
        self, work: Work, bounds: Bounds, lazy: Sequence[Any], done: Callable[[], None]
    ) -> Sums:
        """Run over all blocks, with those of lazy arrays, and call `done` after each one."""


class Here:
    """Sweeps in this process, with NumPy alone."""

    threads = 1

    def sweep(
        self, work: Work, bounds: Bounds, lazy: Sequence[Any], done: Callable[[], None]
    ) -> Sums:
        """Run over all blocks, one after the other."""
        tree = Tree(work.reductions)
        for start, stop in bounds:
            tree.add(work.run(start, stop))
            done()
        return tree.total()


class Cluster:
    """Wherever dask computes: a cluster of which there is a client, or threads of this process.

    Attributes
    ----------
    client : Client or None
        Of the cluster; None where dask computes in this process.
    threads : int
        How many blocks one process works on at a time.
    """

    def __init__(self) -> None:
        with extra("an array in chunks"):
            import dask
        from dask.base import get_scheduler

        client = getattr(get_scheduler(), "__self__", None)
        self.client = client if hasattr(client, "nthreads") else None
        if self.client is not None:
            self.threads = max([1, *self.client.nthreads().values()])
        elif dask.config.get("scheduler", None) in (None, "threads", "threading"):
            self.threads = dask.config.get("num_workers", None) or dask.system.CPU_COUNT
        else:
            self.threads = 1

    def sweep(
        self, work: Work, bounds: Bounds, lazy: Sequence[Any], done: Callable[[], None]
    ) -> Sums:
        """Run over all blocks as one computation of dask's."""
        from dask import delayed

        name = f"block-{secrets.token_hex(8)}"
        everywhere = delayed(work, traverse=False, pure=False)
        run = delayed(_run, pure=False)
        blocks = [
            run(everywhere, *pair, *[blocks[k] for blocks in lazy], dask_key_name=(name, k))
            for k, pair in enumerate(bounds)
        ]
        join = delayed(partial(joined, work.reductions), pure=False)
        level = blocks
        while len(level) > 1:  # neighbours, and then pairs
            level = [join(*level[k : k + 2]) for k in range(0, len(level), 2)]
        if self.client is None:
            return self._locally(level[0], name, done)
        return self._remotely(level[0], blocks, done)

    def _locally(self, total: Any, name: str, done: Callable[[], None]) -> Sums:
        """Compute in this process; whatever happens, nothing runs on when this ends."""
        import dask
        from dask.callbacks import Callback

        def finished(key: Any, *_: Any) -> None:
            if isinstance(key, tuple) and key[0] == name:
                done()

        mine = self.threads > 1 and dask.config.get("pool", None) is None
        pool = ThreadPoolExecutor(self.threads) if mine else None
        options = {"pool": pool} if pool else {}
        try:
            with Callback(posttask=finished):
                (sums,) = dask.compute(total, **options)
        finally:
            if pool:
                pool.shutdown(wait=True, cancel_futures=True)
        return tuple(sums)

    def _remotely(self, total: Any, blocks: list[Any], done: Callable[[], None]) -> Sums:
        """Compute on the cluster; what fails or is interrupted is given up there too."""
        from distributed import as_completed

        client: Any = self.client
        *futures, last = client.compute([*blocks, total])
        waiting = as_completed(futures)
        futures = []  # what a block comes to is kept no longer than until it is joined
        try:
            for future in waiting:
                if future.status == "error":
                    future.result()
                done()
            return tuple(last.result())
        finally:
            for future in [last, *waiting.futures]:
                future.release()


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Let dask compute on a cluster meanwhile.

    Raises
    ------
    OSError
        If there is no scheduler at this address.
    ModuleNotFoundError
        If distributed is not there.
    """
    with extra(f"the cluster at {address}"):
        from distributed import Client
    with Client(address, timeout=ANSWERS_S):
        yield


def _run(work: Work, start: int, stop: int, *blocks: Any) -> Sums:
    return work.run(start, stop, *blocks)


# --------------------------------------------------------------------------- progress


class Progress:
    """A bar on standard error, of sweeps and their blocks.

    Parameters
    ----------
    shown : bool
    sweeps : int
        How many there will be.
    """

    WIDTH, PAUSE_S = 30, 0.1

    def __init__(self, shown: bool, sweeps: int) -> None:
        self._shown, self._sweeps = shown, sweeps
        self._sweep = self._blocks = self._done = 0
        self._begun = time.monotonic()
        self._drawn = 0.0

    def begin(self, blocks: int) -> None:
        """Begin the next sweep, of so many blocks."""
        self._sweep, self._blocks, self._done = self._sweep + 1, blocks, 0
        self._draw()

    def step(self) -> None:
        """Count a block."""
        self._done += 1
        if self._done == self._blocks or time.monotonic() - self._drawn > self.PAUSE_S:
            self._draw()

    def end(self) -> None:
        """Leave the line, whatever has happened."""
        if self._shown:
            print(file=sys.stderr, flush=True)

    def _draw(self) -> None:
        if not self._shown:
            return
        self._drawn = time.monotonic()
        filled = self.WIDTH * self._done // self._blocks
        bar = "#" * filled + "." * (self.WIDTH - filled)
        done = f"{self._done}/{self._blocks} blocks, {self._drawn - self._begun:.0f} s"
        text = f"\rsweep {self._sweep} of {self._sweeps} [{bar}] {done}"
        print(text, end="", file=sys.stderr, flush=True)
