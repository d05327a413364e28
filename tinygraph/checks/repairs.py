"""Small changes of one statement, by which students' mistakes are undone.

Each is what a teacher would try: another sign, ½, another axis, a transpose, a variable in place of
another, a term that is not there. Which of them makes a wrong line right, if any does, says what is
wrong with it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

__all__ = ["Edit", "Scope", "edits", "size"]

_SUMS = ("sum", "mean")
_PRODUCTS = ("dot", "matmul")
_AXES: tuple[Any, ...] = (0, 1, -1, None, (0, 1), (0, 2, 3))


class Edit(NamedTuple):
    """One change.

    Attributes
    ----------
    kind : str
        What is wrong, if this makes it right.
    statement : stmt
        The changed statement.
    """

    kind: str
    statement: ast.stmt


class Scope(NamedTuple):
    """What may be meant where something else stands.

    Attributes
    ----------
    names : sequence of str
        Variables that hold numbers, as they are written: ``xmu``, ``cache['xmu']``.
    counts : sequence of str
        Those that hold an integer, such as N.
    """

    names: Sequence[str]
    counts: Sequence[str]


class _Change(NamedTuple):
    """A part of an expression, in place of another."""

    kind: str
    new: ast.expr


def size(node: ast.AST) -> int:
    """Count the expressions in a statement: the smallest change is the likeliest.

    Examples
    --------
    >>> size(ast.parse("a = -x")), size(ast.parse("a = y / 2"))
    (3, 4)
    """
    return sum(isinstance(one, ast.expr) for one in ast.walk(node))


def edits(statement: ast.stmt, scope: Scope) -> Iterator[Edit]:
    """Give variants of a statement, each changed in one place.

    Most of them are the statement itself, which is as it was again when the next is asked for.

    Parameters
    ----------
    statement : stmt
        An assignment, an augmented one, or a return.
    scope : Scope

    Examples
    --------
    >>> statement = ast.parse("dvar = np.sum(d * xmu, axis=0)").body[0]
    >>> scope = Scope(["xmu", "xhat"], ["N"])
    >>> found = [(kind, ast.unparse(new)) for kind, new in edits(statement, scope)]
    >>> found[0], ("axis", "dvar = np.sum(d * xmu, axis=1)") in found
    (('sign', 'dvar = -np.sum(d * xmu, axis=0)'), True)
    """
    value = getattr(statement, "value", None)
    if not isinstance(value, ast.expr):
        return
    if isinstance(statement, ast.AugAssign):
        for kind, op in _OTHER_OPS.get(type(statement.op), []):
            yield Edit(kind, ast.AugAssign(statement.target, op, value))
        yield Edit("overwritten", ast.Assign([statement.target], value))
    places = [*_places(statement), *_keys(statement)]
    for changes in _KINDS:
        for hold, key, old, is_indexed in places:
            if is_indexed and changes is not _variables:
                continue
            for change in changes(old, scope, old is value):
                hold[key] = change.new
                try:
                    yield Edit(change.kind, statement)
                finally:
                    hold[key] = old
    if isinstance(statement, ast.Assign) and isinstance(target := statement.targets[0], ast.Name):
        yield Edit("overwritten", ast.AugAssign(target, ast.Add(), value))


_OTHER_OPS: dict[type, list[tuple[str, ast.operator]]] = {
    ast.Add: [("sign", ast.Sub())],
    ast.Sub: [("sign", ast.Add())],
    ast.Mult: [("factor", ast.Div())],
    ast.Div: [("factor", ast.Mult())],
}


def _keys(statement: ast.stmt) -> Iterator[tuple[Any, Any, ast.expr, bool]]:
    """Give what is computed in the key of an entry that is assigned, such as a mask."""
    targets = getattr(statement, "targets", [getattr(statement, "target", None)])
    for target in targets:
        if isinstance(target, ast.Subscript):
            yield vars(target), "slice", target.slice, False
            yield from _places(target.slice)


def _places(statement: ast.AST) -> Iterator[tuple[Any, Any, ast.expr, bool]]:
    """Give every expression that is computed, outermost first, with what it is held by.

    And whether it is the array of which entries are taken, or an attribute.
    """
    queue: list[Any] = [statement]
    while queue:
        parent = queue.pop(0)
        for field, value in ast.iter_fields(parent):
            if parent is statement and field in ("target", "targets"):
                continue
            is_list = isinstance(value, list)
            for k, one in enumerate(value if is_list else [value]):
                if isinstance(one, ast.expr) and field != "func":
                    is_indexed = isinstance(parent, ast.Subscript | ast.Attribute)
                    hold, key = (value, k) if is_list else (vars(parent), field)
                    yield hold, key, one, is_indexed and field == "value"
                if isinstance(one, ast.expr | ast.keyword | ast.slice):
                    queue.append(one)


# --------------------------------------------------------------------------- kinds of changes


def _negative(e: ast.expr) -> ast.expr:
    return ast.UnaryOp(ast.USub(), e)


def _binary(a: ast.expr, op: ast.operator, b: ast.expr) -> ast.expr:
    return ast.BinOp(a, op, b)


def _name(name: str) -> ast.expr:
    return ast.Name(name, ast.Load()) if name.isidentifier() else ast.parse(name, mode="eval").body


def _signs(e: ast.expr, scope: Scope, is_whole: bool) -> Iterator[_Change]:
    match e:
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            yield _Change("sign", inner)
        case ast.BinOp(op=ast.Add()):
            yield _Change("sign", _binary(e.left, ast.Sub(), e.right))
            yield _Change("sign", _binary(_negative(e.left), ast.Add(), e.right))
        case ast.BinOp(op=ast.Sub()):
            yield _Change("sign", _binary(e.left, ast.Add(), e.right))
        case ast.Constant(value=float() | int()) if not isinstance(e.value, bool):
            yield _Change("sign", _negative(e))
    if is_whole and not isinstance(e, ast.Tuple | ast.UnaryOp):
        yield _Change("sign", _negative(e))


def _factors(e: ast.expr, scope: Scope, is_whole: bool) -> Iterator[_Change]:
    match e:
        case ast.Constant(value=float() | int() as c) if not isinstance(c, bool) and c:
            for new in (0.5, 2.0, 1.0, -0.5, 1.5, 3.0):
                if new != c:
                    yield _Change("constant", ast.Constant(new))
        case ast.BinOp(op=ast.Mult()):
            yield _Change("factor", _binary(e.left, ast.Div(), e.right))
            yield from (_Change("factor", one) for one in (e.left, e.right))
        case ast.BinOp(op=ast.Div()):
            yield _Change("factor", _binary(e.left, ast.Mult(), e.right))
            yield _Change("factor", e.left)
        case ast.BinOp(op=ast.Pow()):
            yield _Change("power", e.left)
    if isinstance(e, ast.Name | ast.Subscript | ast.Attribute | ast.Call):
        yield _Change("power", _binary(e, ast.Pow(), ast.Constant(2)))
    if is_whole or isinstance(e, ast.BinOp | ast.Call):
        for c in (0.5, 2.0):
            yield _Change("factor", _binary(ast.Constant(c), ast.Mult(), e))


def _reductions(e: ast.expr, scope: Scope, is_whole: bool) -> Iterator[_Change]:
    if not isinstance(e, ast.Call) or not isinstance(e.func, ast.Attribute):
        return
    if e.func.attr not in (*_SUMS, "max", "min", "prod"):
        return
    given = {k.arg: k for k in e.keywords}
    is_method = not (isinstance(e.func.value, ast.Name) and e.func.value.id in ("np", "numpy"))
    operand = e.func.value if is_method else e.args[0] if e.args else None
    args = [] if is_method else e.args[:1]
    for axis in _AXES:
        keywords = [k for k in e.keywords if k.arg not in ("axis", "keepdims")]
        keywords.append(ast.keyword("axis", ast.Constant(axis)))
        keywords += [given["keepdims"]] if "keepdims" in given else []
        yield _Change("axis", ast.Call(e.func, args, keywords))
    keywords = [k for k in e.keywords if k.arg != "keepdims"]
    if "keepdims" not in given:
        keywords.append(ast.keyword("keepdims", ast.Constant(True)))
    yield _Change("keepdims", ast.Call(e.func, e.args, keywords))
    if operand is not None:
        yield _Change("sum", operand)
    other = {"sum": "mean", "mean": "sum"}.get(e.func.attr)
    if other:
        func = ast.Attribute(e.func.value, other, ast.Load())
        yield _Change("factor", ast.Call(func, e.args, e.keywords))


def _sums(e: ast.expr, scope: Scope, is_whole: bool) -> Iterator[_Change]:
    if not (is_whole or isinstance(e, ast.BinOp)) or isinstance(e, ast.Tuple):
        return
    for axis in ("0", "1", "-1", "None"):
        for keep in ("", ", keepdims=True"):
            call = _name(f"np.sum(x, axis={axis}{keep})")
            call.args[0] = e  # type: ignore[attr-defined]
            yield _Change("sum", call)


def _transposes(e: ast.expr, scope: Scope, is_whole: bool) -> Iterator[_Change]:
    def transposed(one: ast.expr) -> ast.expr:
        if isinstance(one, ast.Attribute) and one.attr == "T":
            return one.value
        return ast.Attribute(one, "T", ast.Load())

    match e:
        case ast.BinOp(left=a, op=ast.MatMult(), right=b):
            pairs = [(a, b)]
        case ast.Call(func=ast.Attribute(value=a, attr=attr), args=[b]) if attr in _PRODUCTS:
            pairs = [(a, b)]
        case ast.Call(func=ast.Attribute(attr=attr), args=[a, b]) if attr in _PRODUCTS:
            pairs = [(a, b)]
        case ast.Attribute(attr="T", value=inner):
            yield _Change("transpose", inner)
            return
        case _:
            if is_whole and not isinstance(e, ast.Tuple):
                yield _Change("transpose", transposed(e))
            return
    for a, b in pairs:
        left, right = transposed(a), transposed(b)
        for x, y in ((a, right), (left, b), (left, right), (b, a), (right, a), (b, left)):
            yield _Change("transpose", _binary(x, ast.MatMult(), y))
        yield _Change("transpose", _binary(right, ast.MatMult(), left))
        for x, y in ((a, b), (a, right), (left, b)):
            yield _Change("product", _binary(x, ast.Mult(), y))


def _roots(e: ast.expr, scope: Scope, is_whole: bool) -> Iterator[_Change]:
    """Move what is added, such as eps, into a root or out of it, or drop it."""
    match e:
        case ast.Call(func=f, args=[ast.BinOp(left=a, op=ast.Add(), right=b)]) if _is_root(f):
            yield _Change("eps", _binary(ast.Call(f, [a], []), ast.Add(), b))
        case ast.BinOp(left=ast.Call(func=f, args=[a]), op=ast.Add(), right=b) if _is_root(f):
            yield _Change("eps", ast.Call(f, [_binary(a, ast.Add(), b)], []))
        case ast.BinOp(op=ast.Add() | ast.Sub()):
            yield _Change("term", e.left)
            yield _Change("term", e.right)
        case ast.Name() if "eps" in scope.names and e.id in scope.names:
            yield _Change("eps", _binary(e, ast.Add(), _name("eps")))


def _is_root(f: ast.expr) -> bool:
    return isinstance(f, ast.Attribute) and f.attr == "sqrt"


def _comparisons(e: ast.expr, scope: Scope, is_whole: bool) -> Iterator[_Change]:
    if isinstance(e, ast.Compare) and len(e.ops) == 1:
        for op in (ast.Gt(), ast.Lt(), ast.GtE(), ast.LtE()):
            if type(op) is not type(e.ops[0]):
                yield _Change("mask", ast.Compare(e.left, [op], e.comparators))
    match e:
        case ast.BinOp(left=a, op=ast.Div(), right=b):
            yield _Change("quotient", _binary(b, ast.Div(), a))
        case ast.BinOp(left=a, op=ast.Sub(), right=b):
            yield _Change("sign", _binary(b, ast.Sub(), a))


def _variables(e: ast.expr, scope: Scope, is_whole: bool) -> Iterator[_Change]:
    text = ast.unparse(e) if isinstance(e, ast.Name | ast.Subscript | ast.Attribute) else ""
    if text in scope.names or isinstance(e, ast.Subscript):
        yield from (_Change("variable", _name(name)) for name in scope.names if name != text)
        yield _Change("variable", ast.Constant(1))


def _counts(e: ast.expr, scope: Scope, is_whole: bool) -> Iterator[_Change]:
    """Divide by a length, or multiply."""
    if isinstance(e, ast.Tuple) or not (is_whole or isinstance(e, ast.BinOp | ast.Call | ast.Name)):
        return
    for name in scope.counts:
        yield _Change("count", _binary(e, ast.Div(), _name(name)))
        yield _Change("count", _binary(e, ast.Mult(), _name(name)))


def _terms(e: ast.expr, scope: Scope, is_whole: bool) -> Iterator[_Change]:
    """Add a term, or a factor, of something that is not there."""
    is_part = isinstance(e, ast.BinOp | ast.Call) or (
        isinstance(e, ast.Name) and e.id in scope.names
    )
    if isinstance(e, ast.Tuple) or not (is_whole or is_part):
        return
    there = {ast.unparse(one) for one in ast.walk(e) if isinstance(one, ast.expr)}
    for name in scope.names:
        if name not in there:
            yield _Change("missing path", _binary(e, ast.Add(), _name(name)))
            yield _Change("missing factor", _binary(e, ast.Mult(), _name(name)))
            yield _Change("missing factor", _binary(e, ast.Div(), _name(name)))
            yield _Change("missing path", _binary(e, ast.Sub(), _name(name)))


_KINDS = (
    _signs,
    _roots,
    _reductions,
    _variables,
    _counts,
    _factors,
    _transposes,
    _comparisons,
    _sums,
    _terms,
)
