"""How people spell the gradient of a variable: ``dx``, ``grad_x``, ``dL_dx``, ``grads['x']``."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

__all__ = ["gradient_of", "looks_like_gradient", "part_of"]

_LOSS = r"(?:[LlJjEeCc]|[Ll]oss|[Cc]ost)"
_BEFORE = [re.compile(p) for p in (rf"d{_LOSS}_?d_?", "grads?_?", "delta_?", "d_?", "g_?", "∂_?")]
_AFTER = re.compile("_?(?:grad(?:ient)?|g)$")
_ENTRY = re.compile(r"(?P<container>\w+)\[['\"](?P<key>.+)['\"]\]|\w+\.(?P<attribute>\w+)")
_GRADIENTS = re.compile(r"\w*grad|d|g", re.IGNORECASE)
_UPSTREAM = re.compile(r"d\w*|\w*grad\w*|gy?|upstream\w*|∂\w*")


def gradient_of(name: str, variables: Collection[str]) -> str | None:
    """Tell the gradient of which variable a name says that it is.

    Parameters
    ----------
    name : str
        Of a variable, a key or a parameter: ``dx``, ``d_x``, ``dX``, ``grad_x``, ``x_grad``,
        ``dL_dx``, ``dLdx``, ``delta_x``; ``grads['x']`` and ``self.dx`` too.
    variables : collection of str
        The names that there are gradients of.

    Returns
    -------
    str or None
        One of `variables`: the one that is spelled so, else the only one that is but for
        capitals and underscores.

    Examples
    --------
    >>> gradient_of("dvar", ["var", "x"]), gradient_of("dL_dX", ["var", "x"])
    ('var', 'x')
    >>> gradient_of("grads['W1']", ["W1"]), gradient_of("dim", ["x"])
    ('W1', None)
    """
    candidates = list(_candidates(name))
    for candidate in candidates:
        if candidate in variables:
            return candidate
    for candidate in candidates:
        alike = [v for v in variables if _bare(v) == _bare(candidate)]
        if len(alike) == 1:
            return alike[0]
    return None


def part_of(name: str, variables: Collection[str]) -> str | None:
    """Tell of which variable a name says that it is one part of the gradient: ``dxmu1``, ``dx_2``.

    Examples
    --------
    >>> part_of("dxmu1", ["xmu"]), part_of("dxmu", ["xmu"])
    ('xmu', None)
    """
    whole = re.sub(r"_?(?:\d+|[ab]|part|path)$", "", name)
    return gradient_of(whole, variables) if whole != name else None


def looks_like_gradient(name: str) -> bool:
    """Tell whether a parameter may be an upstream gradient, of whatever.

    Examples
    --------
    >>> [looks_like_gradient(name) for name in ("dout", "grad_output", "g", "cache")]
    [True, True, True, False]
    """
    return bool(_UPSTREAM.fullmatch(name))


def _candidates(name: str) -> Iterator[str]:
    """Give what the name may be the gradient of, the longest prefix first."""
    if entry := _ENTRY.fullmatch(name):
        name = entry["key"] or entry["attribute"]
        if _GRADIENTS.match(entry["container"] or ""):  # there, the key may be the variable itself
            yield name
    for pattern in _BEFORE:
        if (found := pattern.match(name)) and found.end() < len(name):
            yield name[found.end() :]
    if (found := _AFTER.search(name)) and found.start():
        yield name[: found.start()]


def _bare(name: str) -> str:
    return name.replace("_", "").casefold()
