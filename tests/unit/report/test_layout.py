"""Rows under headings, changes, counters: small things that every command prints."""

from __future__ import annotations

import pytest

from kproxy.core.document import Addition, Change, Removal, Replacement
from kproxy.report.changes import Mark, marked, services_of, summary
from kproxy.report.counters import SyncCounters
from kproxy.report.folding import fit, folded, listed
from kproxy.report.layout import aligned, printable

CHANGE = Change(
    {"a": Addition("shop/cart", 1), "b": Addition("base", 1)},
    {"c": Replacement("shop/cart", 1, 2)},
    {"d": Removal("shop/web", 1)},
)


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert list(aligned(("A", "LONGER"), [("wide cell", "x"), ("y", "")])) == [
        "A           LONGER",
        "wide cell   x",
        "y",
    ]


def test_without_headings_there_is_no_heading_line() -> None:
    assert list(aligned(("", ""), [("a", "b")])) == ["a   b"]


def test_no_cell_can_drive_a_terminal_or_make_a_line() -> None:
    (line,) = aligned(("",), [("\x1b[31mred\nline",)])
    assert line.isprintable()
    assert printable("plain é") == "plain é"


HEADINGS = ("NAME", "TEXT", "N")
ROWS = (("a", "several words of text", "1"), ("longest", "", "22"))


@pytest.mark.parametrize("room", range(18, 40))
def test_a_table_that_fits_is_no_wider_than_its_room_and_tears_no_word(room: int) -> None:
    fitted = fit(HEADINGS, ROWS, room)
    assert fitted is not None
    lines = list(folded(HEADINGS, ROWS, fitted))
    assert max(map(len, lines)) <= room
    assert sorted(" ".join(lines).split()) == sorted(
        " ".join(word for row in (HEADINGS, *ROWS) for word in row).split()
    )


def test_a_table_with_room_is_as_for_programs() -> None:
    fitted = fit(HEADINGS, ROWS, 100)
    assert fitted is not None
    assert list(folded(HEADINGS, ROWS, fitted)) == list(aligned(HEADINGS, ROWS))


def test_where_no_table_fits_each_cell_has_a_line() -> None:
    assert fit(HEADINGS, ROWS, 17) is None
    assert list(listed(HEADINGS, ROWS)) == [
        "NAME a",
        "TEXT several words of text",
        "N    1",
        "",
        "NAME longest",
        "N    22",
    ]


def test_a_table_without_rows_is_its_headings() -> None:
    fitted = fit(HEADINGS, (), 80)
    assert fitted is not None
    assert list(folded(HEADINGS, (), fitted)) == ["NAME   TEXT   N"]


def test_a_change_in_words() -> None:
    assert summary(CHANGE) == "2 added, 1 changed, 1 removed"
    assert services_of(CHANGE) == "shop/cart, shop/web"
    many = Change({str(n): Addition(f"shop/s{n}", 1) for n in range(9)}, {}, {})
    assert services_of(many) == "shop/s0, shop/s1, shop/s2 and 6 more"
    assert services_of(Change({}, {}, {})) == ""


def test_lines_of_a_change_are_told_apart_by_their_first_character() -> None:
    assert list(marked("+ a\n- b\n  c\n")) == [(Mark.ADDED, "+ a"), (Mark.REMOVED, "- b"), (Mark.CONTEXT, "  c")]


def test_counters_count_what_landed_only() -> None:
    once = SyncCounters().after(CHANGE, 0.5, 1, failed=False)
    assert once == SyncCounters(syncs=1, failures=0, refusals=1, added=2, changed=1, removed=1, last_s=0.5)
    assert once.after(CHANGE, 0.25, 0, failed=True) == SyncCounters(2, 1, 1, 2, 1, 1, 0.25)


def test_where_no_table_fits_and_there_is_no_row_the_headings_are_told() -> None:
    assert fit(HEADINGS, (), 8) is None
    assert list(listed(HEADINGS, ())) == ["NAME TEXT N"]
    assert list(listed(("", ""), ())) == []
