"""Several processes that count together in a real Redis, and what they do without it."""

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from .test_process import agent, free_port, serving, wait_until
from .warm import stand_in

__all__ = ["agent"]

REDIS = shutil.which("redis-server")
LISTING = {"type": "threads.list", "params": {}}
UVICORN = (stand_in(), "-m", "uvicorn", "app.main:app")

pytestmark = pytest.mark.skipif(REDIS is None, reason="redis-server is not installed")


@contextmanager
def redis(port: int) -> Iterator["subprocess.Popen[bytes]"]:
    command = [str(REDIS), "--port", str(port), "--save", "", "--requirepass", "sesame"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    while line := process.stdout.readline():
        if b"Ready to accept" in line:
            break
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()


class Visitor:
    """One person, whichever process answers them."""

    def __init__(self, url: str) -> None:
        self.cookies = httpx.post(url + "/chatkit", json=LISTING, timeout=10).cookies

    def ask(self, url: str) -> httpx.Response:
        return httpx.post(url + "/chatkit", json=LISTING, cookies=self.cookies, timeout=10)


def test_two_processes_count_together_and_each_alone_while_redis_is_away(
    agent: Path, tmp_path: Path
) -> None:
    port = free_port()
    environment = {
        "RATE_LIMIT": "6/hour",
        "RATE_LIMIT_URL": f"redis://:sesame@127.0.0.1:{port}/1",
        "VISITOR_SECRET": "the-same-in-both-of-them",
    }
    logs = [tmp_path / "one", tmp_path / "two"]
    with ExitStack() as stack:
        server = stack.enter_context(redis(port))
        one, two = (
            stack.enter_context(serving(agent, log, *UVICORN, **environment))[0] for log in logs
        )
        visitor = Visitor(one)
        answers = [visitor.ask(url) for url in (two, one, two, one, two, one, two)]
        assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 3600
        assert Visitor(one).ask(two).status_code == 200

        server.send_signal(signal.SIGSTOP)  # it takes connections, and answers nothing
        began = time.monotonic()
        for url in (one, two):
            assert [visitor.ask(url).status_code for _ in range(7)] == [200] * 6 + [429]
        assert time.monotonic() - began < 5  # only the first of each waits for it
        server.send_signal(signal.SIGCONT)
        wait_until(lambda: visitor.ask(one).status_code == 429 and "again" in logs[0].read_text())
        server.kill()
        assert Visitor(one).ask(one).status_code == 200
    for log in logs:
        said = log.read_text()
        assert said.count("RATE_LIMIT_URL cannot be used") == (2 if log is logs[0] else 1)
        assert "sesame" not in said
        assert "Traceback" not in said
