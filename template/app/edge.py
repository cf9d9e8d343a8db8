"""What is settled before a request is anybody's: its origin, its type, its size and its pace.

The template's file: improvements arrive through `copier update`.
"""

import asyncio

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import ApiError


class BodyLimit:
    """Pure ASGI: counts a body while it streams in, and the time that it takes.

    `await request.body()` then raises ApiError: 413 over `max_bytes`, 408 after `seconds`.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, seconds: float) -> None:
        self.app, self.max_bytes, self.seconds = app, max_bytes, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
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
                raise ApiError(408, "too_slow", "The body took too long.", close=True) from None
            left -= len(message.get("body", b""))
            if left < 0:
                raise ApiError(
                    413, "too_large", f"The limit is {self.max_bytes} bytes.", close=True
                )
            complete = not message.get("more_body", False)
            return message

        await self.app(scope, limited, send)


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
