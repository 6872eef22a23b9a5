"""Makes the captures in tests/data/conntrack: `python -m tests.fakes.conntrack_capture`, as root.

`NAME.bin` holds the messages of a dump (or of events) as the kernel sent them,
end to end; `NAME.txt` what conntrack-tools said of the same flows.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from conntrack.events import Kind
from conntrack.layout import GROUP_DESTROY, GROUP_NEW, GROUP_UPDATE
from conntrack.requests import ALL, dumps
from kproxy.effects.netlink import NetlinkSocket
from tests.fakes import flows
from tests.fakes.namespace import in_new_namespace

FOLDER = Path(__file__).parent.parent / "data" / "conntrack"
ACCOUNTING = ("net.netfilter.nf_conntrack_acct=1", "net.netfilter.nf_conntrack_timestamp=1")


def dump(name: str, *sysctls: str) -> Callable[[], None]:
    def capture() -> None:
        flows.prepare(*sysctls)
        kept = flows.every_kind()
        with NetlinkSocket() as socket:
            (request,) = dumps(ALL)
            (FOLDER / f"{name}.bin").write_bytes(b"".join(socket.dump_buffers(*request)))
        text = "".join(
            subprocess.run(
                ["conntrack", "-L", "-f", family, "-o", "extended,id"], capture_output=True, text=True, check=True
            ).stdout
            for family in ("ipv4", "ipv6")
        )
        (FOLDER / f"{name}.txt").write_text(text)
        for one in kept:
            one.close()

    return capture


def events() -> None:
    flows.prepare()
    with NetlinkSocket() as socket:
        for group in (GROUP_NEW, GROUP_UPDATE, GROUP_DESTROY):
            socket.join(group)
        flows.udp("10.0.0.1", "10.96.0.1", 80, server="10.244.0.5")
        subprocess.run(["conntrack", "-D", "-p", "udp"], capture_output=True, check=True)
        buffers = [socket.events(1) for _ in Kind]
    (FOLDER / "events.bin").write_bytes(b"".join(buffer for buffer in buffers if buffer))


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    in_new_namespace(dump("plain"))
    in_new_namespace(dump("accounting", *ACCOUNTING))
    in_new_namespace(events)
