"""What the project's commands share: their options, their store, and how they end."""

import asyncio
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress

if TYPE_CHECKING:  # importing a store takes a second, in which a Ctrl-C would be a traceback
    from ..store.sql.retention import Retention


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


User = Annotated[str, typer.Option(callback=not_empty, help="The user's id.")]
Org = Annotated[
    str | None,
    typer.Option(callback=in_utf8, help='Only in this organisation; "" for rows without one.'),
]


SIGNALS = (signal.SIGINT, signal.SIGTERM)


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
    # asyncio's own handler of SIGINT waits for a blocking write: ours interrupts it.
    before = {number: signal.signal(number, interrupt) for number in SIGNALS}
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("Stopped before the end.", err=True)
        raise SystemExit(130) from None
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        raise SystemExit(f"Stopped before the end: {error.strerror or error}{where}.") from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
        raise SystemExit(f"{output} is not an ordinary file: name another, or - for stdout.")
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
    from ..config import load, stop_on_problems
    from ..errors import StoreUnavailable
    from ..store import StoreSettings, open_store
    from ..store.sql.retention import Retention

    settings = load(StoreSettings)
    stop_on_problems(settings)
    for note in settings.startup_warnings():
        typer.echo(note, err=True)
    logging.disable(logging.ERROR)  # the command ends with one sentence instead of log lines
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
            logging.disable(logging.NOTSET)


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt
