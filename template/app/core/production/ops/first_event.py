"""Whether the first event arrives at once, through all that stands before the server."""

import json
import shlex
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import httpx

CONNECT, SILENCE = 10.0, 60.0  # seconds
LATEST = 3.0  # seconds until the first event, which is made before the model is asked
TELLING = 0.5  # seconds of an answer; in one that is shorter, its parts are too close to tell
SHARE = 0.25  # of the answer's time that is left when the first event arrives
TEXT = "Count from one to thirty, in words."
CONTENT = [{"type": "input_text", "text": TEXT}]
INPUT = {"content": CONTENT, "attachments": [], "inference_options": {}}

BY_STATUS = {
    401: "Nobody is known there by what was sent: give a credential with --header.",
    403: "The origin is refused: let the proxy pass Host on, or list it in ALLOWED_ORIGINS.",
    404: "There is no /chatkit there: name the address up to where this server begins.",
}
ANY_STATUS = "It answers {}: look at the log of the proxy, then at the server's."
UNREACHED = "Nothing answers there: look at the name, the port, the certificate, the proxy."
SILENT = f"Nothing came for {SILENCE:.0f} s: the proxy holds the stream back, or the server rests."
CUT = "The stream broke off: let the proxy wait for longer than STREAM_HEARTBEAT between two parts."
OTHER = "What answers there sends no events: name the address up to where this server begins."
HELD = (
    "The first event came after {:.1f} s of {:.1f}: something on the way holds the stream back; "
    "switch its buffering and its compression off for this address (nginx: proxy_buffering off)."
)


class Wrong(Exception):
    """What is wrong and how to mend it, in words for everyone."""


class NotThere(Wrong):
    """Nothing answers to this address."""


class Skipped(Exception):
    """Why there is nothing to tell."""


@dataclass
class Arrivals:
    """When what came, in seconds since the request was sent."""

    first: float = 0.0  # event
    last: float = 0.0
    comments: int = 0  # without an event meanwhile
    failure: str = ""
    thread_id: str = ""

    def take(self, line: str, now: float) -> None:
        self.last = now
        self.comments += line.startswith(":")
        event: dict[str, Any] = json.loads(line[5:]) if line.startswith("data:") else {}
        if event:
            self.first = self.first or now
        if event.get("type") == "thread.created":
            self.thread_id = event["thread"]["id"]
        if event.get("type") == "error":
            self.failure = event.get("message") or "no reason"


async def first_event(url: str, headers: dict[str, str]) -> str:
    """How a message was answered at `url`. Raises Wrong, and Skipped where it cannot be told."""
    address = httpx.URL(url if "://" in url else f"https://{url}")
    base = address.path.rstrip("/").removesuffix("/chatkit")
    origin = f"{address.scheme}://{address.netloc.decode()}"
    sent = {"origin": origin} | headers | {"content-type": "application/json"}
    limits = httpx.Timeout(CONNECT, read=SILENCE)
    try:
        async with httpx.AsyncClient(headers=sent, timeout=limits) as client:
            await client.get(address.copy_with(path=f"{base}/health"))  # to have the connection
            try:
                arrived = await watch(client, address.copy_with(path=f"{base}/chatkit"))
            except NotThere as missing:  # a proxy may have it at another address
                try:
                    arrived = await watch(client, address)
                except NotThere:
                    raise missing from None
    except (httpx.ReadTimeout, httpx.WriteTimeout):
        raise Wrong(SILENT) from None
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol):
        raise Wrong(UNREACHED) from None
    except (httpx.TransportError, ValueError):
        raise Wrong(CUT) from None
    return judge(arrived)


async def watch(client: httpx.AsyncClient, address: httpx.URL) -> Arrivals:
    arrived, began = Arrivals(), perf_counter()
    body = {"type": "threads.create", "params": {"input": INPUT}}
    async with client.stream("POST", address, json=body) as response:
        if response.status_code != 200:
            kind = NotThere if response.status_code in (404, 405) else Wrong
            told = BY_STATUS.get(response.status_code, ANY_STATUS)
            raise kind(told.format(response.status_code))
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            raise Wrong(OTHER)
        async for line in response.aiter_lines():
            arrived.take(line, perf_counter() - began)
    with suppress(httpx.HTTPError):
        gone = {"type": "threads.delete", "params": {"thread_id": arrived.thread_id}}
        # A client returns a visitor's Secure cookie over https alone.
        visitor = response.headers.get("set-cookie", "").partition(";")[0]
        await client.post(address, json=gone, headers={"cookie": visitor} if visitor else None)
    return arrived


def judge(arrived: Arrivals) -> str:
    if arrived.failure:
        raise Wrong(f"The answer ended in an error: {arrived.failure}")
    if not arrived.first:
        raise Wrong(CUT)
    is_late = arrived.first > LATEST or arrived.last - arrived.first < SHARE * arrived.last
    if is_late and arrived.last >= TELLING:
        raise Wrong(HELD.format(arrived.first, arrived.last))
    if is_late:
        raise Skipped(f"The answer took {arrived.last:.2f} s: too short to tell its parts apart.")
    told = f"The first event came after {arrived.first:.2f} s, the last after {arrived.last:.1f}"
    return f"{told}; {arrived.comments} comments filled silences."


def helper_headers() -> dict[str, str]:
    """How development's helper makes somebody known. Raises Skipped with its words."""
    command = [sys.executable, "-m", __package__.partition(".core")[0], "dev"]
    helper = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if helper.returncode:
        raise Skipped(f"{helper.stderr.strip().splitlines()[-1]} Then give it with --header.")
    words = shlex.split(helper.stdout)
    fields = [words[at + 1] for at, word in enumerate(words) if word == "-H"]
    return dict(field.split(": ", 1) for field in fields if not field.startswith("origin"))
