"""What is printed for people and programs."""

from __future__ import annotations

import msgspec

from backends.ipvs import BACKEND
from backends.ipvs.names import EGRESS, POSTROUTING
from backends.ipvs.objects import Balance, Real, Server
from backends.ipvs.render import sections
from kproxy.core.document import diff
from kproxy.core.plan import Egress
from kproxy.core.planner import plan_node
from kproxy.core.values import Family
from tests import conformance

LAB = conformance.lab("iptables")
PLAN = plan_node(LAB.snapshot, LAB.settings, LAB.host, BACKEND.traits, LAB.family, None).plan
DOCUMENT = BACKEND.compile(PLAN, None).document


def test_each_section_says_which_program_reads_it() -> None:
    text = BACKEND.render({Family.IPV4: DOCUMENT})
    programs = [line.removeprefix("# ") for line in text.splitlines() if line.startswith("# ")]
    assert programs == [section.program for section in sections(Family.IPV4, DOCUMENT)]
    assert programs[1:] == ["ipset restore", "ipvsadm --restore", "iptables-restore --noflush", "ip -batch -"]


def test_a_change_names_what_comes_and_goes() -> None:
    owner = next(one for one in DOCUMENT if one.startswith("lab/c-local2"))
    less = {key: one for key, one in DOCUMENT.items() if key != owner}
    coming = BACKEND.render_change(Family.IPV4, diff(less, DOCUMENT))
    going = BACKEND.render_change(Family.IPV4, diff(DOCUMENT, less))
    assert {line[2:] for line in coming.splitlines()} == {line[2:] for line in going.splitlines()}
    assert all(line.startswith("+ ") for line in coming.splitlines())
    assert any("ipvsadm -a -t 10.96.1." in line for line in coming.splitlines())


def test_a_changed_scheduler_is_one_line_out_and_one_in() -> None:
    server = next(key for fragment in DOCUMENT.values() for key in fragment if isinstance(key, Server))
    change = diff({"x": {server: Balance("rr")}}, {"x": {server: Balance("mh", by_source=True)}})
    assert [line[0] for line in BACKEND.render_change(Family.IPV4, change).splitlines()] == ["-", "+"]
    assert "-b mh-fallback,flag-3" in BACKEND.render_change(Family.IPV4, change)


def test_addresses_of_ipv6_are_in_brackets() -> None:
    server = Server(None, "", 0, 7)
    text = sections(Family.IPV6, {"x": {server: Balance("rr", 600), Real(server, "fd00::1", 80): 1}})[2].text
    assert text == "-A -f 7 -6 -s rr -p 600 -M 128 -b flag-3\n-a -f 7 -6 -r [fd00::1]:80 -m -w 1\n"


def test_egress_leaves_alone_what_a_virtual_server_sends_on() -> None:
    """IPVS's connections are not translated in conntrack's eyes, so that is asked of IPVS itself."""
    asked = msgspec.structs.replace(PLAN, egress=Egress(PLAN.pods if isinstance(PLAN.pods, tuple) else ()))
    change = diff(DOCUMENT, BACKEND.compile(asked, None).document)
    text = BACKEND.render_change(Family.IPV4, change)
    assert "-m conntrack ! --ctstate DNAT -m ipvs ! --ipvs -j KPROXY-IPVS-EGRESS" in text
    assert {*change.added, *change.changed} == {EGRESS, POSTROUTING}
