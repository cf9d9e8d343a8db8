"""A person is whom the proxy names, and the proxy is who has the secret."""

import json
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.core.config import stop_on_problems

from ...auth_styles.header import SECRET, newcomer
from ...chat import request
from ...fixtures import RunningServer, serve, settings
from ...stores import LIVE

FRONT_END = "https://www.example.com"
USER, PROOF = ("x-user-id", "ada"), ("x-auth-proxy-secret", SECRET)
BODY = request("threads.list")
Headers = list[tuple[str, str | bytes]]


def post(server: RunningServer, *headers: tuple[str, str | bytes], **more: Any) -> httpx.Response:
    """A request with headers of any kind, each as often as it is given."""
    sent = [
        (name.encode(), text if isinstance(text, bytes) else text.encode())
        for name, text in headers
    ]
    return httpx.post(server.url + "/chatkit", json=BODY, headers=sent, timeout=20, **more)


def refused(response: httpx.Response) -> bool:
    """Whether nobody was let in, in the words that every such answer has."""
    assert response.status_code == 401, response.text
    assert response.json() == {"error": {"code": "unauthorized", "message": "Please sign in."}}
    assert response.headers["www-authenticate"] == 'Proxy-Identity realm="chat"'
    return True


@pytest.mark.parametrize(
    "user",
    [
        "ada",
        "ada@example.com",
        "accounts.google.com:104834",
        "auth0|5f7c8ec7c33c6c004bbafe82",
        "a" * 255,
    ],
)
def test_the_person_is_whom_the_proxy_names(server: RunningServer, user: str) -> None:
    context = server.context_of(server.person(**newcomer(user)))
    assert (context.user_id, context.org_id, context.roles) == (user, None, frozenset())


@pytest.mark.parametrize(
    "headers",
    [
        [USER],
        [USER, ("x-auth-proxy-secret", "")],
        [USER, ("x-auth-proxy-secret", SECRET[:-1])],
        [USER, ("x-auth-proxy-secret", SECRET + "x")],
        [USER, ("x-auth-proxy-secret", SECRET.upper())],
        [USER, ("x-auth-proxy-secret", SECRET.encode() + b"\xe9")],
        [USER, ("authorization", f"Bearer {SECRET}")],
        [USER, ("cookie", f"x-auth-proxy-secret={SECRET}")],
        [USER, ("x_auth_proxy_secret", SECRET)],
        [USER, PROOF, PROOF],
        [USER, PROOF, ("x-auth-proxy-secret", "another")],
    ],
)
def test_without_the_one_proof_nobody_is_believed(server: RunningServer, headers: Headers) -> None:
    assert refused(post(server, *headers))


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("x-user-id", "")],
        [("x-user-id", "ad a")],
        [("x-user-id", "ada,eve")],
        [("x-user-id", "ada\teve")],
        [("x-user-id", "adá")],
        [("x-user-id", b"ad\xe1")],
        [("x-user-id", "a" * 256)],
        [USER, USER],
        [USER, ("X-User-Id", "eve")],
        [("x_user_id", "ada")],
        [("x-forwarded-user", "ada")],
        [("x-remote-user", "ada")],
    ],
)
def test_a_name_that_no_proxy_gives_is_nobodys(server: RunningServer, headers: Headers) -> None:
    assert refused(post(server, PROOF, *headers))


@pytest.mark.parametrize("control", [b"\x00", b"\n", b"\r", b"\x1b", b"\x7f"])
def test_control_characters_never_become_a_name(server: RunningServer, control: bytes) -> None:
    body = json.dumps(BODY).encode()
    head = f"POST /chatkit HTTP/1.1\r\nhost: x\r\nx-auth-proxy-secret: {SECRET}\r\n".encode()
    head += b"content-type: application/json\r\nconnection: close\r\n"
    head += b"x-user-id: ada" + control + b"eve\r\ncontent-length: %d\r\n\r\n" % len(body)
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as proxy:
        proxy.sendall(head + body)
        answer = proxy.makefile("rb").read()
    assert re.match(rb"HTTP/1.1 40[01] ", answer)


@pytest.mark.parametrize(
    "name",
    [
        "X-Forwarded-User",
        "x-auth-request-user",
        "cf-access-authenticated-user-email",
        "x-goog-authenticated-user-id",
    ],
)
def test_the_names_of_the_headers_are_settings(name: str) -> None:
    names: dict[str, Any] = {"auth_header": name, "auth_org_header": "x-org"}
    names |= {"auth_roles_header": "x-groups"}
    sent = {name: "ada", "x-org": "acme", "x-groups": "admin, staff,,night shift"}
    with serve(**names) as server:
        known = {"x-auth-proxy-secret": SECRET}
        context = server.context_of(server.person(**known, **sent))
        assert (context.user_id, context.org_id) == ("ada", "acme")
        assert context.roles == {"admin", "staff", "night shift"}
        assert refused(post(server, PROOF, USER))
        for header, text in (("x-org", ""), ("x-org", "a,b"), ("x-groups", "é")):
            assert refused(post(server, PROOF, *(sent | {header: text}).items())), header
        for header in sent:
            assert refused(post(server, PROOF, *sent.items(), (header, "more"))), header
        bare = server.context_of(server.person(**known, **{name: "ada"}))
        assert (bare.org_id, bare.roles) == (None, frozenset())


def test_people_of_two_organisations_are_two_people() -> None:
    with serve(auth_org_header="x-org") as server:
        one, other = (server.person(**newcomer("ada"), **{"x-org": org}) for org in ("a", "b"))
        one.new_thread()
        assert other.ask("threads.list")["data"] == []


def test_development_believes_a_plain_header_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with serve(auth_proxy_secret=None) as server:
        assert post(server, USER).status_code == 200
        assert refused(post(server))
        assert refused(post(server, USER, USER))
    assert (
        "AUTH_PROXY_SECRET is not set: whoever reaches this server is who they say" in caplog.text
    )


@pytest.mark.parametrize(("secret", "told"), [(None, "not set"), ("x" * 31, "too short")])
def test_production_needs_a_proof_that_cannot_be_guessed(secret: str | None, told: str) -> None:
    live: dict[str, Any] = {"app_env": "production", "model": "offline"} | LIVE
    with pytest.raises(SystemExit, match=f"AUTH_PROXY_SECRET is {told}: have your proxy send"):
        stop_on_problems(settings(**live, auth_proxy_secret=secret))
    stop_on_problems(settings(**live, auth_proxy_secret="x" * 32))


def test_the_proof_stays_out_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    with serve(log_level="DEBUG") as server:
        server.person(**newcomer("ada-lovelace")).new_thread()
        assert refused(
            post(server, ("x-user-id", "ada-lovelace"), ("x-auth-proxy-secret", "wrong-one"))
        )
    ours = "\n".join(r.getMessage() for r in caplog.records if not r.name.startswith("http"))
    assert not re.search(f"{SECRET}|wrong-one", ours)


def test_pages_of_other_origins_are_let_in_by_the_list_alone() -> None:
    with serve(allowed_origins=(FRONT_END,)) as server:
        good = post(server, USER, PROOF, ("origin", FRONT_END))
        assert good.headers["access-control-allow-origin"] == FRONT_END
        assert good.headers["access-control-allow-credentials"] == "true"
        evil = ("origin", "https://evil.example")
        assert post(server, USER, PROOF, evil).status_code == 403
        across = ("sec-fetch-site", "cross-site")
        assert post(server, USER, PROOF, across).status_code == 403
        plain = ("content-type", "text/plain")
        assert (
            httpx.post(
                server.url + "/chatkit", content=b"{}", headers=[USER, PROOF, plain]
            ).status_code
            == 415
        )


def helper(**environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "app", "dev"]
    root = Path(__file__).resolve().parents[4]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("secret", ["", SECRET])
def test_the_development_helper_prints_a_request_that_works(secret: str) -> None:
    with serve(auth_proxy_secret=secret or None) as server:
        command = shlex.split(helper(AUTH_PROXY_SECRET=secret).stdout)
        at = command.index("http://127.0.0.1:8000/chatkit")
        command[at] = server.url + "/chatkit"
        said = subprocess.run(command, capture_output=True, text=True, timeout=30).stdout
    assert "thread.created" in said


def test_the_development_helper_refuses_production() -> None:
    result = helper(APP_ENV="production", AUTH_PROXY_SECRET=SECRET)
    assert (result.returncode, result.stdout) == (1, "")
    assert "APP_ENV is production: this is for development only." in result.stderr
