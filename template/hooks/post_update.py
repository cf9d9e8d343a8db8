"""Look after a project that has been updated: `python3 hooks/post_update.py`, as often as you like.
The template's file: improvements arrive through `copier update`.

One line a step: conflicts, which Copier leaves in the files without a word, edits in files that
moved, imports of modules that moved, the environment, the settings that `.env` lacks, migrations,
what a new level is meant for, and the project's tests.
Exits 1 with one sentence on stderr when a step fails, 130 when it is interrupted.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import renamed
from steps import (
    ANSWERS,
    ROOT,
    StepFailed,
    answer_in,
    last_words,
    make_environment,
    must,
    perform,
    project_python,
    run,
    short,
    update_with,
)

TEST_SECONDS, DATABASE_SECONDS = 3600, 60
# What a level is made for, beside what it does: other answers work as well.
MEANT_FOR = {"production": {"auth": "jwt", "store": "postgres"}}

SETTING = re.compile(r"(?:export +)?([A-Z][A-Z0-9_]*) *=(.*)")
SWITCHED_OFF = re.compile(r"# ?([A-Z][A-Z0-9_]*)=(\S*)")
DONE_BY = "`uv run alembic upgrade head`"
TESTS = re.compile(r"\d+ (?:passed|failed|error)")


def find_conflicts() -> str:
    git = shutil.which("git")
    if git is None:
        raise StepFailed("git is not installed, and without it nobody knows what the update did")
    must(git, "rev-parse", "--git-dir")
    marks = run(git, "grep", "--untracked", "-I", "-n", "-E", "^<<<<<<< |^>>>>>>> ").stdout
    found: dict[str, str] = {}
    for line in marks.splitlines():
        file, number, _ = line.split(":", 2)
        found.setdefault(file, number)
    if found:
        places = listed([f"{file} (line {number})" for file, number in found.items()])
        raise StepFailed(
            f"your edits and the template's meet in {places}: keep what is right there"
        )
    others = ("--others", "--exclude", ".venv", "--", "*.rej")  # also such as git ignores
    rejected = must(git, "ls-files", *others).splitlines()
    if rejected:
        raise StepFailed(
            f"edits that found no place are in {listed(rejected)}: put them in by hand"
        )
    unmerged = must(git, "diff", "--name-only", "--diff-filter=U", "--relative").splitlines()
    if unmerged:
        raise StepFailed(f"git waits for `git add {' '.join(unmerged)}`")
    return "none"


def listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)


def rewrite_imports() -> str:
    """Let the owner's files import from where things are since 2.0.0."""
    lines: list[str] = []
    for path in owners_python():
        folder = path.parent.relative_to(ROOT)
        before = path.read_text(encoding="utf-8")
        here = {".".join(p.relative_to(ROOT).with_suffix("").parts) for p in owners_python()}
        after, changes = renamed.rewritten(before, ".".join(folder.parts), here)
        if changes:
            path.write_text(after, encoding="utf-8")
            lines += [f"    {path.relative_to(ROOT).as_posix()}, {change}" for change in changes]
    return "\n".join(["rewritten:", *lines]) if lines else "all are as they should be"


def owners_python() -> list[Path]:
    """Python files of app/ and tests/ that are not the template's."""
    return [
        path
        for folder in ("app", "tests")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if path.relative_to(ROOT).parts[1] != "core"
    ]


def name_moved_edits() -> str:
    """Files of the template that moved or went, and that the owner had edited: Copier says nothing.

    An edit is a commit that changes the file and not the answers, as each update does.
    """
    deleted = ("--name-only", "--no-renames", "--diff-filter=D", "--relative")
    gone = run("git", "diff", *deleted, "HEAD").stdout  # empty before the first commit
    edited: list[str] = []
    for name in gone.splitlines():
        commits = run("git", "log", "--format=%H", "--", name).stdout.split()
        changed = [must("git", "show", "--name-only", "--format=", one).split() for one in commits]
        if not commits or any(not _has_answers(names) for names in changed):
            edited.append(name)
    if not edited:
        return "none of yours was in a file that moved"
    lines = [f"    {name}{_new_place(name)}: `git log -p -- {name}`" for name in edited]
    return "\n".join(["your edits are no longer in:", *lines])


def _has_answers(names: list[str]) -> bool:
    return any(name.rpartition("/")[2] == ANSWERS.name for name in names)


def _new_place(name: str) -> str:
    module = renamed.MODULES.get(name.rpartition(".")[0].replace("/", "."))
    return f" (now {module.replace('.', '/')}.py)" if module else ""


def name_settings() -> str:
    """The settings of `.env.example` that `.env` does not speak of, with their meaning."""
    if not (ROOT / ".env.example").is_file():
        return "skipped: there is no .env.example"
    if not (ROOT / ".env").is_file():
        return "skipped: there is no .env, `python3 hooks/post_gen.py` makes it"
    has = {name for name, _, _ in settings_in(".env")} | set(os.environ)
    new = [found for found in settings_in(".env.example") if found[0] not in has]
    if not new:
        return "none is new"
    lines = [f"{len(new)} in .env.example that .env lacks; copy what you need:"]
    told = ""
    for name, value, says in new:  # several below one comment share its meaning
        lines += [f"    # {says}"] * (says not in ("", told)) + [f"    {name}={value}"]
        told = says
    return "\n".join(lines)


def settings_in(file: str) -> list[tuple[str, str, str]]:
    """Name, value and the comment above of each setting, also of those that a # switches off."""
    found: list[tuple[str, str, str]] = []
    comment: list[str] = []
    ended = False
    for line in (ROOT / file).read_text(encoding="utf-8", errors="replace").splitlines():
        if match := SETTING.fullmatch(line) or SWITCHED_OFF.fullmatch(line):
            found.append((match[1], match[2].strip(), short(" ".join(comment), 300)))
            ended = True
        elif line.startswith("#"):
            comment = [*([] if ended else comment), line.lstrip("# ")]
            ended = False
        else:
            comment = []
    return found


def name_migrations() -> str:
    if not (ROOT / "alembic.ini").is_file():
        return "none in this project"
    change = run("git", "status", "--porcelain", "--untracked-files=all", "--", "migrations").stdout
    new = [line.rpartition("/")[2] for line in change.splitlines() if line[:1] in "?A"]
    brought = f"the update brought {listed(new)}; " if new else ""
    current = run(project_python(), "-m", "alembic", "current", seconds=DATABASE_SECONDS)
    if "DATABASE_URL is not set" in current.stderr:
        return f"{brought}the embedded database takes them at the next start"
    if current.returncode != 0:
        said = last_words(current.stderr)
        return f"{brought}not compared, as the database was not reached ({said}); then {DONE_BY}"
    heads = must(project_python(), "-m", "alembic", "heads").splitlines()
    have = {line.split()[0] for line in current.stdout.splitlines() if line.strip()}
    pending = [line.split()[0] for line in heads if line.split()[0] not in have]
    if not pending:
        return f"{brought}none is pending"
    return f"{brought}{listed(pending)} is pending in your database: {DONE_BY}"


def name_answers() -> str:
    """After a change of the level, the answers that the new one is meant for."""
    before = run("git", "show", f"HEAD:./{ANSWERS.name}").stdout
    level = answer_in(ANSWERS, "level")
    if answer_in(before, "level") in (level, None):
        return "the level is as it was"
    meant = MEANT_FOR.get(level or "", {})
    other = {name: value for name, value in meant.items() if answer_in(ANSWERS, name) != value}
    if not other:
        return f"level {level} goes well with your other answers"
    words = listed([f"{name} {value}" for name, value in other.items()])
    return f"level {level} is meant for {words}: commit, then {update_with(**other)}"


def run_tests() -> str:
    result = run(project_python(), "-m", "pytest", "-q", seconds=TEST_SECONDS)
    summary = next(
        (line for line in reversed(result.stdout.splitlines()) if TESTS.search(line)), ""
    )
    if result.returncode != 0:
        words = summary.strip("= ") or last_words(result.stdout + result.stderr)
        raise StepFailed(f"the project's tests do not pass ({words}); `uv run pytest` shows them")
    return summary.strip("= ")


STEPS = {
    "conflicts": find_conflicts,
    "moved": name_moved_edits,
    "imports": rewrite_imports,
    "environment": make_environment,
    "settings": name_settings,
    "migrations": name_migrations,
    "answers": name_answers,
    "tests": run_tests,
}


if __name__ == "__main__":
    sys.exit(perform("hooks/post_update.py", STEPS))
