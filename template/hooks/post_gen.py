"""Make a freshly rendered project ready to chat: `python3 hooks/post_gen.py`, as often as you like.
The template's file: improvements arrive through `copier update`.

Five steps, one line each: `.env`, the environment, the git repository, code that is here and how to
join it, one request to the project's own server. A finished step is left alone the next
time, an interrupted one is taken up again.
Exits 1 with one sentence on stderr when a step fails, 130 when it is interrupted.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import re
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

import inspect_host
from steps import (
    ALREADY,
    ENVIRON,
    ROOT,
    StepFailed,
    last_words,
    make_environment,
    must,
    ours_is_missing,
    perform,
    project_python,
    run,
    short,
)

START_SECONDS, ANSWER_SECONDS = 90, 60

EMPTY_SECRET = re.compile(rb"^([A-Z0-9_]+_SECRET=)[ \t]*(?=\r?$)", re.MULTILINE)
NEUTRAL = {"user.name": "ChatKit template", "user.email": "chatkit@localhost"}
OFFLINE = {"MODEL": "offline", "APP_ENV": "development", "OPENAI_AGENTS_DISABLE_TRACING": "1"}
HELLO = [{"type": "input_text", "text": "Hello"}]
REQUEST = {
    "type": "threads.create",
    "params": {"input": {"content": HELLO, "attachments": [], "inference_options": {}}},
}
NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def make_env_file() -> str:
    example, target, draft = ROOT / ".env.example", ROOT / ".env", ROOT / ".env.tmp"
    if os.path.lexists(target):
        return ALREADY
    draft.unlink(missing_ok=True)  # an interrupted run's
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
    if ours_is_missing():
        return "skipped: pyproject.toml is not the template's"
    main = ROOT / "app" / "main.py"
    if not main.is_file():
        raise StepFailed("app/main.py is missing, so there is no server to ask")
    if not inspect_host.is_the_templates(main, inspect_host.read(main)):
        return f"skipped: app/main.py is not the template's: {inspect_host.ELSEWHERE}"
    known_by: dict[str, str] = {}
    if (ROOT / "app" / "__main__.py").is_file():
        helper = run(project_python(), "-m", "app", "dev", environ=OFFLINE)
        if helper.returncode != 0 and "Traceback" not in helper.stderr:
            return f"skipped: {last_words(helper.stderr)}"
        sent = shlex.split(helper.stdout)
        fields = [sent[at + 1] for at, word in enumerate(sent) if word == "-H"]
        known_by = dict(text.split(": ", 1) for text in fields)
    port = free_port()
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


def free_port() -> str:
    """A port below those that a system hands out itself, so that no other program gets it first."""
    for port in random.sample(range(20_000, 32_000), 100):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return str(port)
    raise StepFailed("no port from 20000 to 32000 could be used")


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
    "around": inspect_host.describe,
    "request": ask_server,
}


if __name__ == "__main__":
    sys.exit(perform("hooks/post_gen.py", STEPS))
