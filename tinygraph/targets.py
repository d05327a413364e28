"""A function of the user's, named on the command line, and its arguments.

``FILE.py:FUNCTION x=64x100 gamma=100 eps=1e-5`` says which function to run and on what:

- ``name=64x100``, ``name=100``, ``name=()``: a tensor of that shape, random from the seed;
- ``name=1e-5``: a number with a point or an exponent is a constant;
- ``name=data.npy``, ``name=data.csv``: an array from a file;
- ``name:=LITERAL``: any Python literal, such as ``n:=3`` or ``axis:=(0, 2)``.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinygraph.batchnorm import staged
from tinygraph.inputs import InputError, read_array, wine
from tinygraph.tensor import Tensor
from tinygraph.tracing import trace

__all__ = ["run_target"]

BUILT_IN = "batchnorm"


def run_target(target: str, arguments: Sequence[str], seed: int = 0) -> Any:
    """Run the named function under `trace` and give what it returns.

    Parameters
    ----------
    target : str
        ``FILE.py:FUNCTION``, or ``batchnorm`` for the staged BatchNorm, by default of the Wine
        measurements.
    arguments : sequence of str
        ``name=…`` and ``name:=…``, as described above.
    seed : int, optional
        Of the random tensors.

    Returns
    -------
    Tensor or sequence of Tensors

    Raises
    ------
    InputError
        If there is no such file or function, an argument is missing, unknown or malformed, or the
        function fails; then with the line of the user's file.

    Examples
    --------
    >>> run_target("batchnorm", ["x=8x3"])
    Tensor(out, shape=(8, 3), dtype=float64, op=add)
    """
    rng = np.random.default_rng(seed)
    values = dict(_argument(text, rng) for text in arguments)
    if target == BUILT_IN:
        x = values.setdefault("x", wine())
        features = x.shape[-1:]
        values.setdefault("gamma", rng.normal(size=features))
        values.setdefault("beta", rng.normal(size=features))
        function, file = staged, None
    else:
        function, file = _load(target)
    values = {
        name: Tensor(value, name=name) if _is_tensor(value) else value
        for name, value in values.items()
    }
    try:
        bound = inspect.signature(function).bind(**values)
    except TypeError as error:
        raise InputError(f"{target}: {error}; {_usage(function)}") from None
    try:
        with contextlib.redirect_stdout(sys.stderr):  # standard output is for the result
            result = trace(function)(*bound.args, **bound.kwargs)
    except (Exception, SystemExit) as error:
        raise InputError(f"{target}: {_place(error, file)}{_message(error)}") from None
    return _tensors(result, target)


def _is_tensor(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def _argument(text: str, rng: np.random.Generator) -> tuple[str, Any]:
    """Understand one ``name=…`` or ``name:=…``."""
    name, colon, literal = text.partition(":=")
    if colon and name.isidentifier():
        try:
            return name, ast.literal_eval(literal.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise InputError(
                f"{text}: {literal!r} is no Python literal; write for instance n:=3"
            ) from None
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise InputError(
            f"{text}: is no argument; write name=64x100 for a tensor, name=1e-5 for a constant, "
            "name=data.npy for an array or name:=LITERAL"
        )
    if value == "()":
        return name, np.asarray(rng.normal())
    if re.fullmatch(r"\d+(x\d+)*", value):
        shape = tuple(int(n) for n in value.split("x"))
        if np.prod([float(n) for n in shape]) > 1e8:
            raise InputError(f"{text}: a tensor of shape {shape} is too large; use at most 10⁸")
        return name, rng.normal(size=shape)
    if Path(value).suffix in (".npy", ".csv"):
        return name, read_array(value)
    try:
        return name, float(value)
    except ValueError:
        raise InputError(
            f"{text}: {value!r} is neither a shape (64x100), a number with a point or an exponent "
            "(1e-5), nor a file (.npy, .csv); a Python literal is written name:=LITERAL"
        ) from None


def _load(target: str) -> tuple[Callable[..., Any], str]:
    """Import the file under a name of its own and look the function up."""
    path, colon, name = target.rpartition(":")
    if not colon or not path.endswith(".py"):
        raise InputError(f"{target}: name a function as FILE.py:FUNCTION, or write {BUILT_IN}")
    file = Path(path)
    if not file.is_file():
        raise InputError(f"{path}: there is no such file; check the name and the folder")
    spec = importlib.util.spec_from_file_location(f"_tinygraph_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise InputError(f"{path}: cannot be imported as Python")
    module = importlib.util.module_from_spec(spec)
    # As Python itself runs a file: it can be found by name, and so can what lies beside it.
    sys.modules[spec.name] = module
    sys.path.insert(0, str(file.parent))
    try:
        with contextlib.redirect_stdout(sys.stderr):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise InputError(f"{path}: {_place(error, path)}{_message(error)}") from None
    function = getattr(module, name, None)
    if not callable(function):
        known = [
            k
            for k, v in vars(module).items()
            if inspect.isfunction(v) and v.__module__ == module.__name__
        ]
        raise InputError(f"{path}: has no function {name!r}; it has {', '.join(known) or 'none'}")
    return function, path


def _place(error: BaseException, file: str | None) -> str:
    """Say in which line of the user's file an error arose."""
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: "
    if file is None:
        return ""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).resolve() == Path(file).resolve()
    ]
    return f"line {frames[-1].lineno}, `{frames[-1].line}`: " if frames else ""


def _message(error: BaseException) -> str:
    text = " ".join(str(error).split()) or "no message"
    return text if isinstance(error, ValueError) else f"{type(error).__name__}: {text}"


def _usage(function: Callable[..., Any]) -> str:
    names = [
        name if p.default is p.empty else f"[{name}]"
        for name, p in inspect.signature(function).parameters.items()
    ]
    return f"the arguments are {', '.join(names)}"


def _tensors(result: Any, target: str) -> Any:
    """Keep the Tensors of what a function returned: course code returns ``out, cache``."""
    if isinstance(result, Tensor):
        return result
    if isinstance(result, tuple | list):
        tensors = [one for one in result if isinstance(one, Tensor)]
        if tensors:
            return tensors
    raise InputError(
        f"{target}: returned {type(result).__name__} and no tensor, so there is no graph; "
        "give at least one argument a shape, and return what is computed from it"
    )
