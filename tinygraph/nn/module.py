"""`Module`: something with parameters, made of smaller such things.

A module is an object with a ``__call__``. Its Tensors are parameters, its modules are its parts,
and so are those in its lists, tuples and dicts, however deep: nothing is registered, they are found
where they stand, in the order in which they were assigned. NumPy arrays that are attributes are
state that is kept but not trained.

`tinygraph.compile` replays what a module computes. What it does beside that, to draw at random or
to replace its state, it must therefore say (`tinygraph.engine.effects`)::

    class Centred(nn.Module):
        def __init__(self, features):
            self.mean = np.zeros(features)

        def __call__(self, x):
            moved = 0.9 * nn.recalled(self, "mean") + 0.1 * np.mean(nn.aside(x), axis=0)
            nn.performed(lambda mean: setattr(self, "mean", mean), moved)
            return x - moved
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Set
from reprlib import recursive_repr
from typing import Any, Self

import numpy as np

from tinygraph.engine.arrays import locked
from tinygraph.engine.tensor import Tensor
from tinygraph.engine.tracing import framed
from tinygraph.nn.state import Stateful, fitted

__all__ = ["Module", "as_tensor"]


class Module(Stateful):
    """Base class of everything that has parameters.

    A subclass assigns Tensors and modules to attributes and defines ``__call__``. Names are paths
    of attributes, places and keys: ``hidden.weight``, ``layers.0.bias``, ``blocks.0.1.weight``.

    Attributes
    ----------
    training : bool
        Whether it is in training mode, as it is at first; `train` and `eval` switch.

    Examples
    --------
    >>> from tinygraph import nn
    >>> class Residual(nn.Module):
    ...     def __init__(self, features):
    ...         self.inner = nn.Linear(features, features, rng=0)
    ...         self.scale = Tensor(0.1)
    ...
    ...     def __call__(self, x):
    ...         return x + self.scale * np.tanh(self.inner(x))
    >>> model = Residual(3)
    >>> [name for name, _ in model.named_parameters()]
    ['scale', 'inner.weight', 'inner.bias']
    >>> model
    Residual()
    └── inner: Linear(3, 3)
    """

    training: bool = True

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "__call__" in vars(cls):
            named = framed(cls.__call__, enter=Module._name_parameters)
            cls.__call__ = named  # type: ignore[method-assign]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Compute; subclasses say what."""
        raise NotImplementedError(f"{type(self).__name__} must define __call__")

    # ------------------------------------------------------------------ what it consists of

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """Give this module, called "", and all its parts, each once, a whole before its parts."""
        seen: set[int] = set()
        stack: list[tuple[str, Module]] = [("", self)]
        while stack:
            path, module = stack.pop()
            if id(module) in seen:
                continue
            seen.add(id(module))
            yield path, module
            parts = [(name, part) for name, part in module._members() if isinstance(part, Module)]
            stack += [(_joined(path, name), part) for name, part in reversed(parts)]

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Give all parameters by name, each once: a shared one under its first name.

        A Tensor that was computed from others is no parameter.
        """
        seen: set[int] = set()
        for path, module in self.named_modules():
            for name, value in module._members():
                if isinstance(value, Tensor) and value.op is None and id(value) not in seen:
                    seen.add(id(value))
                    yield _joined(path, name), value

    def parameters(self) -> list[Tensor]:
        """Give all parameters, each once, in the order of `named_parameters`."""
        return [p for _, p in self.named_parameters()]

    def _name_parameters(self) -> None:
        """Call parameters what `state_dict` calls them, where nobody has named them otherwise.

        A name that is the end of the path was given by a part of this module. They are looked for
        when it is called for the first time, and not in every turn of a training loop.
        """
        if vars(self).setdefault("_is_named", False):
            return
        vars(self)["_is_named"] = True
        for path, p in self.named_parameters():
            if p.name is None or path.endswith(f".{p.name}"):
                p.name = path

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for p in self.parameters():
            p.grad = None

    def _members(self) -> Iterator[tuple[str, Any]]:
        """Give attributes by name, and for containers what stands in them, each opened once."""
        opened: set[int] = set()
        stack: list[tuple[str, Any]] = list(vars(self).items())[::-1]
        while stack:
            name, value = stack.pop()
            if isinstance(value, Set) and any(isinstance(one, Tensor | Module) for one in value):
                raise TypeError(
                    f"{type(self).__name__}: {name} is a set, in which parts have no order and no "
                    "names; make it a list or a dict"
                )
            if not isinstance(value, list | tuple | deque | dict):
                yield name, value
            elif id(value) not in opened:
                opened.add(id(value))
                inside = value.items() if isinstance(value, dict) else enumerate(value)
                stack += [(f"{name}.{key}", one) for key, one in inside][::-1]

    def _state(self) -> dict[str, tuple[Any, str, Any]]:
        """Give all arrays that are state by name: whose attribute, which one, and the array."""
        found: list[tuple[str, Any, str, Any]] = [
            (name, p, "data", np.asarray(p.data)) for name, p in self.named_parameters()
        ]
        for path, module in self.named_modules():
            for key, value in vars(module).items():
                if isinstance(value, np.ndarray):
                    found.append((_joined(path, key), module, key, value))
        state: dict[str, tuple[Any, str, Any]] = {}
        for name, owner, key, array in found:
            if name in state:
                raise ValueError(
                    f"{type(self).__name__}: two arrays are called {name}; take other keys for one"
                )
            state[name] = owner, key, array
        return state

    # ------------------------------------------------------------------ modes

    def train(self, mode: bool = True) -> Self:
        """Switch this module and all its parts to training mode, and return it."""
        for _, module in self.named_modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Switch this module and all its parts to evaluation mode, and return it."""
        return self.train(False)

    # ------------------------------------------------------------------ state

    def state_dict(self) -> dict[str, Any]:
        """Give copies of all parameters and of all other state, such as running statistics.

        Returns
        -------
        dict
            Arrays by name.

        Examples
        --------
        >>> from tinygraph import nn
        >>> list(nn.BatchNorm(3).state_dict())
        ['gamma', 'beta', 'running_mean', 'running_var']
        """
        return {name: np.array(array) for name, (_, _, array) in self._state().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state that `state_dict` gave; all of it or, on an error, nothing.

        Parameters
        ----------
        state : mapping of str to array_like
            Is converted to the dtypes of this module.

        Raises
        ------
        ValueError
            If names are missing or unexpected or arrays have another shape; all are listed.
        TypeError
            If an array is not of numbers.
        """
        places = self._state()
        mine = {name: array for name, (_, _, array) in places.items()}
        not_negative = {
            name
            for name, (owner, key, _) in places.items()
            if isinstance(owner, Module) and key in owner.not_negative
        }
        new = fitted(type(self).__name__, mine, state, not_negative)
        for name, (owner, key, _) in places.items():
            setattr(owner, key, locked(new[name]))

    # ------------------------------------------------------------------ as text

    def _options(self) -> str:
        """Give what stands between the brackets when the module is printed."""
        return ""

    @recursive_repr("…")  # of a part that has a link to its whole
    def __repr__(self) -> str:
        lines = [f"{type(self).__name__}({self._options()})"]
        parts = [(name, part) for name, part in self._members() if isinstance(part, Module)]
        for k, (name, part) in enumerate(parts):
            branch, stem = ("└── ", "    ") if k == len(parts) - 1 else ("├── ", "│   ")
            first, *rest = repr(part).split("\n")
            lines += [f"{branch}{name}: {first}", *(stem + line for line in rest)]
        return "\n".join(lines)


def as_tensor(x: Any) -> Tensor:
    """Give `x` as it is if it is a Tensor, else as a new leaf."""
    return x if isinstance(x, Tensor) else Tensor(x)


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
