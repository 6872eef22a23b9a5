"""What was planned, compiled and decided, as words, rows and JSON. Pure: values in, plain data and text out.

`flows` tells a packet's way, `services` the node's view of Services, `changes` what would change, `layout` puts rows
under headings. Nothing here prints.
"""
