"""What goes wrong, as HTTP statuses, as words that a person can read, and as a log without secrets.

The template's file: improvements arrive through `copier update`.
"""

import logging
import traceback
import uuid

from chatkit.store import NotFoundError
from chatkit.types import ErrorEvent
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse

logger = logging.getLogger("app")


class ApiError(Exception):
    """A request that is answered with `status` and `{"error": {"code", "message"}}`."""

    def __init__(self, status: int, code: str, message: str, *, close: bool = False) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.headers = {"connection": "close"} if close else None


class CursorError(Exception):
    """A page was asked for after something that cannot be a place in the list."""


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
        case NotImplementedError():
            return not_supported("this request")
        case ClientDisconnect():
            return ApiError(400, "body_cut", "The body broke off.")  # nobody is there to read it
        case ValueError() if _raised_by_the_sdk(error):
            return ApiError(400, "invalid_request", "The request does not fit the thread's state.")
    return ApiError(500, "internal_error", f"Something went wrong. Request id: {report(error)}")


def error_response(error: Exception) -> JSONResponse:
    answer = as_api_error(error)
    body = {"error": {"code": answer.code, "message": answer.message}}
    return JSONResponse(body, answer.status, headers=answer.headers)


def error_event(error: Exception) -> ErrorEvent:
    """The event that ends a stream which has already begun."""
    if isinstance(error, NotFoundError):
        return ErrorEvent(message="This conversation no longer exists.", allow_retry=False)
    text = f"Something went wrong. Please try again. (Request id: {report(error)})"
    return ErrorEvent(message=text, allow_retry=True)


def report(error: BaseException, hint: str = "") -> str:
    """Log an unforeseen error; the id under which the log has it."""
    reference = uuid.uuid4().hex
    logger.error("request %s failed: %s%s", reference, hint, describe(error))
    return reference


def describe(error: BaseException) -> str:
    """Type, HTTP status and own frames of an error: its text may quote a person or a key."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "site-packages" not in frame.filename] or frames
    name, status = type(error).__qualname__, getattr(error, "status_code", "")
    return f"{name} {status}\n{''.join(traceback.format_list(own))}".rstrip()


def _is_unforeseen(error: BaseException) -> bool:
    expected = isinstance(error, ApiError | NotFoundError | CursorError)
    return not (expected or (isinstance(error, ValueError) and _raised_by_the_sdk(error)))


def _raised_by_the_sdk(error: BaseException) -> bool:
    """chatkit.server answers a request that does not fit the thread with a bare ValueError."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return frame.f_globals.get("__name__") == "chatkit.server"


def without_values(record: logging.LogRecord) -> bool:
    """A log filter: an SDK's traceback becomes its frames; what a client caused is left out."""
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        record.msg, record.args, record.exc_info = f"{record.name}: {describe(error)}", None, None
    return error is None or _is_unforeseen(error)


def not_a_lost_reader(record: logging.LogRecord) -> bool:
    """A log filter: uvicorn calls it an error when a stream's reader has stopped reading."""
    return "without completing response" not in record.getMessage()


def configure_logging(level: str) -> None:
    """Send the log to stderr from `level` on; a log that is set up already stays as it is."""
    logging.basicConfig(format="%(levelname)s:     %(name)s: %(message)s")
    logger.setLevel(level)
    for name in ("chatkit", "openai.agents"):
        sdk = logging.getLogger(name)
        sdk.handlers.clear()  # chatkit adds one of its own when LOG_LEVEL is set
        sdk.setLevel(level if level == "DEBUG" else "WARNING")
        sdk.addFilter(without_values)
    logging.getLogger("uvicorn.error").addFilter(not_a_lost_reader)
