"""The guides of a project: short, about what it has, and every line of code in them works."""

import os
import re
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from chatkit.types import ChatKitReq
from pydantic import TypeAdapter

from .conftest import run_forked
from .matrix import Answers, choices, combinations, name_of, questions
from .rendering import render, run

EVERY = pytest.mark.parametrize("answers", combinations(), ids=name_of)
BASE = {"auth": "anonymous", "store": "memory", "model": "openai"}
LEVELS = choices(questions()["level"])
LONGEST = 150  # lines


class Block(NamedTuple):
    """A block of code in a guide, named by the guide and its number in it."""

    name: str
    language: str
    text: str


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
            source = (project / "tests" / file).read_text()
            assert f"\ndef {name}(" in source, f"{guide.name}: {file}::{name}"


@pytest.mark.parametrize("level", LEVELS)
def test_the_guides_python_is_typed_and_runs(
    levels: dict[str, Path], level: str, tmp_path_factory: pytest.TempPathFactory, postgres: str
) -> None:
    project = levels[level]
    written = []
    for block in blocks(project, "python"):
        first = block.text.partition("\n")[0]
        is_test = first.startswith("# tests/")
        assert is_test or first.startswith("# app/"), f"{block.name} does not say where it goes"
        path = project / ("tests" if is_test else "app") / f"test_guide_{block.name}.py"
        path.write_text(block.text)
        written.append(path)
    assert written
    imports = "".join(
        f"    import app.{p.stem}  # noqa\n" for p in written if p.parent.name == "app"
    )
    (project / "tests" / "test_guide_imports.py").write_text(f"def test_it() -> None:\n{imports}")

    cache = tmp_path_factory.getbasetemp() / "mypy"
    run(sys.executable, "-m", "mypy", "--cache-dir", cache, *written, cwd=project)
    run("ruff", "check", "--no-cache", *written, cwd=project)
    run("ruff", "format", "--no-cache", "--check", *written, cwd=project)
    tests = sorted(p.relative_to(project).as_posix() for p in project.glob("tests/test_guide_*.py"))
    [report] = run_forked(postgres, "--with", " ".join(tests), project).values()
    assert report["code"] == 0, report["output"]


def test_the_guides_json_is_chatkits(levels: dict[str, Path]) -> None:
    found = [block for project in levels.values() for block in blocks(project, "json")]
    assert len(found) >= len(levels)
    for block in found:
        TypeAdapter(ChatKitReq).validate_json(block.text)


def test_the_guides_commands_work(levels: dict[str, Path]) -> None:
    lines = {
        line: project
        for project in levels.values()
        for block in blocks(project, "bash")
        for line in block.text.splitlines()
    }
    assert lines
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for line, project in lines.items():
        # The environment is this one: what `uv run` makes of a project is tried elsewhere.
        run("bash", "-c", line.removeprefix("uv run "), cwd=project, PATH=path)
