"""Every combination of answers, read from copier.yml: a new choice joins by itself."""

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jinja2
import yaml

ROOT = Path(__file__).resolve().parent.parent
Answers = dict[str, str]


def questions(path: Path = ROOT / "copier.yml") -> dict[str, dict[str, Any]]:
    """The questions by name, without Copier's own settings."""
    config = yaml.safe_load(path.read_text())
    return {name: value for name, value in config.items() if not name.startswith("_")}


def choices(question: dict[str, Any]) -> list[str]:
    """The values that a question offers; none for free text."""
    offered = question.get("choices", [])
    return list(offered.values() if isinstance(offered, dict) else offered)


def default_of(question: dict[str, Any], answers: Answers) -> str:
    """What Copier takes for a question where nobody answers it and the folder is empty."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ROOT), undefined=jinja2.StrictUndefined
    )
    nothing: dict[str, Any] = {"fileglob": lambda pattern: []}
    environment.filters |= nothing | dict.fromkeys(("regex_search", "regex_replace"), str)
    conf = {"dst_path": "nowhere", "defaults": True, "overwrite": False}
    template = environment.from_string(str(question["default"]))
    return template.render(answers, _copier_conf=conf).strip()


def combinations(asked: dict[str, dict[str, Any]] | None = None) -> list[Answers]:
    """Each set of answers that a person can give, questions that are not asked left out."""
    asked = asked or questions()
    offered = {name: choices(question) for name, question in asked.items() if choices(question)}
    found: dict[tuple[tuple[str, str], ...], Answers] = {}
    for values in itertools.product(*offered.values()):
        every = dict(zip(offered, values, strict=True))
        answers = {name: value for name, value in every.items() if _is_asked(asked[name], every)}
        found[tuple(answers.items())] = answers
    return list(found.values())


def _is_asked(question: dict[str, Any], answers: Answers) -> bool:
    condition = question.get("when", True)
    if isinstance(condition, bool):
        return condition
    rendered = jinja2.Template(condition, undefined=jinja2.StrictUndefined).render(answers)
    return rendered.strip().lower() in ("true", "1", "yes")


def pairs(answers: Answers) -> set[frozenset[tuple[str, str]]]:
    return {frozenset(pair) for pair in itertools.combinations(answers.items(), 2)}


def covering(every: list[Answers]) -> list[Answers]:
    """A small part of `every` in which each pair of answers occurs that occurs at all."""
    missing = set().union(*map(pairs, every))
    chosen: list[Answers] = []
    while missing:
        best = max(every, key=lambda answers: len(pairs(answers) & missing))
        missing -= pairs(best)
        chosen.append(best)
    return chosen


def name_of(answers: Answers) -> str:
    return "-".join(answers.values())


def check_keys(data: Iterable[str]) -> None:
    """Copier ignores an unknown answer without a word: a typo would test nothing."""
    if unknown := set(data) - set(questions()):
        raise ValueError(f"copier.yml has no question {', '.join(sorted(unknown))}")
