"""The report before a migration, for people and for programs."""

from __future__ import annotations

import json

from kproxy.core.migration import Item, Way, Weight
from kproxy.report.migration import MAX_SHOWN, Migration, back, lines, plain, steps

KUBE, OURS = Way("kube-proxy", "ipvs", "nftables"), Way("kproxy", "iptables", "nftables")
MANY = tuple(f"shop/s{number}" for number in range(MAX_SHOWN + 2))


def report(way: Way, *items: Item, unsupported: tuple[str, ...] = ()) -> Migration:
    return Migration(way, 3, items, unsupported, steps(way, "--node-name a"), back(way, "--node-name a"))


def text(one: Migration) -> str:
    return "\n".join(line for _, line in lines(one))


def test_nothing_that_differs_is_said_too() -> None:
    assert text(report(KUBE)).startswith("From kube-proxy, ipvs, to kproxy, nftables: nothing will differ\nSteps\n")


def test_an_item_has_its_weight_its_services_and_its_remedy() -> None:
    shown = text(report(KUBE, Item("claims", Weight.LOST, "the older has it", "give another", MANY)))
    assert "1 thing will differ\nlost    claims\n        the older has it\n        meets: shop/s0, " in shown
    assert "shop/s5 and 2 more\n        → give another" in shown


def test_what_the_backend_cannot_do_is_lost() -> None:
    assert "lost    not-supported\n        shop/a, IPv4: NodePort" in text(
        report(KUBE, unsupported=("shop/a, IPv4: NodePort",))
    )


def test_the_steps_are_in_order_and_their_commands_name_node_and_configuration() -> None:
    commands = [one.command for one in report(KUBE).steps]
    assert commands == [
        "kproxy diff --backend nftables --node-name a",
        "kproxy run --backend nftables --node-name a",
        "",
        "kproxy migrate --yes --node-name a",
    ]
    assert [one.command for one in report(KUBE).back][-1] == "kproxy cleanup"
    assert "`mode: nftables`" in report(OURS).steps[0].what
    assert "`mode: iptables`" in report(OURS).back[0].what


def test_programs_get_all_of_it() -> None:
    item = Item("claims", Weight.NEW, "what", "remedy", MANY)
    found = json.loads(json.dumps(plain(report(OURS, item, unsupported=("x",)))))
    assert found["from"] == {"proxy": "kproxy", "backend": "iptables"}
    assert found["to"] == {"proxy": "kproxy", "backend": "nftables"}
    assert found["differences"] == [
        {"code": "claims", "weight": "new", "what": "what", "remedy": "remedy", "services": list(MANY)}
    ]
    assert found["unsupported"] == ["x"]
    assert found["steps"][1]["command"] == "kproxy status"
