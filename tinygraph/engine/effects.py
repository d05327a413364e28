"""Effects: what a function does beside its result, so that a replay of its graph can do it again.

A layer draws at random, reads state and replaces it; a loss refuses labels that are no class. Of
what was computed that way a graph holds the numbers, and at the next call they would be those of
the first. So such code says what it does, in one of five ways, each of which is a plain call where
nobody listens:

- `drawn`: numbers at random, from a generator;
- `recalled`: an attribute that is replaced from call to call;
- `aside`: the value of a tensor, for what no gradient flows through;
- `performed`: a call with such values, which replaces state;
- `checked`: a call with such values, which may raise and does nothing else.

Where state is read again after it was replaced, as by a layer that is called twice, `replaced` says
what it is then.

Who replays a function runs it inside ``changed(effects=Effects())`` and finds them listed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygraph.engine import ops
from tinygraph.engine.arrays import held
from tinygraph.engine.lengths import Formula
from tinygraph.engine.primitive import Primitive
from tinygraph.engine.recording import current, entered
from tinygraph.engine.tensor import LEAF, Tensor, made, peek

__all__ = [
    "Act",
    "Effects",
    "Errstates",
    "Fetch",
    "aside",
    "checked",
    "drawn",
    "performed",
    "recalled",
    "replaced",
]


class Fetch:
    """An input that the function itself brings: a leaf, and how its value is had at each call."""

    def __init__(self, leaf: Tensor, read: Callable[[], Any], is_recalled: bool) -> None:
        self.leaf, self.read, self.is_recalled = leaf, read, is_recalled


class Act:
    """A call with arrays, which are the values of tensors or constants."""

    def __init__(self, call: Callable[..., Any], values: tuple[Any, ...]) -> None:
        self.call, self.values = call, values


class Effects:
    """What one run of a function does beside its result. Nothing is drawn or replaced meanwhile.

    Attributes
    ----------
    fetches : list of Fetch
        In the order of the calls.
    acts, checks : list of Act
    recalled : dict
        What is read anew at each call, by the id of the owner and the name of the attribute: how
        many acts came before it was first read.
    replaced : dict
        What an act replaces state by, for whom reads it again in the same call; by the same keys.
    written : list of Tensors
        What was written out as text.
    overwrites : bool
        Whether something was written into an argument.
    """

    def __init__(self) -> None:
        self.fetches: list[Fetch] = []
        self.acts: list[Act] = []
        self.checks: list[Act] = []
        self.recalled: dict[tuple[int, str], int] = {}
        self.replaced: dict[tuple[int, str], Tensor] = {}
        self.written: list[Tensor] = []
        self.overwrites = False
        self._copies: dict[int, tuple[Any, Any]] = {}

    def fetch(self, value: Any, read: Callable[[], Any], recalled: str | None = None) -> Tensor:
        """Give a leaf for what is read anew at each call: state of some name, or a draw."""
        array = np.array(value)
        leaf = made(Tensor, held(array if array.ndim else array[()]), LEAF, recalled)
        self.fetches.append(Fetch(leaf, read, recalled is not None))
        return leaf

    def recall(self, owner: Any, name: str, read: Callable[[], Any], *, is_changed: bool) -> Tensor:
        """Give a leaf for state as it is before all acts; what has replaced it since, if known."""
        key, acts = (id(owner), name), len(self.acts)
        if key in self.replaced and not is_changed:
            return self.replaced[key]
        if self.recalled.setdefault(key, acts) != acts:
            raise ValueError(
                f"compile: {name} of {owner!r} is read, replaced and read again in one call, but a "
                "replay reads all state at its beginning: call the layer once, on both batches "
                "together (np.concatenate), or compile a function for each"
            )
        return self.fetch(read(), read, name)

    def refuse_reading(self, formula: Formula) -> None:
        """Raise where a value becomes a plain number or array: it is another at the next call."""
        x = formula
        while isinstance(x, Formula):
            x = x.args[0]
        what = f"the value of {x.name or x.op or 'a tensor'}"
        does = "branches on" if formula.op == "truth" else "reads"
        raise ValueError(
            f"compile: the function {does} {what}, which would be that of the first call for good: "
            "write it with tensors (np.where for a branch, .detach() for a constant), return it to "
            "where it can be looked at, or look at it by nn.checked or nn.performed"
        )

    def copy_of(self, rng: Any) -> Any:
        """Give a generator that draws what `rng` would draw, and leaves it where it is."""
        if id(rng) not in self._copies:
            self._copies[id(rng)] = rng, copy.deepcopy(rng)  # rng, so that its id stays its own
        return self._copies[id(rng)][1]


class Errstates:
    """A hook that sees which of NumPy's warnings a function has for itself switched off, or on.

    It stands here and not where it is used, because `trace` names what it meets elsewhere.

    Attributes
    ----------
    of : dict
        What was said to `numpy.errstate`, by the index of what was computed so.
    """

    def __init__(self) -> None:
        self.of: dict[int, dict[str, str]] = {}

    @staticmethod
    def passed_over(error: str, flag: int) -> None:
        """Do nothing where something overflows: warnings are given when the program runs."""

    def computed(self, out: Tensor, op: Primitive, inputs: Sequence[Any]) -> None:
        """Take down what is not as it was when the function began."""
        own = {kind: str(what) for kind, what in np.geterr().items() if what != "call"}
        if own:
            self.of[out.index] = own

    def observer(self) -> None:
        """Ask for no gradients."""


def _here() -> Effects | None:
    effects: Effects | None = current().effects if entered.get() else None
    return effects


def drawn(rng: Any, draw: Callable[[Any], Any]) -> Any:
    """Draw at random: what is drawn is an input of a traced graph, named after its variable.

    Parameters
    ----------
    rng : numpy.random.Generator
        Or any other object that holds the state of what it draws.
    draw : callable
        ``draw(rng)`` gives an array. Its shape must follow from the shapes of the arguments.

    Returns
    -------
    ndarray or Tensor

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> drawn(rng, lambda rng: rng.random(3) < 0.5)
    array([False,  True,  True])
    """
    effects = _here()
    if effects is not None:
        return effects.fetch(draw(effects.copy_of(rng)), lambda: draw(rng))
    value = draw(rng)
    if entered.get() and current().tracing:
        return made(Tensor, held(np.array(value)), LEAF)
    return value


def recalled(owner: Any, name: str, change: Callable[[Any], Any] | None = None) -> Any:
    """Read an attribute that holds state.

    Parameters
    ----------
    owner : object
    name : str
    change : callable, optional
        What of it is wanted.

    Returns
    -------
    ndarray or Tensor

    Examples
    --------
    >>> from tinygraph import nn
    >>> recalled(nn.BatchNorm(2), "running_mean")
    array([0., 0.])
    """

    def read() -> Any:
        value = getattr(owner, name)
        return value if change is None else change(value)

    effects = _here()
    if effects is None:
        return read()
    return effects.recall(owner, name, read, is_changed=change is not None)


def aside(x: Any) -> Any:
    """Give the value of a tensor for what no gradient flows through; anything else as it is.

    Returns
    -------
    ndarray or Tensor

    Examples
    --------
    >>> aside(Tensor([1.0, 2.0]))
    array([1., 2.])
    """
    if not isinstance(x, Tensor):
        return x
    return peek(x) if _here() is None else ops.stop(x)


def performed(act: Callable[..., Any], *values: Any) -> None:
    """Do something with values, such as to replace state.

    Parameters
    ----------
    act : callable
        ``act(*arrays)``.
    *values : ndarray or Tensor
        As `aside` and `recalled` give them, or what was computed from those.

    Examples
    --------
    >>> seen = []
    >>> performed(seen.append, aside(Tensor(2.0)))
    >>> seen
    [np.float64(2.0)]
    """
    effects = _here()
    if effects is None:
        act(*map(_array, values))
    else:
        effects.acts.append(Act(act, _as_they_are(values)))


def replaced(owner: Any, **state: Any) -> None:
    """Say what an act that was just performed has replaced state by, so that it can be read again.

    Parameters
    ----------
    owner : object
    **state : ndarray or Tensor
        By the names of attributes.
    """
    effects = _here()
    if effects is not None:
        for name, value in state.items():
            effects.replaced[id(owner), name] = value.settled()


def checked(check: Callable[..., Any], *values: Any) -> None:
    """Let a function look at values, and raise if something is wrong; else it must do nothing.

    Parameters
    ----------
    check : callable
        ``check(*arrays)``.
    *values : ndarray or Tensor

    Examples
    --------
    >>> def check(labels):
    ...     if np.any(labels < 0):
    ...         raise ValueError("a label is negative")
    >>> checked(check, np.array([0, 1, -1]))
    Traceback (most recent call last):
        ...
    ValueError: a label is negative
    """
    check(*map(_array, values))
    if (effects := _here()) is not None:
        effects.checks.append(Act(check, _as_they_are(values)))


def _as_they_are(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Give the values that handles have now, whatever is written into them later."""
    return tuple([x.settled() if isinstance(x, Tensor) else x for x in values])


def _array(x: Any) -> Any:
    return peek(x) if isinstance(x, Tensor) else x
