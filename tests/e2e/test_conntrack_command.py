"""`kproxy conntrack …` as a user runs it, over real flows in a namespace, with Services from manifests and without."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml

from tests.fakes import flows
from tests.fakes.namespace import in_new_namespace

pytestmark = pytest.mark.root
T = TypeVar("T")

KPROXY = str(Path(sys.executable).with_name("kproxy"))
TIMEOUT_S = 60
FORMATS = ("table", "wide", "json", "yaml", "csv")
WEB, DEAD = "shop/web", "shop/dead"


def service(name: str, vip: str, port: int, protocol: str, family: str, *serving: str) -> list[dict[str, Any]]:
    """A Service of one port, to 8080 of these addresses."""
    meta = {"namespace": "shop", "name": name}
    spec = {
        "clusterIP": vip,
        "ipFamilies": [family],
        "ports": [{"name": "main", "port": port, "protocol": protocol}],
    }
    slices = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {**meta, "labels": {"kubernetes.io/service-name": name}},
        "addressType": family,
        "ports": [{"name": "main", "port": 8080, "protocol": protocol}],
        "endpoints": [{"addresses": [address]} for address in serving],
    }
    return [{"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec}, slices]


@pytest.fixture
def manifests(tmp_path: Path) -> str:
    """10.96.0.1:80 serves by TCP and has lost its endpoint by UDP; the flows there are those of `flows.every_kind`."""
    objects = [
        *service("web", "10.96.0.1", 80, "TCP", "IPv4", "10.244.0.5"),
        *service("dead", "10.96.0.1", 80, "UDP", "IPv4", "10.244.0.99"),
        *service("web6", "fd00:96::1", 80, "TCP", "IPv6", "fd00:244::5"),
    ]
    path = tmp_path / "objects.yaml"
    path.write_text(yaml.safe_dump_all(objects))
    return str(path)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [KPROXY, "conntrack", *arguments], capture_output=True, text=True, check=False, timeout=TIMEOUT_S
    )


def printed(*arguments: str) -> str:
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def with_flows(look: Callable[[], T], *sysctls: str) -> T:
    def inside() -> T:
        flows.prepare(*sysctls)
        kept = flows.every_kind()
        try:
            return look()
        finally:
            for one in kept:
                one.close()

    return in_new_namespace(inside)


def oracle() -> set[int]:
    """The ids of all flows, by conntrack-tools."""
    both = [
        subprocess.run(["conntrack", "-L", "-f", family, "-o", "id"], capture_output=True, text=True, check=True)
        for family in ("ipv4", "ipv6")
    ]
    return {int(line.rsplit("id=", 1)[1]) for one in both for line in one.stdout.splitlines()}


def ids(text: str) -> set[int]:
    return {flow["id"] for flow in json.loads(text)}


def test_list_shows_every_flow_in_every_format(manifests: str) -> None:
    def look() -> None:
        expected = oracle()
        texts = {
            form: printed("list", "-f", manifests, "-o", form) for form in ("table", "wide", "json", "yaml", "csv")
        }
        assert ids(texts["json"]) == expected
        assert {flow["id"] for flow in yaml.safe_load(texts["yaml"])} == expected
        assert {int(row["id"]) for row in csv.DictReader(io.StringIO(texts["csv"]))} == expected
        for form in ("table", "wide"):
            head, *lines = texts[form].splitlines()
            assert head.split()[:3] == ["PROTO", "STATE", "CLIENT"]
            assert len(lines) == len(expected)
        assert all(str(one) in texts["wide"] for one in expected)

    with_flows(look)


def test_flows_are_given_to_their_services_only_where_these_are_known(manifests: str) -> None:
    plain, known = with_flows(lambda: (printed("list", "-o", "json"), printed("list", "-f", manifests, "-o", "json")))
    assert not any("service" in flow for flow in json.loads(plain))
    found = {(flow.get("service"), flow["protocol"], "stale" in flow) for flow in json.loads(known)}
    assert {one for one in found if one[0]} == {
        (WEB, "tcp", False),
        (DEAD, "udp", True),
        ("shop/web6", "tcp", False),
    }


FILTERS: dict[str, tuple[Sequence[str], Callable[[dict[str, Any]], bool]]] = {
    "service": (["--service", WEB], lambda flow: flow.get("service") == WEB),
    "endpoint": (["--endpoint", "10.244.0.5:8080"], lambda flow: flow["reply"]["source"] == "10.244.0.5"
                 and flow["reply"].get("sourcePort") == 8080),
    "client": (["--client", "10.0.0.2"], lambda flow: flow["original"]["source"] == "10.0.0.2"),
    "clients": (["--client", "fd00::/64"], lambda flow: flow["original"]["source"].startswith("fd00::")),
    "protocol": (["--protocol", "sctp"], lambda flow: flow["protocol"] == "sctp"),
    "state": (["--state", "established"], lambda flow: flow["state"] == "ESTABLISHED"),
    "unreplied": (["--state", "unreplied"], lambda flow: "SEEN_REPLY" not in flow["status"]),
    "snat": (["--nat", "snat"], lambda flow: "SRC_NAT" in flow["status"]),
    "stale": (["--stale"], lambda flow: "stale" in flow),
    "several": (["--protocol", "udp", "--nat", "dnat", "--client", "10.0.0.1"],
                lambda flow: flow["protocol"] == "udp" and "DST_NAT" in flow["status"]
                and flow["original"]["source"] == "10.0.0.1"),
}  # fmt: skip


def test_filters(manifests: str) -> None:
    def look() -> None:
        every = json.loads(printed("list", "-f", manifests, "-o", "json"))
        for name, (options, wanted) in FILTERS.items():
            expected = {flow["id"] for flow in every if wanted(flow)}
            assert 0 < len(expected) < len(every), name
            assert ids(printed("list", "-f", manifests, "-o", "json", *options)) == expected, name

    with_flows(look)


def test_every_command_takes_every_condition(manifests: str) -> None:
    """The flows that each condition leaves, by `list`, are what the other commands speak of."""

    def look() -> None:
        every = json.loads(printed("list", "-f", manifests, "-o", "json"))
        for name, (options, wanted) in FILTERS.items():
            expected = [flow for flow in every if wanted(flow)]
            stats = json.loads(printed("stats", "-f", manifests, "-o", "json", *options))
            assert stats["total"]["flows"] == len(expected), name
            top = printed("top", "-f", manifests, "--count", "1", "--interval", "0.1", "-o", "json", *options)
            assert sum(json.loads(line)["flows"] for line in top.splitlines()) == len(expected), name
            check = run("check", "-f", manifests, "-o", "json", *options)
            stale = sum("stale" in flow for flow in expected)
            assert (check.returncode, sum(one["flows"] for one in json.loads(check.stdout))) == (bool(stale), stale)
        both = run("explain", "-f", manifests, "10.0.0.1,10.96.0.1:80/tcp", "--state", "time_wait")
        assert both.returncode == 1
        assert "that meets the conditions" in both.stderr
        assert "shop/web" in printed("explain", "-f", manifests, "10.0.0.1,10.96.0.1:80/tcp", "--service", WEB)

    with_flows(look)


def test_every_command_takes_every_format(manifests: str) -> None:
    def look() -> None:
        calls = {
            "list": (),
            "stats": (),
            "top": ("--count", "1", "--interval", "0.1"),
            "check": (),
            "flush": ("--stale", "--dry-run"),
            "explain": ("10.0.0.1,10.96.0.1:80/udp",),
        }
        for name, arguments in calls.items():
            texts = {form: run(name, "-f", manifests, *arguments, "-o", form).stdout for form in FORMATS}
            assert all(texts.values()), name
            assert yaml.safe_load(texts["yaml"]), name
            assert len(list(csv.DictReader(io.StringIO(texts["csv"])))) > 0, name
            for line in texts["json"].splitlines() if name == "top" else [texts["json"]]:
                assert json.loads(line), name
            assert len(texts["wide"]) > len(texts["table"]), name

    with_flows(look)


def test_stats_count_what_is_there(manifests: str) -> None:
    def look() -> None:
        total = len(oracle())
        found = json.loads(printed("stats", "-f", manifests, "-o", "json"))
        assert found["table"]["entries"] == found["total"]["flows"] == total
        assert sum(one["flows"] for one in found["services"]) == total
        assert sum(one["flows"] for one in found["clients"]) == total
        assert {one["name"]: one["stale"] for one in found["services"]} == {
            "(no Service)": 0,
            "shop/web:main": 0,
            "shop/web6:main": 0,
            "shop/dead:main": 2,
        }
        assert found["counters"]["insert_failed"]["meaning"]
        assert yaml.safe_load(printed("stats", "-f", manifests, "-o", "yaml"))["total"] == found["total"]
        by_state = printed("stats", "--by", "state").splitlines()
        assert by_state[0].split() == ["STATE", "FLOWS", "SHARE", "UNREPLIED", "STALE"]
        assert sum(int(line.split()[2]) for line in by_state[1:]) == total
        rows = list(csv.DictReader(io.StringIO(printed("stats", "--by", "protocol", "-o", "csv"))))
        assert sum(int(row["flows"]) for row in rows) == total
        some = json.loads(printed("stats", "--protocol", "sctp", "-o", "json"))
        assert some["total"]["flows"] == 2
        people = printed("stats", "-f", manifests, "-o", "wide")
        assert f"{total} counted" in people
        assert "insert_failed" in people
        assert len(printed("stats", "--by", "client", "--top", "1").splitlines()) == 2

    with_flows(look)


def test_check_finds_what_is_wrong_and_says_so_by_its_exit_code(manifests: str) -> None:
    def look() -> None:
        blind = run("check")
        assert (blind.returncode, blind.stdout) == (0, "")
        assert "Services are not known" in blind.stderr
        seeing = run("check", "-f", manifests, "-o", "json")
        assert seeing.returncode == 1
        (finding,) = json.loads(seeing.stdout)
        assert (finding["kind"], finding["service"], finding["flows"]) == ("stale", DEAD, 2)
        assert "flush --stale" in finding["remedy"]
        assert "shop/dead" in run("check", "-f", manifests).stdout
        assert run("check", "-f", manifests, "-o", "csv").stdout.startswith("severity,kind,")

    with_flows(look)


def test_flush_shows_first_and_deletes_only_what_was_shown(manifests: str) -> None:
    def look() -> None:
        before = oracle()
        stale = ids(printed("list", "-f", manifests, "--stale", "-o", "json"))
        assert len(stale) == 2
        for harmless in (["--stale"], ["--stale", "--yes", "--dry-run"]):
            done = run("flush", "-f", manifests, *harmless, "-o", "json")
            assert done.returncode == 0
            assert ids(done.stdout) == stale
            assert "2 flows would be deleted" in done.stderr
            assert oracle() == before
        done = run("flush", "-f", manifests, "--stale", "--yes", "-o", "json")
        assert "2 flows deleted" in done.stderr
        assert oracle() == before - stale
        assert "0 flows deleted" in run("flush", "-f", manifests, "--stale", "--yes").stderr

    with_flows(look)


def test_explain_tells_a_flows_story(manifests: str) -> None:
    def look() -> None:
        fine = printed("explain", "-f", manifests, "10.0.0.1,10.96.0.1:80/tcp")
        assert "it belongs to Service shop/web, port main" in fine
        assert "its endpoint is serving" in fine
        assert "a new connection would go to the same endpoint, the only one" in fine
        broken = printed("explain", "-f", manifests, "10.0.0.1,10.96.0.1:80/udp")
        assert "STALE: its endpoint does not serve any more" in broken
        assert "a new connection would go to another endpoint" in broken
        (flow,) = json.loads(printed("explain", "-f", manifests, "-o", "json", "10.0.0.1,10.96.0.1:80/tcp"))
        assert flow["newConnection"]["sameEndpointPossible"]
        assert printed("explain", str(flow["id"])).startswith("tcp 10.0.0.1:")
        nothing = run("explain", "10.0.0.1,10.96.0.1:81/tcp")
        assert nothing.returncode == 1
        assert "there is no flow" in nothing.stderr

    with_flows(look)


def test_watch_follows_events_until_it_has_enough(manifests: str) -> None:
    def look() -> None:
        flows.prepare()
        command = [KPROXY, "conntrack", "watch", "-f", manifests, "--service", DEAD, "--count", "2", "-o", "json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as watch:
            until = time.monotonic() + TIMEOUT_S
            while watch.poll() is None:  # it may not be listening yet: flows go on until it has seen enough
                assert time.monotonic() < until, "it sees no flows"
                flows.udp("10.0.0.1", "10.96.0.1", 80, server="10.244.0.5")
            lines = watch.stdout.read().splitlines()
        assert (watch.returncode, len(lines)) == (0, 2)
        first = json.loads(lines[0])
        assert first["service"] == DEAD
        assert {json.loads(line)["event"] for line in lines} <= {"new", "update", "destroy"}

    in_new_namespace(look)


def test_top_prints_lines_where_there_is_no_terminal(manifests: str) -> None:
    def look() -> None:
        text = printed("top", "-f", manifests, "--count", "2", "--interval", "0.2", "-o", "json")
        found = [json.loads(line) for line in text.splitlines()]
        names = [one["service"] for one in found]
        assert names[0] == "(no Service)", "the most flows come first"
        assert names.count("shop/web:main") == 2
        assert {one["bytesPerSecond"] for one in found} == {0}
        people = printed("top", "--count", "1", "--interval", "0.1")
        assert "flows" in people.splitlines()[0]
        assert "10.96.0.1:80/tcp" in people

    with_flows(look, "net.netfilter.nf_conntrack_acct=1")


def test_top_on_a_terminal_ends_with_q() -> None:
    def look() -> None:
        ours, theirs = pty.openpty()
        command = [KPROXY, "conntrack", "top", "--interval", "0.3"]
        terminal = os.environ | {"TERM": "xterm"}
        with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=terminal) as top:
            os.close(theirs)
            shown = b""
            while b"10.96.0.1:80" not in shown:
                assert select.select([ours], [], [], TIMEOUT_S)[0], shown
                shown += os.read(ours, 65536)
            os.write(ours, b"q")
            while top.poll() is None and select.select([ours], [], [], TIMEOUT_S)[0]:
                try:
                    os.read(ours, 65536)
                except OSError:  # the terminal is gone with the program
                    break
            assert top.wait(TIMEOUT_S) == 0
        os.close(ours)

    with_flows(look)


def test_a_reader_that_goes_away_ends_the_list_quietly() -> None:
    def look() -> None:
        command = f"{KPROXY} conntrack list | head -1"
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
        assert done.stdout.startswith("PROTO")
        assert done.stderr == ""

    with_flows(look)


WRONG: dict[str, tuple[Sequence[str], int, str]] = {
    "an unknown Service": (["list", "-f", "{}", "--service", "shop/wob"], 2, "shop/web"),
    "no Service name": (["list", "-f", "{}", "--service", "web"], 2, "NAMESPACE/NAME"),
    "a Service without a source": (["list", "--service", WEB], 2, "-f"),
    "stale without a source": (["flush", "--stale"], 2, "-f"),
    "flushing everything": (["flush", "--yes"], 2, "say which flows"),
    "a malformed client": (["list", "--client", "10.0.0"], 2, "--client"),
    "an unknown protocol": (["stats", "--protocol", "http"], 2, "--protocol"),
    "an unknown state": (["list", "--state", "HALF"], 2, "--state"),
    "a malformed flow": (["explain", "nonsense"], 2, "FROM"),
    "a malformed endpoint": (["check", "--endpoint", "10.0.0.1:0"], 2, "--endpoint"),
    "top of an unknown Service": (["top", "-f", "{}", "--service", "shop/wob"], 2, "shop/web"),
    "an impossible translation": (["watch", "--nat", "both"], 2, "--nat"),
    "no manifests": (["list", "-f", "/nowhere"], 2, "/nowhere"),
    "an unknown format": (["list", "-o", "xml"], 2, "xml"),
}


@pytest.mark.parametrize(("arguments", "code", "words"), WRONG.values(), ids=WRONG)
def test_bad_input_is_one_sentence_and_its_exit_code(
    arguments: Sequence[str], code: int, words: str, manifests: str
) -> None:
    done = in_new_namespace(lambda: run(*(argument.format(manifests) for argument in arguments)))
    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [["list"], ["stats"], ["check"], ["watch", "--count", "1"], ["explain", "7"]])
def test_without_permission_it_says_what_is_missing(command: Sequence[str]) -> None:
    def look() -> subprocess.CompletedProcess[str]:
        arguments = ["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin", KPROXY, "conntrack"]
        return subprocess.run([*arguments, *command], capture_output=True, text=True, check=False, timeout=TIMEOUT_S)

    done = in_new_namespace(look)
    assert done.returncode == 3, done.stderr
    assert "CAP_NET_ADMIN" in done.stderr


def test_help_lists_the_commands() -> None:
    text = printed("--help")
    assert all(name in text for name in ("list", "stats", "top", "watch", "explain", "check", "flush"))
