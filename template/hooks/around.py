"""Reads the code around a project, without running any of it, and says how the two go together.
The template's file: improvements arrive through `copier update`.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from steps import ROOT, run

NOTE = "The template's file"
ELSEWHERE = (
    "copy the project into a folder below, as in backend/chat, or run it beside as a service."
)
MOST_FILES, LONGEST = 3000, 1_000_000  # bytes
PRUNED = {"node_modules", "site-packages", "venv", "build", "dist", "__pycache__", "tests"}
MADE_OF = ("pyproject.toml", "requirements.txt", "setup.py", "main.py")
POSTGRES = re.compile(r"^DATABASE_URL=[\"']?postgres", re.MULTILINE)
# By what an application knows people, and the answer that goes with it.
KNOWN_BY = {
    "better-auth.session_token": ("Better Auth's session cookie", "session"),
    "SessionMiddleware": ("a session cookie (SessionMiddleware)", "session"),
    "HTTPBearer": ("bearer tokens (HTTPBearer)", "jwt"),
    "OAuth2PasswordBearer": ("bearer tokens (OAuth2PasswordBearer)", "jwt"),
    "PyJWKClient": ("JSON Web Tokens (PyJWKClient)", "jwt"),
    "AuthenticationMiddleware": ("its own AuthenticationMiddleware", ""),
}


@dataclass
class Found:
    """What there is, each with its place as in `src/main.py, line 3`."""

    apps: list[tuple[str, Path, int]] = field(default_factory=list)  # name, file, its last line
    servers: list[str] = field(default_factory=list)
    routes: list[str] = field(default_factory=list)
    stores: list[str] = field(default_factory=list)
    people: dict[str, str] = field(default_factory=dict)  # by what they are known: where


def around() -> Path:
    """The folder whose code this project may join: its own, unless it lies in a larger one."""
    top = run("git", "rev-parse", "--show-toplevel")
    if (
        top.returncode == 0
        and top.stdout.strip()
        and not os.path.samefile(top.stdout.strip(), ROOT)
    ):
        return Path(top.stdout.strip())
    return ROOT.parent if any((ROOT.parent / name).is_file() for name in MADE_OF) else ROOT


def python_files(folder: Path) -> Iterator[Path]:
    """Files of Python below the folder that are not this project's own."""
    left = MOST_FILES
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(n for n in folders if n not in PRUNED and not n.startswith("."))
        for path in (Path(parent, name) for name in sorted(names) if name.endswith(".py")):
            left -= 1
            if left < 0:
                return
            yield path


def look_around(folder: Path) -> Found:
    found = Found()
    for path in python_files(folder):
        try:
            text = path.read_text(encoding="utf-8") if path.stat().st_size < LONGEST else ""
            if not is_the_templates(text):
                look_at(ast.parse(text), path, path.relative_to(folder).as_posix(), found)
        except (OSError, ValueError, SyntaxError, RecursionError):
            continue  # what nobody can read is no application
    return found


def is_the_templates(text: str) -> bool:
    return NOTE in text[:400]


def look_at(tree: ast.Module, path: Path, name: str, found: Found) -> None:
    for node in ast.walk(tree):
        place = f"{name}, line {getattr(node, 'lineno', 1)}"
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=variable)], value=ast.Call(func=func))
                | ast.AnnAssign(target=ast.Name(id=variable), value=ast.Call(func=func))
            ) if last_name(func) == "FastAPI":
                found.apps.append((variable, path, node.end_lineno or node.lineno))
            case ast.ClassDef(bases=bases) if "ChatKitServer" in map(last_name, bases):
                found.servers.append(f"{node.name} in {place}")
            case ast.ClassDef(bases=bases) if "Store" in map(last_name, bases):
                found.stores.append(f"{node.name} in {place}")
            case ast.Call(args=[ast.Constant(value=str(route)), *_], func=ast.Attribute()) if (
                route.rstrip("/").endswith("/chatkit")
            ):
                found.routes.append(f"{route} in {place}")
            case ast.Constant(value=str(word)) | ast.Name(id=word) | ast.alias(name=word):
                if word in KNOWN_BY:
                    found.people.setdefault(word, place)


def last_name(node: ast.expr) -> str:
    """`FastAPI` of `FastAPI`, `fastapi.FastAPI` and `FastAPI[...]`."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Subscript(value=value):
            return last_name(value)
    return ""


def module_for(host: Path) -> str | None:
    """What this project's package is called in an import of `host`; None where it cannot be."""
    root = host.parent
    while (root / "__init__.py").is_file():
        root = root.parent
    while not ROOT.is_relative_to(root):
        root = root.parent
    parts = [*ROOT.relative_to(root).parts, "app"]
    if len(parts) == 1 and (root / "app").is_dir() and host.is_relative_to(root / "app"):
        return None
    return ".".join(parts) if all(part.isidentifier() for part in parts) else None


def describe() -> str:
    """What was found, and the exact lines that bring the two together."""
    folder = around()
    found = look_around(folder)
    lines = [*servers_present(found), *mounting(found, folder), *answers_for(found, folder)]
    if ours_is_missing():
        lines.append("pyproject.toml is yours and names no openai-chatkit: nothing can start here.")
        lines.append("Copy the project into a folder of its own instead, as in backend/chat.")
    return "\n    ".join([f"looked at {folder}:", *lines]) if lines else "nothing else is here"


def ours_is_missing() -> bool:
    project = ROOT / "pyproject.toml"
    text = project.read_text(encoding="utf-8", errors="replace") if project.is_file() else ""
    return (ROOT / "app" / "mount.py").is_file() and "openai-chatkit" not in text


def servers_present(found: Found) -> Iterable[str]:
    if not (found.servers or found.routes):
        return []
    return [
        f"Another ChatKit server is here: {'; '.join(found.servers + found.routes)}.",
        "Compare its `respond` with app/server.py, and what it lets pass with docs/production.md;",
        f"its store ({'; '.join(found.stores) or 'none was found'}) with docs/stores.md.",
        "Give this one another path until one of the two is gone.",
    ]


def mounting(found: Found, folder: Path) -> Iterable[str]:
    for variable, path, line in found.apps:
        module = module_for(path)
        place = f"{path.relative_to(folder).as_posix()}, line {line}"
        if module is None:
            yield f"`{variable}` in {place} cannot import this project from where it lies:"
            yield ELSEWHERE
            continue
        yield f"To answer at /chat/chatkit of `{variable}` in {place}, write below it, as far in:"
        yield f"    from {module}.mount import mount_on"
        yield f'    mount_on({variable}, "/chat")'
        yield f"It needs the dependencies of {ROOT / 'pyproject.toml'} too, and then runs in UTC."
        yield "Or run this project beside it, as a service of its own."


def answers_for(found: Found, folder: Path) -> Iterable[str]:
    for word, place in found.people.items():
        known_by, answer = KNOWN_BY[word]
        command = f"`copier update --defaults --data auth={answer}`"
        yield f"People are known by {known_by}, in {place}." + (f" {command}" if answer else "")
    if not (ROOT / "app" / "store" / "postgres.py").is_file():
        for example in filter(names_postgres, {ROOT / ".env.example", folder / ".env.example"}):
            yield f"{example} has a DATABASE_URL of PostgreSQL."
            yield "`copier update --defaults --data store=postgres` keeps conversations there."


def names_postgres(example: Path) -> bool:
    return example.is_file() and bool(
        POSTGRES.search(example.read_text(encoding="utf-8", errors="replace"))
    )
