"""What the hooks are made of: steps, one line each, that are safe to take again.
The template's file: improvements arrive through `copier update`.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
UNFINISHED = VENV / "unfinished"  # there while pip works in it
ANSWERS = ROOT / ".copier-answers.yml"
ALREADY = "already there"

COMMAND_SECONDS, INSTALL_SECONDS = 60, 1800

# What would send git, uvicorn or the model elsewhere than to this project.
FOREIGN = re.compile("GIT_(DIR|WORK_TREE|INDEX)|VIRTUAL_ENV|WEB_CONC|UVICORN_|(AZURE_)?OPENAI_")
ENVIRON = {name: value for name, value in os.environ.items() if not FOREIGN.match(name)}


class StepFailed(Exception):
    """What went wrong, in words that end well with "put that right"."""


def short(text: str, limit: int = 400) -> str:
    line = " ".join(text.split()).rstrip(".")
    return line if len(line) <= limit else line[: limit - 1] + "…"


def last_words(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip()]
    return short(" ".join(lines[-2:])) or "nothing"


def run(
    *command: str, seconds: float = COMMAND_SECONDS, environ: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            cwd=ROOT,
            env={**ENVIRON, "LC_ALL": "C", **(environ or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=seconds,
        )
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))
    except subprocess.TimeoutExpired:
        raise StepFailed(f"`{short(' '.join(command), 120)}` took over {seconds} s") from None


def must(*command: str, seconds: float = COMMAND_SECONDS) -> str:
    """What the command printed; raises StepFailed when it fails."""
    result = run(*command, seconds=seconds)
    if result.returncode != 0:
        said = result.stderr if result.stderr.strip() else result.stdout
        error = re.search(r"^(fatal|error|ERROR): .*", said, re.MULTILINE | re.DOTALL)
        words = short(error[0] if error else said)
        raise StepFailed(f"`{short(' '.join(command), 120)}` failed in {ROOT} ({words})")
    return result.stdout.strip()


def ours_is_missing() -> bool:
    """Whether pyproject.toml is another's, so that there is nothing to install or to start."""
    project = ROOT / "pyproject.toml"
    text = project.read_text(encoding="utf-8", errors="replace") if project.is_file() else ""
    return (ROOT / "app" / "mount.py").is_file() and "openai-chatkit" not in text


def answer_in(answers: Path | str, name: str) -> str | None:
    text = answers if isinstance(answers, str) else answers.read_text(encoding="utf-8")
    match = re.search(rf"^{name}: *(.*?) *$", text, re.MULTILINE)
    return match[1].strip("'\"") if match else None


def update_with(**answers: str) -> str:
    """The command that changes these answers, wherever somebody stands who runs it."""
    data = " ".join(f"--data {name}={value}" for name, value in answers.items())
    return f"`uvx copier update --defaults {data} {shlex.quote(str(ROOT))}`"


def make_environment() -> str:
    if ours_is_missing():
        return "skipped: pyproject.toml is yours and names no openai-chatkit"
    if VENV.exists() and (UNFINISHED.exists() or run(str(VENV_PYTHON), "-c", "").returncode):
        VENV_PYTHON.unlink(missing_ok=True)  # first, so that a half-removed one counts as half-made
        shutil.rmtree(VENV)
    uv = shutil.which("uv")
    if uv is None:
        return install_with_pip()
    sync = (uv, "sync", "--inexact")  # what else somebody has installed there stays
    if run(*sync, "--check", seconds=INSTALL_SECONDS).returncode == 0:
        return ALREADY
    must(*sync, seconds=INSTALL_SECONDS)
    return "done: uv sync"


def install_with_pip() -> str:
    wanted, python, made_before = dependencies(), str(VENV_PYTHON), VENV_PYTHON.exists()
    if made_before:
        if run(python, "-m", "pip", "--version").returncode != 0:  # as uv makes it
            must(python, "-m", "ensurepip", seconds=INSTALL_SECONDS)
        install = ("install", "--dry-run", *wanted)  # a refusal leaves what is there
        if "Would install" not in must(python, "-m", "pip", *install, seconds=INSTALL_SECONDS):
            return ALREADY
    VENV.mkdir(exist_ok=True)
    UNFINISHED.touch()
    if not made_before:
        must(sys.executable, "-m", "venv", str(VENV), seconds=INSTALL_SECONDS)
    must(python, "-m", "pip", "install", *wanted, seconds=INSTALL_SECONDS)
    UNFINISHED.unlink()
    return "done: .venv with pip, because uv is not installed"


def dependencies() -> list[str]:
    """What pip has to install; pip itself, so that the list is never empty."""
    try:
        import tomllib

        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    except ModuleNotFoundError:
        raise StepFailed("uv is missing, and without it Python 3.11 or later is needed") from None
    except ValueError as error:
        raise StepFailed(f"pyproject.toml cannot be read ({error})") from None
    dev = project.get("dependency-groups", {}).get("dev", [])
    return ["pip", *project.get("project", {}).get("dependencies", []), *dev]


def project_python() -> str:
    uv = shutil.which("uv")
    if uv is None:
        return str(VENV_PYTHON)
    show = "import sys; print(sys.executable)"  # not always in .venv: a workspace has one for all
    return must(uv, "run", "--no-sync", "--quiet", "python", "-c", show)


def perform(hook: str, steps: dict[str, Callable[[], str]]) -> int:
    """Take the steps in their order and print what each says; the exit code of the hook.

    It is 1 with one sentence on stderr when a step fails, 130 when it is interrupted.
    """
    again = f"run `{Path(sys.executable).stem} {hook}` again"
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        for name, step in steps.items():
            print(f"{name:<13}", end="", flush=True)
            print(step(), flush=True)
        return 0
    except (StepFailed, OSError) as error:
        word, code, sentence = "failed", 1, f"{error}; put that right and {again}"
    except KeyboardInterrupt:
        word, code, sentence = "interrupted", 130, f"interrupted; {again} to go on"
    with contextlib.suppress(OSError):
        print(word, flush=True)
    print(f"{hook}: {sentence}.", file=sys.stderr)
    return code
