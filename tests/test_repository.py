"""What the README promises, and what CI runs."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from .matrix import ROOT, choices, questions
from .rendering import COPIER, clone_template, commit, git, run, tree
from .sizes import with_table
from .tree import with_tree
from .updates import replace
from .warm import stand_in

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


def test_the_readmes_tree_is_a_rendered_project() -> None:
    assert with_tree(README) == README, "run `uv run python -m tests.tree`"


def test_the_readmes_table_of_sizes_is_what_projects_weigh() -> None:
    assert with_table(README) == README, "run `uv run python -m tests.sizes`"


# Files of a variant, one that they are taken from here, and a word that its own texts alone have.
VARIANTS = {
    "auth": (
        [
            "app/core/auth/{}/__init__.py",
            "app/core/auth/{}/proxy.py",
            "app/core/auth/{}/dev.py",
            "tests/core/auth_styles/{}.py",
        ],
        ("header", "AUTH_PROXY_SECRET"),
    ),
    "store": (["app/core/store/{}.py", "tests/core/stores/{}.py"], ("memory", "DATABASE_URL")),
    "model": (["app/core/agent/model/{}.py"], ("openai", "LITELLM_API_KEY")),
}


@pytest.mark.parametrize("question", VARIANTS)
def test_a_variant_that_is_made_by_the_steps_is_copied_and_starts(
    tmp_path: Path, question: str
) -> None:
    files, (like, word) = VARIANTS[question]
    template = clone_template(tmp_path / "template", "9999.0.0")
    steps, config = (ROOT / "CONTRIBUTING.md").read_text(), template / "copier.yml"
    row = ""
    for file in files:
        made = template / "template" / file.format("yours")
        place = Path(file).parent if "/{}/" in file else Path(file)
        assert f"`template/{str(place).format('yours')}`" in steps
        text = (template / "template" / file.format(like)).read_text()
        made.parent.mkdir(exist_ok=True)
        text = text.replace(f"{like.capitalize()}Settings", "YoursSettings")
        text = text.replace(f".{like} import", ".yours import")
        made.write_text(text)
        row += f"    /{file.format('yours')}\n"
    last = choices(questions()[question])[-1]
    replace(config, f'": {last}\n', f'": {last}\n    "yours: of one\'s own": yours\n')
    row = f"    {{% if {question} != 'yours' %}}\n{row}    {{% endif %}}\n"
    config.write_text(config.read_text() + row)
    commit(template, "Add a variant")
    git(template, "tag", "9999.0.1")

    data = f"--data={question}=yours"
    said = run(COPIER, "copy", "--defaults", data, template, "myapp", cwd=tmp_path)
    assert "uv run fastapi dev" in said
    project = tmp_path / "myapp"
    run(stand_in(), "-c", "import app.main", cwd=project)
    texts = {name: text for name, text in tree(project).items() if Path(name).suffix != ".py"}
    assert [name for name, text in texts.items() if word in text] == []


def test_a_skipped_test_fails_in_ci(tmp_path: Path) -> None:
    test = tmp_path / "test_skipped.py"
    test.write_text("import pytest\n\ndef test_it():\n    pytest.skip('no reason')\n")
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "tests.conftest", str(test)]
    for value, code in (("1", 1), ("", 0)):
        result = subprocess.run(
            command, cwd=ROOT, env=os.environ | {"FAIL_ON_SKIP": value}, capture_output=True
        )
        assert result.returncode == code, result.stdout


def release_notes(version: str, changelog: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """What the release workflow runs first, in a repository with this CHANGELOG."""
    script = tmp_path / ".github" / "release-notes"
    script.parent.mkdir()
    shutil.copy(ROOT / ".github" / "release-notes", script)
    (tmp_path / "CHANGELOG.md").write_text(changelog)
    (tmp_path / "pyproject.toml").write_text('version = "1.1.0"\n')
    return subprocess.run([script, version], capture_output=True, text=True)


NOTES = "# Changelog\n\n## Unreleased\n\n- Later.\n\n## 1.1.0\n\n- New.\n\n## 1.0.0\n\n- Old.\n"


def test_a_release_has_the_words_of_its_version_and_no_others(tmp_path: Path) -> None:
    result = release_notes("1.1.0", NOTES, tmp_path)
    assert (result.returncode, result.stdout.strip()) == (0, "- New.")


@pytest.mark.parametrize(
    ("version", "changelog", "told"),
    [
        ("1.2.0", NOTES, 'CHANGELOG.md has nothing under "## 1.2.0"'),
        ("1.1", NOTES, 'CHANGELOG.md has nothing under "## 1.1"'),
        ("v1.1.0", NOTES, "Take the tag back: git push --delete origin v1.1.0"),
        ("1.1.0", NOTES.replace("- New.", ""), 'CHANGELOG.md has nothing under "## 1.1.0"'),
        ("1.0.0", NOTES, "pyproject.toml has another version"),
        ("1.0.0", NOTES, "Take the tag back: git push --delete origin 1.0.0"),
    ],
)
def test_a_tag_that_the_changelog_or_the_project_lacks_is_refused(
    tmp_path: Path, version: str, changelog: str, told: str
) -> None:
    result = release_notes(version, changelog, tmp_path)
    assert result.returncode == 1
    assert told in result.stderr
    assert result.stdout == ""


def test_the_release_workflow_asks_for_the_notes_before_anything_else() -> None:
    steps = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())["jobs"]
    runs = [step["run"] for step in steps["release"]["steps"] if "run" in step]
    assert runs[0].startswith('.github/release-notes "$GITHUB_REF_NAME"')
    assert runs[-1].startswith("gh release create")


def test_the_release_workflow_starts_for_whatever_copier_takes_for_a_version() -> None:
    """`v1.1.0` is one, and the notes refuse it where the heading has another name."""
    workflow = yaml.load((ROOT / ".github/workflows/release.yml").read_text(), yaml.BaseLoader)
    assert workflow["on"]["push"]["tags"] == ["*"]


def test_the_forms_of_the_repository_are_yaml_with_what_they_need() -> None:
    forms = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    for form in forms:
        fields = yaml.safe_load(form.read_text())
        assert form.name == "config.yml" or {"name", "description", "body"} <= set(fields)
    assert len(forms) >= 2
    assert (ROOT / ".github" / "pull_request_template.md").exists()
