"""Kernels of many programs, whose C texts are compiled together: a compiler starts slowly."""

import re

import numpy as np

from tinygraph.execution import Unsupported, compilation, kernels

DEFINED = re.compile(r"^(?:static |inline |void |float |double |u?int\d+_t )+(\w+)\(", re.MULTILINE)


class _NotedError(Exception):
    """A text was noted, and nothing was compiled."""


def made(monkeypatch, wanted, mode, *, optimize="-O0"):
    """Give a Kernel, or the Unsupported that it raises, for each program with its arrays."""
    flags = tuple(flag for flag in compilation.FLAGS[mode] if flag != "-O3")
    texts = {}

    def note(source, *, mode, symbols):
        texts[source] = list(symbols)
        raise _NotedError

    with monkeypatch.context() as patch:
        patch.setattr(kernels, "loaded", note)
        found = [_tried(program, arrays, mode) for program, arrays in wanted]
    source, symbols = _together(texts)
    with monkeypatch.context() as patch:
        patch.setitem(compilation.FLAGS, mode, (optimize, *flags))
        functions = compilation.loaded(source, mode=mode, symbols=symbols)
    by_name = dict(zip(symbols, functions, strict=True))
    number = {source: k for k, source in enumerate(texts)}

    def give(source, *, mode, symbols):
        return [by_name[f"{symbol}_of_{number[source]}"] for symbol in symbols]

    with monkeypatch.context() as patch:
        patch.setattr(kernels, "loaded", give)
        return [
            _tried(*of, mode) if isinstance(one, _NotedError) else one
            for of, one in zip(wanted, found, strict=True)
        ]


def _tried(program, arrays, mode):
    try:
        return kernels.Kernel(program, arrays, mode)
    except (Unsupported, _NotedError) as refusal:
        return refusal


def _together(texts):
    """Put texts into one; what each defines gets its number."""
    parts, symbols = [], []
    for k, (source, wanted) in enumerate(texts.items()):
        names = dict.fromkeys(DEFINED.findall(source))
        assert set(wanted) <= set(names)
        parts += [f"#define {name} {name}_of_{k}" for name in names]
        parts += [source, *(f"#undef {name}" for name in names)]
        symbols += [f"{symbol}_of_{k}" for symbol in wanted]
    return "\n".join(parts) + "\n", symbols


def scale_of(values):
    """Give the size of the largest number in a program: what rounding is measured by."""
    sizes = [np.max(np.abs(x)) for x in values.values() if np.size(x) and np.ndim(x) >= 0]
    return max(1.0, *(float(size) for size in sizes if np.isfinite(size)))
