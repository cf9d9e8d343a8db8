"""The production level grows out of the agent level, and stays small."""

import re
import shutil
import sys
from pathlib import Path

import pytest
from chatkit.types import ChatKitReq
from pydantic import TypeAdapter

from .matrix import combinations, name_of
from .rendering import git, render, run, tree
from .siblings import TEMPLATE
from .sizes import code_lines
from .updates import edit, is_clean, replace, update, without_answers
from .warm import stand_in

LARGEST = {"level": "production", "auth": "jwt", "store": "postgres", "model": "openai"}


def edit_more(project: Path) -> None:
    """What an owner edits, and a model to pick."""
    edit(project)
    server = project / "app" / "server.py"
    replace(server, "selectable_models = ()", 'selectable_models = ("gpt-5",)')


def test_an_agent_grows_into_production_with_its_owners_files_untouched(
    template: Path, tmp_path: Path
) -> None:
    project = render(template, tmp_path / "project", {"level": "agent"}, project_name="Doors")
    edit_more(project)
    before = tree(project)

    update(project, {"level": "production", "auth": "jwt", "store": "postgres"})
    fresh = render(template, tmp_path / "fresh", {"level": "production"}, project_name="Doors")
    edit_more(fresh)
    assert is_clean(project)
    assert without_answers(project) == without_answers(fresh)
    after = tree(project)
    assert after["app/agent.py"] == before["app/agent.py"]
    assert after["app/tools.py"] == before["app/tools.py"]
    assert "auth: jwt" in after[".copier-answers.yml"]
    assert "store: postgres" in after[".copier-answers.yml"]


@pytest.mark.parametrize("name", ["app/agent.py", "app/tools.py"])
def test_the_owners_agent_is_the_same_at_both_levels(projects: dict[str, Path], name: str) -> None:
    texts = {
        (projects[name_of(answers)] / name).read_text()
        for answers in combinations()
        if answers["level"] != "hello"
    }
    assert len(texts) == 1


def test_the_owners_files_of_the_production_level_stay_within_800_lines(
    projects: dict[str, Path],
) -> None:
    app = projects[name_of(LARGEST)] / "app"
    owners = [path for path in app.rglob("*.py") if path.relative_to(app).parts[0] != "core"]
    assert sum(map(code_lines, owners)) < 800


def test_nothing_of_telemetry_is_loaded_where_nothing_is_sent(projects: dict[str, Path]) -> None:
    parts = ("opentelemetry.sdk", "opentelemetry.exporter", "openinference")
    code = f"import sys, app.main; print([n for n in sys.modules if n.startswith({parts})])"
    assert run(sys.executable, "-c", code, cwd=projects[name_of(LARGEST)]) == "[]\n"


def test_every_sentence_of_the_walk_is_tried_by_the_projects_own_tests() -> None:
    readme = (TEMPLATE / "README.md.jinja").read_text().partition("## A walk")[2]
    rows = re.findall(r"^\| `([^`]+)` \|", readme.partition("\n## ")[0], re.MULTILINE)
    tried = re.findall(
        r'^    "(.+?)": \(', (TEMPLATE / "tests/core/production/test_walk.py").read_text(), re.M
    )
    assert rows == tried


def test_the_requests_that_the_readme_shows_are_ones(projects: dict[str, Path]) -> None:
    readme = (projects[name_of(LARGEST)] / "README.md").read_text().partition("## A walk")[2]
    shown = re.findall(
        r"^    (\{\"type\": (?:.|\n)*?)(?=\n\n|\n    \{\"type\")", readme, re.MULTILINE
    )
    kinds = [TypeAdapter(ChatKitReq).validate_json(text).type for text in shown]
    assert (len(set(kinds)), len(kinds)) == (5, 6)  # a widget and a page send the same type


def test_the_new_files_are_in_git_as_text() -> None:
    names = git(TEMPLATE, "ls-files", "*.widget").split()
    assert len(names) > 5


def test_the_example_can_be_deleted(template: Path, tmp_path: Path) -> None:
    """As the README says: two folders, an import, and the lines that switch it on."""
    answers = {"level": "production", "auth": "anonymous", "store": "memory"}
    project = render(template, tmp_path / "project", answers)
    for name in ("desk", "widgets"):
        shutil.rmtree(project / "app" / name)
    server = project / "app" / "server.py"
    text = re.sub(r"from \.desk\.\w+ import .*\n", "", server.read_text())
    head, _, rest = text.partition("    # What the desk adds")
    server.write_text(head + rest[rest.index("    async def respond") :])

    run("ruff", "check", "--no-cache", "app", cwd=project)
    tests = (
        "tests/core/http/test_protocol.py",
        "tests/core/agent/test_agent.py",
        "tests/core/http/test_errors.py",
    )
    run(stand_in(), "-m", "pytest", "-q", *tests, cwd=project)
