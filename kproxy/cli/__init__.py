"""The command line: options in, the rest of kproxy asked, words and exit codes out.

Rules kept: `kproxy --help` imports click and nothing else of ours; what a command needs is imported when it runs; what
was asked for goes to standard output, everything else to standard error; errors are one sentence, and their exit code
is that of the error tree.
"""

from __future__ import annotations

import sys
from typing import NoReturn


def main() -> NoReturn:
    """The program `kproxy`."""
    from kproxy.cli.session import start  # noqa: PLC0415 - so that importing kproxy.cli costs nothing

    sys.exit(start(sys.argv[1:]))
