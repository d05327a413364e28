"""Interchange: a graph as versioned JSON, from which it is rebuilt to the last bit.

The text is one object. ``nodes`` holds a row for each node, which is named by its position;
``inputs``, ``outputs``, ``gradients`` and ``steps`` refer to these positions, and ``values`` gives
position, value and gradient of what was captured. JSON has neither fractions nor infinities nor
arrays: they are objects with one key that says what they are.

=====================================  ==================================================
``{"fraction": "1/7"}``                a `fractions.Fraction`
``{"int": "9007199254740993"}``        an int that a double does not hold
``{"float": "-inf"}``                  a float that is not finite
``{"complex": [1.0, -0.0]}``           real and imaginary part
``{"array": {…}}``                     an array: ``dtype``, ``shape``, and ``base64`` (its
                                       bytes) or ``entries``, in row-major order of its axes,
                                       or of ``order``, the axes from the slowest to the fastest
``{"scalar": {…}}``                    a NumPy scalar, as an array without axes
``{"tuple": […]}``                     a tuple; a list is a list
``{"slice": [null, 3, null]}``         a slice
``{"ellipsis": null}``                 an ``…`` in an indexing key
``{"dtype": "<f4"}``                   a dtype
``{"formula": ["length", 0, 1]}``      the length of axis 1 of node 0; ``["/", 1, {…}]`` is
                                       computed from such
``{"params": {…}}``                    the parameters whose origin is not given
=====================================  ==================================================
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from tinygraph.engine.arrays import locked
from tinygraph.engine.lengths import OPERATIONS, READ, Formula
from tinygraph.engine.primitive import TABLE
from tinygraph.graph.flattening import flat, parts

__all__ = ["VERSION", "decoded", "encoded", "parts_of", "text_of"]

VERSION = 1
FORMAT = "graph"
EXACT = 2**53
"""Ints below it are doubles too, which is what other languages read from JSON."""
MOST_BITS = 10_000
"""Of ints in decimal, which Python reads and writes in quadratic time."""


def text_of(graph: Any) -> str:
    """Write a graph as JSON, one row a line.

    Raises
    ------
    TypeError
        If a parameter of a primitive has no written form.
    """
    form = flat(graph)
    ops = {row["op"].name: row["op"].home for row in form["nodes"] if row["op"] is not None}
    homes = {name: ops[name] for name in sorted(ops) if not ops[name].startswith("tinygraph.")}
    head = {"tinygraph": FORMAT, "version": VERSION, "homes": homes}
    head |= {"inputs": form["inputs"], "outputs": form["outputs"]}
    lines = [f'"{name}": {_text(value)}' for name, value in head.items()]
    for name, rows in (
        ("nodes", [_node_row(k, row) for k, row in enumerate(form["nodes"])]),
        ("gradients", form["all_gradients"]),
        ("steps", form["steps"]),
        ("premises", [[*map(encoded, premise)] for premise in form["premises"]]),
        ("values", [[k, *map(encoded, pair)] for k, pair in form["values"].items()]),
    ):
        block = ",\n  ".join(map(_text, rows))
        lines.append(f'"{name}": [\n  {block}\n ]' if rows else f'"{name}": []')
    return "{\n " + ",\n ".join(lines) + "\n}\n"


def _text(value: Any) -> str:
    return json.dumps(value, allow_nan=False)


def _node_row(index: int, row: Mapping[str, Any]) -> dict[str, Any]:
    op, dtype = row["op"], row["dtype"]
    written = {
        **row,
        "index": index,
        "op": None if op is None else op.name,
        "dtype": None if dtype is None else dtype.str,
    }
    try:
        written["params"] = {name: encoded(x) for name, x in row["params"].items()}
        written["value"] = encoded(row["value"])
        written["origin"] = encoded(row["origin"])
        written["written"] = encoded(row["written"])
    except TypeError as error:
        what = op or row["name"] or row["role"]
        raise TypeError(f"to_json: node {index} ({what}): {error}") from None
    return written


def parts_of(text: str | bytes) -> dict[str, Any]:
    """Read the attributes of a graph.

    Raises
    ------
    ValueError
        If the text is no graph, or one of a newer version, or has a primitive that is not known.
    """
    try:
        document = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"from_json: the text is no JSON: {error}") from None
    if not isinstance(document, dict) or document.get("tinygraph") != FORMAT:
        raise ValueError("from_json: the text is no graph that Graph.to_json has written")
    version = document.get("version")
    if type(version) is not int or not 1 <= version <= VERSION:
        raise ValueError(
            f"from_json: the graph is written in version {version!r} of the format; this "
            f"tinygraph reads up to version {VERSION}"
        )
    try:
        unknown = _unknown(document)
        if not unknown:
            return parts(_form(document))
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        kind = type(error).__name__
        raise ValueError(f"from_json: the graph is damaged: {kind}: {error}") from None
    raise ValueError(
        f"from_json: the graph uses {', '.join(unknown)}, which the table of primitives does not "
        "have; define it first, by importing the module that does"
    )


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number of JSON")


def _unknown(document: Mapping[str, Any]) -> list[str]:
    """Name the primitives that are not in the table, and the modules that defined them."""
    names = {row["op"] for row in document["nodes"]} - {None} - TABLE.keys()
    homes = document["homes"]
    return [f"{n!r} (defined in {homes[n]})" if n in homes else repr(n) for n in sorted(names)]


def _form(document: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "nodes": [_node_form(row) for row in document["nodes"]],
        "inputs": document["inputs"],
        "outputs": document["outputs"],
        "all_gradients": document["gradients"],
        "steps": document["steps"],
        "premises": [_read_premise(*map(decoded, pair)) for pair in document["premises"]],
        "values": {k: (decoded(value), decoded(g)) for k, value, g in document["values"]},
    }


def _node_form(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **row,
        "op": None if row["op"] is None else TABLE[row["op"]],
        "params": {name: decoded(x) for name, x in row["params"].items()},
        "shape": tuple(row["shape"]),
        "dtype": None if row["dtype"] is None else np.dtype(row["dtype"]),
        "value": decoded(row["value"]),
        "origin": decoded(row["origin"]),
        "written": decoded(row["written"]),
        "scope": tuple(row["scope"]),
    }


# --------------------------------------------------------------------------- values


def encoded(x: Any) -> Any:
    """Give what JSON holds for a constant, a parameter or a value.

    Raises
    ------
    TypeError
        If there is nothing.

    Examples
    --------
    >>> encoded((2, slice(None, 3), Fraction(1, 7), -np.inf))
    {'tuple': [2, {'slice': [None, 3, None]}, {'fraction': '1/7'}, {'float': '-inf'}]}
    >>> decoded(encoded((2, slice(None, 3), Fraction(1, 7), -np.inf)))
    (2, slice(None, 3, None), Fraction(1, 7), -inf)
    """
    if x is None or type(x) in (bool, str):
        return x
    if (type(x) is int and abs(x) < EXACT) or (type(x) is float and math.isfinite(x)):
        return x
    if type(x) is list:
        return [encoded(one) for one in x]
    for name, (kind, write, _) in FORMS.items():
        if isinstance(x, kind):
            return {name: write(x)}
    raise TypeError(f"a {type(x).__name__} cannot be written as JSON")


def decoded(form: Any) -> Any:
    """Give back what `encoded` was given; arrays are locked."""
    if type(form) is list:
        return [decoded(x) for x in form]
    if type(form) is not dict:
        return form
    ((name, content),) = form.items()
    return FORMS[name][2](content)


def _int_text(n: int) -> str:
    return str(n) if n.bit_length() < MOST_BITS else hex(n)


def _read_int(text: str) -> int:
    return int(text, 0)


def _fraction_text(q: Fraction) -> str:
    return f"{_int_text(q.numerator)}/{_int_text(q.denominator)}"


def _read_fraction(text: str) -> Fraction:
    numerator, denominator = text.split("/")
    return Fraction(_read_int(numerator), _read_int(denominator))


def _float_text(x: Any) -> str:
    """Write a float as text that gives back every bit, also the sign of a NaN."""
    return f"{'-' if np.signbit(x) else ''}{abs(x)!s}"


def _read_formula(op: str, *args: Any) -> Formula:
    """Give a formula that can be computed, of what there is."""
    if op in READ:
        if not all(type(k) is int and k >= 0 for k in args) or len(args) != 1 + (op == "length"):
            raise ValueError(f"a formula reads the {op} of {args}")
    elif op not in OPERATIONS and op != "name":
        raise ValueError(f"a formula has the operation {op!r}")
    return Formula(op, args)


def _read_premise(formula: Any, answer: Any) -> list[Any]:
    if not isinstance(formula, Formula):
        raise ValueError(f"a premise is about {formula!r}, and no formula")
    return [formula, answer]


def _array_form(a: Any) -> dict[str, Any]:
    """Write an array; its memory order counts, because sums follow it."""
    order = sorted(range(a.ndim), key=lambda k: -a.strides[k])
    form = {"dtype": a.dtype.str, "shape": list(a.shape)}
    if order != sorted(order) and not a.flags.c_contiguous:
        form["order"] = order
        a = a.transpose(order)
    if a.dtype.hasobject:
        form["entries"] = [encoded(x) for x in a.ravel()]
    elif a.dtype.char == "g":  # whose bytes are not the same on every machine
        form["entries"] = [_float_text(x) for x in a.ravel()]
    elif a.dtype.char == "G":
        form["entries"] = [[_float_text(x.real), _float_text(x.imag)] for x in a.ravel()]
    else:
        form["base64"] = base64.b64encode(a.tobytes()).decode("ascii")
    return form


def _read_array(form: Mapping[str, Any]) -> Any:
    dtype, shape = np.dtype(form["dtype"]), tuple(form["shape"])
    order = form.get("order", range(len(shape)))
    if "base64" in form:
        content = base64.b64decode(form["base64"], validate=True)
        flat_array = np.frombuffer(content, dtype).copy()
    else:
        flat_array = np.empty(len(form["entries"]), dtype)
        read = READERS[dtype.char]
        for k, entry in enumerate(form["entries"]):
            flat_array[k] = read(entry)
    base = flat_array.reshape([shape[k] for k in order])
    return locked(base.transpose(np.argsort(order).tolist()))


def _read_wide_complex(pair: list[str]) -> Any:
    z = np.empty((), np.clongdouble)
    z.real, z.imag = map(np.longdouble, pair)
    return z[()]


READERS: Mapping[str, Callable[[Any], Any]] = {
    "O": decoded,
    "g": np.longdouble,
    "G": _read_wide_complex,
}

FORMS: Mapping[str, tuple[Any, Callable[[Any], Any], Callable[[Any], Any]]] = {
    "scalar": (np.generic, lambda x: _array_form(np.asarray(x)), lambda f: _read_array(f)[()]),
    "array": (np.ndarray, _array_form, _read_array),
    "dtype": (np.dtype, lambda dtype: dtype.str, np.dtype),
    "int": (int, _int_text, _read_int),
    "float": (float, _float_text, float),
    "complex": (
        complex,
        lambda z: [encoded(z.real), encoded(z.imag)],
        lambda pair: complex(*map(decoded, pair)),
    ),
    "fraction": (Fraction, _fraction_text, _read_fraction),
    "formula": (
        Formula,
        lambda f: [f.op, *map(encoded, f.args)],
        lambda content: _read_formula(*map(decoded, content)),
    ),
    "params": (
        Mapping,
        lambda params: {name: encoded(x) for name, x in params.items()},
        lambda params: {name: decoded(x) for name, x in params.items()},
    ),
    "tuple": (tuple, lambda x: list(map(encoded, x)), lambda x: tuple(map(decoded, x))),
    "slice": (
        slice,
        lambda s: [encoded(s.start), encoded(s.stop), encoded(s.step)],
        lambda ends: slice(*map(decoded, ends)),
    ),
    "ellipsis": (type(Ellipsis), lambda _: None, lambda _: Ellipsis),
}
"""By the name of a form: what is written so, how it is written, and how it is read."""
