"""Lines: both passes of a graph as what is given, lines of name and formula, and footnotes.

Every format of `equations` lays these out. Shown for the eye, a backward pass has fewer lines than
it has gradients: both operands of ``a · a`` share one, and what is identically 0 is said in a
footnote.
"""

from __future__ import annotations

from typing import NamedTuple

from tinygraph.engine.autodiff import reachable
from tinygraph.graph.nodes import Gradient, Node
from tinygraph.graph.snapshot import Graph
from tinygraph.writing.counts import named_numbers
from tinygraph.writing.formulas import Notation, Tree
from tinygraph.writing.languages import Formulary
from tinygraph.writing.numbers import number_text, shape_text
from tinygraph.writing.shifts import vanishing

__all__ = ["Line", "Pass", "named_constants", "passes"]


class Line(NamedTuple):
    """One equation; what is given has no formula.

    `value` is the node that holds its value. `gradients` are those that it gives, of a backward
    pass: two where both parts of a · a share a line, and a sum with the only part that is shown;
    `terms` are those that it adds up. `tree` is its formula operation by operation, if asked for.
    """

    step: int
    name: str
    formula: str
    shape: str
    value: Node
    gradients: tuple[Gradient, ...] = ()
    terms: tuple[Gradient, ...] = ()
    tree: Tree | None = None


class Pass(NamedTuple):
    """One direction: what is given, which signs mean what, what is computed, and what is not."""

    title: str
    given: list[tuple[str, str]]
    symbols: list[tuple[str, str]]
    lines: list[Line]
    notes: list[str]


def passes(
    graph: Graph,
    language: Formulary,
    *,
    literal: bool = False,
    apart: bool = False,
    trees: bool = False,
) -> list[Pass]:
    """Write both passes of a graph, or the only one that it has.

    Parameters
    ----------
    graph : Graph
    language : Formulary
    literal : bool, optional
        Whether every gradient is shown, computed as it is.
    apart : bool, optional
        Whether both parts of the gradient of a · a have a line each.
    trees : bool, optional
        Whether lines have their `tree`.

    Returns
    -------
    list of Passes
    """
    notation = Notation(graph, language, literal=literal)
    forward = [
        Line(
            s.number, notation.name(s.name), notation.formula(s.result), _shape(s.result), s.result
        )
        for s in graph.steps
    ]
    notes: list[str] = []
    if literal:
        backward = [_line(g, notation.name(g.name), notation) for g in graph.gradients]
    else:
        backward, notes = _Backward(graph, notation, apart).shown()
    backward = _in_order(backward, notation)
    if trees:
        forward = [line._replace(tree=notation.tree(line.value)) for line in forward]
        backward = [line._replace(tree=notation.tree(line.gradients[0])) for line in backward]
    made = [
        Pass("forward", _given(graph, "input", notation), _symbols(graph, notation), forward, [])
    ]
    if graph.all_gradients:
        made.append(Pass("backward", _given(graph, "upstream", notation), [], backward, notes))
    return made


def _in_order(lines: list[Line], notation: Notation) -> list[Line]:
    """Put no line before one that it reads, and keep the order of the sweep otherwise.

    A part that passes an addition unchanged may arrive last, though others are computed from it.
    """
    said = {  # by node, the line that bears its name
        line.value.index: line
        for line in lines
        if line.value.name and line.name == notation.name(line.value.name)
    }
    placed: dict[int, Line] = {}

    def is_open(x: Node) -> bool:
        return x.role in ("backward", "accumulate") and id(said.get(x.index)) not in placed

    for line in lines:
        read = [said[x.index] for x in reachable([line.value], is_open) if x.index in said]
        placed |= {id(one): one for one in (*read, line)}
    return list(placed.values())


def _line(
    g: Gradient,
    name: str,
    notation: Notation,
    formula: str | None = None,
    gradients: tuple[Gradient, ...] = (),
) -> Line:
    if formula is None:
        formula = "" if g.kind == "upstream" else notation.gradient(g)
    return Line(g.step, name, formula, _shape(g.node), g.node, gradients or (g,))


class _Backward:
    """The backward pass as an author shows it."""

    def __init__(self, graph: Graph, notation: Notation, apart: bool) -> None:
        self.graph, self.notation, self.apart = graph, notation, apart
        self.vanishing = vanishing(graph)
        gone = {id(g) for g in self.vanishing}
        ends = {g.of.index for g in self.vanishing if g.kind != "part"}
        self.left = []
        for g in graph.gradients:
            if id(g) in gone or g.of.index in ends:
                notation.write_out(g)
            else:
                self.left.append(g)
        self.terms: dict[int, list[list[Gradient]]] = {}  # by the node whose gradient they add to
        self.term_of: dict[int, list[Gradient]] = {}
        self.totals = {g.of.index: g for g in self.left if g.kind == "sum"}
        for g in self.left:
            if g.kind in ("part", "upstream"):
                self._add(g, self.terms.setdefault(g.of.index, []))

    def _add(self, g: Gradient, terms: list[list[Gradient]]) -> None:
        """Put the two parts of a · a together, which arrive one after the other."""
        is_square = str(g.consumer and g.consumer.op) == "mul"
        if self.apart or not (is_square and terms and terms[-1][0].consumer is g.consumer):
            terms.append([])
        terms[-1].append(g)
        self.term_of[id(g)] = terms[-1]

    def shown(self) -> tuple[list[Line], list[str]]:
        """Give the lines, and a footnote for each value on which nothing depends."""
        for k, terms in self.terms.items():
            if self._is_whole(terms) and len(terms[0]) == 1 and k in self.totals:
                self.notation.say(terms[0][0].name, self.totals[k].name)
        lines = [line for g in self.left if (line := self._line_of(g))]
        return lines, self._notes()

    def _is_whole(self, terms: list[list[Gradient]]) -> bool:
        return len(terms) == 1 and terms[0][0].kind == "part"

    def _line_of(self, g: Gradient) -> Line | None:
        notation, terms = self.notation, self.terms.get(g.of.index, [])
        if g.kind == "sum":
            if not terms or self._is_whole(terms):
                return None  # its only term is the line
            added = tuple([part for term in terms for part in term])
            formula = notation.sum_of([notation.name(part.name) for part in added])
            return _line(g, notation.name(g.name), notation, formula)._replace(terms=added)
        term = self.term_of.get(id(g), [g])
        if g is not term[-1]:
            return None  # both parts of a product come where the second does
        total = self.totals.get(g.of.index)
        gives = tuple(term)
        if total and self._is_whole(terms):
            name, gives = notation.name(total.name), (*gives, total)
        else:
            name = notation.sum_of([notation.name(part.name) for part in term])
        return _line(g, name, notation, notation.twice(g) if len(term) == 2 else None, gives)

    def _notes(self) -> list[str]:
        notes: dict[int, tuple[Node, list[str]]] = {}
        for g in self.vanishing:
            consumer = g.consumer
            node = g.of if consumer is None or str(consumer.op) != "max" else consumer
            names = notes.setdefault(node.index, (node, []))[1]
            if g.name:
                names.append(self.notation.inline(self.notation.name(g.name)))
        return [
            f"No output depends on {self.notation.inline(self.notation.mention(node))}, so that "
            f"{_and(names)} {'is' if len(names) == 1 else 'are'} identically 0 and left out."
            for node, names in notes.values()
            if names
        ]


def _and(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _shape(node: Node) -> str:
    return shape_text(node.shape)


def _given(graph: Graph, role: str, notation: Notation) -> list[tuple[str, str]]:
    return [(notation.name(str(n.name)), _shape(n)) for n in graph.inputs if n.role == role]


def _symbols(graph: Graph, notation: Notation) -> list[tuple[str, str]]:
    """Give N and the constants that formulas mention, with their values, and signs with a word."""
    language = notation.language
    symbols = {language.batch: language.number(str(notation.batch))} if notation.batch else {}
    return list((symbols | named_constants(graph, notation) | notation.signs()).items())


def named_constants(graph: Graph, notation: Notation) -> dict[str, str]:
    """Give the constants that formulas mention by name, with all values that the name has."""
    values: dict[str, list[str]] = {}
    for node in graph.nodes:
        if node.role != "constant" or not node.name or node.shape:
            continue
        reference = notation.reference(node)
        for name, value in named_numbers(node):
            written = notation.name(name)
            number = notation.language.number(number_text(value))
            is_shown = written in reference if node.written is not None else written == reference
            if is_shown and number not in values.setdefault(written, []):
                values[written].append(number)
    return {name: notation.language.comma.join(numbers) for name, numbers in values.items()}
