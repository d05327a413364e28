"""`prove`: is a backward pass that a person wrote right, for every batch size?

Both gradients are read as polynomials and subtracted. That is done at lengths that are different
primes, in which every number is read as a formula in the lengths, so that what cancels there
cancels at all lengths. A remainder is no refutation, since the normal form is not complete: refuted
is what differs in numbers, or whose remainder does, held against its own terms.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import combinations
from typing import Any

import numpy as np

from tinygraph.algebra.axes import Axes
from tinygraph.algebra.evaluation import Evaluator
from tinygraph.algebra.expansion import expand, remainder
from tinygraph.algebra.expressions import written
from tinygraph.algebra.lengths import Formulas, name_parts, primes_besides
from tinygraph.algebra.atoms import Atom, Polynomial
from tinygraph.algebra.pairs import Code, Line, Pair
from tinygraph.algebra.polynomials import Algebra, UndecidedError
from tinygraph.algebra.reading import Reader
from tinygraph.algebra.spelling import gradient_of, part_of
from tinygraph.algebra.verdicts import (
    HERE,
    PROVED,
    REFUTED,
    UNDECIDED,
    Counterexample,
    Proof,
    Wrong,
)
from tinygraph.algebra.wording import Wording
from tinygraph.graph import Graph, Node
from tinygraph.graph.evaluation import evaluate
from tinygraph.writing.formulas import Notation

__all__ = ["prove"]

DIFFERENT = 1e-6
MOST_FREE = 5


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
    is zero, of which `Proof.assumptions` keeps the list.

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


@dataclass
class _Setting:
    """Both graphs at one choice of which lengths are free, read.

    Attributes
    ----------
    pair : Pair
        The graphs that were read.
    fixed : frozenset of int
        The parts whose lengths are those of the call.
    """

    algebra: Algebra
    pair: Pair
    axes: Axes
    joint: Reader
    own: Reader
    fixed: frozenset[int]

    def difference(self, engine: Node, own: Node) -> Polynomial:
        """Give what is left of the difference of two nodes."""
        ours, theirs = self.joint.of[engine.index], self.own.of[own.index]
        places = zip(self.joint.places[engine.index], self.own.places[own.index], strict=True)
        mapping = {b: a for mine, there in places for a, b in zip(mine, there, strict=True)}
        theirs = self.algebra.rename(theirs, mapping)
        return remainder(self.algebra, self.algebra.plus(ours, theirs, -1))


@dataclass
class _Prover:
    """One question, and what has been found out about it."""

    code: Code
    limit_s: float
    most_terms: int
    started: float = field(default_factory=time.monotonic)

    def proof(self) -> Proof:
        self.pair = self.code.capture()
        self.values = _Values(self.pair)
        self.settings: dict[frozenset[int], _Setting | None] = {}
        self.fixed: dict[str, frozenset[int]] = {}
        self.why_fixed = "holds at no other length that was tried"
        self.counterexample: Counterexample | None = None
        self.remainder, self.reason = "", ""
        self.said = False
        verdicts: dict[str, str] = {}
        self.axes: Axes | None = None
        try:
            self.axes = self.pair.axes()
        except UndecidedError as error:
            self.reason = str(error)
        for name in self.pair.gradients:
            self.at_work_on = f"d{name}"
            verdicts[f"d{name}"] = self._verdict(name)
        missing = [f"d{name}" for name in _asked(self.pair) if name not in self.pair.gradients]
        order = (REFUTED, UNDECIDED, HERE, PROVED)
        verdict = min(verdicts.values(), key=order.index, default=UNDECIDED)
        fixed = max(self.fixed.values(), key=len, default=frozenset[int]())
        return Proof(
            verdict,
            gradients=verdicts,
            lengths=self._lengths(fixed) if verdict in (PROVED, HERE) else {},
            assumptions=tuple(self._assumptions()) if self.fixed else (),
            first_wrong=self._first_wrong() if verdict == REFUTED else None,
            counterexample=self.counterexample,
            remainder=self.remainder if verdict in (REFUTED, UNDECIDED) else "",
            reason=self.reason if verdict == UNDECIDED else "",
            missing=tuple(missing),
            extents={name: self._extent(fixed) for name, fixed in self.fixed.items()},
        )

    # ------------------------------------------------------------------ one gradient

    def _verdict(self, name: str) -> str:
        """Decide about one gradient."""
        engine, own = self.pair.total(name), self.pair.gradients[name]
        if self._refuted_by_numbers(name, self.pair, self.values):
            return REFUTED
        if engine is None or own is None:
            self.reason = f"d{name} was returned as an array that no recorded operation made"
            return UNDECIDED
        if self.axes is None:
            return UNDECIDED
        try:
            return self._by_algebra(name, engine, own)
        except UndecidedError as error:
            self.reason = f"d{name}: {error}"
            return UNDECIDED

    def _by_algebra(self, name: str, engine: Node, own: Node) -> str:
        parts = frozenset(self._leaves())
        for fixed in (frozenset[int](), parts):
            setting = self._setting(fixed)
            left = {} if setting is None else setting.difference(engine, own)
            if setting is not None and not left:
                break
        else:
            return self._by_remainder(name, self.settings[parts], left)
        if fixed:
            fixed = self._least_fixed(engine, own, parts)
        self.fixed[f"d{name}"] = fixed
        return HERE if fixed else PROVED

    def _by_remainder(self, name: str, setting: _Setting | None, left: Polynomial) -> str:
        """Decide about a difference that does not cancel at the lengths of the call."""
        if setting is not None:
            self.remainder = f"d{name} is off by {self._written(setting, left)}"
        if self._refuted_by_ties(name):
            return REFUTED
        if setting is not None and self._is_not_zero(setting, left):
            self._take_counterexample(name, self.pair, self.values)
            return REFUTED
        self.reason = f"d{name}: the difference does not cancel, and no number tells it from 0"
        return UNDECIDED

    def _least_fixed(self, engine: Node, own: Node, parts: frozenset[int]) -> frozenset[int]:
        """Find as few lengths as can be that have to stay as they are."""
        few = sorted(parts) if len(parts) <= MOST_FREE else []
        for size in range(1, len(few)):
            for chosen in combinations(few, size):
                setting = self._setting(frozenset(chosen))
                if setting is not None and not setting.difference(engine, own):
                    return frozenset(chosen)
        return parts

    # ------------------------------------------------------------------ other lengths

    def _setting(self, fixed: frozenset[int]) -> _Setting | None:
        """Read both graphs with some lengths as they are; None where the code does not let them."""
        if fixed not in self.settings:
            self.settings[fixed] = self._read(fixed)
        return self.settings[fixed]

    def _read(self, fixed: frozenset[int]) -> _Setting | None:
        axes = self.axes
        if axes is None:
            return None
        free = [part for part in self._leaves() if part not in fixed]
        algebra = Algebra(
            most_terms=self.most_terms, limit_s=self.started + self.limit_s - time.monotonic()
        )
        algebra.on_check = self._say
        if not free:
            algebra.fixed = dict(axes.length)
            readers = [
                Reader(algebra, axes, graph, upstream=self.pair.upstream).read()
                for graph in (self.pair.joint, self.pair.own)
            ]
            return _Setting(algebra, self.pair, axes, readers[0], readers[1], fixed)
        primes = primes_besides([axes.length[part] for part in axes.length])
        taken = [{part: next(primes) for part in free} for _ in range(2)]
        pairs = [self._captured(axes, lengths, k) for k, lengths in enumerate(taken, 1)]
        one, other = pairs
        if one is None or other is None:
            return None
        first, second = one.axes(), other.axes()
        if not _alike(one, first, other, second):
            return None
        kept = {p: n for p, n in first.length.items() if second.length.get(p) == n}
        algebra.fixed = kept
        lengths = tuple(
            {p: n for p, n in a.length.items() if p not in kept} for a in (first, second)
        )
        readers = [
            Reader(
                algebra,
                first,
                a,
                Formulas(algebra, a, b, (lengths[0], lengths[1])),
                upstream=one.upstream,
            ).read()
            for a, b in ((one.joint, other.joint), (one.own, other.own))
        ]
        return _Setting(algebra, one, first, readers[0], readers[1], fixed)

    def _leaves(self) -> list[int]:
        """Give the parts that the inputs have."""
        axes, graph = self.axes, self.pair.joint
        places = [axes.of(graph, node) for node in graph.inputs] if axes else []
        return list(dict.fromkeys(p for place in places for axis in place for p in axis))

    def _captured(self, axes: Axes, lengths: Mapping[int, int], variant: int) -> Pair | None:
        try:
            pair = self.code.resized(axes, self.pair, lengths, variant=variant)
        except Exception as error:  # the user's code, at lengths that it may not be made for
            text = " ".join(str(error).split()) or type(error).__name__
            self.why_fixed = f"the code does not run at other lengths ({text[:80]})"
            return None
        if pair.structure() != self.pair.structure():
            self.why_fixed = "the code does other things at other lengths"
            return None
        return pair

    # ------------------------------------------------------------------ numbers

    def _refuted_by_numbers(self, name: str, pair: Pair, values: _Values) -> bool:
        """Whether the two differ at a point by more than rounding does."""
        engine, own = values.engine(name), pair.returned[name]
        if engine is None:
            return False
        differs = engine.shape != own.shape or _differ(engine, own)
        if differs:
            self._take_counterexample(name, pair, values)
        return differs

    def _refuted_by_ties(self, name: str) -> bool:
        """Whether the two differ where values are equal, or 0: at small whole numbers."""
        rng = np.random.default_rng(self.code.seed)

        def fill(_: str, array: Any) -> Any:
            if array.dtype.kind != "f":
                return array
            return rng.integers(-1, 3, size=array.shape).astype(np.float64)

        try:
            pair = self.code.capture(fill)
        except Exception:  # the user's code, at values that it may not be made for
            return False
        if name not in pair.returned:
            return False
        return self._refuted_by_numbers(name, pair, _Values(pair))

    def _is_not_zero(self, setting: _Setting, left: Polynomial) -> bool:
        """Whether a remainder is no 0 that the normal form misses: by its value at the inputs."""
        inputs = {}
        for node in setting.pair.joint.inputs:
            parts = [p for axis in setting.axes.of(setting.pair.joint, node) for p in axis]
            array = np.asarray(setting.pair.inputs[str(node.name)])
            inputs[str(node.name)] = array.reshape([setting.axes.length[p] for p in parts])
        try:
            with np.errstate(all="ignore"):
                left = expand(setting.algebra, left)
                value, terms = Evaluator(inputs, setting.axes.length)(left)
        except (UndecidedError, KeyError):
            return False
        size, scale = np.max(np.abs(value), initial=0), np.max(terms, initial=0)
        return bool(np.isfinite(size) and size > DIFFERENT * scale)

    def _take_counterexample(self, name: str, pair: Pair, values: _Values) -> None:
        if self.counterexample is None:
            self.counterexample = Counterexample.at_largest(
                f"d{name}", pair.inputs, values.engine(name), pair.returned[name]
            )

    # ------------------------------------------------------------------ which line

    def _first_wrong(self) -> Wrong | None:
        """Find the first line of the backward pass whose value is no gradient of that name."""
        variables = list(self.values.names())
        given = {name for name in self.pair.inputs}
        for line in self.pair.lines:
            of = gradient_of(line.name, variables)
            part = None if of else part_of(line.name, variables)
            if line.name in given or (of is None and part is None):
                continue
            found = self.values.own(line)
            if of is not None:
                expected = [self.values.engine(of)]
            else:
                expected = [*self.values.parts(str(part)).values()]
            if expected and all(e is not None and _differ(e, found) for e in expected):
                return Wrong(line.number, line.name, self._cause(of, found))
        for name in self.pair.gradients:
            engine, own = self.values.engine(name), self.pair.returned[name]
            if engine is not None and (engine.shape != own.shape or _differ(engine, own)):
                return Wrong(None, f"d{name}", self._cause(name, own))
        return None

    def _cause(self, of: str | None, found: Any) -> str:
        """Say which path is missing, where one is."""
        expected = None if of is None else self.values.engine(of)
        if of is None or expected is None or expected.shape != np.shape(found):
            return ""
        for name, part in self.values.parts(of).items():
            if not _differ(expected - found, part):
                return f"d{of} lacks {name}"
        with np.errstate(all="ignore"):
            ratio = np.asarray(found / expected).ravel()
        factor = Fraction(float(ratio[0])).limit_denominator(1000) if ratio.size else None
        if factor and np.isfinite(ratio).all() and not _differ(ratio, ratio * 0 + float(factor)):
            return f"d{of} is {factor} times too large" if factor > 0 else f"d{of} is times {factor}"
        return ""

    # ------------------------------------------------------------------ words

    def _say(self) -> None:
        if not self.said and time.monotonic() - self.started > 1:
            self.said = True
            print(
                f"prove: at work on {self.at_work_on}, for at most {self.limit_s:g} s",
                file=sys.stderr,
            )

    def _wording(self, setting: _Setting) -> Wording:
        names = name_parts(setting.axes, setting.pair.joint)
        return Wording(setting.algebra, [setting.joint], names)

    def _written(self, setting: _Setting, p: Polynomial) -> str:
        if len(p) > 12:
            return f"{len(p)} terms"
        return written(self._wording(setting).polynomial(p))

    def _lengths(self, fixed: frozenset[int]) -> dict[str, str]:
        axes = self.axes or self.pair.axes()
        names = name_parts(axes, self.pair.joint)
        return {
            names[part]: f"{axes.length[part]}: {self.why_fixed}" if part in fixed else "free"
            for part in self._leaves()
        }

    def _extent(self, fixed: frozenset[int]) -> str:
        """Say for which lengths something is proved: "for all N and D"."""
        free = [name for name, why in self._lengths(fixed).items() if why == "free"]
        listed = " and ".join(filter(None, [", ".join(free[:-1]), *free[-1:]]))
        return f"for all {listed}" if listed else ""

    def _assumptions(self) -> list[str]:
        """Give what must be positive, under roots and logarithms, or not 0, below a line."""
        setting = next(s for s in self.settings.values() if s is not None)
        texts: list[str] = []
        for reader in (setting.joint, setting.own):
            notation = Notation(reader.graph)
            for node in reader.graph.nodes:
                for x, sign in _conditions(node):
                    is_safe = sign == "≠" and _is_root(setting.algebra, reader.of[x.index])
                    if x.role != "constant" and not is_safe:
                        text = notation.reference(x) if x.name else notation.formula(x)
                        texts.append(f"{text} {sign} 0")
        return list(dict.fromkeys(texts))


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


def _is_root(algebra: Algebra, p: Polynomial) -> bool:
    """Whether a value is not 0 because of what was assumed of a root, or because exp is not."""
    return len(p) == 1 and all(
        _never_zero(algebra, atom) or Fraction(e).denominator > 1 for m in p for atom, e in m
    )


class _Values:
    """The values of both gradients at one point."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self._engine, self._own = (self._at(graph, pair.inputs) for graph in (pair.joint, pair.own))

    def _at(self, graph: Graph, inputs: Mapping[str, Any]) -> dict[int, Any]:
        values = {node.index: inputs[str(node.name)] for node in graph.inputs}
        with np.errstate(all="ignore"):
            evaluate(graph.nodes, values)
        return values

    def names(self) -> list[str]:
        return [str(g.of.name) for g in self.pair.joint.all_gradients if g.of.name]

    def engine(self, name: str) -> Any:
        node = self.pair.total(name)
        return None if node is None else np.asarray(self._engine[node.index])

    def parts(self, name: str) -> dict[str, Any]:
        return {k: np.asarray(self._engine[n.index]) for k, n in self.pair.parts(name).items()}

    def own(self, line: Line) -> Any:
        return np.asarray(self._own[line.node.index])


def _asked(pair: Pair) -> list[str]:
    return [str(node.name) for node in pair.joint.inputs if node.role == "input"]


def _alike(one: Pair, first: Axes, other: Pair, second: Axes) -> bool:
    """Whether the axes of two pairs have the same parts."""
    return all(
        first.of(a, n) == second.of(b, m)
        for a, b in ((one.joint, other.joint), (one.own, other.own))
        for n, m in zip(a.nodes, b.nodes, strict=True)
    )


def _differ(a: Any, b: Any) -> bool:
    """Whether numbers differ by more than rounding; what is not finite tells nothing."""
    try:
        a, b = np.broadcast_arrays(a, b)
    except ValueError:
        return True
    if not (a.size and np.isfinite(a).all() and np.isfinite(b).all()):
        return False
    scale = max(np.max(np.abs(a)), np.max(np.abs(b)))
    return bool(np.max(np.abs(a - b)) > DIFFERENT * max(scale, 1e-9))


def _never_zero(algebra: Algebra, atom: Atom) -> bool:
    if atom.kind in ("length", "root") or (atom.kind == "call" and atom.data[0] == "exp"):
        return True
    if atom.kind == "sum":
        return all(_never_zero(algebra, a) for a, _ in atom.data[1])
    if atom.kind == "value":
        return all(c > 0 and all(_never_zero(algebra, a) for a, _ in m) for m, c in atom.data[0])
    return False


