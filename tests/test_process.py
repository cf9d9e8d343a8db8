"""A project as it runs in life: a process of its own, a socket, a person who presses Stop."""

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from .matrix import name_of
from .rendering import render, run
from .warm import stand_in

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

# A server whose model says WORDS words, PAUSE seconds apart, each filled up to WORD characters, and
# is then silent for an hour.
ENDLESS = """
import asyncio, os
from agents.testing import ScriptedModel, assistant_message
from openai.types.responses import ResponseTextDeltaEvent as Delta
from app.main import app
from app.core.agent import run

made = 0
words, word = int(os.environ.get("WORDS", 6000)), int(os.environ.get("WORD", 0))
pause = float(os.environ.get("PAUSE", 0.01))

class Endless(ScriptedModel):
    async def stream_response(self, *args, **named):
        global made
        self.enqueue([assistant_message("")])
        opening = [event async for event in super().stream_response(*args, **named)]
        for event in opening[:4]:
            yield event
        for number in range(words):
            await asyncio.sleep(pause)
            made += 1
            yield Delta(type="response.output_text.delta", item_id="scripted-message",
                        output_index=0, content_index=0, delta=f"w{made} ".ljust(word, "."),
                        logprobs=[], sequence_number=number)
        await asyncio.sleep(3600)

run.OfflineModel = lambda delay: Endless()

@app.get("/made")
async def count():
    tasks = [getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()]
    return {"made": made, "tasks": len([name for name in tasks if "RequestResponse" not in name])}
"""
# The same over a store that waits 50 ms in each call.
SLOW = f"""{ENDLESS}
from app.core.store.memory import MemoryStore

def slow(method):
    async def waiting(self, *args, **named):
        await asyncio.sleep(0.05)
        return await method(self, *args, **named)
    return waiting

for name in ("load_thread", "save_thread", "load_thread_items", "add_thread_item"):
    setattr(MemoryStore, name, slow(getattr(MemoryStore, name)))
"""


def free_port() -> int:
    """A port that none of the servers at port 0 gets, and no other worker, before it is bound."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    while True:
        port = random.randrange(20_000 + worker, 32_000, workers)  # the system's own begin above
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@contextmanager
def serving(
    project: Path, log: Path, *command: str, **environment: str
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The address of a server process that has come up, and the process."""
    port = free_port()
    clean = {name: value for name, value in os.environ.items() if "OPENAI" not in name}
    environment = {name: text.replace("{port}", str(port)) for name, text in environment.items()}
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


def process_at(url: str) -> psutil.Process:
    """The process that listens there: it is not the one that was started, see tests/warm.py."""
    port = int(url.rpartition(":")[2])
    found = [each for each in psutil.net_connections("tcp") if each.status == "LISTEN"]
    [pid] = {each.pid for each in found if each.laddr and each.laddr.port == port}
    return psutil.Process(pid)


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
    assert said.count("restart forgets") == 1
    assert "Traceback" not in said


@pytest.mark.parametrize("name", ["hello-anonymous-memory", "agent-anonymous-memory-openai"])
def test_the_request_in_a_projects_readme_gets_the_answer_that_is_shown(
    projects: dict[str, Path], tmp_path: Path, name: str
) -> None:
    readme = (projects[name] / "README.md").read_text()
    [body] = re.findall(r"-d '\n(.*?)'\n", readme, re.DOTALL)
    shown = re.findall(r'^    data: \{"type":"([a-z._]+)"', readme, re.MULTILINE)
    [said] = re.findall(r'"delta":"(\S+)', readme)
    command = (stand_in(), "-m", "uvicorn", "app.main:app")
    headers = {"content-type": "application/json"}
    with serving(projects[name], tmp_path / "log", *command) as (url, _):
        answer = httpx.post(url + "/chatkit", content=body, headers=headers, timeout=30)
    told = iter([event["type"] for event in events_of(answer)])
    assert len(shown) > 5
    assert [kind for kind in shown if kind not in told] == []  # each after the one before
    assert said in answer.text


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"APP_ENV": "production"}, ["ALLOW_MEMORY_STORE=1", "OPENAI_API_KEY is not set"]),
        ({"ALLOWED_ORIGINS": "*"}, ["ALLOWED_ORIGINS does not fit: '*'"]),
        ({"LOG_LEVEL": "LOUD"}, ["LOG_LEVEL does not fit"]),
        (
            {"OPENAI_BASE_URL": "htp://x", "OPENAI_API_KEY": "sk x"},
            ["OPENAI_BASE_URL does not fit", "OPENAI_API_KEY does not fit"],
        ),
        ({"https_proxy": "foo://x", "OPENAI_API_KEY": "sk-x"}, ["https_proxy cannot be used"]),
        (
            {"HISTORY_ITEMS": "0", "MAX_TURNS": "x"},
            ["HISTORY_ITEMS does not", "MAX_TURNS does not"],
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_bad_settings_stop_the_start_without_a_traceback(
    agent: Path, environment: dict[str, str], told: list[str]
) -> None:
    command = [stand_in(), "-m", "uvicorn", "app.main:app", "--port", "0"]
    result = subprocess.run(
        command, cwd=agent, env=environment, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert [line for line in told if line not in result.stderr] == []


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


class Talking:
    """A visitor of a server that talks, and what the server says of itself."""

    def __init__(self, url: str, log: Path) -> None:
        self.url, self.log, self.process = url, log, process_at(url)
        self.cookies = httpx.Cookies()
        self.cookies.update(self.post("threads.list").cookies)
        self.tasks = self.state()["tasks"]

    def state(self) -> dict[str, int]:
        found: dict[str, int] = httpx.get(self.url + "/made", timeout=10).json()
        return found

    def post(self, kind: str, **params: Any) -> httpx.Response:
        body = {"type": kind, "params": params}
        return httpx.post(self.url + "/chatkit", json=body, cookies=self.cookies, timeout=10)

    def is_quiet(self) -> bool:
        """Whether nothing of a turn is left in the server's loop."""
        return self.state()["tasks"] == self.tasks

    def has_open(self, client: socket.socket) -> bool:
        """Whether the server still holds its end of a client's connection."""
        ends = [connection.raddr for connection in self.process.net_connections("tcp")]
        return client.getsockname() in [tuple(end) for end in ends]

    def items(self) -> list[dict[str, Any]]:
        thread = self.post("threads.list").json()["data"][0]["id"]
        page: dict[str, Any] = self.post("items.list", thread_id=thread, order="asc").json()
        kept: list[dict[str, Any]] = page["data"]
        return kept

    def is_kept(self) -> None:
        """The person's message and a partial answer are stored; the model says nothing more."""
        made = self.state()["made"]
        user, said = self.items()[-2:]
        assert (user["type"], said["type"]) == ("user_message", "assistant_message")
        text = said["content"][0]["text"].rstrip(" .")
        assert 1 < int(text.rpartition("w")[2]) <= made < 300
        time.sleep(0.3)
        assert self.state()["made"] == made


@contextmanager
def talking(agent: Path, folder: Path, **environment: str) -> Iterator[Talking]:
    log, script = folder / "log", folder / "slow.py"
    script.write_text(SLOW)
    command = (stand_in(), "-m", "uvicorn", "slow:app", "--app-dir", str(folder))
    with serving(agent, log, *command, PYTHONPATH=str(agent), **environment) as (url, process):
        yield Talking(url, log)
        process.send_signal(signal.SIGTERM)
        process.wait(15)
    assert not re.search(r"\[error|ERROR|Traceback|never retrieved|was destroyed", log.read_text())


def test_a_stop_keeps_the_answer_and_stops_the_model(agent: Path, tmp_path: Path) -> None:
    with talking(agent, tmp_path) as visitor:
        thread = leave(visitor.url, CREATE, "w20 ", visitor.cookies)
        wait_until(visitor.is_quiet)
        visitor.is_kept()

        more = f"w{visitor.state()['made'] + 5} "
        again = {"type": "threads.add_user_message", "params": {"thread_id": thread}}
        again["params"] |= CREATE["params"]  # type: ignore[operator]
        leave(visitor.url, again, more, visitor.cookies)
        wait_until(visitor.is_quiet)
        visitor.is_kept()
        assert len(visitor.items()) == 4


def test_a_client_that_stops_reading_is_stopped_too(agent: Path, tmp_path: Path) -> None:
    with talking(agent, tmp_path, WORD="100000", PAUSE="0.05") as visitor:
        body = json.dumps(CREATE).encode()
        cookie = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
        head = f"host: x\r\ncookie: {cookie}\r\ncontent-type: application/json\r\n"
        address = ("127.0.0.1", int(visitor.url.rpartition(":")[2]))
        with socket.create_connection(address) as reader:
            reader.sendall(f"POST /chatkit HTTP/1.1\r\n{head}".encode())
            reader.sendall(f"content-length: {len(body)}\r\n\r\n".encode() + body)
            wait_until(lambda: visitor.state()["made"] > 10)
            assert visitor.has_open(reader)
            wait_until(visitor.is_quiet)
            visitor.is_kept()
            wait_until(lambda: not visitor.has_open(reader))


def test_a_stop_reaches_a_model_that_has_fallen_silent(agent: Path, tmp_path: Path) -> None:
    with talking(agent, tmp_path, WORDS="5", STREAM_HEARTBEAT="0.2") as visitor:
        url = visitor.url + "/chatkit"
        comments = 0
        with httpx.stream("POST", url, json=CREATE, cookies=visitor.cookies) as answer:
            for line in answer.iter_lines():
                comments += line.startswith(":")
                if comments == 3:
                    break
        wait_until(visitor.is_quiet)
        visitor.is_kept()


@pytest.mark.parametrize("level", ["hello", "agent"])
def test_a_project_is_installed_and_set_up_for_real(
    template: Path, tmp_path: Path, level: str
) -> None:
    """From its own pyproject, by its own hook, as its owner does it."""
    project = render(template, tmp_path / "my project", {"level": level})
    hook = partial(run, sys.executable, "hooks/post_gen.py", cwd=project, VIRTUAL_ENV="")
    said = hook(PYTHONDONTWRITEBYTECODE="")  # what it starts next need not be compiled again
    assert "done" in said
    assert run("git", "status", "--porcelain", cwd=project) == ""
    assert (project / ".env").stat().st_mode & 0o777 == 0o600
    assert "VISITOR_SECRET=\n" not in (project / ".env").read_text()

    python = str(project / ".venv" / "bin" / "python")
    log = tmp_path / "log"
    with serving(project, log, python, "-m", "uvicorn", "app.main:app") as (url, _):
        answer = httpx.post(url + "/chatkit", json=CREATE, timeout=30)
    assert "assistant_message" in answer.text
    assert "already there" in hook()
    run("copier", "update", "--defaults", cwd=project)
    assert run("git", "status", "--porcelain", cwd=project) == ""


@pytest.mark.parametrize("command", [("uvicorn", "app.main:app"), ("fastapi", "run")])
def test_several_workers_are_refused_once_and_for_all(
    agent: Path, command: tuple[str, ...]
) -> None:
    """A supervisor that went on starting workers would repeat the sentence for ever."""
    workers = [sys.executable, "-m", *command, "--workers", "2", "--port", str(free_port())]
    result = subprocess.run(workers, cwd=agent, capture_output=True, text=True, timeout=60)
    assert "more than one worker" in result.stderr + result.stdout
    assert "Traceback" not in result.stderr


def test_litellm_is_imported_without_asking_anybody(projects: dict[str, Path]) -> None:
    """It would fetch a price list, and report that it is used, unless it is told not to."""
    code = """
import socket
def refuse(*args, **named):
    print("ASKED", args)
    raise OSError
socket.getaddrinfo = socket.socket.connect = refuse
from app.core.settings import Settings
from app.core.agent.model import build_model
print(build_model(Settings(_env_file=None, litellm_api_key="sk-x")).model)
import litellm
print(litellm.telemetry)
"""
    project = projects["agent-anonymous-memory-litellm"]
    said = run(sys.executable, "-c", code, cwd=project, MODEL="", LITELLM_LOCAL_MODEL_COST_MAP="")
    assert said.splitlines() == ["anthropic/claude-sonnet-4-5", "False"]


@pytest.mark.parametrize("http", ["httptools", "h11"])
def test_headers_are_bounded_whatever_parses_them(agent: Path, tmp_path: Path, http: str) -> None:
    """By the application; h11 may end it sooner, as it sees more than 64 KB without an end."""
    command = (stand_in(), "-m", "uvicorn", "app.main:app", "--http", http)
    with serving(agent, tmp_path / "log", *command) as (url, _):
        for headers in ({"x-long": "x" * 100_000}, {f"x-{n}": "x" * 90 for n in range(1000)}):
            with suppress(httpx.TransportError) if http == "h11" else nullcontext():
                answer = httpx.post(url + "/chatkit", json=CREATE, headers=headers, timeout=30)
                assert answer.status_code in ((431,) if http == "httptools" else (400, 431))
        assert answers(url)


def test_h11_cuts_a_header_that_never_ends(agent: Path, tmp_path: Path) -> None:
    """As the README says: httptools would go on reading, which only a proxy or h11 bounds."""
    command = (stand_in(), "-m", "uvicorn", "app.main:app", "--http", "h11")
    with serving(agent, tmp_path / "log", *command) as (url, _):
        address = ("127.0.0.1", int(url.rpartition(":")[2]))
        with socket.create_connection(address, timeout=10) as client, suppress(OSError):
            client.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\nx-long: ")
            for _ in range(1000):
                client.sendall(b"x" * 100_000)
            pytest.fail("100 MB of one header were read")
        assert answers(url)


@pytest.mark.parametrize("command", [("uvicorn", "app.main:app"), ("fastapi", "run")])
def test_the_log_of_a_process_is_lines_of_json_that_quote_nobody(
    agent: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """Whatever the server had set up before, or sets up after, the application was imported."""
    live = {"APP_ENV": "production", "MODEL": "offline", "ALLOW_MEMORY_STORE": "1"}
    live |= {"VISITOR_SECRET": "sesame-of-some-length", "NO_COLOR": "1"}
    log = tmp_path / "log"
    with serving(agent, log, stand_in(), "-m", *command, **live) as (url, _):
        started = log.read_text()
        answer = httpx.post(url + "/chatkit?sesame", json=CREATE, timeout=30)
        httpx.get(url + "/sesame", headers={"cookie": "sesame"})
        httpx.get(url + "/s?sesame", headers={"connection": "upgrade", "upgrade": "websocket"})
    said = log.read_text().removeprefix(started)
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    told = {line["operation"]: line for line in lines if line["event"] == "request"}
    assert {*told} == {"threads.create", "unknown"}
    assert told["threads.create"]["request_id"] == answer.headers["x-request-id"]
    assert told["threads.create"]["ended"] == "done"
    assert "sesame" not in said
    assert "HTTP/1.1" not in said
