"""Calls of NumPy's functions and methods, as text, to be evaluated on arrays and on tensors.

A capital letter is an operand: see `ARRAYS`. Braces hold alternatives, ``np.sum(X, {0|1|None})``,
and every combination of them is a call.
"""

import itertools
import re

import numpy as np

RNG = np.random.default_rng(20260301)


def apart(*shape):
    """Give numbers in random order, no two of them and none and 0 closer than 0.1."""
    n = int(np.prod(shape))
    return (RNG.permutation(n) - n // 2 + 0.37).reshape(shape) * 0.13


ARRAYS = {
    "A": apart(2, 3),
    "B": apart(2, 3) + 0.05,
    "C": RNG.uniform(0.5, 2.0, size=(2, 3)),  # positive
    "D": RNG.uniform(-0.8, 0.8, size=(2, 3)),  # within the domain of the inverse functions
    "E": np.zeros((0, 3)),
    "F": np.array([[2.0, 0.0, 1.5, -1.0], [0.5, 0.0, 0.0, 3.0], [1.0, 2.0, -0.5, 0.0]]),
    "M": RNG.normal(size=(3, 3)) + 3 * np.eye(3),
    "N": RNG.normal(size=(2, 3, 3)) + 3 * np.eye(3),
    "S": np.float64(0.7),
    "V": apart(4),
    "W": apart(4, 2),
    "X": apart(2, 3, 4),
    "Y": apart(4, 2, 5),
}
AXES = "{axis=None|axis=0|axis=-1|axis=(0, 2)|axis=()}"
AXIS = "{0|1|-1}"

CALLS = f"""
np.{{sum|prod|mean|max|min}}(X, {AXES}, keepdims={{False|True}})
np.{{var|std}}(X, {{axis=None|axis=0|axis=-1|axis=(0, 2)}}, keepdims={{False|True}}, ddof={{0|1}})
np.{{amax|amin|ptp|median|average}}(X, {{None|0|-1|(0, 2)}})
np.{{sum|prod}}({{S|E}})
np.{{sum|prod|mean|max|min|ptp|median|cumsum|cumprod}}(S)
np.{{sum|prod}}(X, 0, initial={{0.5|2}})
np.{{sum|prod|mean|var|std}}(X, axis=1, where=np.arange(12).reshape(3, 4) % 5 != 0)
np.{{max|min}}(X, 1, initial=0.1, where=np.arange(12).reshape(3, 4) % 5 != 0)
np.{{max|min}}(E, axis=0, initial=0.5)
np.{{sum|prod|mean|cumsum|trace}}(A, dtype=np.float64)
np.{{nansum|nanprod|nanmean|nanmax|nanmin|nanvar|nanstd}}(X, {{None|0|(0, 2)}})
np.{{nansum|nanprod|nanmean|nanmax|nanmin}}(np.where(np.arange(4) == 1, np.nan, X), -1)
np.var(A, correction=1)
np.average(A, weights=C)
np.average(A, {{0|1}}, C, keepdims=True)
np.average(X, 1, V[:3])
np.average(A, 0, C, returned=True)
np.{{prod|cumprod}}(F, {{0|1|None}})
np.prod(F[:, 1])
np.prod(F, (0, 1), keepdims=True)
np.{{cumsum|cumprod}}(X, {{None|0|1|-1}})
np.{{cumsum|cumprod}}(E, 0)
X.cumsum(1)
X.cumprod(2)
np.{{cumulative_sum|cumulative_prod}}(V)
np.diff(X, {{1|2}}, {{0|-1}})
np.diff(V, prepend={{0|S}}, append=A[0, :2])
np.quantile(X, {{0.3|[0.1, 0.5, 1.0]}}, {{None|1|(0, 1)}}, keepdims={{False|True}})
np.percentile(A, [25, 60], axis=0)
np.sort(X, {{None|0|-1}})
np.take_along_axis(X, np.argsort(Y[:2, :, :4].repeat(2, 1)[:, :3], 1), 1)
np.{{sinh|cosh|tanh|arcsinh|arctan|sin|cos|tan|exp|exp2|expm1|square|sinc|negative}}({{A|S|E}})
np.{{log|log2|log10|log1p|sqrt|reciprocal}}({{C|S}})
np.{{arcsin|arccos|arctanh}}({{D|S}})
np.arccosh(C + 1)
np.{{sinc|expm1|log1p}}(D * {{0|1e-9|1e-3}})
np.sinc(A * {{3|7}})
np.{{deg2rad|rad2deg|radians|degrees}}(A)
np.{{logaddexp|logaddexp2|hypot}}(A, {{B|S|B[:1]}})
np.arctan2(A, {{C|-C|S}})
np.{{fmax|fmin|maximum|minimum}}(A, {{B|B[:, :1]}})
np.logaddexp(1000 * A, 1000 * B)
np.{{remainder|fmod}}({{7 * A|S}}, C)
(7 * A) % C
7 % C
np.divmod(7 * A, C)[1]
np.nan_to_num(np.where(A > 0, A, np.nan), nan=2.0)
np.{{real|conjugate|real_if_close|positive|copy|absolute|fabs}}(A)
np.imag(A)
np.float_power(C, 2)
np.{{power|add|subtract|multiply|true_divide}}(C, {{C|S}})
np.add.outer(A, V)
np.multiply.outer(V, A)
np.{{add|multiply|maximum}}.reduce(X, {{0|(0, 1)}})
np.add.accumulate(A, 1)
np.dot({{A, W[:3]|X, W|V, W|A, S|X, Y.swapaxes(0, 1)|X, V|W.T, Y.swapaxes(0, 1)}})
X.dot(W)
np.inner({{A, B|X, V|V, V|A, S}})
np.outer({{A, V|V, S}})
np.vdot(A, B)
np.kron({{A, W|V, A|V, V|S, A}})
np.matmul({{A, M|N, M|V, W}})
np.tensordot({{A, B, 2|X, W, 1|A, V, 0|X, Y, ([2, 0], [0, 1])|X, Y, (2, 0)}})
np.einsum({{"ij,ij->ij", A, B|"ij,ij->i", A, B|"ij,jk", A, M|"ij->ji", A|"ij->", A|"ii", M}})
np.einsum({{"ii->i", M|"ij,kj,j->ik", A, B, M[0]|"i,j", V, V|",ij->i", S, A}})
np.einsum({{"...ij,jk->...ik", N, M|"...j,...j", X, V}})
np.einsum({{"ijk,klm", X, Y|"ij,kl->ik", A, B|"b...,b...->...", A, B|"ij,ij", A, B[:1]}})
np.einsum("ii,ij", M, M)
np.einsum(A, [0, 1], M, [1, 2], [0, 2])
np.einsum("ij,jk,kl->il", A, M, M, optimize=True)
np.linalg.multi_dot([A, M, M])
np.linalg.matrix_power(M, {{0|1|3|-2}})
np.linalg.{{inv|det}}({{M|N}})
np.linalg.slogdet({{M|-N}})
np.linalg.solve({{M, V[:3]|M, A.T|N, M|M, N}})
np.linalg.cholesky(M @ M.T)
np.linalg.norm({{V|A|X|A, axis=0|X, axis=(0, 2)|A, "fro"|A, keepdims=True|V, np.inf|V, -np.inf}})
np.linalg.norm({{V, 1|V, 3|D, 1|D, np.inf|D, -1|N, 1, (2, 0)|N, np.inf, (2, 0), True|V, 0}})
np.linalg.eigh({{M @ M.T|M|M, "U"}})[0]
np.linalg.eigvalsh(N + N.swapaxes(1, 2))
np.linalg.eigh({{M + M.T|M, "U"|N, "U"}})[1]
np.linalg.svd({{M|A|W|N}}, compute_uv=False)
np.linalg.svd({{M|A|W|N}}, full_matrices=False)[{{0|2}}]
np.linalg.norm({{M, 2|M, -2|A, "nuc"|N, "nuc", (0, 2)|N, 2, (1, 2), True}})
np.linalg.diagonal(N)
np.matrix_transpose(N)
np.reshape(X, {{-1|(4, 6)}}, order={{"C"|"F"}})
X.reshape(4, -1, order="F")
X.{{ravel|flatten}}()
X.{{ravel|flatten}}("F")
np.ravel(X)
np.transpose(X, {{None|(2, 0, 1)}})
np.swapaxes(X, 0, {{1|-1}})
X.swapaxes(0, 2)
np.moveaxis(X, {{0, -1|[0, 1], [2, 0]|-1, 0}})
np.rollaxis(X, {{2|1, 3|0, 2|2, -3}})
np.expand_dims(A, {{0|(0, -1)}})
np.squeeze(X[:, :1], {{None|1}})
np.broadcast_to(V, (2, 4))
np.{{atleast_1d|atleast_2d|atleast_3d}}({{S|V|A|X}})
np.flip(X, {{None|1|(0, 2)}})
np.{{flipud|fliplr}}(A)
np.roll(X, {{1|-5|2, 1|(1, 2), (0, 2)|1, (0, 1)}})
np.rot90(A, {{0|1|2|3|-1}})
np.take(X, {{[0, 3, 3], 2|[[1, 0]], 1|5|[0, 23]|-1, 0}})
X.take([1, 1], axis=1)
np.repeat(X, {{2|[1, 0, 2], 1|3, -1}})
X.repeat(2, axis=0)
np.diagonal({{M|X, 1, 0, 2|M, -1|X}})
X.diagonal(0, 1, 2)
np.trace({{M|X|X, 1, 1, 2}})
M.trace()
np.diag({{M|V|V, 1|V, -2|M, 1}})
np.diagflat(A)
np.{{triu|tril}}({{M|X|M, 1|X, -1|V}})
np.lib.stride_tricks.sliding_window_view({{V, 2|X, (2, 2), (1, 2)|A, (1, 2)|V, 4}})
np.concatenate([A, B, {{C|M[:1]}}], 0)
np.concatenate([A, V], axis=None)
np.stack([A, B], {{0|-1}})
np.{{vstack|hstack|dstack|column_stack}}([{{A, B|V, V}}])
np.hstack([S, V])
np.append(A, {{B|V}})
np.append(A, B, axis=1)
np.block([[A, B], [M[:1], M[1:2]]])
np.split(X, {{2, 2|[1, 3], -1|3, 1}})
np.array_split(V, {{3|[2]}})
np.{{hsplit|vsplit}}(X, [1])
np.dsplit(X, 2)
np.hsplit(V, 2)
np.tile({{A|V|S}}, {{2|(2, 1)|(2, 1, 2)}})
np.pad(A, {{1|(1, 2)|((0, 1), (2, 0))}}, mode={{"constant"|"edge"|"wrap"}})
np.pad(V, 2, mode={{"reflect"|"symmetric"}})
np.pad(A, 1, constant_values={{1.5|((1, 2), (3, 4))}})
np.clip(A, {{-0.2, 0.3|None, 0.1|B, B + 1}})
np.clip(A, min=-0.2, max=0.3)
A.clip(-0.2, 0.3)
np.where(A > 0, A, {{B|0.0}})
np.select([A > 0.2, B > 0], [A, B * B], {{0|C}})
np.linspace(A, {{B|2.0}}, 5, endpoint={{True|False}})
np.linspace(S, V, 4, axis=-1)
np.linspace(0.0, A, 3, retstep=True)
np.cross({{M, M.T|X.swapaxes(1, 2), M[0]}})
np.cross(A[0], M, axis=0)
A.copy() * B.astype(float, copy=False)
A.squeeze() + A.sum(0, keepdims=True) + A.mean(0) + A.max(1, keepdims=True) + A.min()
A.prod(0) + A.var(0, ddof=1) + A.std(0)
"""

DISCRETE = f"""
np.{{argmax|argmin}}(X, {{None|0|-1}}, keepdims={{False|True}})
X.argmax(1) + X.argmin(1) + X.argsort(1)[:, 0]
np.argsort(X, {{None|0|-1}})
np.{{floor|ceil|rint|trunc|fix|sign|isnan|isinf|isfinite|signbit|logical_not}}(3 * A)
np.{{round|around}}(A, {{0|1|2}})
A.round(1)
np.array(A.tolist())
np.{{any|all|count_nonzero}}(A > {AXIS}, axis={{None|0}})
(A > 0).any(0) & (A < 9).all()
np.{{nonzero|flatnonzero|argwhere}}(F)
F.nonzero()
np.{{greater|greater_equal|less|less_equal|equal|not_equal}}(A, B)
np.{{logical_and|logical_or|logical_xor}}(A, F[:2, :3])
np.floor_divide(7 * A, C)
(7 * A) // C
np.{{bitwise_and|bitwise_or|bitwise_xor}}(A > 0, B > 0)
np.invert(A > 0)
np.isclose(A, {{A + 1e-9|B}})
np.{{allclose|array_equal}}(A, {{A|B}})
np.{{isrealobj|iscomplexobj|shape|ndim|size}}(A)
np.result_type(A, np.float32)
np.{{zeros_like|ones_like}}(A)
np.full_like(A, 3.0, dtype=np.float32)
np.empty_like(A).shape
"""


def spelled(text):
    """Give every call of a line with alternatives, line by line."""
    found = []
    for line in text.strip().splitlines():
        parts = re.split(r"\{([^{}]*)\}", line)
        choices = [part.split("|") if k % 2 else [part] for k, part in enumerate(parts)]
        found += ["".join(choice) for choice in itertools.product(*choices)]
    return [call for call in found if _exists(call)]


def _exists(call):
    """Whether this NumPy has the function; what is newer than the oldest one is left out."""
    path = re.match(r"np\.((?:\w+\.)*\w+)\(", call)
    if path is None:
        return True
    found = np
    for name in path.group(1).split("."):
        found = getattr(found, name, None)
    return found is not None


def names(call):
    """Give the operands that a call mentions."""
    return sorted(set(re.findall(r"(?<![\w\"'.])[A-Z](?![\w\"'])", re.sub(r'"[^"]*"', "", call))))


def arrays_of(call, dtype=np.float64):
    """Give the operands of a call."""
    return {name: ARRAYS[name].astype(dtype) for name in names(call)}


def evaluated(call, operands):
    """Evaluate a call on these operands; give all its results in a list."""
    result = eval(call, {"np": np, **operands})
    return list(result) if isinstance(result, list | tuple) else [result]
