"""The page that a C function is written on: its lines, its names, its loops, its workspace."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from tinygraph.execution.c_expressions import type_of
from tinygraph.execution.regions import Region
from tinygraph.execution.values import CONSTANT, Label, Value
from tinygraph.graph.marks import in_letters
from tinygraph.writing.numpy_expressions import Names

__all__ = ["Loop", "Page", "is_number", "typed"]

Loop = tuple[Label, ...]
"""A group of labels that is one loop."""

RESERVED = """
    auto break case char const continue default do double else enum extern float for goto if inline
    int long register restrict return short signed sizeof static struct switch typedef union
    unsigned void volatile while asm typeof bool true false memcpy uint32_t int32_t uint64_t int64_t
    NAN INFINITY kernel p k n i i0 i1 j j0 j1 work PLACE VECTORS DO linux unix
    acos acosh asin asinh atan atan2 atanh ceil cos cosh erf erfc exp exp2 expm1 fabs floor hypot
    log log10 log1p log2 pow rint sin sinh sqrt tan tanh trunc
"""
"""What C, its library, or the text itself calls something else."""

BYTES = {"_Bool": 1, "int64_t": 8, "float": 4, "double": 8}


def in_ascii(name: str) -> str:
    """Write a name in letters that every C compiler takes: Greek ones are spelled.

    Examples
    --------
    >>> in_ascii("γ"), in_ascii("dxhat"), in_ascii("Σx"), in_ascii("größe"), in_ascii("x̂")
    ('gamma', 'dxhat', 'SIGMAx', 'grosse', 'xhat')
    """
    if name.isascii():
        return name
    return "".join(c if c.isascii() else _spelled(c) for c in in_letters(name))


def _spelled(letter: str) -> str:
    if letter in SPELLED:
        return SPELLED[letter]
    words = unicodedata.name(letter, "").split()
    if words[:1] == ["GREEK"] and letter.isalpha():
        return words[-1].lower() if letter.islower() else words[-1]
    return "".join(c for c in unicodedata.normalize("NFKD", letter) if c.isascii())


SPELLED = {"ß": "ss", "\u0302": "hat", "\u0303": "tilde", "\u0304": "bar", "∂": "d"}


class Page:
    """One function being written.

    Parameters
    ----------
    region : Region
        Whose loops and constants it has.

    Attributes
    ----------
    lines : list of str
    places : list of (int, Loop)
        The arrays in the workspace: the size of an entry, and along which labels.
    declared : list of str
        Their declarations.
    constants : dict
        The variables that hold numbers, by position in `k` and C type.
    """

    def __init__(self, region: Region) -> None:
        self.region = region
        self.lines: list[str] = []
        self.places: list[tuple[int, Loop]] = []
        self.declared: list[str] = []
        self.constants: dict[tuple[int, str], str] = {}
        self._depth = 1
        self._names = Names(RESERVED.split())
        self._given: dict[object, str] = {}
        self.lengths = {
            loop: self._names.give("".join(label.name for label in loop))
            for loop in (region.rows, *region.columns)
            if loop
        }
        self._counters = {loop: self._names.give(n.lower()) for loop, n in self.lengths.items()}
        self._counters |= {region.rows: "i"} | dict.fromkeys(region.columns[-1:], "j")
        self._loops: dict[Loop, tuple[Loop, ...]] = {}
        self._of_label = {label: loop for loop in self.lengths for label in loop}

    # ------------------------------------------------------------------ names

    def name(self, key: object, wanted: str) -> str:
        """Give the name of a thing, the same each time."""
        if key not in self._given:
            self._given[key] = self._names.give(in_ascii(wanted))
        return self._given[key]

    def variable(self, value: Value, suffix: str = "") -> str:
        """Give the name of a value, which is the user's where there is one."""
        plain = self.name(value.index, value.name or f"t{value.index}")
        return plain if not suffix else self.name((value.index, suffix), f"{plain}{suffix}")

    def number(self, value: Value, type: str) -> str:
        """Give the variable that holds a constant in a type."""
        at = self.region.constants.index(value)
        plain = value.name if value.name.isidentifier() else f"k{at}"
        self.constants[at, type] = self.name(("k", at, type), plain)
        return self.constants[at, type]

    def place(self, name: str, type: str, loops: Iterable[Loop]) -> str:
        """Declare an array along some loops in the workspace."""
        loops = tuple(loops)
        self.places.append((BYTES[type], tuple(label for loop in loops for label in loop)))
        count = " * ".join(self.lengths[loop] for loop in loops)
        name = self._names.give(name)
        self.declared.append(f"{type} *restrict {name} = PLACE({type}, {count});")
        return name

    # ------------------------------------------------------------------ loops

    def loops(self, labels: Iterable[Label]) -> tuple[Loop, ...]:
        """Give the loops along columns that labels need, outermost first."""
        labels = tuple(labels)
        if labels not in self._loops:
            met = {self._of_label[label] for label in labels}
            self._loops[labels] = tuple(loop for loop in self.region.columns if loop in met)
        return self._loops[labels]

    def has_rows(self, labels: Iterable[Label]) -> bool:
        """Whether there is a label of rows."""
        return not set(self.region.rows).isdisjoint(labels)

    def counter(self, loop: Loop) -> str:
        """Give the index of a loop."""
        return self._counters[loop]

    def head(self, loop: Loop) -> str:
        """Write the head of a loop."""
        j = self._counters[loop]
        return f"for (int64_t {j} = 0; {j} < {self.lengths[loop]}; {j}++)"

    def place_in(self, loops: Sequence[Loop], row: str = "i") -> str:
        """Write the index into an array along some loops."""
        text = before = ""
        for loop in loops:
            j = row if loop == self.region.rows else self._counters[loop]
            outer = f"({text})" if text.endswith(f" + {before}") else text
            text, before = f"{outer} * {self.lengths[loop]} + {j}" if text else j, j
        return text or "0"

    def count(self, loops: Iterable[Loop]) -> str:
        """Write how many entries an array along some loops has."""
        return " * ".join(self.lengths[loop] for loop in loops) or "1"

    # ------------------------------------------------------------------ lines

    def line(self, text: str) -> None:
        """Write a line."""
        self.lines.append("    " * self._depth + text)

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """Write what is written inside in braces."""
        self.line(f"{head} {{")
        self._depth += 1
        yield
        self._depth -= 1
        self.line("}")


def typed(value: Value, name: str, text: str) -> str:
    """Write the declaration of a value that does not change."""
    return f"const {type_of(value)} {name} = {text};"


def is_number(value: Value) -> bool:
    """Whether a value is a constant, which stands in `k`."""
    return value.op == CONSTANT
