"""What the table of training steps compares is the same training."""

import pytest
import steps


def test_the_ways_of_the_table_agree():
    found = {"eager": steps.ours(), "replay": steps.ours("replay")}
    steps.check(found, 3)
    text = steps.table({name: [1e-3, 2e-3] for name in found})
    assert "| replay | 1000 µs | 1.00 | 1500 µs | 1.00 |" in text


def test_another_training_is_not_the_same():
    (run, move, step), eager = steps.ours("replay"), steps.ours()
    with pytest.raises(ValueError, match="the losses of replay differ"):
        steps.check({"eager": eager, "replay": (lambda: run() + 1e-15, move, step)}, 3)
