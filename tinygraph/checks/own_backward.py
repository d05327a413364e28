"""`check`: a person's own backward pass against autodiff, and which of its lines is wrong first.

The forward function is traced, so that autodiff knows the gradient of every variable. The backward
pass runs on plain arrays, and what its lines assign is held to those gradients, by name or by
value. `blaming` has how the first wrong line is found.

**The upstream gradients are random, never ones.**
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tinygraph.algebra.calling import Function, Passes
from tinygraph.algebra.proof import prove
from tinygraph.checks.blaming import Blame, Runs, blame
from tinygraph.checks.guarding import random_signs
from tinygraph.checks.line_reports import BackwardReport, GradientVerdict, Line
from tinygraph.checks.marking import Mark
from tinygraph.checks.reference import TOLERANCE, Known, Reference, error
from tinygraph.engine.arrays import first_nonfinite
from tinygraph.graph.snapshot import Graph

__all__ = ["check"]

RUNS = 3
MOST_SECONDS = 2.0  # of a proof


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
    A backward pass that is right is also proved by `prove`, in no more than two seconds.

    Errors are measured in units of the gradient's largest entry, or of the terms that it is the
    sum of where they cancel. Lines of functions that `backward` calls are not looked into.

    To say why a line is wrong, `backward` is run some hundred times with that line changed, on
    copies and unseen; it should do nothing but compute.

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
        passes = Passes(forward, backward, args, kwargs, wrt=wrt)
        report = _report(_runs(passes, dout, seed))
        if not report.passed:
            return report
        return replace(report, proof=_proof(forward, backward, args, kwargs, wrt, seed))
    finally:
        np.random.set_state(state)  # noqa: NPY002


def _runs(passes: Passes, dout: Any, seed: int) -> Runs:
    for name, x in (*passes.inputs.items(), *passes.outputs.items()):
        if where := first_nonfinite(x.data):
            raise ValueError(f"check: {name} is {where}; gradients are checked at finite values")
        if not x.data.size:
            raise ValueError(f"check: {name} of shape {x.data.shape} is empty; nothing to check")
    upstream = _upstream(passes, dout, seed)
    graph = Graph.joint(list(passes.outputs.values()), values=True)
    references = [Reference(graph, [*one.values()]) for one in upstream]
    return Runs(passes, upstream, references, graph.lengths)


def _report(runs: Runs) -> BackwardReport:
    state = _changes_or_chance(runs)
    is_random = state.startswith("non-determinism")
    found = Blame(None, [], set(), "") if is_random else blame(runs)
    lines = _lines(runs, found)
    at = [one for one in lines if found.first is not None and one.number == found.first.line]
    return BackwardReport(
        passed=not (any(runs.wrong) or state),
        called=runs.passes.called,
        lines=lines,
        first_wrong=replace(at[0], name=found.first.name) if at and found.first else None,
        cause=found.cause or state,
        gradients=_verdicts(runs),
        unmatched=_unmatched(found.marks),
        notes=_notes(runs),
        proof=None,
        tolerance=TOLERANCE,
        runs=len(runs.upstream),
    )


# --------------------------------------------------------------------------- what is reported


def _lines(runs: Runs, found: Blame) -> tuple[Line, ...]:
    """Give every statement, with the mark that says most about it."""
    source, rows = runs.passes.source, dict[int, Line]()
    for statement in source.statements.values() if source else ():
        is_text = isinstance(statement.node, ast.Expr) and isinstance(
            statement.node.value, ast.Constant
        )
        if source is None or is_text:
            continue
        here = [
            one for one in found.marks if one.line == statement.first and one.passed is not None
        ]
        here.sort(key=lambda one: (one.passed is True, one in found.follows))
        mark = here[0] if here else None
        rows[statement.first] = Line(
            statement.first,
            "\n".join(source.lines[k] for k in range(statement.first, statement.last + 1)),
            mark.name if mark else "",
            mark.passed if mark else None,
            mark.error if mark else None,
            mark in found.follows,
            mark.known.name if mark and mark.known else "",
        )
    return tuple(rows[number] for number in sorted(rows))


def _verdicts(runs: Runs) -> tuple[GradientVerdict, ...]:
    verdicts = []
    for name, x in runs.passes.inputs.items():
        given = [one.gradients[name] for one in runs.written if name in one.gradients]
        if not given:
            continue
        worst = max(
            error(g, reference.gradient(name, x.data.shape), exact_shape=True)
            for g, reference in zip(given, runs.references, strict=False)
        )
        shape = tuple(map(int, np.shape(given[0])))
        verdicts.append(
            GradientVerdict(name, worst <= TOLERANCE, worst, shape, tuple(x.data.shape))
        )
    return tuple(verdicts)


def _unmatched(found: list[Mark]) -> tuple[str, ...]:
    held = {one.name for one in found if one.known is not None}
    values = {one.name: one.value for one in found if one.name not in held}
    return tuple(name for name, x in values.items() if np.ndim(x) and np.any(x))


def _changes_or_chance(runs: Runs) -> str:
    """Tell what keeps the backward pass from being a function of what it is given."""
    again, first = runs.passes.plain(runs.upstream[0], lines=False), runs.written[0]
    for name, g in first.gradients.items():
        g = np.asarray(g)
        known = Known(name, name, "whole", g, float(np.max(np.abs(g), initial=0.0)) or 1.0)
        if not error(again.gradients.get(name, np.nan), known, exact_shape=True) <= TOLERANCE:
            return (
                f"non-determinism: two runs on the same arguments give d{name} different "
                "values; draw random numbers in the forward pass, and hand them on"
            )
    upstream = _upstream_names(runs.passes)
    changed = [name for name in first.changed if name not in upstream]
    if not changed:
        return ""
    return (
        f"changed state: the backward pass writes into {', '.join(changed)}, so that what comes "
        "after it, or a second call, finds other numbers; write into a copy"
    )


def _notes(runs: Runs) -> tuple[str, ...]:
    passes, written, notes = runs.passes, runs.written[0], []
    left = [k for k in passes.inputs if k not in written.gradients]
    lost = [k for k in left if np.any(runs.references[0].gradient(k, ()).value)]
    if lost:
        notes.append(f"not returned: {', '.join(f'd{k}' for k in lost)}")
    if written.others:
        notes.append(f"returned besides: {', '.join(written.others)}")
    if passes.ignored:
        notes.append(f"without an upstream gradient: {', '.join(passes.ignored)}")
    over = [name for name in written.changed if name in _upstream_names(passes)]
    if over:
        notes.append(f"the backward pass writes into {', '.join(over)}, its caller's array")
    if written.printed:
        count = written.printed.count("\n") or 1
        notes.append(f"the backward pass prints {count} line{'s' * (count > 1)}, left out here")
    order = [k for k in passes.inputs if k in written.gradients]
    if isinstance(written.result, tuple | list) and order != list(written.gradients):
        notes.append(f"returned in another order than {', '.join(order)}")
    if any(runs.wrong) and not runs.variants.possible:
        notes.append("no change of a line was tried: the function is wrapped, or has no source")
    return tuple(notes)


def _proof(
    forward: Function,
    backward: Function,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    wrt: str | Sequence[str] | None,
    seed: int,
) -> str:
    """Say of which gradients the algebra proves that they are right, and for which lengths."""
    try:
        proof = prove(forward, backward, *args, wrt=wrt, seed=seed, limit_s=MOST_SECONDS, **kwargs)
    except Exception as error:  # what runs on arrays need not run traced, or at other lengths
        return f"none, because {str(error).partition(';')[0]}"
    said: dict[str, list[str]] = {}
    for name, verdict in proof.gradients.items():
        said.setdefault(f"{verdict} {proof.extents.get(name, '')}".strip(), []).append(name)
    text = "; ".join(f"{', '.join(names)}: {verdict}" for verdict, names in said.items())
    if fixed := [f"{k} = {why}" for k, why in proof.lengths.items() if why != "free"]:
        text += f"; {', '.join(fixed)}"
    assumed = f"; assuming {', '.join(proof.assumptions)}" if proof.assumptions else ""
    return text + assumed + (f" ({proof.reason})" if proof.reason else "")


def _upstream_names(passes: Passes) -> set[str]:
    return {slot.parameter.name for slot in passes.slots if slot.output}


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
