"""The IPVS door against a real kernel: what is written is read back, by netlink and by the tools' own input."""

from __future__ import annotations

import ctypes
import re
import subprocess
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings

from backends.ipvs import BACKEND
from backends.ipvs.backend import IpvsBackend
from backends.ipvs.objects import Balance, Server
from backends.ipvs.render import sections
from kproxy.core.document import BASE, Document, diff
from kproxy.core.model import IPVS_SCHEDULERS, TrafficPolicy
from kproxy.core.plan import Endpoint, Frontend, FrontendKind, Ipvs, NodePlan, PortPlan, ServicePlan
from kproxy.core.routes import Sight, Supply, internal_routes
from kproxy.core.values import Family, ObjectKey, Protocol
from kproxy.ports import Kernel, Outcome
from tests.fakes.namespace import in_new_namespace
from tests.properties.strategies import Scene, Stage, histories, stages

pytestmark = [pytest.mark.root, pytest.mark.ipvs]
# Each example starts a dozen programs in a kernel of one processor.
few = settings(deadline=None, max_examples=3, suppress_health_check=[HealthCheck.too_slow])

NAME = ObjectKey("shop", "cart")
VIP = "10.96.0.10"
REMEDY = "load the module ip_vs_fastest"
CLONE_NEWNS = 0x00020000
FOREIGN = """\
ipvsadm -A -t 203.0.113.9:80 -s wlc
ipvsadm -a -t 203.0.113.9:80 -r 203.0.113.10:80 -g -w 3
ipvsadm -A -f 7 -s rr -p 50
ipset create theirs hash:ip
ipset add theirs 203.0.113.9
ip link add theirs0 type dummy
ip address add 203.0.113.9/32 dev theirs0
iptables-legacy -t mangle -A PREROUTING -p tcp -j MARK --set-xmark 0x7/0x7
"""


def run(command: str, text: str = "") -> str:
    done = subprocess.run(command.split(), input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def read_only(path: str) -> None:
    """For this thread and the programs that it starts, as in a container that is not privileged."""
    assert ctypes.CDLL(None).unshare(CLONE_NEWNS) == 0
    run_all(f"mount --make-rprivate /\nmount --bind {path} {path}\nmount -o remount,bind,ro {path}")


def run_all(script: str) -> None:
    for line in script.splitlines():
        run(line)


def in_kernel(check: Callable[[dict[Family, Kernel]], None]) -> None:
    """Call with a door per family, in a namespace whose iptables is the legacy one."""

    def body() -> None:
        for tool in ("iptables-legacy", "ip6tables-legacy"):
            run(f"{tool} -t mangle -N KUBE-IPTABLES-HINT")
        kernels = {family: BACKEND.open(family) for family in Family}
        try:
            check(kernels)
        finally:
            for kernel in kernels.values():
                kernel.close()

    in_new_namespace(body)


def bring(kernel: Kernel, want: Document) -> None:
    assert kernel.apply(diff(kernel.observe(), want)) == Outcome()


def state() -> list[str]:
    """All that the tools show, without what differs from load to load."""
    shown = run("ipvsadm -Sn") + run("ip -o address show") + run("ipset save")
    shown += run("iptables-legacy-save") + run("ip6tables-legacy-save")
    plain = re.sub(r"initval \S+|bucketsize \S+|hashsize \S+|^#.*$|\[\d+:\d+\]|^\d+: ", "", shown, flags=re.MULTILINE)
    return sorted(" ".join(line.split()) for line in plain.splitlines())


def load(family: Family, document: Document) -> None:
    for section in sections(family, document):
        program = section.program.replace("tables-restore", "tables-legacy-restore")
        run(program.replace("-p -", "-q -p -"), section.text)


def plan_of(*endpoints: str, scheduler: str = "", drain_s: int | None = None, node: Ipvs | None = None) -> NodePlan:
    pool = tuple(Endpoint(address, 8080, True) for address in endpoints)
    routes = internal_routes(TrafficPolicy.CLUSTER, Supply(anywhere=True, here=True), Sight(False, False))
    front = (Frontend(FrontendKind.CLUSTER, VIP, 80),)
    port = PortPlan("http", Protocol.TCP, front, 0, pool, (), pool, routes, routes)
    service = ServicePlan(NAME, (port,), scheduler=scheduler, drain_s=drain_s)
    return NodePlan(Family.IPV4, {NAME: service}, ipvs=node or Ipvs())


def document_of(*endpoints: str, scheduler: str = "") -> Document:
    return BACKEND.compile(plan_of(*endpoints, scheduler=scheduler), None).document


def test_netlink_and_text_make_the_same_kernel_and_both_are_read_back() -> None:
    @few
    @given(stages(BACKEND.traits))
    def each(stage: Stage) -> None:
        family = stage.plan.family
        want = BACKEND.compile(stage.plan, None).document
        shown: list[list[str]] = []

        def by_netlink(kernels: dict[Family, Kernel]) -> None:
            bring(kernels[family], want)
            assert not diff(kernels[family].observe(), want)
            shown.append(state())

        def by_text(kernels: dict[Family, Kernel]) -> None:
            load(family, want)
            shown.append(state())
            bring(kernels[family], want)
            assert state() == shown[1]

        in_kernel(by_netlink)
        in_kernel(by_text)
        assert shown[0] == shown[1]

    each()


def test_changes_lead_to_the_same_kernel_as_a_fresh_start() -> None:
    def check(kernels: dict[Family, Kernel]) -> None:
        @few
        @given(histories(BACKEND.traits))
        def each(history: list[Scene]) -> None:
            compiled = None
            for scene in history:
                kernel = kernels[scene.family]
                have = kernel.observe() if compiled is None else compiled.document
                compiled = BACKEND.compile(scene.plan().plan, compiled)
                assert kernel.apply(diff(have, compiled.document)) == Outcome()
                assert not diff(kernel.observe(), compiled.document)

        each()

    in_kernel(check)


def test_what_others_made_is_never_touched() -> None:
    def check(kernels: dict[Family, Kernel]) -> None:
        run_all(FOREIGN)
        before = state()

        @few
        @given(stages(BACKEND.traits))
        def each(stage: Stage) -> None:
            kernel = kernels[stage.plan.family]
            bring(kernel, BACKEND.compile(stage.plan, None).document)
            assert set(before) <= set(state())
            bring(kernel, {})
            left = [line for line in state() if "kproxy-ipvs0" not in line]
            assert set(before) <= set(left)
            assert not [line for line in left if "KPROXY" in line or "flag-3" in line]

        each()

    in_kernel(check)


def test_a_foreign_virtual_server_in_our_place_is_refused_and_left_alone() -> None:
    def check(kernels: dict[Family, Kernel]) -> None:
        run_all(f"ipvsadm -A -t {VIP}:80 -s wlc\nipvsadm -a -t {VIP}:80 -r 203.0.113.10:80 -m")
        before = run("ipvsadm -Sn")
        kernel = kernels[Family.IPV4]
        outcome = kernel.apply(diff(kernel.observe(), document_of("10.64.1.10")))
        assert [(one.owner, "another program" in one.reason) for one in outcome.refusals] == [(str(NAME), True)]
        assert run("ipvsadm -Sn") == before

    in_kernel(check)


def test_an_address_of_another_link_stays_there_and_its_host_stays_reachable() -> None:
    def check(kernels: dict[Family, Kernel]) -> None:
        run_all(f"ip link add uplink type dummy\nip address add {VIP}/24 dev uplink")
        kernel = kernels[Family.IPV4]
        want = document_of("10.64.1.10")
        bring(kernel, want)
        assert not diff(kernel.observe(), want)
        assert "kproxy-ipvs0" not in run("ip -o -4 address show")
        assert VIP not in run("ipset save KPROXY-4-VIPS")
        run("ip link delete uplink")
        bring(kernel, want)
        assert f"{VIP}/32" in run("ip -o -4 address show dev kproxy-ipvs0")
        assert VIP in run("ipset save KPROXY-4-VIPS")

    in_kernel(check)


def test_every_scheduler_is_taken_by_the_kernel() -> None:
    def check(kernels: dict[Family, Kernel]) -> None:
        kernel = kernels[Family.IPV4]
        for scheduler in IPVS_SCHEDULERS:
            want = document_of("10.64.1.10", scheduler=scheduler)
            bring(kernel, want)
            assert want[str(NAME)][Server(Protocol.TCP, VIP, 80)] == Balance(scheduler)
            assert not diff(kernel.observe(), want)
            assert f"-t {VIP}:80 -s {scheduler} " in run("ipvsadm -Sn")

    in_kernel(check)


def test_a_scheduler_that_the_kernel_lacks_is_told_and_the_nodes_own_is_used_also_after_a_restart() -> None:
    def check(kernels: dict[Family, Kernel]) -> None:
        kernel = kernels[Family.IPV4]
        plan = plan_of("10.64.1.10", scheduler="fastest", node=Ipvs(scheduler="wlc"))
        want = BACKEND.compile(plan, None).document
        for door in (kernel, BACKEND.open(Family.IPV4)):
            outcome = door.apply(diff(door.observe(), want))
            assert outcome.refusals == ()
            told = [(one.owner, one.reason) for one in outcome.otherwise]
            assert told == [(str(NAME), f"this kernel has no scheduler fastest: {REMEDY}; wlc is used instead")]
            assert run("ipvsadm -Sn").splitlines() == [
                f"-A -t {VIP}:80 -s wlc -b flag-3",
                f"-a -t {VIP}:80 -r 10.64.1.10:8080 -m -w 1",
            ]
            assert not diff(door.observe(), want)
        door.close()

    in_kernel(check)


def test_where_the_nodes_own_scheduler_is_lacking_too_it_is_round_robin() -> None:
    def check(kernels: dict[Family, Kernel]) -> None:
        kernel = kernels[Family.IPV4]
        want = BACKEND.compile(plan_of("10.64.1.10", node=Ipvs(scheduler="ovf-none")), None).document
        assert len(kernel.apply(diff(kernel.observe(), want)).otherwise) == 1
        assert "-s rr " in run("ipvsadm -Sn")
        assert not diff(kernel.observe(), want)

    in_kernel(check)


def test_parameters_that_cannot_be_written_are_told_once_with_what_comes_of_it_and_the_rest_is_in_force() -> None:
    def check(kernels: dict[Family, Kernel]) -> None:
        kernel = kernels[Family.IPV4]
        run("sysctl -qw net.ipv4.vs.expire_nodest_conn=1 net.ipv4.vs.expire_quiescent_template=1 net.ipv4.ip_forward=1")
        read_only("/proc/sys")
        want = document_of("10.64.1.10")
        (told,) = kernel.apply(diff(kernel.observe(), want)).otherwise
        assert (told.owner, told.what) == (BASE, "sysctl net.ipv4.vs.conntrack=1")
        assert told.reason.startswith("Read-only file system, it is 0: connections through IPVS")
        assert f"-t {VIP}:80" in run("ipvsadm -Sn")
        assert not diff(kernel.observe(), want)

    in_kernel(check)


def test_timeouts_and_sysctls_are_set_and_tampering_is_seen() -> None:
    def check(kernels: dict[Family, Kernel]) -> None:
        kernel = kernels[Family.IPV4]
        plan = plan_of("10.64.1.10", node=Ipvs(strict_arp=True, timeouts_s=(600, 60, 90)))
        want = BACKEND.compile(plan, None).document
        bring(kernel, want)
        assert run("ipvsadm -L --timeout").strip() == "Timeout (tcp tcpfin udp): 600 60 90"
        for name, value in (("vs.conntrack", "1"), ("conf.all.arp_ignore", "1"), ("conf.all.arp_announce", "2")):
            assert run(f"sysctl -n net.ipv4.{name}").strip() == value
        run("sysctl -w net.ipv4.vs.conntrack=0")
        run("ipset del KPROXY-4-VIPS " + VIP)
        run(f"ipvsadm -d -t {VIP}:80 -r 10.64.1.10:8080")
        run("iptables-legacy -t mangle -F PREROUTING")
        assert len(diff(kernel.observe(), want).added) + len(diff(kernel.observe(), want).changed) == 4
        bring(kernel, want)
        assert not diff(kernel.observe(), want)

    in_kernel(check)


def test_the_name_is_the_one_of_the_entry_point() -> None:
    assert isinstance(BACKEND, IpvsBackend)
    assert BACKEND.name == "ipvs"
