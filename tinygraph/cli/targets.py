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
import math
import os
import re
import sys
import textwrap
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinygraph.batchnorm.formulas import staged
from tinygraph.cli.inputs import InputError, read_array, wine
from tinygraph.engine.tensor import Tensor
from tinygraph.engine.tracing import trace

__all__ = ["explaining", "load_pair", "run_sample", "run_target"]

BUILT_IN = "batchnorm"
MOST_NUMBERS, MOST_AXES = 10**8, 64


def run_target(target: str, arguments: Sequence[str], seed: int = 0) -> Any:
    """Run the named function under `trace` and give what it returns.

    Parameters
    ----------
    target : str
        ``FILE.py:FUNCTION``, ``FILE.py:CLASS.METHOD`` of a class whose objects are made without
        arguments, or ``batchnorm`` for the staged BatchNorm, by default of the Wine measurements.
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
        If there is no such file or function, an argument is missing, unknown, malformed or given
        twice, or the function fails; then with file, line and function of the user's code.

    Examples
    --------
    >>> run_target("batchnorm", ["x=8x3"])
    Tensor(out, shape=(8, 3), dtype=float64, op=add)
    """
    function, values = _called(target, arguments, np.random.default_rng(seed), {})
    values = {
        name: Tensor(value, name=name) if isinstance(value, np.ndarray) else value
        for name, value in values.items()
    }
    bound = _bound(target, function, values)
    with explaining(target):
        result = trace(function)(*bound.args, **bound.kwargs)
    return _tensors(result, target)


def run_sample() -> Tensor:
    """Run staged BatchNorm on few numbers, for eyes: 8 wines with 3 features each.

    Returns
    -------
    Tensor

    Examples
    --------
    >>> run_sample()
    Tensor(out, shape=(8, 3), dtype=float64, op=add)
    """
    x = wine()[::23, :3]  # of all three cultivars
    result: Tensor = trace(staged)(x, np.array([1.0, 1.5, 0.5]), np.array([0.0, -0.5, 1.0]))
    return result


def load_pair(
    forward: str, backward: str, arguments: Sequence[str], seed: int = 0
) -> tuple[Callable[..., Any], Callable[..., Any], inspect.BoundArguments]:
    """Import a forward function and its backward pass, and give what the forward one is run on.

    Parameters
    ----------
    forward, backward : str
        ``FILE.py:FUNCTION``; the forward one may be ``batchnorm``.
    arguments : sequence of str
        Of the forward function.
    seed : int, optional
        Of the random tensors.

    Returns
    -------
    forward, backward : callable
    arguments : BoundArguments

    Raises
    ------
    InputError
        As `run_target`.
    """
    loaded: dict[Any, Any] = {}  # files, and objects of their classes
    function, values = _called(forward, arguments, np.random.default_rng(seed), loaded)
    own = _load(backward, loaded)
    return function, own, _bound(forward, function, values)


def _called(
    target: str, arguments: Sequence[str], rng: np.random.Generator, loaded: dict[Any, Any]
) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Give a function and the values of its arguments, by name."""
    values: dict[str, Any] = {}
    for text in arguments:
        name, value = _argument(text, rng)
        if name in values:
            raise InputError(f"{text}: {name} is given twice; leave one of the two out")
        values[name] = value
    if target != BUILT_IN:
        return _load(target, loaded), values
    x = values.setdefault("x", wine())
    if not isinstance(x, np.ndarray):
        raise InputError(f"{target}: x is {x!r}, but must be a tensor, such as x=64x100")
    features = x.shape[-1:]
    values.setdefault("gamma", rng.normal(size=features))
    values.setdefault("beta", rng.normal(size=features))
    return staged, values


def _bound(
    target: str, function: Callable[..., Any], values: dict[str, Any]
) -> inspect.BoundArguments:
    try:
        signature = inspect.signature(function)
    except ValueError:
        raise InputError(
            f"{target}: has no signature that could be read; wrap it in a function of your own"
        ) from None
    try:
        return signature.bind(**values)
    except TypeError as error:
        raise InputError(f"{target}: {error}; {_usage(signature)}") from None


def _argument(text: str, rng: np.random.Generator) -> tuple[str, Any]:
    """Understand one ``name=…`` or ``name:=…``."""
    name, colon, literal = text.partition(":=")
    if colon and name.isidentifier():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of escapes in strings
                return name, ast.literal_eval(literal.strip())
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
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
        lengths = value.split("x")
        if len(lengths) > MOST_AXES or math.prod(max(float(n), 1) for n in lengths) > MOST_NUMBERS:
            raise InputError(
                f"{text}: is too large for a tensor; use at most 10⁸ numbers on {MOST_AXES} axes"
            )
        return name, rng.normal(size=tuple(map(int, lengths)))
    if Path(value).suffix.lower() in (".npy", ".csv"):
        return name, read_array(value)
    try:
        return name, float(value)
    except ValueError:
        raise InputError(
            f"{text}: {value!r} is neither a shape (64x100), a number with a point or an exponent "
            "(1e-5), nor a file (.npy, .csv); a Python literal is written name:=LITERAL"
        ) from None


def _load(target: str, loaded: dict[Any, Any]) -> Callable[..., Any]:
    """Import the file, once, under a name of its own and look the function up."""
    path, _, name = target.rpartition(":")
    if not name or not path.endswith(".py"):
        raise InputError(f"{target}: name a function as FILE.py:FUNCTION, or write {BUILT_IN}")
    if not Path(path).is_file():
        raise InputError(f"{path}: there is no such file; check the name and the folder")
    file = Path(path).resolve()
    if file not in loaded:
        with explaining(target):
            loaded[file] = _module(file, path)
    owner: Any = None
    module = function = loaded[file]
    with explaining(target):
        for part in name.split("."):
            owner, function = function, getattr(function, part, None)
        static = isinstance(inspect.getattr_static(owner, part, None), staticmethod)
    if inspect.isclass(owner) and inspect.isfunction(function) and not static:
        function = _method(owner, function, target, loaded)
    if inspect.isclass(function) or not callable(function):
        raise InputError(_no_function(path, name, function, list(_functions(module))))
    if inspect.iscoroutinefunction(function):
        raise InputError(f"{target}: is asynchronous; name a function that computes when called")
    found: Callable[..., Any] = function
    return found


def _module(file: Path, path: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"_tinygraph_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise InputError(f"{path}: cannot be imported as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # as Python itself runs a file: it can be found by name
    spec.loader.exec_module(module)
    return module


def _no_function(path: str, name: str, found: Any, known: list[str]) -> str:
    """Say that a name is none of a function, and which ones there are."""
    if inspect.isclass(found):
        methods = [k for k in known if k.startswith(f"{name}.")]
        listed = f"name a method of it: {', '.join(methods)}" if methods else "it has no methods"
        return f"{path}:{name}: is a class, and no function; {listed}"
    return f"{path}: has no function {name!r}; it has {', '.join(known) or 'none'}"


def _functions(module: Any) -> Iterator[str]:
    """Give the names of the functions that a file defines, and of the methods of its classes."""
    for name, value in vars(module).items():
        if getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isfunction(value):
            yield name
        elif inspect.isclass(value):
            own = (k for k, v in vars(value).items() if inspect.isfunction(v))
            yield from (f"{name}.{k}" for k in own if k == "__call__" or k[0] != "_")


def _method(
    owner: type, method: Callable[..., Any], target: str, loaded: dict[Any, Any]
) -> Callable[..., Any]:
    """Give a method of an object, where one can be made without arguments: one of each class."""
    try:
        signature = inspect.signature(owner)
    except ValueError:
        signature = inspect.Signature()
    try:
        signature.bind()
    except TypeError:
        raise InputError(
            f"{target}: is a method, which needs an object of {owner.__name__}, and to make one, "
            f"{_usage(signature)}; name a function that makes one and calls it"
        ) from None
    with explaining(target):
        if owner not in loaded:
            loaded[owner] = owner()
        bound: Callable[..., Any] = getattr(loaded[owner], method.__name__)
    return bound


@contextlib.contextmanager
def explaining(target: str) -> Iterator[None]:
    """Run code of the user's, and make whatever it raises one line.

    It finds what lies beside it, as when Python runs a file. Warnings are not shown: what is drawn
    or derived does not depend on the random values that overflowed.
    """
    name = target.rpartition(":")[0]
    file = Path(os.path.realpath(name)) if name else None
    path = [str(file.parent)] if file else []
    try:
        sys.path[:0] = path
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            yield
    except (KeyboardInterrupt, InputError):
        raise
    except BaseException as error:
        place, message = _place(error, file) or name or target, _message(error)
        raise InputError(f"{place}: {message.replace(f'{place}: ', '', 1)}") from None
    finally:
        for folder in path:
            with contextlib.suppress(ValueError):
                sys.path.remove(folder)


def _place(error: BaseException, file: Path | None) -> str:
    """Say where in the user's file, or in one beside it, an error arose."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        source = Path(frame.filename)
        if file and source.parent == file.parent:
            line = textwrap.shorten(frame.line or "", 80)
            return f"{source.name}, line {frame.lineno}, in {frame.name}: `{line}`"
    return ""


def _message(error: BaseException) -> str:
    """Say what went wrong: by the cause, where NumPy wraps it in "setting an array element …"."""
    if isinstance(error.__cause__, TypeError) and isinstance(error, ValueError):
        error = error.__cause__
    text = textwrap.shorten(str(error), 500)
    if isinstance(error, ValueError) and text:
        return text
    return f"{type(error).__name__}: {text or 'no message'}"


def _usage(signature: inspect.Signature) -> str:
    """List the arguments, those that need not be given in brackets."""
    names = [
        name if p.default is p.empty else f"[{name}]" for name, p in signature.parameters.items()
    ]
    return f"the arguments are {', '.join(names)}" if names else "it takes no arguments"


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
