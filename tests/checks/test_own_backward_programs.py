"""`check` on backward passes that nobody wrote: emitted for random programs, and then broken."""

import ast
import inspect
import linecache

import numpy as np
import pytest
from helpers import examples
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from programs import ANALYTIC, KINKED, execute, programs

from tinygraph import Tensor, check, derive
from tinygraph.algebra.calling import Passes
from tinygraph.algebra.watching import source_of
from tinygraph.checks.repairs import Scope, edits

OPERATIONS = ANALYTIC | KINKED


def function(text, name):
    """Run the source of a module; give one of its functions, whose source can be read."""
    file = f"<emitted {hash(text)}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    space = {}
    exec(compile(text, file, "exec"), space)
    return space[name]


def emitted(program):
    """Give the module that is written for a program, and the arrays that it is run on."""
    shapes, _, seed = program
    rng = np.random.default_rng(seed)
    arrays = {f"x{k}": rng.normal(size=shape) for k, shape in enumerate(shapes)}
    leaves = [Tensor(x, name=name) for name, x in arrays.items()]

    def name(value, k, is_named):
        if is_named and isinstance(value, Tensor) and value.name is None:
            value.name = f"v{k}"

    with np.errstate(all="ignore"):
        out = execute(program, leaves, OPERATIONS, name)
    assume(isinstance(out, Tensor) and out.op is not None and np.isfinite(out.data).all())
    text = derive(out, format="python")
    forward = function(text, "forward")
    args = [arrays[name] for name in inspect.signature(forward).parameters]
    assume(args and all(x.ndim and x.size for x in args))
    return text, args


@settings(max_examples=examples(40), deadline=None)
@given(programs(OPERATIONS))
def test_a_right_backward_pass_is_never_flagged(program):
    text, args = emitted(program)
    report = check(function(text, "forward"), function(text, "backward"), *args)
    assert report.passed
    assert [str(line) for line in report.lines if line.passed is False] == []


def broken(text, data):
    """Change one line of the backward pass in one place; give the text and the line."""
    source = source_of(function(text, "backward"))
    statements = {one.first: one for one in source.statements.values()}
    lines = [
        number
        for number, one in sorted(statements.items())
        if isinstance(one.node, ast.Assign) and not isinstance(one.node.value, ast.Name | ast.Tuple)
    ]
    assume(lines)
    one = statements[data.draw(st.sampled_from(lines))]
    names = sorted({n.id for n in ast.walk(source.tree) if isinstance(n, ast.Name)} - {"np"})
    variants = [
        ast.unparse(ast.fix_missing_locations(changed))
        for _, changed in edits(one.node, Scope(names[:6], []))
    ]
    rows = text.splitlines()
    indent = " " * (len(rows[one.first - 1]) - len(rows[one.first - 1].lstrip()))
    rows[one.first - 1 : one.last] = [
        indent + data.draw(st.sampled_from(variants)),
        *[""] * (one.last - one.first),
    ]
    return "\n".join(rows) + "\n", one.first


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::SyntaxWarning")
@settings(
    max_examples=examples(200), deadline=None, suppress_health_check=[HealthCheck.filter_too_much]
)
@given(programs(OPERATIONS), st.data())
def test_a_planted_mistake_is_rejected_and_no_line_before_it_is_blamed(program, data):
    text, args = emitted(program)
    wrong, line = broken(text, data)
    forward, right = function(text, "forward"), function(text, "backward")
    rng = np.random.default_rng(0)
    try:
        passes = Passes(forward, function(wrong, "backward"), args)
        upstream = {name: rng.normal(size=x.shape) for name, x in passes.outputs.items()}
        found = passes.plain(upstream).gradients
    except (TypeError, ValueError, AttributeError, IndexError, NameError, SyntaxError):
        assume(False)
    expected = Passes(forward, right, args).plain(upstream).gradients
    assume(
        any(
            np.shape(g) != np.shape(expected[k]) or np.abs(g - expected[k]).max() > 1e-3
            for k, g in found.items()
        )
    )
    report = check(forward, function(wrong, "backward"), *args)
    assert not report.passed
    assert report.first_wrong is not None
    assert report.first_wrong.number >= line
