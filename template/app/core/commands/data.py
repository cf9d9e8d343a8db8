"""What people have said: write one user's out, remove it, or remove everybody's once it is old.

uv run python -m app data --help
"""

import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.prompt import Confirm
from rich.text import Text

from .command_line import Org, User, is_terminal, opened, plainly, progress, written

if TYPE_CHECKING:  # importing a store takes a second, in which a Ctrl-C would be a traceback
    from ..store.sql.retention import Owner, Retention, Table

HOURS = {"h": 1, "d": 24, "w": 7 * 24}
LONGEST = 100 * 366 * 24  # hours

commands = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="What people have said: export or delete one user's, purge what is old.",
)


def hours_of(period: str) -> int:
    """Hours of a period such as 90d. Raises BadParameter, which says how to write one."""
    found = re.fullmatch("([0-9]{1,9})([hdw])", period)
    hours = int(found[1]) * HOURS[found[2]] if found else 0
    if not 0 < hours <= LONGEST:
        raise typer.BadParameter(
            f"{period!r} is not a period: write a whole number of hours, days or weeks, as in "
            "36h, 90d or 12w, from 1h up to a hundred years."
        )
    return hours


def a_period(text: str) -> str:
    hours_of(text)
    return text


@commands.command()
def export(
    user: User,
    org: Org = None,
    output: Annotated[str, typer.Option(help="A file; - is the standard output.")] = "-",
) -> None:
    """Write all that one user has as JSON lines.

    Threads, each before its items, attachment records, what they thought of answers, and what they
    used by day.
    """
    with plainly(), written(output) as file, opened() as (store, runner):
        owners = runner.run(owners_of(store, user, org))
        total = runner.run(count(store, owners)).total()
        with progress("Exporting", total, quiet=file.isatty()) as advance:
            counts = runner.run(write(store, owners, file, advance))
    typer.echo(f"Exported {told(counts)}.", err=True)


@commands.command()
def delete(
    user: User,
    org: Org = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask first.")] = False,
) -> None:
    """Remove all that one user has.

    Threads with their items, attachment records, what they thought of answers, and what they used.
    A turn that is running in one of them ends, and then counts what it used: repeat this later.
    """
    if not yes and not is_terminal(sys.stdin):
        raise SystemExit("There is nobody to ask: --yes removes without asking.")
    with plainly(), opened() as (store, runner):
        owners = runner.run(owners_of(store, user, org))
        found = runner.run(count(store, owners))
        if not yes and found.total() and not confirmed(f"Remove {told(found)} of {user!r}?"):
            raise SystemExit("Nothing was removed.")
        with progress("Removing", found.total() - found["items"]) as advance:
            counts = runner.run(sweep(store, owners, advance))
        typer.echo(f"Removed {told(counts)}.")


@commands.command()
def purge(
    older_than: Annotated[str, typer.Option(callback=a_period, help="As in 36h, 90d or 12w.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
) -> None:
    """Remove what is old, whoever has it.

    Threads that were not changed for so long, attachment records that were made before that, and
    what was used on days that were over by then. A thread in which a turn is running stays, and so
    does an attachment of a thread that stays.
    """
    before = time.monotonic() - 3600 * hours_of(older_than)
    with plainly(), opened() as (store, runner):
        total = runner.run(store.size()) if is_terminal(sys.stderr) else 0
        with progress("Counting" if dry_run else "Purging", total) as advance:
            counts = runner.run(sweep(store, [None], advance, before=before, dry=dry_run))
        done = "Would remove" if dry_run else "Removed"
        typer.echo(f"{done} {told(counts)}, older than {older_than}.")


async def owners_of(store: "Retention", user: str, org: str | None) -> list["Owner"]:
    organisations = [org] if org is not None else await store.organisations(user)
    return [(organisation, user) for organisation in organisations]


async def count(store: "Retention", owners: list["Owner"]) -> Counter[str]:
    return sum([await store.count(owner) for owner in owners], Counter[str]())


async def write(
    store: "Retention", owners: list["Owner"], file: IO[bytes], advance: Callable[[int], None]
) -> Counter[str]:
    """Write the owners' rows as they come; how many of which kind they were."""
    counts = Counter[str]()
    async for records in store.records(owners):
        for kind, (org, user), text in records:
            head = json.dumps({"type": kind, "org_id": org, "user_id": user})[:-1]
            data = text.replace("\n", " ").replace("\r", " ")  # these stand between tokens only
            file.write(f'{head}, "data": {data}}}\n'.encode())
            counts[kind if kind == "usage" else f"{kind}s"] += 1
        advance(len(records))
    return counts


async def sweep(
    store: "Retention",
    owners: list["Owner"] | list[None],
    advance: Callable[[int], None],
    **limits: Any,
) -> Counter[str]:
    """Remove threads with their items, attachments, usage; how many of which kind they were."""
    counts = Counter[str]()
    tables: tuple[Table, ...] = ("threads", "attachments", "usage")
    for table in tables:
        for owner in owners:
            async for found in store.sweep(table, owner, **limits):
                advance(found.pop("seen"))
                counts += found
    return counts


def told(counts: Counter[str]) -> str:
    """As in: 1 thread, 20 items and 0 attachments; with days of usage where there are some."""
    names = {"threads": "thread", "items": "item", "attachments": "attachment"}
    parts = [f"{counts[key]} {name}{'s' * (counts[key] != 1)}" for key, name in names.items()]
    if days := counts["usage"]:
        parts.append(f"{days} day{'s' * (days != 1)} of usage")
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def confirmed(question: str) -> bool:
    try:
        return Confirm.ask(Text(question), default=False, console=Console(stderr=True))
    except EOFError:
        return False


if find_spec(f"{__package__}.usage"):  # the production level counts usage
    import_module(".usage", __package__).add_to(commands)


def add_to(parent: typer.Typer) -> None:
    parent.add_typer(commands, name="data")
