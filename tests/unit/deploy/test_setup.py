"""Which Python `scripts/setup` takes where there are several."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SETUP = Path(__file__).parents[3] / "scripts" / "setup"
WORK = "# Two at once would make the same directory"
USABLE_BY_ROOT_ALONE = '#!/bin/sh\ncase "$2" in *ensurepip*) exit 0;; *) exit 1;; esac\n'
USABLE_BY_ALL = "#!/bin/sh\nexit 0\n"


@pytest.mark.root
def test_root_takes_one_that_others_can_run_too(tmp_path: Path) -> None:
    functions, found, _ = SETUP.read_text().partition(WORK)
    assert found
    setup = tmp_path / "scripts" / "setup"
    setup.parent.mkdir()
    setup.write_text(functions)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("python3", USABLE_BY_ROOT_ALONE), ("python3.14", USABLE_BY_ALL)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    done = subprocess.run(
        ["bash", "-c", '. "$1"; find_python', "bash", str(setup)],
        env={"PATH": f"{programs}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() in (str(programs / "python3.14"), "/usr/bin/python3")
    (programs / "python3.14").unlink()
    alone = subprocess.run(
        ["bash", "-c", '. "$1"; readonly PATH=$2; find_python', "bash", str(setup), str(programs)],
        env={"PATH": f"{programs}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert alone.stdout.strip() in (str(programs / "python3"), "/usr/bin/python3")
