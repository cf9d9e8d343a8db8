"""People with a bearer token, as Better Auth, Auth0, Clerk, Supabase and Keycloak hand them out."""

import re
import time
from contextlib import AbstractAsyncContextManager, nullcontext
from hashlib import sha256
from typing import Annotated, Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pydantic import Field, SecretStr
from starlette.requests import Request

from ...config import Address, AppSettings
from ...context import RequestContext
from ...errors import ApiError, logger
from .dev_key import DEV_KEY, dev_key
from .jwks import PUBLIC, SHARED, Key, KeySet, key_for, open_keys

USES_COOKIES = False  # a page has to hand the token over itself
MAX_TOKEN, MAX_ID = 16_384, 255  # characters; of an id: OpenID Connect Core 1.0, section 2
REMEMBERED = 1000  # tokens of one key
COMPACT = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)  # a signed token: RFC 7515, section 7.1

# Where providers publish keys: the group is the issuer of their tokens, beside the audience.
PROVIDERS = {
    r"(https?://[^/]+)/api/auth/jwks": r"\1",  # Better Auth
    r"(https://[^/]+\.(?:auth0\.com|clerk\.accounts\.dev))/\.well-known/jwks\.json": "",
    r"(https://[^/]+\.supabase\.co/auth/v1)/\.well-known/jwks\.json": "authenticated",
    r"(https?://.+/realms/[^/]+)/protocol/openid-connect/certs": "",  # Keycloak
}

Claims = dict[str, Any]


class JwtSettings(AppSettings):
    jwt_jwks_url: Address | None = None  # https://www.example.com/api/auth/jwks
    jwt_public_key: str = ""  # PEM; \n may stand for a line's end
    jwt_secret: SecretStr = SecretStr("")
    jwt_algorithms: str = ""  # names that commas separate; else every one that fits the key
    jwt_issuer: str = ""
    jwt_audience: str = ""
    jwt_leeway: Annotated[float, Field(ge=0, le=30)] = 10.0  # seconds that clocks may differ
    jwt_user_claim: str = "sub"
    jwt_org_claim: str = "org_id"
    jwt_roles_claim: str = "roles"
    jwt_locale_claim: str = "locale"

    @property
    def key_settings(self) -> list[str]:
        """Which settings say where the key is."""
        names = ("jwt_jwks_url", "jwt_public_key", "jwt_secret")
        return [name.upper() for name in names if getattr(self, name)]

    @property
    def algorithms(self) -> list[str]:
        known = SHARED if self.jwt_secret else PUBLIC
        return re.findall(r"[^,\s]+", self.jwt_algorithms) or [*known]

    @property
    def issuer(self) -> list[str] | None:
        return either(self.jwt_issuer or derived(self.jwt_jwks_url or "")[0])

    @property
    def audience(self) -> list[str] | None:
        return either(self.jwt_audience or derived(self.jwt_jwks_url or "")[1])

    def own_key(self) -> Key:
        """The key that needs no fetching. Raises ValueError for one that cannot be used."""
        if self.jwt_secret:
            return key_for(self.jwt_secret.get_secret_value().encode(), self.algorithms)
        if not self.jwt_public_key:
            return key_for(dev_key().public_key(), PUBLIC)
        pem = self.jwt_public_key.replace("\\n", "\n").strip()
        return key_for(load_pem_public_key(pem.encode()), self.algorithms)

    def errors(self) -> list[str]:
        told, given, url = "", self.key_settings, self.jwt_jwks_url or ""
        known = SHARED if self.jwt_secret else PUBLIC
        if len(given) > 1:
            told = f"{' and '.join(given)} contradict each other: set one of them."
        elif self.is_production and not given:
            told = "Tokens cannot be checked: set JWT_JWKS_URL, JWT_PUBLIC_KEY or JWT_SECRET."
        elif self.is_production and not self.issuer:
            told = "JWT_ISSUER is not set: write the iss of your tokens, as in https://example.com."
        elif self.is_production and url.lower().startswith("http:"):
            told = "JWT_JWKS_URL has to begin with https:// in production."
        elif ".auth0.com/" in url and not self.audience:
            told = "JWT_AUDIENCE is not set: write the identifier of your API in Auth0."
        elif not {*self.algorithms} <= {*known}:
            told = f"JWT_ALGORITHMS does not fit: choose from {', '.join(known)}."
        elif given and not url:
            try:
                self.own_key()
            except (ValueError, UnsupportedAlgorithm):
                told = f"{given[0]} cannot be used: write {WANTED[given[0]]}."
        return super().errors() + [told] * bool(told)

    def startup_warnings(self) -> list[str]:
        told = f"No JWT_* key: only tokens of `uv run python -m app dev` count, by {DEV_KEY}."
        return super().startup_warnings() + [told] * (not self.key_settings)


WANTED = {
    "JWT_SECRET": "at least 32 random bytes (48 for HS384, 64 for HS512), and no public key",
    "JWT_PUBLIC_KEY": "a public key in PEM (-----BEGIN PUBLIC KEY-----), RSA of 2048 bits or more",
}


class WrongClaimError(jwt.InvalidTokenError):
    """A claim that counts here has another type or form than it may have."""


def open_auth(settings: JwtSettings) -> AbstractAsyncContextManager[KeySet]:
    """What `authenticate` needs, for the life of the application, as `app.state.auth`."""
    if settings.jwt_jwks_url:
        return open_keys(settings.jwt_jwks_url, settings.algorithms)
    return nullcontext(KeySet(settings.own_key()))


async def authenticate(request: Request) -> RequestContext:
    """The person whose token the request carries. Raises ApiError 401, or 503 without any key."""
    state, given = request.app.state, request.headers.getlist("authorization")
    scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
    challenge = 'Bearer realm="chatkit"'  # RFC 6750, section 3: without a token it names no error
    if scheme.lower() == "bearer":
        try:
            return await owner_of(token, state.auth, state.settings)
        except jwt.PyJWTError as error:
            logger.info("a token was refused: %s", type(error).__name__)
            challenge += ', error="invalid_token"'
    text = "Sign in: this needs a valid bearer token."
    raise ApiError(401, "unauthorized", text, www_authenticate=challenge)


async def owner_of(token: str, keys: KeySet, settings: JwtSettings) -> RequestContext:
    """Whose token it is, if it holds. Raises PyJWTError of a kind that says why it does not.

    One that held does so until it expires or its key is gone, so it is not checked again: of 60
    to 250 µs, by algorithm and length, 20 are left.
    """
    if len(token) > MAX_TOKEN or not COMPACT.fullmatch(token):
        raise jwt.DecodeError
    # Of the header, the key's name is all that is used before the signature is checked.
    header = jwt.get_unverified_header(token.partition(".")[0] + "..")
    key, digest = await keys.find(header.get("kid")), sha256(token.encode()).digest()
    context, expires = key.held.get(digest, (None, 0))
    if context is None or expires <= time.time() - settings.jwt_leeway:
        claims = verified(token, key, settings)
        context = person(claims, settings)
        if len(key.held) >= REMEMBERED:
            key.held.clear()
        key.held[digest] = context, int(claims["exp"])
    return context


def verified(token: str, key: Key, settings: JwtSettings) -> Claims:
    expected: Claims = {"issuer": settings.issuer, "audience": settings.audience}
    expected |= {"leeway": settings.jwt_leeway, "options": {"require": ["exp", "sub"]}}
    claims: Claims = jwt.decode(token, key.value, key.algorithms, **expected)
    if any(type(claims.get(name, 0)) not in (int, float) for name in ("exp", "nbf", "iat")):
        raise WrongClaimError  # RFC 7519, section 2: a NumericDate is no text
    return claims


def person(claims: Claims, settings: JwtSettings) -> RequestContext:
    """Who the claims are about. Raises WrongClaimError."""
    user = text_of(claims, settings.jwt_user_claim)
    roles = claim(claims, settings.jwt_roles_claim) or []
    roles = roles.split() if isinstance(roles, str) else roles
    if user is None or not (isinstance(roles, list) and all(type(role) is str for role in roles)):
        raise WrongClaimError
    locale = text_of(claims, settings.jwt_locale_claim) or "en"
    return RequestContext(user, text_of(claims, settings.jwt_org_claim), frozenset(roles), locale)


def text_of(claims: Claims, name: str) -> str | None:
    """A claim that a store can keep and a log show: not empty, not long, without controls."""
    text: str | None = claim(claims, name)
    fits = isinstance(text, str) and text.strip() and text.isprintable() and len(text) <= MAX_ID
    if text is not None and not fits:
        raise WrongClaimError
    return text


def claim(claims: Claims, name: str) -> Any:
    """A claim, or a part of one (`realm_access.roles`); None when it is missing."""
    found: Any = claims
    for part in [name] if name in claims else name.split("."):  # https://example.com/roles is one
        found = found.get(part) if isinstance(found, dict) else None
    return found


def derived(url: str) -> tuple[str, str]:
    """The issuer and the audience of tokens whose keys are at `url`, empty where unknown."""
    for pattern, audience in PROVIDERS.items():
        if known := re.fullmatch(pattern, url):
            return known[1], known.expand(audience)
    return "", ""


def either(name: str) -> list[str] | None:
    """The name without and with a slash at its end: providers write it so or so."""
    bare = name.strip().removesuffix("/")
    return [bare, f"{bare}/"] if bare else None
