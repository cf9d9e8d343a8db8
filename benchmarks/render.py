"""What the template's questions and Jinja cost: one `copier copy` of the agent level against
one of a static template with as many files, of which it keeps the very same ones.

    uv run python benchmarks/render.py [--rounds N]

Both run in this process and in turn, once from a plain folder, where only Copier's own work is
counted, and once from a git tag, as a person has it. Then, without a bound, against a template that
has no file but those that are kept: Copier renders the path of each file before it leaves it out,
so every level and every answer that is added costs all others its files' paths.
Exit status 1 when a ratio misses its bound.
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

import copier
import yaml
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


def static_template(project: Path, others: list[str], folder: Path) -> Path:
    """A template without a question and without Jinja whose copy is `project`.

    It has `others` too, as files that it leaves out.
    """
    shutil.copytree(project, folder / "template", symlinks=True)
    for name in others:
        (folder / "template" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "template" / name).write_text("Of another answer.\n")
    given = {path.relative_to(project) for path in project.rglob("*")}
    folders = {parent for name in others for parent in Path(name).parents} - given - {Path()}
    left_out = [f"/{path}" for path in sorted({*map(Path, others), *folders})]
    config = {"_subdirectory": "template", "_exclude": ["copier.yml", "\n".join(left_out)]}
    (folder / "copier.yml").write_text(yaml.safe_dump(config))
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
    ours = tree(folder / "model")
    has = {name.removesuffix(".jinja") for name in tree(template / "template")}
    static = static_template(folder / "model", sorted(has - {*ours}), folder / "static")
    small = static_template(folder / "model", [], folder / "small")
    for twin in (static, small):
        copy(twin, folder / twin.name / "copy")
        if tree(folder / twin.name / "copy") != ours or not ours:
            sys.exit("the static template does not give the same files")
        shutil.rmtree(folder / twin.name / "copy")
    print(f"{len(ours)} of {len(has)} files, {sum(map(len, ours.values()))} characters.")

    rows = []
    for twin, at_most in ((static, 1.5), (small, None)):
        tagged = shutil.copytree(twin, folder / f"{twin.name}-tagged", symlinks=True)
        commit(tagged, "Take the rendered files")
        git(tagged, "tag", TAG)
        what = ", kept files only" if twin is small else ""
        for place, ours_there, theirs in (("folder", plain, twin), ("git tag", template, tagged)):
            rows.append(Row(f"from a {place}{what}, ms", at_most=at_most))
            measure(rows[-1], ours_there, theirs, rounds, folder)
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
