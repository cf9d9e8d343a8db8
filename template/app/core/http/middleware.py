"""What is settled before a request is anybody's, and what every answer to one carries."""

import asyncio
import re
import socket
import sys
import uuid
from contextlib import suppress
from time import perf_counter
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import ApiError, error_response
from ..log_context import begin_log_context, log_context
from ..logs import log_request

MAX_HEADERS = 32_768  # bytes of a request's address and headers
MAX_SILENCE = 60.0  # seconds in which a reader takes nothing of what is sent
REQUEST_ID = re.compile(rb"[\da-f]{32}|[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}", re.IGNORECASE)
LAST = {"connection": "close"}  # where the rest of a body is not waited for
# What a script on a page of another origin may read of an answer.
EXPOSED = ["X-Request-ID", "Retry-After", "WWW-Authenticate"]
NO_STORE = (b"cache-control", b"no-store")
# What keeps a browser from making more of an answer than it is. In production nothing is a page,
# and no address is plain http; in development the pages of /docs bring scripts.
SECURITY = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]
IN_DEVELOPMENT = [(b"content-security-policy", b"frame-ancestors 'none'")]
HTTPS = (b"strict-transport-security", b"max-age=31536000")
IN_PRODUCTION = [(b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"), HTTPS]


class RequestLogMiddleware:
    """Pure ASGI, around everything: a request's id, the headers of its answer, its line in the log.

    A client's X-Request-ID counts if it is a UUID: whatever else it may be would be logged.
    """

    def __init__(self, app: ASGIApp, is_production: bool) -> None:
        self.app = app
        self.headers = SECURITY + (IN_PRODUCTION if is_production else IN_DEVELOPMENT)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, asked = perf_counter(), dict(scope["headers"]).get(b"x-request-id", b"")
        request_id = asked if REQUEST_ID.fullmatch(asked) else uuid.uuid4().hex.encode()
        known = begin_log_context(request_id.decode())

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                known["status"], headers = message["status"], message["headers"]
                kept = [NO_STORE] * all(name != b"cache-control" for name, _ in headers)
                message["headers"] = [*headers, *kept, *self.headers, (b"x-request-id", request_id)]
            await send(message)

        try:
            await self.app(scope, receive, answer)
        finally:
            route = "preflight" if scope["method"] == "OPTIONS" else "unknown"
            log_request(getattr(scope.get("route"), "path", route), began)


class BodyLimitMiddleware:
    """Pure ASGI: bounds headers that are there, counts a body as it streams in, and its time.

    `await request.body()` then raises ApiError: 413 over `max_bytes`, 408 after `seconds`.
    Whatever leaves the application as an exception is answered here, where CORS still sees it.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, seconds: float) -> None:
        self.app, self.max_bytes, self.seconds = app, max_bytes, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        # ASGI has no word for dropping a connection that takes nothing more; uvicorn has one.
        transport = getattr(getattr(receive, "__self__", None), "transport", None)
        scope["abort"] = getattr(transport, "abort", lambda: None)
        bound_silence(transport)
        deadline = asyncio.get_running_loop().time() + self.seconds
        left, complete = self.max_bytes, False

        async def limited() -> Message:
            nonlocal left, complete
            if complete:  # from here on `receive` only tells of a disconnect, whenever it comes
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise ApiError(408, "too_slow", "The body took too long.", **LAST) from None
            left -= len(message.get("body", b""))
            if left < 0:
                raise ApiError(413, "too_large", f"The limit is {self.max_bytes} bytes.", **LAST)
            complete = not message.get("more_body", False)
            return message

        try:
            size = len(scope["raw_path"]) + len(scope["query_string"])
            if size + sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEADERS:
                raise ApiError(431, "headers_too_large", f"The limit is {MAX_HEADERS} bytes.")
            await self.app(scope, limited, send)
        except Exception as error:
            if (
                "status" in log_context()
            ):  # it is too late for an answer: the server cuts the connection
                raise
            await error_response(error)(scope, receive, send)


def bound_silence(transport: Any) -> None:
    """Let Linux cut a connection whose reader neither reads nor leaves.

    uvicorn would keep it, and what is unsent, for ever, and not end before it.
    """
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):  # no TCP below, or already closed
            of_tcp = socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(MAX_SILENCE * 1000)
            transport.get_extra_info("socket").setsockopt(*of_tcp)


def check_headers(request: Request, allowed_origins: tuple[str, ...]) -> None:
    """Refuse what a page of another site could make a browser send along with its cookies.

    Raises ApiError: 403 for a foreign origin, 415 for a body that is not JSON (which a browser
    sends across origins without asking first).
    """
    origin, host = request.headers.get("origin"), request.headers.get("host")
    own = origin in (None, f"http://{host}", f"https://{host}")
    own = own and request.headers.get("sec-fetch-site") != "cross-site"
    if not own and origin not in allowed_origins:
        raise ApiError(403, "origin_not_allowed", "ALLOWED_ORIGINS does not list this origin.")
    content_type = request.headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise ApiError(415, "not_json", "Send the body as content-type: application/json.")
