"""`draw`: a Graph becomes a picture.

Values flow to the right along black arrows, gradients to the left along red, dashed ones. Red
arrows never move a box (``constraint=false``), so that the backward pass lies exactly on the
forward pass. Every view is written with the same few pens: `_Canvas` knows how a box, an arrow, a
frame and the legend look, and the views only say which of them there are.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygraph.autodiff import reachable
from tinygraph.boxes import Arrow, Box, Boxes, gather
from tinygraph.graph import Graph
from tinygraph.nodes import Gradient, Node
from tinygraph.notation import Notation, number_text, shape_text
from tinygraph.rendering import Picture

__all__ = ["draw"]

VIEWS = ("circuit", "forward", "backward", "joint")
DETAILS = ("steps", "primitives")
DIRECTIONS = ("LR", "TB", "RL", "BT")

INK, GREY, RED, BLUE = "#222222", "#666666", "#c62828", "#2b6cb0"
FONT = "Helvetica,Arial,sans-serif"


def draw(
    out: Any,
    *,
    view: str = "circuit",
    detail: str = "steps",
    step: int | None = None,
    values: bool = False,
    direction: str = "LR",
    wrt: Sequence[Any] | None = None,
) -> Picture:
    """Draw what `out` was computed from, and how gradients flow back through it.

    Parameters
    ----------
    out : Tensor, sequence of Tensors, or Graph
        What to draw.
    view : {"circuit", "forward", "backward", "joint"}, optional
        ``forward``: values alone. ``circuit``: values, and gradients by name beside them.
        ``backward``: the gradient graph, what the backward pass computes from what. ``joint``:
        every primitive of both passes.
    detail : {"steps", "primitives"}, optional
        One box per assignment, labelled with its formula; or every primitive, those of a step
        inside a frame with its number and name. ``joint`` always shows primitives.
    step : int, optional
        Show one step alone, with what flows in and out; 0 shows what arrives at the inputs.
    values : bool, optional
        Write value and gradient into each box: small arrays whole, larger ones as min, mean, max
        and norm. A gradient that does not exist yet is ``–``.
    direction : {"LR", "TB", "RL", "BT"}, optional
        Where values flow to.
    wrt : sequence of Tensors, optional
        With respect to what the backward pass is drawn; all inputs by default.

    Returns
    -------
    graphviz.Digraph
        Its DOT text is in ``.source`` and the same at every run; ``.save("name.svg")`` renders by
        suffix, with or without Graphviz's programs; notebooks display it.

    Raises
    ------
    TypeError
        If `out` is neither Tensor nor Graph.
    ValueError
        If an option is none of its choices, there is no such step, or values are asked of a Graph
        that was captured without them.

    Examples
    --------
    >>> from tinygraph import Tensor
    >>> x = Tensor([1.0, 2.0], name="x")
    >>> picture = draw(x * x)
    >>> [name for name in ("dx1", "dx2") if name in picture.source]
    ['dx1', 'dx2']
    """
    _check("view", view, VIEWS)
    _check("detail", detail, DETAILS)
    _check("direction", direction, DIRECTIONS)
    if isinstance(out, Graph):
        graph = out
        if values and not graph.values:
            raise ValueError("draw: this Graph holds no values; use Graph.capture(…, values=True)")
    else:
        graph = _capture(out, wrt, backward=view != "forward" or step is not None, values=values)
    if not graph.arrivals and (step is not None or view in ("backward", "joint")):
        raise ValueError(
            f"draw: view {view!r} needs a backward pass; use Graph.capture(…, wrt=inputs)"
        )
    canvas = _Canvas(graph, direction, values)
    if step is not None:
        _draw_step(canvas, step)
    elif view in ("circuit", "forward"):
        _draw_circuit(canvas, detail, gradients=view == "circuit" and bool(graph.arrivals))
    elif view == "joint":
        _draw_joint(canvas)
    else:
        _draw_backward(canvas, detail)
    return canvas.finished()


def _check(option: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(f"draw: {option} is {value!r}, but must be one of {', '.join(choices)}")


def _capture(out: Any, wrt: Sequence[Any] | None, *, backward: bool, values: bool) -> Graph:
    if not backward:
        return Graph.capture(out, values=values)
    if wrt is None:
        outputs = out if isinstance(out, list | tuple) else [out]
        wrt = [node for node in reachable(outputs) if node.op is None]
    return Graph.capture(out, wrt, values=values)


# --------------------------------------------------------------------------- views


def _draw_circuit(canvas: _Canvas, detail: str, *, gradients: bool) -> None:
    """Draw the forward pass, and beside every use of a value the gradient that comes back."""
    graph, boxes = canvas.graph, gather(canvas.graph, detail)
    canvas.note = boxes.folded
    for box in boxes.boxes:
        canvas.box(box, gradients)
    for arrow in boxes.arrows:
        canvas.value_arrow(arrow, boxes)
        if gradients and arrow.gradient is not None:
            canvas.gradient_arrow(arrow)
    holder = {node.index: box for box in boxes.boxes for node in box.nodes}
    for out in graph.outputs:
        canvas.output(out, canvas.key(holder[out.index]), gradients)
    canvas.legend(gradients)


def _draw_joint(canvas: _Canvas) -> None:
    """Draw every primitive of both passes; a frame holds a step's part of each."""
    graph = canvas.graph
    for node in graph.nodes:
        if node.role != "constant":
            canvas.node(node)
    for node in graph.nodes:
        for x in node.inputs:
            if x.role != "constant":
                canvas.dependency(x, node)
    for out in graph.outputs:
        canvas.output(out, canvas.node_key(out), gradients=False)
    canvas.legend(gradients=True, nodes=True)


def _draw_backward(canvas: _Canvas, detail: str) -> None:
    """Draw the gradient graph: gradients, and the values that their rules read."""
    graph = canvas.graph
    backward = [n for n in graph.nodes if n.role in ("backward", "accumulate", "upstream")]
    shown = [n for n in backward if detail == "primitives" or n.name is not None]
    visible = {n.index for n in shown}
    read: dict[int, Node] = {}
    arrows = []
    for node in shown:
        for x in _visible_operands(node, visible):
            arrows.append((x, node))
            if x.index not in visible:
                read[x.index] = x
    for node in read.values():
        canvas.read_value(node)
    for node in shown:
        if detail == "primitives":
            canvas.node(node)
        else:
            canvas.named_gradient(node)
    for x, node in arrows:
        canvas.dependency(x, node)
    canvas.legend(gradients=True, nodes=True, values=False)


def _visible_operands(node: Node, visible: set[int]) -> list[Node]:
    """Give what a node is computed from, looking through nodes that are not shown."""
    found, stack = [], list(reversed(node.inputs))
    while stack:
        x = stack.pop()
        if x.role == "constant":
            continue
        if x.role in ("forward", "input") or x.index in visible:
            found.append(x)
        else:
            stack += reversed(x.inputs)
    return found


def _draw_step(canvas: _Canvas, number: int) -> None:
    """Draw one step as the staged derivation does: what arrives, the local rule, what leaves."""
    graph = canvas.graph
    if number == 0:
        return _draw_arrivals(canvas)
    step = next((s for s in graph.steps if s.number == number), None)
    if step is None:
        raise ValueError(f"draw: there is no step {number}; the steps are 0 to {len(graph.steps)}")
    result, inside = step.result, {n.index for n in step.nodes}
    operands: dict[int, Node] = {}
    for node in step.nodes:
        for x in node.inputs:
            if x.index not in inside and x.role != "constant":
                operands[x.index] = x
    canvas.formula_box(result)
    for x in operands.values():
        canvas.value(x)
        canvas.plain_arrow(canvas.node_key(x), canvas.node_key(result), _name(x))
    canvas.output(result, canvas.node_key(result), gradients=False)
    for g in graph.gradients:
        if g.of is result and g.kind != "part":
            label = f"{canvas.text(g)}   {shape_text(g.node.shape)}"
            canvas.red_arrow(f"out_{canvas.node_key(result)}", canvas.node_key(result), label)
        elif g.via is not None and g.via.index in inside and g.of.index in operands:
            label = f"{canvas.text(g)}   {shape_text(g.node.shape)}"
            canvas.red_arrow(canvas.node_key(result), canvas.node_key(g.of), label)
    canvas.legend(gradients=True)
    return None


def _draw_arrivals(canvas: _Canvas) -> None:
    """Draw step 0: the gradients that arrive at the inputs, and their sums."""
    steps = {s.number: s for s in canvas.graph.steps}
    drawn = set()
    for g in canvas.graph.gradients:
        if g.of.role != "input" or g.via is None:
            continue
        result = steps[g.step].result
        if result.index not in drawn:
            drawn.add(result.index)
            canvas.formula_box(result)
        if g.of.index not in drawn:
            drawn.add(g.of.index)
            canvas.value(g.of, gradients=True)
            canvas.plain_arrow(canvas.node_key(g.of), canvas.node_key(result), "")
        label = f"{canvas.text(g)}   {shape_text(g.node.shape)}"
        canvas.red_arrow(canvas.node_key(result), canvas.node_key(g.of), label)
    canvas.legend(gradients=True)


# --------------------------------------------------------------------------- pens


class _Canvas:
    """How things look: boxes, arrows, frames, labels and the legend of one picture."""

    def __init__(self, graph: Graph, direction: str, values: bool) -> None:
        self.graph, self.values = graph, values
        self.notation = Notation(graph)
        self.note = ""
        self.shape_before = _shapes_before(graph)
        self.sums = {g.of.index: g for g in graph.arrivals if g.kind == "sum"}
        self.labelled: set[int] = set()
        self.picture = Picture(
            "tinygraph",
            comment="made by tinygraph",
            format="svg",
            graph_attr={
                "class": "tinygraph",
                "rankdir": direction,
                "bgcolor": "white",
                "nodesep": "0.4",
                "ranksep": "0.4",
                "fontname": FONT,
                "fontsize": "12",
            },
            node_attr={
                "shape": "box",
                "style": "rounded,filled",
                "fillcolor": "#f7f7f7",
                "color": "#555555",
                "fontcolor": INK,
                "fontname": FONT,
                "fontsize": "14",
                "margin": "0.12,0.06",
                "height": "0.4",
                "width": "0.4",
                "penwidth": "1.2",
            },
            edge_attr={
                "fontname": FONT,
                "fontsize": "12",
                "arrowsize": "0.7",
                "color": INK,
                "fontcolor": INK,
            },
        )
        self.frames: dict[tuple[str, ...], list[tuple[str, dict[str, str]]]] = {}
        self.edges: list[tuple[str, str, dict[str, str]]] = []

    # ------------------------------------------------------------------ names of things

    def key(self, box: Box) -> str:
        return self.node_key(box.result) if box.kind != "group" else f"group{box.nodes[0].index}"

    def node_key(self, node: Node) -> str:
        return f"n{node.index}_{re.sub(r'[^A-Za-z0-9]+', '_', node.name or '')}".rstrip("_")

    def text(self, gradient: Gradient) -> str:
        """Write a gradient with its local rule: ``dxhat = dgammax · gamma``."""
        formula = self.notation.gradient(gradient)
        return gradient.name if formula == gradient.name else f"{gradient.name} = {formula}"

    def title(self, step: int) -> str:
        result = next(s.result for s in self.graph.steps if s.number == step)
        return f"{step}   {result.name} = {self.notation.formula(result)}"

    # ------------------------------------------------------------------ boxes

    def box(self, box: Box, gradients: bool) -> None:
        if box.kind == "input":
            return self.value(box.result, gradients)
        if box.kind == "step":
            return self.formula_box(box.result, gradients, box.scope)
        if box.kind == "primitive":
            return self.node(box.result, (*box.scope, self.title(box.step)))
        label = _bold(box.title) + _line(_small(shape_text(box.result.shape)))
        self._put(self.key(box), label, box.scope, shape="box3d", style="filled")
        return None

    def value(self, node: Node, gradients: bool = False) -> None:
        """Put an input, or a value that was computed elsewhere."""
        label = _bold(_name(node)) + _line(_small(shape_text(node.shape)))
        label += self._fan_in(node, gradients) + self._numbers(node)
        if node.role == "input":
            self._put(self.node_key(node), label, shape="ellipse", fillcolor="#dcebfa", color=BLUE)
        else:
            self._put(self.node_key(node), label, style="rounded,dotted")

    def formula_box(self, node: Node, gradients: bool = False, scope: tuple[str, ...] = ()) -> None:
        number = _small(f"{node.step}  ", "#888888")
        label = number + _escape(_short(self.notation.formula(node), 60))
        label += self._fan_in(node, gradients) + self._numbers(node)
        self._put(self.node_key(node), label, scope)

    def node(self, node: Node, scope: tuple[str, ...] | None = None) -> None:
        """Put one primitive, or an input."""
        if node.role == "input":
            return self.value(node)
        if scope is None:
            scope = (self.title(node.step),) if node.step else ()
        look: dict[str, str] = {}
        if node.role != "forward":
            look = {"color": RED, "fillcolor": "#fdeaea", "fontcolor": RED}
        if node.role == "accumulate":
            look |= {"shape": "circle", "peripheries": "2", "style": "filled", "margin": "0.02"}
        if node.op is None:
            look |= {"shape": "plaintext", "style": ""}
        label = _bold(_symbol(node)) if node.op is not None else ""
        if node.name is not None and not (node in self.graph.outputs and node.role == "forward"):
            name = _escape(_name(node))
            label += _line(name) if label else _bold(_name(node))
        if node.role == "upstream":
            label += _line(_small(shape_text(node.shape)))
        self._put(self.node_key(node), label + self._numbers(node), scope, **look)
        return None

    def named_gradient(self, node: Node) -> None:
        """Put a gradient of the backward pass with its rule."""
        names = [g for g in self.graph.gradients if g.node is node]
        own = next((g for g in names if g.name == node.name), names[0])
        others = "".join(f"{_escape(g.name)} = " for g in names if g is not own)
        label = _small(f"{node.step}  ", "#b08080") + others + _escape(self.text(own))
        label += _line(_small(shape_text(node.shape)))
        look = {"color": RED, "fillcolor": "#fdeaea"}
        if node.role == "upstream":
            look = {"shape": "plaintext", "style": "", "fontcolor": RED}
        if node.role == "accumulate":
            look["peripheries"] = "2"
        self._put(self.node_key(node), label, **look)

    def read_value(self, node: Node) -> None:
        label = _small(_name(node) if node.name else self.notation.formula(node), INK)
        self._put(self.node_key(node), label, style="dotted", height="0.25")

    def output(self, node: Node, source: str, gradients: bool) -> None:
        key = f"out_{self.node_key(node)}"
        label = _bold(_name(node)) + _line(_small(shape_text(node.shape)))
        self._put(key, label, shape="plaintext", style="")
        self.edges.append((source, key, {"weight": "20"}))
        if gradients:
            self.red_arrow(key, source, f"d{_name(node)}")

    # ------------------------------------------------------------------ arrows

    def value_arrow(self, arrow: Arrow, boxes: Boxes) -> None:
        value, head = arrow.value, arrow.head
        label = ""
        if value.role == "forward" and value.name is not None and arrow.tail.kind != "primitive":
            label = _escape(_name(value))
            if self.shape_before.get(value.index, value.shape) != value.shape:
                label += " " + _small(shape_text(value.shape))
        look = {"label": f"<{label}>"} if label else {}
        if any((value.index, node.index) in boxes.main for node in head.nodes):
            look["weight"] = "20"
        self.edges.append((self.key(arrow.tail), self.key(head), look))

    def plain_arrow(self, tail: str, head: str, label: str) -> None:
        self.edges.append((tail, head, {"label": f"<{_escape(label)}>"} if label else {}))

    def gradient_arrow(self, arrow: Arrow) -> None:
        gradient = arrow.gradient
        if gradient is None:
            return
        label = gradient.name
        if gradient.kind == "whole" and gradient.of.role == "input" and arrow.head.kind == "step":
            label = _short(self.text(gradient), 40)
        self.red_arrow(self.key(arrow.head), self.key(arrow.tail), label)

    def red_arrow(self, tail: str, head: str, label: str) -> None:
        look = {"color": RED, "fontcolor": RED, "style": "dashed", "constraint": "false"}
        if label:
            look["label"] = f"<{_escape(label)}>"
        self.edges.append((tail, head, look))

    def dependency(self, x: Node, node: Node) -> None:
        """Draw one operand of one node in a graph of both passes.

        A gradient flows to the left: its arrow is laid out from head to tail and drawn backwards.
        """
        tail, head = self.node_key(x), self.node_key(node)
        if node.role in ("forward", "input"):
            self.edges.append((tail, head, {}))
        elif x.role in ("forward", "input"):
            self.edges.append((tail, head, {"color": "#999999", "constraint": "false"}))
        else:
            look = {"color": RED, "style": "dashed", "dir": "back"}
            self.edges.append((head, tail, look))

    # ------------------------------------------------------------------ labels

    def _fan_in(self, node: Node, gradients: bool) -> str:
        total = self.sums.get(node.index)
        if not gradients or total is None:
            return ""
        paths = f"{_terms(total.node)} paths add up"
        rule = self.text(total) if total.name else ""
        text = rule if rule and node.role == "input" else ""
        return (_line(_small(_short(text, 40), RED)) if text else "") + _line(_small(paths, RED))

    def _numbers(self, node: Node) -> str:
        if not self.values or node.index not in self.graph.values:
            return ""
        return _value_rows(*self.graph.values[node.index])

    # ------------------------------------------------------------------ putting it together

    def _put(self, key: str, label: str, scope: tuple[str, ...] = (), **look: str) -> None:
        self.frames.setdefault(scope, []).append((key, {"label": f"<{label}>", **look}))

    def legend(self, gradients: bool, nodes: bool = False, values: bool = True) -> None:
        cells = []
        if values:
            cells.append(f'<td><font color="{BLUE}">⬭</font> input</td>')
            cells.append("<td>▭ primitive</td>" if nodes else "<td>▭ step</td>")
            cells.append("<td>→ value</td>")
        if gradients:
            cells.append(f'<td><font color="{RED}">⇠ gradient</font></td>')
        if nodes:
            cells.append(f'<td><font color="{RED}">◎ gradients add up</font></td>')
            cells.append('<td><font color="#777777">→ value that a rule reads</font></td>')
        if self.notation.batch:
            cells.append(f"<td>N = {self.notation.batch}</td>")
        note = f'<tr><td colspan="9">{_escape(self.note)}</td></tr>' if self.note else ""
        row = f"<tr>{''.join(cells)}</tr>"
        self.picture.graph_attr.update(
            label=f'<<table border="0" cellspacing="6">{note}{row}</table>>',
            labelloc="b",
            fontcolor=GREY,
        )

    def finished(self) -> Picture:
        """Write everything down, frames inside frames."""
        scopes = {scope[:k] for scope in self.frames for k in range(len(scope) + 1)}
        self._write_frame(self.picture, (), sorted(scopes))
        for tail, head, look in self.edges:
            self.picture.edge(tail, head, **look)
        return self.picture

    def _write_frame(self, target: Any, scope: tuple[str, ...], scopes: Any) -> None:
        for key, look in self.frames.get(scope, ()):
            target.node(key, **look)
        for k, inner in enumerate(scopes):
            if len(inner) == len(scope) + 1 and inner[:-1] == scope:
                look = {
                    "label": f"<{_escape(_short(inner[-1], 60))}>",
                    "style": "rounded",
                    "color": "#bbbbbb",
                    "fontcolor": GREY,
                    "margin": "10",
                }
                with target.subgraph(name=f"cluster_{k}", graph_attr=look) as frame:
                    self._write_frame(frame, inner, scopes)


# --------------------------------------------------------------------------- text


def _escape(text: str) -> str:
    """Make any text safe inside a label, on one line."""
    text = "".join("↵" if c == "\n" else c if c.isprintable() else "\ufffd" for c in text)
    return html.escape(text)


def _short(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _name(node: Node) -> str:
    return _short(node.name or "", 40)


def _bold(text: str) -> str:
    return f"<b>{_escape(text)}</b>" if text else ""


def _small(text: str, color: str = GREY) -> str:
    return f'<font point-size="11" color="{color}">{_escape(text)}</font>'


def _line(content: str) -> str:
    return f"<br/>{content}"


def _symbol(node: Node) -> str:
    """Write a primitive with the constants that it takes: ``1/N ·``, ``+ eps``, ``^3``."""
    if node.op is None:
        return ""
    symbol = node.op.symbol
    constants = [_constant(x) if x.role == "constant" else None for x in node.inputs]
    if len(constants) == 2 and constants.count(None) == 1:
        left, right = constants
        return f"{left} {symbol}" if left is not None else f"{symbol} {right}"
    if "n" in node.params:
        return f"{symbol}{number_text(node.params['n'])}"
    return symbol


def _constant(node: Node) -> str:
    if node.name is not None and node.dtype is None:
        return f"{node.name} = {number_text(node.value)}"
    if isinstance(node.value, np.ndarray):
        return f"array{shape_text(node.shape)}"
    return str(node.value) if node.dtype == object else number_text(node.value)


def _terms(node: Node) -> int:
    """Count what adds up: sums of sums are opened."""
    count, stack = 0, [node]
    while stack:
        current = stack.pop()
        if current.role == "accumulate":
            stack += current.inputs
        else:
            count += 1
    return count


def _value_rows(value: Any, grad: Any) -> str:
    """Write small arrays entry by entry, larger ones as min, mean, max and norm."""
    if np.size(value) <= 6:
        left = [_number(v) for v in np.ravel(value)]
        right = ["–"] * len(left) if grad is None else [_number(g) for g in np.ravel(grad)]
        rows = [f"{v} | {g}" for v, g in zip(left, right, strict=True)]
    else:
        rows = [
            f"{what} {_number(f(value))} | " + ("–" if grad is None else _number(f(grad)))
            for what, f in (
                ("min", np.min), ("mean", np.mean), ("max", np.max), ("norm", _norm),
            )
        ]  # fmt: skip
    return "".join(_line(_small(row, INK)) for row in rows)


def _norm(a: Any) -> Any:
    return np.sqrt(np.sum(np.abs(np.asarray(a, dtype=np.float64)) ** 2))


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)


def _shapes_before(graph: Graph) -> dict[int, tuple[int, ...]]:
    """Give, for each step's result, the shape that was last written: the previous step's."""
    shapes: dict[int, tuple[int, ...]] = {}
    before = graph.inputs[0].shape if graph.inputs else ()
    for step in graph.steps:
        shapes[step.result.index] = before
        before = step.result.shape
    return shapes
