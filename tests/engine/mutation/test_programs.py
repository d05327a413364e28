"""Random programs that write in place are what NumPy makes of them; planted bugs are caught."""

from collections import Counter
from functools import cache

import numpy as np
import pytest
from in_place import Program, grown, judge

from tinygraph.engine import ops
from tinygraph.engine.mutation import adopting, cells, handle_functions, handles, places
from tinygraph.engine.mutation.adopting import Session
from tinygraph.engine.mutation.cells import Cell
from tinygraph.engine.mutation.handles import Array

program = cache(grown)


def verdicts(seeds):
    counted = Counter()
    for seed in seeds:
        verdict = judge(program(seed), seed)
        assert verdict.kind != "wrong", f"seed {seed}: {verdict}\n{program(seed).text}"
        counted[verdict.kind] += 1
    return counted


def test_random_programs_are_what_numpy_makes_of_them():
    counted = verdicts(range(120))
    assert counted["refused"] <= 12


@pytest.mark.slow
def test_many_random_programs_are_what_numpy_makes_of_them():
    counted = verdicts(range(120, 1620))
    assert counted["refused"] <= 150


# --- planted bugs -------------------------------------------------------------------------------


def _reshaped(x):
    return np.reshape(x, (-1,))


def _first_name_only(session, frame, variables):
    """Give every variable a handle of its own."""
    for name in frame.f_code.co_varnames:
        if adopting._is_adoptable(variables.get(name)):
            variables[name] = session._adopted(np.array(variables[name]))


def _recorded_only(array):
    cell = array._cell
    if cell is None:
        return array._held
    return cell.recorded if array._parent is None else NOW(array)


def _without_all(cell, region):
    number = int(region[(0,) * region.ndim]) if region.size else 0
    write = cell.writes.get(number)
    return number if write and places.same_place(write.region, region) else None


def _any_part_of_itself(array, key, value):
    if not (type(value) is Array and value._cell is array._place()):
        SET(array, key, value)


def _no_sign(array, cell, other):
    more = ADDEND(array, cell, other)
    return more if more is None else abs(more)


def _plus_equals(base, *operands, keys, expected=()):
    out = np.array(base)
    for key, value in zip(keys, operands, strict=False):
        out[key] += value
    return out


def _forward_slice(start, step, count, length):
    return slice(start, start + abs(step) * (count - 1) + 1, abs(step))


def _unordered_entries(view, layout):
    return tuple(part[::-1] for part in ENTRIES(view, layout))


NOW, SET, ADDEND = Array._now, Array.__setitem__, Array._addend
ENTRIES, RULE = places.entries, ops._assign_rule

PLANTED = {
    "an array is taken over that others hold": (adopting, "_references", lambda *_: adopting._ONE),
    "an entry is taken over that others hold": (
        adopting,
        "_entry_references",
        lambda *_: adopting._ENTRY,
    ),
    "two names of one array become two": (Session, "look", _first_name_only),
    "ravel is a view": (handle_functions.Array, "ravel", lambda x: x.viewed(_reshaped)),
    "a copy is an alias": (Array, "copy", lambda x, order="C": x),
    "flatten is a view": (Array, "flatten", lambda x, order="C": x.reshape(-1)),
    "a view does not see its base": (Array, "_is_current", lambda x: x._seen[1] is not None),
    "a base does not see its views": (Cell, "is_pending", lambda *_: False),
    "what is handed out is not up to date": (Array, "_now", _recorded_only),
    "writes that overlap are one burst": (Cell, "_make_room", lambda *_: None),
    "a repeated index is taken for two": (cells, "_repeats", lambda *_: False),
    "a repeated index is added twice": (handles, "names_once", lambda *_: True),
    "a repeated index is added once": (ops.assign_add, "forward", _plus_equals),
    "steps run forward": (places, "_slice", _forward_slice),
    "entries are in another order": (handles, "entries", _unordered_entries),
    "a value is not turned with its view": (handles, "turned", lambda value, *_: value),
    "a copy lies as its original": (handles, "in_rows", lambda value, order: value),
    "zeros lie in rows": (handle_functions, "_LIKE", set()),
    "a value is read that was overwritten": (Cell, "_number_of", _without_all),
    "a shift by one is taken for nothing": (Array, "__setitem__", _any_part_of_itself),
    "a difference is a sum": (Array, "_addend", _no_sign),
    "a row of a loop is a copy": (Array, "__iter__", lambda x: (x[i] * 1 for i in range(len(x)))),
    "gradients pass through what was overwritten": (
        ops.assign.rules,
        "rule",
        lambda position, g, *args, **kw: RULE(position, g, *args, **kw) if position else g,
    ),
    "a scalar is a view": (Array, "_read_at", lambda x, key: Array.__getitem__(x, (key, ...))),
}


SOON = [  # caught by one of the first few programs
    "a copy is an alias",
    "a view does not see its base",
    "a base does not see its views",
    "what is handed out is not up to date",
    "writes that overlap are one burst",
    "a repeated index is added once",
    "a difference is a sum",
    "gradients pass through what was overwritten",
]


@pytest.mark.parametrize(
    "bug", [bug if bug in SOON else pytest.param(bug, marks=pytest.mark.slow) for bug in PLANTED]
)
def test_a_planted_bug_is_caught(bug, monkeypatch):
    monkeypatch.setattr(*PLANTED[bug])
    for seed in range(MOST):
        try:
            if judge(program(seed), seed).kind == "wrong":
                return
        except Exception:
            continue
    raise AssertionError("not caught")


MOST = 400


def test_a_wrong_gradient_is_caught():
    """`judge` itself: the same values by another way, whose derivative is another."""
    right = Program(["v = x * 1", "v[0] = 0.5"], [np.ones(3), np.ones(3)], ["v"])
    wrong = Program(["v = x * 1", "v[0] = 0.5"], [np.ones(3), np.ones(3)], ["v"])
    wrong.plain = lambda args: [np.where([1, 0, 0], 0.5, args[0] * args[1])]
    assert judge(right).kind == "agrees"
    assert judge(wrong).kind == "wrong"
