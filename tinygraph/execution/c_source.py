"""C from a plan: one region as one function, in the names of the user's own variables.

The function goes over the rows of its arrays once per sweep, and once along the row for each
segment. What a sweep needs it computes again from what it reads; vectors stand in a workspace. One
text serves all lengths: they are arguments, and so are the numbers that come of them, as 1/N.

**Strict** code adds in NumPy's order, which is known: numbers that lie side by side in memory in
pairs (`pairwise`), and rows one after the other. **Fast** code adds panels of 256 rows, and each
panel to the total: a sum of 65,536 rows then errs by what 512 additions err, not 65,536.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from typing import NamedTuple

import numpy as np

from tinygraph.execution.c_expressions import type_of
from tinygraph.execution.c_functions import functions
from tinygraph.execution.c_nests import PAIRWISE, Nests, Row, Store, Sum
from tinygraph.execution.c_page import Loop, Page, typed
from tinygraph.execution.c_rows import Rows, type_of_result
from tinygraph.execution.regions import Region, Result, Sweep
from tinygraph.execution.values import Value

__all__ = ["HEAD", "Function", "function"]

PANEL = 256
"""How many rows fast code adds before it adds to the total."""

HEAD = """\
#include <math.h>
#include <stdint.h>
#include <string.h>
#if defined(__clang__)
#define VECTORS _Pragma("clang loop vectorize(assume_safety)")
#else
#define VECTORS _Pragma("GCC ivdep")
#endif
#define DO(text) _Pragma(#text)
#define PLACE(type, count) (type *)work; work += ((count) * sizeof(type) + 63) / 64 * 64 + 64
"""


class Function(NamedTuple):
    """A region in C.

    Attributes
    ----------
    text : str
        The function, without `HEAD` and without `helpers`.
    helpers : tuple of str
        The texts of other functions that it calls.
    places : tuple of (int, Loop)
        The arrays in its workspace: the size of an entry, and along which labels.
    pointers, constants, lengths : tuple of str
        What `p`, `k` and `n` are in the text, but for the workspace.
    """

    text: str
    helpers: tuple[str, ...]
    places: tuple[tuple[int, Loop], ...]
    pointers: tuple[str, ...]
    constants: tuple[str, ...]
    lengths: tuple[str, ...]

    @property
    def nbytes(self) -> int:
        """How large its workspace is, at the lengths of the region."""
        sizes = [size * prod(x.length for x in labels) for size, labels in self.places]
        return sum((size + 63) // 64 * 64 + 64 for size in sizes)


def function(region: Region, *, fast: bool, name: str = "kernel") -> Function:
    """Write a region in C.

    Parameters
    ----------
    region : Region
    fast : bool
        Whether sums may be taken in another order than NumPy's, and functions of C's library.
    name : str, optional
        Of the function: ``void kernel(void **p, const double *k, const long long *n)``, where `p`
        holds the arguments, the results and a workspace, `k` the constants of the region, and `n`
        the lengths of the rows and of each group of columns.

    Returns
    -------
    Function

    Raises
    ------
    Unsupported
        If an operation or a dtype is not written in C; or, of strict code, if C does not compute
        NumPy's bits.
    """
    return _Writer(region, fast).function(name)


def zero(fast: bool) -> str:
    """Give what NumPy starts sums at, which is seen where all that is added is −0."""
    return "-0.0" if not fast and np.signbit(np.add.reduce(np.full(2, -0.0))) else "0"


class _Writer:
    """Writes one region."""

    def __init__(self, region: Region, fast: bool) -> None:
        self.region, self.fast = region, fast
        self.page = Page(region)
        self.nests = Nests(self.page, fast, zero(fast))
        for x in region.arguments:
            name = f"{self.page.variable(x)}_"
            self.nests.arrays[x.index] = self.page.name(("array", x.index), name)
        self.outputs = [
            self.page.name(("output", k), f"{self._name_of(one)}_out")
            for k, one in enumerate(region.results)
        ]

    def _name_of(self, one: Result) -> str:
        return one.name or self.page.variable(one.value)

    def function(self, name: str) -> Function:
        """Write the function: its body first, which says what must be declared."""
        for x in self.region.arguments:
            if not x.labels:
                self._number(x, f"*{self.nests.arrays[x.index]}")
        work = self._nested([*(sweep.before for sweep in self.region.sweeps), self.region.after])
        for number, sweep in enumerate(self.region.sweeps, 1):
            self._vectors(work[number - 1])
            self._sweep(number, sweep)
        self._vectors(work[-1])
        self._results()
        head = self._head(name)
        text = "\n".join([self._title(), *head, *self.page.lines, "}", ""])
        helpers = [PAIRWISE.format(type=type) for type in sorted(self.nests.pairwise)]
        helpers += map(functions, sorted(self.nests.functions))
        pointers = (*(self.nests.arrays[x.index] for x in self.region.arguments), *self.outputs)
        names = {at: name for (at, _), name in self.page.constants.items()}
        return Function(
            text,
            tuple(helpers),
            tuple(self.page.places),
            pointers,
            tuple(names.get(k, "unused") for k in range(len(self.region.constants))),
            tuple(self.page.lengths.values()),
        )

    def _title(self) -> str:
        """Say what each sweep reads, and what it writes where it does."""
        sweeps = []
        for sweep in self.region.sweeps:
            writes = self._listed(one.value for one in sweep.writes)
            sweeps.append(self._listed(sweep.reads) + (f" -> {writes}" if writes else ""))
        return f"/* {' | '.join(sweeps) or 'numbers'} */"

    def _listed(self, values: Iterable[Value]) -> str:
        return ", ".join(map(self.page.variable, values))

    def _head(self, name: str) -> list[str]:
        region, arrays = self.region, self.nests.arrays
        lines = [f"const int64_t {n} = n[{k}];" for k, n in enumerate(self.page.lengths.values())]
        lines += [
            f"const {type_of(x)} *restrict {arrays[x.index]} = p[{k}];"
            for k, x in enumerate(region.arguments)
        ]
        first = len(region.arguments)
        lines += [
            f"{type_of_result(one)} *restrict {output} = p[{first + k}];"
            for k, (output, one) in enumerate(zip(self.outputs, region.results, strict=True))
        ]
        if self.page.declared:
            lines.append(f"char *work = p[{first + len(region.results)}];")
        lines += self.page.declared
        lines += [
            f"const {type} {name} = ({type})k[{at}];"
            for (at, type), name in self.page.constants.items()
        ]
        head = f"void {name}(void **p, const double *k, const long long *n) {{"
        return [head, *(f"    {line}" for line in lines)]

    def _number(self, x: Value, text: str) -> None:
        """Declare a value without labels, for the whole function."""
        self.nests.numbers[x.index] = name = self.page.variable(x)
        self.page.line(typed(x, name, text))

    def _results(self) -> None:
        """Write what has no rows, which is known at the end."""
        for one, output in zip(self.region.results, self.outputs, strict=True):
            if not self.page.has_rows(one.labels):
                loops = self.page.loops(one.labels)
                store = Store(one.value, output, type_of_result(one), loops)
                self.nests.write(loops, (), [store], [_NO_ROW])

    # ------------------------------------------------------------------ vectors

    def _nested(self, parts: Sequence[Sequence[Value]]) -> list[list[list[Value]]]:
        """Divide vector work into nests, and give places to what others read of it.

        A nest is a reduction, or values along the same loops.
        """
        work = [_fused(values, self.page) for values in parts]
        read = {x.index for sweep in self.region.sweeps for x in sweep.vectors}
        read |= {one.value.index for one in self.region.results}
        nests = [nest for part in work for nest in part]
        for nest in nests:
            inside = {x.index for x in nest}
            read |= {y.index for x in nest for y in x.operands if y.index not in inside}
        for nest in nests:
            for x in nest:
                if x.labels and x.index in read:
                    self._place(x)
        return work

    def _place(self, x: Value) -> str:
        loops = self.page.loops(x.labels)
        place = self.page.place(f"{self.page.variable(x)}_", type_of(x), loops)
        self.nests.arrays[x.index] = place
        return place

    def _vectors(self, nests: Iterable[Sequence[Value]]) -> None:
        """Write the work on vectors."""
        for nest in nests:
            loops = self.page.loops(nest[0].labels)
            if nest[0].over:
                one = self._reduction(nest[0])
                self._clear(one)
                self.nests.write(one.nest, (), [one], [_NO_ROW])
            elif loops:
                arrays = self.nests.arrays
                stores = [
                    Store(x, arrays[x.index], type_of(x), loops) for x in nest if x.index in arrays
                ]
                self.nests.write(loops, nest, stores, [_NO_ROW])
            else:
                for x in nest:
                    self._number(x, self.nests.expression(x, {}))

    def _reduction(self, x: Value) -> Sum:
        """Say where a reduction goes that has no rows: into an array, or a number."""
        into = self.nests.arrays.get(x.index, "")
        if x.labels and not into:
            into = self._place(x)
        if not x.labels:
            into = self.nests.numbers[x.index] = self.page.variable(x)
        return self.nests.sum(x, into)

    def _clear(self, one: Sum) -> None:
        """Set what is added to to what it starts at."""
        first, kept = self.nests.first(one.value), one.kept
        if kept:
            heads = " ".join(map(self.page.head, kept))
            self.page.line(f"{heads} {one.into}[{self.page.place_in(kept)}] = {first};")
        elif not self.nests.is_whole(one.value):
            self.page.line(f"{type_of(one.value)} {one.into} = {first};")

    # ------------------------------------------------------------------ sweeps

    def _sweep(self, number: int, sweep: Sweep) -> None:
        outputs = {
            id(one): name for one, name in zip(self.region.results, self.outputs, strict=True)
        }
        gives = self._listed([*sweep.sums, *(one.value for one in sweep.writes)])
        reads = self._listed(sweep.reads) or "vectors"
        self.page.line(f"/* sweep {number}: {reads} -> {gives} */")
        totals = {x.index: self._reduction(x) for x in sweep.sums}
        for one in totals.values():
            self._clear(one)
        panels = {
            index: self._panel(one)
            for index, one in totals.items()
            if self.fast and one.value.op == "sum"
        }
        body = Rows(self.nests, sweep, totals | panels, outputs)
        n = self.page.lengths[self.region.rows]
        if not panels:
            body.write("0", n)
        else:
            with self.page.block(f"for (int64_t i0 = 0; i0 < {n}; i0 += {PANEL})"):
                self.page.line(f"const int64_t i1 = i0 + {PANEL} < {n} ? i0 + {PANEL} : {n};")
                for one in panels.values():
                    self._clear(one)
                body.write("i0", "i1")
                for index, one in panels.items():
                    at = f"[{self.page.place_in(one.kept)}]" if one.kept else ""
                    text = f"{totals[index].into}{at} += {one.into}{at};"
                    self.page.line(" ".join([*map(self.page.head, one.kept), text]))
        for one in totals.values():
            self._finish(one)

    def _panel(self, total: Sum) -> Sum:
        name = f"{self.page.variable(total.value)}_panel"
        if not total.kept:
            return total._replace(into=self.page.name((total.value.index, "panel"), name))
        return total._replace(into=self.page.place(name, type_of(total.value), total.kept))

    def _finish(self, one: Sum) -> None:
        """Add what strict code first had to have all of."""
        if self.nests.is_whole(one.value):
            type, terms = type_of(one.value), self.nests.collected(one)
            count = self.page.count((self.region.rows, *one.nest))
            self.nests.pairwise.add(type)
            text = f"{self.nests.first(one.value)} + pairwise_{type}({terms}, {count})"
            self.page.line(typed(one.value, one.into, text))


_NO_ROW = Row("i", "", {})


def _fused(values: Sequence[Value], page: Page) -> list[list[Value]]:
    """Put values along the same loops into one nest, as far as their operands are known."""
    nests: list[list[Value]] = []
    left = list(values)
    while left:
        waiting = {x.index for x in left}
        nest: list[Value] = []
        for x in left:
            fits = not nest or not (x.over or page.loops(x.labels) != page.loops(nest[0].labels))
            if fits and not any(y.index in waiting for y in x.operands):
                nest.append(x)
                waiting.discard(x.index)
                if x.over:
                    break
        nests.append(nest)
        left = [x for x in left if not any(x is y for y in nest)]
    return nests
