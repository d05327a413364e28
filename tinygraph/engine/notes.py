"""Notes: what the code that `trace` runs was told of its inputs, on which it may have built.

A length that becomes a plain number (``range(n)``, ``float(n)``, an index) says no longer what it
counts; a comparison (``if n > 3``) decides which graph is built, and so does a mask that is asked
whether it is true; what is read by ``.data`` may come back as a constant. Each of these is taken
down, as a formula and its answer: a snapshot is right at other inputs if the answers are the same.
"""

from __future__ import annotations

from typing import Any

from tinygraph.engine.lengths import Formula

__all__ = ["Notes"]


class Notes:
    """The premises of one run of `trace`, or of the rules of one snapshot.

    Attributes
    ----------
    premises : dict
        By what it says: the formula, over the indices of nodes; the answer; how often it was
        given; whether to the engine alone.
    is_lost : bool
        Whether this is a copy, whose nodes have other indices.
    """

    def __init__(self, is_lost: bool = False) -> None:
        self.premises: dict[str, list[Any]] = {}
        self.is_lost = is_lost

    def __reduce__(self) -> tuple[Any, ...]:
        return Notes, (True,)

    def take(self, formula: Formula, answer: Any, is_ours: bool) -> None:
        """Take an answer down, and whether only the engine itself was told."""
        formula = formula.map(lambda node: node.index)
        premise = self.premises.setdefault(repr(formula), [formula, answer, 0, True])
        premise[2] += 1
        premise[3] = premise[3] and is_ours

    def take_back(self, formula: Formula) -> None:
        """Forget an answer that was given once too often."""
        key = repr(formula.map(lambda node: node.index))
        if key in self.premises:
            self.premises[key][2] -= 1
            if not self.premises[key][2]:
                del self.premises[key]
