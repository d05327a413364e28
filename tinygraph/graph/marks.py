"""Marks: how the values that one variable takes are told apart, and the parts of a gradient.

A variable that is assigned again is followed by a mark that looks neither like an index nor like a
part of a gradient: ``S``, ``S′``, ``S″``, and from the fourth value on its number, ``S⁽⁴⁾``. The
parts of the gradient of ``x`` are ``dx1`` and ``dx2``; they are ``dx₁`` and ``dx₂`` where the name
ends in a digit or a mark, or where something else is called ``dx1``. Where the user calls something
``dx``, the gradient of ``x`` is ``dx_grad``. All numbers count from 1.

In letters that Python takes, ``S″`` is ``S_3``, and ``dx₂`` is ``dx_part2``.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from itertools import count

__all__ = ["PRIMES", "free", "in_letters", "part_of", "parts", "unmarked", "versions"]

PRIMES = {1: "", 2: "′", 3: "″"}
RAISED, LOWERED = "⁰¹²³⁴⁵⁶⁷⁸⁹", "₀₁₂₃₄₅₆₇₈₉"
PLAIN = str.maketrans(RAISED + LOWERED, "0123456789" * 2)
MARK = re.compile(f"(.+?)(?:([′″])|⁽([{RAISED}]+)⁾)?")
PART = re.compile(f"(.+?)([{LOWERED}]+)?")


def versions(name: str) -> Iterator[str]:
    """Give the name with all its marks, from the first, which is none.

    Examples
    --------
    >>> [name for _, name in zip(range(5), versions("S"))]
    ['S', 'S′', 'S″', 'S⁽⁴⁾', 'S⁽⁵⁾']
    """
    for k in count(1):
        yield name + PRIMES.get(k, f"⁽{_digits(k, RAISED)}⁾")


def free(name: str, taken: Container[str]) -> str:
    """Give the first version of a name that is not taken.

    Examples
    --------
    >>> free("x", {"x", "x′", "y"})
    'x″'
    """
    return next(version for version in versions(name) if version not in taken)


def unmarked(name: str) -> tuple[str, int]:
    """Take the mark off a name; give the number that it stands for.

    Examples
    --------
    >>> unmarked("S"), unmarked("S″"), unmarked("h0⁽¹²⁾")
    (('S', 1), ('S', 3), ('h0', 12))
    """
    found = MARK.fullmatch(name)
    if found is None or found.lastindex == 1:
        return name, 1
    base, prime, number = found.groups()
    return base, int(number.translate(PLAIN)) if number else 2 + "′″".index(prime)


def parts(total: str, n: int, taken: Container[str]) -> list[str]:
    """Name the n parts of a gradient so that none can be taken for a version or for another name.

    Examples
    --------
    >>> parts("dx", 2, ()), parts("dh0", 2, ()), parts("dS′", 2, ()), parts("dx", 2, {"dx1"})
    (['dx1', 'dx2'], ['dh0₁', 'dh0₂'], ['dS′₁', 'dS′₂'], ['dx₁', 'dx₂'])
    """
    plain = [f"{total}{k + 1}" for k in range(n)]
    ends_in_letter = unmarked(total)[1] == 1 and not total[-1].isnumeric()
    if ends_in_letter and not any(name in taken for name in plain):
        return plain
    return [free(total + _digits(k + 1, LOWERED), taken) for k in range(n)]


def in_letters(name: str) -> str:
    """Write marks and parts in letters, digits and underscores; leave the rest.

    Examples
    --------
    >>> print(*map(in_letters, ("S", "S′", "S⁽⁴⁾", "dS′₁", "dx1", "dx₂", "layers.0.weight")))
    S S_2 S_4 dS_2_part1 dx1 dx_part2 layers.0.weight
    """
    name, part = part_of(name)
    name, number = unmarked(name)
    return name + (f"_{number}" if number > 1 else "") + (f"_part{part}" if part else "")


def part_of(name: str) -> tuple[str, str]:
    """Take the lowered number of a part off a name, and give it in plain digits."""
    found = PART.fullmatch(name)
    if found is None or found[2] is None:
        return name, ""
    return found[1], found[2].translate(PLAIN)


def _digits(k: int, digits: str) -> str:
    return "".join(digits[int(c)] for c in str(k))
