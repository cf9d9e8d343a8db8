"""Make a freshly rendered project ready to chat: `python hooks/post_gen.py`, as often as you like.
The template's file: improvements arrive through `copier update`.

Four steps, one line each: `.env`, the environment, the git repository, one request to the project's
own server. A finished step is left alone the next time, an interrupted one is taken up again.
Exits 1 with one sentence on stderr when a step fails, 130 when it is interrupted.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
UNFINISHED = VENV / "unfinished"  # there while pip works in it
AGAIN = "run `python hooks/post_gen.py` again"
ALREADY = "already there"

COMMAND_SECONDS, INSTALL_SECONDS, START_SECONDS, ANSWER_SECONDS = 60, 1800, 90, 60

EMPTY_SECRET = re.compile(rb"^([A-Z0-9_]+_SECRET=)[ \t]*(?=\r?$)", re.MULTILINE)
NEUTRAL = {"user.name": "ChatKit template", "user.email": "chatkit@localhost"}
# What would send git, uvicorn or the model elsewhere than to this project.
FOREIGN = re.compile("GIT_(DIR|WORK_TREE|INDEX)|VIRTUAL_ENV|WEB_CONC|UVICORN_|(AZURE_)?OPENAI_")
ENVIRON = {name: value for name, value in os.environ.items() if not FOREIGN.match(name)}
OFFLINE = {"MODEL": "offline", "APP_ENV": "development", "OPENAI_AGENTS_DISABLE_TRACING": "1"}
HELLO = [{"type": "input_text", "text": "Hello"}]
REQUEST = {
    "type": "threads.create",
    "params": {"input": {"content": HELLO, "attachments": [], "inference_options": {}}},
}
NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


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


def make_env_file() -> str:
    example, target, draft = ROOT / ".env.example", ROOT / ".env", ROOT / ".env.tmp"
    draft.unlink(missing_ok=True)  # an interrupted run's
    if os.path.lexists(target):
        return ALREADY
    if not example.is_file():
        raise StepFailed(".env.example is missing, from which .env is made")
    text = EMPTY_SECRET.sub(
        lambda match: match[1] + secrets.token_urlsafe(32).encode(), example.read_bytes()
    )
    try:
        with open(draft, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(text)
        try:
            os.link(draft, target)  # never overwrites, as a rename may
        except OSError:  # a file system without links, or somebody made one meanwhile
            if not os.path.lexists(target):
                draft.rename(target)
    finally:
        draft.unlink(missing_ok=True)
    return "done: made from .env.example with fresh secrets"


def make_environment() -> str:
    if VENV.exists() and (UNFINISHED.exists() or run(str(VENV_PYTHON), "-c", "").returncode):
        VENV_PYTHON.unlink(missing_ok=True)  # first, so that a half-removed one counts as half-made
        shutil.rmtree(VENV)
    uv = shutil.which("uv")
    if uv is None:
        return install_with_pip()
    if run(uv, "sync", "--check", seconds=INSTALL_SECONDS).returncode == 0:
        return ALREADY
    must(uv, "sync", seconds=INSTALL_SECONDS)
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


def make_repository() -> str:
    git = shutil.which("git")
    if git is None:
        return "skipped: git is not installed, and `copier update` needs it"
    around = run(git, "rev-parse", "--show-toplevel")
    if around.returncode != 0 and "not a git repository" not in around.stderr:
        raise StepFailed(f"git does not work in {ROOT} ({last_words(around.stderr)})")
    top = around.stdout.strip()
    if top and not os.path.samefile(top, ROOT):
        return f"skipped: the project lies inside the repository {top}, commit it there"
    if top and must(git, "rev-list", "--all", "--max-count=1"):
        changed = must(git, "status", "--porcelain")
        return f"{ALREADY}, with changes to commit before `copier update`" if changed else ALREADY
    if not top:
        must(git, "init")
    return first_commit(git)


def first_commit(git: str) -> str:
    for name, file in ((".env", ".env"), (".venv", ".venv/pyvenv.cfg")):
        if run(git, "check-ignore", "--quiet", file).returncode != 0:
            raise StepFailed(f"git would commit {name}: it is not in .gitignore, or already added")
    missing = [key for key in NEUTRAL if not run(git, "config", key).stdout.strip()]
    identity = [part for key in missing for part in ("-c", f"{key}={NEUTRAL[key]}")]
    must(git, "add", "--all")
    must(git, *identity, "commit", "--quiet", "--message", "Start from the ChatKit template")
    whose = f" with a neutral {' and '.join(missing)}, as git has none" if missing else ""
    return f"done: first commit{whose}"


def ask_server() -> str:
    if not (ROOT / "app" / "main.py").is_file():
        raise StepFailed("app/main.py is missing, so there is no server to ask")
    known_by: dict[str, str] = {}
    if (ROOT / "app" / "auth" / "dev.py").is_file():
        helper = run(project_python(), "-m", "app.auth.dev", environ=OFFLINE)
        if helper.returncode != 0 and "Traceback" not in helper.stderr:
            return f"skipped: {last_words(helper.stderr)}"
        sent = shlex.split(helper.stdout)
        fields = [sent[at + 1] for at, word in enumerate(sent) if word == "-H"]
        known_by = dict(text.split(": ", 1) for text in fields)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    url = f"http://127.0.0.1:{port}"
    if "origin" in known_by:
        known_by["origin"] = url  # a page of this server's own
    command = [project_python(), "-m", "uvicorn", "app.main:app", "--no-access-log"]
    command += ["--host", "127.0.0.1", "--port", port]
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(command, cwd=ROOT, env=ENVIRON | OFFLINE, stdout=log, stderr=log)
        try:
            wait_until_healthy(server, f"{url}/health")
            return f'done: the server answered "{short(ask(f"{url}/chatkit", known_by), 60)}"'
        except Exception as error:  # whatever it sent, it is no answer
            stop(server)
            log.seek(0)
            words = last_words(log.read().decode("utf-8", "replace"))
            problem = f"the server did not answer a message: {short(str(error))}"
            raise StepFailed(f"{problem} (its last words: {words})") from None
        finally:
            stop(server)


def project_python() -> str:
    uv = shutil.which("uv")
    if uv is None:
        return str(VENV_PYTHON)
    show = "import sys; print(sys.executable)"  # not always in .venv: a workspace has one for all
    return must(uv, "run", "--no-sync", "--quiet", "python", "-c", show)


def stop(server: subprocess.Popen[bytes]) -> None:
    for end in (server.terminate, server.kill):
        if server.poll() is None:
            end()
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(timeout=5)


def wait_until_healthy(server: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise StepFailed("it ended at its start")
        with contextlib.suppress(OSError, http.client.HTTPException):
            NO_PROXY.open(url, timeout=5).close()
            return
        time.sleep(0.05)
    raise StepFailed(f"GET /health was not answered with 200 within {START_SECONDS} s")


def ask(url: str, known_by: dict[str, str]) -> str:
    headers = {**known_by, "content-type": "application/json"}
    request = urllib.request.Request(url, json.dumps(REQUEST).encode(), headers)
    deadline, answer = time.monotonic() + ANSWER_SECONDS, ""
    with NO_PROXY.open(request, timeout=ANSWER_SECONDS) as response:
        for line in response:
            if time.monotonic() > deadline:
                raise StepFailed(f"its answer took over {ANSWER_SECONDS} s")
            event = json.loads(line[5:]) if line.startswith(b"data:") else {}
            item = event.get("item", {})
            if event.get("type") == "error":
                raise StepFailed(f"it sent an error, {event.get('message') or event.get('code')!r}")
            if event.get("type") == "thread.item.done" and item.get("type") == "assistant_message":
                answer += "".join(part.get("text", "") for part in item["content"])
    if not answer.strip():
        raise StepFailed("its answer holds no message")
    return answer


STEPS = {
    ".env": make_env_file,
    "environment": make_environment,
    "git": make_repository,
    "request": ask_server,
}


def main() -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        for name, step in STEPS.items():
            print(f"{name:<13}", end="", flush=True)
            print(step(), flush=True)
        return 0
    except (StepFailed, OSError) as error:
        word, code, sentence = "failed", 1, f"{error}; put that right and {AGAIN}"
    except KeyboardInterrupt:
        word, code, sentence = "interrupted", 130, f"interrupted; {AGAIN} to go on"
    with contextlib.suppress(OSError):
        print(word, flush=True)
    print(f"hooks/post_gen.py: {sentence}.", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
