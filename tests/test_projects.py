"""Every combination of answers makes a project that stands on its own."""

import compileall
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from .matrix import Answers, choices, combinations, covering, name_of, pairs, questions
from .rendering import render, run, tree
from .warm import stand_in

EVERY = pytest.mark.parametrize("answers", combinations(), ids=name_of)

ALWAYS = {
    ".copier-answers.yml",
    ".env.example",
    ".gitignore",
    "AGENTS.md",
    "README.md",
    "app/__init__.py",
    "app/main.py",
    "app/server.py",
    "app/core/settings.py",
    "hooks/post_gen.py",
    "hooks/post_update.py",
    "hooks/steps.py",
    "pyproject.toml",
    "tests/core/http/test_protocol.py",
}
AGENT = {"app/agent.py", "app/tools.py", "app/core/agent/run.py", "tests/core/agent/test_agent.py"}
PRODUCTION = {
    "app/core/production/server.py",
    "app/core/production/actions.py",
    "app/desk/tools.py",
    "app/widgets/order.widget",
}
VARIANTS = {"auth": "app/core/auth", "store": "app/core/store", "model": "app/core/agent/model"}


@EVERY
def test_it_has_the_files_of_its_answers_and_no_others(project: Path, answers: Answers) -> None:
    files = set(tree(project))

    assert files >= ALWAYS
    if answers["level"] == "hello":
        assert not files & AGENT
        assert not [name for name in files if name.startswith("app/core/agent/")]
    else:
        assert files >= AGENT
    assert files & PRODUCTION == (PRODUCTION if answers["level"] == "production" else set())
    for question, folder in VARIANTS.items():
        kept = {
            choice
            for choice in choices(questions()[question])
            if files & {f"{folder}/{choice}.py", f"{folder}/{choice}/__init__.py"}
        }
        assert kept == ({answers[question]} if question in answers else set())


@EVERY
def test_it_has_no_empty_folder_and_no_trace_of_the_template_language(project: Path) -> None:
    empty = [path for path in project.rglob("*") if path.is_dir() and not any(path.iterdir())]
    assert empty == []
    for name, text in tree(project).items():
        assert ".jinja" not in name
        # A `.widget` file is a template of ChatKit's own, in the same language.
        if not name.startswith("hooks/") and ".widget" not in name and "test_widgets" not in name:
            assert not re.search(r"\{%|%\}|_copier_|jinja", text.replace("_commit", "")), name
        assert "\n\n\n\n" not in text, name
        assert text.endswith("\n") or not text, name
        assert not text.endswith("\n\n"), name


@EVERY
def test_it_compiles_and_passes_ruff(project: Path, tmp_path: Path) -> None:
    assert compileall.compile_dir(project / "app", quiet=1, legacy=False)
    run("ruff", "check", "--no-cache", ".", cwd=project)
    run("ruff", "format", "--no-cache", "--check", ".", cwd=project)


@pytest.mark.parametrize(
    ("question", "choice"),
    [(name, choice) for name, question in questions().items() for choice in choices(question)],
)
def test_a_choice_brings_a_file_or_a_text_of_its_own(
    projects: dict[str, Path], question: str, choice: str
) -> None:
    """Compared with the same answers but for this one; a question of one choice has no other."""
    every = combinations()
    mine = next(answers for answers in every if answers.get(question) == choice)
    others = [
        answers
        for answers in every
        if question in answers
        and answers[question] != choice
        and all(
            answers.get(name, value) == value for name, value in mine.items() if name != question
        )
    ]
    for other in others:
        one, two = (tree(projects[name_of(a)], ".copier-answers.yml") for a in (mine, other))
        assert one != two
    if not others:
        assert len(choices(questions()[question])) == 1
        text = "".join(tree(projects[name_of(mine)], ".copier-answers.yml").values())
        assert choice in text


def test_the_name_of_a_model_reaches_the_settings(template: Path, tmp_path: Path) -> None:
    project = render(template, tmp_path / "p", {"level": "agent"}, model_name="gpt-x/y:1")
    code = "from app.core.settings import load_settings; print(load_settings().model)"
    assert run(stand_in(), "-c", code, cwd=project, MODEL="") == "gpt-x/y:1\n"
    assert run(stand_in(), "-c", code, cwd=project, MODEL="other") == "other\n"


def test_an_unknown_answer_fails_the_run(template: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no question stroe"):
        render(template, tmp_path, {"stroe": "memory"})


def test_a_new_choice_joins_the_matrix_by_itself() -> None:
    asked: dict[str, Any] = {
        "a": {"choices": {"label": "1", "other": "2"}},
        "b": {"choices": ["x", "y"], "when": "{{ a == '1' }}"},
        "c": {"choices": ["u", "v", "w"]},
        "d": {"choices": ["r", "s"]},
        "text": {"type": "str"},
    }
    every = combinations(asked)
    assert len(every) == (2 * 3 + 3) * 2
    assert all(("b" in answers) == (answers["a"] == "1") for answers in every)
    few = covering(every)
    assert len(few) < len(every)
    assert set().union(*map(pairs, few)) == set().union(*map(pairs, every))


def test_own_tests_do_not_depend_on_the_projects_env_file(template: Path, tmp_path: Path) -> None:
    project = render(template, tmp_path / "p", {"level": "agent"})
    (project / ".env").write_text("APP_ENV=production\nMODEL=gpt-x\nVISITOR_SECRET=mine\n")
    tests = ("tests/core/http/test_protocol.py", "tests/core/auth/anonymous/test_anonymous.py")
    run(stand_in(), "-m", "pytest", "-q", *tests, cwd=project, OPENAI_API_KEY="sk-x")


# Elsewhere what a command needs is imported before it starts, and a missing import not missed.


@pytest.mark.parametrize("auth", choices(questions()["auth"]))
def test_the_helper_starts_in_a_python_that_has_imported_nothing(
    projects: dict[str, Path], open_folder: Path, auth: str
) -> None:
    project = projects[f"production-{auth}-postgres-openai"]
    command = (sys.executable, "-B", "-m", "app", "dev")
    printed = run(*command, cwd=open_folder, PYTHONPATH=str(project))
    shown = re.findall(r'"text": "(.*?)"', (project / "README.md").read_text())[0]
    assert "curl " in printed
    assert f'"text": "{shown}"' in printed


def test_commands_start_in_a_python_that_has_imported_nothing(
    projects: dict[str, Path], postgres: str
) -> None:
    project = projects["production-jwt-postgres-openai"]
    migrations = "test_servers_that_start_at_once_apply_the_schema_once"
    tests = (
        "tests/core/commands/test_data.py",
        f"tests/core/store/postgres/test_postgres.py::{migrations}",
    )
    command = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests)
    run(*command, cwd=project, TEST_DATABASE_URL=postgres, PYTHONDONTWRITEBYTECODE="1")


def test_help_of_the_commands_imports_no_application(projects: dict[str, Path]) -> None:
    code = (
        "import sys; from app.core.commands import commands; "
        "commands(['data', '--help'], standalone_mode=False); "
        "print(sorted({'chatkit', 'agents', 'fastapi', 'psycopg'} & set(sys.modules)))"
    )
    project = projects["production-jwt-postgres-openai"]
    assert run(sys.executable, "-c", code, cwd=project).splitlines()[-1] == "[]"
