"""Connection tracking: inspection, statistics per Service, and exact clean-up.

Charter of this room (nothing is built here yet): `wire` decodes netlink dumps
and events without an object per attribute, `entry` holds a typed flow, `stats`
groups flows by Service, endpoint, state and protocol, and `stale` decides by
level which flows no serving endpoint answers any more. These four are pure.
`table` is the only file that talks to the kernel.
"""
