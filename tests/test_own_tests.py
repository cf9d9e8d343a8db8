"""The tests that ship in a project pass in every combination of answers.

In a file of its own, so that they run beside the others' from the start.
"""

from typing import Any

import pytest

from .matrix import Answers, combinations, name_of


@pytest.mark.parametrize("answers", combinations(), ids=name_of)
def test_it_boots_answers_and_passes_its_own_tests(
    own_tests: dict[str, Any], answers: Answers
) -> None:
    report = own_tests[name_of(answers)]
    assert report["code"] == 0, report["output"]
    assert report["skipped"] == 0, report["output"]
