"""The linear rewrite: sums over less, known earlier. The numbers are equal but for rounding.

A sum is linear, so what does not depend on where one is in it may stand before it:

    Σ(v · F) = v · ΣF,   Σ(F / v) = ΣF / v,   Σ(−F) = −ΣF,   Σ v = n · v,   for v without the axis

For BatchNorm, dgamma = Σ dout·xhat and divar = Σ dxhat·xmu are then the same Σ dout·xmu, which is
known one sweep earlier, and dmu = −Σ(dxmu1 + dxmu2) can be made of it.

Σ(a + b) = Σa + Σb **only where that saves a sweep**. Where p ≈ y, Σ(p − y) is not Σp − Σy, which is
the small difference of two large numbers: 37 % off in float32.

A quotient by what is the same for many entries is a product by its inverse, taken once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from math import prod
from typing import Any

from tinygraph.engine import ops
from tinygraph.engine.primitive import Primitive
from tinygraph.execution.regions import Result
from tinygraph.execution.sweeps import Levels, needed
from tinygraph.execution.values import CONSTANT, Label, Value, Values

__all__ = ["rewritten"]

TERMS = {"add": ops.add, "sub": ops.sub}

Factor = tuple[Value, bool]
"""Of a product, and whether it is divided by."""

Split = tuple[int, tuple[Label, ...]]
"""A sum that is to be taken term by term: the index of its operand, and what it goes over."""


def rewritten(
    results: Sequence[Result], values: Values, rows: Collection[Label]
) -> tuple[Result, ...]:
    """Rewrite sums by their linearity.

    Parameters
    ----------
    results : sequence of Results
    values : Values
        Which the new ones are put to.
    rows : collection of Labels

    Returns
    -------
    tuple of Results
        Of the same nodes.
    """
    made = _Rewriting(values, rows, ()).of(results)
    splits: frozenset[Split] = frozenset()
    levels = Levels(made, rows)
    while levels.count > _least(levels, made):
        found = _sooner(results, values, levels, made, splits)
        if found is None:
            break
        splits, made = found
        levels = Levels(made, rows)
    return made


def _sooner(
    results: Sequence[Result],
    values: Values,
    levels: Levels,
    made: tuple[Result, ...],
    splits: frozenset[Split],
) -> tuple[frozenset[Split], tuple[Result, ...]] | None:
    """Split as few more sums as will do to save a sweep, if that can be."""
    rows, count, before = levels.rows, levels.count - 1, splits
    while levels.count > count:
        late = frozenset(_late(levels, made, count)) - splits
        if not late:
            return None
        splits |= late
        made = _Rewriting(values, rows, splits).of(results)
        levels = Levels(made, rows)
    for split in sorted(splits - before) if len(splits - before) > 1 else ():
        fewer = _Rewriting(values, rows, splits - {split}).of(results)
        if Levels(fewer, rows).count <= count:
            splits, made = splits - {split}, fewer
    return splits, made


def _least(levels: Levels, results: Iterable[Result]) -> int:
    """Give how many sweeps there are at least, even if every sum of terms were known at once."""
    level: dict[int, int] = {}
    for x in levels.values:
        before = max((level[y.index] for y in x.operands), default=0)
        level[x.index] = 0 if _has_terms(x, levels) else before + levels.ends_sweep(x)
    return max((level[x.value.index] + levels.has_rows(x) for x in results), default=0)


def _late(levels: Levels, results: Iterable[Result], count: int) -> Iterator[Split]:
    """Give the sums of several terms that are known too late for `count` sweeps."""
    until = dict.fromkeys((x.index for x in levels.values), count)
    for result in results:
        index = result.value.index
        until[index] = min(until[index], count - levels.has_rows(result))
    for x in reversed(levels.values):
        end = until[x.index] - levels.ends_sweep(x)
        for y in x.operands:
            until[y.index] = min(until[y.index], end)
    for x in levels.values:
        if _has_terms(x, levels) and levels.of(x) > until[x.index]:
            yield x.operands[0].index, x.over


def _has_terms(x: Value, levels: Levels) -> bool:
    return x.op == "sum" and x.operands[0].op in TERMS and levels.ends_sweep(x)


class _Rewriting:
    """One rewriting of some results, in which some sums are split."""

    def __init__(self, values: Values, rows: Collection[Label], splits: Collection[Split]) -> None:
        self.values, self.rows, self.splits = values, frozenset(rows), splits

    def of(self, results: Sequence[Result]) -> tuple[Result, ...]:
        """Give the same results of new values, which bear the names of the old ones."""
        new: dict[int, Value] = {}
        for x in needed(result.value for result in results):
            new[x.index] = y = self._new(x, [new[operand.index] for operand in x.operands])
            y.name = y.name or x.name
        return tuple(x._replace(value=new[x.value.index]) for x in results)

    def _new(self, x: Value, operands: Sequence[Value]) -> Value:
        if x.primitive is None:
            return x
        if x.op == "add" and x.dtype == operands[0].dtype and _is_zero(operands[1]):
            return operands[0]
        if x.op == "sum" and _counts_in(x.dtype, operands):
            return self._sum(operands[0], x.over)
        if x.op == "div" and _counts_in(x.dtype, operands):
            above, below = operands
            is_shared = len(below.labels) < len(x.labels) and not _is_zero(below)
            if is_shared and not self.rows.isdisjoint(x.labels):
                return self._apply(ops.mul, x.dtype, above, self._inverse(x.dtype, below))
        return self.values.apply(x.primitive, operands, x.dtype, over=x.over, params=x.params)

    def _sum(self, x: Value, over: Sequence[Label]) -> Value:
        """Give Σ x, with the factors before it that do not depend on where one is in it."""
        product = _Product(x, frozenset(over))
        terms = x if product.is_whole else self._quotient(x.dtype, product.inner)
        factors = product.outer
        if terms is not None:
            factors = [(self._total(terms, over), False), *factors]
        if alone := [label for label in over if terms is None or label not in terms.labels]:
            times = float(prod(label.length for label in alone))
            factors.append((self.values.constant(times, None, ("count", *alone)), False))
        total = self._chain(x.dtype, factors)
        return self._apply(ops.neg, x.dtype, total) if product.is_negative else total

    def _total(self, x: Value, over: Iterable[Label]) -> Value:
        along = tuple(label for label in over if label in x.labels)
        if (x.index, along) not in self.splits:
            return self.values.apply(ops.sum, [x], x.dtype, over=along)
        return self._apply(TERMS[x.op], x.dtype, *[self._sum(y, along) for y in x.operands])

    def _quotient(self, dtype: Any, factors: Iterable[Factor]) -> Value | None:
        """Multiply factors in one order, whatever order they had, and divide once."""
        ordered = sorted(factors, key=lambda factor: factor[0].index)
        above = [(x, False) for x, is_below in ordered if not is_below]
        below = [(x, False) for x, is_below in ordered if is_below]
        parts = [(self._chain(dtype, above), False)] if above else []
        parts += [(self._chain(dtype, below), True)] if below else []
        return self._chain(dtype, parts) if parts else None

    def _chain(self, dtype: Any, factors: Iterable[Factor]) -> Value:
        """Multiply and divide one after the other."""
        (x, is_below), *rest = factors
        product = self._inverse(dtype, x) if is_below else x
        for x, is_below in rest:
            product = self._apply(ops.div if is_below else ops.mul, dtype, product, x)
        return product

    def _inverse(self, dtype: Any, x: Value) -> Value:
        return self._apply(ops.inverse, dtype, x)

    def _apply(self, op: Primitive, dtype: Any, *operands: Value) -> Value:
        return self.values.apply(op, operands, dtype)


class _Product:
    """What a product consists of: a sign, factors that have some labels, and others.

    Attributes
    ----------
    is_negative : bool
    inner, outer : list of Factors
        Those that have some of the labels, and those that have none.
    is_whole : bool
        Whether nothing can be taken out.
    """

    def __init__(self, x: Value, over: frozenset[Label]) -> None:
        self.is_negative = False
        self.inner: list[Factor] = []
        self.outer: list[Factor] = []
        self._over = over
        self._take(x, x.dtype, is_below=False)
        self.is_whole = not self.outer and not self.is_negative

    def _take(self, x: Value, dtype: Any, *, is_below: bool) -> None:
        if self._over.isdisjoint(x.labels):
            self.outer.append((x, is_below))
        elif x.op == "neg":
            self.is_negative = not self.is_negative
            self._take(x.operands[0], dtype, is_below=is_below)
        elif x.op in ("mul", "div", "inverse") and _counts_in(dtype, x.operands):
            for k, y in enumerate(x.operands):
                is_divisor = x.op == "inverse" or (x.op == "div" and k == 1)
                self._take(y, dtype, is_below=is_below != is_divisor)
        else:
            self.inner.append((x, is_below))


def _counts_in(dtype: Any, operands: Iterable[Value]) -> bool:
    """Whether an operation takes floats of one dtype, numbers aside, and gives such."""
    return dtype.kind == "f" and all(x.dtype in (None, dtype) for x in operands)


def _is_zero(x: Value) -> bool:
    return x.op == CONSTANT and x.params["value"] == 0
