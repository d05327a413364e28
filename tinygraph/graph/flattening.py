"""The flat form of a graph: rows that name nodes by their position, however deep the graph is.

It is what a pickle holds, and what `interchange` writes as text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from types import MappingProxyType
from typing import Any

from tinygraph.engine.arrays import relocked
from tinygraph.graph.nodes import Gradient, Node, Premise, Step

__all__ = ["flat", "parts"]

NODE = frozenset({"of", "consumer", "node", "result"})
"""Fields that hold a node, or none; all others whose type says so hold several."""
NODES = frozenset({"inputs", "outputs", "nodes"})


def flat(graph: Any) -> dict[str, Any]:
    """Give the attributes of a graph as rows.

    Returns
    -------
    dict
        ``nodes``, ``all_gradients`` and ``steps``: lists of dicts, by the names of the fields;
        ``inputs`` and ``outputs``: lists of positions; ``values``: a dict.
    """
    return {
        "nodes": [_row(node) for node in graph.nodes],
        "inputs": [node.index for node in graph.inputs],
        "outputs": [node.index for node in graph.outputs],
        "all_gradients": [_row(g) for g in graph.all_gradients],
        "steps": [_row(step) for step in graph.steps],
        "premises": [list(premise) for premise in graph.premises],
        "values": dict(graph.values),
    }


def _row(thing: Node | Gradient | Step) -> dict[str, Any]:
    row = {f.name: getattr(thing, f.name) for f in fields(thing)}
    for name in row.keys() & NODE:
        row[name] = None if row[name] is None else row[name].index
    for name in row.keys() & NODES:
        row[name] = [node.index for node in row[name]]
    for name, value in row.items():
        if isinstance(value, MappingProxyType):  # which cannot be pickled
            row[name] = dict(value)
    return row


def parts(form: Mapping[str, Any]) -> dict[str, Any]:
    """Give the attributes of the graph that has this flat form.

    Raises
    ------
    ValueError
        If a position is none of an earlier node.
    """
    nodes: list[Node] = []
    for row in form["nodes"]:
        params = MappingProxyType({key: relocked(x) for key, x in row["params"].items()})
        origin = row["origin"]
        changed = {
            "index": len(nodes),
            "params": params,
            "value": relocked(row["value"]),
            "origin": MappingProxyType(origin) if isinstance(origin, dict) else origin,
        }
        nodes.append(Node(**_linked(row, nodes) | changed))
    return {
        "nodes": tuple(nodes),
        "inputs": _several(nodes, form["inputs"]),
        "outputs": _several(nodes, form["outputs"]),
        "all_gradients": tuple(Gradient(**_linked(row, nodes)) for row in form["all_gradients"]),
        "steps": tuple(Step(**_linked(row, nodes)) for row in form["steps"]),
        "premises": tuple([Premise(f, relocked(answer)) for f, answer in form["premises"]]),
        "values": MappingProxyType({k: relocked(pair) for k, pair in form["values"].items()}),
    }


def _linked(row: Mapping[str, Any], nodes: Sequence[Node]) -> dict[str, Any]:
    linked = dict(row)
    for name in row.keys() & NODE:
        linked[name] = None if row[name] is None else _several(nodes, [row[name]])[0]
    for name in row.keys() & NODES:
        linked[name] = _several(nodes, row[name])
    return linked


def _several(nodes: Sequence[Node], positions: Sequence[int]) -> tuple[Node, ...]:
    for k in positions:
        if type(k) is not int or not 0 <= k < len(nodes):
            raise ValueError(f"there is no node {k!r} before what refers to it")
    return tuple(nodes[k] for k in positions)
