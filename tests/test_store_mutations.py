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


def without_one_predicate(project: Path, folder: Path) -> Iterator[Path]:
    """A copy of the project for each place where its store names the owner, but there."""
    for module in sorted(project.glob("app/store/*.py")):
        text = module.read_text()
        for number, found in enumerate(OWNER.finditer(text)):
            line = text.count("\n", 0, found.start()) + 1
            copy = folder / f"{module.name}:{line}:{number}"
            shutil.copytree(project, copy, ignore=shutil.ignore_patterns("__pycache__"))
            changed = text[: found.start()] + "true" + text[found.end() :]
            (copy / module.relative_to(project)).write_text(changed)
            yield copy


@pytest.mark.parametrize("store", DATABASES)
def test_no_statement_can_do_without_its_owner(
    projects: dict[str, Path], postgres: str, tmp_path: Path, store: str
) -> None:
    project = projects[f"hello-anonymous-{store}"]
    mutants = list(without_one_predicate(project, tmp_path))
    assert len(mutants) > 10
    seeing = "owner or organisation or purge or removal or feedback"  # the tests that are about it
    files = "tests/test_store.py tests/test_data.py tests/test_feedback.py"
    chosen = f"-x -k '{seeing}' {files}"
    reports = run_forked(postgres, "--with", chosen, project, *mutants)
    assert reports.pop(project.name)["code"] == 0
    survived = [name for name, report in reports.items() if report["code"] != 1]
    assert survived == []
