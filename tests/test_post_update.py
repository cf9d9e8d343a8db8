"""template/hooks/post_update.py as its owner runs it after an update: real files, git and uv."""

import shutil
import sys
from pathlib import Path

import pytest

from .hooked import Project, make_project

ANSWERS = "_commit: 1.0.0\nauth: anonymous\nlevel: hello\nstore: memory\n"
SIDES = "<<<<<<< before updating\nmine\n=======\ntheirs\n>>>>>>> after updating\n"
PASSING = "def test_it() -> None:\n    assert True\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tools: dict[str, str]) -> Project:
    """A project of an earlier version, in git and with an environment that has pytest."""
    project = make_project(tmp_path_factory.mktemp("made") / "my app", tools)
    project.name = "post_update.py"
    # A stand-in beside the tests keeps the environment small; what counts is how it is run.
    project.write("pytest.py", "import runpy; runpy.run_path('tests/run.py')\n")
    project.write("tests/run.py", "print('1 passed in 0.01s')\n")
    project.write(".copier-answers.yml", ANSWERS)
    project.write(".env", "VISITOR_SECRET=mine\n# MODEL=\nLOG_LEVEL=debug\n")
    project.git("init")
    project.git("add", "--all")
    project.git("commit", "--message", "before")
    project.report()
    project.git("add", "--all")
    project.git("commit", "--message", "after")
    return project


@pytest.fixture
def project(made: Project) -> Project:
    made.git("reset", "--hard", "--quiet")
    made.git("clean", "--quiet", "--force", "-d")
    made.write(".env", "VISITOR_SECRET=mine\n# MODEL=\nLOG_LEVEL=debug\n")
    return made


def test_after_an_update_without_trouble_each_step_says_so_and_nothing_changes(
    project: Project,
) -> None:
    assert project.report() == {
        "conflicts": "none",
        "moved": "none of yours was in a file that moved",
        "imports": "all are as they should be",
        "environment": "already there",
        "settings": "none is new",
        "migrations": "none in this project",
        "answers": "the level is as it was",
        "tests": "1 passed in 0.01s",
    }
    assert project.git("status", "--porcelain") == ""


def test_conflict_markers_are_named_by_file_and_line(project: Project) -> None:
    project.write("app/answer.py", f"one = 1\n{SIDES}")
    project.write("notes/new.md", SIDES)
    assert "meet in app/answer.py (line 2) and notes/new.md (line 1): keep" in project.failure()


def test_markers_are_looked_for_in_this_project_alone(project: Project) -> None:
    project.write(".venv/marked.py", SIDES)
    project.write("app/text.py", '"""\n  <<<<<<< quoted\n"""\n')
    assert project.report()["conflicts"] == "none"
    (project.root / ".venv" / "marked.py").unlink()


def test_a_file_that_git_holds_for_unmerged_is_named(project: Project) -> None:
    stages = []
    for number, text in enumerate(("base", "mine", "theirs"), 1):
        project.write("blob", text)
        blob = project.git("hash-object", "-w", str(project.root / "blob"))
        stages.append(f"100644 {blob} {number}\tapp/answer.py")
    (project.root / "blob").unlink()
    index = "\n".join(["0 0000000000000000000000000000000000000000\tapp/answer.py", *stages])
    project.write("index", index + "\n")
    git = f"git -C '{project.root}' update-index --index-info < '{project.root}/index'"
    assert project.command(shutil.which("bash") or "bash", "-c", git).returncode == 0
    (project.root / "index").unlink()
    assert project.git("status", "--porcelain").startswith("UU app/answer.py")
    assert "git waits for `git add app/answer.py`" in project.failure()


def test_edits_that_found_no_place_are_named(project: Project) -> None:
    project.write("app/answer.py.rej", "--- a\n+++ b\n")
    assert "edits that found no place are in app/answer.py.rej" in project.failure()
    project.write(".gitignore", "*.rej\n.venv/\n")  # as many have for all of their repositories
    assert "edits that found no place are in app/answer.py.rej" in project.failure()


def test_without_git_it_does_not_pretend_to_have_looked(project: Project) -> None:
    project.without("git")
    assert "git is not installed" in project.failure()
    project.bring("git")


def test_imports_of_modules_that_moved_are_rewritten_in_the_owners_files(project: Project) -> None:
    project.write(
        "app/doors.py",
        "from .run import Context, ToolContext\n"
        "from .store.base import (\n    BaseStore,\n    Lease,\n)\n"
        "from app.main import create_app\n"
        "from .actions import Acting\n",
    )
    project.write("app/settings.py", "OURS = 1\n")  # an owner's, of a name that the template had
    project.write("app/shop.py", "from .settings import OURS\n")
    said = project.hook().stdout
    assert (project.root / "app" / "doors.py").read_text() == (
        "from .core.agent import Context, ToolContext\n"
        "from .core import BaseStore\n"
        "from .core.store.base import Lease\n"
        "from app.core import create_app\n"
        "from .core.production import ActionContext as Acting\n"
    )
    assert (project.root / "app" / "shop.py").read_text() == "from .settings import OURS\n"
    assert "    app/doors.py, line 1: from .core.agent import Context, ToolContext\n" in said
    assert project.report()["imports"] == "all are as they should be"


def test_an_owners_edit_in_a_file_that_moved_is_named(project: Project) -> None:
    project.write("app/run.py", "TURNS = 1\n")
    project.write("app/lease.py", "SECONDS = 1\n")
    project.write(".copier-answers.yml", ANSWERS.replace("1.0.0", "1.1.0"))
    project.git("add", "--all")
    project.git("commit", "--message", "Update")
    project.write("app/run.py", "TURNS = 2\n")
    project.git("commit", "--all", "--message", "Turn twice")
    for name in ("run", "lease"):
        (project.root / "app" / f"{name}.py").unlink()
    said = project.hook().stdout
    assert "    app/run.py (now app/core/agent/run.py): `git log -p -- app/run.py`\n" in said
    assert "app/lease.py" not in said
    project.git("reset", "--hard", "--quiet", "HEAD~2")


def test_new_dependencies_are_installed(project: Project) -> None:
    project.edit("pyproject.toml", '"h11"', '"h11", "iniconfig"')
    assert project.report()["environment"] == "done: uv sync"
    python = project.root / ".venv" / "bin" / "python"
    assert project.command(python, "-c", "import iniconfig").returncode == 0


def test_settings_that_the_env_file_lacks_are_named_with_their_meaning(project: Project) -> None:
    project.write(
        ".env.example",
        "# How this file is used.\n\n# Signs cookies.\nVISITOR_SECRET=\n"
        "# Requests of one person,\n# as in 10/second.\nRATE_LIMIT=120/minute\nRATE_WAIT=5\n"
        "MODEL=\n# The proxy's.\n# PROXY_SECRET=\nLOG_LEVEL=INFO\n",
    )
    said = project.hook().stdout
    assert "settings     3 in .env.example that .env lacks; copy what you need:\n" in said
    limits = ["# Requests of one person, as in 10/second", "RATE_LIMIT=120/minute", "RATE_WAIT=5"]
    assert "".join(f"    {line}\n" for line in limits) in said  # as it goes into .env
    assert "    # The proxy's\n    PROXY_SECRET=\n" in said
    assert "VISITOR_SECRET" not in said
    assert "mine" not in said


def test_a_missing_env_file_is_said(project: Project) -> None:
    (project.root / ".env").unlink()
    assert project.report()["settings"].startswith("skipped: there is no .env")


def test_an_example_that_its_owner_deleted_stops_nothing(project: Project) -> None:
    (project.root / ".env.example").unlink()
    report = project.report()
    assert report["settings"] == "skipped: there is no .env.example"
    assert report["tests"] == "1 passed in 0.01s"


ALEMBIC = """
import sys
if {refuses!r}: sys.exit({refuses!r})
print({{"current": {current!r}, "heads": "0002 (head)"}}[sys.argv[1]])
"""


@pytest.mark.parametrize(
    ("refuses", "current", "said"),
    [
        ("", "0001", "0002 is pending in your database: `uv run alembic upgrade head`"),
        ("", "", "0002 is pending in your database: `uv run alembic upgrade head`"),
        ("", "0002 (head)", "none is pending"),
        (
            "DATABASE_URL is not set: the embedded …",
            "",
            "the embedded database takes them at the next start",
        ),
        (
            "connection refused",
            "",
            "not compared, as the database was not reached (connection refused); "
            "then `uv run alembic upgrade head`",
        ),
    ],
)
def test_pending_migrations_are_named(
    project: Project, refuses: str, current: str, said: str
) -> None:
    """A stand-in for Alembic; the real one is asked in tests/test_update.py."""
    project.write("alembic.ini", "")
    project.write("alembic.py", ALEMBIC.format(refuses=refuses, current=current))
    assert project.report()["migrations"] == said
    project.write("migrations/versions/0002_more.py", "")
    assert project.report()["migrations"] == f"the update brought 0002_more.py; {said}"


@pytest.mark.parametrize(
    ("level", "other", "said"),
    [
        ("agent", "", "level agent goes well with your other answers"),
        (
            "production",
            "",
            "level production is meant for auth jwt and store postgres: commit, then "
            "`uvx copier update --defaults --data auth=jwt --data store=postgres '{root}'`",
        ),
        (
            "production",
            "auth: jwt",
            "level production is meant for store postgres: commit, then "
            "`uvx copier update --defaults --data store=postgres '{root}'`",
        ),
    ],
)
def test_after_a_change_of_the_level_its_other_answers_are_named(
    project: Project, level: str, other: str, said: str
) -> None:
    text = ANSWERS.replace("level: hello", f"level: {level}")
    project.write(".copier-answers.yml", text.replace("auth: anonymous", other or "auth: header"))
    assert project.report()["answers"] == said.format(root=project.root)


def test_tests_that_fail_are_told_by_their_number(project: Project) -> None:
    project.write("tests/run.py", "print('E  secret\\n2 failed, 3 passed in 1s'); exit(1)\n")
    sentence = project.failure()
    assert "the project's tests do not pass (2 failed, 3 passed in 1s)" in sentence
    assert "secret" not in sentence


def test_it_works_in_a_folder_of_a_larger_repository(
    tmp_path: Path, tools: dict[str, str], made: Project
) -> None:
    larger = make_project(tmp_path / "backend" / "chat", tools)
    larger.name = "post_update.py"
    larger.environ["GIT_CEILING_DIRECTORIES"] = str(tmp_path.parent)
    shutil.copytree(made.root / ".venv", larger.root / ".venv", symlinks=True)
    larger.write("pytest.py", "print('1 passed in 0s')\n")
    larger.write(".copier-answers.yml", ANSWERS)
    (tmp_path / "other.py").write_text(SIDES)
    git = larger.command("git", "-C", tmp_path, "init")
    assert git.returncode == 0
    assert larger.report()["conflicts"] == "none"
    larger.write("app/more.py", SIDES)
    assert "meet in app/more.py (line 1)" in larger.failure()
    assert sys.version_info >= (3, 11)
