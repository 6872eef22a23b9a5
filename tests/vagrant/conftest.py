"""Brings the machines of vagrant/lab up once for all tests, and takes down what it brought up.

The tests are deselected unless `-m vagrant` asks for them: they take minutes, and programs that scripts/setup does not
install. `scripts/vagrant-test` sees to all of it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.vagrant.guests import INVENTORY, ROOM, ROOT, Guest, GuestError

BOX = "kproxy-lab"
OUTPUT = ROOT / "dist" / "lab"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "vagrant" in config.option.markexpr:
        return
    ours = {item for item in items if item.get_closest_marker("vagrant")}
    if ours:
        config.hook.pytest_deselected(items=[item for item in items if item in ours])
        items[:] = [item for item in items if item not in ours]


@dataclass(frozen=True)
class Machines:
    """All of them, running."""

    vagrant: Any
    """vagrant.Vagrant, to switch machines off and on."""
    node_a: Guest
    node_b: Guest
    client: Guest

    @property
    def nodes(self) -> tuple[Guest, Guest]:
        return self.node_a, self.node_b


@pytest.fixture(scope="session")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    if shutil.which("vagrant") is None:
        pytest.skip("vagrant is missing: apt-get install --no-install-recommends vagrant vagrant-libvirt")
    import vagrant  # noqa: PLC0415 - it complains on import where there is no vagrant

    room = tmp_path_factory.mktemp("vagrant")
    OUTPUT.mkdir(parents=True, exist_ok=True)
    log = OUTPUT / "vagrant.log"  # kept: it says why a machine did not start
    log.unlink(missing_ok=True)
    chatter = vagrant.make_file_cm(str(log), mode="a")
    lab = vagrant.Vagrant(root=str(ROOM), out_cm=chatter, err_cm=chatter)
    was_running = all(one.state == "running" for one in lab.status())
    try:
        if not was_running:
            bring_up(lab, log)
        yield Machines(lab, *(guest(lab, name, room) for name in INVENTORY))
    finally:
        if not was_running:
            lab.destroy()


def bring_up(lab: Any, log: Path) -> None:
    try:
        lab.box_add(BOX, os.fspath(box()), provider="libvirt", force=True)
        lab.up(provider="libvirt")
    except subprocess.CalledProcessError as error:
        last = "\n".join(log.read_text().splitlines()[-40:])
        raise GuestError(f"{error}; the last of {log}:\n{last}") from error


def box() -> Path:
    path = OUTPUT / f"{BOX}.box"
    if not path.exists():
        pytest.skip(f"{path} is missing: scripts/box makes it")
    return path


def guest(lab: Any, name: str, room: Path) -> Guest:
    ssh_config = room / f"ssh-{name}"
    ssh_config.write_text(lab.ssh_config(vm_name=name))
    return Guest(name, ssh_config)
