"""`copier update` brings improvements and other answers, and keeps what its owner wrote."""

import itertools
import re
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import copier
import psycopg
import pytest
import yaml

from .conftest import run_forked
from .matrix import ROOT, Answers, choices, combinations, name_of, questions
from .rendering import COPIER, clone_template, commit, git, render, run, tree
from .updates import (
    LEVELS,
    edit,
    edit_beside_the_answers,
    is_clean,
    levels_up,
    replace,
    update,
    without_answers,
)
from .warm import stand_in

Make = Callable[[Answers], Path]
Questions = dict[str, dict[str, Any]]

BASE = {"level": "agent", "auth": "anonymous", "store": "memory", "model": "openai"}


def asked(answers: Answers) -> Answers:
    """Those of the answers that are asked together."""
    return next(each for each in combinations() if each.items() <= answers.items())


@pytest.fixture(scope="module")
def edited(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """A project with these answers, edited by its owner; made once, only to be looked at."""
    made: dict[str, Path] = {}

    def make(answers: Answers) -> Path:
        name = name_of(asked(answers))
        if name not in made:
            folder = tmp_path_factory.mktemp("edited") / "project"
            made[name] = render(template, folder, asked(answers), project_name="Doors")
            edit(made[name])
            edit_beside_the_answers(made[name])
        return made[name]

    return make


@pytest.fixture
def project(edited: Make, tmp_path: Path) -> Make:
    """A copy of such a project, to be updated."""

    def copy(answers: Answers) -> Path:
        return shutil.copytree(edited(answers), tmp_path / "project")

    return copy


# One answer becomes another


@pytest.mark.parametrize(("low", "high"), levels_up())
def test_a_level_grows_into_a_higher_one(
    project: Make, edited: Make, tmp_path: Path, template: Path, low: str, high: str
) -> None:
    grown = project(BASE | {"level": low})
    update(grown, {"level": high})

    assert is_clean(grown)
    run("ruff", "check", "--no-cache", "app/server.py", cwd=grown)  # its imports are sorted
    if low != "hello":  # from an agent on its owner's edits are all there already
        assert without_answers(grown) == without_answers(edited(BASE | {"level": high}))
        return
    fresh = render(template, tmp_path / "fresh", BASE | {"level": high}, project_name="Doors")
    agent = {name: (fresh / "app" / name).read_text() for name in ("agent.py", "tools.py")}
    edit(fresh)
    edit_beside_the_answers(fresh)
    for name, text in agent.items():
        (fresh / "app" / name).write_text(text)
    assert without_answers(grown) == without_answers(fresh)


@pytest.mark.parametrize(("low", "high"), levels_up())
def test_going_down_a_level_leaves_no_orphan(
    template: Path, tmp_path: Path, low: str, high: str
) -> None:
    project = render(template, tmp_path / "p", BASE | {"level": high}, project_name="Doors")
    update(project, {"level": low})

    answers = asked(BASE | {"level": low})
    fresh = render(template, tmp_path / "fresh", answers, project_name="Doors")
    assert without_answers(project) == without_answers(fresh)
    folders = [path for path in project.rglob("*") if path.is_dir() and ".git" not in path.parts]
    assert [path for path in folders if not any(path.iterdir())] == []


WIRING = {"README.md", "AGENTS.md", ".env.example", "pyproject.toml"}
WIRING |= {"docs/stores.md", "docs/production.md", "docs/operations.md", "docs/concepts.md"}
# What else a change of the answer may touch.
OWN = {
    "auth": r"app/core/(auth/.*|store/(embedded|pool).py)|tests/core/(auth.*/.*|database.py)",
    "store": r"(app|tests)/core/(stores?|commands)/.*|migrations/.*|alembic.ini"
    r"|compose.yaml|tests/core/database.py",
    "model": r"app/core/agent/model/.*|tests/core/agent/test_(azure|litellm).py",
}


def changes() -> Iterator[tuple[str, str, str, str]]:
    """Each answer to each other one of an agent; at the other levels each to the next one."""
    for question in OWN:
        offered = choices(questions()[question])
        for before, after in itertools.permutations(offered, 2):
            yield "agent", question, before, after
        for level in set(choices(questions()["level"])) - {"agent"}:
            if question in asked(BASE | {"level": level}):
                for before, after in zip(offered, offered[1:] + offered[:1], strict=True):
                    yield level, question, before, after


@pytest.mark.parametrize(("level", "question", "before", "after"), sorted(changes()))
def test_another_answer_touches_only_its_files_and_the_wiring(
    project: Make, edited: Make, level: str, question: str, before: str, after: str
) -> None:
    changed = project(BASE | {"level": level, question: before})
    had = without_answers(changed)
    update(changed, {question: after})

    assert is_clean(changed)
    has = without_answers(changed)
    assert has == without_answers(edited(BASE | {"level": level, question: after}))
    differing = {name for name in had | has if had.get(name) != has.get(name)}
    assert {name for name in differing - WIRING if not re.fullmatch(OWN[question], name)} == set()
    folder = {"model": "app/core/agent/model"}.get(question, f"app/core/{question}")
    for choice in (before, after):
        assert [name for name in differing if re.match(rf"{folder}/{choice}(\.py|/)", name)]


def test_updated_projects_pass_their_own_tests(
    project: Make, postgres: str, tmp_path: Path, edited: Make
) -> None:
    """Each other updated project equals one that is rendered, whose own tests run elsewhere."""
    changes = {"level": "hello", "auth": "jwt", "store": "sqlite"}
    grown = []
    for question, before in changes.items():
        made = project(BASE | {question: before}).rename(tmp_path / question)
        update(made, {question: {"level": "agent", "auth": "session"}.get(question, "postgres")})
        grown.append(made)
    chosen = "tests/core/http/test_protocol.py tests/core/http/test_isolation.py"
    chosen += " tests/core/test_settings.py"
    for report in run_forked(postgres, "--with", chosen, *grown).values():
        assert report["code"] == 0, report["output"]


def test_pending_migrations_are_told_by_the_database_itself(
    template: Path, tmp_path: Path, postgres: str
) -> None:
    answers = BASE | {"store": "postgres"}
    project = render(template, tmp_path / "p", answers, project_name="Doors")
    commit(project, "Start")
    (project / ".venv").symlink_to(sys.prefix)  # with everything that the project needs
    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute("DROP DATABASE IF EXISTS pending")
        admin.execute("CREATE DATABASE pending")
    url = urlsplit(postgres)._replace(path="/pending").geturl()
    code = "import sys; sys.path.insert(0, 'hooks'); import post_update as h; "

    def told() -> str:
        script = code + "print(h.name_migrations())"
        path = str(Path(shutil.which("git") or "git").parent)  # without uv, which would install
        said = run(sys.executable, "-c", script, cwd=project, PATH=path, DATABASE_URL=url)
        return said.strip()

    assert told() == "0004 is pending in your database: `uv run alembic upgrade head`"
    run(stand_in(), "-m", "alembic", "upgrade", "head", cwd=project, DATABASE_URL=url)
    assert told() == "none is pending"


def test_a_greeting_that_was_edited_is_a_conflict_which_the_hook_finds(project: Make) -> None:
    grown = project(BASE | {"level": "hello"})
    replace(grown / "app" / "server.py", "Hello! I am your ChatKit backend.", "Hello from Doors.")
    update(grown, {"level": "agent"})

    assert (grown / "app" / "server.py").read_text().count("<<<<<<< ") == 1
    hook = (sys.executable, "-Es", "hooks/post_update.py")
    said = run(*hook, cwd=grown, check=False)
    assert "your edits and the template's meet in app/server.py (line " in said
    assert "put that right" in said
    assert (grown / "app" / "doors.py").exists()


# A newer version


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The template with an older release, from which version B differs in many files."""
    return clone_template(tmp_path / "template", "0.0.1")


def release(template: Path, tag: str) -> None:
    """Version B: an improvement in plain, in rendered and in owners' files, and a new file."""
    app = template / "template" / "app"
    core = app / "core"
    for name in ("http/streaming.py", "agent/run.py", "store/memory.py"):
        text = (core / name).read_text()
        (core / name).write_text(text + "\n\nIMPROVED = True\n")
    for name in ("settings.py.jinja", "settings.py"):
        text = (core / name).read_text()
        (core / name).write_text(text.replace('"""The settings', '"""All the settings'))
    tools = app / "tools.py"
    tools.write_text(tools.read_text().replace("The tools that", "Here are the tools that"))
    (core / "added.py").write_text('"""New in B."""\n')
    commit(template, "Improve")
    git(template, "tag", tag)


@pytest.mark.parametrize("level", choices(questions()["level"]))
def test_an_update_equals_a_fresh_render_plus_the_edits(
    old: Path, tmp_path: Path, level: str
) -> None:
    answers = asked(BASE | {"level": level})
    project = render(old, tmp_path / "project", answers, project_name="Doors")
    edit(project)
    edit_beside_the_answers(project)
    commit(project, "Edit")
    assert "up-to-date" in run(COPIER, "check-update", cwd=project)
    release(old, "0.0.2")

    assert "0.0.2" in run(COPIER, "check-update", cwd=project)
    script = f"'{COPIER}' check-update --quiet; echo $?"
    assert run("bash", "-c", script, cwd=project).strip() == "2"  # for a job that runs by itself
    run(COPIER, "update", "--defaults", cwd=project)
    assert is_clean(project)
    fresh = render(old, tmp_path / "fresh", answers, project_name="Doors")
    edit(fresh)
    edit_beside_the_answers(fresh)
    assert without_answers(project) == without_answers(fresh)
    assert "IMPROVED" in (project / "app" / "core" / "http" / "streaming.py").read_text()
    assert (project / "app" / "core" / "added.py").exists()
    assert (project / ".env").read_text() == "VISITOR_SECRET=mine\n"


def test_a_recopy_gives_the_templates_text_back_and_leaves_files_of_ones_own(
    project: Make, template: Path, tmp_path: Path
) -> None:
    again = project(BASE)
    commit(again, "Edit")
    run(COPIER, "recopy", "--defaults", "--overwrite", cwd=again)

    fresh = render(template, tmp_path / "fresh", BASE, project_name="Doors")
    left = tree(again)
    assert left.pop("app/doors.py")
    assert left.pop(".env")
    assert left == tree(fresh)


def test_the_desk_that_its_owner_deleted_stays_deleted(template: Path, tmp_path: Path) -> None:
    answers = asked(BASE | {"level": "production"})
    project = render(template, tmp_path / "project", answers)
    shutil.rmtree(project / "app" / "desk")
    update(project, {"store": "sqlite"})
    assert is_clean(project)
    assert (project / "app" / "core" / "store" / "sqlite").exists()
    assert not (project / "app" / "desk").exists()


def test_a_compose_file_of_another_name_is_not_put_in_the_shade(
    project: Make,
) -> None:
    """Docker would read compose.yaml and not the other."""
    grown = project(BASE)
    (grown / "docker-compose.yml").write_text("services: {}\n")
    update(grown, {"level": "production"})
    assert (grown / "Dockerfile").exists()
    assert not (grown / "compose.yaml").exists()
    commit(grown, "Grow")
    run(COPIER, "recopy", "--defaults", "--overwrite", cwd=grown)
    assert not (grown / "compose.yaml").exists()
    update(grown, {"store": "sqlite"})
    assert not (grown / "compose.yaml").exists()
    assert is_clean(grown)


# Released versions

CHANGELOG = "CHANGELOG.md"
OWNERS = ("app/server.py", "app/agent.py", "app/tools.py", "README.md")


# The last commit before app/core: never released; who tried the level production has it.
FLAT = "1.0.1.dev0"
COMMITS = {FLAT: "3950937"}


def released() -> list[str]:
    """The versions that CHANGELOG has, oldest first."""
    return re.findall(r"^## (\d\S*)", (ROOT / CHANGELOG).read_text(), re.MULTILINE)[::-1]


def commit_of(version: str) -> str:
    """The commit that released a version: the first one whose CHANGELOG has its heading.

    Tags need not travel with a clone, its history does.
    """
    heading = rf"^## {re.escape(version)}( |$)"
    found = git(ROOT, "log", "--reverse", "--format=%H", f"-G{heading}", "--", CHANGELOG).split()
    assert found, (
        f"The history has no commit whose {CHANGELOG} has `## {version}`: commit it, or fetch "
        "the whole history (`git fetch --unshallow`)."
    )
    return found[0]


def test_a_version_that_the_history_lacks_is_told() -> None:
    with pytest.raises(AssertionError, match=r"no commit whose CHANGELOG.md has `## 999\.0\.0`"):
        commit_of("999.0.0")


def take(version: str, folder: Path) -> None:
    """Put the files of a released version into the folder, in place of what is there."""
    for path in folder.iterdir():
        if path.name != ".git":
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    archive = folder.parent / f"{version}.tar"
    commit = COMMITS.get(version) or commit_of(version)
    git(ROOT, "archive", f"--output={archive}", commit)
    run("tar", "-xf", archive, cwd=folder)


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every released version as a tagged commit, and the working tree above them."""
    folder = tmp_path_factory.mktemp("releases") / "template"
    folder.mkdir()
    for version in [*released(), FLAT]:
        take(version, folder)
        commit(folder, version)
        git(folder, "tag", version)
    if released():
        run("git", "rm", "-r", "--quiet", ".", cwd=folder)
    return clone_template(folder, "9999.0.0")


def test_the_newest_released_version_is_this_projects() -> None:
    versions = released()
    assert versions
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == versions[-1]


@pytest.mark.parametrize("level", choices(questions()["level"]))
@pytest.mark.parametrize("version", [*released(), FLAT])
def test_a_project_of_a_released_version_updates_to_this_one(
    releases: Path, tmp_path: Path, version: str, level: str
) -> None:
    before = questions_of(releases, version)
    if level not in choices(before["level"]):
        level = LEVELS[0]  # it came later
    answers = asked(BASE | {"level": level})
    project = tmp_path / "project"
    copier.run_copy(
        str(releases),
        project,
        data={**answers, "project_name": "Doors"},
        vcs_ref=version,
        defaults=True,
        quiet=True,
    )
    edit(project)
    update(project)
    keep_imports(project)  # the lines beside an owner's import changed too
    told = rewrite_imports(project)
    if level != "hello":
        assert "app/agent.py, line 8: from .core.agent import Context" in told

    assert is_clean(project)
    fresh = render(releases, tmp_path / "fresh", answers, project_name="Doors")
    edit(fresh)
    found, wanted = without_answers(project), without_answers(fresh)
    # `uv add` sorted what 1.0.0 had, and appends now.
    lines = [sorted(tree.pop("pyproject.toml").splitlines()) for tree in (found, wanted)]
    assert lines[0] == lines[1]
    assert found == wanted
    assert "_commit: 9999.0.0" in (project / ".copier-answers.yml").read_text()


def keep_imports(project: Path) -> None:
    """Take the owner's side of each conflict, as a person does, where both sides are imports."""
    both = re.compile(r"<<<<<<< .*\n((?:from .*\n)+)=======\n(?:from .*\n)+>>>>>>> .*\n")
    for path in (project / "app").glob("*.py"):
        path.write_text(both.sub(r"\1", path.read_text()))
    git(project, "add", "--all")


def rewrite_imports(project: Path) -> str:
    code = "import sys; sys.path.insert(0, 'hooks'); import post_update as hook"
    return run(sys.executable, "-c", f"{code}; print(hook.rewrite_imports())", cwd=project)


def questions_of(releases: Path, version: str) -> Questions:
    config = yaml.safe_load(git(releases, "show", f"{version}:copier.yml"))
    return {name: value for name, value in config.items() if not name.startswith("_")}


def lost(before: Questions, now: Questions) -> list[str]:
    """The answers of an older version that would be forgotten without a word.

    Copier drops an answer whose question or choice is gone. What it was can still be read in the
    default of another question, by its old name; a choice cannot.
    """
    defaults = " ".join(str(question.get("default", "")) for question in now.values())
    gone = [name for name in before if name not in now and not re.search(rf"\b{name}\b", defaults)]
    return gone + [
        f"{name}={choice}"
        for name in before
        if name in now
        for choice in choices(before[name])
        if choice not in choices(now[name])
    ]


@pytest.mark.parametrize("version", released())
def test_no_answer_and_no_owners_file_of_a_released_version_is_lost(
    releases: Path, version: str
) -> None:
    assert lost(questions_of(releases, version), questions()) == []
    names = git(releases, "ls-tree", "-r", "--name-only", version, "template").split()
    had = {name.removeprefix("template/").removesuffix(".jinja") for name in names}
    has = {
        path.relative_to(ROOT / "template").as_posix() for path in (ROOT / "template").rglob("*")
    }
    assert set(OWNERS) & had <= {name.removesuffix(".jinja") for name in has}


def test_a_question_or_a_choice_that_is_renamed_without_a_way_forward_is_caught() -> None:
    before: Questions = {"store": {"choices": ["memory", "sqlite"], "default": "memory"}}
    assert lost(before, before) == []
    assert lost(before, {"storage": before["store"]}) == ["store"]
    assert lost(before, {"store": {"choices": ["memory", "file"]}}) == ["store=sqlite"]
    forward = {"choices": ["memory", "sqlite"], "default": "{{ store | default('memory') }}"}
    assert lost(before, {"storage": forward}) == []


def test_a_question_that_is_renamed_with_a_way_forward_keeps_its_answer(
    old: Path, tmp_path: Path
) -> None:
    answers = {"level": "agent", "model_name": "gpt-x"}
    project = render(old, tmp_path / "project", answers, project_name="Doors")
    config = old / "copier.yml"
    text = config.read_text()
    at = text.index("model_name:\n")
    renamed = text[:at] + text[at:].replace("model_name", "model_id").replace(
        'default: ""', "default: \"{{ model_name | default('') }}\"", 1
    )
    config.write_text(renamed)
    wiring = old / "template" / "app" / "core" / "agent" / "model" / "__init__.py.jinja"
    replace(wiring, "{{ model_name }}", "{{ model_id }}")
    commit(old, "Rename")
    git(old, "tag", "0.0.2")

    update(project)
    assert "model_id: gpt-x" in (project / ".copier-answers.yml").read_text()
    assert 'model: str = "gpt-x"' in (project / "app/core/agent/model/__init__.py").read_text()
