"""The template itself reads as one ordinary project, and asks for no trust."""

import ast
import re
from pathlib import Path

import pytest
import yaml

from .matrix import ROOT, choices, default_of, questions
from .rendering import run
from .siblings import TEMPLATE, rendered

CONFIG = yaml.safe_load((ROOT / "copier.yml").read_text())
PYTHON = sorted(TEMPLATE.rglob("*.py"))
NOTE = "The template's file"  # what comments say outside of app/core and tests/core


def path_of(path: Path) -> str:
    return path.relative_to(TEMPLATE).as_posix()


APPLICATION = [path for path in PYTHON if path_of(path).startswith("app/")]


def test_nothing_in_copier_yml_asks_for_trust() -> None:
    assert not {"_tasks", "_migrations", "_jinja_extensions"} & set(CONFIG)
    assert "StrictUndefined" in CONFIG["_envops"]["undefined"]
    assert CONFIG["_min_copier_version"]


@pytest.mark.parametrize("name", questions())
def test_a_question_says_what_it_means_and_has_a_default(name: str) -> None:
    question = questions()[name]
    if question.get("when") is False:
        assert question["default"]  # computed
        return
    assert len(question["help"]) > 20
    assert "default" in question
    if offered := choices(question):
        for level in choices(questions()["level"]):
            assert default_of(question, {"level": level}) in offered
        assert all(str(value) in label for label, value in question["choices"].items())
    else:
        assert "as in" in question["validator"] or "leave it empty" in question["validator"]


def test_computed_answers_come_last() -> None:
    computed = [question.get("when") is False for question in questions().values()]
    assert computed == sorted(computed)


def test_the_branches_in_python_stay_within_one_in_a_hundred_lines() -> None:
    texts = [path.read_text() for path in TEMPLATE.rglob("*.py.jinja")]
    branches = sum(len(re.findall(r"\{%-? *(?:if|elif|for)\b", text)) for text in texts)
    lines = sum(path.read_text().count("\n") for path in PYTHON)
    assert 0 < branches <= lines // 100


@pytest.mark.parametrize("path", PYTHON, ids=path_of)
def test_python_is_python_as_it_stands(path: Path) -> None:
    assert not re.search(r"\{%|\{\{ *\w+ *\}\}", path.read_text()) or path_of(path) in {
        "tests/core/store/test_store.py",  # quotes a widget's text
        "tests/core/production/test_widgets.py",
    }
    ast.parse(path.read_text())


def test_a_plain_sibling_stands_beside_every_template_and_equals_its_render() -> None:
    expected = rendered()
    assert expected
    found = {path: path.read_text() if path.exists() else "" for path in expected}
    assert found == expected, "run `uv run python -m tests.siblings`"


def test_ruff_passes_in_place(projects: dict[str, Path]) -> None:
    settings = next(iter(projects.values())) / "pyproject.toml"
    run("ruff", "check", "--no-cache", "--config", settings, ".", cwd=TEMPLATE)
    run("ruff", "format", "--no-cache", "--config", settings, "--check", ".", cwd=TEMPLATE)


def test_this_repository_passes_its_own_checks() -> None:
    run("ruff", "check", "--no-cache", "tests", "benchmarks", cwd=ROOT)
    run("ruff", "format", "--no-cache", "--check", "tests", "benchmarks", cwd=ROOT)


LISTED = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=TEMPLATE)
UNCOMMENTED = {".copier-answers.yml.jinja", "README.md.jinja"}  # Copier's and the owner's


@pytest.mark.parametrize("name", sorted(set(LISTED.splitlines()) - UNCOMMENTED))
def test_what_is_no_python_says_whose_it_is_too_where_it_has_comments(name: str) -> None:
    path = TEMPLATE / name
    ours = ".py" in path.suffixes or path.suffix == ".widget"  # which is JSON
    if not ours and "core" not in path.relative_to(TEMPLATE).parts:
        assert NOTE in path.read_text()[:500]


@pytest.mark.parametrize("path", APPLICATION, ids=path_of)
def test_imports_of_the_applications_own_modules_are_relative(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and not node.level:
            assert (node.module or "").split(".")[0] != "app"
        if isinstance(node, ast.Import):
            assert all(alias.name.split(".")[0] != "app" for alias in node.names)


@pytest.mark.parametrize("path", APPLICATION, ids=path_of)
def test_functions_and_modules_stay_short(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 40, node.name


def test_the_hello_server_is_at_most_25_lines(projects: dict[str, Path]) -> None:
    server = projects["hello-anonymous-memory"] / "app" / "server.py"
    assert server.read_text().count("\n") <= 25


def test_no_registry_and_no_path_of_a_machine_is_named() -> None:
    names = run("git", "ls-files", cwd=ROOT).splitlines()
    hosts = re.compile("py" + r"pi\.org|python" + r"hosted\.org|npm" + r"js\.(org|com)")
    for name in names:
        path = ROOT / name
        if path.is_file():
            assert not hosts.search(path.read_text(errors="ignore")), name
    assert not {"uv.lock", ".env"} & {Path(name).name for name in names}
