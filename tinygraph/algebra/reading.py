"""Reading a graph: every node as a polynomial in the indices of its axes.

Sums of the forward pass, and products of its matrices, stay *values*, known by their terms and not
by what these are made of: a recentred x − mu is another value than x − mu, as in floating point it
is. Products are taken in, and so is everything in the backward pass. This one decision lets the
closed form appear: dx of BatchNorm has three terms in xmu and var + eps, and many more in x.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tinygraph.algebra.atoms import Index, Label, Polynomial, shifted
from tinygraph.algebra.axes import Axes, subscripts_of
from tinygraph.algebra.elementwise import ELEMENTWISE, literal, negative
from tinygraph.algebra.keys import is_arange, keys_of, names_once, parts_of_key
from tinygraph.algebra.polynomials import Algebra, UndecidedError
from tinygraph.graph import Graph, Node
from tinygraph.graph.nodes import NOTHING

__all__ = ["Reader"]

Places = list[list[Label]]
Constant = Callable[[Any], Polynomial]


class Reader:
    """The nodes of a graph as polynomials.

    Parameters
    ----------
    algebra : Algebra
    axes : Axes
        Of the graph.
    graph : Graph
    constant : callable
        Reads a number of the graph: given the path to it, as in `keys.numbers_of`, and its value.
    upstream : collection of str
        The names of upstream gradients: what depends on one is the backward pass.
    labels : mapping
        Arrays of whole numbers by the name of the input, where they are known: so that an input
        of labels and a table of the same numbers are one.

    Attributes
    ----------
    of : dict
        The polynomial of each node, by its index.
    forward : set of int
        The nodes of the forward pass, and what depends on nothing else.
    tables : dict
        Constant arrays, and rows of labels that entries are picked by, by name; of labels that are
        not known, the node.

    Examples
    --------
    >>> from tinygraph import Tensor
    >>> x = Tensor([1.0, 3.0], name="x")
    >>> graph = Graph.joint(x * x)
    >>> reader = Reader(Algebra(), Axes(graph), graph).read()
    >>> [len(reader.of[g.node.index]) for g in graph.gradients]
    [1, 1, 1, 1]
    """

    def __init__(
        self,
        algebra: Algebra,
        axes: Axes,
        graph: Graph,
        constant: Callable[[Any, Any], Polynomial] | None = None,
        upstream: Collection[str] = (),
        labels: Mapping[str, Any] = NOTHING,
    ) -> None:
        self.algebra, self.axes, self.graph = algebra, axes, graph
        self.of: dict[int, Polynomial] = {}
        self.places: dict[int, Places] = {}
        self.read_number = constant or (lambda path, value: algebra.number(literal(value)))
        self.forward: set[int] = set()
        self.tables: dict[str, Any] = {}
        self._upstream, self._labels = frozenset(upstream), labels

    def read(self) -> Reader:
        """Read every node."""
        for _ in self.reading():
            pass
        return self

    def reading(self) -> Iterator[Node]:
        """Read every node, and give each one when that is done."""
        for node in self.graph.nodes:
            self.places[node.index] = self._places(node)
            is_forward = self._is_forward(node)
            self.algebra.with_lemmas = not is_forward
            p = self._node(node)
            keeps = node.op is not None and (node.op.additive or node.op.name == "matmul")
            if keeps and is_forward and (len(p) > 1 or str(node.op) == "matmul"):
                p = self.algebra.value(p) if p and set(p) != {frozenset()} else p
            self.of[node.index] = p
            self.algebra.check(len(p))
            yield node
        self.algebra.with_lemmas = False

    def _is_forward(self, node: Node) -> bool:
        is_leaf = node.role in ("forward", "input", "constant") and node.name not in self._upstream
        found = is_leaf and all(x.index in self.forward for x in node.inputs)
        if found:
            self.forward.add(node.index)
        return found

    def _places(self, node: Node) -> Places:
        """Give the labels of each axis; an axis that is there again gets another copy."""
        return self._labelled(self.axes.of(self.graph, node))

    def _labelled(self, axes: Iterable[tuple[int, ...]]) -> Places:
        met: dict[int, int] = {}
        out: Places = []
        for parts in axes:
            labels = []
            for part in parts:
                labels.append((part, met.get(part, 0)))
                met[part] = met.get(part, 0) + 1
            out.append(labels)
        return out

    def _node(self, node: Node) -> Polynomial:
        if node.role == "constant":
            return self._constant(node)
        if node.op is None:
            labels = [label for place in self.places[node.index] for label in place]
            return self.algebra.input(str(node.name), labels)
        kind = "elementwise" if node.op.elementwise or node.op.name == "stop" else node.op.name
        method = getattr(self, f"_{kind}", None)
        if method is None:
            raise UndecidedError(f"{node.op.name} has no normal form yet")
        p: Polynomial = method(node, *node.inputs)
        return p

    def _at(self, x: Node, places: Places) -> Polynomial:
        """Give an operand with its axes, counted from the last, at other places."""
        mapping: dict[Label, Index] = {}
        own = self.places[x.index]
        for mine, there in zip(own[::-1], places[::-1], strict=False):
            if mine:
                mapping |= dict(zip(mine, there, strict=True))
        return self.algebra.rename(self.of[x.index], mapping)

    # ------------------------------------------------------------------ numbers

    def _constant(self, node: Node) -> Polynomial:
        value = node.value
        if isinstance(value, np.ndarray) and value.ndim:
            return self._table(node, value)
        return self.read_number((node.index,), value)

    def _table(self, node: Node, value: Any) -> Polynomial:
        """Read an array: as a number where all entries are equal, or as [c = y], one a row."""
        places = self.places[node.index]
        if value.size and np.all(value == value.flat[0]):
            return self.read_number((node.index,), value.flat[0])
        labels = [label for place in places for label in place]
        if value.ndim == 2 and all(len(place) == 1 for place in places):
            one_hot = np.isin(value, (0, 1)).all() and (value.sum(axis=1) == 1).all()
            if one_hot:
                row = self._row(np.argmax(value, axis=1), value.shape[0], labels[0])
                return self.algebra.delta(labels[1], row)
        name = f"constant {_digest(value)}"
        self.tables[name] = value.reshape([self.axes.length[part] for part, _ in labels])
        return self.algebra.input(name, labels)

    def _row(self, table: Any, length: int, label: Label) -> Index:
        if isinstance(table, Node):
            name = str(table.name)
            if name not in self._labels:
                self.tables[name] = table
                return ("table", name, label)
            table = self._labels[name]
        if is_arange(table, length):
            return label
        self.tables[_digest(table)] = table
        return ("table", _digest(table), label)

    # ------------------------------------------------------------------ elementwise

    def _elementwise(self, node: Node, *inputs: Node) -> Polynomial:
        operands = [self._at(x, self.places[node.index]) for x in inputs]
        name = str(node.op)
        is_rounded = name == "cast" and node.params["dtype"].kind in "iu"
        if name not in ELEMENTWISE or (is_rounded and inputs[0].dtype != bool):
            raise UndecidedError(f"{name} has no normal form yet")
        return ELEMENTWISE[name](self.algebra, *operands, **self._params(node))

    def _params(self, node: Node) -> Mapping[str, Any]:
        return {} if str(node.op) in ("cast", "stop") else node.params

    # ------------------------------------------------------------------ sums and shapes

    def _sum(self, node: Node, x: Node) -> Polynomial:
        axis, keepdims = node.params["axis"], node.params["keepdims"]
        bound, mapping = self._reduced(node, x, axis, keepdims)
        return self.algebra.rename(self.algebra.total(self.of[x.index], bound), mapping)

    def _reduced(self, node: Node, x: Node, axis: Any, keepdims: bool) -> Any:
        own = self.places[x.index]
        kept = [place for k, place in enumerate(own) if k not in axis]
        there = self.places[node.index]
        if keepdims:
            there = [place for k, place in enumerate(there) if k not in axis]
        mapping = {
            a: b for p, q in zip(kept, there, strict=True) for a, b in zip(p, q, strict=True)
        }
        return [label for k in axis for label in own[k]], mapping

    def _max(self, node: Node, x: Node) -> Polynomial:
        axis, keepdims = node.params["axis"], node.params["keepdims"]
        bound, mapping = self._reduced(node, x, axis, keepdims)
        top = self.algebra.function("max", self.of[x.index], bound=tuple(bound))
        return self.algebra.rename(top, mapping)

    def _spread(self, node: Node, x: Node) -> Polynomial:
        axis, places = node.params["axis"], self.places[node.index]
        if len(x.shape) == len(node.shape):
            return self._at(x, places)
        return self._at(x, [place for k, place in enumerate(places) if k not in axis])

    def _transpose(self, node: Node, x: Node) -> Polynomial:
        axes, places = node.params["axes"], self.places[node.index]
        back = sorted(range(len(axes)), key=lambda k: axes[k])
        return self._at(x, [places[k] for k in back])

    def _reshape(self, node: Node, x: Node) -> Polynomial:
        mine = [label for place in self.places[x.index] for label in place]
        there = [label for place in self.places[node.index] for label in place]
        return self.algebra.rename(self.of[x.index], dict(zip(mine, there, strict=True)))

    def _matmul(self, node: Node, a: Node, b: Node) -> Polynomial:
        places = self.places[node.index]
        rows = len(a.shape) > 1
        columns = len(b.shape) > 1
        batch = places[: len(places) - rows - columns]
        inner = self.places[a.index][-1]
        fresh = [self.algebra.fresh([label])[label] for label in inner]
        row = [places[len(batch)]] if rows else []
        column = [places[-1]] if columns else []
        first = self._at(a, [*batch, *row, fresh])
        second = self._at(b, [*batch, fresh, *column] if columns else [fresh])
        return self.algebra.total(self.algebra.times(first, second), fresh)

    def _einsum(self, node: Node, *operands: Node) -> Polynomial:
        *inner, result = subscripts_of(node)
        there = dict(zip(result, self.places[node.index], strict=True))
        p, bound = self.algebra.number(1), list[Label]()
        for letters, x in zip(inner, operands, strict=True):
            for letter, place in zip(letters, self.places[x.index], strict=True):
                if place and not there.get(letter):
                    there[letter] = list(self.algebra.fresh(place).values())
                    bound += there[letter]
            p = self.algebra.times(p, self._at(x, [there.get(letter, []) for letter in letters]))
        return self.algebra.total(p, bound)

    # ------------------------------------------------------------------ indices

    def _indices(self, node: Node, key: int, whole: Node, entries: Places) -> Iterator[Any]:
        """Give, for each axis of `whole`, its labels and the indices that a key takes."""
        own, result = self.places[whole.index], iter(entries)
        row: list[Label] | None = None
        for part, k in parts_of_key(keys_of(node)[key], whole.shape):
            if part is None:
                next(result)
                continue
            labels = own[k]
            if isinstance(part, slice):
                there: list[Any] = list(next(result))
                if part != slice(0, whole.shape[k], 1) and labels:
                    ends = [
                        self.read_number((node.index, key, k, end), n)
                        for end, n in enumerate((part.start, part.stop))
                    ]
                    yield labels, there, ends
                    continue
            elif isinstance(part, np.ndarray | Node):
                row = list(next(result)) if row is None else row
                there = [self._row(part, whole.shape[k], row[0])] if row else []
            else:
                at = self.read_number((node.index, key, k, 0), part)
                there = [("at", frozenset(at.items()))]
            if len(there) != len(labels):
                raise UndecidedError("an index into an axis that is cut into groups")
            yield labels, there, None

    def _index(self, node: Node, x: Node, *keys: Node) -> Polynomial:
        mapping: dict[Label, Index] = {}
        for labels, there, ends in self._indices(node, 0, x, self.places[node.index]):
            if ends is None:
                mapping |= dict(zip(labels, there, strict=True))
            else:
                mapping[_only(labels)] = shifted(ends[0], _only(there))
        return self.algebra.rename(self.of[x.index], mapping)

    def _scatter(self, node: Node, x: Node, *keys: Node) -> Polynomial:
        return self._put_back(node, 0, self.of[x.index], self.places[x.index])

    def _put_back(self, node: Node, key: int, p: Polynomial, entries: Places) -> Polynomial:
        """Write x[…] back: an entry is the sum of what the key sends there."""
        algebra, sums = self.algebra, []
        fresh = algebra.fresh([label for place in entries for label in place])
        p = algebra.rename(p, fresh)
        for labels, there, ends in self._indices(node, key, node, entries):
            if ends is not None:
                label, inner = _only(labels), fresh[_only(there)]
                p = algebra.rename(p, {inner: shifted(negative(ends[0]), label)})
                p = algebra.times(p, algebra.within(label, *ends))
                continue
            for label, index in zip(labels, there, strict=True):
                at = fresh.get(index, index)
                if index[0] == "table":
                    at = ("table", index[1], fresh[index[2]])
                    sums.append(fresh[index[2]])
                elif isinstance(index[0], int):
                    sums.append(at)
                p = algebra.times(p, algebra.delta(label, at))
        return algebra.total(p, set(sums))

    _pick, _put = _index, _scatter

    def _writes(self, node: Node, values: Sequence[Node]) -> Iterator[tuple[Polynomial, int]]:
        """Give what in-place code writes, at its places and 0 elsewhere, for each key."""
        for key, region in enumerate(self.axes.regions(self.graph, node)):
            entries = self._labelled(region)
            yield self._put_back(node, key, self._at(values[key], entries), entries), key

    def _assign_add(self, node: Node, base: Node, *values: Node) -> Polynomial:
        out = self._at(base, self.places[node.index])
        for written, _ in self._writes(node, values):
            out = self.algebra.plus(out, written)
        return out

    def _assign(self, node: Node, base: Node, *values: Node) -> Polynomial:
        """Write over what is there: nothing is left of it where a key sends 1."""
        algebra, keys = self.algebra, keys_of(node)
        out = self._at(base, self.places[node.index])
        regions = self.axes.regions(self.graph, node)
        for written, key in self._writes(node, values):
            if not names_once(keys[key], node.shape):
                raise UndecidedError("rows of labels that are assigned to, of which two may be one")
            ones = self._put_back(node, key, algebra.number(1), self._labelled(regions[key]))
            out = algebra.plus(algebra.plus(out, algebra.times(out, ones), -1), written)
        return out

    def _concatenate(self, node: Node, *parts: Node) -> Polynomial:
        algebra, along = self.algebra, node.params["axis"]
        (label,) = self.places[node.index][along] or [(-1, 0)]
        start, out = algebra.number(0), Polynomial()
        for x in parts:
            stop = algebra.plus(start, self._length(x, along))
            places = [list(place) for place in self.places[node.index]]
            if self.places[x.index][along]:
                places[along] = [shifted(negative(start), label)]
            else:
                places[along] = []
            term = self._at(x, places)
            out = algebra.plus(out, algebra.times(term, algebra.within(label, start, stop)))
            start = stop
        return out

    def _length(self, x: Node, axis: int) -> Polynomial:
        out = self.algebra.number(1)
        for part, _ in self.places[x.index][axis]:
            out = self.algebra.times(out, self.algebra.length(part))
        return out


def _only(labels: list[Any]) -> Any:
    if len(labels) != 1:
        raise UndecidedError("a slice of an axis that is cut into groups")
    return labels[0]


def _digest(array: Any) -> str:
    return f"{array.shape}:{array.dtype}:{hash(array.tobytes()):x}"
