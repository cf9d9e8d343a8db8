"""The log: one stream of lines to stderr, for people in development, JSON in production."""

import logging
import sys
from time import perf_counter

import structlog
from structlog import stdlib
from structlog.dev import ConsoleRenderer, plain_traceback
from structlog.processors import ExceptionRenderer, JSONRenderer, TimeStamper
from structlog.stdlib import ProcessorFormatter, add_log_level, add_logger_name
from structlog.typing import EventDict, Processor, WrappedLogger

from . import development
from .errors import describe, logger, without_values
from .log_context import log_context

# What uvicorn says of a reader that has left, and of an address with its query string.
UNWANTED = ("without completing response", '"WebSocket ')


def log_request(route: str, began: float) -> None:
    """The one line of a request, once its answer has been sent; `began` is a perf_counter()."""
    log_context().setdefault("operation", route)
    is_probe = route in ("/health", "/ready") and log_context().get("status") == 200
    level, seconds = logging.DEBUG if is_probe else logging.INFO, perf_counter() - began
    structlog.get_logger(logger.name).log(level, "request", seconds=round(seconds, 4))


def about_request(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """A processor: every line that is written on behalf of a request says what is known of it."""
    return {**log_context(), **event}


def first_line(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """A processor: below its first line, asyncio quotes what a lost task has raised."""
    if event["_record"].name == "asyncio":
        event["event"] = str(event["event"]).partition("\n")[0]
    return event


def is_wanted(record: logging.LogRecord) -> bool:
    """A log filter, for uvicorn."""
    return not any(text in record.getMessage() for text in UNWANTED)


SDKS = ("chatkit", "openai.agents")
hosted = False  # whether an application around this one has the root of the log: app/mount.py

# What a line has, whoever wrote it; then how it is written.
SHARED: list[Processor] = [about_request, add_log_level, add_logger_name, TimeStamper(fmt="iso")]
SAFE: list[Processor] = [first_line, ExceptionRenderer(lambda exc_info: describe(exc_info[1]))]


def configure_logging(level: str, as_json: bool) -> None:
    """Send the log to stderr from `level` on; a log that is set up already stays as it is."""
    development.is_on = not as_json
    logger.setLevel(level)
    for name in SDKS:
        sdk = logging.getLogger(name)
        sdk.handlers.clear()  # chatkit adds one of its own when LOG_LEVEL is set
        sdk.setLevel(level if level == "DEBUG" else "WARNING")
        sdk.addFilter(without_values)
    if not structlog.is_configured():
        chain = [stdlib.filter_by_level, *SHARED, ProcessorFormatter.wrap_for_formatter]
        structlog.configure(chain, stdlib.BoundLogger, logger_factory=stdlib.LoggerFactory())
    root, handler = logging.getLogger(), logging.StreamHandler()
    handler.name = "app"
    people = ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain_traceback)
    last: Processor = JSONRenderer() if as_json else people
    chain = [*SAFE, ProcessorFormatter.remove_processors_meta, last]
    handler.setFormatter(ProcessorFormatter(foreign_pre_chain=SHARED, processors=chain))
    is_free = all(other.name == handler.name for other in root.handlers)
    for name in (logger.name, *SDKS) if hosted else ():
        part = logging.getLogger(name)
        part.handlers, part.propagate = [handler] * is_free, not is_free
    if not hosted:
        logging.getLogger("uvicorn.error").addFilter(is_wanted)
    if is_free and not hosted:
        root.handlers = [handler]
        for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
            server = logging.getLogger(name)
            server.handlers, server.propagate = [], name != "uvicorn.access"
