"""How `kproxy run` takes signals, and what it makes of its options, with an agent of the test's own."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kproxy.config import Config, read_config
from kproxy.effects.logs import Logger
from kproxy.wiring.question import Asked
from tests.fakes.program import run_here

MANIFESTS = Path(__file__).parents[2] / "data" / "manifests"


class Life:
    """Stands for the agent: `runs` is what it does, `opens` what happens before there is one."""

    def __init__(self) -> None:
        self.asked: list[tuple[Asked, Config, bool]] = []
        self.stopped = False
        self.opens: Callable[[], None] = lambda: None
        self.runs: Callable[[], None] = lambda: None
        self.agent = self
        self.again: Config | None = None

    @contextmanager
    def open(self, asked: Asked, config: Config, _log: Logger, *, once: bool = False) -> Iterator[Life]:
        self.asked.append((asked, config, once))
        self.opens()
        yield self

    def run(self) -> None:
        self.runs()

    def stop(self) -> None:
        self.stopped = True


@pytest.fixture
def life(monkeypatch: pytest.MonkeyPatch) -> Iterator[Life]:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)
    before = [signal.getsignal(number) for number in numbers]
    life = Life()
    monkeypatch.setattr("kproxy.cli.run.open_agent", life.open)
    yield life
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def log(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_stops_the_agent_gently(
    capsys: pytest.CaptureFixture[str], life: Life, number: signal.Signals, code: int
) -> None:
    life.runs = lambda: signal.raise_signal(number)
    ran = run_here(capsys, "run")
    assert (ran.code, life.stopped) == (code, True)
    (line,) = log(ran.err)
    assert (line["event"], line["signal"]) == ("stopped, the rules stay", number.name)


def test_an_agent_that_does_not_stop_is_left_behind(
    capsys: pytest.CaptureFixture[str], life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kproxy.cli.run.PATIENCE_S", 0.05)

    def stubborn() -> None:
        signal.raise_signal(signal.SIGTERM)
        signal.pause()
        pytest.fail("went on after its time")

    life.runs = stubborn
    ran = run_here(capsys, "run")
    assert ran.code == 0
    assert [line["event"].partition(";")[0] for line in log(ran.err)] == [
        "stopped in the middle of what was under way",
        "stopped, the rules stay",
    ]


def test_a_second_signal_does_not_wait(capsys: pytest.CaptureFixture[str], life: Life) -> None:
    def twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("went on after the second signal")

    life.runs = twice
    assert run_here(capsys, "run").code == 130


def test_it_begins_again_with_a_configuration_that_needs_another_agent(
    capsys: pytest.CaptureFixture[str], life: Life
) -> None:
    other = read_config("apiVersion: kproxy.io/v1alpha1\nkind: KproxyConfiguration\n", "other")
    agains = [other, None]

    def end() -> None:
        life.again = agains.pop(0)

    life.runs = end
    assert run_here(capsys, "run").code == 0
    assert [config for _, config, _ in life.asked] == [Config(), other]


def test_before_there_is_an_agent_nothing_is_waited_for(capsys: pytest.CaptureFixture[str], life: Life) -> None:
    life.opens = lambda: signal.raise_signal(signal.SIGTERM)
    assert (run_here(capsys, "run").code, life.stopped) == (0, False)


def test_options_and_configuration_reach_the_agent(capsys: pytest.CaptureFixture[str], life: Life) -> None:
    config = str(MANIFESTS / "config.yaml")
    arguments = ("--once", "--config", config, "--backend", "iptables", "--node-name", "n", "--node-ip", "192.0.2.1")
    assert run_here(capsys, "run", *arguments, "--source", "x", "--kubeconfig", "k", "--family", "ipv6").code == 0
    ((asked, read, once),) = life.asked
    assert asked == Asked((), "x", config, "k", "iptables", "n", ("192.0.2.1",), (6,))  # type: ignore[arg-type] # Family
    assert [str(network) for network in read.proxy.cluster_cidr] == ["10.64.0.0/16", "fd00:64::/48"]
    assert once


@pytest.mark.parametrize(
    ("logging", "arguments", "is_json", "is_debug"),
    [
        ("", [], True, False),
        ("logging: {format: text}", [], False, False),
        ("logging: {format: text, verbosity: 2}", ["--log-format", "json"], True, True),
        ("", ["--log-format", "text", "-v"], False, True),
    ],
)
def test_the_log_is_as_options_then_configuration_say(
    capsys: pytest.CaptureFixture[str],
    life: Life,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    logging: str,
    arguments: list[str],
    *,
    is_json: bool,
    is_debug: bool,
) -> None:
    config = tmp_path / "config.yaml"
    head = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
    config.write_text(f"{head}{logging}\nnonsense: 1\n")

    @contextmanager
    def speak(_asked: Asked, _config: Config, log: Logger, *, once: bool = False) -> Iterator[Life]:
        log.debug("a detail", once=once)
        yield life

    monkeypatch.setattr("kproxy.cli.run.open_agent", speak)
    err = run_here(capsys, "run", "--config", str(config), *arguments).err
    assert "unknown field nonsense is ignored" in err
    assert ("a detail" in err) is is_debug
    assert err.startswith("{") is is_json
