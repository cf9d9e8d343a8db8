"""The tree in the README: a project with the default answers, each file by its own first sentence.

uv run python -m tests.tree        writes it
"""

import ast
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path

from .matrix import ROOT
from .rendering import clone_template, render
from .siblings import TEMPLATE

README = ROOT / "README.md"
BEGIN, END = "<!-- by tests/tree.py -->\n", "<!-- until here -->\n"
COUNTED = {"tests"}  # folders of which only the number of files is told
WIDTH = 100


def sentence(path: Path) -> str:
    """What the file says of itself in its first sentence; nothing where it says none."""
    if path.suffix == ".py":
        text = ast.get_docstring(ast.parse(path.read_text())) or ""
    else:
        text = path.read_text() if path.suffix == ".md" else ""
    line = text.partition("\n")[0].lstrip("# ").replace(": `python hooks/", ": `hooks/")
    line = re.split(r"\.(?: |$)|: this file", line)[0]
    return "" if path.name == "SKILL.md" else line


def branches(folder: Path, before: str = "") -> Iterable[tuple[str, str]]:
    """A line's drawing and its sentence for everything below the folder, folders first."""
    entries = sorted(folder.iterdir(), key=lambda path: (path.is_file(), path.name))
    entries = [path for path in entries if path.name not in ("__init__.py", ".git")]
    for path in entries:
        last = path == entries[-1]
        stem = f"{before}{'└── ' if last else '├── '}{path.name}"
        if path.is_file():
            yield stem, sentence(path)
        elif path.name in COUNTED:
            yield f"{stem}/", f"{len([*path.rglob('*.py')])} files, which ship with the project"
        else:
            yield f"{stem}/", sentence(path / "__init__.py") if "app" in path.parts else ""
            yield from branches(path, before + ("    " if last else "│   "))


def drawn(lines: Iterable[tuple[str, str]]) -> str:
    listed = list(lines)
    width = max(len(stem) for stem, _ in listed) + 2
    return "".join(
        f"    {stem:<{width}}{fit(text, WIDTH - width)}".rstrip() + "\n" for stem, text in listed
    )


def fit(text: str, room: int) -> str:
    """The text, or as much of it as makes sense by itself."""
    if len(text) <= room:
        return text
    ends = [found.start() for found in re.finditer(r"[:,;] ", text[:room])]
    return text[: ends[-1]] if ends else text[: text.rindex(" ", 0, room)] + " …"


def others(project: Path) -> Iterable[tuple[str, str]]:
    """What other answers bring instead."""
    for path in sorted([*(TEMPLATE / "app").rglob("*.py"), *TEMPLATE.glob("migrations/**/*.py")]):
        name = path.relative_to(TEMPLATE)
        if not (project / name).exists() and path.name != "__init__.py":
            yield name.as_posix(), sentence(path)


def tree() -> str:
    with tempfile.TemporaryDirectory() as name:
        template = clone_template(Path(name) / "template", "9999.0.0")
        project = render(template, Path(name) / "myapp", {})
        return (
            f"    myapp/\n{drawn(branches(project))}\n"
            f"Other answers bring others of these:\n\n{drawn(others(project))}"
        )


def with_tree(readme: str) -> str:
    before, _, rest = readme.partition(BEGIN)
    return f"{before}{BEGIN}\n{tree()}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    README.write_text(with_tree(README.read_text()))
