"""The project's commands: `uv run python -m app --help`."""

from .core.commands import commands

if __name__ == "__main__":
    commands(prog_name=f"python -m {__package__}")
