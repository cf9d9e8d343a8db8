"""Projects made from the working tree, the way a person makes them from a release."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import copier
import copier._main
import jinja2

from .matrix import ROOT, Answers, check_keys

COPIER = Path(sys.executable).with_name("copier")

# A person's git, without this machine's settings.
GIT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.com",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.com",
}

# What git and the project's own tests leave behind.
IGNORED = (".git", ".venv", "__pycache__", ".hypothesis", "data")


def make_copier_quick() -> None:
    """Spare Copier, in this process, what takes it the longest in some hundred projects.

    It asks git about each file's mode, and compiles each file and each part of each path anew.
    Tests of its command line, and what is measured, go without this.
    """
    if hasattr(copier._main.Worker, "_sync_git_index_executable_bit"):
        copier._main.Worker._sync_git_index_executable_bit = lambda *_: None  # type: ignore[method-assign]
    compile_template: Any = jinja2.Environment.compile
    code: dict[Any, Any] = {}

    def compile_once(self: Any, source: str, name: Any = None, filename: Any = None) -> Any:
        # One lexer serves all environments whose settings are the same.
        key = type(self), self.lexer, *sorted(self.extensions), source, name
        if key not in code:
            code[key] = compile_template(self, source, name, filename)
        return code[key]

    jinja2.Environment.compile = compile_once  # type: ignore[assignment,method-assign]


def run(*command: str | Path, cwd: Path, check: bool = True, **env: str) -> str:
    """Run a command; what it printed on both streams. Raises AssertionError when it fails."""
    result = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=os.environ | GIT | env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    assert not check or result.returncode == 0, f"{command}: {result.stdout}"
    return result.stdout


def git(cwd: Path, *arguments: str) -> str:
    return run("git", *arguments, cwd=cwd)


def commit(folder: Path, message: str) -> None:
    if not (folder / ".git").exists():
        git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", f"--message={message}")


def clone_template(folder: Path, tag: str) -> Path:
    """The working tree as a repository of its own with one release, above every real one."""
    listed = git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    for name in filter(lambda name: (ROOT / name).exists() or (ROOT / name).is_symlink(), listed):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
    commit(folder, "Take the working tree")
    git(folder, "tag", tag)
    git(folder, "repack", "-adq")  # an update clones it three times: one file instead of hundreds
    return folder


def render(template: Path, project: Path, answers: Answers, **data: str) -> Path:
    """A new project. Raises ValueError for an answer to a question that does not exist."""
    check_keys({**answers, **data})
    copier.run_copy(
        str(template), project, data={**answers, **data}, defaults=True, quiet=True, overwrite=True
    )
    return project


def tree(folder: Path, *without: str) -> dict[str, str]:
    """The text of every file by its path, but for what git ignores and those that are named."""
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not {*IGNORED, *without} & set(path.relative_to(folder).parts)
    }
