"""People as a reverse proxy names them, in a header that counts only beside the proxy's secret."""

import hmac
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from pydantic import AfterValidator
from starlette.requests import Request

from ...config import AppSettings, Key, fitting
from ...context import RequestContext
from ...errors import ApiError

# Such a proxy knows a browser by a cookie: a page on another origin has to send it along, and
# `check_headers` keeps the pages that ALLOWED_ORIGINS does not list from using it.
USES_COOKIES = True
PROOF = "x-auth-proxy-secret"
SHORTEST_PROOF = 32  # characters, in production

# Visible ASCII; a comma is what intermediaries join repeated headers with.
ID, ROLES, ANY = r"[!-+\--~]{1,255}", r"[ -~]{0,4096}", r"(?s).*"

Name = Annotated[str, fitting("[A-Za-z0-9-]+", "write a header's name"), AfterValidator(str.lower)]


class HeaderSettings(AppSettings):
    auth_header: Name = "x-user-id"
    auth_org_header: Name | None = None
    auth_roles_header: Name | None = None  # its roles are separated by commas
    auth_proxy_secret: Key | None = None  # without one, in development, nobody has to prove it

    def errors(self) -> list[str]:
        wanting = self.is_production and len(self.proof or "") < SHORTEST_PROOF
        told = f"AUTH_PROXY_SECRET is {'too short' if self.proof else 'not set'}: have your proxy "
        told += f"send a secret of {SHORTEST_PROOF} characters or more as {PROOF}, and set the "
        told += "same one here. `openssl rand -hex 32` makes one."
        return super().errors() + [told] * wanting

    def startup_warnings(self) -> list[str]:
        told = "AUTH_PROXY_SECRET is not set: whoever reaches this server is who they say in "
        told += f"{self.auth_header}, without a proof. That is for development only."
        return super().startup_warnings() + [told] * (not self.proof)

    @property
    def proof(self) -> str | None:
        return self.auth_proxy_secret.get_secret_value() if self.auth_proxy_secret else None


class Header:
    """What the application keeps open to know people by: nothing, each request says it all."""

    async def ready(self) -> str | None:
        """Why nobody can be known now, or None when people can."""
        return None


@asynccontextmanager
async def open_auth(settings: HeaderSettings) -> AsyncIterator[Header]:
    """What `authenticate` needs, for the life of the application, as `app.state.auth`."""
    yield Header()


async def authenticate(request: Request) -> RequestContext:
    """Whom the proxy names. Raises ApiError: 401, the same one whatever is wrong."""
    settings: HeaderSettings = request.app.state.settings
    proof = _sent(request, PROOF, ANY) or ""
    expected = settings.proof or proof
    user = _sent(request, settings.auth_header, ID)
    if not hmac.compare_digest(proof.encode("latin-1"), expected.encode("latin-1")) or not user:
        raise _unauthorized()
    org = _sent(request, settings.auth_org_header, ID)
    roles = (_sent(request, settings.auth_roles_header, ROLES) or "").split(",")
    held = frozenset(role.strip() for role in roles if role.strip())
    return RequestContext(user_id=user, org_id=org, roles=held)


def _sent(request: Request, name: str | None, pattern: str) -> str | None:
    """The header's text, or None without one. Raises ApiError where it does not fit, or is two."""
    sent = request.headers.getlist(name) if name else []
    if len(sent) > 1 or not all(re.fullmatch(pattern, text) for text in sent):
        raise _unauthorized()
    return sent[0] if sent else None


def _unauthorized() -> ApiError:
    challenge = 'Proxy-Identity realm="chat"'  # RFC 9110 11.6.1 asks for a scheme; none is this one
    return ApiError(401, "unauthorized", "Please sign in.", www_authenticate=challenge)
