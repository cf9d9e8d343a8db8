"""mypy --strict passes in every project, in the template in place, and in this repository's tests.

In a file of its own, since it takes the longest but for the projects' own tests.
"""

from pathlib import Path

import pytest

from .conftest import Mypy
from .matrix import ROOT, combinations, name_of


def test_the_template_passes_in_place(mypy: Mypy) -> None:
    mypy("--strict", "app", "tests", "hooks", cwd=ROOT / "template")


def test_this_repository_passes(mypy: Mypy) -> None:
    mypy("tests", cwd=ROOT)


@pytest.mark.parametrize("answers", combinations(), ids=name_of)
def test_a_project_passes(project: Path, mypy: Mypy) -> None:
    mypy("app", "tests", "hooks", cwd=project)
