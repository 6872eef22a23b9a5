"""What holds for every test: who may run it, and that nothing is left out unseen."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from lab.kernel import has_ipvs, is_ours

NOT_ROOT = "needs root and network namespaces: run as root"
NOTES = pytest.StashKey[list[str]]()


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Says something at the end of the run that a reader should know although nothing failed."""
    return request.config.stash[NOTES].append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for text in config.stash[NOTES]:
        terminalreporter.write_line(text)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    _leave_to_uml(config, items)
    if not is_ours():
        _deselect(config, items, [item for item in items if item.get_closest_marker("own_kernel")])
    if "slow" not in config.option.markexpr:
        _deselect(config, items, [item for item in items if item.get_closest_marker("slow")])
    if os.geteuid() == 0:
        return
    for item in items:
        if item.get_closest_marker("root"):
            item.add_marker(pytest.mark.skip(reason=NOT_ROOT))


def _leave_to_uml(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without ip_vs in this kernel, its tests run in `scripts/uml`, where scripts/test starts them."""
    if os.geteuid() == 0 and not has_ipvs():
        _deselect(config, items, [item for item in items if item.get_closest_marker("ipvs")])


def _deselect(config: pytest.Config, items: list[pytest.Item], left: list[pytest.Item]) -> None:
    items[:] = [item for item in items if item not in left]
    config.hook.pytest_deselected(items=left)


class _Skips:
    """Every skip that the run met; `--no-skips` turns them into a failed run."""

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}

    def add(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        # An expected failure is reported as skipped too; xfail_strict sees to those.
        if report.skipped and not hasattr(report, "wasxfail"):
            self.reasons[report.nodeid] = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.add(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self.add(report)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.reasons and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for nodeid, reason in self.reasons.items():
            terminalreporter.write_line(f"CI does not skip: {nodeid}: {reason}", red=True)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[NOTES] = []
    # A run in the background inherits an ignored SIGINT, and so would every program that a test interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # In CI every test has all it needs, so a skip there is a test that is silently gone.
    if os.environ.get("CI") == "true":
        config.pluginmanager.register(_Skips(), "kproxy-no-skips")
