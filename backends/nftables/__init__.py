"""The nftables backend: services are data in one table per family, programmed by netlink."""

from backends.nftables.backend import BACKEND

__all__ = ["BACKEND"]
