"""Small projects in which the hooks run as their owner runs them: real files, real git, real uv."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HOOKS = Path(__file__).parents[1] / "template" / "hooks"

SERVER = """TEXT = '''
from .core import create_app
'''
import json, os, pathlib
from .answer import answer

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        for stage in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{stage}.complete"})
        return
    if scope["path"] == "/health":
        pathlib.Path("server.pid").write_text(str(os.getpid()))
        status, lines = 200, []
    else:
        assert dict(scope["headers"])[b"content-type"] == b"application/json"
        status, lines = answer(json.loads((await receive())["body"]))
    await send({"type": "http.response.start", "status": status, "headers": []})
    for line in lines:
        body = f"{line}\\n\\n".encode()
        await send({"type": "http.response.body", "body": body, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
"""
ANSWER = """
import json, os

def event(type, **fields):
    return "data: " + json.dumps({"type": type, **fields})

def said(type, text):
    item = {"type": type, "content": [{"type": "output_text", "text": text}]}
    return event("thread.item.done", item=item)

def answer(request):
    assert request["type"] == "threads.create"
    assert request["params"]["input"]["attachments"] == []
    asked = request["params"]["input"]["content"][0]["text"]
    names = "MODEL", "APP_ENV", "OPENAI_API_KEY", "WEB_CONCURRENCY"
    words = f"{asked} to you", *(f"{name}={os.environ.get(name)}" for name in names[:2])
    assert not {*names[2:]} & {*os.environ}
    return 200, [": comment", said("user_message", asked), said("assistant_message", " ".join(words))]
"""  # noqa: E501
PROJECT = {
    ".env.example": "# Secrets are made by the hook.\nVISITOR_SECRET=\nMODEL=\nLOG_LEVEL=info\n",
    ".gitignore": ".env\n.venv/\n__pycache__/\nserver.pid\n",
    "pyproject.toml": """
[project]
name = "demo"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["uvicorn"]
[dependency-groups]
dev = ["h11"]
""",
    "app/__init__.py": "",
    "app/main.py": SERVER,
    "app/answer.py": ANSWER,
}


@dataclass
class Project:
    """A project, and the environment variables of its owner."""

    root: Path
    environ: dict[str, str]
    name: str = "post_gen.py"  # of the hook

    def command(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command in the folder above the project."""
        return subprocess.run(
            command,
            cwd=self.root.parent,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def hook(self) -> subprocess.CompletedProcess[str]:
        return self.command(sys.executable, "-Es", self.root / "hooks" / self.name)

    def report(self) -> dict[str, str]:
        """What a run that has to work says about each step."""
        result = self.hook()
        assert (result.returncode, result.stderr) == (0, "")
        lines = [line for line in result.stdout.splitlines() if not line.startswith(" ")]
        return dict(line.split(maxsplit=1) for line in lines)

    def first_steps(self) -> dict[str, str]:
        """What a run says about the steps before the request (to save its time)."""
        (self.root / "app" / "main.py").unlink(missing_ok=True)
        result = self.hook()
        assert "app/main.py is missing" in result.stderr
        return dict(line.split(maxsplit=1) for line in result.stdout.splitlines()[:-1])

    def failure(self) -> str:
        """The sentence of a run that has to fail."""
        result = self.hook()
        assert result.returncode == 1
        assert result.stdout.endswith("failed\n")
        again = f"run `python hooks/{self.name}` again"
        assert result.stderr.startswith(f"hooks/{self.name}: ")
        assert result.stderr.endswith(f"; put that right and {again}.\n")
        assert result.stderr.count("\n") == 1
        assert "Traceback" not in result.stdout + result.stderr
        return result.stderr

    def git(self, *arguments: str) -> str:
        result = self.command("git", "-C", self.root, *arguments)
        assert result.returncode == 0, result.stderr
        return result.stdout.strip()

    def without(self, tool: str) -> None:
        Path(self.environ["PATH"], tool).rename(self.root.parent / f"no {tool}")

    def bring(self, tool: str) -> None:
        (self.root.parent / f"no {tool}").rename(Path(self.environ["PATH"], tool))

    def write(self, file: str, text: str) -> None:
        (self.root / file).parent.mkdir(parents=True, exist_ok=True)
        (self.root / file).write_text(text)

    def edit(self, file: str, old: str, new: str) -> None:
        text = (self.root / file).read_text()
        assert text.count(old) == 1
        (self.root / file).write_text(text.replace(old, new))

    def answers(self, lines: str, status: int = 200) -> None:
        with (self.root / "app" / "answer.py").open("a") as file:
            file.write(f"def answer(request):\n    return {status}, {lines}\n")

    def has_server(self) -> bool:
        try:
            os.kill(int((self.root / "server.pid").read_text()), 0)
        except ProcessLookupError:
            return False
        return True


def find_tools(warm: Path) -> dict[str, str]:
    """Where git, the real uv (not a version manager's stand-in) and uv's filled cache are."""

    def said(*command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    show = "import os; print(os.environ['UV'])"
    git, uv = shutil.which("git"), said("uv", "run", "--no-project", "python", "-c", show)
    assert git
    (warm / "pyproject.toml").write_text(PROJECT["pyproject.toml"])
    said(uv, "sync", "--project", str(warm), "--python", sys.executable)
    return {"git": git, "uv": uv, "cache": said(uv, "cache", "dir")}


def make_project(root: Path, tools: dict[str, str]) -> Project:
    around = root.parent / f"{root.name} around"
    around.mkdir(parents=True)
    for tool in ("git", "uv"):
        (around / tool).symlink_to(tools[tool])
    identity = "[user]\nname = Owner\nemail = owner@example.org\n"
    (around / "gitconfig").write_text(f"{identity}[core]\nexcludesFile = {os.devnull}\n")
    for file, text in PROJECT.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(text)
    shutil.copytree(HOOKS, root / "hooks", ignore=shutil.ignore_patterns("__pycache__"))
    foreign = re.compile("GIT_|UV_PROJECT_ENVIRONMENT")
    environ = {name: value for name, value in os.environ.items() if not foreign.match(name)} | {
        "PATH": str(around),
        "UV_CACHE_DIR": tools["cache"],
        "PIP_NO_COMPILE": "1",
        "UV_OFFLINE": "1",
        "UV_PYTHON": sys.executable,
        "GIT_CONFIG_GLOBAL": str(around / "gitconfig"),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CEILING_DIRECTORIES": str(root.parent.parent),
    }
    return Project(root, environ)
