"""template/hooks/post_gen.py as its owner runs it: real files, real git, real servers.

The projects are small trees made from dicts; their server is a few lines of ASGI, so that it can
also answer wrongly. The rendered project's own server is asked elsewhere.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .hooked import HOOKS, PROJECT, Project, make_project

CARRIED = {f"hooks/{path.name}" for path in HOOKS.glob("*.py")}
AGAIN = "run `python hooks/post_gen.py` again"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tools: dict[str, str]) -> Project:
    """A project whose first steps are done, for the tests of its server."""
    project = make_project(tmp_path_factory.mktemp("made") / "my app", tools)
    project.report()
    return project


@pytest.fixture
def served(made: Project) -> Iterator[Project]:
    yield made
    for file in ("app/main.py", "app/answer.py"):
        (made.root / file).write_text(PROJECT[file])
    shutil.copytree(HOOKS, made.root / "hooks", dirs_exist_ok=True)
    assert not made.has_server()


@pytest.fixture
def project(tmp_path: Path, tools: dict[str, str]) -> Project:
    return make_project(tmp_path / "my app", tools)


def test_a_fresh_project_is_made_ready(project: Project) -> None:
    assert project.report() == {
        ".env": "done: made from .env.example with fresh secrets",
        "environment": "done: uv sync",
        "git": "done: first commit",
        "around": "nothing else is here",
        "request": 'done: the server answered "Hello to you MODEL=offline APP_ENV=development"',
    }
    assert not project.has_server()


def test_the_first_commit_leaves_a_clean_tree_and_no_secret(project: Project) -> None:
    project.report()
    assert project.git("status", "--porcelain") == ""
    assert set(project.git("ls-files").split()) == {*PROJECT, *CARRIED, "uv.lock"}
    assert project.git("log", "--format=%an %ae %cn") == "Owner owner@example.org Owner"


def test_a_second_run_finds_everything_there_and_changes_nothing(project: Project) -> None:
    project.report()
    before = state(project)
    report = project.report()
    assert [report[step] for step in (".env", "environment", "git")] == ["already there"] * 3
    assert report["request"].startswith("done: ")
    assert state(project) == before


def state(project: Project) -> dict[str, object]:
    written = [path for path in project.root.rglob("*") if path.name != "server.pid"]
    files = {
        str(path): (path.stat().st_mtime_ns, path.read_bytes())
        for path in written
        if path.is_file() and not {".git", ".venv", "__pycache__"} & {*path.parts}
    }
    return {
        **files,
        "packages": sorted(map(str, written)),
        "head": project.git("rev-parse", "HEAD"),
    }


def test_the_owners_shell_does_not_reach_the_project(project: Project, tmp_path: Path) -> None:
    project.environ |= {
        "APP_ENV": "production",
        "OPENAI_API_KEY": "sk-owner",
        "WEB_CONCURRENCY": "2",
        "UVICORN_ROOT_PATH": "/elsewhere",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
        "GIT_DIR": str(tmp_path / "elsewhere"),
    }
    report = project.report()
    assert "APP_ENV=development" in report["request"]
    assert (project.root / ".git").is_dir()
    assert not (tmp_path / "elsewhere").exists()


# .env


def test_every_project_gets_secrets_of_its_own(tmp_path: Path, tools: dict[str, str]) -> None:
    projects = [make_project(tmp_path / name, tools) for name in ("one", "two")]
    for project in projects:
        project.first_steps()
    one, two = ((project.root / ".env").read_text() for project in projects)
    secret = re.compile("VISITOR_SECRET=([A-Za-z0-9_-]{43})\n")
    assert secret.sub("VISITOR_SECRET=\n", one) == PROJECT[".env.example"]
    assert secret.sub("VISITOR_SECRET=\n", two) == PROJECT[".env.example"]
    assert one != two


def test_only_empty_secrets_are_filled(project: Project) -> None:
    kept = b'# A_SECRET=\r\nB_SECRET=mine\nSECRET_NAME=\nC_SECRET=""\n\xff\n'
    (project.root / ".env.example").write_bytes(kept + b"D_SECRET= \r\nE_SECRET=")
    project.first_steps()
    made = (project.root / ".env").read_bytes()
    assert made.startswith(kept)
    assert re.fullmatch(rb"D_SECRET=[\w-]{43}\r\nE_SECRET=[\w-]{43}", made.removeprefix(kept))


def test_the_env_file_is_its_owners_alone(project: Project) -> None:
    project.first_steps()
    assert stat.S_IMODE((project.root / ".env").stat().st_mode) == 0o600


def test_an_existing_env_file_is_left_as_it_is(project: Project) -> None:
    (project.root / ".env").write_bytes(b"VISITOR_SECRET=\r\nmine")
    (project.root / ".env").chmod(0o640)
    assert project.first_steps()[".env"] == "already there"
    assert (project.root / ".env").read_bytes() == b"VISITOR_SECRET=\r\nmine"
    assert stat.S_IMODE((project.root / ".env").stat().st_mode) == 0o640


def test_an_interrupted_draft_of_the_env_file_is_no_env_file(project: Project) -> None:
    (project.root / ".env.tmp").write_text("VISITOR_SEC")
    assert project.first_steps()[".env"].startswith("done")
    assert "LOG_LEVEL=info" in (project.root / ".env").read_text()
    assert ".env.tmp" not in os.listdir(project.root)


def test_a_missing_example_fails_with_a_sentence(project: Project) -> None:
    (project.root / ".env.example").unlink()
    assert ".env.example is missing" in project.failure()
    assert not (project.root / ".env").exists()


# The environment


def test_without_uv_pip_makes_the_environment(project: Project) -> None:
    project.without("uv")
    report = project.report()
    assert report["environment"] == "done: .venv with pip, because uv is not installed"
    assert report["request"].startswith("done: ")
    assert project.git("status", "--porcelain") == ""
    assert project.first_steps()["environment"] == "already there"
    project.edit("pyproject.toml", '"h11"', '"h11", "iniconfig"')
    assert project.first_steps()["environment"].startswith("done: ")
    venv = project.root / ".venv"
    assert project.command(venv / "bin" / "python", "-c", "import iniconfig").returncode == 0


def test_an_environment_from_uv_serves_without_uv_and_outlives_a_failure(project: Project) -> None:
    project.report()
    before = (project.root / ".venv" / "pyvenv.cfg").stat().st_mtime_ns
    project.without("uv")
    project.environ |= {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "1"}
    project.edit("pyproject.toml", '"h11"', '"h11>1000"')
    assert "(ERROR: Could not find a version that satisfies" in project.failure()
    project.edit("pyproject.toml", '"h11>1000"', '"h11"')
    assert project.report()["request"].startswith("done: ")
    assert (project.root / ".venv" / "pyvenv.cfg").stat().st_mtime_ns == before


@pytest.mark.parametrize("left", ["lib/rest", "bin/python"])
def test_a_half_made_environment_is_made_again(project: Project, left: str) -> None:
    file = project.root / ".venv" / left
    file.parent.mkdir(parents=True)
    file.touch()
    assert project.first_steps()["environment"] == "done: uv sync"


def test_what_is_missing_in_the_environment_is_added(project: Project) -> None:
    project.first_steps()
    lost = next((project.root / ".venv").glob("lib/*/site-packages/h11-*"))
    shutil.rmtree(lost)
    assert project.first_steps()["environment"] == "done: uv sync"
    assert lost.exists()


def test_what_its_owner_installed_beside_stays(project: Project) -> None:
    project.first_steps()
    python = str(project.root / ".venv" / "bin" / "python")
    uv = shutil.which("uv", path=project.environ["PATH"])
    assert uv
    subprocess.run([uv, "pip", "install", "-q", "--python", python, "iniconfig"], check=True)
    project.edit("pyproject.toml", '"h11"', '"h11", "six"')
    assert project.first_steps()["environment"] == "done: uv sync"
    assert subprocess.run([python, "-c", "import six, iniconfig"]).returncode == 0


def test_nothing_is_installed_by_a_pyproject_of_another(project: Project) -> None:
    project.write("app/mount.py", "")
    project.write("pyproject.toml", "[tool.black]\nline-length = 99\n")
    report = project.report()
    assert report["environment"].startswith("skipped: pyproject.toml is yours")
    assert report["request"].startswith("skipped: pyproject.toml is not the template's")
    assert not (project.root / "uv.lock").exists()


def test_a_draft_of_its_owners_beside_an_env_file_stays(project: Project) -> None:
    project.write(".env", "A=1\n")
    project.write(".env.tmp", "mine\n")
    project.first_steps()
    assert (project.root / ".env.tmp").read_text() == "mine\n"


def test_an_interrupted_run_goes_on_the_next_time(project: Project) -> None:
    project.without("uv")
    hook = [sys.executable, "-Es", str(project.root / "hooks" / "post_gen.py")]
    run = subprocess.Popen(
        hook,
        env=project.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored in background
    )
    wait_for(project.root / ".venv" / "bin" / "python")
    os.killpg(run.pid, signal.SIGINT)
    output, errors = run.communicate(timeout=20)
    assert run.returncode == 130
    assert errors == f"hooks/post_gen.py: interrupted; {AGAIN} to go on.\n"
    assert output.splitlines()[1:] == ["environment  interrupted"]
    assert (project.root / ".venv" / "unfinished").exists()

    project.bring("uv")
    before = (project.root / ".env").read_text()
    report = project.report()
    assert report[".env"] == "already there"
    assert report["environment"] == "done: uv sync"
    assert report["request"].startswith("done: ")
    assert (project.root / ".env").read_text() == before
    assert project.git("status", "--porcelain") == ""


def wait_for(file: Path) -> None:
    deadline = time.monotonic() + 20
    while not file.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_pips_unfinished_environment_is_not_taken_for_whole(project: Project) -> None:
    project.report()
    lost = next((project.root / ".venv").glob("lib/*/site-packages/uvicorn/main.py"))
    lost.unlink()
    (project.root / ".venv" / "unfinished").touch()
    assert project.report()["environment"] == "done: uv sync"
    assert not (project.root / ".venv" / "unfinished").exists()


def test_dependencies_that_do_not_exist_fail_with_a_sentence(project: Project) -> None:
    project.edit("pyproject.toml", '"h11"', '"h11>1000"')
    assert "h11>1000" in project.failure()
    assert not (project.root / ".git").exists()


def test_a_broken_pyproject_fails_with_a_sentence(project: Project) -> None:
    project.edit("pyproject.toml", "[project]", "[project")
    project.without("uv")
    assert "pyproject.toml cannot be read" in project.failure()


# The git repository


def test_a_project_inside_a_repository_is_left_to_it(project: Project) -> None:
    assert project.command("git", "init").returncode == 0
    report = project.first_steps()
    parent = project.root.parent
    assert (
        report["git"]
        == f"skipped: the project lies inside the repository {parent}, commit it there"
    )
    assert not (project.root / ".git").exists()
    assert project.git("rev-list", "--all", "--count") == "0"


@pytest.mark.parametrize(
    ("config", "author", "said"),
    [
        ("", "ChatKit template <chatkit@localhost>", "user.name and user.email"),
        ("[user]\nname = Owner\n", "Owner <chatkit@localhost>", "user.email"),
    ],
)
def test_where_git_has_no_identity_the_commit_gets_a_neutral_one(
    project: Project, config: str, author: str, said: str
) -> None:
    home = project.root.parent / "home"
    home.mkdir()
    (home / "config").write_text(config)
    project.environ |= {"HOME": str(home), "XDG_CONFIG_HOME": str(home)}
    project.environ["GIT_CONFIG_GLOBAL"] = str(home / "config")
    assert (
        project.first_steps()["git"] == f"done: first commit with a neutral {said}, as git has none"
    )
    assert project.git("log", "--format=%an <%ae>") == author
    assert "chatkit@localhost" not in (project.root / ".git" / "config").read_text()


def test_a_repository_without_commits_gets_its_first(project: Project) -> None:
    project.git("init")
    project.git("add", "app")
    assert project.first_steps()["git"] == "done: first commit"
    assert project.git("status", "--porcelain") == ""


def test_the_owners_commits_and_changes_are_left_alone(project: Project) -> None:
    project.git("init")
    project.git("commit", "--allow-empty", "--message", "mine")
    expected = "already there, with changes to commit before `copier update`"
    assert project.first_steps()["git"] == expected
    assert project.git("log", "--format=%s") == "mine"
    assert project.git("diff", "--cached", "--name-only") == ""


def test_where_git_is_missing_the_rest_is_done(project: Project) -> None:
    project.without("git")
    report = project.report()
    assert report["git"] == "skipped: git is not installed, and `copier update` needs it"
    assert report["request"].startswith("done: ")


def test_what_git_does_not_ignore_is_never_committed(project: Project) -> None:
    (project.root / ".gitignore").write_text("")
    assert "git would commit .env:" in project.failure()
    (project.root / ".gitignore").write_text(".env\n")
    (project.root / ".venv" / ".gitignore").unlink()  # uv's own; not every venv has one
    assert "git would commit .venv:" in project.failure()
    assert project.git("rev-list", "--all", "--count") == "0"


def test_an_env_file_that_was_added_is_never_committed(project: Project) -> None:
    (project.root / ".env").write_text("VISITOR_SECRET=mine\n")
    project.git("init")
    project.git("add", "--force", ".env")
    assert "git would commit .env" in project.failure()
    assert project.git("rev-list", "--all", "--count") == "0"


def test_a_commit_that_git_refuses_fails_with_a_sentence(project: Project) -> None:
    project.git("init")
    (project.root / ".git" / "index.lock").touch()
    assert "index.lock" in project.failure()
    (project.root / ".git" / "index.lock").unlink()
    assert project.first_steps()["git"] == "done: first commit"


# One request


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (
            '[said("assistant_message", "Hi"), event("error", message="out of words")]',
            "out of words",
        ),
        ('[event("error", code="custom")]', "it sent an error, 'custom'"),
        ('[said("user_message", "Hello"), event("thread.created")]', "its answer holds no message"),
        ('[said("assistant_message", " ")]', "its answer holds no message"),
        ('["data: {"]', "did not answer a message: Expecting"),
        ('["data: 5"]', "did not answer a message: "),
    ],
)
def test_an_answer_without_a_message_fails_with_a_sentence(
    served: Project, lines: str, sentence: str
) -> None:
    served.answers(lines)
    assert sentence in served.failure()


def test_the_helper_for_development_makes_the_request_known(served: Project) -> None:
    check = 'assert dict(scope["headers"])[b"content-type"]'
    served.edit(
        "app/main.py", check, check.replace("content-type", "x-who") + ' == b"a: b"; ' + check
    )
    helper = served.root / "app" / "__main__.py"
    helper.write_text("""print("curl -N x -c jar -H 'x-who: a: b' -H 'content-type: x' -d '{}'")""")
    assert served.report()["request"].startswith("done: ")
    helper.write_text("raise SystemExit('JWT_SECRET is set.')")
    assert served.report()["request"] == "skipped: JWT_SECRET is set"
    helper.unlink()


def test_a_refused_message_fails_with_the_status(served: Project) -> None:
    served.answers("[]", status=401)
    assert "HTTP Error 401" in served.failure()


def test_a_project_without_an_app_fails_with_a_sentence(served: Project) -> None:
    (served.root / "app" / "main.py").unlink()
    assert "app/main.py is missing" in served.failure()


def test_an_application_of_the_owners_is_not_asked(served: Project) -> None:
    """They copied into a folder that had one, and kept it: nobody knows where it answers."""
    (served.root / "app" / "main.py").write_text("raise SystemExit('ours')\n")
    told = served.report()["request"]
    assert told.startswith("skipped: app/main.py is not the template's: copy the project into")


def test_a_server_that_dies_at_its_start_is_quoted(served: Project) -> None:
    ending = "TEXT = '''\nfrom .core import create_app\n'''\n"
    ending += "raise SystemExit('JWT_ISSUER is missing.')\n"
    (served.root / "app" / "main.py").write_text(ending)
    sentence = served.failure()
    assert "it ended at its start (its last words: JWT_ISSUER is missing)" in sentence


def test_a_server_that_dies_while_it_answers_is_quoted(served: Project) -> None:
    served.answers('os.write(2, b"out of memory") and os._exit(1)')
    assert "(its last words: " in served.failure()
    assert "out of memory" in served.failure()


def test_a_server_that_is_never_healthy_is_given_up(served: Project) -> None:
    served.edit("hooks/post_gen.py", "= 90, 60", "= 1, 60")
    served.edit("app/main.py", "200, []", "503, []")
    assert "GET /health was not answered with 200 within 1 s" in served.failure()


def test_an_answer_without_end_is_cut_and_its_server_killed(served: Project) -> None:
    served.edit("hooks/post_gen.py", "= 90, 60", "= 90, 1")
    served.edit("hooks/post_gen.py", "wait(timeout=5)", "wait(timeout=0.3)")
    served.answers('(": still there" for _ in iter(lambda: __import__("time").sleep(0.1), 0))')
    assert "its answer took over 1 s" in served.failure()


def test_a_silent_server_is_cut(served: Project) -> None:
    served.edit("hooks/post_gen.py", "= 90, 60", "= 90, 1")
    served.edit("hooks/post_gen.py", "wait(timeout=5)", "wait(timeout=0.3)")
    served.answers('__import__("time").sleep(60)')
    assert "timed out" in served.failure()


# The file


@pytest.mark.parametrize("hook", sorted(path.name for path in HOOKS.glob("*.py")))
def test_a_hook_is_plain_python_of_the_standard_library(hook: str) -> None:
    source = (HOOKS / hook).read_text()
    ast.parse(source, feature_version=(3, 9))  # it says itself where a newer one is needed
    nodes = list(ast.walk(ast.parse(source)))
    modules = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    own = {path.stem for path in HOOKS.glob("*.py")}
    modules |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    assert {module.split(".")[0] for module in modules} <= sys.stdlib_module_names | own
    assert not re.search(r"\{[{%#]", source)
