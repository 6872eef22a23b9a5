"""`kproxy run`."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator, Sequence
from types import FrameType

import click

from kproxy.agent import Agent
from kproxy.cli.kube_proxy import KubeProxyCommand, kube_proxy_flags
from kproxy.cli.options import BACKEND_LIVE, CONFIG, FAMILY, INSTANCE, KUBECONFIG, NODE_IP, NODE_NAME, SOURCE, asked
from kproxy.cli.session import INTERRUPTED, Session
from kproxy.cli.verbosity import verbose
from kproxy.config import Config
from kproxy.effects.logs import FORMATS, Logger, make_logger
from kproxy.effects.signals import signals_told
from kproxy.wiring.agents import open_agent
from kproxy.wiring.cluster import configured
from kproxy.wiring.question import Asked
from kproxy.wiring.sysctls import initialise

PATIENCE_S = 1.5
"""How long after a signal a sync that is under way may go on; rules are changed as a whole or not at all."""


AGAIN_S = 0.1
"""How soon it is interrupted again, should what it waits for have begun just after the interruption."""


class Overdue(BaseException):
    """The agent was told to stop and has not."""


@click.command(cls=KubeProxyCommand)
@asked(SOURCE, KUBECONFIG, BACKEND_LIVE, INSTANCE, CONFIG, NODE_NAME, NODE_IP, FAMILY)
@kube_proxy_flags
@click.option("--once", is_flag=True, help="Sync once, then end: exit code 0 if the rules are in force.")
@click.option(
    "--init-only",
    is_flag=True,
    help="Set kernel parameters and load modules, then end: for a privileged init container. No rules are written.",
)
@click.option("--log-format", type=click.Choice(FORMATS), help="Default: text on a terminal, JSON elsewhere.")
@verbose
@click.pass_obj
def run(session: Session, question: Asked, once: bool, init_only: bool, log_format: str | None) -> int:
    """Run the agent: program this node's Services and follow every change. Needs root (CAP_NET_ADMIN).

    All of kube-proxy's flags are taken too, with its meaning and precedence: beside --config only --hostname-override,
    --master and those of the log count.

    With --once nothing is served or followed, and connections are not cleaned up; another backend's rules are removed,
    but for those that connections go through. A manifest that cannot be read makes its exit code 2.

    SIGTERM, SIGHUP and Ctrl-C end it; the rules stay in force. Options win over the configuration file. Without
    --backend and without a mode in the configuration the backend is nftables if this kernel can, else iptables; the log
    says why.

    \b
    Examples:
      kproxy run
      kproxy run --config /var/lib/kube-proxy/config.conf --node-name worker-1
      kproxy run --source manifests/ --backend iptables --node-name node-a
      kproxy run --instance edge --config edge.yaml
      kproxy run --init-only
    """  # noqa: D301 - click's mark for lines that stay as they are
    config: Config | None
    config, remarks = configured(question)
    if init_only:
        initialise(question, config, _log(config, session.verbosity, log_format))
        return 0
    signals: list[int] = []
    agents: list[Agent] = []
    with contextlib.suppress(Overdue), _on_signals(agents, signals):
        while config is not None:
            log = _log(config, session.verbosity, log_format)
            for remark in remarks:
                log.warning("configuration", remark=remark)
            try:
                with open_agent(question, config, log, once=once) as running:
                    agents.append(running.agent)
                    running.agent.run()
                    agents.clear()
                    config, remarks = None if signals else running.again, ()
            except Overdue:
                log.warning("stopped in the middle of what was under way; the next start looks at the kernel first")
                break
    if signals:
        log.info("stopped, the rules stay", signal=signal.Signals(signals[0]).name)
    return INTERRUPTED if signal.SIGINT in signals else 0


def _log(config: Config, verbosity: int, form: str | None) -> Logger:
    """The log as the options have it, else the configuration."""
    logging = config.proxy.logging
    return make_logger(form or logging.format or "auto", max(verbosity, logging.verbosity), sys.stderr)


@contextlib.contextmanager
def _on_signals(agents: Sequence[Agent], signals: list[int]) -> Iterator[None]:
    """Let SIGTERM, SIGHUP and SIGINT end the agent: gently at first, after PATIENCE_S, or at a second signal, at once.

    Before there is an agent nothing is worth waiting for.
    """

    def stop() -> None:
        for agent in tuple(agents):
            agent.stop()

    def overdue(_number: int, _frame: FrameType | None) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        raise Overdue

    def end(number: int, _frame: FrameType | None) -> None:
        signals.append(number)
        if len(signals) > 1 or not agents:
            raise Overdue
        signal.setitimer(signal.ITIMER_REAL, PATIENCE_S, AGAIN_S)
        stop()

    signal.signal(signal.SIGALRM, overdue)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup(1) has it ignored
            signal.signal(number, end)
    with signals_told(stop):
        yield
        signal.setitimer(signal.ITIMER_REAL, 0)
