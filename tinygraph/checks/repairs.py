"""Small changes of one statement, by which students' mistakes are undone.

Each is what a teacher would try: another sign, ½, another axis, a transpose, a variable in place of
another, a term that is not there. Which of them makes a wrong line right, if any does, says what is
wrong with it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

__all__ = ["Edit", "edits"]

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


class _Change(NamedTuple):
    """A part of an expression, in place of another."""

    kind: str
    new: ast.expr


def edits(statement: ast.stmt, names: Sequence[str]) -> Iterator[Edit]:
    """Give variants of a statement, each changed in one place, the likeliest first.

    Most of them are the statement itself, which is as it was again when the next is asked for.

    Parameters
    ----------
    statement : stmt
        An assignment, an augmented one, or a return.
    names : sequence of str
        Variables that hold numbers there, and may be meant where another stands.

    Examples
    --------
    >>> statement = ast.parse("dvar = np.sum(d * xmu, axis=0)").body[0]
    >>> found = [(kind, ast.unparse(new)) for kind, new in edits(statement, ["xmu", "xhat"])]
    >>> found[0], ("axis", "dvar = np.sum(d * xmu, axis=1)") in found
    (('sign', 'dvar = -np.sum(d * xmu, axis=0)'), True)
    """
    value = getattr(statement, "value", None)
    if not isinstance(value, ast.expr):
        return
    places = list(_places(statement))
    for changes in _KINDS:
        for hold, key, old in places:
            for change in changes(old, names, old is value):
                hold[key] = change.new
                try:
                    yield Edit(change.kind, statement)
                finally:
                    hold[key] = old
    if isinstance(statement, ast.AugAssign):
        other: ast.operator = ast.Sub() if isinstance(statement.op, ast.Add) else ast.Add()
        yield Edit("sign", ast.AugAssign(statement.target, other, value))
        yield Edit("overwritten", ast.Assign([statement.target], value))
    if isinstance(statement, ast.Assign) and isinstance(target := statement.targets[0], ast.Name):
        yield Edit("missing path", ast.AugAssign(target, ast.Add(), value))


def _places(statement: ast.stmt) -> Iterator[tuple[Any, Any, ast.expr]]:
    """Give every expression that is computed, outermost first, with what it is held by."""
    queue: list[Any] = [statement]
    while queue:
        parent = queue.pop(0)
        for field, value in ast.iter_fields(parent):
            if parent is statement and field in ("target", "targets"):
                continue
            is_list = isinstance(value, list)
            for k, one in enumerate(value if is_list else [value]):
                if isinstance(one, ast.expr):
                    yield (value, k, one) if is_list else (vars(parent), field, one)
                if isinstance(one, ast.expr | ast.keyword | ast.slice):
                    queue.append(one)


# --------------------------------------------------------------------------- kinds of changes


def _negative(e: ast.expr) -> ast.expr:
    return ast.UnaryOp(ast.USub(), e)


def _binary(a: ast.expr, op: ast.operator, b: ast.expr) -> ast.expr:
    return ast.BinOp(a, op, b)


def _name(name: str) -> ast.expr:
    return ast.parse(name, mode="eval").body


def _signs(e: ast.expr, names: Sequence[str], is_whole: bool) -> Iterator[_Change]:
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


def _factors(e: ast.expr, names: Sequence[str], is_whole: bool) -> Iterator[_Change]:
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


def _reductions(e: ast.expr, names: Sequence[str], is_whole: bool) -> Iterator[_Change]:
    if not isinstance(e, ast.Call) or not isinstance(e.func, ast.Attribute):
        return
    if e.func.attr not in (*_SUMS, "max", "min", "prod"):
        return
    given = {k.arg: k for k in e.keywords}
    is_method = not (isinstance(e.func.value, ast.Name) and e.func.value.id in ("np", "numpy"))
    operand = e.func.value if is_method else e.args[0] if e.args else None
    others = [k for k in e.keywords if k.arg != "axis"]
    for axis in _AXES:
        keyword = ast.keyword("axis", ast.Constant(axis))
        args = e.args if is_method else e.args[:1]
        yield _Change("axis", ast.Call(e.func, args[: 0 if is_method else 1], [*others, keyword]))
    keeping = [k for k in e.keywords if k.arg != "keepdims"]
    if "keepdims" in given:
        yield _Change("keepdims", ast.Call(e.func, e.args, keeping))
    else:
        kept = ast.keyword("keepdims", ast.Constant(True))
        yield _Change("keepdims", ast.Call(e.func, e.args, [*keeping, kept]))
    if operand is not None:
        yield _Change("sum", operand)
    other = {"sum": "mean", "mean": "sum"}.get(e.func.attr)
    if other:
        func = ast.Attribute(e.func.value, other, ast.Load())
        yield _Change("factor", ast.Call(func, e.args, e.keywords))


def _sums(e: ast.expr, names: Sequence[str], is_whole: bool) -> Iterator[_Change]:
    if not (is_whole or isinstance(e, ast.BinOp)) or isinstance(e, ast.Tuple):
        return
    for axis in ("0", "1", "-1", "None"):
        for keep in ("", ", keepdims=True"):
            call = _name(f"np.sum(x, axis={axis}{keep})")
            call.args[0] = e  # type: ignore[attr-defined]
            yield _Change("sum", call)


def _transposes(e: ast.expr, names: Sequence[str], is_whole: bool) -> Iterator[_Change]:
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


def _roots(e: ast.expr, names: Sequence[str], is_whole: bool) -> Iterator[_Change]:
    """Move what is added, such as eps, into a root or out of it, or drop it."""
    match e:
        case ast.Call(func=f, args=[ast.BinOp(left=a, op=ast.Add(), right=b)]) if _is_root(f):
            yield _Change("eps", _binary(ast.Call(f, [a], []), ast.Add(), b))
        case ast.BinOp(left=ast.Call(func=f, args=[a]), op=ast.Add(), right=b) if _is_root(f):
            yield _Change("eps", ast.Call(f, [_binary(a, ast.Add(), b)], []))
        case ast.BinOp(op=ast.Add() | ast.Sub()):
            yield _Change("term", e.left)
            yield _Change("term", e.right)
        case ast.Name() if "eps" in names and e.id in names:
            yield _Change("eps", _binary(e, ast.Add(), _name("eps")))


def _is_root(f: ast.expr) -> bool:
    return isinstance(f, ast.Attribute) and f.attr == "sqrt"


def _comparisons(e: ast.expr, names: Sequence[str], is_whole: bool) -> Iterator[_Change]:
    if isinstance(e, ast.Compare) and len(e.ops) == 1:
        for op in (ast.Gt(), ast.Lt(), ast.GtE(), ast.LtE()):
            if type(op) is not type(e.ops[0]):
                yield _Change("mask", ast.Compare(e.left, [op], e.comparators))
    match e:
        case ast.BinOp(left=a, op=ast.Div(), right=b):
            yield _Change("quotient", _binary(b, ast.Div(), a))
        case ast.BinOp(left=a, op=ast.Sub(), right=b):
            yield _Change("sign", _binary(b, ast.Sub(), a))


def _variables(e: ast.expr, names: Sequence[str], is_whole: bool) -> Iterator[_Change]:
    text = ast.unparse(e) if isinstance(e, ast.Name | ast.Subscript | ast.Attribute) else ""
    if text in names:
        yield from (_Change("variable", _name(name)) for name in names if name != text)


def _terms(e: ast.expr, names: Sequence[str], is_whole: bool) -> Iterator[_Change]:
    """Add a term, or a factor."""
    is_part = isinstance(e, ast.BinOp | ast.Call) or (isinstance(e, ast.Name) and e.id in names)
    for name in names if (is_whole or is_part) and not isinstance(e, ast.Tuple) else ():
        yield _Change("missing path", _binary(e, ast.Add(), _name(name)))
        yield _Change("missing factor", _binary(e, ast.Mult(), _name(name)))
        yield _Change("missing factor", _binary(e, ast.Div(), _name(name)))
        yield _Change("missing path", _binary(e, ast.Sub(), _name(name)))


_KINDS = (
    _signs,
    _factors,
    _roots,
    _reductions,
    _transposes,
    _comparisons,
    _variables,
    _sums,
    _terms,
)
