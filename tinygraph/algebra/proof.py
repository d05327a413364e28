"""`prove`: a backward pass that a person wrote is right for every batch size, or is not.

Both gradients are read as polynomials and subtracted. That is done at lengths that are different
primes, in which every number is read as a formula in the lengths, so that what cancels there
cancels at all lengths. A remainder is no refutation, since the normal form is not complete: refuted
is what differs in numbers, or whose remainder does, held against its own terms.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from tinygraph.algebra.atoms import Atom, Polynomial
from tinygraph.algebra.expressions import written
from tinygraph.algebra.lengths import name_parts
from tinygraph.algebra.numbers import Values, is_not_zero
from tinygraph.algebra.pairs import Code
from tinygraph.algebra.polynomials import Algebra, UndecidedError
from tinygraph.algebra.premises import branches, values_read
from tinygraph.algebra.settings import Fixed, Setting, Settings
from tinygraph.algebra.verdicts import HERE, PROVED, REFUTED, UNDECIDED, Counterexample, Proof
from tinygraph.algebra.wording import Wording
from tinygraph.graph import Graph, Node
from tinygraph.writing.formulas import Notation

__all__ = ["prove"]

MOST_FREE, MOST_WRITTEN = 5, 12


def prove(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    *args: Any,
    wrt: str | Sequence[str] | None = None,
    seed: int = 0,
    limit_s: float = 10.0,
    most_terms: int = 20_000,
    **kwargs: Any,
) -> Proof:
    """Prove that a backward pass gives the gradients of a forward function, or refute it.

    Parameters
    ----------
    forward : callable
        A function of arrays, written with NumPy.
    backward : callable
        Its backward pass, in any of the usual forms: ``backward(dout, cache)`` with what `forward`
        returned beside its result, or ``backward(dout, x, gamma)`` by the names of parameters and
        variables; it returns one gradient, a tuple or a dictionary.
    *args, **kwargs
        Of `forward`. Arrays of floats are what is differentiated; of their values nothing is used
        but to refute.
    wrt : str or sequence of str, optional
        The names of the inputs whose gradients are proved; by default all.
    seed : int, optional
        Of everything that is random.
    limit_s : float, optional
        Seconds after which the verdict is "undecided".
    most_terms : int, optional
        Of one expression; more are "undecided" too.

    Returns
    -------
    Proof
        Its `verdict` is ``"proved"``, ``"proved at these lengths"``, ``"refuted"`` or
        ``"undecided"``.

    Raises
    ------
    TypeError, ValueError
        If one of the functions cannot be called so, does not return what it should, or does what
        cannot be traced; or if there is no array of floats among the arguments.

    Notes
    -----
    What is proved is an identity of real numbers: no rounding, no overflow, and no division by what
    is zero, of which `Proof.assumptions` keeps the list. What code asked of lengths stands there
    too. Where it turns a length into a plain number (``str(N)``, ``N in {2, 3}``) and branches on
    that, only the lengths of the call and two sets of primes are held against each other; and code
    that keeps a state of its own between calls is judged by the calls that were made.

    Examples
    --------
    >>> def forward(x, w):
    ...     out = np.tanh(x * w)
    ...     return out, (x, w, out)
    >>> def backward(dout, cache):
    ...     x, w, out = cache
    ...     dz = dout * (1 - out) * (1 + out)
    ...     return dz * w, np.sum(dz * x, axis=0)
    >>> print(prove(forward, backward, np.ones((4, 3)), np.ones(3)))
    proved for all N and D: dx, dw
    """
    code = Code(forward, backward, args, kwargs, wrt, seed)
    return _Prover(code, limit_s, most_terms).proof()


class _Prover:
    """One question, and what has been found out about it."""

    def __init__(self, code: Code, limit_s: float, most_terms: int) -> None:
        self.code, self.limit_s = code, limit_s
        self.started = time.monotonic()
        self.pair = code.capture()
        self.values = Values(self.pair)
        self.fixed: dict[str, Fixed] = {}
        self.counterexample: Counterexample | None = None
        self.remainder, self.reason, self.at_work_on = "", "", ""
        self.settings: Settings | None = None
        try:
            self.settings = Settings(
                code,
                self.pair,
                most_terms=most_terms,
                end=self.started + limit_s,
                on_check=self._say,
            )
        except UndecidedError as error:
            self.reason = str(error)

    def proof(self) -> Proof:
        """Give the answer."""
        verdicts = {f"d{name}": self._verdict(name) for name in self.pair.gradients}
        order = (REFUTED, UNDECIDED, HERE, PROVED)
        verdict = min(verdicts.values(), key=order.index)
        proved = verdict in (PROVED, HERE)
        if verdict == REFUTED:
            self._check_repeatable()
        gradients = self.pair.joint.all_gradients
        asked = dict.fromkeys(str(g.of.name) for g in gradients if g.of.role == "input")
        fixed = max(self.fixed.values(), key=len, default=Fixed())
        return Proof(
            verdict,
            gradients=verdicts,
            lengths=self._lengths(fixed) if self.fixed else {},
            assumptions=tuple(self._assumptions()) if self.fixed else (),
            first_wrong=self.values.first_wrong() if verdict == REFUTED else None,
            counterexample=self.counterexample,
            remainder="" if proved else self.remainder,
            reason=self.reason if verdict == UNDECIDED else "",
            missing=tuple(f"d{name}" for name in asked if name not in self.pair.gradients),
            extents={name: self._extent(fixed) for name, fixed in self.fixed.items()},
        )

    # ------------------------------------------------------------------ one gradient

    def _verdict(self, name: str) -> str:
        """Decide about one gradient."""
        self.at_work_on = f"d{name}"
        engine, own = self.pair.total(name), self.pair.gradients[name]
        if self._refuted_by(self.values, name):
            return REFUTED
        if self.settings is None:
            return UNDECIDED
        if read := values_read(self.pair):
            self.reason = (
                f"the code reads values of {', '.join(read)} (by .data, .item() or an `if`), and "
                "may do something else at others; np.where chooses by values in a way to prove"
            )
            return UNDECIDED
        if engine is None or own is None:
            self.reason = f"d{name} was returned as an array that no recorded operation made"
            return UNDECIDED
        try:
            return self._by_algebra(self.settings, name, engine, own)
        except UndecidedError as error:
            self.reason = f"d{name}: {error}"
            return UNDECIDED

    def _by_algebra(self, settings: Settings, name: str, engine: Node, own: Node) -> str:
        everything, least = frozenset(settings.parts), settings.freest()
        left: Polynomial = {}
        setting: Setting | None = None
        for fixed in dict.fromkeys([least, everything]):
            setting = settings.at(fixed)
            if setting is not None:
                left = setting.difference(engine, own)
                if not left:
                    if fixed != least:
                        settings.why = settings.why or "holds at no other length that was tried"
                        fixed = self._least_fixed(settings, least, engine, own)
                    if fixed and self._refuted_by_labels(name):
                        return REFUTED
                    self.fixed[f"d{name}"] = fixed
                    return HERE if fixed else PROVED
        if setting is None:
            self.reason = f"d{name}: {settings.why}"
            return UNDECIDED
        return self._by_remainder(name, setting, left)

    def _least_fixed(self, settings: Settings, least: Fixed, engine: Node, own: Node) -> Fixed:
        """Find as few lengths as can be that have to stay as they are."""
        more = [part for part in settings.parts if part not in least]
        for size in range(1, len(more) if len(more) <= MOST_FREE else 2):
            for chosen in combinations(more, size):
                setting = settings.at(least | frozenset(chosen))
                if setting is not None and not setting.difference(engine, own):
                    return least | frozenset(chosen)
        return frozenset(settings.parts)

    def _by_remainder(self, name: str, setting: Setting, left: Polynomial) -> str:
        """Decide about a difference that does not cancel at the lengths of the call."""
        self.remainder = f"d{name} is off by {self._written(setting, left)}"
        if self._refuted_by_ties(name):
            return REFUTED
        if is_not_zero(setting, left):
            self.counterexample = self.counterexample or self.values.largest_difference(name)
            return REFUTED
        self.reason = f"d{name}: the difference does not cancel, and no number tells it from 0"
        return UNDECIDED

    def _check_repeatable(self) -> None:
        """Raise where the backward pass gives other gradients each time."""
        again = self.code.capture()
        values = Values(again)
        for name, found in again.returned.items():
            same = np.array_equal(found, self.pair.returned[name], equal_nan=True)
            engine, before = values.engine(name), self.values.engine(name)
            if not same and np.array_equal(engine, before, equal_nan=True):
                raise ValueError(
                    f"d{name} is another one each time that the backward pass is called; what is "
                    "random belongs into the forward pass, which hands it on"
                )

    def _refuted_by(self, values: Values, name: str) -> bool:
        found = values.counterexample(name)
        self.counterexample = self.counterexample or found
        return found is not None

    def _holds_at_one(self, part: int) -> bool:
        """Whether numbers agree where a length is 1."""
        try:
            pair = self.code.resized(self.pair.axes(), self.pair, {part: 1}, variant=1)
            values = Values(pair)
            return not any(values.counterexample(name) for name in pair.gradients)
        except Exception:  # the user's code, at a length that it may not be made for
            return False

    def _refuted_by_ties(self, name: str) -> bool:
        """Whether the two differ where values are equal, or 0: at small whole numbers."""
        rng = np.random.default_rng(self.code.seed)

        def fill(_: str | None, array: Any) -> Any:
            if array.dtype.kind != "f":
                return array
            return rng.integers(-1, 3, size=array.shape).astype(np.float64)

        return self._refuted_at(fill, name)

    def _refuted_by_labels(self, name: str) -> bool:
        """Whether the two differ at other labels: at free lengths they are others anyway."""
        rng = np.random.default_rng(self.code.seed)

        def fill(_: str | None, array: Any) -> Any:
            return rng.permuted(array) if array.dtype.kind in "iu" else array

        return bool(self.pair.labels) and self._refuted_at(fill, name)

    def _refuted_at(self, fill: Callable[[str | None, Any], Any], name: str) -> bool:
        try:
            pair = self.code.capture(fill)
        except Exception:  # the user's code, at values that it may not be made for
            return False
        return name in pair.returned and self._refuted_by(Values(pair), name)

    # ------------------------------------------------------------------ words

    def _say(self) -> None:
        """Tell a person who waits what is being done, once."""
        if self.at_work_on and time.monotonic() - self.started > 1:
            limit = f"for at most {self.limit_s:g} s"
            print(f"prove: at work on {self.at_work_on}, {limit}", file=sys.stderr)
            self.started = math.inf

    def _written(self, setting: Setting, p: Polynomial) -> str:
        if len(p) > MOST_WRITTEN:
            return f"{len(p)} terms"
        names = name_parts(setting.axes, setting.pair.joint)
        return written(Wording(setting.algebra, [setting.joint], names).polynomial(p))

    def _lengths(self, fixed: Fixed) -> dict[str, str]:
        settings = self.settings
        if settings is None:
            return {}
        names, length = name_parts(settings.axes, self.pair.joint), settings.axes.length
        found = {}
        for part in settings.parts:
            why = f"{length[part]}: {settings.why}" if part in fixed else "free"
            if part in settings.tied and part not in fixed:
                times, other = settings.tied[part]
                why = f"{times} · {names[other]}"
            found[names[part]] = why
        return found

    def _extent(self, fixed: Fixed) -> str:
        """Say for which lengths something is proved: "for all N and D"."""
        free = [name for name, why in self._lengths(fixed).items() if why == "free"]
        listed = " and ".join(filter(None, [", ".join(free[:-1]), *free[-1:]]))
        return f"for all {listed}" if listed else ""

    def _assumptions(self) -> list[str]:
        """Give what must be positive, under roots and logarithms, or not 0, below a line."""
        least = min(self.fixed.values(), key=len)
        setting = self.settings.at(least) if self.settings else None
        if setting is None:
            return []
        names = name_parts(setting.axes, setting.pair.joint)
        texts: dict[str, None] = {}
        positive = set[Atom]()
        for reader in (setting.joint, setting.own):
            notation = Notation(reader.graph)
            for node in reader.graph.nodes:
                for x, sign in _conditions(node) if node.role == "forward" else ():
                    p = reader.of[x.index]
                    bases = {atom for m in p for atom, _ in m}
                    safe = all(a in positive or _never_zero(setting.algebra, a) for a in bases)
                    if sign == ">" and len(p) == 1:
                        positive |= bases
                    if x.role != "constant" and not safe:
                        text = notation.reference(x) if x.name else notation.formula(x)
                        texts[f"{text} {sign} 0"] = None
        return [*texts, *branches(setting, names, self._holds_at_one), *_alone(self.pair.joint)]


def _alone(graph: Graph) -> list[str]:
    """Give the axes of length 1, along which nothing is told from a sum, a mean and a copy."""
    leaves = [node for node in graph.inputs if node.role == "input"]
    return [f"{x.name}.shape[{k}] = 1" for x in leaves for k, n in enumerate(x.shape) if n == 1]


def _conditions(node: Node) -> list[tuple[Node, str]]:
    """Give the operands that must be positive, or not 0, for an operation to have a slope."""
    name, inputs = str(node.op), node.inputs
    if name in ("sqrt", "log"):
        return [(inputs[0], ">")]
    if name in ("div", "inverse"):
        return [(inputs[-1], "≠")]
    if name == "pow" and not (node.params["n"] >= 0 and float(node.params["n"]).is_integer()):
        return [(inputs[0], ">" if float(node.params["n"]) % 1 else "≠")]
    return []


def _never_zero(algebra: Algebra, atom: Atom) -> bool:
    if atom.kind in ("length", "root") or (atom.kind == "call" and atom.data[0] == "exp"):
        return True
    if atom.kind == "sum":
        return all(_never_zero(algebra, a) for a, _ in atom.data[1])
    if atom.kind == "value":
        return all(c > 0 and all(_never_zero(algebra, a) for a, _ in m) for m, c in atom.data[0])
    return False
