"""Owners' files and guides import from three doors alone; a door loads nothing until it is used."""

import ast
import json
import re
import sys
from pathlib import Path

import pytest

from .matrix import name_of
from .rendering import run
from .siblings import TEMPLATE

DOORS = ("app.core", "app.core.agent", "app.core.production")
ANSWERS = {"level": "production", "auth": "jwt", "store": "postgres", "model": "openai"}
APP = TEMPLATE / "app"
OURS = {APP / "mount.py", APP / "__main__.py"}  # the template's, beside the owner's
OWNERS = [p for p in sorted(APP.rglob("*.py")) if p.relative_to(APP).parts[0] != "core"]
CORE = sorted((APP / "core").rglob("*.py"))
GUIDES = [p for p in sorted(TEMPLATE.rglob("*.md.jinja")) if "tests" not in p.parts]


def name_of_file(path: Path) -> str:
    return path.relative_to(TEMPLATE).as_posix()


def imported(path: Path) -> list[str]:
    """The modules that a file of the application imports from, as absolute names."""
    package = list(path.relative_to(TEMPLATE).with_suffix("").parts[:-1])
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            module = ".".join([*base, *filter(None, [node.module])])
            found += [
                name if (TEMPLATE / name.replace(".", "/")).exists() or exists(name) else module
                for name in (f"{module}.{alias.name}" for alias in node.names)
            ]
    return found


def exists(module: str) -> bool:
    return (TEMPLATE / f"{module.replace('.', '/')}.py").exists()


@pytest.mark.parametrize("path", sorted({*OWNERS} - OURS), ids=name_of_file)
def test_an_owners_file_imports_from_the_doors_alone(path: Path) -> None:
    core = {module for module in imported(path) if module.startswith("app.core")}
    assert core <= set(DOORS)


@pytest.mark.parametrize("path", GUIDES, ids=name_of_file)
def test_a_guide_imports_from_the_doors_alone(path: Path) -> None:
    found = re.findall(r"^from \.+(core[\w.]*) import", path.read_text(), re.MULTILINE)
    tests = {"core.chat", "core.fixtures", "core.production.desk"}
    assert {f"app.{module}" for module in set(found) - tests} <= set(DOORS)
    left = r"^from \.+(run|context|errors|config|base|failures|actions|endings|guards) import"
    kept = re.findall(left, path.read_text(), re.MULTILINE)
    assert set(kept) <= {"actions"}  # the desk has a module of this name


@pytest.mark.parametrize("path", CORE, ids=name_of_file)
def test_a_module_behind_a_door_never_imports_from_one(path: Path) -> None:
    assert not set(imported(path)) & set(DOORS)


@pytest.mark.parametrize("door", DOORS)
def test_a_door_offers_the_same_names_to_python_and_to_mypy(
    projects: dict[str, Path], door: str
) -> None:
    text = (TEMPLATE / door.replace(".", "/") / "__init__.py").read_text()
    [checked] = [node for node in ast.parse(text).body if isinstance(node, ast.If) and node.orelse]
    typed = {alias.name for node in checked.body for alias in getattr(node, "names", [])}
    code = f"""
import importlib, json, sys
door = importlib.import_module({door!r})
heavy = sorted({{"chatkit", "agents", "fastapi"}} & set(sys.modules))
print(json.dumps([heavy, door.__all__, [getattr(door, name) is not None for name in door.__all__]]))
"""
    said = run(sys.executable, "-c", code, cwd=projects[name_of(ANSWERS)])
    heavy, names, there = json.loads(said.splitlines()[-1])
    assert heavy == []
    assert all(there)
    assert set(names) == typed
    assert ast.get_docstring(ast.parse(text))
