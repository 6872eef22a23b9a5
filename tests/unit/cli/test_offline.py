"""render, explain, services and plan on manifests: no root, no cluster, no kernel."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from kproxy.core.document import Document
from kproxy.core.flow import Answer, Packet, Trace, Verdict
from kproxy.core.host import Host
from kproxy.core.values import Family
from tests.fakes.program import run_here, run_program

MANIFESTS = Path(__file__).parents[2] / "data" / "manifests"
COMMON = ("--config", str(MANIFESTS / "config.yaml"), "--node-name", "node-a")
SHOP = ("-f", str(MANIFESTS / "shop"), *COMMON)
BACKENDS = pytest.mark.parametrize("backend", ["iptables", "nftables"])

OUTSIDE = "203.0.113.7,198.51.100.10:80/TCP"
STRANGER = "192.0.2.200,198.51.100.10:80/TCP"
POD = "10.64.1.10,10.96.0.10:80/TCP"
IDLE = "10.64.1.10,10.96.0.11:443/TCP"


@BACKENDS
def test_render_prints_both_families_and_nothing_else(capsys: pytest.CaptureFixture[str], backend: str) -> None:
    code, out, err = run_here(capsys, "render", "--backend", backend, *SHOP)
    assert (code, err) == (0, "")
    assert "10.64.1.10" in out
    both = {
        family: run_here(capsys, "render", "--backend", backend, *SHOP, "--family", family).out
        for family in ("ipv4", "ipv6")
    }
    assert "fd00:96::10" in both["ipv6"]
    assert "10.64.1.10" not in both["ipv6"]
    assert "10.64.1.10" in both["ipv4"]
    assert "fd00:96::10" not in both["ipv4"]


def test_render_takes_files_directories_and_standard_input_and_prints_the_same() -> None:
    file = MANIFESTS / "shop" / "shop.yaml"
    ways = [
        run_program("render", "-f", str(MANIFESTS / "shop"), *COMMON),
        run_program("render", "-f", str(file), *COMMON),
        run_program("render", "-f", "-", *COMMON, stdin=file.read_text()),
    ]
    assert ways[0] == ways[1] == ways[2]
    assert ways[0].code == 0


@pytest.mark.parametrize("command", ["render", "plan", "services"])
def test_words_after_a_file_are_further_files(capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str) -> None:
    """A shell makes `-f a.yaml b.yaml` of `-f *.yaml`."""
    for number, document in enumerate((MANIFESTS / "shop" / "shop.yaml").read_text().split("---\n")):
        (tmp_path / f"{number}.yaml").write_text(document)
    files = [str(path) for path in sorted(tmp_path.iterdir())]
    assert len(files) > 1
    assert run_here(capsys, command, "-f", *files, *COMMON).out == run_here(capsys, command, *SHOP).out


@BACKENDS
def test_render_narrowed_prints_only_that_service(capsys: pytest.CaptureFixture[str], backend: str) -> None:
    whole = run_here(capsys, "render", "--backend", backend, *SHOP).out
    part = run_here(capsys, "render", "--backend", backend, *SHOP, "--service", "shop/cart").out
    assert "shop/cart" in part
    assert "shop/idle" in whole
    assert "shop/idle" not in part


def test_a_service_that_is_not_there_is_named_with_its_neighbours(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run_here(capsys, "render", *SHOP, "--service", "shop/carts")
    assert (code, out) == (2, "")
    assert err.startswith("kproxy: Service shop/carts has nothing on this node")
    assert "did you mean shop/cart?" in err


@BACKENDS
def test_explain_json_is_a_list_of_the_promised_shape(capsys: pytest.CaptureFixture[str], backend: str) -> None:
    flows = ("--flow", OUTSIDE, "--flow", STRANGER, "--flow", POD, "--flow", IDLE)
    code, out, err = run_here(capsys, "explain", "--backend", backend, *SHOP, *flows, "-o", "json")
    assert (code, err) == (0, "")
    outside, stranger, pod, idle = json.loads(out)
    keys = ["from", "to", "port", "protocol", "verdict", "endpoints", "masquerade", "accept", "steps"]
    assert [list(one) for one in (outside, stranger, pod, idle)] == [keys] * 4
    assert outside["endpoints"] == [{"address": "10.64.1.10", "port": 8080, "probability": 1.0}]
    assert outside["masquerade"] is False
    assert [one["verdict"] for one in (outside, stranger, pod, idle)] == ["DNAT", "DROP", "DNAT", "REJECT"]
    assert {one["address"] for one in pod["endpoints"]} == {"10.64.1.10", "10.64.2.10"}
    assert all(step.keys() == {"place", "rule", "effect"} for one in (outside, pod) for step in one["steps"])


@BACKENDS
def test_explain_tells_people_the_same(capsys: pytest.CaptureFixture[str], backend: str) -> None:
    code, out, _ = run_here(capsys, "explain", "--backend", backend, *SHOP, "--flow", OUTSIDE)
    assert code == 0
    assert out.startswith("203.0.113.7 → 198.51.100.10:80/TCP\n  DNAT: balanced over 1 endpoint, client address kept\n")
    assert "10.64.1.10:8080   100.00%" in out


def test_explain_knows_a_pod_by_its_interface(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
        "detectLocalMode: InterfaceNamePrefix\ndetectLocal: {interfaceNamePrefix: veth}\n"
    )
    question = ("-f", str(MANIFESTS / "shop"), "--config", str(config), "--node-name", "node-a", "-o", "json")
    masqueraded = []
    for interface in ("veth7", "eth0"):
        out = run_here(capsys, "explain", *question, "--flow", POD, "--from-interface", interface).out
        masqueraded.append(json.loads(out)[0]["masquerade"])
    assert masqueraded == [True, True]  # the pod itself is an endpoint (hairpin)
    other = "10.64.1.99,10.96.0.10:80/TCP"
    kept = [
        json.loads(run_here(capsys, "explain", *question, "--flow", other, "--from-interface", one).out)[0][
            "masquerade"
        ]
        for one in ("veth7", "eth0")
    ]
    assert kept == [False, True]


EGRESS = "10.64.1.10,203.0.113.7:443/TCP"
EXEMPT = "10.64.1.10,10.64.2.9:443/TCP"


@pytest.fixture
def egress(tmp_path: Path) -> tuple[str, ...]:
    """The shop, with pod egress masquerade."""
    config = tmp_path / "config.yaml"
    own = "---\napiVersion: kproxy.io/v1alpha1\nkind: KproxyConfiguration\negressMasquerade: {enabled: true}\n"
    config.write_text((MANIFESTS / "config.yaml").read_text() + own)
    return ("-f", str(MANIFESTS / "shop"), "--config", str(config), "--node-name", "node-a")


@pytest.mark.parametrize(
    ("backend", "masquerades", "exempts"),
    [
        ("nftables", "masquerade fully-random", "ip daddr 10.64.0.0/16 return"),
        ("iptables", "-j MASQUERADE --random-fully", "-d 10.64.0.0/16 -j RETURN"),
        ("ipvs", "-j MASQUERADE --random-fully", "-d 10.64.0.0/16 -j RETURN"),
    ],
)
def test_explain_names_the_rule_that_masquerades_or_the_network_that_does_not(
    capsys: pytest.CaptureFixture[str], egress: tuple[str, ...], backend: str, masquerades: str, exempts: str
) -> None:
    code, out, err = run_here(capsys, "explain", "--backend", backend, *egress, "--flow", EGRESS, "--flow", EXEMPT)
    assert (code, err) == (0, "")
    leaving, staying = out.split("10.64.1.10 → 10.64.2.9:443/TCP")
    assert "PASS: left alone by the proxy, leaves masqueraded (the other side sees a node address)" in leaving
    assert masquerades in leaving.splitlines()[-2]
    assert "left alone by the proxy, the pod's address is kept: 10.64.0.0/16 is not masqueraded" in staying
    assert exempts in staying
    asked = run_here(capsys, "explain", "--backend", backend, *egress, "--flow", EGRESS, "--flow", EXEMPT, "-o", "json")
    assert [(one["verdict"], one["masquerade"]) for one in json.loads(asked.out)] == [("PASS", True), ("PASS", False)]


def test_plan_tells_what_egress_masquerades(capsys: pytest.CaptureFixture[str], egress: tuple[str, ...]) -> None:
    out = run_here(capsys, "plan", *egress).out
    assert "IPv4: pods' connections are masqueraded but to 10.64.0.0/16, 169.254.0.0/16, 224.0.0.0/4\n" in out
    plan = json.loads(run_here(capsys, "plan", *egress, "-o", "json").out)
    four, six = (family["egress"]["nonMasquerade"] for family in plan["families"])
    assert "10.64.0.0/16" in four
    assert "fe80::/10" in six
    plain = json.loads(run_here(capsys, "plan", *SHOP, "-o", "json").out)
    assert [family["egress"] for family in plain["families"]] == [None, None]
    assert "masqueraded but to" not in run_here(capsys, "plan", *SHOP).out


def test_plan_says_why_egress_is_not_masqueraded(
    capsys: pytest.CaptureFixture[str], egress: tuple[str, ...], tmp_path: Path
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(config.read_text().replace("clusterCIDR: 10.64.0.0/16,fd00:64::/48\n", ""))
    out = run_here(capsys, "plan", *egress).out
    assert "IPv4: pods' connections are not masqueraded: no packet's source is known to be a pod" in out


def test_rules_that_disagree_with_the_plan_are_told_loudly(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def trace(_self: object, _family: Family, _document: Document, _packet: Packet, _host: Host) -> Trace:
        return Trace(Answer(Verdict.DROP), ())

    monkeypatch.setattr("backends.iptables.IptablesBackend.trace", trace)
    code, out, err = run_here(capsys, "explain", "--backend", "iptables", *SHOP, "--flow", OUTSIDE, "-o", "json")
    assert code == 1
    assert json.loads(out)[0]["verdict"] == "DROP"
    assert "THE RULES DISAGREE WITH THE PLAN, which says DNAT: balanced over 1 endpoint" in err


def test_node_ports_answer_on_the_addresses_that_options_and_node_object_give(
    capsys: pytest.CaptureFixture[str],
) -> None:
    flows = ("--flow", "203.0.113.7,192.0.2.11:30080/TCP", "--flow", "203.0.113.7,192.0.2.77:30080/TCP")
    verdicts = []
    for more in ((), ("--node-ip", "192.0.2.77")):
        out = run_here(capsys, "explain", "--backend", "iptables", *SHOP, *more, *flows, "-o", "json").out
        verdicts.append([one["verdict"] for one in json.loads(out)])
    assert verdicts == [["DNAT", "PASS"], ["DNAT", "DNAT"]]


def test_services_is_a_row_per_service_and_family(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run_here(capsys, "services", *SHOP)
    assert (code, err) == (0, "")
    rows = [line.split() for line in out.splitlines()]
    assert rows[0] == ["SERVICE", "FAMILY", "TYPE", "FRONTENDS", "ENDPOINTS", "REMARKS"]
    assert [row[:2] for row in rows[1:]] == [["shop/cart", "IPv4"], ["shop/cart", "IPv6"], ["shop/idle", "IPv4"]]
    assert "2 of 3" in out.splitlines()[1]
    assert "no endpoint serves: connections are refused" in out.splitlines()[3]
    wide = run_here(capsys, "services", *SHOP, "-o", "wide").out
    assert "10800 s" in wide


def test_services_and_plan_for_programs_agree(capsys: pytest.CaptureFixture[str]) -> None:
    services = json.loads(run_here(capsys, "services", *SHOP, "-o", "json").out)
    plan = yaml.safe_load(run_here(capsys, "plan", *SHOP, "-o", "yaml").out)
    assert plan["node"] == "node-a"
    assert [family["family"] for family in plan["families"]] == ["IPv4", "IPv6"]
    assert plan["families"][0]["pods"] == ["10.64.0.0/16"]
    from_plan = [one for family in plan["families"] for one in family["services"]]
    assert sorted(from_plan, key=str) == sorted(services, key=str)
    cart = services[0]
    assert cart["healthCheck"] == {"port": 32010, "localReady": 1}
    standings = {one["address"]: one["cluster"] for one in cart["ports"][0]["endpoints"]}
    assert standings["10.64.2.11"] == {"chosen": False, "why": "not ready"}


def test_plan_says_why_each_endpoint_is_in_or_out(capsys: pytest.CaptureFixture[str]) -> None:
    out = run_here(capsys, "plan", *SHOP, "--service", "shop/cart", "--family", "ipv4").out
    assert "Node node-a, backend nftables" in out
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "10.64.1.10:8080 node-a (here) in the cluster's: ready in this node's: ready" in lines
    assert "10.64.2.11:8080 node-b not in the cluster's: not ready not in this node's: on node node-b" in lines
    assert "load balancer 198.51.100.10:80 only from 203.0.113.0/24" in lines
    assert "shop/idle" not in out


@pytest.mark.parametrize("command", ["services", "plan"])
def test_no_services_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str) -> None:
    code, _, err = run_here(capsys, command, "-f", str(tmp_path))
    assert code == 0
    assert err == "kproxy: there are no Services for this node to serve\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["render"], "Error: name manifests with -f FILE_OR_DIR (or - for standard input)"),
        (["plan", "shop/cart"], "Error: 'shop/cart' stands alone: manifests are named with -f FILE_OR_DIR …"),
        (["render", *SHOP, "nowhere"], "kproxy: nowhere: No such file or directory"),
        (["render", "-f", "nowhere"], "kproxy: nowhere: No such file or directory"),
        (["render", *SHOP, "--config", "nowhere.yaml"], "kproxy: --config nowhere.yaml: No such file"),
        (["render", *SHOP, "--backend", "iptable"], "kproxy: there is no backend 'iptable' (did you mean iptables?)"),
        (["render", *SHOP, "--node-ip", "x"], "kproxy: --node-ip 'x': it must be an IP address such as"),
        (["render", *SHOP, "--node-ip", "192.0.2.1", "--node-ip", "192.0.2.2"], "at most one address per family"),
        (["render", *SHOP, "--service", "cart"], "kproxy: --service 'cart': write NAMESPACE/NAME"),
        (["explain", *SHOP], "Error: Missing option '--flow'"),
        (["explain", "--flow", OUTSIDE], "Error: name manifests with -f FILE_OR_DIR"),
        (["explain", *SHOP, "--flow", "x"], "kproxy: --flow 'x': it is not of the form; write FROM,TO:PORT/PROTO"),
        (["explain", *SHOP, "--family", "ipv6", "--flow", OUTSIDE], "IPv4 is not among the families asked for"),
        (["plan", *SHOP, "--service", "a/b"], "kproxy: Service a/b has nothing on this node"),
        (["run", "--source", "nowhere"], "is not a directory of manifests"),
    ],
)
def test_wrong_arguments_are_one_sentence_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    code, out, err = run_here(capsys, *arguments)
    assert (code, out) == (2, "")
    assert said in err


def test_what_is_skipped_is_named_and_the_rest_is_printed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = (MANIFESTS / "shop" / "shop.yaml").read_text()
    (tmp_path / "shop.yaml").write_text(text.replace("port: 443", "port: 70000"))
    code, out, err = run_here(capsys, "render", "-f", str(tmp_path), *COMMON)
    assert code == 0
    assert "10.64.1.10" in out
    assert "skipped: " in err
    assert "shop.yaml:37: Service shop/idle: spec.ports[0].port: 70000" in err


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A directory with a file as it should be, and one that is no YAML."""
    text = (MANIFESTS / "shop" / "shop.yaml").read_text()
    (tmp_path / "shop.yaml").write_text(text)
    (tmp_path / "web.yaml").write_text("kind: Service\nports: [\n")
    return tmp_path


@pytest.mark.parametrize("command", [("render",), ("diff",), ("audit",), ("migrate", "--plan", "--from", "iptables")])
def test_nothing_is_said_without_a_file_that_cannot_be_read(
    capsys: pytest.CaptureFixture[str], broken: Path, command: tuple[str, ...]
) -> None:
    code, out, err = run_here(capsys, *command, "-f", str(broken), *COMMON)
    assert (code, out) == (2, "")
    assert f"{broken}/web.yaml:" in err
    assert "nothing is said without what this hides" in err


@pytest.mark.parametrize("command", [("services",), ("plan",), ("plan", "-o", "json"), ("explain", "--flow", OUTSIDE)])
def test_what_can_be_read_is_shown_but_a_file_that_cannot_is_not_passed_over(
    capsys: pytest.CaptureFixture[str], broken: Path, command: tuple[str, ...]
) -> None:
    code, out, err = run_here(capsys, command[0], "-f", str(broken), *COMMON, *command[1:])
    assert code == 2
    assert "10.64.1.10" in out or "shop/cart" in out
    assert f"skipped: {broken}/web.yaml:" in err


def test_warnings_of_the_configuration_are_told_beside_the_output(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmodes: x\n")
    code, out, err = run_here(capsys, "render", *SHOP, "--config", str(config))
    assert (code, bool(out)) == (0, True)
    assert err == f"kproxy: {config}:3:1: unknown field modes is ignored (did you mean mode?)\n"


def test_a_node_that_no_object_describes_is_pointed_out(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run_here(capsys, "services", "-f", str(MANIFESTS / "shop"), "--node-name", "node-b")
    assert code == 0
    assert "no Node object is named node-b, so no endpoint counts as local: --node-name takes one of node-a" in err
