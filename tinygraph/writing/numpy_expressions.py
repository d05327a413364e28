"""Source: the nodes of a Graph as assignments of NumPy expressions, bit for bit what they compute.

No expression is rearranged, and brackets stand wherever they decide what is computed first, so that
the same operations are done in the same order.

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

from tinygraph.engine.constants import value_of
from tinygraph.engine.lengths import Formula
from tinygraph.graph.evaluation import number
from tinygraph.graph.marks import in_letters
from tinygraph.graph.nodes import Node
from tinygraph.writing.languages import NUMPY, Printer, Written
from tinygraph.writing.literals import array_text, computed_text, dtype_text, key_parts, literal

__all__ = ["HELPERS", "IMPORTS", "WIDTH", "Names", "Statement", "Writer"]

WIDTH = 100
LONGEST = 80

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
    "select": '''\
def select(x, *keys, key, places):
    """Index x by a key of which some parts are computed, and must be what they were."""
    for place, computed in zip(places, keys):
        if not np.array_equal(key[place], computed):
            raise ValueError("a computed mask picks other entries than it was written for")
    return x[key]
''',
    "assign": '''\
def assign(base, *writes, unchanged=()):
    """Give base with other values in some places, one (key, value) after the other."""
    if not all(np.array_equal(key, computed) for key, computed in unchanged):
        raise ValueError("a computed key picks other entries than it did in the graph")
    wider = [v.dtype for _, v in writes if hasattr(v, "dtype") and v.dtype.kind in "cO"]
    out = np.array(base, np.result_type(base.dtype, *wider))
    for key, value in writes:
        out[key] = value
    return out
''',
    "assign_add": '''\
def assign_add(base, *writes, unchanged=()):
    """Give base with values added in some places, as often as a key names them."""
    if not all(np.array_equal(key, computed) for key, computed in unchanged):
        raise ValueError("a computed key picks other entries than it did in the graph")
    wider = [v.dtype for _, v in writes if hasattr(v, "dtype") and v.dtype.kind in "cO"]
    out = np.array(base, np.result_type(base.dtype, *wider))
    for key, value in writes:
        np.add.at(out, key, np.broadcast_to(value, out[key].shape))
    return out
''',
    "sinc_derivative": '''\
def sinc_derivative(x, n):
    """Differentiate sin πx / πx n times; where x is small, by its power series."""
    z = np.pi * x
    small = np.abs(z) < 2 + n
    safe = np.where(small, 1, x).astype(x.dtype)
    far = np.sinc(safe)
    for k in range(1, n + 1):
        far = (np.pi ** (k - 1) * np.sin(np.pi * safe + k * np.pi / 2) - k * far) / safe
    near = np.zeros_like(z)
    for k in range(n + n % 2, n + 40, 2):
        sign = 1 if k % 4 == 0 else -1
        near = near + z ** (k - n) * (sign / (factorial(k - n) * (k + 1)))
    return np.where(small, np.pi**n * near, far)[()]
''',
    "unchanged": '''\
def unchanged(value, then):
    """Refuse what the function that this was written from read, and built on, if it is another."""
    same = np.shape(value) == np.shape(then)
    if not same or not np.all((value == then) | ((value != value) & (then != then))):
        raise ValueError("another value was read when this was written, and is a part of it")
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
    "factorial": "from math import factorial",
    "isqrt": "from math import isqrt",
    "special": "from scipy import special",
}


class Names:
    """Gives out Python identifiers, each one once.

    Examples
    --------
    >>> names = Names(["np"])
    >>> [names.give(name) for name in ("γ", "np", "lambda", "h[0]", "h_0", "S′", "2·x", "🙂")]
    ['γ', 'np_', 'lambda_', 'h_0', 'h_0_2', 'S_2', 'v2·x', 'v']
    """

    def __init__(self, reserved: Iterable[str]) -> None:
        self.reserved = {*reserved, *keyword.kwlist, *dir(builtins)} - {"_"}
        self.taken = set(self.reserved)
        self.counts: Counter[str] = Counter()

    def give(self, name: str) -> str:
        """Turn any name into a free identifier; one that is such stays as it is."""
        name = unicodedata.normalize("NFKC", in_letters(name))  # as Python's parser does
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


class Writer(Printer):
    """Writes assignments.

    Parameters
    ----------
    names : Names
        Where temporaries and constants get their names.
    kept : set of int
        Unnamed nodes, by index, that become temporaries wherever they are met.

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

    def __init__(self, names: Names, kept: Set[int]) -> None:
        super().__init__(NUMPY)
        self.names, self.kept = names, kept
        self.statements: list[Statement] = []
        self.variables: dict[int, str] = {}
        self.alias: dict[int, str] = {}
        self.step = 0
        self.constants: dict[Any, tuple[str, str]] = {}
        self.used: set[str] = set()
        self._names_of: dict[tuple[int, Any], str] = {}  # of numbers, by step and value

    def assign(self, node: Node, target: str) -> None:
        """Assign a node, after the temporaries that its expression needs."""
        for one in self.expression(node):
            written = self._compose(one, _room(target) if one is node else LONGEST)
            if one is node or one.index in self.kept:
                name = target if one is node else self.names.number("t")
                self._store(one, name, written.text)
            else:
                self._inlined[one.index] = written

    def premise(self, formula: Formula, answer: Any, nodes: tuple[Node, ...]) -> str:
        """Write a check that a value of which the traced code was told is the same."""
        node = formula
        while isinstance(node, Formula):
            node = node.args[0]
        node = nodes[node]
        if node.index not in self.variables:
            self.step = node.step
            self.assign(node, self.names.number("t"))
        text = self.read(node)
        if formula.op == "truth":
            return f"unchanged(bool({text}), {answer})"
        then = np.asarray(answer)
        return f"unchanged({text}, {self._array(then, node).text})"

    def _store(self, node: Node, name: str, text: str) -> None:
        self.statements.append(Statement(self.step, name, text))
        self.variables[node.index] = name

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

    def stands_alone(self, node: Node) -> bool:
        """Whether a node has a variable, or is none."""
        return node.op is None or node.index in self.variables

    def _compose(self, node: Node, longest: int) -> Written:
        """Write an expression; while it is too long, its longest operand becomes a temporary."""
        try:
            form, binds = self.language.written(node.op, node)
        except ValueError as error:
            raise ValueError(
                f"derive: step {node.step}: {error}, or derive another format"
            ) from None
        while True:
            text = self.fill(form, node, node.inputs)
            inlined = [x for x in node.inputs if x.index in self._inlined]
            if len(text) <= longest or not inlined or form.lists:  # which breaks at its commas
                return Written(text, binds)
            largest = max(inlined, key=lambda x: len(self._inlined[x.index].text))
            self._store(largest, self.names.number("t"), self._inlined.pop(largest.index).text)

    def operand(self, node: Node, consumer: Node) -> Written:
        """Read a variable, or give what was written out."""
        if node.role == "constant":
            return self._constant(node, consumer)
        return self._inlined.get(node.index) or Written(self.read(node), "call")

    def params(self, node: Node) -> dict[str, str]:
        """Write the parameters of a primitive as its source mentions them."""
        params = node.params
        if not params:
            return {}
        texts = {name: str(value) for name, value in params.items()}
        for name in params.keys() & {"n", "eps"}:
            texts[name] = literal(params[name])
        if "dtype" in params:
            texts["dtype"] = dtype_text(params["dtype"])
        if "key" in params:
            texts["key"] = self._key(params["key"], node)
        for k, key in enumerate(params.get("keys", ())):
            texts[f"key{k}"] = self._key(key, node)
        for k, array in enumerate(params.get("expected", ())):
            texts[f"expected{k}"] = self._array(array, node).text
        if isinstance(params.get("axis"), tuple) and len(params["axis"]) == 1:
            texts["axis"] = str(params["axis"][0])
        if "keepdims" in params:
            everything = len(params["axis"]) == len(node.inputs[0].shape)
            texts["along"] = "" if everything else f", axis={texts['axis']}"
            texts["along"] += ", keepdims=True" if params["keepdims"] else ""
        return texts

    def _key(self, key: Any, node: Node) -> str:
        parts = [p if isinstance(p, str) else self._array(p, node).text for p in key_parts(key)]
        for k, part in enumerate(key if isinstance(key, tuple) else ()):
            if isinstance(part, str):  # which counts the operands
                place = len(node.params.get("keys", ())) + int(part)
                parts[k] = self.operand(node.inputs[place], node).text
        is_single = isinstance(key, tuple) and len(key) == 1
        return ", ".join(parts) + "," * is_single

    # ------------------------------------------------------------------ constants

    def _constant(self, node: Node, consumer: Node) -> Written:
        value, dtype = node.value, node.dtype
        if isinstance(value, np.ndarray):
            return self._array(value, consumer, node.name)
        if node.written is not None and (how := _how_computed(node)):
            text, binds = computed_text(node.written, self._variable)
            return Written(how.format(text), binds if how == "{}" else "call")
        if not isinstance(value, Fraction) or (dtype is not None and dtype.hasobject):
            text = literal(value)
        elif isinstance(node.origin, Formula) and value.numerator == 1 != value.denominator:
            one = "1" if dtype is None else f"{dtype_text(dtype)}(1)"
            return Written(f"{one} / {value.denominator}", "product")
        elif dtype is not None:
            text = literal(dtype.type(value.numerator) / dtype.type(value.denominator))
        elif value.denominator > 1:
            return self._named_number(node)
        elif 1e16 <= abs(value) <= sys.float_info.max or _chooses_numbers(consumer):
            text = literal(float(value))
        else:
            text = str(value.numerator)
        return _number(text)

    def _variable(self, name: str, value: Any) -> str:
        """Give the identifier of a constant that numbers are computed from."""
        key = name, type(value), value
        if key not in self.constants:
            self.constants[key] = self.names.give(name), literal(value)
        return self.constants[key][0]

    def _named_number(self, node: Node) -> Written:
        """Write a number by its name, also where a rule of the same step takes it.

        Whole numbers have no name, because a rule may have brought in the same one.
        """
        text, key = literal(float(node.value)), (node.step, node.value)
        if node.name:
            named = node.name, node.value
            if named not in self.constants:
                self.constants[named] = self.names.give(node.name), text
            self._names_of[key] = self.constants[named][0]
        if key in self._names_of:
            return Written(self._names_of[key], "call")
        return _number(text)

    def _array(self, array: Any, consumer: Node, name: str | None = None) -> Written:
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
            return Written(text, "call")
        if len(order) == 2:
            return Written(f"{text}.T", "call")
        return Written(f"np.transpose({text}, {tuple(np.argsort(order).tolist())})", "call")


def _how_computed(node: Node) -> str:
    """Give how to write a number by its formula; nothing where that gives another."""
    given, wanted = value_of(node.written), number(node)
    if given != wanted:
        return ""
    if node.dtype is None:
        return "{}" if type(given) in (int, float) else "float({})"
    return "{}" if type(given) is type(wanted) else ""


def _number(text: str) -> Written:
    return Written(text, "minus" if text.startswith("-") else "call")


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
