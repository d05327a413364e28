"""Rules: what is rewritten when an expression is shown, and into what; the table is `RULES`."""

from __future__ import annotations

from fractions import Fraction
from types import MappingProxyType

from tinygraph.engine.primitive import TABLE
from tinygraph.graph.nodes import Node
from tinygraph.writing.products import ONE, Factor, Product, inverted, powered
from tinygraph.writing.rewriting import PRODUCTS, Rewriter, Rules, is_count

__all__ = ["RULES"]

LINEAR = ("sum", "spread", "reshape", "transpose", "index", "scatter", "matmul")


def _as_product(to: Rewriter, node: Node) -> Node | None:
    first, *others = (to.product(x) for x in node.inputs)
    name = str(node.op)
    if name == "neg":
        p = first._replace(negative=not first.negative)
    elif name == "square":
        p = powered(first) or Product(over=(Factor(node.inputs[0], 2),))
    elif name == "inverse":
        p = inverted(first)
    else:
        (second,) = others
        p = to.multiplied(first, inverted(second) if name == "div" else second, node)
    if not p.divisor:
        return None  # which is a mistake to be seen
    p = p._replace(over=_without_roots(to, p.over), under=_without_roots(to, p.under))
    return to.built(_with_slopes(to, _with_sigmoids(to, p, node), node), node)


def _without_roots(to: Rewriter, factors: tuple[Factor, ...]) -> tuple[Factor, ...]:
    return tuple(
        Factor(x.inputs[0], n // 2)
        if n % 2 == 0 and str(x.op) == "sqrt" and not to.stands_alone(x)
        else Factor(x, n)
        for x, n in factors
    )


def _with_sigmoids(to: Rewriter, p: Product, like: Node) -> Product:
    over, under = list(p.over), []
    for factor in p.under:
        z = to.sigmoid(factor.node)
        if z is None:
            under.append(factor)
        else:
            over.append(factor._replace(node=to.raw(to.sigma, z, like=like)))
    return p._replace(over=tuple(over), under=tuple(under))


def _with_slopes(to: Rewriter, p: Product, like: Node) -> Product:
    over = list(p.over)
    for power in p.over:
        z = to.argument(power.node) if power.exponent == 1 else None
        for k, (s, n) in enumerate(over):
            if z is not None and n >= 2 and to.is_sigmoid_of(s, z):
                one = to.constant(Fraction(1), like)
                over[k : k + 1] = [Factor(s, n - 1), Factor(to.raw(TABLE["sub"], one, s, like=s))]
                over.remove(power)
                break
    return p._replace(over=tuple(over))


def _as_sum(to: Rewriter, node: Node) -> Node | None:
    a, b = node.inputs
    is_sum = str(node.op) == "add"
    opposite = to.negated(b)
    if opposite is not None:
        return to.raw(TABLE["sub" if is_sum else "add"], a, opposite, like=node)
    first = to.negated(a) if is_sum else None
    return first and to.raw(TABLE["sub"], b, first, like=node)


def _scaled(to: Rewriter, node: Node) -> Node | None:
    taken, inputs = ONE, list(node.inputs)
    linear = node.inputs if str(node.op) == "matmul" else node.inputs[:1]  # not in a mask
    for k, x in enumerate(linear):
        p = to.product(x)
        over, under = ([f for f in side if _scales(to, f.node)] for side in (p.over, p.under))
        if len(over) == len(p.over) and len(under) == len(p.under):
            continue  # nothing would be left
        rest = ONE._replace(
            over=tuple(f for f in p.over if f not in over),
            under=tuple(f for f in p.under if f not in under),
        )
        taken = to.multiplied(taken, p._replace(over=tuple(over), under=tuple(under)), node)
        inputs[k] = to.built(rest, x)
    if taken == ONE:
        return None
    inner = to.make(str(node.op), *inputs, like=node, params=node.params)
    return to.built(to.multiplied(taken, to.product(inner), node), node)


def _scales(to: Rewriter, x: Node) -> bool:
    return x.role == "constant" and x.shape == () and not is_count(x)


def _transposed(to: Rewriter, node: Node) -> Node | None:
    (x,), axes = node.inputs, node.params["axes"]
    if to.stands_alone(x):
        return None
    if str(x.op) == "transpose":
        axes = tuple(x.params["axes"][k] for k in axes)
        if axes == tuple(range(len(axes))):
            return x.inputs[0]
        params = MappingProxyType({"axes": axes})
        return to.make("transpose", x.inputs[0], like=node, params=params)
    if str(x.op) == "matmul" and _swaps(axes) and any(map(_is_transposed, x.inputs)):
        a, b = (_flipped(to, operand) for operand in x.inputs)
        return to.make("matmul", b, a, like=node)
    return None


def _flipped(to: Rewriter, x: Node) -> Node:
    n = len(x.shape)
    axes = (*range(n - 2), n - 1, n - 2)
    shape = tuple(x.shape[k] for k in axes)
    params = MappingProxyType({"axes": axes})
    return to.ruled(to.raw(TABLE["transpose"], x, shape=shape, params=params, like=x))


def _swaps(axes: tuple[int, ...]) -> bool:
    n = len(axes)
    return n >= 2 and axes == (*range(n - 2), n - 1, n - 2)


def _is_transposed(x: Node) -> bool:
    return x.name is None and str(x.op) == "transpose" and _swaps(x.params["axes"])


def _reshaped(to: Rewriter, node: Node) -> Node | None:
    (x,) = node.inputs
    if x.shape == node.shape:
        return x
    if to.stands_alone(x):
        return None
    if str(x.op) == "reshape":
        return to.make("reshape", x.inputs[0], like=node, params=node.params)
    if str(x.op) == "sum" and x.params["keepdims"]:
        axis = x.params["axis"]
        left = tuple(n for k, n in enumerate(x.shape) if k not in axis)
        params = MappingProxyType({"axis": axis, "keepdims": False})
        return to.make("sum", x.inputs[0], like=node, params=params) if left == node.shape else None
    return _of_vector(to, node, x) if str(x.op) == "matmul" else None


def _of_vector(to: Rewriter, node: Node, product: Node) -> Node | None:
    """Take a vector for the column or the row that it was made to be multiplied."""
    (a, b), (v, w) = product.inputs, (_vector(to, x) for x in product.inputs)
    is_row = v is not None and a.shape == (1, *v.shape)
    is_column = w is not None and b.shape == (*w.shape, 1)
    kept = product.shape[is_row : len(product.shape) - is_column]
    if not (is_row or is_column) or kept != node.shape:
        return None
    left, right = v if v and is_row else a, w if w and is_column else b
    return to.make("matmul", left, right, like=node)


def _vector(to: Rewriter, x: Node) -> Node | None:
    """Give v if a node is reshape(v), of a vector."""
    is_reshaped = str(x.op) == "reshape" and not to.stands_alone(x)
    return x.inputs[0] if is_reshaped and len(x.inputs[0].shape) == 1 else None


def _scattered(to: Rewriter, node: Node) -> Node | None:
    """Take a key of whole axes, old and new, for what it is."""
    key = node.params["key"]
    for part in key if isinstance(key, tuple) else (key,):
        is_whole = isinstance(part, slice) and part == slice(None)
        if not (is_whole or part is None or part is Ellipsis):
            return None
    params = MappingProxyType({"shape": node.shape})
    return to.make("reshape", node.inputs[0], like=node, params=params)


def _spread(to: Rewriter, node: Node) -> Node | None:
    (x,), shape = node.inputs, node.params["shape"]
    if to.stands_alone(x) or str(x.op) != "spread":
        return None
    inner, outer = x.params["axis"], node.params["axis"]
    if len(x.inputs[0].shape) + len(inner) + len(outer) != len(shape):
        return None  # one of them repeats along an axis that is there
    old = [k for k in range(len(shape)) if k not in outer]
    axis = tuple(sorted({*outer, *(old[k] for k in inner)}))
    params = MappingProxyType({"shape": shape, "axis": axis})
    return to.make("spread", x.inputs[0], like=node, params=params)


RULES: Rules = (
    (
        "−(−a) → a; a · a → a²; a · 2 → 2 · a; (a / b) · c → a · c / b; a · Σ b · c → a · c · Σ b; "
        "(√a)² → a; 1/(1 + exp(−z)) → σ(z); s² · exp(−z) → s · (1 − s), where s = σ(z)",
        PRODUCTS,
        _as_product,
    ),
    ("a + (−b) → a − b; a − (−b) → a + b; −a + b → b − a", ("add", "sub"), _as_sum),
    ("(aᵀ)ᵀ → a; (aᵀ @ b)ᵀ → bᵀ @ a", ("transpose",), _transposed),
    (
        "reshape(reshape(a)) → reshape(a); reshape(a) → a, of a's own shape; reshape(Σ a) → Σ a, "
        "where only axes of length 1 go; reshape(a @ reshape(v)) → a @ v, of a vector",
        ("reshape",),
        _reshaped,
    ),
    ("scatter(a → [:, None]) → reshape(a)", ("scatter",), _scattered),
    ("spread(spread(a)) → spread(a)", ("spread",), _spread),
    ("f(−a) → −f(a), f(2 · a) → 2 · f(a), f(a / 2) → f(a) / 2, where f is linear", LINEAR, _scaled),
)
"""What is rewritten, in which operations, and by what; of the rules for one, the first that fits.

A count stays at its sum: 1/N Σ a. A mean may stand for Σ in the first row.
"""
