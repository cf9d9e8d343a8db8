"""The plans of the store's statements with a million items; each project looks at some thousand."""

from pathlib import Path

import pytest

from .rendering import run
from .warm import stand_in


@pytest.fixture
def project(projects: dict[str, Path]) -> Path:
    return projects["hello-anonymous-postgres"]


def test_a_million_items_are_found_by_indexes(project: Path, postgres: str) -> None:
    """Of 100,000 threads of 10,000 owners."""
    command = (
        stand_in(),
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/core/store/postgres/test_plans.py",
    )
    size = "10000 10 10 3000"
    run(
        *command,
        cwd=project,
        PLANS=size,
        TEST_DATABASE_URL=postgres,
        PYTHONDONTWRITEBYTECODE="1",
    )
