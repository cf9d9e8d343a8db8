"""`python -m app data usage`: what people used, as a table or as JSON lines."""

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .command_line import Org, in_utf8, opened, plainly

if TYPE_CHECKING:
    from ..store.sql.retention import Retention

MONTH = timedelta(days=30)
Rows = list[dict[str, Any]]
Somebody = Annotated[
    str | None, typer.Option(callback=in_utf8, help="Only this user's, by day, newest first.")
]


def usage(
    user: Somebody = None,
    org: Org = None,
    since: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="A day by UTC; else 30 days ago."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many users, without --user.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines, not a table.")] = False,
) -> None:
    """Tell what people used: turns, requests to models, tokens.

    The users who used the most tokens, or the days of one of them.
    """
    begin = f"{since or datetime.now(UTC) - MONTH:%Y-%m-%d}"
    with plainly(), opened() as (store, runner):
        if user is None:
            rows = runner.run(of_users(store, org, begin, top))
        else:
            rows = runner.run(of_days(store, user, org, begin))
    if as_json:
        for row in rows:
            typer.echo(json.dumps(row))
    elif rows:
        Console().print(table(rows))
    else:
        typer.echo(f"Nothing was used since {begin}.", err=True)


def add_to(commands: typer.Typer) -> None:
    commands.command()(usage)


async def of_users(store: "Retention", org: str | None, begin: str, rows: int) -> Rows:
    from ..production.ops.usage_store import COUNTED, USERS, statement

    sql = statement(USERS, store.parameter)
    found = await store.run(sql, org=org, since=begin, rows=rows)
    return [dict(zip(("org_id", "user_id", *COUNTED), row, strict=True)) for row in found]


async def of_days(store: "Retention", user: str, org: str | None, begin: str) -> Rows:
    from ..production.ops.usage_store import COUNTED, DAYS, statement

    sql, found = statement(DAYS, store.parameter), []
    for each in [org] if org is not None else await store.organisations(user):
        found += await store.run(sql, org=each, user=user, since=begin)
    return [dict(zip(("org_id", "user_id", "day", *COUNTED), row, strict=True)) for row in found]


def table(rows: Rows) -> Table:
    """The rows, with their sum where they are several."""
    shown = Table(box=None, show_footer=len(rows) > 1)
    for key, value in rows[0].items():
        name = key.removesuffix("_id").removesuffix("_tokens")
        if isinstance(value, int):
            total = f"{sum(row[key] for row in rows):,}"
            shown.add_column(name, total, justify="right", no_wrap=True)
        else:
            shown.add_column(name, overflow="fold")
    for row in rows:
        cells = (f"{v:,}" if isinstance(v, int) else escape(v) for v in row.values())
        shown.add_row(*cells)
    return shown
