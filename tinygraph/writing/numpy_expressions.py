"""Source: the nodes of a Graph as assignments of NumPy expressions, bit for bit what they compute.

A table gives each primitive its source. No expression is rearranged, and brackets stand wherever
they decide what is computed first, so that the same operations are done in the same order.

Unnamed nodes are written out inside their consumer. One becomes a temporary variable where it is
used again, or where the line would get too long. That bounds the depth of an expression, too:
Python's parser gives up at a few hundred brackets.
"""

from __future__ import annotations

import builtins
import keyword
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable, Set
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from tinygraph.graph.nodes import Node
from tinygraph.writing.literals import array_text, dtype_text, key_parts, number_text

__all__ = ["HELPERS", "IMPORTS", "SOURCES", "WIDTH", "Names", "Statement", "Writer"]

# How tightly an expression binds, loosest first.
LOOSE, SUM, MATMUL, PRODUCT, UNARY, POWER, ATOM = range(7)

WIDTH = 100
LONGEST = 80

Source = tuple[str, int, tuple[int, ...]]

SOURCES: dict[str, Source] = {
    "add": ("{0} + {1}", SUM, (SUM, MATMUL)),
    "sub": ("{0} - {1}", SUM, (SUM, MATMUL)),
    "mul": ("{0} * {1}", PRODUCT, (PRODUCT, UNARY)),
    "div": ("{0} / {1}", PRODUCT, (PRODUCT, UNARY)),
    "neg": ("-{0}", UNARY, (UNARY,)),
    "inverse": ("1 / {0}", PRODUCT, (UNARY,)),
    "square": ("np.square({0})", ATOM, (LOOSE,)),
    "sqrt": ("np.sqrt({0})", ATOM, (LOOSE,)),
    "pow": ("{0} ** {n}", POWER, (ATOM,)),
    "power": ("{0} ** {1}", POWER, (ATOM, ATOM)),
    "exp": ("np.exp({0})", ATOM, (LOOSE,)),
    "log": ("np.log({0})", ATOM, (LOOSE,)),
    "sin": ("np.sin({0})", ATOM, (LOOSE,)),
    "cos": ("np.cos({0})", ATOM, (LOOSE,)),
    "tanh": ("np.tanh({0})", ATOM, (LOOSE,)),
    "relu": ("np.maximum({0}, 0)", ATOM, (LOOSE,)),
    "abs": ("np.abs({0})", ATOM, (LOOSE,)),
    "maximum": ("np.maximum({0}, {1})", ATOM, (LOOSE, LOOSE)),
    "minimum": ("np.minimum({0}, {1})", ATOM, (LOOSE, LOOSE)),
    "where": ("np.where({0}, {1}, {2})", ATOM, (LOOSE, LOOSE, LOOSE)),
    "cast": ("{0}.astype({dtype})", ATOM, (ATOM,)),
    "greater": ("{0} > {1}", LOOSE, (SUM, SUM)),
    "greater_equal": ("{0} >= {1}", LOOSE, (SUM, SUM)),
    "less": ("{0} < {1}", LOOSE, (SUM, SUM)),
    "less_equal": ("{0} <= {1}", LOOSE, (SUM, SUM)),
    "equal": ("{0} == {1}", LOOSE, (SUM, SUM)),
    "not_equal": ("{0} != {1}", LOOSE, (SUM, SUM)),
    "sign": ("np.sign({0})", ATOM, (LOOSE,)),
    "isfinite": ("np.isfinite({0})", ATOM, (LOOSE,)),
    "isnan": ("np.isnan({0})", ATOM, (LOOSE,)),
    "sum": ("np.sum({0}{axis}{keepdims})", ATOM, (LOOSE,)),
    "spread": ("np.broadcast_to({0}, {shape})", ATOM, (LOOSE,)),
    "max": ("np.max({0}{axis}{keepdims})", ATOM, (LOOSE,)),
    "matmul": ("{0} @ {1}", MATMUL, (UNARY, UNARY)),
    "reshape": ("np.reshape({0}, {shape})", ATOM, (LOOSE,)),
    "transpose": ("np.transpose({0}, {axes})", ATOM, (LOOSE,)),
    "index": ("{0}[{key}]", ATOM, (ATOM,)),
    "scatter": ("scatter({0}, np.s_[{key}], {shape})", ATOM, (LOOSE,)),
    "concatenate": ("np.concatenate(({operands}), axis={axis})", ATOM, ()),
    "batchnorm": ("batchnorm({0}, {1}, {2}, {axis}, {eps})", ATOM, (LOOSE, LOOSE, LOOSE)),
}
"""By primitive: its source, how tightly that binds, and how tightly each operand must."""

SPECIAL: dict[str, Source] = {
    "exact sqrt": ("exact_sqrt({0})", ATOM, (LOOSE,)),
    "half sum": (
        "np.sum({0}{axis}{keepdims}, dtype=np.float32).astype(np.float16)",
        ATOM,
        (LOOSE,),
    ),
    "matrix transpose": ("{0}.T", ATOM, (ATOM,)),
    "inner spread": ("np.broadcast_to(np.expand_dims({0}, {axis}), {shape})", ATOM, (LOOSE,)),
}

HELPERS = {
    "batchnorm": '''\
def batchnorm(x, gamma, beta, axis, eps):
    """Normalize x by its mean and variance over axes, scale by gamma and shift by beta."""
    axis = (axis,) if isinstance(axis, int) else axis
    n = int(np.prod([x.shape[k] for k in axis]))
    per_n = 1 / n if x.dtype.itemsize <= 8 else x.dtype.type(1) / n
    options = {
        "axis": axis,
        "keepdims": axis != tuple(range(len(axis))),  # leading axes broadcast back by themselves
        "dtype": np.float32 if x.dtype == np.float16 else None,  # in which float16 is added
    }
    xmu = x - per_n * np.sum(x, **options).astype(x.dtype)
    ivar = 1 / np.sqrt(per_n * np.sum(xmu * xmu, **options).astype(x.dtype) + eps)
    return xmu * (gamma * ivar) + beta
''',
    "scatter": '''\
def scatter(x, key, shape):
    """Add the entries of x up in zeros of that shape, at the places that the key picks."""
    out = np.zeros(shape, dtype=x.dtype)
    np.add.at(out, key, x)  # out[key] += x would forget all but one of a repeated index
    return out
''',
    "exact_sqrt": '''\
@np.vectorize(otypes=[object])
def exact_sqrt(x):
    """Take the square root of a fraction that has a rational one."""
    x = Fraction(x)
    root = Fraction(isqrt(x.numerator), isqrt(x.denominator))
    if root * root != x:
        raise ValueError(f"{x} has no rational square root")
    return root
''',
}

IMPORTS = {
    "Fraction": "from fractions import Fraction",
    "isqrt": "from math import isqrt",
}


class Names:
    """Gives out Python identifiers, each one once.

    Examples
    --------
    >>> names = Names(["np"])
    >>> [names.give(name) for name in ("γ", "np", "lambda", "h[0]", "h_0", "2·x", "🙂")]
    ['γ', 'np_', 'lambda_', 'h_0', 'h_0_2', 'v2·x', 'v']
    """

    def __init__(self, reserved: Iterable[str]) -> None:
        self.reserved = {*reserved, *keyword.kwlist, *dir(builtins)} - {"_"}
        self.taken = set(self.reserved)
        self.counts: Counter[str] = Counter()

    def give(self, name: str) -> str:
        """Turn any name into a free identifier; one that is such stays as it is."""
        name = unicodedata.normalize("NFKC", name)  # as Python's parser does
        if not name.isidentifier():
            # what may stand inside an identifier need not be able to begin it
            kept = "".join(c if f"_{c}".isidentifier() else "_" for c in name)
            name = re.sub("_+", "_", kept).strip("_")
            name = name if name.isidentifier() else f"v{name}"
        name = f"{name}_" if name in self.reserved else name
        candidate = name
        while candidate in self.taken:
            self.counts[name] += 1
            candidate = f"{name}_{self.counts[name] + 1}"
        self.taken.add(candidate)
        return candidate

    def number(self, prefix: str) -> str:
        """Name what has no name: t1, t2 and so on."""
        candidate = ""
        while not candidate or candidate in self.taken:
            self.counts[prefix] += 1
            candidate = f"{prefix}{self.counts[prefix]}"
        self.taken.add(candidate)
        return candidate


@dataclass(frozen=True, slots=True)
class Statement:
    """One assignment, in a step; an alias gives another name to what has one."""

    step: int
    target: str
    source: str
    is_alias: bool = False


class Writer:
    """Writes assignments.

    Parameters
    ----------
    names : Names
        Where temporaries and constants get their names.
    kept : set of int
        Unnamed nodes, by index, that become temporaries wherever they are met.
    lengths : set of int
        Numbers n whose 1/n is written ``1 / n``.

    Attributes
    ----------
    statements : list of Statements
        What has been written.
    variables : dict
        Names of the nodes that have been assigned, by index.
    alias : dict
        By what other names the expressions that come next shall call some of them.
    step : int
        The step of the statements that come next.
    constants : dict
        Name and source of the constants that are too long for their place, or named.
    used : set of str
        The variables that have been read.
    """

    def __init__(self, names: Names, kept: Set[int], lengths: Set[int]) -> None:
        self.names, self.kept, self.lengths = names, kept, lengths
        self.statements: list[Statement] = []
        self.variables: dict[int, str] = {}
        self.alias: dict[int, str] = {}
        self.step = 0
        self.constants: dict[Any, tuple[str, str]] = {}
        self.used: set[str] = set()
        self._inlined: dict[int, tuple[str, int]] = {}
        self._names_of: dict[tuple[int, Any], str] = {}  # of numbers, by step and value

    def assign(self, node: Node, target: str) -> None:
        """Assign a node, after the temporaries that its expression needs."""
        for one in self._unwritten(node):
            text, level = self._compose(one, _room(target) if one is node else LONGEST)
            if one is node or one.index in self.kept:
                name = target if one is node else self.names.number("t")
                self.statements.append(Statement(self.step, name, text))
                self.variables[one.index] = name
            else:
                self._inlined[one.index] = text, level

    def give_another_name(self, node: Node, target: str) -> None:
        """Assign what is assigned already."""
        source = self.alias.get(node.index, self.variables[node.index])
        self.statements.append(Statement(self.step, target, source, is_alias=True))

    def add_up(self, names: list[str], target: str) -> None:
        """Assign a sum of variables."""
        self.used.update(names)
        text = names[0]
        for name in names[1:]:
            if len(text) + len(name) + 3 > _room(target):
                self.statements.append(Statement(self.step, target, text))
                text = target
            text = f"{text} + {name}"
        self.statements.append(Statement(self.step, target, text))

    def read(self, node: Node) -> str:
        """Give the variable that holds a node."""
        name = self.alias.get(node.index) or self.variables[node.index]
        self.used.add(name)
        return name

    # ------------------------------------------------------------------ expressions

    def _unwritten(self, node: Node) -> list[Node]:
        """Give a node and the unnamed nodes that are part of its expression, in their order."""
        found, stack = {node.index: node}, [node]
        while stack:
            for x in stack.pop().inputs:
                if not (x.op is None or x.index in self.variables or x.index in found):
                    found[x.index] = x
                    stack.append(x)
        return [found[index] for index in sorted(found)]

    def _compose(self, node: Node, longest: int) -> tuple[str, int]:
        """Write an expression; while it is too long, its longest operand becomes a temporary."""
        template, level, needs = _source(node)
        params = self._params(node)
        while True:
            texts = [
                self._operand(x, node, need)
                for x, need in zip(node.inputs, needs or (LOOSE,) * len(node.inputs), strict=True)
            ]
            text = template.format(*texts, operands=_listed(texts), **params)
            inlined = [x for x in node.inputs if x.index in self._inlined]
            if len(text) <= longest or not inlined or not needs:  # any number of parts has commas
                return text, level
            largest = max(inlined, key=lambda x: len(self._inlined[x.index][0]))
            name = self.variables[largest.index] = self.names.number("t")
            source, _ = self._inlined.pop(largest.index)
            self.statements.append(Statement(self.step, name, source))

    def _operand(self, node: Node, consumer: Node, need: int) -> str:
        if node.role == "constant":
            text, level = self._constant(node, consumer)
        elif node.index in self._inlined:
            text, level = self._inlined[node.index]
        else:
            return self.read(node)
        return text if level >= need else f"({text})"

    def _params(self, node: Node) -> dict[str, str]:
        """Write the parameters of a primitive as its source mentions them."""
        params = node.params
        if not params:
            return {}
        texts = {name: str(value) for name, value in params.items()}
        for name in params.keys() & {"n", "eps"}:
            texts[name] = number_text(params[name])
        if "dtype" in params:
            texts["dtype"] = dtype_text(params["dtype"])
        if "key" in params:
            texts["key"] = self._key(params["key"], node)
        if isinstance(params.get("axis"), tuple) and len(params["axis"]) == 1:
            texts["axis"] = str(params["axis"][0])
        if "keepdims" in params:
            everything = len(params["axis"]) == len(node.inputs[0].shape)
            texts["axis"] = "" if everything else f", axis={texts['axis']}"
            texts["keepdims"] = ", keepdims=True" if params["keepdims"] else ""
        return texts

    def _key(self, key: Any, node: Node) -> str:
        parts = [p if isinstance(p, str) else self._array(p, node)[0] for p in key_parts(key)]
        return _listed(parts) if isinstance(key, tuple) and key else parts[0]

    # ------------------------------------------------------------------ constants

    def _constant(self, node: Node, consumer: Node) -> tuple[str, int]:
        value, dtype = node.value, node.dtype
        if isinstance(value, np.ndarray):
            return self._array(value, consumer, node.name)
        if not isinstance(value, Fraction) or (dtype is not None and dtype.hasobject):
            text = number_text(value)
        elif value.numerator == 1 and value.denominator in self.lengths:
            one = "1" if dtype is None else f"{dtype_text(dtype)}(1)"
            return f"{one} / {value.denominator}", PRODUCT
        elif dtype is not None:
            text = number_text(dtype.type(value.numerator) / dtype.type(value.denominator))
        elif value.denominator > 1:
            return self._named_number(node)
        elif 1e16 <= abs(value) <= sys.float_info.max or _chooses_numbers(consumer):
            text = number_text(float(value))
        else:
            text = str(value.numerator)
        return text, UNARY if text.startswith("-") else ATOM

    def _named_number(self, node: Node) -> tuple[str, int]:
        """Write a number by its name, also where a rule of the same step takes it.

        Whole numbers have no name, because a rule may have brought in the same one.
        """
        text, key = number_text(float(node.value)), (node.step, node.value)
        if node.name:
            named = node.name, node.value
            if named not in self.constants:
                self.constants[named] = self.names.give(node.name), text
            self._names_of[key] = self.constants[named][0]
        if key in self._names_of:
            return self._names_of[key], ATOM
        return text, UNARY if text.startswith("-") else ATOM

    def _array(self, array: Any, consumer: Node, name: str | None = None) -> tuple[str, int]:
        """Write an array by a name; its memory order counts, because sums follow it."""
        order = list(range(array.ndim))
        if not array.flags.c_contiguous:
            order.sort(key=lambda k: -array.strides[k])
        base = np.array(array.transpose(order), order="C")
        entries = tuple(base.ravel()) if base.dtype.hasobject else base.tobytes()
        key = base.dtype, base.shape, entries
        if key not in self.constants:
            try:
                text = array_text(base)
            except ValueError as error:
                of = f" of {consumer.name}" if consumer.name else ""
                raise ValueError(
                    f"derive: step {consumer.step}{of}: an array of shape {array.shape} is a "
                    f"constant of the graph, and {error}; pass it to the function as an input"
                ) from None
            given = self.names.give(name) if name else self.names.number("array")
            self.constants[key] = given, text
        text = self.constants[key][0]
        if order == sorted(order):
            return text, ATOM
        if len(order) == 2:
            return f"{text}.T", ATOM
        return f"np.transpose({text}, {tuple(np.argsort(order).tolist())})", ATOM


def _source(node: Node) -> Source:
    """Look a primitive up; some have a form of their own for some operands."""
    name, x = str(node.op), node.inputs[0]
    if name == "sum" and x.dtype == np.float16:
        return SPECIAL["half sum"]
    if name == "sqrt" and x.dtype is not None and x.dtype.hasobject:
        return SPECIAL["exact sqrt"]
    if name == "transpose" and len(node.shape) == 2:
        return SPECIAL["matrix transpose"]
    if name == "spread" and len(x.shape) < len(node.shape):
        axis = node.params["axis"]
        if axis != tuple(range(len(axis))):  # new axes in front come by themselves
            return SPECIAL["inner spread"]
    if name not in SOURCES:
        raise ValueError(
            f"derive: step {node.step} computes {name}, which has no NumPy source; "
            "give it one in tinygraph.sources.SOURCES, or derive another format"
        )
    return SOURCES[name]


def _chooses_numbers(node: Node) -> bool:
    """Whether a `where` has numbers on both sides, which then decide its dtype."""
    return (
        node.op is not None
        and node.op.name == "where"
        and all(x.role == "constant" for x in node.inputs[1:])
    )


def _room(target: str) -> int:
    """Count the columns that an assignment leaves for its expression."""
    return min(LONGEST, max(WIDTH - len("     = ") - len(target), LONGEST // 2))


def _listed(texts: list[str]) -> str:
    return f"{texts[0]}," if len(texts) == 1 else ", ".join(texts)
