"""What people have said: write one user's out, remove it, or remove everybody's once it is old.

    uv run python -m app.data --help

The template's file: improvements arrive through `copier update`.
"""

import asyncio
import json
import logging
import os
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.prompt import Confirm
from rich.text import Text

if TYPE_CHECKING:  # importing a store takes a second, in which a Ctrl-C would be a traceback
    from .store.retention import Owner, Retention, Table

HOURS = {"h": 1, "d": 24, "w": 7 * 24}
LONGEST = 100 * 366 * 24  # hours

commands = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="What people have said: export or delete one user's, purge what is old.",
)


def in_utf8(text: str | None) -> str | None:
    try:
        (text or "").encode()
    except UnicodeEncodeError:
        raise typer.BadParameter("it is not a text in UTF-8.") from None
    return text


def not_empty(text: str) -> str | None:
    if not text.strip():
        raise typer.BadParameter("it must not be empty.")
    return in_utf8(text)


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


User = Annotated[str, typer.Option(callback=not_empty, help="The user's id.")]
Org = Annotated[
    str | None,
    typer.Option(callback=in_utf8, help='Only in this organisation; "" for rows without one.'),
]


@commands.command()
def export(
    user: User,
    org: Org = None,
    output: Annotated[str, typer.Option(help="A file; - is the standard output.")] = "-",
) -> None:
    """Write all that one user has as JSON lines.

    Threads, each before its items, attachment records, and what they thought of answers.
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

    Threads with their items, attachment records, and what they thought of answers. A turn that is
    running in one of them ends.
    """
    if not yes and not is_terminal(sys.stdin):
        raise SystemExit("There is nobody to ask: --yes removes without asking.")
    with plainly(), opened() as (store, runner):
        owners = runner.run(owners_of(store, user, org))
        found = runner.run(count(store, owners))
        if not yes and found.total() and not confirmed(f"Remove {told(found)} of {user!r}?"):
            raise SystemExit("Nothing was removed.")
        with progress("Removing", found["threads"] + found["attachments"]) as advance:
            counts = runner.run(sweep(store, owners, advance))
        typer.echo(f"Removed {told(counts)}.")


@commands.command()
def purge(
    older_than: Annotated[str, typer.Option(callback=a_period, help="As in 36h, 90d or 12w.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
) -> None:
    """Remove what is old, whoever has it.

    Threads that were not changed for so long, and attachment records that were made before that.
    A thread in which a turn is running stays, and so does an attachment of a thread that stays.
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
            counts[f"{kind}s"] += 1
        advance(len(records))
    return counts


async def sweep(
    store: "Retention",
    owners: list["Owner"] | list[None],
    advance: Callable[[int], None],
    **limits: Any,
) -> Counter[str]:
    """Remove threads with their items, then attachments; how many of which kind they were."""
    counts = Counter[str]()
    tables: tuple[Table, ...] = ("threads", "attachments")
    for table in tables:
        for owner in owners:
            async for found in store.sweep(table, owner, **limits):
                advance(found.pop("seen"))
                counts += found
    return counts


def told(counts: Counter[str]) -> str:
    """As in: 1 thread, 20 items and 0 attachments."""
    threads, items, attachments = (
        f"{counts[f'{name}s']} {name}{'s' * (counts[f'{name}s'] != 1)}"
        for name in ("thread", "item", "attachment")
    )
    return f"{threads}, {items} and {attachments}"


def confirmed(question: str) -> bool:
    try:
        return Confirm.ask(Text(question), default=False, console=Console(stderr=True))
    except EOFError:
        return False


def is_terminal(stream: IO[str] | None) -> bool:
    return stream is not None and stream.isatty()  # None: it was closed before the start


@contextmanager
def progress(label: str, total: int, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """A bar on the terminal, if there is one; `total` is how often it is to be advanced by 1."""
    with Progress(
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
        disable=quiet or not is_terminal(sys.stderr),
    ) as bar:
        task = bar.add_task(label, total=total)
        yield lambda rows: bar.advance(task, rows)


@contextmanager
def plainly() -> Iterator[None]:
    """End what is interrupted, or cannot write, with one sentence and no traceback."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("Stopped before the end.", err=True)
        raise SystemExit(130) from None
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        raise SystemExit(f"Stopped before the end: {error.strerror or error}{where}.") from None


@contextmanager
def written(output: str) -> Iterator[IO[bytes]]:
    """The standard output, or a file that takes its place once it is whole. Raises OSError."""
    if output == "-":
        if sys.stdout is None:
            raise SystemExit("The standard output is closed: name a file with --output.")
        yield sys.stdout.buffer
        sys.stdout.flush()
        return
    path = Path(output).resolve()
    if path.exists() and not path.is_file():
        raise SystemExit(
            f"{output} is not an ordinary file: name another, or - for standard output."
        )
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".export-")  # only its owner reads it
    try:
        with open(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(handle)
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise


@contextmanager
def opened() -> Iterator[tuple["Retention", asyncio.Runner]]:
    """The project's store, and what runs its methods.

    Raises SystemExit with one sentence where the settings or the database do not allow it.
    """
    from .config import load, stop_on_problems
    from .errors import StoreUnavailable
    from .store import StoreSettings, open_store
    from .store.retention import Retention

    settings = load(StoreSettings)
    stop_on_problems(settings)
    for note in settings.notes():
        typer.echo(note, err=True)
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        store = runner.run(stack.enter_async_context(open_store(settings)))
        try:
            assert isinstance(store, Retention)
            if reason := runner.run(store.ready()):
                raise SystemExit(reason)
            yield store, runner
        except StoreUnavailable:
            reason = runner.run(store.ready())
            raise SystemExit(reason or "The database failed for a moment: try again.") from None
        finally:
            runner.run(stack.aclose())


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):  # asyncio's own handler lets a write wait on
        signal.signal(number, interrupt)
    logging.disable(logging.ERROR)  # what ends a command is one sentence, see opened()
    commands(prog_name="python -m app.data")
