"""A bearer token makes somebody known when everything about it holds, and no other way."""

import hmac
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from app.core.auth.jwt.bearer import JwtSettings
from app.core.auth.jwt.bearer import verified as check
from app.core.auth.jwt.dev import credentials
from app.core.auth.jwt.dev_key import dev_key
from app.core.config import stop_on_problems
from app.core.settings import load_settings

from ...auth_styles.jwt import (
    AUDIENCE,
    ISSUER,
    KEY,
    Private,
    bearer,
    newcomer,
    part,
    pem_of,
    signature,
    token,
)
from ...chat import Person, request
from ...fixtures import RunningServer, serve, settings, wait_until
from ...stores import LIVE

OTHER = ed25519.Ed25519PrivateKey.generate()
SECRET = "a shared secret of 32 bytes, or m"
NOW = int(time.time())


@pytest.fixture(scope="module")
def server(_clean_environment: None) -> Iterator[RunningServer]:
    with serve(log_level="INFO") as running:
        yield running


def ask(server: RunningServer, *given: str, name: str = "authorization") -> httpx.Response:
    """A request with these Authorization headers."""
    headers = [(name.encode(), value.encode()) for value in given]
    return httpx.post(f"{server.url}/chatkit", json=request("threads.list"), headers=headers)


def refused(server: RunningServer, given: str, log: pytest.LogCaptureFixture) -> str:
    """The reason in the log for which the token is refused; the answer does not tell it."""
    log.clear()
    response = ask(server, f"Bearer {given}")
    assert response.status_code == 401
    text = "Sign in: this needs a valid bearer token."
    assert response.json() == {"error": {"code": "unauthorized", "message": text}}
    challenge = 'Bearer realm="chatkit", error="invalid_token"'
    assert response.headers["www-authenticate"] == challenge
    [reason] = re.findall(r"a token was refused: (\w+)$", log.text, re.MULTILINE)
    return str(reason)


def signed(header: dict[str, Any], key: Private = KEY, **claims: Any) -> str:
    return token(key, header, **claims)


def with_hmac(secret: bytes, algorithm: str = "HS256", **claims: Any) -> str:
    """A token as RFC 7518, section 3.2, signs it with a shared secret."""
    text = f"{part({'alg': algorithm})}.{token(**claims).split('.')[1]}"
    return f"{text}.{part(hmac.digest(secret, text.encode(), algorithm.replace('HS', 'sha')))}"


def test_the_claims_say_who_it_is(server: RunningServer) -> None:
    claims: dict[str, Any] = {
        "org_id": "acme",
        "roles": ["admin", "sales"],
        "locale": "de",
        "name": "Ada",
        "x": 1,
    }
    context = server.context_of(Person(server.url, **bearer(token(**claims))))
    assert (context.user_id, context.org_id, context.locale) == ("ada", "acme", "de")
    assert context.roles == {"admin", "sales"}


def test_what_is_optional_may_be_missing(server: RunningServer) -> None:
    given = token(org_id=None, roles="admin  sales", iat=None)
    context = server.context_of(Person(server.url, **bearer(given)))
    assert (context.org_id, context.locale) == (None, "en")
    assert context.roles == {"admin", "sales"}
    null = f"{part({'alg': 'EdDSA'})}." + part(
        {
            "sub": "ada",
            "exp": time.time() + 900,
            "iss": ISSUER,
            "aud": [AUDIENCE, "x"],
            "org_id": None,
        }
        | {"roles": None, "locale": None}
    )
    given = f"{null}.{part(KEY.sign(null.encode()))}"
    assert server.context_of(Person(server.url, **bearer(given))).org_id is None


def test_the_same_person_comes_back_with_another_token(server: RunningServer) -> None:
    headers = newcomer("grace", "navy"), newcomer("grace", "navy") | {"user-agent": "another"}
    first, again = (Person(server.url, **each) for each in headers)
    thread_id = first.new_thread()
    assert [each["id"] for each in again.ask("threads.list")["data"]] == [thread_id]


KEYS: dict[str, Private] = {
    "EdDSA": KEY,
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "RS256": rsa.generate_private_key(65537, 2048),
}


@pytest.mark.parametrize("name", ["ES256", "RS256"])
def test_a_public_key_of_any_kind_checks_its_own_tokens_only(name: str) -> None:
    with serve(jwt_public_key=pem_of(KEYS[name]).replace("\n", "\\n")) as server:
        for other, key in KEYS.items():
            status = ask(server, f"Bearer {token(key)}").status_code
            assert status == (200 if other == name else 401), other


def test_the_newer_name_of_eddsa_counts_too(server: RunningServer) -> None:
    assert ask(server, f"Bearer {signed({'alg': 'Ed25519'})}").status_code == 200


def test_a_shared_secret_checks_its_own_tokens_only(caplog: pytest.LogCaptureFixture) -> None:
    with serve(jwt_public_key="", jwt_secret=SECRET, log_level="INFO") as server:
        assert ask(server, f"Bearer {with_hmac(SECRET.encode())}").status_code == 200
        assert refused(server, with_hmac(b"x" * 33), caplog) == "InvalidSignatureError"
        assert refused(server, token(), caplog) == "InvalidAlgorithmError"


@pytest.mark.parametrize(
    "given",
    [
        [],
        ["Basic YWRhOnNlc2FtZQ=="],
        ["Bearer"],
        ["DPoP " + token()],
        [token()],
        [""],
        ["Bearer " + token(), "Bearer " + token()],
        ["Basic x", "Bearer " + token()],
    ],
    ids=["none", "basic", "no token", "another scheme", "no scheme", "empty", "two", "mixed"],
)
def test_a_request_without_one_bearer_token_is_401(server: RunningServer, given: list[str]) -> None:
    response = ask(server, *given)
    assert response.status_code == 401
    assert response.json()["error"]["code"] == "unauthorized"
    assert response.headers["www-authenticate"].startswith('Bearer realm="chatkit"')


def test_the_scheme_is_written_in_any_case(server: RunningServer) -> None:
    assert ask(server, f"bEARER {token()}").status_code == 200


def test_the_token_counts_in_its_header_only(server: RunningServer) -> None:
    assert ask(server, token(), name="x-authorization").status_code == 401
    url = f"{server.url}/chatkit?access_token={token()}"
    assert httpx.post(url, json=request("threads.list")).status_code == 401
    given = {"cookie": f"token={token()}; Authorization=Bearer {token()}"}
    assert Person(server.url, **given).post("threads.list").status_code == 401


HEAD, PAYLOAD, SIGNATURE = token().split(".")
UNSIGNED = f"{part({'alg': 'none'})}.{PAYLOAD}."


@pytest.mark.parametrize(
    "given",
    [
        "x",
        "..",
        "a.b.c",
        "é.é.é",
        UNSIGNED,
        f"{HEAD}.{PAYLOAD}.",
        f"{HEAD}.{PAYLOAD}",
        f"{HEAD}.{PAYLOAD}.{SIGNATURE}.x.y",
        f"{HEAD}.{PAYLOAD}.{SIGNATURE}==",
        f" {HEAD}.{PAYLOAD}.{SIGNATURE}",
        f"{part(b'[]')}.{PAYLOAD}.{SIGNATURE}",
        f"{part(b'[' * 9000)}.{PAYLOAD}.{SIGNATURE}",
        f"{part(b'{')}.{PAYLOAD}.{SIGNATURE}",
        token(x="x" * 17_000),
    ],
    ids=lambda given: given[:9] + str(len(given)),
)
def test_what_is_no_signed_token_is_refused(
    server: RunningServer, given: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert refused(server, given, caplog) == "DecodeError"


@pytest.mark.parametrize(
    "name", ["none", "None", "NONE", "nOnE", "", "HS256", "RS256", "x", None, 7]
)
def test_an_algorithm_that_is_not_the_keys_is_refused(
    server: RunningServer, name: object, caplog: pytest.LogCaptureFixture
) -> None:
    for key in (KEY, OTHER):
        assert refused(server, signed({"alg": name}, key), caplog) == "InvalidAlgorithmError"


def spki(encoding: Encoding) -> bytes:
    return KEY.public_key().public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
@pytest.mark.parametrize(
    "secret",
    [
        spki(Encoding.PEM),
        spki(Encoding.PEM).strip(),
        spki(Encoding.DER),
        KEY.public_key().public_bytes_raw(),
        part(KEY.public_key().public_bytes_raw()).encode(),
        b"",
    ],
    ids=["pem", "pem stripped", "der", "raw", "x", "empty"],
)
def test_the_public_key_is_nobodys_shared_secret(
    server: RunningServer, secret: bytes, algorithm: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert refused(server, with_hmac(secret, algorithm), caplog) == "InvalidAlgorithmError"


@pytest.mark.parametrize(
    "header",
    [
        {"jwk": {"kty": "OKP", "crv": "Ed25519", "x": part(OTHER.public_key().public_bytes_raw())}},
        {"jku": "https://evil.example/jwks"},
        {"x5u": "https://evil.example/cert"},
        {"x5c": ["MIIB"]},
        {"kid": "../../dev/null"},
        {"kid": "' OR 1=1 --"},
        {},
    ],
    ids=lambda header: "".join(header),
)
def test_a_key_that_comes_with_the_token_is_not_used(
    server: RunningServer, header: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    assert refused(server, signed(header, OTHER), caplog) == "InvalidSignatureError"


@pytest.mark.parametrize(
    "header",
    [{"kid": 7}, {"kid": None}, {"crit": ["exp"], "exp": 1}, {"crit": []}, {"kid": ["a"]}],
    ids=str,
)
def test_a_header_that_cannot_be_understood_is_refused(
    server: RunningServer, header: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    assert refused(server, signed(header), caplog) == "InvalidTokenError"


def test_an_unencoded_payload_is_refused(
    server: RunningServer, caplog: pytest.LogCaptureFixture
) -> None:
    given = signed({"b64": False, "crit": ["b64"]})
    assert refused(server, given, caplog) == "DecodeError"


def test_a_changed_token_is_refused(
    server: RunningServer, caplog: pytest.LogCaptureFixture
) -> None:
    forged = token(OTHER, sub="grace").split(".")[1]
    assert refused(server, f"{HEAD}.{forged}.{SIGNATURE}", caplog) == "InvalidSignatureError"
    for at in (0, 40, 84):
        other = "A" if SIGNATURE[at] != "A" else "B"
        changed = SIGNATURE[:at] + other + SIGNATURE[at + 1 :]
        assert refused(server, f"{HEAD}.{PAYLOAD}.{changed}", caplog) == "InvalidSignatureError"


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"exp": NOW - 60}, "ExpiredSignatureError"),
        ({"exp": 0}, "ExpiredSignatureError"),
        ({"exp": None}, "MissingRequiredClaimError"),
        ({"exp": str(NOW + 900)}, "WrongClaimError"),
        ({"exp": "never"}, "DecodeError"),
        ({"exp": True}, "ExpiredSignatureError"),
        ({"exp": [NOW + 900]}, "DecodeError"),
        ({"exp": float("inf")}, "DecodeError"),
        ({"exp": float("nan")}, "DecodeError"),
        ({"nbf": NOW + 3600}, "ImmatureSignatureError"),
        ({"nbf": str(NOW)}, "WrongClaimError"),
        ({"iat": NOW + 3600}, "ImmatureSignatureError"),
        ({"iat": "today"}, "InvalidIssuedAtError"),
        ({"iss": None}, "MissingRequiredClaimError"),
        ({"iss": "https://evil.example"}, "InvalidIssuerError"),
        ({"iss": ISSUER + ".evil.example"}, "InvalidIssuerError"),
        ({"iss": ISSUER + "//"}, "InvalidIssuerError"),
        ({"iss": ISSUER.upper()}, "InvalidIssuerError"),
        ({"iss": [ISSUER]}, "InvalidIssuerError"),
        ({"aud": None}, "MissingRequiredClaimError"),
        ({"aud": "https://another.example.com"}, "InvalidAudienceError"),
        ({"aud": AUDIENCE + "/x"}, "InvalidAudienceError"),
        ({"aud": []}, "MissingRequiredClaimError"),
        ({"aud": [AUDIENCE, 7]}, "InvalidAudienceError"),
        ({"aud": {AUDIENCE: 1}}, "InvalidAudienceError"),
        ({"sub": None}, "MissingRequiredClaimError"),
        ({"sub": 7}, "InvalidSubjectError"),
        ({"sub": ["ada"]}, "InvalidSubjectError"),
        ({"sub": ""}, "WrongClaimError"),
        ({"sub": "  "}, "WrongClaimError"),
        ({"sub": "ada\0"}, "WrongClaimError"),
        ({"sub": "ada\nERROR"}, "WrongClaimError"),
        ({"sub": "\ud800"}, "WrongClaimError"),
        ({"sub": "a" * 256}, "WrongClaimError"),
        ({"org_id": 7}, "WrongClaimError"),
        ({"org_id": ""}, "WrongClaimError"),
        ({"org_id": "a\0b"}, "WrongClaimError"),
        ({"org_id": ["acme"]}, "WrongClaimError"),
        ({"roles": 7}, "WrongClaimError"),
        ({"roles": [7]}, "WrongClaimError"),
        ({"roles": {"admin": True}}, "WrongClaimError"),
        ({"roles": True}, "WrongClaimError"),
        ({"locale": 7}, "WrongClaimError"),
    ],
    ids=str,
)
def test_claims_that_do_not_hold_are_refused(
    server: RunningServer, claims: dict[str, Any], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert refused(server, token(**claims), caplog) == reason


def test_payloads_that_are_no_claims_are_refused(
    server: RunningServer, caplog: pytest.LogCaptureFixture
) -> None:
    for payload in (
        b"[]",
        b"null",
        b"7",
        b'{"sub"',
        b"\xff",
        b"[" * 9000,
        b'{"exp":' + b"9" * 5000,
    ):
        text = f"{HEAD}.{part(payload)}"
        given = f"{text}.{part(KEY.sign(text.encode()))}"
        assert refused(server, given, caplog) == "DecodeError"


def test_clocks_may_differ_by_the_leeway(server: RunningServer) -> None:
    now = int(time.time())
    near: list[dict[str, Any]] = [{"exp": now - 5}, {"nbf": now + 5}, {"iat": now + 5}]
    for claims in near:
        assert ask(server, f"Bearer {token(**claims)}").status_code == 200
    with serve(jwt_leeway=0) as strict:
        assert ask(strict, f"Bearer {token(exp=now - 5)}").status_code == 401
        assert ask(strict, f"Bearer {token(exp=now + 5)}").status_code == 200


def test_a_token_that_held_is_not_checked_again_and_expires_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checked: list[str] = []

    def counted(given: str, *rest: Any) -> Any:
        checked.append(given)
        return check(given, *rest)

    monkeypatch.setattr("app.core.auth.jwt.bearer.verified", counted)
    with serve(jwt_leeway=0) as server:
        given = token(exp=int(time.time()) + 2)
        assert [ask(server, f"Bearer {given}").status_code for _ in range(5)] == [200] * 5
        assert len(checked) == 1
        wait_until(lambda: ask(server, f"Bearer {given}").status_code == 401)


def test_a_token_that_held_vouches_for_no_other(server: RunningServer) -> None:
    head, payload, signed_by = token(sub="grace").split(".")
    assert ask(server, f"Bearer {head}.{payload}.{signed_by}").status_code == 200
    for part_of_another in (token(sub="ada").split(".")[2], SIGNATURE[::-1], signed_by[:-2]):
        assert ask(server, f"Bearer {head}.{payload}.{part_of_another}").status_code == 401
    assert ask(server, f"Bearer {head}.{PAYLOAD}.{signed_by}").status_code == 401


def test_only_so_many_tokens_are_remembered_and_no_refused_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.core.auth.jwt.bearer.REMEMBERED", 3)
    with serve() as server:
        held = server.run(server.app.state.auth.find(None)).held
        ask(server, f"Bearer {token(sub='')}")
        ask(server, f"Bearer {token(OTHER)}")
        assert held == {}
        for number in range(10):
            assert ask(server, f"Bearer {token(sub=str(number))}").status_code == 200
            assert 1 <= len(held) <= 3
        assert {len(each) for each in held} == {32}


@pytest.mark.parametrize("setting", [ISSUER, f"{ISSUER}/"])
@pytest.mark.parametrize("claim", [ISSUER, f"{ISSUER}/"])
def test_a_slash_at_the_end_makes_no_other_issuer_or_audience(setting: str, claim: str) -> None:
    with serve(jwt_issuer=setting, jwt_audience=setting) as server:
        given = token(iss=claim, aud=claim)
        assert ask(server, f"Bearer {given}").status_code == 200
        assert ask(server, f"Bearer {token(iss=claim + '/x', aud=claim)}").status_code == 401
        assert ask(server, f"Bearer {token(iss=claim, aud=claim + '/x')}").status_code == 401


def test_an_audience_that_nobody_named_is_not_ours(caplog: pytest.LogCaptureFixture) -> None:
    """RFC 7519, section 4.1.3: whoever is not among the audience has to refuse the token."""
    with serve(jwt_audience="", log_level="INFO") as server:
        assert refused(server, token(), caplog) == "InvalidAudienceError"
        assert ask(server, f"Bearer {token(aud=None)}").status_code == 200


def test_a_refusal_and_its_log_repeat_nothing_of_the_token(
    server: RunningServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    given = token(sub="eve\0", email="eve@example.com")
    answer = ask(server, f"Bearer {given}").text
    told = answer + caplog.text
    assert "eve" not in told.replace("event", "").replace("level", "")
    assert not [piece for piece in given.split(".") if piece in told]


def test_claims_are_read_from_where_the_settings_say() -> None:
    names = {"user": "uid", "org": "o.id", "roles": "realm_access.roles", "locale": "https://x.y/l"}
    named: dict[str, Any] = {f"jwt_{what}_claim": name for what, name in names.items()}
    claims: dict[str, Any] = {"uid": "u1", "o": {"id": "acme"}, "https://x.y/l": "fr"}
    claims["realm_access"] = {"roles": ["a"]}
    with serve(**named) as server:
        context = server.context_of(Person(server.url, **bearer(token(**claims))))
        assert (context.owner, context.locale) == (("acme", "u1"), "fr")
        assert context.roles == {"a"}
        assert ask(server, f"Bearer {token(uid='u1', o='x', realm_access=7)}").status_code == 200
        assert ask(server, f"Bearer {token(sub='ada')}").status_code == 401


def test_a_page_on_another_origin_may_send_the_header_and_needs_no_cookie() -> None:
    page = "https://www.example.com"
    asked = {"access-control-request-method": "POST", "origin": page}
    asked["access-control-request-headers"] = "authorization,content-type"
    with serve(allowed_origins=(page,)) as server:
        preflight = httpx.options(f"{server.url}/chatkit", headers=asked)
        answer = Person(server.url, origin=page, **newcomer()).post("threads.list")
    assert preflight.status_code == 200
    assert "authorization" in preflight.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in preflight.headers
    assert answer.headers["access-control-allow-origin"] == page
    assert "set-cookie" not in answer.headers


PRODUCTION: dict[str, Any] = {"app_env": "production", "model": "offline"} | LIVE
PRIVATE = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
URL = "https://id.example.com/keys"


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"jwt_public_key": ""}, "set JWT_JWKS_URL, JWT_PUBLIC_KEY or JWT_SECRET"),
        ({"jwt_secret": SECRET}, "JWT_PUBLIC_KEY and JWT_SECRET contradict each other"),
        ({"jwt_jwks_url": URL}, "JWT_JWKS_URL and JWT_PUBLIC_KEY contradict each other"),
        ({"jwt_issuer": ""}, "JWT_ISSUER is not set"),
        ({"jwt_public_key": "", "jwt_jwks_url": URL, "jwt_issuer": ""}, "JWT_ISSUER is not set"),
        (
            {"jwt_public_key": "", "jwt_jwks_url": "http://id.example.com/api/auth/jwks"},
            "JWT_JWKS_URL has to begin with https://",
        ),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_production_needs_a_key_and_an_issuer(values: dict[str, Any], told: str) -> None:
    stop_on_problems(settings(**PRODUCTION))
    with pytest.raises(SystemExit) as stop:
        stop_on_problems(settings(**PRODUCTION | values))
    assert told in str(stop.value)
    assert len(str(stop.value).splitlines()) == 1


WEAK = pem_of(rsa.generate_private_key(65537, 1024))
# Keys of X25519, which signs nothing, and of an algorithm that nobody knows.
PEM = "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----"
FOREIGN = PEM.format("MCowBQYDK2VuAyEA" + "A" * 43 + "=")
UNHEARD = PEM.format("MAowBQYDKgMEAwEA")
SHORT = {"jwt_public_key": "", "jwt_secret": "x" * 31}


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (SHORT, "JWT_SECRET cannot be used: write at least 32 random bytes"),
        ({**SHORT, "jwt_secret": pem_of(KEY)}, "JWT_SECRET cannot be used"),
        ({**SHORT, "jwt_secret": SECRET, "jwt_algorithms": "HS512"}, "JWT_SECRET cannot be used"),
        ({**SHORT, "jwt_secret": SECRET, "jwt_algorithms": "RS256"}, "JWT_ALGORITHMS does not fit"),
        ({"jwt_algorithms": "EdDSA, HS256"}, "JWT_ALGORITHMS does not fit"),
        ({"jwt_algorithms": "none"}, "JWT_ALGORITHMS does not fit"),
        ({"jwt_algorithms": "ES256"}, "JWT_PUBLIC_KEY cannot be used"),
        ({"jwt_public_key": pem_of(KEY)[:-40]}, "JWT_PUBLIC_KEY cannot be used"),
        ({"jwt_public_key": "sesame"}, "JWT_PUBLIC_KEY cannot be used"),
        ({"jwt_public_key": PRIVATE}, "JWT_PUBLIC_KEY cannot be used"),
        ({"jwt_public_key": WEAK}, "JWT_PUBLIC_KEY cannot be used"),
        ({"jwt_public_key": FOREIGN}, "JWT_PUBLIC_KEY cannot be used"),
        ({"jwt_public_key": UNHEARD}, "JWT_PUBLIC_KEY cannot be used"),
        (
            {"jwt_public_key": "", "jwt_jwks_url": "https://t.auth0.com/.well-known/jwks.json"}
            | {"jwt_audience": ""},
            "JWT_AUDIENCE is not set",
        ),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_a_key_that_cannot_work_stops_the_start(values: dict[str, Any], told: str) -> None:
    with pytest.raises(SystemExit) as stop:
        stop_on_problems(settings(**values))
    assert told in str(stop.value)
    secrets = [values.get(name) for name in ("jwt_secret", "jwt_public_key")]
    assert not [secret for secret in secrets if secret and secret in str(stop.value)]


@pytest.mark.parametrize(
    ("name", "value"),
    [("JWT_LEEWAY", "31"), ("JWT_LEEWAY", "-1"), ("JWT_JWKS_URL", "id.example.com/jwks")],
)
def test_a_setting_that_does_not_fit_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit, match=f"{name} does not fit"):
        load_settings()


@pytest.mark.parametrize(
    ("url", "issuer", "audience"),
    [
        ("https://a.b/api/auth/jwks", "https://a.b", "https://a.b"),
        ("http://localhost:3000/api/auth/jwks", "http://localhost:3000", "http://localhost:3000"),
        ("https://t.eu.auth0.com/.well-known/jwks.json", "https://t.eu.auth0.com", None),
        (
            "https://x.clerk.accounts.dev/.well-known/jwks.json",
            "https://x.clerk.accounts.dev",
            None,
        ),
        (
            "https://x.supabase.co/auth/v1/.well-known/jwks.json",
            "https://x.supabase.co/auth/v1",
            "authenticated",
        ),
        (
            "https://a.b/auth/realms/r/protocol/openid-connect/certs",
            "https://a.b/auth/realms/r",
            None,
        ),
        ("https://a.b/realms/r/protocol/openid-connect/certs", "https://a.b/realms/r", None),
        ("https://a.b/.well-known/jwks.json", None, None),
        ("https://x.clerk.accounts.dev.evil.example/.well-known/jwks.json", None, None),
    ],
)
def test_the_address_of_the_keys_says_what_a_provider_fixes(
    url: str, issuer: str | None, audience: str | None
) -> None:
    derived = JwtSettings.model_construct(jwt_jwks_url=url)
    assert derived.issuer == (issuer and [issuer, f"{issuer}/"])
    assert derived.audience == (audience and [audience, f"{audience}/"])
    own: dict[str, Any] = {"jwt_issuer": ISSUER, "jwt_audience": f"{AUDIENCE}/"}
    chosen = JwtSettings.model_construct(jwt_jwks_url=url, **own)
    assert (chosen.issuer, chosen.audience) == ([ISSUER, f"{ISSUER}/"], [AUDIENCE, f"{AUDIENCE}/"])


def test_the_signatures_of_these_tests_are_those_of_the_standard() -> None:
    """RFC 8037, appendix A.4: the same key, header and payload make the same token."""
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    key = ed25519.Ed25519PrivateKey.from_private_bytes(seed)
    text = f"{part({'alg': 'EdDSA'})}.{part(b'Example of Ed25519 signing')}"
    assert text == "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
    made = part(signature(key, text.encode())[1])
    wanted = (
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    )
    assert made == wanted


def dev_token(folder: Path, user: str = "dev") -> str:
    command = [sys.executable, "-m", "app", "dev", user]
    path = str(Path(__file__).resolve().parents[4])
    env = os.environ | {"PYTHONPATH": path}
    line = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=60)
    assert line.stderr == ""
    return next(word for word in shlex.split(line.stdout) if "Bearer" in word).split()[-1]


def test_the_helpers_token_counts_only_while_no_key_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    with serve(
        jwt_public_key=""
    ) as server:  # the issuer and the audience are set: it keeps to them
        assert "only tokens of `uv run python -m app dev` count" in caplog.text
        monkeypatch.setenv("JWT_ISSUER", ISSUER)
        monkeypatch.setenv("JWT_AUDIENCE", AUDIENCE)
        context = server.context_of(
            Person(server.url, **bearer(given := dev_token(tmp_path, "me")))
        )
        assert context.user_id == "me"
        assert ask(server, f"Bearer {token()}").status_code == 401
    with serve(jwt_public_key="") as again:
        assert ask(again, f"Bearer {given}").status_code == 200
    with serve() as other:
        assert ask(other, f"Bearer {given}").status_code == 401
    with serve(jwt_public_key="", jwt_secret=SECRET) as other:
        assert ask(other, f"Bearer {given}").status_code == 401


def test_the_helpers_key_is_its_owners_and_one_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = dev_key()
    [file] = (tmp_path / "data").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_bytes() == made.private_bytes_raw() == dev_key().private_bytes_raw()

    monkeypatch.setattr(Path, "exists", lambda path: False)  # as when another process makes it now
    assert dev_key().private_bytes_raw() == made.private_bytes_raw()
    assert [*(tmp_path / "data").iterdir()] == [file]


def test_the_helper_has_no_key_of_a_provider(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JWT_SECRET", SECRET)
    with pytest.raises(SystemExit, match="JWT_SECRET is set"):
        credentials("dev", "")
    assert not any(tmp_path.iterdir())
