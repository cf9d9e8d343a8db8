"""What the template's questions and Jinja cost: one `copier copy` of the agent level against
one of a static template that gives the very same files.

    uv run python benchmarks/render.py [--rounds N]

Both run in this process and in turn, once from a plain folder, where only Copier's own work is
counted, and once from a git tag, as a person has it. Exit status 1 when a ratio misses its bound.
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

import copier
from report import Row, table

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.rendering import clone_template, commit, git, tree  # noqa: E402

ANSWERS = {"project_name": "My chat", "level": "agent"}
TAG = "v99.0.0"


def copy(template: Path, project: Path) -> float:
    """Seconds that it takes to make a new project."""
    start = time.perf_counter()
    copier.run_copy(str(template), project, data=ANSWERS, defaults=True, quiet=True)
    return time.perf_counter() - start


def static_template(project: Path, folder: Path) -> Path:
    """A template without a question and without Jinja whose copy is `project`."""
    shutil.copytree(project, folder / "template", symlinks=True)
    (folder / "copier.yml").write_text("_subdirectory: template\n")
    return folder


def without_git(template: Path, folder: Path) -> Path:
    return shutil.copytree(template, folder, symlinks=True, ignore=shutil.ignore_patterns(".git"))


def measure(row: Row, ours: Path, theirs: Path, rounds: int, projects: Path) -> None:
    """Fill `row` after a round that is not counted."""
    for number in range(-1, rounds):
        pair = [(ours, row.ours), (theirs, row.theirs)]
        for template, seconds in pair if number % 2 else reversed(pair):
            took = copy(template, projects / "project")
            shutil.rmtree(projects / "project")
            if number >= 0:
                seconds.append(took * 1000)


def compare(rounds: int, folder: Path) -> list[Row]:
    (folder / "template").mkdir()
    template = clone_template(folder / "template", TAG)
    plain = without_git(template, folder / "plain")
    copy(plain, folder / "model")
    static = static_template(folder / "model", folder / "static")
    copy(static, folder / "twin")
    ours, theirs = tree(folder / "model"), tree(folder / "twin")
    if ours != theirs or not ours:
        sys.exit("the static template does not give the same files")
    print(f"{len(ours)} files, {sum(map(len, ours.values()))} characters.")

    tagged = shutil.copytree(static, folder / "tagged", symlinks=True)
    commit(tagged, "Take the rendered files")
    git(tagged, "tag", TAG)
    rows = [Row("from a folder, ms", at_most=1.5), Row("from a git tag, ms", at_most=1.5)]
    measure(rows[0], plain, static, rounds, folder)
    measure(rows[1], template, tagged, rounds, folder)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the template against a static one.")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        rows = compare(options.rounds, Path(folder))
    print(table(rows, "template", "static"))
    sys.exit(not all(row.holds for row in rows))


if __name__ == "__main__":
    main()
