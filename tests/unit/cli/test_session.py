"""What the program returns to the shell, and what it costs to ask it for help."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from kproxy.cli.app import COMMANDS, app
from kproxy.cli.session import start
from kproxy.errors import ConfigError, KernelError, UnsupportedHost
from tests.fakes.program import COMMAND, run_here, run_program

SHOP = Path(__file__).parents[2] / "data" / "manifests" / "shop"


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """`kproxy version` raises what is put into the list."""
    errors: list[BaseException] = []

    @click.command()
    def version() -> None:
        raise errors[0]

    monkeypatch.setattr("kproxy.cli.version.version", version)
    return errors


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ConfigError("a\nb"), 2, "kproxy: a\nkproxy: b\n"),
        (UnsupportedHost("no iptables; install it"), 3, "kproxy: no iptables; install it\n"),
        (KernelError("x"), 1, "kproxy: x\n"),
        (KeyboardInterrupt(), 130, ""),
        (BrokenPipeError(), 141, ""),
        (
            click.UsageError("no"),
            2,
            "Usage: kproxy version [OPTIONS]\nTry 'kproxy version --help' for help.\n\nError: no\n",
        ),
    ],
)
def test_every_error_has_its_exit_code_and_its_sentence(
    failing: list[BaseException],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: int,
    said: str,
) -> None:
    monkeypatch.setattr("kproxy.cli.session._silence", lambda _stream: None)
    failing.append(error)
    assert run_here(capsys, "version") == (code, "", said)


def test_an_unexpected_error_is_one_line_and_tells_how_to_see_more(
    failing: list[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    failing.append(ZeroDivisionError("division by zero"))
    code, out, err = run_here(capsys, "version")
    assert (code, out, err.count("\n")) == (70, "", 1)
    assert "unexpected ZeroDivisionError: division by zero" in err
    assert "-v" in err


def test_with_v_an_unexpected_error_shows_its_traceback(failing: list[BaseException]) -> None:
    failing.append(ZeroDivisionError("division by zero"))
    with pytest.raises(ZeroDivisionError):
        start(["-v", "version"])


def test_help_is_there_for_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    for name in COMMANDS:
        code, out, err = run_here(capsys, name, "--help")
        assert (code, err) == (0, "")
        assert out.startswith(f"Usage: kproxy {name}")


def test_the_table_says_what_the_commands_say(capsys: pytest.CaptureFixture[str]) -> None:
    out = run_here(capsys, "--help").out
    assert [line.split()[0] for line in out.partition("Commands:\n")[2].splitlines()] == list(COMMANDS)
    context = click.Context(app)
    for name in COMMANDS:
        assert app.get_command(context, name) is not None
    assert app.get_command(context, "nonsense") is None


def test_an_unknown_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run_here(capsys, "rendr")
    assert code == 2
    assert "No such command 'rendr'" in err


def test_output_that_has_no_room_is_no_defect_of_ours() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*COMMAND, "version"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (74, "kproxy: the output cannot be written: No space left on device\n")


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_streams_that_the_caller_closed_are_quiet(closed: tuple[int, ...]) -> None:
    program = f"import os; [os.close(one) for one in {closed}]; os.execv({COMMAND[0]!r}, {[*COMMAND, 'version']})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("kproxy ") is (1 not in closed)


def test_asking_for_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; from kproxy.cli.session import start; start(['--help']); "
        "heavy = {'kubernetes', 'rich', 'structlog', 'pyroute2', 'yaml', 'msgspec', 'backends'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_render_imports_neither_the_client_package_nor_the_log() -> None:
    program = (
        "import sys; from kproxy.cli.session import start; "
        f"start(['render', '-f', {str(SHOP)!r}, '--backend', 'iptables', '--node-name', 'node-a']); "
        "print(sorted({'kubernetes', 'rich', 'structlog', 'pyroute2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_reader_that_goes_away_ends_it_quietly() -> None:
    arguments = ["render", "-f", str(SHOP), "--backend", "iptables", "--node-name", "node-a"]
    with subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert process.returncode == 141


def test_a_latin_terminal_gets_its_output_all_the_same() -> None:
    env = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    done = run_program("explain", "-f", str(SHOP), "--flow", "203.0.113.7,10.96.0.10:80/TCP", env=env)
    assert done.code == 0
    assert "203.0.113.7 ? 10.96.0.10:80/TCP" in done.out


def test_ctrl_c_while_reading_standard_input() -> None:
    with subprocess.Popen([*COMMAND, "render", "-f", "-"], stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        ready = subprocess.run(
            ["timeout", "20", "sh", "-c", f"until grep -q pipe_read /proc/{process.pid}/wchan; do :; done"], check=False
        )
        if ready.returncode:
            process.kill()
            pytest.fail("never came to read its standard input")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 130
        assert process.stderr is not None
        assert process.stderr.read() == b""
