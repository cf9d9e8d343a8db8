"""Runs the tests that ship in projects: forks for each, with the SDK as tests/warm.py imported it.

    $WARM_PYTHON -m tests.forked [PROJECT...] [--smoke PROJECT...] [--with ARGUMENTS PROJECT...]

Prints one JSON object a line: {"project", "code", "skipped", "seconds", "cpu", "output"}. Projects
after --smoke run the protocol and isolation tests and meet each control of the edge, those after
--with what pytest is told by these arguments, which are written as a shell takes them.
"""

import gc
import json
import os
import shlex
import sys
import tempfile
import time
import traceback
from importlib import import_module
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg

CONTROLS = "test_a_refusal_has_its_status_its_code_and_what_a_browser_needs_to_read_it"
LITELLM = "agents.extensions.models.litellm_model"  # takes as long as all others together
HTTP = "tests/core/http"
SMOKE = f"{HTTP}/test_protocol.py {HTTP}/test_isolation.py {HTTP}/test_middleware.py::{CONTROLS}"
AT_ONCE, MOST = 2, 4
DATABASE = "TEST_DATABASE_URL"


def in_project(project: Path, arguments: list[str], log: Path) -> None:
    """In the forked child: become a pytest of the project. Does not return."""
    code = 99
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        if url := os.environ.get(DATABASE):
            os.environ[DATABASE] = database_of_its_own(url)
        os.chdir(project)
        sys.path.insert(0, str(project))
        sys.modules.pop("tests", None)
        sys.modules.pop("tests.forked", None)
        import pytest  # the parent has it already

        # Projects use none of the plugins, and each would be imported again; what is left to the
        # collector are a few cycles of each test, and it would look at all that pytest keeps.
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        gc.set_threshold(50_000, 20, 100)
        code = pytest.main(["-q", "-rs", "-p", "no:cacheprovider", *arguments])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(int(code))


def database_of_its_own(url: str) -> str:
    """How to connect to a new database, as each test makes a schema: thousands would slow it."""
    name = f"forked_{os.getpid()}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return urlsplit(url)._replace(path=f"/{name}").geturl()


def drop_database(url: str, child: int) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS forked_{child} WITH (FORCE)".encode())


class Idle:
    """Whether the processors had time to spare in the last second: tests wait for much."""

    def __init__(self) -> None:
        self.since = time.monotonic()
        psutil.cpu_percent()

    def is_seen(self) -> bool:
        if time.monotonic() - self.since < 1:
            return False
        self.since = time.monotonic()
        return psutil.cpu_percent() < 75  # since it was asked before


def main(arguments: list[str]) -> None:
    waiting, chosen = list[tuple[Path, list[str]]](), list[str]()
    given = iter(arguments)
    for argument in given:
        if argument in ("--smoke", "--with"):
            chosen = shlex.split(SMOKE if argument == "--smoke" else next(given))
        else:
            waiting.append((Path(argument), chosen))
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # as app/core/agent/model/litellm.py does
    some = any((project / "app" / "model" / "litellm.py").exists() for project, _ in waiting)
    if some:
        import_module(LITELLM)
        gc.collect()
        gc.freeze()
    logs = Path(tempfile.mkdtemp())
    running: dict[int, tuple[Path, Path, float]] = {}
    idle = Idle()
    while waiting or running:
        while waiting and (len(running) < AT_ONCE or (len(running) < MOST and idle.is_seen())):
            project, chosen = waiting.pop(0)
            log = logs / f"{len(waiting)}.log"
            if (child := os.fork()) == 0:
                in_project(project, chosen, log)
            running[child] = project, log, time.monotonic()
        child, status, used = os.wait4(-1, os.WNOHANG)
        if not child:
            time.sleep(0.02)
            continue
        project, log, begun = running.pop(child)
        if url := os.environ.get(DATABASE):
            drop_database(url, child)
        output = log.read_text()
        result = {
            "project": str(project),
            "code": os.waitstatus_to_exitcode(status),
            "skipped": output.count("SKIPPED"),
            "seconds": round(time.monotonic() - begun, 1),
            "cpu": round(used.ru_utime + used.ru_stime, 1),
            "output": output,
        }
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
