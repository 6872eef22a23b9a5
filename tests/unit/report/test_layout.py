"""Rows under headings, changes, counters: small things that every command prints."""

from __future__ import annotations

from kproxy.core.document import Addition, Change, Removal, Replacement
from kproxy.report.changes import Mark, marked, services_of, summary
from kproxy.report.counters import SyncCounters
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
