"""Taking the snapshot: how live nodes become the immutable nodes of a Graph.

In four moves. The nodes that the outputs depend on are copied to *symbols*, in order. Symbols that
need a name get one, and every symbol gets its step. The same sweep that computes gradients is run
over the symbols, which answer each rule by writing down one more symbol: the backward pass. Last,
everything that is still needed is frozen, constants becoming nodes of their own.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import takewhile
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from tinygraph.engine.arrays import locked
from tinygraph.engine.autodiff import is_discrete, itself, reachable, sweep
from tinygraph.engine.constants import Called, text_of
from tinygraph.engine.lengths import Formula, plain, plainly
from tinygraph.engine.notes import Notes
from tinygraph.engine.operators import Operand
from tinygraph.engine.primitive import NO_PARAMS
from tinygraph.engine.recording import changed
from tinygraph.engine.sources import Sources
from tinygraph.engine.tensor import peek
from tinygraph.graph.evaluation import evaluate, number
from tinygraph.graph.marks import free, parts
from tinygraph.graph.naming import name_all, number_steps, scopes_of, steps_of
from tinygraph.graph.nodes import NOTHING, Gradient, Node, Premise, Step
from tinygraph.graph.origins import Origins, exactly
from tinygraph.graph.symbols import Symbol

__all__ = ["Capture"]


class _Contribution(NamedTuple):
    """A gradient `g` that arrives at `node`.

    It comes from a consumer's rule, as a seed (consumer None), or is the finished sum of several
    contributions (the consumer is the node itself).
    """

    node: Symbol
    consumer: Symbol | None
    g: Symbol
    operand: int | None
    term: int | None

    @property
    def is_sum(self) -> bool:
        return self.node is self.consumer

    @property
    def step(self) -> int:
        return (self.node if self.consumer is None else self.consumer).step or 0


def _operands(consumer: Symbol) -> dict[int, Iterator[int]]:
    """Give the positions at which a consumer has a rule, in order, by the node that is there."""
    places: dict[int, list[int]] = defaultdict(list)
    rules = consumer.op.rules if consumer.op is not None else ()
    for k, (x, rule) in enumerate(zip(consumer.inputs, rules)):  # noqa: B905 - may go on
        if isinstance(x, Symbol) and rule is not None:
            places[x.index].append(k)
    return {index: iter(positions) for index, positions in places.items()}


class Parts(NamedTuple):
    """What a Graph is made of, under the names of its attributes."""

    nodes: tuple[Node, ...]
    inputs: tuple[Node, ...]
    outputs: tuple[Node, ...]
    all_gradients: tuple[Gradient, ...]
    steps: tuple[Step, ...]
    premises: tuple[Premise, ...]


class Capture:
    """One snapshot being taken.

    Parameters
    ----------
    outputs : sequence of Tensors
    wrt : list of Tensors or None
        With respect to what the backward pass is written down; None for the forward pass alone.
    names : mapping
        Names for unnamed tensors, by their index.
    """

    def __init__(
        self, outputs: Sequence[Any], wrt: list[Any] | None, names: Mapping[int, str]
    ) -> None:
        self.symbols: list[Symbol] = []
        self.of: dict[int, Symbol] = {}
        self.tensors = reachable(outputs)
        self.places: dict[int, int] = {}
        ends = {out.index for out in outputs}
        self.notes = Notes()  # of what the rules are told
        for tensor in self.tensors:
            origin = getattr(tensor, "origin", None)
            fallback = getattr(origin, "label", None) if tensor.index not in ends else None
            self.of[tensor.index] = Symbol(
                self.symbols,
                tensor.op,
                tuple(self.of[x.index] if isinstance(x, Operand) else x for x in tensor.inputs),
                tensor.params,
                np.shape(tensor.data),
                tensor.dtype,
                "forward" if tensor.op else "input",
                tensor.name or names.get(tensor.index) or fallback,
                origin,
            )
        self.forward = tuple(self.symbols)
        self.outputs = [self.of[out.index] for out in outputs]
        self.contributions: list[_Contribution] = []
        self.gradients: list[tuple[str, str, _Contribution]] = []
        self.arrived: Counter[int] = Counter()  # contributions, by the node
        self.left: dict[int, dict[int, Iterator[int]]] = {}  # operands, by consumer and node
        name_all(self.forward, self.outputs)
        number_steps(self.forward)
        if wrt is not None:
            self._add_backward(wrt)

    def _add_backward(self, wrt: list[Any]) -> None:
        for x in wrt:
            if getattr(x, "index", None) not in self.of:
                raise ValueError(f"Graph.capture: the outputs do not depend on {x!r}")
        seeds = [
            (out, Symbol(self.symbols, None, (), NO_PARAMS, out.extent, out.dtype, "upstream"))
            for out in self.outputs
        ]
        with changed(tracing=self.notes):
            sweep(
                self.forward,
                seeds,
                wrt=[self.of[x.index] for x in wrt],
                read=itself,
                take=itself,
                observe=self._observe,
            )
        self._name_gradients()
        for one in self.contributions:  # a backward node belongs to the step whose rule made it
            stack = [one.g]
            while stack:
                symbol = stack.pop()
                if symbol.step is None:
                    symbol.step = one.step
                    stack += symbol.parents

    def _observe(self, node: Symbol, consumer: Symbol | None, g: Symbol) -> None:
        """Take a contribution down, with its operand and its term: the sweep keeps their order."""
        operand = term = None
        if consumer is not node:
            term = self.arrived[node.index]
            self.arrived[node.index] += 1
        if consumer is not None and consumer is not node:
            if consumer.index not in self.left:
                self.left[consumer.index] = _operands(consumer)
            operand = next(self.left[consumer.index][node.index])
        self.contributions.append(_Contribution(node, consumer, g, operand, term))

    def _name_gradients(self) -> None:
        labels = self._gradient_labels()
        for a in self.contributions:
            k = a.node.index
            label, total_label, *several = labels.get(k, ("",) * (self.arrived[k] + 2))
            if a.is_sum:
                kind, label = "sum", total_label
                total = a.g
                for _ in range(self.arrived[k] - 1):
                    total.role, total.step = "accumulate", a.step
                    total = total.inputs[0]
            elif a.consumer is None:
                kind, label = "upstream", several[a.term] if a.term else label
            elif self.arrived[k] > 1:
                kind, label = "part", several[a.term or 0]
            else:
                kind = "whole"
            self.gradients.append((label, kind, a))
            a.g.name = a.g.name or label or None

    def _gradient_labels(self) -> dict[int, list[str]]:
        """Give the names of a gradient, of its sum and its parts, by what it is the gradient of.

        ``dout`` is the upstream gradient, also where ``out`` is used again later on.
        """
        seeded = {a.node.index for a in self.contributions if a.consumer is None}
        named = {a.node.index: str(a.node.name) for a in self.contributions if a.node.name}
        taken = {s.name for s in self.forward if s.name is not None}
        wholes = {}
        for k, name in named.items():
            whole = f"d{name}"
            wholes[k] = whole if whole not in taken else free(f"{whole}_grad", taken)
            taken.add(wholes[k])
        labels = {}
        for k, whole in wholes.items():
            several = parts(whole, self.arrived[k], taken) if self.arrived[k] > 1 else []
            total = free(f"{whole}_sum", taken) if k in seeded else whole
            labels[k] = [whole, total, *several]
            taken.update(labels[k])
        return labels

    def _names_of_constants(self) -> Mapping[tuple[int, int], Called]:
        """Give what constants are called: by node and position, and by step and identity.

        A rule that takes a constant of its step takes the very object.
        """
        names: dict[tuple[int, int], Called] = {}
        for s in self.forward:
            for (tensor, position), name in (s.origin.constants if s.origin else {}).items():
                of = self.of[tensor]
                names[of.index, position] = names[s.step or 0, id(of.inputs[position])] = name
        return names

    def freeze(self) -> Parts:
        """Make everything immutable."""
        names = self._names_of_constants()
        scopes = scopes_of(self.forward)
        needed = {s.index for s in reachable([*self.outputs, *(a.g for a in self.contributions)])}
        nodes: list[Node] = []
        frozen: dict[int, Node] = {}
        origins = Origins(
            filter(None, (getattr(s.origin, "sources", None) for s in self.forward)),
            lambda x: frozen[(x if isinstance(x, Symbol) else self.of[x.index]).index].index,
        )
        for s in self.symbols:
            if s.index not in needed:
                continue
            step, inputs = s.step or 0, []
            is_rules = s.role in ("backward", "accumulate")
            for position, x in enumerate(s.inputs):
                if isinstance(x, Symbol):
                    inputs.append(frozen[x.index])
                else:
                    name = names.get((s.index, position)) or names.get((step, id(x)))
                    origin = origins.of_constant(x, is_rules)
                    inputs.append(_constant(nodes, _as_met(x, s.parents), name, step, origin))
                    nodes.append(inputs[-1])
            node = frozen[s.index] = Node(
                len(nodes),
                s.op,
                tuple(inputs),
                MappingProxyType({k: plainly(x) for k, x in s.params.items()})
                if s.params
                else NOTHING,
                s.extent,
                s.dtype,
                s.name,
                step,
                s.role,
                scope=scopes.get(s.index, ()),
                origin=origins.of_params(s.params, is_rules) if s.params else NOTHING,
            )
            nodes.append(node)
        self.places = {k: node.index for k, node in frozen.items()}

        gradients = tuple(
            Gradient(
                name,
                of=frozen[a.node.index],
                consumer=None if a.is_sum or a.consumer is None else frozen[a.consumer.index],
                operand=a.operand,
                term=a.term,
                node=frozen[a.g.index],
                step=a.step,
                kind=kind,
            )
            for name, kind, a in self.gradients
        )
        return Parts(
            nodes=tuple(nodes),
            inputs=tuple(n for n in nodes if n.role in ("input", "upstream")),
            outputs=tuple(frozen[out.index] for out in self.outputs),
            all_gradients=gradients,
            steps=steps_of(takewhile(lambda node: node.role != "upstream", nodes)),
            premises=self._premises(origins.sources, frozen),
        )

    def _premises(
        self, sources: Iterable[Sources], frozen: Mapping[int, Node]
    ) -> tuple[Premise, ...]:
        """Give what the code was told, of the nodes that there are.

        What it was told of others, or of nodes that are known no more, follows from the inputs.
        """
        found: dict[str, Premise] = {}

        def of_symbol(index: int) -> int:
            return frozen[index].index

        def of_tensor(index: int) -> int:
            return frozen[self.of[index].index].index

        several = [(self.notes, of_symbol), *((one.notes, of_tensor) for one in sources)]
        for notes, place in several:
            for formula, answer, _, is_ours in notes.premises.values():
                try:
                    one = Premise(formula.map(place), answer)
                    found[repr(one.formula)] = one
                except (
                    KeyError
                ):  # what an operation asked of its operands went the way of its result
                    if not is_ours:
                        found |= self._about_inputs("length" if formula.is_of_lengths else "value")
            if notes.is_lost:
                found |= self._about_inputs("length")
        return tuple(found.values())

    def _about_inputs(self, what: str) -> dict[str, Premise]:
        """Say that all inputs have the lengths, or the values, that they have."""
        found = []
        for tensor in self.tensors:
            if tensor.op is None and what == "value":
                at = self.places[self.of[tensor.index].index]
                found.append(Premise(Formula("value", (at,)), peek(tensor)))
            elif tensor.op is None:
                at = self.places[self.of[tensor.index].index]
                lengths = enumerate(tensor.extent)
                found += [Premise(Formula("length", (at, k)), n) for k, n in lengths]
        return {repr(one.formula): one for one in found}

    def values(self, made: Parts) -> Mapping[int, tuple[Any, Any]]:
        """Give data and gradient by the index of the frozen node, the backward pass evaluated."""
        held = {
            self.places[self.of[tensor.index].index]: (_plainly(tensor.data), _plainly(tensor.grad))
            for tensor in self.tensors
        }
        known = {k: value for k, (value, _) in held.items()}
        seeds = [g for g in made.all_gradients if g.kind == "upstream"]
        again = {g.of.index for g in made.all_gradients if g.term}
        for g in seeds:
            value, gradient = held[g.of.index]
            if gradient is None and g.of.shape == ():
                gradient = _one(value.dtype)
            if gradient is not None and g.of.index not in again:
                known[g.node.index] = gradient
        if all(g.node.index in known for g in seeds):
            with np.errstate(all="ignore"):  # the warnings were given when it was computed
                evaluate(made.nodes, known)
            backward = [n for n in made.nodes if n.role in ("upstream", "backward", "accumulate")]
            held |= {node.index: (locked(known[node.index]), None) for node in backward}
        return MappingProxyType(held)


def _as_met(x: Any, parents: Iterable[Symbol]) -> Any:
    """Give a constant as a number of the dtype that it makes of whole numbers: 3.0 is no 3 to them.

    To floats it is the same, and is kept as the number that it is.
    """
    x = plain(x)
    return np.float64(x) if type(x) is float and all(map(is_discrete, parents)) else x


def _plainly(value: Any) -> Any:
    return np.asarray(value) if isinstance(value, np.ndarray) else value


def _one(dtype: np.dtype[Any]) -> Any:
    """Give the upstream gradient of a scalar that is differentiated as it is."""
    return np.array(Fraction(1), dtype) if dtype.hasobject else np.ones((), dtype)[()]


# --------------------------------------------------------------------------- constants


def _constant(nodes: Sequence[Node], x: Any, called: Called | None, step: int, origin: Any) -> Node:
    """Make a node of a constant; numbers that are fractions are kept exactly."""
    dtype, value = getattr(x, "dtype", None), x
    if isinstance(x, Fraction):
        dtype = np.dtype(object)
    elif type(x) is int:  # and not True, which takes another dtype
        value = Fraction(x)
    elif isinstance(x, float | np.floating) and np.isfinite(x) and x != 0:  # −0 has a sign
        value = x if isinstance(x, np.floating) else Fraction(x)
    written = called if isinstance(called, Formula) else None
    name = text_of(called) if isinstance(called, Formula) else called
    rest: dict[str, Any] = {"value": value, "origin": origin, "written": written}
    nothing = len(nodes), None, (), NOTHING
    node = Node(*nothing, np.shape(x), dtype, name, step, "constant", **rest)
    if isinstance(origin, Formula):
        exact = exactly(origin, lambda k, axis: nodes[k].shape[axis])
        rounded = replace(node, value=exact)
        if exact is not None and type(x) is type(y := number(rounded)) and x == y:
            return rounded
    return node
