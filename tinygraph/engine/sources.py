"""Sources: which numbers stand in the code that `trace` runs, and which of its names are lengths.

A snapshot may run on arrays of other lengths only if no constant in it was computed from a length
that nobody saw. A number is beyond suspicion where it is the very object that stands in the code as
a literal, that was passed to the traced function, or that was there before: a global, a default, an
attribute. Python shares small ints among all their uses, so that of an int only its value is known.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import lru_cache
from types import CodeType, FrameType
from typing import Any

import numpy as np

from tinygraph.engine.notes import Notes

__all__ = ["Sources", "names_of_lengths"]

NUMBERS = (float, complex, Fraction, np.number)


class Sources:
    """The numbers that were met in one run of `trace`.

    Attributes
    ----------
    notes : Notes
    codes : dict
        The code that ran, and its globals, by the id of the code.
    owners : dict
        Objects whose methods ran, by their id.
    """

    def __init__(self) -> None:
        self.codes: dict[int, tuple[CodeType, dict[str, Any]]] = {}
        self.owners: dict[int, Any] = {}
        self._ints: set[int] = set()
        self._others: dict[int, Any] = {}  # by id, and kept alive so that no other takes it
        self.notes = Notes()

    def __contains__(self, x: Any) -> bool:
        return x in self._ints if type(x) is int else id(x) in self._others

    def __reduce__(self) -> tuple[Any, ...]:
        return _copied, (self.notes,)  # in a copy, no object is the one that was met

    def meet(self, frame: FrameType, is_outermost: bool) -> None:
        """Take down what the code of a frame holds, before it has computed anything."""
        if is_outermost:
            self._add(frame.f_locals.values())
        owner, code = frame.f_locals.get("self"), frame.f_code
        if owner is not None and id(owner) not in self.owners:
            self.owners[id(owner)] = owner
            self._add(_attributes(owner))
        if id(code) not in self.codes:
            self.codes[id(code)] = code, frame.f_globals
            self._add(_numbers_of(frame, owner))

    def _add(self, values: Iterable[Any]) -> None:
        for x in values:
            if type(x) is int:
                self._ints.add(x)
            elif isinstance(x, NUMBERS):
                self._others[id(x)] = x
            elif type(x) is tuple:
                self._add(x)


def _copied(notes: Notes) -> Sources:
    copy = Sources()
    copy.notes = notes
    return copy


def _attributes(thing: Any) -> list[Any]:
    return list(getattr(thing, "__dict__", {}).values())


def _numbers_of(frame: FrameType, owner: Any) -> Iterator[Any]:
    """Give literals, globals, what is taken from modules and objects, and defaults."""
    code, outside = frame.f_code, frame.f_globals
    yield code.co_consts
    for name in code.co_names:
        value = outside.get(name)
        yield value
        attributes = getattr(value, "__dict__", {})
        yield from (attributes[other] for other in code.co_names if other in attributes)
    for holder in (outside, getattr(type(owner), "__dict__", {})):
        function = inspect.unwrap(holder.get(code.co_name) or _numbers_of)
        if getattr(function, "__code__", None) is code:
            yield getattr(function, "__defaults__", None) or ()
            yield tuple((getattr(function, "__kwdefaults__", None) or {}).values())


@lru_cache(maxsize=256)
def names_of_lengths(code: CodeType) -> dict[str, str]:
    """Find the variables of a function that are only ever bound to ``len(x)``, with their x.

    Examples
    --------
    >>> def mean(x):
    ...     n = len(x)
    ...     return x.sum() / n
    >>> names_of_lengths(mean.__code__) in ({"n": "x"}, {})  # without its source, nothing is found
    True
    """
    if "len" not in code.co_names:
        return {}
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(code)))
    except (OSError, TypeError, SyntaxError, ValueError):
        return {}
    bound: dict[str, set[str | None]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                for name, value in _pairs(target, node.value):
                    bound.setdefault(name, set()).add(_argument_of_len(value))
        elif hasattr(node, "target"):
            for part in ast.walk(node.target):
                if isinstance(part, ast.Name):
                    bound.setdefault(part.id, set()).add(None)
    lengths = {name: of for name, (of, *others) in bound.items() if of and not others}
    return {name: of for name, of in lengths.items() if len(bound.get(of, ())) == 0}


def _pairs(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr | None]]:
    """Give the names that an assignment binds, each with its value where that can be seen."""
    if isinstance(target, ast.Name):
        yield target.id, value
    elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for one, its in zip(target.elts, value.elts, strict=False):
            yield from _pairs(one, its)
    else:
        for name in ast.walk(target):
            if isinstance(name, ast.Name):
                yield name.id, None


def _argument_of_len(value: ast.expr | None) -> str | None:
    match value:
        case ast.Call(func=ast.Name(id="len"), args=[ast.Name(id=name)], keywords=[]):
            return name
    return None
