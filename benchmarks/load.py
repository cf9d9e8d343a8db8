"""A load generator that parses as little as it can, and the server processes that it asks."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

EVENT, WORD = b"data: ", b"word "  # how an event begins; what the scripted model says
END = b"0\r\n\r\n"  # of a chunked body; an event ends with two newlines, so never like this


@dataclass
class Answer:
    """What came back: the body of a plain answer, or a stream's events and when they came."""

    body: bytes
    events: int = 0
    words: int = 0  # in deltas and in what ends the message: an answer has each word three times
    first_event: float = 0.0  # seconds after the request had been written
    first_word: float = 0.0
    end: float = 0.0


@dataclass
class Connection:
    """One keep-alive connection, one request at a time."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    server: "Server"

    async def post(self, kind: str, **params: Any) -> Answer:
        body = json.dumps({"type": kind, "params": params}).encode()
        return await self._ask(b"POST /chatkit", body)

    async def cpu(self) -> float:
        """The processor seconds that the server has used so far."""
        return float((await self._ask(b"GET /cpu", b"")).body)

    async def memory(self) -> int:
        """The bytes that the server has in memory."""
        return int((await self._ask(b"GET /memory", b"")).body)

    async def introduce(self) -> None:
        """From here on, every connection to the server is by one person whom it knows."""
        headers = json.loads((await self._ask(b"GET /newcomer", b"")).body)
        lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
        self.server.identity = "".join(lines).encode()

    async def _ask(self, line: bytes, body: bytes) -> Answer:
        cookie = b"cookie: %b\r\n" % self.server.cookie if self.server.cookie else b""
        cookie += self.server.identity
        self.writer.write(
            b"%b HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n%b"
            b"content-length: %d\r\n\r\n%b" % (line, cookie, len(body), body)
        )
        start = time.perf_counter()
        head = await self.reader.readuntil(b"\r\n\r\n")
        status, *lines = head.lower().split(b"\r\n")
        headers = dict(line.split(b": ", 1) for line in lines if line)
        if b" 200 " not in status:
            raise SystemExit(f"{self.server.name} answered {head.decode()}")
        if b"set-cookie" in headers:
            self.server.cookie = _value(head, b"set-cookie: ")
        if b"content-length" in headers:
            return Answer(await self.reader.readexactly(int(headers[b"content-length"])))
        return await self._stream(start)

    async def _stream(self, start: float) -> Answer:
        answer, tail = Answer(b""), b""
        while not tail.endswith(END):
            if not (data := await self.reader.read(1 << 18)):
                raise SystemExit(f"{self.server.name} cut a stream")
            now = time.perf_counter() - start
            answer.words += (tail[1 - len(WORD) :] + data).count(WORD)
            data = tail[1 - len(EVENT) :] + data  # an event may begin in two reads
            if count := data.count(EVENT):
                answer.first_event = answer.first_event or now
                answer.events += count
            if not answer.first_word and b"text_delta" in data:
                answer.first_word = now
            if not answer.body:
                answer.body = data  # the first events name the thread
            tail = data[-len(EVENT) :]
        answer.end = time.perf_counter() - start
        return answer


def _value(head: bytes, name: bytes) -> bytes:
    """A header's value up to its first semicolon, in the letters that the server wrote."""
    start = head.lower().index(name) + len(name)
    return head[start:].split(b"\r\n", 1)[0].split(b";", 1)[0]


@dataclass
class Server:
    """A server process of `servers.py`, and what a browser knows of it."""

    name: str
    process: subprocess.Popen[bytes]
    port: int
    cookie: bytes = b""
    identity: bytes = b""  # lines of headers
    threads: list[str] = field(default_factory=list)

    @classmethod
    def start(cls, name: str, project: Path, script: Path, log_level: str = "ERROR") -> "Server":
        """Start it with an environment of its own, so that this machine's says nothing."""
        with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
            listener.set_inheritable(True)
            process = subprocess.Popen(
                [sys.executable, script, name, str(listener.fileno())],
                cwd=project,
                env={
                    "PATH": os.environ["PATH"],
                    "PYTHONPATH": str(project),
                    "LOG_LEVEL": log_level,
                    "RATE_LIMIT": "999999999/second",  # it counts, and never refuses
                    "ANSWERS_AT_ONCE": "999999999",
                    "OPENAI_API_KEY": "not-used",
                },
                stderr=None if log_level == "ERROR" else subprocess.DEVNULL,
                pass_fds=[listener.fileno()],
            )
            return cls(name, process, listener.getsockname()[1])

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()

    async def connect(self) -> Connection:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)
        return Connection(reader, writer, self)


@dataclass
class Load:
    """What one side did in one leg."""

    count: int
    seconds: float
    cpu: float  # seconds of the server
    own_cpu: float  # seconds of the load generator

    @property
    def rate(self) -> float:
        return self.count / self.seconds

    @property
    def cpu_per_1000(self) -> float:
        return self.cpu / self.count * 1000


async def drive(
    connections: list[Connection],
    seconds: float,
    step: Callable[[Connection, int], Awaitable[int]],
) -> Load:
    """Run `step` again and again on every connection at once; it says how much it has done."""

    async def worker(number: int) -> int:
        done = 0
        while time.perf_counter() < deadline:
            done += await step(connections[number], number)
        return done

    cpu, own_cpu, start = await connections[0].cpu(), time.process_time(), time.perf_counter()
    deadline = start + seconds
    count = sum(await asyncio.gather(*map(worker, range(len(connections)))))
    elapsed, own_cpu = time.perf_counter() - start, time.process_time() - own_cpu
    return Load(count, elapsed, await connections[0].cpu() - cpu, own_cpu)
