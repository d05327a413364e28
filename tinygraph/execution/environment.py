"""Environment: what a function reads beside its arguments, and whether that is still what it was.

What a function was traced with is part of the program: the layers that it goes through, the mode
that they are in, a factor among the globals. If one of these is another at a later call, so is the
program. Everything is therefore watched that the code which ran can name: globals, variables of
enclosing functions, and the attributes, entries and arrays that are reached from there.
"""

from __future__ import annotations

import builtins
import os
import pickle
import random
import sys
from array import ArrayType
from collections import ChainMap, UserDict, UserList, deque
from collections.abc import Callable, Collection, Container, Iterable, Iterator
from contextvars import ContextVar
from functools import cache, partial
from operator import call, eq, is_
from types import (
    BuiltinFunctionType,
    CellType,
    CodeType,
    FunctionType,
    MappingProxyType,
    MethodType,
    ModuleType,
)
from typing import Any, NamedTuple

import numpy as np

from tinygraph.engine.primitive import Primitive
from tinygraph.engine.sources import Sources
from tinygraph.engine.tensor import Tensor

__all__ = ["Environment"]

MOST = 20_000
"""Of things that are watched."""

BY_TEXT = frozenset({"getattr", "hasattr", "vars", "__dict__", "attrgetter", "dir", "eval", "exec"})
"""Names that code has which may read any attribute; other code has the attribute's own."""

UNCHANGING = (
    *(int, float, complex, str, bytes, bool, type(None), type(Ellipsis), range, slice),
    *(np.generic, np.dtype, np.ufunc, Primitive, CodeType),
)
MAPPINGS = (dict, MappingProxyType, UserDict, ChainMap, type(os.environ))
LISTS = (list, deque, UserList, bytearray)
OF_FUNCTIONS = ("__code__", "__defaults__", "__kwdefaults__")
GENERATORS = (np.random.Generator, np.random.RandomState, np.random.BitGenerator, random.Random)


class _Watch(NamedTuple):
    """Values by their keys, as they were found in one place.

    Attributes
    ----------
    get : callable
        Gives what is at a key now, or None.
    keys : tuple
    values : list
    whole : collection or None
        The place, where all of it is watched, so that nothing may be added to it.
    size : int
        How much there is in it.
    called : str
        What a person calls an entry, with ``{}`` for the key.
    """

    get: Callable[[Any], Any]
    keys: tuple[Any, ...]
    values: list[Any]
    whole: Any
    size: int
    called: str

    def changes(self) -> list[str]:
        """Name what is another; what is an equal number takes the place of the other."""
        found = []
        for k, key in enumerate(self.keys):
            now, then = self.get(key), self.values[k]
            if now is not then:
                if _is_equal(now, then):
                    self.values[k] = now
                else:
                    found.append(self.called.format(key))
        return found


def _flat(watches: Iterable[_Watch]) -> tuple[list[Any], ...]:
    """Put all of them together, so that no Python runs between one and the next."""
    pairs = [
        (w.get, key, value) for w in watches for key, value in zip(w.keys, w.values, strict=True)
    ]
    sized = [(w.whole, w.size) for w in watches if w.whole is not None]
    return (
        *([pair[k] for pair in pairs] for k in range(3)),
        *([pair[k] for pair in sized] for k in range(2)),
    )


def _is_equal(a: Any, b: Any) -> bool:
    """Whether two objects are one number, bits and all."""
    return type(a) is type(b) and isinstance(a, int | float | str) and repr(a) == repr(b)


class Environment:
    """What a function that was traced reads beside its arguments.

    Parameters
    ----------
    roots : iterable
        The function, and arguments that are no arrays.
    sources : Sources or None
        The code that ran.
    recalled : container of pairs
        Attributes that are read anew at each call: the id of the owner, and the name.

    Attributes
    ----------
    arrays : list of tuples
        Arrays that anybody may write into, their bytes, and what they are called.
    generators : list
        What draws at random.

    Raises
    ------
    ValueError
        If it is too much to be watched.
    """

    def __init__(
        self, roots: Iterable[Any], sources: Sources | None, recalled: Container[tuple[int, str]]
    ) -> None:
        self.arrays: list[tuple[Any, bytes, str]] = []
        self.generators: list[Any] = []
        self._watches: list[_Watch] = []
        self._recalled = recalled
        codes = list(sources.codes.values()) if sources is not None else []
        users = [code for code, outside in codes if not _is_library(_module_of(outside))]
        self._users_names = {name for code in users for name in code.co_names}
        self._names = {name for code, _ in codes for name in code.co_names}
        self._reads_all = not codes or bool(self._users_names & BY_TEXT)
        self._known: dict[int, Any] = {}
        self._left: deque[tuple[Any, str]] = deque([(root, "") for root in roots])
        self._walk()
        if sources is not None:
            for code, outside in sources.codes.values():
                self._meet_code(code, outside)
            for owner in sources.owners.values():
                if _is_ours(owner) or not _is_library(type(owner).__module__):
                    self._left.append((owner, type(owner).__name__))
        self._walk()
        self._known.clear()
        self._flat = _flat(self._watches)
        self._states = self.states()

    # ------------------------------------------------------------------ is it as it was

    def is_unchanged(self) -> bool:
        """Whether everything is what it was."""
        getters, keys, values, wholes, sizes = self._flat
        try:
            is_same = all(map(is_, map(call, getters, keys), values))
            is_same = is_same and all(map(eq, map(len, wholes), sizes))
        except (IndexError, ValueError):  # a list is shorter
            return False
        if not is_same:
            if self.changes():
                return False
            self._flat = _flat(self._watches)
        for array, then, _ in self.arrays:  # noqa: SIM110 - this is called at every step
            if array.tobytes() != then:
                return False
        return True

    def changes(self) -> list[str]:
        """Name what has changed."""
        found: list[str] = []
        for watch in self._watches:
            if watch.whole is not None and len(watch.whole) != watch.size:
                place = watch.called.format("…").replace("'", "")
                found.append(f"the number of entries of {place}")
            else:
                try:
                    found += watch.changes()
                except (IndexError, ValueError):
                    found.append(watch.called.format("…"))
        for array, then, called in self.arrays:
            if array.tobytes() != then:
                found.append(f"what is in {called}")
        return found

    def states(self) -> list[bytes]:
        """Give the state of everything that draws at random."""
        found: list[Any] = [random.getstate(), np.random.get_state(legacy=False)]  # noqa: NPY002
        for rng in self.generators:
            if isinstance(rng, random.SystemRandom):
                continue  # it has no state
            if isinstance(rng, random.Random):
                found.append(rng.getstate())
            elif isinstance(rng, np.random.RandomState):
                found.append(rng.get_state(legacy=False))
            else:
                found.append(getattr(rng, "bit_generator", rng).state)
        return [pickle.dumps(state) for state in found]

    def has_drawn(self) -> bool:
        """Whether something has drawn since this was made."""
        return self.states() != self._states

    # ------------------------------------------------------------------ what there is

    def _meet_code(self, code: CodeType, outside: dict[str, Any]) -> None:
        """Watch the globals that a code names, and the modules that it imports."""
        module = _module_of(outside)
        if _is_library(module) or module.startswith("namedtuple_"):
            return
        whole = outside if "globals" in code.co_names else None
        names = [x for x in code.co_names if x in outside or hasattr(builtins, x)]
        names = names if whole is None else [*outside]
        self._watch(outside.get, names, whole, "{}")
        self._left += [(outside.get(name), name) for name in names]
        if {"environ", "getenv"} & {*code.co_names}:
            self._left.append((os.environ, "os.environ"))
        package = outside.get("__package__")
        for name in code.co_names:
            for path in (name, f"{package}.{name}"):
                self._left.append((sys.modules.get(path), path))

    def _watch(
        self, get: Callable[[Any], Any], keys: Iterable[Any], whole: Any, called: str
    ) -> None:
        keys = tuple(keys)
        size = 0 if whole is None else len(whole)
        if keys or whole is not None:
            values = [get(key) for key in keys]
            self._watches.append(_Watch(get, keys, values, whole, size, called))

    def _walk(self) -> None:
        """Watch what is left, and what is reached from there."""
        while self._left:
            value, called = self._left.popleft()
            if isinstance(value, UNCHANGING) or id(value) in self._known:
                continue
            self._known[id(value)] = value
            if len(self._known) > MOST:
                raise ValueError(
                    f"compile: the function reaches over {MOST} things by its variables, which "
                    "are too many to be watched; pass what it needs as arguments"
                )
            self._left.extend(self._inside(value, called))

    def _inside(self, value: Any, called: str) -> Iterator[tuple[Any, str]]:
        """Watch one thing, and give what is in it."""
        if isinstance(value, Tensor):
            return
        if isinstance(value, np.ndarray | ArrayType | memoryview):
            if _can_change(value):
                self.arrays.append((value, value.tobytes(), called))
            if isinstance(value, np.ndarray) and value.dtype.hasobject:
                yield from ((one, called) for one in value.flat)
        elif isinstance(value, ModuleType):
            if not _is_library(value.__name__):
                names = [name for name in vars(value) if name in self._users_names]
                self._watch(vars(value).get, names, None, f"{called}.{{}}")
                yield from ((vars(value)[name], f"{called}.{name}") for name in names)
        elif isinstance(value, type):
            yield from self._inside_class(value)
        elif isinstance(value, ContextVar):
            self._watch(value.get, (None,), None, called)
            yield value.get(None), called
        elif isinstance(value, GENERATORS):
            self.generators.append(value)
        elif isinstance(value, tuple | frozenset | set):
            if isinstance(value, set):
                keys = tuple(value)
                self._watch(lambda key: key if key in value else None, keys, value, called)
            yield from ((one, called) for one in value)
        elif isinstance(value, MAPPINGS + LISTS):
            yield from self._inside_container(value, called)
        elif isinstance(value, FunctionType):
            yield from self._inside_function(value)
        elif isinstance(value, BuiltinFunctionType):
            yield value.__self__, called
        elif isinstance(value, MethodType):
            yield from ((value.__func__, called), (value.__self__, called))
        elif isinstance(value, property):
            yield value.fget, called
        elif isinstance(value, staticmethod | classmethod) or (
            _is_ours(value) and hasattr(value, "__wrapped__")  # what is compiled
        ):
            yield value.__wrapped__, called
        elif isinstance(value, partial):
            yield from ((value.func, called), (value.args, called), (value.keywords, called))
        else:
            yield from self._inside_object(value, called)

    def _inside_container(self, value: Any, called: str) -> Iterator[tuple[Any, str]]:
        is_mapping = isinstance(value, MAPPINGS)
        keys = tuple(value) if is_mapping else range(len(value))
        get = value.__getitem__
        if is_mapping:
            get = partial(dict.get, value) if isinstance(value, dict) else value.get
            ordered = partial(_ordered, value)
            self._watch(ordered, (keys,), None, f"the order of {called}")
        self._watch(get, keys, value, f"{called}[{{!r}}]")
        yield from ((value[key], f"{called}[{key!r}]") for key in keys)
        if hasattr(value, "__dict__"):
            yield from self._inside_object(value, called)

    def _inside_function(self, function: FunctionType) -> Iterator[tuple[Any, str]]:
        names = function.__code__.co_freevars
        for name, cell in zip(names, function.__closure__ or (), strict=True):
            self._watch(partial(_contents, cell), (name,), None, "{}")
            yield _contents(cell, name), name
        if not _is_library(function.__module__ or ""):
            of = f"{{}} of {function.__name__}"
            self._watch(partial(getattr, function), OF_FUNCTIONS, None, of)
            own = [name for name in vars(function) if name in self._users_names]
            self._watch(vars(function).get, own, None, of)
            yield from ((vars(function)[name], name) for name in own)
        yield function.__defaults__, f"a default of {function.__name__}"
        yield function.__kwdefaults__, f"a default of {function.__name__}"
        if hasattr(function, "__wrapped__"):
            yield function.__wrapped__, function.__name__

    def _inside_class(self, cls: type) -> Iterator[tuple[Any, str]]:
        """Watch what code may find in a class: attributes, and methods that run unnamed."""
        classes = [one for one in cls.__mro__ if not _is_library(one.__module__)]
        found = {
            name
            for one in classes
            for name, x in vars(one).items()
            if name in self._users_names or (name.startswith("__") and isinstance(x, FunctionType))
        }
        for one in classes:
            self._watch(vars(one).get, found, None, f"{one.__name__}.{{}}")
            yield from ((vars(one).get(name), f"{one.__name__}.{name}") for name in found)
        if classes:
            yield type(cls), cls.__name__

    def _inside_object(self, owner: Any, called: str) -> Iterator[tuple[Any, str]]:
        """Watch attributes, and where a class has one that an object may get for its own."""
        yield type(owner), type(owner).__name__
        of = f"{called}." if called else f"{type(owner).__name__}."
        attributes = getattr(owner, "__dict__", {})
        of_classes = [
            (cls, name)
            for cls in type(owner).__mro__
            for name, x in vars(cls).items()
            if not (name.startswith("__") or callable(x) or hasattr(x, "__get__"))
            and self._is_watched(owner, name, x)
        ]
        names = [name for name, x in attributes.items() if self._is_watched(owner, name, x)]
        names += [name for _, name in of_classes if name not in attributes]
        self._watch(attributes.get, names, attributes if self._reads_all else None, f"{of}{{}}")
        yield from ((attributes.get(name), of + name) for name in names)
        slots = [name for name in _slots_of(type(owner)) if self._is_watched(owner, name, None)]
        self._watch(partial(_slot, owner), slots, None, f"{of}{{}}")
        yield from ((_slot(owner, name), of + name) for name in slots)
        for cls, name in of_classes:
            self._watch(vars(cls).get, (name,), None, f"{cls.__name__}.{{}}")
            yield vars(cls)[name], f"{cls.__name__}.{name}"

    def _is_watched(self, owner: Any, name: str, value: Any) -> bool:
        """Whether code that ran may read an attribute; state of a layer of ours is recalled."""
        if (id(owner), name) in self._recalled:
            return False
        if isinstance(value, np.ndarray) and _is_ours(owner):
            return name in self._users_names
        is_heir = any(cls.__module__.startswith("tinygraph.") for cls in type(owner).__mro__)
        return self._reads_all or name in (self._names if is_heir else self._users_names)


def _module_of(outside: dict[str, Any]) -> str:
    return str(outside.get("__name__", ""))


_OURS, _NUMPYS, _PYTHONS = (
    os.path.join(os.path.dirname(file), "")
    for file in (os.path.dirname(__file__), np.__file__, os.__file__)
)


@cache
def _is_library(name: str) -> bool:
    """Whether a module is tinygraph's, NumPy's or Python's own, whose variables stay what they are.

    By where its file is: one of the user's may be called like one of Python's.
    """
    file = str(getattr(sys.modules.get(name), "__file__", None) or "")
    if not file:
        return name in sys.builtin_module_names
    inside = file.removeprefix(_PYTHONS)
    is_installed = inside.startswith(("site-packages", "dist-packages"))
    return file.startswith((_OURS, _NUMPYS)) or (inside != file and not is_installed)


def _is_ours(owner: Any) -> bool:
    return type(owner).__module__.partition(".")[0] == "tinygraph"


def _contents(cell: CellType, name: str) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # it has no value yet
        return None


def _ordered(value: Any, keys: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """Give the keys of a mapping, if they still stand in that order."""
    return keys if all(map(is_, value, keys)) else None


def _slots_of(cls: type) -> list[str]:
    found: list[str] = []
    for one in cls.__mro__:
        slots: Collection[str] = vars(one).get("__slots__", ())
        found += (slots,) if isinstance(slots, str) else slots
    return [name for name in found if name not in ("__dict__", "__weakref__")]


def _slot(owner: Any, name: str) -> Any:
    return getattr(owner, name, None)


def _can_change(array: Any) -> bool:
    """Whether the memory of an array can be written by somebody."""
    if not isinstance(array, np.ndarray):
        return True
    while isinstance(array, np.ndarray):
        if array.flags.writeable:
            return True
        array = array.base
    return array is not None
