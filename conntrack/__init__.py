"""Connection tracking: inspection, statistics per Service, and exact clean-up.

Pure: `layout` (ctnetlink's numbers), `wire` (messages to rows, without an object
per attribute), `entry` (a typed flow), `requests`, `services` (which Service a
flow was sent to), `stale` (which flows no serving endpoint answers), `stats`,
`query`, `check`, `story`, `load`, `counters`.
Doors: `table` and `events` talk to the kernel, `ahead` receives dumps in a child
process. Workers: `cleaner` removes stale flows after syncs, `collector` looks at
the table for `metrics`.
"""
