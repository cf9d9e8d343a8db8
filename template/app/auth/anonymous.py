"""Visitors without an account: each browser has a signed cookie and sees its own threads only.

The template's file: improvements arrive through `copier update`.
"""

import hashlib
import secrets
from functools import lru_cache

from itsdangerous import BadSignature, Signer
from pydantic import PrivateAttr, SecretStr
from starlette.requests import Request
from starlette.responses import Response

from ..config import AppSettings
from ..context import RequestContext

MAX_AGE = 400 * 24 * 3600  # seconds; browsers keep no cookie for longer


class AnonymousSettings(AppSettings):
    visitor_secret: SecretStr | None = None
    _random: str = PrivateAttr(default_factory=secrets.token_urlsafe)

    @property
    def visitor_key(self) -> str:
        return self.visitor_secret.get_secret_value() if self.visitor_secret else self._random

    def problems(self) -> list[str]:
        if self.visitor_secret and len(self.visitor_key) < 16:
            return [
                *super().problems(),
                "VISITOR_SECRET is shorter than 16 characters: make one "
                "with `python -c 'import secrets; print(secrets.token_urlsafe(32))'`.",
            ]
        return super().problems()

    def notes(self) -> list[str]:
        if self.visitor_secret:
            return super().notes()
        return [
            *super().notes(),
            "VISITOR_SECRET is not set: a random one is used, and after a restart every visitor "
            "is a new one. `python hooks/post_gen.py` writes one to .env.",
        ]


async def authenticate(request: Request) -> RequestContext:
    """The visitor whose cookie the request carries, or a new one.

    A new visitor's cookie goes out with the answer. A forged cookie makes a new visitor too.
    """
    settings: AnonymousSettings = request.app.state.settings
    signer = _signer(settings.visitor_key)
    secure = (
        bool(settings.allowed_origins) or settings.is_production or request.url.scheme == "https"
    )
    # __Host- keeps a sibling subdomain from planting a cookie of its own.
    name = "__Host-visitor" if secure else "visitor"
    if (visitor := _verified(request.cookies.get(name), signer)) is None:
        visitor = secrets.token_hex(16)
        carrier = Response()
        carrier.set_cookie(
            name,
            signer.sign(visitor).decode(),
            max_age=MAX_AGE,
            secure=secure,
            httponly=True,
            samesite="none" if settings.allowed_origins else "lax",
        )
        request.state.set_cookie = carrier.headers["set-cookie"]
    return RequestContext(user_id=f"visitor_{visitor}")


def _verified(cookie: str | None, signer: Signer) -> str | None:
    try:
        return signer.unsign(cookie).decode() if cookie else None
    except (BadSignature, ValueError):
        return None


@lru_cache(maxsize=4)
def _signer(secret: str) -> Signer:
    return Signer(secret, salt="visitor", digest_method=hashlib.sha256)
