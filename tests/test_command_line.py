"""The two commands of a person, as they type them: nothing trusted, nothing prepared."""

import os
import re
from pathlib import Path

import pexpect
import pytest
import yaml

from .rendering import COPIER, GIT, commit, run, tree


def copy(template: Path, folder: Path, *options: str, check: bool = True) -> str:
    return run(COPIER, "copy", *options, template, "myapp", cwd=folder, check=check)


def test_copy_and_update_with_defaults(template: Path, tmp_path: Path) -> None:
    said = copy(template, tmp_path, "--defaults")
    project = tmp_path / "myapp"
    commit(project, "Start")

    assert "uv run fastapi dev" in said
    assert "python3 hooks/post_gen.py" in said
    assert "OPENAI_API_KEY=... in .env" in said
    assert "Domain allowlist" in said
    again = run(COPIER, "update", "--defaults", cwd=project)
    assert "deletes the files of the higher" in again
    assert "python3 hooks/post_update.py" in again
    assert run("git", "status", "--porcelain", cwd=project) == ""
    answers = yaml.safe_load((project / ".copier-answers.yml").read_text())
    assert answers["project_name"] == "myapp"
    assert answers["level"] == "agent"


def spawn(folder: Path, *command: str) -> "pexpect.spawn[str]":
    return pexpect.spawn(
        command[0],
        list(command[1:]),
        cwd=str(folder),
        env=os.environ | GIT | {"TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"},
        encoding="utf-8",
        dimensions=(50, 200),
        timeout=60,
    )


def answer(terminal: "pexpect.spawn[str]", question: str, keys: str) -> None:
    terminal.expect(re.escape(question))
    terminal.expect(r"\x1b\[\?25[hl]|:\s*\S|\)")  # the prompt is drawn
    terminal.send(keys)


def test_copy_and_update_answering_as_a_person_does(template: Path, tmp_path: Path) -> None:
    terminal = spawn(tmp_path, str(COPIER), "copy", str(template), "myapp")
    answer(terminal, "What is the project called?", "\x15Support desk\r")
    answer(terminal, "How much should the backend do?", "\x1b[B\r")  # one down: hello
    answer(terminal, "Who are the people who chat?", "\r")
    answer(terminal, "Where are conversations kept?", "\r")
    terminal.expect("Support desk is ready")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0
    project = tmp_path / "myapp"
    assert yaml.safe_load((project / ".copier-answers.yml").read_text())["level"] == "hello"
    assert 'name = "support-desk-backend"' in (project / "pyproject.toml").read_text()
    commit(project, "Start")

    terminal = spawn(project, str(COPIER), "update")
    answer(terminal, "What is the project called?", "\r")
    answer(terminal, "How much should the backend do?", "\x1b[A\r")  # one up: agent
    answer(terminal, "Who are the people who chat?", "\r")
    answer(terminal, "Where are conversations kept?", "\r")
    answer(terminal, "Which service runs the model?", "\r")
    answer(terminal, "Which model, by name?", "\r")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0
    assert (project / "app" / "agent.py").exists()


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("project_name=???", "Begin the name with a letter"),
        ('project_name=a"b', "Use letters, digits, spaces"),
        ('model_name=gpt"4', "A model name has letters"),
    ],
)
def test_a_bad_answer_is_told_what_to_do(
    template: Path, tmp_path: Path, data: str, told: str
) -> None:
    said = copy(template, tmp_path, "--defaults", f"--data={data}", check=False)
    assert told in said
    assert not (tmp_path / "myapp").exists()


@pytest.mark.parametrize("name", ["My App", "v2.0 chat", "a_b-c.d", "9 lives"])
def test_any_good_name_makes_a_valid_package_name(
    template: Path, tmp_path: Path, name: str
) -> None:
    copy(template, tmp_path, "--defaults", f"--data=project_name={name}")
    project = tmp_path / "myapp"
    slug = re.search('^name = "(.*)"', (project / "pyproject.toml").read_text(), re.M)
    assert slug is not None
    assert re.fullmatch("[a-z0-9]([a-z0-9-]*[a-z0-9])?", slug[1])
    assert name in tree(project)["README.md"]
