"""The agent: Services and EndpointSlices in, kernel load balancing out.

`core` decides and knows no I/O, `netlink` encodes, `effects` are the doors to
the world, and `sync`, `agent`, `wiring`, `report` and `cli` put them together.
"""
