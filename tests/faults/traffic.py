"""New connections to a Service, again and again while things go wrong; whatever is answered must be allowed.

An answer counts if it came while it was not allowed from the start of its round to the end of it. So what is allowed is
widened before a change is made, and narrowed when the change is seen to be in force.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from lab.machine import Answers, LabError, Machine, Target, probe_all

PER_ROUND = 8
ENOUGH = 6
"""So many rounds on end that met exactly what is wanted: with 48 connections none of three endpoints is missed."""
PAUSE_S = 0.02
PATIENCE_S = 120.0


class Round(NamedTuple):
    """Some connections side by side, and who answered them."""

    number: int
    answers: Answers


class Traffic:
    """From one machine to one address; the machine is this thread's alone meanwhile."""

    def __init__(self, machine: Machine, target: Target, controls: Sequence[Target], allowed: Collection[str]) -> None:
        self._machine, self._target, self._controls = machine, target, controls
        self._news = threading.Condition()
        self._rounds: deque[Round] = deque(maxlen=ENOUGH)
        self._began = 0
        self._allowed = frozenset(allowed)
        self._wrong: list[tuple[Round, frozenset[str]]] = []
        self._trouble: LabError | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic")

    def _run(self) -> None:
        while not self._stopped.wait(PAUSE_S):
            with self._news:
                self._began += 1
                before = self._allowed
            try:
                found = probe_all({self._machine: [self._target]}, {self._machine: self._controls})
            except LabError as error:
                self._trouble = error
                return
            with self._news:
                done = Round(self._began, who(found[self._machine][0]))
                self._rounds.append(done)
                if strange := done.answers.keys() - before - self._allowed:
                    self._wrong.append((done, frozenset(strange)))
                self._news.notify_all()

    def allow(self, answers: Collection[str]) -> None:
        """These too from now on, until it is waited for some."""
        with self._news:
            self._allowed |= frozenset(answers)

    def until(self, wanted: Collection[str], what: str = "") -> None:
        """Wait until exactly these answer, and allow nothing else from then on."""

        def is_so() -> bool:
            recent = [one for one in self._rounds if one.number > start]
            met = set[str]().union(*(one.answers for one in recent))
            return len(recent) == ENOUGH and met == set(wanted)

        with self._news:
            start = self._began
            if not self._news.wait_for(lambda: self._trouble or is_so(), PATIENCE_S) or self._trouble:
                raise AssertionError(f"{what}: {set(wanted)} do not answer, but {list(self._rounds)} {self._trouble}")
            self._allowed = frozenset(wanted)

    def check(self) -> None:
        """AssertionError if anything was answered that was not allowed."""
        with self._news:
            assert not self._trouble, self._trouble
            assert not self._wrong, self._wrong
            assert self._began, "there was no traffic"

    @contextmanager
    def flowing(self) -> Iterator[Traffic]:
        """Connections during the block; then `check`."""
        self._thread.start()
        try:
            yield self
        finally:
            self._stopped.set()
            self._thread.join()
        self.check()


def who(answers: Mapping[str, int]) -> Answers:
    """The answers without the source that the endpoints saw."""
    found = Answers()
    for answer, count in answers.items():
        found[answer.partition(" ")[0]] += count
    return found
