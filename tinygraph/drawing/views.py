"""`draw`: a Graph becomes a picture.

Values flow to the right along black arrows, gradients to the left along red, dashed ones, on the
same road: a gradient runs back where its value came. So the layout is that of the forward pass.
Every view is written with the same few pens: `Canvas` knows what a box, a road, a frame and the
legend say, and the views only which of them there are.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tinygraph.drawing.boxes import MOST_BOXES, gather
from tinygraph.drawing.canvas import BANDS, Canvas
from tinygraph.drawing.fitting import PAGE, fitting, the_right_way_up
from tinygraph.drawing.rendering import Picture
from tinygraph.drawing.sheet import Sheet
from tinygraph.graph.nodes import Gradient, Node
from tinygraph.graph.snapshot import Graph

__all__ = ["draw"]

VIEWS = ("circuit", "forward", "backward", "joint")
DETAILS = ("steps", "primitives")
FARTHEST_JOINT = 2500  # ranks that the arrows of all primitives pass
DIRECTIONS = ("LR", "TB", "RL", "BT")


def draw(
    out: Any,
    *,
    view: str = "circuit",
    detail: str = "steps",
    step: int | None = None,
    values: bool = False,
    fold: str | Sequence[str] = (),
    direction: str | None = None,
    width: float | None = None,
    legend: bool = True,
    literal: bool = False,
    wrt: Sequence[Any] | None = None,
) -> Picture:
    """Draw what `out` was computed from, and how gradients flow back through it.

    Parameters
    ----------
    out : Tensor, sequence of Tensors, or Graph
        What to draw. Tensors without a name are called what the caller's variables call them.
    view : {"circuit", "forward", "backward", "joint"}, optional
        ``forward``: values alone. ``circuit``: values, and gradients by name beside them.
        ``backward``: the gradient graph, what the backward pass computes from what. ``joint``:
        every primitive of both passes, forward above and backward below, with the values that a
        rule reads beside it. What has more than 500 boxes is folded, or for these two drawn as the
        circuit, and the picture says so. A formula that is too long for its place stands below the
        picture, numbered.
    detail : {"steps", "primitives"}, optional
        One box per assignment, labelled with its formula; or every primitive, those of a step
        inside a frame with its number and name. ``joint`` always shows primitives.
    step : int, optional
        Show one step alone, with what flows in and out; 0 shows what arrives at the inputs.
    values : bool, optional
        Write value and gradient into each box: small arrays whole, larger ones as min, mean, max
        and norm. A gradient that does not exist yet is ``–``.
    fold : "calls" or sequence of str, optional
        Functions whose calls are shown as one box each, with a formula of its own, in the circuit
        and the forward view: ``fold=["sigmoid"]``; ``"calls"`` for all that the traced one calls.
    direction : {"LR", "TB", "RL", "BT", "auto"}, optional
        Where values flow to. ``auto``: to the right where that is legible at `width`, else down.
    width : float, optional
        Of what the picture is for, in points: a column, a slide; 628.5 is a code host's page. What
        is wider is made smaller, and before that folded (a side chain lies over the main line, and
        joins it on a road that runs back) or, unless `direction` says otherwise, turned, so that
        its lettering stays at 7.5 points or above. By default the picture is as wide as it gets.
    legend : bool, optional
        Whether marks are explained below the picture.
    literal : bool, optional
        Whether formulas say what runs, operation by operation. By default they are rewritten as an
        author would print them; `derive` lists the rules.
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
        If `out` is neither Tensor nor Graph, or `fold` holds other things than names.
    ValueError
        If an option is none of its choices, there is no such step, no function of a name in `fold`
        was called, or values are asked of a Graph that was captured without them.

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
    _check("direction", direction or "LR", (*DIRECTIONS, "auto"))
    if width is not None and not width > 0:
        raise ValueError(f"draw: width is {width!r}, but must be a positive number of points")
    if isinstance(out, Graph):
        graph = out
        if wrt is not None:
            raise ValueError("draw: a Graph has its backward pass; give wrt to Graph.capture")
        if values and not graph.values:
            raise ValueError("draw: this Graph holds no values; use Graph.capture(…, values=True)")
    else:
        backward = view != "forward" or step is not None
        variables = sys._getframe(1).f_locals  # of the caller, whose names the reader knows
        if backward:
            graph = Graph.joint(out, wrt, values=values, variables=variables)
        else:
            graph = Graph.capture(out, values=values, variables=variables)
    _check_step(graph, view, detail, step)
    _check_fold(fold, view, step)

    def sheet(direction: str) -> Sheet:
        canvas = Canvas(graph, direction, values=values, literal=literal)
        _draw_view(canvas, view, detail, step, fold)
        return canvas.sheet if legend else replace(canvas.sheet, legend=[])

    if width is None and direction != "auto":
        return Picture.of(the_right_way_up(sheet(direction or "LR")))
    tried = ("LR", "TB") if direction in (None, "auto") else (direction,)
    return fitting(sheet, tried, width or PAGE)


def _check(option: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(f"draw: {option} is {value!r}, but must be one of {', '.join(choices)}")


def _check_step(graph: Graph, view: str, detail: str, step: int | None) -> None:
    if not graph.all_gradients and (step is not None or view in ("backward", "joint")):
        asked = f"view {view!r}" if step is None else f"step {step}"
        raise ValueError(f"draw: {asked} needs a backward pass; use Graph.capture(…, wrt=inputs)")
    if step is not None and type(step) is not int:
        raise ValueError(f"draw: step is {step!r}, but must be the number of a step")
    if step is not None and (view, detail) != ("circuit", "steps"):
        raise ValueError(
            f"draw: step={step} is a picture of its own, values with gradients beside them; "
            "leave view and detail out"
        )


def _check_fold(fold: str | Sequence[str], view: str, step: int | None) -> None:
    if isinstance(fold, str) and fold != "calls":
        raise ValueError(f"draw: fold is {fold!r}, but must be a list, fold=[{fold!r}], or 'calls'")
    if not isinstance(fold, str | Sequence) or not all(isinstance(name, str) for name in fold):
        raise TypeError(f"draw: fold is {fold!r}, but must be a list of names, or 'calls'")
    if fold and (view not in ("circuit", "forward") or step is not None):
        shown = f"view {view!r}" if step is None else f"step {step}"
        raise ValueError(f"draw: {shown} shows no calls; fold is for the circuit and forward views")


# --------------------------------------------------------------------------- views


def _draw_view(
    canvas: Canvas, view: str, detail: str, step: int | None, fold: str | Sequence[str]
) -> None:
    graph = canvas.graph
    if step == 0:
        _draw_arrivals(canvas)
    elif step is not None:
        _draw_step(canvas, step)
    elif view in ("circuit", "forward"):
        gradients = view == "circuit" and bool(graph.all_gradients)
        _draw_circuit(canvas, detail, gradients=gradients, fold=fold)
    elif _is_too_large(graph, view):
        canvas.note = f"too large for the {view} view, so this is the circuit"
        _draw_circuit(canvas, detail, gradients=True)
    elif view == "joint":
        _draw_joint(canvas)
    else:
        _draw_backward(canvas, detail)


def _is_too_large(graph: Graph, view: str) -> bool:
    if sum(node.role != "constant" for node in graph.nodes) > MOST_BOXES:
        return True
    return view == "joint" and sum(gather(graph, "primitives").spans()) > FARTHEST_JOINT


def _draw_circuit(
    canvas: Canvas, detail: str, *, gradients: bool, fold: str | Sequence[str] = ()
) -> None:
    """Draw the forward pass, and beside every use of a value the gradient that comes back."""
    graph, boxes = canvas.graph, gather(canvas.graph, detail, fold=fold)
    read = {arrow.value.index for arrow in boxes.arrows} | {out.index for out in graph.outputs}
    again = dict.fromkeys(canvas.called(a.value.name) for a in boxes.arrows if a.far)
    shown_again = f"{', '.join(again)}: shown again beside what reads it" if again else ""
    canvas.note = "; ".join(filter(None, (canvas.note, boxes.folded, shown_again)))
    keys: dict[int, str] = {}
    for box in boxes.boxes:
        key = canvas.key(box.result, "group" if box.kind == "group" else "n")
        keys.update(dict.fromkeys((node.index for node in box.nodes), key))
        if box.kind == "group":
            canvas.put_group(key, box.title, box.result, box.scope)
        elif box.kind == "call":
            results = [node for node in box.nodes if node.index in read]
            canvas.put_call(key, box.title, box.nodes, results, gradients, box.scope)
        elif box.kind == "input":
            canvas.put_value(box.result, gradients)
        elif box.kind == "step":
            canvas.put_step(box.result, gradients, box.scope)
        else:
            canvas.put_primitive(box.result)
    labelled: set[int] = set()
    for arrow in sorted(boxes.arrows, key=lambda a: not a.main):
        value = arrow.value
        named = detail == "steps" and value.index not in labelled
        labelled.add(value.index)
        strokes = [
            canvas.gradient(g, rule=g.kind == "whole" and value.role == "input" and named)
            for g in arrow.gradients
            if gradients
        ]
        strokes = canvas.ranged(strokes)
        head = keys[arrow.head.result.index]
        tail = keys[value.index] if not arrow.far else canvas.put_again(value, arrow.head.result)
        step = arrow.head.step
        canvas.road(tail, head, value, strokes, step=step, named=named, main=arrow.main)
    differentiated = {g.consumer.index for g in graph.all_gradients if g.consumer is not None}
    for out in graph.outputs:
        back = gradients and (out.index in differentiated or out.role == "input")
        canvas.put_output(out, keys[out.index], [canvas.arriving(out)] if back else ())
    canvas.legend(
        "input", "step" if detail == "steps" else "primitive", "value", *["gradient"] * gradients
    )


def _draw_joint(canvas: Canvas) -> None:
    """Draw every primitive of both passes: forward above, backward below, a column to a step."""
    graph, sheet = canvas.graph, canvas.sheet
    canvas.has_bands = True
    nodes = [node for node in graph.nodes if node.role != "constant"]
    for node in nodes:
        canvas.put_primitive(node)
    for node in nodes:
        for x in dict.fromkeys(node.inputs):
            if _is_forward(x) and not _is_forward(node):
                canvas.put_read(x, node)
            elif x.role != "constant":
                canvas.dependency(x, node)
    for out in graph.outputs:
        canvas.put_output(out, canvas.key(out))
    sheet.above = BANDS[0]
    sheet.order = _columns(canvas, nodes)
    canvas.legend("input", "primitive", "value", "gradient", "sum", "read")


def _is_forward(node: Node) -> bool:
    return node.role in ("forward", "input")


def _columns(canvas: Canvas, nodes: Sequence[Node]) -> list[tuple[str, str, int]]:
    """Say what stands behind what, so that both parts of a step lie in one column.

    What the backward pass computes in a step begins where its forward part does, and ends before
    the steps that read its result.
    """
    ahead: dict[int, list[Node]] = {}  # by step, what it computes on the way forward,
    back: dict[int, list[Node]] = {}  # and on the way back
    readers: dict[int, dict[int, Node]] = {}  # of a step's result, the first of each step
    for node in nodes:
        (ahead if _is_forward(node) else back).setdefault(node.step, []).append(node)
        for x in node.inputs:
            if _is_forward(node) and x.step != node.step:
                readers.setdefault(x.step, {}).setdefault(node.step, node)
    order = []
    for number in sorted(ahead.keys() & back.keys() - {0}):
        start, inside = canvas.key(ahead[number][0]), back[number]
        behind = {x for node in inside for x in node.inputs}
        for node in inside:
            reads = [x for x in dict.fromkeys(node.inputs) if _is_forward(x)]
            begin = [canvas.read_key(x, node) for x in reads]
            if not begin and node not in behind:
                begin = [canvas.key(node)]
            order += [(start, key, 0) for key in begin]
            if not any(x in inside for x in node.inputs):
                ends = readers.get(number, {}).values()
                order += [(canvas.key(node), canvas.key(reader), 1) for reader in ends]
    return order


def _draw_backward(canvas: Canvas, detail: str) -> None:
    """Draw the gradient graph: named gradients with their rules, or every primitive of it."""
    primitives = detail == "primitives"
    backward = [
        node
        for node in canvas.graph.nodes
        if node.role in ("backward", "accumulate", "upstream") and (primitives or node.name)
    ]
    visible = {node.index for node in backward}
    for node in backward:
        if primitives:
            canvas.put_primitive(node)
        else:
            canvas.put_gradient(node)
    for node in backward:
        for x in _operands(node, visible):
            if x.index in visible:
                canvas.dependency(x, node)
            elif primitives:
                canvas.put_read(x, node)
    canvas.legend("gradient", "sum", *["read"] * primitives)


def _operands(node: Node, visible: set[int]) -> list[Node]:
    """Give what a node is computed from, looking through gradients that are not shown."""
    found, stack = [], list(reversed(node.inputs))
    while stack:
        x = stack.pop()
        if x.index in visible or x.role in ("forward", "input"):
            found.append(x)
        elif x.role != "constant":
            stack += reversed(x.inputs)
    return found


def _draw_step(canvas: Canvas, number: int) -> None:
    """Draw one step as the staged derivation does: what arrives, the local rule, what leaves."""
    graph = canvas.graph
    step = next((s for s in graph.steps if s.number == number), None)
    if step is None:
        raise ValueError(f"draw: there is no step {number}; the steps are 0 to {len(graph.steps)}")
    result, inside = step.result, {node.index for node in step.nodes}
    center = canvas.key(result)
    canvas.put_step(result, gradients=True)
    uses = [
        x
        for node in step.nodes
        for x in node.inputs
        if x.index not in inside and x.role != "constant"
    ]
    arriving = [
        canvas.gradient(g, rule=True, shape=True)
        for g in graph.gradients
        if g.of is result and g.kind in ("upstream", "whole", "sum")
    ]
    for x in {x.index: x for x in uses}.values():
        canvas.put_value(x)
        leaving = [
            canvas.gradient(g, rule=True, shape=True)
            for g in graph.gradients
            if g.of is x and g.consumer is not None and g.consumer.index in inside
        ]
        canvas.road(canvas.key(x), center, x, leaving, step=number)
    canvas.put_output(result, center, arriving)
    canvas.legend("input", "step", "value", "gradient")


def _draw_arrivals(canvas: Canvas) -> None:
    """Draw step 0: the gradients that arrive at the inputs, and what they add up to."""
    roads: dict[tuple[int, int], list[Gradient]] = {}
    for g in canvas.graph.gradients:
        if g.of.role == "input" and g.consumer is not None:
            roads.setdefault((g.of.index, canvas.results[g.step].index), []).append(g)
    for arriving in roads.values():
        x, result = arriving[0].of, canvas.results[arriving[0].step]
        tail, head = canvas.key(x), canvas.key(result)
        if head not in canvas.sheet.blocks:
            canvas.put_step(result)
        if tail not in canvas.sheet.blocks:
            canvas.put_value(x, gradients=True)
        strokes = [canvas.gradient(g, rule=True, shape=True) for g in arriving]
        canvas.road(tail, head, x, strokes, step=result.step)
    canvas.legend("input", "step", "value", "gradient")
