"""The working tree as a release, every project rendered from it, and their own tests' results."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .matrix import ROOT, Answers, combinations, covering, name_of
from .rendering import clone_template, render

# Up to this many combinations, each runs all of its own tests anyway.
FEW = 12


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="all own tests in every combination")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a test that did not run is a failure: `.ci/run` sets FAIL_ON_SKIP."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("FAIL_ON_SKIP") and reporter and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clone_template(tmp_path_factory.mktemp("template"), "9999.0.0")


@pytest.fixture(scope="session")
def projects(template: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every combination, rendered once; tests only look at these."""
    folder = tmp_path_factory.mktemp("projects")
    return {
        name_of(answers): render(template, folder / name_of(answers), answers)
        for answers in combinations()
    }


@pytest.fixture
def project(projects: dict[str, Path], answers: Answers) -> Path:
    return projects[name_of(answers)]


@pytest.fixture(scope="session")
def own_tests(projects: dict[str, Path], request: pytest.FixtureRequest) -> dict[str, Any]:
    """What each project's own tests said, by the project's name."""
    every = combinations()
    full = every if request.config.getoption("--all") or len(every) <= FEW else covering(every)
    names = [name_of(answers) for answers in full]
    rest = [name_of(answers) for answers in every if answers not in full]
    command = [sys.executable, "-m", "tests.forked", *(str(projects[name]) for name in names)]
    command += ["--smoke", *(str(projects[name]) for name in rest)]
    clean = {name: value for name, value in os.environ.items() if "PYTEST" not in name}
    result = subprocess.run(
        command, cwd=ROOT, env=clean, stdout=subprocess.PIPE, text=True, check=True
    )
    reports = map(json.loads, result.stdout.splitlines())
    return {Path(report["project"]).name: report for report in reports}
