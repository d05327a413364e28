"""Names and steps of what is being captured: every symbol gets what a person calls it by."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import count

from tinygraph.graph.marks import versions
from tinygraph.graph.nodes import Node, Step
from tinygraph.graph.symbols import Symbol

__all__ = ["name_all", "number_steps", "scopes_of", "steps_of"]


def name_all(symbols: Sequence[Symbol], outputs: Sequence[Symbol]) -> None:
    """Name what has no name and needs one, and mark the values that share one.

    Outputs and inputs need one, and so does a value that is used more than once: written out at
    each use, it would look computed at each use. Inputs keep their names, by which they are given;
    all other values that bear a name are versions of it, in their order.
    """
    uses = Counter(x.index for s in symbols for x in s.parents)
    leaves = [s for s in symbols if s.role == "input"]
    shared = [s for s in symbols if uses[s.index] > 1]
    given = {s.name for s in symbols if s.name is not None}
    for group, base in ((outputs, "out"), (leaves, "x"), (shared, "t")):
        unnamed = [s for s in dict.fromkeys(group) if s.name is None]
        is_only = len(unnamed) == 1 and base != "t" and base not in given
        numbered = (name for k in count(1) if (name := f"{base}{k}") not in given)
        for symbol in unnamed:
            symbol.name = base if is_only else next(numbered)
            given.add(symbol.name)

    bearers: dict[str, list[Symbol]] = defaultdict(list)
    for symbol in sorted(symbols, key=lambda s: s.role != "input"):
        if symbol.name is not None:
            bearers[symbol.name].append(symbol)
    taken = set(bearers)
    for base, (_, *others) in bearers.items():
        candidates = (name for name in versions(base) if name not in taken)
        for symbol in others:
            symbol.name = next(candidates)
            taken.add(symbol.name)


def number_steps(symbols: Sequence[Symbol]) -> None:
    """Count the named nodes; an unnamed one belongs to the step that it feeds, its only use."""
    number = 0
    for symbol in symbols:
        if symbol.role == "input":
            symbol.step = 0
        elif symbol.name is not None:
            number += 1
            symbol.step = number
    for symbol in reversed(symbols):  # consumers before what they consume
        for x in symbol.parents:
            if x.name is None:
                x.step = symbol.step


def scopes_of(symbols: Sequence[Symbol]) -> dict[int, tuple[str, ...]]:
    """Give the calls in which each was computed; of what nobody named, those of its reader."""
    scopes: dict[int, tuple[str, ...]] = {}
    for symbol in reversed(symbols):
        if symbol.origin is not None:
            scopes[symbol.index] = symbol.origin.scope
        for x in symbol.parents:
            if x.role == "forward":
                scopes[x.index] = scopes.get(symbol.index, ())
    return scopes


def steps_of(forward: Iterable[Node]) -> tuple[Step, ...]:
    """Group forward nodes by step; the named one, which was computed last, is the result."""
    members: dict[int, list[Node]] = defaultdict(list)
    for node in forward:
        if node.step:
            members[node.step].append(node)
    return tuple(
        Step(number, str(group[-1].name), group[-1], tuple(group))
        for number, group in sorted(members.items())
    )
