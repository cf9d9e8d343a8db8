"""The commands of `python -m app`, one module each: those that this project's answers brought.

A command imports the application only when it runs, so that `--help` answers at once and Ctrl-C
during the import ends with a sentence.
"""

from importlib import import_module
from importlib.util import find_spec

import typer

NAMES = ("dev", "doctor", "data", "migrate")

commands = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="The commands of this project.",
)


@commands.callback()
def keep_names() -> None:
    """The commands of this project."""  # typer drops the name of a command that is alone


for name in NAMES:
    if find_spec(f"{__name__}.{name}"):
        import_module(f"{__name__}.{name}").add_to(commands)
