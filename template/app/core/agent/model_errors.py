"""What a person reads when the model fails: one clear sentence, never the provider's own words."""

import re
from typing import Any

import httpx
import openai
from agents import ToolErrorFormatterArgs
from agents import exceptions as sdk
from chatkit.errors import CustomStreamError
from chatkit.types import ErrorEvent

from ..errors import describe, error_event, logger, report


class ModelStalled(TimeoutError):
    """A provider was silent in mid-answer for MODEL_STALL seconds."""


class TryLater(Exception):
    """A provider that asks for a longer wait than a person should sit through."""

    def __init__(self, seconds: float, status: int | None = None) -> None:
        super().__init__(seconds)
        self.minutes, self.status_code = max(1, round(seconds / 60)), status


REFUSED = "cannot answer this message."
NOT_SET_UP, UNKNOWN = "is not set up correctly.", "has no model of this name."
TOO_LONG, BUSY, BROKEN = (
    "took too long to answer.",
    "has too much to do.",
    "has a problem right now.",
)
BY_STATUS = {401: NOT_SET_UP, 403: NOT_SET_UP, 404: UNKNOWN, 408: TOO_LONG, 429: BUSY}
# The first that fits: subclasses stand before what they derive from.
BY_KIND: list[tuple[type[Exception], str]] = [
    (sdk.MaxTurnsExceeded, "could not finish within the steps that it may take."),
    (sdk.InputGuardrailTripwireTriggered, REFUSED),
    (sdk.OutputGuardrailTripwireTriggered, REFUSED),
    (TryLater, BUSY),
    (ModelStalled, "broke off in mid-answer."),
    (TimeoutError, TOO_LONG),
    (openai.APITimeoutError, TOO_LONG),
    (openai.APIConnectionError, "cannot be reached right now."),
    (openai.APIError, "broke off in mid-answer."),
    (httpx.TransportError, "broke off in mid-answer."),
]


# For the log: what its reader can do.
KEY, NAME = "the service refuses the key or identity. ", "the service does not know MODEL. "
HINTS = {401: KEY, 403: KEY, 404: NAME, 429: "the model service's limit or quota is used up. "}


def model_failure(error: Exception) -> ErrorEvent:
    """The event for what a run raised; the log has the error under the id that the event names."""
    if isinstance(error, sdk.ModelRefusalError):
        return ErrorEvent(message=error.refusal)
    status = getattr(error, "status_code", None)
    fault = next((text for kind, text in BY_KIND if isinstance(error, kind)), None)
    if isinstance(status, int) and status >= 400:
        fault = BY_STATUS.get(status, BROKEN if status >= 500 else REFUSED)
    if fault is None:
        return error_event(error)
    again = status is None or status in (408, 409, 429) or status >= 500
    reference = report(error, HINTS.get(status or 0, ""))
    later = f" in about {_minutes(error.minutes)}" if isinstance(error, TryLater) else ""
    advice = f" Please try again{later}." * again
    text = f"The assistant {fault}{advice} (Request id: {reference})"
    return ErrorEvent(message=text, allow_retry=again)


def _minutes(count: int) -> str:
    if count >= 120:
        return f"{round(count / 60)} hours"
    return f"{count} minutes" if count > 1 else "a minute"


class ToolError(CustomStreamError):
    """What stands in a tool's way, in words for the model to pass on; an action's for a person."""


def tool_failure(args: ToolErrorFormatterArgs[Any]) -> str | None:
    """What the model is told of a tool that raised: a ToolError's words, else only that it failed.

    The log has the rest.
    """
    if isinstance(args.error, ToolError):
        return args.error.message
    if args.kind == "tool_not_found":
        # The name is the model's text: it is logged only where it could be a tool's.
        name = args.tool_name if re.fullmatch(r"(?a)[a-z]\w{0,63}", args.tool_name) else "?"
        logger.warning("the model called a tool that its agent does not have: %s", name)
    if args.kind == "tool_exception" and args.error is not None:
        logger.error("tool %s failed: %s", args.tool_name, describe(args.error))
    return None
