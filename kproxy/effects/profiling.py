"""Where this process spends its processor time and its memory, for `/debug/pprof/`: text, bounded, made on demand.

Rules kept: nothing is hooked or traced while nobody asks; one profile is taken at a time and ends by itself. Python has
no pprof format, so a profile is in collapsed stacks, which flame graph programs read.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Final

SAMPLE_S: Final = 0.02
LONGEST_S: Final = 60.0
MOST_TYPES: Final = 40
STATUS: Final = Path("/proc/self/status")
MEMORY_FIELDS: Final = ("VmRSS:", "VmHWM:", "RssAnon:", "Threads:")

_taking = threading.Lock()


class Busy(Exception):
    """Another profile is being taken."""


def processor_profile(seconds: float) -> Counter[str]:
    """Microseconds of processor time by stack (`thread;outermost;…;innermost`), watched for so long, LONGEST_S at most.

    What a thread used since the last look is put down to where it is now. Busy if another profile is being taken.
    """
    if not _taking.acquire(blocking=False):
        raise Busy
    try:
        return _watched(time.monotonic() + min(seconds, LONGEST_S))
    finally:
        _taking.release()


def _watched(end: float) -> Counter[str]:
    stacks: Counter[str] = Counter()
    before = _processor_ns()
    while (left_s := end - time.monotonic()) > 0:
        time.sleep(min(SAMPLE_S, left_s))
        now, frames = _processor_ns(), sys._current_frames()  # noqa: SLF001 - documented, in spite of its name
        for thread in threading.enumerate():
            used_ns = now.get(thread.native_id or 0, 0) - before.get(thread.native_id or 0, 0)
            if used_ns > 0 and thread.ident in frames and thread is not threading.current_thread():
                stacks[_collapsed(thread.name, frames[thread.ident])] += used_ns // 1000
        before = now
    return stacks


def thread_stacks() -> Iterator[str]:
    """Every thread, and where it is."""
    frames = sys._current_frames()  # noqa: SLF001 - as above
    for thread in threading.enumerate():
        if thread.ident in frames:
            name, *places = _collapsed(thread.name, frames[thread.ident]).split(";")
            yield from (name, *(f"    {place}" for place in places), "")


def memory_summary() -> Iterator[str]:
    """The process' memory as the kernel counts it, and the most frequent kinds of objects that the collector knows."""
    for line in STATUS.read_text().splitlines():
        if line.startswith(MEMORY_FIELDS):
            yield " ".join(line.split())
    yield f"allocated blocks: {sys.getallocatedblocks()}"
    yield f"collections by generation: {', '.join(str(one['collections']) for one in gc.get_stats())}"
    yield ""
    counts = Counter(f"{type(one).__module__}.{type(one).__qualname__}" for one in gc.get_objects())
    yield from (f"{count:>9} {name}" for name, count in counts.most_common(MOST_TYPES))


def _collapsed(thread: str, frame: FrameType | None) -> str:
    places = []
    while frame is not None:
        code = frame.f_code
        places.append(f"{frame.f_globals.get('__name__', '?')}.{code.co_qualname}:{frame.f_lineno}")
        frame = frame.f_back
    return ";".join((thread, *reversed(places)))


def _processor_ns() -> Mapping[int, int]:
    """What each thread of this process has used so far."""
    found = {}
    for task in Path("/proc/self/task").iterdir():
        try:
            found[int(task.name)] = int((task / "schedstat").read_text().split()[0])
        except OSError:  # it has just ended
            continue
    return found
