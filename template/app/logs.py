"""The log: one stream of lines to stderr, for people in development, JSON in production.

The template's file: improvements arrive through `copier update`.
"""

import logging
import sys
from time import perf_counter
from typing import Any

import structlog
from structlog.dev import ConsoleRenderer, plain_traceback
from structlog.processors import ExceptionRenderer, JSONRenderer, TimeStamper
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, Processor, WrappedLogger

from .errors import describe, logger, without_values
from .facts import facts

ABOUT = ("request_id", "owner", "operation", "thread_id")  # what every line of a request carries
# What uvicorn says of a reader that has left, and of an address with its query string.
UNWANTED = ("without completing response", '"WebSocket ')


def log_request(facts: dict[str, Any], route: str, began: float) -> None:
    """The one line of a request, once its answer has been sent; `began` is a perf_counter()."""
    is_probe = route in ("/health", "/ready") and facts.get("status") == 200
    level = logging.DEBUG if is_probe else logging.INFO
    if logger.isEnabledFor(level):
        told = {"operation": route, **facts, "seconds": round(perf_counter() - began, 4)}
        told = {name: value for name, value in told.items() if value is not None}
        structlog.get_logger("app").log(level, "request", **told)


def about_request(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """A processor: every line that is written on behalf of a request says of which."""
    for name in ABOUT:
        if (known := facts().get(name)) is not None:
            event.setdefault(name, known)
    return event


def first_line(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """A processor: below its first line, asyncio quotes what a lost task has raised."""
    if event["_record"].name == "asyncio":
        event["event"] = str(event["event"]).partition("\n")[0]
    return event


def is_wanted(record: logging.LogRecord) -> bool:
    """A log filter, for uvicorn."""
    return not any(text in record.getMessage() for text in UNWANTED)


# What a line has, whoever wrote it; then how it is written.
SHARED: list[Processor] = [
    about_request,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    TimeStamper(fmt="iso"),
]
SAFE: list[Processor] = [first_line, ExceptionRenderer(lambda exc_info: describe(exc_info[1]))]


def configure_logging(level: str, as_json: bool) -> None:
    """Send the log to stderr from `level` on; a log that is set up already stays as it is."""
    logger.setLevel(level)
    for name in ("chatkit", "openai.agents"):
        sdk = logging.getLogger(name)
        sdk.handlers.clear()  # chatkit adds one of its own when LOG_LEVEL is set
        sdk.setLevel(level if level == "DEBUG" else "WARNING")
        sdk.addFilter(without_values)
    logging.getLogger("uvicorn.error").addFilter(is_wanted)
    if not structlog.is_configured():
        structlog.configure(
            [structlog.stdlib.filter_by_level, *SHARED, ProcessorFormatter.wrap_for_formatter],
            logger_factory=structlog.stdlib.LoggerFactory(),
            wrapper_class=structlog.stdlib.BoundLogger,
        )
    root, handler = logging.getLogger(), logging.StreamHandler()
    handler.name = "app"
    people = ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain_traceback)
    last: list[Processor] = [
        ProcessorFormatter.remove_processors_meta,
        JSONRenderer() if as_json else people,
    ]
    handler.setFormatter(ProcessorFormatter(foreign_pre_chain=SHARED, processors=SAFE + last))
    if all(other.name == handler.name for other in root.handlers):
        root.handlers = [handler]
        for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
            server = logging.getLogger(name)
            server.handlers, server.propagate = [], name != "uvicorn.access"
