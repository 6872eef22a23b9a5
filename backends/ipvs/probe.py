"""Opens the door, or says what this machine lacks."""

from __future__ import annotations

from backends.ipvs import sets
from backends.ipvs.kernel import IpvsKernel, Sockets
from backends.ipvs.steps import Tongue
from kproxy.core.values import Family
from kproxy.effects import process
from kproxy.effects.process import Run
from kproxy.effects.xtables import Read, find_tools, read_proc
from kproxy.errors import UnsupportedHost
from kproxy.netlink.generic import family_request, read_family
from kproxy.netlink.virtual_servers import FAMILY_NAME


def open_kernel(family: Family, run: Run = process.run, read: Read = read_proc) -> IpvsKernel:
    """The door to a family's virtual servers, in the calling thread's network namespace; UnsupportedHost if it cannot.

    The kernel loads ip_vs and ip_set itself where it has them as modules.
    """
    tools = find_tools(family, run, read)
    try:
        sockets = Sockets()
    except OSError as error:
        raise UnsupportedHost(f"netlink cannot be opened: {error}; kproxy needs root (CAP_NET_ADMIN)") from error
    try:
        kind, payload = family_request(FAMILY_NAME)
        number = read_family(sockets.of[Tongue.GENERIC].request(kind, payload))
        sockets.of[Tongue.NETFILTER].dump(sets.SUBSYSTEM << 8 | sets.LIST, sets.list_request())
    except (OSError, KeyError) as error:
        sockets.close()
        raise UnsupportedHost(
            f"this kernel has no IPVS or no IP sets ({error}): load the modules ip_vs and ip_set, "
            "or use --backend nftables"
        ) from error
    return IpvsKernel(family, sockets, number, tools, run)
