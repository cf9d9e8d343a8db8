"""Reads the code around a project, without running any of it, and says how the two go together.
The template's file: improvements arrive through `copier update`.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice, takewhile
from keyword import iskeyword
from pathlib import Path

from steps import ANSWERS, ROOT, answer_in, ours_is_missing, run, update_with

OUR_MAIN = re.compile(r"^from \.core(\.application)? import .*\bcreate_app\b", re.MULTILINE)
ELSEWHERE = (
    "copy the project into a folder below, as in backend/chat, or run it beside as a service."
)
MOST_FILES, LONGEST = 3000, 1_000_000  # bytes
PRUNED = {"node_modules", "site-packages", "venv", "build", "dist", "__pycache__", "tests"}
FAR_UP = 3  # folders, where no git tells how large the whole is
MADE_OF = ("pyproject.toml", "requirements.txt", "setup.py", "main.py")
PROJECT = re.compile(r"^\[project\]", re.MULTILINE)
POSTGRES = re.compile(r"^DATABASE_URL=[\"']?postgres", re.MULTILINE)
ITS_DATABASE = (
    "a database of its own, or a schema (after CREATE SCHEMA chat, "
    "DATABASE_URL=...?options=-csearch_path%3Dchat)"
)
# By what an application knows people, and the answer that goes with it.
KNOWN_BY = {
    "better-auth.session_token": ("Better Auth's session cookie", "session"),
    "SessionMiddleware": ("a session cookie (SessionMiddleware)", "session"),
    "HTTPBearer": ("bearer tokens (HTTPBearer)", "jwt"),
    "OAuth2PasswordBearer": ("bearer tokens (OAuth2PasswordBearer)", "jwt"),
    "PyJWKClient": ("JSON Web Tokens (PyJWKClient)", "jwt"),
    "jwt.decode": ("JSON Web Tokens (jwt.decode)", "jwt"),
    "AuthenticationMiddleware": ("its own AuthenticationMiddleware", ""),
}


@dataclass
class Found:
    """What there is, each with its place as in `src/main.py, line 3`."""

    apps: list[tuple[str, Path, int]] = field(default_factory=list)  # name, file, its last line
    nameless: list[str] = field(default_factory=list)  # applications too
    servers: list[str] = field(default_factory=list)
    routes: list[str] = field(default_factory=list)
    stores: list[str] = field(default_factory=list)
    people: dict[str, str] = field(default_factory=dict)  # by what they are known: where
    mounts: set[tuple[str, Path]] = field(default_factory=set)  # of an application, in a file
    mounted: set[tuple[str, Path]] = field(default_factory=set)  # on another, in a file
    all_seen: bool = True


def around() -> Path:
    """The folder whose code this project may join: its own, unless it lies in a larger one."""
    top = run("git", "rev-parse", "--show-toplevel")
    if (
        top.returncode == 0
        and top.stdout.strip()
        and not os.path.samefile(top.stdout.strip(), ROOT)
    ):
        return Path(top.stdout.strip())
    home = Path(os.path.expanduser("~")).resolve()
    near = takewhile(lambda folder: folder != home, islice(ROOT.parents, FAR_UP))
    whole = (folder for folder in near if any((folder / name).is_file() for name in MADE_OF))
    return next(whole, ROOT)


def python_files(folder: Path) -> Iterator[Path | None]:
    """Files of Python below the folder; None where there are too many to look at the rest."""
    left = MOST_FILES
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(n for n in folders if n not in PRUNED and not n.startswith("."))
        for path in (Path(parent, name) for name in sorted(names) if name.endswith(".py")):
            left -= 1
            if left < 0:
                yield None
                return
            yield path


def look_around(folder: Path) -> Found:
    found = Found()
    warnings.simplefilter("ignore")  # what Python says of the owner's texts
    for path in python_files(folder):
        if path is None:
            found.all_seen = False
            break
        try:
            code = path.read_bytes() if path.stat().st_size < LONGEST else b""
            if not is_the_templates(path, code[:1000].decode(errors="replace")):
                look_at(ast.parse(code), path, path.relative_to(folder).as_posix(), found)
        except (OSError, ValueError, SyntaxError, RecursionError):
            continue  # what nobody can read is no application
    return found


def is_the_templates(path: Path, text: str) -> bool:
    """Whether a file belongs to this project: app/core, hooks, mount.py, our main.py."""
    app = ROOT / "app"
    ours = app / "core" in path.parents or path.parent == ROOT / "hooks" or path == app / "mount.py"
    return ours or bool(OUR_MAIN.search(text))


def look_at(tree: ast.Module, path: Path, name: str, found: Found) -> None:
    seen: set[ast.AST | None] = set()  # calls that make an application of which all is known
    for node in ast.walk(tree):  # what is around a call comes before it
        place = f"{name}, line {getattr(node, 'lineno', 1)}"
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, (ast.Name, ast.Attribute)) and makes_app(node.value):
                found.apps.append((ast.unparse(target), path, node.end_lineno or node.lineno))
                seen.add(node.value)
        elif isinstance(node, ast.ClassDef):
            bases = [last_name(base) for base in node.bases]
            if "ChatKitServer" in bases:
                found.servers.append(f"{node.name} in {place}")
            elif "Store" in bases:
                found.stores.append(f"{node.name} in {place}")
        elif isinstance(node, ast.Call) and last_name(node.func) == "mount_on" and node.args:
            found.mounts.add((ast.unparse(node.args[0]), path))
        elif isinstance(node, ast.Call) and last_name(node.func) == "mount":
            given = [*node.args, *(keyword.value for keyword in node.keywords)]
            found.mounted |= {(ast.unparse(value), path) for value in given}
            seen.update(given)
        elif makes_app(node) and node not in seen:
            found.nameless.append(place)
        found.routes += [f"{route} in {name}, line {line}" for route, line in routes_of(node)]
        if (word := word_of(node)) in KNOWN_BY:
            found.people.setdefault(word, place)


def makes_app(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Call) and last_name(node.func) == "FastAPI"


def routes_of(node: ast.AST) -> Iterator[tuple[str, int]]:
    """Paths, and lines, at which a ChatKit endpoint answers; not such as are asked for it."""
    calls = [call for call in getattr(node, "decorator_list", []) if isinstance(call, ast.Call)]
    if isinstance(node, ast.Call) and last_name(node.func) in ("add_api_route", "add_route"):
        calls.append(node)
    for call in calls:
        route = getattr(call.args[0], "value", None) if call.args else None
        if isinstance(route, str) and route.rstrip("/").endswith("/chatkit"):
            yield route, call.lineno


def word_of(node: ast.AST) -> str:
    """The name or the text that a node is, as KNOWN_BY has it; empty where it is neither."""
    if isinstance(node, ast.Attribute):
        whole = f"{last_name(node.value)}.{node.attr}"
        return whole if whole in KNOWN_BY else node.attr
    word = getattr(node, {ast.Constant: "value", ast.Name: "id"}.get(type(node), "name"), None)
    return word.removeprefix("__Secure-") if isinstance(word, str) else ""


def last_name(node: ast.expr) -> str:
    """`FastAPI` of `FastAPI`, `fastapi.FastAPI` and `FastAPI[...]`."""
    if isinstance(node, ast.Subscript):
        return last_name(node.value)
    return getattr(node, "id", getattr(node, "attr", ""))


def module_for(host: Path) -> tuple[str, Path | None]:
    """What this project's package is called in an import of `host`; empty where it cannot be.

    Beside it the folder from which it is imported, where the host's own is another.
    """
    root = host.parent
    while (root / "__init__.py").is_file():
        root = root.parent
    own = root
    while root not in (ROOT, *ROOT.parents):
        root = root.parent
    parts = [*ROOT.relative_to(root).parts, "app"]
    if len(parts) == 1 and root / "app" in host.parents:
        return "", None
    can_be = all(part.isidentifier() and not iskeyword(part) for part in parts)
    return ".".join(parts) if can_be else "", None if root == own else root


def describe() -> str:
    """What was found, and the exact lines that bring the two together."""
    folder = around()
    found = look_around(folder)
    lines = [*servers_present(found), *mounting(found, folder), *answers_for(found, folder)]
    if not found.all_seen:
        lines.append(f"Only the first {MOST_FILES} files of Python were looked at.")
    if ours_is_missing():
        lines.append("pyproject.toml is yours and names no openai-chatkit: nothing can start here.")
        lines.append("Copy the project into a folder of its own instead, as in backend/chat.")
    return "\n    ".join([f"looked at {folder}:", *lines]) if lines else "nothing else is here"


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
        if (variable, path) in found.mounts:
            yield f"`{variable}` in {path.relative_to(folder).as_posix()} mounts this project."
        elif (variable, path) not in found.mounted:  # nothing would run its lifespan
            yield from mounting_on(variable, path, line, folder)
    for place in [] if found.mounts else found.nameless:
        yield f"FastAPI() in {place} has no name of its own: give it one, as in `app = FastAPI()`,"
        yield "and run this again for the lines that mount this project there."


def mounting_on(variable: str, path: Path, line: int, folder: Path) -> Iterable[str]:
    module, root = module_for(path)
    place = f"{path.relative_to(folder).as_posix()}, line {line}"
    if not module:
        yield f"`{variable}` in {place} cannot import this project from where it lies:"
        yield ELSEWHERE
        return
    yield f"To answer at /chat/chatkit of `{variable}` in {place}, write below it, as far in:"
    yield f"    from {module}.mount import mount_on"
    yield f'    mount_on({variable}, "/chat")'
    if root:
        yield f"and start it with {root} on PYTHONPATH, from where these lines import."
    yield from dependencies_for(path, folder)
    env = ROOT / ".env"
    yield f"It reads .env where the process starts (copy what {env} has), and runs in UTC."
    if uses_postgres():  # a server that starts by itself is only in our own environment
        yield f"Without DATABASE_URL nothing starts there: name {ITS_DATABASE}."
    yield "Or run this project beside it, as a service of its own."


def dependencies_for(path: Path, folder: Path) -> Iterable[str]:
    """The line that brings what this project needs to where an application runs."""
    for parent in path.parents:
        project = parent / "pyproject.toml"
        if parent == ROOT:
            return
        if project.is_file() and PROJECT.search(read(project)):
            here = f"./{Path(os.path.relpath(ROOT, parent)).as_posix()}"
            add = f"cd {shlex.quote(str(parent))} && uv add {shlex.quote(here)}"
            yield f"It needs this project's dependencies too: `{add}`."
            return
        if parent == folder:
            break
    install = f"uv pip install -r {shlex.quote(str(ROOT / 'pyproject.toml'))}"
    yield f"It needs this project's dependencies too: `{install}`, and list them with yours."


def answers_for(found: Found, folder: Path) -> Iterable[str]:
    for word, place in found.people.items():
        known_by, answer = KNOWN_BY[word]
        is_new = answer and answer != answer_in(ANSWERS, "auth")
        command = f" {update_with(auth=answer)}" if is_new else ""
        yield f"People are known by {known_by}, in {place}.{command}"
    if not uses_postgres():
        for example in {ROOT / ".env.example", folder / ".env.example"}:
            if example.is_file() and POSTGRES.search(read(example)):
                yield f"{example} has a DATABASE_URL of PostgreSQL."
                yield f"{update_with(store='postgres')} keeps conversations there, in"
                yield f"{ITS_DATABASE}."


def uses_postgres() -> bool:
    return (ROOT / "app" / "core" / "store" / "postgres").is_dir()


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")
