from __future__ import annotations

from kproxy.config import Config
from kproxy.config.encode import encode
from kproxy.config.flags import FLAGS
from kproxy.report.zpages import CAUTION, flagz_lines, statusz_lines


def test_statusz_is_as_kubernetes_components_write_it() -> None:
    lines = list(statusz_lines("1.2.3", "3.11.7", 1763868896.0, 1763868896.0 + 3600 + 125.9, ["/metrics", "/configz"]))
    assert lines == [
        "kproxy statusz",
        CAUTION,
        "",
        "Started: Sun Nov 23 03:34:56 UTC 2025",
        "Up: 1 hr 02 min 05 sec",
        "Python version: 3.11.7",
        "Binary version: 1.2.3",
        "Paths: /configz /metrics",
    ]


def test_flagz_has_every_flag_of_kube_proxy_with_the_value_in_force_and_ours_that_were_given() -> None:
    given = {"config": "/etc/k.conf", "proxy-mode": "iptables", "metrics-bind-address": "0.0.0.0", "vmodule": "a=2"}
    head, _, _, *lines = flagz_lines(given, encode(Config().proxy))
    assert head == "kproxy flagz"
    found = dict(line.split("=", 1) for line in lines)
    assert lines == sorted(lines, key=lambda line: line.split("=")[0])
    assert set(found) == {*FLAGS, "config"}
    assert found["proxy-mode"] == ""  # beside --config the file's word counts, and it has none
    assert (found["config"], found["metrics-bind-address"], found["vmodule"]) == ("/etc/k.conf", "0.0.0.0", "a=2")
    assert (found["conntrack-tcp-timeout-established"], found["masquerade-all"]) == ("24h0m0s", "false")
    assert (found["nodeport-addresses"], found["feature-gates"], found["oom-score-adj"]) == ("", "", "-999")
