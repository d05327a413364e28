"""Nests: loops along one row, or along vectors, that compute values, add them up and store them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from tinygraph.execution.c_expressions import called, expression, is_exact, operand_type, type_of
from tinygraph.execution.c_page import Loop, Page, is_number, typed
from tinygraph.execution.program import Unsupported
from tinygraph.execution.values import ARGUMENT, Value

__all__ = ["PAIRWISE", "Nests", "Row", "Store", "Sum"]

FLOATS = ("float", "double")

BLOCK = 1024
"""How many entries of a row fast code adds before it adds to the sum of the row."""

PAIRWISE = """\
/* the order in which NumPy adds numbers that lie side by side */
static {type} pairwise_{type}(const {type} *a, int64_t n) {{
    if (n < 8) {{
        {type} sum = -0.0;
        for (int64_t i = 0; i < n; i++) sum += a[i];
        return sum;
    }}
    if (n <= 128) {{
        {type} r[8];
        int64_t i = 8;
        for (int m = 0; m < 8; m++) r[m] = a[m];
        for (; i < n - n % 8; i += 8)
            for (int m = 0; m < 8; m++) r[m] += a[i + m];
        {type} sum = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
        for (; i < n; i++) sum += a[i];
        return sum;
    }}
    int64_t half = n / 2 - n / 2 % 8;
    return pairwise_{type}(a, half) + pairwise_{type}(a + half, n - half);
}}
"""


class Row(NamedTuple):
    """One of the rows that are computed in a turn.

    Attributes
    ----------
    at : str
        Which it is: ``i`` or ``(i + 1)``.
    suffix : str
        What its variables end in, where there are several rows.
    known : dict
        The variables of what is computed once for the row, by index of the value.
    """

    at: str
    suffix: str
    known: dict[int, str]


class Sum(NamedTuple):
    """A reduction that a nest adds to.

    Attributes
    ----------
    value : Value
    into : str
        The variable or array that it is added to.
    kept : tuple of Loops
        The indices of `into`.
    nest : tuple of Loops
        All loops of the nest, which are those of the operand, and of what is kept.
    is_new : bool
        Whether the nest declares `into`, and nothing is in it yet.
    """

    value: Value
    into: str
    kept: tuple[Loop, ...]
    nest: tuple[Loop, ...]
    is_new: bool = False

    @property
    def inner(self) -> tuple[Loop, ...]:
        """The innermost loops, if it goes over these: they give one number at a time."""
        k = len(self.nest)
        while k and self.nest[k - 1] not in self.kept:
            k -= 1
        return self.nest[k:]

    @property
    def operand(self) -> Value:
        """What is added up."""
        return self.value.operands[0]


class Store(NamedTuple):
    """A value that a nest writes into an array.

    Attributes
    ----------
    value : Value
    into : str
    type : str
        Of the entries of the array.
    loops : tuple of Loops
        Its indices: the loops of the nest, and maybe rows.
    """

    value: Value
    into: str
    type: str
    loops: tuple[Loop, ...]


class Nests:
    """Writes nests of loops on a page.

    Parameters
    ----------
    page : Page
    fast : bool

    Attributes
    ----------
    arrays : dict
        Where arguments, vectors, and what is kept of a row are, by index of the value.
    numbers : dict
        The variables of values without labels.
    pairwise, functions : set of str
        For which types `PAIRWISE` and those of `c_functions` are called.
    """

    def __init__(self, page: Page, fast: bool, start: str) -> None:
        self.page, self.fast, self.start = page, fast, start
        self.arrays: dict[int, str] = {}
        self.numbers: dict[int, str] = {}
        self.pairwise: set[str] = set()
        self.functions: set[str] = set()
        self._collected: dict[int, str] = {}

    # ------------------------------------------------------------------ one value

    def text(self, value: Value, known: Mapping[int, str], type: str) -> str:
        """Give the variable of an operand: a number has the type of what it meets."""
        if is_number(value):
            return self.page.number(value, type if value.dtype is None else type_of(value))
        return known[value.index] if value.index in known else self.numbers[value.index]

    def expression(self, value: Value, known: Mapping[int, str]) -> str:
        """Write what computes a value."""
        if not (self.fast or is_exact(value.op, value.params)):
            raise Unsupported(f"{called(value)} has other bits in C than in NumPy")
        of_operand = operand_type(value)
        operands = [self.text(x, known, of_operand) for x in value.operands]
        types = [None if is_number(x) and x.dtype is None else type_of(x) for x in value.operands]
        text = expression(value, operands, types)
        if any(f"{name}_{of_operand}(" in text for name in ("exp", "log", "tanh")):
            self.functions.add(of_operand)
        return text

    def loaded(self, value: Value, row: str) -> str:
        """Write an entry of an argument, a vector, or what is kept of a row."""
        loops = self.page.loops(value.labels)
        if value.op == ARGUMENT and self.page.has_rows(value.labels):
            loops = (self.page.region.rows, *loops)
        return f"{self.arrays[value.index]}[{self.page.place_in(loops, row)}]"

    # ------------------------------------------------------------------ sums

    def adds_in_pairs(self, value: Value) -> bool:
        """Whether NumPy's order of a sum is to be kept, where it adds what lies side by side."""
        return not self.fast and value.op == "sum" and type_of(value) in FLOATS

    def is_whole(self, value: Value) -> bool:
        """Whether a sum in pairs goes over rows as well: all that it adds lies side by side."""
        (operand,) = value.operands
        has_rows = self.page.has_rows(operand.labels) and self.page.has_rows(value.over)
        return self.adds_in_pairs(value) and has_rows and not value.labels

    def collected(self, one: Sum) -> str:
        """Give the array in which the numbers are put side by side that are added in pairs."""
        x = one.value
        if x.index not in self._collected:
            loops = (self.page.region.rows, *one.nest) if self.is_whole(x) else one.inner
            name = f"{self.page.variable(x)}_terms"
            self._collected[x.index] = self.page.place(name, type_of(x), loops)
        return self._collected[x.index]

    def first(self, value: Value) -> str:
        """Write what a reduction starts at."""
        if value.op == "max":
            return "-INFINITY"
        return self.start if type_of(value) in FLOATS else "0"

    def added(self, value: Value, into: str, terms: Sequence[str]) -> str:
        """Write the statement that adds some numbers to a reduction."""
        if value.op == "max":
            texts = [f"{into} = {into} > {x} || {into} != {into} ? {into} : {x};" for x in terms]
            return " ".join(texts)
        if self.adds_in_pairs(value) and len(terms) > 1:
            return f"{into} = {' + '.join([into, *terms])};"
        return f"{into} += {' + '.join(terms)};"

    def sum(self, value: Value, into: str) -> Sum:
        """Say how a nest adds to a reduction.

        Raises
        ------
        Unsupported
            If it is none that is compiled; or of strict code, if NumPy's order depends on how an
            operand that does not have all axes was spread.
        """
        (operand,) = value.operands
        if value.op not in ("sum", "max") or (value.op == "max" and type_of(value) not in FLOATS):
            raise Unsupported(f"{called(value)} is a reduction that is not written in C")
        kept = self.page.loops(value.labels)
        columns = self.page.loops(operand.labels)
        nest = tuple(x for x in self.page.region.columns if x in kept or x in columns)
        if not self.fast and value.op == "sum" and not set(value.over) <= set(operand.labels):
            raise Unsupported(f"{called(value)} adds up what is the same along an axis")
        return Sum(value, into, kept, nest)

    def repeated(self, value: Value) -> str:
        """Write how often the operand of a sum is met along labels that it does not have."""
        (operand,) = value.operands
        absent = [x for x in value.over if x not in operand.labels] if value.op == "sum" else []
        rows = [self.page.region.rows] if self.page.has_rows(absent) else []
        loops = [*rows, *self.page.loops(absent)]
        return f" * {self.page.count(loops)}" if loops else ""

    # ------------------------------------------------------------------ a nest

    def write(
        self,
        loops: tuple[Loop, ...],
        values: Sequence[Value],
        targets: Sequence[Sum | Store],
        rows: Sequence[Row],
    ) -> None:
        """Write a nest of loops.

        Parameters
        ----------
        loops : tuple of Loops
        values : sequence of Values
            What may be computed in it, operands before their readers.
        targets : sequence of Sums and Stores
            What it is for.
        rows : sequence of Rows
            Which are computed in a turn.
        """
        needed = _needed(values, [x.operand if isinstance(x, Sum) else x.value for x in targets])
        known = [dict(row.known) for row in rows]
        _Nest(self, loops, needed, targets, rows, known).level(0)


class _Nest:
    """One nest being written; `known` are the variables that there are of each row."""

    def __init__(
        self,
        nests: Nests,
        loops: tuple[Loop, ...],
        values: Sequence[Value],
        targets: Sequence[Sum | Store],
        rows: Sequence[Row],
        known: Sequence[dict[int, str]],
    ) -> None:
        self.nests, self.page, self.loops, self.values = nests, nests.page, loops, values
        self.targets, self.rows, self.known = targets, rows, known
        self.computed = {x.index for x in values}
        self.sums = [x for x in targets if isinstance(x, Sum)]
        self.partial: dict[int, str] = {}  # what the inner loops of a sum add to, by its value

    def level(self, k: int) -> None:
        """Write what is inside the first `k` loops."""
        self._compute(k)
        if k == len(self.loops):
            for target in self.targets:
                self._meet(target)
            return
        begun = [x for x in self.sums if x.inner and len(self.loops) - len(x.inner) == k]
        for one in begun:
            self._begin(one)
        if k + 1 < len(self.loops):
            with self.page.block(self.page.head(self.loops[k])):
                self.level(k + 1)
        else:
            self._innermost(k)
        for one in begun:
            self._end(one)

    def _compute(self, k: int) -> None:
        """Declare the values that vary along the `k`-th loop, and along none inside it."""
        now = [x for x in self.values if len(self._inside(x)) == k]
        read = [y for x in self.values for y in x.operands]
        read += [x.operand if isinstance(x, Sum) else x.value for x in self.targets]
        for x in read:
            if self._is_loaded(x) and len(self._inside(x)) == k:
                self._declare(x, self.rows[:1])
        for x in now:
            self._declare(x, self.rows)

    def _inside(self, x: Value) -> tuple[Loop, ...]:
        """Give the loops up to the innermost that a value varies along."""
        met = self.page.loops(x.labels)
        return self.loops[: 1 + max((self.loops.index(y) for y in met), default=-1)]

    def _declare(self, x: Value, rows: Sequence[Row]) -> None:
        for k, row in enumerate(rows):
            if x.index in self.nests.arrays and not self._is_new(x):
                text = self.nests.loaded(x, row.at)
            else:
                text = self.nests.expression(x, self.known[k])
            name = self.page.variable(x, row.suffix if len(rows) > 1 else "")
            self.page.line(typed(x, name, text))
            for known in self.known if len(rows) == 1 else [self.known[k]]:
                known[x.index] = name

    def _is_loaded(self, x: Value) -> bool:
        """Whether a value is neither computed here nor known, and stands in an array."""
        is_known = x.index in self.known[0] or x.index in self.nests.numbers
        return x.index in self.nests.arrays and not is_known and x.index not in self.computed

    def _is_new(self, x: Value) -> bool:
        """Whether a value is computed here, and has an array that it is then stored in."""
        return x.op != ARGUMENT and x.index in self.computed

    # ------------------------------------------------------------------ loops and sums

    def _innermost(self, k: int) -> None:
        loop = self.loops[k]
        inner = [x for x in self.sums if x.inner and not self.nests.adds_in_pairs(x.value)]
        blocked = [x for x in inner if x.value.op == "sum" and self.nests.fast]
        if not blocked:
            self._simd(inner)
            with self.page.block(self.page.head(loop)):
                self.level(k + 1)
            return
        j, n = self.page.counter(loop), self.page.lengths[loop]
        with self.page.block(f"for (int64_t j0 = 0; j0 < {n}; j0 += {BLOCK})"):
            self.page.line(f"const int64_t j1 = j0 + {BLOCK} < {n} ? j0 + {BLOCK} : {n};")
            totals = {x.value.index: self.partial[x.value.index] for x in blocked}
            for x in blocked:
                name = self.page.name((x.value.index, "block"), f"{x.into}_block")
                self.partial[x.value.index] = name
                self.page.line(f"{type_of(x.value)} {name} = 0;")
            self._simd(inner)
            with self.page.block(f"for (int64_t {j} = j0; {j} < j1; {j}++)"):
                self.level(k + 1)
            for x in blocked:
                self.page.line(f"{totals[x.value.index]} += {self.partial[x.value.index]};")
            self.partial |= totals

    def _simd(self, inner: Sequence[Sum]) -> None:
        """Say that the turns of the next loop are independent, but for what they add up."""
        added = [self.partial[x.value.index] for x in inner if x.value.op == "sum"]
        largest = [self.partial[x.value.index] for x in inner if x.value.op == "max"]
        texts = [f"reduction(+ : {', '.join(added)})"] if added else []
        if largest:
            texts.append(f"reduction(max : {', '.join(largest)})")
            flags = [self._flag(x) for x in inner if x.value.op == "max"]
            texts.append(f"reduction(| : {', '.join(flags)})")
        self.page.line(f"DO(omp simd {' '.join(texts)})" if texts else "VECTORS")

    def _begin(self, one: Sum) -> None:
        """Declare what the inner loops of a sum add to, or, of strict code, collect in."""
        x, type = one.value, type_of(one.value)
        if self.nests.adds_in_pairs(x):
            self.partial[x.index] = self.nests.collected(one)
            return
        name = one.into
        if not one.is_new:
            name = self.page.name((x.index, "partial"), f"{self.page.variable(x)}_along")
        self.partial[x.index] = name
        self.page.line(f"{type} {name} = {self.nests.first(x)};")
        if x.op == "max":
            self.page.line(f"int {self._flag(one)} = 0;")

    def _flag(self, one: Sum) -> str:
        """Name the variable that tells whether a maximum has met what is no number."""
        return self.page.name((one.value.index, "nan"), f"{self.page.variable(one.value)}_is_nan")

    def _end(self, one: Sum) -> None:
        """Add what the inner loops have given."""
        x, type, partial = one.value, type_of(one.value), self.partial[one.value.index]
        if self.nests.is_whole(x):
            return
        if self.nests.adds_in_pairs(x):
            self.nests.pairwise.add(type)
            partial = f"pairwise_{type}({partial}, {self.page.count(one.inner)})"
        elif x.op == "max":
            self.page.line(f"if ({self._flag(one)}) {partial} = NAN;")
        if not one.is_new:
            at = f"[{self.page.place_in(one.kept)}]" if one.kept else ""
            partial += self.nests.repeated(x)
            self.page.line(self.nests.added(x, f"{one.into}{at}", [partial]))
        elif self.nests.adds_in_pairs(x):
            self.page.line(typed(x, one.into, f"{self.nests.first(x)} + {partial}"))
        elif times := self.nests.repeated(x):
            self.page.line(f"{partial} = {partial}{times};")

    def _meet(self, target: Sum | Store) -> None:
        """Store a value in its array, or add it to its sum."""
        if isinstance(target, Store):
            for row, known in zip(self.rows, self.known, strict=True):
                place = self.page.place_in(target.loops, row.at)
                text = self.nests.text(target.value, known, target.type)
                self.page.line(f"{target.into}[{place}] = {text};")
            return
        x = target.value
        terms = [self.nests.text(target.operand, known, type_of(x)) for known in self.known]
        if self.nests.adds_in_pairs(x) and (target.inner or self.nests.is_whole(x)):
            self._collect(target, terms)
        elif target.inner and x.op == "max":
            m, (v,) = self.partial[x.index], terms
            self.page.line(f"{m} = {v} > {m} ? {v} : {m};")
            self.page.line(f"{self._flag(target)} |= {v} != {v};")
        elif target.inner:
            self.page.line(self.nests.added(x, self.partial[x.index], terms))
        else:
            at = f"[{self.page.place_in(target.kept)}]" if target.kept else ""
            terms = [f"{term}{self.nests.repeated(x)}" for term in terms]
            if target.is_new:
                self.page.line(f"{type_of(x)} {target.into} = {self.nests.first(x)};")
            self.page.line(self.nests.added(x, f"{target.into}{at}", terms))

    def _collect(self, target: Sum, terms: Sequence[str]) -> None:
        """Put what is to be added in pairs side by side."""
        loops = target.inner
        if self.nests.is_whole(target.value):
            loops = (self.page.region.rows, *target.nest)
        into = self.nests.collected(target)
        for row, term in zip(self.rows, terms, strict=True):
            self.page.line(f"{into}[{self.page.place_in(loops, row.at)}] = {term};")


def _needed(values: Sequence[Value], wanted: Iterable[Value]) -> list[Value]:
    """Give those of some values that others are computed from, and these, in their order."""
    there = {x.index for x in values}
    found: set[int] = set()
    stack = list(wanted)
    while stack:
        x = stack.pop()
        if x.index in there and x.index not in found:
            found.add(x.index)
            stack += x.operands
    return [x for x in values if x.index in found]
