"""The shipped tests see isolation: a store that leaves out any one owner's predicate fails them."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import run_forked
from .matrix import choices, questions

# `(org_id, user_id) = (…)`, with one more pair of brackets inside at most, also with the name of a
# table before each column, and the user alone.
OWNER = re.compile(
    r"\((?:\w+\.)?org_id, (?:\w+\.)?user_id\) = \((?:[^()]|\([^()]*\))*\)"
    r"|\buser_id = (?:%\(user\)s|:user)"
)
DATABASES = [store for store in choices(questions()["store"]) if store != "memory"]


def without_one_predicate(project: Path, folder: Path, files: str) -> Iterator[Path]:
    """A copy of the project for each place where these files name the owner, but there."""
    for module in sorted(project.glob(files)):
        text = module.read_text()
        for number, found in enumerate(OWNER.finditer(text)):
            line = text.count("\n", 0, found.start()) + 1
            copy = folder / f"{module.name}:{line}:{number}"
            # With what is compiled, but for what another process is about to write.
            shutil.copytree(project, copy, ignore=shutil.ignore_patterns("*.pyc.*"))
            changed = text[: found.start()] + "true" + text[found.end() :]
            (copy / module.relative_to(project)).write_text(changed)
            yield copy


@pytest.mark.parametrize("store", DATABASES)
def test_no_statement_can_do_without_its_owner(
    projects: dict[str, Path], postgres: str, tmp_path: Path, store: str
) -> None:
    project = projects[f"hello-anonymous-{store}"]
    mutants = list(without_one_predicate(project, tmp_path, "app/core/store/**/*.py"))
    assert len(mutants) > 10
    # The tests that are about it.
    seeing = "owner or organisation or purge or removal or feedback or usage"
    files = "tests/core/store/test_store.py tests/core/commands/test_data.py"
    files += " tests/core/http/test_feedback.py"
    assert survivors(postgres, f"-x -k '{seeing}' {files}", project, mutants) == []


@pytest.mark.parametrize("store", DATABASES)
def test_no_statement_about_usage_can_do_without_its_owner(
    projects: dict[str, Path], postgres: str, tmp_path: Path, store: str
) -> None:
    project = projects[f"production-anonymous-{store}-openai"]
    mutants = list(
        without_one_predicate(project, tmp_path, "app/core/production/ops/usage_store.py")
    )
    assert len(mutants) == 2
    files = "tests/core/production/test_usage.py tests/core/commands/test_usage_command.py"
    chosen = f"-x -k 'owners or users_days' {files}"
    assert survivors(postgres, chosen, project, mutants) == []


def survivors(postgres: str, chosen: str, project: Path, mutants: list[Path]) -> list[str]:
    """The mutants in which the chosen tests pass, as they do in the project itself."""
    reports = run_forked(postgres, "--with", chosen, project, *mutants)
    assert reports.pop(project.name)["code"] == 0
    return [name for name, report in reports.items() if report["code"] != 1]
