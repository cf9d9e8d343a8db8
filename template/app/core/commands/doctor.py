"""`python -m app doctor`: what keeps a deployment from answering, and how to mend it."""

from typing import Annotated

import typer

Address = Annotated[str, typer.Option(help="The address that users use, as in https://…")]
Headers = Annotated[
    list[str] | None,
    typer.Option(
        "--header",
        help="Credentials for that address, as in 'authorization: Bearer …'. Set DOCTOR_HEADER in "
        "the environment instead to keep them out of the process list.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def doctor(url: Address = "", header: Headers = None, as_json: Json = False) -> None:
    """Check the settings, the store, authentication, the model and the stream of a deployment.

    Exits 0 when nothing is wrong, 1 otherwise.
    """
    from ..production.ops.doctor import main

    main(url, header or [], as_json)


def add_to(commands: typer.Typer) -> None:
    commands.command()(doctor)
