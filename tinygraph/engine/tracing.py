"""`trace`: run a function and name every node after the local variable that it was assigned to.

Pictures and equations are readable only if the nodes carry the user's own names. `trace` takes
them from where they already stand, so that a function pasted from a course or a blog is drawn with
``mu``, ``xmu``, ``sq`` … and without one change.

Python reports each line to a trace function before it runs it. What the line before assigned is
then to be seen among the local variables of the frame: an unnamed Tensor there gets the name of
its variable. The same is done in every function that is called, with the path of calls kept as
the scope of the name.
"""

from __future__ import annotations

import collections
import fractions
import functools
import inspect
import os
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import islice
from numbers import Number
from types import CodeType, FrameType
from typing import Any, ParamSpec, TypeVar

import numpy as np

from tinygraph.engine.arrays import held
from tinygraph.engine.autodiff import DISCRETE, is_discrete
from tinygraph.engine.constants import Called, constants_among
from tinygraph.engine.foreign import native
from tinygraph.engine.lengths import shape_of
from tinygraph.engine.mutation import STAYED_PLAIN, Array, Session
from tinygraph.engine.operators import OVERWRITES
from tinygraph.engine.recording import changed, current
from tinygraph.engine.sources import Sources, names_of_lengths
from tinygraph.engine.stacking import lists_stacked
from tinygraph.engine.tensor import LEAF, Tensor, made

__all__ = ["Origin", "discrete", "framed", "is_engine", "trace"]

P = ParamSpec("P")
R = TypeVar("R")

Scope = tuple[str, ...]


@dataclass(frozen=True)
class Origin:
    """Where a tensor was assigned, as `trace` saw it.

    Attributes
    ----------
    scope : tuple of str
        The calls that led there, outermost first and without the traced function itself; a
        repeated call carries its number, as in ``("block", "norm #2")``.
    constants : dict
        What operands that are numbers are called, by the tensor's or an unnamed ancestor's index
        and the position of the operand.
    sources : Sources or None
        The numbers that stand in the code that was traced.
    label : str or None
        What it is called where no variable holds it: ``norm_out`` of what ``norm`` returns.
    """

    scope: Scope = ()
    constants: dict[tuple[int, int], Called] = field(default_factory=dict)
    sources: Sources | None = None
    label: str | None = None


def trace(fn: Callable[P, R]) -> Callable[P, R]:
    """Wrap `fn` so that the graph it builds carries the names of its variables.

    Arrays that are passed to it become Tensors named after its parameters: of floats (or complex
    numbers, or Fractions), and of integers and bools, such as labels and masks, through which no
    gradient flows. Everything else, such as ``eps=1e-5``, is passed on as it is. A Tensor that has
    a name keeps it. What is returned without a name is called ``out``.

    Parameters
    ----------
    fn : callable
        A function of arrays, written with NumPy.

    Returns
    -------
    callable
        Takes what `fn` takes and returns what `fn` returns.

    Raises
    ------
    TypeError
        If `fn` is not callable; or if nothing was traced, because numbers were passed that are not
        arrays of floats, such as lists or integer arrays.

    Notes
    -----
    Inside, the lengths in ``x.shape`` are ints that remember which axis they count, and so is a
    variable bound to ``len(x)``; what is computed from them, such as ``1 / N``, is known to be so.
    Masks (``x > 0``) and indices (``np.argmax(x)``) are recorded as well. Of a snapshot of the
    result, `Graph.run` is therefore right at other numbers and lengths, or says what it cannot
    know: what is read by ``.data``, or becomes a plain number or a branch, is taken down, and must
    be the same again. What is only written out, as in a message, is not taken down.

    **In place.** Inside, an array is a handle on a pure value: ``out[i] = …``, ``x -= …``,
    ``np.add.at``, ``out=`` and `numpy.copyto` give it another value, a recorded one, and whoever
    shares the array, by another name or as a view, sees it as in NumPy. That holds for the
    arguments, of which the caller's own arrays stay as they were, and for arrays of floats that the
    function makes and holds in a variable, a list or a dict of its own. What cannot be translated
    raises. A burst of writes is one node. The last bit of a sum may differ from NumPy's where it
    runs over several axes of a part that is no block of memory, and is read as it was written.

    Naming uses `sys.settrace` in the calling thread while `fn` runs, so that a debugger or a
    coverage tool that uses it too sees nothing inside `fn`. Without `trace`, the same function
    computes the same values, faster and unnamed.

    Examples
    --------
    >>> def standardize(x):
    ...     mu = np.mean(x)
    ...     xmu = x - mu
    ...     return xmu / np.sqrt(np.mean(xmu**2))
    >>> out = trace(standardize)(np.array([1.0, 3.0]))
    >>> out
    Tensor(out, shape=(2,), dtype=float64, op=div)
    >>> out.inputs[0]
    Tensor(xmu, shape=(2,), dtype=float64, op=sub)
    """
    if not callable(fn):
        raise TypeError(f"trace takes a function, not {type(fn).__name__}: trace(fn)(*args)")

    @functools.wraps(fn)
    def traced(*args: P.args, **kwargs: P.kwargs) -> R:
        outer = _running()
        session = outer.session if outer else Session(_file_of(fn))
        given = session.arguments([*args, *kwargs.values()], _as_tensor)
        named = dict(zip(kwargs, given[len(args) :], strict=True))
        before = sys.gettrace()
        namer = _Namer(session)
        with changed(tracing=namer.sources.notes), lists_stacked():
            sys.settrace(namer.call)
            try:
                result = fn(*given[: len(args)], **named)
            except (TypeError, ValueError) as error:
                if outer is None and (way := _way_to_write(error)):
                    message = f"{error.__cause__ or error}; {way}"
                    raise TypeError(message).with_traceback(error.__traceback__) from None
                raise
            finally:
                sys.settrace(before)
                session.open = outer is not None
            if outer is None:
                result, *last = session.close(result, *given)
                if (effects := current().effects) is not None:
                    passed = zip((*args, *kwargs.values()), last, strict=True)
                    effects.overwrites = any(now is not then for then, now in passed)
        _check_traced(fn, given, result)
        _name_results(result, Origin(sources=namer.sources))
        return result

    return traced


_frame: ContextVar[tuple[Scope, dict[Scope, int]]] = ContextVar("tinygraph.frame")


def framed(call: Callable[P, R], *, enter: Callable[[Any], None]) -> Callable[P, R]:
    """Let the result of a method know which calls it came through, for pictures without `trace`.

    `trace` sees that for itself, and the variables as well; this is for ``draw(model(x))``.

    Parameters
    ----------
    call : callable
        A method, whose call is named after the class of its object.
    enter : callable
        Is given the object first, where its call is not made by another such method.

    Returns
    -------
    callable
    """

    @functools.wraps(call)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        outer, calls = _frame.get(((), {}))
        tracer = sys.gettrace()
        is_traced = isinstance(getattr(tracer, "__self__", None), _Namer)
        if not outer:
            if is_traced:
                sys.settrace(None)  # what it does is no part of the graph
            enter(args[0])
            if is_traced:
                sys.settrace(tracer)
        scope = _numbered((*outer, type(args[0]).__name__), calls)
        token = _frame.set((scope, calls))
        try:
            result = call(*args, **kwargs)
        finally:
            _frame.reset(token)
        if is_traced or not isinstance(result, Tensor) or hasattr(result, "origin"):
            return result
        if result.op is not None:
            result.origin = Origin(scope, label=f"{type(args[0]).__name__}_out")
        return result

    return wrapped


def _numbered(scope: Scope, calls: dict[Scope, int]) -> Scope:
    """Count the calls of one name from one place: ``norm``, ``norm #2``, ``norm #3``."""
    number = calls[scope] = calls.get(scope, 0) + 1
    return (*scope[:-1], f"{scope[-1]} #{number}") if number > 1 else scope


def discrete(array: Any, name: str | None = None) -> Tensor:
    """Make a leaf of labels, indices or a mask, which keep their dtype and have no gradient.

    Examples
    --------
    >>> discrete(np.array([2, 0, 1]), "labels")
    Tensor(labels, shape=(3,), dtype=int64)
    """
    return made(Tensor, held(np.array(array)), LEAF, name)


def _as_tensor(x: Any) -> Any:
    native(x, "an argument")
    if not isinstance(x, np.ndarray) or isinstance(x, np.ma.MaskedArray):
        return x
    if x.dtype.kind in DISCRETE:
        return discrete(x)
    numbers = x.dtype.kind in "fc" or (
        x.dtype.hasobject and all(isinstance(v, Number) for v in x.flat)
    )
    return Tensor(x) if numbers else x


def _check_traced(fn: Callable[..., Any], args: Sequence[Any], result: Any) -> None:
    """Raise where numbers went in as they were, so that numbers and no graph came out."""
    parts = result if isinstance(result, tuple | list) else [result]
    if any(isinstance(x, Tensor) and not is_discrete(x) for x in (*args, *parts)):
        return
    for x in args:
        if isinstance(x, Tensor | list | Number) and _is_numeric(x) and _is_numeric(result):
            what = f"an array of {x.dtype}" if isinstance(x, Tensor) else type(x).__name__
            name = getattr(fn, "__name__", "fn")
            raise TypeError(
                f"trace: nothing was traced: {name} was given {what} and returned plain numbers; "
                "arrays of floats are traced, so pass np.array(x, dtype=float), or a Tensor"
            )


def _is_numeric(x: Any) -> bool:
    try:
        return np.asarray(x).dtype.kind in "biufcO"
    except ValueError:  # ragged
        return False


def _name_results(result: Any, origin: Origin) -> None:
    for number, one in _results(result):
        if isinstance(one, Tensor):
            _give_name(one, f"out{number}", origin)


def _results(result: Any) -> list[tuple[str, Any]]:
    """Give what is returned, with a number where it is several."""
    if isinstance(result, tuple | list):
        return [(str(k + 1), one) for k, one in enumerate(result)]
    return [("", result)]


def _give_name(tensor: Tensor, name: str, origin: Origin) -> None:
    if tensor.name is None:
        tensor.name = name
        if not hasattr(tensor, "origin"):  # else it was returned by a call, whose step it is
            tensor.origin = origin


# Code of these does arithmetic on behalf of the user's; its variables are not the user's.
_NOBODYS = (
    os.path.join(os.path.dirname(__file__), ""),
    os.path.join(os.path.dirname(np.__file__), ""),
    collections.__file__,
    fractions.__file__,
    weakref.__file__,
    "<frozen abc",
)


def is_engine(frame: FrameType) -> bool:
    """Whether the code of a frame is the engine's or NumPy's, and nobody's formula."""
    return frame.f_code.co_filename.startswith(_NOBODYS)


FEW_ENTRIES = 64  # of a container that may be read again and again


def _running() -> _Namer | None:
    """Give what traces this thread, if `trace` does."""
    namer = getattr(sys.gettrace(), "__self__", None)
    return namer if isinstance(namer, _Namer) else None


IN_MEMORY = {
    "WRITEBACKIFCOPY": "for i in np.ndindex(*x.shape): x[i] = v",
    "Supplied output array": "x[...] = rng.random(x.shape)",
    "bytes-like object": "x[...] = values",
}
"""What compiled code says that wants to write into memory, and how that is recorded."""


def _way_to_write(error: Exception) -> str | None:
    """Say how an array is written into, where the error is that it cannot be; NumPy says less."""
    text = str(error)
    for said, way in IN_MEMORY.items():
        if said in text:
            return f"arrays of a traced function have no memory to write into: write {way}"
    is_numpys = text.startswith("setting an array element") and error.__cause__ is not None
    is_ours = "unasked" in text or OVERWRITES in text
    return STAYED_PLAIN if is_numpys or (is_ours and STAYED_PLAIN not in text) else None


def _file_of(fn: Any) -> str:
    return str(getattr(getattr(fn, "__code__", None), "co_filename", ""))


class _Namer:
    """A trace function for one run: follows calls, and names at every line and return."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.nobodys: dict[int, CodeType] = {}  # the engine's; a code itself is slow to hash
        self.lengths: dict[int, tuple[CodeType, list[tuple[str, str]]]] = {}  # by id as well
        self.scopes: dict[FrameType, Scope] = {}
        self.calls: dict[Scope, int] = {}
        self.seen: dict[int, tuple[Any, int]] = {}  # long containers, and how far they were read
        self.sources = Sources()

    def call(self, frame: FrameType, event: str, arg: Any) -> Callable[..., Any] | None:
        code = frame.f_code
        if id(code) in self.nobodys:
            return None
        if is_engine(frame):
            self.nobodys[id(code)] = code
            return None
        caller = None
        if frame not in self.scopes:  # a generator comes back in the frame that it left
            caller = self._caller(frame)
            self.sources.meet(frame, is_outermost=not self.scopes)
            self.scopes[frame] = self._scope_of(frame, caller) if self.scopes else ()
            self._name_attributes(frame.f_locals.get("self"))
        self._name_locals(frame, computed_in=caller)  # arguments are the caller's work
        return self.line

    def line(self, frame: FrameType, event: str, arg: Any) -> Callable[..., Any]:
        if event in ("line", "return"):
            self._name_locals(frame, containers=event == "return")
        if event == "return" and not frame.f_code.co_flags & inspect.CO_GENERATOR:
            self._note_results(frame, arg)
            self.scopes.pop(frame, None)
        return self.line

    def _caller(self, frame: FrameType) -> FrameType | None:
        caller = frame.f_back
        while caller is not None and caller not in self.scopes:
            caller = caller.f_back
        return caller

    def _scope_of(self, frame: FrameType, caller: FrameType | None) -> Scope:
        outer = self.scopes[caller] if caller is not None else ()
        if frame.f_code.co_name.startswith("<"):  # a comprehension or a lambda: no call by name
            return outer
        return _numbered((*outer, _label(frame)), self.calls)

    def _name_attributes(self, owner: Any) -> None:
        """Name the unnamed leaves that an object holds after its attributes."""
        for name, value in tuple(getattr(owner, "__dict__", {}).items()):
            if type(value) is Tensor and value.op is None and value.name is None:
                value.name = name

    def _note_results(self, frame: FrameType, result: Any) -> None:
        """Let what a call returns without a name be a step of it, whoever names it later."""
        is_long = isinstance(result, tuple | list) and len(result) > FEW_ENTRIES
        if is_long or frame.f_code.co_name.startswith("<"):
            return
        scope = self.scopes.get(frame, ())
        label = f"{scope[-1].partition(' #')[0]}_out" if scope else None
        for number, one in _results(result):
            one = one._known if type(one) is Array else one
            if type(one) is Tensor and one.op and one.name is None and not hasattr(one, "origin"):
                constants = constants_among(one, frame.f_code, frame.f_locals)
                one.origin = Origin(scope, constants, self.sources, label and f"{label}{number}")

    def _name_locals(
        self, frame: FrameType, containers: bool = False, computed_in: FrameType | None = None
    ) -> None:
        variables = frame.f_locals  # once: on Python 3.11, a second look undoes what was written
        if not containers:
            self.session.look(frame, variables)
        for name, value in tuple(variables.items()):
            kind = type(value)
            if kind is Array:
                if not value.is_unnamed():
                    continue
            elif kind is Tensor:
                if value.name is not None:
                    continue
            elif not containers or kind not in (list, tuple, dict):
                continue
            if name[0] == ".":
                continue
            for label, tensor in self._unnamed_tensors(frame, name, value):
                node = tensor._known if type(tensor) is Array else tensor
                place = computed_in or frame
                held = place.f_locals if computed_in else variables
                constants = {}
                if type(node) is Tensor:
                    constants = constants_among(node, place.f_code, held)
                origin = Origin(self.scopes.get(place, ()), constants, self.sources)
                if type(tensor) is Array:
                    tensor.relabel(label, origin)
                if type(node) is Tensor:
                    _give_name(node, label, origin)
        for name, of in self._names_of_lengths(frame.f_code):
            x, n = variables.get(of), variables.get(name)
            if isinstance(x, Tensor) and type(n) is int and n in x.extent[:1]:
                length = variables[name] = shape_of(x)[0]  # which Python's own len cannot give
                self.sources.notes.take_back(length.formula)

    def _names_of_lengths(self, code: CodeType) -> list[tuple[str, str]]:
        known = self.lengths.get(id(code))
        if known is None:
            known = self.lengths[id(code)] = code, [*names_of_lengths(code).items()]
        return known[1]

    def _unnamed_tensors(
        self, frame: FrameType, name: str, value: Any
    ) -> Iterator[tuple[str, Tensor]]:
        if type(value) in (Tensor, Array):
            yield name, value
            return
        new = self._unread(frame, value)
        if type(value) is dict:
            latest = [*islice(reversed(value.items()), new)]
            items = [(str(key), one) for key, one in reversed(latest)]
        else:
            items = [(f"{name}[{k}]", value[k]) for k in range(len(value) - new, len(value))]
        for label, one in items:
            if type(one) in (Tensor, Array) and one.name is None:
                yield label, one

    def _unread(self, frame: FrameType, container: Any) -> int:
        """Count the last entries that are to be read: all, or those added since the last time.

        All of a long container that grows would be read at every return of a function that it is
        passed to. What was replaced in it meanwhile is seen when the traced function returns.
        """
        length = len(container)
        if length <= FEW_ENTRIES:
            return length
        _, read = self.seen.get(id(container), (None, 0))
        self.seen[id(container)] = container, length  # which keeps the id its own
        is_root = frame is next(iter(self.scopes), None)
        return length if is_root else max(length - read, 0)


def _label(frame: FrameType) -> str:
    """Name a call: by its function, or by the class whose method it is."""
    owner = frame.f_locals.get("self")
    return frame.f_code.co_name if owner is None else type(owner).__name__
