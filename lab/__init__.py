"""The laboratory: a node, its pods, another node and an outside world, in network namespaces.

Used by the packet tests and by `scripts/run`; no part of the agent, and nothing
of the agent is imported here. Every namespace is held by a process of ours and
has no name: when the process ends, for whatever reason, the kernel takes the
namespace, its links and its rules away, and the host's own never had any.

- `inhabitant`: the program that lives in a namespace, by `listening` and `probing` (with `sctp`'s packets).
- `serve` and `once`: both of these for virtual machines (vagrant/lab), without an inhabitant.
- `machine`: a namespace seen from outside: start it, run programs in it, ask its inhabitant.
- `topology`: which machines there are, their links, addresses and routes.
- `agent`: kproxy as a process on the node.
- `sandbox`: the show of `scripts/run`.
"""

REJECT, UNREACHABLE, NONE = "REJECT", "UNREACHABLE", "NONE"
"""What becomes of a probe that no endpoint answers."""
