"""The server behind Debian's nginx, with the configuration that a project's guide gives."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from .matrix import name_of
from .rendering import run
from .test_process import CREATE, free_port, serving, wait_until
from .warm import stand_in

NGINX = os.environ.get("NGINX") or shutil.which("nginx", path="/usr/sbin:/usr/bin")
# A model that says one word of each answer, and no more before GET /go.
HOLDING = """
import asyncio
from app.main import app
from app.core.agent import run

go = asyncio.Event()

class Holding(run.OfflineModel):
    async def stream_response(self, *args, **named):
        async for event in super().stream_response(*args, **named):
            yield event
            if event.type == "response.output_text.delta" and not go.is_set():
                await go.wait()

run.OfflineModel = Holding

@app.get("/go")
async def let_go():
    go.set()

@app.get("/hold")
async def hold():
    go.clear()

@app.get("/running")
async def count():
    return len(app.state.turns)
"""

pytestmark = pytest.mark.skipif(not NGINX, reason="nginx comes with no wheel; .ci/run installs it")


@pytest.fixture(scope="module")
def project(projects: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    answers = {"level": "production", "auth": "anonymous", "store": "memory", "model": "openai"}
    copy = tmp_path_factory.mktemp("behind") / "project"
    shutil.copytree(projects[name_of(answers)], copy)
    (copy / "holding.py").write_text(HOLDING)
    return copy


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificate")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    names = ("-subj", "/CN=localhost", "-keyout", folder / "key", "-out", folder / "pem")
    run(*command.split(), *names, cwd=folder)
    return folder


@contextmanager
def nginx(project: Path, folder: Path, certificate: Path, port: str, silence: str) -> Iterator[str]:
    """The address of an nginx that has the project's configuration, in front of the port."""
    text, own = (project / "docs" / "nginx.conf").read_text(), free_port()
    for found, put in {
        "127.0.0.1:8000": f"127.0.0.1:{port}",
        "listen 443": f"listen 127.0.0.1:{own}",
        "/etc/ssl/chat.example.com.pem": f"{certificate}/pem",
        "/etc/ssl/chat.example.com.key": f"{certificate}/key",
        "proxy_read_timeout 60s": f"proxy_read_timeout {silence}",
    }.items():
        assert text.count(found) == 1
        text = text.replace(found, put)
    main = folder / "nginx.conf"
    main.write_text(f"pid {folder}/pid;\nevents {{}}\nhttp {{\naccess_log off;\n{text}}}\n")
    command = [str(NGINX), "-c", str(main), "-e", str(folder / "nginx.log"), "-g", "daemon off;"]
    process = subprocess.Popen(command)
    try:
        wait_until((folder / "pid").exists)
        yield f"https://127.0.0.1:{own}"
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="module")
def port(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("server") / "log"
    command = (stand_in(), "-m", "uvicorn", "holding:app")
    environment = {"STREAM_HEARTBEAT": "0.4", "TRUSTED_PROXIES": "127.0.0.1"}
    with serving(project, log, *command, **environment) as (url, _):
        yield url.rpartition(":")[2]
    assert "Traceback" not in log.read_text()


@pytest.fixture(params=["60s"])
def person(
    request: pytest.FixtureRequest, project: Path, tmp_path: Path, certificate: Path, port: str
) -> Iterator[httpx.Client]:
    """Somebody on a page of nginx, which endures a silence for so long."""
    with (
        nginx(project, tmp_path, certificate, port, request.param) as url,
        httpx.Client(base_url=url, verify=False, timeout=15, headers={"origin": url}) as person,
    ):
        yield person


def test_a_stream_comes_as_it_is_said_and_a_stop_goes_back(person: httpx.Client) -> None:
    person.get("/hold")
    with person.stream("POST", "/chatkit", json=CREATE) as answer:
        lines = answer.iter_lines()  # whose end would close the answer
        assert any("text_delta" in line for line in lines)  # the rest is held
        assert person.get("/running").json() == 1
    wait_until(lambda: person.get("/running").json() == 0)
    assert "__Host-visitor" in person.cookies  # it is https, as nginx says


@pytest.mark.parametrize("person", ["1s"], indirect=True)
def test_a_silence_outlasts_nginxs_patience(person: httpx.Client) -> None:
    person.get("/hold")
    with person.stream("POST", "/chatkit", json=CREATE) as answer:
        lines = answer.iter_lines()
        comments = (line for line in lines if line.startswith(":"))
        for _ in range(4):  # 1.6 seconds
            next(comments)
        person.get("/go")
        assert '"thread.item.done"' in "".join(lines)
