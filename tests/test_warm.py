"""The Python that forks stands in for one that starts: in what a process sees, and how it ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from .matrix import ROOT
from .test_process import wait_until
from .warm import stand_in

SEEN = """
import os, sys
print(sys.argv, os.getcwd(), os.environ.get("MINE"), sys.dont_write_bytecode, __name__)
print(sys.stdin.read(), file=sys.stderr)
"""
ENDS = {
    "a code": "raise SystemExit(3)",
    "a sentence": "raise SystemExit('It is full.')",
    "an exception": "1 / 0",
    "a signal": "import os; os.kill(os.getpid(), 15)",
    "what is left to do": "import atexit; atexit.register(print, 'Bye.', flush=True); print('Hi.')",
    "a thread": "import threading as t; t.Timer(0.1, print, ['Late.']).start()",
}


def ended(python: str, *arguments: str, **more: Any) -> tuple[int, str, str]:
    options: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 60} | more
    result = subprocess.run([python, *arguments], **options)
    told = result.stderr.splitlines()
    return result.returncode, result.stdout, told[-1] if told else ""


def test_it_has_imported_the_sdk() -> None:
    code = "import sys; print('chatkit.server' in sys.modules, 'app' in sys.modules)"
    assert ended(stand_in(), "-c", code) == (0, "True False\n", "")


@pytest.mark.parametrize("module", [True, False], ids=["module", "code"])
def test_a_process_sees_what_it_was_started_with(tmp_path: Path, module: bool) -> None:
    (tmp_path / "seen.py").write_text(SEEN)
    given = ["-m", "seen", "a", "-b"] if module else ["-c", SEEN, "a", "-b"]
    environment = os.environ | {"MINE": "yes", "PYTHONDONTWRITEBYTECODE": "1"}
    more = {"cwd": tmp_path, "env": environment, "input": "typed"}
    expected = ended(sys.executable, *given, **more)
    assert "yes True __main__" in expected[1]
    assert ended(stand_in(), *given, **more) == expected


@pytest.mark.parametrize("how", ENDS)
def test_it_ends_as_a_process_does(how: str) -> None:
    assert ended(stand_in(), "-c", ENDS[how]) == ended(sys.executable, "-c", ENDS[how])


def test_a_signal_reaches_the_process() -> None:
    code = "import signal, sys; signal.signal(15, lambda *_: sys.exit(7)); print(1, flush=True)"
    started = subprocess.Popen(
        [stand_in(), "-c", f"{code}; signal.pause()"], stdout=subprocess.PIPE, text=True
    )
    assert started.stdout
    assert started.stdout.readline() == "1\n"
    started.send_signal(signal.SIGTERM)
    assert started.wait(20) == 7


def test_the_process_and_what_it_started_die_with_the_stand_in() -> None:
    code = "import os, time; child = os.fork(); print(os.getpid(), flush=True); time.sleep(60)"
    started = subprocess.Popen([stand_in(), "-c", code], stdout=subprocess.PIPE, text=True)
    assert started.stdout
    pids = [int(started.stdout.readline()) for _ in range(2)]
    assert all(map(psutil.pid_exists, pids))
    started.kill()
    assert started.wait(20) == -signal.SIGKILL
    wait_until(lambda: not any(map(_lives, pids)))


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_no_process_ends_well_when_the_server_is_gone(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.warm", str(tmp_path)]
    server = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE)
    wait_until((tmp_path / "python").exists)
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    started = subprocess.Popen(
        [tmp_path / "python", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert started.stdout
    pid = int(started.stdout.readline())
    server.communicate()
    assert started.wait(20) == 1
    wait_until(lambda: not _lives(pid))


def test_other_options_are_left_to_the_real_python() -> None:
    code = "import sys; print(sys.flags.isolated, 'chatkit' in sys.modules)"
    assert ended(stand_in(), "-I", "-c", code) == (0, "1 False\n", "")
