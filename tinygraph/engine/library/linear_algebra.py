"""`numpy.linalg` on stacks of matrices: what it solves, inverts and measures.

Rules as in Giles, "Collected matrix derivative results for forward and reverse mode algorithmic
differentiation" (2008), for the factorization Murray, "Differentiation of the Cholesky
decomposition" (2016), and for singular vectors Townsend, "Differentiating the singular value
decomposition" (2016).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygraph.engine import ops
from tinygraph.engine.functions import describe, is_node, matmul, normalize_axes
from tinygraph.engine.primitive import NUMPY, Primitive

__all__: list[str] = []


def _T(x: Any) -> Any:
    return np.swapaxes(x, -1, -2)


def _of_matrices(g: Any) -> Any:
    """Give numbers, one for each matrix, two more axes."""
    return np.reshape(g, (*g.shape, 1, 1))


def _cholesky_rule(g: Any, out: Any, a: Any) -> Any:
    """Give the symmetric part of L⁻ᵀ Φ(Lᵀ g) L⁻¹; Φ takes the lower half, of the diagonal ½."""
    n = a.shape[-1]
    half = np.tril(np.ones((n, n), a.dtype)) - np.eye(n, dtype=a.dtype) / 2
    inner = (_T(out) @ g) * half
    s = np.linalg.solve(_T(out), _T(np.linalg.solve(_T(out), _T(inner))))
    return (s + _T(s)) / 2


# fmt: off
inv = Primitive("inv", "⁻¹", np.linalg.inv, lambda g, out, a: -_T(out) @ g @ _T(out),
    elementwise=False, text="{0:call}⁻¹", latex="{0:call}^{{-1}}", numpy="np.linalg.inv({0})",
    binds={"text": "power", "latex": "power"})
solve = Primitive("solve", "⁻¹@", np.linalg.solve,
    lambda g, out, a, b: -np.linalg.solve(_T(a), g) @ _T(out),
    lambda g, out, a, b: np.linalg.solve(_T(a), g),
    elementwise=False, text="{0:call}⁻¹ @ {1:power}", latex=r"{0:call}^{{-1}} \, {1:power}",
    numpy="np.linalg.solve({0}, {1})", binds={"text": "matmul", "latex": "matmul"})
det = Primitive("det", "det", np.linalg.det,
    lambda g, out, a: _of_matrices(g * out) * _T(np.linalg.inv(a)),
    elementwise=False, latex=r"\det\left({0}\right)", numpy="np.linalg.det({0})")
logabsdet = Primitive("logabsdet", "log|det|", lambda a: np.linalg.slogdet(a)[1],
    lambda g, out, a: _of_matrices(g) * _T(np.linalg.inv(a)),
    elementwise=False, text="log |det({0})|", latex=r"\log\left|\det\left({0}\right)\right|",
    numpy="np.linalg.slogdet({0})[1]")
signdet = Primitive("signdet", "sign det", lambda a: np.linalg.slogdet(a)[0],
    elementwise=False, text="sign det({0})", numpy="np.linalg.slogdet({0})[0]")
cholesky = Primitive("cholesky", "cholesky", np.linalg.cholesky, _cholesky_rule,
    elementwise=False, numpy="np.linalg.cholesky({0})")
# fmt: on

# --------------------------------------------------------------------------- decompositions

# One row for each of their results, whose rules ask for the others: w and V of A = V diag(w) Vᵀ,
# and U, s and Vᵀ of A = U diag(s) Vᵀ. Vectors are determined up to their signs, and their
# gradients where no two values are equal.


def _gaps(values: Any) -> Any:
    """Give 1/(vⱼ − vᵢ) at place i, j, and 0 on the diagonal."""
    n = values.shape[-1]
    same = np.eye(n, dtype=bool)
    difference = np.expand_dims(values, -2) - np.expand_dims(values, -1)
    return np.where(same, 0, 1 / np.where(same, 1, difference))


def _scaled(columns: Any, by: Any) -> Any:
    return columns * np.expand_dims(by, -2)


def _eigenvalues_rule(g: Any, out: Any, a: Any, uplo: str) -> Any:
    v = eigenvectors(a, uplo=uplo)
    return _scaled(v, g) @ _T(v)


def _eigenvectors_rule(g: Any, out: Any, a: Any, uplo: str) -> Any:
    return out @ (_gaps(eigenvalues(a, uplo=uplo)) * (_T(out) @ g)) @ _T(out)


def _of_u(g: Any, u: Any, a: Any) -> Any:
    s, v = singular_values(a), _T(right_vectors(a))
    inner = _gaps(ops.square(s)) * (_T(u) @ g - _T(g) @ u)
    within = _scaled(u @ inner, s)
    outside = _scaled(g - u @ (_T(u) @ g), 1 / s)
    return (within + outside) @ _T(v)


def _of_v(g: Any, vt: Any, a: Any) -> Any:
    u, s, v = left_vectors(a), singular_values(a), _T(vt)
    inner = _gaps(ops.square(s)) * (vt @ _T(g) - g @ v)
    within = _scaled(u, s) @ (inner @ vt)
    outside = _scaled(u, 1 / s) @ (g - (g @ v) @ vt)
    return within + outside


def _thin(part: int) -> Any:
    return lambda a: np.linalg.svd(a, full_matrices=False)[part]


# fmt: off
eigenvalues: Primitive = Primitive("eigenvalues", "λ", lambda a, uplo: np.linalg.eigh(a, uplo)[0],
    _eigenvalues_rule,
    elementwise=False, text="eigenvalues({0})", numpy='np.linalg.eigh({0}, "{uplo}")[0]')
eigenvectors: Primitive = Primitive("eigenvectors", "V", lambda a, uplo: np.linalg.eigh(a, uplo)[1],
    _eigenvectors_rule,
    elementwise=False, numpy='np.linalg.eigh({0}, "{uplo}")[1]')
left_vectors: Primitive = Primitive("left_vectors", "U", _thin(0), _of_u,
    elementwise=False, numpy="np.linalg.svd({0}, full_matrices=False)[0]")
singular_values: Primitive = Primitive("singular_values", "σ", _thin(1),
    lambda g, out, a: _scaled(left_vectors(a), g) @ right_vectors(a),
    elementwise=False, numpy="np.linalg.svd({0}, full_matrices=False)[1]")
right_vectors: Primitive = Primitive("right_vectors", "Vᵀ", _thin(2), _of_v,
    elementwise=False, numpy="np.linalg.svd({0}, full_matrices=False)[2]")
# fmt: on


def _symmetric(a: Any, uplo: str) -> Any:
    """Give the symmetric matrix of which NumPy reads one triangle."""
    if uplo not in ("L", "U"):
        raise ValueError("UPLO argument must be 'L' or 'U'")
    if uplo == "L":
        return np.tril(a) + _T(np.tril(a, -1))
    return np.triu(a) + _T(np.triu(a, 1))


def _eigh(a: Any, UPLO: str = "L") -> Any:
    a = _real(_symmetric(a, UPLO), "eigh")
    return _EighResult(eigenvalues(a, uplo=UPLO), eigenvectors(a, uplo=UPLO))


def _svd(
    a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False
) -> Any:
    a = _real(a, "svd")
    if not compute_uv:
        return singular_values(a)
    if full_matrices and a.shape[-1] != a.shape[-2]:
        raise TypeError(
            "np.linalg.svd: full_matrices=True adds vectors that the matrix does not determine, "
            "which have no gradient; write full_matrices=False"
        )
    return _SVDResult(left_vectors(a), singular_values(a), right_vectors(a))


def _real(a: Any, of: str) -> Any:
    if a.dtype.kind == "c":
        raise TypeError(
            f"np.linalg.{of}: of a complex tensor it conjugates, and has no complex derivative"
        )
    return a


_EighResult: Any = type(np.linalg.eigh(np.eye(1)))
_SVDResult: Any = type(np.linalg.svd(np.eye(1)))


def _solve(a: Any, b: Any) -> Any:
    """Solve a x = b; one vector is a matrix of one column for the time of it."""
    a, b = (x if is_node(x) else np.asarray(x) for x in (a, b))
    if b.ndim == 1:
        column = solve(a, np.reshape(b, (-1, 1)))
        return np.reshape(column, tuple(column.shape[:-1]))
    return solve(a, b)


def _slogdet(a: Any) -> Any:
    if a.dtype.kind == "c":
        raise TypeError(
            "np.linalg.slogdet: the modulus of a complex number is not holomorphic and has no "
            "complex derivative; np.log(np.linalg.det(a)) has one"
        )
    return _SlogdetResult(signdet(a), logabsdet(a))


_SlogdetResult: Any = type(np.linalg.slogdet(np.eye(1)))


def _cholesky(a: Any, /, *, upper: bool = False) -> Any:
    lower = cholesky(a)
    return _T(lower) if upper else lower


def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """Give a norm of vectors or matrices."""
    if x.dtype.kind == "c":
        raise TypeError(
            "np.linalg.norm: of a complex tensor it is not holomorphic and has no complex "
            "derivative"
        )
    if axis is None and (ord is None or (x.ndim, ord) in ((1, 2), (2, "fro"), (2, "f"))):
        root = np.sqrt(np.sum(ops.square(np.reshape(x, -1))))
        return np.reshape(root, (1,) * x.ndim) if keepdims else root
    axes = tuple(range(x.ndim)) if axis is None else axis
    axes = (axes,) if hasattr(axes, "__index__") else tuple(axes)
    normalize_axes(x.shape, axes, of="norm")
    if len(axes) == 1:
        return _vector_norm(x, ord, axes, keepdims)
    if len(axes) == 2:
        return _matrix_norm(x, ord, (axes[0] % x.ndim, axes[1] % x.ndim), keepdims)
    raise ValueError("np.linalg.norm: improper number of dimensions to norm")


def _vector_norm(x: Any, ord: Any, axis: Any, keepdims: bool) -> Any:
    along = {"axis": axis, "keepdims": keepdims}
    if ord is None or ord == 2:
        return np.sqrt(np.sum(ops.square(x), **along))
    if ord in (np.inf, -np.inf):
        return (np.max if ord > 0 else np.min)(abs(x), **along)
    if ord == 0:
        return np.sum(np.where(x != 0, 1.0, 0.0).astype(x.dtype), **along)
    if ord == 1:
        return np.sum(abs(x), **along)
    if isinstance(ord, str):
        raise ValueError(f"np.linalg.norm: invalid norm order {ord!r} for vectors")
    return np.sum(abs(x) ** ord, **along) ** (1 / ord)


def _matrix_norm(x: Any, ord: Any, axes: tuple[int, int], keepdims: bool) -> Any:
    if ord in (None, "fro", "f"):
        return np.sqrt(np.sum(ops.square(x), axis=axes, keepdims=keepdims))
    if ord in (1, -1, np.inf, -np.inf):
        rows = abs(ord) == np.inf
        add, pick = (axes[1], axes[0]) if rows else (axes[0], axes[1])
        total = np.sum(abs(x), axis=add, keepdims=True)
        found = (np.max if ord > 0 else np.min)(total, axis=pick, keepdims=True)
        return found if keepdims else np.squeeze(found, axes)
    if ord in (2, -2, "nuc"):
        rest = tuple(k for k in range(x.ndim) if k not in axes)
        values = singular_values(np.transpose(x, rest + axes))
        reduce = np.sum if ord == "nuc" else np.max if ord > 0 else np.min
        found = reduce(values, axis=-1)
        return np.expand_dims(found, axes) if keepdims else found
    raise ValueError(f"np.linalg.norm: invalid norm order {ord!r} for matrices")


def _matrix_power(a: Any, n: int) -> Any:
    """Multiply n matrices by squaring."""
    if n < 0:
        a, n = inv(a), -n
    if n == 0:
        return np.broadcast_to(np.eye(a.shape[-1], dtype=a.dtype), a.shape)
    power = None
    while n:
        if n % 2:
            power = a if power is None else matmul(power, a)
        n //= 2
        a = matmul(a, a) if n else a
    return power


def _multi_dot(arrays: Any) -> Any:
    product, *rest = arrays
    for x in rest:
        product = np.dot(product, x)
    return product


def _square(of: str, function: Any) -> Any:
    """Check for matrices that are square, as NumPy does."""

    def checked(a: Any, *args: Any, **kwargs: Any) -> Any:
        shape = np.shape(a)
        if len(shape) < 2 or shape[-1] != shape[-2]:
            raise np.linalg.LinAlgError(
                f"{of}: {describe(a)}: the last two axes must be those of square matrices"
            )
        return function(a, *args, **kwargs)

    return checked


NUMPY.update(
    {
        np.linalg.inv: _square("inv", inv),
        np.linalg.solve: _square("solve", _solve),
        np.linalg.det: _square("det", det),
        np.linalg.slogdet: _square("slogdet", _slogdet),
        np.linalg.cholesky: _square("cholesky", _cholesky),
        np.linalg.eigh: _square("eigh", _eigh),
        np.linalg.eigvalsh: _square("eigvalsh", lambda a, UPLO="L": _eigh(a, UPLO)[0]),
        np.linalg.svd: _svd,
        np.linalg.matrix_power: _square("matrix_power", _matrix_power),
        np.linalg.norm: _norm,
        np.linalg.multi_dot: _multi_dot,
    }
)
