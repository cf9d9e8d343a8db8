"""A token without an identity provider, for development: signed by a throw-away key.

The template's file: improvements arrive through `copier update`.
"""

import time
from typing import Any

import jwt

from .curl import curl, development, sender
from .jwt import JwtSettings
from .jwt_key import dev_key

LIFE = 24 * 3600  # seconds


def main() -> None:
    """Print a `curl` with a token of a day for `dev`, or for the user whom the command names."""
    settings, now = development(JwtSettings), int(time.time())
    if settings.key_settings:
        told = "is set, and this has no key for it: take a token of your identity provider's."
        raise SystemExit(f"{settings.key_settings[0]} {told}")
    claims: dict[str, Any] = {"iat": now, "exp": now + LIFE}
    claims["sub"] = claims[settings.jwt_user_claim] = sender()
    for name, accepted in (("iss", settings.issuer), ("aud", settings.audience)):
        if accepted:
            claims[name] = accepted[0]
    token = jwt.encode(claims, dev_key(), "EdDSA")
    print(curl("-H", f"authorization: Bearer {token}"))
