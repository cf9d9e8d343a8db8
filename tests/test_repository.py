"""What the README promises, and what CI runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

from .matrix import ROOT, choices, questions
from .rendering import clone_template, run

README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"^    (\S.*)$", README, re.MULTILINE)


def test_ci_runs_the_readmes_test_command_and_nothing_else() -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    assert lines[-1] == "uv run pytest"
    assert "uv run pytest" in COMMANDS
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_the_readmes_first_command_works_in_a_clone(tmp_path: Path) -> None:
    clone = tmp_path / "chatkit-template"
    clone.mkdir()
    clone_template(clone, "9999.0.0")
    [command] = [line for line in COMMANDS if '"$PWD"' in line]
    start = "uv run fastapi dev"
    assert command.endswith(start)
    # Everything up to the server itself, which the tests of processes start.
    instead = command.removesuffix(start) + "uv run python -c 'import app.main; print(\"up\")'"
    assert run("bash", "-c", instead, cwd=clone, VIRTUAL_ENV="").endswith("up\n")


def test_the_readmes_table_has_every_question_and_choice() -> None:
    for name, question in questions().items():
        if question.get("when") is False:
            continue
        row = next(line for line in README.splitlines() if line.startswith(f"| `{name}`"))
        assert re.findall(r"`([a-z]+)`", row.split("|")[2]) == choices(question)


def test_the_readmes_tree_has_what_is_rendered(projects: dict[str, Path]) -> None:
    tree = README[README.index("    myapp/") : README.index("## Copying runs no code")]
    for project in projects.values():
        for path in (project / "app").rglob("*.py"):
            assert path.name == "__init__.py" or path.name in tree, path.name


def test_a_skipped_test_fails_in_ci(tmp_path: Path) -> None:
    test = tmp_path / "test_skipped.py"
    test.write_text("import pytest\n\ndef test_it():\n    pytest.skip('no reason')\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", str(test)]
    for value, code in (("1", 1), ("", 0)):
        result = subprocess.run(
            command, cwd=ROOT, env=os.environ | {"FAIL_ON_SKIP": value}, capture_output=True
        )
        assert result.returncode == code, result.stdout
