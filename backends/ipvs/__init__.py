"""The IPVS backend: virtual servers and IP sets by netlink, and a handful of iptables rules that look at the sets.

`names`, `objects`, `marks`, `services`, `base` and `compile` make the Document;
`render`, `parse` and `trace` read and write it; `servers`, `sets` and `links`
are the netlink codecs; `drain` decides when a leaving endpoint is gone;
`kernel` is the door.
"""

from backends.ipvs.backend import BACKEND

__all__ = ["BACKEND"]
