"""The configuration: kube-proxy's file format and our own, from text to a frozen Config.

Pure: text in, values and messages out. `forms` are the ways to write a value, `fields` the types (and so the table of
all fields), `yamltree` the text with its positions, `decode` brings the two together, `load` knows the rules across
fields and what the agent wants to know.
"""

from kproxy.config.load import Config, Pacing, read_config

__all__ = ["Config", "Pacing", "read_config"]
