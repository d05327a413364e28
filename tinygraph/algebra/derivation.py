"""`simplify`: the closed form of a backward pass, derived from the one that autodiff wrote down.

Every gradient of the graph becomes a polynomial in the named values of the forward pass; those of
the inputs are then written as briefly as can be, over these values and the gradients found before.
The result is a graph again.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

from tinygraph.algebra.atoms import Atom
from tinygraph.algebra.axes import Axes
from tinygraph.algebra.derived import Counts, Derivation, DerivationStep, Lemma, line
from tinygraph.algebra.emission import Emission, full_size
from tinygraph.algebra.expressions import Expression, named, product, written
from tinygraph.algebra.extraction import Extraction
from tinygraph.algebra.lengths import by_origin, name_parts
from tinygraph.algebra.polynomials import Algebra, UndecidedError
from tinygraph.algebra.reading import Reader
from tinygraph.algebra.wording import Wording
from tinygraph.engine.lengths import Formula
from tinygraph.graph import Gradient, Graph, Node
from tinygraph.writing.formulas import Notation
from tinygraph.writing.languages import LATEX, TEXT

__all__ = ["simplify"]

FREE = {"spread", "reshape", "transpose", "cast", "stop", "index", "scatter", "pick", "put"}


def simplify(
    out: Any,
    *,
    wrt: Sequence[Any] | None = None,
    limit_s: float = 10.0,
    most_terms: int = 2_000,
) -> Derivation:
    """Derive the closed form of the gradients, step by step, from the graph of a function.

    Parameters
    ----------
    out : Tensor, sequence of Tensors or Graph
        What is differentiated; a Graph with its backward pass.
    wrt : sequence of Tensors, optional
        With respect to what; all leaves by default.
    limit_s : float, optional
        Seconds, after which what was given is given back.
    most_terms : int, optional
        Of one expression, beyond which it is too.

    Returns
    -------
    Derivation

    Raises
    ------
    TypeError
        If `out` is something else.
    ValueError
        If a Graph has no backward pass, or `out` does not depend on one of `wrt`.

    Notes
    -----
    A sum that vanishes by the definition of what is summed, such as Σ (x − mu), is left out: the
    only rule that is not true in floating point, where the derivation says what it costs.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygraph import trace
    >>> def softmax(z):
    ...     e = np.exp(z - np.max(z, axis=1, keepdims=True))
    ...     p = e / np.sum(e, axis=1, keepdims=True)
    ...     return p
    >>> derivation = simplify(trace(softmax)(np.ones((4, 5))))
    >>> derivation.gradients["dz"]
    'p · (dp − Σ(dp · p))'
    >>> derivation.before, derivation.after
    ((3, 10, 2), (1, 3, 0))
    """
    if isinstance(out, Graph):
        if not out.all_gradients:
            raise ValueError("simplify: the graph has no backward pass; take it with Graph.joint")
        if wrt is not None:
            raise ValueError("simplify: a Graph has its backward pass; give wrt to Graph.joint")
        graph = out
    else:
        graph = Graph.joint(out, wrt, variables=sys._getframe(1).f_locals)
    return _Simplifier(graph, limit_s, most_terms).derivation()


class _Simplifier:
    """One graph on its way to its closed form."""

    def __init__(self, graph: Graph, limit_s: float, most_terms: int) -> None:
        self.graph, self.end = graph, time.monotonic() + limit_s
        self.algebra = Algebra(limit_s=limit_s, most_terms=most_terms)
        self.notations = Notation(graph, TEXT), Notation(graph, LATEX)
        self.before = counts(graph)
        self.targets = _targets(graph)
        self.recognised: dict[str, str] = {}
        self._signs: tuple[dict[str, str], ...] = ({}, {})

    def derivation(self) -> Derivation:
        """Give the derivation; without a gain, that of what was given."""
        steps: tuple[DerivationStep, ...] = ()
        try:
            self._read()
            steps = tuple(self._steps())
            made, formulas = self._emitted()
        except UndecidedError as error:
            return self._as_given(steps, f"Not simplified: {error}.")
        after = counts(made)
        if _price(after) > _price(self.before):
            return self._as_given(steps, "Not simplified: what was given is as short.")
        steps = tuple(_with_result(step, formulas, self.recognised) for step in steps)
        return Derivation(
            steps,
            tuple({id(lemma): lemma for step in steps for lemma in step.lemmas}.values()),
            {name: written(x) for name, x in formulas.items()},
            self.before,
            after,
            made,
            "",
            self._forward(),
        )

    def _as_given(self, steps: tuple[DerivationStep, ...], note: str) -> Derivation:
        formulas = {g.name: self.notations[0].gradient(g) for g in self.targets}
        return Derivation(
            steps, (), formulas, self.before, self.before, self.graph, note, self._forward()
        )

    def _forward(self) -> tuple[str, str]:
        text, latex = (
            "; ".join(
                f"{n.name(s.name)} = {self._with_lengths(n.formula(s.result), k)}"
                for s in self.graph.steps
            )
            for k, n in enumerate(self.notations)
        )
        return text, latex

    # ------------------------------------------------------------------ reading

    def _read(self) -> None:
        self.axes = Axes(self.graph)
        constant = by_origin(self.algebra, self.axes, self.graph)
        if constant is None:
            self.algebra.fixed = dict(self.axes.length)
        self.reader = Reader(self.algebra, self.axes, self.graph, constant)
        self.lemmas_at: dict[int, list[Atom]] = {}
        known: set[Atom] = set()
        for node in self.reader.reading():
            new = [atom for atom in self.algebra.lemmas if atom not in known]
            known.update(new)
            self.lemmas_at[node.index] = new
        self.names = name_parts(self.axes, self.graph)
        self._signs = tuple(self._replacements(n) for n in self.notations)
        self.wording = Wording(self.algebra, [self.reader], self.names)
        for node in self.graph.nodes:
            if node.role == "forward" and not node.name:
                self.wording.register_unnamed(self._pair(node), self.reader.of[node.index])

    def _replacements(self, notation: Notation) -> dict[str, str]:
        """Give how what `derive` calls N, and its signs of sums, are written with all lengths."""
        dialect = "latex" if notation.language is LATEX else "text"
        found: dict[str, set[str]] = {}
        for node in self.graph.nodes:
            if str(node.op) != "sum":
                continue
            places = self.reader.places[node.inputs[0].index]
            parts = [self.names[label[0]] for k in node.params["axis"] for label in places[k]]
            written_parts = [written(named(name), dialect) for name in parts]
            if notation.axes(node) and parts:
                sign = notation.language.sum_along.format(notation.axes(node))
                along = "".join(written_parts)
                names = f"_{along}" if dialect == "text" else f"_{{{along}}}"
                base = notation.language.sum_along.format("")
                found.setdefault(sign, set()).add(base + names)
            if notation.batch == prod(node.inputs[0].shape[k] for k in node.params["axis"]):
                joined = (" · " if dialect == "text" else r" \, ").join(written_parts)
                is_one = len(parts) == 1 or dialect == "latex"
                found.setdefault("N", set()).add(joined if is_one else f"({joined})")
        return {old: new.pop() for old, new in found.items() if len(new) == 1}

    def _with_lengths(self, text: str, k: int) -> str:
        """Write a formula of `derive` with the names of lengths that the derivation has."""
        signs = self._signs[k]
        for sign in sorted(signs, key=len, reverse=True):
            if sign != "N":
                text = text.replace(sign, signs[sign])
        if "N" in signs and "N" not in self.notations[k]._names:
            before = r"(?<![\w\\_{])" if k else r"(?<![\w_])"
            text = re.sub(rf"{before}N(?![\w])", signs["N"].replace("\\", r"\\"), text)
        return text

    def _pair(self, node: Node) -> Any:
        """Write a node without a name, in brackets where it is a sum."""
        formulas = (n.formula(node) for n in self.notations)
        texts = [self._with_lengths(text, k) for k, text in enumerate(formulas)]
        if str(node.op) in ("add", "sub", "mul", "div", "neg", "matmul", "sum", "inverse"):
            return f"({texts[0]})", rf"\left({texts[1]}\right)"
        return tuple(texts)

    # ------------------------------------------------------------------ the way there

    def _steps(self) -> list[DerivationStep]:
        steps, seen = [], set[int]()
        for number, g in enumerate(self.graph.gradients, 1):
            if g.kind == "upstream":
                continue
            texts = (n.gradient(g) for n in self.notations)
            staged = tuple(self._with_lengths(text, k) for k, text in enumerate(texts))
            p = self.reader.of[g.node.index]
            self.algebra.check(len(p))
            normal = self.wording.polynomial(p if len(p) <= MOST_SHOWN else {})
            lines: list[tuple[Any, str]] = [(staged, "")]
            lemmas = self._lemmas(g.node, seen)
            if written(normal) != staged[0] and len(p) <= MOST_SHOWN:
                rules = ["substitute"]
                if _sums(g.node):
                    rules = ["linearity of Σ", "constants out of Σ"]
                rules += [f"{written(lemma.total)} = 0" for lemma in lemmas]
                lines.append((normal, "; ".join(rules)))
            steps.append(DerivationStep(number, g.name, tuple(lines), tuple(lemmas)))
        return steps

    def _lemmas(self, node: Node, seen: set[int]) -> list[Lemma]:
        """Give the lemmas that reading a gradient has used, and what feeds it without a name."""
        found, stack = [], [node]
        while stack:
            one = stack.pop()
            if one.index in seen:
                continue
            seen.add(one.index)
            found += [self._lemma(atom) for atom in self.lemmas_at.get(one.index, ())]
            stack += [x for x in one.inputs if x.name is None]
        return found

    def _lemma(self, total: Atom) -> Lemma:
        value = self.algebra.lemmas[total]
        bound, factors = total.data
        others = self.algebra.multiplied(pair for pair in factors if pair[0] is not value)
        terms: list[tuple[int, Expression]] = []
        for monomial, c in dict(value.data[0]).items():
            term = self.algebra.times({monomial: abs(c)}, others)
            free = frozenset(label for m in term for atom, _ in m for label in atom.free)
            inner = self.wording.polynomial(term)
            if free & set(bound):
                along = tuple(self.names[part] for part, _ in bound) if self.wording.along else ()
                x = Expression("total", (inner,), bound=(bound, along))
            else:
                texts = written(inner), written(inner, "latex")
                lengths = [named(self.names[part]) for part, _ in bound]
                x = product([*lengths, named((f"({texts[0]})", rf"\left({texts[1]}\right)"))])
            terms.append((1 if c > 0 else -1, x))
        terms.sort(key=lambda term: term[0] < 0)
        definition = Expression(
            "sum", tuple(x for _, x in terms), data=tuple(sign for sign, _ in terms)
        )
        return Lemma(self.wording.atom(total), definition)

    # ------------------------------------------------------------------ the result

    def _emitted(self) -> tuple[Graph, dict[str, Expression]]:
        best: tuple[float, Graph, dict[str, Expression], Any] | None = None
        for made_first in self._ways():
            emission, formulas = self._formulas(made_first)
            if emission is None:
                continue
            graph = emission.finish()
            price = _price(counts(graph))
            if best is None or price < best[0]:
                best = price, graph, formulas, self.recognised
        if best is None:
            raise UndecidedError("a gradient is a product of matrices, which is as short as can be")
        self.recognised = best[3]
        return best[1], best[2]

    def _ways(self) -> list[tuple[Gradient, ...]]:
        """Give the choices of gradients on the way to compute first: none, or one of them."""
        ends = {g.name for g in self.targets}
        simple = [
            g
            for g in self.graph.gradients
            if g.kind in ("whole", "sum") and g.name not in ends and self._is_simple(g)
        ]
        return [(), *((g,) for g in simple[:MOST_MADE])]

    def _is_simple(self, g: Gradient) -> bool:
        p = self.reader.of[g.node.index]
        monomials = list(p)
        return (
            len(p) == 1
            and len(monomials[0]) > 1
            and all(atom.kind != "sum" for atom, _ in monomials[0])
        )

    def _formulas(
        self, made_first: tuple[Gradient, ...]
    ) -> tuple[Emission | None, dict[str, Expression]]:
        reader, layout = self.reader, self._layout()
        lengths = self.axes.length
        emission = Emission(
            self.graph, reader.places, layout, lengths, self._length_formula(), reader.tables
        )
        extraction = Extraction(
            self.algebra,
            lengths,
            self.names,
            self.wording.along,
            full_size(n for n in self.graph.nodes if n.role != "constant"),
        )
        nodes = [n for n in self.graph.nodes if n.role in ("input", "forward", "upstream")]
        for node in sorted(nodes, key=lambda n: n.name is None):
            labels = frozenset(label for axis in reader.places[node.index] for label in axis)
            if _lies_in(reader.places[node.index], reader.places[layout.index]):
                data: Any = node.name or self._pair(node)
                extraction.add(named(data, labels, node), reader.of[node.index])
        formulas: dict[str, Expression] = {}
        self.recognised = {}
        for g in (*made_first, *self.targets):
            p = reader.of[g.node.index]
            found = extraction.best(p)
            if found.cost == float("inf"):
                return None, {}
            reference = emission.add(g, found.expression)
            formulas[g.name] = found.expression
            self.recognised[g.name] = ", ".join(_names_in(found.expression))
            extraction.add(reference, p)
        return emission, formulas

    def _layout(self) -> Node:
        """Give the node with the most labels, and the most axes among these."""
        nodes = [n for n in self.graph.nodes if n.role in ("input", "forward", "upstream")]
        places = self.reader.places
        return max(nodes, key=lambda n: (prod(n.shape), sum(bool(a) for a in places[n.index])))

    def _length_formula(self) -> Any:
        """Give how a length is read off an input."""
        found: dict[int, Formula] = {}
        index = 0
        for node in self.graph.nodes:
            if node.role in ("input", "forward", "upstream", "constant"):
                if node.role != "constant":
                    for axis, labels in enumerate(self.reader.places[node.index]):
                        if len(labels) == 1:
                            found.setdefault(labels[0][0], Formula("length", (node.index, axis)))
                index += 1
        return lambda part: found.get(part)


MOST_SHOWN, MOST_MADE = 8, 4


def _with_result(
    step: DerivationStep, formulas: Mapping[str, Expression], recognised: Mapping[str, str]
) -> DerivationStep:
    formula = formulas.get(step.name)
    if formula is None or written(formula) in [line(x, "text") for x, _ in step.lines]:
        return step
    names = recognised.get(step.name, "")
    has_bracket = any(x.kind == "sum" for x in formula.operands)
    rules = "common factor" if formula.kind == "product" and has_bracket else ""
    rules = "; ".join(filter(None, [rules, names and f"recognise {names}"]))
    return replace(step, lines=(*step.lines, (formula, rules)))


def _names_in(x: Expression) -> list[str]:
    """Give what a formula mentions by name that is computed: xhat, dbeta."""
    found: dict[str, None] = {}
    stack = [x]
    while stack:
        one = stack.pop()
        is_node = isinstance(one.source, Node) and one.source.role == "forward"
        if isinstance(one.data, str) and (is_node or isinstance(one.source, int)):
            found[one.data] = None
        stack += one.operands[::-1]
    return list(found)


def _sums(node: Node) -> bool:
    """Whether a gradient is made with a sum, in what feeds it without a name."""
    stack = [node]
    while stack:
        one = stack.pop()
        if one.op is not None and one.op.name == "sum":
            return True
        stack += [x for x in one.inputs if x.name is None and x.role == "backward"]
    return False


def _lies_in(places: Any, layout: Any) -> bool:
    """Whether a value can lie as the layout does: whole axes of it, in their order."""
    own = [label for axis in places for label in axis]
    there = [label for axis in layout for label in axis if label in own]
    whole = all(set(axis) <= set(own) or not set(axis) & set(own) for axis in layout)
    return own == there and whole


def _targets(graph: Graph) -> list[Gradient]:
    """Give the gradients of the inputs, in the order in which they are finished."""
    last = {g.of.index: g for g in graph.gradients if g.kind != "upstream"}
    ends = [g for g in last.values() if g.of.role == "input"]
    return sorted(ends, key=lambda g: g.node.index)


def counts(graph: Graph) -> Counts:
    """Count the backward pass of a graph: reductions, passes of full size, and small operations."""
    full = full_size(n for n in graph.nodes if n.role != "constant")
    reductions = passes = small = 0
    for node in graph.nodes:
        if node.role not in ("backward", "accumulate") or str(node.op) in FREE:
            continue
        largest = max([prod(x.shape) for x in node.inputs], default=1)
        if 2 * max(largest, prod(node.shape)) <= full:
            small += 1
        elif str(node.op) in ("sum", "max"):
            reductions += 1
        else:
            passes += 1
    return reductions, passes, small


def _price(counts: Counts) -> float:
    return 100.0 * (counts[0] + counts[1]) + counts[2]
