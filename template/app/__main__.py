"""The project's commands: `uv run python -m app --help`.

The template's file: improvements arrive through `copier update`.
"""

from .commands import commands

if __name__ == "__main__":
    commands(prog_name=f"python -m {__package__}")
