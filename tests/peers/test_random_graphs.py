"""Random graphs of all primitives: three engines run them, and all derivatives must agree."""

from functools import partial

import pytest
from hypothesis import Phase, find, given, settings

from peers.engines import TOLERANCE, Tinygraph, agree, gaps
from peers.programs import programs
from tinygraph import Tensor, ops
from tinygraph.engine.autodiff import reachable

# The rows of the library are compared with NumPy's functions, call by call; see test_library.
LIBRARY = "tinygraph.engine.library"
WITH_RULES = {k: op for k, op in ops.TABLE.items() if op.rules and not op.home.startswith(LIBRARY)}
# Fewer than the comparisons with PyTorch, and the same at every run.
FOUND_WITHIN = settings(
    max_examples=300, phases=[Phase.generate], derandomize=True, database=None, deadline=None
)


@settings(max_examples=400)
@given(programs())
def test_random_graphs_agree_with_pytorch(pytorch, program):
    """To the third order."""
    agree(pytorch, program, program.leaves, program.dout, [program.direction] * 2)


@settings(max_examples=80)
@given(programs())
def test_random_graphs_agree_with_jax(jax, program):
    """To the second order; what takes the time is compiling."""
    agree(jax, program, program.leaves, program.dout, [program.direction])


# --- what the generator covers, and what the comparison rejects ---------------------------------


@pytest.mark.parametrize("op", WITH_RULES.values(), ids=str)
def test_the_generator_covers_every_primitive_with_a_rule(op):
    """A new row of the table needs an operation in `programs`, or else this finds no example."""

    def uses(program):
        values = program.values(Tinygraph.np, *map(Tensor, program.leaves))
        return op in {node.op for node in reachable(values)}

    assert uses(find(programs(), uses, settings=FOUND_WITHIN))


class Perturbed:
    """The rules of a primitive, of which the one of one input is changed."""

    def __init__(self, rules, position, change):
        self.rules, self.position, self.change = rules, position, change

    def __iter__(self):
        for position, rule in enumerate(self.rules):
            yield partial(self.change, rule) if position == self.position else rule


def rejected(peer, program):
    found = gaps(peer, program, program.leaves, program.dout, [program.direction])
    return [not gap <= TOLERANCE for gap in found]


EVERY_RULE = [
    pytest.param(op, position, id=f"{name}, input {position}")
    for name, op in WITH_RULES.items()
    for position, rule in zip(range(3), op.rules, strict=False)
    if rule is not None
]


@pytest.mark.parametrize(("op", "position"), EVERY_RULE)
def test_a_rule_that_is_off_by_a_thousandth_is_found(pytorch, monkeypatch, op, position):
    def change(rule, *args, **params):
        return 1.001 * rule(*args, **params)

    monkeypatch.setattr(op, "rules", Perturbed(op.rules, position, change))
    program = find(programs(), lambda p: any(rejected(pytorch, p)), settings=FOUND_WITHIN)
    monkeypatch.undo()
    assert not any(rejected(pytorch, program))


# These depend on what they are given beyond g; the others are linear or constant in pieces.
NONLINEAR = [
    *("mul", "div", "inverse", "square", "sqrt", "pow", "power", "exp", "log", "sin", "cos"),
    *("tanh", "matmul", "batchnorm"),
]


@pytest.mark.parametrize("name", NONLINEAR)
def test_a_rule_that_the_next_differentiation_takes_for_a_constant_is_found(
    pytorch, monkeypatch, name
):
    """Like a rule that reads what the forward pass saved: the second order alone is wrong."""

    def change(rule, g, *operands, **params):
        return rule(g, *(x.data if isinstance(x, Tensor) else x for x in operands), **params)

    op = ops.TABLE[name]
    monkeypatch.setattr(op, "rules", Perturbed(op.rules, 0, change))
    program = find(programs(), lambda p: any(rejected(pytorch, p)), settings=FOUND_WITHIN)
    assert rejected(pytorch, program) == [False, False, True]
