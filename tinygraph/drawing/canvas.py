"""How a picture looks: boxes, arrows, frames, labels and the legend.

A `Canvas` is drawn on with a few pens; which boxes and arrows there are is the business of the
views in `drawing`. Everything that a user can name is escaped here. Roles are told apart by colour
and by shape or line, so that print and colour-blind readers lose nothing.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from tinygraph.drawing.rendering import Picture
from tinygraph.graph.nodes import Gradient, Node
from tinygraph.graph.snapshot import Graph
from tinygraph.writing.formulas import Notation, number_text, shape_text

__all__ = ["Canvas"]

INK, GREY, LIGHT, RED, BLUE = "#222222", "#666666", "#999999", "#c62828", "#2b6cb0"
FONT = "Helvetica,Arial,sans-serif"

GRAPH = {
    "class": "tinygraph",
    "bgcolor": "white",
    "nodesep": "0.3",
    "ranksep": "0.15",
    "fontname": FONT,
    "fontsize": "13",
    "fontcolor": GREY,
    "labelloc": "b",
    "newrank": "true",  # ranks across frames, or a frame may pull its steps out of order
}
NODE = {
    "shape": "box",
    "style": "rounded,filled",
    "fillcolor": "#f7f7f7",
    "color": "#555555",
    "fontcolor": INK,
    "fontname": FONT,
    "fontsize": "14",
    "margin": "0.1,0.07",
    "height": "0.35",
    "width": "0.35",
    "penwidth": "1.2",
}
EDGE = {
    "fontname": FONT,
    "fontsize": "13",
    "arrowsize": "0.7",
    "color": INK,
    "fontcolor": INK,
}
FRAME = {
    "style": "rounded",
    "color": "#bbbbbb",
    "fontcolor": GREY,
    "fontsize": "12",
    "labelloc": "t",
    "labeljust": "l",
    "margin": "8",
}

INPUT = {"shape": "ellipse", "fillcolor": "#dcebfa", "color": BLUE}
OUTPUT = {"shape": "plaintext", "style": ""}
ELSEWHERE = {"style": "rounded,dotted"}
GROUP = {"shape": "box3d", "style": "filled"}
BACKWARD = {"color": RED, "fillcolor": "#fdeaea", "fontcolor": RED, "style": "filled"}
SUM = BACKWARD | {"shape": "circle", "peripheries": "2", "margin": "0.02"}
UPSTREAM = {"shape": "plaintext", "style": "", "fontcolor": RED}
READ = {"style": "dotted", "height": "0.2", "fontcolor": GREY}

GRADIENT = {"color": RED, "fontcolor": RED, "style": "dashed"}
BESIDE = GRADIENT | {"constraint": "false"}
MAIN = {"weight": "20"}

LONGEST_NAME, LONGEST_FORMULA = 40, 60
CELLS = 9  # of the legend, in one row

Scope = tuple[str, ...]


class Canvas:
    """One picture being drawn.

    Parameters
    ----------
    graph : Graph
    direction : str
        Where values flow to: LR, TB, RL or BT.
    values : bool
        Whether boxes show value and gradient.
    """

    def __init__(self, graph: Graph, direction: str, values: bool) -> None:
        self.graph, self.values = graph, values
        self.notation = Notation(graph)
        self.results = {step.number: step.result for step in graph.steps}
        self.outputs = {node.index for node in graph.outputs}
        self.sums = {g.of.index: g for g in graph.all_gradients if g.kind == "sum"}
        self.terms = _terms(graph)
        self.names_of: dict[int, list[Gradient]] = {}
        for g in graph.gradients:
            self.names_of.setdefault(g.node.index, []).append(g)
        self.new_shapes = _new_shapes(graph)
        self.has_numbers = False
        self.upright = direction in ("TB", "BT")
        self.note = ""
        self.boxes: dict[Scope, list[tuple[str, dict[str, str]]]] = {}
        self.arrows: list[tuple[str, str, dict[str, str]]] = []
        self.picture = Picture(
            "tinygraph",
            comment="made by tinygraph",
            format="svg",
            graph_attr=GRAPH | {"rankdir": direction},
            node_attr=NODE,
            edge_attr=EDGE,
        )

    # ------------------------------------------------------------------ what things are called

    def key(self, node: Node, prefix: str = "n") -> str:
        """Give the id of a node's box: its index, and its name as far as ids can hold it."""
        name = re.sub(r"[^A-Za-z0-9]+", "_", name_of(node)).strip("_")
        return f"{prefix}{node.index}_{name}" if name else f"{prefix}{node.index}"

    def rule(self, gradient: Gradient, shape: bool = False) -> str:
        """Write a gradient with its local rule: ``dxhat = dgammax · gamma``."""
        formula = self.notation.gradient(gradient)
        text = gradient.name if formula == gradient.name else f"{gradient.name} = {formula}"
        return f"{text}   {shape_text(gradient.node.shape)}" if shape else text

    def frames(self, node: Node) -> Scope:
        """Give the frames around a primitive: the calls, then its step with number and formula."""
        if not node.step:
            return ()
        result = self.results[node.step]
        title = f"{node.step}   {name_of(result)} = {self.notation.formula(result)}"
        return (*result.scope, title)

    # ------------------------------------------------------------------ boxes

    def put_value(self, node: Node, gradients: bool = False) -> None:
        """Put an input, or a value that is computed outside the picture."""
        label = _bold(name_of(node)) + _shape(node)
        label += self._sum_of_paths(node, gradients) + self._numbers(node)
        self._put(self.key(node), label, (), INPUT if node.role == "input" else ELSEWHERE)

    def put_step(self, node: Node, gradients: bool = False, scope: Scope = ()) -> None:
        """Put a whole step: its number and its formula."""
        formula = _short(self.notation.formula(node), LONGEST_FORMULA)
        label = _small(str(node.step), LIGHT) + _line(_escape(formula))
        label += self._sum_of_paths(node, gradients) + self._numbers(node)
        self._put(self.key(node), label, scope, {})

    def put_primitive(self, node: Node) -> None:
        """Put one primitive of either pass into the frame of its step."""
        if node.role == "input":
            return self.put_value(node)
        frames = self.frames(node)
        if node.role == "upstream":
            label = _bold(name_of(node)) + _shape(node, RED)
            return self._put(self.key(node), label, frames, UPSTREAM)
        label = _bold(self._symbol(node))
        if node.name is not None:
            label += _line(_escape(name_of(node)))
        look = {"forward": {}, "backward": BACKWARD, "accumulate": SUM}[node.role]
        return self._put(self.key(node), label + self._numbers(node), frames, look)

    def put_gradient(self, node: Node) -> None:
        """Put a gradient with its rule, under all its names."""
        names = self.names_of[node.index]
        rule = self.rule(next(g for g in names if g.name == node.name))
        others = [g.name for g in names if g.name != node.name]
        if node.role == "upstream":
            label = _bold(rule) + "".join(_line(f"= {_escape(name)}") for name in others)
            return self._put(self.key(node), label + _shape(node), (), UPSTREAM)
        label = _escape(" = ".join([*others, _short(rule, LONGEST_FORMULA)]))
        label = _small(str(names[0].step), LIGHT) + _line(label)
        label += _shape(node)
        look = BACKWARD | ({"peripheries": "2"} if node.role == "accumulate" else {})
        return self._put(self.key(node), label, (), look)

    def put_read(self, node: Node, reader: Node) -> None:
        """Put a forward value beside the rule that reads it."""
        text = name_of(node) or _short(self.notation.formula(node), LONGEST_NAME)
        frames = self.frames(reader)
        key = f"{self.key(node)}_for_{reader.index}"
        self._put(key, _small(text), frames, READ)
        self.arrows.append((key, self.key(reader), {"color": LIGHT}))

    def put_group(self, key: str, title: str, node: Node, scope: Scope) -> None:
        """Put several steps or inputs as one box."""
        label = _bold(title) + _line(_escape(name_of(node))) + _shape(node)
        self._put(key, label, scope, GROUP)

    def put_output(self, node: Node, source: str) -> str:
        """Put the end of the main line; give its id."""
        key = self.key(node, "out")
        label = _bold(name_of(node)) + _shape(node)
        self._put(key, label, (), OUTPUT)
        self.arrows.append((source, key, MAIN))
        return key

    # ------------------------------------------------------------------ arrows

    def value_arrow(
        self, tail: str, head: str, value: Node | None = None, main: bool = False
    ) -> None:
        """Draw a value flowing forward, with its name, and its shape where that is new."""
        label = ""
        if value is not None and value.role == "forward":
            label = _escape(name_of(value))
            if label and value.index in self.new_shapes:
                label += _shape(value)
        self.arrows.append((tail, head, self._beside(label) | (MAIN if main else {})))

    def gradient_arrow(self, tail: str, head: str, label: str) -> None:
        """Draw a gradient flowing back; it moves no box."""
        text = _escape(_short(label, LONGEST_FORMULA))
        self.arrows.append((tail, head, BESIDE | self._beside(text)))

    def dependency(self, x: Node, node: Node) -> None:
        """Draw one operand of one node in a graph of both passes.

        Gradients flow against the layout, so their arrows are laid out from head to tail.
        """
        tail, head = self.key(x), self.key(node)
        if node.role in ("forward", "input"):
            self.arrows.append((tail, head, {}))
        elif x.role in ("forward", "input"):
            self.arrows.append((tail, head, {"color": LIGHT, "constraint": "false"}))
        else:
            self.arrows.append((head, tail, GRADIENT | {"dir": "back"}))

    # ------------------------------------------------------------------ labels

    def _sum_of_paths(self, node: Node, gradients: bool) -> str:
        total = self.sums.get(node.index)
        if not gradients or total is None:
            return ""
        lines = [f"{self.terms[total.node.index]} paths add up"]
        if total.name and (node.role == "input" or total.name != f"d{node.name}"):
            lines.insert(0, _short(self.rule(total), LONGEST_NAME))
        return "".join(_line(_small(line, RED)) for line in lines)

    def _numbers(self, node: Node) -> str:
        if not self.values or node.index not in self.graph.values:
            return ""
        self.has_numbers = True
        rows = _value_rows(*self.graph.values[node.index])
        return "".join(_line(_small(row, INK)) for row in rows)

    def _symbol(self, node: Node) -> str:
        """Write a primitive with the constants that it takes: ``1/N ·``, ``+ eps``, ``^3``."""
        if node.op is None:
            return ""
        symbol = node.op.symbol
        constants = [
            self.notation.reference(x) if x.role == "constant" else None for x in node.inputs
        ]
        if len(constants) == 2 and constants.count(None) == 1:
            left, right = constants
            return f"{left} {symbol}" if left is not None else f"{symbol} {right}"
        return symbol + (number_text(node.params["n"]) if "n" in node.params else "")

    def _beside(self, label: str) -> dict[str, str]:
        """Give the label of an arrow; beside an upright arrow it needs room on both sides."""
        room = "&#160;" if self.upright else ""
        return {"label": f"<{room}{label}{room}>"} if label else {}

    def _put(self, key: str, label: str, scope: Scope, look: dict[str, str]) -> None:
        self.boxes.setdefault(scope, []).append((key, {"label": f"<{label}>"} | look))

    # ------------------------------------------------------------------ putting it together

    def legend(self, *entries: str) -> None:
        """Say below the picture what its marks mean."""
        marks = {
            "input": f'<font color="{BLUE}">○</font> input',
            "step": "▭ step",
            "primitive": "▭ primitive",
            "value": "→ value",
            "gradient": f'<font color="{RED}">⇠ gradient</font>',
            "sum": f'<font color="{RED}">◎ gradients add up</font>',
            "read": f'<font color="{LIGHT}">→</font> value that a rule reads',
        }
        looks = [look for boxes in self.boxes.values() for _, look in boxes]
        has_inputs = any(look.get("color") == BLUE for look in looks)
        cells = [marks[entry] for entry in entries if entry != "input" or has_inputs]
        if self.has_numbers:
            cells.append("numbers: value | gradient")
        if self.notation.batch:
            cells.append(f"N = {self.notation.batch}")
        cells += [_escape(text) for text in _named_constants(self.graph, self.notation)]
        cells += [_escape(f"{sign}: {words}") for sign, words in self.notation.sums().items()]
        rows = [cells[k : k + CELLS] for k in range(0, len(cells), CELLS)]
        table = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
        if self.note:
            table = f'<tr><td colspan="{CELLS}">{_escape(self.note)}</td></tr>' + table
        self.picture.graph_attr["label"] = (
            f'<<table border="0" cellborder="0" cellspacing="8">{table}</table>>'
        )

    def finished(self) -> Picture:
        """Write everything down, frames inside frames."""
        scopes = {scope[:k] for scope in self.boxes for k in range(1, len(scope) + 1)}
        inner: dict[Scope, list[Scope]] = {}
        for scope in sorted(scopes):
            inner.setdefault(scope[:-1], []).append(scope)
        self._write(self.picture, (), inner)
        # as `Digraph.edge` would, which takes as long as all the rest of a large picture
        self.picture.body += [
            f"\t{tail} -> {head}{_attributes(look)}\n" for tail, head, look in self.arrows
        ]
        return self.picture

    def _write(
        self, target: Any, scope: Scope, inner: dict[Scope, list[Scope]], prefix: str = "cluster"
    ) -> None:
        for key, look in self.boxes.get(scope, ()):
            target.node(key, **look)
        for number, frame in enumerate(inner.get(scope, ())):
            title = {"label": f"<{_escape(_short(frame[-1], LONGEST_FORMULA))}>"}
            key = f"{prefix}_{number}"
            with target.subgraph(name=key, graph_attr=FRAME | title) as cluster:
                self._write(cluster, frame, inner, key)


# --------------------------------------------------------------------------- text


def _attributes(look: dict[str, str]) -> str:
    """Write how an arrow looks as DOT; its label is HTML, which stands without quotes."""
    written = [
        f"{key}={value}" if value[0] == "<" or value.isalnum() else f'{key}="{value}"'
        for key, value in sorted(look.items(), key=lambda item: (item[0] != "label", item))
    ]
    return f" [{' '.join(written)}]" if written else ""


def name_of(node: Node) -> str:
    """Give a node's name, shortened."""
    return _short(node.name or "", LONGEST_NAME)


def _escape(text: str) -> str:
    """Make any text safe inside a label, on one line."""
    text = "".join("↵" if c == "\n" else c if c.isprintable() else "\ufffd" for c in text)
    return html.escape(text).replace("\\", 2 * "\\")  # Graphviz would fill \N and \G in


def _short(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _bold(text: str) -> str:
    return f"<b>{_escape(text)}</b>" if text else ""


def _small(text: str, color: str = GREY) -> str:
    return f'<font point-size="12" color="{color}">{_escape(text)}</font>'


def _line(content: str) -> str:
    return f"<br/>{content}"


def _shape(node: Node, color: str = GREY) -> str:
    """Write the shape on a line of its own; that a scalar has none goes without saying."""
    return _line(_small(shape_text(node.shape), color)) if node.shape else ""


def _named_constants(graph: Graph, notation: Notation) -> list[str]:
    """Give the constants that formulas mention by name, with their values: ``eps = 1e-05``."""
    values: dict[str, list[str]] = {}
    for node in graph.nodes:
        if node.role == "constant" and node.name and notation.reference(node) == node.name:
            number = number_text(node.value)
            if not node.shape and number not in values.setdefault(node.name, []):
                values[node.name].append(number)
    return [f"{name} = {', '.join(numbers)}" for name, numbers in values.items() if numbers]


def _terms(graph: Graph) -> dict[int, int]:
    """Count what adds up in each gradient; sums of sums are opened."""
    terms: dict[int, int] = {}
    for node in graph.nodes:
        is_sum = node.role == "accumulate"
        terms[node.index] = sum(terms[x.index] for x in node.inputs) if is_sum else 1
    return terms


def _value_rows(value: Any, grad: Any) -> Iterable[str]:
    """Write small arrays entry by entry, larger ones as min, mean, max and norm."""
    if np.size(value) <= 6:
        left = [_number(v) for v in np.ravel(value)]
        right = ["–"] * len(left) if grad is None else [_number(g) for g in np.ravel(grad)]
        return [f"{v} | {g}" for v, g in zip(left, right, strict=True)]
    measures: dict[str, Any] = {"min": np.min, "mean": np.mean, "max": np.max, "norm": _norm}
    with np.errstate(all="ignore"):
        return [
            f"{what} {_number(f(value))} | {'–' if grad is None else _number(f(grad))}"
            for what, f in measures.items()
        ]


def _norm(a: Any) -> Any:
    sizes = np.abs(a).astype(np.float64)
    largest = np.max(sizes)  # taken out, so that no square overflows
    if not 0 < largest < np.inf:
        return largest
    return largest * np.sqrt(np.sum((sizes / largest) ** 2))


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)


def _new_shapes(graph: Graph) -> set[int]:
    """Give the results whose shape is not that of the step before."""
    found = set()
    before = graph.inputs[0].shape if graph.inputs else ()
    for step in graph.steps:
        if step.result.shape != before:
            found.add(step.result.index)
        before = step.result.shape
    return found
