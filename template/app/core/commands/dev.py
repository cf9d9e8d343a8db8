"""`python -m app dev`: a request that this server answers, for development."""

from typing import Annotated

import typer

Address = Annotated[str, typer.Option(envvar="URL", help="Where the server answers.")]
Who = Annotated[str, typer.Argument(help="The user's id; visitors have none.")]


def dev(user: Who = "dev", url: Address = "http://127.0.0.1:8000") -> None:
    """Print a `curl` command that starts a conversation as a signed-in user. Development only."""
    from ..auth.curl import curl
    from ..auth.dev import credentials

    typer.echo(curl(url.rstrip("/"), *credentials(user, url)))


def add_to(commands: typer.Typer) -> None:
    commands.command()(dev)
