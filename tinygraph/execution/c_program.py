"""A program in C: its plan, a function for each region, and the whole text, to run or to read."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from textwrap import wrap
from typing import NamedTuple

from tinygraph.execution.c_expressions import is_written, literal
from tinygraph.execution.c_source import HEAD, Function, function
from tinygraph.execution.labels import is_labelled, place_of
from tinygraph.execution.plan import Plan
from tinygraph.execution.program import Program, Unsupported
from tinygraph.execution.regions import Region

__all__ = ["Written", "c_text", "written"]


class Written(NamedTuple):
    """A program in C.

    Attributes
    ----------
    plan : Plan
        What is not written in C is left to NumPy.
    regions : list of Regions
    functions : list of Functions
        One for each region.
    symbols : list of str
        What they are called.
    source : str
        The whole text, the same for all lengths.
    """

    plan: Plan
    regions: list[Region]
    functions: list[Function]
    symbols: list[str]
    source: str


def written(program: Program, mode: str) -> Written:
    """Write a program in C.

    Raises
    ------
    Unsupported
        If nothing of it is written in C.
    """
    fast = mode == "fast"
    plan = Plan.of(program, fast=fast, is_inside=lambda node: is_written(node, fast))
    regions = [part for part in plan.parts if isinstance(part, Region)]
    if not any(region.sweeps or region.after for region in regions):
        raise Unsupported(f"there is nothing in it that is compiled{_reason(program, fast)}")
    symbols = ["kernel", *(f"kernel_{k}" for k in range(2, len(regions) + 1))][: len(regions)]
    functions = [
        function(region, fast=fast, name=name)
        for region, name in zip(regions, symbols, strict=True)
    ]
    return Written(plan, regions, functions, symbols, _source(functions))


def _reason(program: Program, fast: bool) -> str:
    """Say of the first operation that is not written in C what it is."""
    for node in program.nodes:
        if node.op is not None and not (is_labelled(node) and is_written(node, fast)):
            return f": {place_of(node)} is NumPy's, in {node.dtype}"
    return ""


def _source(functions: Sequence[Function], *said: str) -> str:
    """Put the functions and what they call together, and what is said before."""
    helpers = dict.fromkeys(text for one in functions for text in one.helpers)
    return "\n".join([HEAD, *helpers, *said, *(one.text for one in functions)])


# --------------------------------------------------------------------------- for a reader


def c_text(program: Program, *, mode: str = "fast") -> str:
    """Write a program in C for a reader, and say how its functions are called.

    Parameters
    ----------
    program : Program
    mode : str, optional
        ``fast`` or ``strict``, as of a kernel.

    Returns
    -------
    str

    Raises
    ------
    Unsupported
        If nothing of the program is written in C.

    Examples
    --------
    >>> import numpy as np
    >>> import tinygraph
    >>> x, w = np.ones((4, 3)), np.ones(3)
    >>> graph = tinygraph.Graph.joint(tinygraph.trace(lambda x, w: x * w)(x, w))
    >>> text = c_text(Program.of(graph))
    >>> print(text[text.index("/* kernel") : text.index("void")])
    /* kernel(p, k, n)
       p: x_, w_, dout_, out_out, dx_out, dw_out, and a workspace of 256 bytes
       k: nothing
       n: N = 4, D = 3 */
    <BLANKLINE>
    /* x, dout -> out, dx */
    <BLANKLINE>
    """
    plan, regions, functions, symbols, _ = written(program, mode)
    parts = iter(map(_usage, symbols, regions, functions))
    by_numpy = "/* then {}, by NumPy */".format
    said = [
        next(parts) if isinstance(part, Region) else by_numpy(part.node.op) for part in plan.parts
    ]
    return _source(functions, "\n".join(said) + "\n")


def _usage(symbol: str, region: Region, function: Function) -> str:
    """Say how a function is called."""
    loops = [loop for loop in (region.rows, *region.columns) if loop]
    lengths = [str(prod(label.length for label in loop)) for loop in loops]
    numbers = [literal(x.params["value"]) for x in region.constants]
    lines = [
        f"{symbol}(p, k, n)",
        f"p: {', '.join(function.pointers)}, and a workspace of {function.nbytes} bytes",
        f"k: {_bound(function.constants, numbers)}",
        f"n: {_bound(function.lengths, lengths)}",
    ]
    wrapped = [wrap(line, 95, subsequent_indent="   ") for line in lines]
    return "/* " + "\n   ".join(line for part in wrapped for line in part) + " */"


def _bound(names: Sequence[str], values: Sequence[str]) -> str:
    pairs = zip(names, values, strict=True)
    return ", ".join(f"{name} = {value}" for name, value in pairs) or "nothing"
