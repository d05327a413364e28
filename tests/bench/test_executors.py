"""What is timed without the engine is what was found by hand."""

import executors
import numpy as np
import pytest


@pytest.mark.parametrize("size", [(4, 3, "float64"), (64, 100, "float32")])
def test_every_executor_is_checked_before_it_is_timed(size, monkeypatch):
    calls = executors.prepared(*size)
    assert {executors.LIMIT, "by hand, staged", "eager", "replay"} <= set(calls)
    wrong = executors.EXECUTORS["replay"]

    def off(*given):
        call = wrong(*given)
        return lambda: [g * 1.01 for g in call()]

    monkeypatch.setitem(executors.EXECUTORS, "replay", off)
    with pytest.raises(ValueError, match=r"replay, .* off by"):
        executors.prepared(*size)


def test_fast_sums_are_more_exact_than_numpys():
    found = executors.errors(rows=8192, columns=8, seeds=3)
    if np.array_equal(found["fast"], found["replay"]):
        pytest.skip("there is no compiler")
    assert np.all(found["fast"] < found["replay"])
