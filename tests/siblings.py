"""Beside every X.py.jinja stands X.py, its render with the default answers, for editors and mypy.

uv run python -m tests.siblings        writes them
"""

from pathlib import Path

import jinja2

from .matrix import ROOT, Answers, choices, default_of, questions

TEMPLATE = ROOT / "template"


def default_answers() -> Answers:
    """The default of each question, and the text that stands there for the others."""
    answers: Answers = {}
    for name, question in questions().items():
        answers[name] = default_of(question, answers) if choices(question) else ""
    return answers


def rendered() -> dict[Path, str]:
    """The text that each plain sibling has to have."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    return {
        path.with_suffix(""): environment.from_string(path.read_text()).render(default_answers())
        for path in sorted(TEMPLATE.rglob("*.py.jinja"))
    }


if __name__ == "__main__":
    for sibling, text in rendered().items():
        sibling.write_text(text)
