"""Tables of text: cells in line whatever letters they hold, and a line per row."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygraph.writing.tables import printable, table

HEAD = ("k", "name")


def test_columns_begin_or_end_in_line():
    rows = [("1", "mu"), ("10", "sqrtvar")]
    assert table(HEAD, rows) == ["k   name", "--  -------", "1   mu", "10  sqrtvar"]
    assert table(HEAD, rows, right=[0]) == [" k  name", "--  -------", " 1  mu", "10  sqrtvar"]
    assert table(HEAD, rows, right=[0, 1])[2:] == [" 1       mu", "10  sqrtvar"]


def test_without_rows_there_is_a_head():
    assert table(HEAD, []) == ["k  name", "-  ----"]


def test_a_row_with_too_few_cells_is_refused():
    with pytest.raises(ValueError, match="zip"):
        table(HEAD, [("1",)])


@pytest.mark.parametrize(
    ("name", "columns"), [("mu", 2), ("方差", 4), ("e\u0301", 1), ("ẋ", 1), ("Ａ", 2), ("µ′", 2)]
)
def test_a_letter_takes_the_columns_that_a_terminal_gives_it(name, columns):
    _, rule, line = table(("name", "x"), [(name * 3, "|")])
    assert rule == "-" * max(4, 3 * columns) + "  -"
    assert line == name * 3 + " " * (max(4, 3 * columns) - 3 * columns) + "  |"


@given(st.lists(st.tuples(st.text(max_size=4), st.text(max_size=4)), max_size=5))
def test_a_row_is_one_line_and_no_letter_is_lost(rows):
    lines = table(HEAD, rows)
    assert len(lines) == 2 + len(rows)
    for line, cells in zip(lines[2:], rows, strict=True):
        assert line.isprintable()
        shown = "".join(c if c.isprintable() else " " for cell in cells for c in cell)
        assert line.replace(" ", "") == shown.replace(" ", "")


def test_what_would_leave_its_line_becomes_a_space():
    assert printable("a\nb\tc\u2028d") == "a b c d"
    assert printable("Σ x·y") == "Σ x·y"
