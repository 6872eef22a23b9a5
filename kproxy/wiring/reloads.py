"""Reads the configuration file again whenever it changes, however it is changed.

Rules kept: the directories of the name and of the file behind it are watched, so that an editor's rename and a mounted
ConfigMap's swapped link are seen; a file counts as changed when it says something else; a burst of changes is read
once, when it is over, and what was read while the file was being written is not believed; what could not be taken over
for reasons outside the file is told again every now and then.
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
MASK = Mask.MODIFY | Mask.CLOSE_WRITE | Mask.MOVED_FROM | Mask.MOVED_TO | Mask.CREATE | Mask.DELETE


class ConfigWatch:
    """Tells every other configuration that the file comes to hold, or why it cannot be used, each once."""

    def __init__(
        self, path: str, config: Config, changed: Callable[[Config], bool | None], refused: Callable[[str], None]
    ) -> None:
        """`config` is what was read at the start; a `changed` that returns False is told the same again later."""
        self._path = path
        self._known: Config | str = config
        self._changed = changed
        self._refused = refused
        self._is_untaken = False
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
        while self._is_settled():
            self._watch()
            now = self._read()
            is_news = now != self._known
            notices = self._inotify.wait(QUIET_S if is_news else LOOK_S)
            if notices is None:
                return
            if (is_news or self._is_untaken) and not notices:  # else it was a glimpse of a file that is being written
                self._tell(now)

    def _is_settled(self) -> bool:
        """Wait until nothing changes any more; False when the watch is to end."""
        while notices := self._inotify.wait(QUIET_S):
            continue
        return notices is not None

    def _watch(self) -> None:
        """Watch where the name and the file are now; what cannot be watched is looked at from time to time."""
        for directory in {Path(self._path).absolute().parent, Path(self._path).resolve().parent}:
            with contextlib.suppress(OSError):
                self._inotify.watch(directory, MASK)

    def _read(self) -> Config | str:
        """What the file holds, or why it cannot be used."""
        try:
            return load_config(self._path)
        except ConfigError as error:
            return str(error)

    def _tell(self, now: Config | str) -> None:
        self._known = now
        if isinstance(now, str):
            self._is_untaken = False
            self._refused(now)
        else:
            self._is_untaken = self._changed(now) is False
