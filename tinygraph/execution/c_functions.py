"""The functions that C has and a compiler cannot make run on several numbers at a time.

Each is written twice, for float and double, as one straight line of arithmetic: no table, no
branch, no call. A loop over it is then one over vectors, and a softmax takes as long as the memory
it reads. They are not NumPy's bits, which come of NumPy's own vector code and differ from machine
to machine; `BOUNDS` says how far they are from the truth, and a test measures it.

- exp x = 2ⁿ · exp r with n = round(x / ln 2), so that |r| ≤ ln 2 / 2, and Taylor's series for r.
  Adding 1.5 · 2⁵² (2²³ for float) rounds, and leaves n in the lowest bits of the sum.
- tanh x = u / (u + 2) with u = exp 2|x| − 1, which is 2ⁿ · (exp r − 1) + (2ⁿ − 1): nothing cancels.
- log x = e · ln 2 + log m with x = 2ᵉ · m and m between √½ and √2, and log m = 2 artanh s for
  s = (m − 1) / (m + 1), |s| < 0.172, by its series.
"""

from __future__ import annotations

from fractions import Fraction
from math import factorial
from typing import NamedTuple

__all__ = ["BOUNDS", "functions"]

BOUNDS = {"exp": 3.0, "log": 3.0, "tanh": 4.0}
"""By how many units in the last place each is off at most, where it is no subnormal number."""


class _Format(NamedTuple):
    """A floating point format, and the constants that belong to it."""

    type: str
    unsigned: str
    signed: str
    suffix: str
    digits: int
    bias: int
    ln2: tuple[float, float]  # a part with so few digits that n times it is exact, and the rest
    lowest: float  # below it exp is 0
    highest: float  # above it exp is inf
    terms: tuple[int, int]  # of the series for exp and artanh


FORMATS = {
    "float": _Format("float", "uint32_t", "int32_t", "f", 23, 127,
        (0.693359375, -2.12194440054690583e-4), -104.0, 89.0, (7, 4)),
    "double": _Format("double", "uint64_t", "int64_t", "", 52, 1023,
        (0.6931471803691238, 1.9082149292705877e-10), -746.0, 710.0, (13, 10)),
}  # fmt: skip

TEXT = """\
static inline {unsigned} bits_{type}({type} x) {{
    {unsigned} u;
    memcpy(&u, &x, sizeof u);
    return u;
}}
static inline {type} from_bits_{type}({unsigned} u) {{
    {type} x;
    memcpy(&x, &u, sizeof x);
    return x;
}}
static inline {type} two_to_{type}({unsigned} n) {{
    return from_bits_{type}((n + {bias}) << {digits});
}}
/* 2^n and exp r - 1, for x = n ln 2 + r */
static inline {type} reduced_{type}({type} x, {unsigned} *n) {{
    {type} shifted = x * {log2e} + {shift};
    {type} whole = shifted - {shift};
    {type} r = (x - whole * {ln2_high}) - whole * {ln2_low};
    *n = bits_{type}(shifted) - bits_{type}({shift});
    return r + r * r * ({exp_series});
}}
static inline {type} exp_{type}({type} x) {{
    {unsigned} n;
    {type} clipped = x < {lowest} ? {lowest} : x > {highest} ? {highest} : x;
    {type} e = 1 + reduced_{type}(clipped, &n);
    {unsigned} half = ({unsigned})(({signed})n >> 1);  /* 2^n alone may be no normal number */
    return e * two_to_{type}(half) * two_to_{type}(n - half);
}}
static inline {type} tanh_{type}({type} x) {{
    {unsigned} n;
    {type} a = fabs{suffix}(x);
    {type} e = reduced_{type}(a > 22 ? 44 : 2 * a, &n);
    {type} scale = two_to_{type}(n);
    {type} u = scale * e + (scale - 1);
    return copysign{suffix}(u / (u + 2), x);
}}
static inline {type} log_{type}({type} x) {{
    int is_small = x < {tiny};
    {unsigned} u = bits_{type}(is_small ? x * {lift} : x);
    {unsigned} n = ({unsigned})(({signed})(u - bits_{type}({root_half})) >> {digits});
    {type} m = from_bits_{type}(u - (n << {digits}));
    {type} e = from_bits_{type}(n + bits_{type}({shift})) - {shift} - (is_small ? {lifted} : 0);
    {type} f = m - 1, s = f / (m + 1), z = s * s;
    {type} log_m = 2 * s + 2 * s * z * ({log_series});
    {type} value = e * {ln2_high} + (e * {ln2_low} + log_m);
    value = x < INFINITY ? value : x;
    return x > 0 ? value : x == 0 ? -INFINITY : x < 0 ? NAN : x;
}}
"""


def functions(type: str) -> str:
    """Write ``exp_float``, ``log_float``, ``tanh_float``, or those for double, in C.

    Parameters
    ----------
    type : str
        ``float`` or ``double``.

    Returns
    -------
    str
        They need string.h, stdint.h and math.h.

    Examples
    --------
    >>> "static inline double exp_double(double x) {" in functions("double").splitlines()
    True
    """
    format = FORMATS[type]
    exp, artanh = format.terms

    def number(x: float | Fraction) -> str:
        return f"{float(x)!r}{format.suffix}"

    def series(x: str, coefficients: list[Fraction]) -> str:
        text = number(coefficients[-1])
        for coefficient in reversed(coefficients[:-1]):
            text = f"{number(coefficient)} + {x} * ({text})"
        return text

    return TEXT.format(
        **format._asdict()
        | {
            "log2e": number(1.4426950408889634),
            "shift": number(1.5 * 2.0**format.digits),
            "ln2_high": number(format.ln2[0]),
            "ln2_low": number(format.ln2[1]),
            "exp_series": series("r", [Fraction(1, factorial(k)) for k in range(2, exp + 1)]),
            "log_series": series("z", [Fraction(1, 2 * k + 3) for k in range(artanh)]),
            "lowest": number(format.lowest),
            "highest": number(format.highest),
            "root_half": number(0.7071067811865476),
            "tiny": number(2.0 ** (1 - format.bias)),
            "lift": number(2.0 ** (format.digits + 2)),
            "lifted": number(format.digits + 2),
        }
    )
