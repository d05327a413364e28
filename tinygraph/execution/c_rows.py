"""The rows of a sweep: what is done with each, and how many are gone through in a turn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tinygraph.execution.c_expressions import TYPES, called, is_costly, type_of
from tinygraph.execution.c_nests import Nests, Row, Store, Sum
from tinygraph.execution.c_page import Loop, typed
from tinygraph.execution.program import Unsupported
from tinygraph.execution.regions import Result, Sweep
from tinygraph.execution.values import Value

__all__ = ["Rows", "type_of_result"]

TURN = 2
"""How many rows are computed in a turn, where each is gone along once."""


class Rows:
    """What a sweep does with each row.

    Parameters
    ----------
    nests : Nests
    sweep : Sweep
    sums : mapping
        Where its reductions over rows are added to, by index of the value.
    outputs : mapping
        The arrays that its results are written into, by their identity.
    """

    def __init__(
        self, nests: Nests, sweep: Sweep, sums: Mapping[int, Sum], outputs: Mapping[int, str]
    ) -> None:
        self.nests, self.page, self.region = nests, nests.page, nests.page.region
        self.fast, self.sweep, self.sums, self.outputs = nests.fast, sweep, sums, outputs

    def write(self, first: str, last: str) -> None:
        """Write the loop over the rows, several in a turn where each is gone along once."""
        if self._is_plain():
            count = last if first == "0" else f"({last} - {first})"
            with self.page.block(f"for (int64_t i = {first}; i + {TURN} <= {last}; i += {TURN})"):
                self._rows([Row(f"(i + {r})" if r else "i", f"_{r}", {}) for r in range(TURN)])
            rest = f"{last} - {count} % {TURN}"
            with self.page.block(f"for (int64_t i = {rest}; i < {last}; i++)"):
                self._rows([Row("i", "", {})])
            return
        self._simd()
        with self.page.block(f"for (int64_t i = {first}; i < {last}; i++)"):
            self._rows([Row("i", "", {})])

    def _is_plain(self) -> bool:
        """Whether there is one segment, and each entry of a row is met on its own."""
        return (
            len(self.sweep.segments) == 1
            and not self.sweep.segments[0].reductions
            and all(one.kept and not one.inner for one in self.sums.values())
            and (self.fast or all(one.nest == one.kept for one in self.sums.values()))
            and all(self.page.loops(one.labels) for one in self.sweep.writes)
        )

    def _simd(self) -> None:
        """Say that rows of one number each are independent, but for what they add up."""
        wide = [
            *(x for one in self.sweep.segments for x in (*one.values, *one.reductions)),
            *self.sweep.sums,
        ]
        if any(self.page.loops(x.labels) for x in wide):
            return
        added = [one for one in self.sums.values() if not self.nests.is_whole(one.value)]
        if any(one.value.op == "max" or one.nest for one in added):
            return
        names = ", ".join(one.into for one in added)
        self.page.line(f"DO(omp simd reduction(+ : {names}))" if names else "VECTORS")

    def _rows(self, rows: Sequence[Row]) -> None:
        kept: dict[int, Value] = {}  # what stands in an array as long as the row lasts
        for k, segment in enumerate(self.sweep.segments):
            self._scalars(segment.scalars, rows)
            reductions = [self._along(x, rows) for x in segment.reductions]
            targets: list[Sum | Store] = [*reductions, *(self.sums[x.index] for x in segment.sums)]
            targets += [self._store(one) for one in segment.writes]
            values = [x for x in segment.values if x.index not in kept]
            again = {x.index for later in self.sweep.segments[k + 1 :] for x in later.values}
            new = {x.index: x for x in values if x.index in again and is_costly(x)}
            stores = {index: self._kept(x) for index, x in new.items()}
            targets += stores.values()
            for nest in dict.fromkeys(map(self._nest_of, targets)):
                chosen = [x for x in targets if self._nest_of(x) == nest]
                self.nests.write(nest, values, chosen, rows)
            kept |= new
            self.nests.arrays |= {index: store.into for index, store in stores.items()}
        for index in kept:
            del self.nests.arrays[index]

    def _kept(self, x: Value) -> Store:
        """Say where a value is kept for later segments, which costs less than to compute it."""
        loops = self.page.loops(x.labels)
        name = self.page.place(f"{self.page.variable(x)}_row", type_of(x), loops)
        return Store(x, name, type_of(x), loops)

    def _nest_of(self, target: Sum | Store) -> tuple[Loop, ...]:
        if isinstance(target, Sum):
            return target.nest
        return tuple(loop for loop in target.loops if loop != self.region.rows)

    def _store(self, one: Result) -> Store:
        loops = (self.region.rows, *self.page.loops(one.labels))
        return Store(one.value, self.outputs[id(one)], type_of_result(one), loops)

    def _scalars(self, values: Iterable[Value], rows: Sequence[Row]) -> None:
        """Declare what is computed once for a row."""
        for x in values:
            for row in rows:
                name = self.page.variable(x, row.suffix)
                if x.index in self.nests.arrays:
                    text = self.nests.loaded(x, row.at)
                else:
                    text = self.nests.expression(x, row.known)
                self.page.line(typed(x, name, text))
                row.known[x.index] = name

    def _along(self, x: Value, rows: Sequence[Row]) -> Sum:
        """Say where a reduction along the row goes, and set that to what it starts at."""
        (row,) = rows
        kept = self.page.loops(x.labels)
        if kept:
            if x.index not in self.nests.arrays:
                name = f"{self.page.variable(x)}_"
                self.nests.arrays[x.index] = self.page.place(name, type_of(x), kept)
            into = self.nests.arrays[x.index]
            text = f"{into}[{self.page.place_in(kept)}] = {self.nests.first(x)};"
            self.page.line(" ".join([*map(self.page.head, kept), text]))
        else:
            into = row.known[x.index] = self.page.variable(x)
        return self.nests.sum(x, into)._replace(is_new=not kept)


def type_of_result(one: Result) -> str:
    """Give the C type of the array that a result is written into."""
    dtype = one.node.dtype
    if dtype is None or dtype.char not in TYPES:
        raise Unsupported(f"{called(one.value)} is of {dtype}, which is not compiled")
    return TYPES[dtype.char]
