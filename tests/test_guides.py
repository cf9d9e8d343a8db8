"""The guides of a project: short, about what it has, and every line of code in them works."""

import json
import os
import re
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from chatkit.types import ChatKitReq
from pydantic import TypeAdapter

from .conftest import Mypy, run_forked
from .matrix import Answers, choices, combinations, name_of, questions
from .rendering import render, run
from .siblings import TEMPLATE
from .updates import replace
from .warm import stand_in

EVERY = pytest.mark.parametrize("answers", combinations(), ids=name_of)
BASE = {"auth": "anonymous", "store": "memory", "model": "openai"}
LEVELS = choices(questions()["level"])
LONGEST = 150  # lines


# What the desk's guides write, used: a project's test over HTTP, beside what they have written.
USED = """
from app.desk.fitting import book_fitter
from app.desk.kinds import Server as Kinds

from .core.chat import Person, text_of, thread_id_of
from .core.fixtures import RunningServer
from .core.production.desk import calling, done, offered, outputs, press


def test_a_door_is_shown_turned_and_opened(server: RunningServer, person: Person) -> None:
    model = calling(server, "show_door", name='an "oak" door')
    events = person.say("Show it")
    [card] = done(events, "widget")
    at = thread_id_of(events)
    about = {"item_id": card["id"], "action": offered(card, "door.turn")}
    turned = person.ask("threads.sync_custom_action", thread_id=at, **about)["updated_item"]
    assert (turned["id"], turned["widget"]["children"][0]["label"]) == (card["id"], 'rood "kao" na')
    [below] = done(press(person, at, turned, offered(turned, "door.open")), "widget")
    assert below["id"] != card["id"]
    person.say("And now?", at)
    assert 'The person opened rood "kao" na.' in str(model.calls[-1].input)


def test_a_fitter_is_booked_after_a_yes(server: RunningServer, person: Person) -> None:
    server.app.state.server.extra_tools = (book_fitter,)
    for day, told in ((7, "It is booked."), (30, "No fitter is free after the 28th.")):
        model = calling(server, "book_fitter", day=day)
        events = person.say("Book it")
        [card] = done(events, "widget")
        yes = offered(card, "approval.answer", approve=True)
        assert "progress_update" not in str(events)
        events = press(person, thread_id_of(events), card, yes)
        assert "progress_update" in str(events)
        assert outputs(model) == [told]


def test_what_the_server_adds_is_used(server: RunningServer, person: Person) -> None:
    app = server.app.state.server
    names = ("handoffs", "titles", "input_guardrails", "tags", "extra_tools")
    vars(app).update({name: getattr(Kinds, name) for name in names})
    calling(server, "ask_wood")
    events = person.say("Which wood?")
    [asked] = done(events, "structured_input")
    assert [o["value"] for o in asked["inputs"][0]["options"]] == ["Oak", "Pine"]
    calling(server, "transfer_to_fitter", "Tomorrow.")
    assert text_of(person.say("Who hangs it?")) == "Tomorrow."
    events = person.say("My door code is 1234")
    assert "keep the door's code to yourself" in str(events)
    assert text_of(events) == ""
"""


class Block(NamedTuple):
    """A block of code in a guide, named by the guide and its number in it."""

    name: str
    language: str
    text: str

    def place(self) -> tuple[str, str]:
        """The folder that it goes to, and the file where it names one."""
        named = re.match(r"# ((?:app|tests)/(?:\w+/)*)(\w+\.py)?", self.text)
        assert named, f"{self.name} does not say where it goes"
        return named[1], named[2] or ""

    def write(self, project: Path) -> Path:
        """Into the file that it names, where that is new or grows at its end; else beside it."""
        place, file = self.place()
        folder = project / place
        path = folder / file
        if ", at its end\n" in self.text:
            path.write_text(path.read_text() + self.text.partition("\n")[2])
            return path
        if path.exists() or place == "tests/":
            path = folder / f"test_guide_{self.name}.py"
        path.write_text(self.text)
        return path


def guides(project: Path) -> list[Path]:
    skills = project.glob(".agents/skills/*/SKILL.md")
    return [*sorted((project / "docs").glob("*.md")), project / "AGENTS.md", *skills]


def blocks(project: Path, language: str) -> list[Block]:
    found = []
    for guide in guides(project):
        fenced = re.findall(r"^```(\w*)\n(.*?)^```$", guide.read_text(), re.M | re.S)
        for number, (kind, text) in enumerate(fenced):
            assert kind in ("python", "json", "bash"), f"nothing checks a block of {kind!r}"
            if kind == language:
                found.append(Block(f"{guide.stem.lower()}_{number}", kind, text))
    return found


@pytest.fixture(scope="module")
def levels(template: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A project of each level, to be written into: the guides' Python differs by that alone."""
    folder = tmp_path_factory.mktemp("levels")
    return {level: render(template, folder / level, BASE | {"level": level}) for level in LEVELS}


@EVERY
def test_a_guide_is_short_and_names_only_what_the_project_has(
    project: Path, answers: Answers
) -> None:
    about = ["concepts", "mistakes", "production", "stores"]
    about += ["agents", "tools"] * (answers["level"] != "hello")
    about += ["operations", "input"] * (answers["level"] == "production")
    assert {path.stem for path in (project / "docs").glob("*.md")} == set(about)
    for guide in guides(project):
        text = guide.read_text()
        assert text.count("\n") <= LONGEST, guide.name
        prose = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
        for path in re.findall(r"`((?:app|tests|docs|hooks|migrations)/[\w./-]*\w)`", prose):
            assert (project / path).exists() or "yours" in path, f"{guide.name}: {path}"
        for link in re.findall(r"\]\((\w[\w./-]*)\)", prose):
            assert (guide.parent / link).exists(), f"{guide.name}: {link}"
        for question, choice in re.findall(r"--data (\w+)=(\w+)", text):
            assert choice in choices(questions()[question])


@EVERY
def test_a_test_that_holds_a_claim_exists(project: Path) -> None:
    for guide in guides(project):
        for file, name in re.findall(r"`(test_\w+\.py)::(test_\w+)`", guide.read_text()):
            [path] = (project / "tests").rglob(file)
            source = path.read_text()
            assert f"\ndef {name}(" in source, f"{guide.name}: {file}::{name}"


@EVERY
def test_no_other_answer_brings_a_file_or_a_package_that_a_guide_has_people_make(
    project: Path,
) -> None:
    """An update would shade it, or meet it with another of the same name."""
    for path in (Path(*block.place()) for block in blocks(project, "python")):
        if not (project / path).exists():
            assert not (TEMPLATE / path).exists(), path
            assert not (TEMPLATE / path.with_suffix("")).exists(), path


@pytest.mark.parametrize("level", LEVELS)
def test_the_guides_python_is_typed_and_runs(
    levels: dict[str, Path], level: str, mypy: Mypy, postgres: str
) -> None:
    project = levels[level]
    for widget in widgets(project):
        (project / "app/widgets" / f"{widget['name'].lower()}.widget").write_text(
            json.dumps(widget)
        )
    written = [block.write(project) for block in blocks(project, "python")]
    assert written
    names = [path.relative_to(project).with_suffix("").as_posix() for path in written]
    names = [name.removesuffix("/__init__").replace("/", ".") for name in names]
    modules = [name for name in names if name.startswith("app.")]
    imports = "".join(f"    import {module}  # noqa\n" for module in modules)
    if level == "production":
        (project / "tests" / "test_guide_used.py").write_text(USED)
        tools = project / "app" / "desk" / "tools.py"
        replace(tools, "from .orders import", "from .doors import show_door\nfrom .orders import")
        replace(tools, "current_page]", "current_page, show_door]")
    (project / "tests" / "test_guide_imports.py").write_text(f"def test_it() -> None:\n{imports}")

    mypy(*written, cwd=project)
    run("ruff", "check", "--no-cache", *written, cwd=project)
    run("ruff", "format", "--no-cache", "--check", *written, cwd=project)
    tests = sorted(p.relative_to(project).as_posix() for p in project.glob("tests/test_guide_*.py"))
    tests += ["tests/core/production/test_widgets.py"] * (level == "production")
    tests += ["tests/core/test_mistakes.py"]  # what people begin with makes none
    [report] = run_forked(postgres, "--with", " ".join(tests), project).values()
    assert report["code"] == 0, report["output"]


def test_the_guides_json_is_chatkits(levels: dict[str, Path]) -> None:
    found = [block for project in levels.values() for block in blocks(project, "json")]
    requests = [block for block in found if "template" not in json.loads(block.text)]
    assert len(requests) >= len(levels)
    for block in requests:
        TypeAdapter(ChatKitReq).validate_json(block.text)


def widgets(project: Path) -> list[dict[str, str]]:
    """The widget files in a project's guides, which their Python reads."""
    found = [json.loads(block.text) for block in blocks(project, "json")]
    return [one for one in found if "template" in one]


def test_the_guides_commands_work(levels: dict[str, Path], tmp_path: Path) -> None:
    lines = {
        line: project
        for project in levels.values()
        for block in blocks(project, "bash")
        for line in block.text.splitlines()
    }
    assert lines
    (tmp_path / "python").symlink_to(stand_in())
    path = os.pathsep.join(map(str, (tmp_path, Path(sys.executable).parent, os.environ["PATH"])))
    for line, project in lines.items():
        # The environment is this one: what `uv run` makes of a project is tried elsewhere.
        run("bash", "-c", line.removeprefix("uv run "), cwd=project, PATH=path)
