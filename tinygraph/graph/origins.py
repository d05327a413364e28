"""Origins: how the numbers of a graph follow from the lengths of its inputs.

A number may be a formula in lengths, be *given* (a literal of the traced code, an argument, what a
rule says itself), or have an origin that nobody saw. Only the last keeps a graph from running on
arrays of other lengths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import numpy as np

from tinygraph.engine.lengths import Formula, Measured
from tinygraph.engine.sources import Sources

__all__ = ["GIVEN", "RULE", "STRUCTURAL", "Origins", "exactly", "is_count"]

GIVEN, RULE = "given", "rule"
STRUCTURAL = frozenset({"axis", "axes", "keepdims", "dtype", "places"})
"""Parameters that do not depend on lengths."""


class _UnknownError(Exception):
    """Where a number came from was not seen."""


class Origins:
    """Says where the numbers of one graph come from.

    Parameters
    ----------
    sources : iterable of Sources
        The numbers that stand in the code that was traced.
    place : callable
        Gives the index of the frozen node for a tensor or a symbol; KeyError where there is none.
    """

    def __init__(self, sources: Iterable[Sources], place: Callable[[Any], int]) -> None:
        self.sources = {id(one): one for one in sources}.values()
        self.place = place

    def of_constant(self, x: Any, is_rules: bool) -> Formula | str | None:
        """Give the origin of an operand that is no node; `is_rules` where a rule took it."""
        try:
            origin = self._origin(x, is_rules)
        except _UnknownError:
            return None
        return origin if isinstance(origin, Formula) else RULE if is_rules else GIVEN

    def of_params(self, params: Mapping[str, Any], is_rules: bool) -> Mapping[str, Any]:
        """Give the parameters that are not given: with formulas in them, or None for unknown."""
        found: dict[str, Any] = {}
        for name, x in params.items():
            if name not in STRUCTURAL:
                try:
                    origin = self._origin(x, is_rules)
                except _UnknownError:
                    found[name] = None
                else:
                    if _has_formula(origin):
                        found[name] = origin
        return MappingProxyType(found)

    def _origin(self, x: Any, is_rules: bool) -> Any:
        if isinstance(x, Measured):
            try:
                return x.formula.map(self.place)
            except KeyError:
                raise _UnknownError from None
        if isinstance(x, tuple):
            return tuple([self._origin(part, is_rules) for part in x])
        if isinstance(x, slice):
            return slice(*[self._origin(end, is_rules) for end in (x.start, x.stop, x.step)])
        if x is None or isinstance(x, bool | str | np.dtype) or x is Ellipsis:
            return x
        if type(x) is int and -1 <= x <= 1:
            return x
        if is_rules and type(x) in (int, float, Fraction):
            return x
        if any(x in source for source in self.sources):
            return x
        raise _UnknownError


def _has_formula(x: Any) -> bool:
    if isinstance(x, slice):
        x = (x.start, x.stop, x.step)
    return isinstance(x, Formula) or (isinstance(x, tuple) and any(map(_has_formula, x)))


def exactly(formula: Formula, length: Callable[[Any, int], int]) -> Fraction | None:
    """Compute a formula without rounding; None where that is not possible."""
    if formula.op == "sqrt":
        return None
    args: list[Any] = []
    for x in formula.args if formula.op != "length" else ():
        exact = exactly(x, length) if isinstance(x, Formula) else _fraction(x)
        if exact is None:
            return None
        args.append(exact)
    try:
        value = Formula(formula.op, tuple(args) or formula.args).value(length)
    except (ArithmeticError, ValueError):
        return None
    return _fraction(value)


def _fraction(x: Any) -> Fraction | None:
    if isinstance(x, int | float | Fraction | np.floating) and np.isfinite(float(x)):
        return Fraction(*x.as_integer_ratio())
    return None


def is_count(formula: Any) -> bool:
    """Whether a formula is a product of lengths, as the number of values that a sum adds up is."""
    if not isinstance(formula, Formula):
        return False
    return formula.op == "length" or (formula.op == "*" and all(map(is_count, formula.args)))
