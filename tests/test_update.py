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

from .matrix import choices, questions
from .rendering import COPIER, commit, git, render, run, tree

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
        return made[name]

    return make


def release(template: Path, tag: str) -> None:
    """Version B: an improvement in plain, in rendered and in owners' files, and a new file."""
    app = template / "template" / "app"
    for name in ("stream.py", "run.py", "store/memory.py"):
        text = (app / name).read_text()
        (app / name).write_text(text + "\n\nIMPROVED = True\n")
    for name in ("settings.py.jinja", "settings.py"):
        text = (app / name).read_text()
        (app / name).write_text(text.replace('"""The settings', '"""All the settings'))
    tools = app / "tools.py"
    tools.write_text(tools.read_text().replace("The tools that", "Here are the tools that"))
    (app / "added.py").write_text('"""New in B."""\n')
    commit(template, "Improve")
    git(template, "tag", tag)


@pytest.mark.parametrize("level", choices(questions()["level"]))
def test_an_update_equals_a_fresh_render_plus_the_edits(
    old: Path, tmp_path: Path, level: str
) -> None:
    answers = asked(BASE | {"level": level})
    project = render(old, tmp_path / "project", answers, project_name="Doors")
    edit(project)
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
    assert without_answers(project) == without_answers(fresh)
    assert "IMPROVED" in (project / "app" / "stream.py").read_text()
    assert (project / "app" / "added.py").exists()
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


# Released versions

CHANGELOG = "CHANGELOG.md"
OWNERS = ("app/server.py", "app/agent.py", "app/tools.py", "README.md")


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
    git(ROOT, "archive", f"--output={archive}", commit_of(version))
    run("tar", "-xf", archive, cwd=folder)


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every released version as a tagged commit, and the working tree above them."""
    folder = tmp_path_factory.mktemp("releases") / "template"
    folder.mkdir()
    for version in released():
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
@pytest.mark.parametrize("version", released())
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

    assert is_clean(project)
    fresh = render(releases, tmp_path / "fresh", answers, project_name="Doors")
    edit(fresh)
    assert without_answers(project) == without_answers(fresh)
    assert "_commit: 9999.0.0" in (project / ".copier-answers.yml").read_text()


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
    wiring = old / "template" / "app" / "model" / "__init__.py.jinja"
    replace(wiring, "{{ model_name }}", "{{ model_id }}")
    commit(old, "Rename")
    git(old, "tag", "0.0.2")

    update(project)
    assert "model_id: gpt-x" in (project / ".copier-answers.yml").read_text()
    assert 'model: str = "gpt-x"' in (project / "app" / "model" / "__init__.py").read_text()
