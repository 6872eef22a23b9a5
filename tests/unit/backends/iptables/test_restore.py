"""What iptables-restore is told, and what is read back from such text."""

from __future__ import annotations

import pytest

from backends.iptables import BACKEND
from backends.iptables.restore import inverse, restore_input, sections
from kproxy.core.chains import ChainId, Edit, Rules
from kproxy.core.document import diff
from kproxy.core.values import Family
from tests.unit.backends.iptables.plans import document
from tests.unit.backends.plans import cluster_ip, endpoints, port, service

HOOK, A, B, C = (ChainId("nat", name) for name in ("PREROUTING", "KPROXY-A", "KPROXY-B", "KPROXY-C"))
FILTER_A = ChainId("filter", "KPROXY-A")
ACCEPTS: Rules = ("-j ACCEPT",)


def text(changes: dict[ChainId, Edit], most: int | None = None) -> list[str]:
    return restore_input(sections(changes, most)).splitlines()


def test_a_new_chain_is_named_then_filled_and_a_jump_goes_to_the_head() -> None:
    assert text({HOOK: Edit(None, ("-j KPROXY-A",)), A: Edit(None, ("-s 192.0.2.1/32 -j RETURN", "-j ACCEPT"))}) == [
        "*nat",
        ":KPROXY-A - [0:0]",
        "-A KPROXY-A -s 192.0.2.1/32 -j RETURN",
        "-A KPROXY-A -j ACCEPT",
        "-I PREROUTING -j KPROXY-A",
        "COMMIT",
    ]


def test_a_chain_that_goes_is_emptied_first_and_its_jumps_go_before_it() -> None:
    assert text({HOOK: Edit(("-j KPROXY-A",), None), A: Edit(ACCEPTS, None)}) == [
        "*nat",
        ":KPROXY-A - [0:0]",
        "-D PREROUTING -j KPROXY-A",
        "-X KPROXY-A",
        "COMMIT",
    ]


def test_jumps_keep_their_order_at_the_head() -> None:
    lines = text({HOOK: Edit(("-j KPROXY-A", "-j KPROXY-A"), ("-j KPROXY-A", "-j KPROXY-B"))})
    assert lines[1:-1] == [
        "-D PREROUTING -j KPROXY-A",
        "-D PREROUTING -j KPROXY-A",
        "-I PREROUTING -j KPROXY-B",
        "-I PREROUTING -j KPROXY-A",
    ]


@pytest.mark.parametrize(
    ("old", "new", "first"), [(None, ACCEPTS, "*filter"), (ACCEPTS, None, "*nat"), (ACCEPTS, (), "*nat")]
)
def test_the_filter_table_comes_first_when_it_gains_refusals(old: Rules | None, new: Rules | None, first: str) -> None:
    lines = text({A: Edit((), ACCEPTS), FILTER_A: Edit(old, new)})
    assert lines[0] == first
    assert lines.count("COMMIT") == 2


def test_an_empty_change_is_no_text() -> None:
    assert text({}) == []


CHAIN_OF_CHAINS = {
    HOOK: Edit(None, ("-j KPROXY-A",)),
    A: Edit(None, ("-g KPROXY-B",)),
    B: Edit(None, ("-d 192.0.2.1/32 -g KPROXY-C",)),
    C: Edit(None, ACCEPTS),
}


def names(changes: dict[ChainId, Edit], most: int) -> list[list[str]]:
    return [[chain.chain for chain in section.edits] for section in sections(changes, most)]


def test_many_new_chains_come_in_portions_before_what_leads_to_them() -> None:
    assert names(CHAIN_OF_CHAINS, 1) == [["KPROXY-C"], ["KPROXY-B"], ["KPROXY-A"], ["PREROUTING"]]
    assert names(CHAIN_OF_CHAINS, 2) == [["KPROXY-C", "KPROXY-B"], ["KPROXY-A"], ["PREROUTING"]]
    assert len(names(CHAIN_OF_CHAINS, 3)) == 1


def test_many_old_chains_go_in_portions_after_what_led_to_them() -> None:
    gone = inverse(CHAIN_OF_CHAINS)
    assert names(dict(gone), 1) == [["PREROUTING"], ["KPROXY-A"], ["KPROXY-B"], ["KPROXY-C"]]


def test_chains_that_change_are_always_committed_together() -> None:
    changes = {chain: Edit((), ACCEPTS) for chain in (A, B, C)}
    assert names(changes, 1) == [["KPROXY-A", "KPROXY-B", "KPROXY-C"]]


def test_chains_in_a_circle_do_not_hang() -> None:
    circle = {A: Edit(None, ("-j KPROXY-B",)), B: Edit(None, ("-j KPROXY-A",)), C: Edit(None, ("-j KPROXY-C",))}
    assert sorted(name for part in names(circle, 1) for name in part) == ["KPROXY-A", "KPROXY-B", "KPROXY-C"]


CART = service("cart", port(cluster_ip("10.96.0.10"), cluster=endpoints("10.64.1.1", "10.64.1.2")))
MOVED = service("cart", port(cluster_ip("10.96.0.10"), cluster=endpoints("10.64.1.1", "10.64.1.3")))


def test_documents_are_rendered_one_below_the_other_with_the_tool_for_each() -> None:
    rendered = BACKEND.render({family: document(family=family) for family in Family})
    headers = [line for line in rendered.splitlines() if line.startswith("#")]
    assert [("ip6tables-restore" in line, "--noflush" in line) for line in headers] == [(False, True), (True, True)]
    assert ":PREROUTING" not in rendered, "naming a built-in chain would set its policy"


def test_a_change_reads_as_the_rules_that_go_and_come() -> None:
    change = diff(document(CART), document(MOVED))
    lines = BACKEND.render_change(Family.IPV4, change).splitlines()
    assert [(line[0], line.rpartition(" ")[2]) for line in lines] == [("-", "10.64.1.2:8080"), ("+", "10.64.1.3:8080")]
    assert lines[0].startswith("- nat -A KPROXY-SVC-")


def test_a_chain_that_comes_is_told_with_its_rules() -> None:
    lines = BACKEND.render_change(Family.IPV4, diff(document(), document(CART))).splitlines()
    (new,) = [line for line in lines if " -N " in line]
    assert new.startswith("+ nat -N KPROXY-SVC-")
    back = BACKEND.render_change(Family.IPV4, diff(document(CART), document())).splitlines()
    assert {line.translate(str.maketrans("+-", "-+", ""))[0] for line in lines} == {line[0] for line in back}
