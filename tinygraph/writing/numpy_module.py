"""Emission: a Graph as the source of a NumPy module that needs nothing else.

The module has a function ``forward`` and a function ``backward``, as a person writes them from the
staged derivation: one assignment per step, in the user's own names. It gives bit for bit what the
engine gives.
"""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby

from tinygraph.engine.autodiff import reachable
from tinygraph.graph.nodes import Gradient, Node
from tinygraph.graph.snapshot import Graph
from tinygraph.writing.numpy_expressions import HELPERS, IMPORTS, WIDTH, Names, Statement, Writer

__all__ = ["emit"]


def emit(graph: Graph, wanted: Sequence[Node] | None = None) -> str:
    """Write a graph as a NumPy module.

    Parameters
    ----------
    graph : Graph
    wanted : sequence of Nodes, optional
        Whose gradients ``backward`` returns, in this order; without it, the module has only
        ``forward``.

    Returns
    -------
    str
        Source of ``forward(*inputs)``, which returns the outputs and the cache, and of
        ``backward(*upstream, cache)``, which returns a tuple of gradients.

    Raises
    ------
    ValueError
        If a constant array is too large to be written out.

    Examples
    --------
    >>> from tinygraph import Tensor
    >>> x = Tensor([1.0, 2.0], name="x")
    >>> print(emit(Graph.capture(1 / (x * x).sum())).partition("import numpy as np")[2].strip())
    def forward(x):
        \"\"\"Compute out.\"\"\"
        # step 1
        out = 1 / np.sum(x * x)
    <BLANKLINE>
        return out
    """
    return _Module(graph, wanted).source()


class _Module:
    """One module being written: what belongs to which function, and what everything is called."""

    def __init__(self, graph: Graph, wanted: Sequence[Node] | None) -> None:
        self.graph, self.wanted = graph, wanted
        final = graph.arriving
        self.results = [(node, final.get(node.index)) for node in wanted or ()]
        forward = _places(graph.outputs)
        self.backward = _places(g.node for _, g in self.results if g) - forward

        # Forward values that a rule reads, or whose shape a gradient of zeros takes.
        read = {x.index for k in self.backward for x in graph.nodes[k].inputs}
        read |= {node.index for node, g in self.results if g is None}
        read &= forward
        self.cached = [n for n in graph.nodes if n.index in read and n.role != "constant"]
        uses = Counter(x.index for k in forward | self.backward for x in graph.nodes[k].inputs)
        again = {k for k, times in uses.items() if times > 1}
        self.names = Names(["np", "forward", "backward", "cache", *IMPORTS, *HELPERS])
        kept = again | {node.index for node in self.cached}
        self.writer = Writer(self.names, kept)
        self._give_names()

    def _give_names(self) -> None:
        """Give out all of the user's names, first those that need no change."""
        nodes = [n for n in self.graph.nodes if n.name and n.role in ("input", "forward")]
        names = [str(n.name) for n in nodes] + [g.name for g in self.graph.gradients]
        given = {
            name: self.names.give(name)
            for name in sorted(names, key=lambda n: not n.isidentifier())
        }
        self.called = {n.index: given[str(n.name)] for n in nodes}
        self.labels = {g.name: given[g.name] for g in self.graph.gradients}
        for node in nodes:
            if node.role == "input":
                self.writer.variables[node.index] = self.called[node.index]
        for g in self.graph.gradients:
            if g.kind == "upstream":
                self.writer.variables[g.node.index] = self.labels[g.name]

    # ------------------------------------------------------------------ the module

    def source(self) -> str:
        """Write the whole module."""
        functions = [self._forward()]
        if self.wanted is not None:
            functions.append(self._backward())
        constants = [_wrapped(f"{n} = {v}") for n, v in self.writer.constants.values()]
        written = "\n".join([*constants, *functions])
        functions[:0] = [text.rstrip() for name, text in HELPERS.items() if f"{name}(" in written]
        written = "\n".join([*constants, *functions])
        imports = [line for name, line in IMPORTS.items() if re.search(rf"\b{name}[.(]", written)]
        blocks = [self._title(), "\n".join(imports), "import numpy as np", "\n".join(constants)]
        head = "\n\n".join(block for block in blocks if block)
        return "\n\n\n".join([head, *functions]) + "\n"

    def _title(self) -> str:
        inputs = [n for n in self.graph.inputs if n.role == "input"]
        shapes = ", ".join(f"{self.called[n.index]} {n.shape}" for n in inputs)
        outputs = _and([self.writer.variables[n.index] for n in self.graph.outputs])
        dtypes = _and(list(dict.fromkeys(str(n.dtype) for n in inputs)))
        passes = "Forward pass" if self.wanted is None else "Forward and backward pass"
        title = f"{passes} of {outputs}, written by tinygraph."
        text = f"For {shapes} of {dtypes}; lengths and constants are written in."
        return "\n".join(_docstring(title, text, indent=""))

    def _forward(self) -> str:
        writer = self.writer
        outputs = {node.index for node in self.graph.outputs}
        for node in self.graph.nodes:
            if node.role == "forward" and (node.index in self.called or node.index in outputs):
                writer.step = node.step
                writer.assign(node, self.called.get(node.index) or self.names.number("t"))
        arguments = [self.called[n.index] for n in self.graph.inputs if n.role == "input"]
        returned = [writer.variables[n.index] for n in self.graph.outputs]
        cache = ", and what backward reads" if self.wanted is not None else ""
        lines = [f"def forward({', '.join(arguments)}):"]
        lines += _docstring(f"Compute {_and(returned)}{cache}.")
        checks = [
            f"    {writer.premise(formula, answer, self.graph.nodes)}"
            for formula, answer in self.graph.premises
            if not formula.is_of_lengths
        ]
        lines += _by_step(writer.statements)
        lines += [*checks, ""] if checks else []
        if self.wanted is not None:
            cached = [writer.variables[n.index] for n in self.cached]
            lines.append(f"    cache = {_tuple(cached, bare=False)}")
            returned.append("cache")
        lines.append(f"    return {_tuple(returned) if len(returned) > 1 else returned[0]}")
        return "\n".join(map(_wrapped, lines))

    def _backward(self) -> str:
        writer, variables = self.writer, self.writer.variables
        cached = [variables[n.index] for n in self.cached]
        upstream = [variables[n.index] for n in self.graph.inputs if n.role == "upstream"]
        writer.statements = []
        self._assign_gradients()
        returned = [
            self._result(g) if g else f"np.zeros_like({variables[node.index]})"
            for node, g in self.results
        ]
        lines = [f"def backward({', '.join([*upstream, 'cache'])}):"]
        lines += _docstring(f"Carry {_and(upstream)} back to {_and(returned)}.")
        if cached:
            lines += [f"    {_tuple(cached)} = cache", ""]
        lines += _by_step(_without_unread(writer.statements, writer.used))
        lines.append(f"    return {_tuple(returned)}")
        return "\n".join(map(_wrapped, lines))

    # ------------------------------------------------------------------ gradients

    def _assign_gradients(self) -> None:
        """Assign every gradient that has a name, in the order of the sweep."""
        writer = self.writer
        arriving: dict[int, Gradient] = {}
        parts: dict[int, list[Gradient]] = {}
        for g in self.graph.gradients:
            if g.kind != "part" and g.of.role == "forward":
                arriving[g.of.step] = g
            if g.kind in ("part", "upstream"):
                parts.setdefault(g.of.index, []).append(g)
        for g in self.graph.gradients:
            target, whole = self.labels[g.name], arriving.get(g.step)
            writer.step = g.step
            # Within a step, what arrives goes by the name that it has there, dgammax and not dout.
            writer.alias = (
                {whole.node.index: self.labels[whole.name]} if whole and whole is not g else {}
            )
            if g.kind == "upstream":
                continue
            if g.node.index in writer.variables:
                writer.give_another_name(g.node, target)
            elif g.node.index in self.backward:
                if g.kind == "sum" and _adds_up(g.node, parts[g.of.index]):
                    writer.add_up([self.labels[p.name] for p in parts[g.of.index]], target)
                    writer.variables[g.node.index] = target
                else:
                    writer.assign(g.node, target)
        writer.alias = {}

    def _result(self, g: Gradient) -> str:
        """Give the variable of a gradient that is returned."""
        if g.name:
            self.writer.used.add(self.labels[g.name])
            return self.labels[g.name]
        if g.node.index not in self.writer.variables:
            self.writer.step = g.step
            self.writer.assign(g.node, self.names.number("g"))
        return self.writer.read(g.node)


def _places(nodes: Iterable[Node]) -> set[int]:
    """Give the indices of nodes and of all that they are computed from."""
    return {node.index for node in reachable(nodes)}


def _adds_up(total: Node, parts: list[Gradient]) -> bool:
    """Whether a node is the sum of these gradients, from left to right."""
    for part in reversed(parts[1:]):
        if total.role != "accumulate" or total.inputs[1] is not part.node:
            return False
        total = total.inputs[0]
    return total is parts[0].node


def _without_unread(statements: list[Statement], used: set[str]) -> list[Statement]:
    """Leave out the other names that nothing reads."""
    kept = []
    for statement in reversed(statements):
        if statement.is_alias:
            if statement.target not in used:
                continue
            used.add(statement.source)
        kept.append(statement)
    return kept[::-1]


# --------------------------------------------------------------------------- lines


def _by_step(statements: Iterable[Statement]) -> list[str]:
    """Write assignments, with a comment where a step begins and a blank line where it ends."""
    lines: list[str] = []
    for step, group in groupby(statements, key=lambda statement: statement.step):
        lines.append(f"    # step {step}")
        lines += [f"    {s.target} = {s.source}" for s in group]
        lines.append("")
    return lines


def _docstring(*paragraphs: str, indent: str = "    ") -> list[str]:
    lines: list[str] = []
    for paragraph in paragraphs:
        start = indent if lines else f'{indent}"""'
        lines += [] if not lines else [""]
        lines += textwrap.wrap(
            paragraph,
            WIDTH - 3,
            initial_indent=start,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
    return [*lines, f'{indent}"""'] if len(lines) > 1 else [f'{lines[0]}"""']


def _and(names: list[str]) -> str:
    """Write a list as a sentence does: a, b and c."""
    return (
        " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names) or "nothing"
    )


def _wrapped(line: str) -> str:
    """Break a line that is too long at commas, which stand in brackets only."""
    if len(line) <= WIDTH:
        return line
    indent = len(line) - len(line.lstrip()) + (8 if line.startswith("def ") else 4)
    lines: list[str] = []
    for part in line.split(", "):
        if lines and len(lines[-1]) + len(part) + 3 <= WIDTH:
            lines[-1] += f", {part}"
        else:
            lines.append(" " * indent + part if lines else part)
    return ",\n".join(lines)


def _tuple(items: list[str], *, bare: bool = True) -> str:
    """Write a tuple, without brackets if it is bare and fits into a line."""
    text = ", ".join(items)
    if bare and len(items) > 1 and len(text) < WIDTH - 20:
        return text
    return f"({text},)" if len(items) == 1 else f"({text})"
