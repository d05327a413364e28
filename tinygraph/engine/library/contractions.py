"""Contractions: sums of products over indices, whose rules are contractions again.

`einsum` is the row; ``np.dot`` beyond two axes, ``np.tensordot``, ``np.inner``, ``np.outer`` and
``np.kron`` are ways to write one. The gradient of an operand contracts what arrives with the other
operands, over what the operand does not have: for aᵢⱼ bⱼₖ → cᵢₖ it is gᵢₖ bⱼₖ → aᵢⱼ.
"""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygraph.engine.foreign import native
from tinygraph.engine.functions import describe, is_node, matmul
from tinygraph.engine.primitive import NUMPY, Primitive, VariadicRules

__all__ = ["contract", "dot"]


def _einsum(*operands: Any, subscripts: str, optimize: Any) -> Any:
    return np.einsum(subscripts, *operands, optimize=optimize)


def _einsum_rule(
    position: int, g: Any, out: Any, *operands: Any, subscripts: str, optimize: Any
) -> Any:
    terms, _, result = subscripts.partition("->")
    indices = terms.split(",")
    others = [result, *indices[:position], *indices[position + 1 :]]
    values = [g, *operands[:position], *operands[position + 1 :]]
    return einsum(*values, subscripts=f"{','.join(others)}->{indices[position]}", optimize=optimize)


def _subscripts(node: Any) -> str:
    return str(node.params.get("subscripts", "->"))


def _text(node: Any) -> str:
    return f"einsum({_subscripts(node).replace('->', ' → ')}, {{operands}})"


def _source(node: Any) -> str:
    options = ", optimize={optimize}" if node.params.get("optimize") else ""
    return 'np.einsum("{subscripts}", {operands}' + options + ")"


def _latex(node: Any) -> str:
    """Write what the subscripts abbreviate: Σ over what is not in the result."""
    terms, _, result = _subscripts(node).partition("->")
    summed = "".join(sorted({c for c in terms if c.isalpha()} - set(result)))
    factors = r" \, ".join(
        f"{{{k}:call}}_{{{{{indices}}}}}" if indices else f"{{{k}:call}}"
        for k, indices in enumerate(terms.split(","))
    )
    return (rf"\sum_{{{{{summed}}}}} " if summed else "") + factors


# fmt: off
einsum: Primitive = Primitive("einsum", "Σ·", _einsum, VariadicRules(_einsum_rule),
    elementwise=False, text=_text, latex=_latex, numpy=_source,
    binds={"latex": "sigma"})
# fmt: on


def contract(subscripts: str, *operands: Any, optimize: Any = False) -> Any:
    """Contract operands whose indices are letters, explicit and without an ellipsis.

    What is no contraction is done before: an index twice in one operand is its diagonal, and one
    that is nowhere else is a sum over it.
    """
    terms, _, result = subscripts.partition("->")
    indices, values = terms.split(","), [x if is_node(x) else np.asarray(x) for x in operands]
    for k, own in enumerate(indices):
        for letter in [c for c, times in Counter(own).items() if times > 1]:
            while own.count(letter) > 1:
                i = own.index(letter)
                j = own.index(letter, i + 1)
                if values[k].shape[i] != values[k].shape[j]:
                    raise ValueError(
                        f"einsum: index {letter!r} of {describe(values[k])} names axes {i} and "
                        f"{j}, which have different lengths"
                    )
                values[k] = np.diagonal(values[k], 0, i, j)
                own = own[:i] + own[i + 1 : j] + own[j + 1 :] + letter
        indices[k] = own
    _drop_ones(indices, values)
    for k, own in enumerate(indices):
        elsewhere = set(result).union(*indices[:k], *indices[k + 1 :])
        alone = tuple(i for i, c in enumerate(own) if c not in elsewhere)
        if alone:
            values[k] = np.sum(values[k], axis=alone)
            indices[k] = "".join(c for c in own if c in elsewhere)
    if len(values) == 1:
        order = tuple(indices[0].index(c) for c in result)
        return values[0] if order == tuple(range(len(order))) else np.transpose(values[0], order)
    return einsum(*values, subscripts=f"{','.join(indices)}->{result}", optimize=optimize)


def _drop_ones(indices: list[str], values: list[Any]) -> None:
    """Take an index from an operand that has length 1 there, where another one is longer."""
    lengths: dict[str, int] = {}
    for own, x in zip(indices, values, strict=True):
        for c, n in zip(own, x.shape, strict=True):
            known = lengths.setdefault(c, n)
            if known == 1:
                lengths[c] = n
            elif n not in (1, known):
                raise ValueError(
                    f"einsum: index {c!r} has length {n} in {describe(x)}, and {known} elsewhere"
                )
    for k, (own, x) in enumerate(zip(indices, values, strict=True)):
        ones = tuple(i for i, c in enumerate(own) if x.shape[i] == 1 != lengths[c])
        if ones:
            values[k] = np.squeeze(x, ones)
            indices[k] = "".join(c for i, c in enumerate(own) if i not in ones)


def _einsum_function(
    *args: Any, optimize: Any = False, dtype: Any = None, order: str = "K", casting: str = "safe"
) -> Any:
    """``np.einsum``: both spellings, implicit results, and ellipses."""
    if order != "K" or casting != "safe":
        raise TypeError("np.einsum: order= and casting= are not supported on tensors")
    if not isinstance(args[0], str):
        args = _from_lists(args)
    subscripts, *operands = args
    operands = [x if is_node(x) else np.asarray(x) for x in operands]
    if dtype is not None:
        operands = [x.astype(dtype) for x in operands]
    return contract(_explicit(subscripts, operands), *operands, optimize=optimize)


def _from_lists(args: Sequence[Any]) -> tuple[Any, ...]:
    """Turn (a, [0, 1], b, [1, 2], [0, 2]) into ("ab,bc->ac", a, b)."""

    def letters(indices: Any) -> str:
        return "".join("..." if i is Ellipsis else string.ascii_letters[i] for i in indices)

    pairs, last = (args, None) if len(args) % 2 == 0 else (args[:-1], args[-1])
    subscripts = ",".join(letters(indices) for indices in pairs[1::2])
    return (subscripts if last is None else f"{subscripts}->{letters(last)}", *pairs[::2])


def _explicit(subscripts: str, operands: Sequence[Any]) -> str:
    """Write an arrow where there is none, and letters for an ellipsis; check the lengths."""
    terms, arrow, result = subscripts.replace(" ", "").partition("->")
    indices = terms.split(",")
    if len(indices) != len(operands):
        raise ValueError(
            f"einsum: {subscripts!r} has {len(indices)} operands, but {len(operands)} are given"
        )
    free = [c for c in string.ascii_letters if c not in subscripts]
    broadcast = 0
    for k, (own, x) in enumerate(zip(indices, operands, strict=True)):
        named = own.replace("...", "")
        hidden = x.ndim - len(named)
        if ("..." in own and hidden < 0) or ("..." not in own and hidden):
            raise ValueError(
                f"einsum: {own!r} names {len(named)} axes, but {describe(x)} has {x.ndim}"
            )
        if not all(c in string.ascii_letters for c in named) or own.count("...") > 1:
            raise ValueError(f"einsum: {own!r} must be letters and at most one '...'")
        broadcast = max(broadcast, hidden)
        indices[k] = own if not hidden else own.replace("...", "".join(free[:hidden][::-1]))
        indices[k] = indices[k].replace("...", "")
    ellipsis = "".join(free[:broadcast][::-1])
    if not arrow:
        times = Counter("".join(indices))
        result = ellipsis + "".join(sorted(c for c in times if times[c] == 1 and c not in ellipsis))
    result = result.replace("...", ellipsis)
    missing = set(result) - set("".join(indices))
    if (
        missing
        or len(set(result)) < len(result)
        or (broadcast and not set(ellipsis) <= set(result))
    ):
        raise ValueError(
            f"einsum: the result of {subscripts!r} must have each index once, of those that an "
            "operand has, and the ellipsis if there is one"
        )
    return f"{','.join(indices)}->{result}"


# --------------------------------------------------------------------------- by other names


def _letters(*counts: int) -> list[str]:
    """Give disjoint runs of letters of the given lengths."""
    start, runs = 0, []
    for count in counts:
        runs.append(string.ascii_letters[start : start + count])
        start += count
    return runs


def dot(a: Any, b: Any, out: Any = None) -> Any:
    """Give a product for scalars, ``@`` up to matrices, and beyond Σ over one axis of each."""
    if out is not None:
        raise TypeError("np.dot: out= would overwrite an array; use the result instead")
    a, b = (x if is_node(x) else np.asarray(native(x)) for x in (a, b))
    if 0 in (a.ndim, b.ndim):
        return a * b
    if b.ndim <= 2:
        return matmul(a, b)
    _check_lengths("dot", a, b, a.ndim - 1, b.ndim - 2)
    left, before, last, after = _letters(a.ndim - 1, b.ndim - 2, 1, 1)
    subscripts = f"{left}{last},{before}{last}{after}->{left}{before}{after}"
    return contract(subscripts, a, b, optimize=True)


def tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    """Sum over some axes of each: the last of `a` and the first of `b`, or two lists of them."""
    a, b = (x if is_node(x) else np.asarray(x) for x in (a, b))
    if hasattr(axes, "__index__"):
        n = axes.__index__()
        first, second = list(range(a.ndim - n, a.ndim)), list(range(n))
    else:
        first, second = ([k.__index__()] if hasattr(k, "__index__") else list(k) for k in axes)
    if len(first) != len(second):
        raise ValueError(f"tensordot: axes {axes!r} pair {len(first)} axes with {len(second)}")
    first, second = ([_axis(x, k) for k in ks] for x, ks in ((a, first), (b, second)))
    of_a, of_b = (list(run) for run in _letters(a.ndim, b.ndim))
    for i, j in zip(first, second, strict=True):
        _check_lengths("tensordot", a, b, i, j)
        of_b[j] = of_a[i]
    result = [c for c in of_a if c not in of_b] + [c for c in of_b if c not in of_a]
    return contract(f"{''.join(of_a)},{''.join(of_b)}->{''.join(result)}", a, b, optimize=True)


def _axis(x: Any, k: int) -> int:
    if not -x.ndim <= k < x.ndim:
        raise ValueError(f"tensordot: axis {k} does not exist in {describe(x)}")
    return int(k % x.ndim)


def _check_lengths(name: str, a: Any, b: Any, i: int, j: int) -> None:
    if a.shape[i] != b.shape[j]:
        raise ValueError(
            f"{name}: axis {i} of {describe(a)} has length {a.shape[i]}, and axis {j} of "
            f"{describe(b)} {b.shape[j]}; they must be equal"
        )


def inner(a: Any, b: Any) -> Any:
    """Sum over the last axis of each."""
    a, b = (x if is_node(x) else np.asarray(x) for x in (a, b))
    return a * b if 0 in (a.ndim, b.ndim) else tensordot(a, b, (-1, -1))


def outer(a: Any, b: Any) -> Any:
    """Multiply each entry of `a` by each of `b`."""
    a, b = (x if is_node(x) else np.asarray(x) for x in (a, b))
    return np.reshape(a, (-1, 1)) * np.reshape(b, (1, -1))


def vdot(a: Any, b: Any) -> Any:
    """Sum the products of all entries, of real tensors, where nothing is conjugated."""
    a, b = (x if is_node(x) else np.asarray(x) for x in (a, b))
    if a.dtype.kind == "c":
        raise TypeError("np.vdot conjugates its first operand, which has no complex derivative")
    return matmul(np.reshape(a, -1), np.reshape(b, -1))


def kron(a: Any, b: Any) -> Any:
    """Put a multiple of `b` in the place of each entry of `a`."""
    a, b = (x if is_node(x) else np.asarray(x) for x in (a, b))
    n = max(a.ndim, b.ndim)
    a, b = (np.reshape(x, (1,) * (n - x.ndim) + tuple(x.shape)) for x in (a, b))
    apart = [length for k in range(n) for length in (a.shape[k], 1)]
    within = [length for k in range(n) for length in (1, b.shape[k])]
    product = np.reshape(a, tuple(apart)) * np.reshape(b, tuple(within))
    return np.reshape(product, tuple(a.shape[k] * b.shape[k] for k in range(n)))


NUMPY.update(
    {
        np.dot: dot,
        np.einsum: _einsum_function,
        np.tensordot: tensordot,
        np.inner: inner,
        np.outer: outer,
        np.vdot: vdot,
        np.kron: kron,
    }
)
