"""Development: a token without an identity provider, signed by a throw-away key."""

import time
from typing import Any

import jwt

from ..curl import development
from .bearer import JwtSettings
from .dev_key import dev_key

LIFE = 24 * 3600  # seconds


def credentials(user: str, url: str) -> tuple[str, ...]:
    """Options for `curl`: a token for `user` that is valid for a day."""
    settings, now = development(JwtSettings), int(time.time())
    if settings.key_settings:
        told = "is set, and this has no key for it: take a token of your identity provider's."
        raise SystemExit(f"{settings.key_settings[0]} {told}")
    claims: dict[str, Any] = {"iat": now, "exp": now + LIFE}
    claims["sub"] = claims[settings.jwt_user_claim] = user
    for name, accepted in (("iss", settings.issuer), ("aud", settings.audience)):
        if accepted:
            claims[name] = accepted[0]
    token = jwt.encode(claims, dev_key(), "EdDSA")
    return "-H", f"authorization: Bearer {token}"
