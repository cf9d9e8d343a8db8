"""A project as it runs in life: a process of its own, a socket, a person who presses Stop."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from .matrix import name_of
from .rendering import render, run

CREATE = {
    "type": "threads.create",
    "params": {
        "input": {
            "content": [{"type": "input_text", "text": "Please roll dice"}],
            "attachments": [],
            "inference_options": {},
        }
    },
}

# A server whose store waits 50 ms in each call and whose model talks for a minute.
SLOW = """
import asyncio
from agents.testing import ModelStep, ScriptedModel, assistant_message
from openai.types.responses import ResponseTextDeltaEvent as Delta
from app.main import app
from app import run
from app.store.memory import MemoryStore

made = 0

def slow(method):
    async def waiting(self, *args, **named):
        await asyncio.sleep(0.05)
        return await method(self, *args, **named)
    return waiting

for name in ("load_thread", "save_thread", "load_thread_items", "add_thread_item"):
    setattr(MemoryStore, name, slow(getattr(MemoryStore, name)))

class Endless(ScriptedModel):
    async def stream_response(self, *args, **named):
        global made
        self.enqueue([assistant_message("")])
        opening = [event async for event in super().stream_response(*args, **named)]
        for event in opening[:4]:
            yield event
        for number in range(6000):
            await asyncio.sleep(0.01)
            made += 1
            yield Delta(type="response.output_text.delta", item_id="scripted-message",
                        output_index=0, content_index=0, delta=f"w{made} ", logprobs=[],
                        sequence_number=number)

run.OfflineModel = lambda delay: Endless()

@app.get("/made")
async def count():
    tasks = [task.get_coro().__qualname__ for task in asyncio.all_tasks()]
    return {"made": made, "tasks": len([name for name in tasks if "RequestResponse" not in name])}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def serving(
    project: Path, log: Path, *command: str, **environment: str
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The address of a server process that has come up, and the process."""
    port = free_port()
    clean = {name: value for name, value in os.environ.items() if "OPENAI" not in name}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            cwd=project,
            env=clean | {"PYTHONDONTWRITEBYTECODE": "1"} | environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: answers(url) or process.poll() is not None, 60)
        assert process.poll() is None, log.read_text()
        yield url, process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def answers(url: str) -> bool:
    try:
        return httpx.get(url + "/health", timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def wait_until(condition: Any, seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def events_of(response: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in response.iter_lines():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


@pytest.fixture(scope="module")
def agent(projects: dict[str, Path]) -> Path:
    answers = {"level": "agent", "auth": "anonymous", "store": "memory", "model": "openai"}
    return projects[name_of(answers)]


@pytest.mark.parametrize(
    "command",
    [
        (sys.executable, "-m", "uvicorn", "app.main:app"),
        (sys.executable, "-m", "fastapi", "dev"),
    ],
    ids=["uvicorn", "fastapi dev"],
)
def test_it_starts_without_a_key_and_answers(
    agent: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    log = tmp_path / "log"
    with serving(agent, log, *command) as (url, _):
        events = list(events_of(httpx.post(url + "/chatkit", json=CREATE, timeout=30)))
    assert [event["type"] for event in events].count("notice") == 1
    assert "roll_dice answered" in json.dumps(events)
    said = log.read_text()
    assert "offline model" in said
    assert "restart forgets" in said
    assert "Traceback" not in said


def leave(url: str, body: dict[str, Any], wanted: str, cookies: httpx.Cookies) -> str:
    """Begin a turn and close the connection once an event has the wanted text: the thread."""
    thread = ""
    with httpx.stream("POST", url + "/chatkit", json=body, timeout=30, cookies=cookies) as answer:
        cookies.update(answer.cookies)
        for event in events_of(answer):
            thread = thread or event.get("thread", {}).get("id", "")
            if wanted in json.dumps(event):
                break
    return thread


def test_a_stop_keeps_the_answer_and_stops_the_model(agent: Path, tmp_path: Path) -> None:
    log, script = tmp_path / "log", tmp_path / "slow.py"
    script.write_text(SLOW)
    command = (sys.executable, "-m", "uvicorn", "slow:app", "--app-dir", str(tmp_path))
    with serving(agent, log, *command, PYTHONPATH=str(agent)) as (url, process):
        cookies = httpx.Cookies()
        before = httpx.get(url + "/made").json()
        thread = leave(url, CREATE, "w20 ", cookies)
        wait_until(lambda: httpx.get(url + "/made").json()["tasks"] == before["tasks"])
        made = httpx.get(url + "/made").json()["made"]

        listing = {"type": "items.list", "params": {"thread_id": thread, "order": "asc"}}
        items = httpx.post(url + "/chatkit", json=listing, cookies=cookies).json()["data"]
        said = items[1]["content"][0]["text"]
        assert [item["type"] for item in items] == ["user_message", "assistant_message"]
        assert said.startswith("w1 w2 w3 ")
        assert 20 <= len(said.split()) <= made < 300
        time.sleep(0.3)
        assert httpx.get(url + "/made").json()["made"] == made

        again = {"type": "threads.add_user_message", "params": {"thread_id": thread}}
        again["params"] |= CREATE["params"]  # type: ignore[operator]
        leave(url, again, f"w{made + 5} ", cookies)
        wait_until(lambda: httpx.get(url + "/made").json()["tasks"] == before["tasks"])
        items = httpx.post(url + "/chatkit", json=listing, cookies=cookies).json()["data"]
        assert [item["type"] for item in items] == ["user_message", "assistant_message"] * 2
        process.send_signal(signal.SIGTERM)
        process.wait(15)
    assert not re.search("ERROR|Traceback|never retrieved|was destroyed", log.read_text())


@pytest.mark.parametrize("level", ["hello", "agent"])
def test_a_project_is_installed_and_set_up_for_real(
    template: Path, tmp_path: Path, level: str
) -> None:
    """From its own pyproject, by its own hook, as its owner does it."""
    project = render(template, tmp_path / "my project", {"level": level})
    said = run(sys.executable, "hooks/post_gen.py", cwd=project, VIRTUAL_ENV="")
    assert "done" in said
    assert run("git", "status", "--porcelain", cwd=project) == ""
    assert (project / ".env").stat().st_mode & 0o777 == 0o600
    assert "VISITOR_SECRET=\n" not in (project / ".env").read_text()

    python = str(project / ".venv" / "bin" / "python")
    log = tmp_path / "log"
    with serving(project, log, python, "-m", "uvicorn", "app.main:app") as (url, _):
        answer = httpx.post(url + "/chatkit", json=CREATE, timeout=30)
    assert "assistant_message" in answer.text
    again = run(sys.executable, "hooks/post_gen.py", cwd=project, VIRTUAL_ENV="")
    assert "already there" in again
    run("copier", "update", "--defaults", cwd=project)
    assert run("git", "status", "--porcelain", cwd=project) == ""
