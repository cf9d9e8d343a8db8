"""What goes wrong, as HTTP statuses, as words that a person can read, and as a log without
secrets.
"""

import binascii
import logging
import traceback
from http import HTTPStatus

from chatkit.errors import CustomStreamError
from chatkit.store import NotFoundError
from chatkit.types import ErrorEvent
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse

from . import development
from .development import owners_text
from .log_context import request_id

logger = logging.getLogger(__package__.rpartition(".")[0])  # "app", unless it is mounted


class ApiError(Exception):
    """A request that is answered with `status`, `headers` and `{"error": {"code", "message"}}`."""

    def __init__(self, status: int, code: str, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class CursorError(Exception):
    """A page was asked for after something that cannot be a place in the list."""


class StoreUnavailable(CustomStreamError):
    """The store cannot be used now; the reason is in the log."""

    def __init__(self) -> None:
        text = "Conversations cannot be reached right now. Please try again."
        super().__init__(text, allow_retry=True)


def not_supported(what: str) -> ApiError:
    return ApiError(400, "not_supported", f"This server does not support {what}.")


def as_api_error(error: Exception) -> ApiError:
    """The HTTP answer to anything that was raised before the first event of a stream."""
    match error:
        case ApiError():
            return error
        case NotFoundError():
            return ApiError(404, "not_found", "There is no such thread, item or attachment.")
        case CursorError():
            return ApiError(400, "bad_cursor", "The cursor `after` is malformed or unknown.")
        case StoreUnavailable():
            return ApiError(503, "unavailable", str(error.message))
        case NotImplementedError():
            return not_supported("this request")
        case HTTPException(status_code=status):  # a path or a method that is not there
            phrase = HTTPStatus(status).phrase
            code = phrase.lower().replace(" ", "_")
            return ApiError(status, code, f"{phrase}.", **(error.headers or {}))
        case binascii.Error():  # what was dictated
            return ApiError(400, "invalid_request", "The audio is not written as Base64.")
        case ClientDisconnect():
            return ApiError(400, "body_cut", "The body broke off.")  # nobody is there to read it
        case ValueError() if _raised_by_the_sdk(error):
            return ApiError(400, "invalid_request", "The request does not fit the thread's state.")
    return ApiError(500, "internal_error", f"Something went wrong. Request id: {report(error)}")


def error_response(error: Exception) -> JSONResponse:
    answer = as_api_error(error)
    body = {"error": {"code": answer.code, "message": answer.message}}
    return JSONResponse(body, answer.status, headers=answer.headers)


async def answer_error(_: Request, error: Exception) -> JSONResponse:
    """An unknown path or method is answered like everything else that is wrong."""
    return error_response(error)


def error_event(error: Exception) -> ErrorEvent:
    """The event that ends a stream which has already begun."""
    if isinstance(error, NotFoundError):
        return ErrorEvent(message="This conversation no longer exists.", allow_retry=False)
    if isinstance(error, CustomStreamError):
        return ErrorEvent(message=error.message, allow_retry=error.allow_retry)
    text = f"Something went wrong. Please try again. (Request id: {report(error)})"
    return ErrorEvent(message=text, allow_retry=True)


def report(error: BaseException, hint: str = "") -> str:
    """Log an unforeseen error; the id under which the log has it."""
    reference = request_id()
    logger.error("request %s failed: %s%s", reference, hint, describe(error))
    return reference


def describe(error: BaseException) -> str:
    """Type, HTTP status and own frames of an error: its text may quote a person or a key.

    In development also the text of an error of the owner's, whose keys are left out.
    """
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "site-packages" not in frame.filename] or frames
    name = f"{type(error).__qualname__} {getattr(error, 'status_code', '')}".rstrip()
    text = owners_text(error, frames) if development.is_on else ""
    return f"{name}{': ' * bool(text)}{text}\n{''.join(traceback.format_list(own))}".rstrip()


def _is_unforeseen(error: BaseException) -> bool:
    known = ApiError | NotFoundError | CursorError | CustomStreamError
    expected = isinstance(error, known)
    return not (expected or (isinstance(error, ValueError) and _raised_by_the_sdk(error)))


def _raised_by_the_sdk(error: BaseException) -> bool:
    """chatkit.server answers a request that does not fit the thread with a bare ValueError."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return frame.f_globals.get("__name__") == "chatkit.server"


def without_values(record: logging.LogRecord) -> bool:
    """A log filter: of what an SDK says there remain the place, and an error's type and frames.

    Its words may quote a person. An error that a client caused is left out. Warnings about the
    names of tools and agents stay; in development LOG_LEVEL=DEBUG shows openai-agents' words.
    """
    error = record.exc_info[1] if record.exc_info else None
    said = describe(error) if error else f"{record.module}.{record.funcName}, line {record.lineno}"
    if development.is_about_names(record) or (
        development.is_on and development.speaks_freely(record)
    ):
        said = f"{record.getMessage()} {said}" if error else record.getMessage()
    record.msg, record.args, record.exc_info = f"{record.name}: {said}", None, None
    return error is None or _is_unforeseen(error)
