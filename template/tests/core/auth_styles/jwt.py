"""People with tokens, put together by hand as RFC 7515 to 7519 write them."""

import base64
import json
import time
from typing import Any
from uuid import uuid4

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

Private = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

ISSUER, AUDIENCE = "https://id.example.com", "https://chat.example.com"
KEY = ed25519.Ed25519PrivateKey.generate()


def pem_of(key: Private) -> str:
    spki = PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(Encoding.PEM, spki).decode()


# Settings that make people known in tests, and what else production asks for.
SETTINGS: dict[str, Any] = {
    "jwt_public_key": pem_of(KEY),
    "jwt_issuer": ISSUER,
    "jwt_audience": AUDIENCE,
}
LIVE: dict[str, Any] = {}


def part(data: bytes | dict[str, Any]) -> str:
    """base64url without padding (RFC 7515, section 2), of JSON as jose writes it."""
    if isinstance(data, dict):
        data = json.dumps(data, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signature(key: Private, signed: bytes) -> tuple[str, bytes]:
    """The algorithm of a key and what it makes of the text: RFC 8037, RFC 7518 3.4 and 3.3."""
    match key:
        case ed25519.Ed25519PrivateKey():
            return "EdDSA", key.sign(signed)
        case ec.EllipticCurvePrivateKey():
            r, s = utils.decode_dss_signature(key.sign(signed, ec.ECDSA(SHA256())))
            return "ES256", r.to_bytes(32, "big") + s.to_bytes(32, "big")
        case _:
            return "RS256", key.sign(signed, padding.PKCS1v15(), SHA256())


def token(key: Private = KEY, header: dict[str, Any] | None = None, **claims: Any) -> str:
    """A token that holds, but for what `header` and `claims` say otherwise; None leaves one out."""
    now = int(time.time())
    whole = {"iat": now, "sub": "ada", "exp": now + 900, "iss": ISSUER, "aud": AUDIENCE} | claims
    kept = {name: value for name, value in whole.items() if value is not None}
    head = {"alg": signature(key, b"")[0]} | (header or {})
    signed = f"{part(head)}.{part(kept)}"
    return f"{signed}.{part(signature(key, signed.encode())[1])}"


def bearer(given: str) -> dict[str, str]:
    return {"authorization": f"Bearer {given}"}


def newcomer(user: str = "", org: str | None = None) -> dict[str, str]:
    """The headers by which the server takes someone for a person whom nobody has seen yet."""
    return bearer(token(sub=user or uuid4().hex, org_id=org))


def nobody() -> dict[str, str]:
    """The headers by which the server takes someone for nobody: a token that has expired."""
    return bearer(token(exp=1))
