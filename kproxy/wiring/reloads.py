"""Reads the configuration file again whenever it changes, however it is changed.

Rules kept: the directories of the name and of the file behind it are watched, so that an editor's rename and a mounted
ConfigMap's swapped link are seen; a file counts as changed when it says something else; a burst of changes is read
once, when it is over.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

from kproxy.config import Config
from kproxy.effects.inotify import Inotify, Mask
from kproxy.errors import ConfigError
from kproxy.wiring.cluster import load_config

QUIET_S = 0.05
LOOK_S = 30.0
"""How often the file is read though nothing was noticed: a directory above it may have been replaced."""
MASK = Mask.CLOSE_WRITE | Mask.MOVED_FROM | Mask.MOVED_TO | Mask.CREATE | Mask.DELETE


class ConfigWatch:
    """Tells every other configuration that the file comes to hold, or why it cannot be used, each once."""

    def __init__(
        self, path: str, config: Config, changed: Callable[[Config], None], refused: Callable[[str], None]
    ) -> None:
        """`config` is what was read at the start."""
        self._path = path
        self._known: Config | str = config
        self._changed = changed
        self._refused = refused
        self._inotify = Inotify()
        self._thread = threading.Thread(target=self._run, name="config", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._watch()
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._inotify.ring()
        self._thread.join()
        self._inotify.close()

    def _run(self) -> None:
        self._look()  # it may have changed since it was read
        while (notices := self._inotify.wait(LOOK_S)) is not None:
            while notices:
                notices = self._inotify.wait(QUIET_S)
            if notices is None:
                return
            self._watch()
            self._look()

    def _watch(self) -> None:
        """Watch where the name and the file are now; what cannot be watched is looked at from time to time."""
        for directory in {Path(self._path).absolute().parent, Path(self._path).resolve().parent}:
            with contextlib.suppress(OSError):
                self._inotify.watch(directory, MASK)

    def _look(self) -> None:
        now: Config | str
        try:
            now = load_config(self._path)
        except ConfigError as error:
            now = str(error)
        if now == self._known:
            return
        self._known = now
        if isinstance(now, str):
            self._refused(now)
        else:
            self._changed(now)
