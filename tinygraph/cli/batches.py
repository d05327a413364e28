"""BatchNorm of arrays that no memory holds: ``tinygraph batchnorm x.zarr --out out.zarr``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from tinygraph.cli.inputs import InputError, describe_nonfinite, read_array
from tinygraph.cli.outputs import say

__all__ = ["check_options", "run_batch"]

# Options that are for small arrays or for large ones, with what they are by default.
SMALL = {"output": None, "json": False, "seed": 0, "allow_nonfinite": False}
LARGE = {"gamma": None, "beta": None, "memory": None, "cluster": None}


def check_options(options: argparse.Namespace) -> None:
    """Refuse options that say nothing with --out, or without it."""
    wrong, when = (LARGE, "goes with --out") if options.out is None else (SMALL, "is not for --out")
    for name, default in wrong.items():
        if getattr(options, name) != default:
            flag = "-o" if name == "output" else f"--{name.replace('_', '-')}"
            why = ", which writes an array, and compares and draws nothing" if options.out else ""
            raise InputError(f"{flag} {when}{why}")
    if options.out is None:
        for path in (options.file, options.upstream):
            if path is not None and path.lower().rstrip("/").endswith(".zarr"):
                raise InputError(
                    f"{path}: a .zarr is read block by block; say where to, with --out"
                )
        return
    if options.file is None:
        raise InputError("--out needs an array to read block by block: name a .npy or .zarr")
    if options.upstream is not None and options.beta is not None:
        raise InputError("--beta has no influence on the gradients that --dout asks for; drop it")


def run_batch(options: argparse.Namespace) -> None:
    """Normalize an array block by block, or carry a gradient back through that; write it."""
    from tinygraph.execution.blocks import MEMORY, Blocks
    from tinygraph.execution.clusters import connected
    from tinygraph.execution.program import Unsupported

    is_backward = options.upstream is not None
    out = Path(options.out)
    outputs = {"dx" if is_backward else "out": out}
    if is_backward:
        outputs |= {name: out.with_suffix(f".{name}.npy") for name in ("dgamma", "dbeta")}
    try:
        graph, inputs = _prepared(options)
        with connected(options.cluster) if options.cluster else nullcontext():
            memory = options.memory or MEMORY
            blocks = Blocks(graph, inputs, outputs, memory=memory, force=options.force)
            for line in str(blocks).splitlines():
                say(line)
            results = blocks.run()
    except FileExistsError as error:
        raise InputError(
            f"{error.filename}: {error.strerror}; name another place, or give --force"
        ) from None
    except (ImportError, Unsupported) as error:
        raise InputError(str(error)) from None
    for path in outputs.values():
        say(f"wrote {path}")
    for name, value in results.items():
        if problem := describe_nonfinite(name, value):
            say(f"tinygraph: {problem}")


def _prepared(options: argparse.Namespace) -> tuple[Any, Mapping[str, Any]]:
    """Give the graph of BatchNorm on two rows, and what its inputs are."""
    from tinygraph.execution.sources import opened

    x = opened(options.file, "x")
    shape, dtype = x.shape, np.dtype(options.dtype or x.dtype)
    if len(shape) < 2:
        raise InputError(f"{options.file}: has shape {shape}, but a batch has at least (N, D)")
    if 0 in shape:
        raise InputError(f"{options.file}: has shape {shape}, and no values in it")
    if dtype.kind != "f":
        raise InputError(
            f"{options.file}: holds {dtype}, but BatchNorm is of floats; convert it on the way, "
            "with --dtype float32"
        )
    inputs: dict[str, Any] = {"x": options.file}
    if options.upstream is not None:
        inputs["dout"] = options.upstream
        given = opened(options.upstream, "dout").shape
        if given != shape:
            raise InputError(
                f"{options.upstream}: the upstream gradient has shape {given}, but {options.file} "
                f"has shape {shape}; they must be equal"
            )
    wanted = _shape_of_gamma(shape, options.axis)
    for name, default in (("gamma", np.ones), ("beta", np.zeros)):
        path = getattr(options, name)
        inputs[name] = default(wanted) if path is None else read_array(path)
        if inputs[name].shape != wanted:
            raise InputError(
                f"{path}: {name} has shape {inputs[name].shape}, but for {options.file} of shape "
                f"{shape} and axis {options.axis} it must be {wanted}"
            )
    return _graph(options, (min(2, shape[0]), *shape[1:]), wanted, dtype), inputs


def _shape_of_gamma(shape: tuple[int, ...], axis: int | tuple[int, ...]) -> tuple[int, ...]:
    """Give one value for each feature; where these are along the axes, as in LayerNorm, there."""
    from tinygraph.engine.functions import normalize_axes

    axes = normalize_axes(shape, axis, of="batchnorm")
    if 0 in axes:
        return tuple(n for k, n in enumerate(shape) if k not in axes)
    return tuple(n if k in axes else 1 for k, n in enumerate(shape) if k >= axes[0])


def _graph(options: argparse.Namespace, shape: Any, wanted: Any, dtype: Any) -> Any:
    from tinygraph.batchnorm import staged
    from tinygraph.engine import trace
    from tinygraph.graph import Graph

    x = np.random.default_rng(0).normal(size=shape).astype(dtype)
    gamma, beta = np.ones(wanted, dtype), np.zeros(wanted, dtype)
    eps = 1e-5 if options.eps is None else float(options.eps)
    with np.errstate(all="ignore"):  # of two rows, which say nothing of the batch
        out = trace(staged)(x, gamma, beta, eps=eps, axis=options.axis)
    return Graph.joint(out) if options.upstream is not None else Graph.capture(out)
