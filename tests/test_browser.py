"""A page on another origin in a real browser: it signs in, chats, and comes back to its thread."""

import base64
import hashlib
import hmac
import shutil
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from playwright.sync_api import BrowserContext, Page, sync_playwright

from .rendering import render
from .test_process import CREATE, serving
from .warm import stand_in

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), "")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no chromium here: .ci/run installs it")

UVICORN = (stand_in(), "-m", "uvicorn", "app.main:app")
SECRET = "the-secret-of-the-application-next-door"
HTML = """<!doctype html><title>A page</title><script>
async function ask(url, body, options = {}) {
  const headers = {"content-type": "application/json"};
  const sent = {method: "POST", credentials: "include", headers, body: JSON.stringify(body)};
  try {
    const response = await fetch(url + "/chatkit", {...sent, ...options});
    const pieces = [], decoder = new TextDecoder(), reader = response.body?.getReader();
    for (let part; reader && !(part = await reader.read()).done;)
      pieces.push(decoder.decode(part.value, {stream: true}));
    return {status: response.status, pieces: pieces.length, text: pieces.join("")};
  } catch (error) { return {status: 0, pieces: 0, text: String(error)}; }
}
</script>"""


class Site:
    """A web application: one page, and a sign-in that gives the cookie as Better Auth does."""

    def __init__(self, token: str) -> None:
        mac = hmac.new(SECRET.encode(), token.encode(), hashlib.sha256).digest()
        signed = quote(f"{token}.{base64.b64encode(mac).decode()}", safe="")
        cookie = f"better-auth.session_token={signed}; Max-Age=604800; Path=/; HttpOnly"

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("content-type", "text/html")
                if self.path == "/sign-in":
                    self.send_header("set-cookie", f"{cookie}; SameSite=Lax")
                self.end_headers()
                self.wfile.write(HTML.encode())

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.origin = f"http://localhost:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


@contextmanager
def browser(folder: Path) -> Iterator[BrowserContext]:
    """Chromium without a past."""
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            folder / "profile", executable_path=CHROMIUM, headless=True, args=FLAGS
        )
        yield context
        context.close()


def ask(page: Page, url: str, body: dict[str, Any], **options: Any) -> dict[str, Any]:
    answer: dict[str, Any] = page.evaluate("a => ask(...a)", [url, body, options])
    return answer


def threads(page: Page, url: str) -> str:
    answer = ask(page, url, {"type": "threads.list", "params": {}})
    assert answer["status"] == 200, answer
    return str(answer["text"])


def sessions(postgres: str, token: str) -> str:
    """A database's table `SCHEMA.session` in which one person is signed in."""
    name = f"browser_{uuid.uuid4().hex}"
    table = f'{name}."session"'
    with psycopg.connect(postgres) as connection:
        connection.execute(f"CREATE SCHEMA {name}".encode())
        connection.execute(
            f'CREATE TABLE {table} ("id" text PRIMARY KEY, "expiresAt" timestamptz NOT NULL, '
            '"token" text NOT NULL UNIQUE, "userId" text NOT NULL)'.encode()
        )
        row = f"INSERT INTO {table} VALUES ('s', now() + interval '1 day', %s, 'ada')"
        connection.execute(row.encode(), [token])
    return f"{name}.session"


@pytest.mark.parametrize("auth", ["anonymous", "session"])
def test_a_page_on_another_origin_chats_and_comes_back(
    template: Path, postgres: str, tmp_path: Path, auth: str
) -> None:
    token = uuid.uuid4().hex
    site = Site(token)
    environment = {"ALLOWED_ORIGINS": site.origin}
    if auth == "session":
        environment |= {"SESSION_DATABASE_URL": postgres, "SESSION_SECRET": SECRET}
        environment |= {"SESSION_TABLE": sessions(postgres, token)}
    project = render(template, tmp_path / "project", {"auth": auth, "store": "memory"})
    with (
        serving(project, tmp_path / "log", *UVICORN, **environment) as (address, _),
        browser(tmp_path) as chromium,
    ):
        url, page = address.replace("127.0.0.1", "localhost"), chromium.new_page()
        page.goto(site.origin)
        if auth == "session":
            signed_out = ask(page, url, CREATE)
            assert (signed_out["status"], "unauthorized" in signed_out["text"]) == (401, True)
            page.goto(f"{site.origin}/sign-in")

        said = ask(page, url, CREATE)
        assert said["status"] == 200
        assert "roll_dice answered" in said["text"]
        assert said["pieces"] > 3  # it arrived as it was said
        page.goto(site.origin)  # the next day
        kept = threads(page, url)
        assert kept.count('"id":"thr_') == 1

        attack(page, site.origin.replace("localhost", "127.0.0.1"), url)
        page.goto(site.origin)
        assert threads(page, url) == kept
        chromium.clear_cookies()
        stranger = ask(page, url, {"type": "threads.list", "params": {}})
        assert stranger["status"] == {"anonymous": 200, "session": 401}[auth]
        assert "thr_" not in stranger["text"]
    site.http.shutdown()


def attack(page: Page, origin: str, url: str) -> None:
    """What a page of another site can make the browser send: nothing of it may arrive."""
    page.goto(origin)
    assert ask(page, url, CREATE)["status"] == 0  # the browser asks first, and is told no
    plain = {"mode": "no-cors", "headers": {"content-type": "text/plain"}}
    assert ask(page, url, CREATE, **plain)["status"] == 0  # opaque: sent, but refused
