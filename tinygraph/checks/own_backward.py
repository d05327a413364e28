"""`check`: a person's own backward pass against autodiff, and which of its lines is wrong first.

The forward function is traced, so that autodiff knows the gradient of every variable. The backward
pass runs on plain arrays, and what its lines assign is held to those gradients, by name or by
value. **A line is wrong first if the results depend on it and nothing before it is wrong**: it is
given the right value, and whatever is right then was wrong only because of it.

**The upstream gradients are random, never ones.**
"""

from __future__ import annotations

import ast
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tinygraph.algebra.calling import Function, Passes, Written
from tinygraph.checks import diagnosis
from tinygraph.checks.guarding import random_signs
from tinygraph.checks.line_reports import BackwardReport, GradientVerdict, Line
from tinygraph.checks.marking import Mark, marks, wrong_results
from tinygraph.checks.mending import mend
from tinygraph.checks.reference import TOLERANCE, Known, Reference, error
from tinygraph.checks.variants import Forced, Variants
from tinygraph.engine.arrays import first_nonfinite
from tinygraph.graph.snapshot import Graph

__all__ = ["check"]

RUNS = 3
MOST_WRONG = 8
MOST_SECONDS = 3.0


def check(
    forward: Function,
    backward: Function,
    *args: Any,
    wrt: str | Sequence[str] | None = None,
    dout: Any = None,
    seed: int = 0,
    **kwargs: Any,
) -> BackwardReport:
    """Check a backward pass that was written by hand, line by line.

    Parameters
    ----------
    forward : callable
        A function of arrays, written with NumPy. It returns its result, or several, and what the
        backward pass needs besides: a tuple, a dictionary, an object.
    backward : callable
        The backward pass, as ``backward(dout, cache)`` or by the names of what it needs:
        ``backward(dout, x, gamma)``, where each parameter is an argument, a result or a variable
        of `forward`. It returns the gradients: one, a tuple in the order of the inputs or of
        variables called ``dx``, ``grad_x``, ``dL_dx``, a dictionary, or among other things.
    *args, **kwargs
        Arguments of `forward`. Arrays of floats are differentiated, in float64; all else is passed
        on, as a copy.
    wrt : str or sequence of str, optional
        The inputs whose gradients are asked for; by default all arrays of floats.
    dout : array_like or dict, optional
        The upstream gradient, or several by the name of the output; random by default, three times.
    seed : int, optional
        Of what is random, ``np.random`` in `forward` included.

    Returns
    -------
    BackwardReport

    Raises
    ------
    TypeError
        If one of the functions cannot be called so, or does not return what it should.
    ValueError
        If there is nothing to differentiate, an input or a result is not finite, or `dout` has
        another shape than the result.

    Notes
    -----
    Errors are measured in units of the gradient's largest entry, or of the terms that it is the
    sum of where they cancel. Lines of functions that `backward` calls are not looked into.

    Examples
    --------
    >>> import numpy as np
    >>> def forward(x, w):
    ...     s = x @ w
    ...     out = np.tanh(s)
    ...     return out, (x, w, out)
    >>> def backward(dout, cache):
    ...     x, w, out = cache
    ...     ds = dout * (1 - out)
    ...     return ds @ w.T, x.T @ ds
    >>> report = check(forward, backward, np.array([[0.5, 1.0]]), np.array([[1.0], [-2.0]]))
    >>> report.passed, [str(one) for one in report.gradients][0][:8]
    (False, 'dx: FAIL')
    """
    state = np.random.get_state()  # noqa: NPY002 - what the user's functions may draw from
    try:
        np.random.seed(seed % 2**32)  # noqa: NPY002
        return _Checked(Passes(forward, backward, args, kwargs, wrt=wrt), dout, seed).report()
    finally:
        np.random.set_state(state)  # noqa: NPY002


class _Checked:
    """A backward pass that has run for several upstream gradients."""

    def __init__(self, passes: Passes, dout: Any, seed: int) -> None:
        self.passes = passes
        for name, x in (*passes.inputs.items(), *passes.outputs.items()):
            if where := first_nonfinite(x.data):
                raise ValueError(f"check: {name} is {where}; gradients are checked where they are")
        self.upstream = _upstream(passes, dout, seed)
        graph = Graph.joint(list(passes.outputs.values()), values=True)
        self.lengths = graph.lengths
        self.references = [Reference(graph, [*one.values()]) for one in self.upstream]
        self.written = [passes.plain(one) for one in self.upstream]
        self.wrong = [
            wrong_results(written, reference, passes.inputs)
            for written, reference in zip(self.written, self.references, strict=True)
        ]
        self.variants = Variants(passes.backward, passes.source)
        # the first upstream gradient for which something is wrong
        self.run = next((k for k, wrong in enumerate(self.wrong) if wrong), 0)

    def report(self) -> BackwardReport:
        """Say what was found."""
        found = self._marks(self.written[self.run])
        state = self._state()
        first, cause, follows = None, state, set[Mark]()
        if any(self.wrong) and not state.startswith("non-determinism"):
            first, found, follows, cause = self._first_wrong(found)
        else:
            found = [_unheld(one) if one.passed is False else one for one in found]
        lines = self._lines(found, follows)
        at = None if first is None else next(one for one in lines if one.number == first.line)
        return BackwardReport(
            passed=not (any(self.wrong) or state),
            called=self.passes.called,
            lines=lines,
            first_wrong=at and replace(at, name=first.name if first else ""),
            cause=cause,
            gradients=tuple(self._verdicts()),
            unmatched=self._unmatched(found),
            notes=tuple(self._notes()),
            proof=None,
            tolerance=TOLERANCE,
            runs=len(self.upstream),
        )

    def _marks(self, written: Written) -> list[Mark]:
        return marks(written, self.references[self.run], self.passes.inputs)

    # ------------------------------------------------------------------ what is said besides

    def _state(self) -> str:
        """Tell what keeps the backward pass from being a function of what it is given."""
        again = self.passes.plain(self.upstream[0])
        for name, g in self.written[0].gradients.items():
            known = Known(
                name, name, "whole", np.asarray(g), float(np.max(np.abs(g), initial=0)) or 1
            )
            if not error(again.gradients.get(name, np.nan), known, exact_shape=True) <= TOLERANCE:
                return (
                    f"non-determinism: two runs on the same arguments give d{name} different "
                    "values; draw random numbers in the forward pass, and hand them on"
                )
        changed = [name for name in self.written[0].changed if name not in self._upstream_names()]
        if changed:
            return (
                f"changed state: the backward pass writes into {', '.join(changed)}, so that what "
                "comes after it, or a second call, finds other numbers; write into a copy"
            )
        return ""

    def _upstream_names(self) -> set[str]:
        return {slot.parameter.name for slot in self.passes.slots if slot.output}

    def _notes(self) -> list[str]:
        written, notes = self.written[0], []
        left = [k for k in self.passes.inputs if k not in written.gradients]
        reference = self.references[0]
        lost = [k for k in left if np.any(reference.gradient(k, ()).value)]
        if lost:
            notes.append(f"not returned: {', '.join(f'd{k}' for k in lost)}")
        if written.others:
            notes.append(f"returned besides: {', '.join(written.others)}")
        if self.passes.ignored:
            notes.append(f"without an upstream gradient: {', '.join(self.passes.ignored)}")
        over = [name for name in written.changed if name in self._upstream_names()]
        if over:
            notes.append(f"the backward pass writes into {', '.join(over)}, its caller's array")
        if written.printed:
            count = written.printed.count("\n") or 1
            notes.append(f"the backward pass prints {count} line{'s' * (count > 1)}, left out here")
        if not self.variants.possible:
            notes.append("the lines are not shown: the function has no source, or is wrapped")
        return notes

    def _verdicts(self) -> list[GradientVerdict]:
        verdicts = []
        for name, x in self.passes.inputs.items():
            given = [one.gradients[name] for one in self.written if name in one.gradients]
            errors = [
                error(g, reference.gradient(name, x.shape), exact_shape=True)
                for g, reference in zip(given, self.references, strict=False)
            ]
            if errors:
                shape = tuple(map(int, np.shape(given[0])))
                worst = max(errors)
                verdicts.append(
                    GradientVerdict(name, worst <= TOLERANCE, worst, shape, tuple(x.data.shape))
                )
        return verdicts

    def _lines(self, found: list[Mark], follows: set[Mark]) -> tuple[Line, ...]:
        """Give every statement, with the mark that says most about it."""
        source = self.passes.source
        if source is None:
            return ()
        rows = {}
        for statement in source.statements.values():
            here = [one for one in found if one.line == statement.first and one.passed is not None]
            here.sort(key=lambda one: (one.passed is True, one in follows))
            mark = here[0] if here else None
            if isinstance(statement.node, ast.Expr) and isinstance(
                statement.node.value, ast.Constant
            ):
                continue  # a docstring
            rows[statement.first] = Line(
                statement.first,
                "\n".join(source.lines[k] for k in range(statement.first, statement.last + 1)),
                mark.name if mark else "",
                mark.passed if mark else None,
                mark.error if mark else None,
                mark in follows,
                mark.known.name if mark and mark.known else "",
            )
        return tuple(rows[number] for number in sorted(rows))

    def _unmatched(self, found: list[Mark]) -> tuple[str, ...]:
        held = {one.name for one in found if one.known is not None}
        values = {one.name: one.value for one in found if one.name not in held}
        return tuple(name for name, x in values.items() if np.ndim(x) and np.any(x))

    # ------------------------------------------------------------------ which line is wrong first

    def _first_wrong(self, found: list[Mark]) -> tuple[Mark | None, list[Mark], set[Mark], str]:
        """Find the lines that are wrong of themselves; give the first, and what follows from it."""
        guilty, forced, innocent = list[Mark](), list[Forced](), set[tuple[int, str]]()
        failing = set(self.wrong[self.run])
        now, gradients = self._marks(self.written[self.run]), self.written[self.run].gradients
        while failing and len(guilty) < MOST_WRONG:
            suspect = next((one for one in now if self._is_suspect(one, innocent)), None)
            if suspect is None:
                break
            if suspect.is_result or not self._can_force(suspect):
                guilty.append(suspect)
                break
            trial = self._forced([*forced, _right(suspect)])
            if trial is None:
                guilty.append(suspect)
                break
            wrong = set(wrong_results(trial, self.references[self.run], self.passes.inputs))
            moved = any(
                not np.array_equal(trial.gradients[k], gradients[k], equal_nan=True)
                for k in failing
            )
            if not moved or wrong - failing:
                innocent.add((suspect.line, suspect.name))
                continue
            guilty.append(suspect)
            forced.append(_right(suspect))
            failing, now, gradients = wrong, self._marks(trial), trial.gradients
        places = {(one.line, one.name) for one in guilty}
        found = [_unheld(one) if (one.line, one.name) in innocent else one for one in found]
        follows = {o for o in found if o.passed is False and (o.line, o.name) not in places}
        if not guilty:
            return None, found, set(), ""
        return self._located(guilty[0], found, follows)

    def _is_suspect(self, one: Mark, innocent: set[tuple[int, str]]) -> bool:
        return one.passed is False and (one.line, one.name) not in innocent

    def _can_force(self, one: Mark) -> bool:
        return self.variants.possible and self.variants.can_force(one.line)

    def _forced(self, forced: list[Forced]) -> Written | None:
        function = self.variants.compiled(self.variants.forced(forced), forced)
        try:
            return self.passes.plain(self.upstream[self.run], function)
        except Exception:  # the right value may have a shape that what follows was not made for
            return None

    def _located(
        self, first: Mark, found: list[Mark], follows: set[Mark]
    ) -> tuple[Mark | None, list[Mark], set[Mark], str]:
        """Find what is wrong: in this line, or else in one before it that nothing was held to."""
        cause = self._by_numbers(first)
        self.until = time.perf_counter() + MOST_SECONDS
        if not self.variants.possible:
            return first, found, follows, cause
        if mended := self._mended(first, first.line):
            kind, text = mended
            cause = cause or _EXPLAINED[kind]
            return first, found, follows, f"{cause}; right would be `{text}`"
        for one in self._unheld_before(first, found):
            if mended := self._mended(first, one.line):
                kind, text = mended
                wrong = replace(one, passed=False)
                found = [wrong if mark is one else mark for mark in found]
                why = f"{_EXPLAINED[kind]}; right would be `{text}`"
                return wrong, found, follows | {first}, why
        return first, found, follows, cause

    def _unheld_before(self, first: Mark, found: list[Mark]) -> list[Mark]:
        """Give the lines that `first` comes from and that nothing was held to, the last first."""
        source = self.passes.source
        wanted, lines = set(source.statements[first.line].names if source else ()), []
        before = found[: found.index(first)] if first in found else found
        for one in reversed(before):
            if source and one.name.partition("[")[0] in wanted:
                wanted |= source.statements[one.line].names
                if one.passed is None and one.line != first.line:
                    lines.append(one)
        return lines

    def _mended(self, first: Mark, line: int) -> tuple[str, str] | None:
        """Look for a change of a line that makes `first` right, for two upstream gradients."""
        if not self.variants.can_change(line):
            return None
        known = first.known
        held = first if line == first.line and not first.is_result else None

        def is_right(value: Any) -> bool:
            return known is not None and error(value, known) <= TOLERANCE

        def helps(written: Written) -> bool:
            other = (self.run + 1) % len(self.references)
            return self._is_mended(first, written, other)

        upstream = self.upstream[(self.run + 1) % len(self.references)]
        names = self.variants.targets(line)
        alone = held is not None and names == [first.name]
        return mend(
            self.passes,
            self.variants,
            line,
            (self.upstream[self.run], upstream),
            is_right if alone else None,
            helps,
            until=self.until,
        )

    def _is_mended(self, first: Mark, written: Written, run: int) -> bool:
        """Whether in another run `first` is right, and no gradient is wrong that was right."""
        reference, inputs = self.references[run], self.passes.inputs
        wrong = set(wrong_results(written, reference, inputs))
        if (
            wrong - set(self.wrong[run])
            or written.gradients.keys() != self.written[0].gradients.keys()
        ):
            return False
        for one in marks(written, reference, inputs):
            if one.name == first.name and one.line == first.line:
                return one.passed is True
        return first.is_result and first.known is not None and first.known.of not in wrong

    def _by_numbers(self, first: Mark) -> str:
        """Tell the cause by the numbers alone."""
        known = first.known
        if known is None:
            return ""
        value, right = np.asarray(first.value, np.float64), known.value
        if not np.isfinite(value).all():
            return diagnosis.not_finite(known.of, value, right)
        if cause := diagnosis.wrong_shape(known.of, value, right):
            return cause
        if value.shape != right.shape:
            return ""
        reference = self.references[self.run]
        paths = {
            f"{part.via or 'another use'}, {part.name}": part.value
            for part in reference.parts(known.of)
        }
        at = next((one.value for one in reference.forward if one.of == known.of), None)
        return diagnosis.likely_cause(
            known.of, value, right, at=at, paths=paths, lengths=self.lengths
        )


# What is wrong with a line that one change of this kind makes right.
_EXPLAINED = {
    "axis": "axis: a sum goes over the wrong one",
    "constant": "factor: a number is another",
    "eps": "eps: it is added in another place than in the forward pass",
    "factor": "factor: there is one too many, one too few, or its inverse",
    "keepdims": "keepdims: a sum keeps an axis that it should not, or does not where it should",
    "mask": "mask: the comparison is another",
    "missing factor": "missing factor: a factor of the chain rule is not there",
    "missing path": "missing path: a term is not there",
    "overwritten": "overwritten: what arrived before is lost, or is added where it should not be",
    "power": "power: an exponent is another",
    "product": "product: a matrix product and one by entries are taken for each other",
    "quotient": "quotient: it is upside down",
    "sign": "sign: a term has the wrong one",
    "sum": "missing sum: something is to be summed, or is summed and should not be",
    "term": "term: there is one too many",
    "transpose": "transposed: a factor of a product is, or should be",
    "variable": "variable: one stands where another should",
}


def _right(one: Mark) -> Forced:
    """Give the right value of a variable, in the shape that it has where that is possible."""
    if one.known is None:
        raise ValueError(f"{one.name} is held to nothing")
    value, shape = one.known.value, np.shape(one.value)
    return Forced(
        one.line, one.name, value.reshape(shape) if value.size == np.prod(shape) else value
    )


def _unheld(one: Mark) -> Mark:
    """Hold to nothing what is called like a gradient and means something else."""
    return replace(one, known=None, passed=None, error=None)


def _upstream(passes: Passes, dout: Any, seed: int) -> list[dict[str, Any]]:
    """Draw upstream gradients, or take those that are given."""
    outputs = passes.outputs
    if not any(slot.output for slot in passes.slots):
        return [{name: np.ones(()) for name in outputs}]
    if dout is None:
        rng = np.random.default_rng(seed)
        return [
            {name: np.asarray(random_signs(rng, x.data.shape)) for name, x in outputs.items()}
            for _ in range(RUNS)
        ]
    given: Mapping[str, Any] = dout if isinstance(dout, dict) else dict.fromkeys(outputs, dout)
    if missing := [name for name in outputs if name not in given]:
        raise ValueError(f"check: dout has no upstream gradient for {', '.join(missing)}")
    arrays = {name: np.asarray(given[name], np.float64) for name in outputs}
    for name, x in outputs.items():
        if arrays[name].shape != x.data.shape:
            raise ValueError(
                f"check: dout has shape {arrays[name].shape}, but {name} has {x.data.shape}"
            )
    return [arrays]
