"""`kproxy support-bundle`."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click

from kproxy.cli.options import (
    BACKEND_LIVE,
    CONFIG,
    FILES,
    FURTHER,
    INSTANCE,
    KUBECONFIG,
    NODE_IP,
    NODE_NAME,
    SOURCE,
    asked,
)
from kproxy.cli.output import note
from kproxy.cli.verbosity import verbose
from kproxy.errors import ConfigError, KproxyError
from kproxy.report.bundle import Packed, archive, packed
from kproxy.wiring.agents import own_version
from kproxy.wiring.bundle import bundle_node, made, sources
from kproxy.wiring.question import KUBERNETES, Asked

QUIET_S = 2.0
"""What takes longer says what it is doing."""
STANDARD_OUTPUT = "-"


@click.command("support-bundle")
@asked(FILES, FURTHER, SOURCE, KUBECONFIG, BACKEND_LIVE, INSTANCE, CONFIG, NODE_NAME, NODE_IP)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="Default: kproxy-NODE-TIME.tar.gz in this directory; - is standard output.",
)
@verbose
def support_bundle(question: Asked, output: str | None) -> None:
    """Gather what a helper needs, in one file: configuration, plan, rules, parameters, versions, findings.

    Tokens, passwords, keys, certificates, users of a kubeconfig and annotations are removed; MANIFEST.json in it says
    so, and names every part that is missing, with the reason. Names and addresses of Services and endpoints stay: look
    into it before you give it away. Neither root nor a cluster is needed; with both there is more in it.

    \b
    Examples:
      sudo kproxy support-bundle --config /var/lib/kube-proxy/config.conf
      kproxy support-bundle -f manifests/ --output - | tar -tz
    """  # noqa: D301 - click's mark for lines that stay as they are
    if output == STANDARD_OUTPUT and sys.stdout.isatty():
        raise click.UsageError("--output - writes an archive: send it to a file or a program")
    _need_inputs(question)
    if output is not None and output != STANDARD_OUTPUT:
        _need_place(Path(output))
    now = datetime.now(UTC)
    node = bundle_node(question)
    directory = f"kproxy-{_plain(node)}-{now:%Y%m%dT%H%M%SZ}"
    with _progress() as begin:
        parts = packed(made(sources(question, own_version()), begin))
    about = {"created": now.isoformat(timespec="seconds"), "node": node, "kproxy": own_version()}
    data = archive(parts, about, directory, int(now.timestamp()))
    if output == STANDARD_OUTPUT:
        sys.stdout.buffer.write(data)
    else:
        path = Path(output or f"{directory}.tar.gz")
        _write(path, data)
        click.echo(str(path))
    _tell(parts, len(data))


def _plain(node: str) -> str:
    """A name that can be part of a file's name."""
    return re.sub(r"[^a-z0-9.-]", "-", node)[:80]


def _need_inputs(question: Asked) -> None:
    """A path that is named and not there is a slip of the pen, and no missing part."""
    source = () if question.source == KUBERNETES else (question.source,)
    for path in (*question.files, *source, *((question.config,) if question.config else ())):
        try:
            if path != STANDARD_OUTPUT:
                Path(path).stat()
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}") from error


def _need_place(path: Path) -> None:
    """Where nothing can be written, nothing need be gathered."""
    try:
        if path.is_file():
            path.open("ab").close()
        elif not path.exists():
            tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise ConfigError(f"--output {path}: {error.strerror}") from error


def _write(path: Path, data: bytes) -> None:
    """For its owner only: it says much about a node."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)
    except OSError as error:
        raise KproxyError(f"--output {path}: {error.strerror}") from error


def _tell(parts: list[Packed], size: int) -> None:
    missing = [one for one in parts if one.state == "missing"]
    note(
        f"{len(parts) - len(missing)} parts, {size / 1024:.0f} KiB; {len(missing)} are missing, MANIFEST.json says why"
    )
    for one in parts:
        if one.state == "shortened":
            note(f"{one.name} is shortened: {one.reason}")


@contextmanager
def _progress() -> Iterator[Begin]:
    """Says what is being gathered once it has taken more than a moment."""
    begin = Begin()
    thread = threading.Thread(target=begin.watch, name="progress", daemon=True)
    thread.start()
    try:
        yield begin
    finally:
        begin.over.set()
        thread.join()


class Begin:
    """Is told the name of each part, and tells it on when whoever waits must think that nothing happens."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self._name = ""
        self._since = time.monotonic()
        self._aloud = False

    def __call__(self, name: str) -> None:
        """This part is made next."""
        self._name = name
        if self._aloud:
            self._say()

    def watch(self) -> None:
        """Break the silence, unless it is over before."""
        if not self.over.wait(QUIET_S):
            self._aloud = True
            self._say()

    def _say(self) -> None:
        note(f"{time.monotonic() - self._since:.0f} s: gathering {self._name}")
