"""`copier update` brings improvements and other answers, and keeps what its owner wrote."""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from .matrix import choices, questions
from .rendering import COPIER, clone_template, commit, git, render, run, tree

NEW_TOOL = '''

@function_tool
async def open_door(ctx: ToolContext) -> str:
    """Open the door."""
    return "It is open."
'''


@pytest.fixture
def old(template: Path, tmp_path: Path) -> Path:
    """The template with an older release, from which version B differs in many files."""
    older = clone_template(tmp_path / "template", "0.0.1")
    return older


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


def edit(project: Path) -> None:
    """What the owner of an agent does to it within a week."""
    edit_around(project)
    agent = project / "app" / "agent.py"
    if agent.exists():
        text = agent.read_text().replace("You are a helpful assistant.", "You sell doors.")
        text = text.replace("tools=[roll_dice]", "tools=[roll_dice, open_door]")
        agent.write_text(text.replace("import roll_dice", "import open_door, roll_dice"))
        tools = project / "app" / "tools.py"
        tools.write_text(tools.read_text() + NEW_TOOL)


def edit_around(project: Path) -> None:
    """The edits that any level takes."""
    readme = project / "README.md"
    head, _, rest = readme.read_text().partition("\n## Start")
    readme.write_text(f"{head}\nWe sell doors.\n\n## Start{rest}")
    pyproject = project / "pyproject.toml"
    text = pyproject.read_text()
    pyproject.write_text(text.replace('    "fastapi', '    "doors>=1",\n    "fastapi'))
    (project / "app" / "doors.py").write_text('"""Our doors."""\n')
    (project / ".env").write_text("VISITOR_SECRET=mine\n")


def updated(project: Path, *data: str) -> None:
    commit(project, "Edit")
    options = [f"--data={answer}" for answer in data]
    run(COPIER, "update", "--defaults", *options, cwd=project)
    assert "UU" not in run("git", "status", "--porcelain", cwd=project)
    assert not [name for name, text in tree(project).items() if "<<<<<<<" in text]
    assert not list(project.rglob("*.rej"))


def answers_aside(folder: Path) -> dict[str, str]:
    return tree(folder, ".copier-answers.yml")


@pytest.mark.parametrize("level", ["hello", "agent"])
def test_an_update_equals_a_fresh_render_plus_the_edits(
    old: Path, tmp_path: Path, level: str
) -> None:
    project = render(old, tmp_path / "project", {"level": level}, project_name="Doors")
    edit(project)
    release(old, "0.0.2")

    updated(project)
    fresh = render(old, tmp_path / "fresh", {"level": level}, project_name="Doors")
    edit(fresh)
    assert answers_aside(project) == answers_aside(fresh)
    assert "IMPROVED" in (project / "app" / "stream.py").read_text()
    assert (project / "app" / "added.py").exists()
    assert (project / ".env").read_text() == "VISITOR_SECRET=mine\n"


def test_hello_grows_into_an_agent(old: Path, tmp_path: Path) -> None:
    project = render(old, tmp_path / "project", {"level": "hello"}, project_name="Doors")
    edit_around(project)

    updated(project, "level=agent")
    fresh = render(old, tmp_path / "fresh", {"level": "agent"}, project_name="Doors")
    edit_around(fresh)
    assert answers_aside(project) == answers_aside(fresh)


def test_going_down_a_level_leaves_no_orphan(old: Path, tmp_path: Path) -> None:
    project = render(old, tmp_path / "project", {"level": "agent"}, project_name="Doors")
    updated(project, "level=hello")
    fresh = render(old, tmp_path / "fresh", {"level": "hello"}, project_name="Doors")
    assert answers_aside(project) == answers_aside(fresh)
    assert not (project / "app" / "model").exists()


WIRING = {"README.md", "AGENTS.md", ".env.example", "pyproject.toml"}
# What else a change of the answer may touch.
OWN = {
    "auth": r"app/auth/.*|app/store/embedded.py|tests/(people/.*|database.py|test_\w+.py)",
    "store": r"app/store/.*|app/data.py|migrations/.*|alembic.ini"
    r"|tests/(stores/.*|database.py|test_\w+.py)",
    "model": r"app/model/.*|tests/test_(azure|litellm).py",
}


def changes() -> Iterator[tuple[str, str, str]]:
    """Each answer to each other one."""
    for question in OWN:
        for pair in itertools.permutations(choices(questions()[question]), 2):
            yield question, *pair


@pytest.mark.parametrize(("question", "before", "after"), list(changes()))
def test_another_answer_touches_only_its_files_and_the_wiring(
    old: Path, tmp_path: Path, question: str, before: str, after: str
) -> None:
    answers = {"level": "agent", question: before}
    project = render(old, tmp_path / "project", answers, project_name="Doors")
    edit(project)
    commit(project, "Edit")
    had = answers_aside(project)

    updated(project, f"{question}={after}")
    fresh = render(old, tmp_path / "fresh", answers | {question: after}, project_name="Doors")
    edit(fresh)
    has = answers_aside(project)
    assert has == answers_aside(fresh)
    changed = {name for name in had | has if had.get(name) != has.get(name)}
    others = {name for name in changed - WIRING if not re.fullmatch(OWN[question], name)}
    assert others == set()
    assert {f"app/{question}/{before}.py", f"app/{question}/{after}.py"} <= changed
