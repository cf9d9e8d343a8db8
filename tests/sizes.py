"""The table of sizes in the README: files and lines of code of a project, its owner's and core's.

uv run python -m tests.sizes        writes it
"""

import ast
import io
import tempfile
import tokenize
from pathlib import Path

from .matrix import Answers
from .rendering import clone_template, render
from .tree import README

BEGIN, END = "<!-- by tests/sizes.py -->\n", "<!-- until here: sizes -->\n"
PROJECTS: dict[str, Answers] = {
    "hello": {"level": "hello", "auth": "anonymous", "store": "memory"},
    "agent": {"level": "agent", "auth": "anonymous", "store": "memory"},
    "production, jwt, postgres": {"level": "production", "auth": "jwt", "store": "postgres"},
}


def code_lines(path: Path) -> int:
    """Lines that carry code: no blank lines, comments or docstrings."""
    text = path.read_text()
    ignored = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in ignored and token.type != tokenize.ENDMARKER:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            lines -= set(range(node.lineno, (node.end_lineno or 0) + 1))
    return len(lines)


def weight(files: list[Path]) -> str:
    return f"{len(files)} files, {sum(map(code_lines, files)):,} lines"


def table() -> str:
    rows = ["| project | yours (`app/`) | the template's (`app/core/`) |", "|---|---|---|"]
    with tempfile.TemporaryDirectory() as name:
        template = clone_template(Path(name) / "template", "9999.0.0")
        for number, (title, answers) in enumerate(PROJECTS.items()):
            app = render(template, Path(name) / str(number), answers) / "app"
            files = [path for path in sorted(app.rglob("*.py")) if path.read_text().strip()]
            core = [path for path in files if path.relative_to(app).parts[0] == "core"]
            own = [path for path in files if path not in core]
            rows.append(f"| {title} | {weight(own)} | {weight(core)} |")
    return "\n".join(rows) + "\n"


def with_table(readme: str) -> str:
    before, _, rest = readme.partition(BEGIN)
    return f"{before}{BEGIN}\n{table()}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    README.write_text(with_table(README.read_text()))
