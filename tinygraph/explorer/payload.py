"""The payload: what is embedded in a page, from which it computes every number that it shows.

One object, ready for JSON. Nodes are named by their position in ``graph.nodes``, gradients by
theirs in ``graph.gradients``.

==============  ===========================================================================
``graph``       the graph as `Graph.to_json` writes it, without values
``values``      arrays by node: of inputs, of upstream gradients, and of ``fixed`` nodes.
                ``dtype``, ``shape`` and ``base64``, in row-major order; what has no
                arithmetic on the page (complex numbers, fractions) also has ``text``, an
                entry each, complex ones in four digits, and its doubles are approximations,
                or moduli
``drawn``       the upstream gradients that nobody gave, which are random: nodes
``fixed``       computed by NumPy and not on the page: why, by node
``locked``      inputs that cannot be edited, since something fixed depends on them, or
                because of their dtype: why, by node
``asked``       what the recorded code was told of values: ``formula``, a number or
                ``{"node": k}`` or a list of a primitive and formulas; the ``answer``; and
                both as ``text``, "k > 0 was True". The graph holds where answers stay
``shown``       what the lines write, operation by operation, for those that show it with
                numbers: rows of a primitive, its operands, shape, parameters, and the node
                of the graph whose value it has, or null where there is none. The k-th is
                called as if it were the k-th node after those of the graph; a number has
                no primitive, and stands in the place of operands
``forward``     stops in order, one for each step
``backward``    stops in order, from the last step to step 0, where gradients add up
``symbols``     signs that equations use: ``mathml`` of sign and meaning, both as ``text``
``notes``       remarks on what is left out, as HTML
==============  ===========================================================================

A stop has its ``step``, the ``scope`` (the calls, outermost first), and ``lines``. A line is one
equation:

==============  ===========================================================================
``name``        what it gives, as text: ``xhat``, ``dx1``
``node``        whose value that is
``gradients``   which gradients that are, of a backward pass
``terms``       the gradients that a sum adds up, of those that are shown
``tree``        the row in ``shown`` that the equation writes, or null for a name or a sum
``computes``    the nodes that are computed for it, itself last
``reads``       the nodes that it refers to, in the order in which it does
``mathml``      the equation, without ``<math>`` around it
``text``        the same as text
``spoken``      the same to be read aloud
``given``       whether it is given, and the equation no more than the name
==============  ===========================================================================
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from html import unescape
from importlib.resources import files
from math import prod
from typing import Any

import numpy as np

from tinygraph.engine.autodiff import reachable
from tinygraph.engine.lengths import Formula
from tinygraph.graph.evaluation import evaluate, number, said
from tinygraph.graph.interchange import encoded
from tinygraph.graph.nodes import NOTHING, Node
from tinygraph.graph.snapshot import Graph
from tinygraph.writing.formulas import Tree
from tinygraph.writing.languages import MATHML, SPOKEN, TEXT
from tinygraph.writing.lines import Line, Pass, passes
from tinygraph.writing.mathml import printed

__all__ = ["ENGINE", "MOST", "TABLES", "needed", "payload", "primitives", "written"]

MOST = 2_000_000
"""Numbers that a page holds, in all nodes together."""

COMPUTED = frozenset(["f8", "f4", "f2", "i8", "u8", "i4", "u4", "i2", "u2", "i1", "u1", "b1"])
"""Dtypes that the page computes with."""

SHOWN = {"c": "complex numbers are", "O": "fractions are", "f": "extended precision is"}
GIVEN = "<mtext>given</mtext>"
ENGINE = ("arrays", "values", "keys", "library", "compute", "plugged")
"""Those that compute, in the order in which they are read."""
TABLES = ("values", "keys", "library")
"""Those that have rows for primitives."""

ASKED = {"+": "add", "-": "sub", "*": "mul", "/": "div", "//": "floordiv", "%": "mod"}
ASKED |= {"**": "power", "==": "equal", "!=": "not_equal", "<": "less", "<=": "less_equal"}
ASKED |= {">": "greater", ">=": "greater_equal"}
"""Primitives that compute what the code has asked; the others have the same name."""


def payload(graph: Graph) -> dict[str, Any]:
    """Give what a page of a graph embeds.

    Parameters
    ----------
    graph : Graph
        With the values of its inputs: ``Graph.joint(out, values=True)``. An upstream gradient that
        it has no value for is drawn at random, always the same, and listed as ``drawn``.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If the graph holds no values, or more numbers than a page can hold.
    TypeError
        If a primitive of one's own has a parameter that has no written form.

    Examples
    --------
    >>> from tinygraph import Tensor
    >>> out = Tensor([1.0, 2.0], name="x") * 3
    >>> made = payload(Graph.joint(out, values=True))
    >>> made["values"][0]
    {'dtype': '<f8', 'shape': [2], 'base64': 'AAAAAAAA8D8AAAAAAAAAQA=='}
    >>> [line["text"] for stop in made["backward"] for line in stop["lines"]]
    ['dout = given', 'dx = 3 · dout']
    """
    _check_size(graph)
    values, drawn = _inputs(graph)
    fixed = _fixed(graph)
    if fixed:
        known = dict(values)
        evaluate(graph.nodes, known)
        values |= {k: known[k] for k in fixed}
    languages = MATHML, TEXT, SPOKEN
    both = [passes(graph, one, apart=True, trees=one is MATHML) for one in languages]
    shown = _Shown(graph)
    stops = [_stops(graph, shown, *same) for same in zip(*both, strict=True)]
    return {
        "graph": json.loads(replace(graph, values=NOTHING).to_json()),
        "values": {k: _array(value) for k, value in values.items()},
        "drawn": drawn,
        "fixed": fixed,
        "locked": _locked(graph, fixed),
        "asked": _asked(graph),
        "shown": shown.rows,
        "forward": stops[0],
        "backward": stops[1] if len(stops) > 1 else [],
        "symbols": _symbols(both[0][0], both[2][0]),
        "notes": [note for one in both[0] for note in one.notes],
    }


def written(content: Mapping[str, Any]) -> str:
    r"""Write a payload as JSON that can stand in a script element of a page.

    Examples
    --------
    >>> written({"name": "</script>"})
    '{"name":"<\\/script>"}'
    """
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("</", "<\\/").replace("<!", "\\u003c!")


@cache
def primitives(script: str) -> frozenset[str]:
    """Name the primitives that have a row in a script.

    Examples
    --------
    >>> "sqrt" in primitives("values"), "index" in primitives("keys")
    (True, True)
    """
    text = files(__package__).joinpath(f"{script}.js").read_text(encoding="utf-8")
    tables = re.findall(r"^Object\.assign\((?:ENTRYWISE|WHOLE), \{$(.*?)^\}\);$", text, re.S | re.M)
    return frozenset(re.findall(r"^  (\w+):", "".join(tables), re.M))


def needed(content: Mapping[str, Any]) -> tuple[str, ...]:
    """Name the scripts that compute a payload: not all graphs need those of all primitives.

    Examples
    --------
    >>> from tinygraph import Tensor
    >>> x = Tensor([[1.0, 2.0], [3.0, 5.0]], name="x")
    >>> [needed(payload(Graph.joint(y, values=True))) for y in (x @ x, np.linalg.inv(x)[0])]
    [('arrays', 'values', 'compute', 'plugged'), \
('arrays', 'values', 'keys', 'library', 'compute', 'plugged')]
    """
    used = {row["op"] for row in content["graph"]["nodes"]}
    used |= set(re.findall(r"\w+", json.dumps([one["formula"] for one in content["asked"]])))
    return tuple([name for name in ENGINE if name not in TABLES[1:] or primitives(name) & used])


# --------------------------------------------------------------------------- values


def _check_size(graph: Graph) -> None:
    numbers = sum(prod(node.shape) for node in graph.nodes)
    if numbers <= MOST:
        return
    largest = max(graph.inputs, key=lambda node: prod(node.shape))
    first = largest.shape[0] if largest.shape else 1
    raise ValueError(
        f"explore: the page would hold {numbers:,} numbers in {len(graph.nodes):,} nodes, and can "
        f"hold {MOST:,}; {largest.name} has shape {largest.shape}: with about "
        f"{max(first * MOST // numbers, 1):,} instead of {first:,} along axis 0 it fits"
    )


def _inputs(graph: Graph) -> tuple[dict[int, Any], list[int]]:
    """Give the values of the inputs, and which upstream gradients are drawn."""
    values, drawn = {}, []
    rng = np.random.default_rng(0)
    for node in graph.inputs:
        if node.index in graph.values:
            values[node.index] = graph.values[node.index][0]
        elif node.role == "upstream":
            drawn.append(node.index)
            values[node.index] = np.round(rng.standard_normal(node.shape), 2).astype(node.dtype)
        else:
            raise ValueError(
                f"explore: the graph holds no value of {node.name}; take it with "
                "Graph.joint(out, values=True)"
            )
    return values, drawn


def _kind(dtype: Any) -> str:
    return str(np.dtype(dtype).str[1:])


def _why_shown(node: Node) -> str:
    """Say why the values of a node are only shown, or give ""."""
    if node.dtype is None:
        what = SHOWN["c"] if isinstance(node.value, complex) else ""
    else:
        what = "" if _kind(node.dtype) in COMPUTED else SHOWN.get(node.dtype.kind, "these are")
    return what and f"{what} shown, not computed"


def _fixed(graph: Graph) -> dict[int, str]:
    known = frozenset().union(*map(primitives, TABLES))
    fixed = {}
    for node in graph.nodes:
        if node.op is None:
            continue
        why = next(filter(None, map(_why_shown, (node, *node.inputs))), "")
        if not why and node.op.name not in known:
            why = f"{node.op.name} is computed by NumPy, not on this page"
        if why:
            fixed[node.index] = why
    return fixed


def _locked(graph: Graph, fixed: Mapping[int, str]) -> dict[int, str]:
    """Say of inputs why they cannot be edited; what reaches several says the first reason."""
    locked = {node.index: why for node in graph.inputs if (why := _why_shown(node))}
    for index, why in fixed.items():
        for node in reachable([graph.nodes[index]]):
            if node.role in ("input", "upstream"):
                locked.setdefault(node.index, why)
    return locked


def _array(value: Any) -> dict[str, Any]:
    value = np.asarray(value)
    form: dict[str, Any] = {"dtype": f"<{_kind(value.dtype)}", "shape": list(value.shape)}
    if _kind(value.dtype) not in COMPUTED:
        form["text"] = [f"{x:.4g}" if value.dtype.kind == "c" else str(x) for x in value.ravel()]
        near = np.abs(value) if value.dtype.kind == "c" else value
        form |= {"dtype": value.dtype.str, "base64": _base64(near.astype("<f8"))}
        return form
    return form | {"base64": _base64(value.astype(form["dtype"]))}


def _base64(array: Any) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")


def _asked(graph: Graph) -> list[dict[str, Any]]:
    return [
        {
            "formula": _asked_form(formula, graph),
            "answer": encoded(answer),
            "text": said(formula, answer, graph.nodes),
        }
        for formula, answer in graph.premises
        if not formula.is_of_lengths
    ]


def _asked_form(x: Any, graph: Graph) -> Any:
    if not isinstance(x, Formula):
        return encoded(x)
    if x.op == "value":
        return {"node": x.args[0]}
    if x.op == "length":
        return graph.nodes[x.args[0]].shape[x.args[1]]
    args = [_asked_form(arg, graph) for arg in x.args]
    return ["not_equal", *args, 0] if x.op == "truth" else [ASKED.get(x.op, x.op), *args]


# --------------------------------------------------------------------------- stops


class _Shown:
    """Rows of what lines write."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.rows: list[list[Any]] = []

    def add(self, tree: Tree | None) -> int | None:
        """Add a tree; give what its root is called."""
        if tree is None:
            return None
        called = {node.index: self._row(node, tree) for node in tree.inner}
        for node in tree.inner:
            inputs = [self._called(x, called) for x in node.inputs]
            self.rows[called[node.index] - len(self.graph.nodes)][1] = inputs
        return called[tree.root.index]

    def _row(self, node: Node, tree: Tree) -> int:
        index = tree.originals.get(node.index, node.index)
        own = index if index < len(self.graph.nodes) else None
        params = {name: encoded(x) for name, x in node.params.items()}
        self.rows.append([str(node.op), [], list(node.shape), params, own])
        return len(self.graph.nodes) + len(self.rows) - 1

    def _called(self, x: Node, called: Mapping[int, int]) -> int:
        if x.index in called:
            return called[x.index]
        if x.index < len(self.graph.nodes):
            return x.index
        self.rows.append([None, float(number(x)), [], {}, None])
        return len(self.graph.nodes) + len(self.rows) - 1


def _stops(
    graph: Graph, trees: _Shown, shown: Pass, plain: Pass, spoken: Pass
) -> list[dict[str, Any]]:
    places = {id(g): k for k, g in enumerate(graph.all_gradients)}
    ends = {_value(line).index for line in shown.lines}
    named = {printed(str(n.name)): n.index for n in graph.nodes[::-1] if n.name}
    named |= {printed(g.name): g.node.index for g in graph.gradients}
    scopes = {step.number: step.result.scope for step in graph.steps}
    members = {step.result.index: [n.index for n in step.nodes] for step in graph.steps}
    lines: dict[int, list[dict[str, Any]]] = {}
    for line, text, speech in zip(shown.lines, plain.lines, spoken.lines, strict=True):
        value = _value(line)
        lines.setdefault(line.step, []).append({
            "name": text.name,
            "node": value.index,
            "gradients": [places[id(g)] for g in line.gradients],
            "terms": [places[id(g)] for g in line.terms],
            "tree": trees.add(line.tree),
            "computes": _computed(value, ends) if line.gradients else members[value.index],
            "reads": _read(line, named),
            "mathml": _equation(line, "<mo>=</mo>", GIVEN),
            "text": _equation(text, " = ", "given"),
            "spoken": _equation(speech, " = ", "given"),
            "given": not line.formula,
        })  # fmt: skip
    backward = shown.title == "backward"
    return [
        {"step": step, "scope": list(scopes.get(step, ())), "lines": lines[step]}
        for step in sorted(lines, reverse=backward)
    ]


def _equation(line: Line, sign: str, given: str) -> str:
    return f"{line.name}{sign}{line.formula or given}"


def _value(line: Line) -> Node:
    """Give the node that other lines refer to: of a sum with one part that is shown, the sum."""
    return line.gradients[-1].node if line.gradients else line.value


def _computed(value: Node, ends: Iterable[int]) -> list[int]:
    """Give the nodes of a backward pass that a line computes, and no other line gives."""

    def is_own(x: Node) -> bool:
        return x.role in ("backward", "accumulate") and x.index not in ends

    return [n.index for n in reachable([value], is_own) if n.op is not None]


def _read(line: Line, named: Mapping[str, int]) -> list[int]:
    found = [unescape(name) for name in re.findall(r'data-v="([^"]*)"', line.formula)]
    return list(dict.fromkeys(named[name] for name in found if name in named))


def _symbols(shown: Pass, spoken: Pass) -> list[dict[str, Any]]:
    return [
        {"mathml": list(a), "text": list(b)}
        for a, b in zip(shown.symbols, spoken.symbols, strict=True)
    ]
