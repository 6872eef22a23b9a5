"""Netlink messages and attributes as bytes; no socket in here."""
