"""Where the parts meet: the only room that names backends and sources, and that builds an agent from a Config.

`backends` finds and chooses them, `cluster` says where Services come from and what machine this is, `agents` puts an
agent together, `offline` answers what-if questions without a kernel.
"""
