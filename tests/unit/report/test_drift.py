from __future__ import annotations

from backends.iptables import BACKEND as IPTABLES
from backends.ipvs import BACKEND as IPVS
from backends.ipvs.objects import Member, Real, Server, SetId, Sysctl, Timeouts, Vip
from backends.nftables import BACKEND as NFTABLES
from backends.nftables.objects import Element, element_id
from kproxy.core.chains import ChainId
from kproxy.core.document import LEAVING, Addition, Change, Content, ObjectId, Removal, Replacement
from kproxy.core.values import Family, Protocol
from kproxy.ports import Backend, Subject
from kproxy.report.drift import Deed, Drift, Drifts, Noticed, drift_told_by
from kproxy.report.events import drifted

SERVER = Server(Protocol.TCP, "10.96.0.10", 80)
BY = ("iptables (process 9)",)


def told(repair: Change, backend: Backend = IPTABLES) -> Drift:
    return drift_told_by(repair, backend, Family.IPV4, Noticed.TOLD, BY)


def change(
    added: tuple[ObjectId, ...] = (), changed: tuple[ObjectId, ...] = (), removed: tuple[ObjectId, ...] = ()
) -> Change:
    return Change(
        {key: Addition("base", ()) for key in added},
        {key: Replacement("base", (), ("r",)) for key in changed},
        {key: Removal("kernel", ()) for key in removed},
    )


def test_what_a_repair_adds_had_been_removed_and_so_on() -> None:
    ours, jump = ChainId("nat", "KPROXY-SERVICES"), ChainId("nat", "PREROUTING")
    drift = told(change((ours, jump), (ChainId("nat", "KPROXY-VIPS"),), (ChainId("nat", "KPROXY-X"),)))
    assert drift.counts == {
        ("chain", Deed.REMOVED): 1,
        ("jump", Deed.REMOVED): 1,
        ("chain", Deed.CHANGED): 1,
        ("chain", Deed.ADDED): 1,
    }
    assert drift.objects == 4
    assert (drift.noticed, drift.by) == (Noticed.TOLD, BY)


def test_a_few_objects_are_named_and_the_others_counted() -> None:
    drift = told(change(tuple(ChainId("nat", f"KPROXY-{number}") for number in range(5))))
    assert drift.summary == "5 chains removed"
    assert (
        drift.examples
        == "chain nat KPROXY-0 removed; chain nat KPROXY-1 removed; chain nat KPROXY-2 removed and 2 more"
    )
    assert told(change((Vip("10.96.0.10"), Vip("10.96.0.11"))), IPVS).summary == "2 addresses removed"


def test_what_was_let_go_before_and_is_to_go_now_is_no_drift() -> None:
    leaving = Change({}, {}, {Real(SERVER, "10.64.1.10", 8080): Removal(LEAVING, 0)})
    assert not told(leaving, IPVS)
    assert told(leaving, IPVS).counts == {}


def test_every_kind_of_object_has_a_word_and_a_name() -> None:
    def subject(key: ObjectId, content: Content = None, backend: Backend = IPVS) -> Subject:
        return backend.subject(Family.IPV4, key, content)

    assert subject(SERVER) == Subject("virtual server", "tcp 10.96.0.10:80")
    assert subject(Real(SERVER, "10.64.1.10", 8080)).kind == "real server"
    assert subject(Vip("10.96.0.10")) == Subject("address", "10.96.0.10")
    assert subject(SetId("KPROXY-4-ANY")) == Subject("set", "KPROXY-4-ANY")
    assert subject(Member("KPROXY-4-ANY", Protocol.TCP, "10.96.0.10", 80)).kind == "set member"
    assert subject(Sysctl("net.ipv4.vs.conntrack")) == Subject("kernel parameter", "sysctl net.ipv4.vs.conntrack")
    assert subject(Timeouts()).kind == "connection timeout"
    assert subject(ChainId("mangle", "PREROUTING")) == Subject("jump", "mangle PREROUTING")
    address = bytes((10, 96, 0, 10))
    element = subject(element_id("cluster-ips", address), Element(), NFTABLES)
    assert element == Subject("element", "cluster-ips { 10.96.0.10 }")
    assert subject("chain dispatch", None, NFTABLES) == Subject("chain", "dispatch")


def test_totals_remember_the_last_and_pass_over_nothing() -> None:
    one, two = told(change((Vip("10.96.0.10"),)), IPVS), told(change((Vip("10.96.0.11"), SERVER)), IPVS)
    total = Drifts().after(one, 5.0).after(Drift(), 6.0).after(two, 7.0)
    assert (total.objects, total.repairs, total.last, total.last_at) == (3, 2, two, 7.0)


def test_an_event_says_who_and_what() -> None:
    remark = drifted(Family.IPV4, told(change((Vip("10.96.0.10"),)), IPVS))
    assert remark.note == (
        "IPv4 rules were changed by iptables (process 9) and are put right: "
        "1 address removed (address 10.96.0.10 removed)"
    )
    assert (remark.reason, remark.is_warning, remark.service) == ("RulesDrifted", True, None)
