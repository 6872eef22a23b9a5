"""Opens the door, or says what this machine lacks."""

from __future__ import annotations

from backends.ipvs.kernel import IpvsKernel
from backends.ipvs.sockets import Sockets
from kproxy.core.values import Family
from kproxy.effects import process
from kproxy.effects.process import Run
from kproxy.effects.xtables import Read, find_tools, lacking, read_proc
from kproxy.errors import UnsupportedHost


def open_kernel(family: Family, run: Run = process.run, read: Read = read_proc) -> IpvsKernel:
    """The door to a family's virtual servers, in the calling thread's network namespace; UnsupportedHost if it cannot.

    The kernel loads ip_vs and ip_set itself where it has them as modules.
    """
    tools = find_tools(family, run, read)
    lacks = "IPVS", "ip_vs"
    sockets = None
    try:
        sockets = Sockets()
        lacks = "IP sets", "ip_set"
        sockets.dump_sets()
    except (OSError, KeyError) as error:
        if sockets is not None:
            sockets.close()
        what, module = lacks
        raise UnsupportedHost(
            f"IPVS is refused: {error}; {lacking(tools.variant) or 'run as root'}"
            if isinstance(error, PermissionError)
            else f"this kernel has no {what} ({error}): load the module {module}, or use --backend nftables"
        ) from error
    if remedy := lacking(tools.variant):
        sockets.close()
        raise UnsupportedHost(f"the rules beside IPVS are written by {tools.restore}: {remedy}")
    return IpvsKernel(family, sockets, tools, run)
