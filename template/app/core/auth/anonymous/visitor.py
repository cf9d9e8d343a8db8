"""Visitors without an account: each browser has a signed cookie and sees its own threads only."""

import hashlib
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

from itsdangerous import Signer
from pydantic import Field, SecretStr
from starlette.requests import Request
from starlette.responses import Response

from ...config import AppSettings
from ...context import RequestContext

USES_COOKIES = True  # so a page on another origin has to send credentials
MAX_AGE = 400 * 24 * 3600  # seconds; browsers keep no cookie for longer


class AnonymousSettings(AppSettings):
    visitor_secret: SecretStr = Field(default_factory=lambda: SecretStr(secrets.token_hex()))

    def errors(self) -> list[str]:
        return super().errors() + self._unset * self.is_production

    def startup_warnings(self) -> list[str]:
        return super().startup_warnings() + self._unset

    @property
    def _unset(self) -> list[str]:
        told = "VISITOR_SECRET is not set: after a restart every visitor is a new one. "
        told += "`python3 hooks/post_gen.py` writes one to .env."
        return [told] * ("visitor_secret" not in self.model_fields_set)


class Anonymous:
    """What the application keeps open to know people by: nothing, a cookie says it all."""

    async def ready(self) -> str | None:
        """Why nobody can be known now, or None when people can."""
        return None


@asynccontextmanager
async def open_auth(settings: AnonymousSettings) -> AsyncIterator[Anonymous]:
    """What `authenticate` needs, for the life of the application, as `app.state.auth`."""
    yield Anonymous()


async def authenticate(request: Request) -> RequestContext:
    """The visitor whose cookie the request carries, or a new one.

    It goes out with the answer, so that it lasts from the last visit on. A forged cookie makes a
    new visitor.
    """
    settings: AnonymousSettings = request.app.state.settings
    secret = settings.visitor_secret.get_secret_value()
    signer = Signer(secret, salt="visitor", digest_method=hashlib.sha256)
    is_https = settings.is_production or request.scope["scheme"] == "https"
    secure = is_https or bool(settings.allowed_origins)
    # __Host- keeps a sibling subdomain from planting a cookie of its own.
    name = "__Host-visitor" if secure else "visitor"
    cookie = request.cookies.get(name, "")
    value = cookie if signer.validate(cookie) else signer.sign(secrets.token_hex(16)).decode()
    carrier = Response()
    site: Literal["none", "lax"] = "none" if settings.allowed_origins else "lax"
    carrier.set_cookie(name, value, MAX_AGE, secure=secure, httponly=True, samesite=site)
    # Partitioned: browsers that block the cookies of other sites keep this one, a jar per site.
    partition = "; Partitioned" if settings.allowed_origins else ""
    request.state.set_cookie = carrier.headers["set-cookie"] + partition
    return RequestContext(user_id=f"visitor_{signer.unsign(value).decode()}")
